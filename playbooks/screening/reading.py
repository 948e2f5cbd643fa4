"""Hostile text as a model reads it: one spelling for each word, and where each word stood.

Every character of a reading knows where it stood in the text that it was made from, so that what is found in the
reading can be pointed at in the text. All of it is one pass over the text: the time is proportional to its length,
whatever stands in it.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from playbooks.text.escaping import hidden

STOP: Final = "\n"
"""The token that ends a sentence; no word is spelled like it."""

URL: Final = "url"
EMAIL: Final = "email"
IDENTIFIER: Final = "identifier"
SHAPES: Final = (URL, EMAIL, IDENTIFIER)
"""Sets of what has a shape and no spelling: addresses of the web and of people, names such as `send_email`."""

_CLUSTER: Final = 16
"""Marks that belong to one letter; Unicode's stream-safe form allows 30, real letters have a few."""


class Token(NamedTuple):
    """One word of a reading, or a sentence's end (`STOP`).

    Args:
        word: in the reading's one spelling.
        start: where it begins in the original text, in characters.
        end: where it ends.
    """

    word: str
    start: int
    end: int


@dataclass(frozen=True)
class Reading:
    """A text in one spelling.

    Args:
        text: the spelling.
        origin: for each of its characters, where it stood in the original text.
    """

    text: str
    origin: Sequence[int]


# Letters of other scripts that look like Latin ones; folded only in words that also hold Latin letters, so that Russian
# and Greek stay what they are. After Unicode's confusables.txt (UTS 39).
_LOOKALIKES: Final = {
    chr(int(pair[:4], 16)): pair[4]
    for pair in [
        "0430a",
        "0441c",
        "0435e",
        "043Eo",
        "0440p",
        "0445x",
        "0443y",
        "0456i",
        "0458j",
        "0455s",
        "04BBh",
        "0501d",
        "051Bq",
        "0461w",
        "0261g",
        "0475v",
        "0432b",
        "043Ak",
        "043Cm",
        "043Dh",
        "0442t",
        "044Cb",
        "0433r",
        "043Fn",
        "03B1a",
        "03B2b",
        "03B3y",
        "03B5e",
        "03B9i",
        "03BAk",
        "03BDn",
        "03BFo",
        "03C1p",
        "03C4t",
        "03C5u",
        "03C7x",
        "03C9w",
        "03B7n",
        "0131i",
        "0142l",
        "00F8o",
        "0111d",
        "0251a",
        "0269i",
        "A7B5b",
        "0584p",
        "0585o",
        "0578n",
        "057Du",
        "0570h",
    ]
}
_APOSTROPHES: Final = frozenset("'`\u2019\u2018\u02bc\u00b4\uff07")
_ELIDED: Final = 2
"""Letters that are left of a word before an apostrophe."""
_ENDS: Final = frozenset(".!?;\u3002\uff01\uff1f\uff1b\u2026")


# Small capitals are letters of their own, and no word of any language is written with them alone.
_SMALL_CAPITALS: Final = {
    chr(int(pair[:4], 16)): pair[4]
    for pair in [
        "1D00a",
        "0299b",
        "1D04c",
        "1D05d",
        "1D07e",
        "A730f",
        "0262g",
        "029Ch",
        "026Ai",
        "1D0Aj",
        "1D0Bk",
        "029Fl",
        "1D0Dm",
        "0274n",
        "1D0Fo",
        "1D18p",
        "0280r",
        "A731s",
        "1D1Bt",
        "1D1Cu",
        "1D20v",
        "1D21w",
        "028Fy",
        "1D22z",
    ]
}


def fold(text: str) -> Reading:
    """Return a text in one spelling: NFKC, lower case, Latin accents and invisible characters gone.

    Args:
        text: anything.
    """
    if text.isascii():
        return Reading(text.lower(), range(len(text)))
    characters: list[str] = []
    origin: list[int] = []
    for start, cluster in _clusters(text):
        for character in unicodedata.normalize("NFKC", cluster).casefold():
            if hidden(character) and character not in "\n\r\t":
                continue
            if unicodedata.combining(character):
                # A mark on its own, or one that its letter does not compose with.
                continue
            base = unicodedata.normalize("NFD", character)
            plain = base[0] if len(base) > 1 and base[0] < "\u0530" else character
            characters.append(_SMALL_CAPITALS.get(plain, plain))
            origin.append(start)
    _look_alike(characters)
    return Reading("".join(characters), origin)


