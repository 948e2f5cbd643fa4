"""Pokes: hints across processes that there is something to do. Losing one costs a second, until the next sweep."""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from integrations.journal import client, queries, schema
from integrations.journal.schema import clock
from playbooks.errors import SoarError

if TYPE_CHECKING:
    from integrations.journal.store import Journal

LOG = logging.getLogger(__name__)
# A responder says that it is there twice in this time; one not seen for so long is dead.
STALE_SECONDS = 60.0
# A storm of alerts does not ask each time who listens.
KNOWN_SECONDS = 1.0
APART = 0.05
"""Seconds between two times that a poke wakes the same listener. Every account may poke, as often as it likes."""
_NOTIFY = text(f"SELECT pg_notify('{queries.CHANNEL}', '')")


class Poker:
    """The side that pokes.

    Args:
        engine: which reads.
        dialect: `sqlite` or `postgresql`.
    """

    def __init__(self, engine: AsyncEngine, dialect: str) -> None:
        self._engine = engine
        self._dialect = dialect
        self._known: list[tuple[str, int]] = []
        self._known_until = 0.0
        self._socket: socket.socket | None = None
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Poke all that listen, without anybody waiting for it; what asks while one is under way shares the next."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._until_nobody_asks())

    async def _until_nobody_asks(self) -> None:
        while self._wanted:
            self._wanted = False
            await self.poke()

    async def aclose(self) -> None:
        """Poke once more for whoever asked, and close."""
        if self._task is not None:
            await asyncio.wait([self._task])
        self.close()

    async def poke(self) -> None:
        """Poke all that listen. It raises nothing: a poke may always get lost."""
        with contextlib.suppress(SoarError, OSError):
            if self._dialect == "postgresql":
                async with client.reading(self._engine) as connection:
                    await connection.execute(_NOTIFY)
                return
            if self._socket is None:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.settimeout(0)
            # Those that listened a moment ago do not wait until it is looked up who listens now.
            poked = list(self._known)
            self._send(poked)
            self._send([place for place in await self._listening() if place not in poked])

    def _send(self, places: Sequence[tuple[str, int]]) -> None:
        for place in places:
            # A dead one refuses, a full one blocks: neither matters.
            with contextlib.suppress(OSError):
                if self._socket is not None:
                    self._socket.sendto(b"poke", place)

    async def _listening(self) -> list[tuple[str, int]]:
        if not self._known or time.monotonic() >= self._known_until:
            row = schema.responder.c
            async with client.reading(self._engine) as connection:
                found = await connection.execute(select(row.address).where(row.seen_at > clock() - STALE_SECONDS))
                self._known = [(host, int(port)) for host, _, port in (a.rpartition(":") for a in found.scalars())]
            self._known_until = time.monotonic() + KNOWN_SECONDS
        return self._known

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Listener:
    """The side that waits for pokes; entered, it gives `wait(seconds) -> poked`.

    Args:
        journal: whose.
        engine: which writes; its connections are not pooled, so one may listen for as long as it likes.
    """

    def __init__(self, journal: "Journal", engine: AsyncEngine) -> None:
        self._journal = journal
        self._engine = engine
        self._poked = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._dead = False
        self._told_until = 0.0
        self._woke_at = -APART
        self._silent = False

    async def __aenter__(self) -> Callable[[float], Awaitable[bool]]:
        await self._listen()
        return self._wait

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()
            with contextlib.suppress(SoarError):
                await self._journal.submit(lambda tx: tx.absent(self._name))
        await self._drop()

    @property
    def _name(self) -> str:
        return f"{self._journal.name}@{self._port}"

    @property
    def _port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1]) if self._transport is not None else 0

    async def _wait(self, seconds: float) -> bool:
        """Wait for a poke, or for so many seconds, and return whether there was one."""
        await self._listen()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()
                if (rest := self._woke_at + APART - time.monotonic()) > 0:
                    await asyncio.sleep(rest)
                self._poked.clear()
                self._woke_at = time.monotonic()
                return True
        return False

    async def _listen(self) -> None:
        """Listen, again if the last connection died; if that fails, the sweep must do."""
        if self._journal.dialect == "postgresql":
            if self._dead:
                await self._drop()
            if self._connection is None:
                try:
                    await self._listen_postgres()
                except Exception as exc:
                    if not client.foreign(exc):
                        raise
                    self._dead = True
            return
        if self._transport is None:
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self._poked), local_addr=("127.0.0.1", 0)
            )
        if time.monotonic() >= self._told_until:
            await self._say_present()

    async def _say_present(self) -> None:
        try:
            await self._journal.submit(self._present)
        except SoarError as exc:
            # Nothing else is written in a quiet time: this is where it first shows.
            if not self._silent:
                LOG.warning("the journal cannot be written, trying again: %s", exc)
            self._silent = True
        else:
            self._silent = False
            self._told_until = time.monotonic() + STALE_SECONDS / 2

    async def _present(self, tx: Any) -> None:  # noqa: ANN401  # Tx, whose module the store imports
        await tx.absent(self._name, older=STALE_SECONDS)
        await tx.present(self._name, f"127.0.0.1:{self._port}")

    async def _listen_postgres(self) -> None:
        connection = self._connection = await self._engine.connect()
        self._dead = False
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None  # noqa: S101  # an open connection has one
        raw.add_termination_listener(self._died)
        await raw.add_listener(queries.CHANNEL, lambda *_: self._poked.set())
        # What came while nobody listened is found by looking.
        self._poked.set()

    def _died(self, _connection: object) -> None:
        # Not closed here: the driver calls this in the middle of its own end.
        self._dead = True
        self._poked.set()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # It may be broken in any way, and nothing of it is needed any more.
            with contextlib.suppress(Exception):
                await connection.invalidate()
            with contextlib.suppress(Exception):
                await connection.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, poked: asyncio.Event) -> None:
        self._poked = poked

    def datagram_received(self, _data: bytes, _address: object) -> None:
        self._poked.set()
