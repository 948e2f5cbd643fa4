"""Giving back what another cut holds too: people are asked once at most, and told what stays off because of whom."""

from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from flows.engine import schedule
from playbooks.action import World
from playbooks.gate.plan import Plan
from playbooks.gate.rules import Mode
from playbooks.people.request import Verb
from playbooks.playbook import Playbook
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.taxonomy import IncidentClass
from tests.lab import flags, scenes
from tests.lab.flags import CUT, NEW, SetFlags, SetServersFlags
from tests.lab.house import ROOMY, House

ASKED = {IncidentClass.TOOL_POISONING: Mode.APPROVE, IncidentClass.SERVER_COMPROMISE: Mode.APPROVE}
POLICY = ROOMY.model_copy(update={"classes": ASKED})
WHOLE = "cut-server@weather"
TOOL: dict[str, Any] = {"kind": "tool", "name": "forecast", "server": "weather"}
SERVER: dict[str, Any] = {"kind": "server", "name": "weather"}


class SetFirst(SetFlags):
    """Turns the first flag of a folder off."""

    name: ClassVar[str] = "test.set_first"

    @override
    async def plan(self, world: World) -> Plan:
        plan = await super().plan(world)
        return plan.model_copy(update={"changes": plan.changes[:1]})


STEPS = {**flags.WITH_FLAGS, SetFirst.name: SetFirst}


def books(folder: Path) -> dict[IncidentClass, Playbook]:
    """Return playbooks that cut a tool, and its whole server where that is named, and ask whether it is healed."""
    healthy = [flags.healthy(folder)]
    whole = flags.step(folder, id="cut-server", action=SetServersFlags.name, when="named", **{"for": "server"})
    cuts = (flags.step(folder, action=SetFirst.name), whole)
    (one,) = flags.playbook(*cuts, eradicate=healthy).values()
    return {class_: one.model_copy(update={"class_": class_, "id": class_.value}) for class_ in ASKED}


async def contained(home: House, class_: IncidentClass, entity: dict[str, Any]) -> Incident:
    """Have ann contain something in an incident of its own, and bob approve it."""
    known = {incident.id for incident in await home.incidents()}
    params = {**NEW, "class": class_.value, "entities": [entity], "exact": True}
    await home.ask("ann", Verb.RESPOND, "new", reason="seen", params=params)
    await scenes.taken_in(home)
    (name,) = {incident.id for incident in await home.incidents()} - known
    return await approved(home, name, entity)


async def approved(home: House, name: str, entity: dict[str, Any]) -> Incident:
    """Have bob approve a cut that is asked about."""
    cut = CUT if entity["kind"] == "tool" else WHOLE
    await scenes.approve(home, "bob", name, await scenes.proposed(home, name, cut))
    await scenes.established(home, name, cut)
    return await home.reaches(Status.CONTAINED, name)


async def questions(home: House, name: str) -> list[str]:
    """Return the releases that people were asked about, in order."""
    asked = [entry.body for entry in await scenes.entries(home, name) if entry.kind == "proposed"]
    return [body["instance"] for body in asked if body["purpose"] == "release"]


async def test_a_tool_whose_server_another_incident_holds_stays_off_and_everybody_is_told_by_which(
    tmp_path: Path,
) -> None:
    folder = flags.flags(tmp_path / "flags", "a", "b")
    async with (
        flags.installation(tmp_path, books(folder), policy=POLICY, watch_every=0.2, steps=STEPS) as home,
        home.responding(),
    ):
        (folder / "poisoned").touch()
        one = await contained(home, IncidentClass.TOOL_POISONING, TOOL)
        other = await contained(home, IncidentClass.SERVER_COMPROMISE, SERVER)
        await home.ask("ann", Verb.RELEASE, one.id, reason="enough")
        step = await scenes.proposed(home, one.id, schedule.release_of(CUT))
        assert any(f"tool a of weather stays off, because {other.id} holds it too" in why for why in step.reasons)
        await scenes.approve(home, "bob", one.id, step)
        state = await home.given_back(one.id)
        assert await questions(home, one.id) == [schedule.release_of(CUT)]
        assert flags.states(folder) == "off off"
        said = "\n".join(f"{line.what}\n{line.detail}" for line in state.timeline)
        assert f"stays off, because {other.id} holds it too" in said
        assert "gateway/main" not in said, "an internal path is no word for people"
        assert (await home.incident(other.id)).status is Status.CONTAINED


async def test_a_tool_and_its_server_in_one_incident_are_asked_about_once(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags", "a", "b")
    async with (
        flags.installation(tmp_path, books(folder), policy=POLICY, watch_every=0.2, steps=STEPS) as home,
        home.responding(),
    ):
        (folder / "poisoned").touch()
        name = (await contained(home, IncidentClass.TOOL_POISONING, TOOL)).id
        await home.ask("ann", Verb.RESPOND, name, reason="all of it", params={"entities": [SERVER]})
        await approved(home, name, SERVER)
        await home.ask("ann", Verb.RELEASE, name, reason="enough")
        step = await scenes.proposed(home, name, schedule.release_of(WHOLE))
        await scenes.approve(home, "bob", name, step)
        state = await home.given_back(name)
        assert await questions(home, name) == [schedule.release_of(WHOLE)], "whoever agreed saw all that comes back"
        assert {lease.released_at is None for lease in state.leases.values()} == {False}
        assert state.steps[schedule.release_of(CUT)].progress is Progress.RELEASED
        assert flags.states(folder) == "on on"
        assert await home.journal.holds() == []
