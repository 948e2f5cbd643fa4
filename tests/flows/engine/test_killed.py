"""A responder dies by SIGKILL at every boundary of a response and of a release; another one finishes the job.

The boundaries are those that an undisturbed run comes past, so that a new step is covered without a word here.
"""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flows.demo.contextforge import RunningGateway
from flows.demo.site import GATEWAY
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
from tests.lab.crowd import Crowd, crowd
from tests.lab.faulty_proxy import FaultyProxy, faulty_proxy
from tests.lab.house import House, alert, house
from tests.lab.responder_process import Death, Moment, Orders, Process, at_rest, in_turn, responder_process

AT_ONCE = 6
"""Cases side by side, each about a tool of its own: most of one is waiting until a dead responder's claim runs out."""

WITHIN = 60.0
NAMES = ("responder-1", "responder-2", "responder-3")
EXHIBITS = {"raw-alert", "definitions", "server_answer", "gateway_state", "gateway_logs"}


# To die right before a commit is to die right after the one before it, but for the first: the complete set takes
# longer than the suite may.
moments = pytest.mark.parametrize(
    "moment", [pytest.param(Moment.BEFORE, marks=pytest.mark.slow), Moment.SENT, Moment.AFTER]
)


@pytest.fixture(scope="module")
def ring(gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowd(gateway, tmp_path_factory.mktemp("crowd"), tools=AT_ONCE) as running:
        yield running


class _Case:
    """One installation, one tool, one incident."""

    def __init__(self, ring: Crowd, tool: str, home: House, proxy: FaultyProxy, inventory: Inventory) -> None:
        self.ring = ring
        self.tool = tool
        self.home = home
        self.proxy = proxy
        self.inventory = inventory
        self.processes: list[Process] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, ring: Crowd, tool: str, folder: Path, world: Connections) -> AsyncIterator["_Case"]:
        folder = Path(tempfile.mkdtemp(dir=folder))
        for name in NAMES:
            SigningKey.generate(folder / f"{name}.key")
        async with faulty_proxy(ring.gateway.url) as proxy, house(folder, world, key=NAMES[0], name="test") as home:
            case = cls(ring, tool, home, proxy, ring.site.through(proxy.url).inventory)
            try:
                yield case
            finally:
                for process in case.processes:
                    process.kill()
                # Whatever became of it, the tool is there for the next case.
                await case.forge.set_enabled(PinKind.TOOL, ring.tool_id(tool), enabled=True)

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
            (incident,) = await at_rest(self.home, status, 1, [process], within=WITHIN)
        assert await process.ended() == 0, process.output()
        return incident

    async def enabled(self) -> bool:
        """Whether the gateway lets clients use the case's tool; nothing else of the server was touched."""
        enabled = await self.ring.enabled(self.forge)
        assert all(is_ for name, is_ in enabled.items() if name not in self.ring.tools)
        return enabled[self.tool]

    async def entries(self, kind: str) -> int:
        (row,) = await self.journal.streams(PREFIX)
        return sum(entry.parsed().kind == kind for entry in await self.journal.read(row.name))

    async def is_contained(self, incident: Incident) -> None:
        assert self.proxy.writes == [self.ring.change(self.tool)]
        assert await self.enabled() is False
        cut = f"cut-tool@{self.ring.server_id}/{self.tool}"
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
        in_turn([self.orders(name) for name in NAMES])

    async def is_given_back(self, incident: Incident) -> None:
        assert self.proxy.writes == [self.ring.change(self.tool)] * 2
        assert await self.enabled() is True
        assert await self.entries("released") == 1
        assert await self.entries("release_intended") == 1
        assert incident.metrics["released_at"] is not None
        assert await self.journal.holds() == []
        assert await self.journal.reserved() == []
        assert await self.journal.watched() == []
        assert incident.noticed.count(f"released:cut-tool@{self.ring.server_id}/{self.tool}") == 1
        await self.is_whole(incident)


@asynccontextmanager
async def _directly(ring: Crowd) -> AsyncIterator[Connections]:
    """Yield connections to the gateway itself, past the proxies that count."""
    world = Connections(ring.site.inventory)
    world.reach(ContextForge, GATEWAY).patience = 30.0
    try:
        yield world
    finally:
        await world.aclose()


async def _undisturbed(ring: Crowd, folder: Path) -> tuple[list[str], list[str]]:
    ring.poison()
    async with _directly(ring) as world, _Case.opened(ring, ring.tools[0], folder, world) as case:
        await case.home.receive(alert(ring.server_id, case.tool))
        incident = await case.finishes(NAMES[0], Status.CONTAINED)
        await case.is_contained(incident)
        ring.server.behave()
        await case.home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
        await case.is_given_back(await case.finishes(NAMES[1], Status.RECOVERING))
        response, release = (case.orders(name).boundaries.read_text().splitlines() for name in NAMES[:2])
        return response, release


@pytest.fixture(scope="module")
def boundaries(ring: Crowd, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Those of a response and those of a release, as an undisturbed run comes past them."""
    return asyncio.run(_undisturbed(ring, tmp_path_factory.mktemp("undisturbed")))


def _deaths(moment: Moment, boundaries: Sequence[str]) -> list[Death]:
    return [Death(moment, name) for name in boundaries if moment is not Moment.SENT or name.startswith("POST ")]


@pytest.mark.timeout(300)
@moments
async def test_a_response_is_finished_by_another_responder(
    ring: Crowd, boundaries: tuple[list[str], list[str]], moment: Moment, tmp_path: Path
) -> None:
    ring.poison()
    tools: asyncio.Queue[str] = asyncio.Queue()
    for tool in ring.tools:
        tools.put_nowait(tool)
    failures: dict[str, str] = {}

    async def attempt(death: Death) -> None:
        tool = await tools.get()
        try:
            async with _Case.opened(ring, tool, tmp_path, world) as case:
                await case.home.receive(alert(ring.server_id, tool))
                await case.dies(NAMES[0], death)
                await case.is_contained(await case.finishes(NAMES[1], Status.CONTAINED))
        except (AssertionError, SoarError) as exc:
            failures[str(death)] = str(exc)
        finally:
            tools.put_nowait(tool)

    deaths = _deaths(moment, boundaries[0])
    async with _directly(ring) as world:
        await asyncio.gather(*map(attempt, deaths))
    assert deaths
    assert not failures, _shown(failures, deaths)


@pytest.mark.timeout(300)
@moments
async def test_a_release_is_finished_by_another_responder(
    ring: Crowd, boundaries: tuple[list[str], list[str]], moment: Moment, tmp_path: Path
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
            world = await stack.enter_async_context(_directly(ring))
            ring.poison()
            opened = [
                await stack.enter_async_context(_Case.opened(ring, tool, tmp_path, world))
                for _, tool in zip(batch, ring.tools, strict=False)
            ]
            for case in opened:
                await case.home.receive(alert(ring.server_id, case.tool))
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
