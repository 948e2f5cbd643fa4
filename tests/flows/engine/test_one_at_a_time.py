"""What is being given back is not contained by what is left of its cut, whichever of the two was begun first."""

import asyncio
from pathlib import Path

import pytest
from typing_extensions import override

from flows.engine import response, schedule
from integrations.systems.contextforge.held import Held
from playbooks.gate.plan import Answer, Finding
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from tests.lab import flags, gateway, scenes
from tests.lab.gateway import Gateway, Place, held

CUT = "cut-tool@weather/forecast"


class Leaking(Gateway):
    """Lets through what is disabled, and takes its time to say so from the third call on: the one before is a watch."""

    def __init__(self, *tools: Held) -> None:
        super().__init__(*tools)
        self.calls = 0
        self.answers = asyncio.Event()

    @override
    async def call(self, *asked: object, **how: object) -> Finding:
        if self.usable("forecast"):
            return await super().call(*asked, **how)
        self.calls += 1
        if self.calls > 2:
            await self.answers.wait()
        return (await super().call(*asked, **how)).model_copy(update={"answer": Answer.NOT_ESTABLISHED})


async def test_a_release_waits_for_what_its_own_cut_has_begun_and_is_not_undone_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Leaking(held("forecast"), held("add"))
    place = Place(site, approved=("forecast", "add"), imported=(), watch_every=600.0)
    ready, looks = schedule.ready, list[str]()

    def counted(state: Incident, *more: object, **how: object) -> object:
        looks.extend(["wanted"] if state.releases else [])
        return ready(state, *more, **how)  # type: ignore[arg-type]  # what it was called with

    monkeypatch.setattr(response, "LOOK", 0.02)
    monkeypatch.setattr(schedule, "ready", counted)
    async with gateway.installation(tmp_path, place) as home, home.responding():
        await flags.respond(home)

        async def asking() -> bool:
            return site.calls > 2

        await home.until(asking, "it does not hold, and is asked about again")
        name = (await home.incidents())[0].id
        await home.ask("ann", Verb.RELEASE, name, reason="it is needed", params={"lease": CUT})

        async def back_or_waiting() -> bool:
            return (await home.incident(name)).leases[CUT].released_at is not None or len(looks) > 30

        await home.until(back_or_waiting, "it is given back, or waits")
        site.answers.set()
        await home.reaches(Status.RELEASED, name)
        await scenes.taken_in(home)
        await home.settled(name)
        incident = await home.incident(name)
        assert incident.steps[CUT].progress is Progress.RELEASED
        assert site.writes == ["forecast off", "forecast on"]
        assert site.usable("forecast")
