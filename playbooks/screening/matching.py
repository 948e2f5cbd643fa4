"""Patterns over words, matched in time that depends on the text's length and on nothing else.

A pattern is a sequence of words, of named sets of phrases, and of gaps of at most so many words; `..N` does not cross
the end of a sentence, `~N` does:

    @not ..2 @tell ..5 the user|customer|@people

Where phrases stand is one integer for each set and length, a bit a word; to match is to shift and mask such integers.
The number of those operations is fixed by the pattern (`Pattern.operations`), so that no text makes a pattern slow:
there is no backtracking, and nothing is tried twice.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, NamedTuple

from playbooks.screening.reading import STOP, fold, tokens

END: Final = "$"
"""In a pattern: the end of a sentence."""

LONGEST_GAP: Final = 30
LONGEST_PHRASE: Final = 12

Phrase = tuple[str, ...]
"""Words in the reading's spelling; one that ends in `*` stands for every word that begins so."""


def phrase(text: str) -> Phrase:
    """Return a phrase's words in the spelling that readings have.

    Args:
        text: words; `*` ends a word's beginning.

    Raises:
        ValueError: it has no words, or too many.
    """
    words: list[str] = []
    for piece in text.split():
        stem = piece.endswith("*")
        found = [token.word for token in tokens(fold(piece.rstrip("*")))]
        if stem and found:
            found[-1] += "*"
        words += found
    if not words or STOP in words or len(words) > LONGEST_PHRASE:
        raise ValueError(f"{text!r} is no phrase of 1 to {LONGEST_PHRASE} words")
    return tuple(words)


class Gap(NamedTuple):
    """Up to so many words in between.

    Args:
        words: at most.
        crossing: whether sentences may end in between.
    """

    words: int
    crossing: bool = False


class Choice(NamedTuple):
    """One phrase of any of these sets.

    Args:
        names: of the sets.
    """

    names: tuple[str, ...]


@dataclass(frozen=True)
class Pattern:
    """A sequence of sets of phrases and gaps.

    Args:
        source: as it is written in the rules.
        steps: gaps, and what may stand there.
        phrases: the sets that it brings itself, by name.
    """

    source: str
    steps: tuple[Gap | Choice, ...]
    phrases: Mapping[str, frozenset[Phrase]]

    @cached_property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """The sets of which one of each has to be there for a match, the shortest choices first: they rule out most."""
        return tuple(sorted((step.names for step in self.steps if isinstance(step, Choice)), key=len))

    @property
    def operations(self) -> int:
        """How many operations on integers it takes at most to look for it once."""
        return sum(step.words if isinstance(step, Gap) else LONGEST_PHRASE * len(step.names) for step in self.steps)


def pattern(source: str, known: Mapping[str, str]) -> Pattern:
    """Return a pattern read from its notation.

    Args:
        source: as `@not ..2 tell|inform the user`; `@set` is a set of phrases, `..N` and `~N` gaps, `$` the end of a
            sentence, `|` separates alternatives, `+` joins the words of one alternative.
        known: the sets that there are, and under which name each stands in the lexicon.

    Raises:
        ValueError: it cannot be read.
    """
    steps: list[Gap | Choice] = []
    own: dict[str, frozenset[Phrase]] = {}
    for item in source.split():
        if item.startswith(("..", "~")):
            words = item.lstrip(".~")
            if not words.isdecimal() or not 1 <= int(words) <= LONGEST_GAP:
                raise ValueError(f"{item!r} is no gap of 1 to {LONGEST_GAP} words")
            steps.append(Gap(int(words), crossing=item.startswith("~")))
            continue
        choices = item.split("|")
        ends = END in choices
        called = [one[1:] for one in choices if one.startswith("@")]
        if unknown := [one for one in called if one not in known]:
            raise ValueError(f"@{unknown[0]} is no set of phrases; there is {', '.join(sorted(known))}")
        names = [known[one] for one in called]
        names += [END] * ends
        if spelled := [one for one in choices if not one.startswith("@") and one != END]:
            own[item] = frozenset(phrase(one.replace("+", " ")) for one in spelled)
            names.append(item)
        steps.append(Choice(tuple(names)))
    if not steps or isinstance(steps[0], Gap) or isinstance(steps[-1], Gap):
        raise ValueError(f"{source!r} has to begin and to end with words")
    return Pattern(source, tuple(steps), own)


class Beginning(NamedTuple):
    """What can begin with a word.

    Args:
        sets: those of which the word alone is a phrase.
        longer: longer phrases that can start with it, each with its set.
    """

    sets: tuple[str, ...]
    longer: tuple[tuple[Phrase, str], ...]


class Lexicon:
    """All phrases of all sets, indexed by their first word.

    Args:
        sets: phrases by the name of their set.
    """

    def __init__(self, sets: Mapping[str, Iterable[Phrase]]) -> None:
        self._whole: dict[str, list[tuple[Phrase, str]]] = defaultdict(list)
        self._stems: dict[str, list[tuple[Phrase, str]]] = defaultdict(list)
        for name, phrases in sets.items():
            for one in phrases:
                if one[0].endswith("*"):
                    self._stems[one[0][:-1]].append((one, name))
                else:
                    self._whole[one[0]].append((one, name))
        # How long stems are that begin with a letter: nearly no word begins with one.
        self._lengths = {
            letter: tuple(sorted({len(stem) for stem in self._stems if stem[0] == letter}))
            for letter in {stem[0] for stem in self._stems}
        }
        # Texts repeat their words, and each other's.
        self._known: dict[str, Beginning] = {}

    def begins(self, word: str) -> Beginning:
        """Return what can begin with a word."""
        found = self._known.get(word)
        if found is None:
            phrases = tuple(self._beginning(word))
            sets = tuple(sorted({name for one, name in phrases if len(one) == 1}))
            found = Beginning(sets, tuple((one, name) for one, name in phrases if len(one) > 1))
            # Whoever writes texts makes up words: those that nothing begins with, or many, are not kept for ever.
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[word] = found
        return found

    def _beginning(self, word: str) -> Iterator[tuple[Phrase, str]]:
        """Yield the phrases that can start with a word, with their sets."""
        yield from self._whole.get(word, ())
        for length in self._lengths.get(word[0], ()):
            if length > len(word):
                break
            yield from self._stems.get(word[:length], ())


