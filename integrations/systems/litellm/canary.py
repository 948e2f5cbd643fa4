"""What a client meets at a LiteLLM proxy: its refusals, by the words that it gives them, and by their status.

At `/mcp` whatever the proxy refuses is an answer of the tool, marked as an error, which a hostile server could give as
well. Its other door, `/mcp-rest/tools/call`, answers the proxy's own refusal with 403 (with 404 for a server that
nobody is offered) and whatever a server said with 200: there it cannot be feigned, nor mistaken for what our canary
alone may not do. Behind both stands one check (`mcp_server_manager.py`, `pre_call_tool_check`). Seen on
1.108.7; `tests/integrations/systems/litellm/test_real.py` shows it.
"""

import re
from typing import Any, Final

import httpx
from typing_extensions import override

from integrations import bounded
from integrations.gateways.canary import Canary
from integrations.hostile import printable
from integrations.http import Request, send
from integrations.protocol.client import McpEndpoint, Reply
from playbooks.errors import SoarError, Transient
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding
from playbooks.text.sentences import say

REST: Final = "/mcp-rest/tools/call"

_ROOT: Final = re.compile(r"/mcp(?:/[^/]*)?/?$")
_WITHHELD: Final = re.compile(
    r"Tool .+ is not allowed for server .+\. Contact proxy admin to allow this tool\.", re.DOTALL
)
_ABSENT: Final = re.compile(r"Error: (?:User not allowed to call this tool\.|Tool '.*' not found)", re.DOTALL)
_NOT_OURS: Final = re.compile(r"Error: Tool '.*' is not allowed for your key/team on server .*", re.DOTALL)


_BLIND: Final = say("our canary's key may not use this server: what it meets says nothing of what others meet")


class LiteLLMEndpoint(McpEndpoint):
    """The address of a proxy's client side, which has a door beside that of MCP."""

    async def call(self, server: str, tool: str, arguments: dict[str, Any]) -> tuple[int, str]:
        """Call a tool at that other door; return the status and what was said.

        Args:
            server: its id.
            tool: its name at the server.
            arguments: of the call.

        Raises:
            Transient: nothing came back, or the proxy broke.
        """
        url = _ROOT.sub("", self.url) + REST
        body = {"server_id": server, "name": tool, "arguments": arguments}
        answer = await send(
            self._http, self.name, Request("POST", url, json=body), within=self.patience, turns=self._turns
        )
        if answer.status == httpx.codes.TOO_MANY_REQUESTS or answer.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Transient(f"{self.name}: POST {REST} answered {answer.status}: {printable(answer.text, 160)}")
        return answer.status, answer.text


class LiteLLMCanary(Canary):
    """Our canary at a LiteLLM proxy.

    Args:
        endpoint: the address that clients use, with the canary's key.
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        super().__init__(endpoint)
        self._beside = endpoint if isinstance(endpoint, LiteLLMEndpoint) else None

    @override
    def met(self, kind: PinKind, name: str, reply: Reply, absent: Reply | None) -> bool | None:
        if kind is not PinKind.TOOL:
            # A prompt or resource that is not there is answered by an error, as is one that cannot be had.
            return None if reply.failed else False
        if not reply.failed:
            return False  # the same words in a successful result are the server's own
        said = reply.text
        if _WITHHELD.fullmatch(said.removeprefix("Error: ")) or _ABSENT.fullmatch(said):
            return True
        return None if _NOT_OURS.fullmatch(said) else False

    @override
    def exists(self, finding: Finding) -> bool:
        # Whoever may not use a server is told another thing than that its list withholds a tool.
        return "is not allowed for server" in finding.observed

    async def beside(self, server: str, tool: str, arguments: dict[str, Any]) -> Finding:
        """Call a tool at the door where a refusal cannot be feigned.

        Args:
            server: the id of its server.
            tool: its name there.
            arguments: that its schema rejects.
        """
        subject, expected = f"tool {printable(tool)} at {REST}", "the gateway itself refuses it"
        if self._beside is None:
            return self._finding(subject, expected, "nothing asks there", Answer.UNKNOWN)
        try:
            status, said = await self._beside.call(server, tool, arguments)
        except SoarError as exc:
            return self._finding(subject, expected, str(exc), Answer.UNKNOWN)
        observed = f"HTTP {status}: {printable(said, 200)}"
        if status == httpx.codes.OK:
            return self._finding(subject, expected, observed, Answer.NOT_ESTABLISHED)
        why = _why(said)
        if status == httpx.codes.FORBIDDEN and why == "access_denied":
            remedy = "`mcp-soar inventory import GATEWAY --make-canary`"
            return self._finding(subject, expected, _BLIND, Answer.UNKNOWN, remedy)
        withheld = status == httpx.codes.FORBIDDEN and why.startswith(f"Tool {tool} is not allowed for server ")
        # Nobody is offered the server: that is told to everybody alike.
        gone = status == httpx.codes.NOT_FOUND and why == "server_not_found"
        return self._finding(subject, expected, observed, Answer.ESTABLISHED if withheld or gone else Answer.UNKNOWN)

    def _finding(self, subject: str, expected: str, observed: str, answer: Answer, remedy: str = "") -> Finding:
        return Finding(
            check="call",
            subject=subject[:2000],
            asked_as=self.endpoint.principal,
            expected=expected,
            observed=observed[:20_000],
            answer=answer,
            remedy=remedy,
        )


def _why(said: str) -> str:
    """Return what the proxy calls the reason of a refusal; empty if it is none of its own."""
    found = bounded.readable(said.encode())
    try:
        detail = found["detail"]["error"]
    except (TypeError, KeyError):
        return ""
    return detail if isinstance(detail, str) else ""
