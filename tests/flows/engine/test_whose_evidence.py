"""Whose an exhibit is: its number stays, another is never taken for it, and it stands for nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from flows.engine import evidence
from flows.engine.case import Case
from flows.engine.schedule import Todo
from playbooks.estate.inventory import Resolved
from playbooks.playbook import shipped
from playbooks.record.incident import EntityKind, Phase, Status
from playbooks.record.state import Incident, instance_of
from playbooks.record.step import Progress
from playbooks.taxonomy import IncidentClass
from tests.lab import exhibits, flags, scenes
from tests.lab.flags import KeepFlags, WipeFlags
from tests.lab.house import House

SERVERS = ("a", "b", "c")
THINGS = [
    Resolved(kind=kind, id=name, server=server)
    for server in SERVERS
    for kind, name in ((EntityKind.TOOL, "x"), (EntityKind.PROMPT, "x"), (EntityKind.SERVER, server))
]
THINGS += [Resolved(kind=EntityKind.PRINCIPAL, id=name, principal=name) for name in SERVERS]


def numbers(joined: list[Resolved]) -> dict[str, int]:
    """Return the numbers of all that is captured of an incident, by step and whole key."""
    state = Incident("inc-2026-000001", whole_names=True, entities={item.key: item for item in joined})
    case = cast("Case", SimpleNamespace(state=state, playbook=shipped()[IncidentClass.TOOL_POISONING]))
    homes = [Resolved(kind=EntityKind.SERVER, id=server, server=server) for server in state.servers]
    found = {}
    for step in ("capture-definitions", "capture-answer"):
        for entity in {item.key: item for item in (*joined, *homes)}.values():
            todo = Todo(instance_of(step, entity), Phase.CAPTURE, "capture", "-", entity=entity.key)
            found[f"{step} {entity.key}"] = evidence.number_of(case, todo)
    return found


@given(st.lists(st.sampled_from(THINGS), min_size=1, unique_by=lambda item: item.key), st.data())
def test_what_joins_later_moves_no_exhibit_s_number(joined: list[Resolved], data: st.DataObject) -> None:
    known = data.draw(st.integers(1, len(joined)))
    before, after = numbers(joined[:known]), numbers(joined)
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after), "and no two have one"


async def test_another_s_exhibit_at_its_place_is_not_taken_for_its_own(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags")
    keep = {"id": "keep", "capture": KeepFlags.name, "for": "tool", "with": {"tool": {"from": "entity.id"}}}
    book = flags.playbook(flags.step(folder), capture=[{**keep, "why": "test"}])
    async with flags.installation(tmp_path, book) as home:
        # What an older release numbered so, and died before it could say it.
        files = await exhibits.gathered(KeepFlags(tool="other"), home.parts.world)
        about = {"tool": "other"}
        made = await exhibits.kept(
            home.parts.vault, "inc-2026-000001", 101, KeepFlags.exhibit, files, step="keep", params=about
        )
        async with home.responding():
            await flags.respond(home)
            incident = await home.settled((await opened(home)).id)
        (own,) = [item for item in incident.exhibits if item["kind"] == KeepFlags.exhibit]
        assert own["how"]["params"] == {"tool": "forecast"}
        assert own["id"] != made.id


async def opened(home: House) -> Incident:
    async def so() -> bool:
        return bool(await home.incidents())

    await home.until(so, "it is opened")
    return (await home.incidents())[0]


async def test_what_was_kept_of_one_tool_is_no_evidence_of_another(tmp_path: Path) -> None:
    folder = flags.flags(tmp_path / "flags")
    keep = {"id": "keep", "capture": KeepFlags.name, "for": "tool", "with": {"tool": {"from": "entity.id"}}}
    wipe = flags.step(folder, id="wipe", action=WipeFlags.name)
    book = flags.playbook(flags.step(folder), capture=[{**keep, "why": "test"}], eradicate=[wipe])
    async with flags.installation(tmp_path, book) as home, home.responding():
        await flags.respond(home, "forecast", "add")
        name = (await opened(home)).id
        await scenes.established(home, name, "wipe@weather/forecast")
        step = await scenes.proposed(home, name, "wipe@weather/add")
        assert step.reasons == ("it would destroy evidence that could not be collected: flags (keep@weather/add)",)
        incident = await home.reaches(Status.AWAITING_APPROVAL, name)
        assert incident.steps["keep@weather/forecast"].progress is Progress.SEALED
