"""Containments in force: verified again and again, put back when undone, extended at their end, and given back."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from pydantic import JsonValue

from flows.engine import comparing, deciding, effects, given_back, schedule, writing
from flows.engine.calls import unknown, within
from flows.engine.case import Case, Stopped
from flows.engine.schedule import OURSELVES, Todo, watched
from integrations.journal.store import LostClaim, Tx
from playbooks.action import Action
from playbooks.errors import Drifted, Gone, NotEstablished, SoarError
from playbooks.incident import Phase
from playbooks.journal import Event
from playbooks.plan import EXPOSURE, LET_BE, Answer, Change, Plan, Unapproved, Verdict
from playbooks.policy import CHANGED, RAN_OUT, Decision, Facts, Outcome, Purpose, decide
from playbooks.state import Incident, LeaseState, Progress, ReleaseRequest, StepState
from playbooks.strict import canonical, iso, now

LOG = logging.getLogger("mcp_soar.engine")


async def watch(case: Case) -> None:
    """Verify every lease in force once; put back what was undone, widen what leaks, extend what runs out."""
    await asyncio.gather(*(_watch_one(case, instance) for instance in watched(case.state)))


async def _watch_one(case: Case, instance: str) -> None:
    lease, look = case.state.leases[instance], writing.Look.begins(case)
    action = action_of(case, lease.plan)
    undone, verdict = await _look(case, action, lease.plan)
    asked = case.state.steps[instance].progress in ASKED
    if undone and not lease.has_held and not asked:
        # Nobody undid it: it never came into force, and what was decided is still to be done.
        await effects.persist(case, schedule.step_of(case.state, instance))
    else:
        await _note(case, instance, verdict, undone, look)
        if undone and not asked:
            await effects.put_back(case, schedule.step_of(case.state, instance))
    if lease.in_force and lease.until <= now():
        await _expire(case, instance, lease)


ASKED = {Progress.PROPOSED, Progress.DENIED, Progress.EXPIRED}
"""People were asked about it: until they say yes it is only looked at."""

ACCEPTS = "accepts"
"""The parameter of a release that names the difference which whoever approves it accepts, by its digest."""

ENDED = "it no longer exists, and the same was given back under another id"
_NAMED = 5
"""Things that one sentence names."""

OTHERWISE = "what would come back differs otherwise than when it was asked first"


async def _look(case: Case, action: type[Action], plan: Plan) -> tuple[list[Change], Verdict]:
    """Return the changes of a lease that somebody undid, and whether it is in force."""
    undone: list[Change] = []
    doubt: SoarError | None = None
    for change in plan.changes:
        try:
            if not await _still(case, action, change):
                undone.append(change)
        except Gone:
            # What no longer exists cannot be used; what came in its place is the probe's question.
            continue
        except SoarError as exc:
            doubt = exc
            break
    verdict = await writing.verify(case, action, plan)
    if doubt is not None and verdict.answer is Answer.ESTABLISHED:
        verdict = unknown(plan.summary, doubt)
    return undone, verdict


def action_of(case: Case, plan: Plan) -> type[Action]:
    """Return the class that writes and verifies a plan."""
    found = case.parts.steps[plan.action]
    if not issubclass(found, Action):
        raise TypeError(f"{plan.action} is no action")
    return found


async def _still(case: Case, action: type[Action], change: Change) -> bool:
    current = await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
    return action.holds(change, current)


async def _note(case: Case, instance: str, verdict: Verdict, undone: Sequence[Change], look: writing.Look) -> None:
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
    await case.parts.journal.set_watch(lease=f"{case.id}/{instance}", incident=case.id, verdict=verdict.answer.value)


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
    """Ask whether what will come back is what was approved; `_differences` says how it is not."""
    action = action_of(case, lease.plan)
    differs, _ = await _differences(case, action, restoring(lease, action), taken_on=False)
    return not differs


async def _differences(
    case: Case,
    action: type[Action],
    release: Plan,
    *,
    taken_on: bool,
    shown: Collection[tuple[str, str, str]] | None = None,
) -> tuple[tuple[comparing.Difference, ...], Unapproved | None]:
    """Return how what will come back differs from what was approved, and what of it does; None if nobody can say.

    Args:
        case: the incident.
        action: who gives it back.
        release: the plan.
        taken_on: a person accepts it however it differs, so that nothing asks how.
        shown: what they saw of it, if anything: no other definition that takes its place meanwhile is accepted.
    """
    if taken_on:
        read = await _unapproved(case, action, release)
        otherwise = Unapproved(given_back.unseen(read.back if read else (), shown))
        return comparing.with_released((), otherwise, release, case.parts.world.inventory), read
    found, differs = await asyncio.gather(_unapproved(case, action, release), comparing.differences(case))
    return comparing.with_released(differs, found, release, case.parts.world.inventory), found


# Release


async def release(case: Case, todo: Todo) -> None:
    """Give back exactly what a lease took, unless other incidents still hold it."""
    lease = case.state.leases[todo.name]
    try:
        if lease.releasing is None and not await _intend_release(case, todo, lease):
            return
        await _taken_meanwhile(case, todo)
        await _restore(case, todo, case.state.leases[todo.name])
    except (Stopped, LostClaim):
        raise
    except SoarError as exc:
        await effects.failed(case, todo, exc)


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
            await _intend_release(case, todo, lease, looking=True)
        except (Stopped, LostClaim):
            raise
        except SoarError as exc:
            LOG.info("%s: %s cannot be looked at again: %s", case.id, name, exc)


def _wished(state: Incident, instance: str) -> ReleaseRequest | None:
    """Return the request that asks for a lease's release, or for that of the same thing under its later id."""
    twin = state.given_back_as(instance)
    return state.release_wanted(instance) or (state.release_wanted(twin) if twin else None)


