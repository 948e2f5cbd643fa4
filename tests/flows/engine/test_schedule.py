"""When an incident is looked at again, as its journal says."""

from datetime import timedelta

from flows.engine import schedule
from flows.engine.parts import Timing
from playbooks.journal import Event
from playbooks.plan import Answer
from playbooks.state import Incident
from playbooks.strict import now
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
    assert not schedule.leaking(after_a_bad_start(leak))
    assert schedule.leaking(after_a_bad_start(leak, leak))
