"""What another place answers, read within limits: what it sends costs what it was given, whatever it claims to be."""

import json
import re
import zlib
from itertools import accumulate
from typing import Any, Final

import httpx

from playbooks.errors import Refused, SoarError, Transient

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of one answer, as sent and as decoded."""

MOST_VALUES: Final = 500_000
"""JSON values in one answer: a few bytes each on the wire, and a hundred times that in memory."""

DEEPEST: Final = 64
"""Objects and arrays within each other."""

ENCODINGS: Final = "identity"
"""What to send as `Accept-Encoding`: what comes compressed nevertheless is unpacked within the limits."""

_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b'"[]{}')
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_TEXT: Final = re.compile(rb'"[^"]*+"')
_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


async def body(response: httpx.Response, what: str, *, largest: int = LARGEST) -> bytes:
    """Read a streamed answer's body, unpacked.

    Args:
        response: opened with `stream`, its body not yet read.
        what: whose answer to what, for messages.
        largest: bytes that it may have, before and after unpacking.

    Raises:
        Refused: it has more, or comes in an encoding that nobody asked for.
        Transient: it is broken off or corrupt.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding and encoding != "identity" and encoding not in _WINDOWS:
        raise Refused(f"{what}: the answer comes as {encoding[:40]!r}, which nobody asked for")
    unpack = zlib.decompressobj(_WINDOWS[encoding]) if encoding in _WINDOWS else None
    parts: list[bytes] = []
    sent = size = 0
    # The raw bytes: httpx unpacks a whole chunk before anybody can count, and a kilobyte makes a megabyte.
    async for chunk in response.aiter_raw():
        sent += len(chunk)
        try:
            part = chunk if unpack is None else unpack.decompress(chunk, largest - size + 1)
        except zlib.error as exc:
            raise Transient(f"{what}: the answer is not the {encoding} that it says it is") from exc
        size += len(part)
        if sent > largest or size > largest:
            raise Refused(f"{what}: the answer is longer than {largest} bytes")
        parts.append(part)
    if unpack is not None and not unpack.eof:
        raise Transient(f"{what}: the answer breaks off")
    return b"".join(parts)


def parsed(raw: bytes, what: str, *, most: int = MOST_VALUES) -> Any:  # noqa: ANN401  # whatever JSON it is
    """Return the JSON in an answer's body.

    Args:
        raw: the body.
        what: whose answer to what, for messages.
        most: values that it may hold.

    Raises:
        Refused: it holds more values than anybody reads, or nests deeper.
        Transient: it is no JSON.
    """
    # Counted in the bytes: each value but the first follows one of these.
    if sum(raw.count(mark) for mark in (b",", b"[", b"{", b":")) > most:
        raise Refused(f"{what}: the answer holds more than {most} values")
    if deep(raw):
        raise Refused(f"{what}: the answer nests deeper than {DEEPEST}")
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise Transient(f"{what}: the answer is no JSON") from exc


def readable(raw: bytes) -> Any:  # noqa: ANN401  # likewise
    """Return the JSON in a text, None if it is none that `parsed` reads: what goes on without it takes this."""
    try:
        return parsed(raw, "")
    except SoarError:
        return None


def deep(raw: bytes) -> bool:
    """Return whether a JSON text nests deeper than `DEEPEST`; takes time in proportion to its length."""
    # Brackets within texts are no nesting: closing ones would hide what opens outside. What is escaped goes first, from
    # left to right, then all but quotes and brackets: so most texts are two quotes, and few have to be looked for.
    quotes = raw.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS).replace(b'""', b"")
    steps = memoryview(_TEXT.sub(b"", quotes).translate(_STEPS, b'"')).cast("b")
    return max(accumulate(steps), default=0) > DEEPEST
