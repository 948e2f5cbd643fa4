"""What happened, in sentences and as a picture."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from flows.report.course import HEADS, course, table
from flows.report.document import (
    Block,
    Picture,
    Text,
    listed,
)
from flows.report.picture import timeline
from flows.report.standing import about, answer_word, holding
from flows.report.words import clock, excerpt, length
from playbooks.difference import parted
from playbooks.incident import Status
from playbooks.journal import Parsed
from playbooks.plan import Verdict
from playbooks.state import Incident


def happened(state: Incident, entries: Sequence[Parsed]) -> Iterator[Block]:
    """Yield what happened in sentences, and every alert that said so."""
    yield Text(" ".join(_sentences(state)))
    heads = ("Source", "Rule", "What it said", "Trusted", "Detected", "Accepted", "Digest of the message")
    yield listed(
        "Alerts",
        heads,
        [
            (
                f"{excerpt(seen.source)} ({seen.state}, {seen.severity.label})",
                excerpt(seen.rule),
                excerpt(seen.title),
                f"{'authenticated' if seen.authenticated else 'NOT authenticated'}, {seen.confidence.name.lower()}",
                clock(seen.detected_at),
                clock(seen.accepted_at),
                seen.digest,
            )
            for seen in state.alerts
        ],
        "No alert: a person started it.",
    )
    if state.repeats:
        yield listed(
            "More messages that said the same; kept together as exhibits",
            ("Source", "Messages", "First", "Last"),
            [
                (excerpt(source), str(more.messages), clock(more.since), clock(more.until))
                for source, more in state.repeats.items()
            ],
        )
    checks = [
        (clock(entry.at), excerpt(entry.body["by"]), *_answer(entry.body["verdict"]))
        for entry in entries
        if entry.kind == "confirmed"
    ]
    if checks:
        yield listed("Confirmed by something of our own", ("When", "By", "Answer", "What was seen"), checks)


def _answer(body: Any) -> tuple[str, str]:  # noqa: ANN401  # JSON
    verdict = Verdict.model_validate(body)
    return answer_word(verdict.answer), "; ".join(
        excerpt(f"{f.subject}: {parted(f.observed).short}") for f in verdict.findings[:5]
    )


def _sentences(state: Incident) -> Iterator[str]:
    times = state.metrics
    start, wrote, proven = times["accepted_at"], times["first_effect_at"], times["verified_at"]
    if state.alerts:
        first = state.alerts[0]
        yield f"{excerpt(first.source)} reported “{excerpt(first.title, 200)}”, about {about(state)}."
    elif state.requested_by:
        yield f"{excerpt(state.requested_by)} started a response about {about(state)}."
    if start:
        yield f"mcp-soar accepted it at {clock(start)}."
    if wrote:
        yield f"The first change took effect {_later(start, wrote)}."
    else:
        yield "Nothing was changed."
    yield from _contained(state, start, proven)
    in_force = [lease for lease in state.leases.values() if lease.in_force]
    if in_force:
        until = min(lease.until for lease in in_force)
        yield f"{len(in_force)} of {len(state.leases)} containments are in force; the first runs out at {clock(until)}."
    for lease in state.leases.values():
        if lease.done_at:
            yield f"{excerpt(lease.plan.summary).rstrip('.')}: {holding(lease)}."
    if times["released_at"] and not in_force:
        yield f"Everything was given back at {clock(times['released_at'])}."
    if state.closed_at:
        yield f"It was closed as {excerpt(state.closed_as)} at {clock(state.closed_at)}."


def _contained(state: Incident, start: datetime | None, proven: datetime | None) -> Iterator[str]:
    if proven:
        yield f"Containment was proven {_later(start, proven)}."
        if state.status is Status.NOT_ESTABLISHED:
            yield "By the last look it does NOT hold."
    elif state.cuts:
        yield "Containment is NOT proven." if state.status is not Status.CLOSED else "Containment was NOT proven."


def _later(start: datetime | None, moment: datetime) -> str:
    return f"{length((moment - start).total_seconds())} later" if start else f"at {clock(moment)}"


def when(state: Incident, at: datetime) -> Iterator[Block]:
    """Yield the timeline as a picture, and what it shows as a table."""
    shown = course(state, at=at)
    if shown is None:
        yield Text("Nothing is on record yet.")
        return
    yield Picture(timeline(state, at=at), "Timeline of the incident; the table after it says the same.")
    rows = table(shown)
    yield listed("The same in words", HEADS, rows)
