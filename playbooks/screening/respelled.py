"""Other ways in which a text may be meant to be read: each gives one more reading, for a text that shows signs of it.

Every pattern here begins and goes on in one way only, so that the time is proportional to the text's length.
"""

import codecs
import html
import re
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

_BROKEN: Final = re.compile(r"(?<=[^\W\d_])-[ \t]*\r?\n[ \t]*(?=[^\W\d_])")
_MARKED: Final = re.compile(r"[*`_~]")
_WITHIN: Final = re.compile(r"[^\W_][*`~]+[^\W_]|(?<![^\W])[^\W_]_[^\W_]_[^\W_](?![^\W])")
_PERCENT: Final = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPED: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2}))")
_PAIRS: Final = re.compile(r"(?<![0-9A-Fa-f])(?:[0-9A-Fa-f]{2}[ ,:]){12,}[0-9A-Fa-f]{2}(?![0-9A-Fa-f])")
_DIGITS: Final = str.maketrans("013457$@", "oieastsa")
_MIXED: Final = re.compile(r"[a-z][013457$@]+[a-z]|\b[013457$@][a-z]{2}", re.IGNORECASE)
_FEW: Final = 3
_TURNED: Final = ("reverse", "backward")


class Respelling(NamedTuple):
    """A text as it may be meant.

    Args:
        text: that reading.
        encoded: whether it takes a program to read it so, and not only a model.
    """

    text: str
    encoded: bool


def respelled(text: str) -> Iterator[Respelling]:
    """Yield the other readings of a text that it shows signs of.

    Args:
        text: anything.
    """
    if _BROKEN.search(text):
        yield Respelling(_BROKEN.sub("", text), encoded=False)
    if _WITHIN.search(text):
        yield Respelling(_MARKED.sub("", text), encoded=False)
    if text.count("&amp;") > 1:
        yield Respelling(html.unescape(html.unescape(text)), encoded=False)
    if _many(_MIXED, text):
        yield Respelling(text.translate(_DIGITS), encoded=False)
    if _many(_PERCENT, text):
        yield Respelling(unquote(text, errors="replace"), encoded=True)
    if _ESCAPED.search(text):
        yield Respelling(_ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), text), encoded=True)
    for found in _PAIRS.finditer(text):
        yield Respelling(bytes.fromhex(re.sub("[ ,:]", "", found.group())).decode("utf-8", "replace"), encoded=True)
    lower = text.lower()
    if "rot13" in lower or "rot-13" in lower:
        yield Respelling(codecs.encode(text, "rot13"), encoded=True)
    if any(word in lower for word in _TURNED):
        yield Respelling(text[::-1], encoded=True)


def _many(pattern: re.Pattern[str], text: str) -> bool:
    return sum(1 for _, _ in zip(range(_FEW), pattern.finditer(text), strict=False)) == _FEW
