"""A responder dies by SIGKILL at every boundary of a response and of a release; another one finishes the job.

The boundaries are those that an undisturbed run comes past, so that a new step is covered without a word here.
"""

import asyncio
import itertools
import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer, mcp_server
from flows.demo.site import GATEWAY, Site, build
from flows.engine.case import PREFIX, Case
from flows.engine.intake import CUT
from flows.engine.parts import Timing
from integrations.connections import Connections
from integrations.gateway.client import ContextForge
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from integrations.vault import bundle
from playbooks.errors import SoarError
from playbooks.incident import Status
from playbooks.inventory import Inventory, PinKind
from playbooks.journal import Event
from playbooks.projection import Incident, Progress
from playbooks.request import Verb
from tests.lab.faulty_proxy import FaultyProxy, faulty_proxy
from tests.lab.fixtures import unique_name
from tests.lab.house import House, alert, house
from tests.lab.responder_process import Death, Moment, Orders, Process, responder_process

AT_ONCE = 6
"""Cases side by side, each about a tool of its own: most of a case is waiting until a dead responder's claim runs out."""

WITHIN = 60.0
SPARE = 3
NAMES = ("responder-1", "responder-2", "responder-3")
EXHIBITS = {"raw-alert", "definitions", "server_answer", "gateway_state", "gateway_logs"}


@dataclass(frozen=True)
class Ring:
    """A server with a tool for each case, behind the gateway."""

    gateway: RunningGateway
    server: McpServer
    site: Site
    folder: Path
    numbers: Iterator[int]

    @property
    def tools(self) -> list[str]:
        return [f"t{number:03}" for number in range(SPARE, SPARE + AT_ONCE)]

    def poison(self) -> None:
        self.server.poison(*self.tools)

    def tool_id(self, tool: str) -> str:
        pin = self.site.inventory.pins.find(self.site.server_id, PinKind.TOOL, tool)
        assert pin is not None
        assert pin.gateway_id is not None
        return pin.gateway_id

    @property
    def entry(self) -> str:
        place = self.site.inventory.servers[self.site.server_id].gateway
        assert place is not None
        return place.id


