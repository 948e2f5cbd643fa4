"""HTML and Markdown taken apart: what is read, and what of it nobody sees once it is rendered.

One pass, whatever opens and never closes: the time is proportional to the text's length.
"""

import html
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from playbooks.screening.reading import Reading

_LONGEST_TAG: Final = 2_000
_LONGEST_HIDDEN: Final = 20_000


class Concealment(StrEnum):
    """A way in which markup keeps text from those who see it rendered."""

    COMMENT = "comment"
    STYLE = "style"
    ELEMENT = "element"
    ATTRIBUTE = "attribute"
    REFERENCE = "reference"
    TAG = "tag"
    CLOSING = "closing"


class Hidden(NamedTuple):
    """Something of a text that is not seen when the text is shown.

    Args:
        how: by which means.
        text: what is hidden, or the tag's name where the tag itself is what tells.
        start: where it begins in the text, in characters.
        end: where it ends.
    """

    how: Concealment
    text: str
    start: int
    end: int


_INLINE: Final = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "code",
        "em",
        "font",
        "i",
        "kbd",
        "mark",
        "s",
        "samp",
        "small",
        "span",
        "strong",
        "sub",
        "sup",
        "u",
        "wbr",
    ]
)


def unmarked(text: str) -> tuple[Reading, tuple[Hidden, ...]]:
    """Return a text without its markup, and what of it is not seen when it is rendered.

    The text keeps what was hidden, for a model reads it; tags within a sentence leave no gap, so that
    `ig<b></b>nore` is `ignore`. HTML's entities are written out.

    Args:
        text: HTML, Markdown or plain; whatever it is, all of it is read.
    """
    if "<" not in text and "&" not in text and "]" not in text:
        return Reading(text, range(len(text))), ()
    scan = _Scan(text)
    scan.run()
    return Reading("".join(scan.kept), scan.origin), tuple(scan.parts)


