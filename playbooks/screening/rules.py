"""The screening's rules: files of data in `languages/`, read strictly, each with examples that it has to keep.

A rule says what it finds by exactly one of: patterns over words, invisible characters, markup that hides, encoded text.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Final, NamedTuple, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from playbooks.errors import Misconfigured
from playbooks.screening.markup import Concealment
from playbooks.screening.matching import Lexicon, Pattern, Phrase, pattern, phrase
from playbooks.screening.reading import SHAPES
from playbooks.strict import Line, Prose, Strict, parse_yaml

_FOLDER: Final = "languages"


class Kind(StrEnum):
    """What is wrong with a text."""

    ORDER = "order"
    SECRECY = "secrecy"
    SECRET_PATH = "secret_path"  # noqa: S105  # a kind, not a secret
    CARRYING = "carrying"
    HIDDEN_TEXT = "hidden_text"
    INVISIBLE = "invisible"
    ENCODED = "encoded"
    UNREAD = "unread"


class Weight(StrEnum):
    """What a rule's hit is worth.

    `alone`: honest definitions have nothing of the kind. `together`: some have; it counts beside a hit of another kind.
    """

    ALONE = "alone"
    TOGETHER = "together"


class RuleLanguage(StrEnum):
    """The language that a rule reads."""

    ANY = "any"
    ENGLISH = "en"
    GERMAN = "de"
    FRENCH = "fr"
    SPANISH = "es"
    PORTUGUESE = "pt"
    RUSSIAN = "ru"
    CHINESE = "zh"
    JAPANESE = "ja"
    KOREAN = "ko"


RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[a-z0-9]+)+$", max_length=60)]
_Set = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]*$")]
_Points = Annotated[str, StringConstraints(pattern=r"^U\+[0-9A-F]{4,6}(-U\+[0-9A-F]{4,6})?$")]


class ScreeningRule(Strict):
    """One thing to look for.

    Args:
        id: its name, for people and for the journal.
        kind: what is wrong where it hits.
        weight: what a hit is worth.
        means: what it means, for those who read the hit.
        patterns: word patterns, of which one suffices.
        unless: patterns within which a match counts for nothing, as an order that is negated.
        characters: code points or ranges, as U+E0000-U+E007F.
        markup: a way in which markup hides text.
        tags: with `markup: tag`, the names of tags that only a model reads.
        words: with markup, from how many hidden words on.
        decodes: whether it is about text in Base64 or hexadecimal that hits another rule once it is decoded.
        finds: texts that it has to find.
        passes: texts like them that it must not find.
    """

    id: RuleId
    kind: Kind
    weight: Weight = Weight.ALONE
    means: Annotated[Line, Field(min_length=1)]
    patterns: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    characters: tuple[_Points, ...] = ()
    markup: Concealment | None = None
    tags: tuple[str, ...] = ()
    words: Annotated[int, Field(ge=1)] = 1
    decodes: bool = False
    finds: Annotated[tuple[Prose, ...], Field(min_length=1)]
    passes: Annotated[tuple[Prose, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_means(self) -> Self:
        ways = [bool(self.patterns), bool(self.characters), self.markup is not None, self.decodes]
        if sum(ways) != 1:
            raise ValueError(f"{self.id}: give exactly one of patterns, characters, markup, decodes")
        if bool(self.tags) != (self.markup is Concealment.TAG):
            raise ValueError(f"{self.id}: tags belong to markup: tag, and it to them")
        if self.unless and not self.patterns:
            raise ValueError(f"{self.id}: unless belongs to patterns")
        return self

    def has(self, character: str) -> bool:
        """Whether a character is one of the rule's."""
        return any(first <= ord(character) <= last for first, last in self._ranges)

    @cached_property
    def _ranges(self) -> tuple[tuple[int, int], ...]:
        pairs = (points.partition("-") for points in self.characters)
        return tuple((_point(first), _point(last or first)) for first, _, last in pairs)


def _point(text: str) -> int:
    return int(text.replace("U+", "0x"), 0)


class RuleFile(Strict):
    """One file of rules.

    Args:
        language: that its rules read.
        sets: phrases under the name by which patterns call them; a name without a file's own entry is that of any.yaml.
        literals: the same, for what is no words: paths, found as they stand.
        rules: the rules.
    """

    language: RuleLanguage
    sets: dict[_Set, tuple[str, ...]] = Field(default_factory=dict)
    literals: dict[_Set, tuple[str, ...]] = Field(default_factory=dict)
    rules: tuple[ScreeningRule, ...]

    @field_validator("literals")
    @classmethod
    def _folded(cls, literals: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        if plain := [one for each in literals.values() for one in each if one != one.lower() or not one.isascii()]:
            raise ValueError(f"literals are written in lower case and ASCII: {', '.join(plain)}")
        return literals


class Compiled(NamedTuple):
    """A rule with its language and its patterns, ready to be matched."""

    rule: ScreeningRule
    language: RuleLanguage
    patterns: tuple[Pattern, ...]
    unless: tuple[Pattern, ...]


class Rules:
    """Every rule, ready to be matched.

    Args:
        read: the files by name.

    Raises:
        Misconfigured: an id is given twice, or a pattern cannot be read; with the file.
    """

    def __init__(self, read: Mapping[str, RuleFile]) -> None:
        self.literals: Final[dict[str, tuple[str, ...]]] = {}
        self._sets: dict[str, set[Phrase]] = {}
        for name, file in read.items():
            for own, spelled in file.literals.items():
                self.literals[own] = (*self.literals.get(own, ()), *spelled)
            for own, phrases in file.sets.items():
                # A set is its language's own: `@tell` of German holds no English words.
                self._sets.setdefault(f"{own}.{file.language}", set()).update(_phrases(phrases, name))
        self.all: Final = tuple(one for name, file in read.items() for one in self._compiled(name, file))
        ids = Counter(one.rule.id for one in self.all)
        if twice := sorted(one for one, count in ids.items() if count > 1):
            raise Misconfigured(f"rules are named twice: {', '.join(twice)}", file=_FOLDER)
        self.lexicon: Final = Lexicon(self._sets)
        self.operations: Final = sum(one.operations for each in self.all for one in (*each.patterns, *each.unless))

    def _compiled(self, name: str, file: RuleFile) -> Iterator[Compiled]:
        ending = f".{file.language}"
        mine = {key.removesuffix(ending): key for key in self._sets if key.endswith(ending)}
        known = {**{one: one for one in (*SHAPES, *self.literals)}, **mine}
        for rule in file.rules:
            try:
                patterns = tuple(pattern(one, known) for one in rule.patterns)
                unless = tuple(pattern(one, known) for one in rule.unless)
            except ValueError as exc:
                raise Misconfigured(f"{rule.id}: {exc}", file=name) from exc
            for one in (*patterns, *unless):
                for own, phrases in one.phrases.items():
                    self._sets.setdefault(own, set()).update(phrases)
            yield Compiled(rule, file.language, patterns, unless)


def _phrases(spelled: Iterable[str], name: str) -> set[Phrase]:
    try:
        return {phrase(one) for one in spelled}
    except ValueError as exc:
        raise Misconfigured(str(exc), file=name) from exc


@cache
def load() -> Rules:
    """Return the rules that come with this version.

    Raises:
        Misconfigured: with file, line and field.
    """
    folder = files("playbooks.screening").joinpath(_FOLDER)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml"))
    texts = {name: folder.joinpath(name).read_text("utf-8") for name in names}
    return Rules({name: parse_yaml(RuleFile, text, file=f"screening/{name}") for name, text in texts.items()})
