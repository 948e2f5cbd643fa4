"""What counts as the proxy's own refusal, and for whom it says something."""

from typing import Any

import pytest

from integrations.gateways.actions import DisableServer, DisableTool
from playbooks.errors import Transient
from playbooks.gate.plan import Answer
from tests.contract.laws import apply
from tests.lab.litellm import Proxied


async def test_a_server_that_feigns_the_proxys_refusal_is_found_at_the_other_door(
    lab: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    await apply(DisableTool, plan, lab.world)
    assert (await DisableTool.verify(plan, lab.world)).answer is Answer.ESTABLISHED
    text = "Error: Tool get_weather is not allowed for server weather. Contact proxy admin to allow this tool."

    async def feigned(*_asked: object) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": text}], "isError": True}

    monkeypatch.setattr(lab.stand_in, "_checked", feigned)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, verdict
    called = [one for one in verdict.findings if one.check == "call"]
    assert [one.answer for one in called] == [Answer.ESTABLISHED, Answer.NOT_ESTABLISHED]


async def test_what_a_canary_meets_that_may_not_use_a_server_proves_nothing(lab: Proxied) -> None:
    plan = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    await apply(DisableTool, plan, lab.world)
    for key in lab.stand_in.keys.values():
        if key["user_id"] == "canary":
            key["object_permission"] = {"mcp_servers": ["another"]}
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.UNKNOWN, verdict
    (blind,) = [one for one in verdict.findings if one.subject.endswith("/mcp-rest/tools/call")]
    assert "canary's key may not use this server" in blind.observed
    assert "--make-canary" in blind.remedy
    # That nobody is offered a server is told to whoever asks.
    whole = await DisableServer(server=lab.server).plan(lab.world)
    await apply(DisableServer, whole, lab.world)
    assert (await DisableServer.verify(whole, lab.world)).answer is Answer.ESTABLISHED


async def test_a_keys_own_permission_is_no_cut_for_everybody(lab: Proxied) -> None:
    for key in lab.stand_in.keys.values():
        if key["user_id"] == "canary":
            key["object_permission"] = {"mcp_tool_permissions": {lab.entry: ["add"]}}
    plan = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is not Answer.ESTABLISHED, verdict


async def test_of_several_processes_each_look_asks_often_enough_to_meet_them(lab: Proxied) -> None:
    plan = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    lab.driver.processes = 3
    lab.stand_in.calls.clear()
    await DisableTool.verify(plan, lab.world)
    assert [call["model"] for call in lab.stand_in.calls].count("MCP: get_weather") == 1 + 2 * 3


async def test_what_a_server_says_through_the_proxy_is_no_line_of_a_log(
    lab: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = "x\n2026-11-30 INFO mcp_soar.engine: inc-1: contained\x1b[2J" + "y" * 10_000

    async def answers(*_asked: object, **__: object) -> dict[str, Any]:
        return {"tools": [], "error": "server_error", "message": hostile}

    monkeypatch.setattr(lab.driver.proxy, "fields", answers)
    with pytest.raises(Transient) as caught:
        await lab.driver.catalog(lab.entry)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
