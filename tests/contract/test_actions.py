"""The laws that hold for every registered action, tried on real systems.

A new action needs a drill here; the first test fails until it has one.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from integrations.gateway.actions import (
    DeactivateUser,
    DisablePrompt,
    DisableResource,
    DisableServer,
    DisableTool,
    RevokeToken,
)
from integrations.gateway.canary import Canary
from integrations.gateway.client import ContextForge
from integrations.registry import ACTIONS, CAPTURES, CHECKS, STEPS
from playbooks.action import Action, World
from playbooks.errors import SoarError
from playbooks.inventory import PinKind
from playbooks.plan import Answer, Plan
from playbooks.strict import canonical
from tests.lab.faulty_proxy import Mode
from tests.lab.fixtures import Lab

# Actions on other systems have their drills beside those systems.
DRILLED_ELSEWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Drill:
    """How to try an action.

    Args:
        action: its class.
        params: its parameters, for a lab.
    """

    action: type[Action]
    params: Callable[[Lab], dict[str, Any]]

    def intent(self, lab: Lab) -> Action:
        return self.action.model_validate(self.params(lab))


def the_resource(lab: Lab) -> str:
    (pin,) = lab.site.inventory.pins.of(lab.site.server_id, PinKind.RESOURCE)
    return pin.name


DRILLS = (
    Drill(DisableTool, lambda lab: {"server": lab.site.server_id, "tool": "get_weather"}),
    Drill(DisablePrompt, lambda lab: {"server": lab.site.server_id, "prompt": "greet"}),
    Drill(DisableResource, lambda lab: {"server": lab.site.server_id, "resource": the_resource(lab)}),
    Drill(DisableServer, lambda lab: {"server": lab.site.server_id}),
    Drill(RevokeToken, lambda lab: {"principal": lab.site.principal, "token": "agent"}),
    Drill(DeactivateUser, lambda lab: {"principal": lab.site.principal}),
)

every_action = pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.action.name)


async def apply(action: type[Action], plan: Plan, world: World) -> None:
    """Carry out a plan as the engine does: a change found at *after* is done, one at *before* is written."""
    for change in plan.changes:
        present = await action.read(change, world)
        if present != change.after:
            assert present == change.before, f"drifted: {change}"
            await action.write(change, world, key="drill")


def patiently(lab: Lab) -> Callable[[], Awaitable[dict[str, list[dict[str, Any]]]]]:
    return lab.world.reach(ContextForge, "main").export_state


def test_every_action_has_a_drill() -> None:
    assert {action.name for action in ACTIONS} - DRILLED_ELSEWHERE == {drill.action.name for drill in DRILLS}


def test_names_are_unique_and_every_step_declares_what_it_may() -> None:
    assert len(STEPS) == len(ACTIONS) + len(CAPTURES) + len(CHECKS)
    for step in STEPS.values():
        assert step.permissions, step.name
        assert step.timeout > 0


@every_action
async def test_plan_writes_nothing(lab: Lab, drill: Drill) -> None:
    before = await patiently(lab)()
    plan = await drill.intent(lab).plan(lab.world)
    assert lab.proxy.writes == []
    assert plan.pending
    assert canonical(await patiently(lab)()) == canonical(before)


@every_action
async def test_two_plans_of_one_world_are_one(lab: Lab, drill: Drill) -> None:
    first, second = [await drill.intent(lab).plan(lab.world) for _ in range(2)]
    assert first.digest == second.digest


@every_action
async def test_after_apply_plan_is_empty_and_twice_is_once(lab: Lab, drill: Drill) -> None:
    plan = await drill.intent(lab).plan(lab.world)
    await apply(drill.action, plan, lab.world)
    again = await drill.intent(lab).plan(lab.world)
    assert again.pending == ()
    assert again.changes
    once = await patiently(lab)()
    for change in plan.pending:
        await drill.action.write(change, lab.world, key="drill")
    assert canonical(await patiently(lab)()) == canonical(once)


@every_action
async def test_the_inverse_restores_exactly_what_was_there(lab: Lab, drill: Drill) -> None:
    before = await patiently(lab)()
    plan = await drill.intent(lab).plan(lab.world)
    await apply(drill.action, plan, lab.world)
    assert canonical(await patiently(lab)()) != canonical(before)
    if drill.action.irreversible:
        assert plan.irreversible == drill.action.irreversible
        return
    assert plan.irreversible is None
    await apply(drill.action, drill.action.inverse(plan), lab.world)
    assert canonical(await patiently(lab)()) == canonical(before)
    released = await drill.action.verify_released(plan, lab.world)
    assert released.answer is Answer.ESTABLISHED, released


@every_action
async def test_the_summary_names_every_target(lab: Lab, drill: Drill) -> None:
    plan = await drill.intent(lab).plan(lab.world)
    for target in plan.targets:
        assert target.name in plan.summary
    assert plan.breaks


@every_action
async def test_permissions_used_are_declared(lab: Lab, drill: Drill) -> None:
    lab.proxy.forget()
    plan = await drill.intent(lab).plan(lab.world)
    await apply(drill.action, plan, lab.world)
    await drill.action.verify(plan, lab.world)
    if not plan.irreversible:
        await apply(drill.action, drill.action.inverse(plan), lab.world)
        await drill.action.verify_released(plan, lab.world)
    assert lab.proxy.used <= set(drill.action.permissions)


@every_action
async def test_verify_tells_before_from_after(lab: Lab, drill: Drill) -> None:
    plan = await drill.intent(lab).plan(lab.world)
    before = await drill.action.verify(plan, lab.world)
    assert before.answer is Answer.NOT_ESTABLISHED, before
    await apply(drill.action, plan, lab.world)
    after = await drill.action.verify(plan, lab.world)
    assert after.answer is Answer.ESTABLISHED, after
    assert all(finding.asked_as for finding in after.findings)


@every_action
@pytest.mark.parametrize("mode", [Mode.HANG, Mode.BROKEN])
async def test_a_gateway_that_does_not_answer_does_not_look_contained(lab: Lab, drill: Drill, mode: Mode) -> None:
    plan = await drill.intent(lab).plan(lab.world)
    await apply(drill.action, plan, lab.world)
    lab.proxy.mode = mode
    lab.world.reach(ContextForge, "main").patience = 0.5
    lab.world.reach(Canary, "main").endpoint.patience = 0.5
    verdict = await drill.action.verify(plan, lab.world)
    assert verdict.answer is Answer.UNKNOWN, verdict


@every_action
async def test_a_gateway_that_says_yes_and_does_nothing_is_not_believed(lab: Lab, drill: Drill) -> None:
    plan = await drill.intent(lab).plan(lab.world)
    lab.proxy.mode = Mode.IDLE
    for change in plan.pending:
        await drill.action.write(change, lab.world, key="drill")
    verdict = await drill.action.verify(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, verdict


@every_action
async def test_a_write_whose_answer_is_lost_is_found_done(lab: Lab, drill: Drill) -> None:
    plan = await drill.intent(lab).plan(lab.world)
    lab.proxy.mode = Mode.CUT
    change = plan.pending[0]
    try:
        await drill.action.write(change, lab.world, key="drill")
    except SoarError:
        assert await drill.action.read(change, lab.world) == change.after
    lab.proxy.mode = Mode.PASS
    await apply(drill.action, plan, lab.world)
    assert (await drill.intent(lab).plan(lab.world)).pending == ()
