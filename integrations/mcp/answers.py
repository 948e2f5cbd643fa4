"""What a server answers to the one call that people named safe: several times, in sessions of its own and in one.

A server may turn only in its answers, only at a later call, or only towards the session that called it; a single
question sees none of that. Without `safe_arguments` no tool is called here: whether a schema refuses a call is the
server's to decide, and the server is under suspicion.
"""

from dataclasses import dataclass
from typing import Any, Final

from integrations.mcp.client import DEADLINE, McpEndpoint, Reply, deadline
from integrations.mcp.session import Session, pages
from playbooks.errors import Refused, SoarError
from playbooks.inventory import Server

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


async def called(endpoint: McpEndpoint, tool: str, arguments: dict[str, Any]) -> list[Heard]:
    """Return what the safe call is answered, `ALONE` times in a session of its own and `TOGETHER` times in one.

    The one session lists the tools once more after its calls: a server may show another list to whoever has called.

    Args:
        endpoint: the server's.
        tool: the tool's name at the server.
        arguments: those that people named safe; nothing else is ever sent.
    """
    heard: list[Heard] = []
    params = {"name": tool, "arguments": arguments}
    for number in range(1, ALONE + 1):
        name = f"call-alone-{number}"
        try:
            # The older way and the newer one: a server may turn towards clients of one of them.
            talk = endpoint.session(handshake=number % 2 == 0)
            async with deadline(DEADLINE, f"{endpoint.name}: a call"), talk as session:
                heard.append(await _asked(session, name, "tools/call", params))
        except SoarError as exc:
            heard.append(Heard(name, "tools/call", None, str(exc)))
    try:
        talk = endpoint.session(handshake=True)
        async with deadline(DEADLINE, f"{endpoint.name}: calls in one session"), talk as session:
            for number in range(1, TOGETHER + 1):
                heard.append(await _asked(session, f"call-in-one-session-{number}", "tools/call", params))  # noqa: PERF401  # one after the other
            await _listed(session, heard, "list-after-calls")
    except SoarError as exc:
        heard.append(Heard("calls-in-one-session", "tools/call", None, str(exc)))
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
