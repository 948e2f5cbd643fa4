"""Carrying out an action: plan, ask the gate, freeze the intent, write, verify; and finishing what a dead one began.

The order is what everything rests on: the frozen plan is durable before the first write, and nothing counts as done
because an API said so.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from flows.engine import approvals, schedule
from flows.engine.case import PREFIX, Case, Stopped, scopes
from flows.engine.schedule import MOOT, Todo
from integrations.journal.records import Hold
from integrations.journal.store import LostClaim, Tampered, Tx
from playbooks.action import Action, Check
from playbooks.corroboration import DESCRIBES
from playbooks.errors import (
    Drifted,
    Misconfigured,
    NotEstablished,
    PartiallyApplied,
    Refused,
    SoarError,
    Transient,
    Unforeseen,
)
from playbooks.journal import Event
from playbooks.plan import Answer, Change, Finding, Plan, Radius, Verdict
from playbooks.policy import Decision, Facts, Outcome, Purpose, Reservation, decide
from playbooks.projection import project
from playbooks.state import Incident, Progress, StepState
from playbooks.strict import Json, canonical, digest, iso, now

T = TypeVar("T")
LOG = logging.getLogger("mcp_soar.engine")


SAID_NO = frozenset({Progress.DENIED, Progress.EXPIRED})
"""Where a question ended with a no, or with none, which is no."""

CONFIRM_ATTEMPTS = 2
"""How often a confirmation that could not be asked for is tried again before people are asked instead."""


class Written(NamedTuple):
    """What carrying out a plan did.

    Args:
        writes: the changes that this process wrote, with when.
        found: those that were already so.
    """

    writes: list[dict[str, Any]]
    found: list[str]


class Look(NamedTuple):
    """When somebody began to look at the world.

    Args:
        since: the moment.
        after: the last entry that was known then; what holds by a later one was not yet seen.
    """

    since: datetime
    after: int

    @classmethod
    def begins(cls, case: Case) -> "Look":
        """Return the present moment of an incident."""
        return cls(now(), case.state.seq)

    @property
    def body(self) -> dict[str, Json]:
        """The fields of the entry that says what was seen."""
        return {"since": iso(self.since), "after": self.after}


async def within(seconds: float, call: Awaitable[T], what: str) -> T:
    """Await an outside system, but not for longer than that.

    Raises:
        Transient: when it takes longer.
        Unforeseen: when our own code falls over what it said.
    """
    try:
        async with asyncio.timeout(seconds):
            return await call
    except TimeoutError as exc:
        raise Transient(f"{what} took longer than {seconds:g} s") from exc
    except SoarError:
        raise
    except Exception as exc:
        # Whoever chooses what is read chooses what it breaks: here it costs its own question, and nothing beside it.
        LOG.exception("%s: what came back is more than we can read", what)
        raise Unforeseen(f"{what}: what came back is more than we can read ({type(exc).__name__})") from exc


def build(case: Case, name: str, params: Sequence[tuple[str, Any]]) -> Any:  # noqa: ANN401  # an Action, a Capture or a Check, by name
    """Return the step that a name and its parameters mean.

    Raises:
        Misconfigured: if there is none of that name, or it takes other parameters.
    """
    kind = case.parts.steps.get(name)
    if kind is None:
        raise Misconfigured(f"no action, capture or check is called {name!r}")
    try:
        return kind.model_validate(dict(params))
    except ValidationError as exc:
        raise Misconfigured(f"{name} does not take these parameters: {exc.errors(include_url=False)}") from exc


async def act(case: Case, todo: Todo) -> None:
    """Bring one containment into force, from wherever the journal says it stands."""
    step = case.state.steps.get(todo.instance)
    try:
        action: Action = build(case, todo.name, todo.params)
        if step and step.progress is Progress.PROPOSED and step.expires_at and step.expires_at <= now():
            await lapse(case, todo.instance)
        elif step and step.plan and step.intended_at and step.progress not in {Progress.APPROVED, Progress.PROPOSED}:
            # An intent is on record. Whoever wrote it may have died at any point after: finish that same plan.
            await _finish(case, action, step)
        else:
            await _begin(case, todo, action, step)
    except (Stopped, LostClaim):
        raise
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
        "action": todo.name,
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
    plan, events = await asyncio.gather(
        within(action.timeout, action.plan(case.parts.world), f"planning {todo.name}"), confirm(case, todo)
    )
    read_at = time.monotonic()
    if any(_answer(event) is Answer.UNKNOWN for event in events) and (step.attempt if step else 0) < CONFIRM_ATTEMPTS:
        raise Transient("our own confirmation of the alert could not be asked for")
    await case.outlast(action.timeout)
    if await intend(case, todo, plan, epoch=epoch, purpose=purpose, first=events):
        await carry_out(case, type(action), case.state.steps[todo.instance], plan, read_at=read_at)


async def put_back(case: Case, todo: Todo) -> None:
    """Bring a containment that somebody undid into force again: a new epoch, through the gate."""
    action: Action = build(case, todo.name, todo.params)
    try:
        plan = await within(action.timeout, action.plan(case.parts.world), f"planning {todo.name}")
        read_at = time.monotonic()
        await case.outlast(action.timeout)
        epoch = case.state.leases[todo.instance].epoch + 1
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
        await carry_out(case, type(action), case.state.steps[todo.instance], plan, read_at=read_at)
    except Stopped:
        return
    except LostClaim:
        raise
    except SoarError as exc:
        await failed(case, todo, exc)


async def persist(case: Case, todo: Todo) -> None:
    """Try once more to bring into force what was decided and never held; say so when that makes a difference."""
    step, lease = case.state.steps[todo.instance], case.state.leases[todo.instance]
    action: type[Action] = type(build(case, todo.name, todo.params))
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
        await settled(case, lease.plan, verdict, Event("wrote", body), _verified(step, verdict, step.attempt, look))
    if not lease.open:
        return
    watch = {"lease": f"{case.id}/{todo.instance}", "incident": case.id}
    await case.parts.journal.set_watch(**watch, verdict=verdict.answer.value)


async def intend(
    case: Case, todo: Todo, plan: Plan, *, epoch: int, purpose: Purpose, first: Sequence[Event] = ()
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
    unreviewed = await reviewed_by_nobody(case, plan)

    async def work(tx: Tx, state: Incident) -> tuple[Sequence[Event], bool]:
        row = await tx.stream(case.stream)
        if row is not None and row.closed_at is not None:
            # Somebody closed it while this was being planned: nobody would watch over what is begun now.
            raise Refused(f"{case.id} was closed meanwhile")
        for stop in await tx.stops():
            if stop.scope in scopes(state):
                raise Stopped(f"stopped for {stop.scope} by {stop.by}: {stop.reason}")
        if not _wanted(case, state, todo, purpose):
            # Somebody said no, or what it was for is over.
            return first, False
        unproven = () if state.requested_by else unreviewed
        decision, facts = await _judged(tx, case, state, todo, plan, purpose=purpose, first=first, unreviewed=unproven)
        step = state.steps.get(todo.instance)
        if decision.outcome is not Outcome.ALLOW:
            # After a no, whoever asks again is who asks for it now.
            requester = (step.requested_by if step else None) or state.requested_by
            question = asked(case, state, todo, plan, decision, epoch=epoch, purpose=purpose, requested_by=requester)
            return [*first, question], False
        originals = await _taken(tx, case, todo, plan, decision)
        if not decision.automatic and facts.approved_by:
            await tx.use_once(
                "approval", f"{case.id}/{todo.instance}/{epoch}/{plan.digest}/{step.asked_seq if step else 0}"
            )
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


def _wanted(case: Case, state: Incident, todo: Todo, purpose: Purpose) -> bool:
    """Whether what was planned is still to be done, now that the gate is asked."""
    step, lease = state.steps.get(todo.instance), state.leases.get(todo.instance)
    if purpose is Purpose.PUT_BACK and (lease is None or not lease.open or lease.releasing is not None):
        return False
    if purpose is Purpose.PUT_BACK and (step is None or step.progress is not Progress.APPROVED):
        return step is None or step.progress not in {*SAID_NO, Progress.PROPOSED}
    if case.playbook is None:
        return False
    return schedule.wanted(state, case.playbook, todo, now=now(), retries=case.parts.timing.verify_retries)


async def reviewed_by_nobody(case: Case, plan: Plan) -> tuple[str, ...]:
    """Return which approved definitions a plan rests on that nobody who may review has signed for, each with why."""
    parts = case.parts
    return await parts.reviews.lacking(parts.journal, parts.world.inventory, parts.policy, plan)


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
) -> tuple[Decision, Facts]:
    """Ask the gate, with all that is known in this transaction."""
    parts, step, lease = case.parts, state.steps.get(todo.instance), state.leases.get(todo.instance)
    standing = state.standing(todo.entity, also=map(_verdict, first), itself=todo.named)
    # What the watch found beyond the approved pins is a fact of our own, unless it only describes.
    widening = state.widenings.get(todo.instance)
    confirmed = standing.confirmed if widening is None else not widening.describes
    facts = Facts(
        incident_class=state.incident_class,
        severity=standing.severity,
        confidence=standing.confidence,
        authenticated=standing.authenticated,
        confirmed=confirmed,
        missing=DESCRIBES if widening else standing.missing,
        unreviewed=unreviewed,
        purpose=purpose,
        put_backs=lease.put_backs if lease else 0,
        requested_by=step.requested_by if step else None,
        approved_by=approved_by(case, step, plan),
    )
    clock = await tx.clock()
    reserved = tuple(
        Reservation(incident=item.incident, target=item.target, radius=Radius(item.radius), age=clock - item.at)
        for item in await tx.reserved()
    )
    decision = decide(plan, parts.policy, facts, parts.world.inventory, reserved)
    return _evidence_first(case, state, todo, plan, decision=decision, facts=facts), facts


async def _taken(tx: Tx, case: Case, todo: Todo, plan: Plan, decision: Decision) -> dict[str, Any]:
    """Take a plan's holds and reserve its blast radius; return what the first hold on each grip found there."""
    originals: dict[str, Any] = {}
    action: type[Action] = type(build(case, todo.name, todo.params))
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
    for target in plan.targets if decision.automatic else ():
        await tx.reserve(
            incident=case.id,
            step=todo.instance,
            target=target.thing,
            server=target.server or "",
            radius=int(plan.radius),
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


def _verdict(event: Event) -> Verdict:
    return Verdict.model_validate(event.body["verdict"])


def _answer(event: Event) -> Answer:
    return _verdict(event).answer


def approved_by(case: Case, step: StepState | None, plan: Plan) -> tuple[str, ...]:
    """Return whose approvals of a plan count now."""
    # An approval is bound to the digest: if the world changed and the plan with it, nobody has approved this one.
    if step is None or step.plan is None or step.plan.digest != plan.digest:
        return ()
    return approvals.counting(case.parts, step)


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
            for entity in schedule.runs_for(state, step)
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
        quorum = case.parts.policy.approval.needed(plan.radius)
        agreed = sorted(set(facts.approved_by) - {facts.requested_by})
        if len(agreed) >= quorum:
            return decision.model_copy(update={"reasons": (f"approved by {', '.join(agreed)}",), "automatic": False})
        reason = f"it would destroy evidence that could not be collected: {_named(missing, missing)}"
        return decision.model_copy(
            update={
                "outcome": Outcome.NEEDS_APPROVAL,
                "reasons": (reason,),
                "quorum": quorum,
                "automatic": False,
            }
        )
    return decision


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
    counted = approved_by(case, step, plan)
    same = step is not None and step.plan is not None and step.plan.digest == plan.digest
    lost = [name for name in step.approved_by if name not in counted] if step and same else []
    reasons = [*decision.reasons, *(f"{name} approved it, and is no approver any more" for name in lost)]
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
    }
    return Event("proposed", body)


