"""What mcp-soar says, each sentence one of a list: in every language, of the same things, whatever these are called."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from integrations.registry import SYSTEMS
from playbooks.gate.plan import Change, Target
from playbooks.people.contacts import Language
from playbooks.record.journal import GENESIS, Event, entry
from playbooks.strict import iso, now
from playbooks.text import sentences
from playbooks.text.redaction import redacted
from playbooks.text.sentences import house, known, said, say

ROOT = Path(__file__).parents[2]
OTHERS = [language for language in Language if language is not Language.EN]
NEEDS = "class {a} needs a person"


def spoken(language: Language) -> dict[str, str]:
    return {**house().by_id(language), **SYSTEMS.words.by_id(language)}


def ids() -> Iterator[tuple[str, str]]:
    """Yield every sentence that the code makes by a name of its own, with where it does."""
    for folder in ("playbooks", "flows", "integrations"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if not re.search(r"^from playbooks\.text\.sentences import .*\bsay\b", text, re.MULTILINE):
                continue
            calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and node.args)
            for node in calls:
                first = node.args[0]
                if isinstance(node.func, ast.Name) and node.func.id == "say" and isinstance(first, ast.Constant):
                    yield str(first.value), f"{path.relative_to(ROOT)}:{node.lineno}"


def holes(text: str) -> Counter[str]:
    return Counter(re.findall(r"\{([a-zA-Z])\}", text))


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_said_in_every_language(language: Language) -> None:
    there = spoken(language)
    assert not {id_: where for id_, where in ids() if id_ not in there}
    assert len(list(ids())) > 80, "what says nothing is not looked at"


EARLIER = frozenset(
    {
        "an unknown number of objects",
        "confidence {a} at severity {b} is below every tier",
        "it does",
        "it does not",
        "no rule of the source's configuration gives it a class: which one is it?",
        "not asked: its schema rejects nothing, so that a call would run it; write safe_arguments for it",
        "not asked: its schema rejects nothing; write safe_arguments for it",
        "somebody undid it {a} times; putting it back once more is for a person to decide",
        "the server is known, but nothing is approved there that is called so: {a}. Is it new?",
        "there is no playbook for {a} yet: respond by hand",
        "Tool not found in authorized cache; ask an administrator to refresh",
        "{a} does not answer ({b})",
    }
)
"""What only entries of earlier releases, or a gateway's own words, have."""

