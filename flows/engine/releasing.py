"""Giving back exactly what a lease took: its plan is the inverse of the cut's, and takes the same way.

Planned, decided and frozen (`intend`), written and read back (`writing.give_back`), asked as a client, recorded.
"""

import logging
from collections.abc import Collection
from typing import Any, NamedTuple

from pydantic import JsonValue

from flows.engine import calls, comparing, deciding, effects, given_back, schedule
from flows.engine.calls import within
from flows.engine.case import Case, Stopped
from flows.engine.kept import Kept, as_before, comes_later, stays, want_back
from flows.engine.schedule import OURSELVES, Todo
from flows.engine.writing import give_back
from integrations.journal.store import LostClaim, Tx
from playbooks.action import Action
from playbooks.errors import Gone, NotEstablished, SoarError
from playbooks.gate.plan import Answer, Plan, Unapproved, Verdict
from playbooks.gate.policy import CHANGED, Decision, Facts, Outcome, Purpose, decide
from playbooks.record.given_back import ACCEPTS, UNAPPROVED
from playbooks.record.heard import ReleaseRequest
from playbooks.record.incident import Phase
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import LeaseState, Progress, StepState
from playbooks.strict import now

LOG = logging.getLogger("mcp_soar.engine")

ENDED = "it no longer exists, and the same was given back under another id"
OTHERWISE = "what would come back differs otherwise than when it was asked first"


async def release(case: Case, todo: Todo) -> None:
    """Give back exactly what a lease took, unless other incidents still hold it; from wherever the journal stands."""
    try:
        if case.state.leases[todo.name].releasing is None and not await _begin(case, todo):
            return
        await _overtaken(case, todo)
        while not await _carry_out(case, todo):
            pass
    except (Stopped, LostClaim):
        raise
    except SoarError as exc:
        await effects.failed(case, todo, exc)


async def look_again(case: Case) -> None:
    """Look again at the releases that people are being asked about: what they are asked may have changed, or be over.

    A server that is healed meanwhile needs nobody's word that it may differ; one that changed once more is asked about
    anew, and earlier answers are void.
    """
    for instance, lease in list(case.state.leases.items()):
        name = schedule.release_of(instance)
        step, twin = case.state.steps.get(name), case.state.given_back_as(instance)
        wish = _wished(case.state, instance)
        if wish is None or not lease.open or lease.releasing is not None:
            continue
        if twin is None and (step is None or step.progress is not Progress.PROPOSED):
            continue
        if wish.actor == OURSELVES and await case.is_stopped():
            continue
        try:
            todo = Todo(name, Phase.RECOVER, "release", f"Release {instance}", name=instance)
            await _begin(case, todo, looking=True)
        except (Stopped, LostClaim):
            raise
        except SoarError as exc:
            LOG.info("%s: %s cannot be looked at again: %s", case.id, name, exc)


# Planned


class Planned(NamedTuple):
    """What there is to decide on: the inverse of a cut, and how what would come back differs from what was approved.

    Args:
        plan: everything that the lease took, as it was before.
        about: keys of the things that the incident was about when this was found out.
        ended: nothing of it exists any more, and the same was given back under another id.
        differs: how it differs.
        unapproved: what of it is not as it was approved; None if nobody can say.
        unreviewed: what of the approved definitions was reviewed by nobody.
    """

    plan: Plan
    about: frozenset[str]
    ended: bool
    differs: tuple[comparing.Difference, ...]
    unapproved: Unapproved | None
    unreviewed: tuple[str, ...]


async def _begin(case: Case, todo: Todo, *, looking: bool = False) -> bool:
    """Plan, ask the gate and freeze the release; return whether it may go on.

    Args:
        case: the incident.
        todo: the step.
        looking: people are being asked, and are asked anew only if something is another thing now.
    """
    step = case.state.steps.get(todo.instance)
    if step and step.progress is Progress.PROPOSED and step.expires_at and step.expires_at <= now():
        await deciding.lapse(case, todo.instance, ": it stays contained")
        return False
    planned = await _planned(case, todo.name)
    if looking and (planned.unapproved is None or not all(one.known for one in planned.differs)):
        # What could not be found out is no news: what people are being asked stays as it is.
        return False
    return await intend(case, todo, planned, looking=looking)


