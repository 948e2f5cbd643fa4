"""The note for the next shift, over all open incidents: what is in force, what waits for whom, what changed. Pure."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from flows.report.document import Block, Commands, Document, Section, Table, Text, Warn, listed
from flows.report.open_ends import duties_table, tasks
from flows.report.own import as_they_are, names
from flows.report.standing import about, asker, holding, needed
from flows.report.switches import Switch, switches_table
from flows.report.words import EXPLAINED, clock, excerpt, length
from playbooks.duties import Clock
from playbooks.escalation import over, urgent
from playbooks.incident import IncidentClass, Status
from playbooks.order import place
from playbooks.playbook import Playbook
from playbooks.proof import proof
from playbooks.state import Incident, Line, StepState

_NOISE = frozenset({"told", "page", "exhibit", "code_issued"})
"""Kinds of entry that the next shift need not read line by line."""

MOST = 300
"""Lines of what changed, the youngest."""


class Quiet(NamedTuple):
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
        ours: names of ours, from `playbooks.own`, which stand as they are.
    """

    at: datetime
    since: timedelta
    states: Sequence[Incident]
    playbooks: Mapping[IncidentClass, Playbook]
    approvers: Sequence[str] = ()
    switches: Sequence[Switch] = ()
    quiet: Sequence[Quiet] = ()
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
    open_ = sorted((state for state in shift.states if state.closed_at is None), key=place)
    closed = [state for state in shift.states if state.closed_at is not None]
    of_late = [state for state in closed if state.closed_at and state.closed_at >= shift.at - shift.since]
    itself = [shift.itself] if shift.itself else []
    note = Document(
        title="Handover",
        made=[("Made", clock(shift.at)), *made],
        lead=list(_lead(shift, open_, sum(len(state.untold) for state in (*itself, *open_, *of_late)))),
        sections=[
            Section("Open incidents", [_incidents(open_)]),
            Section("Waits for somebody", list(_asks(open_, shift.approvers))),
            Section("NOT proven", [_leaks(open_)]),
            Section("In force", list(_leases(open_, shift.at))),
            Section("Messages that reached nobody, or nobody took up", list(_messages(itself, [*open_, *of_late]))),
            Section("Kill switches", [switches_table(shift.switches, "None is on.")]),
            Section("Suppressed alerts", [_quiet(shift.quiet)]),
            Section("Duties with a deadline", [_duties([*open_, *closed], shift.clocks)]),
            Section("Left to people", [_tasks(open_, shift.playbooks)]),
            Section(f"What changed in the last {length(shift.since.total_seconds())}", [_changes(shift)]),
        ],
    )
    return as_they_are(note, names(shift.states, shift.playbooks, shift.ours))


def _lead(shift: Shift, open_: Sequence[Incident], lost: int) -> Iterator[Block]:
    for one in shift.switches:
        yield Warn(f"STOPPED: {one.scope} by {excerpt(one.by)} since {clock(one.since)}: {excerpt(one.reason)}")
    for state in open_:
        if state.status is Status.FROZEN:
            yield Warn(f"FROZEN: {state.id}: {excerpt(state.frozen)}")
        if state.status is Status.NOT_ESTABLISHED:
            yield Warn(f"NOT CONTAINED: {state.id}, {about(state)}")
    for name, why in shift.damaged:
        yield Warn(f"NOT READABLE: {name}: its journal is not as it was written: {excerpt(why)}")
    if lost:
        yield Warn(f"Messages that reached nobody: {lost}.")
    asks = sum(len(state.proposals) for state in open_)
    leases = sum(lease.in_force for state in open_ for lease in state.leases.values())
    done = sum(lease.done_at is not None for state in open_ for lease in state.leases.values())
    good = f" Done for good: {done}." if done else ""
    joined = sum(state.status is Status.JOINED for state in open_)
    beside = f" ({joined} more joined to them)" if joined else ""
    counted = f"Open incidents: {len(open_) - joined}{beside}. Questions that wait: {asks}."
    yield Text(f"{counted} Containments in force: {leases}.{good}")


def _incidents(open_: Sequence[Incident]) -> Table:
    rows = [
        (
            state.id,
            state.stands,
            # How bad it is, the one says that it goes on in.
            "-" if state.status is Status.JOINED else state.severity.label,
            f"{state.incident_class.value}: {about(state)}",
            excerpt(state.assigned_to or "nobody"),
            clock(state.opened_at),
        )
        for state in open_
    ]
    heads = ("Incident", "Status", "Severity", "About", "Assigned to", "Opened")
    return Table("Open incidents", heads, rows, "No incident is open.")


def _asks(open_: Sequence[Incident], approvers: Sequence[str]) -> Iterator[Block]:
    asked = [(state, step) for state in open_ for step in state.proposals if step.plan]
    asked.sort(key=lambda pair: (pair[1].expires_at is None, pair[1].expires_at))
    rows = [
        (
            state.id,
            excerpt(step.plan.summary),
            excerpt("; ".join(step.reasons_in_short)),
            asker(state, step),
            needed(step),
            excerpt(", ".join(_free(step, approvers)) or "NOBODY who may answer it"),
            clock(step.expires_at),
        )
        for state, step in asked
        if step.plan
    ]
    heads = ("Incident", "Plan", "Why it is asked", "Asked for by", "Still needed", "From", "Until, then no")
    yield Table("Questions", heads, rows, "No question is open.")
    if rows:
        yield Commands(list(dict.fromkeys(f"mcp-soar incident {state.id}" for state, _ in asked)))


