"""What runs out, as pages: the law's clocks, when the time grows short and when it is over, and leases. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from playbooks.estate.inventory import Inventory
from playbooks.people import duties
from playbooks.people.contacts import Contacts, Language
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.strict import iso

SHORT = 0.25
"""The part of a clock's time that is left when people are told of it."""

SOON = timedelta(hours=1)
"""How long before its end people are told of a lease; one that is shorter was meant to be."""


class Deadline(NamedTuple):
    """Something that people are told of at a time.

    Args:
        notice: names it.
        at: from when.
        until: until when it is worth telling; None means for ever.
        text: for people.
    """

    notice: str
    at: datetime
    until: datetime | None
    text: str


def pages(state: Incident, inventory: Inventory, now: datetime) -> tuple[list[Event], datetime | None]:
    """Return the pages that are due, and when the next one is.

    Args:
        state: the incident.
        inventory: says which laws bind us.
        now: the present moment.
    """
    due: list[Event] = []
    later: list[datetime] = []
    for notice, at, until, text in (*_clocks(state, inventory, now), *_leases(state)):
        if notice in state.pages:
            continue
        if at > now:
            later.append(at)
        elif until is None or now < until:
            due.append(Event("page", {"id": notice, "notice": notice, "text": text}))
    return due, min(later, default=None)


def _clocks(state: Incident, inventory: Inventory, now: datetime) -> Iterator[Deadline]:
    for clock in duties.clocks(state, inventory, duties.load(), now):
        if clock.running and clock.due is not None:
            text, short = _text(state, clock), (clock.due - clock.start) * SHORT
            yield Deadline(f"due:{clock.id}", clock.due - short, clock.due, text)
            yield Deadline(f"overdue:{clock.id}", clock.due, None, text)


def _leases(state: Incident) -> Iterator[Deadline]:
    for instance, lease in state.leases.items():
        at, until = lease.until - SOON, iso(lease.until)
        if lease.in_force and lease.opened_at < at and not lease.releasing and not state.release_wanted(instance):
            text = f"{state.id}: the lease of {instance} ends {until}: `mcp-soar extend` or `mcp-soar release`."
            yield Deadline(f"expiring:{instance}:{until}", at, lease.until, text)


def _text(state: Incident, clock: duties.Clock) -> str:
    until = iso(clock.due) if clock.due else ""
    verb = "is over since" if clock.overdue else "ends"
    what, law = clock.duty[Language.EN], f"{clock.law[Language.EN]}, {clock.article[Language.EN]}"
    return (
        f"{state.id}: the time to report under {law}, {verb} {until}: {what}. Unless: "
        f"{clock.unless[Language.EN]}. When it is done: `mcp-soar note {state.id} TEXT --fulfils {clock.id}`."
    )[:4000]


def told(state: Incident, inventory: Inventory, contacts: Contacts, now: datetime) -> dict[str, str]:
    """Return who is told of an incident beside those on call, and of its clocks: role → contact; nobody outside."""
    laws = duties.load()
    found = duties.stakeholders(state, inventory, contacts, laws)
    for clock in duties.clocks(state, inventory, laws, now):
        for role, contact in duties.clock_contacts(clock, inventory, contacts).items():
            if not laws.roles[role].external:
                found.setdefault(role, contact)
    return found
