"""The course of an incident as rows of a picture or of a table: milestones, steps, leases, what people did. Pure."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from flows.report.words import clock, excerpt, length, since
from playbooks.incident import Phase
from playbooks.plan import Answer
from playbooks.state import Incident, LeaseState, Progress, StepState


class Mark(StrEnum):
    """How something turned out. Each has its own shape, and stands beside its word."""

    GOOD = "good"
    BAD = "bad"
    DOUBT = "doubt"
    WAITS = "waits"
    PLAIN = "plain"


class Row(NamedTuple):
    """One thing that took or takes time, or happened at a moment.

    Args:
        lane: the phase, `in force`, or `people`.
        label: short, for the picture; hostile.
        what: whole, for the table; hostile.
        begin: when it began.
        end: when its outcome was clear, or when it runs out.
        word: the outcome.
        mark: what kind of outcome that is.
        solid: until when it is more than a plan: a lease's rest is still to come.
    """

    lane: str
    label: str
    what: str
    begin: datetime
    end: datetime
    word: str
    mark: Mark
    solid: datetime


class Milestone(NamedTuple):
    """A moment that the response is measured by."""

    name: str
    at: datetime


class Course(NamedTuple):
    """What a timeline shows.

    Args:
        zero: what times are counted from: the acceptance.
        at: the moment that it was made for.
        milestones: in order.
        rows: lane by lane.
        left_out: steps that were not needed, or have not begun.
    """

    zero: datetime
    at: datetime
    milestones: tuple[Milestone, ...]
    rows: tuple[Row, ...]
    left_out: int


MARKS: dict[Progress, Mark] = {
    Progress.ESTABLISHED: Mark.GOOD,
    Progress.SEALED: Mark.GOOD,
    Progress.RELEASED: Mark.GOOD,
    Progress.APPROVED: Mark.WAITS,
    Progress.PROPOSED: Mark.WAITS,
    Progress.INTENDED: Mark.WAITS,
    Progress.WROTE: Mark.WAITS,
    Progress.NOT_ESTABLISHED: Mark.BAD,
    Progress.FAILED: Mark.BAD,
    Progress.UNAVAILABLE: Mark.BAD,
    Progress.UNKNOWN: Mark.DOUBT,
    Progress.RETRYING: Mark.DOUBT,
    Progress.DENIED: Mark.PLAIN,
    Progress.EXPIRED: Mark.PLAIN,
    Progress.SKIPPED: Mark.PLAIN,
}

WORDS: dict[Progress, str] = {
    Progress.INTENDED: "begun",
    Progress.WROTE: "done, not yet proven",
    Progress.ESTABLISHED: "established",
    Progress.NOT_ESTABLISHED: "NOT established",
    Progress.UNKNOWN: "unknown: not proven",
    Progress.RETRYING: "tried again soon",
    Progress.FAILED: "FAILED",
    Progress.PROPOSED: "waits for a decision",
    Progress.APPROVED: "approved",
    Progress.DENIED: "denied: not done",
    Progress.EXPIRED: "nobody decided: not done",
    Progress.SKIPPED: "not needed",
    Progress.SEALED: "sealed",
    Progress.UNAVAILABLE: "NOT available",
    Progress.RELEASED: "given back",
}
"""What a step's progress is called for people."""

PEOPLE: dict[str, tuple[str, Mark]] = {
    "request": ("request", Mark.PLAIN),
    "proposed": ("question", Mark.WAITS),
    "decided": ("decision", Mark.PLAIN),
    "lapsed": ("no decision in time", Mark.PLAIN),
    "acknowledged": ("acknowledged", Mark.PLAIN),
    "lease_extended": ("extended", Mark.PLAIN),
}
"""The kinds of entry that people did, and what each is called."""

MESSAGE = "message"
"""The word for one that reached somebody."""


def course(state: Incident, *, at: datetime | None = None) -> Course | None:
    """Return the course of an incident; None if nothing has happened yet.

    Args:
        state: the incident.
        at: the moment that counts as now; by default that of its last entry.
    """
    if not state.timeline:
        return None
    last = state.timeline[-1].at
    moment = max(at, last) if at and not state.closed_at else last
    zero = state.metrics["accepted_at"] or state.opened_at or state.timeline[0].at
    steps = [step for step in state.steps.values() if _begin(state, step) and step.progress is not Progress.SKIPPED]
    order = {phase: number for number, phase in enumerate(Phase)}
    steps.sort(key=lambda step: (order[step.phase], _begin(state, step) or moment))
    rows = [_step(state, step, moment) for step in steps]
    leases = state.leases.values()
    # What was never written was never in force, and what cannot be taken back has no end.
    rows += [_lease(lease, lease.began_at, moment) for lease in leases if lease.began_at and lease.done_at is None]
    rows += _people(state)
    return Course(zero, moment, _milestones(state, moment), tuple(rows), len(state.steps) - len(steps))


