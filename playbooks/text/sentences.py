"""Sentences of mcp-soar's own: each is one of a list, and what varies in it; every language says it of the same.

`say` makes one. It is English, and whoever writes it into the journal writes beside it which it is and of what (`KEY`):
another language says it from that, and not from what its words look like. Which it is, is its English with holes, as
in every language's list: `class {a} needs a person`. Of entries of earlier releases there is the English alone, and
that is matched.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple, Union

from playbooks.strict import yaml_data
from playbooks.text.redaction import redacted

if TYPE_CHECKING:
    from playbooks.people.contacts import Language

LONGEST = 3000
"""Characters of a text that is looked up."""

Pairs = Sequence[tuple[str, str]]
"""A sentence in English, and in another language: {a}, {b}, … are what varies, {A}, {B}, … in one word."""

KEY = "sentences"
"""Under which an entry's body has the sentences that stand in it, each as [which, {hole: what}]."""

_HOLE = re.compile(r"\{([a-zA-Z])\}")
_WORD = r"\S{1,100}"
_WORDS_OF_TEXT = r".{1,300}?"
_ENDS = ". "
"""What a sentence may end with, and is the same."""

_MOST = 20_000
"""Sentences with holes that are known at one time; of one that was made before all of them only the English is."""


class Made(NamedTuple):
    """A sentence as it was made.

    Args:
        id: which.
        args: what is in its holes: text, which means nothing, or a sentence itself.
    """

    id: str
    args: Mapping[str, Union[str, "Made"]]

    @property
    def english(self) -> str:
        """It in English."""
        return _filled(self.id, {name: arg if isinstance(arg, str) else arg.english for name, arg in self.args.items()})

    def masked(self) -> "Made":
        """Return it as it is where addresses are masked."""
        masked = {name: redacted(a, LONGEST) if isinstance(a, str) else a.masked() for name, a in self.args.items()}
        return Made(self.id, masked)


class Sentence(str):
    """A sentence of ours, in English, that knows of what it was made."""

    __slots__ = ("made",)

    made: Made

    @classmethod
    def of(cls, made: Made) -> "Sentence":
        """Return it, and keep of what it was made: whatever takes it for mere text loses that."""
        found = cls(made.english)
        found.made = made
        _keep(found, made)
        return found


_made: dict[str, Made] = {}
_whole: dict[str, Made] = {}
"""Those without a hole: there are no more of them than the code says."""

_keeping = threading.Lock()


def say(id_: str, /, **args: object) -> Sentence:
    """Return a sentence of ours.

    Args:
        id_: which: its English with holes, as every language's list has it.
        args: what is in the holes. Whatever was not made here, or by `known`, is mere text, and is in there as it is.
    """
    return Sentence.of(Made(id_, _args(args)))


def _args(args: Mapping[str, object]) -> dict[str, str | Made]:
    # A name of ours says itself what it is called.
    texts = {name: arg if isinstance(arg, str) else str(arg) for name, arg in args.items()}
    return {name: text.made if isinstance(text, Sentence) else text for name, text in texts.items()}


def named(*parts: tuple[str, object]) -> Sentence:
    """Return what something is called: words and names in turn, as `("tool ", name), (" of ", server)`."""
    holes = "abcdefgh"
    words = "".join(f"{word}{{{hole}}}" for hole, (word, _) in zip(holes, parts, strict=False))
    return say(words, **{hole: name for hole, (_, name) in zip(holes, parts, strict=False)})


def known(text: str) -> str:
    """Return a text of our own as the sentence that it is, if it is one; only for what no outsider can have chosen."""
    made = _found(text)
    return Sentence.of(made) if made else text


def made_of(text: str, another: Callable[[str], str], **args: object) -> Sentence:
    """Return another sentence of the same things as one; of mere text, one without holes.

    Args:
        text: the one, from `say`, `clause` or `known`.
        another: says which the other one is.
        args: what else is in its holes.
    """
    made = text.made if isinstance(text, Sentence) else Made(text, {})
    return Sentence.of(Made(another(made.id), {**made.args, **_args(args)}))


def rewritten(text: str, change: Callable[[str], str]) -> str:
    """Return a sentence of which what is in its holes was changed; of mere text, all of it.

    Args:
        text: the sentence, from `known`.
        change: makes another text of one.
    """
    if not isinstance(text, Sentence):
        return change(text)
    args = text.made.args.items()
    return Sentence.of(Made(text.made.id, {name: change(a) if isinstance(a, str) else a for name, a in args}))


def clause(id_: str, /, **args: object) -> Sentence:
    """Return a part of sentences, for `made_of`: no language says it alone."""
    return say(id_, **args)


def _keep(text: str, made: Made) -> None:
    with _keeping:
        if not made.args:
            _whole[text.rstrip(_ENDS)] = made
            return
        # Where it is kept, addresses are masked in it.
        for one in (made, made.masked()) if "@" in text else (made,):
            _made[one.english.rstrip(_ENDS)] = one
        while len(_made) > _MOST:
            del _made[next(iter(_made))]


def _found(text: str) -> Made | None:
    if len(text) > LONGEST:
        return None
    return _made.get(text.rstrip(_ENDS)) or _whole.get(text.rstrip(_ENDS))


