"""Deciding on a plan: ask the gate and, in the same transaction, freeze the intent; or ask people, or say no."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from flows.engine import calls, given_back, joining, schedule
from flows.engine.case import PREFIX, Case, Stopped
from flows.engine.people import approvals
from flows.engine.schedule import Todo
from integrations.journal.records import Hold
from integrations.journal.store import Tampered, Tx
from playbooks.action import Action
from playbooks.errors import Refused, Transient, Unneeded
from playbooks.gate.corroboration import DESCRIBES
from playbooks.gate.plan import Change, Plan, Radius, Verdict
from playbooks.gate.policy import Decision, Facts, Outcome, Purpose, Reservation, decide
from playbooks.record.incident import Confidence
from playbooks.record.journal import Event
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.step import No, Progress, StepState
from playbooks.strict import Json, canonical, digest, iso, now
from playbooks.text.sentences import say

SAID_NO = frozenset({Progress.DENIED, Progress.EXPIRED})
"""Where a question ended with a no, or with none, which is no."""


async def intend(
    case: Case,
    todo: Todo,
    plan: Plan,
    *,
    epoch: int,
    purpose: Purpose,
    first: Sequence[Event] = (),
) -> bool:
    """Ask the gate and, in the same transaction, freeze the intent with its holds and its reservation.

    Args:
        case: the incident.
        todo: the step.
        plan: what would be done.
        epoch: 1 for the first time, one more for each put-back.
        purpose: contain or put back.
        first: what was found out on the way and is recorded along with it.

    Returns:
        Whether it is to be carried out.

    Raises:
        Stopped: if the kill switch is on.
    """
    parts = case.parts
    so_far = parts.reviews.so_far(parts.world.inventory, parts.policy, plan)

    async def work(tx: Tx, state: Incident) -> tuple[Sequence[Event], bool]:
        if await tx.closed(case.stream):
            # Somebody closed it while this was being planned: nobody would watch over what is begun now.
            raise Refused(f"{case.id} was closed meanwhile")
        for stop in await tx.stops():
            if stop.scope in state.scopes:
                raise Stopped(f"stopped for {stop.scope} by {stop.by}: {stop.reason}")
        if not _wanted(case, state, todo, purpose):
            # Somebody said no, or what it was for is over.
            return first, False
        step = state.steps.get(todo.instance)
        left = await _is_left(tx, step, plan)
        unreviewed = await parts.reviews.in_decision(tx, so_far)
        decision, facts = await _judged(
            tx, case, state, todo, plan, purpose=purpose, first=first, unreviewed=unreviewed, left=left
        )
        no = state.refused(plan) if purpose is Purpose.CONTAIN and decision.outcome is not Outcome.DENY else None
        if no is not None:
            return [*first, _held_back(todo, plan, no)], False
        if decision.outcome is not Outcome.ALLOW:
            # After a no, whoever asks again is who asks for it now.
            requester = facts.requested_by or state.asked_for_by(todo.entity) or state.requested_by
            waits = left and step is not None and step.progress is Progress.PROPOSED
            put = step.plan if waits and step and step.plan else plan
            question = asked(case, state, todo, put, decision, epoch=epoch, purpose=purpose, requested_by=requester)
            return [*first, question], False
        originals = await _taken(tx, case, todo, plan, decision)
        if not decision.automatic and facts.approved_by and step and step.plan:
            # Whatever is left of it to do: what was said yes to is done once.
            await tx.use_once("approval", f"{case.id}/{todo.instance}/{epoch}/{step.plan.digest}/{step.asked_seq}")
            if step.plan.digest != plan.digest:
                part = f"it is what is left to do of the plan {step.plan.digest[7:19]}, which they approved"
                decision = decision.model_copy(update={"reasons": (*decision.reasons, part)})
        body = {
            "instance": todo.instance,
            "phase": todo.phase.value,
            "action": plan.action,
            "attempt": step.attempt if step else 0,
            "epoch": epoch,
            "key": key_of(case.id, epoch, plan),
            "plan": plan.model_dump(mode="json"),
            "decision": decision.model_dump(mode="json"),
            "until": iso(now() + timedelta(seconds=todo.lease)),
            "purpose": purpose.value,
            "originals": originals,
            "entity": todo.entity,
        }
        return [*first, Event("intended", body)], True

    return await case.decide(work)


async def _is_left(tx: Tx, step: StepState | None, plan: Plan) -> bool:
    """Whether a plan is the one that a step asks about, or what is left to do of that: we hold the rest already.

    What is given back one day is then what was shown, too. What an operator took away meanwhile would not come back.

    Args:
        tx: the transaction that it is decided in.
        step: the step as it stands.
        plan: what would be done now.
    """
    if step is None or step.plan is None or not step.plan.covers(plan):
        return False
    if plan.irreversible:
        # Nothing of it is ever given back, whoever did a part of it meanwhile.
        return True
    shown = {change.grip: change.before for change in step.plan.changes}
    for change in plan.changes:
        was = canonical(shown[change.grip])
        if canonical(change.before) != was and not any(
            canonical(hold.after) == canonical(change.after) and canonical(hold.original) == was
            for hold in await tx.holds(grip=change.grip)
        ):
            return False
    return True


def _held_back(todo: Todo, plan: Plan, no: No) -> Event:
    """Return what is recorded of a plan that people said no to when another step asked: nobody is asked again."""
    reason = f"{no}; it is asked again when a person asks for it (`mcp-soar respond`)"
    reason += ", or when something gets through that was not known then" if no.wide else ""
    body: dict[str, Json] = {"instance": todo.instance, "phase": todo.phase.value, "reason": reason}
    body |= {"awaits": [], "no": plan.digest}
    return Event("skipped", body)


def _wanted(case: Case, state: Incident, todo: Todo, purpose: Purpose) -> bool:
    """Whether what was planned is still to be done, now that the gate is asked."""
    step, lease = state.steps.get(todo.instance), state.leases.get(todo.instance)
    if purpose is Purpose.PUT_BACK and (lease is None or not lease.open or lease.releasing is not None):
        return False
    if purpose is Purpose.PUT_BACK and (step is None or step.progress is not Progress.APPROVED):
        return step is None or step.progress not in {*SAID_NO, Progress.PROPOSED}
    return _still(case, state, todo)


def _still(case: Case, state: Incident, todo: Todo) -> bool:
    """Whether the playbook still wants a step, as things stand."""
    playbook, parts = case.playbook, case.parts
    waits = parts.timing.verify_retries
    return playbook is not None and schedule.wanted(
        state, playbook, todo, places=parts.places, now=now(), retries=waits
    )


async def _judged(
    tx: Tx,
    case: Case,
    state: Incident,
    todo: Todo,
    plan: Plan,
    *,
    purpose: Purpose,
    first: Sequence[Event],
    unreviewed: tuple[str, ...],
    left: bool,
) -> tuple[Decision, Facts]:
    """Ask the gate, with all that is known in this transaction."""
    parts, step, lease = case.parts, state.steps.get(todo.instance), state.leases.get(todo.instance)
    standing = state.standing(todo.entity, also=map(verdict_of, first), itself=todo.named)
    # What the watch found beyond the approved pins is a fact of our own, unless it only describes.
    widening = state.widenings.get(todo.instance)
    # A widening is about more than what anybody named, whatever it is filed under.
    by_hand = widening is None and todo.entity in state.by_hand
    started = widening is None and todo.entity in state.chosen and not by_hand
    confirmed = standing.confirmed if widening is None else not widening.describes
    again = state.asked_again.get(plan.digest) if purpose is Purpose.CONTAIN else None
    asker = again.by if again else step.requested_by if step else None
    put_backs = lease.put_backs if lease and lease.open else 0
    spent = put_backs >= parts.policy.lease.put_backs and _spent(step, purpose)
    facts = Facts(
        incident_class=state.incident_class,
        severity=standing.severity,
        confidence=standing.confidence,
        authenticated=standing.authenticated,
        confirmed=confirmed,
        missing=DESCRIBES if widening else standing.missing,
        unreviewed=() if started else unreviewed,
        purpose=purpose,
        put_backs=put_backs,
        requested_by=asker,
        approved_by=() if spent else approved_by(case, step, plan, left=left),
        chosen=state.asked_for_by(todo.entity) is not None,
    )
    reserved = tuple(
        Reservation(incident=item.incident, target=item.target, radius=Radius(item.radius), age=item.age)
        for item in await tx.reserved()
    )
    decision = decide(plan, parts.policy, facts, parts.world.inventory, reserved)
    if by_hand and decision.outcome is Outcome.NEEDS_APPROVAL:
        # What the alerts alone do not carry, a person asked for: that is what the next one answers.
        facts = facts.model_copy(update=_word(state))
        decision = decide(plan, parts.policy, facts, parts.world.inventory, reserved)
    if again is not None and decision.outcome is Outcome.ALLOW and decision.automatic:
        decision = _by_people(case, plan, decision, facts=facts, because="after a no another person has to agree")
    asks = decision.outcome is Outcome.NEEDS_APPROVAL and purpose is Purpose.CONTAIN
    # It changes nothing, and was agreed to where it was decided.
    if asks and (holders := await joining.held_by_parts(tx, state, plan)):
        decision = Decision(outcome=Outcome.ALLOW, reasons=(holders,), digest=plan.digest)
    return _evidence_first(case, state, todo, plan, decision=decision, facts=facts), facts


def _word(state: Incident) -> dict[str, Any]:
    """Return what is known of a thing by the word of a person who has it contained: nothing is automatic on it."""
    known = {"authenticated": True, "confirmed": True, "missing": "", "unreviewed": (), "by_hand": True}
    return {**known, "confidence": Confidence.HIGH, "severity": state.severity}


async def _taken(tx: Tx, case: Case, todo: Todo, plan: Plan, decision: Decision) -> dict[str, Any]:
    """Take a plan's holds and reserve its blast radius; return what the first hold on each grip found there."""
    originals: dict[str, Any] = {}
    action: type[Action] = type(calls.build(case, todo.name, todo.params))
    for change in plan.changes:
        await _among_others(tx, case, action, change, todo.instance)
        originals[change.grip] = await tx.hold(
            change.grip,
            incident=case.id,
            lease=todo.instance,
            server=change.target.server or "",
            before=change.before,
            after=change.after,
        )
    await given_back.over(tx, case.id, todo.instance, plan)
    for target in plan.things if decision.automatic else ():
        await tx.reserve(
            incident=case.id,
            step=todo.instance,
            target=target.thing,
            server=target.server or "",
            radius=plan.radius.written,
        )
    return originals


