"""What a hostile server answers on the wire is an answer or none, and never an accident of ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from integrations.protocol.client import McpEndpoint
from playbooks.errors import Refused
from tests.lab.http_served import read, write

DEEP = 200_000


@asynccontextmanager
async def answering(body: bytes, kind: str) -> AsyncIterator[str]:
    """Run a server that answers every request with that; yield its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(int(length.partition(":")[2]))
        start = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(start.encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


def framed(body: bytes) -> bytes:
    return b"event: message\r\ndata: " + body + b"\r\n\r\n"


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc": "2.0", "id": [], "result": {"tools": []}}',
        b'{"jsonrpc": "2.0", "id": {"a": [1]}, "result": {"tools": []}}',
        b"[" * DEEP + b"]" * DEEP,
        b'{"jsonrpc": "2.0", "id": 1, "result": {"tools": ' + b"[" * DEEP + b"]" * DEEP + b"}}",
        b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    ],
    ids=["list-as-id", "object-as-id", "deep", "deep-in-a-list-of-tools", "deep-objects"],
)
async def test_what_nobody_can_read_is_no_answer(body: bytes, kind: str) -> None:
    async with answering(framed(body) if "event" in kind else body, kind) as url:
        endpoint = McpEndpoint("server hostile", url, principal="nobody")
        endpoint.patience = 20.0
        try:
            reply = await endpoint.ask("tools/list")
            assert (reply.result, reply.error) == (None, None)
            assert reply.failed
            assert "no JSON-RPC" in reply.said
            with pytest.raises(Refused, match="tools/list"):
                await endpoint.listed("tools")
        finally:
            await endpoint.aclose()


async def test_an_answer_behind_what_nobody_can_read_still_counts() -> None:
    good = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "add"}]}}).encode()
    stream = framed(b'{"jsonrpc": "2.0", "id": [], "result": {}}') + framed(b"[" * DEEP) + framed(good)
    async with answering(stream, "text/event-stream") as url:
        endpoint = McpEndpoint("server hostile", url, principal="nobody")
        endpoint.patience = 20.0
        try:
            assert await endpoint.listed("tools") == ({"name": "add"},)
        finally:
            await endpoint.aclose()


async def test_what_many_wait_for_is_asked_ahead_of_what_each_asks_alone() -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
        body = json.loads(await reader.readexactly(int(length.partition(":")[2])))
        asked.put_nowait(body["method"])
        if body["method"] != "tools/list":
            await over.wait()
        answer = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": {"tools": []}}).encode()
        kind = f"Content-Type: application/json\r\nContent-Length: {len(answer)}"
        writer.write(f"HTTP/1.1 200 OK\r\n{kind}\r\nConnection: close\r\n\r\n".encode() + answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        endpoint = McpEndpoint("slow", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", principal="x")
        endpoint.patience = 60.0
        try:
            calls = [asyncio.create_task(endpoint.ask("tools/call", {"name": str(n)})) for n in range(40)]
            await asked.get()
            assert await endpoint.listed("tools") == ()
            waiting = [call for call in calls if not call.done()]
            assert len(waiting) == len(calls), "it went past all of them"
            over.set()
            await asyncio.gather(*calls)
        finally:
            over.set()
            await endpoint.aclose()


async def test_another_address_of_a_place_is_asked_over_the_same_connections_which_all_end_with_it() -> None:
    opened: list[asyncio.StreamWriter] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        with suppress(asyncio.IncompleteReadError):
            while True:
                await read(reader)
                await write(writer, 200, b'{"jsonrpc": "2.0", "id": 1, "result": {}}')
        writer.close()
        ended.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        endpoint = McpEndpoint("gateway", f"{url}/mcp", principal="canary")
        endpoint.patience = 20.0
        for door in ("/rpc", "/servers/1/mcp"):  # before anything is asked at its own address
            assert (await endpoint.at(f"{url}{door}").ask("tools/call")).error is None
        await endpoint.ask("tools/list")
        assert len(opened) == 1
        await endpoint.aclose()
        await asyncio.wait_for(ended.wait(), 20)
