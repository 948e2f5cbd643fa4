"""What waits in a queue of ours is not forgotten, no sign of a system's silence, and not written blindly."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event

from flows.engine.alerts import look_ahead
from flows.engine.case import Case
from flows.engine.intake import MANY, Taken, intake
from flows.engine.opening import CUT as CUTTING
from flows.engine.opening import open_incident
from flows.engine.parts import Parts
from flows.service.responder import REST, SOME, Responder, direct_flow
from integrations.journal.store import Claim
from playbooks.action import World
from playbooks.errors import Transient
from playbooks.gate.plan import Change, Plan
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from tests.lab import flags, scenes
from tests.lab.flags import CUT, SetFlags
from tests.lab.house import House, alert

CHECK = "healthy@weather/forecast"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flags.flags(tmp_path / "flags", "a")


class Gateway:
    """Takes a change when it is told to, and breaks as often as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.takes = asyncio.Event()
        self.broken = 0
        self.reads = 0
        self.waiting = 0
        monkeypatch.setattr(SetFlags, "turn", self.turn)
        monkeypatch.setattr(SetFlags, "happens", self.happens)

    @asynccontextmanager
    async def turn(self, _change: Change, _world: World) -> AsyncIterator[None]:
        self.waiting += 1
        await self.takes.wait()
        self.waiting -= 1
        yield

    async def waits(self, home: House) -> None:
        """Wait until a change waits for it."""

        async def so() -> bool:
            return self.waiting > 0

        await home.until(so, "a change waits for its gateway")

    async def is_read(self, home: House, times: int) -> None:
        """Wait until it was asked that often how the change's field stands."""

        async def so() -> bool:
            return self.reads >= times

        await home.until(so, f"it is read {times} times")

    async def happens(self, moment: str, _change: Change) -> None:
        self.reads += moment == "reading"
        if moment == "writing" and self.broken:
            self.broken -= 1
            raise Transient("broken")


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Gateway:
    return Gateway(monkeypatch)


class Look(NamedTuple):
    """One look at the inbox: when it began and ended, and whether another one has to follow that opened nothing."""

    began: float
    ended: float
    again: bool