def _differs(before: Plan | None, after: Plan) -> str:
    if before is None or before.digest == after.digest:
        return ""
    old, new = ({str(change) for change in plan.changes} for plan in (before, after))
    return "; ".join([*(f"no longer: {c}" for c in sorted(old - new)), *(f"now: {c}" for c in sorted(new - old))])


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
    """Take back a question that the cut, which holds by now, has answered; a no that was said to it stays."""

    async def work(_: Tx, state: Incident) -> tuple[Sequence[Event], None]:
        playbook, waits = case.playbook, case.parts.timing.verify_retries
        if playbook is None or not schedule.wanted(state, playbook, todo, now=now(), retries=waits):
            return [], None
        return [Event("skipped", {"instance": todo.instance, "phase": todo.phase.value, "reason": MOOT})], None

    await case.decide(work)


async def _finish(case: Case, action: Action, step: StepState) -> None:
    plan, lease = step.plan, case.state.leases.get(step.instance)
    if plan is None:  # `act` asked; for the type checker
        return
    await case.outlast(action.timeout)
    if lease is not None and lease.has_held:
        # What held once and does not now was undone: only the watch, through the gate, writes it again.
        look = Look.begins(case)
        verdict = await verify(case, type(action), plan)
        await settled(case, plan, verdict, _verified(step, verdict, step.attempt + 1, look))
        return
    await carry_out(case, type(action), step, plan, read_at=None)


