"""Worst first means: what needs a person soonest."""

from playbooks.gate.plan import Answer
from playbooks.record.incident import Severity, Status
from playbooks.record.journal import Event
from playbooks.record.order import place, unreadable
from playbooks.record.state import Incident
from tests.lab import stories

CRITICAL, HIGH, LOW = Severity.CRITICAL, Severity.HIGH, Severity.LOW


def triage(severity: Severity, *, at: float = 0.0) -> Incident:
    return stories.told([(at, stories.opened(severity=int(severity), triage="which class?", playbook=None))])


def asking(severity: Severity, *, expires: float = 900, at: float = 0.0) -> Incident:
    story = [(at, stories.opened(severity=int(severity))), (at + 1, stories.proposed(expires=expires))]
    return stories.told(story)


def cut(severity: Severity, answer: Answer = Answer.ESTABLISHED) -> Incident:
    opened = stories.opened(severity=int(severity))
    return stories.told(
        [(0, opened), (0.1, stories.intended()), (0.2, stories.wrote(0.2)), (0.3, stories.verified(0.3, answer))]
    )


def first(*states: Incident) -> Incident:
    return min(states, key=place)


def test_what_waits_for_a_first_look_is_as_urgent_as_what_waits_for_a_decision() -> None:
    look, decision = triage(CRITICAL), asking(HIGH)
    assert (look.status, decision.status) == (Status.TRIAGE, Status.AWAITING_APPROVAL)
    assert first(decision, look) is look, "the worse one"
    worse = asking(CRITICAL)
    assert first(triage(HIGH), worse) is worse


def test_of_two_that_are_as_bad_the_one_that_runs_out_comes_first_then_the_youngest() -> None:
    soon, late, look = asking(HIGH, expires=300), asking(HIGH, expires=900, at=5), triage(HIGH, at=9)
    assert sorted([look, late, soon], key=place) == [soon, late, look]
    young = triage(HIGH, at=10)
    assert first(look, young) is young


def test_what_gets_through_comes_before_all_that_waits_and_what_holds_after_it() -> None:
    through, held = cut(LOW, Answer.NOT_ESTABLISHED), cut(CRITICAL)
    working = stories.told([(0, stories.opened(severity=5)), (0.1, stories.intended())])
    frozen = triage(LOW)
    frozen.frozen = "an entry is missing"
    order = [frozen, through, triage(CRITICAL), asking(LOW), working, held]
    assert sorted([*order[2:], *order[:2]], key=place) == order
    assert unreadable(0.0) < place(frozen), "what cannot even be read before what is known to be damaged"


def test_what_is_over_or_goes_on_elsewhere_comes_last() -> None:
    given_back, closed = stories.told(stories.over()[:-1]), stories.told(stories.over())
    part = Event("goes_on_in", {"incident": "inc-2026-000001", "by": "ann", "reason": ""}, "ann")
    joined = stories.told([(0, stories.opened(severity=5)), (1, part)])
    order = [cut(LOW), given_back, joined, closed]
    assert [state.status for state in order[1:]] == [Status.RELEASED, Status.JOINED, Status.CLOSED]
    assert sorted([*order[2:], *order[:2]], key=place) == order


def test_every_status_has_its_place() -> None:
    state = triage(HIGH)
    for status in Status:
        other = type("Other", (Incident,), {"status": status})
        assert place(other(id=state.id))[0] in range(8), status