async def _planned(case: Case, instance: str) -> Planned:
    state, about = case.state, frozenset(case.state.entities)
    lease = state.leases[instance]
    action = calls.action_of(case, lease.plan)
    plan = restoring(lease, action)
    ended = state.given_back_as(instance) is not None and await _all_gone(case, action, plan)
    differs, unapproved = (
        ((), Unapproved())
        if ended
        else await comparing.of_release(
            case, action, plan, taken_on=state.change_accepted(instance), shown=state.shown(instance)
        )
    )
    parts = case.parts
    unreviewed = await parts.reviews.lacking(parts.journal, parts.world.inventory, parts.policy, plan)
    return Planned(plan, about, ended, differs, unapproved, unreviewed)


def restoring(lease: LeaseState, action: type[Action]) -> Plan:
    """Return the plan that restores what the first intent of a lease found."""
    if lease.plan.irreversible:
        # Nothing comes back: ending the lease only ends the watch over it.
        gone = tuple(change.model_copy(update={"before": change.after}) for change in lease.plan.changes)
        return lease.plan.model_copy(
            update={"changes": gone, "irreversible": None, "breaks": "", "summary": f"End: {lease.plan.summary}"}
        )
    return action.inverse(taken(lease))


def taken(lease: LeaseState) -> Plan:
    """Return a lease's plan as it was against the world that the first of all holds found."""
    changes = tuple(
        change.model_copy(update={"before": lease.originals.get(change.grip, change.before)})
        for change in lease.plan.changes
    )
    return lease.plan.model_copy(update={"changes": changes})


def _wished(state: Incident, instance: str) -> ReleaseRequest | None:
    """Return the request that asks for a lease's release, or for that of the same thing under its later id."""
    twin = state.given_back_as(instance)
    return state.release_wanted(instance) or (state.release_wanted(twin) if twin else None)


async def _all_gone(case: Case, action: type[Action], plan: Plan) -> bool:
    """Whether nothing of a plan exists any more."""
    for change in plan.changes:
        try:
            await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
        except Gone:
            continue
        return False
    return True


# Decided


async def intend(case: Case, todo: Todo, planned: Planned, *, looking: bool = False) -> bool:
    """Ask the gate and, in the same transaction, freeze the release, or ask people; return whether it may go on.

    Args:
        case: the incident.
        todo: the step.
        planned: what would be given back.
        looking: people are being asked, and are asked anew only if something is another thing now.
    """
    instance, differs, unapproved = todo.name, planned.differs, planned.unapproved
    back = unapproved.back if unapproved else ()

    async def work(tx: Tx, state: Incident) -> tuple[list[Event], bool]:
        wish, step, lease = _wished(state, instance), state.steps.get(todo.instance), state.leases[instance]
        asking = looking and _is_asked(state, todo, ended=planned.ended)
        due = schedule.release_due(state, instance, now=now(), retries=case.parts.timing.verify_retries)
        if wish is None or not (due or asking):
            # Somebody said no meanwhile.
            return [], False
        taken_on = state.change_accepted(instance)
        unseen = given_back.unseen(back, state.shown(instance)) if taken_on else ()
        if set(state.entities) != planned.about or (unseen and not differs):
            # What joined meanwhile, or what people accept by now, was not asked about: it comes back to this at once.
            return [], False
        # Nobody accepts what nobody can say.
        accepted = taken_on and unapproved is not None and not unseen
        plan, kept = await as_before(tx, case, instance, planned.plan)
        put = step.plan if step and step.progress in schedule.ASKED else None
        plan = given_back.with_unapproved(plan, None if unapproved is None else back, put)
        if differs and not accepted:
            plan = plan.model_copy(update={"params": {**plan.params, ACCEPTS: comparing.mark(differs)}})
        asker = _asker(step, wish)
        facts = _facts(case, state, step, plan, planned, asker=asker, accepted=accepted)
        decision = decide(plan, case.parts.policy, facts, case.parts.world.inventory)
        free = (ENDED,) if planned.ended else comes_later(case, plan, kept)
        if free and decision.outcome is Outcome.NEEDS_APPROVAL:
            decision = Decision(outcome=Outcome.ALLOW, reasons=free, digest=plan.digest)
        if decision.outcome is Outcome.ALLOW:
            await want_back(tx, case, instance, plan)
            await _record(tx, case, state, todo, plan, kept=kept, by=_people(asker, *facts.approved_by))
            return [_frozen(case, todo, lease, plan, decision=decision, kept=kept, asker=asker)], True
        if asking and step and step.plan and step.plan.digest == plan.digest:
            return [], False
        said = (*given_back.reasons(plan, kept), *stays(case, plan, kept))
        question = deciding.asked(
            case,
            state,
            todo,
            plan,
            decision.model_copy(update={"reasons": (*decision.reasons, *said)}),
            epoch=lease.epoch,
            purpose=Purpose.RELEASE,
            requested_by=asker,
            diffs=comparing.diffs(differs, (*decision.reasons, *said)),
        )
        return [_otherwise(question, step, plan)], False

    return await case.decide(work)


