"""An incident as Markdown for Prefect's UI: plans and effects, leases, evidence, timeline. Pure.

Much of it is other people's words, an attacker's among them: whatever is not a letter or a digit is escaped, so that
no text becomes a link, an image, HTML or a cell of its own.
"""

import string
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from integrations.hostile import printable
from playbooks.incident import Phase
from playbooks.projection import Incident, Progress, StepState
from playbooks.strict import iso

LONGEST = 300
"""Characters of one cell."""

MOST = 500
"""Lines of the timeline; the journal has them all."""

_ESCAPED = str.maketrans({character: f"\\{character}" for character in string.punctuation if character not in ",;'\""})
_PLAIN = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;"})


class Shown(NamedTuple):
    """A step as a task run shows it.

    Args:
        instance: its name in the journal.
        title: what it does.
        phase: where it belongs.
        began: when it was decided or tried.
        ended: when its outcome was clear.
        good: whether it is as it should be.
        outcome: its progress in a word.
        message: why, if it is not.
    """

    instance: str
    title: str
    phase: Phase
    began: datetime
    ended: datetime
    good: bool
    outcome: str
    message: str


_GOOD = {Progress.ESTABLISHED, Progress.SEALED, Progress.RELEASED, Progress.APPROVED, Progress.SKIPPED}


def escaped(text: object, limit: int = LONGEST) -> str:
    """Return text that Markdown shows as it is, on one line."""
    # NFKC may yield the characters that are looked for, so it comes first; & < > as entities for renderers that
    # take HTML before they take escapes.
    return printable(str(text), limit).translate(_ESCAPED | _PLAIN)


def history(state: Incident) -> list[Shown]:
    """Return the steps whose outcome is clear, in the order in which they began."""
    shown = []
    for step in state.steps.values():
        ended = step.settled_at or step.wrote_at
        if ended is None:
            continue
        began = min(step.intended_at or ended, ended)
        title = step.plan.summary if step.plan else step.instance
        shown.append(
            Shown(
                instance=step.instance,
                title=printable(f"{step.phase.value}: {title}"),
                phase=step.phase,
                began=began,
                ended=ended,
                good=step.progress in _GOOD,
                outcome=step.progress.value,
                message=printable(_why(step), 500),
            )
        )
    return sorted(shown, key=lambda item: item.began)


def _why(step: StepState) -> str:
    if step.verdict:
        return "; ".join(f"{f.check} as {f.asked_as}: {f.answer}, {f.observed}" for f in step.verdict.findings)
    return step.message or "; ".join(step.reasons)


def markdown(state: Incident) -> str:
    """Return the incident as a Markdown document."""
    times = state.metrics
    accepted, wrote, verified = times["accepted_at"], times["first_effect_at"], times["verified_at"]
    facts = [
        ("Status", f"**{escaped(state.status)}**"),
        ("Class, severity", f"{escaped(state.incident_class)}, {escaped(state.severity.label)}"),
        ("About", escaped(", ".join(map(str, state.entities.values())) or "nothing that the inventory knows")),
        ("Accepted", _at(accepted)),
        ("First effect", _after(accepted, wrote)),
        ("Verified", _after(accepted, verified)),
    ]
    if state.triage:
        facts.append(("Needs a person", escaped(state.triage)))
    parts = [f"# {escaped(state.id)}", _table(("", ""), facts)]
    steps = [step for step in state.steps.values() if step.plan]
    parts += ["## Plans and effects", _table(("Phase", "Plan", "Change", "Stands", "The probe"), map(_effect, steps))]
    leases = [
        (
            escaped(lease.plan.summary),
            _at(lease.until),
            escaped(lease.verdict.answer if lease.verdict else "not asked yet"),
            _at(lease.checked_at),
        )
        for lease in state.leases.values()
        if lease.in_force
    ]
    parts += ["## In force", _table(("Containment", "Until", "Holds", "Last asked"), leases)]
    exhibits = [
        (escaped(item["id"]), escaped(item["kind"]), str(len(item["files"])), escaped(item.get("collected_at", "")))
        for item in state.exhibits
    ]
    exhibits += [("not available", escaped(item["kind"]), "0", escaped(item["reason"])) for item in state.unavailable]
    parts += ["## Evidence", _table(("Exhibit", "Kind", "Files", "Collected"), exhibits)]
    if state.bundle:
        parts.append(f"Sealed as {escaped(state.bundle)}, {escaped(state.sealed)}")
    lines = [
        (_at(line.at), escaped(line.actor), escaped(line.what), escaped(line.detail)) for line in state.timeline[-MOST:]
    ]
    parts += ["## Timeline", _table(("When", "Who", "What", "Detail"), lines)]
    return "\n\n".join(parts) + "\n"


def _effect(step: StepState) -> tuple[str, ...]:
    changes = "; ".join(str(change) for change in step.plan.changes) if step.plan else ""
    findings = step.verdict.findings if step.verdict else ()
    probe = "; ".join(f"{finding.check}: {finding.observed}" for finding in findings)
    summary = step.plan.summary if step.plan else ""
    shown = (step.phase.value, summary, changes, step.progress.value, probe or step.message)
    return tuple(map(escaped, shown))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(row) for row in rows]
    if not lines:
        return "None."
    return "\n".join(f"| {line} |" for line in (" | ".join(heads), " | ".join("---" for _ in heads), *lines))


def _at(moment: datetime | None) -> str:
    return escaped(iso(moment)) if moment else ""


def _after(start: datetime | None, moment: datetime | None) -> str:
    if start is None or moment is None:
        return "not yet"
    return f"{escaped(f'{(moment - start).total_seconds():.3f}')} s later"
