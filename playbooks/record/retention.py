"""How long evidence is kept, and when it may be deleted: a pure answer from an incident's journal and the policy.

What is deleted are the bytes: exhibits, the bundles that hold copies of them, the alerts as they came. Their digests,
and everything that was done and decided, stay in the journal, whose chain does not change.
"""

from datetime import datetime, timedelta

from playbooks.gate.policy import Retention
from playbooks.record.evidence import locked_until
from playbooks.record.state import Incident


def remaining(state: Incident) -> tuple[str, ...]:
    """Return the ids of the exhibits that nobody intends to delete or has deleted."""
    gone = state.deleted_exhibits
    return tuple(str(exhibit["id"]) for exhibit in state.exhibits if exhibit["id"] not in gone)


def protected(state: Incident) -> str | None:
    """Return why nothing of an incident may be deleted by anybody, None if it may."""
    if state.closed_at is None:
        return "it is open"
    if state.legal_hold is not None:
        return f"it is under legal hold: {state.legal_hold}"
    if state.frozen:
        return f"it is frozen: {state.frozen}"
    return None


def locked(state: Incident) -> datetime | None:
    """Return until when the vault's lock lets nobody delete all that is left of an incident, if it has one."""
    left = set(remaining(state))
    return locked_until(exhibit for exhibit in state.exhibits if exhibit["id"] in left)


def until(state: Incident, retention: Retention) -> datetime | None:
    """Return when retention lets an incident's evidence go, None while it is open; not before the vault's lock does."""
    if state.closed_at is None:
        return None
    try:
        end = state.closed_at + timedelta(seconds=retention.of(state.incident_class))
    except OverflowError:
        end = datetime.max.replace(tzinfo=state.closed_at.tzinfo)
    return max(end, locked(state) or end)


def due(state: Incident, retention: Retention, at: datetime) -> bool:
    """Return whether everything that is left of an incident's evidence is to be deleted now, unattended."""
    end = until(state, retention)
    return protected(state) is None and end is not None and end <= at and not state.purged
