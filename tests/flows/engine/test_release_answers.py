"""A server that turned in its answers alone is not given back by one person while it still answers so."""

from pathlib import Path

from flows.demo.mcp_server import Behaviour
from playbooks.estate.inventory import ToolNotes
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import alert


async def test_what_still_answers_with_an_order_to_the_model_needs_a_second_person(lab: Lab, tmp_path: Path) -> None:
    cut = scenes.cut_of(lab, "get_weather")
    lab.victim.behave(Behaviour(poisoned=("get_weather",), injecting=True))
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        incident = await home.settled(name)
        (answer,) = (item for item in incident.exhibits if item["kind"] == "server_answer")
        assert {f"call-in-one-session-{number}.http-body" for number in (1, 2, 3)} < {
            file["name"] for file in answer["files"]
        }
        # The definition is healed, the answers are not.
        lab.victim.behave(Behaviour(injecting=True))
        await home.ask("ann", Verb.RELEASE, name, reason="the description is as it was")
        await scenes.proposed(home, name, f"release-{cut}")
        assert (await home.incident(name)).leases[cut].in_force
        assert not await scenes.enabled(lab, "get_weather")


async def test_a_tool_without_a_safe_call_is_given_back_by_one_person_and_was_never_called(
    lab: Lab, tmp_path: Path
) -> None:
    inventory = scenes.served(lab, tools={"add": ToolNotes(safe_arguments={"a": 1, "b": 2})})
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path, inventory=inventory) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await home.settled(name)
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="healed")
        await home.given_back(name)
        assert lab.victim.calls("get_weather") == []
