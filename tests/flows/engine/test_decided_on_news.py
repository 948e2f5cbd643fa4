"""What people and alerts say while a plan is being made counts: a decision is made on the stream as it stands then."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.engine.opening import CUT as LANE
from playbooks.errors import Transient
from playbooks.gate.plan import Change
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import Parsed
from playbooks.record.step import Progress, StepState
from tests.lab import flags, scenes
from tests.lab.fixtures import Lab
from tests.lab.flags import CUT, SetFlags
from tests.lab.house import House, alert

News = Callable[[], Awaitable[None]]
GIVEN_BACK = f"release-{CUT}"


class Slow:
    """An outside system that answers a plan's questions only after what happens meanwhile is on record."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
        self._moment = moment
        self._meanwhile: News | None = None
        self._then: Exception | None = None
        self.waited = 0
        monkeypatch.setattr(SetFlags, "happens", self._happens)

    def next(self, meanwhile: News, then: Exception | None = None) -> None:
        """Let that happen during the next answer, which is an error if one is given."""
        self._meanwhile, self._then = meanwhile, then

    async def _happens(self, moment: str, _change: Change) -> None:
        meanwhile = self._meanwhile
        if moment == self._moment and meanwhile is not None:
            self._meanwhile = None
            await meanwhile()
            self.waited += 1
            if self._then is not None:
                raise self._then


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flags.flags(tmp_path / "flags")


async def says(home: House, who: str, verb: Verb, incident: str, **more: Any) -> None:  # noqa: ANN401  # a request's other fields
    """Have a person's request judged before anything else goes on."""
    await home.ask(who, verb, incident, **more)
    await scenes.taken_in(home)


def about(entries: list[Parsed], *kinds: str) -> list[str]:
    """Return what was decided, in order."""
    return [entry.kind for entry in entries if entry.kind in kinds]


