"""Whose turn it is to be asked about as a client: the watch takes a share of a system's time, and no more. Pure.

What many leases share is looked at each time; the calls that prove a cut are each lease's own, so that they come in
turn. What the latest checks say of the leases at a system is all that it goes by, so that every process decides alike.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from integrations.journal.records import Watch
from playbooks.gate.plan import Answer

GRACE: Final = 1 / 60
"""Share of the time between two looks that whoever comes first is waited for by the next one."""

_ABSENT: Final = 1.25
"""Times between two looks after which one that was not looked at is waited for no more: its incident may be in hand
elsewhere, or frozen."""


_IN_DOUBT: Final = 2
"""How many times as often one is asked about that is not shown to hold."""


def at(rows: Iterable[Watch], system: str) -> list[Watch]:
    """Return the latest checks of the leases at one system."""
    return [row for row in rows if row.system == system]


def periods(rows: Sequence[Watch], *, every: float, share: float) -> dict[str, float]:
    """Return how many seconds lie between two questions about each lease, at the present number.

    They grow with the square root of what its question takes, by which the mean of them is the least that keeps the
    share: one that is slow to answer waits longer than the others, and is not forgotten.

    Args:
        rows: the leases at one system.
        every: seconds between two looks: no lease is asked about oftener.
        share: of the system's time that the questions may take.
    """
    parts = _parts(rows)
    return {row.lease: max(every, row.took / (share * parts[row.lease]) if row.took else 0.0) for row in rows}


def wait(rows: Sequence[Watch], lease: str, *, every: float, share: float) -> float:
    """Return in how many seconds a lease is asked about; now, if that is none.

    Whoever waited for a whole period too long comes first; then what does not hold, the grave, and the longest unasked.
    So nobody waits for more than two periods of its own, as long as what a question takes does not change.

    Args:
        rows: the leases at its system, itself among them.
        lease: which.
        every: seconds between two looks.
        share: of the system's time that the questions may take.
    """
    apart, parts = periods(rows, every=every, share=share), _parts(rows)
    due_in = {row.lease: apart[row.lease] - row.age for row in rows}
    if due_in[lease] > 0:
        return due_in[lease]
    # After a question the next one comes no sooner than its share of the time allows, or than all come in one look's.
    rest = {row.lease: min((row.took or 0.0) / share, every * parts[row.lease]) for row in rows}
    waiting = (row for row in rows if due_in[row.lease] <= 0 and (row.lease == lease or _idle(row) <= every * _ABSENT))
    before = sorted(waiting, key=lambda row: _order(row, apart[row.lease]))
    place = next(n for n, row in enumerate(before) if row.lease == lease)
    free = max((rest[row.lease] - row.age for row in rows if row.took), default=0.0)
    # Those who come before it are asked meanwhile, or have not come.
    comes = free + place * every * GRACE
    if comes <= 0:
        return comes
    return max(comes, max(free, 0.0) + sum(rest[row.lease] for row in before[:place]))


def _parts(rows: Iterable[Watch]) -> dict[str, float]:
    """Return which part of the share each lease has for itself."""
    sizes = {
        row.lease: math.sqrt(row.took or 0.0) * (1 if row.verdict == Answer.ESTABLISHED else _IN_DOUBT) for row in rows
    }
    whole = sum(sizes.values()) or 1.0
    return {lease: size / whole for lease, size in sizes.items()}


def _idle(row: Watch) -> float:
    """Return how many seconds ago a lease was looked at."""
    return row.age - max(0.0, (row.seen_at or row.checked_at) - row.checked_at)


def _order(row: Watch, apart: float) -> tuple[int, bool, int, float]:
    missed = int(row.age // apart) if apart > 0 else 0
    return -missed, row.verdict == Answer.ESTABLISHED, -row.severity, -row.age