def _filled(template: str, args: Mapping[str, str]) -> str:
    # What is put in is not looked at again: a hole in it is none.
    return _HOLE.sub(lambda hole: args[hole[1]], template)


def written(body: object) -> list[Any]:
    """Return the sentences in something that is written down, each once."""
    found = {text: made for text in _texts(body) if (made := _found(text))}
    return [_json(found[text]) for text in sorted(found)]


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        # What there is several of stands in one text.
        yield from dict.fromkeys((value, *value.split("; ")))
    elif isinstance(value, Mapping | Sequence):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def _json(made: Made) -> list[Any]:
    return [made.id, {name: arg if isinstance(arg, str) else _json(arg) for name, arg in made.args.items()}]


def read_back(body: dict[str, Any]) -> dict[str, Any]:
    """Take note of the sentences that an entry's body names, and return what it says beside."""
    for one in body.pop(KEY, ()):
        Sentence.of(_made_of(one))
    return body


def _made_of(value: Sequence[Any]) -> Made:
    id_, args = value
    return Made(id_, {name: arg if isinstance(arg, str) else _made_of(arg) for name, arg in args.items()})


class Sentences:
    """What is said beside what the house itself says: by systems, each in its own words.

    Args:
        spoken: for each language, the sentences; the first that fits counts.
    """

    def __init__(self, spoken: "Mapping[Language, Pairs]") -> None:
        self._spoken = spoken
        self._compiled: dict[Language, tuple[tuple[re.Pattern[str], str], ...]] = {}
        self._by_id: dict[Language, dict[str, str]] = {}

    def by_id(self, language: "Language") -> Mapping[str, str]:
        """Return the sentences of a language, by which they are."""
        if language not in self._by_id:
            self._by_id[language] = dict(self._spoken.get(language, ()))
        return self._by_id[language]

    def of(self, language: "Language") -> tuple[tuple[re.Pattern[str], str], ...]:
        """Return the sentences of a language, to be matched."""
        if language not in self._compiled:
            self._compiled[language] = tuple((_pattern(one), other) for one, other in self._spoken.get(language, ()))
        return self._compiled[language]


NONE = Sentences({})


def alike(english: str, other: str) -> tuple[str, str]:
    """Return a sentence and what another language says for it as all write them, whatever each calls the holes.

    Args:
        english: as it is in a language's list.
        other: what stands beside it there.
    """
    called = {hole: str(number) for number, hole in enumerate(dict.fromkeys(_HOLE.findall(english)))}
    first, second = (_HOLE.sub(lambda hole: f"{{{called.get(hole[1])}}}", text) for text in (english, other))
    return first.rstrip(_ENDS), second


def read(text: str, *, file: str) -> Pairs:
    """Return the sentences of a file, each `["English", "another language"]`.

    Args:
        text: YAML.
        file: its name, for messages.
    """
    return tuple((str(english), str(other)) for english, other in yaml_data(text, file=file))


@cache
def house() -> Sentences:
    """Return what the house itself says."""
    from playbooks.people.contacts import Language  # noqa: PLC0415  # what it stands on says sentences itself

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
    named = parts[1::2]
    holes = [
        # What stands twice is the same both times.
        f"(?P={hole})" if hole in named[:at] else f"(?P<{hole}>{_WORD if hole.isupper() else _WORDS_OF_TEXT})"
        for at, hole in enumerate(named)
    ]
    texts = [re.escape(part) for part in parts[::2]]
    return re.compile("".join(text + hole for text, hole in zip(texts, [*holes, ""], strict=True)))


def said(text: str, language: "Language", words: Sentences = NONE, *, prose: bool = True) -> str:
    """Return a sentence of mcp-soar's own in another language; any other text stays as it is.

    Args:
        text: in English.
        language: to say it in.
        words: what the systems say, beside what the house says.
        prose: it may be of an entry that has the English alone, and is matched.
    """
    if made := _found(text):
        return _spoken(made, language, words)
    parts = text.split("; ") if len(text) <= LONGEST else []
    if any(map(_found, parts)):
        return "; ".join(said(part, language, words, prose=prose) for part in parts)
    return _matched(text, language, words) if prose else text


def _spoken(made: Made, language: "Language", words: Sentences) -> str:
    other = words.by_id(language).get(made.id) or house().by_id(language).get(made.id) or made.id
    spoken = {name: a if isinstance(a, str) else _spoken(a, language, words) for name, a in made.args.items()}
    return _filled(other, spoken)


# A briefing says the same things in each of its outputs.
@lru_cache(maxsize=1024)
def _matched(text: str, language: "Language", words: Sentences, *, depth: int = 3) -> str:
    """Return a sentence of which only the English is known in another language.

    Args:
        text: as the journal has it.
        language: to say it in.
        words: what the systems say; looked up before what the house says, which fits into many sentences.
        depth: how often what varies in a sentence is looked up itself.
    """
    if len(text) > LONGEST or not depth:
        return text
    for pattern, other in (*words.of(language), *house().of(language)):
        if match := pattern.fullmatch(text.rstrip(".")):
            groups = match.groupdict().items()
            return _filled(other, {name: _matched(part, language, words, depth=depth - 1) for name, part in groups})
    return text
