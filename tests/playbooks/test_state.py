"""How an incident stands, as its journal says."""

import pytest

from playbooks.gate.plan import Answer, Irreversible
from playbooks.record.incident import Status
from playbooks.record.journal import Event, Parsed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.lab import stories


def incident(*events: Event) -> Incident:
    at = iso(now())
    stream = f"incident/{world.ID}"
    return project(world.ID, [Parsed(stream, n, at, e.kind, e.actor, dict(e.body)) for n, e in enumerate(events, 1)])


def test_what_is_being_given_back_is_not_called_contained() -> None:
    contained = [make() for make in world.CONTAINED]
    assert incident(*contained).status is Status.CONTAINED
    assert incident(*contained, world.release_intended("ann")).status is Status.RECOVERING
    assert incident(*contained, world.release_intended("ann"), world.released()).status is Status.RELEASED


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


@pytest.mark.parametrize("no", [True, False], ids=["said", "nobody answered"])
def test_a_no_to_a_release_ends_what_was_accepted_before_it(*, no: bool) -> None:
    back, name = world.plan().inverse(), f"release-{world.INSTANCE}"
    seen = [{"kind": "tool", "id": "id-spare", "digest": "sha256:1"}]
    asked = stories.request("release", "ann", "I read it", accept_changed=True, shown=seen)
    question = world.proposed(back, requested_by="ann", instance=name, phase="recover", purpose="release")
    said = {"digest": back.digest, "verb": "deny", "actor": "bob", "reason": "it is malicious"}
    lapsed = Event("lapsed", {"instance": name, "digest": back.digest, "why": "time is over"})
    start = [*(make() for make in world.CONTAINED), asked, question]
    assert incident(*start).shown(world.INSTANCE) == {("tool", "id-spare", "sha256:1")}
    over = [*start, Event("decided", said, "bob") if no else lapsed]
    plain = stories.request("release", "ann", "please")
    assert not incident(*over, plain).change_accepted(world.INSTANCE)
    assert incident(*over, plain).shown(world.INSTANCE) == frozenset()
    assert incident(*over, asked).change_accepted(world.INSTANCE), "who accepts it after that, accepts it"


def refused() -> Event:
    body = {"instance": world.INSTANCE, "phase": "cut", "action": "gateway.disable_tool", "epoch": 1, "attempt": 1}
    return Event("failed", {**body, "error": "Refused", "message": "403: no right to", "retry_at": None})


def test_what_was_never_written_is_not_in_force() -> None:
    state = incident(world.opened(), world.alert(), world.intended(), refused())
    lease = state.leases[world.INSTANCE]
    assert not lease.in_force
    assert lease.open, "a person can still end it, and whoever watches tries it again"
    assert state.status is Status.NOT_ESTABLISHED
    written = incident(world.opened(), world.alert(), world.intended(), refused(), world.wrote())
    assert written.leases[world.INSTANCE].in_force


def test_a_part_of_it_is_in_force_once_it_was_written() -> None:
    broke = {"instance": world.INSTANCE, "writes": [{"change": "c", "at": iso(now())}], "why": "no answer"}
    state = incident(world.opened(), world.alert(), world.intended(), Event("interrupted", broke), refused())
    assert state.leases[world.INSTANCE].in_force


def test_what_cannot_be_taken_back_is_done_once_it_is_verified() -> None:
    gone = world.plan(irreversible=Irreversible(because="it is gone"))
    course = [world.opened(), world.alert(), world.intended(gone), world.wrote()]
    assert incident(*course).leases[world.INSTANCE].open, "until a probe says that it holds, it is tried again"
    state = incident(*course, world.verified())
    lease = state.leases[world.INSTANCE]
    assert (lease.open, lease.in_force) == (False, False)
    assert lease.done_at is not None
    assert state.status is Status.CONTAINED
    assert state.metrics["verified_at"] is not None
    assert state.metrics["released_at"] is None


def test_it_is_verified_although_nobody_wanted_the_rest() -> None:
    rest = world.proposed(world.plan(summary="the rest"))
    asked = Event("proposed", {**rest.body, "instance": "isolate-server@weather", "phase": "isolate"})
    digest = world.plan(summary="the rest").digest
    no = Event("decided", {"digest": digest, "verb": "deny", "actor": "bob", "reason": "r"}, "bob")
    contained = [make() for make in world.CONTAINED]
    assert incident(*contained, asked).metrics["verified_at"] is None
    state = incident(*contained, asked, no)
    assert state.status is Status.CONTAINED
    assert state.metrics["verified_at"] is not None


def looked(answer: Answer) -> Event:
    body = {"instance": world.INSTANCE, "undone": [], "verdict": stories.verdict(answer)}
    return Event("lease_checked", body)


def test_a_later_look_is_no_later_verification() -> None:
    """A goal that was met stays met, whatever the watch finds."""
    course = [*stories.contained(), (4000.0, looked(Answer.NOT_ESTABLISHED))]
    first = stories.told(stories.contained()).metrics["verified_at"]
    assert first == stories.at(0.246)
    leaks = stories.told(course)
    assert leaks.status is Status.NOT_ESTABLISHED
    assert leaks.metrics["verified_at"] == first
    again = stories.told([*course, (5000.0, looked(Answer.ESTABLISHED))])
    assert again.status is Status.CONTAINED
    assert again.metrics["verified_at"] == first


def test_of_several_cuts_the_last_that_was_verified_for_the_first_time_counts() -> None:
    second = [(9.0, stories.intended("add")), (9.1, stories.wrote(9.1, "add"))]
    course = [*stories.contained(), *second]
    assert stories.told(course).metrics["verified_at"] is None, "one of them is not verified yet"
    whole = [*course, (9.2, stories.verified(9.2, name="add"))]
    assert stories.told(whole).metrics["verified_at"] == stories.at(9.2)
    later = [*whole, (50.0, looked(Answer.NOT_ESTABLISHED)), (60.0, looked(Answer.ESTABLISHED))]
    assert stories.told(later).metrics["verified_at"] == stories.at(9.2)


def test_what_was_given_back_unverified_was_never_verified() -> None:
    leaky = [
        (0.009, stories.opened()),
        (0.01, stories.alert()),
        (0.02, stories.intended()),
        (0.05, stories.wrote(0.05)),
    ]
    leaky += [(0.2, stories.verified(0.2, Answer.NOT_ESTABLISHED))]
    course = [*leaky, (10.0, stories.release_intended("kim")), (10.4, stories.released(10.3))]
    assert stories.told(course).metrics["verified_at"] is None