def _clusters(text: str) -> Iterator[tuple[int, str]]:
    """Yield letters with the marks that belong to them, and where each begins."""
    start, length = 0, len(text)
    while start < length:
        end = start + 1
        while end < length and end - start < _CLUSTER and _continues(text[end]):
            end += 1
        yield start, text[start:end]
        start = end


def _continues(character: str) -> bool:
    # Hangul's vowels and finals have no combining class and yet compose.
    return unicodedata.combining(character) != 0 or "\u1160" <= character <= "\u11ff"


def _look_alike(characters: list[str]) -> None:
    """Spell words that mix Latin letters with lookalikes in Latin."""
    start = 0
    for index in range(len(characters) + 1):
        if index < len(characters) and characters[index].isalpha():
            continue
        word = characters[start:index]
        if any("a" <= character <= "z" for character in word):
            for offset, character in enumerate(word):
                characters[start + offset] = _LOOKALIKES.get(character, character)
        start = index + 1


# Each alternative begins with another character and none can match in two ways: one pass, without going back.
_ASCII: Final = re.compile(
    r"(?P<word>[a-z0-9]{3,}(?:['`][a-z][a-z0-9]*)*|[a-z0-9]{1,2})"
    r"|[.!?;](?=[ \t\r\n\"')*_`]|\Z)"
    r"|\n(?=[ \t\r]{0,78}\n)"
)


def tokens(reading: Reading) -> list[Token]:
    """Return the words of a reading and the ends of its sentences; scripts without spaces give a word a character.

    Args:
        reading: folded.
    """
    if not reading.text.isascii():
        return _tokens(reading)
    found: list[Token] = []
    origin = reading.origin
    for match in _ASCII.finditer(reading.text):
        start, end = match.span()
        word = match["word"]
        if word is not None:
            if end - start > _ELIDED:
                word = word.replace("'", "").replace("`", "")
            found.append(Token(word, origin[start], origin[end - 1] + 1))
        elif not found or found[-1].word != STOP:
            found.append(Token(STOP, origin[start], origin[start] + 1))
    return found


def _tokens(reading: Reading) -> list[Token]:
    found: list[Token] = []
    text, origin, length = reading.text, reading.origin, len(reading.text)
    index = 0
    while index < length:
        character = text[index]
        if _wide(character):
            found.append(Token(character, origin[index], origin[index] + 1))
            index += 1
        elif character.isalnum():
            begin = index
            letters: list[str] = []
            while index < length and (_joined(text, index) or (text[index].isalnum() and not _wide(text[index]))):
                if text[index] not in _APOSTROPHES:
                    letters.append(text[index])
                elif len(letters) <= _ELIDED:
                    # French writes articles onto their words: l'utilisateur, n'informez, qu'il.
                    break
                index += 1
            found.append(Token("".join(letters), origin[begin], origin[index - 1] + 1))
        else:
            if _ends(text, index) and (not found or found[-1].word != STOP):
                found.append(Token(STOP, origin[index], origin[index] + 1))
            index += 1
    return found


def _wide(character: str) -> bool:
    return "\u2e80" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff" or character >= "\U00020000"


def _joined(text: str, index: int) -> bool:
    """Whether an apostrophe stands within a word."""
    return text[index] in _APOSTROPHES and index + 1 < len(text) and text[index + 1].isalpha()


def _ends(text: str, index: int) -> bool:
    """Whether a sentence ends here: not at the point of `mcp.json` or `3.11`, but at an empty line."""
    character = text[index]
    if character == "\n":
        return text[index + 1 : index + 80].lstrip(" \t\r").startswith("\n")
    if character not in _ENDS:
        return False
    return not character.isascii() or index + 1 == len(text) or text[index + 1] in " \t\r\n\"'\u201d\u2019)*_`"


def identifier(text: str) -> str:
    """Return a name such as `readFile_first` as the words that it is made of.

    Args:
        text: a parameter's or a tool's name.
    """
    parts: list[str] = []
    before = ""
    for character in text:
        if character.isupper() and before.islower():
            parts.append(" ")
        parts.append(" " if character in "_-./:" else character)
        before = character
    return "".join(parts)


# Letters that stand alone, six or more of them: none of it can match in two ways.
_SPACED: Final = re.compile(r"(?<!\S)\S(?:\s+\S(?!\S)){5,}")


def spaced(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield what letters spell that are written apart, as `r e a d   i t`, with where they stand.

    Args:
        text: anything.
    """
    for match in _SPACED.finditer(text):
        # One space between letters, more between words.
        words = re.split(r"\s{2,}", match.group())
        yield " ".join("".join(word.split()) for word in words), *match.span()