@pytest.fixture(scope="module")
def ring(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    folder = tmp_path_factory.mktemp("killed")
    with mcp_server(folder / "server", tools=SPARE + AT_ONCE) as process:
        server = McpServer(process.port, process.folder, name=unique_name("victim"))
        site = asyncio.run(build(gateway, server, folder / "site", name=unique_name("weather")))
        yield Ring(gateway, server, site, folder, itertools.count(1))


class _Case:
    """One installation, one tool, one incident."""

    def __init__(self, ring: Ring, tool: str, home: House, proxy: FaultyProxy, inventory: Inventory) -> None:
        self.ring = ring
        self.tool = tool
        self.home = home
        self.proxy = proxy
        self.inventory = inventory
        self.processes: list[Process] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, ring: Ring, tool: str) -> AsyncIterator["_Case"]:
        folder = ring.folder / f"{next(ring.numbers):03}"
        folder.mkdir()
        for name in NAMES:
            SigningKey.generate(folder / f"{name}.key")
        world = Connections(ring.site.inventory)
        world.reach(ContextForge, GATEWAY).patience = 30.0
        try:
            async with faulty_proxy(ring.gateway.url) as proxy, house(folder, world, key=NAMES[0], name="test") as home:
                case = cls(ring, tool, home, proxy, ring.site.through(proxy.url).inventory)
                try:
                    yield case
                finally:
                    for process in case.processes:
                        process.kill()
                    # Whatever became of it, the tool is there for the next case.
                    await case.forge.set_enabled(PinKind.TOOL, ring.tool_id(tool), enabled=True)
        finally:
            await world.aclose()

    @property
    def forge(self) -> ContextForge:
        """The gateway itself, past the proxy that counts."""
        return self.home.parts.world.reach(ContextForge, GATEWAY)

    @property
    def journal(self) -> Journal:
        return self.home.journal

    def orders(self, name: str, death: Death | None = None) -> Orders:
        return Orders(self.home.folder, self.inventory, name, death=death)

    async def dies(self, name: str, death: Death) -> None:
        """Run a responder until it has killed itself."""
        process = Process(self.orders(name, death))
        self.processes.append(process)
        async with asyncio.timeout(WITHIN):
            status = await process.ended()
        assert status == -signal.SIGKILL, f"ended with {status}: {process.output()}"

    async def finishes(self, name: str, status: Status) -> Incident:
        """Run a responder until the incident has a status and nothing is left to do."""
        async with responder_process(self.orders(name)) as process:
            incident = await self.rests(status, process)
        assert await process.ended() == 0, process.output()
        return incident

    async def rests(self, status: Status, process: Process) -> Incident:
        seen = -1
        incident: Incident | None = None
        try:
            async with asyncio.timeout(WITHIN):
                while True:
                    rows = await self.journal.streams(PREFIX)
                    if rows and rows[0].seq != seen:
                        seen = rows[0].seq
                        incident = await self.home.incident(rows[0].name.removeprefix(PREFIX))
                    quiet = rows and rows[0].owner is None and not await self.journal.waiting(1)
                    if incident and quiet and incident.status is status and not incident.untold and _is_sealed(incident):
                        return incident
                    assert process.alive, f"it ended: {process.output()}"
                    await asyncio.sleep(0.05)
        except TimeoutError:
            told = [line.what + " " + line.detail for line in incident.timeline] if incident else []
            raise AssertionError(f"{status} within {WITHIN:g} s; {told}; {process.output()}") from None

    async def enabled(self) -> bool:
        """Whether the gateway lets clients use the case's tool; nothing else of the server was touched."""
        held = {held.name: held.enabled for held in await self.forge.held(PinKind.TOOL, self.ring.entry)}
        assert all(enabled for name, enabled in held.items() if name not in self.ring.tools)
        return held[self.tool]

    async def entries(self, kind: str) -> int:
        (row,) = await self.journal.streams(PREFIX)
        return sum(entry.parsed().kind == kind for entry in await self.journal.read(row.name))

    def changes(self) -> list[str]:
        """The requests that the gateway got and that could have changed something."""
        return [f"{method} {path}" for method, path in self.proxy.writes]

    def change(self) -> str:
        return f"POST /v1/tools/{self.ring.tool_id(self.tool)}/state"

    async def is_contained(self, incident: Incident) -> None:
        assert self.changes() == [self.change()]
        assert await self.enabled() is False
        cut = f"cut-tool@{self.ring.site.server_id}/{self.tool}"
        assert incident.steps[cut].progress is Progress.ESTABLISHED
        assert list(incident.leases) == [cut]
        assert await self.entries("intended") == 1
        assert [hold.lease for hold in await self.journal.holds()] == [cut]
        assert [(item.incident, item.step) for item in await self.journal.reserved()] == [(incident.id, cut)]
        assert len(await self.journal.streams(PREFIX)) == 1
        await self.is_whole(incident)

    async def is_whole(self, incident: Incident) -> None:
        """Evidence, journal and bundle: all there, none of it twice, none of it changed."""
        assert sorted(exhibit["kind"] for exhibit in incident.exhibits) == sorted(EXHIBITS)
        assert len({exhibit["id"] for exhibit in incident.exhibits}) == len(EXHIBITS)
        assert incident.unavailable == []
        assert incident.noticed.count("opened") == 1
        assert sum(notice.startswith("contained") for notice in incident.noticed) == 1
        keys = tuple(self.home.parts.keys.values())
        assert await self.journal.verify(public_keys=keys) == []
        assert incident.bundle is not None
        reports = [bundle.verify(self.home.parts.bundles / incident.bundle, key) for key in keys]
        (signed,) = (report for report in reports if report.manifest)
        assert [check.sentence for check in signed.checks if not check.ok] == []
        self.is_in_order()

    def is_in_order(self) -> None:
        """Nobody appended under a claim that had passed on."""
        fences: dict[str, list[tuple[int, int, str]]] = {}
        for name in NAMES:
            for line in _appends(self.orders(name)):
                if line["fence"] is not None:
                    fences.setdefault(line["stream"], []).append((line["seqs"][0], line["fence"], line["owner"]))
        for written in fences.values():
            in_order = [fence for _, fence, _ in sorted(written)]
            assert in_order == sorted(in_order)

    async def is_given_back(self, incident: Incident) -> None:
        assert self.changes() == [self.change(), self.change()]
        assert await self.enabled() is True
        assert await self.entries("released") == 1
        assert await self.entries("release_intended") == 1
        assert incident.metrics["released_at"] is not None
        assert await self.journal.holds() == []
        assert await self.journal.reserved() == []
        assert await self.journal.watched() == []
        assert incident.noticed.count(f"released:cut-tool@{self.ring.site.server_id}/{self.tool}") == 1
        await self.is_whole(incident)


def _is_sealed(incident: Incident) -> bool:
    return incident.sealed is not None and incident.sealed_of == (len(incident.exhibits), len(incident.unavailable))