async def _ended(case: Case, action: type[Action], plan: Plan) -> bool:
    try:
        return await _all_gone(case, action, plan)
    except SoarError:
        return False


async def _all_gone(case: Case, action: type[Action], plan: Plan) -> bool:
    """Whether nothing of a plan exists any more."""
    for change in plan.changes:
        try:
            await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
        except Gone:
            continue
        return False
    return True


async def _intend_release(case: Case, todo: Todo, lease: LeaseState, *, looking: bool = False) -> bool:
    """Ask the gate and freeze the release; return whether it may go on.

    Args:
        case: the incident.
        todo: the step.
        lease: what is to be given back.
        looking: people are being asked, and are asked anew only if something is another thing now.
    """
    parts, instance = case.parts, todo.name
    step = case.state.steps.get(todo.instance)
    if step and step.progress is Progress.PROPOSED and step.expires_at and step.expires_at <= now():
        await deciding.lapse(case, todo.instance, ": it stays contained")
        return False
    asked_about = set(case.state.entities)
    action = action_of(case, lease.plan)
    whole = restoring(lease, action)
    ended = case.state.given_back_as(instance) is not None and await _all_gone(case, action, whole)
    taken_on = case.state.change_accepted(instance)
    differs, unapproved = (
        ((), Unapproved())
        if ended
        else await _differences(case, action, whole, taken_on=taken_on, shown=case.state.shown(instance))
    )
    back = unapproved.back if unapproved else ()
    if looking and (unapproved is None or not all(one.known for one in differs)):
        # What could not be found out is no news: what people are being asked stays as it is.
        return False
    unreviewed = await deciding.reviewed_by_nobody(case, whole)

    async def work(tx: Tx, state: Incident) -> tuple[list[Event], bool]:
        wish, step = _wished(state, instance), state.steps.get(todo.instance)
        lease = state.leases[instance]
        asked = step is not None and step.progress is Progress.PROPOSED
        asking = looking and lease.open and lease.releasing is None and (asked or ended)
        due = schedule.release_due(state, instance, now=now(), retries=parts.timing.verify_retries)
        if wish is None or not (due or asking):
            # Somebody said no meanwhile.
            return [], False
        unseen = given_back.unseen(back, state.shown(instance))
        if set(state.entities) != asked_about or (unseen and not differs):
            # What joined meanwhile, or what people accept by now, was not asked about: it comes back to this at once.
            return [], False
        # After a no, whoever asks again is who asks for it now; a person takes over what only a lease's end asked for.
        asker = step.requested_by if step else None
        requester = wish.actor if asker in {None, OURSELVES} else asker
        accepted = state.change_accepted(instance) and not unseen
        plan, kept = await _as_before(tx, case, instance, whole)
        put = step.plan if step and step.progress in schedule.ASKED else None
        plan = given_back.with_unapproved(plan, None if unapproved is None else back, put)
        if differs and not accepted:
            plan = plan.model_copy(update={"params": {**plan.params, ACCEPTS: comparing.mark(differs)}})
        facts = Facts(
            incident_class=state.incident_class,
            severity=state.severity,
            confidence=state.standing("").confidence,
            authenticated=True,
            confirmed=True,
            purpose=Purpose.RELEASE,
            requested_by=None if requester == OURSELVES else requester,
            ran_out=requester == OURSELVES,
            approved_by=deciding.approved_by(case, step, plan),
            clean=accepted or not differs,
            differs=comparing.said(differs),
            # Whoever accepts a definition as it is does not go by the approved one.
            unreviewed=() if accepted else unreviewed,
        )
        decision = decide(plan, parts.policy, facts, parts.world.inventory)
        free = (ENDED,) if ended else _comes_later(case, plan, kept)
        if free and decision.outcome is Outcome.NEEDS_APPROVAL:
            decision = Decision(outcome=Outcome.ALLOW, reasons=free, digest=plan.digest)
        if decision.outcome is not Outcome.ALLOW:
            if asking and step and step.plan and step.plan.digest == plan.digest:
                return [], False
            said = (*given_back.reasons(plan), *_stays(case, plan, kept))
            decision = decision.model_copy(update={"reasons": (*decision.reasons, *said)})
            question = deciding.asked(
                case,
                state,
                todo,
                plan,
                decision,
                epoch=lease.epoch,
                purpose=Purpose.RELEASE,
                requested_by=requester,
                diffs=comparing.diffs(differs, decision.reasons),
            )
            return [_otherwise(question, step, plan)], False
        await _wanted_back(tx, case, instance, plan)
        await _record(tx, case, state, todo, plan, kept=kept, by=_people(requester, *facts.approved_by))
        return [_frozen(case, todo, lease, plan, decision=decision, kept=kept, asker=requester)], True

    return await case.decide(work)


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
    things = given_back.signed_for(plan, state.shown(todo.name), asked=reasons, agreed=agreed)
    await given_back.record(tx, case.id, todo.name, plan, things, kept=kept, by=by)


