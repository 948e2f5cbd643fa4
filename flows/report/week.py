"""What a week was like: how many incidents, how fast they were contained, and what did not go well. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median

from flows.report.document import Block, Document, Picture, Section, Table, Text, Warn
from flows.report.picture import Contained, trend
from flows.report.words import clock, excerpt, length
from playbooks.playbook import Playbook
from playbooks.record.incident import IncidentClass, Severity, Status
from playbooks.record.state import Incident
from playbooks.record.view import View
from playbooks.record.viewing import view

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
    shown = [view(state, at=at, playbook=state.goes_by(playbooks)) for state in states]
    young = [it for it in shown if it.opened_at and begin <= it.opened_at <= at]
    return Document(
        title=f"Report of {length_of.days} days until {at:%Y-%m-%d}",
        made=[("Made", clock(at)), ("From", f"incidents opened since {clock(begin)}"), *made],
        lead=[Text(_summary(young)), *(Warn(f"NOT READABLE: {name}: {excerpt(why)}") for name, why in damaged)],
        sections=[
            Section("How many", [_counts(young)]),
            Section("Time to verified containment", _times(shown, young)),
            Section("Not contained", [_leaks(young)]),
            Section("False positives", [_false(shown, begin, at)]),
            Section("Questions that nobody answered", [_lapsed(shown, begin)]),
            Section(f"Containments older than {length(old.total_seconds())}", [_old(shown, at, old)]),
        ],
    )


def points(shown: Sequence[View]) -> list[Contained]:
    """Return the incidents as points of the trend, those that somebody acted on, the oldest first."""
    found = [point for it in shown if (point := Contained.of(it))]
    return sorted(found, key=lambda point: point.at)


def _summary(young: Sequence[View]) -> str:
    closed = sum(it.closed_at is not None for it in young)
    proven = sum(it.metrics.verified_at is not None for it in young)
    return f"Incidents opened: {len(young)}. Contained, and proven to be: {proven}. Closed by now: {closed}."


def _counts(young: Sequence[View]) -> Table:
    found = Counter((it.incident_class, it.severity) for it in young)
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


def _times(shown: Sequence[View], young: Sequence[View]) -> list[Block]:
    drawn = points(shown)[-LAST:]
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
    ours = sorted(point.seconds for point in points(young) if point.seconds is not None)
    blocks: list[Block] = []
    if ours:
        blocks.append(Text(f"Median of this time: {length(median(ours))}; longest: {length(ours[-1])}."))
    if drawn:
        blocks.append(Picture(trend(drawn), "Times to verified containment; the table after it says the same."))
    heads = ("Incident", "Accepted", "Contained after", "Goal", "Outcome")
    return [*blocks, Table("The same in words", heads, rows, "No incident to show.")]


def _leaks(young: Sequence[View]) -> Table:
    rows = [
        (it.id, it.stands, excerpt(it.about), excerpt(it.triage or ""))
        for it in young
        if it.metrics.verified_at is None and it.status is not Status.JOINED
    ]
    return Table("Never proven", ("Incident", "Status", "About", "Why"), rows, "All were contained.")


def _false(shown: Sequence[View], begin: datetime, at: datetime) -> Table:
    rows = [
        (it.id, "; ".join(excerpt(f"{seen.source}: {seen.rule}", 120) for seen in it.alerts[:3]), excerpt(it.about))
        for it in shown
        if it.closed_as == "false-positive" and it.closed_at and begin <= it.closed_at <= at
    ]
    return Table("False positives", ("Incident", "Source and rule", "About"), rows)


def _lapsed(shown: Sequence[View], begin: datetime) -> Table:
    rows = [
        (clock(line.at), it.id, excerpt(line.what))
        for it in shown
        for line in it.timeline
        if line.kind == "lapsed" and line.at >= begin
    ]
    return Table("Lapsed", ("When", "Incident", "What"), sorted(rows), "Every question was answered in time.")


def _old(shown: Sequence[View], at: datetime, old: timedelta) -> Table:
    rows = [
        (length((at - lease.opened_at).total_seconds()), it.id, excerpt(lease.instance), clock(lease.until))
        for it in shown
        for lease in it.in_force
        if lease.opened_at and at - lease.opened_at > old
    ]
    return Table("Old containments", ("Age", "Incident", "Lease", "Until"), rows)
