"""One MCP address, asked over plain JSON-RPC so that every answer comes with its HTTP status and its raw bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from copy import copy
from functools import partial
from itertools import count
from typing import Any, Final, Self

import httpx
from typing_extensions import override

from integrations.http import AT_ONCE, TIMEOUT, connecting
from integrations.protocol.limits import Budget
from integrations.protocol.reply import Reply, spoken
from integrations.protocol.session import NoEntry, Session, over_http, pages, reply_of
from integrations.protocol.wire import Http, stdio
from playbooks.errors import Refused, Transient

__all__ = ["TIMEOUT", "Conversed", "McpEndpoint", "NoEntry", "Reply", "Session", "spoken"]

STARTS: Final = 12.0
"""Seconds for one answer of a server that we start ourselves: the first waits for its start."""

DEADLINE: Final = 12.0
"""Seconds for everything that one question takes, all pages together."""


class _Kept:
    """Connections that are opened for the first question, and shared by all addresses that they are asked at."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._client: httpx.AsyncClient | None = None

    def open(self) -> httpx.AsyncClient:
        """Return them, opened if they are not."""
        if self._client is None:
            self._client = connecting(self._url, self._headers)
        return self._client

    async def aclose(self) -> None:
        """Close them."""
        if self._client is not None:
            closing, self._client = self._client, None
            await closing.aclose()


class McpEndpoint:
    """An MCP address as one principal sees it.

    Args:
        name: what messages call it.
        url: the address; empty if it has none.
        principal: who asks; findings say so.
        token: that principal's bearer token, if the address wants one.
        command: what starts the server, where it has no address.
    """

    def __init__(
        self, name: str, url: str, *, principal: str, token: str | None = None, command: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.url = url
        self.principal = principal
        self.patience = STARTS if command else TIMEOUT
        """Seconds for one answer."""
        self.command = tuple(command)
        self._ids = count(1)
        self._turns = asyncio.Semaphore(AT_ONCE)
        # identity: what is packed may unfold into a thousand times its size.
        headers = {"Accept": "application/json, text/event-stream", "Accept-Encoding": "identity"}
        self._kept = _Kept(url, {**headers, "Authorization": f"Bearer {token}"} if token else headers)

    @property
    def place(self) -> str:
        """Where it is, for people: the address, or the program that is started."""
        return self.url or f"{self.command[0]} over stdio"

    @property
    def _http(self) -> httpx.AsyncClient:
        return self._kept.open()

    def at(self, url: str) -> Self:
        """Return the same principal's connections for another address of the same place.

        Args:
            url: of the same host.
        """
        other = copy(self)
        other.url = url
        return other

    async def aclose(self) -> None:
        """Close the connections, those for other addresses too; whoever asks again opens others."""
        await self._kept.aclose()

    async def ask(self, method: str, params: dict[str, Any] | None = None, *, ahead: bool = False) -> Reply:
        """Send one request without a session, and return whatever came back, a refusal included.

        Gateways answer such a request as the principal of its token; most servers answer only within a `session`.

        Args:
            method: of MCP.
            params: of the method.
            ahead: of our own requests that wait; for what many of them are waiting for.

        Raises:
            Transient: nothing came back, or the other side broke (5xx) or was too busy (429).
            Refused: what came back is longer than anybody needs.
        """
        return await self._ask(method, params or {}, ahead=ahead, budget=Budget())

    async def _ask(self, method: str, params: dict[str, Any], *, ahead: bool, budget: Budget) -> Reply:
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        try:
            # The clock starts when it is its turn: a burst of our own questions is not the other side's silence.
            async with nullcontext() if ahead else self._turns, asyncio.timeout(self.patience):
                carried = await Http(self._http, self.url).carry(message, {}, budget)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise Transient(f"{self.name}: {method}: no answer ({type(exc).__name__})") from exc
        except (Refused, Transient) as exc:
            raise type(exc)(f"{self.name}: {method}: {exc}") from exc
        return reply_of(carried, self.name, method)

    async def listed(self, what: str) -> tuple[dict[str, Any], ...]:
        """Return everything that `tools`, `prompts`, `resources` or `resources/templates` lists, page by page.

        Raises:
            Transient: it did not answer, or not to the end within `DEADLINE`.
            Misconfigured: our token may not list.
            Refused: it answered something else than a list, or one that is longer than anybody needs.
        """
        # One budget and one deadline for all pages, so that whoever shares the answer does not wait for ever.
        ask = partial(self._ask, ahead=True, budget=Budget())
        async with deadline(max(DEADLINE, self.patience), f"{self.name}: {what}/list"):
            return await pages(ask, what, self.name)

    @asynccontextmanager
    async def session(self, *, handshake: bool = False) -> AsyncIterator[Session]:
        """Open a conversation as a client does, in whichever revision and over whichever transport the server speaks.

        Args:
            handshake: as a client of before 2026-07-28, for whom a server may keep a session.

        Raises:
            Transient: it does not answer.
            Misconfigured: it lets nobody in without credentials.
            Refused: it speaks no MCP that we know.
        """
        budget = Budget()
        async with self._turns:
            if not self.command:
                talk = over_http(
                    self._http, self.name, self.url, patience=self.patience, budget=budget, older=handshake
                )
                async with talk as session:
                    yield session
                return
            async with stdio(self.command) as carrier:
                session = Session(self.name, carrier, patience=self.patience, budget=budget)
                if not await session.begin(handshake=handshake):
                    raise session.nothing_known()
                yield session


class Conversed(McpEndpoint):
    """An address that answers nothing outside a conversation: each question opens one of its own, as a client does."""

    @override
    async def ask(self, method: str, params: dict[str, Any] | None = None, *, ahead: bool = False) -> Reply:
        try:
            async with self.session() as session:
                return await session.ask(method, params)
        except NoEntry as exc:
            if exc.reply is None:
                raise
            # Whoever is turned away at the door has an answer to the question, too.
            return exc.reply

    @override
    async def listed(self, what: str) -> tuple[dict[str, Any], ...]:
        async with deadline(max(DEADLINE, self.patience), f"{self.name}: {what}/list"), self.session() as session:
            return await session.listed(what)


@asynccontextmanager
async def deadline(seconds: float, what: str) -> AsyncIterator[None]:
    """End what takes longer, however it is made up.

    Raises:
        Transient: it took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as exc:
        raise Transient(f"{what} took longer than {seconds:g} s") from exc
