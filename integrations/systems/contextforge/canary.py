"""The client side of a gateway, asked as our canary: what clients can list, and what their calls meet, at every door.

A door is an address at which the gateway takes calls. ContextForge 1.0.7 has `/mcp`, `/servers/ID/mcp` for each virtual
server, `/rpc`, and `/sse` with its message endpoint. Behind all of them stands one look-up, by name: the offered name
at every door, the original name where a virtual server is named. What a look-up found each process remembers for
`TOOL_LOOKUP_CACHE_TTL_SECONDS`, under the name that was asked for and for every door; disabling a tool makes the one
process that does it forget the offered name, and only that (`tool_service.py`, `tool_lookup_cache.py`).
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from typing_extensions import override

from integrations.gateways.canary import NOBODYS, Canary
from integrations.hostile import printable
from integrations.protocol.client import McpEndpoint, Reply
from integrations.protocol.probe import ask
from integrations.sharing import Shared
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import NOT_RUN, Answer, Finding
from playbooks.text.sentences import say

_ROOT: Final = re.compile(r"(?:/servers/[^/]+)?/mcp/?$")

_MALFORMED: Final[dict[str, Any]] = {"progressToken": ["mcp-soar"]}
"""A `_meta` that MCP's schema has no room for. At `/rpc` the gateway looks a tool up first, and only then refuses to
send this on to the server: so it tells whether a name opens, and runs nothing, whatever the tool's schema takes."""

_OPPOSITE: Final = {
    Answer.ESTABLISHED: Answer.NOT_ESTABLISHED,
    Answer.NOT_ESTABLISHED: Answer.ESTABLISHED,
    Answer.UNKNOWN: Answer.UNKNOWN,
}

_EVENTS_WITHIN: Final = 3.0
"""Seconds for everything that is asked over `/sse`."""

_AT_EVENTS: Final = say("have a client that uses /sse try it there, or close /sse at the gateway if no client does")

_NOT_FOUND: Final = -32601
_INTERNAL: Final = -32603


@dataclass(frozen=True)
class Door:
    """An address at which a gateway takes calls.

    Args:
        path: from the root of the client side; empty for the address that the inventory gives.
        server: the virtual server that is named in the call, where the path does not name it.
    """

    path: str = ""
    server: str | None = None

    def __str__(self) -> str:
        return self.path + (f" for server {self.server}" if self.server else "")


RPC: Final = Door("/rpc")