async def carry_out(case: Case, action: type[Action], step: StepState, plan: Plan, *, read_at: float | None) -> None:
    """Write what is pending and verify it.

    Args:
        case: the incident.
        action: who writes and verifies.
        step: its state; the intent is on record.
        plan: the frozen plan.
        read_at: monotonic time at which the plan read the world, None if that was another process.
    """
    written = await apply(case, action, plan, instance=step.instance, key=step.key, read_at=read_at)
    body = {"instance": step.instance, "epoch": step.epoch, "writes": written.writes, "found": written.found}
    attempt, look = step.attempt + 1, Look.begins(case)
    # Recording and asking go on side by side: the record does not change what the probe finds.
    _, verdict = await asyncio.gather(
        case.record(Event("wrote", body)) if written.writes or step.progress in UNWRITTEN else _nothing(),
        verify(case, action, plan),
    )
    await settled(case, plan, verdict, _verified(step, verdict, attempt, look))


async def settled(case: Case, plan: Plan, verdict: Verdict, *events: Event) -> None:
    """Record what a verification found; what cannot be taken back is done with that, and holds nothing any more."""
    instance = str(events[-1].body["instance"])
    if not plan.irreversible or verdict.answer is not Answer.ESTABLISHED:
        await case.record(*events)
        return

    async def work(tx: Tx) -> tuple[Sequence[Event], None]:
        for change in plan.changes:
            await tx.drop_hold(change.grip, case.id, instance)
        await tx.unreserve(case.id, instance)
        await tx.drop_watch(f"{case.id}/{instance}")
        return events, None

    await case.transact(work)


