"""What a report consists of, before it is Markdown, HTML or PDF: sections of paragraphs, tables, pictures and forms.

All of it is text. Each output escapes every word in its own way, so nothing in here is ever markup.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True, slots=True)
class Warn:
    """A paragraph that must not be missed; it says so in words."""

    kind: ClassVar[str] = "warn"
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of short points."""

    kind: ClassVar[str] = "list"
    points: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under heads.

    Args:
        caption: what it shows, for people who hear it.
        heads: the columns' names.
        rows: of as many cells each.
        empty: what is said instead when there is no row.
    """

    kind: ClassVar[str] = "table"
    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str = "None."


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values; what has no value is left out by whoever makes it."""

    kind: ClassVar[str] = "facts"
    caption: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG, and what it shows in a sentence; the same stands in a table beside it."""

    kind: ClassVar[str] = "picture"
    svg: str
    alt: str


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines to copy."""

    kind: ClassVar[str] = "commands"
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Diff:
    """A unified diff, line by line."""

    kind: ClassVar[str] = "diff"
    caption: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Questions:
    """Questions with room for an answer."""

    kind: ClassVar[str] = "form"
    caption: str
    questions: Sequence[str]


Block = Text | Warn | Listing | Table | Facts | Picture | Commands | Diff | Questions


class Section(NamedTuple):
    """A part with a heading."""

    title: str
    blocks: Sequence[Block]


class Document(NamedTuple):
    """A report.

    Args:
        title: what it is.
        made: from what and when, as names and values.
        lead: what is read first.
        sections: the rest.
        short: parts that say with the lead all that has to be known, on one page; before the rest.
    """

    title: str
    made: Sequence[tuple[str, str]]
    lead: Sequence[Block]
    sections: Sequence[Section]
    short: Sequence[Section] = ()

    @property
    def parts(self) -> list[Section]:
        """All of its parts, in order."""
        return [*self.short, *self.sections]


MOST = 1000
"""Rows of one table; the journal has them all."""


def listed(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "None.") -> Table:
    """Return a table, of which the middle is left out if it is long; it says so.

    Args:
        caption: what it shows.
        heads: the columns' names.
        rows: of as many cells each.
        empty: what is said instead when there is no row.
    """
    if len(rows) <= MOST:
        return Table(caption, heads, rows, empty)
    half = MOST // 2
    gap = (f"{len(rows) - MOST} rows are left out", *("…" for _ in heads[1:]))
    said = f"{caption}: the first and the last {half} of {len(rows)}; the journal has them all"
    return Table(said, heads, [*rows[:half], gap, *rows[-half:]], empty)


def digest(data: bytes) -> str:
    """Return the digest of a report as it was written, as `sha256:…`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
