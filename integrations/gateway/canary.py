"""The client side of a gateway, asked as our canary: what clients can list, and what their calls meet."""

from functools import partial
from typing import Any

from integrations.mcp.client import McpEndpoint, Reply
from integrations.mcp.probe import ask
from integrations.sharing import Shared
from playbooks.errors import SoarError
from playbooks.inventory import PinKind
from playbooks.plan import Answer, Finding

_LISTS = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}
_NAMED = {PinKind.TOOL: "name", PinKind.PROMPT: "name", PinKind.RESOURCE: "uri"}


class Canary:
    """A principal of ours with an ordinary client's grants. It asks; it changes nothing.

    Args:
        endpoint: the address that clients use, with the canary's token.
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        self.endpoint = endpoint
        self._lists = {kind: Shared(partial(self._names, kind)) for kind in _LISTS}
        self._controls: dict[str, Shared[Finding]] = {}

    async def aclose(self) -> None:
        """Close the connections."""
        await self.endpoint.aclose()

    async def names(self, kind: PinKind) -> frozenset[str]:
        """Return the names that clients list now; waiting callers share an answer.

        Raises:
            SoarError: there is no list to be had.
        """
        return await self._lists[kind]()

    async def _names(self, kind: PinKind) -> frozenset[str]:
        return frozenset(str(item.get(_NAMED[kind])) for item in await self.endpoint.listed(_LISTS[kind]))

    async def control(self, tool: str, arguments: dict[str, Any]) -> Finding:
        """Call a harmless tool, which proves that calls get through; waiting callers share an answer."""
        return await self._controls.setdefault(tool, Shared(lambda: self._control(tool, arguments)))()

    async def _control(self, tool: str, arguments: dict[str, Any]) -> Finding:
        return await self.call(PinKind.TOOL, tool, arguments, check="control", refused=False, ahead=True)

    async def control_by_list(self, kind: PinKind) -> Finding:
        """Take a list as the control, where there is no tool to call: the gateway answers this principal."""
        try:
            observed, answer = f"lists {len(await self.names(kind))}", Answer.ESTABLISHED
        except SoarError as exc:
            observed, answer = str(exc), Answer.UNKNOWN
        return Finding(
            check="control",
            subject=f"{_LISTS[kind]}/list",
            asked_as=self.endpoint.principal,
            expected="the gateway answers",
            observed=observed,
            answer=answer,
        )

    async def call(
        self,
        kind: PinKind,
        name: str,
        arguments: dict[str, Any],
        *,
        check: str = "call",
        refused: bool = True,
        ahead: bool = False,
    ) -> Finding:
        """Use a tool, prompt or resource as a client would.

        Args:
            kind: which of the three.
            name: the gateway's name for it.
            arguments: of the call; for a tool such that its schema rejects them, or that a person named safe.
            check: the finding's name.
            refused: whether a refusal is what holds, or getting through.
            ahead: of what waits for its turn: for a call whose answer many share.
        """
        method = {PinKind.TOOL: "tools/call", PinKind.PROMPT: "prompts/get", PinKind.RESOURCE: "resources/read"}[kind]
        params = {"uri": name} if kind is PinKind.RESOURCE else {"name": name, "arguments": arguments}
        absent = await self._as_if_absent() if kind is PinKind.PROMPT else None

        def meaning(reply: Reply) -> Answer:
            met = _met(kind, name, reply, absent)
            if not refused and reply.text.startswith("Tool invocation failed"):
                met = None  # it let the call pass, and then the server was not there
            if met is None:
                return Answer.UNKNOWN
            return Answer.ESTABLISHED if met is refused else Answer.NOT_ESTABLISHED

        return await ask(
            self.endpoint,
            method,
            params,
            check=check,
            subject=f"{kind} {name}",
            expected="the gateway itself refuses it" if refused else "it gets through to the server",
            meaning=meaning,
            ahead=ahead,
        )

    async def _as_if_absent(self) -> str | None:
        try:
            return (await self.endpoint.ask("prompts/get", {"name": "mcp-soar-no-such-prompt", "arguments": {}})).text
        except SoarError:
            return None


def _met(kind: PinKind, name: str, reply: Reply, absent: str | None) -> bool | None:
    """Return whether the gateway itself refused (True), the server was reached (False), or there is no telling."""
    said = reply.text
    if kind is PinKind.PROMPT:
        if reply.result is not None:
            return False
        # ContextForge 1.0.7 answers a disabled prompt with an internal validation error, the same as one that does not
        # exist: that likeness is the refusal to look for.
        return True if said in {absent, f"Prompt '{name}' exists but is inactive"} else None
    thing = "Tool" if kind is PinKind.TOOL else "Resource"
    if said in {f"{thing} not found: {name}", f"{thing} '{name}' exists but is inactive"}:
        # The gateway refuses with an error; the same words in a successful result are the server's own.
        return reply.failed
    # Our canary has no right to call: nothing follows for those who have.
    return None if said == "Access denied" else False