class Questions:
    """Are taken when they are told to be."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.came, self.takes = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(SetFlags, "question", self.question)

    @asynccontextmanager
    async def question(self, _plan: Plan, _world: World) -> AsyncIterator[None]:
        self.came.set()
        await self.takes.wait()
        yield


@pytest.fixture
def questions(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Questions:
    gateway.takes.set()
    return Questions(monkeypatch)


class Two:
    """An installation with two processes, each with its own responder: one cuts, the other runs the flows.

    Args:
        home: the one that cuts.
        other: the one that runs flows.
    """

    def __init__(self, home: House, other: House) -> None:
        self.home, self.other = home, other
        self.ran: list[tuple[str, str]] = []
        """Whose process ran a flow, and of which stream."""

    async def flow(self, parts: Parts, claim: Claim) -> Case:
        self.ran.append((parts.name, claim.stream))
        return await direct_flow(parts, claim)


@pytest.fixture
async def two(tmp_path: Path, folder: Path, gateway: Gateway) -> AsyncIterator[Two]:
    """Two processes of one installation, whose gateway takes every change; evidence belongs to its playbook."""
    gateway.takes.set()
    playbook = flags.playbook(flags.step(folder), capture=[flags.healthy(folder)])
    async with (
        flags.installation(tmp_path, playbook) as home,
        flags.installation(tmp_path, playbook, name="responder-1-flows") as other,
    ):
        yield Two(home, other)


async def failures(home: House, name: str) -> list[str]:
    return [entry.body["message"] for entry in await scenes.entries(home, name) if entry.kind == "failed"]


async def test_a_cut_that_is_tried_again_waits_for_no_flow(tmp_path: Path, folder: Path, gateway: Gateway) -> None:
    gateway.takes.set()
    gateway.broken = 2
    playbook = flags.playbook(flags.step(folder), capture=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook) as home, home.responding(flows=0):
        await flags.respond(home)
        incident = await home.reaches(Status.CONTAINED)
        assert CHECK not in incident.steps, "no flow had a place for it"
        assert await failures(home, incident.id) == ["broken"] * 2
        assert flags.writes(folder) == ["a off"]


async def test_what_a_plan_will_read_is_asked_for_while_its_incident_is_opened(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    async def happens(moment: str, _change: Change) -> None:
        order.append(moment)

    monkeypatch.setattr(SetFlags, "happens", happens)
    monkeypatch.setattr(SetFlags, "foresee", lambda *_: order.append("foreseen"))
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home, home.responding():
        await home.receive(alert("weather", "forecast"))
        await home.reaches(Status.AWAITING_APPROVAL)
        assert order == ["foreseen", "planned"]
        # One more of the same opens nothing.
        await home.receive(alert("weather", "forecast"), source="second")
        await home.reaches(Status.CONTAINED)
        assert order.count("foreseen") == 1


async def test_what_is_foreseen_is_on_its_way_before_the_incident_is_written(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    questions: list[asyncio.Task[None]] = []

    async def question() -> None:
        for _ in range(200):  # as a client hands a request on, step by step
            await asyncio.sleep(0)
        order.append("asked")

    def foresee(*_: object) -> None:
        questions.append(asyncio.create_task(question()))

    async def written(*args: Any, **more: Any) -> Any:  # noqa: ANN401  # as it is
        order.append("written")
        return await open_incident(*args, **more)

    # As much longer as this question takes more steps than a real one.
    monkeypatch.setattr("flows.engine.alerts._ON_ITS_WAY", 0.5)
    monkeypatch.setattr("flows.engine.alerts.open_incident", written)
    monkeypatch.setattr(SetFlags, "foresee", foresee)
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home:
        # A connection is made for the first one that writes, in a thread; every later one writes at once.
        await home.journal.append("before", [Event("before", {})])
        await home.receive(alert("weather", "forecast"))
        await home.take_in()
        await asyncio.gather(*questions)
    assert order == ["asked", "written"]


async def test_nothing_is_foreseen_of_what_nobody_proves_or_can_read_and_it_keeps_nothing_from_coming_in(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(SetFlags, "foresee", lambda *_: asked.append(None))
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home:
        await home.receive(alert("weather", "forecast"))
        (item,) = await home.journal.waiting(9)
        for none in (
            {"body": b"{"},
            {"kind": "request"},
            {"source": "nobody"},
            {"stamp": None},
            {"body": b"[" * 9_000},
        ):
            look_ahead(home.parts, [item._replace(**none)])
        with monkeypatch.context() as during:
            during.setattr("flows.engine.alerts.about", lambda *_: 1 // 0)
            look_ahead(home.parts, [item])
        assert not asked
        look_ahead(home.parts, [item])
        assert asked == [None]
        await home.take_in()
        assert await home.incidents()


async def by_people(home: House) -> Incident:
    """Have ann start a response and bob approve its cut; no alert is kept as evidence of it."""
    await home.ask("ann", Verb.RESPOND, "new", reason="seen", params=flags.NEW)
    await scenes.taken_in(home)
    (incident,) = await home.incidents()
    await scenes.approve(home, "bob", incident.id, await scenes.proposed(home, incident.id, CUT))
    return await home.reaches(Status.CONTAINED)


async def test_one_process_cuts_and_another_runs_the_flows(two: Two, folder: Path) -> None:
    home = two.home
    async with home.responding(flow=two.flow, flows=0):
        incident = await by_people(home)
    assert CHECK not in incident.steps, "who cuts runs no flow"
    async with two.other.responding(flow=two.flow, cuts=False):
        await home.ask("ann", Verb.RESPOND, "new", reason="seen", params=flags.NEW)

        async def asked() -> bool:
            return CHECK in (await home.incident(incident.id)).steps

        await home.until(asked, "what belongs to the evidence is asked")
        assert len(await home.journal.waiting(10)) == 1, "who runs flows takes nothing in"
    assert two.ran == [("responder-1-flows", f"incident/{incident.id}")]
    assert flags.writes(folder) == ["a off"]


async def test_a_look_at_nothing_asks_the_journal_little(tmp_path: Path, folder: Path) -> None:
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home:
        responder = Responder(home.parts, flows=0)
        await responder.sweep()
        asked: list[str] = []
        reading = home.journal._reading.sync_engine  # noqa: SLF001  # what it asks has no public name
        event.listen(reading, "before_cursor_execute", lambda *said: asked.append(said[2]))
        await responder.sweep()
    # What waits in the inbox, in which order, what nobody reads, which lanes are due, what is stopped.
    assert len(asked) == 5


async def test_while_something_is_cut_a_look_takes_in_less_and_is_followed_by_a_rest(
    tmp_path: Path, folder: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.takes.set()
    cutting: list[Look] = []
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home:
        responder = Responder(home.parts, flows=0)

        async def look(parts: Parts, limit: int, **given: Any) -> Taken:  # noqa: ANN401  # as it is
            at_work = bool(responder._cutting)  # noqa: SLF001  # what is being cut has no public name
            assert limit == (SOME if at_work else MANY)
            began = time.monotonic()
            taken = await intake(parts, limit, **given)
            if at_work:
                cutting.append(Look(began, time.monotonic(), again=taken.more and not taken))
            return taken

        async def none_waits() -> bool:
            return not await home.journal.inbox_counts()

        monkeypatch.setattr("flows.service.responder.intake", look)
        stop = asyncio.Event()
        running = asyncio.create_task(responder.run(stop))
        gateway.takes.clear()
        await flags.respond(home)
        await gateway.waits(home)
        for _ in range(SOME + 1):
            await home.receive(alert("weather", "forecast"))
        await home.until(none_waits, "all of them are taken in while it is being cut")
        gateway.takes.set()
        await home.reaches(Status.CONTAINED)
        stop.set()
        await running
    rests = [(last, after.began - last.ended) for last, after in pairwise(cutting) if last.again]
    assert rests
    for last, rest in rests:
        # A timer may be a moment early.
        assert rest >= 0.9 * min(last.ended - last.began, REST)


async def test_flows_of_another_process_give_way_to_cuts_in_hand(two: Two) -> None:
    home, other = two.home, two.other
    async with home.responding(flows=0):
        incident = await by_people(home)
    await home.receive(alert("weather", "add"))
    (opened,) = await intake(home.parts)
    looked = asyncio.Event()
    in_hand = other.journal.in_hand

    async def asked(lane: str) -> bool:
        looked.set()
        return await in_hand(lane)

    other.journal.in_hand = asked  # type: ignore[method-assign]  # noted, and otherwise the same
    async with other.responding(flow=two.flow, cuts=False):
        await looked.wait()
        assert two.ran == [], "another one is being cut"
        await home.journal.release(opened.claim, runnable_at=None, lane=CUTTING)

        async def begun() -> bool:
            return bool(two.ran)

        await home.until(begun, "the flow is started")
    assert two.ran == [("responder-1-flows", f"incident/{incident.id}")]


async def test_evidence_does_not_wait_for_a_cut_that_is_tried_again_much_later(
    tmp_path: Path, folder: Path, gateway: Gateway
) -> None:
    gateway.takes.set()
    gateway.broken = 1
    playbook = flags.playbook(flags.step(folder), capture=[flags.healthy(folder)])
    timing = replace(scenes.FAST, write_retries=(3600.0,))
    async with flags.installation(tmp_path, playbook, timing=timing) as home, home.responding():
        await flags.respond(home)

        async def asked() -> bool:
            return any(CHECK in incident.steps for incident in await home.incidents())

        await home.until(asked, "what belongs to the evidence is asked")
        (incident,) = await home.incidents()
        assert incident.steps[CUT].progress is Progress.RETRYING
        assert flags.writes(folder) == []


async def test_what_waits_for_its_turn_is_read_anew_and_is_no_silence(
    tmp_path: Path, folder: Path, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for longer than an answer may take: that is our queue, and not the gateway.
    monkeypatch.setattr(SetFlags, "timeout", 0.5)
    timing = replace(scenes.FAST, fresh=0.3, turn=600.0)
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder)), timing=timing) as home:
        async with home.responding():
            await flags.respond(home)
            await gateway.is_read(home, 3)
            gateway.takes.set()
            incident = await home.reaches(Status.CONTAINED)
        assert await failures(home, incident.id) == []
        assert flags.writes(folder) == ["a off"]


async def test_what_somebody_did_while_it_waited_is_not_done_again(
    tmp_path: Path, folder: Path, gateway: Gateway
) -> None:
    timing = replace(scenes.FAST, fresh=0.1, turn=600.0)
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder)), timing=timing) as home:
        async with home.responding():
            await flags.respond(home)
            await gateway.is_read(home, 1)
            (folder / "a.flag").write_text("off")
            incident = await home.reaches(Status.CONTAINED)
        assert flags.writes(folder) == []
        assert not gateway.takes.is_set()
        assert "found already so" in "".join(line.detail for line in incident.timeline)


async def test_a_queue_that_does_not_move_is_a_failed_attempt_that_names_it(
    tmp_path: Path, folder: Path, gateway: Gateway
) -> None:
    timing = replace(scenes.FAST, turn=0.2)
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder)), timing=timing) as home:
        async with home.responding():
            await flags.respond(home)

            async def gave_up() -> bool:
                return bool([why for one in await home.incidents() for why in await failures(home, one.id)])

            await home.until(gave_up, "an attempt is given up")
            gateway.takes.set()
            incident = await home.reaches(Status.CONTAINED)
        assert "the queue before" in (await failures(home, incident.id))[0]
        assert flags.writes(folder) == ["a off"]


async def test_the_kill_switch_is_asked_when_the_wait_is_over(tmp_path: Path, folder: Path, gateway: Gateway) -> None:
    timing = replace(scenes.FAST, turn=600.0)
    playbook = flags.playbook(flags.step(folder))
    async with flags.installation(tmp_path, playbook, timing=timing) as home, home.responding():
        await flags.respond(home)

        async def intended() -> bool:
            return any(CUT in incident.steps for incident in await home.incidents())

        await home.until(intended, "it is decided, and waits for its turn")
        await home.ask("ann", Verb.STOP, "everything", reason="a change window")

        async def stopped() -> bool:
            return bool(await home.journal.stops())

        await home.until(stopped, "the kill switch is on")
        gateway.takes.set()

        async def let_go() -> bool:
            return all(row.owner is None for row in await home.journal.streams("incident/"))

        await home.until(let_go, "nobody works on it any more")
        assert flags.writes(folder) == []


async def test_a_verification_that_waits_for_its_turn_is_asked_then_and_once(
    tmp_path: Path, folder: Path, questions: Questions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SetFlags, "timeout", 0.2)
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home, home.responding():
        await flags.respond(home)
        await questions.came.wait()
        # Longer than an answer may take, three times over: that is our queue, and not the gateway's silence.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1.0)
        assert flags.writes(folder) == ["a off"], "nobody waits with the cut for the questions about it"
        questions.takes.set()
        incident = await home.reaches(Status.CONTAINED)
        verdicts = [
            e.body["verdict"]["answer"] for e in await scenes.entries(home, incident.id) if e.kind == "verified"
        ]
        assert verdicts == ["established"]


async def test_questions_that_nobody_takes_are_answered_unknown(
    tmp_path: Path, folder: Path, questions: Questions
) -> None:
    timing = replace(scenes.FAST, question=0.2)
    playbook = flags.playbook(flags.step(folder))
    async with flags.installation(tmp_path, playbook, timing=timing) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.NOT_ESTABLISHED)
        (first, *_) = [e for e in await scenes.entries(home, incident.id) if e.kind == "verified"]
        assert first.body["verdict"]["answer"] == "unknown"
        assert "the queue before verifying" in str(first.body["verdict"])
        questions.takes.set()
        await home.reaches(Status.CONTAINED)
