"""The note for the next shift, over all open incidents: what is in force, what waits for whom, what changed. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from flows.report.document import Block, Commands, Document, Section, Table, Text, Warn, listed
from flows.report.open_ends import duties_table, tasks
from flows.report.own import as_they_are, names
from flows.report.standing import asker, holding, needed, things
from flows.report.switches import Switch, switches_table
from flows.report.words import EXPLAINED, clock, excerpt, length
from playbooks.people.duties import Clock
from playbooks.playbook import Playbook
from playbooks.record.campaign import Mark
from playbooks.record.incident import IncidentClass, Status
from playbooks.record.order import place
from playbooks.record.state import Incident
from playbooks.record.view import Happened, View
from playbooks.record.viewing import view

_NOISE = frozenset({"told", "page", "exhibit", "code_issued"})
"""Kinds of entry that the next shift need not read line by line."""

MOST = 300
"""Lines of what changed, the youngest."""


_NAMED = 20
"""Campaigns whose command is written out."""


class Suppressed(NamedTuple):
    """Alerts that somebody keeps from opening incidents for a while.

    Args:
        scope: which.
        by: who.
        reason: why.
        until: until when.
        hidden: how many were set aside.
    """

    scope: str
    by: str
    reason: str
    until: datetime
    hidden: int


class Shift(NamedTuple):
    """What there is to hand over.

    Args:
        at: now.
        since: how far back what changed is told.
        states: the open incidents, those that were closed since, and any others whose duties to report may still run.
        playbooks: by class, for their tasks.
        approvers: who may answer a question.
        switches: the kill switches that are on.
        quiet: the suppressions in force.
        clocks: by incident, the duties with deadlines that are still running.
        damaged: incidents whose journal cannot be read, and why.
        itself: what people were told of mcp-soar itself, in the form of an incident.
        ours: names of ours, from `playbooks.text.own`, which stand as they are.
    """

    at: datetime
    since: timedelta
    states: Sequence[Incident]
    playbooks: Mapping[IncidentClass, Playbook]
    approvers: Sequence[str] = ()
    switches: Sequence[Switch] = ()
    quiet: Sequence[Suppressed] = ()
    clocks: Mapping[str, Sequence[Clock]] = {}
    damaged: Sequence[tuple[str, str]] = ()
    itself: Incident | None = None
    ours: Collection[str] = ()


def handover(shift: Shift, made: Sequence[tuple[str, str]] = ()) -> Document:
    """Return the note for the next shift.

    Args:
        shift: what there is.
        made: from what it was made, as names and values.
    """
    shown = [_shown(shift, state) for state in sorted(shift.states, key=place)]
    open_ = [it for it in shown if it.closed_at is None]
    closed = [it for it in shown if it.closed_at is not None]
    of_late = [it for it in closed if it.closed_at and it.closed_at >= shift.at - shift.since]
    itself = [view(shift.itself, at=shift.at)] if shift.itself else []
    note = Document(
        title="Handover",
        made=[("Made", clock(shift.at)), *made],
        lead=list(_lead(shift, open_, sum(len(it.untold) for it in (*itself, *open_, *of_late)))),
        sections=[
            Section("Open incidents", [_incidents(open_)]),
            Section("Campaigns", list(_campaigns(open_))),
            Section("Waits for somebody", list(_asks(open_, shift.approvers))),
            Section("NOT proven", [_leaks(open_)]),
            Section("In force", list(_leases(open_, shift.at))),
            Section("Messages that reached nobody, or nobody took up", list(_messages(itself, [*open_, *of_late]))),
            Section("Kill switches", [switches_table(shift.switches, "None is on.")]),
            Section("Suppressed alerts", [_quiet(shift.quiet)]),
            Section("Duties with a deadline", [_duties([*open_, *closed])]),
            Section("Left to people", [_tasks(open_)]),
            Section(f"What changed in the last {length(shift.since.total_seconds())}", [_changes(shift, shown)]),
        ],
    )
    return as_they_are(note, names(shift.states, [one.goes_by(shift.playbooks) for one in shift.states], shift.ours))


def _shown(shift: Shift, state: Incident) -> View:
    playbook = state.goes_by(shift.playbooks)
    return view(state, at=shift.at, playbook=playbook, clocks=shift.clocks.get(state.id, ()))


def _lead(shift: Shift, open_: Sequence[View], lost: int) -> Iterator[Block]:
    for one in shift.switches:
        yield Warn(f"STOPPED: {one.scope} by {excerpt(one.by)} since {clock(one.since)}: {excerpt(one.reason)}")
    for it in open_:
        if it.status is Status.FROZEN:
            yield Warn(f"FROZEN: {it.id}: {excerpt(it.frozen)}")
        if it.status is Status.NOT_ESTABLISHED:
            yield Warn(f"NOT CONTAINED: {it.id}, {excerpt(it.about)}")
    for name, why in shift.damaged:
        yield Warn(f"NOT READABLE: {name}: its journal is not as it was written: {excerpt(why)}")
    if lost:
        yield Warn(f"Messages that reached nobody: {lost}.")
    asks = sum(len(it.asks) for it in open_)
    leases = [lease for it in open_ for lease in it.in_force]
    done = sum(lease.done_at is not None for it in open_ for lease in it.leases)
    good = f" Done for good: {done}." if done else ""
    joined = sum(it.status is Status.JOINED for it in open_)
    beside = f" ({joined} more joined to them)" if joined else ""
    counted = f"Open incidents: {len(open_) - joined}{beside}. Questions that wait: {asks}."
    yield Text(f"{counted} Things contained: {things(leases)}.{good}")


def _incidents(open_: Sequence[View]) -> Table:
    rows = [
        (
            it.id,
            it.stands,
            # How bad it is, the one says that it goes on in.
            "-" if it.status is Status.JOINED else it.severity.label,
            f"{it.incident_class.value}: {excerpt(it.about)}",
            excerpt(it.assigned_to or "nobody"),
            clock(it.opened_at),
        )
        for it in open_
    ]
    heads = ("Incident", "Status", "Severity", "About", "Assigned to", "Opened")
    return Table("Open incidents", heads, rows, "No incident is open.")


def _campaigns(open_: Sequence[View]) -> Iterator[Block]:
    """Yield what open incidents have in common with others, which one answer is enough for."""
    found: dict[str, list[View]] = {}
    shared: dict[str, Mark] = {}
    for it in open_:
        for one in it.campaigns:
            found.setdefault(one.campaign, []).append(it)
            shared[one.campaign] = Mark(one.kind, one.value)
    rows = [
        (
            name,
            excerpt(str(shared[name])),
            ", ".join(it.id for it in found[name]),
            str(sum(len(it.asks) for it in found[name])),
            things([lease for it in found[name] for lease in it.in_force]),
        )
        for name in sorted(found)
    ]
    heads = ("Campaign", "The same", "Open incidents", "Questions", "Things contained")
    yield listed("Campaigns", heads, rows, "Nothing was found at several servers.")
    if rows:
        yield Commands([f"mcp-soar campaign {name}" for name in sorted(found)][:_NAMED])


def _asks(open_: Sequence[View], approvers: Sequence[str]) -> Iterator[Block]:
    asked = [(it, ask) for it in open_ for ask in it.asks]
    asked.sort(key=lambda pair: (pair[1].expires_at is None, pair[1].expires_at))
    rows = [
        (
            it.id,
            excerpt(ask.summary),
            excerpt("; ".join(ask.reasons_in_short)),
            asker(ask),
            needed(ask),
            # Whose voice it has not had: they neither asked for it, nor approved it, nor were spoken for.
            excerpt(", ".join(sorted(set(approvers) - ask.voices)) or "NOBODY who may answer it"),
            clock(ask.expires_at),
        )
        for it, ask in asked
    ]
    heads = ("Incident", "Plan", "Why it is asked", "Asked for by", "Still needed", "From", "Until, then no")
    yield Table("Questions", heads, rows, "No question is open.")
    if rows:
        yield Commands(list(dict.fromkeys(f"mcp-soar incident {it.id}" for it, _ in asked)))


def _leaks(open_: Sequence[View]) -> Table:
    waits = [it for it in open_ if it.status is Status.TRIAGE]
    rows = [(it.id, f"nothing was done: {excerpt(it.triage or 'every plan was refused')}") for it in waits]
    # What was given back is nobody's to prove any more; its report has it.
    rows += [(it.id, excerpt(fact)) for it in open_ for fact in it.not_proven if not fact.earlier]
    return listed(
        "Not proven", ("Incident", "What, and what was seen"), rows, "Nothing that was done is without proof."
    )


def _leases(open_: Sequence[View], at: datetime) -> Iterator[Block]:
    found = [(it, lease) for it in open_ for lease in it.leases if lease.holds]
    found.sort(key=lambda pair: (not pair[1].in_force, pair[1].until))
    rows = []
    for it, lease in found:
        until, left_in_words = "-", "-"
        if lease.in_force:
            left = (lease.until - at).total_seconds()
            until, left_in_words = clock(lease.until), length(left) if left > 0 else f"OVERDUE by {length(-left)}"
        rows.append((it.id, excerpt(lease.instance), holding(lease), until, left_in_words))
    yield Table("In force", ("Incident", "Lease", "Holds", "Until", "Left"), rows, "Nothing is contained.")
    if rows:
        yield Text(EXPLAINED)


def _messages(itself: Sequence[View], shown: Sequence[View]) -> Iterator[Block]:
    lost = [(it.id, excerpt(page.text)) for it in (*itself, *shown) for page in it.untold]
    yield Table("Reached nobody", ("Incident", "Message"), lost, "Every message reached somebody.")
    failed = [(it.id, excerpt(one.who), excerpt(one.text), excerpt(one.why)) for it in shown for one in it.missed]
    heads = ("Incident", "Who was not reached", "Message", "Why")
    yield Table("Not delivered to somebody", heads, failed, "Nobody was missed.")
    waiting = [(it.id, excerpt(page.text), clock(page.since)) for it in (*itself, *shown) for page in it.waiting]
    yield Table("Not taken up", ("Incident", "Message", "Since"), waiting, "Nothing waits to be acknowledged.")


def _quiet(quiet: Sequence[Suppressed]) -> Table:
    rows = [
        (excerpt(one.scope), excerpt(one.by), excerpt(one.reason), clock(one.until), str(one.hidden)) for one in quiet
    ]
    return Table("Suppressed", ("What", "By", "Reason", "Until", "Set aside"), rows, "No alert is suppressed.")


def _duties(shown: Sequence[View]) -> Table:
    running = [(it, one) for it in shown for one in it.clocks if one.fulfilled is None]
    # Whether what has no number was done is settled when the incident is closed.
    return duties_table([(it.id, one) for it, one in running if it.closed_at is None or one.until])


def _tasks(open_: Sequence[View]) -> Table:
    rows = [(it.id, task, until) for it in open_ for _, task, until in tasks(it)]
    return Table("Tasks", ("Incident", "Task", "Until"), rows, "No task is open.")


def _changes(shift: Shift, shown: Sequence[View]) -> Table:
    begin = shift.at - shift.since
    lines = [
        (line.at, it.id, _who(line) + excerpt(line.what) + _words(line))
        for it in shown
        for line in it.timeline
        if line.at >= begin and line.kind not in _NOISE
    ]
    lines.sort(key=lambda line: line[0])
    # In seconds: the next shift reads it on a terminal, and the report has the rest.
    rows = [(f"{at:%Y-%m-%d %H:%M:%S}", name, what) for at, name, what in lines[-MOST:]]
    return Table("Changes", ("When (UTC)", "Incident", "What"), rows, "Nothing changed.")


def _words(line: Happened) -> str:
    """Return what a person wrote; of anything else the report says more."""
    return f": {excerpt(line.detail)}" if line.kind == "noted" else ""


def _who(line: Happened) -> str:
    """Return whose doing it was, where the line does not begin with it."""
    return "" if line.actor == "mcp-soar" or line.what.startswith(line.actor) else f"{excerpt(line.actor, 60)}: "