def _verified(step: StepState, verdict: Verdict, attempt: int, look: Look) -> Event:
    body = {
        "instance": step.instance,
        "epoch": step.epoch,
        "attempt": attempt,
        "verdict": verdict.model_dump(mode="json"),
        "at": iso(now()),
        **look.body,
    }
    return Event("verified", body)


UNWRITTEN = {Progress.INTENDED, Progress.RETRYING}


async def _nothing() -> None:
    return None


async def verify(case: Case, action: type[Action], plan: Plan) -> Verdict:
    """Ask the world; a question that cannot be put is answered `unknown`."""
    try:
        return await within(action.timeout * 3, action.verify(plan, case.parts.world), f"verifying {plan.action}")
    except SoarError as exc:
        return unknown(plan.summary, exc)


def unknown(subject: str, exc: SoarError) -> Verdict:
    """Return the verdict of a question that broke off."""
    finding = Finding(
        check="probe",
        subject=subject[:500],
        asked_as="mcp-soar",
        expected="an answer",
        observed=str(exc)[:2000],
        answer=Answer.UNKNOWN,
    )
    return Verdict(answer=Answer.UNKNOWN, findings=(finding,))


async def apply(
    case: Case, action: type[Action], plan: Plan, *, instance: str, key: str, read_at: float | None
) -> Written:
    """Write each pending change: at *before* it is written, at *after* it is done, anything else has drifted.

    Raises:
        Stopped: when the kill switch is turned on in between.
        Drifted: when a field is at neither value.
        PartiallyApplied: when it breaks off after some changes.
    """
    done = Written([], [])
    pending = plan.pending if read_at is not None else plan.changes
    if read_at is not None:
        # What is contained more strictly, for the sake of others or by somebody's hand, is never loosened.
        done.found.extend(str(change) for change in pending if action.holds(change, change.before))
        pending = tuple(change for change in pending if not action.holds(change, change.before))
    for position, change in enumerate(pending):
        try:
            # What was read a moment ago, by this process, is not read again. Later it is compared before the write.
            seen_at = read_at if position == 0 else None
            if await _write(case, action, change, key=key, seen_at=seen_at):
                done.writes.append({"change": str(change), "at": iso(now())})
            else:
                done.found.append(str(change))
        except Stopped as exc:
            await _interrupted(case, instance, done, exc)
            raise
        except LostClaim:
            raise
        except SoarError as exc:
            await _interrupted(case, instance, done, exc)
            if done.writes and not isinstance(exc, Drifted):
                remaining = [str(item) for item in pending[position:]]
                raise PartiallyApplied(str(exc), done=[w["change"] for w in done.writes], remaining=remaining) from exc
            raise
    return done


