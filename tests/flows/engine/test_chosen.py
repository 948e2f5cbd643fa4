"""What a person chose, contained by the whole path of the engine on a real gateway; no playbook is needed."""

from pathlib import Path
from typing import Any

import pytest

from flows.demo.mcp_server import Behaviour
from integrations.protocol.agent import Agent
from playbooks.estate.pins import PinKind, Pins
from playbooks.people.request import Verb
from playbooks.playbook import shipped
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.strict import now
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


async def chosen(home: House, *entities: dict[str, str], incident: str = "new", **more: Any) -> None:  # noqa: ANN401  # of the request
    params = {"title": "by hand", "exact": True, **more} if incident == "new" else {}
    await home.ask("ann", Verb.RESPOND, incident, reason="it acts oddly", params={**params, "entities": list(entities)})


async def agreed(home: House, name: str, cuts: int) -> Incident:
    """Wait until that many cuts wait for people, have bob approve each, and return the contained incident."""

    async def asked() -> bool:
        return len((await home.incident(name)).proposals) == cuts

    await home.until(asked, f"{cuts} cuts of {name} wait for people")
    incident = await home.incident(name)
    assert incident.status is Status.AWAITING_APPROVAL
    for step in incident.proposals:
        assert step.requested_by == "ann", "whoever chose it does not approve it"
        await scenes.approve(home, "bob", name, step)
    return await home.reaches(Status.CONTAINED, name)


async def given_back(home: House, name: str) -> Incident:
    """Ask for everything back, have bob agree where a second person is needed, and wait for it."""
    await home.ask("ann", Verb.RELEASE, name, reason="it is well again")
    return await scenes.all_back(home, name)


async def state(lab: Lab) -> object:
    async with scenes.operator(lab) as forge:
        return await forge.export_state()


async def test_a_tool_that_nobody_approved_a_prompt_and_a_resource(lab: Lab, tmp_path: Path) -> None:
    server = lab.site.server_id
    await scenes.turn(lab, Behaviour(added=("new_tool",)))
    async with scenes.operator(lab) as forge:
        held = [(await forge.held(kind, scenes.entry(lab)))[0] for kind in (PinKind.PROMPT, PinKind.RESOURCE)]
    prompt, resource = (one.name for one in held)
    before = await state(lab)
    assert await scenes.usable(lab, "new_tool")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        named = (("tool", "new_tool"), ("prompt", prompt), ("resource", resource))
        await chosen(home, *({"kind": kind, "name": name, "server": server} for kind, name in named))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        assert lab.proxy.writes == []
        incident = await agreed(home, name, 3)
        assert not await scenes.usable(lab, "new_tool")
        assert await scenes.usable(lab, "get_weather", city="Seoul"), "nothing else stops"
        assert (incident.requested_by, incident.playbook) == ("ann", "chosen")
        assert set(incident.chosen.values()) == {"ann"}
        assert len(incident.chosen) == 3
        assert any("ann chose" in line.detail for line in incident.timeline)
        incident = await home.settled(name)
        assert {e["kind"] for e in incident.exhibits} == {
            "definitions",
            "server_answer",
            "gateway_state",
            "gateway_logs",
        }
        incident = await given_back(home, name)
        assert {lease.back.answer.value for lease in incident.leases.values() if lease.back} <= {
            "established",
            "not_established",
        }
    assert await state(lab) == before
    assert await scenes.usable(lab, "new_tool")


@pytest.mark.slow  # three containments one after the other, each verified and given back
async def test_a_whole_server_and_the_principal_and_token_that_use_it(lab: Lab, tmp_path: Path) -> None:
    server, who = lab.site.server_id, lab.site.principal
    before = await state(lab)
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await chosen(home, {"kind": "server", "name": server}, **{"class": "supply_chain"})
        first = (await home.reaches(Status.AWAITING_APPROVAL)).id
        incident = await agreed(home, first, 1)
        assert incident.incident_class.value == "supply_chain"
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        await given_back(home, first)
        assert await state(lab) == before
        assert await scenes.usable(lab, "get_weather", city="Seoul")

        await chosen(home, {"kind": "principal", "name": who})
        second = (await home.reaches(Status.AWAITING_APPROVAL)).id
        assert second != first
        await agreed(home, second, 1)
        agent = Agent(lab.site.client_url, lab.site.agent.secret)
        with pytest.raises(Exception, match="returned an error response"):
            await agent.tools()
        assert {exhibit["kind"] for exhibit in (await home.settled(second)).exhibits} == {"principal"}
        await given_back(home, second)
        assert await state(lab) == before
        assert await scenes.usable(lab, "get_weather", city="Seoul")

        await chosen(home, {"kind": "token", "name": f"{who}/agent"})
        third = (await home.reaches(Status.AWAITING_APPROVAL)).id
        incident = await agreed(home, third, 1)
        (lease,) = incident.leases.values()
        assert not lease.open, "what cannot be taken back is done with that"
        with pytest.raises(Exception, match="returned an error response"):
            await agent.tools()


