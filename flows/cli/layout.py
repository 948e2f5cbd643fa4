"""Text laid out for a terminal: broken between words, but never inside what somebody copies.

A digest, a path, an incident's id and a command between backticks stay whole whatever the terminal's width: what is
longer than a line stands on a line of its own and sticks out, and a terminal that wraps it copies it as it is. In a
table it sticks out of its own column, on a line of its own, and makes no other line longer. Pure.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

GAP = 2
"""Spaces between columns."""

_PARTS = re.compile(r"\s+|(?:[^\s`]*`[^`]*`[^\s`]*)+|\S+")
# Two hex words are no digest: 16 signs are what a head of the journal shows of one. SHA256: is a key's, in base64.
_COPIED = re.compile(r"`|/|[0-9a-f]{12}|inc-\d|^--\w|SHA256:|\d\d:\d\d:\d\d")
_NARROWEST = 12
"""Columns that prose keeps beside others."""


class Cell(NamedTuple):
    """A text, and how it is shown.

    Args:
        text: harmless already; it may have several lines.
        style: one of ours, or nothing.
    """

    text: str
    style: str = ""


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


@lru_cache(4096)
def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def wrapped(text: str, room: int) -> list[str]:
    """Return a text's lines, none longer than there is room, but for what stays whole.

    Args:
        text: its own line breaks stay, and the spaces before its first word.
        room: columns.
    """
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip(" "))]
        lines += [(indent + part).rstrip() for part in _filled(line[len(indent) :], max(1, room - len(indent)))]
    return lines


def _filled(line: str, room: int) -> Iterator[str]:
    held, space = "", ""
    for part in _PARTS.findall(line):
        if part.isspace():
            space = part
            continue
        if held and width(held) + width(space) + width(part) > room:
            yield held
            held, space = "", ""
        held, space = held + (space if held else "") + part, ""
        while width(held) > room and not _COPIED.search(held):
            cut = _columns(held, room)
            yield held[:cut]
            held = held[cut:]
    yield held


def _columns(text: str, room: int) -> int:
    """Return how many characters of a text fit, at least one."""
    taken = 0
    for number, character in enumerate(text):
        taken += _cells(character)
        if taken > room:
            return max(1, number)
    return len(text)


def _least(text: str, below: int | None = None) -> int:
    """Return how narrow a column with a text may be.

    Args:
        text: all of it.
        below: what takes as many columns, or more, may stick out.
    """
    words = [part for part in _PARTS.findall(text) if not part.isspace()]
    needed = (width(word) if _COPIED.search(word) else min(width(word), _NARROWEST) for word in words)
    return max((need for need in needed if below is None or need < below), default=1)


def _without(line: str, most: int) -> str:
    """Return a line without what takes more than so many columns."""
    return "".join(part for part in _PARTS.findall(line) if part.isspace() or width(part) <= most).strip()


def widths(rows: Sequence[Sequence[Cell]], whole: Sequence[bool], room: int) -> list[int]:
    """Return how wide each column is: what it wants if there is room, else the widest give way.

    Args:
        rows: the cells, heads too.
        whole: which columns are never broken.
        room: columns of the terminal.
    """
    columns = list(zip(*rows, strict=True))
    wanted = [max(width(line) for cell in column for line in cell.text.split("\n")) for column in columns]
    least = [
        want if fixed else min(want, max(_least(cell.text) for cell in column))
        for want, fixed, column in zip(wanted, whole, columns, strict=True)
    ]
    spare = room - GAP * (len(wanted) - 1)
    while sum(least) > spare and (can := [number for number, fixed in enumerate(whole) if not fixed]):
        # The longest that is copied has no room: it sticks out of its column, see `beside`.
        widest = max(can, key=lambda number: least[number])
        if least[widest] <= _NARROWEST:
            break
        texts = [cell.text for cell in columns[widest]]
        least[widest] = max(_least(text, least[widest]) for text in texts)
        lines = (line for text in texts for line in text.split("\n"))
        wanted[widest] = max(least[widest], *(width(_without(line, max(least[widest], _NARROWEST))) for line in lines))
    over = sum(wanted) - spare
    while over > 0:
        can = [number for number, want in enumerate(wanted) if want > least[number]]
        if not can:
            break
        widest = max(can, key=lambda number: wanted[number])
        # Down to the next widest, or as far as it has to.
        others = [wanted[number] for number in can if wanted[number] < wanted[widest]]
        step = min(over, max(1, wanted[widest] - max([*others, least[widest]])))
        wanted[widest] -= step
        over -= step
    return wanted


def beside(row: Sequence[Cell], columns: Sequence[int]) -> Iterator[list[Cell]]:
    """Yield a row's lines, each as its cells, padded to their columns; what sticks out of its column stands alone.

    Args:
        row: the cells.
        columns: how wide each is.
    """
    parts = [wrapped(cell.text, room) for cell, room in zip(row, columns, strict=True)]
    whole = sum(columns) + GAP * (len(columns) - 1)
    number = -1
    while (number := number + 1) < max(map(len, parts)):
        wide = [place for place, part in enumerate(parts) if width("".join(part[number : number + 1])) > columns[place]]
        if wide and (number > 0 or wide[0] == 0):
            for place, part in enumerate(parts):
                if place != wide[0] and number < len(part):
                    part.insert(number, "")
            text = parts[wide[0]][number]
            before = sum(columns[: wide[0]]) + GAP * wide[0]
            # Moved to the left as far as it needs to end where the table does.
            indent = max(GAP if wide[0] else 0, min(before, whole - width(text)))
            yield [Cell(" " * indent), Cell(text, row[wide[0]].style)]
            continue
        for place in wide:
            parts[place].insert(0, "")
        texts = [part[number] if number < len(part) else "" for part in parts]
        last = max((place for place, text in enumerate(texts) if text), default=0)
        yield [
            Cell(text if place == last else text + " " * (room - width(text) + GAP), cell.style)
            for place, (text, room, cell) in enumerate(zip(texts, columns, row, strict=True))
            if place <= last
        ]


def under(name: Cell, value: Cell, label: int, room: int) -> Iterator[list[Cell]]:
    """Yield the lines of a name and its value: beside each other, or below where it sticks out beside.

    Args:
        name: what it is called.
        value: it.
        label: columns of the widest name.
        room: columns of the terminal.
    """
    places = [label, room - label - GAP]
    if max(map(width, wrapped(value.text, places[1]))) <= places[1]:
        yield from beside([name, value], places)
        return
    yield [name]
    yield from ([Cell(" " * GAP), Cell(line, value.style)] for line in wrapped(value.text, room - GAP))
