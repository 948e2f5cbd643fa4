"""What there is to say of an incident now, for whoever was just woken: the one source of every message. Pure.

It holds facts, in nobody's language: `playbooks.people.rendering` puts them into words. Much of it is other people's
text; no escaping is done here, and secrets are masked.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import Enum, StrEnum
from typing import TypeVar

from playbooks.estate.inventory import Criticality, Environment, Inventory
from playbooks.gate.plan import Answer
from playbooks.people.duties import Clock
from playbooks.people.escalation import URGENT
from playbooks.record.incident import Severity, Status
from playbooks.record.proof import Fact, checks
from playbooks.record.state import Incident
from playbooks.record.step import StepState
from playbooks.record.told import Page
from playbooks.record.view import COMMANDS, Ask, Held, Lost, Shares, Shown, Stopped
from playbooks.record.viewing import CommandLine, Stop, ask_of, stopped_of, typed, view
from playbooks.strict import Moment, Strict, iso
from playbooks.taxonomy import IncidentClass, load
from playbooks.text.own import FILES, of_incident, of_inventory
from playbooks.text.redaction import redacted
from playbooks.text.sentences import say

LONGEST = 600
"""Characters of one text."""

MOST = 12
"""Lines of one list; the command line has them all."""


_FEW = 4
"""Parts of one sentence."""


class Topic(StrEnum):
    """What a message is about. Every one has words in every language."""

    OPENED = "opened"
    AWAITING_APPROVAL = "awaiting_approval"
    CONTAINED = "contained"
    NOT_ESTABLISHED = "not_established"
    UNDONE = "undone"
    WIDENED = "widened"
    LAPSED = "lapsed"
    RELEASED = "released"
    CLOSED = "closed"
    FROZEN = "frozen"
    EXPIRING = "expiring"
    EXTENDED = "extended"
    STOPPED = "stopped"
    RESUMED = "resumed"
    SUPPRESSED = "suppressed"
    DELEGATED = "delegated"
    DUE = "due"
    OVERDUE = "overdue"
    GUESSED = "guessed"
    UNKNOWN = "unknown"
    JOINED = "joined"
    CAMPAIGN = "campaign"
    FLOOD = "flood"
    FAULT = "fault"
    TEST = "test"
    STATUS = "status"
    """How it stands, when nothing happened: the head of a report or a summary."""


class Command(Strict):
    """A command that can be copied.

    Args:
        does: which, as `approve`.
        line: the whole of it.
    """

    does: str
    line: str


class Where(Strict):
    """A server that it is about."""

    id: str
    title: str
    owner: str
    criticality: Criticality
    environment: Environment
    protected: bool


class Briefing(Strict):
    """Everything that can be said. What is not named here is that of a `View`.

    Args:
        at: when it was worked out.
        incident: its id; None for what is about the installation.
        kind: what the message is about.
        subject: the step, scope or clock that it is about, if it is about one.
        said: the page's own words, as the journal has them.
        page: its id.
        class_title: of the taxonomy.
        checks: what our own checks found.
        servers: where.
        campaigns: what it has in common with others at other servers.
        wishes: why people want something contained, in their own words, as `kim: it reads keys`.
        because: the plan, widening or failure that the message is about, in a sentence.
        asks: what waits for people; the one that the message is about first.
        answered: what the message asks does not wait for a decision any more.
        decides: whoever it is for may answer what it asks; of what they asked for themselves they may not.
        held: containments.
        proven: what was found to be as it should.
        not_proven: what it found not to be, or could not find out.
        more_not_proven: how much more of that there is.
        exhibits: how many were sealed.
        unavailable: evidence that could not be had.
        clocks: duties to report; the one that the message is about first.
        stops: kill switches that are on for it.
        lost: pages that nobody could be told of.
        commands: what to type next.
        witness: the journal's head when this was said.
        own: names of ours, which stand as they are.
        prose: of its sentences there may be the English alone.
    """

    at: Moment
    incident: str | None
    kind: Topic
    subject: str = ""
    said: str = ""
    page: str = ""
    incident_class: IncidentClass = IncidentClass.UNCLASSIFIED
    class_title: str = ""
    severity: Severity = Severity.INFORMATIONAL
    status: Status = Status.TRIAGE
    part_of: str | None = None
    title: str = ""
    claimed: bool = False
    confirmed: Answer | None = None
    checks: tuple[Fact, ...] = ()
    entities: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    servers: tuple[Where, ...] = ()
    campaigns: tuple[Shares, ...] = ()
    refused: tuple[str, ...] = ()
    triage: str | None = None
    frozen: str | None = None
    requested_by: str | None = None
    linked: tuple[str, ...] = ()
    wishes: tuple[str, ...] = ()
    assigned_to: str | None = None
    opened_at: Moment | None = None
    closed_at: Moment | None = None
    closed_as: str | None = None
    because: str = ""
    asks: tuple[Ask, ...] = ()
    answered: bool = False
    decides: bool = True
    held: tuple[Held, ...] = ()
    by_word: str = ""
    proven: tuple[Fact, ...] = ()
    not_proven: tuple[Fact, ...] = ()
    more_not_proven: int = 0
    exhibits: int = 0
    unavailable: tuple[str, ...] = ()
    clocks: tuple[Clock, ...] = ()
    stops: tuple[Stopped, ...] = ()
    lost: tuple[Lost, ...] = ()
    commands: tuple[Command, ...] = ()
    witness: str = ""
    own: tuple[str, ...] = ()
    prose: bool = True


def brief(
    state: Incident,
    *,
    inventory: Inventory,
    at: datetime,
    page: Page | None = None,
    kind: Topic | None = None,
    stops: Sequence[Stop] = (),
    clocks: Sequence[Clock] = (),
    witness: str = "",
    line: CommandLine = typed,
    decides: bool = True,
) -> Briefing:
    """Return what there is to say of an incident now.

    Args:
        state: the incident; one without `opened_at` stands for the installation.
        inventory: for the names of servers.
        at: the present moment.
        page: what the message is about.
        kind: what it is about where there is no page.
        stops: kill switches that are on for it.
        clocks: from `playbooks.people.duties`.
        witness: the journal's head, as `12:0123456789abcdef`.
        line: makes a command line of its words.
        decides: whoever it is for may answer what it asks.
    """
    kind = kind or _kind(state, page)
    subject = _subject(state, page)
    it = view(state, at=at, clocks=clocks, line=line)
    mark = page.notice.rpartition(":")[2] if page and page.kind == Topic.AWAITING_APPROVAL else ""
    asks = sorted((_about(ask, ask.short == mark) for ask in it.asks), key=lambda ask: not ask.about)
    return Briefing(
        **{name: _fitted(getattr(it, name)) for name in _SAME},
        at=at,
        incident=it.id if it.opened_at else None,
        kind=kind,
        subject=_fit(subject),
        said=_fit(page.text, 2000) if page else "",
        page=page.id if page else "",
        class_title=load().of(it.incident_class).title,
        checks=it.checks[:MOST],
        servers=tuple(_where(name, inventory) for name in it.servers[:MOST] if name in inventory.servers),
        campaigns=tuple(_fitted(one) for one in it.campaigns[:MOST]),
        wishes=_some(it.why, _FEW),
        because=_clause(_because(state, kind, subject)),
        asks=tuple(asks[:MOST]),
        answered=page is not None and kind is Topic.AWAITING_APPROVAL and not any(ask.about for ask in asks),
        decides=decides,
        held=tuple(_about(lease, lease.instance == subject) for lease in it.leases if lease.began_at),
        proven=it.proven[:MOST],
        not_proven=it.not_proven[:MOST],
        more_not_proven=max(0, len(it.not_proven) - MOST),
        exhibits=len(it.exhibits),
        unavailable=_some(f"{item.kind}: {item.reason}" for item in it.unavailable),
        clocks=tuple(sorted((duty.clock for duty in it.clocks), key=lambda clock: clock.id != subject)),
        stops=tuple(_fitted(stopped_of(stop)) for stop in stops),
        lost=tuple(_fitted(one) for one in it.untold if one.tried and (page is None or one.page != page.id))[:MOST],
        commands=tuple(_commands(state, kind, subject, line)),
        witness=witness,
        own=_own(state, inventory),
        prose=state.prose,
    )


_SAME = (
    "incident_class",
    "severity",
    "status",
    "part_of",
    "title",
    "claimed",
    "confirmed",
    "entities",
    "unresolved",
    "refused",
    "triage",
    "frozen",
    "requested_by",
    "linked",
    "assigned_to",
    "opened_at",
    "closed_at",
    "closed_as",
    "by_word",
)
"""What a message says as everything else does, but for its length."""


def _own(state: Incident, inventory: Inventory) -> tuple[str, ...]:
    # What cannot be taken for an address needs nothing.
    return tuple(sorted(name for name in FILES | of_inventory(inventory) | of_incident(state) if not name.isalnum()))


def asking(state: Incident, step: StepState, *, at: datetime, inventory: Inventory) -> Briefing:
    """Return what there is to say of one plan that waits, for a form in which it is answered.

    Args:
        state: the incident.
        step: what waits.
        at: the present moment.
        inventory: for the names of ours.
    """
    asks = (_fitted(ask_of(state, step)),) if step.plan else ()
    found = checks(state)
    return Briefing(
        at=at,
        incident=state.id,
        kind=Topic.AWAITING_APPROVAL,
        confirmed=found.answer,
        checks=found.facts[:MOST],
        asks=asks,
        own=_own(state, inventory),
        prose=state.prose,
    )


def _fit(text: str, limit: int = LONGEST) -> str:
    # What lies far beyond the limit is not even looked at: a hostile server may send megabytes.
    return redacted(text[: limit * 4], limit)


def _clause(text: str) -> str:
    """Return a sentence to stand inside another one."""
    return _fit(text).rstrip(". ")


def _some(texts: Iterable[str], most: int = MOST) -> tuple[str, ...]:
    found = list(texts)
    more = [] if len(found) <= most else [f"… +{len(found) - most + 1}"]
    return (*(_fit(text, 300) for text in (found if not more else found[: most - 1])), *more)


_AS_IT_IS = COMMANDS | {"digest", "plan", "diffs", "requested_by", "approved_by", "released_by", "assigned_to"}
"""What no limit cuts: it is copied, is no text, or is the name of somebody enrolled."""

T = TypeVar("T")


def _fitted(value: T) -> T:
    """Return what is shown so that a message has room for it, without secrets."""
    return _fitting(value)  # type: ignore[return-value]  # of the same shape


def _fitting(value: object) -> object:
    if isinstance(value, Shown):
        names = (name for name in type(value).model_fields if name not in _AS_IT_IS)
        return value.model_copy(update={name: _fitting(getattr(value, name)) for name in names})
    if isinstance(value, tuple):
        return _some(text.rstrip(". ") for text in value)
    return _clause(value) if isinstance(value, str) and not isinstance(value, Enum) else value


M = TypeVar("M", Ask, Held)


def _about(one: M, about: bool) -> M:  # noqa: FBT001  # what it is to say
    return _fitted(one.model_copy(update={"about": about}))


def _kind(state: Incident, page: Page | None) -> Topic:
    if page is None:
        return Topic.STATUS
    if page.notice in state.widenings:
        return Topic.WIDENED
    return Topic(page.kind) if page.kind in set(Topic) else Topic.FAULT if state.opened_at is None else Topic.STATUS


def _subject(state: Incident, page: Page | None) -> str:
    """Return the step, scope or clock that a page is about."""
    if page is None:
        return ""
    if page.notice in state.widenings:
        return page.notice
    rest = page.notice.partition(":")[2]
    if page.kind == Topic.FLOOD:
        return rest.rpartition(":")[0]
    # A step's name may hold a colon itself: the longest one that fits is meant.
    known = sorted((name for name in (*state.steps, *state.leases) if rest.startswith(name)), key=len)
    return known[-1] if known else rest


def _because(state: Incident, kind: Topic, subject: str) -> str:
    if subject in state.widenings:
        return state.widenings[subject].because
    if kind is Topic.FLOOD and subject in state.repeats:
        more = state.repeats[subject]
        return say(
            "{a} sent {b} more messages like those that it has, since {c}",
            a=subject,
            b=more.messages,
            c=iso(more.since),
        )
    if kind is Topic.NOT_ESTABLISHED:
        return next((step.message for step in state.cuts if step.message), "")
    lease, step = state.leases.get(subject), state.steps.get(subject)
    plan = lease.plan if lease else step.plan if step else None
    return plan.summary if plan else ""


def _where(name: str, inventory: Inventory) -> Where:
    server = inventory.servers[name]
    return Where(
        id=name,
        title=server.title,
        owner=server.owner,
        criticality=server.criticality,
        environment=server.environment,
        protected=server.protected,
    )


def _others(state: Incident, subject: str, line: CommandLine) -> Iterable[Command]:
    if state.campaigns:
        first = subject if subject in state.campaigns else next(iter(state.campaigns))
        yield Command(does="campaign", line=line("campaign", first))
    if state.part_of:
        yield Command(does="go_on", line=line("incident", state.part_of))


def _commands(state: Incident, kind: Topic, subject: str, line: CommandLine) -> Iterable[Command]:
    if kind is Topic.TEST:
        return
    if state.opened_at is None:
        if kind in URGENT:
            yield Command(does="ack", line=line("ack", state.id, "--as", "NAME"))
        yield Command(does="doctor", line=line("doctor"))
        return
    yield Command(does="show", line=line("incident", state.id))
    if state.closed_at and kind not in {Topic.DUE, Topic.OVERDUE}:
        return
    yield from _others(state, subject, line)
    yield Command(does="ack", line=line("ack", state.id, "--as", "NAME"))
    if kind in {Topic.DUE, Topic.OVERDUE}:
        yield Command(does="fulfil", line=line("note", state.id, "TEXT", "--fulfils", subject, "--as", "NAME"))
    if kind is Topic.FLOOD:
        yield Command(
            does="suppress",
            line=line("suppress", f"source:{subject}", "--for", "2h", "--reason", "REASON", "--as", "NAME"),
        )
    if kind in {Topic.EXPIRING, Topic.EXTENDED} and subject in state.leases:
        for_ = ("extend", state.id, "--lease", subject, "--for", "24h", "--reason", "REASON", "--as", "NAME")
        yield Command(does="extend", line=line(*for_))
    if any(lease.open for lease in state.leases.values()):
        yield Command(does="release", line=line("release", state.id, "--as", "NAME"))