async def test_more_is_chosen_in_an_incident_that_is_open_and_what_joins_it_is_not(lab: Lab, tmp_path: Path) -> None:
    server = lab.site.server_id
    await scenes.turn(lab, Behaviour(added=("new_tool",)))
    async with scenes.installation(lab, tmp_path, playbooks={}) as home, home.responding():
        # No rule gives it a class, and nobody knows the tool.
        await home.receive(alert(server, "new_tool", tags=["odd"]))
        name = (await home.reaches(Status.TRIAGE)).id
        await chosen(home, {"kind": "tool", "name": "new_tool", "server": server}, incident=name)
        incident = await agreed(home, name, 1)
        assert incident.triage is None
        assert [step.instance for step in incident.cuts] == [f"chosen-tool@{server}/new_tool"]
        # What an alert names beside was chosen by nobody.
        await home.receive(alert(server, "get_weather", tags=["odd"]), source="unsigned")
        await home.receive(alert(server, "new_tool", "get_weather", tags=["odd"]))
        await scenes.taken_in(home)
        await chosen(home, {"kind": "tool", "name": "new_tool", "server": server}, incident=name)

        async def refused() -> bool:
            return any("chosen in" in e.body["reason"] for e in await home.system("set_aside"))

        await home.until(refused, "the same is not chosen twice")
        assert [step.instance for step in (await home.incident(name)).cuts] == [f"chosen-tool@{server}/new_tool"]


async def test_nothing_of_ours_and_nothing_unknown_is_ever_chosen(lab: Lab, tmp_path: Path) -> None:
    place = lab.world.inventory.gateways[scenes.GATEWAY]
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        wrong = {
            ("principal", place.canary.principal): "our canary",
            ("principal", place.user): "who mcp-soar signs in as",
            ("token", place.credential_ids[0]): "mcp-soar's own",
            ("server", "nowhere"): "the inventory does not know server",
            ("tool", "nothing"): "say whose it is",
        }
        for kind, name in wrong:
            await chosen(home, {"kind": kind, "name": name})

        async def all_refused() -> bool:
            return len(await home.system("set_aside")) == len(wrong)

        await home.until(all_refused, "each is refused")
        reasons = [e.body["reason"] for e in await home.system("set_aside")]
        for said in wrong.values():
            assert any(said in reason for reason in reasons), (said, reasons)
        assert await home.incidents() == []
        # What the gateway does not have fails in the plan, with what it does have.
        await chosen(home, {"kind": "tool", "name": "get_wether", "server": lab.site.server_id})

        async def failed() -> bool:
            found = [step for i in await home.incidents() for step in i.steps.values() if step.action]
            return bool(found) and found[0].progress is Progress.FAILED

        await home.until(failed, "the plan cannot be made")
        assert lab.proxy.writes == []


async def test_a_server_of_which_nothing_was_ever_approved(lab: Lab, tmp_path: Path) -> None:
    inventory = lab.world.inventory.model_copy(update={"pins": Pins()})
    before = await state(lab)
    async with scenes.installation(lab, tmp_path, inventory=inventory, playbooks=shipped()) as home, home.responding():
        await chosen(home, {"kind": "tool", "name": "get_weather", "server": lab.site.server_id})
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        incident = await agreed(home, name, 1)
        assert incident.widenings == {}, "what nobody approved is no leak where nothing is approved"
        (lease,) = incident.leases.values()
        assert lease.verdict is not None
        beside = [f for f in lease.verdict.findings if f.check == "exposure"]
        assert [f.answer.value for f in beside] == ["unknown"], "and is named among what is not proven"
        assert await scenes.usable(lab, "get_forecast", city="Seoul")
        await given_back(home, name)
    assert await state(lab) == before


@pytest.mark.slow  # three containments, each verified, and all given back
async def test_what_a_part_holds_stays_in_force_is_asked_about_once_and_given_back_with_the_whole(
    lab: Lab, tmp_path: Path
) -> None:
    server = lab.site.server_id
    before = await state(lab)
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        for number, tool in enumerate(("get_weather", "get_forecast"), 1):
            await chosen(home, {"kind": "tool", "name": tool, "server": server})
            await agreed(home, f"inc-{now().year}-{number:06d}", 1)
        first, second = [incident.id for incident in await home.incidents()]
        writes = len(lab.proxy.writes)
        await home.ask("ann", Verb.JOIN, first, reason="the same", params={"incident": second})
        cut = f"chosen-tool@{server}/get_forecast"
        incident = await scenes.established(home, first, cut)
        assert incident.proposals == [], "what was agreed to there is not asked about here"
        assert any("which goes on here, holds it already" in reason for reason in incident.steps[cut].reasons)
        assert len(lab.proxy.writes) == writes, "nothing is written for it"
        assert (await home.incident(second)).leases[cut].in_force
        # The watch of each goes on; who brings it back by hand finds it taken away again.
        await scenes.enable(lab, "get_forecast", enabled=True)

        async def again() -> bool:
            return not await scenes.enabled(lab, "get_forecast")

        await home.until(again, "it is put back")
        await given_back(home, first)
        await home.given_back(second)

        async def both() -> bool:
            return all([await scenes.usable(lab, tool, city="Seoul") for tool in ("get_weather", "get_forecast")])

        await home.until(both, "the agent has both again")
        assert await home.journal.holds() == []
        await home.ask("ann", Verb.CLOSE, first, reason="over")
        await home.reaches(Status.CLOSED, second)
    assert await state(lab) == before


async def test_who_chose_one_tool_spoke_for_nothing_that_appears_beside_it(lab: Lab, tmp_path: Path) -> None:
    server = lab.site.server_id
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await chosen(home, {"kind": "tool", "name": "get_weather", "server": server}, **{"class": "tool_poisoning"})
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        await agreed(home, name, 1)
        await scenes.turn(lab, Behaviour(added=("new_tool",)))

        async def asked() -> bool:
            return bool((await home.incident(name)).proposals)

        await home.until(asked, "people are asked about the new one")
        (step,) = (await home.incident(name)).proposals
        assert step.instance in (await home.incident(name)).widenings
        assert "no alert of it came from an authenticated source" in step.reasons
        assert await scenes.enabled(lab, "new_tool")
