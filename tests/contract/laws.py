"""The laws of every action, for whoever has a system to try them on."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from playbooks.action import Action, World
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Plan
from playbooks.people.contacts import Language
from playbooks.text.sentences import Sentences, said
from tests.lab.faulty_proxy import FaultyProxy, Mode

State = Callable[[], Awaitable[bytes]]
"""Everything of the system that a release has to restore."""


async def apply(action: type[Action], plan: Plan, world: World) -> None:
    """Carry out a plan as the engine does: a change found at *after* is done, one at *before* is written."""
    for change in plan.changes:
        present = await action.read(change, world)
        if present != change.after:
            assert present == change.before, f"drifted: {change}"
            await action.write(change, world, key="drill")


async def plan_only_reads(intent: Action, world: World, state: State) -> None:
    """A plan writes nothing, says the same twice, and names every target."""
    before = await state()
    plan = await intent.plan(world)
    assert plan.pending
    assert (await intent.plan(world)).digest == plan.digest
    assert await state() == before
    assert plan.breaks
    for target in plan.targets:
        assert target.name in plan.summary
        assert target.id != target.name or target.kind == "user"


async def speaks_every_language(intent: Action, world: World, words: Sentences) -> None:
    """What a plan would do and break is said in every language, and so is what would give it back."""
    plan = await intent.plan(world)
    told = [plan.summary, plan.breaks]
    told += [plan.irreversible.because] if plan.irreversible else [type(intent).inverse(plan).summary]
    for language in Language:
        if language is not Language.EN:
            assert all(said(text, language, words, prose=False) != text for text in told), (language, told)


async def twice_is_once(intent: Action, world: World, state: State) -> None:
    """After a plan is carried out there is none left, and writing it again changes nothing."""
    plan = await intent.plan(world)
    await apply(type(intent), plan, world)
    again = await intent.plan(world)
    assert again.changes
    assert again.pending == ()
    once = await state()
    for change in plan.pending:
        await type(intent).write(change, world, key="drill")
    assert await state() == once


async def the_inverse_restores(intent: Action, world: World, state: State) -> None:
    """What was carried out is established, and its inverse restores exactly what was there, unless there is none."""
    action, before = type(intent), await state()
    plan = await intent.plan(world)
    assert plan.irreversible == action.irreversible
    assert not (await action.glance(plan, world)).holds, "nothing was taken away yet"
    await apply(action, plan, world)
    assert (await action.verify(plan, world)).answer is Answer.ESTABLISHED
    assert (await action.glance(plan, world)).holds, "seen by what is newer than the change"
    if plan.irreversible is None:
        back = action.inverse(plan)
        assert not back.breaks, "what a cut takes away is no consequence of giving it back"
        await apply(action, back, world)
        released = await action.verify_released(plan, world)
        assert released.answer is Answer.ESTABLISHED, released
    assert (await state() == before) is (plan.irreversible is None)


async def uses_what_it_declares(
    intent: Action, world: World, state: State, proxy: FaultyProxy, declared: Collection[str]
) -> None:
    """From plan to release it asks its system for nothing that it does not declare; what the state takes aside."""

    async def unseen() -> bytes:
        asked = list(proxy.seen)
        found = await state()
        proxy.seen[:] = asked
        return found

    proxy.forget()
    await the_inverse_restores(intent, world, unseen)
    assert proxy.used
    assert proxy.used <= set(declared)


async def is_not_fooled(intent: Action, world: World, proxy: FaultyProxy, hurry: Callable[[float], None]) -> None:
    """Only what clients meet is established: not what was not cut, nor by a gateway that says yes, or says nothing.

    Args:
        intent: what is tried.
        world: the connections.
        proxy: between them and the system.
        hurry: has them wait no longer than so many seconds for an answer.
    """
    action, plan = type(intent), await intent.plan(world)
    assert (await action.verify(plan, world)).answer is Answer.NOT_ESTABLISHED

    proxy.mode = Mode.IDLE
    for change in plan.pending:
        with suppress(SoarError):  # it may be noticed already here
            await action.write(change, world, key="drill")
    verdict = await action.verify(plan, world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, "the gateway said yes and did nothing"

    proxy.mode = Mode.PASS
    await apply(action, plan, world)
    verdict = await action.verify(plan, world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert all(finding.asked_as for finding in verdict.findings)

    hurry(0.5)
    for mode in (Mode.BROKEN, Mode.HANG):
        proxy.mode = mode
        verdict = await action.verify(plan, world)
        assert verdict.answer is Answer.UNKNOWN, f"the gateway did not answer: {mode}"


async def a_lost_answer_is_found_done(intent: Action, world: World, proxy: FaultyProxy) -> None:
    """A write whose answer does not come is found done, and finished from there."""
    action, plan = type(intent), await intent.plan(world)
    proxy.mode = Mode.CUT
    change = plan.pending[0]
    with suppress(SoarError):
        await action.write(change, world, key="drill")
    assert await action.read(change, world) == change.after
    proxy.mode = Mode.PASS
    await apply(action, plan, world)
    assert (await intent.plan(world)).pending == ()