async def _among_others(tx: Tx, case: Case, action: type[Action], change: Change, lease: str) -> None:
    """See that a field can be taken beside others who hold it at another value: the strictest wins.

    Raises:
        Transient: while another is just giving this very field back, or both would undo each other's work; and where
            nobody can say which of two values is the stricter one.
    """
    for hold in await tx.holds(grip=change.grip):
        if (hold.incident, hold.lease) == (case.id, lease) or canonical(hold.after) == canonical(change.after):
            continue
        release = await _release_of(tx, hold)
        if release is not None and _under_way(release):
            raise Transient(f"{hold.incident} is just giving back {change.target}; it is taken when that is done")
        theirs = change.model_copy(update={"after": hold.after})
        known = action.holds(change, hold.after) or action.holds(theirs, change.after)
        if not known and release is None:
            values = f"{canonical(hold.after).decode()}, and {canonical(change.after).decode()} is wanted here"
            raise Transient(
                f"{hold.incident} holds {change.field} of {change.target} at {values}: nobody can say which is the "
                f"stricter one; release it there, or deny this"
            )


def _under_way(release: StepState) -> bool:
    """Whether a release may be writing at this moment; one that broke off looks again before it goes on."""
    waits = release.progress is Progress.RETRYING and release.retry_at is not None and release.retry_at > now()
    return release.progress in {Progress.INTENDED, Progress.RETRYING} and not waits


