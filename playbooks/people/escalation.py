"""Who has to be told of what now, and when the next one has to be: pages, the on-call list, rooms, stakeholders. Pure.

A page is delivered to everybody that it is for, each by the first of their ways that works. An urgent one goes down the
on-call list until somebody acknowledges it, or until what it said is no longer so.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from playbooks.people.contacts import Contacts, Way
from playbooks.record.incident import Severity, Status
from playbooks.record.state import Incident
from playbooks.record.step import StepState
from playbooks.record.told import Page

CODE = "code"
UNANSWERED = "unanswered"
"""Nobody of the on-call list took it up, however often it was gone through: recorded, and shown in every answer."""


AGAIN = (15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds until somebody is tried again by all of their ways; the last one stays."""

GIVE_UP = timedelta(days=1)
"""How long somebody who cannot be reached is tried, from when they had to be told."""

URGENT = frozenset(
    {"awaiting_approval", "not_established", "undone", "lapsed", "extended", "unknown", "fault", "guessed", "overdue"}
)
"""What somebody has to look at."""

OFFICIAL = frozenset({"opened", "contained", "not_established", "released", "closed", "due", "overdue"})
"""What stakeholders are told."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message that has to go out.

    Args:
        page: which.
        purpose: why to them: `log`, `room`, `code` (an approver, with one-time codes), `approver`,
            `stakeholder:<role>`, `news` (to whoever is on call where there is no room), `on_call:<round>:<step>`,
            `unanswered` (nothing is sent any more; it is recorded).
        contact: whom, by name; None for the log.
    """

    page: str
    purpose: str
    contact: str | None


@dataclass(frozen=True, slots=True)
class Roster:
    """Whom there is to tell of an incident.

    Args:
        contacts: with the on-call list.
        approvers: person → contact, of those who may answer what the incident asks.
        people: everybody who is enrolled; any other contact is a room, or an office.
        private: contact → the ways that bring them one-time codes and nobody else; without one they get none.
        stakeholders: role → contact.
    """

    contacts: Contacts
    approvers: Mapping[str, str] = field(default_factory=dict)
    people: frozenset[str] = frozenset()
    private: Mapping[str, Sequence[Way]] = field(default_factory=dict)
    stakeholders: Mapping[str, str] = field(default_factory=dict)

    def decides(self, contact: str | None, step: StepState) -> bool:
        """Whether whoever is told of a question may answer it; in a room there may be somebody who does."""
        return contact not in self.people or (contact in self.approvers and contact != step.requested_by)


@dataclass(frozen=True, slots=True)
class Agenda:
    """What there is to send now.

    Args:
        now: what has to go out.
        at: when there will be more, None if nothing is foreseen.
    """

    now: tuple[Delivery, ...]
    at: datetime | None


def urgent(state: Incident, page: Page) -> bool:
    """Whether somebody has to acknowledge a page."""
    if page.kind == "opened":
        return state.triage is not None or state.severity >= Severity.CRITICAL
    return page.kind in URGENT


def over(state: Incident, page: Page) -> bool:
    """Whether nobody has to hear of a page any more: it was acknowledged, or it is no longer so."""
    if page.id in state.acknowledged:
        return True
    if page.kind == "overdue":
        # What the law wants does not end with the containment.
        return state.unfounded or page.notice.partition(":")[2] in state.fulfilled
    if state.closed_at is not None:
        return True
    if page.kind == "not_established":
        return state.status not in {Status.NOT_ESTABLISHED, Status.FROZEN}
    if page.kind == "awaiting_approval":
        mark = page.id.rpartition(":")[2]
        # Asked a second time about the same plan, the page about that stands for both.
        asked = [other.id for other in state.pages.values() if other.kind == page.kind]
        latest = [name for name in asked if name.endswith(f":{mark}")][-1]
        waiting = {step.plan.digest[7:19] for step in state.proposals if step.plan}
        return mark not in waiting or page.id != latest
    return False


