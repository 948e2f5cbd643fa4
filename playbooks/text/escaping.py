"""Text that somebody else may have chosen, made fit for each place where people read it. Pure.

Whatever goes out is first made printable (no control, bidi mark or invisible character works on a screen) and defanged
(no mail reader, chat or browser makes a link of it), then escaped for the form that it stands in.
"""

import hashlib
import re
import string
import unicodedata
from collections.abc import Callable

_DISGUISES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
# Letters and marks that show nothing (Unicode's Default_Ignorable_Code_Point, those of no category above; braille's
# blank), and what is no character at all, which YAML has no room for: https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt
_INVISIBLE = frozenset(
    point
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0100, 0xE01EF),
        (0xFDD0, 0xFDEF),
        *((plane + 0xFFFE, plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000)),
    )
    for point in range(first, last + 1)
)

_UNSEEN = re.compile(f"[{''.join(map(chr, sorted(_INVISIBLE)))}]")

_SCHEME = re.compile(r":(?=//)")
_DOTTED = re.compile(r"(?<=[^\W_])\.(?=[^\W\d_]{2})")


def hidden(character: str) -> bool:
    """Whether a character shows nothing, or moves what is beside it."""
    return unicodedata.category(character) in _DISGUISES or ord(character) in _INVISIBLE


def printable(text: str, limit: int = 200) -> str:
    """Return `text` in NFKC, what is invisible or moves the cursor written out as an escape, cut at `limit`."""
    shown = unicodedata.normalize("NFKC", text[: limit * 4])
    # Most texts hold nothing of it: what is of a category that hides is not printable to Python either.
    if not shown.isprintable() or _UNSEEN.search(shown):
        shown = "".join(f"\\u{{{ord(character):x}}}" if hidden(character) else character for character in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


_MARKED = re.compile(r"~[0-9a-f]{16}$")


_NAME = 200
"""Characters of a name that is shown, at most."""


def own_name(text: str) -> str:
    """Return a name that somebody else chose as people see it, never the same for two names.

    What can be shown as it is stays so. Whatever is longer, or not what it looks like, ends in a mark of its own: names
    stand in params, pins and leases, where two things must not meet.

    Args:
        text: the name as it is on the wire.
    """
    shown = printable(text, _NAME)
    if shown == text and not _MARKED.search(text):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    # No ellipsis: in NFKC it is three dots.
    return f"{printable(text[:_NAME], 12 * _NAME)[: _NAME - len(mark) - 1]}~{mark}"


def plain(text: str, limit: int = 2000) -> str:
    """Return text on one line of which nothing becomes a link, as `https[:]//example[.]com`."""
    return defanged(bare(text, limit))


def bare(text: str, limit: int = 2000) -> str:
    """Return text on one line, addresses in it as they are: for our own names alone."""
    return printable(" ".join(text[: limit * 4].split()), limit)


def defanged(line: str) -> str:
    """Return a line of which nothing becomes a link, as `https[:]//example[.]com`."""
    return _DOTTED.sub("[.]", _SCHEME.sub("[:]", line))


_MARKDOWN = str.maketrans({character: f"\\{character}" for character in string.punctuation if character not in ",;'\""})
_ENTITIES = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def markdown(text: str, limit: int = 2000) -> str:
    """Return text that Markdown shows as it is, on one line (CommonMark 0.31, 2.4)."""
    return _as_markdown(plain(text, limit))


def bare_markdown(text: str, limit: int = 2000) -> str:
    """Return text likewise, addresses in it as they are: for our own names alone."""
    return _as_markdown(bare(text, limit))


def _as_markdown(text: str) -> str:
    # & < > as entities for renderers that take HTML before they take escapes.
    return text.translate(_MARKDOWN | _ENTITIES)


# Slack's mrkdwn has no escape but that of & < >; these look alike, do nothing, and NFKC leaves them as they are.
_LOOKALIKES = str.maketrans({"*": "\u2217", "~": "\u223c", "`": "\u02cb"})
_EMPHASIS = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_EMOJI = re.compile(r":(?=[^\s:]{1,100}:)")


def slack(text: str, limit: int = 2000) -> str:
    """Return text that Slack's mrkdwn shows as it is: no mention, link, emphasis, code or emoji.

    https://docs.slack.dev/messaging/formatting-message-text/
    """
    return _as_slack(plain(text, limit))


def bare_slack(text: str, limit: int = 2000) -> str:
    """Return text likewise, addresses in it as they are: for our own names alone."""
    return _as_slack(bare(text, limit))


def _as_slack(text: str) -> str:
    shown = text.translate(_LOOKALIKES)
    return _EMOJI.sub("\u2236", _EMPHASIS.sub("\u02cd", shown)).translate(_ENTITIES)


def slack_command(line: str, limit: int = 1000) -> str:
    """Return a command for a code span of Slack's; nothing is changed that has to be copied."""
    return printable(line, limit).replace("`", "'").translate(_ENTITIES)


def command(line: str, limit: int = 1000) -> str:
    """Return a command that can be copied as it stands."""
    return printable(line, limit)


Escape = Callable[[str], str]
