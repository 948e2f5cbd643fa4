"""The law's clocks of an incident as pages: once when the time grows short, once when it is over. Pure."""

from datetime import datetime, timedelta

from playbooks import duties
from playbooks.contacts import Contacts, Language
from playbooks.inventory import Inventory
from playbooks.journal import Event
from playbooks.state import Incident
from playbooks.strict import iso

SHORT = 0.25
"""The part of a clock's time that is left when people are told of it."""


def pages(state: Incident, inventory: Inventory, now: datetime) -> tuple[list[Event], datetime | None]:
    """Return the pages that are due, and when the next one is.

    Args:
        state: the incident.
        inventory: says which laws bind us.
        now: the present moment.
    """
    due: list[Event] = []
    later: list[datetime] = []
    for clock in duties.clocks(state, inventory, duties.load(), now):
        if not clock.running or clock.due is None:
            continue
        short: timedelta = (clock.due - clock.start) * SHORT
        for notice, at in ((f"due:{clock.id}", clock.due - short), (f"overdue:{clock.id}", clock.due)):
            if notice in state.pages:
                continue
            if at > now:
                later.append(at)
            elif notice.startswith("overdue") or now < clock.due:
                due.append(Event("page", {"id": notice, "notice": notice, "text": _text(state, clock)}))
    return due, min(later, default=None)


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