def _is_asked(state: Incident, todo: Todo, *, ended: bool) -> bool:
    """Whether people are being asked about a release; of what ended, nobody is asked any more."""
    step, lease = state.steps.get(todo.instance), state.leases[todo.name]
    asked = step is not None and step.progress is Progress.PROPOSED
    return lease.open and lease.releasing is None and (asked or ended)


def _asker(step: StepState | None, wish: ReleaseRequest) -> str:
    """Return who asks for it: after a no whoever asks again, and a person where only a lease's end asked before."""
    asker = step.requested_by if step else None
    return wish.actor if asker is None or asker == OURSELVES else asker


def _facts(
    case: Case, state: Incident, step: StepState | None, plan: Plan, planned: Planned, *, asker: str, accepted: bool
) -> Facts:
    """Return what the gate has to know of a release."""
    return Facts(
        incident_class=state.incident_class,
        severity=state.severity,
        confidence=state.standing("").confidence,
        authenticated=True,
        confirmed=True,
        purpose=Purpose.RELEASE,
        requested_by=None if asker == OURSELVES else asker,
        ran_out=asker == OURSELVES,
        approved_by=deciding.approved_by(case, step, plan),
        clean=accepted or not planned.differs,
        differs=comparing.said(planned.differs),
        # Whoever accepts a definition as it is does not go by the approved one.
        unreviewed=() if accepted else planned.unreviewed,
    )


async def _record(
    tx: Tx, case: Case, state: Incident, todo: Todo, plan: Plan, *, kept: Collection[str], by: set[str]
) -> None:
    """Journal what people signed for that comes back as nobody approved it: whoever asked, and whoever agreed.

    Args:
        tx: the transaction that freezes the release.
        case: the incident.
        state: as it is in that transaction.
        todo: the release.
        plan: what comes back.
        kept: grips that others hold.
        by: who asked for it, and who agreed to this very plan.
    """
    step = state.steps.get(todo.instance)
    agreed = by & set(step.approved_by) - {step.requested_by} if step else set()
    reasons = step.reasons if step else ()
    things = given_back.signed_for(plan, state.shown(todo.name), asked=reasons, agreed=agreed, kept=kept)
    await given_back.record(tx, case.id, todo.name, plan, things, kept=kept, by=by)


def _people(*names: str | None) -> set[str]:
    """Return those of some names that are a person's: what only a lease's end asked for, nobody decided."""
    return {name for name in names if name and name != OURSELVES}


def _otherwise(question: Event, step: StepState | None, plan: Plan) -> Event:
    """Have a question say that what would come back has changed since it was asked."""
    before = _marks(step.plan) if step and step.plan else ()
    if not any(before) or before == _marks(plan) or "differs" not in question.body:
        return question
    told = "; ".join(filter(None, (OTHERWISE, str(question.body["differs"]))))
    return question._replace(body={**question.body, "differs": told})


def _marks(plan: Plan) -> tuple[JsonValue, ...]:
    """Return what tells how what comes back by a release differs from what was approved."""
    return tuple(plan.params.get(name) for name in (ACCEPTS, UNAPPROVED))


def _frozen(
    case: Case, todo: Todo, lease: LeaseState, plan: Plan, *, decision: Decision, kept: Kept, asker: str | None
) -> Event:
    """Return the entry that freezes a release."""
    body: dict[str, Any] = {
        "instance": todo.name,
        "release": todo.instance,
        "phase": todo.phase.value,
        "epoch": lease.epoch,
        "plan": plan.model_dump(mode="json"),
        "decision": decision.model_dump(mode="json"),
        "key": deciding.key_of(case.id, lease.epoch, plan),
        "kept": list(kept),
        "kept_by": sorted({holder for holders in kept.values() for holder in holders}),
        "requested_by": asker,
    }
    return Event("release_intended", body)


