"""Where paths, marks and addresses stand among a text's words: they are spelled with more than words."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from playbooks.screening.reading import EMAIL, IDENTIFIER, STOP, URL, Reading, Token

_LONGEST: Final = 12
"""Words that a path has at most."""

_SCHEMES: Final = frozenset({"http", "ttps"})
"""The last four letters of http and https."""


def places(
    folded: Reading, said: Sequence[Token], literals: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, int, int]]:
    """Yield where literals and addresses stand: the set, the first word, the number of words.

    Args:
        folded: the text.
        said: its words.
        literals: what to look for as it stands, by set.
    """
    text = folded.text.replace("\\", "/")
    starts = [token.start for token in said]
    yield from _addresses(text, folded, starts)
    yield from _identifiers(text, folded, starts)
    for name, spelled in literals.items():
        for one in spelled:
            index = text.find(one)
            while index >= 0:
                end = index + len(one)
                if _apart(text, index, end):
                    first = bisect_left(starts, folded.origin[index])
                    last = bisect_left(starts, folded.origin[end - 1] + 1)
                    while last > first and said[last - 1].word == STOP:
                        last -= 1
                    while last > first and said[first].word == STOP:
                        first += 1
                    # A literal within one word points at that word.
                    first -= first == last and first > 0
                    if 0 < last - first <= _LONGEST:
                        yield name, first, last - first
                index = text.find(one, end)


def _apart(text: str, start: int, end: int) -> bool:
    """Whether a literal is no part of a longer word: `.env` is none in `process.env` nor in `.environment`."""
    before, after = text[start - 1 : start], text[end : end + 1]
    opens = text[start].isalnum() or (text[start] == "." and text[start + 1 : start + 2].isalnum())
    return not (before.isalnum() and opens) and not (after.isalnum() and text[end - 1].isalnum())


def _addresses(text: str, folded: Reading, starts: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Yield where addresses stand: at the scheme's word, and at the words around an at sign."""
    for name, mark in ((URL, "://"), (EMAIL, "@")):
        index = text.find(mark)
        while index >= 0:
            after = index + len(mark)
            if index and text[index - 1].isalnum() and text[after : after + 1].isalnum():
                before = bisect_left(starts, folded.origin[index]) - 1
                if before >= 0 and (name == EMAIL or text[index - 4 : index] in _SCHEMES):
                    yield name, before, 1 if name == URL else 2
            index = text.find(mark, after)


def _identifiers(text: str, folded: Reading, starts: Sequence[int]) -> Iterator[tuple[str, int, int]]:
    """Yield where names with underscores stand, by their first two words."""
    index = text.find("_")
    while index >= 0:
        if index and text[index - 1].isalnum() and text[index + 1 : index + 2].isalnum():
            first = bisect_left(starts, folded.origin[index]) - 1
            if first >= 0:
                yield IDENTIFIER, first, 2
        index = text.find("_", index + 1)
