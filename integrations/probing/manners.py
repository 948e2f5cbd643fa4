"""What a good server refuses a stranger, asked one by one. Nothing of it can run a tool: no tool has that name."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import httpx

from integrations.hostile import printable
from integrations.probing.faults import Fault
from integrations.probing.stranger import Stranger, answered, hello, turned_away
from integrations.protocol.session import NoEntry
from integrations.protocol.wire import STREAM, Carried
from playbooks.errors import Refused, Transient
from playbooks.estate.probing import Probed
from playbooks.record.check import Found

NOBODYS: Final = "mcp-soar-no-such-tool"
"""A name that no tool has: a call of it runs nothing."""

ORIGIN: Final = "https://mcp-soar-probe.invalid"
"""A web page that nobody has: the name cannot exist (RFC 2606)."""

_A_SECOND: Final = 50.0
"""Calls a second at most, where it is asked whether there is a limit."""

_FRAME: Final = re.compile(
    rb"File \\?\"[^\"]{1,300}\", line \d"
    rb"|at .{1,300}\.(?:[cm]?[jt]s|java|kt|scala|cs|php|rb):(?:line )?\d"
    rb"|goroutine \d{1,9} \["
    rb"|thread '.{1,100}' panicked at "
    rb"|from .{1,300}\.rb:\d{1,7}:in "
    rb"|#\d{1,3} .{1,300}\.php\(\d"
)
"""What a line of a program's own stack begins with: of Python, Node, Java, .NET, Go, Rust, Ruby and PHP."""

_LINE_ENDS: Final = re.compile(rb"(?:\n|\\n)(?:\\t)?")
"""Within JSON they are written out, as a tab behind them is."""

_LOOKED_AT: Final = 64 * 1024
_LONGEST_LINE: Final = 400

_METHODS_AWAY: Final = frozenset({404, 405, 406})

Probe = Callable[[str, Probed, Stranger], Coroutine[Any, Any, list[Found]]]
"""Asks a server, by its name in the inventory, what its owner agreed to; raises `SoarError` where it cannot tell."""


async def stranger(server: str, agreed: Probed, asking: Stranger) -> list[Found]:
    """Ask to list tools, and for a tool that there is not, without credentials."""
    first = await asking.initialize()
    if httpx.codes.is_redirect(first.status):
        return _sent_away(server, asking.url, first)
    if turned_away(first):
        told = first.status != httpx.codes.UNAUTHORIZED or "WWW-Authenticate" in first.headers
        return [] if told else [Fault.CHALLENGE.of(server, "missing")]
    found: list[Found] = []
    try:
        async with asking.session() as session:
            try:
                tools = len(await session.listed("tools")) if "tools" in session.capabilities else 0
                lists = True
            except NoEntry:
                tools, lists = 0, False
            reply = await session.ask("tools/call", {"name": NOBODYS, "arguments": {}})
    except NoEntry:
        return []
    if lists and not agreed.open:
        found.append(Fault.OPEN.of(server, f"not asked for: {tools} tools are listed to anybody"))
    refused = reply.status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    if not lists and not refused:
        found.append(Fault.CALLS.of(server, f"let through: {reply.said}"))
    if reply.result is not None and not reply.result.get("isError"):
        found.append(Fault.RUNS.of(server, "answered as if it had run"))
    if _traced(reply.raw):
        found.append(Fault.TRACE.of(server, "a stack trace, to a call of a tool that there is not"))
    return found


def _traced(raw: bytes) -> bool:
    """Return whether an answer shows a program's stack. A line is looked at from its beginning only, and not far."""
    lines = _LINE_ENDS.split(raw[:_LOOKED_AT])
    starts = (line[:_LONGEST_LINE].lstrip(b' \t\r"') for line in lines)
    return any(_FRAME.match(line) for line in starts) or b"Traceback (most recent call last)" in raw[:_LOOKED_AT]


def _sent_away(server: str, url: str, carried: Carried) -> list[Found]:
    to = urljoin(url, carried.headers.get("Location", ""))
    if urlsplit(to)[:2] == urlsplit(url)[:2]:
        raise Refused(f"it is at {printable(to, 200)}: write that address into inventory.yaml")
    return [Fault.ELSEWHERE.of(server, f"answered with {carried.status}, which sends clients to {to}")]


