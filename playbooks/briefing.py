"""What there is to say of an incident now, for whoever was just woken: the one source of every message. Pure.

It holds facts, in nobody's language: `playbooks.rendering` puts them into words. Much of it is other people's text; no
escaping is done here, and secrets are masked.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from playbooks.duties import Clock
from playbooks.escalation import URGENT
from playbooks.incident import Severity, Status
from playbooks.inventory import Criticality, Environment, Inventory
from playbooks.own import FILES, of_incident, of_inventory
from playbooks.plan import Answer, Plan
from playbooks.policy import Purpose
from playbooks.proof import Fact, checks, proof
from playbooks.redaction import redacted
from playbooks.state import Incident, LeaseState, Page, StepState
from playbooks.strict import Moment, Strict, iso
from playbooks.taxonomy import IncidentClass, load

LONGEST = 600
"""Characters of one text."""

MOST = 12
"""Lines of one list; the command line has them all."""


_FEW = 4
"""Parts of one sentence."""


class Kind(StrEnum):
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


class Ask(Strict):
    """A plan that waits for people.

    Args:
        instance: its step.
        digest: of the plan; what an answer is bound to.
        short: the twelve digits of it that people type.
        purpose: contain, put back, release.
        summary: what would be done to what.
        changes: field by field.
        reasons: why people are asked.
        breaks: what stops working while it lasts.
        undone: what taking it back would restore; empty if it cannot be.
        irreversible: why it cannot be taken back.
        differs: what is no longer so since it was asked the first time.
        quorum: answers that it needs.
        approved_by: who said yes.
        missing: answers that it still needs.
        requested_by: who asked for it, and therefore does not count.
        reason: why they want it, in their own words; empty if they did not say.
        expires_at: after this the answer is no.
        commands: that answer it.
        about: whether the message is about this one.
    """

    instance: str
    digest: str
    short: str
    purpose: Purpose
    summary: str
    changes: tuple[str, ...]
    reasons: tuple[str, ...]
    breaks: str
    undone: tuple[str, ...]
    irreversible: str | None
    differs: tuple[str, ...]
    quorum: int
    approved_by: tuple[str, ...]
    missing: int
    requested_by: str | None
    expires_at: Moment | None
    reason: str = ""
    commands: tuple[Command, ...]
    about: bool


class Held(Strict):
    """A containment in force, or one that was.

    Args:
        instance: its step.
        summary: what was done.
        in_force: whether it ought to hold.
        until: when it ends or is extended.
        answer: of the last verification.
        checked_at: when that was.
        put_backs: how often what somebody undid was put back.
        done_at: when it was confirmed, if it cannot be taken back.
        released_at: when it was given back.
        released_by: who asked for that.
        about: whether the message is about this one.
    """

    instance: str
    summary: str
    in_force: bool
    until: Moment
    answer: Answer | None
    checked_at: Moment | None
    put_backs: int
    done_at: Moment | None
    released_at: Moment | None
    released_by: str | None
    about: bool


class Where(Strict):
    """A server that it is about."""

    id: str
    title: str
    owner: str
    criticality: Criticality
    environment: Environment
    protected: bool


class Stopped(Strict):
    """A kill switch that is on."""

    scope: str
    reason: str
    by: str
    since: Moment


class Lost(Strict):
    """A page that nobody could be told of yet."""

    text: str
    since: Moment


class Briefing(Strict):
    """Everything that can be said.

    Args:
        at: when it was worked out.
        incident: its id; None for what is about the installation.
        kind: what the message is about.
        subject: the step, scope or clock that it is about, if it is about one.
        said: the page's own words, as the journal has them.
        page: its id.
        incident_class: of the taxonomy.
        class_title: its title there.
        severity: how bad.
        status: where it stands.
        part_of: the incident that it goes on in.
        title: the first alert's; hostile.
        claimed: the class is what alerts say; a person said nothing else since.
        confirmed: whether our own checks confirm that; None if none has answered.
        checks: what they found.
        entities: what it is about, in words.
        unresolved: what alerts named and the inventory does not know.
        servers: where.
        refused: what people said no to, with who did.
        triage: why a person has to look first.
        frozen: why nothing more is done.
        requested_by: who started it by hand.
        wishes: why people want something contained, in their own words, as `kim: it reads keys`.
        assigned_to: who has taken it over.
        opened_at: when we became aware.
        closed_at: when it was closed.
        closed_as: as what.
        because: the plan, widening or failure that the message is about, in a sentence.
        asks: what waits for people; the one that the message is about first.
        answered: what the message asks does not wait for a decision any more.
        held: containments.
        proven: what a probe found to be as it should.
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
    """

    at: Moment
    incident: str | None
    kind: Kind
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
    refused: tuple[str, ...] = ()
    triage: str | None = None
    frozen: str | None = None
    requested_by: str | None = None
    wishes: tuple[str, ...] = ()
    assigned_to: str | None = None
    opened_at: Moment | None = None
    closed_at: Moment | None = None
    closed_as: str | None = None
    because: str = ""
    asks: tuple[Ask, ...] = ()
    answered: bool = False
    held: tuple[Held, ...] = ()
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


class Stop(Protocol):
    """A kill switch as the journal keeps it; times are seconds since 1970."""

    @property
    def scope(self) -> str:
        """What it stops."""

    @property
    def reason(self) -> str:
        """Why, in somebody's words."""

    @property
    def by(self) -> str:
        """Who."""

    @property
    def at(self) -> float:
        """Since when."""


