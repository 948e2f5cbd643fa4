"""A server that answers each request as a test says, with what it was asked, on top of `http_served`."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.lab import http_served


@dataclass
class Asked:
    """A request.

    Args:
        method: of HTTP.
        target: path and query.
        headers: by their names in lower case.
        message: the JSON object in it; empty if it is none.
    """

    method: str
    target: str
    headers: dict[str, str]
    message: dict[str, Any]


@dataclass
class Serving:
    """A running server.

    Args:
        url: its MCP address.
        seen: what it was asked.
    """

    url: str
    seen: list[Asked] = field(default_factory=list)


def _message(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@asynccontextmanager
async def serving(
    answer: Callable[[Asked], tuple[int, dict[str, str], object]], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Serving]:
    """Serve on a free loopback port; an answer is a status, headers, and JSON or a text."""
    place = Serving("")

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await http_served.read(reader)
            asked = Asked(request.method, request.target, request.headers, _message(request.body))
            place.seen.append(asked)
            status, headers, body = answer(asked)
            raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            kind = headers.pop("Content-Type", "application/json")
            extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            await http_served.write(writer, status, raw, kind=kind, extra=extra)

    async with http_served.listening(converse, tls=tls) as url:
        place.url = f"{url}/mcp"
        yield place
