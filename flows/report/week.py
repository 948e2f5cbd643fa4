"""What a week was like: how many incidents, how fast they were contained, and what did not go well. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from flows.report.document import Block, Document, Picture, Section, Table, Text, Warn
from flows.report.picture import Contained, trend
from flows.report.standing import about
from flows.report.words import clock, excerpt, length
from playbooks.incident import IncidentClass, Severity, Status
from playbooks.playbook import Playbook
from playbooks.state import Incident

OLD = timedelta(days=7)
"""A lease that is older is listed: somebody ought to say whether it is still meant."""

LAST = 40
"""Incidents in the trend."""


def week(
    states: Sequence[Incident],
    *,
    at: datetime,
    length_of: timedelta = timedelta(days=7),
    playbooks: Mapping[IncidentClass, Playbook],
    old: timedelta = OLD,
    made: Sequence[tuple[str, str]] = (),
    damaged: Sequence[tuple[str, str]] = (),
) -> Document:
    """Return the report of the time before `at`.

    Args:
        states: all incidents that there are; the trend looks further back than a week.
        at: its end.
        length_of: how long it is.
        playbooks: by class, for their goals.
        old: the age from which a lease is listed.
        made: from what it was made, as names and values.
        damaged: incidents whose journal cannot be read, and why; they are in no figure.
    """
    begin = at - length_of
    young = [state for state in states if state.opened_at and begin <= state.opened_at <= at]
    return Document(
        title=f"Report of {length_of.days} days until {at:%Y-%m-%d}",
        made=[("Made", clock(at)), ("From", f"incidents opened since {clock(begin)}"), *made],
        lead=[Text(_summary(young)), *(Warn(f"NOT READABLE: {name}: {excerpt(why)}") for name, why in damaged)],
        sections=[
            Section("How many", [_counts(young)]),
            Section("Time to verified containment", _times(states, young, playbooks)),
            Section("Not contained", [_leaks(young)]),
            Section("False positives", [_false(states, begin, at)]),
            Section("Questions that nobody answered", [_lapsed(states, begin)]),
            Section(f"Containments older than {length(old.total_seconds())}", [_old(states, at, old)]),
        ],
    )


def points(states: Sequence[Incident], playbooks: Mapping[IncidentClass, Playbook]) -> list[Contained]:
    """Return the incidents as points of the trend, those that somebody acted on, the oldest first.

    Args:
        states: incidents.
        playbooks: by class, for their goals.
    """
    found = []
    for state in states:
        start, proven = state.metrics["accepted_at"], state.metrics["verified_at"]
        if start is None or not state.cuts:
            continue
        playbook = state.goes_by(playbooks)
        seconds = (proven - start).total_seconds() if proven else None
        goals = playbook.goals_of(state.playbook_digest) if playbook else None
        found.append(Contained(state.id, start, seconds, goals.verified if goals else None))
    return sorted(found, key=lambda point: point.at)


def _summary(young: Sequence[Incident]) -> str:
    closed = sum(state.closed_at is not None for state in young)
    proven = sum(state.metrics["verified_at"] is not None for state in young)
    return f"Incidents opened: {len(young)}. Contained, and proven to be: {proven}. Closed by now: {closed}."


def _counts(young: Sequence[Incident]) -> Table:
    found = Counter((state.incident_class, state.severity) for state in young)
    order = sorted(Severity, reverse=True)
    rows = []
    for one in IncidentClass:
        numbers = [found[one, severity] for severity in order]
        if any(numbers):
            rows.append((one.value, *map(str, numbers), str(sum(numbers))))
    if rows:
        sums = [sum(count for (_, severity), count in found.items() if severity is level) for level in order]
        rows.append(("all", *map(str, sums), str(len(young))))
    heads = ("Class", *(severity.label for severity in order), "all")
    return Table("Incidents by class and severity", heads, rows, "No incident was opened.")


def _times(
    states: Sequence[Incident], young: Sequence[Incident], playbooks: Mapping[IncidentClass, Playbook]
) -> list[Block]:
    drawn = points(states, playbooks)[-LAST:]
    rows = [
        (
            point.incident,
            clock(point.at),
            length(point.seconds) if point.seconds is not None else "-",
            length(point.goal) if point.goal is not None else "-",
            point.word,
        )
        for point in drawn
    ]
    ours = sorted(point.seconds for point in points(young, playbooks) if point.seconds is not None)
    blocks: list[Block] = []
    if ours:
        blocks.append(Text(f"Middle of this time: {length(ours[len(ours) // 2])}; longest: {length(ours[-1])}."))
    if drawn:
        blocks.append(Picture(trend(drawn), "Times to verified containment; the table after it says the same."))
    heads = ("Incident", "Accepted", "Contained after", "Goal", "Outcome")
    return [*blocks, Table("The same in words", heads, rows, "No incident to show.")]


def _leaks(young: Sequence[Incident]) -> Table:
    rows = [
        (state.id, state.stands, about(state), excerpt(state.triage or ""))
        for state in young
        if state.metrics["verified_at"] is None and state.status is not Status.JOINED
    ]
    return Table("Never proven", ("Incident", "Status", "About", "Why"), rows, "All were contained.")


def _false(states: Sequence[Incident], begin: datetime, at: datetime) -> Table:
    rows = [
        (state.id, "; ".join(excerpt(f"{seen.source}: {seen.rule}", 120) for seen in state.alerts[:3]), about(state))
        for state in states
        if state.closed_as == "false-positive" and state.closed_at and begin <= state.closed_at <= at
    ]
    return Table("False positives", ("Incident", "Source and rule", "About"), rows)


def _lapsed(states: Sequence[Incident], begin: datetime) -> Table:
    rows = [
        (clock(line.at), state.id, excerpt(line.what))
        for state in states
        for line in state.timeline
        if line.kind == "lapsed" and line.at >= begin
    ]
    return Table("Lapsed", ("When", "Incident", "What"), sorted(rows), "Every question was answered in time.")


def _old(states: Sequence[Incident], at: datetime, old: timedelta) -> Table:
    rows = [
        (length((at - lease.opened_at).total_seconds()), state.id, excerpt(lease.instance), clock(lease.until))
        for state in states
        for lease in state.leases.values()
        if lease.in_force and at - lease.opened_at > old
    ]
    return Table("Old containments", ("Age", "Incident", "Lease", "Until"), rows)
