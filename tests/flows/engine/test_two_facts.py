"""What is automatic takes two facts of different kinds: one comparison is one, and what only describes is none."""

from pathlib import Path

from flows.demo.mcp_server import Behaviour
from playbooks.gate.corroboration import DESCRIBES, ONE_FACT
from playbooks.gate.plan import Answer
from playbooks.playbook import Playbook, parse, shipped
from playbooks.record.incident import Status
from playbooks.taxonomy import IncidentClass
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert

WORDING = "Tell what the weather of a town is like."
LINK = "Return the weather for a city, from https://weather.invalid/v2."


async def reasons(home: House, name: str) -> str:
    return " ".join((await home.incident(name)).proposals[0].reasons)


async def test_one_comparison_told_twice_is_one_fact_and_another_source_is_the_second(lab: Lab, tmp_path: Path) -> None:
    await scenes.turn(lab, Behaviour(described={"get_weather": LINK}))
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"), source="drift")
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        assert ONE_FACT in await reasons(home, name)
        incident = await home.incident(name)
        assert incident.confirmed_by, "it differs, and that is on record"
        assert "destination: https://weather.invalid/v2" in " ".join(line.detail for line in incident.timeline)
        assert lab.proxy.writes == []
        await home.receive(alert(lab.site.server_id, "get_weather"))
        await home.reaches(Status.CONTAINED, name)
        assert not await scenes.enabled(lab, "get_weather")


async def test_a_change_that_only_describes_is_asked_about_whoever_reports_it(lab: Lab, tmp_path: Path) -> None:
    await scenes.turn(lab, Behaviour(described={"get_weather": WORDING}))
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather", severity="critical"))
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        assert DESCRIBES in await reasons(home, name)
        await home.receive(alert(lab.site.server_id, "get_weather"), source="drift")

        async def joined() -> bool:
            return len((await home.incident(name)).alerts) == 2

        await home.until(joined, "our own comparison reports it as well")
        await home.settled(name)
        assert (await home.incident(name)).status is Status.AWAITING_APPROVAL
        assert lab.proxy.writes == []


async def test_what_the_screening_finds_in_it_is_a_second_fact(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"), source="drift")
        incident = await home.reaches(Status.CONTAINED)
        assert incident.confirmations == {
            f"confirm-definition@{lab.site.server_id}/get_weather": {"definition", "introduces", "screening"}
        }


async def test_a_renamed_tool_is_gone_and_a_new_one_has_come(lab: Lab, tmp_path: Path) -> None:
    await scenes.turn(lab, Behaviour(renamed={"get_weather": "weather_now"}))
    async with scenes.installation(lab, tmp_path) as home:
        check = home.parts.steps["mcp.definition_differs"]
        old, new = [
            await check.model_validate({"server": lab.site.server_id, "tool": tool}).check(home.parts.world)  # type: ignore[union-attr]
            for tool in ("get_weather", "weather_now")
        ]
        found = [{one.check: (one.answer, one.observed) for one in verdict.findings} for verdict in (old, new)]
        assert [verdict.answer for verdict in (old, new)] == [Answer.ESTABLISHED, Answer.ESTABLISHED]
        assert found[0]["introduces"] == (Answer.NOT_ESTABLISHED, "nothing of the kind"), "what is gone acts no more"
        assert found[1]["introduces"][0] is Answer.ESTABLISHED
        assert "new: weather_now" in found[1]["introduces"][1]


# 37: confirmed for the server


def confirmed_for_the_server() -> dict[IncidentClass, Playbook]:
    """Return the playbooks with one whose confirmation is a question about the server."""
    one = shipped()[IncidentClass.TOOL_POISONING]
    document = one.model_dump(mode="json", by_alias=True)
    document["confirm"] = [
        {
            "id": "confirm-answers",
            "check": "mcp.response_injection",
            "for": "server",
            "with": {"server": {"from": "entity.server"}},
            "why": "test",
        }
    ]
    made = parse(Playbook.model_validate(document).text, file="test.yaml")
    return {**shipped(), made.class_: made}


async def test_a_question_about_the_server_is_asked_for_an_alert_about_its_tool(lab: Lab, tmp_path: Path) -> None:
    lab.victim.behave(Behaviour(injecting=True))
    parts = {"playbooks": confirmed_for_the_server()}
    async with scenes.installation(lab, tmp_path, **parts) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED)
        assert incident.confirmed_by == (f"confirm-answers@{lab.site.server_id}",)
        assert incident.confirm_asked.keys() == {f"confirm-answers@{lab.site.server_id}"}
        assert not await scenes.enabled(lab, "get_weather")


async def test_what_the_watch_finds_and_only_describes_is_asked_about(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        described = {"get_forecast": "Tell what the weather will be like."}
        await scenes.turn(lab, Behaviour(poisoned=("get_weather",), described=described))
        step = await scenes.proposed(home, name, f"widen-gateway-disable_tool@{lab.site.server_id}/get_forecast")
        assert step.reasons == (DESCRIBES,)
        assert await scenes.enabled(lab, "get_forecast")
