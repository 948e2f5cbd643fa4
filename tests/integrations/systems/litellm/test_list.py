"""A server's list of tools: never written empty by a cut, and taken away by the last release where there was none."""

from typing import Any

import pytest

from flows.demo.mcp_server import Behaviour
from integrations.gateways.actions import DisableServer, DisableTool
from integrations.gateways.driver import EVERYTHING, LISTED
from integrations.registry import SYSTEMS
from playbooks.errors import Drifted, Gone, Refused, Transient
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Plan, Radius
from playbooks.people.contacts import Language
from playbooks.text.sentences import said
from tests.contract.laws import apply
from tests.lab.litellm import Proxied


async def cut(lab: Proxied, tool: str) -> Plan:
    """Cut a tool, and return the plan."""
    plan = await DisableTool(server=lab.server, tool=tool).plan(lab.world)
    await apply(DisableTool, plan, lab.world)
    return plan


async def test_where_there_was_no_list_a_cut_names_all_others_and_its_release_takes_the_list_away(lab: Proxied) -> None:
    plan = await cut(lab, "get_weather")
    assert [(change.before, change.after) for change in plan.changes] == [(True, False), (EVERYTHING, LISTED)]
    assert [target.name for target in plan.things] == ["get_weather"], "the list is nothing that anybody uses"
    assert lab.listed == ["add", "get_forecast"]
    assert len(lab.stand_in.written) == 1, "one write does both"
    await apply(DisableTool, DisableTool.inverse(plan), lab.world)
    assert lab.listed == []


async def test_a_list_that_people_wrote_stays_one(lab: Proxied) -> None:
    lab.listed[:] = ["add", "get_weather"]
    plan = await cut(lab, "get_weather")
    assert lab.listed == ["add"]
    await apply(DisableTool, DisableTool.inverse(plan), lab.world)
    assert sorted(lab.listed) == ["add", "get_weather"], "get_forecast was kept from clients before"


async def test_no_cut_writes_an_empty_list_the_last_tool_goes_with_its_server(lab: Proxied) -> None:
    narrow = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    lab.listed[:] = ["get_weather"]
    with pytest.raises(Drifted, match="an empty list would let all of them through"):
        await DisableTool.write(narrow.changes[0], lab.world, key="k")
    assert lab.stand_in.written == []
    wide = await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    assert (wide.action, wide.radius) == (DisableServer.name, Radius.SERVER)
    assert "Without get_weather the gateway's list of weather would be empty" in wide.breaks
    assert said(wide.breaks, Language.KO, SYSTEMS.words, prose=False) != wide.breaks
    await apply(DisableServer, wide, lab.world)
    assert lab.listed == ["get_weather"]
    assert lab.stand_in.servers[lab.entry]["approval_status"] == "rejected"


async def test_what_is_kept_from_clients_besides_keeps_the_list(lab: Proxied) -> None:
    plan = await cut(lab, "get_weather")
    lab.victim.behave(Behaviour(added=("exfiltrate",)))
    back = DisableTool.inverse(plan)
    with pytest.raises(Refused, match="clients would also get exfiltrate"):
        await apply(DisableTool, back, lab.world)
    assert sorted(lab.listed) == ["add", "get_forecast", "get_weather"], "the new one is not let in"
    lab.victim.behave()
    await apply(DisableTool, back, lab.world)
    assert lab.listed == []


async def test_somebody_elses_write_in_the_same_moment_is_noticed(
    lab: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, others = lab.stand_in._edit, [["add", "get_forecast", "get_weather"]]  # noqa: SLF001  # overwritten by another

    def overwritten(body: dict[str, Any]) -> dict[str, Any]:
        found = edit(body)
        if others:
            found["allowed_tools"] = others.pop()
        return found

    monkeypatch.setattr(lab.stand_in, "_edit", overwritten)
    await cut(lab, "get_weather")
    assert lab.listed == ["add", "get_forecast"]
    others += [["get_weather", "get_forecast"]] * 5
    with pytest.raises(Transient, match="somebody else writes the list"):
        await lab.driver.set_enabled(PinKind.TOOL, f"{lab.entry}:get_forecast", enabled=False)


async def test_a_name_that_stands_for_nothing_and_a_server_of_the_configuration_are_refused(lab: Proxied) -> None:
    with pytest.raises(Gone, match="no tool 'nope'"):
        await lab.driver.set_enabled(PinKind.TOOL, f"{lab.entry}:nope", enabled=False)
    lab.stand_in.servers[lab.entry]["is_config"] = True
    with pytest.raises(Refused, match="stands in the proxy's configuration file"):
        await DisableTool(server=lab.server, tool="get_weather").plan(lab.world)
    with pytest.raises(Refused, match="stands in the proxy's configuration file"):
        await lab.driver.set_entry_enabled(lab.entry, enabled=False)
    assert lab.stand_in.written == []
    assert lab.stand_in.servers[lab.entry]["approval_status"] == "active"


async def test_a_server_is_cut_without_being_asked_anything_through_the_proxy(lab: Proxied) -> None:
    plan = await DisableServer(server=lab.server).plan(lab.world)
    await apply(DisableServer, plan, lab.world)
    assert lab.stand_in.looked_after == []
