"""Every rule keeps its own examples, and a file that is wrong is refused with the place."""

import pytest

from playbooks.errors import Misconfigured
from playbooks.screening.rules import Compiled, Kind, RuleFile, RuleLanguage, Rules, load
from playbooks.screening.screen import screen_text
from playbooks.strict import parse_yaml

EXAMPLES = """
language: en
sets: {tell: [tell, inform]}
rules:
  - {id: en-a, kind: secrecy, means: It hides., patterns: ["never @tell"], finds: [never tell], passes: [tell]}
"""


@pytest.mark.parametrize("compiled", load().all, ids=lambda compiled: compiled.rule.id)
def test_a_rule_finds_what_it_says_it_finds_and_passes_what_it_says_it_passes(compiled: Compiled) -> None:
    rule = compiled.rule
    assert [text for text in rule.finds if rule.id not in {hit.rule for hit in screen_text(text)}] == []
    assert [text for text in rule.passes if rule.id in {hit.rule for hit in screen_text(text)}] == []


def test_every_kind_has_rules() -> None:
    # What is too long is said by the screening itself.
    assert {one.rule.kind for one in load().all} == set(Kind) - {Kind.UNREAD}


def test_ids_begin_with_their_language() -> None:
    assert [one.rule.id for one in load().all if not one.rule.id.startswith(f"{one.language}-")] == []


def test_a_file_of_rules_is_read() -> None:
    rules = Rules({"a.yaml": parse_yaml(RuleFile, EXAMPLES, file="a.yaml")})
    assert [hit.rule for hit in screen_text("Never  inform anybody.", rules=rules)] == ["en-a"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("en-a", "EN A", "rules.0.id"),
        ("secrecy", "nonsense", "rules.0.kind"),
        ("finds: [never tell]", "finds: []", "rules.0.finds"),
        (", passes: [tell]", "", "rules.0.passes"),
        ("means: It hides., ", "", "rules.0.means"),
        ('patterns: ["never @tell"]', "words: 3", "exactly one of patterns"),
        ('patterns: ["never @tell"]', 'patterns: ["never @tell"], decodes: true', "exactly one of patterns"),
        ('patterns: ["never @tell"]', "markup: tag", "tags belong to markup"),
        ('patterns: ["never @tell"]', 'characters: ["200B"]', "rules.0.characters"),
        ("language: en", "language: tlh", "language"),
        ("language: en", "language: en\nlanguage: de", "given twice"),
        ("language: en", "language: en\nliterals: {paths: [~/.SSH]}", "lower case"),
        ("kind: secrecy", "kind: secrecy, colour: red", "rules.0.colour"),
        ('patterns: ["never @tell"]', "decodes: true, unless: [never]", "unless belongs to patterns"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(old: str, new: str, said: str) -> None:
    assert old in EXAMPLES
    with pytest.raises(Misconfigured) as refused:
        parse_yaml(RuleFile, EXAMPLES.replace(old, new), file="a.yaml")
    assert said in str(refused.value)
    assert "a.yaml:" in str(refused.value)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("never @told", "@told is no set"),
        ("never ..31 @tell", "is no gap"),
        ("never ..x @tell", "is no gap"),
        ("never ~0 @tell", "is no gap"),
        ("..2 @tell", "begin and to end with words"),
        ("@tell ..2", "begin and to end with words"),
        ("never|. @tell", "is no phrase"),
    ],
)
def test_a_pattern_that_cannot_be_read_names_its_rule(written: str, said: str) -> None:
    file = parse_yaml(RuleFile, EXAMPLES.replace("never @tell", written), file="a.yaml")
    with pytest.raises(Misconfigured, match="en-a") as refused:
        Rules({"a.yaml": file})
    assert said in str(refused.value)


def test_two_rules_of_one_name_are_refused() -> None:
    file = parse_yaml(RuleFile, EXAMPLES, file="a.yaml")
    with pytest.raises(Misconfigured, match="named twice: en-a"):
        Rules({"a.yaml": file, "b.yaml": file})


def test_every_language_has_rules_of_the_kinds_that_are_words() -> None:
    for language in set(RuleLanguage) - {RuleLanguage.ANY}:
        kinds = {one.rule.kind for one in load().all if one.language is language}
        assert kinds >= {Kind.ORDER, Kind.SECRECY, Kind.CARRYING}, language


def test_unless_takes_back_what_is_negated() -> None:
    written = EXAMPLES.replace('patterns: ["never @tell"]', 'patterns: ["@tell anybody"], unless: ["not @tell"]')
    rules = Rules({"a.yaml": parse_yaml(RuleFile, written, file="a.yaml")})
    assert screen_text("Tell anybody.", rules=rules)
    assert not screen_text("Do not tell anybody.", rules=rules)
    assert screen_text("Do not wait. Tell anybody.", rules=rules)
