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
from flows.report.standing import answer_word, holding, things
from flows.report.words import clock, excerpt, length
from playbooks.gate.plan import Verdict
from playbooks.record.incident import Status
from playbooks.record.journal import Parsed
from playbooks.record.view import View
from playbooks.text.difference import parted


def happened(it: View, entries: Sequence[Parsed]) -> Iterator[Block]:
    """Yield what happened in sentences, and every alert that said so."""
    yield Text(" ".join(_sentences(it)))
    heads = ("Source", "Rule", "What it said", "Trusted", "Detected", "Accepted", "Digest of the message")
    yield listed(
        "Alerts",
        heads,
        [
            (
                f"{excerpt(seen.source)} ({seen.state}, {seen.severity.label})",
                excerpt(seen.rule),
                excerpt(seen.title),
                f"{'authenticated' if seen.authenticated else 'NOT authenticated'}, {seen.confidence}",
                clock(seen.detected_at),
                clock(seen.accepted_at),
                seen.digest,
            )
            for seen in it.alerts
        ],
        "No alert: a person started it.",
    )
    if it.repeats:
        yield listed(
            "More messages that said the same; kept together as exhibits",
            ("Source", "Messages", "First", "Last"),
            [(excerpt(more.source), str(more.messages), clock(more.since), clock(more.until)) for more in it.repeats],
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


def _sentences(it: View) -> Iterator[str]:
    times = it.metrics
    start, wrote = times.accepted_at, times.first_effect_at
    if it.alerts:
        first = it.alerts[0]
        yield f"{excerpt(first.source)} reported “{excerpt(first.title, 200)}”, about {excerpt(it.about)}."
    elif it.requested_by:
        yield f"{excerpt(it.requested_by)} started a response about {excerpt(it.about)}."
    if start:
        yield f"mcp-soar accepted it at {clock(start)}."
    if wrote:
        yield f"The first change took effect {_later(start, wrote)}."
    else:
        yield "Nothing was changed."
    yield from _contained(it)
    if it.in_force:
        until = min(lease.until for lease in it.in_force)
        many = f"Contained so far: {len({lease.things for lease in it.leases})}, in force: {things(it.in_force)}"
        yield f"{many}; the first runs out at {clock(until)}."
    for lease in it.leases:
        if lease.done_at:
            yield f"{excerpt(lease.summary).rstrip('.')}: {holding(lease)}."
    if times.released_at and not it.in_force:
        yield f"Everything was given back at {clock(times.released_at)}."
    if it.closed_at:
        yield f"It was closed as {excerpt(it.closed_as)} at {clock(it.closed_at)}."


def _contained(it: View) -> Iterator[str]:
    if it.metrics.verified_at:
        yield f"Containment was proven {_later(it.metrics.accepted_at, it.metrics.verified_at)}."
        if it.status is Status.NOT_ESTABLISHED:
            yield "By the last look it does NOT hold."
    elif it.cuts:
        yield "Containment is NOT proven." if it.status is not Status.CLOSED else "Containment was NOT proven."


def _later(start: datetime | None, moment: datetime) -> str:
    return f"{length((moment - start).total_seconds())} later" if start else f"at {clock(moment)}"


def when(it: View, at: datetime) -> Iterator[Block]:
    """Yield the timeline as a picture, and what it shows as a table."""
    shown = course(it, at=at)
    if shown is None:
        yield Text("Nothing is on record yet.")
        return
    yield Picture(timeline(it, at=at), "Timeline of the incident; the table after it says the same.")
    yield listed("The same in words", HEADS, table(shown))