_MOST_KNOWN: Final = 20_000
"""Words of which is kept what can start with them."""


def _follows(one: Phrase, words: Sequence[str], index: int) -> bool:
    if index + len(one) > len(words):
        return False
    for offset in range(1, len(one)):
        wanted, word = one[offset], words[index + offset]
        if word != wanted and not (wanted.endswith("*") and word.startswith(wanted[:-1])):
            return False
    return True


@dataclass
class Words:
    """A text's words, and where the phrases of each set stand among them.

    Args:
        words: in order; `STOP` between sentences.
        lexicon: the phrases to look for.
        places: phrases of more sets, found otherwise: set, first word, number of words.
    """

    words: Sequence[str]
    lexicon: Lexicon
    places: Iterable[tuple[str, int, int]] = ()
    _starts: dict[str, dict[int, int]] = field(init=False)
    _open: int = field(init=False)
    operations: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        size = len(self.words) // 8 + 1
        marks: dict[tuple[str, int], bytearray] = {}
        # A word stands in many sets: where it is is marked once for all of them.
        alone: dict[tuple[str, ...], bytearray] = {}
        begins = self.lexicon.begins
        for index, word in enumerate(self.words):
            at, bit = index >> 3, 1 << (index & 7)
            sets, longer = ((END,), ()) if word == STOP else begins(word)
            if sets:
                (alone.get(sets) or alone.setdefault(sets, bytearray(size)))[at] |= bit
            for one, name in longer:
                if _follows(one, self.words, index):
                    marks.setdefault((name, len(one)), bytearray(size))[at] |= bit
        for name, index, length in self.places:
            marks.setdefault((name, length), bytearray(size))[index >> 3] |= 1 << (index & 7)
        self._starts = defaultdict(dict)
        for (name, length), bits in marks.items():
            self._starts[name][length] = int.from_bytes(bits, "little")
        for sets, bits in alone.items():
            starts = int.from_bytes(bits, "little")
            for name in sets:
                self._starts[name][1] = self._starts[name].get(1, 0) | starts
        everything = (1 << (len(self.words) + 1)) - 1
        self._open = everything & ~int.from_bytes(alone.get((END,), b""), "little")
        self._everything = everything

    def find(self, wanted: Pattern, most: int) -> list[tuple[int, int]]:
        """Return where a pattern matches: first word and the word after the last, not overlapping.

        Args:
            wanted: the pattern.
            most: matches after which to stop.
        """
        if not self.may_have(wanted):
            return []
        found: list[tuple[int, int]] = []
        left = self._beginnings(wanted)
        while left and len(found) < most:
            begin = (left & -left).bit_length() - 1
            end = self._end(wanted, begin)
            found.append((begin, end))
            left = left >> end << end
        return found

    def may_have(self, wanted: Pattern) -> bool:
        """Whether something of each set that a pattern needs is there at all."""
        starts = self._starts
        for names in wanted.needs:
            for name in names:
                if name in starts:
                    break
            else:
                return False
        return True

    def covers(self, wanted: Pattern, index: int) -> bool:
        """Whether a pattern matches over a word, of those that begin in the words right before it."""
        width = _width(wanted)
        nearby = (self._beginnings(wanted) >> max(0, index - width)) & ((1 << (min(index, width) + 1)) - 1)
        while nearby:
            begin = max(0, index - width) + (nearby & -nearby).bit_length() - 1
            if self._end(wanted, begin) > index:
                return True
            nearby &= nearby - 1
        return False

    def _beginnings(self, wanted: Pattern) -> int:
        """Return at which words a match begins, a bit each; read from the pattern's end."""
        reach = self._everything
        for step in reversed(wanted.steps):
            if isinstance(step, Gap):
                opened = self._everything if step.crossing else self._open
                for _ in range(step.words):
                    reach |= (reach >> 1) & opened
                self.operations += step.words
            else:
                before = 0
                for length, starts in self._places(step):
                    before |= starts & (reach >> length)
                    self.operations += 1
                reach = before
            if not reach:
                return 0
        return reach

    def _places(self, step: Choice) -> Iterator[tuple[int, int]]:
        for name in step.names:
            yield from self._starts.get(name, {}).items()

    def _end(self, wanted: Pattern, begin: int) -> int:
        """Return the first word after the shortest match that begins at a word."""
        # Windows of the integers suffice: a match is no longer than its phrases and gaps.
        window = (1 << _width(wanted) + 1) - 1
        reach = 1
        opened = (self._open >> begin) & window
        for step in wanted.steps:
            if isinstance(step, Gap):
                for _ in range(step.words):
                    reach |= (reach if step.crossing else reach & opened) << 1
            else:
                after = 0
                for length, starts in self._places(step):
                    after |= (reach & (starts >> begin) & window) << length
                reach = after
        return begin + (reach & -reach).bit_length() - 1


def _width(wanted: Pattern) -> int:
    """Return how many words a match has at most."""
    return sum(step.words if isinstance(step, Gap) else LONGEST_PHRASE for step in wanted.steps)
