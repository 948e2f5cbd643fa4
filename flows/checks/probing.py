"""Probing: servers are asked as a stranger would, where their owners agreed, and our own addresses are looked through.

Nothing of it runs a tool, issues a token or follows anybody elsewhere. How far each server is trusted is judged by it,
and by what the other checks found last.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from flows.checks.inspection import Ask, Inspection, Sight
from flows.service.settings import Configuration
from integrations.probing import ranges
from integrations.probing.certificate import oldest, pinned, transport
from integrations.probing.issued import issued_tokens
from integrations.probing.manifest import signed_tools
from integrations.probing.manners import PROBES, Probe, many_calls
from integrations.probing.sign_in import sign_in
from integrations.probing.stranger import Stranger
from integrations.protocol.client import deadline
from integrations.sharing import Shared
from playbooks.action import World
from playbooks.estate.inventory import Server
from playbooks.estate.probing import Probed
from playbooks.record.check import Found, Ran, row
from playbooks.record.trust import Judged, judged
from playbooks.strict import now

_WITHIN = 60.0
"""Seconds for one question to one server, the wait for those before it not included."""


def _left_out(config: Configuration) -> dict[str, str]:
    servers = config.inventory.servers.items()
    return {name: why for name, one in servers if (why := _why_not(one, name))}


def _why_not(server: Server, name: str) -> str:
    """Return why a server is not probed; empty if it is."""
    if server.url is None:
        return "it has no address of its own, so there is no stranger who could ask it"
    if server.probing is None:
        return f"nobody agreed to it: once its owner did, write `probing: {{agreed: WHO, WHEN}}` into servers.{name}"
    return ""


def _pieces(config: Configuration, world: World) -> Mapping[str, Ask]:
    inventory, found = config.inventory, dict[str, Ask]()
    for name, server in inventory.servers.items():
        if server.url is None or server.probing is None:
            found[name] = _nothing
            continue
        found |= _of(name, server.url, server.probing, world)
    known, pace = Shared(partial(ranges.listed, inventory)), ranges.Pace(ranges.A_SECOND)
    found |= {f"range {one.cidr}": partial(ranges.looked_through, one, known, pace) for one in inventory.ranges}
    return found


async def _nothing() -> Sequence[Found]:
    return ()


def _of(name: str, url: str, agreed: Probed, world: World) -> dict[str, Ask]:
    # One after the other, and the many calls last: a server that then turns us away has said so to nothing else.
    turns = asyncio.Lock()
    probes: dict[str, Probe] = {**PROBES, "sign-in": partial(sign_in, inventory=world.inventory)}
    if agreed.canary is not None:
        probes["issued tokens"] = partial(issued_tokens, world=world)
    if agreed.manifest is not None:
        probes["manifest"] = signed_tools
    if agreed.calls is not None:
        probes["~ many calls"] = many_calls

    async def probe(ask: Probe) -> Sequence[Found]:
        async with turns, deadline(_WITHIN, f"server {name}: the question"):
            trusted = await pinned(url, agreed)
            async with Stranger(f"server {name}", url, trusted) as asking:
                return await ask(name, agreed, asking)

    async def handshake(ask: Callable[[str, str, Probed], Awaitable[Sequence[Found]]]) -> Sequence[Found]:
        async with turns, deadline(_WITHIN, f"server {name}: its handshake"):
            return await ask(name, url, agreed)

    found: dict[str, Ask] = {f"{name}: {what}": partial(probe, ask) for what, ask in probes.items()}
    handshakes = {"certificate": transport, "oldest TLS": oldest}
    return {**{f"{name}: {what}": partial(handshake, ask) for what, ask in handshakes.items()}, **found}


def _judge(config: Configuration, seen: Sight, beside: Sequence[Ran]) -> list[Judged]:
    reasons = [(one.servers, row(one, now()).reason("probing")) for one in seen.found]
    reasons += [(one.servers, one.reason(ran.check)) for ran in beside for one in ran.found]
    asked = {name: one.probing for name, one in config.inventory.servers.items() if not _why_not(one, name)}
    return [
        judged(
            name,
            (reason for servers, reason in reasons if name in servers),
            open_to_all=agreed is not None and agreed.open,
            unknown=[f"{piece}: {why}" for piece, why in seen.unknown if piece.partition(": ")[0] == name],
        )
        for name, agreed in asked.items()
    ]


CHECK = Inspection(
    name="probing",
    key="probing",
    title="Probing",
    looks="ask servers as a stranger would",
    about=(
        "Ask every server whose owner agreed (`probing` in inventory.yaml) what a good one refuses a stranger, look at "
        "its TLS, and look through your own address ranges (`ranges`) for servers that nobody listed.\n\nNo tool is "
        "run and no token is issued. Red means that something is not as it should be, or could not be asked. How far "
        "each server is trusted, why and since when, is a table here."
    ),
    good="as they should be, as far as they were asked",
    against="how they should be",
    to_do="mend it there, then look again with `mcp-soar check probing`.",
    pieces=_pieces,
    left_out=_left_out,
    # A range of the largest size takes some minutes.
    within=900.0,
    judge=_judge,
    # A canary's token takes a secret.
    here=True,
)