class ForgeCanary(Canary):
    """Our canary at a ContextForge, which has more doors than one.

    Args:
        endpoint: the address that clients use, with the canary's token.
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        super().__init__(endpoint)
        self._root = _ROOT.sub("", endpoint.url)
        self._unknown = Shared(self._nobody)

    def at(self, door: Door) -> McpEndpoint:
        """Return the connection to a door."""
        if not door.path:
            return self.endpoint
        return self.endpoint.at(self._root + door.path)

    @override
    def met(self, kind: PinKind, name: str, reply: Reply, absent: Reply | None) -> bool | None:
        return _met(kind, name, reply, absent.text if absent else None)

    @override
    def compared(self, kind: PinKind) -> bool:
        return kind is PinKind.PROMPT

    @override
    def away(self, reply: Reply) -> bool:
        return reply.text.startswith("Tool invocation failed")

    @override
    def exists(self, finding: Finding) -> bool:
        # *Not found* is told to those as well who may not see it.
        return "exists but is inactive" in finding.observed

    @override
    async def finds(self, name: str) -> Finding:
        return await self.look_up(name, refused=False)

    async def look_up(
        self, name: str, server: str | None = None, *, refused: bool = True, ahead: bool = False
    ) -> Finding:
        """Ask whether the gateway finds a tool under a name, by a call that it cannot send on to any server.

        Args:
            name: offered or original.
            server: the virtual server that the call names, if it names one.
            refused: whether a refusal is what holds, or being found.
            ahead: of what waits for its turn, so that several such calls go over as many connections.
        """
        door = Door(RPC.path, server)
        finding = await ask(
            self.at(door),
            "tools/call",
            _nowhere(name, server),
            check="call",
            subject=f"tool {printable(name)} at {door}",
            expected="the gateway itself refuses it" if refused else "the gateway finds it",
            meaning=partial(_looked_up, name),
            ahead=ahead,
        )
        if finding.answer is Answer.NOT_ESTABLISHED and not await self._unknown():
            # It says the same of a name that nobody has: there is no telling.
            return finding.model_copy(update={"answer": Answer.UNKNOWN})
        if refused:
            return finding
        answer = _OPPOSITE[finding.answer]
        observed = say(NOT_RUN + " ({a})", a=finding.observed) if answer is Answer.ESTABLISHED else finding.observed
        return finding.model_copy(update={"answer": answer, "observed": observed[:20_000]})

    async def by_events(self, names: Sequence[str]) -> Finding:
        """Ask likewise over `/sse` and its message endpoint, in one conversation.

        Args:
            names: offered and original.
        """
        worst, observed = Answer.ESTABLISHED, ""
        try:
            # A proxy on the way may keep a stream to itself: that costs no verification its time.
            async with asyncio.timeout(_EVENTS_WITHIN), self.at(Door("/sse")).session() as session:
                for name in names:
                    reply = await session.ask("tools/call", _nowhere(name, None))
                    answer = _looked_up(name, reply)
                    if answer is not Answer.ESTABLISHED or not observed:
                        worst, observed = answer, reply.said
                    if answer is not Answer.ESTABLISHED:
                        break
        except TimeoutError:
            why = say("it could not be asked there (no stream came within {a} s)", a=f"{_EVENTS_WITHIN:g}")
            worst, observed = Answer.UNKNOWN, why
        except SoarError as exc:
            worst, observed = Answer.UNKNOWN, say("it could not be asked there ({a})", a=exc)
        else:
            if worst is Answer.NOT_ESTABLISHED and not await self._unknown():
                worst = Answer.UNKNOWN
            if worst is Answer.UNKNOWN:
                observed = say("what is answered there tells nothing ({a})", a=observed)
            elif worst is Answer.NOT_ESTABLISHED:
                observed = say("a call there still finds it ({a})", a=observed)
        return Finding(
            check="call",
            subject=say("tool {a} at /sse", a=printable(names[0])),
            asked_as=self.endpoint.principal,
            expected="the gateway itself refuses it",
            observed=observed[:20_000],
            answer=worst,
            remedy="" if worst is Answer.ESTABLISHED else _AT_EVENTS,
        )

    async def _nobody(self) -> bool:
        """Return whether a name that nobody has is refused as one."""
        try:
            reply = await self.at(RPC).ask("tools/call", _nowhere(NOBODYS, None))
        except SoarError:
            return False
        return _looked_up(NOBODYS, reply) is Answer.ESTABLISHED


def _nowhere(name: str, server: str | None) -> dict[str, Any]:
    params: dict[str, Any] = {"name": name, "arguments": {}, "_meta": _MALFORMED}
    return params | ({"server_id": server} if server else {})


def _looked_up(name: str, reply: Reply) -> Answer:
    """Return what an answer says of a call that goes to no server."""
    code = reply.error.get("code") if reply.error else None
    if code == _NOT_FOUND and reply.text == printable(say("Tool not found: {a}", a=name), 500):
        return Answer.ESTABLISHED
    if reply.text.startswith("Multiple tools found with name"):
        # Two have that name there, so neither is called by it.
        return Answer.ESTABLISHED if reply.failed else Answer.NOT_ESTABLISHED
    # Found, and then not sent on. Whatever answers with a result has let it pass.
    return Answer.NOT_ESTABLISHED if code == _INTERNAL or reply.result is not None else Answer.UNKNOWN


def _met(kind: PinKind, name: str, reply: Reply, absent: str | None) -> bool | None:
    """Return whether the gateway itself refused (True), the server was reached (False), or there is no telling."""
    said = reply.text
    if kind is PinKind.PROMPT:
        if reply.result is not None:
            return False
        # ContextForge 1.0.7 answers a disabled prompt with an internal validation error, the same as one that does not
        # exist: that likeness is the refusal to look for.
        return True if said in {absent, printable(f"Prompt '{name}' exists but is inactive", 500)} else None
    thing = "Tool" if kind is PinKind.TOOL else "Resource"
    # What a hostile server chose as a name is printable in the answer, so it is here.
    missing, inactive = f"{thing} not found: {{a}}", f"{thing} '{{a}}' exists but is inactive"
    refusals = (say(missing, a=name), say(inactive, a=name))
    if said in {printable(refusal, 500) for refusal in refusals}:
        # The gateway refuses with an error; the same words in a successful result are the server's own.
        return reply.failed
    if reply.failed and said.startswith(printable(f"{thing} '{name}' exists but is currently offline", 500)):
        # Its server is away: nothing follows for when it comes back.
        return None
    # Our canary has no right to call: nothing follows for those who have.
    return None if said == say("Access denied") else False