COMPOSED = frozenset(
    {
        "the approved {a} of {b} was reviewed by nobody",
        "the approved {a} of {b} is not what was reviewed: pins.yaml was changed by other means",
        "the approved {a} of {b} was reviewed by {c}; it takes {d} people",
        "the approved {a} of {b} was approved, and pins.yaml has lost it",
        "{a} has no place in {b}, and nothing else of its playbook can begin",
        "the gateway finds it, and it was not run: that it works is not proven ({a})",
        "Give back {a} at gateway {b}",
        "Give back {a} at gateway {b}, each as it was before: {c}",
        "What runs as it may do at its cluster what anybody may ({a} taken away). {c} runs as it too",
        (
            "What runs as it may do at its cluster what anybody may ({a} taken away). {b} stays: others have their "
            "rights by it. {c} runs as it too"
        ),
        "Undo: Scale {a} to zero",
        (
            "Nobody reaches {a}, and it reaches nobody; its pods go on running. Policies of {d} are not read: what "
            "they allow may go on"
        ),
        (
            "Nobody reaches {a}, and it reaches nobody, but by what {b} allows: no one label tells its pods from "
            "others there; its pods go on running. Policies of {d} are not read: what they allow may go on"
        ),
        "Undo: Take the rights of {a} away",
        (
            "What runs as it may do at its cluster what anybody may ({a} taken away). {b} stays: others have their "
            "rights by it"
        ),
        (
            "All that runs as {a} is turned away by its cluster until it is issued a new token, within the hour. {b} "
            "runs as it too"
        ),
        (
            "All that runs as {a} is turned away by its cluster until it is issued a new token, within the hour. {c} "
            "takes its tokens by their signature, until they run out: end its sessions there"
        ),
        (
            "All that runs as {a} is turned away by its cluster until it is issued a new token, within the hour. {b} "
            "runs as it too. {c} takes its tokens by their signature, until they run out: end its sessions there"
        ),
        "Undo: Let no new pod of {a} in at {b}",
        *(
            f"Nobody starts a pod of it, in no namespace but {{a}}; what runs goes on{others}{blind}. {{d}} is let in "
            "still: our own probe runs it"
            for others in ("", ". {b} runs it too, and starts no new pod either")
            for blind in ("", ". The digest that {c} ran is not known: by another tag it gets in")
        ),
        (
            "Nobody starts a pod of it, in no namespace but {a}; what runs goes on. {b} runs it too, and starts no new "
            "pod either"
        ),
        (
            "Nobody starts a pod of it, in no namespace but {a}; what runs goes on. The digest that {c} ran is not "
            "known: by another tag it gets in"
        ),
        (
            "Nobody starts a pod of it, in no namespace but {a}; what runs goes on. {b} runs it too, and starts no new "
            "pod either. The digest that {c} ran is not known: by another tag it gets in"
        ),
        "Undo: Pause {b}, then scale {a} to zero",
        "Undo: Let no new pod start beside {a}",
        "Undo: Take {a} out of {b}",
        "Undo: Take {a} out of every HTTPRoute: none leads there now",
        "Undo: Cordon {a}",
        "Block {b} for {a}, and have {e} leave it out",
        (
            "{a} does not reach {b}, nor is reached from there; all else goes on. Policies of {d} are not read: what "
            "they allow may go on"
        ),
        "Let nobody but the gateway reach {a}, and have {e} leave it out",
        (
            "Nobody but the gateway reaches {a} there; whom it reaches itself goes on. Policies of {d} are not read: "
            "what they allow may go on"
        ),
        ("No pod starts in namespace {a}, nor in the place of one that ends; what runs goes on. {d} runs there too"),
        "Undo: Let no container start beside {a} that may use more than {b} CPU and {c}",
        "No container that asks for more starts in namespace {a}; what runs goes on. {d} runs there too",
        "Nobody reaches {a}: all of its pods end ({b} now). {c} may start them again: pause it there",
        "Nobody reaches {a}: all of its pods end ({b} now). {d} stands still meanwhile, with {e} that it manages",
        (
            "Nobody reaches {a}: all of its pods end ({b} now). {d} stands still meanwhile, with {e} that it manages. "
            "{c} may start them again: pause it there"
        ),
        "{a} was never approved",
        (
            "Nobody can use {a} through gateway {b}. {c} calls of {d} are under way and break off, whoever made them: "
            "the gateway changes nothing of a server that is in use"
        ),
        (
            "Nobody can use {a} through gateway {b}. {c} calls of {d} are under way and break off, whoever made them: "
            "the gateway changes nothing of a server that is in use. Not touched, though nobody approved it: {e}"
        ),
        "{a} is back under another id",
        "{a} differs from its approved definition",
        "{a} came after the cut",
        "Resource not found: {a}",
        "Tool '{a}' exists but is inactive",
        "Resource '{a}' exists but is inactive",
        "tool {a} of {b} by each process of the gateway",
        "tool {a} of {b} at its virtual servers",
        "tool {a} of {b} at {c} more virtual servers",
        "tool {a} of {b} at /mcp and /servers/ID/mcp",
    }
)
"""What is put together of parts: `made_of`, `named`."""


@pytest.mark.parametrize("language", OTHERS)
def test_what_is_translated_is_made_as_a_sentence(language: Language) -> None:
    """Whoever adds a sentence to a language's list makes it with `say`, or it is never said there."""
    there = spoken(language)
    # Words that stand in holes, and what things are called: by kind.
    words = re.compile(r"[a-z]+|(tool|prompt|resource|token|principal) \{a\}( of \{b\})?( at gateway \{[bc]\})?")
    unmade = {id_ for id_ in there.keys() - {id_ for id_, _ in ids()} if not words.fullmatch(id_)}
    assert unmade - EARLIER - COMPOSED == frozenset()


