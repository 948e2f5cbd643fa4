"""A misspelt name is answered with what it may have meant; a command that is printed is about this very incident."""

import json
import re
from pathlib import Path

import pytest

from flows.cli.options import CLASSES
from playbooks.estate.naming import guesses
from playbooks.record.incident import Entity, EntityKind
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation

INVENTORY = world.READ


@pytest.mark.parametrize(
    ("kind", "name", "server", "guess"),
    [
        ("server", "wether", None, "did you mean weather?"),
        ("tool", "forcast", "weather", "did you mean weather/forecast?"),
        ("tool", "forcast", None, "did you mean weather/forecast?"),
        ("tool", "forecast", "wether", "did you mean weather/forecast?"),
        ("tool", "unlike_any", "wether", "did you mean weather?"),
        ("principal", "agnet", None, "did you mean agent?"),
        ("token", "agent/labtop", None, "did you mean agent/laptop?"),
        ("server", "payments", None, ""),
        ("tool", "unlike_any", "weather", ""),
    ],
)
def test_what_is_not_known_is_answered_with_what_comes_close(
    kind: str, name: str, server: str | None, guess: str
) -> None:
    assert guesses(INVENTORY, [Entity(kind=EntityKind(kind), name=name, server=server)]) == guess


@pytest.mark.parametrize(
    ("name", "owners", "guess"),
    [
        ("laptop", None, "did you mean agent/laptop, bot/laptop?"),
        ("laptop", ("guest",), ""),
        ("guest/laptop", None, ""),
        ("labtop", ("bot",), "did you mean bot/laptop?"),
    ],
)
def test_another_persons_token_is_not_suggested(name: str, owners: tuple[str, ...] | None, guess: str) -> None:
    more = {name: INVENTORY.principals["agent"].model_copy(update={"aliases": (), "places": {}}) for name in ("guest",)}
    bot = INVENTORY.principals["agent"].model_copy(update={"aliases": ()})
    known = INVENTORY.model_copy(update={"principals": {**INVENTORY.principals, "bot": bot, **more}})
    assert guesses(known, [Entity(kind=EntityKind.TOKEN, name=name)], owners) == guess


def test_a_flood_of_names_costs_no_more_than_a_few() -> None:
    many = (Entity(kind=EntityKind.TOOL, name=f"forecas{number}") for number in range(1_000_000))
    assert guesses(INVENTORY, many) == "did you mean weather/forecast?"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("stop", "server:wether", "--reason", "x", "--as", "kim"), 6),
        (("pins", "diff", "wether"), 6),
        (("pins", "approve", "wether", "--reviewed", "x", "--as", "kim", "--yes"), 6),
    ],
)
def test_a_misspelt_server_on_the_command_line(site: Installation, words: tuple[str, ...], code: int) -> None:
    site.append(world.opened())
    assert "did you mean weather?" in site.error(*words, code=code)["message"]


def test_a_response_to_a_misspelt_tool_says_so_before_it_is_signed(site: Installation) -> None:
    site.append(world.opened())
    words = ("respond", "--class", "tool_poisoning", "--tool", "weather/forcast", "--as", "kim", "--print")
    shown = site.run(*words)
    assert shown.exit_code == 0, shown.output
    assert "did you mean weather/forecast?" in " ".join(shown.stderr.split())


def test_an_alert_about_a_misspelt_server_is_answered_where_it_waits(site: Installation, tmp_path: Path) -> None:
    alert = {
        "version": 1,
        "id": "a-1",
        "rule": "r",
        "title": "The description asks for files",
        "severity": "high",
        "detected_at": "2026-01-31T12:00:00Z",
        "entities": [{"kind": "tool", "name": "forecast", "server": "wether"}],
    }
    file = tmp_path / "alert.json"
    file.write_text(json.dumps(alert), encoding="utf-8")
    assert "did you mean weather/forecast?" in str(site.json("plan", str(file), "--source", "generic")["notes"])
    site.append(
        world.opened(
            entities=[],
            unresolved=[{"kind": "tool", "name": "forecast", "server": "wether"}],
            triage="unknown server: shadow? The inventory knows nothing of what it names",
        )
    )
    assert "did you mean weather/forecast?" in " ".join(site.run("incident", "1").stdout.split())


def test_what_waits_for_a_class_says_which_there_are_and_about_which_incident(site: Installation) -> None:
    waits = "no rule of the source's configuration gives it a class: `mcp-soar classify ID --as-class` does"
    site.append(world.opened(**{"class": "unclassified"}, playbook=None, triage=waits))
    shown = " ".join(site.run("incident", "1").stdout.split())
    assert f"`mcp-soar classify {ID} --as-class CLASS --as NAME` does" in shown
    assert not re.search(r"mcp-soar [a-z-]+ ID\b", shown)
    assert "data_exfiltration" in shown
    assert f"mcp-soar classify {ID}" in str(site.json("incident", "1")["timeline"])


@pytest.mark.parametrize(
    "words",
    [
        ("classify", "1"),
        ("classify", "1", "--as-class", "poisoning"),
        ("classify", "1", "--as-class", "unclassified"),
        ("respond", "--class", "poisoning", "--tool", "weather/forecast"),
        ("plan", "--class", "poisoning", "--tool", "weather/forecast"),
        ("contain", "tool", "weather/forecast", "--class", "poisoning"),
    ],
)
def test_where_a_class_is_asked_for_there_is_the_list(site: Installation, words: tuple[str, ...]) -> None:
    site.append(world.opened())
    who = () if words[0] == "plan" else ("--as", "kim")
    message = site.error(*words, *who, code=2)["message"]
    assert [known for known in IncidentClass if known.actionable and known not in message] == []


def test_help_lists_every_class() -> None:
    assert set(re.split(r", | or ", CLASSES)) == {known.value for known in IncidentClass if known.actionable}
