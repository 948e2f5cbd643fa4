"""Who is told of what and when: everybody once, the on-call list until somebody takes it up, and nobody for ever."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbooks.people.contacts import Contact, Contacts, OnCall, Way
from playbooks.people.escalation import CODE, GIVE_UP, Delivery, Roster, agenda
from playbooks.record.journal import Parsed
from playbooks.record.projection import fold
from playbooks.record.state import Incident
from playbooks.strict import digest
from tests.flows.cli import world

START = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
PEOPLE = {
    "ann": Contact(file="ann"),
    "bob": Contact(slack="U0BOB", email="bob@example.com"),
    "soc": Contact(slack="C0SOC"),
    "dpo": Contact(email="dpo@example.com"),
}
CHANNELS = {
    "slack": {"bot_token": {"env": "X"}},
    "email": {"host": "localhost", "sender": "soar@example.com"},
}


def contacts(**more: Any) -> Contacts:  # noqa: ANN401  # fields of the model
    fields = {"contacts": PEOPLE, "channels": CHANNELS, "on_call": ("ann", "bob"), "room": "soc", **more}
    wait = fields.pop("wait", 300.0)
    steps = tuple(OnCall(contact=name, wait=wait) for name in fields.pop("on_call"))
    return Contacts.model_validate({**fields, "on_call": steps})


def incident(*entries: tuple[float, str, dict[str, Any]]) -> Incident:
    """Return an incident that is open, with entries so many seconds after its start."""
    state = Incident(id="inc-2026-000001", opened_at=START)
    for number, (after, kind, body) in enumerate(entries, 1):
        at = (START + timedelta(seconds=after)).isoformat()
        fold(state, Parsed(stream="incident/inc-2026-000001", seq=number, kind=kind, at=at, actor="test", body=body))
    return state


def paged(notice: str, after: float = 0.0) -> tuple[float, str, dict[str, Any]]:
    return after, "page", {"id": notice, "notice": notice, "text": f"it is {notice}"}


def told(
    delivery: Delivery, after: float, *, delivered: bool = True, number: int = 1
) -> tuple[float, str, dict[str, Any]]:
    body = {"page": delivery.page, "contact": delivery.contact, "purpose": delivery.purpose, "channel": "slack"}
    return after, "told", {**body, "round": number, "delivered": delivered, "detail": "", "reference": ""}


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def names(due: tuple[Delivery, ...]) -> list[str | None]:
    return [delivery.contact for delivery in due]


def test_without_contacts_the_log_is_told_once() -> None:
    page = paged("lapsed:x")
    (due,) = agenda(incident(page), Roster(Contacts()), at(0)).now
    assert due == Delivery("lapsed:x", "log", None)
    assert agenda(incident(page, told(due, 1)), Roster(Contacts()), at(2)).now == ()


def test_an_urgent_page_goes_down_the_list_until_somebody_takes_it_up() -> None:
    roster, entries = Roster(contacts()), [paged("lapsed:x")]
    woken: list[tuple[float, str | None]] = []
    for second in range(0, 3000, 10):
        for delivery in agenda(incident(*entries), roster, at(second)).now:
            entries.append(told(delivery, second, delivered=delivery.contact is not None))
            woken.append((second, delivery.contact))
    assert woken == [
        *((0, "ann"), (0, "soc"), (300, "bob"), (600, "ann"), (900, "bob"), (1200, "ann"), (1500, "bob")),
        (1800, None),
    ], "and in the end it is on record that nobody took it up"
    taken = (301.0, "acknowledged", {"pages": ["lapsed:x"], "by": "bob", "way": "key"})
    early = [entry for entry in entries if entry[0] <= 300] + [taken]
    for second in range(301, 3000, 10):
        assert agenda(incident(*early), roster, at(second)).now == ()
    assert list(incident(*entries).undelivered) == [("lapsed:x", "slack")]
    assert incident(*entries, taken).undelivered == {}, "taken up late"


def test_whoever_cannot_be_reached_is_not_waited_for_and_is_tried_again() -> None:
    roster, page = Roster(contacts(room=None)), paged("lapsed:x")
    (first,) = agenda(incident(page), roster, at(0)).now
    failed = told(first, 1, delivered=False)
    (second,) = agenda(incident(page, failed), roster, at(2)).now
    assert second.contact == "bob", "at once, not after five minutes"
    later = agenda(incident(page, failed, told(second, 2)), roster, at(3))
    assert later.now == ()
    assert later.at == at(1 + 15), "and ann again"
    (again,) = agenda(incident(page, failed, told(second, 2)), roster, at(17)).now
    assert again.contact == "ann"


def test_a_list_that_takes_days_is_gone_through_to_its_end() -> None:
    hours = 3600.0
    roster, entries = Roster(contacts(room=None, wait=10 * hours)), [paged("lapsed:x")]
    woken: list[tuple[float, str | None]] = []
    for hour in range(80):
        for delivery in agenda(incident(*entries), roster, at(hour * hours)).now:
            entries.append(told(delivery, hour * hours, delivered=delivery.contact is not None))
            woken.append((hour, delivery.contact))
    assert woken == [(0, "ann"), (10, "bob"), (20, "ann"), (30, "bob"), (40, "ann"), (50, "bob"), (60, None)]


def test_whoever_cannot_be_reached_is_given_up_after_a_day() -> None:
    roster, entries, tries = Roster(contacts(on_call=())), [paged("contained:1")], 0
    moment = at(0)
    while (found := agenda(incident(*entries), roster, moment)).now:
        tries += 1
        entries += [told(one, (moment - START).total_seconds(), delivered=False, number=tries) for one in found.now]
        moment = agenda(incident(*entries), roster, moment).at or moment
    assert moment - START <= GIVE_UP
    assert tries > 100


def test_what_is_no_longer_so_wakes_nobody_else() -> None:
    page = paged("not_established:0")
    assert "bob" not in names(agenda(incident(page), Roster(contacts()), at(400)).now), "the incident is not leaking"
    closed = (2.0, "closed", {"as": "resolved", "by": "ann", "reason": ""})
    assert names(agenda(incident(paged("lapsed:x"), closed), Roster(contacts()), at(3)).now) == ["soc"]


def test_what_is_asked_a_second_time_is_a_page_of_its_own() -> None:
    """The first one, whose time was over long ago, does not come back with all of its rounds at once."""
    proposed = dict(world.proposed().body)
    mark = digest(proposed["plan"])[7:19]
    first, again = f"awaiting_approval:x:{mark}", f"awaiting_approval:x:again 1:{mark}"
    lapsed = {"instance": world.INSTANCE, "digest": "", "why": ""}
    heard = told(Delivery(first, "on_call:0:0", "ann"), 1.0)
    entries = [(0.0, "proposed", proposed), paged(first), heard, (900.0, "lapsed", lapsed)]
    entries += [(5000.0, "proposed", proposed), paged(again, 5000.0)]
    state = incident(*entries)
    assert state.proposals[0].plan is not None
    assert state.proposals[0].plan.digest[7:19] == mark
    assert {delivery.page for delivery in agenda(state, Roster(contacts(room=None)), at(5001.0)).now} == {again}


def test_stakeholders_hear_what_is_official_and_nothing_else() -> None:
    roster = Roster(contacts(room=None, on_call=()), stakeholders={"privacy": "dpo", "security": "dpo"})
    assert names(agenda(incident(paged("contained:1")), roster, at(0)).now) == ["dpo", None], "once, whatever the roles"
    assert "dpo" not in names(agenda(incident(paged("undone:x:1")), roster, at(0)).now)


def test_codes_go_by_a_private_way_beside_what_wakes_people() -> None:
    proposed = {
        "instance": "cut",
        "phase": "cut",
        "epoch": 1,
        "reasons": [],
        "quorum": 1,
        "expires_at": at(900).isoformat(),
        "purpose": "contain",
        "requested_by": None,
        "differs": "",
        "plan": {
            "action": "gateway.disable_tool",
            "summary": "Disable a tool",
            "params": {},
            "changes": [],
            "radius": 2,
        },
    }
    state = incident((0.0, "proposed", proposed))
    (step,) = state.proposals
    assert step.plan is not None
    page = paged(f"awaiting_approval:cut:{step.plan.digest[7:19]}")
    state = incident((0.0, "proposed", proposed), page)
    roster = Roster(contacts(), approvers={"bob": "bob"}, private={"bob": (Way.EMAIL,)})
    due = agenda(state, roster, at(0)).now
    assert {(item.contact, item.purpose) for item in due} == {
        ("bob", CODE),
        ("bob", "approver"),
        ("ann", "on_call:0:0"),
        ("soc", "room"),
    }
    sent = [told(item, 1) for item in due]
    state = incident((0.0, "proposed", proposed), page, *sent)
    assert [(item.contact, item.purpose) for item in agenda(state, roster, at(301)).now] == [
        ("bob", "on_call:0:1"),
    ], "a mail with a code is no wake-up by Slack"
    no_codes = Roster(contacts(), approvers={"bob": "bob"})
    asked = incident((0.0, "proposed", proposed), page)
    assert CODE not in {item.purpose for item in agenda(asked, no_codes, at(0)).now}


NOTICES = ("opened", "lapsed:x", "undone:x:2", "contained:3", "closed")


@given(
    pages=st.lists(st.tuples(st.sampled_from(NOTICES), st.integers(0, 500)), unique_by=lambda item: item[0]),
    fails=st.lists(st.booleans(), max_size=60),
    room=st.sampled_from(["soc", None]),
)
def test_everything_comes_to_an_end_and_nothing_is_left_out(
    pages: list[tuple[str, int]], fails: list[bool], room: str | None
) -> None:
    """Whoever is due is told, however often it fails at first; then there is nothing more to do."""
    roster = Roster(contacts(room=room), stakeholders={"privacy": "dpo"})
    entries = [paged(notice, float(after)) for notice, after in pages]
    failing, moment, number = iter(fails), 500.0, 0
    while moment < GIVE_UP.total_seconds() + 2000:
        found = agenda(incident(*entries), roster, at(moment))
        if not found.now and found.at is None:
            break
        assert len({(item.page, item.contact, item.purpose == CODE) for item in found.now}) == len(found.now)
        for delivery in found.now:
            number += 1
            entries.append(told(delivery, moment, delivered=not next(failing, False), number=number))
        if not found.now:
            assert found.at is not None
            assert found.at > at(moment), "what is due is told now, not waited for"
            moment = max(moment + 0.001, (found.at - START).total_seconds())
    else:
        pytest.fail("it never ends")
    state = incident(*entries)
    assert state.untold == {}
    for notice, _ in pages:
        if room:
            assert any(item.delivered and item.contact == room for item in state.told if item.page == notice)
        if not room or notice.partition(":")[0] in {"lapsed", "undone"}:
            assert {item.contact for item in state.told if item.page == notice and item.delivered} >= {"ann", "bob"}


@given(st.integers(0, 5000))
def test_told_before_means_not_told_again(second: int) -> None:
    page = paged("contained:1")
    roster = Roster(contacts(), stakeholders={"privacy": "dpo"})
    sent = [told(item, 1) for item in agenda(incident(page), roster, at(0)).now]
    assert sent != []
    assert agenda(incident(page, *sent), roster, at(2 + second)).now == ()


@pytest.mark.parametrize("notice", ["stopped:everything:1", "resumed:everything:1", "opened", "contained:1", "closed"])
def test_without_a_room_everybody_on_call_hears_once_of_what_wakes_nobody(notice: str) -> None:
    roster = Roster(contacts(room=None))
    page = paged(notice)
    due = agenda(incident(page), roster, at(1)).now
    assert names(due) == ["ann", "bob"]
    heard = incident(page, *(told(one, 1) for one in due))
    assert agenda(heard, roster, at(9999)).now == ()
    assert heard.untold == {}
    assert names(agenda(incident(page), Roster(contacts()), at(1)).now) == ["soc"]


def test_without_a_room_what_is_over_before_anybody_was_woken_is_told_and_nothing_that_is_over_afterwards() -> None:
    roster, page = Roster(contacts(room=None)), paged("lapsed:x")
    closed = (2.0, "closed", {"as": "resolved", "by": "ann", "reason": ""})
    assert names(agenda(incident(page, closed), roster, at(3)).now) == ["ann", "bob"]
    (woken,) = agenda(incident(page), roster, at(0)).now
    assert agenda(incident(page, told(woken, 1), closed), roster, at(400)).now == ()
