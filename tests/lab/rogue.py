"""A place that answers HTTP requests with whatever bytes a test wants, for as long as it wants."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

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
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                sizes = [
                    line.partition(":")[2] for line in head.lower().split("\r\n") if line.startswith("content-length")
                ]
                await reader.readexactly(int(sizes[0]) if sizes else 0)
                asked = head.partition(" HTTP/")[0]
                place.seen.append(asked)
                await respond(asked, writer)
                await writer.drain()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    place.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield place
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
