"""An MCP client as agents use one, the official SDK's: what it sees is what containment is about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from integrations.hostile import printable
from integrations.tls import trusted
from playbooks.errors import Refused, Transient

TIMEOUT: Final = 15.0
"""Seconds for one answer."""


@dataclass(frozen=True)
class Said:
    """What a tool call brought.

    Args:
        worked: the tool ran and answered.
        text: the answer or the refusal; hostile, but printable.
    """

    worked: bool
    text: str


class Agent:
    """An agent at an MCP address.

    Args:
        url: the address.
        token: its bearer token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    async def tools(self) -> dict[str, str]:
        """Return the description of every tool that it can see, by name.

        Raises:
            Transient: nothing usable came back.
        """
        async with self._session() as client:
            found: dict[str, str] = {}
            cursor: str | None = None
            while True:
                # A client may keep a list for as long as the server says; what is asked here is the present one.
                page = await client.list_tools(cursor=cursor, cache_mode="bypass")
                found.update({tool.name: tool.description or "" for tool in page.tools})
                cursor = page.next_cursor
                # An empty text is a cursor like any other.
                if cursor is None:
                    return found

    async def call(self, tool: str, arguments: dict[str, Any]) -> Said:
        """Call a tool; a refusal is an answer too.

        Raises:
            Transient: nothing usable came back.
        """
        async with self._session() as client:
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as exc:
                return Said(worked=False, text=printable(str(exc)))
            texts = " ".join(str(getattr(block, "text", "")) for block in result.content)
            return Said(worked=not result.is_error, text=printable(texts))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with (
                httpx2.AsyncClient(
                    timeout=TIMEOUT, verify=trusted(self._url), trust_env=False, headers=headers
                ) as http,
                Client(streamable_http_client(self._url, http_client=http), read_timeout_seconds=TIMEOUT) as client,
            ):
                yield client
        except (OSError, httpx2.HTTPError, MCPError, ValueError, RuntimeError, ExceptionGroup) as exc:
            first: BaseException = exc
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            if isinstance(first, Refused | Transient):
                raise first from exc
            raise Transient(f"{self._url}: {type(first).__name__}: {printable(str(first))}") from exc
