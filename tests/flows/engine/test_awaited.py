"""What a release waits for is what the playbook says: neither what confirmed the alert, nor what a check is called."""

from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from playbooks.action import Check, World
from playbooks.gate.plan import Answer, Finding, Plan, Verdict
from playbooks.gate.policy import CHANGED
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.lab import flags, scenes
from tests.lab.house import alert


class UsedAbroad(Check):
    """Established, for good: it was so."""

    name: ClassVar[str] = "test.used_abroad"
    permissions: ClassVar[tuple[str, ...]] = ()

    @override
    async def check(self, world: World) -> Verdict:
        finding = Finding(
            check="use", subject="it", asked_as="t", expected="-", observed="-", answer=Answer.ESTABLISHED
        )
        return Verdict.of((finding,))


STEPS = {**flags.WITH_FLAGS, UsedAbroad.name: UsedAbroad}
ABROAD = {"id": "abroad", "check": UsedAbroad.name, "for": "tool", "why": "test"}


@pytest.mark.parametrize(("until", "waits"), [({}, False), ({"until": "not_established"}, True)])
async def test_a_fact_of_the_past_confirms_and_holds_up_no_release(
    tmp_path: Path, until: dict[str, str], *, waits: bool
) -> None:
    folder = flags.flags(tmp_path / "flags")
    playbooks = flags.playbook(flags.step(folder), confirm=[{**ABROAD, **until}], version=2)
    async with flags.installation(tmp_path, playbooks, steps=STEPS) as home, home.responding():
        await home.receive(alert("weather", "forecast"))
        incident = await home.reaches(Status.CONTAINED)
        assert incident.confirmed_by == (f"abroad@{flags.CUT.partition('@')[2]}",)
        await home.ask("ann", Verb.RELEASE, incident.id, reason="the token is another one now")
        if waits:
            asked = await scenes.proposed(home, incident.id, f"release-{flags.CUT}")
            assert CHANGED in asked.reasons
            assert flags.states(folder) == "off off off"
        else:
            await home.given_back(incident.id)
            assert flags.states(folder) == "on on on"


class Otherwise(flags.SetFlags):
    """Finds after a release that what is back is there, and is not as approved."""

    name: ClassVar[str] = "test.otherwise"
    of_approval: ClassVar[bool] = True

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        finding = Finding(
            check="whatever",
            subject="flags",
            asked_as="t",
            expected="as approved",
            observed="another",
            answer=Answer.NOT_ESTABLISHED,
            of_approval=cls.of_approval,
        )
        return Verdict.of((finding,))


class Missing(Otherwise):
    """The same, and nobody says that it is about what was approved."""

    name: ClassVar[str] = "test.missing"
    of_approval: ClassVar[bool] = False


@pytest.mark.parametrize(("action", "comes_back"), [(Otherwise, True), (Missing, False)])
async def test_who_takes_a_difference_on_takes_on_what_is_said_to_be_one(
    tmp_path: Path, action: type[Otherwise], *, comes_back: bool
) -> None:
    folder = flags.flags(tmp_path / "flags")
    playbooks = flags.playbook(flags.step(folder, action=action.name))
    async with flags.installation(tmp_path, playbooks, steps={**STEPS, action.name: action}) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.CONTAINED)
        await home.ask("ann", Verb.RELEASE, incident.id, reason="it may differ", params={"accept_changed": True})
        if comes_back:
            await home.given_back(incident.id)
            return

        async def said() -> bool:
            step = (await home.incident(incident.id)).steps.get(f"release-{flags.CUT}")
            return step is not None and step.progress is Progress.RETRYING and "does not answer yet" in step.message

        await home.until(said, "it is not taken for back")