@pytest.mark.parametrize("language", OTHERS)
def test_every_sentence_is_known_by_its_english_alone(language: Language) -> None:
    """As entries of earlier releases have it; whatever one list says, none of the others is kept from being read."""
    twice = next(id_ for id_ in spoken(language) if id_.count("{a}") > 1)
    things = {"{a}": "weather", "{b}": "main", "{c}": "add"}

    def filled(text: str) -> str:
        for hole, thing in things.items():
            text = text.replace(hole, thing)
        return text

    other = filled(twice.replace("{a}", "news", 1))
    known = [pattern for pattern, _ in SYSTEMS.words.of(language) if pattern.fullmatch(filled(twice))]
    assert any(not pattern.fullmatch(other) for pattern in known), "what stands twice is the same both times"


@pytest.mark.parametrize("language", OTHERS)
def test_every_language_says_it_of_the_same_things(language: Language) -> None:
    # One may stand twice where a language needs it twice.
    unlike = {id_ for id_, other in spoken(language).items() if holes(id_).keys() != holes(other).keys()}
    # The message names the incident itself.
    assert {id_[:30] for id_ in unlike} <= {"{a}: {b} wrong one-time codes w"[:30]}


@pytest.mark.parametrize("language", Language)
@given(text=st.text(max_size=60))
@example(text="tool {a} of {b} {c} everything listed")
@example(text="{a}")
@example(text="everything")
@example(text="tool add of weather")
@example(text="class x needs a person")
def test_what_things_are_called_means_nothing(language: Language, text: str) -> None:
    other = NEEDS if language is Language.EN else spoken(language)[NEEDS]
    assert said(say(NEEDS, a=text), language, prose=False) == other.replace("{a}", text)


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go on as another process, which knows of nothing that was said."""
    monkeypatch.setattr(sentences, "_made", {})
    monkeypatch.setattr(sentences, "_whole", {})


def test_another_process_says_it_of_what_the_journal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(system="gateway/main", kind="tool", id="t-1", name="needs a person", server="weather")
    change = str(Change(target=target, field="enabled", before=True, after=False))
    reason = str(say("it cannot be undone: {a}", a=known(say("Undo: {a}", a=target))))
    body = {"reasons": [reason], "differs": f"{say('now: {a}', a=known(change))}; {say('no longer: {a}', a='x')}"}
    stored = entry("incident/inc-2026-000001", 1, GENESIS, iso(now()), Event("proposed", body))
    elsewhere(monkeypatch)
    before = [said(text, Language.KO, prose=False) for text in (reason, str(body["differs"]))]
    assert before == [reason, body["differs"]], "of the English alone it is not known"
    read = stored.parsed().body
    assert read == body, "what is written beside it no reader sees"
    assert said(read["reasons"][0], Language.KO, prose=False) == (
        "되돌릴 수 없는 조치임(원상 복구: weather의 도구 needs a person)"
    )
    assert said(read["differs"], Language.KO, prose=False) == (
        "추가됨: weather의 도구 needs a person의 enabled 값 true → false; 제외됨: x"
    )


def test_what_only_looks_like_a_sentence_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch)
    title = "somebody undid it 3 times; putting it back once more is for a person to decide"
    assert said(title, Language.KO, prose=False) == title
    # Of what earlier releases wrote there is nothing else to tell it by.
    assert said(title, Language.KO) != title


def test_addresses_are_masked_in_it_and_it_is_the_same() -> None:
    masked = redacted(say("{a} is protected", a="ann@example.com"), 500)
    assert "ann" not in masked
    assert said(masked, Language.KO, prose=False) == masked.replace(" is protected", " 보호 대상임")


def test_no_more_is_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch)
    monkeypatch.setattr(sentences, "_MOST", 10)
    for number in range(50):
        say("{a} is protected", a=number)
    assert len(sentences._made) == 10  # noqa: SLF001  # there is no other way to count them
    assert said("49 is protected", Language.KO, prose=False) == "49 보호 대상임"
