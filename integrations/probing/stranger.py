"""Somebody whom a server does not know: requests one by one, each answer with its status, bounded in time and size."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, Self

import httpx

from integrations.http import FAULTS, connecting
from integrations.protocol.limits import Budget
from integrations.protocol.session import HANDSHAKE, US, Session, over_http
from integrations.protocol.wire import STREAM, Body, Carried, packed
from playbooks.errors import Transient

PATIENCE: Final = 4.0
"""Seconds for one answer."""

_LARGEST: Final = 1024 * 1024
"""Bytes of all answers of one conversation."""

_GOODBYE: Final = 1.0


def hello(**more: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    """Return the params of an `initialize`, as a client sends them.

    Args:
        more: that no client sends.
    """
    return {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": US, **more}


class Stranger:
    """The connections to one address, of somebody without credentials.

    Args:
        name: what messages call the server.
        url: its address.
        verify: what its certificate is checked against; None for the public authorities.
    """

    def __init__(self, name: str, url: str, verify: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.url = url
        self._numbers = count(1)
        headers = {"Accept": f"application/json, {STREAM}", "Accept-Encoding": "identity"}
        self._http = connecting(url, headers, verify=verify)
        # A handshake that our own clock ends would leave its socket open.
        self._http.timeout = httpx.Timeout(PATIENCE, connect=PATIENCE / 2)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def initialize(self, headers: Mapping[str, str] | None = None, **more: Any) -> Carried:  # noqa: ANN401  # JSON
        """Send the request that begins a conversation, and end that if one begins.

        Args:
            headers: beside those of every client.
            more: members of the request, and of its params, that no client sends.

        Raises:
            Transient: no answer came.
            Refused: it is longer than anybody needs.
        """
        carried = await self.say("initialize", hello(**more), headers, **more)
        await self._end(carried)
        return carried

    async def say(
        self,
        method: str,
        params: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401  # JSON
    ) -> Carried:
        """Send one request of JSON-RPC outside of a conversation; see `initialize`."""
        number = next(self._numbers)
        message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params, **more}
        return await self.send("POST", json.dumps(message).encode(), headers, number=number)

    async def send(
        self,
        method: str,
        content: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        url: str = "",
        number: object = None,
        begun: bool = False,
    ) -> Carried:
        """Send bytes, and return whatever comes back; nothing is followed elsewhere.

        Args:
            method: of HTTP.
            content: the bytes.
            headers: beside those of every client.
            url: where to, if not to the server's own address.
            number: of the JSON-RPC message in them, where there is one.
            begun: be content with how the answer begins; a stream's never ends.

        Raises:
            Transient: no answer came.
            Refused: it is longer than anybody needs.
        """
        typed = {"Content-Type": "application/json"} if content else {}
        asked = self._http.stream(method, url or self.url, content=content, headers={**typed, **(headers or {})})
        budget = Budget(whole=_LARGEST)
        try:
            async with asyncio.timeout(PATIENCE), asked as response:
                packed(response)
                body = Body(number, framed=STREAM in response.headers.get("Content-Type", ""))
                if begun:
                    return Carried(response.status_code, b"", {}, response.headers)
                async for chunk in response.aiter_raw():
                    budget.spend(len(chunk), of=len(body.raw) + len(chunk))
                    if await body.takes(chunk):
                        break
                return Carried(response.status_code, bytes(body.raw), await body.ends(), response.headers)
        except (*FAULTS, TimeoutError) as exc:
            raise Transient(f"{self.name}: no answer ({type(exc).__name__})") from exc

    async def _end(self, carried: Carried) -> None:
        """Give a conversation back that was only begun, so that the server does not keep it."""
        if given := carried.headers.get("Mcp-Session-Id"):
            try:
                async with asyncio.timeout(_GOODBYE):
                    await self.send("DELETE", headers={"Mcp-Session-Id": given}, begun=True)
            except (Transient, TimeoutError, ValueError):
                pass  # it keeps it for as long as it likes

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Open a conversation, in whichever revision and over whichever transport the server speaks.

        Raises:
            Transient: it does not answer.
            NoEntry: it lets nobody in without credentials.
            Refused: it speaks no MCP that we know.
        """
        budget = Budget()
        async with over_http(self._http, self.name, self.url, patience=PATIENCE, budget=budget) as session:
            yield session


def answered(carried: Carried) -> bool:
    """Return whether a request was carried out."""
    return httpx.codes.is_success(carried.status) and isinstance(carried.answer.get("result"), dict)


def turned_away(carried: Carried) -> bool:
    """Return whether it was refused for want of credentials."""
    return carried.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
