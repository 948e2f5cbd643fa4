"""Questions about how a server behaves: does it refuse on its own, and do its answers try to command the model."""

from collections.abc import Callable
from typing import Any, ClassVar, Final, Self

from pydantic import model_validator
from typing_extensions import override

from integrations.protocol.answers import (
    NOBODYS,
    Heard,
    OneObject,
    Question,
    orders,
    question,
    repeated,
    safe_arguments,
)
from integrations.protocol.client import DEADLINE, McpEndpoint, NoEntry, Session, deadline, spoken
from playbooks.action import Check, World
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.strict import Name, Slug
from playbooks.text.sentences import say

_UNLISTED: Final = say("it is no longer listed there, and a call that could tell might run it")
_NAME_ARGUMENTS: Final = say("write safe_arguments for it in inventory.yaml, and it is asked")
_CLOSE: Final = say("let nobody but the gateway reach that address, or stop the server")


class RefusedDirectly(Check):
    """Whether a tool, or a whole server, is refused at the server's own address too, past the gateway.

    `established`: the server lets nobody in without credentials, or answers the safe call as if it had no such tool.
    `not_established`: whoever reaches the server can call it, so that the cut holds for those who come through the
    gateway only. The tool itself is called only with `safe_arguments`, and only where nothing else tells: who is let
    in, what is listed, and what an unknown tool meets, are asked by means that can run nothing. Of a whole server
    nothing is called at all.

    Args:
        server: the server, as the inventory names it.
        tool: the tool's name at the server; None if it is the whole server that was cut off.
    """

    name: ClassVar[str] = "mcp.refused_directly"
    permissions: ClassVar[tuple[str, ...]] = (
        "MCP initialize, tools/list at the server",
        "MCP tools/call at the server: an unknown tool, and tools with safe_arguments",
    )

    server: Slug
    tool: Name | None = None

    @override
    async def check(self, world: World) -> Verdict:
        endpoint = world.reach(McpEndpoint, self.server)
        arguments = safe_arguments(world.inventory.servers[self.server], self.tool) if self.tool else None
        try:
            async with deadline(DEADLINE, f"{endpoint.name}: its refusals"), endpoint.session() as session:
                observed, answer = await self._met(session, arguments)
        except NoEntry as exc:
            observed, answer = str(exc), Answer.ESTABLISHED
        except SoarError as exc:
            observed, answer = say("the server itself did not answer ({a})", a=exc), Answer.UNKNOWN
        of_tool = say("tool {a} at {b}'s own address, past the gateway", a=self.tool, b=self.server)
        subject = of_tool if self.tool else say("a call at {a}'s own address, past the gateway", a=self.server)
        remedy = "" if answer is Answer.ESTABLISHED else _NAME_ARGUMENTS if observed == _UNLISTED else _CLOSE
        found = Finding(
            check="call",
            subject=subject[:2000],
            asked_as=endpoint.principal,
            expected="the server itself refuses it",
            observed=observed[:20_000],
            answer=answer,
            remedy=remedy,
        )
        return Verdict.of((found,))

    async def _met(self, session: Session, arguments: dict[str, Any] | None) -> tuple[str, Answer]:
        # Servers word it as they like: what they say of a name that nobody has is their refusal.
        absent = await session.ask("tools/call", {"name": NOBODYS, "arguments": {}})
        if absent.status in {401, 403}:
            return f"no call without credentials: {absent.said}", Answer.ESTABLISHED
        if absent.result is None and absent.error is None:
            return say("what the server itself answers tells nothing ({a})", a=absent.said), Answer.UNKNOWN
        listed = await session.listed("tools")
        if self.tool is None or any(one.get("name") == self.tool for one in listed):
            if self.tool:
                offers = say("the server itself still offers it, and takes calls from anybody")
            else:
                many = len(listed)
                offers = say("the server itself lists {a} tools, and takes calls from anybody", a=many)
            return offers, Answer.NOT_ESTABLISHED
        if arguments is None:
            return _UNLISTED, Answer.UNKNOWN
        called_ = await session.ask("tools/call", {"name": self.tool, "arguments": arguments})
        if called_.failed and called_.text.replace(self.tool, NOBODYS) == absent.text:
            return called_.said, Answer.ESTABLISHED
        return say("the server itself still answers it ({a})", a=called_.said), Answer.NOT_ESTABLISHED


_ASKED: Final = (
    "MCP tools/call of tools with safe_arguments at the server",
    "MCP prompts/get, resources/read at the server",
)


