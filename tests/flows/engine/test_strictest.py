"""Two incidents that want one field at different values: the stricter one holds, each gives back what is its own."""

from pathlib import Path

import pytest

from playbooks.errors import Refused
from playbooks.gate.plan import Change
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from tests.lab import flags, scenes
from tests.lab.flags import SetFlags, SetLevels, SetUnranked
from tests.lab.house import House

STEP = "cut-flags@weather"


async def about(home: House, tool: str) -> str:
    """Have a tool responded to, and return the incident that it is."""
    known = {incident.id for incident in await home.incidents()}
    await flags.respond(home, tool)
    await scenes.taken_in(home)
    (fresh,) = {incident.id for incident in await home.incidents()} - known
    return fresh


async def release_of(home: House, name: str, tool: str, progress: Progress) -> Incident:
    async def so() -> bool:
        step = (await home.incident(name)).steps.get(f"release-{STEP}/{tool}")
        return step is not None and step.progress is progress

    await home.until(so, f"the release of {name} is {progress}")
    return await home.incident(name)


@pytest.mark.parametrize("last", ["add", "forecast"])
@pytest.mark.parametrize("first", ["add", "forecast"])
async def test_the_strictest_of_those_that_are_left_holds(tmp_path: Path, first: str, last: str) -> None:
    folder = flags.flags(tmp_path / "flags", "a")
    book = flags.playbook(
        flags.step(folder, action=SetLevels.name, **{"with": {"folder": str(folder), "tool": {"from": "entity.id"}}})
    )
    async with flags.installation(tmp_path, book, watch_every=0.1) as home, home.responding():
        second = "forecast" if first == "add" else "add"
        names = {}
        for tool in (first, second):
            names[tool] = await about(home, tool)
            await home.reaches(Status.CONTAINED, names[tool])
        assert flags.states(folder) == "off"
        soonest = "forecast" if last == "add" else "add"
        await home.ask("ann", Verb.RELEASE, names[soonest], reason="healed")
        await home.given_back(names[soonest])
        assert flags.states(folder) == ("dim" if last == "add" else "off")
        await home.ask("ann", Verb.RELEASE, names[last], reason="healed")
        await home.given_back(names[last])
        assert flags.states(folder) == "on"
        assert await home.journal.holds() == []
        for name in names.values():
            kinds = [entry.kind for entry in await scenes.entries(home, name)]
            assert "failed" not in kinds
            assert kinds.count("intended") == 1, "and neither was taken for undone"


async def test_where_nobody_can_say_which_is_stricter_the_reason_says_so(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags", "a")
    book = flags.playbook(
        flags.step(folder, action=SetUnranked.name, **{"with": {"folder": str(folder), "tool": {"from": "entity.id"}}})
    )
    async with flags.installation(tmp_path, book) as home, home.responding():
        one = await about(home, "add")
        await home.reaches(Status.CONTAINED, one)
        other = await about(home, "forecast")

        async def said() -> bool:
            step = (await home.incident(other)).steps.get(f"{STEP}/forecast")
            return step is not None and f"{one} holds state of tool a of weather at" in step.message

        await home.until(said, "it says who holds what")
        message = (await home.incident(other)).steps[f"{STEP}/forecast"].message
        assert 'at "dim", and "off" is wanted here: nobody can say which is the stricter one' in message
        assert flags.states(folder) == "dim"
        await home.ask("ann", Verb.RELEASE, one, reason="healed")
        await home.reaches(Status.CONTAINED, other)


async def test_a_release_that_broke_off_keeps_nobody_from_containing_and_undoes_nothing_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    async def refuses(moment: str, change: Change) -> None:
        if (moment, change.target.name, change.after) == ("writing", "a", "on") and not refused:
            refused.append("a")
            raise Refused("no rights to")

    monkeypatch.setattr(SetFlags, "happens", refuses)
    folder = flags.flags(tmp_path / "flags", "a", "b")
    book = flags.playbook(flags.step(folder, action=SetFlags.name))
    async with flags.installation(tmp_path, book) as home, home.responding():
        one = await about(home, "add")
        await home.reaches(Status.CONTAINED, one)
        await home.ask("ann", Verb.RELEASE, one, reason="healed")
        await release_of(home, one, "add", Progress.FAILED)
        assert flags.states(folder) == "off on", "half of it is given back"
        other = await about(home, "forecast")
        await home.reaches(Status.CONTAINED, other)
        assert flags.states(folder) == "off off"
        # Asked again, it goes on, and leaves what the other one took.
        await home.ask("ann", Verb.RELEASE, one, reason="healed")
        await home.given_back(one)
        assert flags.states(folder) == "off off"
        await home.ask("ann", Verb.RELEASE, other, reason="healed")
        await home.given_back(other)
        assert flags.states(folder) == "on on"
