"""Responders as processes of their own, which can be told to die by SIGKILL at a boundary that has a name.

A boundary is something that a death may come right before or right after: a durable commit, named by what it appends
(`intended cut-tool`) or by who asked for it (`Journal.release`); or a request that changes the gateway (`POST state`),
which may also have been sent and not answered. A second one of a name is `name #2`.

The processes are forked off a server that has everything imported: starting one takes a hundredth of a second. Each
lives no longer than the pipe that its `Process` holds.
"""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
from alembic import command as _imported_here_so_that_no_child_has_to  # noqa: F401

from flows.demo.site import GATEWAY
from flows.engine.case import PREFIX
from flows.engine.parts import Timing
from flows.service import prefect_server
from integrations.gateways.canary import Canary
from integrations.journal.store import Claim, Journal, Tx
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Transient
from playbooks.estate.inventory import Inventory
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from tests.lab.connected import connected
from tests.lab.forked import FORKED
from tests.lab.house import House, house

# What happens when its time has come, and not because something was done.
_BY_THE_CLOCK = {"Journal.renew", "Journal.set_watch", "Listener._present", "Listener.__aexit__"}

STOPS_WITHIN = 60.0
"""Seconds that a responder that was told to stop may take on a loaded machine."""


class Moment(StrEnum):
    """When to die."""

    BEFORE = "right before"
    SENT = "once it is sent, before its answer to"
    AFTER = "right after"


@dataclass(frozen=True)
class Death:
    """Where a responder dies.

    Args:
        moment: before or after what.
        boundary: its name.
    """

    moment: Moment
    boundary: str

    def __str__(self) -> str:
        return f"{self.moment} {self.boundary}"


@dataclass(frozen=True)
class Orders:
    """What a responder's process is given.

    Args:
        folder: of the installation, with all keys in it.
        inventory: what there is to touch.
        name: of the responder, which is its key's too.
        url: of the journal; None for the folder's own.
        claim: seconds that its claims last.
        watch_every: seconds between two verifications of a lease.
        death: where it dies; None if it does not.
        prefect: address of Prefect's API and its `user:password`, to run what follows the cuts as flows there.
    """

    folder: Path
    inventory: Inventory
    name: str
    url: str | None = None
    claim: float = 2.0
    watch_every: float = 600.0
    death: Death | None = None
    prefect: tuple[str, str] | None = None

    @property
    def boundaries(self) -> Path:
        """Where it writes the boundaries that it came past, one a line."""
        return self.folder / f"{self.name}.boundaries"

    @property
    def appends(self) -> Path:
        """Where it writes what it appended to which stream under which fence, a line of JSON each."""
        return self.folder / f"{self.name}.appends"


class Process:
    """A responder's process.

    Args:
        orders: its orders.
    """

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        theirs, self._ours = FORKED.Pipe(duplex=False)
        self._process: BaseProcess = FORKED.Process(target=_run, args=(orders, theirs), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.is_alive()

    async def ended(self) -> int:
        """Wait for its end, and return its exit status: minus the signal if it was killed."""
        # Not joined in a thread: starting another process looks after this one too, and its status is read once only.
        if self._process.is_alive():
            loop, gone = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._process.sentinel, gone.set)
            try:
                await gone.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        self._process.join()
        return self._process.exitcode or 0

    async def stop(self) -> int:
        """Tell it to stop, and return its exit status; one that does not is killed, and that is a failure."""
        if not self._ours.closed:
            self._ours.close()
        try:
            async with asyncio.timeout(STOPS_WITHIN):
                return await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()
            raise AssertionError(f"{self.orders.name} did not stop: {self.output()}") from None

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def output(self) -> str:
        """Return the end of what it wrote."""
        log = _log(self.orders)
        return log.read_text(errors="replace")[-4000:] if log.exists() else ""


@asynccontextmanager
async def responder_process(orders: Orders) -> AsyncIterator[Process]:
    """Run a responder's process for the length of the block."""
    process = Process(orders)
    try:
        yield process
    finally:
        await process.stop()