async def _unapproved(case: Case, action: type[Action], release: Plan) -> Unapproved | None:
    """Return what of a server is not what was approved when something of it comes back; None if nobody can say."""
    known = await case.parts.given_back.current(case.parts.journal)
    try:
        asked = action.unapproved(known.beside(release), case.parts.world)
        return await within(action.timeout, asked, f"reading what {release.action} gives back")
    except LostClaim:
        raise
    except SoarError as exc:
        LOG.warning("%s: what comes back cannot be read: %s", case.id, exc)
        return None


def _people(*names: str | None) -> set[str]:
    """Return those of some names that are a person's: what only a lease's end asked for, nobody decided."""
    return {name for name in names if name and name != OURSELVES}


Kept = dict[str, list[str]]
"""The grips of a release that others hold → those incidents, its own among them if another of its leases does."""


async def _as_before(tx: Tx, case: Case, instance: str, whole: Plan) -> tuple[Plan, Kept]:
    """Return what of a release is given back while others hold some of it, and which grips are held by whom.

    The strictest of those that remain stays in force.
    """
    kept: Kept = {}
    changes: list[Change] = []
    action = action_of(case, whole)
    for change in whole.changes:
        others = [h for h in await tx.holds(grip=change.grip) if (h.incident, h.lease) != (case.id, instance)]
        if others:
            kept[change.grip] = list(dict.fromkeys(hold.incident for hold in others))
            wishes = [change.model_copy(update={"after": hold.after}) for hold in others]
            strictest = next((w.after for w in wishes if all(action.holds(o, w.after) for o in wishes)), change.before)
            ours = change.model_copy(update={"after": change.before})
            # Ours was the strictest: what the others want is less, and is enough now.
            loosened = not action.holds(ours, strictest) and action.holds(wishes[0], change.before)
            changes.append(change.model_copy(update={"after": strictest if loosened else change.before}))
        else:
            changes.append(change)
    # What stays contained comes right after the first: giving that back (a gateway's entry) may have freed it.
    first, *rest = changes
    rest.sort(key=lambda change: change.grip not in kept)
    return whole.model_copy(update={"changes": (first, *rest)}), kept