async def _release_of(tx: Tx, hold: Hold) -> StepState | None:
    """Return the release that was decided of a hold's lease, if one was and it is not done."""
    stream = f"{PREFIX}{hold.incident}"
    row = await tx.stream(stream)
    if row is None or row.frozen:
        return None
    try:
        state = project(hold.incident, await tx.read(stream))
    except Tampered:
        # Nothing goes on there.
        return None
    lease = state.leases.get(hold.lease)
    return state.steps.get(schedule.release_of(hold.lease)) if lease and lease.releasing else None


def key_of(incident: str, epoch: int, plan: Plan) -> str:
    """Return the idempotency key of an effect: the same for every attempt at it, another for every put-back."""
    targets: Any = [target.key for target in plan.targets]
    return digest([incident, epoch, plan.action, targets, [change.after for change in plan.changes]])


def verdict_of(event: Event) -> Verdict:
    """Return what an entry says that a question came to."""
    return Verdict.model_validate(event.body["verdict"])


def approved_by(case: Case, step: StepState | None, plan: Plan, *, left: bool = False) -> tuple[str, ...]:
    """Return whose approvals of a plan count now.

    Args:
        case: the incident.
        step: whose approvals they are.
        plan: what would be done.
        left: it is what is left to do of what they approved.
    """
    # An approval is bound to the digest: if the world changed and the plan with it, nobody has approved this one.
    if step is None or step.plan is None or (step.plan.digest != plan.digest and not left):
        return ()
    return approvals.counting(case.parts, step)


