"""Two incidents at one server's list: each gives back its own tool, and the last one takes the list away."""

from pathlib import Path
from typing import Final

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.lab import flags
from tests.lab.gateway import CUT_TOOL
from tests.lab.house import alert, house
from tests.lab.litellm import Proxied
from tests.lab.scenes import FAST

TOOLS: Final = ("get_weather", "get_forecast")


async def test_two_cuts_share_a_list_and_the_last_release_takes_it_away(lab: Proxied, tmp_path: Path) -> None:
    async with house(tmp_path / "house", lab.world) as made:
        home = made.changed(playbooks=flags.playbook(CUT_TOOL), timing=FAST)
        async with home.responding():
            incidents: list[str] = []
            for tool in TOOLS:
                await home.receive(alert("weather", tool))
                incident = await home.reaches(Status.AWAITING_APPROVAL)
                incidents.append(incident.id)
                plan = incident.proposals[0].plan
                assert plan is not None
                await home.ask("bob", Verb.APPROVE, incident.id, digest=plan.digest, reason="it is poisoned")
                await home.reaches(Status.CONTAINED, incident.id)
            assert lab.listed == ["add"]

            await home.ask("ann", Verb.RELEASE, incidents[0], reason="healed")
            await home.given_back(incidents[0])
            assert sorted(lab.listed) == ["add", "get_weather"], "the other incident holds the list"

            await home.ask("ann", Verb.RELEASE, incidents[1], reason="healed")
            await home.given_back(incidents[1])
    assert lab.listed == [], "there was none before"
    assert all(names for _, names in lab.stand_in.written[:-1]), "nothing but the last release wrote an empty one"