async def at_rest(
    home: House, status: Status, count: int, processes: Sequence[Process], *, within: float = 60.0
) -> list[Incident]:
    """Wait until that many incidents have a status and nothing is left to do, and return them.

    Args:
        home: a view of the installation.
        status: which.
        count: how many there are to be.
        processes: those that work on them; one that ends ends the wait.
        within: seconds that it may take.
    """
    known: dict[str, tuple[int, Incident]] = {}

    async def rest() -> bool:
        rows = await home.journal.streams(PREFIX)
        for row in rows:
            if row.name not in known or known[row.name][0] != row.seq:
                known[row.name] = row.seq, await home.incident(row.name.removeprefix(PREFIX))
        quiet = all(row.owner is None for row in rows) and not await home.journal.waiting(1)
        return quiet and len(known) == count and all(_done(incident, status) for _, incident in known.values())

    try:
        async with asyncio.timeout(within):
            while True:
                # A journal that is being restarted is asked again.
                with suppress(Transient):
                    if await rest():
                        return [incident for _, incident in known.values()]
                if ended := [process for process in processes if not process.alive]:
                    raise AssertionError(f"{ended[0].orders.name} ended: {ended[0].output()}")
                await asyncio.sleep(0.05)
    except TimeoutError:
        undone = [incident for _, incident in known.values() if not _done(incident, status)]
        told = [
            f"{line.at:%H:%M:%S.%f} {line.what} {line.detail}" for incident in undone[:1] for line in incident.timeline
        ]
        shown = "\n".join([*told, *(process.output() for process in processes)])
        raise AssertionError(
            f"within {within:g} s, {len(known) - len(undone)} of {count} are {status} and done\n{shown}"
        ) from None


def _done(incident: Incident, status: Status) -> bool:
    sealed = incident.sealed is not None and incident.sealed_of == (len(incident.exhibits), len(incident.unavailable))
    begun = any(lease.in_force and lease.releasing for lease in incident.leases.values())
    return incident.status is status and sealed and not begun and not incident.untold


def in_turn(crew: Sequence[Orders]) -> dict[str, set[str]]:
    """Refuse streams into which somebody wrote under a claim that had passed on; return who wrote into which.

    Args:
        crew: the orders of everybody who wrote.
    """
    written: dict[str, list[tuple[int, int, str]]] = {}
    for orders in crew:
        lines = orders.appends.read_text().splitlines() if orders.appends.exists() else []
        for line in map(json.loads, lines):
            if line["fence"] is not None:
                written.setdefault(line["stream"], []).append((line["seqs"][0], line["fence"], line["owner"]))
    for stream, appends in written.items():
        appends.sort()
        fences = [fence for _, fence, _ in appends]
        if fences != sorted(fences):
            raise AssertionError(f"{stream} is interleaved: {appends}")
        if len({(fence, owner) for _, fence, owner in appends}) != len(set(fences)):
            raise AssertionError(f"two had one fence of {stream}: {appends}")
    return {stream: {owner for _, _, owner in appends} for stream, appends in written.items()}


def _log(orders: Orders) -> Path:
    return orders.folder / f"{orders.name}.log"


