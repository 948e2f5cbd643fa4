"""Sentences of mcp-soar's own in other languages than English, in which the journal has them. Pure."""

import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files

from playbooks.contacts import Language
from playbooks.strict import yaml_data

LONGEST = 3000
"""Characters of a text that is looked up."""

Pairs = Sequence[tuple[str, str]]
"""A sentence in English, and in another language: {a}, {b}, … are what varies, {A}, {B}, … in one word."""

_HOLE = re.compile(r"\{([a-zA-Z])\}")
_WORD = r"\S{1,100}"
_WORDS_OF_TEXT = r".{1,300}?"


class Sentences:
    """What is said beside what the house itself says: by systems, each in its own words.

    Args:
        spoken: for each language, the sentences; the first that fits counts.
    """

    def __init__(self, spoken: Mapping[Language, Pairs]) -> None:
        self._spoken = spoken
        self._compiled: dict[Language, tuple[tuple[re.Pattern[str], str], ...]] = {}

    def of(self, language: Language) -> tuple[tuple[re.Pattern[str], str], ...]:
        """Return the sentences of a language, to be matched."""
        if language not in self._compiled:
            self._compiled[language] = tuple((_pattern(one), other) for one, other in self._spoken.get(language, ()))
        return self._compiled[language]


NONE = Sentences({})


def read(text: str, *, file: str) -> Pairs:
    """Return the sentences of a file, each `["English", "another language"]`.

    Args:
        text: YAML.
        file: its name, for messages.
    """
    return tuple((str(english), str(other)) for english, other in yaml_data(text, file=file))


@cache
def _house() -> Sentences:
    spoken = {}
    for language in Language:
        file = files("playbooks").joinpath("messages", language.value, "sentences.yaml")
        if file.is_file():
            spoken[language] = read(
                file.read_text(encoding="utf-8"), file=f"playbooks/messages/{language.value}/{file.name}"
            )
    return Sentences(spoken)


def _pattern(english: str) -> re.Pattern[str]:
    # The text may be hostile: all is bounded, and no sentence has two open ends beside each other.
    parts = _HOLE.split(english)
    holes = [f"(?P<{part}>{_WORD if part.isupper() else _WORDS_OF_TEXT})" for part in parts[1::2]]
    texts = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(text + hole for text, hole in zip(texts, [*holes, ""], strict=True)))


# A briefing says the same things in each of its outputs.
@lru_cache(maxsize=1024)
def said(text: str, language: Language, words: Sentences = NONE, *, depth: int = 3) -> str:
    """Return a sentence of mcp-soar's own in another language; any other text stays as it is.

    Args:
        text: as the journal has it.
        language: to say it in.
        words: what the systems say; looked up before what the house says, which fits into many sentences.
        depth: how often what varies in a sentence is looked up itself.
    """
    if len(text) > LONGEST or not depth:
        return text
    for pattern, other in (*words.of(language), *_house().of(language)):
        if match := pattern.fullmatch(text.rstrip(".")):
            parts = {name: said(part, language, words, depth=depth - 1) for name, part in match.groupdict().items()}
            return _HOLE.sub(lambda hole, parts=parts: parts[hole[1]], other)  # type: ignore[misc]
    return text
