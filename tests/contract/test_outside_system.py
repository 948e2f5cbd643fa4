"""A system that stands outside the package and in the list is found everywhere; one that says too little does not load.

What is held to it is what every system gets for nothing: names of steps, laws, connections, secrets, doctor, orphans,
the gate's *ours*, words, and the inventory's check of what is written of it.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from flows.service.assembly import secret_variables
from flows.service.settings import read
from integrations import registry
from integrations.system import System, Systems, Works
from playbooks.action import Capture
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.gateway import Entry
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import SystemSettings
from playbooks.gate.plan import Change, Plan, Radius, Target
from playbooks.gate.policy import Facts, Outcome, Policy, decide
from playbooks.gate.rules import Mode
from playbooks.people.contacts import Language
from playbooks.people.request import Verb
from playbooks.record.incident import Confidence, Severity, Status
from playbooks.strict import parse_yaml
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import said
from tests.contract import laws
from tests.flows.cli import world
from tests.flows.cli.conftest import initialised, site  # noqa: F401  # fixtures
from tests.flows.cli.world import Installation
from tests.lab import flags
from tests.lab.connected import connected
from tests.lab.house import ROOMY, house
from tests.lab.yard import SYSTEM, FlagDown, LowerFlag, Pole, Yard, YardSettings

HAS = "a server's place on a yard has pole"
POISONING = IncidentClass.TOOL_POISONING


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> Systems:
    """The list with one more system in it: all that whoever adds one does outside its folder."""
    systems = Systems((*registry.SYSTEMS.all, SYSTEM))
    monkeypatch.setattr(registry, "SYSTEMS", systems)
    return systems


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "yard"
    folder.mkdir()
    for pole in ("north", "OUR-OWN"):
        (folder / pole).write_text("up")
    monkeypatch.setenv("YARD_PASSWORD", "sesame")
    return folder


def text(folder: Path, *, kind: str = "yard", place: str = "{pole: north}") -> str:
    """Return an inventory with a yard in it."""
    settings = f"kind: {kind}, folder: {folder}, password: {{env: YARD_PASSWORD}}, our_pole: OUR-OWN"
    placed = world.INVENTORY.replace(
        "places: {main: {id: g-1}}", f"places:\n      main: {{id: g-1}}\n      back: {place}"
    )
    return placed.replace("servers:\n", f"  back: {{{settings}}}\nservers:\n")


@pytest.fixture
def inventory(yard: Path, listed: Systems) -> Inventory:
    return parse_yaml(Inventory, text(yard), file="inventory.yaml", context=listed.context)


@pytest.fixture
def installed(site: Installation, yard: Path) -> Installation:  # noqa: F811  # the fixture
    (site.folder / "inventory.yaml").write_text(text(yard), encoding="utf-8")
    return site


def state(folder: Path) -> laws.State:
    async def now() -> bytes:
        files = sorted(folder.iterdir())  # noqa: ASYNC240  # two of them
        return b"".join(file.name.encode() + file.read_bytes() for file in files)

    return now


def test_its_steps_are_among_those_that_a_playbook_can_name(installed: Installation, listed: Systems) -> None:
    shown = {row["step"]: row for row in installed.json("playbooks", "steps")["steps"]}
    assert set(shown) == set(listed.steps)
    assert shown["yard.lower_flag"] == {
        "step": "yard.lower_flag",
        "kind": "action",
        "system": "yard",
        "does": "Takes a server's flag down.",
        "parameters": ["server", "system"],
        "radius": "tool",
        "irreversible": None,
        "exhibit": None,
        "permissions": ["read flag", "write flag"],
    }
    assert "Takes a server's flag down." in installed.run("playbooks", "steps", "yard.lower_flag").stdout
    for step in listed.works["yard"].steps:
        assert step.permissions
        assert (step.silence if issubclass(step, Capture) else step.timeout) > 0
    folder = installed.folder / "playbooks"
    folder.mkdir(exist_ok=True)
    shipped = (Path(__file__).parents[2] / "playbooks/catalog/tool_poisoning.yaml").read_text(encoding="utf-8")
    own = folder / "tool_poisoning.yaml"
    before, cut, after = shipped.partition("action: gateway.disable_tool")
    assert cut
    own.write_text(
        f"{before}action: yard.lower_flag\n      with: {{tool: {{from: entity.id}}}}{after}", encoding="utf-8"
    )
    assert "yard.lower_flag takes server" in json.dumps(installed.json("playbooks", "lint", str(own), code=1))
    own.write_text(f"{before}action: yard.lower_flag{after}", encoding="utf-8")
    assert "yard" not in json.dumps(installed.json("playbooks", "lint", str(own), code=1)), "only its drill is missing"


def test_a_server_that_stands_there_alone_can_be_cut(installed: Installation, yard: Path) -> None:
    at, stands = "      main: {id: g-1}\n", installed.folder / "inventory.yaml"

    def told() -> bool:
        found = installed.json("inventory", "check")["findings"]
        return any("nothing of it can be cut" in one["message"] for one in found)

    without = text(yard).replace(at, "")
    stands.write_text(without, encoding="utf-8")
    assert not told()
    stands.write_text(without.replace("    places:\n      back: {pole: north}\n", ""), encoding="utf-8")
    assert told()


async def test_its_action_is_held_to_the_laws(inventory: Inventory, yard: Path, listed: Systems) -> None:
    reached, intent = connected(inventory), LowerFlag(server="weather")
    await laws.plan_only_reads(intent, reached, state(yard))
    await laws.speaks_every_language(intent, reached, listed.words)
    await laws.the_inverse_restores(intent, reached, state(yard))
    await laws.twice_is_once(intent, reached, state(yard))
    assert (yard / "north").read_text() == "down"


async def test_it_is_connected_warmed_and_closed(inventory: Inventory) -> None:
    reached = connected(inventory)
    with pytest.raises(SoarError, match="main"):
        await reached.warm()
    there = reached.reach(Yard, "back")
    assert there.warm, "that a gateway does not answer is nothing to it"
    assert reached.with_inventory(inventory).reach(Yard, "back") is there
    await reached.aclose()
    assert there.closed


def test_a_plan_says_what_would_be_done_at_a_place_and_where_there_is_none(installed: Installation, yard: Path) -> None:
    (installed.folder / "playbooks").mkdir(exist_ok=True)
    step = {"id": "lower", "action": LowerFlag.name, "for": "server", "at": "yard", "why": "test"}
    (book,) = flags.playbook(step, version=2).values()
    (installed.folder / "playbooks" / "tool_poisoning.yaml").write_text(book.text, encoding="utf-8")
    words = ("plan", "--class", "tool_poisoning", "--server", "weather")
    # A person who names a whole server means it at the gateway too, for which this playbook has no cut.
    planned, chosen = installed.json(*words)["plans"]
    assert (planned["step"], planned["summary"]) == ("cut: lower@back:weather", "Lower the flag at north pole")
    assert chosen["step"] == "cut: chosen-server@weather"
    placed, place = text(yard), "      back: {pole: north}\n"
    assert place in placed
    (installed.folder / "inventory.yaml").write_text(placed.replace(place, ""), encoding="utf-8")
    document = installed.json(*words)
    assert [plan["step"] for plan in document["plans"]] == [chosen["step"]]
    assert any("server weather has no place in Yard" in note for note in document["notes"])


async def test_the_engine_contains_there_and_gives_back(inventory: Inventory, yard: Path, tmp_path: Path) -> None:
    step = {"id": "lower", "action": LowerFlag.name, "for": "tool", "with": {"server": {"from": "entity.server"}}}
    playbooks = flags.playbook({**step, "why": "test"})
    async with house(tmp_path / "house", connected(inventory), policy=ROOMY) as made:
        home = made.changed(steps=registry.SYSTEMS.steps, playbooks=playbooks)
        async with home.responding():
            await flags.respond(home)
            incident = await home.reaches(Status.CONTAINED)
            assert (yard / "north").read_text() == "down"
            assert {hold.grip for hold in await home.journal.holds()} == {"yard/back/pole/north#flag"}
            await home.ask("ann", Verb.RELEASE, incident.id, reason="it was a drill")
            await home.given_back(incident.id)
    assert (yard / "north").read_text() == "up"


def test_its_secret_is_looked_for_and_kept_from_the_parts_that_need_none(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, doors = secret_variables(installed.config)
    assert "YARD_PASSWORD" in targets
    assert "YARD_PASSWORD" not in doors
    monkeypatch.delenv("YARD_PASSWORD")
    checks = installed.json("doctor", code=1)["checks"]
    assert any("YARD_PASSWORD" in one["message"] for one in checks if one["check"] == "secrets")


def test_the_inventory_shows_it_and_checks_its_secret(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    document = installed.json("inventory", "show")
    assert document["systems"]["back"]["kind"] == "yard"
    assert document["servers"]["weather"]["places"] == {"main": {"id": "g-1"}, "back": {"pole": "north"}}
    assert "sesame" not in json.dumps(document)
    assert "yard" in installed.run("inventory", "show").stdout
    installed.json("inventory", "check")
    monkeypatch.delenv("YARD_PASSWORD")
    (finding,) = [one for one in installed.json("inventory", "check", code=1)["findings"] if one["level"] == "fail"]
    assert finding["subject"] == "system back"
    assert "systems.back.password" in finding["message"]


def looked(installed: Installation) -> list[tuple[str, str]]:
    """Return what doctor says of the yard beside that its gate is open."""
    checks = installed.json("doctor", code=1)["checks"]
    (first, *rest) = [(one["level"], one["message"]) for one in checks if one["check"] == "yard back"]
    assert first == ("ok", "its gate is open")
    return rest


def test_doctor_looks_at_it_and_names_the_incident_that_holds_what_is_down(installed: Installation, yard: Path) -> None:
    assert looked(installed) == []
    (yard / "north").write_text("down")
    assert looked(installed) == [("warn", "flag of weather is down, and no incident holds it")]
    installed.append(world.opened())
    installed.hold("yard/back/pole/north#flag", before="up", after="down")
    assert looked(installed) == [("ok", f"flag of weather is down: {world.ID} holds it so")]


def test_what_is_down_there_and_nobody_holds_is_an_orphan(installed: Installation, yard: Path) -> None:
    installed.append(world.opened())

    def found() -> list[tuple[str, str]]:
        document = json.loads(installed.run("doctor", "--orphans", "--json").stdout)
        assert [one["gateway"] for one in document["unasked"]] == ["main"], "its gateway does not answer"
        return [(one["finding"], one["name"]) for one in document["orphans"] if one["gateway"] == "back"]

    assert found() == []
    (yard / "north").write_text("down")
    assert found() == [("orphan", "flag of weather")]
    (yard / "north").unlink()
    assert found() == [("gone", "flag of weather")]


def test_a_yard_that_cannot_be_asked_is_not_called_clean(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed.append(world.opened())
    monkeypatch.delenv("YARD_PASSWORD")
    document = installed.json("doctor", "--orphans", code=5)
    assert {one["system"] for one in document["unasked"]} == {"gateway/main", "yard/back"}
    assert "yard back could not be asked" in installed.run("doctor", "--orphans").stdout


def twice(folder: Path) -> str:
    """Return an inventory that lists the yard once more, under a name by which nothing of it is ours."""
    again = f"{{kind: yard, folder: {folder}/., password: {{env: YARD_PASSWORD}}, our_pole: nothing}}"
    return text(folder).replace("servers:\n", f"  again: {again}\nservers:\n")


def test_a_place_that_is_listed_twice_is_warned_of_once(installed: Installation, yard: Path) -> None:
    def told() -> list[tuple[str, str]]:
        findings = installed.json("inventory", "check")["findings"]
        return [(one["level"], one["subject"]) for one in findings if "are one place" in one["message"]]

    assert told() == []
    (installed.folder / "inventory.yaml").write_text(twice(yard), encoding="utf-8")
    assert told() == [("warn", "system again")]
    checks = installed.json("doctor", code=1)["checks"]
    assert any("again and back are one place" in one["message"] for one in checks)


def lowering(pole: str, system: str = "yard/back", *, kind: str = "pole") -> Plan:
    target = Target(system=system, kind=kind, id=pole, name=pole, server="weather")
    change = Change(target=target, field="flag", before="up", after="down")
    return Plan(action=LowerFlag.name, params={}, summary=f"Lower {pole}", changes=(change,), radius=Radius.TOOL)


@pytest.mark.parametrize(
    ("plan", "outcome"),
    [
        (lowering("north"), Outcome.ALLOW),
        (lowering("OUR-OWN"), Outcome.DENY),
        (lowering("our-own"), Outcome.DENY),
        (lowering(" OUR-OWN "), Outcome.DENY),
        (lowering("./OUR-OWN"), Outcome.DENY),
        (lowering("x/../OUR-OWN"), Outcome.DENY),
        (lowering("x%2F..%2FOUR-OWN/"), Outcome.DENY),
        (lowering("x\\..\\OUR-OWN."), Outcome.DENY),
        (lowering("north", kind="flag"), Outcome.DENY),
        (lowering("OUR-OWN", kind="poles"), Outcome.DENY),
        (lowering("north", "yard/again"), Outcome.ALLOW),
        (lowering("OUR-OWN", "yard/again"), Outcome.DENY),
        (lowering("north", "yard/other"), Outcome.DENY),
        (lowering("north", "shed/back"), Outcome.DENY),
    ],
    ids=lambda value: str(value.changes[0].target.key) if isinstance(value, Plan) else "",
)
def test_the_gate_knows_what_is_ours_there(yard: Path, listed: Systems, plan: Plan, outcome: Outcome) -> None:
    inventory = parse_yaml(Inventory, twice(yard), file="inventory.yaml", context=listed.context)
    policy = Policy.model_validate({**ROOMY.model_dump(exclude={"rules"}), "classes": {POISONING: Mode.AUTOMATIC}})
    facts = Facts(
        incident_class=POISONING,
        severity=Severity.CRITICAL,
        confidence=Confidence.HIGH,
        authenticated=True,
        confirmed=True,
    )
    assert decide(plan, policy, facts, inventory, ()).outcome is outcome


def test_what_it_says_is_said_in_korean(listed: Systems) -> None:
    assert said("Nobody sees the flag of weather.", Language.KO, listed.words) == "weather의 깃발이 보이지 않음"
    assert said("Disable tool add at gateway main", Language.KO, listed.words) != "Disable tool add at gateway main"


class Silent(SystemSettings):
    """Of which nobody says what is ours."""

    @override
    def address(self) -> str:
        return "here"


class Nowhere(YardSettings):
    """Of which nobody says where it is."""

    @override
    @abstractmethod
    def address(self) -> str: ...


class Kindless(YardSettings):
    """Of which nobody says what it has."""

    kinds: ClassVar[frozenset[str]] = frozenset()


class Mute(FlagDown):
    name: ClassVar[str] = "yard.mute"


def speechless() -> Mapping[Language, Any]:
    return {}


def saying(*pairs: tuple[str, str]) -> System:
    """Return the system with something else to say in Korean."""
    return replace(SYSTEM, words=lambda: {Language.KO: pairs})


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (replace(SYSTEM, words=None), "system yard has no words"),
        (replace(SYSTEM, words=speechless), "system yard has no words in ko"),
        (
            saying(("it is no longer there", "사라짐")),
            "kubernetes and yard say 'it is no longer there' differently in ko",
        ),
        (saying(("its {x} is {y}.", "{y}: {x}")), "kubernetes and yard say 'its {x} is {y}.' differently in ko"),
        (
            saying(("class {z} needs a person", "모름")),
            "mcp-soar and yard say 'class {z} needs a person' differently in ko",
        ),
        (saying(("a {a}", "{a}"), ("a {b}", "그 {b}")), "yard and yard say 'a {b}' differently in ko"),
        (replace(SYSTEM, works=lambda: Works((Mute,), {})), "system yard has no words for yard.mute"),
        (replace(SYSTEM, settings=Silent), "system yard does not say what is ours there"),
        (replace(SYSTEM, settings=Nowhere), "system yard does not say where it is"),
        (replace(SYSTEM, settings=Kindless), "system yard does not say which kinds of object it has"),
        (replace(SYSTEM, settings=None, place=None), "system yard acts, and does not say what is ours there"),
        (replace(SYSTEM, kind="vault"), "no system can be called vault"),
        (replace(SYSTEM, kind="mcp"), "two systems are called mcp"),
        (replace(SYSTEM, kind="other"), "another step is called yard.lower_flag"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_that_says_too_little_does_not_load(listed: Systems, broken: System, says: str) -> None:
    def load() -> Iterator[object]:
        systems = Systems((*(one for one in listed.all if one is not SYSTEM or broken.kind == "other"), broken))
        yield from (systems.steps, systems.words)

    with pytest.raises(Misconfigured, match=says):
        list(load())


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        ({"kind": "shed"}, "systems.back.kind", "there is no kind of system 'shed'; there is contextforge, "),
        ({"place": "{mast: north}"}, "servers.weather.places.back.mast", f"is not a field here; {HAS}"),
        ({"place": "{}"}, "servers.weather.places.back.pole", f"is missing; {HAS}"),
    ],
    ids=["unknown kind", "unknown field", "nothing"],
)
def test_what_is_written_of_it_wrongly_is_refused_where_it_stands(
    installed: Installation, yard: Path, changed: dict[str, str], field: str, says: str
) -> None:
    file = installed.folder / "inventory.yaml"
    file.write_text(text(yard, **changed), encoding="utf-8")
    with pytest.raises(Misconfigured) as caught:
        read(installed.folder)
    lines = file.read_text().splitlines()
    assert lines[(caught.value.line or 0) - 1].lstrip().startswith("back:")
    assert f"{field}: {says}" in str(caught.value)


def test_a_place_on_a_system_that_is_not_there_names_those_that_are(installed: Installation, yard: Path) -> None:
    written = text(yard).replace("      back: {pole", "      front: {pole")
    (installed.folder / "inventory.yaml").write_text(written, encoding="utf-8")
    with pytest.raises(Misconfigured, match="no system is called 'front'; there is back, main"):
        read(installed.folder)


def test_a_place_there_is_one_among_others(inventory: Inventory) -> None:
    assert inventory.servers["weather"].places == {"main": Entry(id="g-1"), "back": Pole(pole="north")}
    assert set(inventory.systems) == {"main", "back"}
    assert set(inventory.gateways) == {"main"}