def _comes_later(case: Case, plan: Plan, kept: Kept) -> tuple[str, ...]:
    """Return why nobody is asked about a release, as a reason; nothing if people are.

    What other leases of the same incident hold comes back with those, and they ask what this one would. Another
    incident's release may ask less: there whoever accepts that a definition differs is asked here.
    """
    if plan.pending or not kept or any(holders != [case.id] for holders in kept.values()):
        return ()
    return ("nothing comes back by it: another cut of this incident holds it too",)


def _stays(case: Case, plan: Plan, kept: Kept) -> tuple[str, ...]:
    """Return what of a release does not come back, and because of whom, a line for each of those."""
    found: dict[str, list[str]] = {}
    for change in plan.changes:
        for holder in kept.get(change.grip, ()):
            who = "another cut of this incident" if holder == case.id else holder
            found.setdefault(who, []).append(str(change.target))
    return tuple(f"{_listed(things)} stays off, because {who} holds it too" for who, things in found.items())


def _listed(things: Sequence[str]) -> str:
    return ", ".join(things[:_NAMED]) + (f" and {len(things) - _NAMED} more" if len(things) > _NAMED else "")


def _otherwise(question: Event, step: StepState | None, plan: Plan) -> Event:
    """Have a question say that what would come back has changed since it was asked."""
    before = _marks(step.plan) if step and step.plan else ()
    if not any(before) or before == _marks(plan) or "differs" not in question.body:
        return question
    told = "; ".join(filter(None, (OTHERWISE, str(question.body["differs"]))))
    return question._replace(body={**question.body, "differs": told})


def _marks(plan: Plan) -> tuple[JsonValue, ...]:
    """Return what tells how what comes back by a release differs from what was approved."""
    return tuple(plan.params.get(name) for name in (ACCEPTS, given_back.UNAPPROVED))


async def _wanted_back(tx: Tx, case: Case, instance: str, plan: Plan) -> None:
    """From here on a grip is wanted as it was: whoever wants to take it now waits until that is done."""
    for change in plan.changes:
        if change.pending:
            await tx.hold(
                change.grip,
                incident=case.id,
                lease=instance,
                server=change.target.server or "",
                before=change.before,
                after=change.after,
            )


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


async def _taken_meanwhile(case: Case, todo: Todo) -> None:
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


async def _restore(case: Case, todo: Todo, lease: LeaseState) -> None:
    plan = lease.releasing
    if plan is None:
        return
    action = action_of(case, plan)
    writes, gone = await _write_back(case, action, lease, plan)
    verdict: Verdict | None = None
    whole = taken(lease)
    left = whole.model_copy(update={"changes": tuple(c for c in whole.changes if c.target.key not in gone)})
    if left.changes and not lease.kept and not lease.plan.irreversible:
        accepted = case.state.change_accepted(todo.name) or _agreed_to_change(case.state.steps.get(todo.instance))
        verdict = await _verify_released(case, action, left, accepted=accepted)
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

    if not await case.decide(work):
        await _restore(case, todo, case.state.leases[todo.name])


