"""The little of HTTP/1.1 that stand-ins for servers need, without a web server's cost for each request."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request as it came.

    Args:
        method: of HTTP.
        target: path and query, as they were sent.
        headers: by their names in lower case.
        body: the bytes after them.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401  # whatever was sent
        """Return the body read as JSON."""
        return json.loads(self.body)


async def read(reader: asyncio.StreamReader) -> Request:
    """Return the next request of a connection.

    Raises:
        asyncio.IncompleteReadError: it was closed.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def write(
    writer: asyncio.StreamWriter, status: int, body: bytes, *, kind: str = "application/json", extra: str = ""
) -> None:
    """Send an answer.

    Args:
        writer: the connection.
        status: of HTTP.
        body: of the answer; a 204 has none.
        kind: its content type.
        extra: more header lines, each with its line's end.
    """
    head = f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    writer.write(head.encode() + (body if status != 204 else b""))
    await writer.drain()


@asynccontextmanager
async def listening(
    converse: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """Listen on a free loopback port, in this event loop; yield the address.

    Args:
        converse: has one connection until it returns, or the other side closes it.
        tls: what it is protected by; None for clear text.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await converse(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(until_closed(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def serve(answer: Callable[[Request], Awaitable[tuple[int, object]]]) -> AsyncIterator[str]:
    """Answer every request with a status and JSON, on a free loopback port; yield the address.

    Args:
        answer: returns them; a body of None is none.
    """

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            status, body = await answer(await read(reader))
            await write(writer, status, b"" if body is None else json.dumps(body).encode())

    async with listening(converse) as url:
        yield url
