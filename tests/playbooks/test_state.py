"""How an incident stands, as its journal says."""

from playbooks.incident import Status
from playbooks.journal import Event, Parsed
from playbooks.projection import project
from playbooks.state import Incident
from playbooks.strict import iso, now
from tests.flows.cli import world


def incident(*events: Event) -> Incident:
    at = iso(now())
    stream = f"incident/{world.ID}"
    return project(world.ID, [Parsed(stream, n, at, e.kind, e.actor, dict(e.body)) for n, e in enumerate(events, 1)])


def test_what_is_being_given_back_is_not_called_contained() -> None:
    contained = [make() for make in world.CONTAINED]
    assert incident(*contained).status is Status.CONTAINED
    assert incident(*contained, world.release_intended("ann")).status is Status.RECOVERING
    assert incident(*contained, world.release_intended("ann"), world.released()).status is Status.RECOVERING


def test_a_release_that_broke_off_for_good_is_not_called_anything_good() -> None:
    failed = {"instance": f"release-{world.INSTANCE}", "phase": "recover", "action": "", "epoch": 1, "attempt": 8}
    broken = Event("failed", {**failed, "error": "NotEstablished", "message": "no answer", "retry_at": None})
    contained = [make() for make in world.CONTAINED]
    assert incident(*contained, world.release_intended("ann"), broken).status is Status.NOT_ESTABLISHED


def test_what_was_asked_to_be_given_back_before_it_was_taken_away_is_not_meant() -> None:
    params = {"verb": "release", "actor": "ann", "nonce": "n", "accepted": True, "reason": "r", "params": {}}
    wish = Event("request", params, "ann")
    # All of it happens within one millisecond: places count, not times.
    start = [world.opened(), world.alert()]
    assert incident(*start, wish, world.intended()).release_wanted(world.INSTANCE) is None
    assert incident(*start, world.intended(), wish).release_wanted(world.INSTANCE) is not None
    accepts = Event("request", {**params, "params": {"accept_changed": True}}, "ann")
    assert not incident(*start, accepts, world.intended()).change_accepted(world.INSTANCE)
    assert incident(*start, world.intended(), accepts).change_accepted(world.INSTANCE)
