"""An incident that one responder after another works on, each as a process that may be told to die on the way."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from flows.demo.site import GATEWAY
from flows.engine.case import PREFIX
from integrations.connections import Connections
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from integrations.systems.contextforge.driver import ContextForge
from integrations.vault import bundle
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.record.told import Occurrence
from tests.lab.connected import connected
from tests.lab.crowd import Crowd
from tests.lab.faulty_proxy import FaultyProxy, faulty_proxy
from tests.lab.house import House, house
from tests.lab.responder_process import Death, Orders, Process, at_rest, in_turn, responder_process

WITHIN = 120.0
NAMES = ("responder-1", "responder-2", "responder-3")
HELD = ("contained", "not_established")
LOOKED = ("verified", "lease_checked")
EXHIBITS = {"raw-alert", "definitions", "server_answer", "gateway_state", "gateway_logs"}


class Succession:
    """One installation, one tool, one incident.

    Args:
        ring: where the tool is.
        tool: what the incident is about.
        home: the installation.
        proxy: counts what changes the gateway.
        inventory: reaches the gateway through the proxy.
    """

    prefect: tuple[str, str] | None = None
    """Where its responders run flows; as in `Orders`."""

    def __init__(self, ring: Crowd, tool: str, home: House, proxy: FaultyProxy, inventory: Inventory) -> None:
        self.ring = ring
        self.tool = tool
        self.home = home
        self.proxy = proxy
        self.inventory = inventory
        self.processes: list[Process] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, ring: Crowd, tool: str, folder: Path, world: Connections) -> AsyncIterator["Succession"]:
        """Yield an installation in a new folder, with the keys of everybody in `NAMES`."""
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
        """The installation's."""
        return self.home.journal

    def orders(self, name: str, death: Death | None = None) -> Orders:
        """Return the orders of one of `NAMES`."""
        return Orders(self.home.folder, self.inventory, name, death=death, prefect=self.prefect)

    async def dies(self, name: str, death: Death) -> bool:
        """Run a responder until it has killed itself; return False if this run never comes past that boundary.

        By how long things take a look at the leases falls into a run or not, and what it asks is a boundary then.
        """
        process = Process(self.orders(name, death))
        self.processes.append(process)
        try:
            async with asyncio.timeout(WITHIN):
                status = await process.ended()
        except TimeoutError:
            passed = self.orders(name).boundaries.read_text()
            if death.boundary not in passed.splitlines():
                process.kill()
                await process.ended()
                return False
            raise AssertionError(f"{name} lives, and came past\n{passed}{process.output()}") from None
        assert status == -signal.SIGKILL, f"ended with {status}: {process.output()}"
        return True

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
        """Return how many entries of a kind the incident's stream has."""
        (row,) = await self.journal.streams(PREFIX)
        return sum(entry.parsed().kind == kind for entry in await self.journal.read(row.name))

    async def is_contained(self, incident: Incident) -> None:
        """The tool was taken away, by one request, and everything that belongs to that is there."""
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
        self.was_told_once(incident)
        keys = tuple(self.home.parts.keys.values())
        assert await self.journal.verify(public_keys=keys) == []
        assert incident.bundle is not None
        sealed = bundle.signed(self.home.parts.bundles / incident.bundle, keys)
        assert {exhibit.id for exhibit in sealed.exhibits} == {exhibit["id"] for exhibit in incident.exhibits}
        report = bundle.verify(await self.home.bundled(incident.id), self.home.parts.signer.public)
        assert [check.sentence for check in report.checks if not check.ok] == []
        in_turn([self.orders(name) for name in NAMES])

    def was_told_once(self, incident: Incident) -> None:
        """People heard that it is contained, and heard it again only if there was no telling in between."""
        told = [word for word in (n.partition(":")[0] for n in incident.noticed) if word in HELD]
        course = "\n".join(f"{line.at:%H:%M:%S.%f} {line.what} {line.detail}" for line in incident.timeline)
        assert told[-1:] == ["contained"], course
        assert all(one != other for one, other in pairwise(told)), f"{told}\n{course}"
        # A gateway that is busy may answer nothing at first, or take a call until its caches are told: what counts is
        # that nothing gets through once it held.
        looks = [(_answer(line), line) for line in incident.timeline if line.kind in LOOKED]
        held = [answer for answer, _ in looks].index(Answer.ESTABLISHED)
        leaks = [
            f"{at.at:%H:%M:%S} {at.what} {at.detail}" for answer, at in looks[held:] if answer is Answer.NOT_ESTABLISHED
        ]
        assert leaks == [], course

    async def is_given_back(self, incident: Incident) -> None:
        """The tool was given back, by one request more, and nothing of the response is left in force."""
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


def _answer(line: Occurrence) -> Answer:
    return Answer(line.what.split()[-1])


@asynccontextmanager
async def directly(ring: Crowd) -> AsyncIterator[Connections]:
    """Yield connections to the gateway itself, past the proxies that count."""
    world = connected(ring.site.inventory)
    world.reach(ContextForge, GATEWAY).patience = 30.0
    try:
        yield world
    finally:
        await world.aclose()
