"""What the gateway's cuts do to clients, against a real gateway."""

from flows.demo.mcp_server import Behaviour
from integrations.gateway.actions import DisableServer, DisableTool
from integrations.gateway.client import ContextForge
from playbooks.action import World
from playbooks.plan import Answer, Plan
from tests.lab.fixtures import Lab


async def apply(action: type[DisableTool] | type[DisableServer], plan: Plan, world: World) -> None:
    """Carry out a plan as the engine does: compare, then write."""
    for change in plan.changes:
        if await action.read(change, world) != change.after:
            await action.write(change, world, key="test")


async def test_a_disabled_tool_is_gone_for_clients_and_comes_back_as_it_was(lab: Lab) -> None:
    plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(lab.world)
    before = await DisableTool.verify(plan, lab.world)
    assert before.answer is Answer.NOT_ESTABLISHED, before
    await apply(DisableTool, plan, lab.world)
    after = await DisableTool.verify(plan, lab.world)
    assert after.answer is Answer.ESTABLISHED, after
    assert (await DisableTool.verify_released(plan, lab.world)).answer is Answer.NOT_ESTABLISHED
    await apply(DisableTool, DisableTool.inverse(plan), lab.world)
    released = await DisableTool.verify_released(plan, lab.world)
    assert released.answer is Answer.ESTABLISHED, released


async def test_a_tool_that_slips_in_beside_the_cut_is_found_and_the_cut_widened(lab: Lab) -> None:
    plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(lab.world)
    await apply(DisableTool, plan, lab.world)
    lab.victim.behave(Behaviour(added=("new_evil",)))
    server = lab.site.inventory.servers[lab.site.server_id]
    assert server.gateway is not None
    await lab.world.reach(ContextForge, "main").refresh(server.gateway.id)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    (widening,) = verdict.widen
    assert (widening.action, widening.params) == (
        "gateway.disable_tool",
        {"server": lab.site.server_id, "tool": "new_evil"},
    )
    further = await DisableTool.model_validate(widening.params).plan(lab.world)
    await apply(DisableTool, further, lab.world)
    assert (await DisableTool.verify(further, lab.world)).answer is Answer.ESTABLISHED
    assert (await DisableTool.verify(plan, lab.world)).answer is Answer.ESTABLISHED
