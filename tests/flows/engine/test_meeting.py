"""At what alerts meet: the taxonomy says it, so that one compromised server is one incident and not thirty."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine.intake import intake
from flows.engine.opening import about, meeting
from playbooks.estate.inventory import Resolved
from playbooks.estate.standing import GROUNDS
from playbooks.record.incident import Entity, EntityKind
from playbooks.taxonomy import IncidentClass, load
from tests.flows.engine.test_joined import home, known
from tests.lab.house import SOURCES, House, alert, source

TOOLS = [f"tool-{n}" for n in range(30)]
CLASSIFY = [{"tag": one.value, "class": one.value} for one in IncidentClass if one.actionable]
COMPROMISED = IncidentClass.SERVER_COMPROMISE


def thing(kind: EntityKind, n: int) -> Resolved:
    """Return something of one of three servers, or of one of three people."""
    if kind is EntityKind.SERVER:
        return Resolved(kind=kind, id=f"s{n}", server=f"s{n}")
    if kind in {EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE}:
        return Resolved(kind=kind, id=f"x{n}", server=f"s{n % 3}")
    owner = f"p{n % 3}"
    return Resolved(kind=kind, id=owner if kind is EntityKind.PRINCIPAL else f"t{n}", principal=owner)


RESOLVABLE = [kind for kind in EntityKind if kind not in GROUNDS]
THINGS = st.lists(st.builds(thing, st.sampled_from(RESOLVABLE), st.integers(0, 8)), min_size=1, max_size=6)
CLASSES = st.sampled_from(IncidentClass)


def opened_under_before(incident_class: IncidentClass, entities: Sequence[Resolved]) -> str:
    """Return the key that the releases before opened an incident under: that of the most specific thing."""
    order = {kind: place for place, kind in enumerate(load().of(incident_class).entities)}
    ranked = sorted(entities, key=lambda entity: (order.get(entity.kind, len(order)), entity.key))
    return f"{incident_class}|{ranked[0].key}"


@given(CLASSES, THINGS, st.randoms(use_true_random=False))
def test_where_alerts_meet_does_not_depend_on_the_order_of_what_they_name(
    incident_class: IncidentClass, entities: list[Resolved], random: "object"
) -> None:
    keys = meeting(incident_class, entities)
    shuffled = list(entities)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # what hypothesis gives has no public type
    assert meeting(incident_class, shuffled) == keys
    assert 1 <= len(keys) <= 2
    assert keys[-1] == opened_under_before(incident_class, entities), "what an earlier release opened is found"


@given(CLASSES, THINGS)
def test_they_meet_at_the_first_that_the_taxonomy_names(
    incident_class: IncidentClass, entities: list[Resolved]
) -> None:
    places = {thing.kind for thing in entities}
    places |= {EntityKind.SERVER for thing in entities if thing.server}
    places |= {EntityKind.PRINCIPAL for thing in entities if thing.principal}
    first = next((kind for kind in load().of(incident_class).meets if kind in places), None)
    if first is not None:
        assert meeting(incident_class, entities)[0].startswith(f"{incident_class}|{first}:")


@given(st.lists(st.sampled_from(TOOLS), min_size=1, max_size=5), st.lists(st.sampled_from(TOOLS), min_size=1))
def test_two_alerts_of_one_compromised_server_always_meet(one: list[str], other: list[str]) -> None:
    inventory = known(*TOOLS)
    keys = []
    for names in (one, other):
        named = [inventory.resolve(Entity(kind=EntityKind.TOOL, name=name, server="weather")) for name in names]
        found = about(inventory, COMPROMISED, list(filter(None, named)))
        assert [entity.id for entity in found if entity.kind is EntityKind.SERVER] == ["weather"]
        keys.append(meeting(COMPROMISED, found)[0])
    assert keys[0] == keys[1]


def at(made: House) -> House:
    lab = source(authentication="none", confidence="low", classify=CLASSIFY)
    sources = SOURCES.model_copy(update={"sources": {"siem": source(classify=CLASSIFY), "lab": lab}})
    return made.changed(sources=sources)


def compromised(tool: str, name: str) -> bytes:
    """Return an alert that names a tool of the server that it is about, and not the server itself."""
    named = [{"kind": "tool", "name": tool, "server": "weather"}]
    return alert("weather", id=name, entities=named, tags=["server_compromise"])


async def test_one_compromised_server_is_one_incident_and_not_thirty(tmp_path: Path) -> None:
    async with home(tmp_path, *TOOLS) as house:
        made = at(house)
        for tool in TOOLS:
            await made.receive(compromised(tool, f"a-{tool}"))
        await intake(made.parts)
        (one,) = await made.incidents()
        assert one.key == "server_compromise|server:weather/weather"
        assert {entity.kind for entity in one.entities.values()} == {EntityKind.SERVER, EntityKind.TOOL}
        assert len(one.entities) == len(TOOLS) + 1
        assert one.triage is None, "the server is what it is about, though each alert names but a tool"


async def test_what_an_earlier_release_opened_under_a_tool_takes_its_alerts_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home(tmp_path, *TOOLS) as house:
        made = at(house)
        with monkeypatch.context() as before:
            before.setattr("flows.engine.alerts.about", lambda _inventory, _class, known: list(known))
            before.setattr("flows.engine.alerts.meeting", lambda of, found: (opened_under_before(of, found),))
            await made.receive(compromised("tool-1", "old"))
            await intake(made.parts)
        (old,) = await made.incidents()
        assert old.key == "server_compromise|tool:weather/tool-1"
        await made.receive(compromised("tool-1", "new"))
        await made.receive(compromised("tool-2", "other"))
        await intake(made.parts)
        first, second = await made.incidents()
        assert [seen.external_id for seen in first.alerts] == ["old", "new"]
        assert second.key == "server_compromise|server:weather/weather"


def unknown(*named: tuple[str, str], found: str = "", **more: Any) -> bytes:  # noqa: ANN401  # fields of the alert
    """Return an alert about what nobody knows."""
    entities = [{"kind": kind, "name": name} for kind, name in named]
    marks = [{"kind": "indicator", "value": found}] if found else []
    return alert("-", entities=entities, marks=marks, tags=["command_and_control"], **more)


async def test_what_nobody_knows_meets_at_its_server_or_at_what_was_found(tmp_path: Path) -> None:
    async with home(tmp_path) as house:
        made = at(house)
        for n in range(5):
            await made.receive(unknown(("server", "shadow"), ("tool", f"tool-{n}")))
            await made.receive(unknown(("workspace", f"laptop-{n}"), found="https://evil.example/x"))
        await made.receive(unknown(("server", "other"), found="https://evil.example/x"))
        await intake(made.parts)
        counts = sorted(len(one.alerts) + sum(count.number for count in one.counted) for one in await made.incidents())
        assert len(counts) == 3, "one server, one indicator, another server"


async def test_who_does_not_prove_who_they_are_has_one_place_for_all_that_nobody_knows(tmp_path: Path) -> None:
    async with home(tmp_path) as house:
        made = at(house)
        for n in range(5):
            await made.receive(unknown(("workspace", f"laptop-{n}"), found=f"https://evil.example/{n}"), "lab")
        await intake(made.parts)
        assert len(await made.incidents()) == 1


async def test_a_flood_of_things_that_nobody_knows_still_meets_in_one(tmp_path: Path) -> None:
    async with home(tmp_path) as house:
        made = at(house)
        for n in range(30):
            await made.receive(unknown(("workspace", "laptop"), found=f"https://evil.example/{n}"))
        await intake(made.parts)
        assert len(await made.incidents()) == made.parts.policy.intake.unknown + 1
