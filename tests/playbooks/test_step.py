"""What is said of a containment that was given back: what stays off because of whom, and why nobody asked."""

from dataclasses import replace
from datetime import timedelta

import pytest

from playbooks.gate.plan import Change, Irreversible, Plan
from playbooks.people.contacts import Language
from playbooks.record.step import LeaseState, stays_off
from playbooks.text.sentences import said
from tests.lab import stories


@pytest.mark.parametrize(
    ("things", "holders", "sentence"),
    [
        (["tool a"], ["inc-1"], "tool a stays off, because inc-1 holds it too"),
        (["tool a"], ["inc-1", "inc-2"], "tool a stays off, because inc-1 and inc-2 hold it too"),
        (["tool a", "tool b"], ["inc-1"], "tool a, tool b stay off, because inc-1 holds them too"),
        (["tool a", "tool b"], ["inc-1", "inc-2"], "tool a, tool b stay off, because inc-1 and inc-2 hold them too"),
    ],
)
def test_one_holds_it_and_several_hold_it(things: list[str], holders: list[str], sentence: str) -> None:
    found = stays_off(things, holders)
    assert found == sentence
    korean = said(found, Language.KO)
    assert korean == f"{', '.join(things)}: {' and '.join(holders)}에서도 차단 중이므로 복구되지 않음"


def lease(plan: Plan) -> LeaseState:
    at = stories.at(0)
    return LeaseState("cut@weather", plan, epoch=1, opened_at=at, until=at + timedelta(hours=1), released_at=at)


def two() -> Plan:
    """Return a plan that takes two tools."""
    one, other = (stories.plan(name).changes[0] for name in ("forecast", "add"))
    return stories.plan().model_copy(update={"changes": (one, other)})


def grip(change: Change) -> str:
    return change.grip


def test_a_release_that_nobody_asked_about_says_why() -> None:
    held = lease(two())
    first, second = map(grip, held.plan.changes)
    whole = replace(held, kept=(first, second), kept_by=("inc-1",))
    part = replace(held, kept=(first,), kept_by=("inc-1",))
    for_good = replace(held, plan=held.plan.model_copy(update={"irreversible": Irreversible(because="it is deleted")}))
    gone = replace(held, gone=tuple(target.key for target in held.plan.targets))
    stays = "tool forecast of weather stays off, because inc-1 holds it too"
    assert whole.returned == "tool forecast of weather, tool add of weather stay off, because inc-1 holds them too"
    assert part.returned == f"no probe asked whether the rest is back, because a part stays off: {stays}"
    assert for_good.returned == "nothing of it can come back: the watch over it has ended"
    assert "no longer exists there" in gone.returned
    assert held.returned == "no probe asked whether it is back, and the journal does not say why"


def test_two_leases_of_one_tool_hold_one_thing_whatever_id_it_has_by_now() -> None:
    again = stories.plan()
    target = again.changes[0].target.model_copy(update={"id": "another-id"})
    anew = again.model_copy(update={"changes": (again.changes[0].model_copy(update={"target": target}),)})
    assert lease(again).things == lease(anew).things
    assert lease(again).things != lease(stories.plan("add")).things
