"""A place that answers HTTP requests with whatever bytes a test wants, for as long as it wants."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.lab import http_served

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Writes the answer to a request, given its method and target."""


@dataclass
class Rogue:
    """A running place.

    Args:
        url: its address.
        seen: each request as `METHOD /target`.
    """

    url: str = ""
    seen: list[str] = field(default_factory=list)


def answer(body: bytes, *, status: int = 200, headers: str = "Content-Type: application/json\r\n") -> bytes:
    """Return a whole HTTP answer."""
    return f"HTTP/1.1 {status} x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def rogue(respond: Answer) -> AsyncIterator[Rogue]:
    """Serve on a free loopback port, in this event loop."""
    place = Rogue()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await http_served.read(reader)
            asked = f"{request.method} {request.target}"
            place.seen.append(asked)
            await respond(asked, writer)
            await writer.drain()

    async with http_served.listening(converse) as place.url:
        yield place
