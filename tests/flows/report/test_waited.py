"""Whether a goal was met, where people were asked: nobody is faster than the person who is."""

from typing import Any

import pytest

from flows.cli.work.incidents import _against
from flows.pages.trend import page
from flows.report.incident import metrics
from flows.report.picture import Contained
from flows.report.words import against
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from playbooks.strict import iso
from tests.lab import stories
from tests.lab.stories import PLAYBOOK, Timed

STEP = "cut-tool"


def asked(at: float) -> Timed:
    return at, stories.proposed(step=STEP, expires=90000)


def carried_out(at: float, name: str = "forecast", *, took: float = 0.2) -> list[Timed]:
    return [
        (at, stories.intended(name)),
        (at + took, stories.wrote(at + took, name)),
        (at + 2 * took, stories.verified(at + 2 * took, name=name)),
    ]


def told(*story: Timed) -> Incident:
    return stories.told([(0.0, stories.opened()), (0.0, stories.alert()), *story])


YES = stories.decided("kim")
FIRST = stories.decided("lee")
SLOW = carried_out(40.0, "add", took=5.0)


@pytest.mark.parametrize(
    ("story", "waited"),
    [
        ([*carried_out(0.1)], (0.0, 0.0)),
        # A quorum of two: it waits until the second one has answered.
        ([asked(0.1), (100.0, FIRST), (700.1, YES), *carried_out(700.1)], (700.0, 700.0)),
        # Asked anew meanwhile, it is the same wait.
        ([asked(0.1), asked(300.0), (300.1, FIRST), (700.1, YES), *carried_out(700.1)], (700.0, 700.0)),
        # A second alert carried it before anybody answered.
        ([asked(0.1), *carried_out(50.1)], (50.0, 50.0)),
        # Nobody answered, and somebody asked for it again.
        ([asked(0.1), (50.1, stories.lapsed(step=STEP)), *carried_out(80.0)], (50.0, 50.0)),
        # Of two, the one that nobody was asked about is what the rest took.
        ([asked(0.1), *SLOW, (100.0, FIRST), (700.1, YES), *carried_out(700.1)], (0.0, 650.5)),
    ],
    ids=["nobody", "two", "anew", "news", "nobody answered", "beside"],
)
def test_what_people_took_is_told_from_what_it_took(story: list[Timed], waited: tuple[float, float]) -> None:
    state = told(*story)
    assert (round(state.waited["first_effect"], 3), round(state.waited["verified"], 3)) == waited
    it = view(state)
    assert (it.metrics.first_effect_waited, it.metrics.verified_waited) == waited


def test_until_somebody_looked_at_what_waited_for_a_look_nobody_is_late() -> None:
    body: dict[str, Any] = {"by": "kim", "entities": [stories.tool().model_dump(mode="json")], "playbook": None}
    chosen = Event("chosen", {**body, "reason": ""}, "kim")
    opened = stories.opened(triage="it names nothing")
    state = stories.told([(0.0, opened), (0.0, stories.alert()), (500.0, chosen), *carried_out(500.2)])
    assert state.waited == pytest.approx({"first_effect": 500.0, "verified": 500.0})


def test_every_place_says_so_and_what_is_slow_by_itself_is_missed() -> None:
    state = told(asked(0.1), (100.0, FIRST), (700.1, YES), *carried_out(700.1))
    rows = {row[0]: row[4] for row in metrics(view(state, playbook=PLAYBOOK)).rows}
    assert rows["First effect"] == rows["Containment proven"] == "met but for 11 min 40 s that people took"
    point = Contained.of(view(state, playbook=PLAYBOOK))
    assert point is not None
    assert "goal met but for" in point.word
    assert "goal met but for" in page([point], ()).data
    assert "met but for" in _against(700.3, 1.0, 700.0)
    assert against(0.9, 1.0, 0.0) == "met"
    assert against(702.0, 1.0, 700.0) == against(2.0, 1.0, 0.0) == "MISSED"


def test_what_was_told_to_an_incident_that_is_joined_later_makes_nobody_late() -> None:
    before = stories.alert()
    earlier = {"accepted_at": iso(stories.at(-40)), "detected_at": iso(stories.at(-42)), "from": "inc-2026-000002"}
    joined = Event("alert", {**before.body, **earlier}, before.actor)
    own, both = told(*carried_out(0.2)).metrics, told(*carried_out(0.2), (60.0, joined)).metrics
    assert both == own
