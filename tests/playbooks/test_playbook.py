"""Playbooks as files: what ships is whole, what is wrong is named with its line, the schema agrees with the models."""

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

from playbooks.drill import Drill
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Resolved
from playbooks.playbook import Playbook, Step, json_schema, parse, shelf, shipped
from playbooks.record.incident import EntityKind, Phase
from playbooks.strict import Strict, parse_yaml

CATALOG = resources.files("playbooks").joinpath("catalog")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "playbooks"
TEXT = CATALOG.joinpath("tool_poisoning.yaml").read_text(encoding="utf-8")


def test_every_shipped_playbook_answers_its_class_and_has_all_phases() -> None:
    playbooks = shipped()
    assert playbooks
    for incident_class, playbook in playbooks.items():
        assert playbook.class_ is incident_class
        assert list(playbook.phases) == list(Phase)
        assert playbook.id == incident_class.value


def test_the_published_schema_is_the_models_and_accepts_what_ships() -> None:
    stored = CATALOG.joinpath("playbook.schema.json").read_text(encoding="utf-8")
    assert stored == json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    jsonschema.Draft202012Validator.check_schema(json_schema())
    jsonschema.validate(yaml.safe_load(TEXT), json_schema())


def test_the_digest_changes_with_any_step_and_with_nothing_else() -> None:
    first = parse(TEXT, file="a.yaml")
    assert parse("# a comment\n" + TEXT, file="b.yaml").digest == first.digest
    assert parse(TEXT.replace("lease: 24h", "lease: 23h", 1), file="a.yaml").digest != first.digest


class Takes(Strict):
    server: str
    tool: str | None = None


def a_step(**fields: object) -> Step:
    return Step.model_validate({"id": "x", "check": "a.b", "for": "tool", "why": "test", **fields})


@pytest.mark.parametrize(
    ("with_", "taken"),
    [
        (None, {"server": "weather", "tool": "get_weather"}),
        ({"server": {"from": "entity.server"}}, {"server": "weather"}),
        ({"tool": "add"}, {"server": "weather", "tool": "add"}),
        ({"server": "clock", "tool": {"from": "entity.id"}}, {"server": "clock", "tool": "get_weather"}),
    ],
    ids=["by name", "what is written leaves out what it may", "what it needs by name", "all written"],
)
def test_parameters_bind_by_name_or_as_they_are_written(with_: object, taken: dict[str, str]) -> None:
    step = a_step(**({"with": with_} if with_ else {}))
    entity = Resolved(kind=EntityKind.TOOL, id="get_weather", server="weather")
    assert step.parameters(entity).of(Takes) == taken


def test_a_playbook_of_the_first_format_means_what_it_meant() -> None:
    old = FIXTURES.joinpath("tool_poisoning.v1.yaml").read_text(encoding="utf-8")
    first = parse(old, file="old.yaml")
    assert [(step.id, answer.value) for step, answer in first.awaited] == [
        ("definitions-approved", "established"),
        ("answers-clean", "established"),
        ("confirm-definition", "not_established"),
    ]
    # As journals keep it.
    kept = json.dumps(yaml.safe_load(old))
    assert Playbook.model_validate_json(kept).digest == first.digest


SHARED = """\
version: 1
id: mine
title: What several of ours do
steps:
  - id: theirs
    check: mcp.answers_clean
    for: tool
    until: established
    why: test
  - id: also
    capture: gateway.capture_logs
    why: test
"""


def using(name: str, *, at: str = "  freeze: []\n") -> str:
    return TEXT.replace(at, f"  {at.strip().partition(':')[0]}:\n    - use: {name}\n", 1)