Line = Callable[..., str]
"""Makes a command line of words, with what it needs to find the configuration."""


def typed(*words: str) -> str:
    """Return a command line without a folder to name."""
    return " ".join(("mcp-soar", *words))


def brief(
    state: Incident,
    *,
    inventory: Inventory,
    at: datetime,
    page: Page | None = None,
    kind: Kind | None = None,
    stops: Sequence[Stop] = (),
    clocks: Sequence[Clock] = (),
    witness: str = "",
    line: Line = typed,
) -> Briefing:
    """Return what there is to say of an incident now.

    Args:
        state: the incident; one without `opened_at` stands for the installation.
        inventory: for the names of servers.
        at: the present moment.
        page: what the message is about.
        kind: what it is about where there is no page.
        stops: kill switches that are on for it.
        clocks: from `playbooks.duties`.
        witness: the journal's head, as `12:0123456789abcdef`.
        line: makes a command line of its words.
    """
    kind = kind or _kind(state, page)
    subject = _subject(state, page)
    proven = proof(state)
    found = checks(state)
    asks = _asks(state, page, line)
    itself = state.opened_at is None
    return Briefing(
        at=at,
        incident=None if itself else state.id,
        kind=kind,
        subject=_fit(subject),
        said=_fit(page.text, 2000) if page else "",
        page=page.id if page else "",
        incident_class=state.incident_class,
        class_title=load().of(state.incident_class).title,
        severity=state.severity,
        status=state.status,
        part_of=state.part_of,
        title=_fit(state.title, 300),
        claimed=state.claimed,
        confirmed=found.answer,
        checks=found.facts[:MOST],
        entities=_some(map(str, state.entities.values())),
        unresolved=_some(map(str, state.unresolved)),
        servers=tuple(_where(name, inventory) for name in state.servers[:MOST] if name in inventory.servers),
        refused=_some(state.refusals),
        triage=_clause(state.triage) if state.triage else None,
        frozen=_clause(state.frozen) if state.frozen else None,
        requested_by=state.requested_by,
        wishes=_some((f"{wish.by}: {wish.reason}" for wish in state.wishes), _FEW),
        assigned_to=state.assigned_to,
        opened_at=state.opened_at,
        closed_at=state.closed_at,
        closed_as=state.closed_as,
        because=_clause(_because(state, kind, subject)),
        asks=asks,
        answered=page is not None and kind is Kind.AWAITING_APPROVAL and not any(ask.about for ask in asks),
        held=tuple(_held(lease, about=lease.instance == subject) for lease in state.leases.values() if lease.began_at),
        proven=proven.good[:MOST],
        not_proven=proven.lacking[:MOST],
        more_not_proven=max(0, len(proven.lacking) - MOST),
        exhibits=len(state.exhibits),
        unavailable=_some(f"{item['kind']}: {item['reason']}" for item in state.missing),
        clocks=tuple(sorted(clocks, key=lambda clock: clock.id != subject)),
        stops=tuple(_stopped(stop) for stop in stops),
        lost=tuple(
            Lost(text=_fit(one.text, 300), since=one.at) for one in _untold(state) if page is None or one.id != page.id
        )[:MOST],
        commands=tuple(_commands(state, kind, subject, line)),
        witness=witness,
        own=_own(state, inventory),
    )


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
    asks = (_ask(state, step, step.plan, "", typed),) if step.plan else ()
    found = checks(state)
    return Briefing(
        at=at,
        incident=state.id,
        kind=Kind.AWAITING_APPROVAL,
        confirmed=found.answer,
        checks=found.facts[:MOST],
        asks=asks,
        own=_own(state, inventory),
    )


def _fit(text: str, limit: int = LONGEST) -> str:
    # What lies far beyond the limit is not even looked at: a hostile server may send megabytes.
    return redacted(text[: limit * 4], limit)


def _clause(text: str, limit: int = LONGEST) -> str:
    """Return a sentence to stand inside another one."""
    return _fit(text, limit).rstrip(". ")


def _some(texts: Iterable[str], most: int = MOST) -> tuple[str, ...]:
    found = list(texts)
    more = [] if len(found) <= most else [f"… +{len(found) - most + 1}"]
    return (*(_fit(text, 300) for text in (found if not more else found[: most - 1])), *more)


def _kind(state: Incident, page: Page | None) -> Kind:
    if page is None:
        return Kind.STATUS
    if page.notice in state.widenings:
        return Kind.WIDENED
    return Kind(page.kind) if page.kind in set(Kind) else Kind.FAULT if state.opened_at is None else Kind.STATUS


