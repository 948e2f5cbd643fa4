"""A no to a plan holds, whichever step would ask for the very same, until something new bears on it."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from playbooks.gate.plan import EXPOSURE, Answer, Finding, Plan, Radius, Verdict
from playbooks.record.incident import Phase
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from tests.lab import stories

SERVER = stories.plan().model_copy(update={"radius": Radius.SERVER, "summary": "Disable server weather"})
TOOL = stories.plan()
WIDEN, ISOLATE = "widen-gateway-disable_server@weather", "isolate-server@weather"


def asked(plan: Plan, instance: str = WIDEN) -> Event:
    body = stories.proposed().body
    return Event("proposed", {**body, "instance": instance, "plan": plan.model_dump(mode="json"), "quorum": 1})


def said(plan: Plan, verb: str) -> Event:
    return Event("decided", {"digest": plan.digest, "verb": verb, "actor": "bob", "reason": "not this"}, "bob")


def silence(plan: Plan) -> Event:
    return Event("lapsed", {"instance": WIDEN, "digest": plan.digest, "why": "900 s are over"})


def found(slipped: str, answer: Answer = Answer.NOT_ESTABLISHED, check: str = EXPOSURE) -> Event:
    finding = Finding(
        check=check, subject="server weather", asked_as="canary", expected="-", observed=slipped, answer=answer
    )
    verdict = Verdict.of((finding,)).model_dump(mode="json")
    return Event("lease_checked", {"instance": "cut-tool@weather/forecast", "verdict": verdict, "undone": []})


ONE = "tool x was never approved"
TWO = f"{ONE}; tool y was never approved"


def after(*events: Event) -> Incident:
    story: list[Any] = [*stories.contained(), (10.0, found(ONE))]
    story += [(11.0 + n, event) for n, event in enumerate(events)]
    return stories.told(story)


def test_another_step_that_wants_the_very_same_is_answered_already() -> None:
    for no in (said(SERVER, "deny"), silence(SERVER)):
        state = after(asked(SERVER), no)
        standing = state.refused(SERVER)
        assert standing is not None
        assert standing.instance == WIDEN
        assert state.refused(SERVER.model_copy(update={"breaks": "something else"})) is None, "that is another plan"
    assert "bob said no" in str(after(asked(SERVER), said(SERVER, "deny")).refused(SERVER))


def test_it_is_asked_again_when_a_person_asks_or_agrees() -> None:
    denied = [asked(SERVER), said(SERVER, "deny")]
    assert after(*denied, stories.request("respond", "ann", "now it is bad")).refused(SERVER) is None
    again = [stories.request("respond", "ann", "now"), asked(SERVER), said(SERVER, "approve")]
    assert after(*denied, *again).refused(SERVER) is None


def test_what_gets_through_that_they_did_not_know_of_reopens_a_no_to_the_whole_server() -> None:
    denied = [asked(SERVER), said(SERVER, "deny")]
    assert after(*denied, found(ONE)).refused(SERVER) is not None
    assert after(*denied, found(TWO)).refused(SERVER) is None
    assert after(*denied, found("sunny", check="call")).refused(SERVER) is None
    # That it is gone again leaves nothing new.
    assert after(*denied, found(TWO), found(ONE)).refused(SERVER) is not None


def test_that_what_they_let_be_is_still_there_is_no_news() -> None:
    denied = [asked(TOOL, "widen@t"), said(TOOL, "deny")]
    assert after(*denied, found("tool forecast differs from its approved definition")).refused(TOOL) is not None
    assert after(*denied, found("sunny", check="call")).refused(TOOL) is not None


def test_what_waited_because_of_a_no_runs_when_the_no_holds_no_longer() -> None:
    body = {"instance": ISOLATE, "phase": Phase.ISOLATE.value, "reason": "r", "awaits": [], "no": SERVER.digest}
    held = [asked(SERVER), said(SERVER, "deny"), Event("skipped", body)]
    state = after(*held)
    assert state.held_back(state.steps[ISOLATE])
    state = after(*held, found(TWO))
    assert not state.held_back(state.steps[ISOLATE])


def test_a_request_to_give_one_thing_back_leaves_the_no_to_another() -> None:
    both = [*stories.contained(), (3.0, stories.intended("add")), (3.1, stories.verified(3.1, name="add"))]
    first, second = "cut-tool@weather/forecast", "cut-tool@weather/add"
    back = stories.plan().inverse()
    asking = {**stories.proposed().body, "instance": f"release-{first}", "phase": "recover", "purpose": "release"}
    denied = [
        (4.0, stories.request("release", "ann", "r", lease=first)),
        (4.1, Event("proposed", {**asking, "plan": back.model_dump(mode="json")})),
        (4.2, Event("decided", {"digest": back.digest, "verb": "deny", "actor": "bob", "reason": "no"}, "bob")),
    ]
    other = stories.told([*both, *denied, (5.0, stories.request("release", "ann", "r", lease=second))])
    assert other.steps[f"release-{first}"].progress == "denied"
    same = stories.told([*both, *denied, (5.0, stories.request("release", "ann", "r", lease=first))])
    assert same.steps[f"release-{first}"].progress == "retrying"
    everything = stories.told([*both, *denied, (5.0, stories.request("release", "ann", "r"))])
    assert everything.steps[f"release-{first}"].progress == "retrying"


def chooses(name: str) -> list[Event]:
    """Return what `respond --about` leaves in the journal."""
    thing = stories.tool(name)
    entities = [{"kind": "tool", "name": name, "server": "weather"}]
    chosen = {"by": "ann", "entities": [thing.model_dump(mode="json")], "playbook": None, "reason": "r"}
    return [stories.request("respond", "ann", "r", entities=entities), Event("chosen", chosen, "ann")]


def test_who_names_one_thing_takes_back_no_no_to_another() -> None:
    cut = "cut-tool@weather/forecast"
    asking = [Event("proposed", {**asked(TOOL, cut).body, "entity": stories.tool().key}), said(TOOL, "deny")]
    start: list[Any] = [(0.0, stories.opened()), (1.0, stories.alert()), *((2.0, event) for event in asking)]
    other = stories.told([*start, *((3.0, event) for event in chooses("add"))])
    assert other.refused(TOOL) is not None
    assert (other.steps[cut].progress, other.steps[cut].requested_by) == ("denied", None)
    same = stories.told([*start, *((3.0, event) for event in chooses("forecast"))])
    assert same.refused(TOOL) is None
    assert (same.steps[cut].progress, same.steps[cut].requested_by) == ("retrying", "ann")
    assert same.asked_again[TOOL.digest].by == "ann"
    everything = stories.told([*start, (3.0, stories.request("respond", "ann", "r"))])
    assert (everything.steps[cut].progress, everything.steps[cut].requested_by) == ("retrying", "ann")


def test_who_names_a_tool_takes_back_no_no_to_its_whole_server() -> None:
    widening = Event("proposed", {**asked(SERVER).body, "entity": "server:weather/weather"})
    assert after(widening, said(SERVER, "deny"), *chooses("add")).refused(SERVER) is not None


NOISE = st.sampled_from(
    [
        found(ONE),
        found("nothing else", Answer.ESTABLISHED),
        found(TWO, Answer.UNKNOWN),
        found("34 ms", Answer.ESTABLISHED, check="call"),
        stories.alert(),
        stories.page("contained:2", "x"),
        stories.request("release", "ann", "r"),
        stories.request("note", "ann", "r"),
        Event("noted", {"by": "ann", "text": "x"}, "ann"),
        stories.checked(Answer.NOT_ESTABLISHED),
    ]
)


@given(st.lists(NOISE, max_size=12))
def test_nothing_else_reopens_a_no(noise: list[Event]) -> None:
    assert after(asked(SERVER), said(SERVER, "deny"), *noise).refused(SERVER) is not None


@given(st.lists(NOISE, max_size=6), st.lists(NOISE, max_size=6))
def test_what_does_reopen_it_does_so_at_any_time(before: list[Event], later: list[Event]) -> None:
    wish = stories.request("respond", "ann", "r")
    assert after(asked(SERVER), said(SERVER, "deny"), *before, wish, *later).refused(SERVER) is None