async def _again(tx: Tx, case: Case, state: Incident, todo: Todo, reason: str) -> Event:
    """Freeze a release anew, of as much as others leave to it now; each part was asked for and agreed to."""
    lease = state.leases[todo.name]
    plan, kept = await _as_before(tx, case, todo.name, restoring(lease, action_of(case, lease.plan)))
    if lease.releasing is not None:
        plan = plan.model_copy(update={"params": lease.releasing.params})
    await _wanted_back(tx, case, todo.name, plan)
    step = state.steps.get(todo.instance)
    by = _people(lease.released_by, *(step.approved_by if step else ()))
    await _record(tx, case, state, todo, plan, kept=kept, by=by)
    decision = Decision(outcome=Outcome.ALLOW, reasons=(reason,), digest=plan.digest)
    return _frozen(case, todo, lease, plan, decision=decision, kept=kept, asker=lease.released_by)


def _agreed_to_change(step: StepState | None) -> bool:
    """Return whether people were asked about exactly this: whoever approves it then takes the difference on."""
    if step is None or CHANGED not in step.reasons:
        return False
    return len(set(step.approved_by) - {step.requested_by}) >= step.quorum > 0


async def _verify_released(case: Case, action: type[Action], plan: Plan, *, accepted: bool) -> Verdict:
    known = (await case.parts.given_back.current(case.parts.journal)).beside(plan)
    verdict = await within(action.timeout * 3, action.verify_released(known, case.parts.world), "verifying the release")
    if verdict.answer is not Answer.ESTABLISHED:
        # A person saw that the definition is another one and took it on: then it only has to answer.
        taken_on = {"definition", "exposure"} if accepted else set()
        wrong = [f for f in verdict.findings if f.answer is not Answer.ESTABLISHED and f.check not in taken_on]
        if not wrong and verdict.findings:
            return verdict
        seen = "; ".join(f"{finding.check} {finding.subject}: {finding.observed}" for finding in wrong)
        raise NotEstablished(f"what was given back does not answer yet: {seen}")
    return verdict


async def _write_back(
    case: Case, action: type[Action], lease: LeaseState, plan: Plan
) -> tuple[list[dict[str, str]], set[str]]:
    """Write what is not yet as it was; everything is compared before the first write.

    Args:
        case: the incident.
        action: who reads and writes.
        lease: what is given back.
        plan: the release.

    Returns:
        What was written, and the keys of the targets that no longer exist: they need nothing back.
    """
    gone: set[str] = set()
    for change in plan.changes:
        try:
            value = await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
        except Gone:
            gone.add(change.target.key)
            continue
        current = canonical(value)
        if current != canonical(change.before) and not _back(action, change, value, lease.kept):
            raise Drifted(f"{change.target}: {change.field} is {current.decode()}; the release knows only {change}")
    writes: list[dict[str, str]] = []
    for change in plan.changes:
        try:
            # Read again: giving back one object (a gateway's entry) may have changed others (its tools), or ended them.
            value = await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
        except Gone:
            gone.add(change.target.key)
            continue
        loosens = change.pending and canonical(value) == canonical(change.before)
        if loosens or not _back(action, change, value, lease.kept):
            async with writing.turn(case, action, change, case.parts.timing.turn):
                await case.outlast(action.timeout)
                if lease.released_by == OURSELVES:
                    # No person asked for it, so the kill switch stops it.
                    await case.check_stop()
                key, world = lease.release_key, case.parts.world
                await within(action.timeout, action.write(change, world, key=key), f"writing {change}")
            writes.append({"change": str(change), "at": iso(now())})
    await _stands(case, action, lease, plan, gone)
    return writes, gone


def _back(action: type[Action], change: Change, value: JsonValue, kept: Sequence[str]) -> bool:
    """Whether a field is as it is to be after a release; what others hold may be stricter than that."""
    return action.holds(change, value) if change.grip in kept else canonical(value) == canonical(change.after)


async def _stands(case: Case, action: type[Action], lease: LeaseState, plan: Plan, gone: set[str]) -> None:
    """Read back what was given back: a later write may have undone an earlier one, and an answer is no proof.

    Raises:
        NotEstablished: if something is not as it was; writing it again is tried.
    """
    for change in plan.changes:
        if change.target.key in gone:
            continue
        try:
            value = await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
        except Gone:
            gone.add(change.target.key)
            continue
        if not _back(action, change, value, lease.kept):
            raise NotEstablished(f"{change.target}: {change.field} is {canonical(value).decode()} after {change}")