def _appends(orders: Orders) -> list[dict[str, Any]]:
    path = orders.appends
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def _undisturbed(ring: Ring) -> tuple[list[str], list[str]]:
    ring.poison()
    async with _Case.opened(ring, ring.tools[0]) as case:
        await case.home.receive(alert(ring.site.server_id, case.tool))
        incident = await case.finishes(NAMES[0], Status.CONTAINED)
        await case.is_contained(incident)
        ring.server.behave()
        await case.home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
        await case.is_given_back(await case.finishes(NAMES[1], Status.RECOVERING))
        return tuple(case.orders(name).boundaries.read_text().splitlines() for name in NAMES[:2])


@pytest.fixture(scope="module")
def boundaries(ring: Ring) -> tuple[list[str], list[str]]:
    """Those of a response and those of a release, as an undisturbed run comes past them."""
    return asyncio.run(_undisturbed(ring))


def _deaths(moment: Moment, boundaries: Sequence[str]) -> list[Death]:
    return [Death(moment, name) for name in boundaries if moment is not Moment.SENT or name.startswith("POST ")]


@pytest.mark.parametrize("moment", Moment)
async def test_a_response_is_finished_by_another_responder(
    ring: Ring, boundaries: tuple[list[str], list[str]], moment: Moment
) -> None:
    ring.poison()
    tools: asyncio.Queue[str] = asyncio.Queue()
    for tool in ring.tools:
        tools.put_nowait(tool)
    failures: dict[str, str] = {}

    async def attempt(death: Death) -> None:
        tool = await tools.get()
        try:
            async with _Case.opened(ring, tool) as case:
                await case.home.receive(alert(ring.site.server_id, tool))
                await case.dies(NAMES[0], death)
                await case.is_contained(await case.finishes(NAMES[1], Status.CONTAINED))
        except (AssertionError, SoarError) as exc:
            failures[str(death)] = str(exc)
        finally:
            tools.put_nowait(tool)

    deaths = _deaths(moment, boundaries[0])
    await asyncio.gather(*map(attempt, deaths))
    assert deaths
    assert not failures, _shown(failures, deaths)


@pytest.mark.parametrize("moment", Moment)
async def test_a_release_is_finished_by_another_responder(
    ring: Ring, boundaries: tuple[list[str], list[str]], moment: Moment
) -> None:
    failures: dict[str, str] = {}

    async def attempt(case: _Case, incident: str, death: Death) -> None:
        try:
            await case.home.ask("ann", Verb.RELEASE, incident, reason="healed")
            await case.dies(NAMES[1], death)
            await case.is_given_back(await case.finishes(NAMES[2], Status.RECOVERING))
        except (AssertionError, SoarError) as exc:
            failures[str(death)] = str(exc)

    deaths = _deaths(moment, boundaries[1])
    for start in range(0, len(deaths), AT_ONCE):
        batch = deaths[start : start + AT_ONCE]
        async with AsyncExitStack() as stack:
            ring.poison()
            opened = [await stack.enter_async_context(_Case.opened(ring, tool)) for _, tool in zip(batch, ring.tools)]
            for case in opened:
                await case.home.receive(alert(ring.site.server_id, case.tool))
            contained = await asyncio.gather(*(case.finishes(NAMES[0], Status.CONTAINED) for case in opened))
            ring.server.behave()
            await asyncio.gather(*(attempt(c, i.id, d) for c, i, d in zip(opened, contained, batch, strict=True)))
    assert deaths
    assert not failures, _shown(failures, deaths)


def _shown(failures: dict[str, str], deaths: Sequence[Death]) -> str:
    lines = (f"{death}:\n{why[:3000]}" for death, why in failures.items())
    return "\n\n".join([f"{len(failures)} of {len(deaths)} deaths", *lines])


async def test_a_claim_never_becomes_shorter_than_an_effect_needs(tmp_path: Path) -> None:
    world = Connections(Inventory(version=1))
    async with house(tmp_path, world) as home:
        (entry,) = await home.journal.append(f"{PREFIX}inc-1", [Event("page", {"id": "a", "notice": "a", "text": "a"})])
        await home.journal.submit(lambda tx: tx.make_runnable(entry.stream, lane=CUT))
        (claim,) = await home.journal.claim("test", lane=CUT, limit=1, seconds=30.0)
        case = await Case.take(replace(home.parts, timing=Timing(claim=1.0)), claim)
        await case.outlast(20.0)
        until = case.claim.until
        await case.renew()
        assert case.claim.until > until - 1.0
