"""An approval counts only while whoever gave it is who they were: up to the effect, not only up to the answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.engine.intake import intake
from flows.engine.people.approvals import counting
from playbooks.errors import Misconfigured, Transient
from playbooks.gate.rules import Mode
from playbooks.people.request import People, Verb
from playbooks.record.incident import Phase, Status
from playbooks.record.step import Progress, StepState
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import ROOMY, alert, house

INVENTORY = world.READ
ASKING = ROOMY.model_copy(update={"classes": {IncidentClass.TOOL_POISONING: Mode.APPROVE}})


def without(people: People, name: str) -> People:
    return People(people={who: person for who, person in people.people.items() if who != name})


async def test_somebody_removed_after_approving_and_before_the_effect_has_not_approved(
    lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    # What the first responder has to leave unfinished is the next one's sooner than with the claims that ship.
    timing = replace(scenes.FAST, claim=5.0)
    async with scenes.installation(lab, tmp_path, policy=ASKING, timing=timing) as home:
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            name = (await home.reaches(Status.AWAITING_APPROVAL)).id
            step = await scenes.proposed(home, name, scenes.cut_of(lab, "get_weather"))
        assert step.plan is not None
        await home.ask("bob", Verb.APPROVE, name, digest=step.plan.digest)
        await intake(home.parts)
        assert (await home.incident(name)).steps[step.instance].progress is Progress.APPROVED

        left = without(home.parts.people(), "bob")
        async with home.changed(people=lambda: left).responding():
            again = await home.reaches(Status.AWAITING_APPROVAL, name)
            assert await scenes.enabled(lab, "get_weather")
            assert again.steps[step.instance].uncounted == ("bob",)
            assert again.steps[step.instance].approved_by == ()
            assert "bob approved it, and is no approver any more" in again.steps[step.instance].reasons

            async def paged() -> bool:
                asked = [page for page in (await home.incident(name)).pages if page.startswith("awaiting_approval")]
                return len(asked) == 2

            await home.until(paged, "people hear that they are asked again")
            await home.ask("ann", Verb.APPROVE, name, digest=step.plan.digest)
            await home.reaches(Status.CONTAINED, name)
            assert not await scenes.enabled(lab, "get_weather")


def approved(*names: str, behalf: dict[str, str] | None = None) -> StepState:
    at = now()
    return StepState(
        "cut-tool@weather/forecast",
        Phase.CUT,
        Progress.APPROVED,
        approved_by=names,
        approved_at=dict.fromkeys(names, at),
        behalf=behalf or {},
    )


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ("nothing", ("ann", "bob", "eve")),
        ("bob is removed", ("ann",)),
        ("bob is an auditor", ("ann",)),
        ("bob is enrolled anew", ("ann",)),
        ("eve is removed", ("ann", "bob")),
        ("eve is enrolled anew", ("ann", "bob")),
    ],
)
async def test_whose_approvals_count(change: str, counted: tuple[str, ...], tmp_path: Path) -> None:
    async with house(tmp_path, connected(INVENTORY)) as home:
        # eve, an auditor, spoke for bob.
        step = approved("ann", "bob", "eve", behalf={"eve": "bob"})
        people = home.parts.people().people
        later = datetime.now(UTC) + timedelta(seconds=1)
        who, _, what = change.partition(" is ")
        altered = dict(people)
        if what == "removed":
            del altered[who]
        elif what == "enrolled anew":
            altered[who] = people[who].model_copy(update={"enrolled_at": later})
        elif what == "an auditor":
            altered[who] = people[who].model_copy(update={"roles": ("auditor",)})
        parts = replace(home.parts, people=lambda: People(people=altered))
        assert counting(parts, step) == counted


async def test_nothing_counts_as_approved_while_nobody_can_say_who_is_enrolled(tmp_path: Path) -> None:
    def unreadable() -> People:
        raise Misconfigured("line 3: not a role", file="people.yaml")

    async with house(tmp_path, connected(INVENTORY)) as home:
        with pytest.raises(Transient, match="cannot be counted"):
            counting(replace(home.parts, people=unreadable), approved("bob"))