@asynccontextmanager
async def unconfirmed(folder: Path, tmp_path: Path, **more: Any) -> AsyncIterator[tuple[House, str, StepState]]:  # noqa: ANN401  # of an installation
    """Open an incident that one source alone reports, so that people are asked."""
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder)), **more) as home, home.responding():
        await home.receive(alert("weather", "forecast"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        yield home, name, await scenes.proposed(home, name, CUT)


async def waited(home: House, slow: Slow) -> None:
    async def so() -> bool:
        return slow.waited == 1

    await home.until(so, "the slow answer came")
    await quiet(home)


async def quiet(home: House) -> None:
    """Wait until no responder has an incident in hand and none is to run now."""

    async def so() -> bool:
        rows = await home.journal.streams("incident/")
        return all((row.owner is None and row.runnable_at is None) or row.lane != LANE for row in rows)

    await home.until(so, "nothing runs")


async def test_a_no_that_comes_while_a_plan_is_made_is_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, "planned")
    async with unconfirmed(folder, tmp_path) as (home, name, step):
        assert step.plan is not None
        digest = step.plan.digest

        async def denied() -> None:
            await says(home, "bob", Verb.DENY, name, digest=digest, reason="a drill")

        slow.next(denied)
        # What would let the gate pass it at once: a second source says the same.
        await home.receive(alert("weather", "forecast"), source="second")
        await waited(home, slow)
        incident = await home.incident(name)
        assert incident.steps[CUT].progress is Progress.DENIED
        assert incident.leases == {}
        assert flags.writes(folder) == []
        assert about(await scenes.entries(home, name), "proposed", "decided", "intended") == ["proposed", "decided"]


async def test_a_no_is_kept_when_the_plan_that_was_being_made_breaks_off(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, "planned")
    async with unconfirmed(folder, tmp_path) as (home, name, step):
        assert step.plan is not None
        digest = step.plan.digest

        async def denied() -> None:
            await says(home, "bob", Verb.DENY, name, digest=digest, reason="a drill")

        slow.next(denied, then=Transient("no answer"))
        await home.receive(alert("weather", "forecast"), source="second")
        await waited(home, slow)
        incident = await home.incident(name)
        assert incident.steps[CUT].progress is Progress.DENIED
        assert flags.writes(folder) == []


async def test_a_no_holds_for_every_step_that_would_ask_for_the_very_same(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another step comes to the same plan while people say no to it: they are not asked again in the same second."""
    again = "again-flags@weather/forecast"
    planned = 0

    async def happens(moment: str, _change: Change) -> None:
        nonlocal planned
        planned += moment == "planned"
        if moment == "planned" and planned == 2:
            (name,) = [one.id for one in await home.incidents()]
            step = await scenes.proposed(home, name, CUT)
            assert step.plan is not None
            await says(home, "bob", Verb.DENY, name, digest=step.plan.digest, reason="a drill")

    monkeypatch.setattr(SetFlags, "happens", happens)
    playbook = flags.playbook(flags.step(folder), isolate=[flags.step(folder, id="again-flags")])
    async with flags.installation(tmp_path, playbook) as home, home.responding():
        await home.receive(alert("weather", "forecast"))

        async def answered() -> bool:
            found = await home.incidents()
            return bool(found) and again in (await home.incident(found[0].id)).steps

        await home.until(answered, "the second step was decided on")
        await quiet(home)
        (name,) = [one.id for one in await home.incidents()]
        incident = await home.incident(name)
        assert incident.steps[again].progress is Progress.SKIPPED
        assert "bob said no to this very plan" in incident.steps[again].message
        entries = await scenes.entries(home, name)
        assert about(entries, "proposed", "decided", "skipped") == ["proposed", "decided", "skipped"]
        # A person asks for it: then so is everybody else.
        await says(home, "ann", Verb.RESPOND, name, reason="it is bad after all")
        await scenes.proposed(home, name, CUT)
        await scenes.proposed(home, name, again)


async def test_what_a_confirmation_said_is_told_and_asked_no_more_once_people_decided(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def happens(moment: str, _change: Change) -> None:
        nonlocal asked
        asked += moment == "asked"
        if moment == "asked":
            raise Transient("the server says 418")

    monkeypatch.setattr(SetFlags, "happens", happens)
    playbook = flags.playbook(flags.step(folder), confirm=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook) as home, home.responding():
        await home.receive(alert("weather", "forecast"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        step = await scenes.proposed(home, name, CUT)
        failed = [entry for entry in await scenes.entries(home, name) if entry.kind == "failed"]
        assert failed
        assert "came to no answer: healthy@weather/forecast" in failed[0].body["message"]
        assert "the server says 418" in failed[0].body["message"]
        assert step.message == "", "a question is not what went wrong before it"
        before = asked
        await scenes.approve(home, "bob", name, step)
        await home.reaches(Status.CONTAINED, name)
        assert asked == before


async def test_a_no_to_a_release_that_is_being_planned_is_kept(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second look at the world finds it healed, so that nothing but the no stands against the release.
    playbook = flags.playbook(flags.step(folder), eradicate=[flags.healthy(folder)])
    (folder / "poisoned").touch()
    slow = Slow(monkeypatch, "asked")
    async with flags.installation(tmp_path, playbook) as home, home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.CONTAINED)).id
        await home.ask("ann", Verb.RELEASE, name, reason="give it back")
        step = await scenes.proposed(home, name, GIVEN_BACK)
        assert step.plan is not None
        digest = step.plan.digest

        async def denied() -> None:
            (folder / "poisoned").unlink()
            await says(home, "bob", Verb.DENY, name, digest=digest, reason="not yet")

        slow.next(denied)
        await home.receive(alert("weather", "forecast"))
        await waited(home, slow)
        incident = await home.incident(name)
        assert incident.steps[GIVEN_BACK].progress is Progress.DENIED
        assert incident.leases[CUT].in_force
        assert flags.states(folder) == "off off off"


async def test_a_no_that_comes_while_a_real_gateway_is_slow_is_kept(lab: Lab, tmp_path: Path) -> None:
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        step = await scenes.proposed(home, name, cut)
        assert step.plan is not None
        await home.settled(name)
        lab.proxy.forget()
        lab.proxy.open.clear()
        # Two sources agree, which is enough; the gateway is asked what there is to cut, and takes its time.
        await home.receive(alert(lab.site.server_id, "get_weather"), source="second")

        async def planning() -> bool:
            return bool(lab.proxy.seen)

        await home.until(planning, "the gateway is asked")
        await says(home, "bob", Verb.DENY, name, digest=step.plan.digest, reason="a drill")
        lab.proxy.open.set()

        async def over() -> bool:
            row = await home.journal.stream(f"incident/{name}")
            return row is not None and row.owner is None and row.runnable_at is None

        await home.until(over, "nothing runs any more")
        incident = await home.incident(name)
        assert incident.steps[cut].progress is Progress.DENIED
        assert lab.proxy.writes == []
        assert await scenes.enabled(lab, "get_weather")
