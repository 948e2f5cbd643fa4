"""The receiver's door: nobody holds a connection by doing nothing, or keeps others out by holding many."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flows.service import entrance
from flows.service.entrance import Entrance, server
from tests.flows.test_part_receiver import certificate
from tests.flows.test_receiver import BODY, MemoryInbox, _secrets, app_with, request_line, talk

__all__ = ["_secrets", "certificate"]

WITHIN = 60.0
SOONER = 8.0
"""Seconds, less than a body may take to arrive: then the connection would be ended for that."""
OTHERS = "127.0.0.9"
"""Another peer than 127.0.0.1, on the same machine."""


@contextlib.asynccontextmanager
async def open_door(
    inbox: MemoryInbox, *, limit: int = 200, each: int = 100, tls: Path | None = None
) -> AsyncIterator[tuple[int, Entrance]]:
    """Serve the receiver, and give its port and its server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        files = {"certificate": tls / "tls.pem", "key": tls / "tls.key"} if tls else {}
        running = server(app_with(inbox), host="127.0.0.1", port=port, limit=limit, each=each, **files)
        task = asyncio.create_task(running._serve(sockets=[listener]))  # noqa: SLF001  # signals stay with the tests
        while not running.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield port, running
        running.should_exit = True
        await task


def unread(path: str = "/v1/alerts/signed", kind: str = "application/json") -> bytes:
    """Return the head of a request whose body is announced and not sent."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 5000\r\n\r\n"
    return head.encode()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a byte again and again, as long as it is taken."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("head", "status"),
    [(unread("/v1/alerts/nobody"), b"404"), (unread(kind="text/plain"), b"415"), (unread("/nothing"), b"404")],
)
async def test_a_body_that_nobody_reads_does_not_hold_its_connection(
    head: bytes, status: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "UNREAD_WITHIN", 0.2)
    async with open_door(MemoryInbox()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        dripping = asyncio.create_task(drip(writer))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN):
                answer = await reader.read(12)
                while await reader.read(4096):
                    pass
        dripping.cancel()
        writer.close()
    assert answer == b"HTTP/1.1 " + status


async def test_a_body_that_comes_after_its_answer_leaves_the_connection_usable() -> None:
    async with open_door(MemoryInbox()) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(unread("/v1/alerts/nobody"))
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 404 ")
        writer.write(b"x" * 5000 + request_line(len(BODY)) + BODY)
        assert (await reader.read(4096)).startswith(b"HTTP/1.1 202 ")
        writer.close()


async def test_a_peer_that_opens_all_the_connections_it_can_keeps_out_itself() -> None:
    inbox = MemoryInbox()
    async with open_door(inbox, limit=20, each=8) as (port, _), contextlib.AsyncExitStack() as held:
        readers = []
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(OTHERS, 0))
            held.callback(writer.close)
            writer.write(request_line(len(BODY)) + b"{")
            readers.append(reader)
        assert (await talk(port, request_line(len(BODY)), BODY)).startswith(b"HTTP/1.1 202 ")
        counts = await talk(port, b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert b'soar_connections_turned_away_total{reason="peer"} 52.0' in counts
        assert not readers[-1].at_eof()


async def test_where_all_peers_fill_it_together_the_longest_waiting_gives_way() -> None:
    async with open_door(MemoryInbox(), limit=20, each=8) as (port, _), contextlib.AsyncExitStack() as held:
        readers = []
        for number in range(20):
            peer = (f"127.0.0.{10 + number % 4}", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=peer)
            held.callback(writer.close)
            writer.write(unread())
            readers.append(reader)
        assert (await talk(port, request_line(len(BODY)), BODY)).startswith(b"HTTP/1.1 202 ")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(SOONER):
                assert await readers[0].read() == b""


async def test_what_is_being_stored_gives_way_to_nobody() -> None:
    inbox = MemoryInbox(hangs=True)
    async with open_door(inbox, limit=2) as (port, _), contextlib.AsyncExitStack() as held:
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            held.callback(writer.close)
            writer.write(request_line(len(BODY)) + BODY)
        while len(inbox.weights) < 2:  # noqa: ASYNC110  # the inbox has no event for it
            await asyncio.sleep(0.01)
        assert await talk(port, request_line(len(BODY)), BODY) == b""
        assert len(inbox.weights) == 2


async def test_no_request_takes_longer_than_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "REQUEST_WITHIN", 0.3)
    async with open_door(MemoryInbox(hangs=True)) as (port, running):
        assert await talk(port, request_line(len(BODY)), BODY) == b""
        assert not running.server_state.connections


async def test_who_does_not_read_the_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUEST_WITHIN", "_FLUSH_WITHIN", "HEADERS_WITHIN"):
        monkeypatch.setattr(entrance, name, 0.3)
    async with open_door(MemoryInbox()) as (port, running):
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(0)
        await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", port))
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.get_running_loop().sock_sendall(deaf, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 5000)
        async with asyncio.timeout(WITHIN):
            while running.server_state.connections:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.02)
        deaf.close()


async def test_an_old_connection_is_told_that_its_answer_was_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance, "CONNECTION_WITHIN", 0.0)
    async with open_door(MemoryInbox()) as (port, _):
        answer = await talk(port, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"connection: close" in answer.lower()


async def test_a_tls_handshake_that_does_not_come_is_not_waited_for(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "HANDSHAKE_WITHIN", 0.3)
    async with open_door(MemoryInbox(), limit=4, each=4, tls=certificate) as (port, _):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(WITHIN):
            for reader, writer in silent:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
        trusting = ssl.create_default_context(cafile=certificate / "tls.pem")
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        heard = await reader.read()
        writer.close()
    assert b'soar_connections_turned_away_total{reason="slow"} 3.0' in heard


async def test_silent_handshakes_keep_nobody_out(certificate: Path) -> None:
    async with open_door(MemoryInbox(), limit=4, each=3, tls=certificate) as (port, _):
        silent = [await asyncio.open_connection("127.0.0.1", port, local_addr=(OTHERS, 0)) for _ in range(12)]
        trusting = ssl.create_default_context(cafile=certificate / "tls.pem")
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7"),
        (("2001:db8:1:2:3::4", 5, 0, 0), "2001:db8:1:2::/64"),
        (("127.0.0.1", 5), "local"),
        (("::1", 5, 0, 0), "local"),
        (("::ffff:127.0.0.1", 5, 0, 0), "local"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
        ("", ""),
    ],
)
def test_a_peer_is_an_address_or_the_network_that_anybody_gets(address: object, peer: str) -> None:
    assert entrance._peer(address) == peer  # noqa: SLF001  # a pure function, and the whole of the cap's fairness
