"""Playbooks as files: what ships is whole, what is wrong is named with its line, the schema agrees with the models."""

import json
from importlib import resources

import jsonschema
import pytest
import yaml

from playbooks.errors import Misconfigured
from playbooks.incident import EntityKind, Phase
from playbooks.inventory import Resolved
from playbooks.playbook import json_schema, parse, shipped

CATALOG = resources.files("playbooks").joinpath("catalog")
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


def test_parameters_come_from_the_entity_or_are_literal() -> None:
    playbook = parse(TEXT, file="a.yaml")
    step = playbook.phases[Phase.CUT][0]
    entity = Resolved(kind=EntityKind.TOOL, id="get_weather", server="weather")
    assert step.parameters(entity) == {"server": "weather", "tool": "get_weather"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id: cut-tool", "id: capture-answer", "given twice: ['capture-answer']"),
        ("action: gateway.disable_tool", "acton: gateway.disable_tool", "acton: is not a field here"),
        ("action: gateway.disable_tool", "task: do it", "a task, and only a task"),
        ("for: tool", "for: tols", "confirm.0.for"),
        ("from: entity.server", "from: entity.host", "entity.host"),
        ("lease: 24h", "lease: forever", "phases.cut.0.lease"),
        ("  freeze: []\n", "", "missing: ['freeze']"),
        ("version: 1", "version: 1\nversion: 1", "the key 'version' is given twice"),
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
