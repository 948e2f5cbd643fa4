"""A contained tool is refused under every name and at every door, or it is not established."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flows.demo.site import Site
from integrations.connections import Connections
from integrations.gateways.actions import DisableTool
from integrations.gateways.returned import _reach
from integrations.gateways.scene import Scene
from integrations.protocol.client import McpEndpoint
from integrations.systems.contextforge.canary import ForgeCanary
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.held import Held
from playbooks.estate.pins import PinKind, Pins
from playbooks.gate.plan import Answer, Plan, Verdict
from tests.lab.connected import connected
from tests.lab.fixtures import Lab


async def cut(lab: Lab, world: Connections | None = None, tool: str = "get_weather") -> Plan:
    world = world or lab.world
    plan = await DisableTool(server=lab.site.server_id, tool=tool).plan(world)
    for change in plan.pending:
        await DisableTool.write(change, world, key="test")
    return plan


async def as_agent(lab: Lab, url: str, name: str, arguments: dict[str, Any]) -> str:
    agent = McpEndpoint("agent", url, principal="agent", token=lab.site.agent.secret)
    agent.patience = 20.0
    try:
        return (await agent.ask("tools/call", {"name": name, "arguments": arguments})).text
    finally:
        await agent.aclose()


def entry(lab: Lab) -> str:
    place = lab.site.inventory.servers[lab.site.server_id].gateway
    assert place is not None
    return place.id


def calls(verdict: Verdict) -> str:
    return "\n".join(f"{one.answer} {one.subject}: {one.observed}" for one in verdict.findings if one.check == "call")


async def test_a_call_by_the_original_name_that_still_goes_through_is_no_containment(lab: Lab) -> None:
    # The agent's call makes the gateway remember the original name.
    assert "20 degrees" in await as_agent(lab, lab.site.virtual_server_url, "get_weather", {"city": "Seoul"})
    plan = await cut(lab)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, verdict
    assert "this name still opens it" in calls(verdict)
    before = len(lab.victim.calls("get_weather"))
    assert "20 degrees" in await as_agent(lab, lab.site.client_url, "get_weather", {"city": "Seoul"}), "it was true"
    assert len(lab.victim.calls("get_weather")) == before + 1

    # The gateway forgets what it remembered of a server when its entry is disabled: the same as a minute later.
    await lab.world.reach(ContextForge, "main").set_entry_enabled(entry(lab), enabled=False)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert len(lab.victim.calls("get_weather")) == before + 1, "no question of ours reached the server"


async def test_once_it_holds_every_name_is_asked_at_every_door(lab: Lab) -> None:
    plan = await cut(lab)
    forge = lab.world.reach(ContextForge, "main")
    first = await DisableTool.verify(plan, lab.world)
    assert first.answer is Answer.ESTABLISHED, calls(first)
    server = lab.site.virtual_server_url.split("/")[-2]
    assert f"get_weather at /rpc for server {server}" in calls(first)
    assert f"/servers/{server}/mcp" not in calls(first), "in a burst this look is what all wait for"
    forge._disabled[plan.targets[0].id] -= 10  # noqa: SLF001  # as ten seconds later
    lab.proxy.forget()
    second = await DisableTool.verify(plan, lab.world)
    assert second.answer is Answer.ESTABLISHED, second
    paths = [path for _, path in lab.proxy.seen]
    assert paths.count("/mcp/") == 3, "a call by either name, and the agent's own; what was listed tells of the rest"
    assert paths.count(f"/servers/{server}/mcp") == 2
    assert paths.count("/rpc") >= 3
    assert "/sse" in paths
    (events,) = [one for one in second.findings if "/sse" in one.subject]
    # A door that cannot be asked is named, and the answer is about the others.
    assert events.answer is Answer.UNKNOWN
    assert "could not be asked" in events.observed
    assert lab.victim.calls("get_weather") == []


async def test_a_question_about_a_tool_in_force_makes_the_gateway_remember_nothing(lab: Lab) -> None:
    plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(lab.world)
    assert (await DisableTool.verify(plan, lab.world)).answer is Answer.NOT_ESTABLISHED
    await cut(lab)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict


@asynccontextmanager
async def taking_anything(lab: Lab, *tools: str) -> AsyncIterator[Connections]:
    """Give the same site, where the schemas of these tools refuse no call."""
    server = lab.site.server_id
    pins = tuple(
        pin.model_copy(update={"definition": {**pin.definition, "inputSchema": {"type": "object"}}})
        if pin.name in tools
        else pin
        for pin in lab.site.inventory.pins.of(server)
    )
    world = connected(lab.site.inventory.model_copy(update={"pins": Pins(servers={server: pins})}))
    await world.warm()
    try:
        yield world
    finally:
        await world.aclose()


async def test_a_tool_whose_schema_refuses_no_call_is_verified_and_not_run(lab: Lab) -> None:
    async with taking_anything(lab, "get_weather") as world:
        plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(world)
        before = await DisableTool.verify(plan, world)
        assert before.answer is Answer.NOT_ESTABLISHED, before
        await cut(lab, world)
        verdict = await DisableTool.verify(plan, world)
        assert verdict.answer is Answer.ESTABLISHED, verdict
        assert "its schema rejects nothing" in calls(verdict), "the doors that were not asked are named"
        assert lab.victim.calls("get_weather") == []


async def test_a_release_of_such_a_tool_is_asked_and_not_assumed(lab: Lab) -> None:
    # No safe arguments are known of get_forecast.
    server = lab.site.server_id
    held = {one.name: one for one in await lab.world.reach(ContextForge, "main").catalog(entry(lab))}
    found = held["get_forecast"]
    anything = Held(found.kind, {**found.fields, "inputSchema": {"type": "object"}})
    scene = Scene(await DisableTool(server=server, tool="get_forecast").plan(lab.world), lab.world)
    finding = await _reach(scene, scene.targets[0], anything)
    assert finding.answer is Answer.ESTABLISHED, finding
    await cut(lab, tool="get_forecast")
    finding = await _reach(scene, scene.targets[0], anything)
    assert finding.answer is Answer.NOT_ESTABLISHED, finding
    assert lab.victim.calls("get_forecast") == []


async def test_a_look_up_finds_what_is_in_force_and_runs_nothing(lab: Lab) -> None:
    canary = lab.world.reach(ForgeCanary, "main")
    names = {pin.name: pin.gateway_name or "" for pin in lab.site.inventory.pins.of(lab.site.server_id, PinKind.TOOL)}
    for name in names.values():
        assert (await canary.look_up(name)).answer is Answer.NOT_ESTABLISHED
    assert (await canary.look_up("nobody-has-this")).answer is Answer.ESTABLISHED
    assert lab.victim.calls() == []


async def test_where_no_call_is_possible_at_that_door_the_answer_waits_until_the_gateway_has_forgotten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await cut(lab)
    lab.proxy.fails = "/rpc"
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.UNKNOWN, verdict
    forge = lab.world.reach(ContextForge, "main")
    monkeypatch.setitem(forge._disabled, plan.targets[0].id, forge._disabled[plan.targets[0].id] - 100)  # noqa: SLF001
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    assert any(one.answer is Answer.UNKNOWN and "/rpc" in one.subject for one in verdict.findings), "it is named"


async def test_what_the_gateway_no_longer_holds_is_not_given_back(lab: Lab) -> None:
    plan = await cut(lab)
    forge = lab.world.reach(ContextForge, "main")
    await forge.api.request("DELETE", f"/v1/tools/{plan.targets[0].id}")
    await forge.refresh(entry(lab))  # it takes the tool in again, under another id and the same name
    verdict = await DisableTool.verify_released(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, verdict
    assert any("holds nothing of the id" in finding.observed for finding in verdict.findings)


async def test_the_events_door_is_asked_or_named(site: Site) -> None:
    world = connected(site.inventory)
    canary = world.reach(ForgeCanary, "main")
    canary.endpoint.patience = 20.0
    try:
        finding = await canary.by_events(("nobody-has-this", "nor-this"))
    finally:
        await world.aclose()
    # ContextForge 1.0.7 opens the stream to a client of these grants, and lets it send nothing.
    assert (finding.answer, "403" in finding.observed) in {
        (Answer.UNKNOWN, True),
        (Answer.ESTABLISHED, False),
    }, finding
