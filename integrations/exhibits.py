"""What captures write into an exhibit beside raw bytes: values as JSON that people can read, and lines of text."""

import json
from collections.abc import Iterator
from typing import Final

from playbooks.action import Sink

_PIECE: Final = 1 << 16
"""Characters that are written at once."""

_ENCODER: Final = json.JSONEncoder(indent=1, sort_keys=True, ensure_ascii=False)


async def add_json(sink: Sink, name: str, value: object, origin: str) -> None:
    """Write a value as JSON, in one order; its text is never held whole.

    Args:
        sink: of the exhibit.
        name: of the file.
        value: what to write.
        origin: where it was read.
    """
    async with sink.file(name, media_type="application/json", origin=origin) as file:
        for piece in _pieces(_ENCODER.iterencode(value)):
            await file.write(piece)


async def add_text(sink: Sink, name: str, text: str, origin: str, *, media_type: str = "text/plain") -> None:
    """Write a text; what no text can hold is written as an escape.

    Args:
        sink: of the exhibit.
        name: of the file.
        text: what to write.
        origin: where it was read, or what it was computed from.
        media_type: what it is.
    """
    await sink.add(name, text.encode(errors="backslashreplace"), media_type=media_type, origin=origin)


def _pieces(parts: Iterator[str]) -> Iterator[bytes]:
    some: list[str] = []
    size = 0
    for part in parts:
        some.append(part)
        size += len(part)
        if size >= _PIECE:
            yield "".join(some).encode(errors="backslashreplace")
            some, size = [], 0
    yield "".join(some).encode(errors="backslashreplace")
