"""The three ways to carry a JSON-RPC message to an MCP server and its answer back: HTTP, HTTP with SSE, and stdio.

Bytes are counted as they come, before they are decoded, and nothing is waited for once the answer is there.
Sources: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports and, for the older SSE,
https://modelcontextprotocol.io/specification/2024-11-05/basic/transports
"""

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import httpx

from integrations.hostile import printable
from integrations.http import TIMEOUT
from integrations.protocol.limits import ANSWER, AT_ONCE, EVENTS, Budget, parsed
from playbooks.errors import Refused, Transient

Message = dict[str, Any]

STREAM: Final = "text/event-stream"
_INHERITED: Final = ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "TERM", "USER")
"""What a server that we start ourselves sees of our environment: what the SDKs give it, and no secret."""

EMPTY_LINE: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
"""Ends an event."""

_LONGEST: Final = 4
"""Bytes of the longest of them."""

HELD: Final = httpx.Timeout(TIMEOUT, connect=2.0, read=3600.0)
"""A stream that is held open says nothing for as long as there is nothing to say."""

_GOES: Final = 1.0
"""Seconds that a process has to end by itself."""


@dataclass(frozen=True)
class Carried:
    """What came back for one message.

    Args:
        status: of HTTP; 0 where there is none.
        raw: the bytes of the answer as they came, framing included.
        answer: the JSON-RPC answer in them; empty if there is none.
        headers: of HTTP.
    """

    status: int
    raw: bytes
    answer: Message
    headers: Mapping[str, str] = field(default_factory=dict)


class Carrier(Protocol):
    """A way to a server, on which it may say something unasked, too: see `Http.unasked`, `Sse.unasked`."""

    async def carry(self, message: Message, headers: Mapping[str, str], budget: Budget) -> Carried:
        """Send a message and return its answer; of a notification, whatever acknowledges it.

        Raises:
            Refused: the answer is longer than anybody needs, or is packed.
            Transient: nothing came back.
        """
        ...


