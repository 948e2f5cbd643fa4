"""docs/architecture.md names functions, events and rooms that there are, and leaves no room out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from playbooks.record.projection import KINDS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", TEXT)))
ROOMS = ("flows", "integrations", "playbooks")
MEAN_ONE_THING = frozenset(
    {"Check", "Finding", "Form", "Journal", "Line", "Page", "Part", "Parts", "Receipt", "Seen", "Step"}
)
"""Words that each meant several things once."""
LEAST = 40


@cache
def defined(path: str) -> frozenset[str]:
    """Return what a module defines: functions, classes, constants, and what classes have, as `Class.method`."""
    return frozenset(_names(ast.parse((ROOT / path).read_text(encoding="utf-8")).body))


def _names(body: list[ast.stmt], within: str = "") -> list[str]:
    found: list[str] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.append(within + node.name)
        if isinstance(node, ast.ClassDef):
            found += _names(node.body, f"{within}{node.name}.")
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [within + target.id for target in targets if isinstance(target, ast.Name)]
    return found


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[f"{path}:{name}" for path, name in NAMED])
def test_what_the_map_names_is_there(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), path
    assert name in defined(path), f"{path} has no {name} any more: say in docs/architecture.md what stands there now"


def test_the_map_names_enough_to_find_the_way() -> None:
    assert len(NAMED) >= LEAST


def test_what_is_not_there_is_found() -> None:
    assert "intend" in defined("flows/engine/deciding.py")
    assert "Responder.sweep" in defined("flows/service/responder.py")
    assert "STEPS" in defined("flows/engine/response.py")
    assert "sweep" not in defined("flows/service/responder.py")


def test_the_entries_that_the_map_shows_are_entries() -> None:
    shown = {word for said in re.findall(r"→\s+(`\w+`(?:, `\w+`)*)", TEXT) for word in re.findall(r"\w+", said)}
    assert {"opened", "intended", "released"} <= shown
    assert shown <= KINDS


def test_every_room_has_its_line() -> None:
    table = TEXT.partition("## The rooms")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    named: set[str] = set()
    for cell in first:
        above = ""
        for place in re.findall(r"`([\w/]+)/`", cell):
            # `integrations/journal/` · `vault/` stand side by side.
            whole = place if place.split("/")[0] in ROOMS else f"{above}/{place}"
            above = whole.rpartition("/")[0]
            named.add(whole)
    # What a room that went leaves behind has nothing in it but what Python compiled.
    files = (file for room in ROOMS for one in (ROOT / room).iterdir() if one.is_dir() for file in one.iterdir())
    kept = (file for file in files if file.is_file() and file.suffix != ".pyc")
    assert named == set(ROOMS) | {file.parent.relative_to(ROOT).as_posix() for file in kept}


@cache
def classes() -> list[tuple[str, str]]:
    """Return every public class, with its file."""
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    texts = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in files}
    return [
        (name, path) for path, text in texts.items() for name in re.findall(r"^class ([A-Z]\w*)", text, re.MULTILINE)
    ]


def meaning_two(found: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the names that several classes of one room bear, and those words that mean several things anywhere."""
    by_place: dict[tuple[str, str], list[str]] = {}
    for name, path in found:
        by_place.setdefault((name, "" if name in MEAN_ONE_THING else path.rpartition("/")[0]), []).append(path)
    return {name: paths for (name, _), paths in by_place.items() if len(paths) > 1}


def test_no_two_classes_of_a_room_bear_one_name_and_what_meant_two_things_means_one() -> None:
    assert meaning_two(classes()) == {}
    elsewhere = ("Incident", "flows/engine/planted.py")
    assert meaning_two([*classes(), elsewhere]) == {}
    assert [*meaning_two([*classes(), ("Incident", "playbooks/record/planted.py")])] == ["Incident"]
    assert [*meaning_two([*classes(), ("Step", "flows/engine/planted.py")])] == ["Step"]
