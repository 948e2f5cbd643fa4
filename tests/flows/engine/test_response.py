"""A poisoned tool from alert to release, with the bare engine, against a real gateway and a real server."""

from pathlib import Path

from playbooks.gate.plan import Answer
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.lab.fixtures import Lab
from tests.lab.house import alert, house


async def test_a_poisoned_tool_is_cut_proven_and_given_back(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with house(tmp_path / "house", lab.world) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED)
        cut = incident.steps[f"cut-tool@{lab.site.server_id}/get_weather"]
        assert cut.progress is Progress.ESTABLISHED
        assert cut.verdict is not None
        assert cut.verdict.answer is Answer.ESTABLISHED
        assert len([path for method, path in lab.proxy.writes if method == "POST"]) == 1
        incident = await home.settled(incident.id)
        assert {exhibit["kind"] for exhibit in incident.exhibits} == {
            "raw-alert",
            "definitions",
            "server_answer",
            "gateway_state",
            "gateway_logs",
        }
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
        released = await home.given_back(incident.id)
        assert released.status is Status.RELEASED
        assert len(lab.proxy.writes) == 2
