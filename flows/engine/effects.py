"""Carrying out an action: plan, decide, write, verify; and finishing what a dead one began.

The order is what everything rests on: the frozen plan is durable before the first write (`deciding`), and nothing
counts as done because an API said so (`writing`).
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from flows.engine import calls, schedule, turns
from flows.engine.calls import unknown, within
from flows.engine.case import Case, Stopped
from flows.engine.deciding import SAID_NO, intend, lapse, unneeded, verdict_of
from flows.engine.schedule import Todo
from flows.engine.writing import Look, apply, carry_out, settled, verified, verify
from integrations.journal.store import LostClaim
from playbooks.action import Action, Check
from playbooks.errors import Drifted, NotEstablished, PartiallyApplied, SoarError, Transient, Unneeded
from playbooks.gate.plan import Answer, Plan
from playbooks.gate.policy import Purpose
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress, StepState
from playbooks.strict import iso, now

LOG = logging.getLogger("mcp_soar.engine")

CONFIRM_ATTEMPTS = 2
"""How often a confirmation that could not be asked for is tried again before people are asked instead."""


async def act(case: Case, todo: Todo) -> None:
    """Bring one containment into force, from wherever the journal says it stands."""
    step = case.state.steps.get(todo.instance)
    try:
        action: Action = calls.build(case, todo.name, todo.params)
        if step and step.progress is Progress.PROPOSED and step.expires_at and step.expires_at <= now():
            await lapse(case, todo.instance)
        elif step and step.plan and step.intended_at and step.progress not in {Progress.APPROVED, Progress.PROPOSED}:
            # An intent is on record. Whoever wrote it may have died at any point after: finish that same plan.
            await _finish(case, step)
        else:
            await _begin(case, todo, action, step)
    except (Stopped, LostClaim):
        raise
    except Unneeded as exc:
        await unneeded(case, todo, exc)
    except SoarError as exc:
        await failed(case, todo, exc)


async def failed(case: Case, todo: Todo, exc: SoarError, *, again: float | None = None) -> None:
    """Record an attempt that went wrong, and when the next one is due if there is one.

    Args:
        case: the incident.
        todo: what was tried.
        exc: what went wrong; by its type it is tried again or not.
        again: seconds until it is tried again, whatever went wrong.
    """
    await case.decide(lambda _, state: _attempted(case, state, todo, exc, again))


async def _attempted(
    case: Case, state: Incident, todo: Todo, exc: SoarError, again: float | None
) -> tuple[Sequence[Event], None]:
    step = state.steps.get(todo.instance)
    if step is not None and step.progress in SAID_NO:
        # Somebody said no while it was tried. That stands: nothing is tried again because of what broke off.
        return [], None
    attempt = (step.attempt if step else 0) + 1
    waits = case.parts.timing.write_retries
    retry = None
    if again is not None:
        retry = iso(now() + timedelta(seconds=again))
    elif isinstance(exc, Transient | PartiallyApplied):
        # Never given up: people are told after a few attempts, and a gateway that comes back is contained.
        wait = max(waits[min(attempt, len(waits)) - 1], getattr(exc, "retry_after", None) or 0.0)
        retry = iso(now() + timedelta(seconds=wait))
    elif isinstance(exc, NotEstablished) and attempt <= len(waits):
        retry = iso(now() + timedelta(seconds=waits[attempt - 1]))
    elif isinstance(exc, Drifted) and todo.kind == "action" and attempt <= len(waits):
        # A release never goes by what it finds now: a person looks at it.
        retry = iso(now())
    body = {
        "instance": todo.instance,
        "phase": todo.phase.value,
        # What collects evidence beside a cut is no cut.
        "action": todo.name if todo.kind != "capture" else None,
        "epoch": step.epoch if step else 1,
        "attempt": attempt,
        "error": type(exc).__name__,
        "message": str(exc)[:2000],
        "retry_at": retry,
    }
    return [Event("failed", body)], None


async def _begin(case: Case, todo: Todo, action: Action, step: StepState | None) -> None:
    epoch = step.epoch if step and step.epoch else 1
    if step and step.progress is Progress.APPROVED and step.purpose is Purpose.PUT_BACK:
        purpose = Purpose.PUT_BACK
    else:
        purpose = Purpose.CONTAIN
    planning = within(action.timeout, action.plan(case.parts.world), f"planning {todo.name}")
    if step and step.plan and step.progress is Progress.APPROVED:
        # People have decided on it: what would confirm the alert is no question any more, unless it is another plan.
        plan = _asked(step, await planning)
        same = step.plan.covers(plan)
        events, again = (list[Event](), list[Event]()) if same else await confirm(case, todo)
    else:
        anew, (events, again) = await asyncio.gather(planning, confirm(case, todo))
        plan = _asked(step, anew)
    read_at = time.monotonic()
    if again and (step.attempt if step else 0) < CONFIRM_ATTEMPTS:
        raise Transient(f"our own confirmation of the alert came to no answer: {_doubt(again[0])}")
    await case.outlast(action.timeout)
    if await intend(case, todo, plan, epoch=epoch, purpose=purpose, first=events):
        await carry_out(case, calls.action_of(case, plan), case.state.steps[todo.instance], plan, read_at=read_at)


def _asked(step: StepState | None, anew: Plan) -> Plan:
    """Return the plan that people were asked about if it still stands: what came beside it since, came later.

    Of what others have done of it meanwhile there is nothing left to do: then it is what is left.
    """
    decided = step.plan if step and step.progress in {Progress.PROPOSED, Progress.APPROVED, Progress.DENIED} else None
    if decided is None or decided.stands(anew):
        return decided or anew
    if decided.covers(anew):
        return anew.model_copy(update={"beside": decided.beside, "breaks": decided.breaks})
    return anew


def _doubt(event: Event) -> str:
    """Return what a confirmation that came to no answer did say."""
    findings = verdict_of(event).findings
    unclear = next((f for f in findings if f.answer is Answer.UNKNOWN), None)
    return f"{event.body['by']}: {unclear.subject}: {unclear.observed}" if unclear else str(event.body["by"])


async def put_back(case: Case, todo: Todo) -> None:
    """Bring a containment that somebody undid into force again: a new epoch, through the gate."""
    action: Action = calls.build(case, todo.name, todo.params)
    try:
        anew = await within(action.timeout, action.plan(case.parts.world), f"planning {todo.name}")
        read_at = time.monotonic()
        await case.outlast(action.timeout)
        lease = case.state.leases[todo.instance]
        # What came beside it after the first cut is no old acquaintance of the second.
        first, changed = lease.plan, lease.plan.beside != anew.beside
        plan = anew.model_copy(update={"beside": first.beside, "breaks": first.breaks}) if changed else anew
        epoch = lease.epoch + 1
        allowed = await intend(case, todo, plan, epoch=epoch, purpose=Purpose.PUT_BACK)
    except LostClaim:
        raise
    except SoarError as exc:
        # Nothing was decided, and it is on record that it does not hold: the watch comes back to it.
        LOG.warning("%s: %s is not put back yet: %s", case.id, todo.instance, exc)
        return
    if not allowed:
        return
    try:
        await carry_out(case, calls.action_of(case, plan), case.state.steps[todo.instance], plan, read_at=read_at)
    except Stopped:
        return
    except LostClaim:
        raise
    except SoarError as exc:
        await failed(case, todo, exc)


async def persist(case: Case, todo: Todo) -> None:
    """Try once more to bring into force what was decided and never held; say so when that makes a difference."""
    step, lease = case.state.steps[todo.instance], case.state.leases[todo.instance]
    action = calls.action_of(case, lease.plan)
    look = Look.begins(case)
    try:
        written = await apply(case, action, lease.plan, instance=todo.instance, key=step.key, read_at=None)
        verdict = await verify(case, action, lease.plan)
    except LostClaim:
        raise
    except SoarError as exc:
        LOG.warning("%s: %s still fails: %s", case.id, todo.instance, exc)
        return
    if lease.verdict is None or verdict.answer is not lease.verdict.answer or verdict.widen != lease.verdict.widen:
        body = {"instance": todo.instance, "epoch": step.epoch, "writes": written.writes, "found": written.found}
        await settled(case, lease.plan, verdict, Event("wrote", body), verified(step, verdict, step.attempt, look))
    if not lease.open:
        return
    await turns.asked(case, todo.instance, verdict, None)


async def _finish(case: Case, step: StepState) -> None:
    plan, lease = step.plan, case.state.leases.get(step.instance)
    if plan is None:  # `act` asked; for the type checker
        return
    action = calls.action_of(case, plan)
    await case.outlast(action.timeout)
    if lease is not None and lease.has_held:
        # What held once and does not now was undone: only the watch, through the gate, writes it again.
        look = Look.begins(case)
        verdict = await verify(case, action, plan)
        await settled(case, plan, verdict, verified(step, verdict, step.attempt + 1, look))
        return
    await carry_out(case, action, step, plan, read_at=None)


async def confirm(case: Case, todo: Todo) -> tuple[list[Event], list[Event]]:
    """Ask the playbook's confirming checks about a cut's target, once for all that was reported of it so far.

    Returns:
        What is to be recorded of it, and of that what may yet be answered, so that it is worth to ask again.
    """
    playbook, entity = case.playbook, case.state.entities.get(todo.entity)
    if playbook is None or entity is None:
        return [], []
    standing = case.state.standing(todo.entity, itself=todo.named)
    if standing.confirmed or (todo.entity in case.state.by_hand and not standing.authenticated):
        # What only a person's word speaks for is decided by another one, whatever a check would say.
        return [], []
    events: list[Event] = []
    again: list[Event] = []
    for step in playbook.confirm:
        about = schedule.asked_of(entity, step.for_each)
        if about is None:
            continue
        by = case.state.instance_of(step.id, about)
        if case.state.confirm_asked.get(by, -1) > (case.state.alerted_seq or 0):
            continue
        check: Check = calls.build(case, step.check or "", step.parameters(about))
        if not check.askable(case.parts.world.inventory):
            # There is no such question: nothing of our own confirms it, and nobody waits for that.
            continue
        try:
            verdict = await within(check.timeout, check.check(case.parts.world), f"asking {step.check}")
        except SoarError as exc:
            verdict = unknown(f"{step.id}: {about}", exc)
        body = {"by": by, "entity": about.key, "verdict": verdict.model_dump(mode="json")}
        events.append(Event("confirmed", body))
        if check.asked_again and verdict.answer is Answer.UNKNOWN:
            again.append(events[-1])
    return events, again
