"""An incident's steps as task runs show them. Pure."""

from datetime import datetime
from typing import NamedTuple

from integrations.hostile import printable
from playbooks.incident import Phase
from playbooks.state import Incident, Progress, StepState


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