def _subject(state: Incident, page: Page | None) -> str:
    """Return the step, scope or clock that a page is about."""
    if page is None:
        return ""
    if page.notice in state.widenings:
        return page.notice
    rest = page.notice.partition(":")[2]
    if page.kind == Kind.FLOOD:
        return rest.rpartition(":")[0]
    # A step's name may hold a colon itself: the longest one that fits is meant.
    known = sorted((name for name in (*state.steps, *state.leases) if rest.startswith(name)), key=len)
    return known[-1] if known else rest


def _because(state: Incident, kind: Kind, subject: str) -> str:
    if subject in state.widenings:
        return state.widenings[subject].because
    if kind is Kind.FLOOD and subject in state.repeats:
        more = state.repeats[subject]
        return f"{subject} sent {more.messages} more messages like those that it has, since {iso(more.since)}"
    if kind is Kind.NOT_ESTABLISHED:
        return next((step.message for step in state.cuts if step.message), "")
    lease, step = state.leases.get(subject), state.steps.get(subject)
    plan = lease.plan if lease else step.plan if step else None
    return plan.summary if plan else ""


def _asks(state: Incident, page: Page | None, line: Line) -> tuple[Ask, ...]:
    mark = page.notice.rpartition(":")[2] if page and page.kind == Kind.AWAITING_APPROVAL else ""
    asks = [_ask(state, step, step.plan, mark, line) for step in state.proposals if step.plan]
    return tuple(sorted(asks, key=lambda ask: not ask.about)[:MOST])


def _ask(state: Incident, step: StepState, plan: Plan, mark: str, line: Line) -> Ask:
    short = plan.digest[7:19]
    agreed = set(step.approved_by) - {step.requested_by}
    return Ask(
        instance=_fit(step.instance),
        digest=plan.digest,
        short=short,
        purpose=step.purpose,
        summary=_clause(plan.summary),
        changes=_some(map(str, plan.pending)),
        reasons=tuple(_clause(reason) for reason in step.reasons[:MOST]),
        breaks=_clause(plan.breaks),
        undone=_some(map(str, plan.undone), _FEW),
        irreversible=_clause(plan.irreversible.because) if plan.irreversible else None,
        differs=_some(filter(None, step.differs.split("; "))),
        quorum=step.quorum,
        approved_by=tuple(dict.fromkeys(step.approved_by)),
        missing=max(0, step.quorum - len(agreed)),
        requested_by=step.requested_by,
        reason=_fit(state.reason_of(step)),
        expires_at=step.expires_at,
        commands=tuple(
            Command(does=verb, line=line(verb, state.id, "--digest", short, "--as", "NAME"))
            for verb in ("approve", "deny")
        ),
        about=short == mark,
    )


def _held(lease: LeaseState, *, about: bool) -> Held:
    return Held(
        instance=_fit(lease.instance),
        summary=_clause(lease.plan.summary),
        in_force=lease.in_force,
        until=lease.until,
        answer=lease.verdict.answer if lease.verdict else None,
        checked_at=lease.checked_at,
        put_backs=lease.put_backs,
        done_at=lease.done_at,
        released_at=lease.released_at,
        released_by=lease.released_by,
        about=about,
    )


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


def _stopped(stop: Stop) -> Stopped:
    since = datetime.fromtimestamp(stop.at, UTC)
    return Stopped(scope=stop.scope, reason=_fit(stop.reason, 300), by=stop.by, since=since)


def _untold(state: Incident) -> list[Page]:
    """Return the pages that somebody was tried for, and that reached nobody."""
    tried = {told.page for told in state.told}
    delivered = {told.page for told in state.told if told.delivered}
    return [page for page in state.pages.values() if page.id in tried - delivered]


def _commands(state: Incident, kind: Kind, subject: str, line: Line) -> Iterable[Command]:
    if kind is Kind.TEST:
        return
    if state.opened_at is None:
        if kind in URGENT:
            yield Command(does="ack", line=line("ack", state.id, "--as", "NAME"))
        yield Command(does="doctor", line=line("doctor"))
        return
    yield Command(does="show", line=line("incident", state.id))
    if state.closed_at and kind not in {Kind.DUE, Kind.OVERDUE}:
        return
    if state.part_of:
        yield Command(does="go_on", line=line("incident", state.part_of))
    yield Command(does="ack", line=line("ack", state.id, "--as", "NAME"))
    if kind in {Kind.DUE, Kind.OVERDUE}:
        yield Command(does="fulfil", line=line("note", state.id, "TEXT", "--fulfils", subject, "--as", "NAME"))
    if kind is Kind.FLOOD:
        yield Command(
            does="suppress",
            line=line("suppress", f"source:{subject}", "--for", "2h", "--reason", "REASON", "--as", "NAME"),
        )
    if kind in {Kind.EXPIRING, Kind.EXTENDED} and subject in state.leases:
        for_ = ("extend", state.id, "--lease", subject, "--for", "24h", "--reason", "REASON", "--as", "NAME")
        yield Command(does="extend", line=line(*for_))
    if any(lease.open for lease in state.leases.values()):
        yield Command(does="release", line=line("release", state.id, "--as", "NAME"))
