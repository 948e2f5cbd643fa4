"""Clocks: which run, from when, until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from playbooks.estate.inventory import Inventory, Resolved
from playbooks.people.contacts import Contacts, Language
from playbooks.people.duties import clock_contacts, clocks, load, stakeholders
from playbooks.record.incident import EntityKind
from playbooks.record.state import Incident
from playbooks.taxonomy import IncidentClass

OPENED = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
SOON = OPENED + timedelta(minutes=1)


def inventory(**server: Any) -> Inventory:  # noqa: ANN401  # fields of a server
    one = {"title": "One", "owner": "a-team", "environment": "test", **server}
    return Inventory.model_validate({"version": 1, "servers": {"one": one}})


def incident(incident_class: IncidentClass = IncidentClass.DATA_EXFILTRATION, **more: Any) -> Incident:  # noqa: ANN401  # fields
    server = Resolved(kind=EntityKind.SERVER, id="one", server="one")
    return Incident(
        id="inc-2026-000001", incident_class=incident_class, opened_at=OPENED, entities={server.key: server}, **more
    )


def running(state: Incident, known: Inventory, now: datetime = SOON) -> dict[str, Any]:
    return {clock.id: clock for clock in clocks(state, known, load(), now)}


def test_no_clock_runs_where_no_law_is_named() -> None:
    assert running(incident(), inventory(data=["personal"])) == {}


def test_the_hours_count_from_when_the_incident_was_opened() -> None:
    found = running(incident(), inventory(data=["personal"], regimes=["gdpr", "pipa", "nis2"]))
    hours = {name: (clock.due - OPENED) / timedelta(hours=1) for name, clock in found.items() if clock.due}
    assert hours.pop("nis2-final-report") > 28 * 24
    assert hours == {
        "nis2-early-warning": 24,
        "nis2-notification": 72,
        "gdpr-33": 72,
        "pipa-34-1": 72,
        "pipa-34-3": 72,
    }
    assert found["gdpr-34"].due is None
    assert [clock.aware for name, clock in found.items() if name != "nis2-final-report"] == [True] * 6
    # The one that is due first stands first, the one without a number last.
    assert (next(iter(found)), list(found)[-1]) == ("nis2-early-warning", "gdpr-34")


def test_a_law_on_personal_data_needs_personal_data() -> None:
    assert set(running(incident(), inventory(data=["secret"], regimes=["gdpr", "pipa"]))) == set()
    assert set(running(incident(), inventory(data=["health"], regimes=["gdpr"]))) == {"gdpr-33", "gdpr-34"}
    # NIS 2 is about the service, whatever it handles.
    assert len(running(incident(), inventory(regimes=["nis2"]))) == 3


def test_what_has_no_class_yet_starts_no_clock() -> None:
    state = incident(IncidentClass.UNCLASSIFIED)
    assert running(state, inventory(data=["personal"], regimes=["gdpr"])) == {}


def test_a_clock_is_overdue_only_after_its_time_and_unfulfilled() -> None:
    known = inventory(data=["personal"], regimes=["gdpr"])
    due = OPENED + timedelta(hours=72)
    assert not running(incident(), known, due)["gdpr-33"].overdue
    late = due + timedelta(milliseconds=1)
    assert running(incident(), known, late)["gdpr-33"].overdue
    done = running(incident(fulfilled={"gdpr-33": due}), known, late)["gdpr-33"]
    assert (done.overdue, done.running, done.fulfilled) == (False, False, due)
    assert not running(incident(), known, late)["gdpr-34"].overdue


@pytest.mark.parametrize(
    ("notified", "due"),
    [
        # Not submitted yet: from when it has to be, the 3rd of February.
        (None, datetime(2026, 3, 3, 3, 0, tzinfo=UTC)),
        # The last day of a shorter month.
        (datetime(2026, 1, 31, 12, 0, tzinfo=UTC), datetime(2026, 2, 28, 12, 0, tzinfo=UTC)),
        (datetime(2026, 12, 5, 12, 0, tzinfo=UTC), datetime(2027, 1, 5, 12, 0, tzinfo=UTC)),
    ],
)
def test_the_final_report_counts_from_the_notification(notified: datetime | None, due: datetime) -> None:
    state = incident(fulfilled={"nis2-notification": notified} if notified else {})
    clock = running(state, inventory(regimes=["nis2"]))["nis2-final-report"]
    assert (clock.due, clock.aware) == (due, False)


def test_every_clock_speaks_both_languages_and_names_its_law() -> None:
    for regime in load().regimes.values():
        assert regime.source.startswith("https://")
        for duty in regime.clocks.values():
            assert set(duty.duty) == set(duty.unless) == set(Language)
            assert duty.checked


def test_a_servers_own_contact_stands_before_the_general_one() -> None:
    folder = {"file": "out"}
    contacts = Contacts.model_validate(
        {
            "contacts": {"soc": folder, "dpo": folder, "team": folder, "desk": folder},
            "stakeholders": {"security": "soc", "privacy": "dpo", "owner": "soc", "regulator": "desk"},
        }
    )
    known = inventory(data=["personal"], stakeholders={"owner": "team"}, regimes=["gdpr"])
    told = stakeholders(incident(), known, contacts, load())
    # Nobody outside the house is told by a machine.
    assert told == {"security": "soc", "owner": "team", "privacy": "dpo"}
    assert stakeholders(incident(IncidentClass.UNCLASSIFIED), known, contacts, load()) == {"security": "soc"}
    clock = running(incident(), known)["gdpr-33"]
    assert clock_contacts(clock, known, contacts) == {"privacy": "dpo", "regulator": "desk"}