HEADS = ("Part", "What", "When", "After the acceptance", "Took", "Outcome")
"""The columns of `table`."""


def table(shown: Course) -> list[tuple[str, str, str, str, str, str]]:
    """Return the same as lines of text, under `HEADS`; first the milestones."""
    lines = [("milestone", one.name, clock(one.at), since(shown.zero, one.at), "", "") for one in shown.milestones]
    for row in shown.rows:
        took = "" if row.end == row.begin else length((row.end - row.begin).total_seconds())
        lines.append((row.lane, excerpt(row.what), clock(row.begin), since(shown.zero, row.begin), took, row.word))
    return lines


def _begin(state: Incident, step: StepState) -> datetime | None:
    times = [step.asked_at, step.intended_at, step.settled_at, _collected(state, step)]
    return min((moment for moment in times if moment), default=None)


def _collected(state: Incident, step: StepState) -> datetime | None:
    """When the capture of that step read its source, if it is plain which exhibit is its own."""
    name = step.instance.partition("@")[0]
    own = [item for item in state.exhibits if item["authority"]["step"] == name]
    same = [other for other in state.steps if other.partition("@")[0] == name]
    if step.progress is not Progress.SEALED or len(own) != 1 or len(same) != 1:
        return None
    return datetime.fromisoformat(own[0]["collected_at"])


def _step(state: Incident, step: StepState, moment: datetime) -> Row:
    begin = _begin(state, step) or moment
    end = step.settled_at or (moment if MARKS[step.progress] in {Mark.WAITS, Mark.DOUBT} else step.wrote_at or begin)
    end = max(begin, end)
    what = step.plan.summary if step.plan else step.instance
    label = step.instance.replace("@", " · ", 1)
    return Row(step.phase.value, label, what, begin, end, WORDS[step.progress], MARKS[step.progress], end)


def _lease(lease: LeaseState, begin: datetime, moment: datetime) -> Row:
    label, what = lease.instance.replace("@", " · ", 1), f"in force: {lease.plan.summary}"
    if lease.released_at is not None:
        word = f"given back by {lease.released_by or 'mcp-soar'}"
        end = max(begin, lease.released_at)
        return Row("in force", label, what, begin, end, excerpt(word, 60), Mark.GOOD, end)
    answer = lease.verdict.answer if lease.verdict else None
    mark = {Answer.ESTABLISHED: Mark.GOOD, Answer.NOT_ESTABLISHED: Mark.BAD}.get(answer) if answer else Mark.WAITS
    word = answer.value.replace("not_", "NOT ") if answer else "not asked yet"
    end = max(lease.until, begin)
    word = f"{word}, until {end:%d %b %H:%M}"
    return Row("in force", label, what, begin, end, word, mark or Mark.DOUBT, min(end, moment))


def _people(state: Incident) -> list[Row]:
    rows = []
    for line in state.timeline:
        # What a request to approve or to deny came to stands in the decision's own row.
        if line.kind in PEOPLE and not (line.kind == "request" and line.what.endswith((" to approve", " to deny"))):
            # The word beside it says what it is.
            said = line.what.removeprefix("asks for approval: ")
            rows.append(Row("people", said, said, line.at, line.at, *PEOPLE[line.kind], line.at))
    for page in state.pages.values():
        # They all begin alike, so the picture shows what they are about.
        label, word, mark = page.kind.replace("_", " "), MESSAGE, Mark.PLAIN
        if page.id in state.untold:
            tried = any(told.page == page.id for told in state.told)
            word, mark = ("message, reached NOBODY", Mark.BAD) if tried else ("message, not sent yet", Mark.WAITS)
        rows.append(Row("people", label, page.text, page.at, page.at, word, mark, page.at))
    return sorted(rows, key=lambda row: row.begin)


def _milestones(state: Incident, moment: datetime) -> tuple[Milestone, ...]:
    times = state.metrics
    named: Sequence[tuple[str, datetime | None]] = (
        ("detected", times["detected_at"]),
        ("accepted", times["accepted_at"] or state.opened_at),
        ("first effect", times["first_effect_at"]),
        ("verified", times["verified_at"]),
        ("released", times["released_at"]),
        ("closed", state.closed_at),
        ("now" if state.closed_at is None else "last entry", moment),
    )
    found = [Milestone(name, at) for name, at in named if at is not None]
    if state.closed_at is not None and found[-1].at == state.closed_at:
        found.pop()
    return tuple(sorted(found, key=lambda one: one.at))
