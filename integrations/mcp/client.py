"""One MCP address, asked over plain JSON-RPC so that every answer comes with its HTTP status and its raw bytes."""

import asyncio
import json
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx

from integrations.hostile import printable
from integrations.tls import trusted
from playbooks.errors import Misconfigured, Refused, Transient

TIMEOUT: Final = 4.0
"""Seconds for one answer."""

_AT_ONCE: Final = 8
_MOST_PAGES: Final = 50
_LARGEST: Final = 16 * 1024 * 1024


@dataclass(frozen=True)
class Reply:
    """What came back for one request.

    Args:
        status: of HTTP.
        result: the JSON-RPC result, if there was one.
        error: the JSON-RPC error, if there was one.
        raw: the body.
    """

    status: int
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    raw: bytes

    @property
    def text(self) -> str:
        """What it says to a person: the error's message or the text of a tool's answer; hostile, but printable."""
        if self.error is not None:
            return printable(str(self.error.get("message", self.error)), 500)
        if self.result is not None:
            return printable(" ".join(texts(self.result)) or json.dumps(self.result), 500)
        return printable(self.raw.decode(errors="replace"), 500)

    @property
    def failed(self) -> bool:
        """Whether it is an error: of JSON-RPC, of the tool, or no answer of that protocol at all."""
        return self.result is None or bool(self.result.get("isError"))

    @property
    def said(self) -> str:
        """The answer in a line for findings."""
        if self.error is not None:
            kind = f"error {self.error.get('code')}"
        elif self.result is not None:
            kind = "tool error" if self.result.get("isError") else "result"
        else:
            kind = "no JSON-RPC"
        return f"HTTP {self.status}, {kind}: {self.text[:160]}"


def texts(result: dict[str, Any]) -> list[str]:
    """Return the texts of a tool's answer, as they are."""
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    return [str(block["text"]) for block in blocks if isinstance(block, dict) and block.get("type") == "text"]


class McpEndpoint:
    """An MCP address as one principal sees it.

    Args:
        name: what messages call it.
        url: the address.
        principal: who asks; findings say so.
        token: that principal's bearer token, if the address wants one.
    """

    def __init__(self, name: str, url: str, *, principal: str, token: str | None = None) -> None:
        self.name = name
        self.url = url
        self.principal = principal
        self.patience = TIMEOUT
        """Seconds for one answer."""
        self._ids = count(1)
        self._turns = asyncio.Semaphore(_AT_ONCE)
        headers = {"Accept": "application/json, text/event-stream"}
        self._http = httpx.AsyncClient(
            headers={**headers, "Authorization": f"Bearer {token}"} if token else headers,
            timeout=httpx.Timeout(TIMEOUT, connect=2.0),
            limits=httpx.Limits(
                max_connections=2 * _AT_ONCE, max_keepalive_connections=2 * _AT_ONCE, keepalive_expiry=4.0
            ),
            verify=trusted(),
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, method: str, params: dict[str, Any] | None = None, *, ahead: bool = False) -> Reply:
        """Send one request and return whatever came back, a refusal included.

        Args:
            method: of MCP.
            params: of the method.
            ahead: of our own requests that wait; for what many of them are waiting for.

        Raises:
            Transient: nothing came back, or the other side broke (5xx) or was too busy (429).
        """
        number = next(self._ids)
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
        try:
            # The clock starts when it is its turn: a burst of our own questions is not the other side's silence.
            async with (
                nullcontext() if ahead else self._turns,
                asyncio.timeout(self.patience),
                self._http.stream("POST", self.url, json=body) as response,
            ):
                raw = b""
                async for chunk in response.aiter_bytes():
                    raw += chunk
                    if len(raw) > _LARGEST:
                        raise Refused(f"{self.name}: the answer to {method} is longer than {_LARGEST} bytes")
        except (httpx.HTTPError, TimeoutError) as exc:
            raise Transient(f"{self.name}: {method}: no answer ({type(exc).__name__})") from exc
        status = response.status_code
        if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
            raise Transient(f"{self.name}: {method} answered {status}")
        answer = _answer(raw, number, framed="text/event-stream" in response.headers.get("Content-Type", ""))
        result, error = answer.get("result"), answer.get("error")
        return Reply(
            status=status,
            result=result if isinstance(result, dict) else None,
            error=error if isinstance(error, dict) else None,
            raw=raw,
        )

    async def listed(self, what: str) -> tuple[dict[str, Any], ...]:
        """Return everything that `tools`, `prompts`, `resources` or `resources/templates` lists, page by page.

        Raises:
            Transient: it did not answer.
            Misconfigured: our token may not list.
            Refused: it answered something else than a list.
        """
        key = "resourceTemplates" if what == "resources/templates" else what
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            reply = await self.ask(f"{what}/list", {"cursor": cursor} if cursor else {}, ahead=True)
            if reply.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
                raise Misconfigured(f"{self.name} does not accept the token of {self.principal}: {reply.said}")
            page = reply.result.get(key) if reply.result else None
            if reply.result is None or not isinstance(page, list):
                raise Refused(f"{self.name}: {what}/list: {reply.said}")
            items += [item for item in page if isinstance(item, dict)]
            cursor = reply.result.get("nextCursor")
            if not cursor:
                return tuple(items)
        raise Refused(f"{self.name}: {what}/list does not end after {_MOST_PAGES} pages")


def _answer(raw: bytes, number: int, *, framed: bool) -> dict[str, Any]:
    """Return the JSON-RPC answer in a body, which may be framed as server-sent events; empty if it holds none."""
    text = raw.decode(errors="replace")
    candidates = [text]
    if framed:
        events = text.replace("\r\n", "\n").split("\n\n")
        candidates = [
            "\n".join(line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:"))
            for event in events
        ]
    for candidate in candidates:
        try:
            answer = json.loads(candidate)
        except (ValueError, RecursionError):
            # A hostile server nests as deep as it likes.
            continue
        if (
            isinstance(answer, dict)
            and ("result" in answer or "error" in answer)
            # Compared, not looked up: what it sends as an id need not be hashable.
            and (answer.get("id") is None or answer.get("id") == number)
        ):
            return answer
    return {}