@asynccontextmanager
async def turn(case: Case, action: type[Action], change: Change, seconds: float) -> AsyncIterator[None]:
    """Wait until it is a change's turn; it is written within the block.

    A queue of our own is no silence of the system's, whose time begins when it is asked.

    Raises:
        Transient: when others keep it waiting for longer than that.
    """
    async with AsyncExitStack() as stack:
        mine = stack.enter_async_context(action.turn(change, case.parts.world))
        await within(seconds, mine, f"the queue before {change}")
        yield


async def _write(case: Case, action: type[Action], change: Change, *, key: str, seen_at: float | None) -> bool:
    """Write a change when it is its turn; return False if it is already so."""
    timing = case.parts.timing
    until = time.monotonic() + timing.turn
    while True:
        if seen_at is None or time.monotonic() - seen_at >= timing.fresh:
            seen_at = time.monotonic()
            if await _already(case, action, change):
                return False
        async with AsyncExitStack() as stack:
            left = min(until, seen_at + timing.fresh) - time.monotonic()
            try:
                await stack.enter_async_context(turn(case, action, change, left))
            except Transient:
                if time.monotonic() >= until:
                    raise
                # What waits is read anew: all that wait for one system at the same moment, which costs it one answer.
                continue
            # Only now: the wait may have taken its time.
            await case.outlast(action.timeout)
            await case.check_stop()
            await within(action.timeout, action.write(change, case.parts.world, key=key), f"writing {change}")
            return True


async def _interrupted(case: Case, instance: str, done: Written, exc: SoarError) -> None:
    if done.writes:
        body = {"instance": instance, "writes": done.writes, "why": str(exc)[:2000]}
        await case.record(Event("interrupted", body))


async def _already(case: Case, action: type[Action], change: Change) -> bool:
    current = await within(action.timeout, action.read(change, case.parts.world), f"reading {change.target}")
    if action.holds(change, current):
        return True
    if canonical(current) != canonical(change.before):
        shown = canonical(current).decode()
        raise Drifted(
            f"{change.target}: {change.field} is {shown}, which is neither before nor after of the plan ({change})"
        )
    return False


async def confirm(case: Case, todo: Todo) -> list[Event]:
    """Ask the playbook's confirming checks about a cut's target, once for all that was reported of it so far.

    Returns:
        What is to be recorded of it.
    """
    playbook, entity = case.playbook, case.state.entities.get(todo.entity)
    if playbook is None or entity is None or case.state.standing(todo.entity, itself=todo.named).confirmed:
        return []
    events = []
    for step in playbook.confirm:
        about = schedule.asked_of(entity, step.for_each)
        if about is None:
            continue
        by = case.state.instance_of(step.id, about)
        if case.state.confirm_asked.get(by, -1) > (case.state.alerted_seq or 0):
            continue
        check: Check = build(case, step.check or "", tuple(step.parameters(about).items()))
        try:
            verdict = await within(check.timeout, check.check(case.parts.world), f"asking {step.check}")
        except SoarError as exc:
            verdict = unknown(f"{step.id}: {about}", exc)
        events.append(Event("confirmed", {"by": by, "entity": about.key, "verdict": verdict.model_dump(mode="json")}))
    return events