class _Scan:
    """One pass over a text with markup."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kept: list[str] = []
        self.origin: list[int] = []
        self.parts: list[Hidden] = []
        # Where the next ">" and "-->" stand is looked up once for all that open before them, or the scan would not be
        # linear in what opens and never closes.
        self.next: dict[str, int] = {}
        self.concealing: tuple[str, Concealment, int, int] | None = None

    def run(self) -> None:
        index = 0
        while index < len(self.text):
            character = self.text[index]
            if character == "<":
                index = self._opened(index)
            elif character == "&":
                index = self._entity(index)
            elif character == "[" and (index == 0 or self.text[index - 1] == "\n"):
                index = self._reference(index)
            else:
                self.keep(character, index)
                index += 1
        self._revealed(len(self.text))

    def keep(self, text: str, index: int) -> None:
        self.kept.append(text)
        self.origin.extend([index] * len(text))

    def find(self, what: str, start: int) -> int:
        """Return where the next of these stands, or -1; each stretch of the text is searched once."""
        known = self.next.get(what)
        if known is None or -1 < known < start:
            known = self.next[what] = self.text.find(what, start)
        return known

    def _opened(self, index: int) -> int:
        if self.text.startswith("<!--", index):
            end = self.find("-->", index + 4)
            inner = self.text[index + 4 : end if end >= 0 else len(self.text)]
            close = end + 3 if end >= 0 else len(self.text)
            self.parts.append(Hidden(Concealment.COMMENT, inner[:_LONGEST_HIDDEN], index, close))
            self.keep("\n\n", index)
            # What is in it is read as everything else is.
            for offset, character in enumerate(inner):
                self.keep(character, index + 4 + offset)
            self.keep("\n\n", close - 1)
            return close
        end = self.find(">", index)
        following = self.text[index + 1 : index + 2]
        if end < 0 or end - index > _LONGEST_TAG or not (following.isalpha() or following in {"/", "!"}):
            self.keep("<", index)
            return index + 1
        self._tag(self.text[index + 1 : end], index, end + 1)
        return end + 1

    def _tag(self, inside: str, start: int, end: int) -> None:
        closing = inside.startswith("/")
        name = inside.lstrip("/!").split()[0].rstrip("/").lower() if inside.strip("/! \n\t\r") else ""
        if name not in _INLINE:
            self.keep(" ", start)
        if closing:
            self.parts.append(Hidden(Concealment.CLOSING, name, start, end))
            if self.concealing is not None and self.concealing[0] == name:
                self._revealed(start)
            return
        self.parts.append(Hidden(Concealment.TAG, name, start, end))
        attributes = _attributes(inside)
        for key, value in attributes:
            if key != "style" and len(value.split()) > 1:
                self.parts.append(Hidden(Concealment.ATTRIBUTE, value, start, end))
        if self.concealing is None and (how := _conceals(name, attributes)) is not None:
            self.concealing = (name, how, start, len(self.kept))

    def _revealed(self, index: int) -> None:
        """End an element that is not rendered."""
        if self.concealing is None:
            return
        _, how, start, kept = self.concealing
        inner = "".join(self.kept[kept:]).strip()
        if inner:
            self.parts.append(Hidden(how, inner[:_LONGEST_HIDDEN], start, index))
        self.concealing = None

    def _entity(self, index: int) -> int:
        end = self.text.find(";", index, index + 12)
        if end > 0 and (meant := html.unescape(self.text[index : end + 1])) != self.text[index : end + 1]:
            self.keep(meant, index)
            return end + 1
        self.keep("&", index)
        return index + 1

    def _reference(self, index: int) -> int:
        """Read a Markdown link definition, which no renderer shows: `[//]: # (hidden)`."""
        line = self.find("\n", index)
        line = line if line >= 0 else len(self.text)
        close = self.text.find("]:", index, min(line, index + 80))
        if close > 0 and (inner := self.text[close + 2 : line].strip()):
            first, _, rest = inner.partition(" ")
            told = rest.strip("()\"' ") if first.startswith(("#", "<", "http", "/")) else inner
            if len(told.split()) > 1:
                self.parts.append(Hidden(Concealment.REFERENCE, told[:_LONGEST_HIDDEN], index, line))
        self.keep("[", index)
        return index + 1


_VOID: Final = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_UNSEEN: Final = frozenset(["template", "script", "style", "noscript", "head", "title", "datalist"])
_STYLES: Final = (
    "display:none",
    "visibility:hidden",
    "visibility:collapse",
    "opacity:0;",
    "opacity:0.0",
    "opacity:0%",
    "font-size:0",
    "font-size:1px",
    "color:transparent",
    "color:white",
    "color:#fff",
    "color:rgba(0,0,0,0)",
    "left:-9",
    "top:-9",
    "text-indent:-9",
    "clip:rect(0",
    "clip-path:inset(100%",
    "height:0;",
    "width:0;",
    "height:0px",
    "width:0px",
    "mso-hide:all",
)


def _conceals(name: str, attributes: Sequence[tuple[str, str]]) -> Concealment | None:
    if name in _VOID:
        return None
    if name in _UNSEEN:
        return Concealment.ELEMENT
    for key, value in attributes:
        if key == "hidden" or (key == "aria-hidden" and value.strip().lower() == "true"):
            return Concealment.ELEMENT
        if key == "style":
            tight = "".join(value.lower().split()) + ";"
            if any(style in tight for style in _STYLES):
                return Concealment.STYLE
    return None


def _attributes(inside: str) -> list[tuple[str, str]]:
    """Return a tag's attributes; malformed ones as well as a browser would."""
    found: list[tuple[str, str]] = []
    index, length = len(inside.split(None, 1)[0]) if inside.split() else 0, len(inside)
    while index < length:
        while index < length and (inside[index].isspace() or inside[index] in "/="):
            index += 1
        begin = index
        while index < length and not inside[index].isspace() and inside[index] != "=":
            index += 1
        key = inside[begin:index].lower()
        while index < length and inside[index].isspace():
            index += 1
        value = ""
        if index < length and inside[index] == "=":
            index += 1
            while index < length and inside[index].isspace():
                index += 1
            quote = inside[index : index + 1]
            if quote in {'"', "'"}:
                close = inside.find(quote, index + 1)
                close = close if close >= 0 else length
                value, index = inside[index + 1 : close], close + 1
            else:
                begin = index
                while index < length and not inside[index].isspace():
                    index += 1
                value = inside[begin:index]
        if key:
            found.append((key, html.unescape(value)))
    return found