def test_what_is_shared_stands_where_it_is_used_and_the_digest_is_of_all_of_it() -> None:
    used = parse(using("mine"), file="a.yaml", shared=shelf({"mine": SHARED}))
    assert [step.id for step in used.phases[Phase.FREEZE]] == ["theirs", "also"]
    steps = SHARED.partition("steps:\n")[2].replace("\n", "\n  ").rstrip()
    written = parse(TEXT.replace("  freeze: []\n", f"  freeze:\n  {steps}\n", 1), file="b.yaml")
    assert used == written
    assert used.digest == written.digest
    assert (
        parse(using("mine"), file="a.yaml", shared=shelf({"mine": SHARED.replace("test", "x")})).digest != used.digest
    )


def test_ones_own_stands_instead_of_what_ships() -> None:
    own = shelf({"gateway-records": SHARED.replace("mine", "gateway-records")})
    assert [step.id for step in parse(TEXT, file="a.yaml", shared=own).phases[Phase.PRESERVE]] == ["theirs", "also"]


@pytest.mark.parametrize(
    ("own", "text", "says"),
    [
        ({}, using("none-such"), ("a.yaml:", "phases.freeze.0.use", "mine/shared/none-such.yaml", "gateway-records")),
        (
            {"mine": SHARED.replace("why: test", "wy: test", 1)},
            using("mine"),
            ("mine/shared/mine.yaml:5", "a.yaml uses"),
        ),
        ({"mine": SHARED.replace("id: mine", "id: yours")}, using("mine"), ("mine/shared/mine.yaml", "a.yaml uses")),
        (
            {"mine": SHARED.replace("- id: also", "- use: accounts\n    id: also")},
            using("mine"),
            ("use", "mine.yaml:10"),
        ),
        ({"mine": SHARED.replace("theirs", "cut-tool")}, using("mine"), ("a.yaml:", "given twice: ['cut-tool']")),
        ({"mine": SHARED}, using("mine").replace("use: mine", "use: mine\n      for: tool"), ("a.yaml:", "for")),
    ],
    ids=[
        "none",
        "a fault in it",
        "another name",
        "of another one",
        "a name of the playbook",
        "changed where it stands",
    ],
)
def test_what_is_shared_wrongly_names_both_files(own: dict[str, str], text: str, says: tuple[str, ...]) -> None:
    with pytest.raises(Misconfigured) as caught:
        parse(text, file="a.yaml", shared=shelf(own, folder="mine/shared"))
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("  cluster: true\n", "  cluster: false\n"), ("  pods: 0\n", ""), ("  pods: 2\n", "")],
    ids=["of no cluster", "left unsaid", "not said to be back"],
)
def test_a_drill_counts_pods_where_there_is_a_cluster_and_nowhere_else(old: str, new: str) -> None:
    drill = CATALOG.joinpath("server_compromise.cluster.drill.yaml").read_text(encoding="utf-8")
    assert parse_yaml(Drill, drill, file="a.yaml").expected.pods == 0
    assert old in drill
    with pytest.raises(Misconfigured, match="and only there, say how many are left"):
        parse_yaml(Drill, drill.replace(old, new), file="a.yaml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id: cut-tool", "id: capture-answer", "given twice: ['capture-answer']"),
        ("action: gateway.disable_tool", "acton: gateway.disable_tool", "acton: is not a field here"),
        ("action: gateway.disable_tool", "task: do it", "a task, and only a task"),
        ("for: tool", "for: tols", "confirm.0.for"),
        ("for: tool\n", "for: tool\n    with: {server: {from: entity.host}}\n", "entity.host"),
        ("until: not_established", "until: closed", "a task, and only a task"),
        ("      lease: 24h", "      until: established", "only a check says `until: established`"),
        ("lease: 24h", "lease: forever", "phases.cut.0.lease"),
        ("  freeze: []\n", "", "missing: ['freeze']"),
        ("version: 2", "version: 2\nversion: 2", "the key 'version' is given twice"),
        ("notify: [opened", "notify: [&x opened, *x", "aliases are not allowed"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, said: str) -> None:
    text = TEXT.replace(old, new, 1)
    assert text != TEXT
    with pytest.raises(Misconfigured) as caught:
        parse(text, file="mine.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("mine.yaml:")
