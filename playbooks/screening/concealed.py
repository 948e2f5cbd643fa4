"""What no markup hides and yet nobody reads: characters that show nothing, and text in an encoding."""

import base64
import binascii
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from playbooks.text.escaping import hidden


class Unseen(NamedTuple):
    """A character that shows nothing, where nothing asks for it.

    Args:
        character: it.
        at: where it stands.
    """

    character: str
    at: int


def unseen(text: str) -> tuple[Unseen, ...]:
    """Return the characters that show nothing, but those that spelling asks for.

    Those are line ends and tabs, what makes a symbol an emoji, the joiners between letters of scripts that write with
    them, and the marks that turn the direction between letters that are written from right to left.

    Args:
        text: anything.
    """
    if text.isascii():
        return tuple(
            Unseen(character, index)
            for index, character in enumerate(text)
            if (character < " " and character not in "\n\r\t") or character == "\x7f"
        )
    return tuple(
        Unseen(character, index)
        for index, character in enumerate(text)
        if character not in "\n\r\t" and hidden(character) and not _spelling(text, index)
    )


_JOINERS: Final = frozenset("\u200c\u200d")
_MARKS: Final = frozenset("\u200e\u200f\u061c")
_SELECTORS: Final = frozenset("\ufe0e\ufe0f")
_SOFT_HYPHENS: Final = 3
"""As many as a pasted text has; more of them split words."""


def _spelling(text: str, index: int) -> bool:
    """Whether spelling asks for an invisible character where it stands."""
    character = text[index]
    before = text[index - 1] if index else ""
    after = text[index + 1] if index + 1 < len(text) else ""
    if character in _SELECTORS:
        asked = bool(before) and (before in "0123456789#*" or unicodedata.category(before) in {"So", "Sm", "Po", "Sk"})
    elif character in _JOINERS:
        asked = _joining(character, before, after)
    elif character in _MARKS:
        asked = _right_to_left(before) or _right_to_left(after)
    elif "\U000e0020" <= character <= "\U000e007f":
        # Of the flag of a part of a country: at most six after the black flag.
        asked = "\U0001f3f4" in text[max(0, index - 7) : index]
    elif character == "\u00ad":
        asked = before.isalpha() and after.isalpha() and text.count(character) <= _SOFT_HYPHENS
    else:
        # A byte order mark that was left where it was.
        asked = character == "\ufeff" and index == 0
    return asked


def _joining(character: str, before: str, after: str) -> bool:
    if character == "\u200d" and before and after:
        # Within an emoji of several: a symbol, or the selector or skin tone after one.
        joined = {unicodedata.category(before), unicodedata.category(after)}
        if joined <= {"So", "Sk", "Mn"}:
            return True
    return _complex(before) and (character == "\u200d" or _complex(after) or not after or after.isspace())


def _complex(character: str) -> bool:
    """Whether a letter is of a script that writes with joiners: Arabic, Syriac, those of India, Khmer, Mongolian."""
    return bool(character) and ("\u0600" <= character <= "\u0dff" or "\u1000" <= character <= "\u18af")


def _right_to_left(character: str) -> bool:
    return bool(character) and unicodedata.bidirectional(character) in {"R", "AL", "AN"}


def smuggled(characters: Sequence[Unseen]) -> str:
    """Return what invisible characters spell: tag characters as ASCII, variation selectors as bytes.

    Args:
        characters: those that nothing asks for, in order.
    """
    told: list[str] = []
    data = bytearray()
    for character, _ in characters:
        point = ord(character)
        if 0xE0020 <= point <= 0xE007E:  # noqa: PLR2004  # tags mirror ASCII, Unicode 16.0, 23.9
            told.append(chr(point - 0xE0000))
        elif 0xFE00 <= point <= 0xFE0F:  # noqa: PLR2004  # variation selectors 1 to 16
            data.append(point - 0xFE00)
        elif 0xE0100 <= point <= 0xE01EF:  # noqa: PLR2004  # variation selectors 17 to 256
            data.append(point - 0xE0100 + 16)
    text = "".join(told)
    if data:
        text += " " + data.decode("utf-8", "replace")
    return text.strip()


_BASE64: Final = frozenset(string.ascii_letters + string.digits + "+/-_")
_HEXADECIMAL: Final = frozenset(string.hexdigits)
_SHORTEST_CODE: Final = 20


def encoded(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield what runs of Base64 or hexadecimal spell, where that is text, with where each run stands.

    Args:
        text: anything.
    """
    start = 0
    for index in range(len(text) + 1):
        if index < len(text) and text[index] in _BASE64:
            continue
        if index - start >= _SHORTEST_CODE and (told := _decoded(text[start:index])):
            yield told, start, index
        start = index + 1


def _decoded(run: str) -> str:
    for decode in (_of_hexadecimal, _of_base64):
        data = decode(run)
        if data is None:
            continue
        try:
            told = data.decode("utf-8")
        except UnicodeDecodeError:
            continue
        # Any word of letters decodes to some bytes: text has spaces and hardly anything that is no letter.
        plain = sum(character.isalnum() or character in " \n.,:;'\"/~_-!?()+=" for character in told)
        spaced = " " in told.strip() or (set(told) <= _BASE64 | {"="} and _decoded(told.rstrip("=")))
        if spaced and plain >= 0.9 * len(told):  # measured: random bytes stay below a half
            return told
    return ""


def _of_hexadecimal(run: str) -> bytes | None:
    return bytes.fromhex(run) if len(run) % 2 == 0 and set(run) <= _HEXADECIMAL else None


def _of_base64(run: str) -> bytes | None:
    try:
        return base64.b64decode(run + "=" * (-len(run) % 4), altchars=b"-_" if set("-_") & set(run) else None)
    except (binascii.Error, ValueError):
        return None
