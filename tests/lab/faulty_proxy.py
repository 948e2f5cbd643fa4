"""A real reverse proxy in front of a gateway that writes down every request and fails as it is told to."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum

from tests.lab.http_asked import Asking
from tests.lab.http_served import listening, read, write

_ID = re.compile(r"^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^/]+@[^/]+)$")
_SIGN_IN = "/auth/login"
_NAMED = re.compile(r"(/capabilities/\w+)/.+$")
_PASSED = frozenset(
    ("authorization", "accept", "content-type", "cookie", "x-csrf-token", "mcp-session-id", "mcp-protocol-version")
)
_RETURNED = ("set-cookie", "mcp-session-id")


class Mode(StrEnum):
    """What the proxy does with a request."""

    PASS = "pass"  # noqa: S105  # a mode
    BROKEN = "answer 500 without forwarding"
    BUSY = "answer 429 without forwarding"
    HANG = "never answer"
    IDLE = "answer changes with 200 without forwarding them"
    CUT = "forward changes, then close without an answer"


class FaultyProxy:
    """Stands between us and a gateway.

    Args:
        upstream: the gateway's address.
    """

    def __init__(self, upstream: str) -> None:
        self.mode = Mode.PASS
        # Requests whose path ends so are answered with 500, whatever the mode; nothing ends so.
        self.fails = "\n"
        # Cleared, it makes every request wait until it is set again: a gateway that is slow as long as a test needs.
        self.open = asyncio.Event()
        self.open.set()
        self.broken = b'{"detail":"broken"}'
        self.seen: list[tuple[str, str]] = []
        self.url = ""
        self._at = upstream.rstrip("/")
        self._upstream = Asking()

    @property
    def writes(self) -> list[tuple[str, str]]:
        """The requests that could have changed the gateway: all but reads, sign-ins and MCP."""
        return [(method, path) for method, path in self.seen if _changes(method, path)]

    @property
    def used(self) -> set[str]:
        """The permissions used, as `METHOD /path/{id}`; MCP and sign-in aside."""
        return {
            f"{method} {_template(path)}"
            for method, path in self.seen
            if not path.endswith(_SIGN_IN) and not _mcp(path)
        }

    def forget(self) -> None:
        """Start counting anew."""
        self.seen.clear()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it closes."""
        while await self._exchange(reader, writer):
            pass

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await read(reader)
        method, target, path = request.method, request.target, request.target.partition("?")[0]
        self.seen.append((method, path))
        await self.open.wait()
        mode = Mode.PASS if path.endswith(_SIGN_IN) else Mode.BROKEN if path.endswith(self.fails) else self.mode
        if mode is Mode.HANG:
            await asyncio.Event().wait()
        extra = ""
        status, kind, answer = 500, "application/json", self.broken
        if mode is Mode.IDLE and _changes(method, path):
            status, answer = 200, b"{}"
        elif mode is Mode.BUSY:
            status, extra = 429, "Retry-After: 7\r\n"
        elif path.endswith("/sse"):
            # It passes whole answers on, and a stream has no end.
            status, answer = 404, b'{"detail":"no streams here"}'
        elif mode is not Mode.BROKEN:
            passed = [(name, value) for name, value in request.headers.items() if name in _PASSED]
            if "origin" in request.headers:
                # Whoever takes changes from its own pages alone has those at its own address.
                passed.append(("origin", self._at))
            response = await self._upstream.ask(method, self._at + target, headers=passed, body=request.body)
            status, kind, answer = response.status, response.header("content-type"), response.body
            extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers if name in _RETURNED)
        if mode is Mode.CUT and _changes(method, path):
            return False
        await write(writer, status, answer, kind=kind, extra=extra)
        return True

    def close(self) -> None:
        """End what goes on to the gateway."""
        self._upstream.close()


@asynccontextmanager
async def faulty_proxy(upstream: str) -> AsyncIterator[FaultyProxy]:
    """Run a proxy on a free loopback port, in this event loop."""
    proxy = FaultyProxy(upstream)
    try:
        async with listening(proxy.converse) as proxy.url:
            yield proxy
    finally:
        proxy.close()


def _mcp(path: str) -> bool:
    return path.rstrip("/").endswith(("/mcp", "/rpc", "/sse", "/mcp-rest/tools/call"))


def _changes(method: str, path: str) -> bool:
    return method not in {"GET", "HEAD"} and not path.endswith(_SIGN_IN) and not _mcp(path)


def _template(path: str) -> str:
    parts = _NAMED.sub(r"\1/{name}", path).split("/")
    return "/".join("{id}" if _ID.match(part.replace("%40", "@")) else part for part in parts)
