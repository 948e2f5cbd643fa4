"""Worst first: in which order incidents are listed, for whoever looks at all of them at once. Pure."""

from datetime import datetime

from playbooks.record.incident import Severity, Status
from playbooks.record.state import Incident

_RANKS: tuple[frozenset[Status], ...] = (
    # Nothing goes on there, and nobody watches over what it took away.
    frozenset({Status.FROZEN}),
    # It gets through.
    frozenset({Status.NOT_ESTABLISHED}),
    # Nothing is done until a person has decided, or has looked: whichever of the two, what is worse comes first.
    frozenset({Status.AWAITING_APPROVAL, Status.TRIAGE}),
    # A responder is at work.
    frozenset({Status.CONTAINING, Status.RECOVERING}),
    frozenset({Status.CONTAINED}),
    frozenset({Status.RELEASED}),
    frozenset({Status.JOINED}),
    frozenset({Status.CLOSED}),
)

Place = tuple[int, int, float, float]
"""Where an incident stands in the order: the smallest first."""


def place(state: Incident) -> Place:
    """Return where an incident stands in the order."""
    until = min((step.expires_at for step in state.proposals if step.expires_at), default=None)
    rank = next(number for number, statuses in enumerate(_RANKS) if state.status in statuses)
    return rank, -state.severity, until.timestamp() if until else float("inf"), _young(state.opened_at)


def unreadable(opened_at: float) -> Place:
    """Return where an incident stands whose journal cannot be read: before all that can be.

    Args:
        opened_at: seconds since 1970.
    """
    return 0, -Severity.CRITICAL, float("inf"), -opened_at


def _young(at: datetime | None) -> float:
    return -at.timestamp() if at else 0.0
