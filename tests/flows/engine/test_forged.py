"""Whoever can write the journal's database, and has no responder's key, brings nothing about."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import SWITCHES, SYSTEM
from playbooks.record.projection import project
from tests.flows.engine.test_approvals import asked
from tests.lab import forger, scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


async def forge(
    home: House, *entries: tuple[str, str, dict[str, Any], str], also: Callable[..., None] | None = None
) -> None:
    def write() -> None:
        with forger.opened(str(home.folder / "journal.db")) as database:
            for one in entries:
                forger.add(database, *one)
            if also is not None:
                also(database)

    # In a thread: who has the database's lock meanwhile needs this loop to let it go.
    await asyncio.to_thread(write)


async def frozen(home: House, incident: str) -> str:
    """Wait until an incident is left to a person and people are told, and return why."""

    async def so() -> bool:
        row = await home.journal.stream(f"incident/{incident}")
        return row is not None and row.frozen is not None

    await home.until(so, f"{incident} is frozen")
    row = await home.journal.stream(f"incident/{incident}")
    told = project("system", await home.journal.read("telling/system"))
    page = told.pages[f"fault:frozen:{incident}"]
    assert f"`mcp-soar verify {incident}` names the entries; then restore a backup" in page.text
    assert row is not None
    return str(row.frozen)


async def faults(home: House) -> set[tuple[str, int]]:
    return {fault[:2] for fault in await home.journal.verify(public_keys=list(home.parts.keys.values()))}


async def test_a_forged_approval_freezes_its_incident_and_everything_else_goes_on(lab: Lab, tmp_path: Path) -> None:
    async with asked(lab, tmp_path) as (home, name, step):
        assert step.plan is not None
        decided = {"digest": step.plan.digest, "verb": "approve", "actor": "bob", "reason": "", "behalf": None}
        stream = f"incident/{name}"
        await forge(home, (stream, "decided", {**decided, "way": "key", "receipt": ""}, "bob"))
        # People are told meanwhile, so which place the forged one got is what the reason says.
        named = re.search(r"entry (\d+): no head says that its commit added it", await frozen(home, name))
        assert named
        assert lab.proxy.writes == []
        assert await scenes.enabled(lab, "get_weather")
        # Another one goes its way, to the effect that people really approve.
        await home.receive(alert(lab.site.server_id, "get_forecast"))

        async def opened() -> bool:
            return len(await home.journal.streams("incident/")) == 2

        await home.until(opened, "a second one is opened")
        other = (await home.journal.streams("incident/"))[0].name.removeprefix("incident/")
        cut = await scenes.proposed(home, other, scenes.cut_of(lab, "get_forecast"))
        await scenes.approve(home, "bob", other, cut)
        await scenes.established(home, other, cut.instance)
        assert not await scenes.enabled(lab, "get_forecast")
        assert await faults(home) == {(stream, int(named[1]))}


async def test_a_forged_release_gives_nothing_back(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.settled((await home.reaches(Status.CONTAINED)).id)).id
        lab.victim.behave()
        wish = {"verb": "release", "actor": "ann", "nonce": "n" * 32, "accepted": True, "reason": "", "params": {}}
        await forge(home, (f"incident/{name}", "request", wish, "ann"))
        await frozen(home, name)
        assert not await scenes.enabled(lab, "get_weather")


async def test_no_row_lifts_a_stop_and_none_makes_a_second_person(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.ask("ann", Verb.STOP, "everything", reason="a change window")
        await scenes.taken_in(home)
        (stop,) = await home.journal.stops()
        resume = {"scope": stop.scope, "by": "bob", "reason": "over", "number": stop.seq}
        await forge(home, (SYSTEM, "resume_asked", resume, "bob"), also=forger.lift)
        await home.receive(alert(lab.site.server_id, "get_weather"))
        await home.ask("ann", Verb.RESUME, "everything", reason="over")
        await scenes.taken_in(home)
        assert [entry.body["by"] for entry in await home.system("resume_asked")] == ["ann"]
        (incident,) = await home.incidents()
        await home.settled(incident.id)
        assert await home.journal.stops() == [stop]
        assert lab.proxy.writes == []
        assert {entry.body["stream"] for entry in await home.system("set_apart")} == {SYSTEM, SWITCHES}
        told = project("system", await home.journal.read("telling/system"))
        named = [one.rpartition(":")[0] for one in told.pages if one.startswith("fault:unsigned:")]
        assert sorted(named) == [f"fault:unsigned:{SWITCHES}", f"fault:unsigned:{SYSTEM}"]
        assert {place.partition("/")[0] for place, _ in await faults(home)} == {"unsigned"}
        # And people can still end it.
        await home.ask("bob", Verb.RESUME, "everything", reason="over")
        await home.reaches(Status.CONTAINED, incident.id)
