"""The watch's turns: what is seen of a lease at each look, and whether it is asked about as a client this time."""

import time
from collections.abc import Mapping
from typing import Final

from flows.engine import calls, pacing
from flows.engine.case import Case
from integrations.journal.records import Watch
from integrations.journal.store import LostClaim
from playbooks.action import Glimpse
from playbooks.errors import SoarError, Transient, Unforeseen
from playbooks.gate.plan import Answer, Plan, Verdict
from playbooks.record.step import LeaseState

AT_ONCE: Final = 2
"""Leases of one system that are asked about side by side, whatever was seen of how many."""

BUSY: Final = 1.0
"""Seconds after which a lease comes back that was to be asked about while as many as may be were."""

_SILENT: Final = 0.25
"""Share of the time between two looks for which nobody looks at a system that did not answer one."""

_UNSEEN: Final = Glimpse(holds=False, mark="")


def system_of(plan: Plan) -> str:
    """Return where a plan is carried out, as its targets name it."""
    return plan.changes[0].target.system


async def wait(case: Case, lease: LeaseState, rows: Mapping[str, Watch]) -> float:
    """Look at a lease, and return in how many seconds it is asked about as a client; now, if that is none.

    It is asked at once when it was just written, or when something of it is otherwise than when it was asked last;
    else in its turn. What is seen as it was is no proof: the verdict stays the one of when it was asked.

    Args:
        case: the incident.
        lease: which.
        rows: the latest checks of all leases.
    """
    memory, name, system = case.parts.memory, f"{case.id}/{lease.instance}", system_of(lease.plan)
    if (left := memory.silent.get(system, 0.0) - time.monotonic()) > 0:
        return left
    seen, row = await _seen(case, lease.plan), rows.get(name)
    # What an earlier release asked says not where, and was not measured.
    if row is not None and row.system == system and not _news(memory.marks.get(name), seen, lease, row):
        memory.mark(name, seen.mark)
        if seen.holds:
            await case.parts.journal.seen(name)
        inventory = case.parts.world.inventory
        there = pacing.at(rows.values(), system)
        turn = pacing.wait(there, name, every=inventory.watch_every, share=inventory.watch_share)
        if turn > 0 or memory.asking[system]:
            return max(turn, inventory.watch_every * pacing.GRACE)
    elif memory.asking[system] >= AT_ONCE:
        return BUSY
    memory.mark(name, seen.mark)
    return 0.0


def _news(before: str | None, seen: Glimpse, lease: LeaseState, row: Watch) -> bool:
    held = row.verdict == Answer.ESTABLISHED
    if (held and not seen.holds) or (lease.checked_at is not None and row.checked_at < lease.checked_at.timestamp()):
        return True
    # Whoever has just begun to look has only the latest answer for how it was.
    return seen.mark != before if before is not None else not held


async def _seen(case: Case, plan: Plan) -> Glimpse:
    action, parts = calls.action_of(case, plan), case.parts
    known = (await parts.given_back.current(parts.journal)).beside(plan)
    try:
        # It may wait for a list that waits for its turn itself.
        return await calls.within(parts.timing.turn, action.glance(known, parts.world), f"looking at {plan.action}")
    except LostClaim:
        raise
    except Unforeseen:
        # Of one lease: the system answered.
        return _UNSEEN
    except Transient:
        parts.memory.silent[system_of(plan)] = time.monotonic() + parts.world.inventory.watch_every * _SILENT
        return _UNSEEN
    except SoarError:
        return _UNSEEN


async def asked(case: Case, instance: str, verdict: Verdict, took: float | None) -> None:
    """Keep what the latest question about a lease was answered, and what it took."""
    await case.parts.journal.set_watch(
        lease=f"{case.id}/{instance}",
        incident=case.id,
        verdict=verdict.answer.value,
        system=system_of(case.state.leases[instance].plan),
        severity=int(case.state.severity),
        took=took,
    )
