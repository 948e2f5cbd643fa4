"""One conversation with a server, in whichever revision of the protocol and over whichever transport it speaks.

Revision 2026-07-28 knows no session: each request says all that it needs. Before it there is a handshake, after which a
server may give out a session id that every later request must carry; a server that does answers nothing without one.
Sources: https://modelcontextprotocol.io/specification/2025-11-25/basic/lifecycle and, of the other years, the same page
"""

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from itertools import count
from typing import Any, Final

import httpx

from integrations.hostile import printable
from integrations.http import FAULTS
from integrations.protocol.limits import ITEMS, PAGES, Budget
from integrations.protocol.reply import Reply
from integrations.protocol.wire import Carried, Carrier, Http, Message, Sse, sse
from playbooks.errors import Misconfigured, Refused, Transient

MODERN: Final = "2026-07-28"
"""The first revision without a handshake."""

HANDSHAKE: Final = "2025-11-25"
"""The newest revision with one; servers answer with the one that they speak."""

US: Final = {"name": "mcp-soar", "version": version("mcp-soar")}
"""Who we say that we are."""

_VERSION: Final = re.compile(r"[0-9A-Za-z.-]{1,40}")
_SESSION: Final = re.compile(r"[\x21-\x7e]{1,1000}")
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_GOODBYE: Final = 1.0
"""Seconds that a server has to acknowledge that a session ends."""


class NoEntry(Misconfigured):
    """A server or a gateway answers 401 or 403: it lets nobody in without credentials, or not with ours."""

    reply: Reply | None = None
    """What it answered."""


