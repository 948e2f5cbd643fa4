"""The client side of a gateway, asked as our canary: what clients can list, and what their calls meet.

What a refusal looks like is each product's own: only the gateway's own refusal counts as one.
"""

import math
from abc import ABC, abstractmethod
from functools import partial
from typing import Any, Final

from integrations.hostile import printable
from integrations.protocol.client import McpEndpoint, Reply
from integrations.protocol.probe import ask
from integrations.sharing import Shared
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import NOT_RUN, Answer, Finding

LISTS: Final = {PinKind.TOOL: "tools", PinKind.PROMPT: "prompts", PinKind.RESOURCE: "resources"}
_NAMED: Final = {PinKind.TOOL: "name", PinKind.PROMPT: "name", PinKind.RESOURCE: "uri"}
_USES: Final = {PinKind.TOOL: "tools/call", PinKind.PROMPT: "prompts/get", PinKind.RESOURCE: "resources/read"}


class Canary(ABC):
    """A principal of ours with an ordinary client's grants. It asks; it changes nothing.

    Args:
        endpoint: the address that clients use, with the canary's token.
    """

    def __init__(self, endpoint: McpEndpoint) -> None:
        self.endpoint = endpoint
        self._lists = {kind: Shared(partial(self._names, kind)) for kind in LISTS}
        self._controls: dict[str, Shared[Finding]] = {}

    @abstractmethod
    def met(self, kind: PinKind, name: str, reply: Reply, absent: Reply | None) -> bool | None:
        """Return whether the gateway itself refused (True), the server was reached (False), or there is no telling.

        Args:
            kind: tool, prompt or resource.
            name: under which it was asked for.
            reply: what came back.
            absent: what is answered to a name that nobody has, where that was asked.
        """

    async def finds(self, name: str) -> Finding:
        """Ask whether the gateway finds a tool under a name, by what runs nothing: by default the list."""
        try:
            there = name in await self.names(PinKind.TOOL)
        except SoarError as exc:
            observed, answer = str(exc), Answer.UNKNOWN
        else:
            observed = f"{NOT_RUN} (listed)" if there else "not listed"
            answer = Answer.ESTABLISHED if there else Answer.NOT_ESTABLISHED
        return Finding(
            check="call",
            subject=f"tool {printable(name)}"[:2000],
            asked_as=self.endpoint.principal,
            expected="the gateway finds it",
            observed=observed[:20_000],
            answer=answer,
        )

    def exists(self, finding: Finding) -> bool:
        """Return whether a refusal says that there is such a thing: nobody is told so who may not see it."""
        del finding
        return False

    def compared(self, kind: PinKind) -> bool:
        """Return whether a refusal is known only by its likeness to the answer to a name that nobody has."""
        del kind
        return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self.endpoint.aclose()

    async def names(self, kind: PinKind, since: float = math.inf) -> frozenset[str]:
        """Return the names that clients list; waiting callers share an answer.

        Args:
            kind: tools, prompts or resources.
            since: the moment, in monotonic seconds, after which it has to be asked for; else after this call began.

        Raises:
            SoarError: there is no list to be had.
        """
        return await self._lists[kind](since)

    async def _names(self, kind: PinKind) -> frozenset[str]:
        return frozenset(str(item.get(_NAMED[kind])) for item in await self.endpoint.listed(LISTS[kind]))

    async def control(self, tool: str, arguments: dict[str, Any]) -> Finding:
        """Call a harmless tool, which proves that calls get through; waiting callers share an answer."""
        return await self._controls.setdefault(tool, Shared(lambda: self._control(tool, arguments)))()

    async def _control(self, tool: str, arguments: dict[str, Any]) -> Finding:
        return await self.call(PinKind.TOOL, tool, arguments, check="control", refused=False, ahead=True)

    async def control_by_list(self, kind: PinKind, since: float = math.inf) -> Finding:
        """Take a list as the control, where there is no tool to call: the gateway answers this principal."""
        try:
            observed, answer = f"lists {len(await self.names(kind, since))}", Answer.ESTABLISHED
        except SoarError as exc:
            observed, answer = str(exc), Answer.UNKNOWN
        return Finding(
            check="control",
            subject=f"{LISTS[kind]}/list",
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
        at: McpEndpoint | None = None,
        door: str = "",
    ) -> Finding:
        """Use a tool, prompt or resource as a client would.

        Args:
            kind: which of the three.
            name: a name under which the gateway may have it.
            arguments: of the call; for a tool such that its schema rejects them, or that a person named safe.
            check: the finding's name.
            refused: whether a refusal is what holds, or getting through.
            ahead: of what waits for its turn: for a call whose answer many share.
            at: where, if not at the address that the inventory gives.
            door: what that is called.
        """
        params = {"uri": name} if kind is PinKind.RESOURCE else {"name": name, "arguments": arguments}
        absent = await self._absent(kind) if self.compared(kind) else None

        def meaning(reply: Reply) -> Answer:
            met = self.met(kind, name, reply, absent)
            if not refused and self.away(reply):
                met = None  # it let the call pass, and then the server was not there
            if met is None:
                return Answer.UNKNOWN
            return Answer.ESTABLISHED if met is refused else Answer.NOT_ESTABLISHED

        return await ask(
            at or self.endpoint,
            _USES[kind],
            params,
            check=check,
            subject=f"{kind} {printable(name)}" + (f" at {door}" if door else ""),
            expected="the gateway itself refuses it" if refused else "it gets through to the server",
            meaning=meaning,
            ahead=ahead,
        )

    def away(self, reply: Reply) -> bool:
        """Return whether a call was let pass, and then its server was not there."""
        del reply
        return False

    async def _absent(self, kind: PinKind) -> Reply | None:
        params = {"uri": NOBODYS} if kind is PinKind.RESOURCE else {"name": NOBODYS, "arguments": {}}
        try:
            return await self.endpoint.ask(_USES[kind], params)
        except SoarError:
            return None


NOBODYS: Final = "mcp-soar-no-such-tool"
"""A name that nobody has."""
