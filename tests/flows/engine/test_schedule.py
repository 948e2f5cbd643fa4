"""When an incident is looked at again, as its journal says."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from flows.engine import schedule
from flows.engine.parts import Timing
from playbooks.chosen import extended
from playbooks.estate.inventory import Inventory, Resolved
from playbooks.estate.places import Places
from playbooks.gate.plan import Answer
from playbooks.playbook import shipped
from playbooks.record.incident import EntityKind, Phase
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress, StepState
from playbooks.strict import iso, now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.playbooks.test_state import incident

RETRIES = Timing().verify_retries


def failed(attempt: int) -> Event:
    body = {"instance": world.INSTANCE, "phase": "cut", "action": "mcp.cut_tool", "epoch": 1, "attempt": attempt}
    return Event("failed", {**body, "error": "Transient", "message": "no answer within 5 s", "retry_at": None})


def after_a_bad_start(*more: Event) -> Incident:
    """Return an incident whose cut could not be written for long, and was at last."""
    attempts = [failed(attempt) for attempt in range(1, len(RETRIES) + 2)]
    return incident(world.opened(), world.alert(), world.intended(), *attempts, world.wrote(), *more)


def test_what_was_written_at_last_is_verified_as_often_as_what_was_written_at_once() -> None:
    for looks in range(1, len(RETRIES) + 2):
        state = after_a_bad_start(*(world.verified(Answer.UNKNOWN, "no answer") for _ in range(looks)))
        due = schedule.next_due(state, now=now(), stopped_wait=None, retries=RETRIES)
        settled = state.steps[world.INSTANCE].settled_at
        assert settled is not None
        wanted = settled + timedelta(seconds=RETRIES[looks - 1]) if looks <= len(RETRIES) else None
        assert due == wanted, f"after {looks}"


def test_a_first_look_that_finds_a_leak_is_no_leak_yet_however_long_the_write_took() -> None:
    leak = world.verified(Answer.NOT_ESTABLISHED, "it was called")
    assert not schedule.leaking_at(after_a_bad_start(leak))
    assert schedule.leaking_at(after_a_bad_start(leak, leak))


def runs(state: Incident, at: datetime | None = None) -> list[str]:
    """Return what of the cut phase can run, now if no moment is named."""
    todos = schedule.ready(
        state,
        shipped()[state.incident_class],
        places=Places(Inventory(version=1)),
        until=Phase.CUT,
        now=at or now(),
        stopped=False,
        retries=RETRIES,
    )
    return [todo.instance for todo in todos]


def test_nothing_of_a_cut_is_tried_again_once_it_is_being_given_back() -> None:
    leak = world.verified(Answer.NOT_ESTABLISHED, "it was called")
    later = now() + timedelta(seconds=60)
    assert world.INSTANCE in runs(after_a_bad_start(leak), later)
    state = after_a_bad_start(leak, world.release_intended("kim"))
    assert world.INSTANCE not in runs(state, later)
    assert schedule.cut_due(state, retries=RETRIES) is None
    assert schedule.next_due(state, now=later, stopped_wait=None, retries=RETRIES) is None


def test_an_alert_in_the_very_moment_of_a_question_has_the_gate_asked_again() -> None:
    # All entries have one time: what came after what is a matter of their places.
    news = incident(world.opened(), world.alert(), world.proposed(), world.alert())
    assert runs(news) == ["cut-tool@weather/forecast"]
    assert runs(incident(world.opened(), world.alert(), world.alert(), world.proposed())) == []


def test_a_widening_that_held_in_the_very_moment_before_a_look_is_no_answer_to_it() -> None:
    def leak(after: int | None = None) -> Event:
        found = world.verified(Answer.NOT_ESTABLISHED, "another one is offered")
        widen = {"action": "gateway.disable_tool", "params": {"server": "weather", "tool": "new"}, "because": "new"}
        body = {**found.body, "verdict": {**found.body["verdict"], "widen": [widen]}}
        return Event("verified", body if after is None else {**body, "after": after})

    name = "widen-gateway-disable_tool@weather/new"
    course = (world.intended(), world.wrote(), world.verified())
    held = [Event(made.kind, {**made.body, "instance": name}) for made in course]
    before = [world.opened(), world.alert(), world.intended(), world.wrote(), leak(), *held]
    # Looked at after it held, it is another one; looked at before that, it is the same.
    assert len(incident(*before, leak(after=len(before))).widenings) == 2
    assert len(incident(*before, leak(after=len(before) - 1)).widenings) == 1


WHOLE = {"action": "gateway.disable_server", "params": {"server": "weather"}, "because": "17 leaks"}


def leaks(*widen: Mapping[str, object]) -> Event:
    found = world.verified(Answer.NOT_ESTABLISHED, "17 leaks")
    return Event("verified", {**found.body, "verdict": {**found.body["verdict"], "widen": list(widen)}})


def watched(answer: Answer) -> Event:
    body = {"instance": world.INSTANCE, "undone": [], "verdict": world.verified(answer).body["verdict"]}
    return Event("lease_checked", body)


def test_a_widening_that_nothing_needs_any_more_is_asked_no_longer() -> None:
    name = "widen-gateway-disable_server@weather"
    question = Event("proposed", {**world.proposed().body, "instance": name})
    start = [world.opened(), world.alert(), world.intended(), world.wrote(), leaks(WHOLE), question]

    def offered(state: Incident) -> list[tuple[str, str]]:
        todos = schedule.ready(
            state,
            shipped()[state.incident_class],
            places=Places(Inventory(version=1)),
            until=Phase.CUT,
            now=now(),
            stopped=False,
            retries=RETRIES,
        )
        return [(todo.instance, todo.kind) for todo in todos if todo.instance == name]

    assert offered(incident(*start)) == []
    assert offered(incident(*start, watched(Answer.UNKNOWN))) == [], "nobody knows, so it goes on being asked"
    assert offered(incident(*start, watched(Answer.ESTABLISHED))) == [(name, "moot")]
    taken_back = Event("skipped", {"instance": name, "phase": "cut", "reason": schedule.MOOT})
    done = incident(*start, watched(Answer.ESTABLISHED), taken_back)
    assert offered(done) == []
    assert done.metrics["verified_at"] is not None
    # A single tool instead of the whole server: that one is cut by itself.
    one = {"action": "gateway.disable_tool", "params": {"server": "weather", "tool": "new"}, "because": "new"}
    assert offered(incident(*start, leaks(one))) == [(name, "moot")]
    # It leaks again: it is asked again.
    assert offered(incident(*start, watched(Answer.ESTABLISHED), taken_back, leaks(WHOLE))) == [(name, "action")]


def test_a_server_whose_own_cut_holds_is_not_isolated_for_another_one_that_leaks() -> None:
    evil = Resolved(kind=EntityKind.TOOL, id="evil", server="hostile")
    # An alert that joined named it beside.
    other = Resolved(kind=EntityKind.TOOL, id="pay", server="payments")
    state = Incident(id="inc-1", whole_names=True, entities={evil.key: evil, other.key: other})
    state.chosen = {evil.key: "ann"}
    cut = StepState("chosen-tool@hostile/evil", Phase.CUT, Progress.FAILED, action="gateway.disable_tool")
    state.steps[cut.instance] = cut
    playbook = extended(None, IncidentClass.SUPPLY_CHAIN, {EntityKind.TOOL})

    def isolates() -> list[str]:
        todos = schedule.ready(
            state,
            playbook,
            places=Places(Inventory(version=1)),
            until=Phase.ISOLATE,
            now=now(),
            stopped=False,
            retries=(),
        )
        return [todo.instance for todo in todos if todo.phase is Phase.ISOLATE]

    for step in playbook.phases[Phase.CAPTURE]:
        for entity in schedule.runs_for(state, step, Places(Inventory(version=1))):
            name = state.instance_of(step.id, entity)
            state.steps[name] = StepState(name, Phase.CAPTURE, Progress.SEALED)
    assert isolates() == ["chosen-isolate@hostile"]


def test_evidence_that_is_tried_again_beside_a_cut_is_no_cut_and_the_bundle_waits_for_it() -> None:
    again = now() + timedelta(seconds=5)
    body = {"instance": "sessions@principal", "phase": "cut", "action": None, "epoch": 1, "attempt": 1}
    missing = Event("failed", {**body, "error": "Transient", "message": "502", "retry_at": iso(again)})
    cut = (world.opened(), world.alert(), world.intended(), world.wrote(), world.verified())
    state = incident(*cut, missing)
    assert [step.instance for step in state.cuts] == [world.INSTANCE], "contained, whatever becomes of the evidence"
    due = schedule.cut_due(state, retries=RETRIES)
    assert due is not None, "what waits for it is a cut"
    assert abs(due - again) < timedelta(seconds=1)

    def sealing(state: Incident) -> bool:
        todos = schedule.ready(
            state,
            shipped()[state.incident_class].model_copy(update={"phases": dict.fromkeys(Phase, ())}),
            places=Places(Inventory(version=1)),
            until=Phase.REVIEW,
            now=now(),
            stopped=False,
            retries=RETRIES,
        )
        return "seal" in {todo.kind for todo in todos}

    none = {"kind": "raw-alert", "reason": "of this test", "recorded_by": "raw-alert@r-1", "at": iso(now())}
    raw = Event("unavailable", {"instance": "raw-alert@r-1", "phase": "capture", "unavailable": none})
    assert sealing(incident(*cut, raw)), "else it says nothing"
    assert not sealing(incident(*cut, raw, missing))
