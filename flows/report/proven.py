"""What was done, and what is proven of it: the changes, how definitions differ, what each look found."""

from collections.abc import Iterator, Sequence

from flows.report.course import WORDS
from flows.report.document import (
    Block,
    Diff,
    Listing,
    Text,
    Warn,
    listed,
)
from flows.report.standing import answer_word
from flows.report.words import clock, difference, excerpt
from playbooks.gate.plan import Verdict
from playbooks.record.incident import Phase
from playbooks.record.journal import Parsed
from playbooks.record.view import View
from playbooks.text.difference import parted
from playbooks.text.escaping import printable


def done(it: View) -> Iterator[Block]:
    """Yield every change that was made or planned, before and after."""
    order = {phase: number for number, phase in enumerate(Phase)}
    steps = sorted(it.steps, key=lambda step: order[step.phase])
    rows = [
        (
            step.phase.value,
            excerpt(step.instance),
            excerpt(step.summary if step.plan else step.message),
            excerpt(step.breaks),
            WORDS[step.progress] + (f": {excerpt(step.message)}" if step.message and step.plan else ""),
            clock(step.wrote_at or step.settled_at),
        )
        for step in steps
    ]
    yield listed("Steps", ("Phase", "Step", "Plan", "What it breaks", "Outcome", "When"), rows)
    changes = [(excerpt(step.instance), excerpt(change)) for step in steps for change in step.changes]
    yield listed("Changes of these plans, before → after", ("Step", "Change"), changes, "No plan changes anything.")


_DIFFS = 20
"""Differences of one report; the evidence has them all."""


def differences(it: View, entries: Sequence[Parsed]) -> Iterator[Block]:
    """Yield each difference that was seen, once, as the diff that it is."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.kind in {"confirmed", *_VERDICTS} and entry.body.get("verdict"):
            for finding in Verdict.model_validate(entry.body["verdict"]).findings:
                if diff := parted(finding.observed).diff:
                    found.setdefault(diff, f"{finding.subject}, {clock(entry.at)}")
    for ask in it.asks:
        for one in ask.diffs:
            found.setdefault(one.diff, one.about)
    for diff, subject in list(found.items())[:_DIFFS]:
        yield Diff(excerpt(subject, 160), difference(diff))
    if len(found) > _DIFFS:
        yield Text(f"{len(found) - _DIFFS} more are in the evidence.")
    if not found:
        yield Text("No difference was seen.")


_VERDICTS = {"verified": "after the change", "checked": "check", "lease_checked": "watch", "released": "after release"}


def proven(it: View, entries: Sequence[Parsed]) -> Iterator[Block]:
    """Yield what each look found, and what is not proven."""
    if it.not_proven:
        yield Warn("NOT proven as of the last entry:")
        yield Listing([excerpt(fact) for fact in it.not_proven])
    else:
        yield Text("Nothing that was done is without proof as of the last entry.")
    heads = ("When", "Occasion", "Step", "Answer", "Asked", "Asked as", "Expected", "Observed", "Means")
    yield listed("Every question that was put, and its answer", heads, list(_findings(entries)))


def _findings(entries: Sequence[Parsed]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        if entry.kind not in _VERDICTS or not entry.body.get("verdict"):
            continue
        verdict = Verdict.model_validate(entry.body["verdict"])
        start = (clock(entry.body.get("at") or entry.at), _VERDICTS[entry.kind], excerpt(entry.body["instance"]))
        if not verdict.findings:
            yield (*start, answer_word(verdict.answer), "-", "-", "-", "nothing could be asked", "-")
        for finding in verdict.findings:
            yield (
                *start,
                answer_word(verdict.answer),
                f"{finding.check} of {excerpt(finding.subject)}",
                # Our own canary, by the inventory: an auditor must know which one.
                printable(finding.asked_as),
                excerpt(finding.expected),
                excerpt(parted(finding.observed).short),
                answer_word(finding.answer),
            )