class ResponseInjection(OneObject, Check):
    """Whether a server's answers carry instructions for the model, or hidden characters.

    `established`: they do. By itself it is a reason to look, never a verdict: honest texts give orders as well. Beside
    an authenticated alert that says so it is a fact of another kind. Of one object, only what that one answers counts;
    of a server, what any tool answers for which the inventory names safe arguments. Nothing else is called.
    """

    name: ClassVar[str] = "mcp.response_injection"
    permissions: ClassVar[tuple[str, ...]] = _ASKED
    asked_again: ClassVar[bool] = False

    @override
    def askable(self, inventory: Inventory) -> bool:
        server = inventory.servers.get(self.server)
        return server is not None and server.direct and bool(self._questions(inventory))

    @override
    async def check(self, world: World) -> Verdict:
        endpoint = world.reach(McpEndpoint, self.server)
        # One after the other: somebody waits for this, and the first that speaks to the model decides.
        findings: list[Finding] = []
        for asked in self._questions(world.inventory):
            findings.append(await _injecting(endpoint, asked, enough=_speaks))
            if findings[-1].answer is Answer.ESTABLISHED:
                return Verdict(answer=Answer.ESTABLISHED, findings=tuple(findings))
        answers = {finding.answer for finding in findings}
        unknown = Answer.UNKNOWN in answers or not answers
        return Verdict(answer=Answer.UNKNOWN if unknown else Answer.NOT_ESTABLISHED, findings=tuple(findings))

    def _questions(self, inventory: Inventory) -> list[Question]:
        server = inventory.servers[self.server]
        named = [self.named] if self.named else [(PinKind.TOOL, name) for name in server.tools]
        found = (question(inventory, self.server, kind, name) for kind, name in named)
        return [one for one in found if one is not None]


class AnswersClean(OneObject, Check):
    """Whether what a tool, a prompt or a resource answers is free of instructions for the model and hidden characters.

    `established`: it was asked several times, in sessions of its own and in one, and no answer carries any. `unknown`:
    it was not answered, or it is a tool for which people named no `safe_arguments`, and then it is not asked at all.
    """

    name: ClassVar[str] = "mcp.answers_clean"
    permissions: ClassVar[tuple[str, ...]] = _ASKED
    timeout: ClassVar[float] = 60.0

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.named is None:
            message = "write whose answers: tool, prompt or resource"
            raise ValueError(message)
        return self

    @override
    def askable(self, inventory: Inventory) -> bool:
        server = inventory.servers.get(self.server)
        return server is not None and server.direct and self.question(inventory) is not None

    @override
    async def check(self, world: World) -> Verdict:
        endpoint = world.reach(McpEndpoint, self.server)
        asked = self.question(world.inventory)
        if asked is None:
            observed = "not asked: a call could run it; write safe_arguments for it"
            return Verdict.of((_answering(endpoint, say("tool {a}", a=self.tool), observed, Answer.UNKNOWN),))
        found = await _injecting(endpoint, asked)
        opposite = {Answer.ESTABLISHED: Answer.NOT_ESTABLISHED, Answer.NOT_ESTABLISHED: Answer.ESTABLISHED}
        answer = opposite.get(found.answer, Answer.UNKNOWN)
        return Verdict.of((found.model_copy(update={"expected": "no instructions for the model", "answer": answer}),))


def _speaks(heard: Heard) -> bool:
    return bool(_orders_in(heard))


def _orders_in(heard: Heard) -> tuple[str, ...]:
    result = heard.reply.result if heard.reply is not None else None
    return () if result is None or heard.asked.endswith("/list") else orders(spoken(result))


async def _injecting(
    endpoint: McpEndpoint, asked: Question, *, enough: Callable[[Heard], bool] | None = None
) -> Finding:
    """Ask several times; `established` if an answer speaks to the model or hides something.

    Args:
        endpoint: the server's.
        asked: what is asked.
        enough: asks no more after an answer of which it says so.
    """
    heard = await repeated(endpoint, asked, enough=enough)
    silent = next((one for one in heard if one.reply is None or one.reply.result is None), None)
    found: dict[str, str] = {}
    for one in heard:
        found |= dict.fromkeys(_orders_in(one), one.name)
    if found:
        observed, answer = ", ".join(f"{said} ({where})" for said, where in found.items()), Answer.ESTABLISHED
    elif silent is not None:
        observed = silent.reply.said if silent.reply else silent.error
        answer = Answer.UNKNOWN
    else:
        observed, answer = say("nothing of the kind"), Answer.NOT_ESTABLISHED
    return _answering(endpoint, str(asked), observed, answer)


def _answering(endpoint: McpEndpoint, subject: str, observed: str, answer: Answer) -> Finding:
    return Finding(
        check="call",
        subject=f"{subject} at {endpoint.name}"[:2000],
        asked_as=endpoint.principal,
        expected="instructions for the model, or hidden characters",
        observed=observed[:20_000],
        answer=answer,
    )