def _free(step: StepState, approvers: Sequence[str]) -> list[str]:
    """Return whose voice a question has not had: neither asked for it, nor approved it, nor was spoken for."""
    taken = {step.requested_by, *step.approved_by, *step.behalf.values()}
    return sorted(set(approvers) - taken)


def _leaks(open_: Sequence[Incident]) -> Table:
    waits = [state for state in open_ if state.status is Status.TRIAGE]
    rows = [(state.id, f"nothing was done: {excerpt(state.triage or 'every plan was refused')}") for state in waits]
    rows += [(state.id, excerpt(fact)) for state in open_ for fact in proof(state).lacking]
    return listed(
        "Not proven", ("Incident", "What, and what was seen"), rows, "Nothing that was done is without proof."
    )


def _leases(open_: Sequence[Incident], at: datetime) -> Iterator[Block]:
    found = [(state, lease) for state in open_ for lease in state.leases.values() if lease.holds]
    found.sort(key=lambda pair: (not pair[1].in_force, pair[1].until))
    rows = []
    for state, lease in found:
        until, left_in_words = "-", "-"
        if lease.in_force:
            left = (lease.until - at).total_seconds()
            until, left_in_words = clock(lease.until), length(left) if left > 0 else f"OVERDUE by {length(-left)}"
        rows.append((state.id, excerpt(lease.instance), holding(lease), until, left_in_words))
    yield Table("In force", ("Incident", "Lease", "Holds", "Until", "Left"), rows, "Nothing is contained.")
    if rows:
        yield Text(EXPLAINED)


def _messages(itself: Sequence[Incident], states: Sequence[Incident]) -> Iterator[Block]:
    lost = [(state.id, excerpt(text)) for state in (*itself, *states) for text in state.untold.values()]
    yield Table("Reached nobody", ("Incident", "Message"), lost, "Every message reached somebody.")
    failed = [
        (state.id, excerpt(who), excerpt(state.pages[page].text if page in state.pages else page), excerpt(why))
        for state in states
        for (page, who), why in state.undelivered.items()
    ]
    heads = ("Incident", "Who was not reached", "Message", "Why")
    yield Table("Not delivered to somebody", heads, failed, "Nobody was missed.")
    waiting = [
        (state.id, excerpt(page.text), clock(page.at))
        for state in (*itself, *states)
        for page in state.pages.values()
        if urgent(state, page) and not over(state, page)
    ]
    yield Table("Not taken up", ("Incident", "Message", "Since"), waiting, "Nothing waits to be acknowledged.")


def _quiet(quiet: Sequence[Quiet]) -> Table:
    rows = [
        (excerpt(one.scope), excerpt(one.by), excerpt(one.reason), clock(one.until), str(one.hidden)) for one in quiet
    ]
    return Table("Suppressed", ("What", "By", "Reason", "Until", "Set aside"), rows, "No alert is suppressed.")


def _duties(states: Sequence[Incident], clocks: Mapping[str, Sequence[Clock]]) -> Table:
    running = [(state, one) for state in states for one in clocks.get(state.id, ()) if one.running]
    # Whether what has no number was done is settled when the incident is closed.
    return duties_table([(state.id, one) for state, one in running if state.closed_at is None or one.due])


def _tasks(open_: Sequence[Incident], playbooks: Mapping[IncidentClass, Playbook]) -> Table:
    rows = [(state.id, task, until) for state in open_ for _, task, until in tasks(state, state.goes_by(playbooks))]
    return Table("Tasks", ("Incident", "Task", "Until"), rows, "No task is open.")


def _changes(shift: Shift) -> Table:
    begin = shift.at - shift.since
    lines = [
        (
            line.at,
            state.id,
            _who(line) + excerpt(line.what) + _words(line),
        )
        for state in shift.states
        for line in state.timeline
        if line.at >= begin and line.kind not in _NOISE
    ]
    lines.sort(key=lambda line: line[0])
    # In seconds: the next shift reads it on a terminal, and the report has the rest.
    rows = [(f"{at:%Y-%m-%d %H:%M:%S}", name, what) for at, name, what in lines[-MOST:]]
    return Table("Changes", ("When (UTC)", "Incident", "What"), rows, "Nothing changed.")


def _words(line: Line) -> str:
    """Return what a person wrote; of anything else the report says more."""
    return f": {excerpt(line.detail)}" if line.kind == "noted" else ""


def _who(line: Line) -> str:
    """Return whose doing it was, where the line does not begin with it."""
    return "" if line.actor == "mcp-soar" or line.what.startswith(line.actor) else f"{excerpt(line.actor, 60)}: "
