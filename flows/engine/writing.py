"""Carrying out a frozen plan: write each change when it is its turn, and ask the world whether it holds.

Nothing counts as done because an API said so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import JsonValue

from flows.engine.calls import unknown, within
from flows.engine.case import Case, Stopped
from flows.engine.schedule import OURSELVES
from integrations.journal.store import LostClaim, Tx
from playbooks.action import Action
from playbooks.errors import Drifted, Gone, NotEstablished, PartiallyApplied, SoarError, Transient
from playbooks.gate.plan import Answer, Change, Plan, Verdict
from playbooks.record.journal import Event
from playbooks.record.step import LeaseState, Progress, StepState
from playbooks.strict import Json, canonical, iso, now


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
    await settled(case, plan, verdict, verified(step, verdict, attempt, look))


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


def verified(step: StepState, verdict: Verdict, attempt: int, look: Look) -> Event:
    """Return what is recorded of a verification."""
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


class Took:
    """Counts the seconds that a system takes to answer, our own queue aside."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the block takes."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - began


async def verify(case: Case, action: type[Action], plan: Plan, took: Took | None = None) -> Verdict:
    """Ask the world; a question that cannot be put is answered `unknown`.

    A queue of our own is no silence of the system's, whose time begins when it is asked. What people gave back while it
    was asked is no leak: then it is asked again.
    """
    world, known = case.parts.world, await case.parts.given_back.current(case.parts.journal)
    try:
        async with AsyncExitStack() as stack:
            mine = stack.enter_async_context(action.question(plan, world))
            await within(case.parts.timing.question, mine, f"the queue before verifying {plan.action}")
            stack.enter_context((took or Took()).counting())
            while True:
                told = known.entries
                asked = action.verify(known.beside(plan), world)
                verdict = await within(action.timeout * 3, asked, f"verifying {plan.action}")
                if verdict.answer is Answer.ESTABLISHED:
                    return verdict
                known = await case.parts.given_back.current(case.parts.journal)
                if known.entries == told:
                    return verdict
    except SoarError as exc:
        return unknown(plan.summary, exc)


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


async def give_back(
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
        if current != canonical(change.before) and not _is_back(action, change, value, lease.kept):
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
        if loosens or not _is_back(action, change, value, lease.kept):
            async with turn(case, action, change, case.parts.timing.turn):
                await case.outlast(action.timeout)
                if lease.released_by == OURSELVES:
                    # No person asked for it, so the kill switch stops it.
                    await case.check_stop()
                key, world = lease.release_key, case.parts.world
                await within(action.timeout, action.write(change, world, key=key), f"writing {change}")
            writes.append({"change": str(change), "at": iso(now())})
    await _stands(case, action, lease, plan, gone)
    return writes, gone


def _is_back(action: type[Action], change: Change, value: JsonValue, kept: Sequence[str]) -> bool:
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
        if not _is_back(action, change, value, lease.kept):
            raise NotEstablished(f"{change.target}: {change.field} is {canonical(value).decode()} after {change}")
