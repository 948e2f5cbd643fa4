"""The laws of every action, for whoever has a system to try them on."""

from collections.abc import Awaitable, Callable

from playbooks.action import Action, World
from playbooks.contacts import Language
from playbooks.plan import Answer, Plan
from playbooks.sentences import Sentences, said

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
            assert all(said(text, language, words) != text for text in told), (language, told)


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
    await apply(action, plan, world)
    assert (await action.verify(plan, world)).answer is Answer.ESTABLISHED
    if plan.irreversible is None:
        back = action.inverse(plan)
        assert not back.breaks, "what a cut takes away is no consequence of giving it back"
        await apply(action, back, world)
        released = await action.verify_released(plan, world)
        assert released.answer is Answer.ESTABLISHED, released
    assert (await state() == before) is (plan.irreversible is None)
