"""The course of an incident as rows of a picture or of a table: milestones, steps, leases, what people did. Pure."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from flows.report.words import clock, excerpt, length, since
from playbooks.gate.plan import Answer
from playbooks.record.incident import Phase
from playbooks.record.step import Progress
from playbooks.record.view import Begun, Held, View


class Sign(StrEnum):
    """How something turned out. Each has its own shape, and stands beside its word."""

    GOOD = "good"
    BAD = "bad"
    DOUBT = "doubt"
    WAITS = "waits"
    PLAIN = "plain"


class Stretch(NamedTuple):
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
    mark: Sign
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
    rows: tuple[Stretch, ...]
    left_out: int


MARKS: dict[Progress, Sign] = {
    Progress.ESTABLISHED: Sign.GOOD,
    Progress.SEALED: Sign.GOOD,
    Progress.RELEASED: Sign.GOOD,
    Progress.APPROVED: Sign.WAITS,
    Progress.PROPOSED: Sign.WAITS,
    Progress.INTENDED: Sign.WAITS,
    Progress.WROTE: Sign.WAITS,
    Progress.NOT_ESTABLISHED: Sign.BAD,
    Progress.FAILED: Sign.BAD,
    Progress.UNAVAILABLE: Sign.BAD,
    Progress.UNKNOWN: Sign.DOUBT,
    Progress.RETRYING: Sign.DOUBT,
    Progress.DENIED: Sign.PLAIN,
    Progress.EXPIRED: Sign.PLAIN,
    Progress.SKIPPED: Sign.PLAIN,
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

PEOPLE: dict[str, tuple[str, Sign]] = {
    "request": ("request", Sign.PLAIN),
    "proposed": ("question", Sign.WAITS),
    "decided": ("decision", Sign.PLAIN),
    "lapsed": ("no decision in time", Sign.PLAIN),
    "acknowledged": ("acknowledged", Sign.PLAIN),
    "lease_extended": ("extended", Sign.PLAIN),
}
"""The kinds of entry that people did, and what each is called."""

MESSAGE = "message"
"""The word for one that reached somebody."""


def course(it: View, *, at: datetime | None = None) -> Course | None:
    """Return the course of an incident; None if nothing has happened yet.

    Args:
        it: the incident.
        at: the moment that counts as now; by default that of its last entry.
    """
    if not it.timeline:
        return None
    last = it.timeline[-1].at
    moment = max(at, last) if at and not it.closed_at else last
    zero = it.metrics.accepted_at or it.opened_at or it.timeline[0].at
    order = {phase: number for number, phase in enumerate(Phase)}
    steps = [(begin, step) for step in it.steps if step.progress is not Progress.SKIPPED and (begin := _begin(step))]
    steps.sort(key=lambda one: (order[one[1].phase], one[0]))
    rows = [_step(step, begin, moment) for begin, step in steps]
    # What was never written was never in force, and what cannot be taken back has no end.
    rows += [_lease(lease, lease.began_at, moment) for lease in it.leases if lease.began_at and lease.done_at is None]
    rows += _people(it)
    return Course(zero, moment, _milestones(it, moment), tuple(rows), len(it.steps) - len(steps))


HEADS = ("Part", "What", "When", "After the acceptance", "Took", "Outcome")
"""The columns of `table`."""


def table(shown: Course) -> list[tuple[str, str, str, str, str, str]]:
    """Return the same as lines of text, under `HEADS`; first the milestones."""
    lines = [("milestone", one.name, clock(one.at), since(shown.zero, one.at), "", "") for one in shown.milestones]
    for row in shown.rows:
        took = "" if row.end == row.begin else length((row.end - row.begin).total_seconds())
        lines.append((row.lane, excerpt(row.what), clock(row.begin), since(shown.zero, row.begin), took, row.word))
    return lines


def _begin(step: Begun) -> datetime | None:
    times = [step.asked_at, step.intended_at, step.settled_at, step.collected_at]
    return min((moment for moment in times if moment), default=None)


def _step(step: Begun, begin: datetime, moment: datetime) -> Stretch:
    end = step.settled_at or (moment if MARKS[step.progress] in {Sign.WAITS, Sign.DOUBT} else step.wrote_at or begin)
    end = max(begin, end)
    label = step.instance.replace("@", " · ", 1)
    return Stretch(step.phase.value, label, step.summary, begin, end, WORDS[step.progress], MARKS[step.progress], end)


def _lease(lease: Held, begin: datetime, moment: datetime) -> Stretch:
    label, what = lease.instance.replace("@", " · ", 1), f"in force: {lease.summary}"
    if lease.released_at is not None:
        word = f"given back by {lease.released_by or 'mcp-soar'}"
        end = max(begin, lease.released_at)
        return Stretch("in force", label, what, begin, end, excerpt(word, 60), Sign.GOOD, end)
    answer = lease.answer
    mark = {Answer.ESTABLISHED: Sign.GOOD, Answer.NOT_ESTABLISHED: Sign.BAD}.get(answer) if answer else Sign.WAITS
    word = answer.value.replace("not_", "NOT ") if answer else "not asked yet"
    end = max(lease.until, begin)
    word = f"{word}, until {end:%d %b %H:%M}"
    return Stretch("in force", label, what, begin, end, word, mark or Sign.DOUBT, min(end, moment))


def _people(it: View) -> list[Stretch]:
    rows = []
    lost = {page.page: page.tried for page in it.untold}
    for line in it.timeline:
        # What a request to approve or to deny came to stands in the decision's own row.
        if line.kind in PEOPLE and not (line.kind == "request" and line.what.endswith((" to approve", " to deny"))):
            # The word beside it says what it is.
            said = line.what.removeprefix("asks for approval: ")
            rows.append(Stretch("people", said, said, line.at, line.at, *PEOPLE[line.kind], line.at))
    for page in it.pages:
        # They all begin alike, so the picture shows what they are about.
        label, word, mark = page.kind.replace("_", " "), MESSAGE, Sign.PLAIN
        if page.page in lost:
            tried = lost[page.page]
            word, mark = ("message, reached NOBODY", Sign.BAD) if tried else ("message, not sent yet", Sign.WAITS)
        rows.append(Stretch("people", label, page.text, page.at, page.at, word, mark, page.at))
    return sorted(rows, key=lambda row: row.begin)


def _milestones(it: View, moment: datetime) -> tuple[Milestone, ...]:
    times = it.metrics
    named: Sequence[tuple[str, datetime | None]] = (
        ("detected", times.detected_at),
        ("accepted", times.accepted_at or it.opened_at),
        ("first effect", times.first_effect_at),
        ("verified", times.verified_at),
        ("released", times.released_at),
        ("closed", it.closed_at),
        ("now" if it.closed_at is None else "last entry", moment),
    )
    found = [Milestone(name, at) for name, at in named if at is not None]
    if it.closed_at is not None and found[-1].at == it.closed_at:
        found.pop()
    return tuple(sorted(found, key=lambda one: one.at))
