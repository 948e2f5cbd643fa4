"""A step that acts on a whole server runs for one that was named itself, and never for the home of something."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.engine import schedule
from flows.engine.opening import triage
from flows.engine.parts import Timing
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory, Resolved, named_servers
from playbooks.estate.places import Places
from playbooks.playbook import Playbook, parse
from playbooks.record.incident import Entity, EntityKind, Phase
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.playbooks.test_state import incident

SERVER = Resolved(kind=EntityKind.SERVER, id="weather", server="weather")
OTHER = Resolved(kind=EntityKind.SERVER, id="other", server="other")
PROMPT = Resolved(kind=EntityKind.PROMPT, id="ask", server="other")
TOKEN = Resolved(kind=EntityKind.TOKEN, id="t-1", principal="agent")

CUTS_THE_SERVER = """
version: 1
id: whole
class: server_compromise
title: A test
summary: Cuts the whole server.
goals: {first_effect: 1s, verified: 60s}
phases:
  freeze: []
  cut:
    - id: cut-server
      action: gateway.disable_server
      for: server
      with: {server: {from: entity.server}}
      when: named
      why: test
  capture: []
  isolate: []
  preserve: []
  eradicate: []
  recover: []
  review: []
notify: [opened]
"""


def playbook() -> Playbook:
    return parse(CUTS_THE_SERVER, file="whole.yaml")


def alert(*entities: Resolved, unknown: tuple[Entity, ...] = (), **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    named = [entity.model_dump(mode="json") for entity in entities]
    beside = [entity.model_dump(mode="json") for entity in unknown]
    return Event("alert", {**world.alert().body, "entities": named, "unresolved": beside, **more})


def runs(state: Incident) -> list[str]:
    retries = Timing().verify_retries
    todos = schedule.ready(
        state,
        playbook(),
        places=Places(Inventory(version=1)),
        until=Phase.CUT,
        now=now(),
        stopped=False,
        retries=retries,
    )
    return [todo.instance for todo in todos]


def test_the_home_of_a_tool_is_not_cut_and_a_server_that_is_named_itself_is() -> None:
    begun = world.opened(entities=[])
    assert runs(incident(begun, alert(SERVER, world.TOOL))) == []
    assert runs(incident(begun, alert(world.TOOL))) == []
    assert runs(incident(begun, alert(SERVER))) == ["cut-server@weather"]
    assert runs(incident(begun, alert(SERVER, PROMPT))) == ["cut-server@weather"], "that one is of another server"
    assert runs(incident(begun, alert(SERVER, world.TOOL), alert(SERVER))) == ["cut-server@weather"]
    assert runs(incident(begun, alert(SERVER), alert(world.TOOL))) == ["cut-server@weather"], "and stays so"


def test_beside_something_that_nobody_knows_a_server_is_its_home() -> None:
    strange = Entity(kind=EntityKind.TOOL, name="new", server="weather")
    assert runs(incident(world.opened(entities=[]), alert(SERVER, unknown=(strange,)))) == []
    address = Entity(kind=EntityKind.ADDRESS, name="10.0.0.1")
    assert runs(incident(world.opened(entities=[]), alert(SERVER, unknown=(address,)))) == ["cut-server@weather"]


def test_the_end_of_something_names_no_server() -> None:
    assert runs(incident(world.opened(entities=[]), alert(SERVER), alert(OTHER, state="resolved"))) == [
        "cut-server@weather"
    ]


def test_whoever_names_a_tool_does_not_speak_for_its_whole_server() -> None:
    loud = alert(SERVER, world.TOOL, confidence=3, severity=5)
    quiet = alert(SERVER, authenticated=False, confidence=1, source="unsigned")
    state = incident(world.opened(entities=[]), loud, quiet)
    assert runs(state) == ["cut-server@weather"]
    assert state.standing(SERVER.key).authenticated
    assert not state.standing(SERVER.key, itself=True).authenticated, "trust that was earned for a tool is not borrowed"
    assert incident(world.opened(entities=[]), loud, alert(SERVER)).standing(SERVER.key, itself=True).authenticated


@given(st.lists(st.sampled_from([SERVER, OTHER, PROMPT, TOKEN, world.TOOL]), max_size=6))
def test_no_home_is_ever_named_and_no_named_one_is_forgotten(entities: list[Resolved]) -> None:
    found = named_servers(entities)
    homes = {item.server for item in entities if item.kind is not EntityKind.SERVER}
    for server in (SERVER, OTHER):
        assert (server.key in found) is (server in entities and server.id not in homes)
    assert found <= {SERVER.key, OTHER.key}


def test_what_names_no_server_itself_waits_for_a_person() -> None:
    inventory = world.READ

    def why(*known: Resolved) -> str | None:
        return triage(playbook(), Places(inventory), IncidentClass.SERVER_COMPROMISE, known, ())

    assert why(SERVER) is None
    assert why(SERVER, world.TOOL) == "it names server weather, tool forecast of weather, but no server itself"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("for: server", "for: tool", "leave `when: named` out"),
        ("when: named", "when: meant", "when"),
        ("phases:", "confirm: [{id: c, check: mcp.definition_differs, when: named, why: x}]\nphases:", "leave `when`"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        parse(CUTS_THE_SERVER.replace(old, new, 1), file="whole.yaml")


def test_what_joins_an_incident_that_a_person_began_was_chosen_by_nobody() -> None:
    other = Resolved(kind=EntityKind.TOOL, id="add", server="weather")
    joins = alert(world.TOOL, other, authenticated=False, confidence=1, source="unsigned")
    said: tuple[dict[str, Any], ...] = ({"chosen": [world.TOOL.key]}, {})
    for more in said:
        # The first releases did not say what was chosen: it was what they named.
        state = incident(world.opened(requested_by="ann", **more), joins)
        assert state.standing(world.TOOL.key).confirmed
        assert not state.standing(other.key).authenticated, "whoever joins borrows nothing of the person's word"
        assert (state.asked_for_by(world.TOOL.key), state.asked_for_by(other.key)) == ("ann", None)
        assert state.asked_for_by(SERVER.key) == "ann", "a question about its server comes from whoever asked for it"
        assert not state.standing(SERVER.key).authenticated, "and who chose one tool does not speak for the server"


def test_who_has_something_contained_says_that_it_is_wanted_and_not_that_it_is_so() -> None:
    other = Resolved(kind=EntityKind.TOOL, id="add", server="weather")
    chosen = {"by": "ann", "entities": [other.model_dump(mode="json")], "playbook": None, "reason": "it acts oddly"}
    state = incident(world.opened(requested_by="ann", chosen=[world.TOOL.key]), Event("chosen", chosen))
    assert state.standing(world.TOOL.key).confirmed, "who starts a class's playbook says that it is so"
    assert not state.standing(other.key).authenticated
    by_hand: dict[str, Any] = {"requested_by": "ann", "chosen": [world.TOOL.key], "by_hand": True}
    state = incident(world.opened(**by_hand))
    assert not state.standing(world.TOOL.key).authenticated
    state = incident(world.opened(**by_hand), alert(world.TOOL))
    assert state.standing(world.TOOL.key).authenticated, "an alert speaks for it as ever"
    assert state.by_hand == {world.TOOL.key}
    joined = {"incident": "inc-2026-000002", "parts": [], "by": "ann", "class": "tool_poisoning", "severity": 3}
    joined |= {"entities": chosen["entities"], "unresolved": [], "chosen": {other.key: "bob"}, "by_hand": [other.key]}
    joined |= {"only": {other.key: ["main"]}}
    state = incident(world.opened(), Event("joined", {**joined, "playbook": None, "reason": "the same"}))
    assert state.by_hand == {other.key}
    assert state.only == {other.key: {"main"}}, "joined, it is contained nowhere else than before"
