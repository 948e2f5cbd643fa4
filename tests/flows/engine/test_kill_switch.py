"""While the kill switch is on nothing is written but what a person gives back; looking and keeping evidence go on."""

from pathlib import Path

import pytest

from integrations.journal.records import Stop
from playbooks.errors import Transient
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


async def stop(home: House, scope: str) -> None:
    await home.ask("ann", Verb.STOP, scope, reason="a change window")

    async def on() -> bool:
        return any(item.scope == scope for item in await home.journal.stops())

    await home.until(on, f"{scope} is stopped")


async def kept(home: House, name: str) -> set[str]:
    """Wait until evidence is sealed, and return its kinds."""
    await home.settled(name)
    return {exhibit["kind"] for exhibit in (await home.incident(name)).exhibits}


@pytest.mark.parametrize("scope", ["everything", "class:tool_poisoning", "server:{server}"])
async def test_no_write_passes_and_evidence_is_kept_until_two_people_resume(
    lab: Lab, tmp_path: Path, scope: str
) -> None:
    scope = scope.format(server=lab.site.server_id)
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await stop(home, scope)
        await home.receive(alert(lab.site.server_id, "get_weather"))
        incident = await home.opened()
        assert await kept(home, incident.id) >= {"raw-alert", "definitions", "server_answer", "gateway_state"}
        assert lab.proxy.writes == []
        incident = await home.incident(incident.id)
        assert "opened" in incident.noticed, "notification goes on"
        assert incident.status is Status.CONTAINING
        for _ in range(2):
            await home.ask("ann", Verb.RESUME, scope, reason="over")
        await home.ask("eve", Verb.RESUME, scope, reason="let it run")
        await scenes.taken_in(home)
        assert [item.scope for item in await home.journal.stops()] == [scope], "one person twice is one person"
        assert lab.proxy.writes == []
        await home.ask("bob", Verb.RESUME, scope, reason="over")
        await home.reaches(Status.CONTAINED, incident.id)
        (resumed,) = await home.system("resumed")
        assert resumed.body["people"] == ["ann", "bob"]


async def test_a_containment_in_force_is_not_put_back_but_a_person_can_release_it(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await stop(home, f"incident:{name}")
        await scenes.enable(lab, "get_weather", enabled=True)
        await home.reaches(Status.NOT_ESTABLISHED, name)
        assert await scenes.enabled(lab, "get_weather"), "seen and said, but not put back"
        assert (await home.incident(name)).leases[cut].epoch == 1
        await scenes.enable(lab, "get_weather", enabled=False)
        await home.reaches(Status.CONTAINED, name)
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="healed")
        await home.given_back(name)
        assert await scenes.usable(lab, "get_weather", city="Seoul")
        assert [item.scope for item in await home.journal.stops()] == [f"incident:{name}"]
        assert await home.system("fault") == []


async def test_a_switch_that_cannot_be_read_counts_as_on(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home:

        async def unreadable() -> list[Stop]:
            raise Transient("the disk does not answer")

        monkeypatch.setattr(home.journal, "stops", unreadable)
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.opened()
            await kept(home, incident.id)
            assert lab.proxy.writes == []
            monkeypatch.undo()
            await home.reaches(Status.CONTAINED, incident.id)


async def test_a_scope_that_means_nothing_is_refused(lab: Lab, tmp_path: Path) -> None:
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        scopes = ["server:no-such-server", "class:nonsense", "incident:inc-1999-000001", "server:", "tool:x"]
        for scope in scopes:
            await home.ask("ann", Verb.STOP, scope, reason="typed in a hurry")
        await home.ask("ann", Verb.STOP, "everything")
        await home.ask("eve", Verb.STOP, "everything", reason="an auditor")
        await scenes.taken_in(home)
        assert len(await home.system("set_aside")) == len(scopes) + 2
        assert await home.journal.stops() == []