async def _overtaken(case: Case, todo: Todo) -> None:
    """Freeze a release anew that others' holds have overtaken since: it broke off, and they took what it had not left.

    In the same transaction nobody can take it: whoever comes later waits until this attempt is over.
    """

    async def work(tx: Tx, state: Incident) -> tuple[list[Event], None]:
        lease = state.leases[todo.name]
        if lease.releasing is None:
            return [], None
        wanted = [change.grip for change in lease.releasing.changes if change.grip not in lease.kept]
        ours = (case.id, todo.name)
        held = [grip for grip in wanted if any((h.incident, h.lease) != ours for h in await tx.holds(grip=grip))]
        if not held:
            return [], None
        return [await _again(tx, case, state, todo, "others hold a part of it by now")], None

    await case.decide(work)


async def _again(tx: Tx, case: Case, state: Incident, todo: Todo, reason: str) -> Event:
    """Freeze a release anew, of as much as others leave to it now; each part was asked for and agreed to."""
    lease = state.leases[todo.name]
    plan, kept = await as_before(tx, case, todo.name, restoring(lease, calls.action_of(case, lease.plan)))
    if lease.releasing is not None:
        plan = plan.model_copy(update={"params": lease.releasing.params})
    await want_back(tx, case, todo.name, plan)
    step = state.steps.get(todo.instance)
    by = _people(lease.released_by, *(step.approved_by if step else ()))
    await _record(tx, case, state, todo, plan, kept=kept, by=by)
    decision = Decision(outcome=Outcome.ALLOW, reasons=(reason,), digest=plan.digest)
    return _frozen(case, todo, lease, plan, decision=decision, kept=kept, asker=lease.released_by)


# Carried out


async def _carry_out(case: Case, todo: Todo) -> bool:
    """Write back what was frozen, ask whether it is back, and let go of it; return False to go on with what is more.

    Others may have held a part of it, and have let go meanwhile: then there is more.
    """
    lease = case.state.leases[todo.name]
    plan = lease.releasing
    if plan is None:
        return True
    action = calls.action_of(case, plan)
    writes, gone = await give_back(case, action, lease, plan)
    verdict = await _verify(case, todo, action, lease, gone)
    body = {
        "instance": todo.name,
        "release": todo.instance,
        "epoch": lease.epoch,
        "writes": writes,
        "kept": list(lease.kept),
        "gone": sorted(gone),
        "verdict": verdict.model_dump(mode="json") if verdict else None,
    }

    async def work(tx: Tx, state: Incident) -> tuple[list[Event], bool]:
        ours = (case.id, todo.name)
        left = [g for g in lease.kept if any((h.incident, h.lease) != ours for h in await tx.holds(grip=g))]
        if len(left) < len(lease.kept):
            # Those for whose sake it was kept let go meanwhile, and left it to us, who are the last.
            return [await _again(tx, case, state, todo, "nobody else holds the rest any more")], False
        for change in plan.changes:
            await tx.drop_hold(change.grip, case.id, todo.name)
        await tx.unreserve(case.id, todo.name)
        await tx.drop_watch(f"{case.id}/{todo.name}")
        return [Event("released", body)], True

    return await case.decide(work)


async def _verify(
    case: Case, todo: Todo, action: type[Action], lease: LeaseState, gone: Collection[str]
) -> Verdict | None:
    """Ask as a client whether what was given back is there again; None where there is nothing to ask about.

    Raises:
        NotEstablished: it does not answer as it has to.
    """
    whole = taken(lease)
    left = whole.model_copy(update={"changes": tuple(c for c in whole.changes if c.target.key not in gone)})
    if not left.changes or lease.kept or lease.plan.irreversible:
        return None
    accepted = case.state.change_accepted(todo.name) or _agreed_to_change(case.state.steps.get(todo.instance))
    known = (await case.parts.given_back.current(case.parts.journal)).beside(left)
    verdict = await within(action.timeout * 3, action.verify_released(known, case.parts.world), "verifying the release")
    if verdict.answer is not Answer.ESTABLISHED:
        # A person saw that the definition is another one and took it on: then it only has to answer.
        wrong = [f for f in verdict.findings if f.answer is not Answer.ESTABLISHED and not (accepted and f.of_approval)]
        if not wrong and verdict.findings:
            return verdict
        seen = "; ".join(f"{finding.check} {finding.subject}: {finding.observed}" for finding in wrong)
        raise NotEstablished(f"what was given back does not answer yet: {seen}")
    return verdict


def _agreed_to_change(step: StepState | None) -> bool:
    """Return whether people were asked about exactly this: whoever approves it then takes the difference on."""
    if step is None or CHANGED not in step.reasons:
        return False
    return len(set(step.approved_by) - {step.requested_by}) >= step.quorum > 0
