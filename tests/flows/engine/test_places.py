"""A step `at` a kind of system runs at each place there, and says where there is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from typing_extensions import override

from flows.cli.work import plan as planning
from flows.engine import choosing
from flows.engine.opening import triage
from flows.engine.schedule import Todo, ready
from flows.report.open_ends import tasks
from integrations import registry
from integrations.system import Systems
from playbooks.errors import Refused
from playbooks.estate.inventory import Inventory, Resolved
from playbooks.estate.places import Places
from playbooks.people.left import left
from playbooks.people.request import Verb
from playbooks.playbook import Playbook
from playbooks.record.incident import EntityKind, Phase, Status
from playbooks.record.journal import Event
from playbooks.record.proof import proof
from playbooks.record.state import Incident
from playbooks.record.step import LeaseState, Progress, StepState
from playbooks.record.viewing import view
from playbooks.strict import now, parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab import flags
from tests.lab.connected import connected
from tests.lab.house import ROOMY, house
from tests.lab.yard import SYSTEM, LowerFlag, PictureFlag
from tests.playbooks.test_state import incident

WEATHER = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
LOWER = {"id": "lower", "action": LowerFlag.name, "for": "server", "at": "yard", "why": "test"}
PICTURE = {"id": "picture", "capture": PictureFlag.name, "for": "server", "at": "yard", "why": "test"}
POISONING = IncidentClass.TOOL_POISONING


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> Systems:
    systems = Systems((*registry.SYSTEMS.all, SYSTEM))
    monkeypatch.setattr(registry, "SYSTEMS", systems)
    monkeypatch.setenv("YARD_PASSWORD", "sesame")
    return systems


def inventory(folder: Path, *yards: str) -> Inventory:
    """Return one in which the server stands in those yards, of which there are two."""
    settings = [
        f"  {name}: {{kind: yard, folder: {folder}/{name}, password: {{env: YARD_PASSWORD}}, our_pole: ours}}"
        for name in ("back", "front")
    ]
    places = "".join(f", {name}: {{pole: north}}" for name in yards)
    text = world.INVENTORY.replace("{main: {id: g-1}}", f"{{main: {{id: g-1}}{places}}}")
    text = text.replace("systems:\n", "systems:\n" + "\n".join(settings) + "\n", 1)
    return parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context)


def places(folder: Path, *yards: str) -> Places:
    return Places(inventory(folder, *yards), registry.SYSTEMS.titles)


def about(*things: Resolved, **fields: Any) -> Incident:  # noqa: ANN401  # fields of it
    state = Incident(id="inc-1", incident_class=POISONING, whole_names=True, **fields)
    state.entities = {thing.key: thing for thing in things}
    state.named = frozenset(thing.key for thing in things)
    return state


def book(*cuts: dict[str, Any], **phases: Any) -> Playbook:  # noqa: ANN401  # steps
    return flags.playbook(*cuts, version=2, **phases)[POISONING]


def todos(state: Incident, playbook: Playbook, where: Places) -> Iterator[Todo]:
    return ready(state, playbook, places=where, until=Phase.CUT, now=now(), stopped=False, retries=())


def test_it_runs_once_at_each_place_with_the_system_as_its_parameter(tmp_path: Path) -> None:
    found = list(todos(about(WEATHER), book(LOWER), places(tmp_path, "front", "back")))
    assert [todo.instance for todo in found] == ["lower@back:weather", "lower@front:weather"]
    assert [todo.params.of(LowerFlag) for todo in found] == [
        {"server": "weather", "system": "back"},
        {"server": "weather", "system": "front"},
    ]


def test_one_without_a_place_is_said_once_whatever_the_kill_switch_says(tmp_path: Path) -> None:
    state, where = about(WEATHER), places(tmp_path)
    (todo,) = todos(state, book(LOWER), where)
    assert (todo.kind, todo.instance) == ("nowhere", "lower@weather")
    assert todo.name == "server weather has no place in Yard"
    (again,) = ready(state, book(LOWER), places=where, until=Phase.CUT, now=now(), stopped=True, retries=())
    assert again == todo
    state.steps[todo.instance] = StepState(todo.instance, Phase.CUT, Progress.SKIPPED, nowhere=True, message=todo.name)
    assert list(todos(state, book(LOWER), where)) == []
    (one,) = left(state, None)
    assert one.task.startswith("server weather has no place in Yard: lower was not done there")
    state.steps["other@weather"] = StepState("other@weather", Phase.CUT, Progress.FAILED, action="x")
    assert [fact.subject for fact in proof(state).lacking] == ["other@weather", "lower@weather"], "what is news first"
    placed = "lower@back:weather"
    state.steps[placed] = StepState(placed, Phase.CUT, Progress.ESTABLISHED)
    assert left(state, None) == (), "the inventory was given its place"


def test_where_there_is_no_such_system_nothing_is_missed_in_it(tmp_path: Path) -> None:
    without = Places(parse_yaml(Inventory, world.INVENTORY, file="inventory.yaml", context=registry.SYSTEMS.context))
    state, playbook = about(WEATHER), book(LOWER, capture=[PICTURE])
    assert planning._nowhere(state, playbook, places(tmp_path))  # noqa: SLF001  # what it is made of
    assert list(todos(state, playbook, places(tmp_path)))
    assert planning._nowhere(state, playbook, without) == []  # noqa: SLF001  # what it is made of
    assert list(todos(state, playbook, without)) == []
    why = triage(playbook, without, POISONING, (WEATHER,), ())
    assert why == "server weather has no place in yard, and nothing else of its playbook can begin", "a whole playbook"


@pytest.mark.parametrize("when", ["named", "chosen", "unattributed"])
def test_what_a_step_is_not_for_is_not_missed_there(tmp_path: Path, when: str) -> None:
    state = about(WEATHER)
    state.named = frozenset()
    assert list(todos(state, book({**LOWER, "when": when}), places(tmp_path))) == []


def test_who_is_meant_is_at_their_accounts_and_a_token_where_it_is_good(tmp_path: Path) -> None:
    where = places(tmp_path)
    agent, token = where.inventory.principal("agent"), where.inventory.token("agent", "t-1")
    for thing in (agent, token, WEATHER):
        assert [one.system for one in where.of(thing, "contextforge")] == ["main"]
        assert where.of(thing, "yard") == []
    assert where.of(token.model_copy(update={"id": "t-2"}), "contextforge") == []
    assert where.of(agent.model_copy(update={"principal": "somebody"}), "contextforge") == []
    at = {"id": "keep", "capture": "gateway.capture_principal", "for": "token", "at": "contextforge", "why": "test"}
    found = ready(
        about(token), book(capture=[at]), places=where, until=Phase.CAPTURE, now=now(), stopped=False, retries=()
    )
    assert [todo.instance for todo in found] == ["keep@main:token:agent/t-1"]


def test_an_incident_of_which_nothing_has_a_place_waits_for_a_person_who_reads_why(tmp_path: Path) -> None:
    why = triage(book(LOWER), places(tmp_path), POISONING, (WEATHER,), ())
    assert why == "server weather has no place in Yard, and nothing else of its playbook can begin"
    assert triage(book(LOWER, {**LOWER, "id": "two", "at": None}), places(tmp_path), POISONING, (WEATHER,), ()) is None


def test_the_order_binds_steps_on_one_thing_and_no_two_places_of_one(tmp_path: Path) -> None:
    second = {**LOWER, "id": "second"}
    found = list(todos(about(WEATHER), book(LOWER, second), places(tmp_path, "front", "back")))
    assert {todo.instance.partition("@")[0] for todo in found} == {"lower"}


async def test_it_is_cut_captured_and_given_back_at_every_place(tmp_path: Path) -> None:
    for yard in ("back", "front"):
        (tmp_path / yard).mkdir()
        (tmp_path / yard / "north").write_text("up")
    playbooks = {POISONING: book(LOWER, capture=[PICTURE])}
    reached = connected(inventory(tmp_path, "back", "front"))
    async with house(tmp_path / "house", reached, policy=ROOMY) as made:
        home = made.changed(steps=registry.SYSTEMS.steps, titles=registry.SYSTEMS.titles, playbooks=playbooks)
        async with home.responding():
            await flags.respond(home)
            name = (await home.reaches(Status.CONTAINED)).id
            await home.settled(name)
            incident = await home.incident(name)
            pictures = [one["files"][0]["name"] for one in incident.exhibits if one["kind"] == "flag"]
            assert sorted(pictures) == ["back.north.txt", "front.north.txt"]
            assert incident.missing == []
            await home.ask("ann", Verb.RELEASE, name, reason="it was a drill")
            await home.given_back(name)
    assert [(tmp_path / yard / "north").read_text() for yard in ("back", "front")] == ["up", "up"]


async def test_beside_a_cut_that_is_made_the_incident_and_its_report_name_the_place_that_is_not_there(
    tmp_path: Path,
) -> None:
    folder = flags.flags(tmp_path / "flags")
    playbooks = {POISONING: book(flags.step(folder), LOWER, capture=[PICTURE])}
    async with house(tmp_path / "house", connected(inventory(tmp_path)), policy=ROOMY) as made:
        steps = {**flags.WITH_FLAGS, **registry.SYSTEMS.steps}
        home = made.changed(steps=steps, titles=registry.SYSTEMS.titles, playbooks=playbooks)
        async with home.responding():
            await flags.respond(home)
            incident = await home.reaches(Status.CONTAINED)
            await home.settled(incident.id)
            incident = await home.incident(incident.id)
    said = [line.detail for line in incident.timeline if "no place" in line.detail]
    assert said == ["server weather has no place in Yard"] * 2
    it = view(incident, playbook=playbooks[POISONING])
    assert [one.subject for one in it.not_proven if "no place in Yard" in one.observed] == [
        "lower@weather",
        "picture@weather",
    ]
    (task,) = [task for _, task, _ in tasks(it) if "no place in Yard" in task]
    assert task.startswith("server weather has no place in Yard: lower, picture were not done there."), "said once"


def test_the_plan_says_so_too(tmp_path: Path) -> None:
    both = book(LOWER, capture=[PICTURE])
    (note,) = planning._nowhere(about(WEATHER), both, places(tmp_path))  # noqa: SLF001  # what it is made of
    assert note == "server weather has no place in Yard: nothing is done there (cut: lower, capture: picture)"


def test_who_wants_it_contained_at_some_systems_only_has_it_there_and_no_alert_is_answered_less_for_that(
    tmp_path: Path,
) -> None:
    where, chosen = places(tmp_path, "front", "back"), book({**LOWER, "when": "chosen"})
    state = about(WEATHER, chosen={WEATHER.key: "ann"}, only={WEATHER.key: frozenset({"front"})})
    assert [todo.instance for todo in todos(state, chosen, where)] == ["lower@front:weather"]
    assert [todo.instance for todo in todos(state, book(LOWER), where)] == ["lower@front:weather"]
    elsewhere = about(WEATHER, chosen={WEATHER.key: "ann"}, only={WEATHER.key: frozenset({"main"})})
    assert list(todos(elsewhere, chosen, places(tmp_path))) == [], "what nobody wants there is not missed there"
    heard = incident(world.opened(entities=[WEATHER.model_dump(mode="json")]), world.alert())
    state.alerts = heard.alerts
    assert len(list(todos(state, book(LOWER), where))) == 2, "the class's own, which an alert asks for"  # both yards
    assert [todo.instance for todo in todos(state, chosen, where)] == ["lower@front:weather"]


def test_what_is_wanted_somewhere_only_is_wanted_at_more_of_them_later_and_never_at_fewer() -> None:
    def narrowed(*more: list[str] | None, first: list[str] | None) -> Incident:
        fields: dict[str, Any] = {"entities": [WEATHER.model_dump(mode="json")], "chosen": [WEATHER.key]}
        fields |= {"only": first} if first else {}
        begun = world.opened(requested_by="ann", by_hand=True, **fields)
        body = {"by": "bob", "entities": [WEATHER.model_dump(mode="json")], "playbook": None, "reason": ""}
        said = [Event("chosen", {**body, **({"only": one} if one else {})}, "bob") for one in more]
        return incident(begun, *said)

    assert narrowed(first=None).only == {}
    assert narrowed(first=["main"]).only == {WEATHER.key: {"main"}}
    assert narrowed(["prod"], first=["main"]).only == {WEATHER.key: {"main", "prod"}}
    assert narrowed(None, first=["main"]).only == {}
    assert narrowed(["main"], first=None).only == {}, "it is contained everywhere already"
    once = narrowed(first=["main"])
    assert choosing.new_in(once, [WEATHER]) == (WEATHER,)
    assert choosing.new_in(once, [WEATHER], ["prod"]) == (WEATHER,)
    with pytest.raises(Refused, match="was chosen in inc-2026-000001 already"):
        choosing.new_in(once, [WEATHER], ["main"])


def test_what_was_given_back_at_a_place_is_contained_again_at_that_place(tmp_path: Path) -> None:
    class Back(Incident):
        @override
        def is_back(self, key: str) -> bool:
            return key == WEATHER.key

    held = cast("LeaseState", None)  # only named
    state = Back(id="inc-1", whole_names=True, leases={"lower@back:weather": held, "lower@front:weather": held})
    where = places(tmp_path, "front", "back")
    again = choosing.again_by(state, book(LOWER), [WEATHER], where)
    assert sorted(again) == ["lower@back:weather", "lower@front:weather"]
    assert choosing.again_by(state, book(LOWER), [WEATHER], where, ["front"]) == ("lower@front:weather",)
