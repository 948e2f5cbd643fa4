"""A server that says what changed is heard at once, and one that says more than anybody needs is not listened to."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from integrations.protocol import listening
from integrations.protocol.client import McpEndpoint
from integrations.protocol.listening import Mute, changes
from playbooks.errors import Refused, SoarError, Transient
from tests.lab.rogue import answer, rogue

Stream = Callable[[asyncio.StreamWriter], Awaitable[None]]
CHANGED = b'data: {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}\n\n'
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "h"}}


@asynccontextmanager
async def speaking(stream: Stream | None) -> AsyncIterator[McpEndpoint]:
    """Run a server with a session and a stream; yield its address."""

    async def respond(asked: str, writer: asyncio.StreamWriter) -> None:
        if asked.startswith("GET") and stream is not None:
            writer.write(b"HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            await stream(writer)
            writer.close()
        elif asked.startswith("POST"):
            body = {"jsonrpc": "2.0", "id": 1, "result": HELLO}
            writer.write(answer(json.dumps(body).encode()))
        else:
            writer.write(answer(b"", status=405))

    async with rogue(respond) as place:
        endpoint = McpEndpoint("server h", f"{place.url}/mcp", principal="nobody")
        try:
            yield endpoint
        finally:
            await endpoint.aclose()


async def heard(endpoint: McpEndpoint, most: int) -> list[str]:
    """Return what is heard, as many things at most."""
    found = []
    async with aclosing(changes(endpoint)) as said:
        async for one in said:
            found.append(one)
            if len(found) == most:
                break
    return found


async def test_changes_are_heard_as_they_are_said_and_nothing_else() -> None:
    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b": here\n\ndata: nonsense\n\ndata: [1]\n\n" + b'data: {"method": ["x"]}\r\n\r\n' + CHANGED[:20])
        await writer.drain()
        writer.write(CHANGED[20:] + CHANGED.replace(b"tools/list_changed", b"resources/updated"))
        await asyncio.Event().wait()

    async with speaking(stream) as endpoint:
        assert await heard(endpoint, 3) == ["", "notifications/tools/list_changed", "notifications/resources/updated"]


async def test_a_stream_that_ends_is_begun_again_by_whoever_listens() -> None:
    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(CHANGED)

    async with speaking(stream) as endpoint:
        with pytest.raises(Transient, match="ended the stream"):
            await heard(endpoint, 9)


async def test_one_without_a_stream_says_so() -> None:
    async with speaking(None) as endpoint:
        with pytest.raises(Mute):
            await heard(endpoint, 1)


async def flood(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(CHANGED * 50)
        await writer.drain()


async def endless(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"data: " + b"x" * 10_000)
        await writer.drain()


async def comments(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b":\n\n" * 500)
        await writer.drain()


@pytest.mark.parametrize("stream", [flood, endless, comments])
async def test_more_than_any_server_has_to_say_ends_the_conversation(stream: Stream) -> None:
    async with speaking(stream) as endpoint:
        with pytest.raises(Refused, match=r"says more than|one event is longer"):
            await heard(endpoint, 1000)


async def test_a_drip_holds_nothing_but_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "LONGEST", 200)

    async def stream(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with speaking(stream) as endpoint:
        with pytest.raises(Refused, match="longer than 200 bytes"):
            await heard(endpoint, 9)


async def test_one_that_is_away_or_silent_is_given_up_within_its_time() -> None:
    async def silent(_: str, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with rogue(silent) as place:
        endpoint = McpEndpoint("server h", place.url, principal="nobody")
        endpoint.patience = 0.2
        with pytest.raises(SoarError):
            await heard(endpoint, 1)
        await endpoint.aclose()
