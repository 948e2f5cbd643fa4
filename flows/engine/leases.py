"""Containments in force: verified again and again, put back when undone, extended at their end, and given back."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta

from flows.engine import calls, comparing, effects, schedule, turns, writing
from flows.engine.calls import unknown, within
from flows.engine.case import Case
from flows.engine.releasing import restoring
from flows.engine.schedule import OURSELVES, watched
from integrations.journal.records import Watch
from integrations.journal.store import Tx
from playbooks.action import Action
from playbooks.errors import Gone, SoarError
from playbooks.gate.plan import EXPOSURE, LET_BE, Answer, Change, Plan, Verdict
from playbooks.gate.policy import RAN_OUT
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import LeaseState, Progress
from playbooks.strict import iso, now


async def watch(case: Case) -> None:
    """Look at every lease in force once, and verify those that changed, or whose turn it is.

    What was undone is put back, what leaks is widened, what runs out is extended.
    """
    rows = {row.lease: row for row in await case.parts.journal.watched()}
    await asyncio.gather(*(_watch_one(case, instance, rows) for instance in watched(case.state)))


async def _watch_one(case: Case, instance: str, rows: Mapping[str, Watch]) -> None:
    lease = case.state.leases[instance]
    wait = await turns.wait(case, lease, rows)
    if wait > 0:
        case.asks_in(wait)
    else:
        with case.parts.memory.asks(turns.system_of(lease.plan)):
            await _verify_one(case, instance)
    if lease.in_force and lease.until <= now():
        await _expire(case, instance, lease)


async def _verify_one(case: Case, instance: str) -> None:
    lease, look, took = case.state.leases[instance], writing.Look.begins(case), writing.Took()
    action = calls.action_of(case, lease.plan)
    undone, verdict = await _look(case, action, lease.plan, took)
    asked = case.state.steps[instance].progress in ASKED
    if undone and not lease.has_held and not asked:
        # Nobody undid it: it never came into force, and what was decided is still to be done.
        await effects.persist(case, schedule.step_of(case.state, instance))
    else:
        await _note(case, instance, verdict, undone, look, took=took.seconds)
        if undone and not asked:
            await effects.put_back(case, schedule.step_of(case.state, instance))


ASKED = {Progress.PROPOSED, Progress.DENIED, Progress.EXPIRED}
"""People were asked about it: until they say yes it is only looked at."""


async def _look(case: Case, action: type[Action], plan: Plan, took: writing.Took) -> tuple[list[Change], Verdict]:
    """Return the changes of a lease that somebody undid, and whether it is in force."""
    undone: list[Change] = []
    doubt: SoarError | None = None
    for change in plan.changes:
        try:
            with took.counting():
                still = await _still(case, action, change)
            if not still:
                undone.append(change)
        except Gone:
            # What no longer exists cannot be used; what came in its place is the probe's question.
            continue
        except SoarError as exc:
            doubt = exc
            break
    verdict = await writing.verify(case, action, plan, took)
    if doubt is not None and verdict.answer is Answer.ESTABLISHED:
        verdict = unknown(plan.summary, doubt)
    return undone, verdict


async def _still(case: Case, action: type[Action], change: Change) -> bool:
    current = await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
    return action.holds(change, current)


async def _note(
    case: Case, instance: str, verdict: Verdict, undone: Sequence[Change], look: writing.Look, *, took: float
) -> None:
    """Journal a verdict that is news; keep the time of one that is not."""
    if undone and verdict.answer is Answer.ESTABLISHED:
        verdict = verdict.model_copy(update={"answer": Answer.NOT_ESTABLISHED})
    before = case.state.leases[instance].verdict
    changed = before is None or before.answer is not verdict.answer or before.widen != verdict.widen
    if before is None or changed or _unasked(verdict) - _unasked(before):
        body = {
            "instance": instance,
            "verdict": verdict.model_dump(mode="json"),
            "undone": [str(change) for change in undone],
            **look.body,
        }
        plan = case.state.leases[instance].plan
        await writing.settled(case, plan, verdict, Event("lease_checked", body))
    if not case.state.leases[instance].open:
        return
    await turns.asked(case, instance, verdict, took)


def _unasked(verdict: Verdict) -> set[str]:
    """Return what a verification names because it could not ask it, or people let it be; they are told of it once."""
    doubts = [f for f in verdict.findings if f.answer is Answer.UNKNOWN]
    let_be = {f.observed for f in doubts if f.check == EXPOSURE and f.observed.startswith(LET_BE)}
    return let_be | {f.subject for f in doubts if "be asked" in f.observed}


async def _expire(case: Case, instance: str, lease: LeaseState) -> None:
    body = {**_wish(instance, lease), "accepted": True, "reason": RAN_OUT, "params": {"lease": instance}}
    ends = _ends(case, case.state, instance) and not await case.is_stopped() and await _as_approved(case, lease)

    async def work(_: Tx, state: Incident) -> tuple[list[Event], None]:
        lease = state.leases[instance]
        if lease.until > now() or not lease.in_force or lease.releasing is not None:
            # A person has put that end farther away in this very moment, or it is being given back.
            return [], None
        if ends and _ends(case, state, instance):
            return [Event("request", body)], None
        length = max((lease.until - lease.opened_at).total_seconds() / 2, 60.0)
        until = iso(now() + timedelta(seconds=length))
        longer = {"instance": instance, "until": until, "why": "it ran out and nobody released it"}
        return [Event("lease_extended", longer)], None

    await case.decide(work)


def _wish(instance: str, lease: LeaseState) -> dict[str, str]:
    return {"verb": "release", "actor": OURSELVES, "nonce": f"expiry-{instance}-{iso(lease.until)}"}


def _ends(case: Case, state: Incident, instance: str) -> bool:
    """Whether a lease that ran out is given back unattended, as far as its journal says."""
    lease = state.leases[instance]
    clean = lease.verdict is not None and lease.verdict.answer is Answer.ESTABLISHED
    at_expiry = case.parts.policy.lease.at_expiry == "release" and not lease.plan.irreversible
    # Asked once: whoever has the answer in hand, or said no, is not asked again at every look.
    return at_expiry and clean and state.release_wanted(instance) is None


async def _as_approved(case: Case, lease: LeaseState) -> bool:
    """Ask whether what will come back is what was approved; `comparing.of_release` says how it is not."""
    action = calls.action_of(case, lease.plan)
    differs, _ = await comparing.of_release(case, action, restoring(lease, action), taken_on=False)
    return not differs