class Session:
    """A conversation that is open.

    Args:
        name: what messages call the server.
        carrier: the way to it.
        patience: seconds for one answer.
        budget: what all answers together may cost.
    """

    def __init__(self, name: str, carrier: Carrier, *, patience: float, budget: Budget) -> None:
        self.name = name
        self.carrier = carrier
        self.patience = patience
        self.revision = ""
        """The revision of the protocol that both speak; empty while that is not agreed."""
        self.id: str | None = None
        """The session id that the server gave out, if it did."""
        self.capabilities: Mapping[str, Any] = {}
        self.instructions: str | None = None
        self._budget = budget
        self._numbers = count(1)

    async def ask(self, method: str, params: Mapping[str, Any] | None = None) -> Reply:
        """Send one request and return whatever came back, a refusal included.

        Raises:
            Transient: nothing came back, or the other side broke (5xx) or was too busy (429).
            Refused: what came back is longer than anybody needs.
        """
        return reply_of(await self._carry(method, dict(params or {})), self.name, method)

    async def _carry(self, method: str, params: Message, *, revision: str | None = None) -> Carried:
        revision = self.revision if revision is None else revision
        headers = {"MCP-Protocol-Version": revision} if revision else {}
        if self.id is not None:
            headers["Mcp-Session-Id"] = self.id
        if revision >= MODERN:
            params = {**params, "_meta": {**_envelope(revision), **params.get("_meta", {})}}
            headers["Mcp-Method"] = method
            if isinstance(named := params.get(_NAMED.get(method, "")), str):
                headers["Mcp-Name"] = _header(named)
        message: Message = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        return await self._sent(message, headers)

    async def _sent(self, message: Message, headers: Mapping[str, str]) -> Carried:
        method = str(message["method"])
        try:
            async with asyncio.timeout(self.patience):
                return await self.carrier.carry(message, headers, self._budget)
        except (*FAULTS, TimeoutError) as exc:
            raise Transient(f"{self.name}: {method}: no answer ({type(exc).__name__})") from exc
        except (Refused, Transient) as exc:
            raise type(exc)(f"{self.name}: {method}: {exc}") from exc

    async def listed(self, what: str) -> tuple[dict[str, Any], ...]:
        """Return everything that `tools`, `prompts`, `resources` or `resources/templates` lists, page by page.

        Raises:
            Transient: it did not answer.
            NoEntry: we may not list.
            Refused: it answered something else than a list, or one that is longer than anybody needs.
        """
        return await pages(self.ask, what, self.name)

    @asynccontextmanager
    async def unasked(self) -> AsyncIterator[AsyncIterator[bytes] | None]:
        """Open the stream on which the server says what nobody asked; None if it has none, or is no web server.

        Raises:
            Transient: it does not answer.
            Refused: what it says is packed.
        """
        if not isinstance(self.carrier, Http | Sse):
            yield None
            return
        headers = {"MCP-Protocol-Version": self.revision} | ({"Mcp-Session-Id": self.id} if self.id else {})
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.patience):
                    chunks = await stack.enter_async_context(self.carrier.unasked(headers))
            except (*FAULTS, TimeoutError) as exc:
                raise Transient(f"{self.name}: no stream ({type(exc).__name__})") from exc
            yield chunks

    # Opening

    async def begin(self, *, handshake: bool = False) -> bool:
        """Agree on a revision, by a handshake if it takes one; return False if the server knows neither way.

        Args:
            handshake: try that first, as clients of before 2026-07-28 do: some servers have sessions for those only.

        Raises:
            Transient: it did not answer.
            NoEntry: we may not ask it anything.
        """
        ways = (self._greet, self._discover) if handshake else (self._discover, self._greet)
        return await ways[0]() or await ways[1]()

    async def _discover(self) -> bool:
        asked = await self._carry("server/discover", {}, revision=MODERN)
        found = reply_of(asked, self.name, "server/discover")
        if found.result is None or MODERN not in _strings(found.result.get("supportedVersions")):
            return False
        self._agreed(MODERN, found.result)
        return True

    async def _greet(self) -> bool:
        hello = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": US}
        carried = await self._carry("initialize", hello, revision="")
        greeted = reply_of(carried, self.name, "initialize")
        if _turned_away(greeted):
            refusal = NoEntry(f"{self.name} lets nobody in without credentials: {greeted.said}")
            refusal.reply = greeted
            raise refusal
        if greeted.result is None:
            self._said = greeted.said
            return False
        revision = str(greeted.result.get("protocolVersion"))
        if not _VERSION.fullmatch(revision):
            raise Refused(f"{self.name} speaks no revision that there is: {printable(revision)}")
        given = carried.headers.get("Mcp-Session-Id")
        self.id = given if given and _SESSION.fullmatch(given) else None
        # From 2025-06-18 on every request names the revision; servers of earlier ones take no notice.
        self._agreed(revision, greeted.result)
        headers = {"MCP-Protocol-Version": revision} | ({"Mcp-Session-Id": self.id} if self.id else {})
        await self._sent({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
        return True

    _said = "nothing"

    def nothing_known(self) -> Refused:
        """Return the error of a server that knows neither way to begin."""
        return Refused(f"{self.name} opens no session: {self._said}")

    def _agreed(self, revision: str, said: Mapping[str, Any]) -> None:
        self.revision = revision
        able, told = said.get("capabilities"), said.get("instructions")
        self.capabilities = able if isinstance(able, dict) else {}
        self.instructions = told if isinstance(told, str) else None

    async def end(self, client: httpx.AsyncClient, url: str) -> None:
        """Give a session back, so that a server which keeps them does not keep ours."""
        if self.id is None:
            return
        headers = {"Mcp-Session-Id": self.id, "MCP-Protocol-Version": self.revision}
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(_GOODBYE), client.stream("DELETE", url, headers=headers):
                pass


def reply_of(carried: Carried, name: str, method: str) -> Reply:
    """Return what was carried back as a reply.

    Raises:
        Transient: the other side broke (5xx) or was too busy (429).
    """
    status = carried.status
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        raise Transient(f"{name}: {method} answered {status}")
    result, error = carried.answer.get("result"), carried.answer.get("error")
    return Reply(
        status=status,
        result=result if isinstance(result, dict) else None,
        error=error if isinstance(error, dict) else None,
        raw=carried.raw,
    )


async def pages(ask: Any, what: str, name: str) -> tuple[dict[str, Any], ...]:  # noqa: ANN401  # a bound `ask`
    """Return everything that a list brings, page by page.

    Args:
        ask: puts one request.
        what: `tools`, `prompts`, `resources` or `resources/templates`.
        name: of the place, for messages.

    Raises:
        SoarError: see `Session.listed`.
    """
    key = "resourceTemplates" if what == "resources/templates" else what
    items: list[dict[str, Any]] = []
    first: list[Any] = []
    seen: set[str] = set()
    cursor: str | None = None
    for number in range(PAGES):
        reply: Reply = await ask(f"{what}/list", {} if cursor is None else {"cursor": cursor})
        if _turned_away(reply):
            raise NoEntry(f"{name} does not accept who asks, for {what}/list: {reply.said}")
        page = reply.result.get(key) if reply.result else None
        if reply.result is None or not isinstance(page, list):
            raise Refused(f"{name}: {what}/list: {reply.said}")
        # An empty text is a cursor like any other (case: page 2 stands behind it); to a server that takes it for none
        # it brings the first page once more.
        if cursor == "" and page == first:
            return tuple(items)
        first = page if number == 0 else first
        items += [item for item in page if isinstance(item, dict)]
        if len(items) > ITEMS:
            raise Refused(f"{name}: {what}/list has more than {ITEMS} entries")
        cursor = reply.result.get("nextCursor")
        if not isinstance(cursor, str):
            return tuple(items)
        if cursor in seen:
            raise Refused(f"{name}: {what}/list goes round in a circle, at cursor {printable(cursor, 40)!r}")
        seen.add(cursor)
    raise Refused(f"{name}: {what}/list does not end after {PAGES} pages")


def _turned_away(reply: Reply) -> bool:
    return reply.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _envelope(revision: str) -> Message:
    about = "io.modelcontextprotocol"
    return {f"{about}/protocolVersion": revision, f"{about}/clientInfo": US, f"{about}/clientCapabilities": {}}


def _header(text: str) -> str:
    """Return a name as a header takes it: as it is where it is plain, else in base64 (SEP-2243)."""
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?base64?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode(errors='surrogatepass')).decode()}?="


@asynccontextmanager
async def over_http(
    client: httpx.AsyncClient, name: str, url: str, *, patience: float, budget: Budget, older: bool = False
) -> AsyncIterator[Session]:
    """Open a conversation at an address: streamable HTTP or, where that is not spoken, the older SSE.

    Args:
        client: the connections.
        name: what messages call the server.
        url: its address.
        patience: seconds for one answer.
        budget: what all answers together may cost.
        older: try the handshake first; see `Session.begin`.

    Raises:
        Transient: it does not answer.
        NoEntry: it lets us in only with credentials that we do not have.
        Refused: it speaks neither.
    """
    session = Session(name, Http(client, url), patience=patience, budget=budget)
    async with AsyncExitStack() as stack:
        if not await session.begin(handshake=older):
            again = Session(name, session.carrier, patience=patience, budget=budget)
            try:
                async with asyncio.timeout(patience):
                    carrier = await stack.enter_async_context(sse(client, url, budget))
            except (*FAULTS, TimeoutError) as exc:
                raise session.nothing_known() from exc
            if carrier is None:
                raise session.nothing_known()
            again.carrier = carrier
            if not await again.begin(handshake=older):
                raise again.nothing_known()
            session = again
        try:
            yield session
        finally:
            await session.end(client, url)
