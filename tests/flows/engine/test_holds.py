"""Two incidents that need a tool away share one grip: it comes back with the last, as it was before the first."""

from pathlib import Path

import pytest

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


async def released(home: House, name: str) -> None:
    async def so() -> bool:
        leases = (await home.incident(name)).leases.values()
        return bool(leases) and not any(lease.in_force for lease in leases)

    await home.until(so, f"{name} has given everything back")


async def two_incidents(home: House, lab: Lab) -> tuple[str, str]:
    """Open one incident about two tools and one about the second of them alone; both cut that one."""
    await home.receive(alert(lab.site.server_id, "get_forecast", "get_weather"))
    wide = (await home.reaches(Status.CONTAINED)).id
    await home.receive(alert(lab.site.server_id, "get_weather"))

    async def both() -> bool:
        found = await home.incidents()
        return len(found) == 2 and all(incident.status is Status.CONTAINED for incident in found)

    await home.until(both, "two incidents are contained")
    (narrow,) = [incident.id for incident in await home.incidents() if incident.id != wide]
    return wide, narrow


@pytest.mark.parametrize("first", ["wide", "narrow"])
async def test_the_last_of_two_incidents_gives_a_shared_tool_back(lab: Lab, tmp_path: Path, first: str) -> None:
    lab.victim.poison("get_weather", "get_forecast")
    async with scenes.operator(lab) as forge:
        before = await forge.export_state()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        names = dict(zip(("wide", "narrow"), await two_incidents(home, lab), strict=True))
        assert len([path for _, path in lab.proxy.writes if path.endswith("/state")]) == 2, "one write for each tool"
        lab.victim.behave()
        last = "narrow" if first == "wide" else "wide"
        await home.ask("ann", Verb.RELEASE, names[first], reason="healed")
        await released(home, names[first])
        assert not await scenes.enabled(lab, "get_weather"), "the other incident still holds it"
        assert await scenes.enabled(lab, "get_forecast") is (first == "wide")
        assert (await home.incident(names[last])).status is Status.CONTAINED
        assert await home.journal.holds(incident=names[first]) == []
        await home.ask("bob", Verb.RELEASE, names[last], reason="healed")
        await released(home, names[last])
        assert await scenes.usable(lab, "get_weather", city="Seoul")
        assert await scenes.usable(lab, "get_forecast", city="Seoul")
        assert await home.journal.holds() == []
        async with scenes.operator(lab) as forge:
            assert await forge.export_state() == before


async def test_a_tool_that_was_disabled_before_stays_so_after_both_releases(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison("get_weather", "get_forecast")
    await scenes.enable(lab, "get_weather", enabled=False)
    async with scenes.operator(lab) as forge:
        before = await forge.export_state()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        names = await two_incidents(home, lab)
        holds = [hold for hold in await home.journal.holds() if hold.incident == names[1]]
        assert len(holds) == 1, "an empty plan still takes its hold"
        lab.victim.behave()
        for name in names:
            await home.ask("ann", Verb.RELEASE, name, reason="healed")
            await released(home, name)
        assert not await scenes.enabled(lab, "get_weather")
        assert await scenes.enabled(lab, "get_forecast")
        async with scenes.operator(lab) as forge:
            assert await forge.export_state() == before
