"""How an incident, what it holds and what was asked stand, in a few words."""

from flows.report.words import clock, excerpt
from playbooks.plan import Answer
from playbooks.state import Incident, LeaseState, StepState


def holding(lease: LeaseState) -> str:
    """Return how far a containment holds, in words."""
    if lease.done_at:
        return f"done for good {clock(lease.done_at)}, it cannot be taken back"
    return answer_word(lease.verdict.answer if lease.verdict else None)


def about(state: Incident) -> str:
    """Return what an incident is about, in words."""
    return excerpt("; ".join(map(str, state.entities.values()))) or "nothing that the inventory knows"


def answer_word(answer: Answer | None) -> str:
    """Return an answer so that no colour is needed to tell a bad one."""
    if answer is None:
        return "not asked yet"
    return {Answer.ESTABLISHED: "established", Answer.NOT_ESTABLISHED: "NOT established"}.get(answer, "unknown")


def asker(state: Incident, step: StepState) -> str:
    """Return who asked for a step and why, in their own words; a dash if nobody did."""
    reason = state.reason_of(step)
    return excerpt(f"{step.requested_by or '-'}" + (f": {reason}" if reason else ""))


def needed(step: StepState) -> str:
    """Return how many people still have to say yes, and who has."""
    missing = max(0, step.quorum - len(set(step.approved_by) - {step.requested_by}))
    approved = f", approved by {excerpt(', '.join(step.approved_by))}" if step.approved_by else ""
    return f"{missing} of {step.quorum}{approved}"