def _run(orders: Orders, until: Connection) -> None:
    log = os.open(_log(orders), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    asyncio.run(_respond(orders, until))


async def _respond(orders: Orders, until: Connection) -> None:
    boundaries = _Boundaries(orders)
    boundaries.watch_journal()
    world = connected(orders.inventory.model_copy(update={"watch_every": orders.watch_every}))
    # A loaded test machine is no finding.
    world.reach(ContextForge, GATEWAY).patience = 20.0
    world.reach(Canary, GATEWAY).endpoint.patience = 20.0
    boundaries.watch_gateway(world.reach(ContextForge, GATEWAY))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_reader(until.fileno(), stop.set)
    try:
        await world.warm()
        async with (
            house(orders.folder, world, url=orders.url, name=orders.name, key=orders.name) as home,
            _shown(orders, home),
            home.changed(timing=Timing(claim=orders.claim)).responding(),
        ):
            await stop.wait()
    finally:
        asyncio.get_running_loop().remove_reader(until.fileno())
        await world.aclose()


@asynccontextmanager
async def _shown(orders: Orders, home: House) -> AsyncIterator[None]:
    """Show in Prefect what this process and its fellows do."""
    if orders.prefect is None:
        yield
        return
    url, auth = orders.prefect
    folder = orders.folder / f"{orders.name}.prefect"
    # Prefect reads its settings when it is imported, and only this process is to have these.
    os.environ.update(prefect_server.client_environment(folder, auth=auth, url=url))
    from tests.lab.prefect import publishing  # noqa: PLC0415

    async with publishing(home.journal):
        yield


class _Boundaries:
    """Counts boundaries, writes them down, and dies at the one that is asked for."""

    def __init__(self, orders: Orders) -> None:
        self._death = orders.death
        self._seen: Counter[str] = Counter()
        self._passed = orders.boundaries.open("a", buffering=1)
        self._appends = orders.appends.open("a", buffering=1)
        self._unit: list[dict[str, Any]] = []

    def name(self, what: str) -> str:
        self._seen[what] += 1
        return what if self._seen[what] == 1 else f"{what} #{self._seen[what]}"

    def at(self, moment: Moment, name: str) -> None:
        if moment is Moment.AFTER:
            self._passed.write(f"{name}\n")
        if self._death == Death(moment, name):
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_journal(self) -> None:
        """Stand around everything that the journal commits."""
        append, submit, tx_append = Journal.append, Journal.submit, Tx.append

        async def watched_append(
            journal: Journal, stream: str, events: Sequence[Event], *, claim: Claim | None = None
        ) -> Any:  # noqa: ANN401  # as Journal.append
            name = self.name(title(events))
            self.at(Moment.BEFORE, name)
            entries = await append(journal, stream, events, claim=claim)
            self._write(_line(stream, entries, claim))
            self.at(Moment.AFTER, name)
            return entries

        async def watched_submit(journal: Journal, work: Callable[[Tx], Awaitable[Any]]) -> Any:  # noqa: ANN401
            asked = work.__qualname__.split(".<locals>")[0]
            titles: list[str] = []
            lines: list[dict[str, Any]] = []
            name = ""

            async def unit(tx: Tx) -> Any:  # noqa: ANN401
                nonlocal name
                self._unit, self._titles = [], []
                result = await work(tx)
                titles[:], lines[:] = self._titles, self._unit
                if asked not in _BY_THE_CLOCK:
                    # Still inside the transaction: right before its commit.
                    name = self.name(titles[0] if titles else asked)
                    self.at(Moment.BEFORE, name)
                return result

            result = await submit(journal, unit)
            for line in lines:
                self._write(line)
            if name:
                self.at(Moment.AFTER, name)
            return result

        async def noted_append(tx: Tx, stream: str, events: Sequence[Event], claim: Claim | None = None) -> Any:  # noqa: ANN401
            entries = await tx_append(tx, stream, events, claim)
            self._unit.append(_line(stream, entries, claim))
            self._titles.append(title(events))
            return entries

        Journal.append = watched_append  # type: ignore[method-assign,assignment]
        Journal.submit = watched_submit  # type: ignore[method-assign,assignment]
        Tx.append = noted_append  # type: ignore[method-assign,assignment]

    _titles: list[str] = []  # noqa: RUF012  # set anew for each unit

    def _write(self, line: dict[str, Any]) -> None:
        self._appends.write(json.dumps(line) + "\n")

    def watch_gateway(self, forge: ContextForge) -> None:
        """Stand around every request that changes the gateway."""

        async def before(request: httpx.Request) -> None:
            if request.method == "GET" or request.url.path.endswith("/login"):
                return
            name = self.name(f"{request.method} {request.url.path.rpartition('/')[2]}")
            request.extensions["boundary"] = name
            self.at(Moment.BEFORE, name)

            async def trace(event: str, _info: object) -> None:
                if event == "http11.send_request_body.complete":
                    self.at(Moment.SENT, name)
                elif event.endswith(".failed"):
                    # No answer comes, and what follows is another request: this is the moment after this one.
                    self.at(Moment.AFTER, name)

            request.extensions["trace"] = trace

        async def after(response: httpx.Response) -> None:
            if "boundary" in response.request.extensions:
                self.at(Moment.AFTER, response.request.extensions["boundary"])

        forge.api._http.event_hooks = {"request": [before], "response": [after]}  # noqa: SLF001


def title(events: Sequence[Event]) -> str:
    """Return what an append is called: its last event's kind, and the step's or page's name without what differs."""
    event = events[-1]
    about = str(event.body.get("instance") or event.body.get("page") or event.body.get("id") or "").partition("@")[0]
    return f"{event.kind} {about.partition(':')[0]}".strip()


def _line(stream: str, entries: Sequence[Any], claim: Claim | None) -> dict[str, Any]:
    return {
        "stream": stream,
        "seqs": [entry.seq for entry in entries],
        "fence": claim.fence if claim else None,
        "owner": claim.owner if claim else None,
    }