class Http:
    """Streamable HTTP: each message is a POST of its own.

    Args:
        client: the connections.
        url: the address.
    """

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self.client = client
        self.url = url

    async def carry(self, message: Message, headers: Mapping[str, str], budget: Budget) -> Carried:
        """Send a message and return its answer; see `Carrier`."""
        async with self.client.stream("POST", self.url, json=message, headers=dict(headers)) as response:
            packed(response)
            framed = STREAM in response.headers.get("Content-Type", "")
            body = Body(message.get("id"), framed=framed)
            async for chunk in response.aiter_raw():
                budget.spend(len(chunk), of=len(body.raw) + len(chunk))
                if await body.takes(chunk):
                    break  # a stream may stay open for as long as the server likes
            answer = await body.ends()
            return Carried(response.status_code, bytes(body.raw), answer, response.headers)

    @asynccontextmanager
    async def unasked(self, headers: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Open the stream on which a server says what nobody asked; None if it has none.

        Args:
            headers: of the conversation.
        """
        asked = {"Accept": STREAM, **headers}
        async with self.client.stream("GET", self.url, headers=asked, timeout=HELD) as response:
            if not response.is_success or STREAM not in response.headers.get("Content-Type", ""):
                yield None
                return
            packed(response)
            yield response.aiter_raw()


def packed(response: httpx.Response) -> None:
    """Refuse an answer that is compressed though we take none: a few bytes may unfold into gigabytes.

    Raises:
        Refused: it is.
    """
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise Refused(f"the answer is packed ({printable(coding, 40)}), though no packed one is taken")


class Body:
    """The body of an answer while it comes in, plain or framed as server-sent events.

    Args:
        number: the id of the message that is answered.
        framed: whether it is a stream of events.
    """

    def __init__(self, number: object, *, framed: bool) -> None:
        self.raw = bytearray()
        self._number = number
        self._framed = framed
        self._answer: Message = {}
        self._events = 0
        self._looked = 0
        self.read = 0

    async def takes(self, chunk: bytes) -> bool:
        """Take in what came; return whether the answer is complete.

        Raises:
            Refused: it comes in more events than anybody needs.
        """
        self.raw += chunk
        # What came already need not be waited for, so nothing else here would let others have their turn.
        await asyncio.sleep(0)
        while self._framed and not self._answer and (event := self._event()) is not None:
            self._answer = answering(await parsed(await data(event)), self._number)
            await asyncio.sleep(0)
        return bool(self._answer)

    def _event(self) -> bytes | None:
        """Return the next event, None if it is not whole yet. It ends with an empty line; no byte is sought twice."""
        found = EMPTY_LINE.search(self.raw, self._looked)
        if found is None:
            self._looked = max(self.read, len(self.raw) - _LONGEST + 1)  # the next chunk may complete one
            return None
        self._events += 1
        if self._events > EVENTS:
            raise Refused(f"one answer comes in more than {EVENTS} events")
        event = bytes(memoryview(self.raw)[self.read : found.end()])
        self.read = self._looked = found.end()
        return event

    async def ends(self) -> Message:
        """Return the answer, now that no more comes."""
        if self._answer:
            return self._answer
        rest = bytes(self.raw[self.read :])
        return answering(await parsed(await data(rest) if self._framed else rest), self._number)


async def data(event: bytes) -> bytes:
    """Return what an event says."""
    return _joined(event) if len(event) <= AT_ONCE else await asyncio.to_thread(_joined, event)


def _joined(event: bytes) -> bytes:
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def answering(value: object, number: object) -> Message:
    """Return a value if it is the JSON-RPC answer to a message of that id, else an empty one."""
    if (
        isinstance(value, dict)
        and ("result" in value or "error" in value)
        # Compared, not looked up: what it sends as an id need not be hashable.
        and (value.get("id") is None or value.get("id") == number)
    ):
        return value
    return {}


class Sse:
    """HTTP with SSE (2024-11-05): answers come over one stream, whose first event names where messages go.

    Args:
        client: the connections.
        url: where messages go.
        stream: the bytes of the stream.
        held: what came after the first event already.
    """

    def __init__(self, client: httpx.AsyncClient, url: str, stream: AsyncIterator[bytes], held: bytes) -> None:
        self._client = client
        self._url = url
        self._stream = stream
        self._held = held

    @asynccontextmanager
    async def unasked(self, headers: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Yield the stream, on which it says what nobody asked, too; nothing else is to be read of it meanwhile."""
        del headers

        async def chunks() -> AsyncIterator[bytes]:
            yield self._held
            async for chunk in self._stream:
                yield chunk

        yield chunks()

    async def carry(self, message: Message, headers: Mapping[str, str], budget: Budget) -> Carried:
        """Send a message and return its answer; see `Carrier`."""
        async with self._client.stream("POST", self._url, json=message, headers=dict(headers)) as response:
            packed(response)
            said = bytearray()
            async for chunk in response.aiter_raw():
                budget.spend(len(chunk), of=len(said) + len(chunk))
                said += chunk
                await asyncio.sleep(0)
        if not response.is_success:
            return Carried(response.status_code, bytes(said), {}, response.headers)
        if "id" not in message:
            return Carried(response.status_code, bytes(said), {}, response.headers)
        body, chunk = Body(message["id"], framed=True), self._held
        while not await body.takes(chunk):
            try:
                chunk = await anext(self._stream)
            except StopAsyncIteration as exc:
                raise Transient("the stream ended before the answer") from exc
            budget.spend(len(chunk), of=len(body.raw) + len(chunk))
        self._held = bytes(body.raw[body.read :])
        return Carried(200, bytes(body.raw), await body.ends(), response.headers)


@asynccontextmanager
async def sse(client: httpx.AsyncClient, url: str, budget: Budget) -> AsyncIterator[Sse | None]:
    """Open the stream of a server that speaks the older way; None if it does not.

    Args:
        client: the connections.
        url: where the stream is.
        budget: what may be read until the first event.

    Raises:
        Refused: messages should go to another host: whoever follows there asks somebody else.
    """
    # How long an answer may take, whoever asks knows; the stream itself may be silent for long.
    async with client.stream("GET", url, headers={"Accept": STREAM}, timeout=HELD) as response:
        if not response.is_success or STREAM not in response.headers.get("Content-Type", ""):
            yield None
            return
        packed(response)
        raw, looked, stream = bytearray(), 0, aiter(response.aiter_raw())
        while (found := EMPTY_LINE.search(raw, looked)) is None:
            looked = max(0, len(raw) - _LONGEST + 1)
            chunk = await anext(stream, None)
            if chunk is None:
                yield None
                return
            budget.spend(len(chunk), of=len(raw) + len(chunk))
            raw += chunk
            await asyncio.sleep(0)
        end = found.end()
        event = bytes(raw[:end])
        target = urljoin(url, (await data(event)).decode(errors="replace").strip())
        if b"event: endpoint" not in event and b"event:endpoint" not in event:
            yield None
            return
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            raise Refused(f"it sends messages to another place: {printable(target)}")
        yield Sse(client, target, stream, bytes(raw[end:]))


class Stdio:
    """A process of ours that speaks over its standard input and output, a line a message.

    Args:
        process: the process.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def carry(self, message: Message, headers: Mapping[str, str], budget: Budget) -> Carried:
        """Send a message and return its answer; see `Carrier`."""
        del headers  # there are none
        reader, writer = self.process.stdout, self.process.stdin
        if reader is None or writer is None:
            raise Transient("the process has no pipes")
        try:
            writer.write(json.dumps(message).encode() + b"\n")
            await writer.drain()
            if "id" not in message:
                return Carried(0, b"", {})
            read = 0
            while line := await reader.readline():
                read += len(line)
                budget.spend(len(line), of=read)
                if answer := answering(await parsed(line), message["id"]):
                    return Carried(0, line, answer)
        except ValueError as exc:
            raise Refused(f"one line is longer than {ANSWER} bytes") from exc
        except OSError as exc:
            raise Transient(f"the process does not read any more ({type(exc).__name__})") from exc
        raise Transient("the process ended before the answer")


@asynccontextmanager
async def stdio(command: Sequence[str]) -> AsyncIterator[Stdio]:
    """Start a server that has no address, and end it afterwards with whatever it started.

    Args:
        command: program and arguments; no shell reads it.

    Raises:
        Transient: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            limit=ANSWER,
            start_new_session=True,
        )
    except OSError as exc:
        raise Transient(f"{command[0]} cannot be started: {exc.strerror}") from exc
    try:
        yield Stdio(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _GOES)
        # Its children, too: it is the leader of a group of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
