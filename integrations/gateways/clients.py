"""Clients whose tokens we hold, asked beside our canary: a gateway may answer one otherwise than another.

What only the canary was told stands on the gateway's honesty towards the canary; whoever else can be asked is asked.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from integrations.gateways.canary import Canary
from integrations.hostile import printable
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Finding
from playbooks.text.sentences import say

_MOST: Final = 2
"""Clients that are asked in one look."""

_WITHIN: Final = 3.0
"""Seconds for all that one of them is asked: whoever is slow costs no verification its time."""

_OPPOSITE: Final = {
    Answer.ESTABLISHED: Answer.NOT_ESTABLISHED,
    Answer.NOT_ESTABLISHED: Answer.ESTABLISHED,
    Answer.UNKNOWN: Answer.UNKNOWN,
}


async def others(gateway: str, world: World, called: Mapping[str, str], since: float) -> list[Finding]:
    """Ask other clients than the canary whether they still find tools; one that is not let in says nothing of it.

    Args:
        gateway: whose clients.
        world: the connections.
        called: what the gateway offers each tool as → what people call it.
        since: since when a list may be, in monotonic seconds.
    """
    names = [*_held(gateway, world.inventory)][:_MOST] if called else []
    found = await asyncio.gather(*(_told(world, name, called, since) for name in names))
    # What a client may not ask tells nothing of what it can use.
    return [finding for some in found for finding in some if finding.answer is not Answer.UNKNOWN]


def _held(gateway: str, inventory: Inventory) -> Iterator[str]:
    """Yield the clients of a gateway of which we hold a token, as they are connected to."""
    for who, principal in inventory.principals.items():
        known = principal.gateway
        if known is not None and known[0] == gateway and known[1].held:
            yield f"{who}/{min(known[1].held)}"


async def _told(world: World, name: str, called: Mapping[str, str], since: float) -> Sequence[Finding]:
    """Return what one of them is told: of what it finds in the list, and of what it calls."""
    try:
        async with asyncio.timeout(_WITHIN):
            client = world.reach(Canary, name)
            listed = await client.names(PinKind.TOOL, since)
            return [await _of(client, offered, said, listed=offered in listed) for offered, said in called.items()]
    except (SoarError, TimeoutError):
        return ()


async def _of(client: Canary, offered: str, subject: str, *, listed: bool) -> Finding:
    finding = Finding(
        check="list",
        subject=subject[:2000],
        asked_as=client.endpoint.principal,
        expected="clients do not find it in the list",
        observed=say("listed: {a}", a=printable(offered)),
        answer=Answer.NOT_ESTABLISHED,
    )
    if listed:
        return finding
    found, expected = await client.finds(offered), "the gateway itself refuses it"
    said = {"check": "call", "expected": expected, "observed": found.observed, "answer": _OPPOSITE[found.answer]}
    return finding.model_copy(update=said)
