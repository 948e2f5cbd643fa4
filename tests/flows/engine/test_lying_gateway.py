"""A gateway that breaks, hangs, lies, or hides its answers: never a false `established`, always a page."""

from datetime import datetime
from pathlib import Path

import pytest

from playbooks.gate.plan import Answer
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from tests.lab import scenes
from tests.lab.faulty_proxy import Mode
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert

SILENT = {Mode.HANG: 1.5}


def paged_as_not_contained(incident: Incident) -> bool:
    return any("NOT contained" in page.text for page in incident.pages.values())


async def told(home: House, name: str) -> None:
    async def so() -> bool:
        return paged_as_not_contained(await home.incident(name))

    await home.until(so, "people are told that it is not contained")


@pytest.mark.parametrize("mode", [Mode.BROKEN, Mode.HANG, Mode.IDLE], ids=lambda mode: mode.name.lower())
async def test_a_gateway_that_fails_from_the_start_is_contained_when_it_recovers(
    lab: Lab, tmp_path: Path, mode: Mode
) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path, patience=SILENT.get(mode)) as home:
        lab.proxy.mode = mode
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.reaches(Status.NOT_ESTABLISHED)
            await told(home, incident.id)
            assert await scenes.usable(lab, "get_weather", city="Seoul"), "it really is not contained"
            assert Answer.ESTABLISHED not in scenes.answers(await scenes.entries(home, incident.id))
            lab.proxy.mode = Mode.PASS
            await home.reaches(Status.CONTAINED, incident.id)
            assert not await scenes.usable(lab, "get_weather", city="Seoul")
            entries = await scenes.entries(home, incident.id)
            epochs = {e.body["epoch"] for e in entries if e.kind == "intended"}
            assert epochs == {1}, "nobody undid anything: it is the first decision that came into force"


@pytest.mark.slow
async def test_a_gateway_that_lies_for_long_is_still_contained_without_a_person(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path, watch_every=0.2) as home:
        lab.proxy.mode = Mode.IDLE
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.reaches(Status.NOT_ESTABLISHED)

            async def lied_to_often() -> bool:
                return len([path for _, path in lab.proxy.writes if path.endswith("/state")]) > 10

            await home.until(lied_to_often, "ten attempts, more than every retry and every put-back together")
            assert Answer.ESTABLISHED not in scenes.answers(await scenes.entries(home, incident.id))
            lab.proxy.mode = Mode.PASS
            await scenes.established(home, incident.id, scenes.cut_of(lab, "get_weather"))
            assert not await scenes.usable(lab, "get_weather", city="Seoul")
            assert (await home.incident(incident.id)).leases[scenes.cut_of(lab, "get_weather")].put_backs == 0


async def test_a_write_whose_answer_is_lost_counts_once_it_is_found_done(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home:
        lab.proxy.mode = Mode.CUT
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.reaches(Status.CONTAINED)
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        entries = await scenes.entries(home, incident.id)
        assert [e.body["error"] for e in entries if e.kind == "failed" and e.body["instance"].startswith("cut")] == [
            "Transient"
        ]
        (wrote,) = [e for e in entries if e.kind == "wrote"]
        assert wrote.body["writes"] == []
        assert len(wrote.body["found"]) == 1, "found done, and not written a second time"
        assert incident.metrics["first_effect_at"] == datetime.fromisoformat(wrote.at)
        assert len([path for _, path in lab.proxy.writes if path.endswith("/state")]) == 1


# Being patient with one that hangs takes half a minute.
@pytest.mark.parametrize(
    "mode",
    [pytest.param(Mode.BROKEN, id="broken"), pytest.param(Mode.HANG, id="hang", marks=pytest.mark.slow)],
)
async def test_a_gateway_that_falls_silent_later_is_not_called_contained(lab: Lab, tmp_path: Path, mode: Mode) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path, patience=2.0) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED)
        lab.proxy.mode = mode
        await home.reaches(Status.NOT_ESTABLISHED, incident.id)
        await told(home, incident.id)
        entries = await scenes.entries(home, incident.id)
        assert scenes.answers(entries)[-1] is Answer.UNKNOWN
        lab.proxy.mode = Mode.PASS
        await home.reaches(Status.CONTAINED, incident.id)
        writes = [path for _, path in lab.proxy.writes if path.endswith("/state")]
        assert len(writes) == 1, "what holds is not written again"


async def test_a_put_back_that_the_gateway_swallows_is_not_called_contained(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.reaches(Status.CONTAINED)
        lab.proxy.mode = Mode.IDLE
        await scenes.enable(lab, "get_weather", enabled=True)
        await home.reaches(Status.NOT_ESTABLISHED, incident.id)
        await told(home, incident.id)
        assert await scenes.enabled(lab, "get_weather")
        lab.proxy.mode = Mode.PASS
        await home.reaches(Status.CONTAINED, incident.id)
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