def agenda(state: Incident, roster: Roster, now: datetime) -> Agenda:
    """Return what has to be sent now, and when to look again.

    Args:
        state: the incident, or the system's own pages in the same form.
        roster: whom there is to tell.
        now: the present moment.
    """
    due: list[Delivery] = []
    later: list[datetime] = []
    for page in state.pages.values():
        sent: set[object] = set()
        for delivery, at in _wanted(state, page, roster):
            again = _free(state, delivery) or at
            if again - at > GIVE_UP or _done(state, delivery, roster):
                continue
            at = max(at, again)  # noqa: PLW2901  # not before it may be tried again
            if at > now:
                later.append(at)
                continue
            # One message is enough, whatever the reasons to send it; only codes go another way than what wakes people.
            apart = delivery.purpose == CODE and not _prompt(delivery, roster)
            post = (delivery.contact, CODE) if apart else delivery.contact
            if post not in sent:
                sent.add(post)
                due.append(delivery)
    return Agenda(tuple(due), min(later, default=None))


def _wanted(state: Incident, page: Page, roster: Roster) -> Iterator[tuple[Delivery, datetime]]:
    """Yield everything that a page calls for, with when; the most personal first."""
    contacts = roster.contacts
    gone = over(state, page)
    asks = page.kind == "awaiting_approval" and not gone
    approvers = list(dict.fromkeys(roster.approvers.values())) if asks else []
    coded = [name for name in approvers if roster.private.get(name)]
    yield from ((Delivery(page.id, CODE, name), page.at) for name in coded)
    if urgent(state, page) and not gone and contacts.on_call:
        yield from _escalation(state, page, contacts)
        whole = timedelta(seconds=sum(step.wait for step in contacts.on_call) * contacts.repeat)
        yield Delivery(page.id, UNANSWERED, None), page.at + whole
    yield from ((Delivery(page.id, "approver", name), page.at) for name in approvers)
    if contacts.room:
        yield Delivery(page.id, "room", contacts.room), page.at
    elif not urgent(state, page) or (gone and page.id in state.untold):
        # Everybody on call hears of what wakes nobody, and of what was over before it woke somebody.
        yield from ((Delivery(page.id, "news", step.contact), page.at) for step in contacts.on_call)
    if page.kind in OFFICIAL:
        for role, contact in roster.stakeholders.items():
            yield Delivery(page.id, f"stakeholder:{role}", contact), page.at
    if not (contacts.room or contacts.on_call):
        yield Delivery(page.id, "log", None), page.at


def _escalation(state: Incident, page: Page, contacts: Contacts) -> Iterator[tuple[Delivery, datetime]]:
    at = page.at
    for number in range(contacts.repeat):
        for place, step in enumerate(contacts.on_call):
            yield Delivery(page.id, f"on_call:{number}:{place}", step.contact), at
            told = state.told_of(page.id, step.contact)
            failed = bool(told) and not any(item.delivered for item in told)
            # Nobody waits for an answer of somebody who could not even be reached.
            at += timedelta(seconds=0.0 if failed else step.wait)


def _prompt(delivery: Delivery, roster: Roster) -> bool:
    """Whether a contact's codes go by the way that reaches them first anyhow."""
    contact = delivery.contact or ""
    return roster.contacts.contacts[contact].order[0] in roster.private.get(contact, ())[:1]


def _done(state: Incident, delivery: Delivery, roster: Roster) -> bool:
    if delivery.purpose == UNANSWERED:
        return any(item.purpose == UNANSWERED for item in state.told_of(delivery.page, None))
    told = [item for item in state.told_of(delivery.page, delivery.contact) if item.delivered]
    reached = [item for item in told if item.purpose != CODE or _prompt(delivery, roster)]
    if delivery.purpose == CODE or delivery.purpose.startswith("on_call:"):
        first = delivery.purpose.startswith("on_call:0:")
        return any(item.purpose in {delivery.purpose, CODE if first else ""} for item in (reached if first else told))
    return bool(reached)


def _free(state: Incident, delivery: Delivery) -> datetime | None:
    """Return when somebody who could not be reached is tried again."""
    failed = [item for item in state.told_of(delivery.page, delivery.contact) if not item.delivered]
    if not failed:
        return None
    rounds = len({item.round for item in failed})
    return failed[-1].at + timedelta(seconds=AGAIN[min(rounds, len(AGAIN)) - 1])