def _spent(step: StepState | None, purpose: Purpose) -> bool:
    """Whether all that people ever agreed to of a step is done: putting it back once more is a question of its own."""
    return purpose is Purpose.PUT_BACK and not (step and step.progress in {Progress.PROPOSED, Progress.APPROVED})


def _unsealed(case: Case, state: Incident, todo: Todo, plan: Plan) -> dict[str, str]:
    """Return the evidence about its targets that a plan would destroy and that is not kept.

    What was kept of one server is no evidence of another: each capture has to be sealed that collects a kind about
    what the plan touches.

    Returns:
        The step that collects it → its kind. Where none does, the kind stands for both: nobody ever seals that.
    """
    playbook = case.playbook
    if playbook is None or playbook.contain_first:
        return {}
    servers = {target.server for target in plan.targets if target.server}
    found: dict[str, str] = {}
    for kind in plan.destroys:
        makers = [step for _, step in playbook.steps() if step.capture and _makes(case, step.capture) == kind]
        makes = {
            state.instance_of(step.id, entity): kind
            for step in makers
            for entity in schedule.runs_for(state, step, case.parts.places)
            if schedule.concerns(entity, todo.entity, servers)
        }
        found |= makes or {f"{kind}@{todo.entity}": kind}
    sealed = {name for name, step in state.steps.items() if step.progress is Progress.SEALED}
    return {name: kind for name, kind in found.items() if name not in sealed}


def _makes(case: Case, capture: str) -> str | None:
    """Return the kind of exhibit that a registered capture makes."""
    return getattr(case.parts.steps.get(capture), "exhibit", None)


def _evidence_first(
    case: Case, state: Incident, todo: Todo, plan: Plan, *, decision: Decision, facts: Facts
) -> Decision:
    """Refuse what would destroy evidence that is neither sealed nor recorded as unavailable."""
    missing = _unsealed(case, state, todo, plan)
    if not missing:
        return decision
    if lost := schedule.uncollected(state, missing):
        reason = f"it would destroy evidence that is not sealed yet: {_named(missing, lost)}"
        return decision.model_copy(update={"outcome": Outcome.DENY, "reasons": (*decision.reasons, reason)})
    if decision.outcome is Outcome.ALLOW and decision.automatic:
        reason = f"it would destroy evidence that could not be collected: {_named(missing, missing)}"
        return _by_people(case, plan, decision, facts=facts, because=reason)
    return decision


def _by_people(case: Case, plan: Plan, decision: Decision, *, facts: Facts, because: str) -> Decision:
    """Return what the gate would do by itself as something that people decide on."""
    quorum = case.parts.policy.approval.needed(plan.radius)
    agreed = sorted(set(facts.approved_by) - {facts.requested_by})
    if len(agreed) >= quorum:
        return decision.model_copy(update={"reasons": (f"approved by {', '.join(agreed)}",), "automatic": False})
    needs = {"outcome": Outcome.NEEDS_APPROVAL, "reasons": (because,), "quorum": quorum, "automatic": False}
    return decision.model_copy(update=needs)


def _named(kinds: Mapping[str, str], steps: Iterable[str]) -> str:
    """Return pieces of evidence in words: what, and which step collects it about what."""
    return ", ".join(f"{kinds[step]} ({step})" for step in steps)


