"""The one loop: read the incident's journal, run what can run now, return when it is done or must wait."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime

from flows.engine import deciding, effects, evidence, leases, releasing, schedule, sealing
from flows.engine.case import Case, Stopped
from flows.engine.parts import Parts
from flows.engine.people import notices
from flows.engine.schedule import Todo
from integrations.journal.store import Claim
from playbooks.errors import Misconfigured, SoarError
from playbooks.record.incident import Phase
from playbooks.strict import now

STEPS: dict[str, Callable[[Case, Todo], Awaitable[None]]] = {
    "action": effects.act,
    "capture": evidence.capture,
    "check": evidence.ask,
    "raw": evidence.raw,
    "repeats": evidence.repeats,
    "release": releasing.release,
    "seal": sealing.seal,
    "moot": deciding.moot,
    "nowhere": deciding.nowhere,
}
LOOK = 1.0
"""Seconds after which a running response looks whether others appended to its stream."""

WATCH = "watch"
"""What a look at the leases is called among the steps that run."""

_EFFECTS = frozenset({"action", "release", "moot"})
"""Steps that wait while the leases are being looked at, which may put one back, and that the look waits for: what is
just being given back is no leak beside what is not."""

_WAITED_FOR = _EFFECTS | {WATCH}

FEW = 10
"""Incidents in hand up to which each looks that often; of more, each looks more seldom, so that all cost no more."""


async def respond(
    parts: Parts,
    claim: Claim,
    *,
    until: Phase,
    case: Case | None = None,
    watching: bool = False,
    halted: bool | None = None,
) -> Case:
    """Run everything of one claimed incident that can run now.

    Args:
        parts: what the engine works with.
        claim: the incident's claim; it is kept alive, and stays the caller's to release.
        until: the last phase that is wanted: `Phase.CUT` before any flow, `Phase.REVIEW` for all of it.
        case: the incident, if the caller has just read or opened it.
        watching: verify the leases in force first, whether or not their time has come.
        halted: whether the kill switch is on for it, if the caller has just looked; each effect asks again.

    Returns:
        The incident as it stands; `due` says when it has to be looked at again.

    Raises:
        LostClaim: if another responder has it now.
        Tampered: if its journal is not as it was written.
        Transient: if the journal does not answer.
    """
    case = case or await Case.take(parts, claim)
    async with kept(case):
        if watching:
            # Looking goes on while the kill switch is on; putting back asks it, like every effect.
            await leases.watch(case)
            await releasing.look_again(case)
            # A look may come as often as some lease's turn does; what is asked of servers is asked no oftener for that.
            if parts.memory.is_time(case.id, parts.world.inventory.watch_every * schedule.LOOKS):
                await _ask_again(case)
        with parts.memory.in_hand():
            await _loop(case, until, halted=halted)
        await notices.write(case)
    return case


@asynccontextmanager
async def kept(case: Case) -> AsyncIterator[None]:
    """Renew an incident's claim for as long as the block runs."""
    keeper = asyncio.create_task(_keep(case))
    try:
        yield
    finally:
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError, SoarError):
            await keeper


async def _keep(case: Case) -> None:
    while True:
        await asyncio.sleep(case.parts.timing.claim / 3)
        await case.renew()


async def _loop(case: Case, until: Phase, *, halted: bool | None) -> None:
    running: dict[str, asyncio.Task[None]] = {}
    # Evidence may take long, and whoever is under suspicion decides how long: what is in force is verified meanwhile.
    every = case.parts.world.inventory.watch_every * schedule.LOOKS
    watch_at, kinds = time.monotonic() + every, dict[str, str]()
    try:
        while True:
            if halted is None:
                halted = await stopped(case)
            todos = _ready(case, until, halted=halted)
            for todo in todos:
                waits = WATCH in running and todo.kind in _EFFECTS
                if todo.instance not in running and schedule.rival(todo) not in running and not waits:
                    running[todo.instance] = asyncio.create_task(_run(case, todo))
                    kinds[todo.instance] = todo.kind
            if not running:
                return
            if time.monotonic() >= watch_at and not any(kinds.get(name, WATCH) in _WAITED_FOR for name in running):
                watch_at = time.monotonic() + every
                running[WATCH] = asyncio.create_task(leases.watch(case))
            patience = LOOK * max(1.0, case.parts.memory.responses / FEW)
            done, _ = await asyncio.wait(running.values(), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for instance in [name for name, task in running.items() if task in done]:
                task = running.pop(instance)
                with contextlib.suppress(Stopped):
                    task.result()
                if instance == WATCH and case.asks_at is not None:
                    watch_at = min(watch_at, case.asks_at)
            await case.catch_up()
            halted = None
    finally:
        for task in running.values():
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)


async def _run(case: Case, todo: Todo) -> None:
    await STEPS[todo.kind](case, todo)


async def stopped(case: Case) -> bool:
    """Whether the kill switch is on for the incident; unreadable counts as on."""
    return await case.is_stopped()


async def _ask_again(case: Case) -> None:
    """Ask the eradication checks that were not satisfied once more."""
    if case.playbook is None:
        return
    for todo in schedule.unsatisfied(case.state, case.playbook, case.parts.places):
        await evidence.ask(case, todo)


def due(case: Case, *, halted: bool) -> datetime | None:
    """Return when the next retry or expiry of an incident comes; the watch over its leases aside."""
    timing = case.parts.timing
    return schedule.next_due(
        case.state,
        now=now(),
        stopped_wait=timing.stopped if halted else None,
        retries=timing.verify_retries,
    )


def more(case: Case, until: Phase, *, halted: bool) -> bool:
    """Whether there is something to run now in phases up to `until`."""
    return next(iter(_ready(case, until, halted=halted)), None) is not None


def _ready(case: Case, until: Phase, *, halted: bool) -> Iterator[Todo]:
    retries = case.parts.timing.verify_retries
    return schedule.ready(
        case.state, case.playbook, places=case.parts.places, until=until, now=now(), stopped=halted, retries=retries
    )


def check_steps(parts: Parts) -> None:
    """Refuse to start with a playbook that names what nobody registered.

    Raises:
        Misconfigured: naming playbook, step and name.
    """
    for playbook in parts.playbooks.values():
        steps = [*(step for _, step in playbook.steps()), *playbook.confirm]
        for step in steps:
            wanted = ((step.kind, step.names, parts.steps), ("kind of system", step.at, parts.titles))
            for what, name, known in wanted:
                if name and name not in known:
                    raise Misconfigured(f"step {step.id}: no {what} is called {name!r}", file=f"{playbook.id}.yaml")