async def bad_requests(server: str, _: Probed, asking: Stranger) -> list[Found]:
    """Send what is no JSON, and what has members that no client sends."""
    found: dict[str, Found] = {}
    broken = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello()}).encode()[:-9]
    strange = await asking.initialize(mcpSoarProbe={"unknown": [None, True, "field"]})
    try:
        half = await asking.send("POST", broken, number=1)
    except Transient:
        return [await _cut_off(server, asking)]
    for what, carried in (("half a request", half), ("members that it does not know", strange)):
        if _traced(carried.raw):
            found.setdefault("trace", Fault.TRACE.of(server, f"a stack trace, to {what}"))
        elif carried.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            found.setdefault("breaks", Fault.BREAKS.of(server, f"{carried.status}, to {what}"))
        if what == "half a request" and answered(carried):
            found["takes"] = Fault.TAKES.of(server, "answered")
    return list(found.values())


async def _cut_off(server: str, asking: Stranger) -> Found:
    """Return what became of a server that had answered, and says nothing to half a request."""
    try:
        await asking.initialize()
    except Transient:
        return Fault.DIES.of(server, "its end: since then it answers nobody")
    return Fault.BREAKS.of(server, "none, to half a request")


async def web_pages(server: str, _: Probed, asking: Stranger) -> list[Found]:
    """Ask as a page in somebody's browser would, that has a name of its own for the server's address."""
    found = []
    carried = await asking.initialize({"Origin": ORIGIN})
    taken = answered(carried)
    if carried.status in _METHODS_AWAY and not taken:
        # Of before 2025: what begins there is a stream, and it has no end.
        carried = await asking.send("GET", headers={"Origin": ORIGIN, "Accept": STREAM}, begun=True)
        taken = carried.status == httpx.codes.OK and STREAM in carried.headers.get("Content-Type", "")
    if taken:
        found.append(Fault.ORIGIN.of(server, "answered"))
    allowed = carried.headers.get("Access-Control-Allow-Origin", "")
    if allowed in {"*", ORIGIN}:
        found.append(Fault.READABLE.of(server, "any page" if allowed == "*" else "whatever page asks"))
    return found


async def tokens(server: str, _: Probed, asking: Stranger) -> list[Found]:
    """Come with tokens that nobody issued; none of them is anybody's."""
    if not turned_away(await asking.initialize()):
        return []  # whoever takes anybody looks at no token: that is said already, or agreed
    for what, token in _made_up(asking.url).items():
        # A way in is what it is by the first of them; the others would be the same fault.
        if answered(await asking.initialize({"Authorization": f"Bearer {token}"})):
            return [Fault.TOKEN.of(server, f"taken: {what}")]
    return []


def _made_up(url: str) -> Mapping[str, str]:
    parts, began = urlsplit(url), int(time.time())
    claims = {"iss": f"{parts.scheme}://{parts.netloc}", "sub": "mcp-soar-probe", "aud": url, "iat": began}
    strange = base64.urlsafe_b64encode(b"signed by nobody, 32 bytes long.").rstrip(b"=").decode()

    def jwt(algorithm: str, signature: str, **more: object) -> str:
        header = _part({"alg": algorithm, "typ": "at+jwt"})
        return f"{header}.{_part({**claims, 'exp': began + 300, **more})}.{signature}"

    return MappingProxyType(
        {
            "any text": "mcp-soar-probe-no-token",
            "a JWT without a signature": jwt("none", ""),
            "a JWT with a made-up signature": jwt("HS256", strange),
            "a JWT that ended an hour ago": jwt("none", "", exp=began - 3600),
            "a JWT for somebody else": jwt("none", "", aud=ORIGIN),
        }
    )


def _part(value: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def many_calls(server: str, agreed: Probed, asking: Stranger) -> list[Found]:
    """Ask as often as was agreed, and whether it says at some point that this is too often."""
    for _ in range(agreed.calls or 0):
        began = time.monotonic()
        carried = await asking.say("ping", {})
        if carried.status == httpx.codes.TOO_MANY_REQUESTS:
            return []
        if carried.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Transient(f"server {server}: it answered {carried.status} before it said that it is too often")
        await asyncio.sleep(max(0.0, 1 / _A_SECOND - (time.monotonic() - began)))
    return [Fault.NO_LIMIT.of(server, f"all of {agreed.calls} calls, {_A_SECOND:g} a second at most")]


PROBES: Final[Mapping[str, Probe]] = MappingProxyType(
    {
        "bad requests": bad_requests,
        "stranger": stranger,
        "tokens": tokens,
        "web pages": web_pages,
    }
)
"""What every server is asked whose owner agreed; `many_calls` only where a number was agreed to."""
