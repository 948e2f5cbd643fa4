"""The words of a PDF as Typst writes it, found as a reader finds them: glyphs, by their font's map, to characters.

ISO 32000-1: 7.3.4 (strings), 7.4.4 (FlateDecode), 9.10.3 (ToUnicode). Enough for files without object streams.
"""

import re
import zlib

_OBJECT = re.compile(rb"(\d+) 0 obj(.*?)endobj", re.DOTALL)
_FONT = re.compile(rb"/(f\d+) [\d.]+ Tf")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|\r\n|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"\n": b"", b"\r": b"", b"\r\n": b""}


def text_of(pdf: bytes) -> str:
    """Return all text without white space, which lines and columns break: page by page, as it is drawn."""
    return "".join("".join(text for _, text in glyphs_of(pdf)).split())


def glyphs_of(pdf: bytes) -> list[tuple[int, str]]:
    """Return each glyph that is drawn, by its number in its font, with the text that it stands for.

    Number 0 is `.notdef`, the box of what a font does not have (ISO 32000-1, 9.7.6.3).
    """
    return [glyph for page in _pages(pdf) for glyph in page]


def pages_of(pdf: bytes) -> list[str]:
    """Return the text of each page, without white space."""
    return ["".join("".join(text for _, text in page).split()) for page in _pages(pdf)]


def _pages(pdf: bytes) -> list[list[tuple[int, str]]]:
    objects = {int(number): body for number, body in _OBJECT.findall(pdf)}
    shown: list[list[tuple[int, str]]] = []
    for page in (body for body in objects.values() if re.match(rb"\s*<</Type/Page/", body)):
        resources = objects[_reference(page, b"Resources")]
        fonts = {
            name: _map(_stream(objects[_reference(objects[int(number)], b"ToUnicode")]))
            for name, number in re.findall(rb"/(f\d+) (\d+) 0 R", resources)
        }
        shown.append(_drawn(_stream(objects[_reference(page, b"Contents")]), fonts))
    return shown


def _reference(body: bytes, key: bytes) -> int:
    found = re.search(rb"/" + key + rb" (\d+) 0 R", body)
    assert found, key
    return int(found[1])


def _stream(body: bytes) -> bytes:
    return zlib.decompressobj().decompress(body.split(b"stream\n", 1)[1])


def _map(cmap: bytes) -> dict[int, str]:
    assert b"beginbfrange" not in cmap
    pairs = re.findall(rb"<([0-9A-F]{4})> <([0-9A-F]+)>\s*\n", cmap.split(b"endcodespacerange", 1)[1])
    return {int(glyph, 16): bytes.fromhex(text.decode()).decode("utf-16-be") for glyph, text in pairs}


def _drawn(content: bytes, fonts: dict[bytes, dict[int, str]]) -> list[tuple[int, str]]:
    font: dict[int, str] = {}
    drawn: list[tuple[int, str]] = []
    place = 0
    while place < len(content):
        if content[place : place + 1] == b"(":
            end = _end(content, place)
            raw = _ESCAPE.sub(_unescaped, content[place + 1 : end])
            numbers = (int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2))
            drawn += [(number, font.get(number, "")) for number in numbers]
            place = end
        elif found := _FONT.match(content, place):
            font = fonts[found[1]]
        place += 1
    return drawn


def _end(content: bytes, start: int) -> int:
    """Return where the literal string ends that starts there: parentheses in it are balanced or escaped."""
    depth, place = 0, start
    while True:
        character = content[place : place + 1]
        depth += {b"(": 1, b")": -1}.get(character, 0)
        if depth == 0:
            return place
        place += 2 if character == b"\\" else 1


def _unescaped(found: re.Match[bytes]) -> bytes:
    it = found[1]
    return bytes([int(it, 8) & 0xFF]) if it[:1].isdigit() else _ESCAPES.get(it, it)
