"""What a server answers to a harmless question: several times, in sessions of its own and in one.

Harmless is a call that people named safe, getting a prompt, and reading a resource. A server may turn only in its
answers, only at a later one, or only towards the session that asked; a single question sees none of that. Without
`safe_arguments` no tool is called here: whether a schema refuses a call is the server's to decide, and the server is
under suspicion.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from pydantic import model_validator

from integrations.hostile import disguises, printable
from integrations.protocol.client import DEADLINE, McpEndpoint, Reply, deadline
from integrations.protocol.session import Session, pages
from playbooks.errors import Refused, SoarError
from playbooks.estate.inventory import Inventory, Server
from playbooks.estate.pins import PinKind
from playbooks.screening.rules import Kind
from playbooks.screening.screen import poisoned, screen_text
from playbooks.strict import Name, Slug, Strict

NOBODYS: Final = "mcp-soar-no-such-tool"
"""A tool that no server has: what it says of that runs nothing."""

ALONE: Final = 2
"""Sessions of which each makes one call."""

TOGETHER: Final = 3
"""Calls within one session."""


@dataclass(frozen=True)
class Heard:
    """One answer, or why there is none.

    Args:
        name: which, as `call-in-one-session-2`; safe in a file name.
        asked: the method.
        reply: what came back; None if nothing did.
        error: why not.
    """

    name: str
    asked: str
    reply: Reply | None
    error: str = ""


def safe_arguments(server: Server, tool: str) -> dict[str, Any] | None:
    """Return the arguments with which people say that a call of the tool changes nothing; None if they named none."""
    noted = server.tools.get(tool)
    return None if noted is None or noted.safe_arguments is None else dict(noted.safe_arguments)


async def listing(endpoint: McpEndpoint) -> tuple[list[Heard], tuple[dict[str, Any], ...]]:
    """Return every page of the tools' list as it came, what an unknown tool meets, and the tools.

    Raises:
        SoarError: it opens no session, or nothing at all came back.
    """
    heard: list[Heard] = []
    async with deadline(DEADLINE, f"{endpoint.name}: its list and answers"), endpoint.session() as session:
        tools = await _listed(session, heard, "list")
        heard.append(await _asked(session, "unknown-tool", "tools/call", {"name": NOBODYS, "arguments": {}}))
    if all(one.reply is None for one in heard):
        raise Refused(f"{endpoint.name}: {heard[0].error}")
    return heard, tools


@dataclass(frozen=True)
class Question:
    """What a server is asked again and again.

    Args:
        kind: of what.
        name: its name at the server (a resource's URI).
        params: of the request.
    """

    kind: PinKind
    name: str
    params: dict[str, Any]

    @property
    def method(self) -> str:
        """The request's method."""
        return _METHODS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


_METHODS: Final = {
    PinKind.TOOL: "tools/call",
    PinKind.PROMPT: "prompts/get",
    PinKind.RESOURCE: "resources/read",
}
_STEMS: Final = {PinKind.TOOL: "call", PinKind.PROMPT: "get", PinKind.RESOURCE: "read"}


def question(inventory: Inventory, server: str, kind: PinKind, name: str) -> Question | None:
    """Return what can be asked of a server about one of its objects without running anything; None if nothing can.

    Args:
        inventory: with its pins.
        server: as the inventory names it.
        kind: tool, prompt or resource.
        name: the object's name at the server.
    """
    if kind is PinKind.TOOL:
        arguments = safe_arguments(inventory.servers[server], name)
        return None if arguments is None else Question(kind, name, {"name": name, "arguments": arguments})
    if kind is PinKind.RESOURCE:
        return Question(kind, name, {"uri": name})
    pin = inventory.pins.find(server, kind, name)
    takes = pin.definition.get("arguments") if pin else None
    named = [item.get("name") for item in takes if isinstance(item, dict)] if isinstance(takes, list) else []
    return Question(kind, name, {"name": name, "arguments": {str(one): "mcp-soar probe" for one in named}})


class OneObject(Strict):
    """Names a server and, if anything, one object of it.

    Args:
        server: the server, as the inventory names it.
        tool: a tool's name at the server.
        prompt: a prompt's name at the server.
        resource: a resource's URI.
    """

    server: Slug
    tool: Name | None = None
    prompt: Name | None = None
    resource: Name | None = None

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        if sum(value is not None for value in (self.tool, self.prompt, self.resource)) > 1:
            message = "write one of tool, prompt, resource, not several"
            raise ValueError(message)
        return self

    @property
    def named(self) -> tuple[PinKind, str] | None:
        """The object; None if only the server is named."""
        kinds = {PinKind.TOOL: self.tool, PinKind.PROMPT: self.prompt, PinKind.RESOURCE: self.resource}
        return next(((kind, name) for kind, name in kinds.items() if name is not None), None)

    def question(self, inventory: Inventory) -> Question | None:
        """Return what can be asked about it without running anything; None if nothing can, or nothing is named."""
        return question(inventory, self.server, *self.named) if self.named else None


def orders(text: str) -> tuple[str, ...]:
    """Return what in a text is addressed to the model and not to the user: phrases and hidden characters.

    Phrases are those that the screening's rules find, where they suffice to say that the text commands the model.
    """
    hits = screen_text(text)
    phrases = (
        {printable(hit.excerpt, 80) for hit in hits if hit.kind is not Kind.INVISIBLE} if poisoned(hits) else set()
    )
    return (*sorted(phrases), *disguises(text))


async def repeated(
    endpoint: McpEndpoint, asked: Question, *, enough: Callable[[Heard], bool] | None = None
) -> list[Heard]:
    """Return what a question is answered, `ALONE` times in a session of its own and `TOGETHER` times in one.

    The one session lists the tools once more after it: a server may show another list to whoever has asked.

    Args:
        endpoint: the server's.
        asked: nothing else is ever sent.
        enough: asks no more after an answer of which it says so.
    """
    heard: list[Heard] = []
    stem, many = _STEMS[asked.kind], f"{_STEMS[asked.kind]}s-in-one-session"
    for number in range(1, ALONE + 1):
        name = f"{stem}-alone-{number}"
        try:
            # The older way and the newer one: a server may turn towards clients of one of them.
            talk = endpoint.session(handshake=number % 2 == 0)
            async with deadline(DEADLINE, f"{endpoint.name}: {asked.method}"), talk as session:
                heard.append(await _asked(session, name, asked.method, asked.params))
        except SoarError as exc:
            heard.append(Heard(name, asked.method, None, str(exc)))
        if enough is not None and enough(heard[-1]):
            return heard
    try:
        talk = endpoint.session(handshake=True)
        async with deadline(DEADLINE, f"{endpoint.name}: {many}"), talk as session:
            for number in range(1, TOGETHER + 1):
                name = f"{stem}-in-one-session-{number}"
                heard.append(await _asked(session, name, asked.method, asked.params))
                if enough is not None and enough(heard[-1]):
                    return heard
            await _listed(session, heard, f"list-after-{stem}s")
    except SoarError as exc:
        heard.append(Heard(many, asked.method, None, str(exc)))
    return heard


async def _asked(session: Session, name: str, method: str, params: dict[str, Any]) -> Heard:
    try:
        return Heard(name, method, await session.ask(method, params))
    except SoarError as exc:
        return Heard(name, method, None, str(exc))


async def _listed(session: Session, heard: list[Heard], name: str) -> tuple[dict[str, Any], ...]:
    number = 0

    async def ask(method: str, params: dict[str, Any]) -> Reply:
        nonlocal number
        number += 1
        reply = await session.ask(method, params)
        if number <= _KEPT:
            heard.append(Heard(name if number == 1 else f"{name}-{number}", method, reply))
        return reply

    try:
        return await pages(ask, "tools", session.name)
    except SoarError as exc:
        heard.append(Heard(f"{name}-broken-off", "tools/list", None, str(exc)))
        return ()


_KEPT: Final = 20
"""Pages of a list that are kept as they came."""
