"""Each row of what was measured of ContextForge, measured again: what its answers promise, and what clients see."""

import httpx
import pytest

from integrations.gateways.actions import DisableServer, DisableTool
from integrations.gateways.principals import DeactivateUser, RevokeToken
from integrations.protocol.client import McpEndpoint
from integrations.systems.contextforge.driver import ContextForge
from playbooks.action import Action
from playbooks.estate.pins import PinKind
from tests.lab.fixtures import Lab


async def cut(lab: Lab, action: type[Action], **params: str) -> None:
    plan = await action.model_validate(params).plan(lab.world)
    for change in plan.pending:
        if await action.read(change, lab.world) != change.after:
            await action.write(change, lab.world, key="test")


async def as_agent(lab: Lab, url: str | None = None) -> tuple[int, set[str], str]:
    """Return what the agent gets: the HTTP status, the tools of this server that it lists, and a call's answer."""
    agent = McpEndpoint("agent", url or lab.site.client_url, principal="agent", token=lab.site.agent.secret)
    try:
        listing = await agent.ask("tools/list")
        tools = (listing.result or {}).get("tools", [])
        ours = {pin.gateway_name: pin.name for pin in lab.site.inventory.pins.of(lab.site.server_id, PinKind.TOOL)}
        listed = {ours[tool["name"]] for tool in tools if tool["name"] in ours}
        name = next(offered for offered, tool in ours.items() if tool == "add")
        call = await agent.ask("tools/call", {"name": name, "arguments": {"a": 1, "b": 2}})
        return listing.status, listed, call.text
    finally:
        await agent.aclose()


ALL = {"add", "get_weather", "get_forecast"}


async def test_the_agent_can_list_and_call_everything_before(lab: Lab) -> None:
    assert await as_agent(lab) == (200, ALL, "3")
    assert await as_agent(lab, lab.site.virtual_server_url) == (200, ALL, "3")


async def test_a_disabled_tool_is_gone_at_once_on_both_addresses(lab: Lab) -> None:
    await cut(lab, DisableTool, server=lab.site.server_id, tool="add")
    for url in (lab.site.client_url, lab.site.virtual_server_url):
        status, listed, answer = await as_agent(lab, url)
        assert (status, listed) == (200, ALL - {"add"})
        assert "exists but is inactive" in answer
    assert lab.victim.calls("add") == []


async def test_a_disabled_entry_takes_all_its_tools_away_at_once(lab: Lab) -> None:
    await cut(lab, DisableServer, server=lab.site.server_id)
    status, listed, answer = await as_agent(lab)
    assert (status, listed) == (200, set())
    assert "exists but is inactive" in answer


async def test_enabling_an_entry_enables_what_was_disabled_alone_so_the_inverse_disables_it_again(lab: Lab) -> None:
    await cut(lab, DisableTool, server=lab.site.server_id, tool="add")
    plan = await DisableServer(server=lab.site.server_id).plan(lab.world)
    for change in (*plan.changes, *DisableServer.inverse(plan).changes):
        if await DisableServer.read(change, lab.world) != change.after:
            await DisableServer.write(change, lab.world, key="test")
    status, listed, answer = await as_agent(lab)
    assert (status, listed) == (200, ALL - {"add"})
    assert "exists but is inactive" in answer


async def test_the_trap_of_disabling_a_virtual_server_it_says_disabled_and_serves_on(lab: Lab) -> None:
    forge = lab.world.reach(ContextForge, "main")
    id_ = lab.site.virtual_server_url.split("/")[-2]
    await forge.api.request("POST", f"/v1/servers/{id_}/state", params={"activate": "false"})
    assert (await forge.api.request("GET", f"/v1/servers/{id_}"))["enabled"] is False
    # Why no action of ours does this: the cut of a server is its entry, not a virtual server.
    assert await as_agent(lab, lab.site.virtual_server_url) == (200, ALL, "3")


@pytest.mark.parametrize("action", [RevokeToken, DeactivateUser])
async def test_a_revoked_token_and_a_deactivated_user_are_out_at_once(lab: Lab, action: type[Action]) -> None:
    params = {"principal": lab.site.principal} | ({"token": "agent"} if action is RevokeToken else {})
    await cut(lab, action, **params)
    status, listed, _ = await as_agent(lab)
    assert status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    assert listed == set()