def asked(
    case: Case,
    state: Incident,
    todo: Todo,
    plan: Plan,
    decision: Decision,
    *,
    epoch: int,
    purpose: Purpose,
    requested_by: str | None,
    diffs: Sequence[Json] = (),
) -> Event:
    """Return what is recorded of a plan that the gate did not let pass: a question to people, or a no."""
    if decision.outcome is Outcome.DENY:
        reason = f"the gate denies it: {'; '.join(decision.reasons)}"
        awaits = schedule.uncollected(state, _unsealed(case, state, todo, plan))
        skipped = {"instance": todo.instance, "phase": todo.phase.value, "reason": reason, "awaits": awaits}
        return Event("skipped", skipped)
    step = state.steps.get(todo.instance)
    expires = now() + timedelta(seconds=case.parts.policy.approval.expires)
    if step and step.progress is Progress.PROPOSED and step.plan and step.plan.digest == plan.digest:
        # Asked again for the sake of some news, it is the same question: its time runs on.
        expires = step.expires_at or expires
    spent = _spent(step, purpose)
    counted = () if spent else approved_by(case, step, plan)
    same = step is not None and step.plan is not None and step.plan.digest == plan.digest
    lost = [name for name in step.approved_by if name not in counted] if step and same and not spent else []
    reasons = [*decision.reasons, *(f"{name} approved it, and is no approver any more" for name in lost)]
    if (no := state.noes.get(plan.digest)) is not None and (new := sorted(state.since(no))):
        found = "; ".join(f"{check} of {subject}" + (f": {what}" if what else "") for check, subject, what in new)
        reasons.append(f"{no}. Since then gets through: {found}"[:2000])
    if purpose is Purpose.CONTAIN and (again := state.asked_again.get(plan.digest)) is not None:
        reasons.append(str(again))
    body = {
        "instance": todo.instance,
        "phase": todo.phase.value,
        "epoch": epoch,
        "plan": plan.model_dump(mode="json"),
        "reasons": reasons,
        "quorum": decision.quorum,
        "expires_at": iso(expires),
        "purpose": purpose.value,
        "requested_by": requested_by,
        "differs": _differs((step.plan or step.former) if step else None, plan),
        "approved_by": list(counted),
        "entity": todo.entity,
        **({"diffs": list(diffs)} if diffs else {}),
    }
    return Event("proposed", body)


def _differs(before: Plan | None, after: Plan) -> str:
    if before is None or before.digest == after.digest:
        return ""
    old, new = ({str(change) for change in plan.changes} for plan in (before, after))
    return "; ".join(
        [*(say("no longer: {a}", a=c) for c in sorted(old - new)), *(say("now: {a}", a=c) for c in sorted(new - old))]
    )


async def lapse(case: Case, instance: str, kept: str = "") -> None:
    """Record that nobody decided on a step in time, unless somebody does so in this very moment.

    Args:
        case: the incident.
        instance: the step.
        kept: what follows from that, for people.
    """

    async def work(_: Tx, state: Incident) -> tuple[Sequence[Event], None]:
        step = state.steps[instance]
        if step.progress is not Progress.PROPOSED or step.expires_at is None or step.expires_at > now():
            return [], None
        why = f"the approval was not given in time, which counts as no{kept}"
        return [
            Event("lapsed", {"instance": instance, "digest": step.plan.digest if step.plan else "", "why": why})
        ], None

    await case.decide(work)


async def moot(case: Case, todo: Todo) -> None:
    """Take back a question that is answered otherwise by now; a no that was said to it stays."""

    async def work(_: Tx, state: Incident) -> tuple[Sequence[Event], None]:
        if not _still(case, state, todo):
            return [], None
        return [Event("skipped", {"instance": todo.instance, "phase": todo.phase.value, "reason": todo.name})], None

    await case.decide(work)


async def nowhere(case: Case, todo: Todo) -> None:
    """Record that a step is not done for something, because that has no place where it acts."""
    body = {"instance": todo.instance, "phase": todo.phase.value, "reason": todo.name, "nowhere": True}
    await case.record(Event("skipped", body))


async def unneeded(case: Case, todo: Todo, because: Unneeded) -> None:
    """Record that a step has nothing to do for something, and why nothing is missing there."""
    body = {"instance": todo.instance, "phase": todo.phase.value, "reason": str(because)}
    await case.record(Event("skipped", body))
