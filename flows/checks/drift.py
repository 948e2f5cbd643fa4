"""Definitions: each server is asked for its own, as a client would, and they are compared with its pins.

Its own only: to compare the gateway's copies takes the gateway's credential, which a worker does not have
(`mcp-soar pins diff` does).
"""

import os
from collections.abc import Mapping, Sequence
from functools import partial

from flows.checks.inspection import Ask, Inspection
from flows.service import workers
from flows.service.settings import Configuration
from integrations.protocol import pins
from integrations.protocol.client import McpEndpoint
from integrations.protocol.pins import Definition
from playbooks.action import World
from playbooks.estate.pins import PinKind
from playbooks.gate import change as changes
from playbooks.record.check import About, Found
from playbooks.taxonomy import EntityKind, IncidentClass, MarkKind, Severity

_BROUGHT = 4
"""Places, and as many sentences, that one difference names of what it brings in."""

_LONG = 2000
"""Characters of one sentence."""

_REMEDIES = {
    "gone": "see with whoever runs the server why it is gone; `mcp-soar pins approve` then drops its pin",
    "": "read it with `mcp-soar pins diff`; approve it with `mcp-soar pins approve`, or start a response",
}


def left_out(config: Configuration) -> dict[str, str]:
    """Return the servers that are not asked from here: to ask one that has no address starts a program."""
    if workers.CONFINED not in os.environ:
        return {}
    why = "it speaks over stdio, and a confined worker starts no program: `mcp-soar pins diff {}` compares"
    servers = config.inventory.servers.items()
    return {name: why.format(name) for name, server in sorted(servers) if server.command and server.url is None}


def _pieces(config: Configuration, world: World) -> Mapping[str, Ask]:
    return {name: partial(compared, world, name) for name in config.inventory.servers}


async def compared(world: World, server: str) -> list[Found]:
    """Return how a server's definitions differ from their pins.

    Args:
        world: the connections.
        server: by its name in the inventory.

    Raises:
        SoarError: it could not be asked.
    """
    endpoint = world.reach(McpEndpoint, server)
    try:
        snapshot = await pins.snapshot(endpoint)
    finally:
        # It is asked once: of thousands of servers none may keep a connection until the last one was asked.
        await endpoint.aclose()
    approved = {(pin.kind, pin.name): pin for pin in world.inventory.pins.of(server)}
    offered: dict[tuple[PinKind, str], Definition] = {}
    for one in snapshot:
        # Offered twice, a name stands for whichever a client takes: the one that nobody approved is looked at.
        pin = approved.get((one.kind, one.name))
        if (one.kind, one.name) not in offered or (pin is not None and not pins.same(pin, one)):
            offered[one.kind, one.name] = one
    found = []
    for key in sorted({*offered, *approved}):
        pin, now = approved.get(key), offered.get(key)
        if pin is None and now is not None:
            brings = _brings(None, now.fields)
            found.append(differs(server, *key, "new", now.digest, diff=pins.introduced(now), brings=brings))
        elif pin is not None and not pins.same(pin, now):
            diff = pins.diff(pin, now.fields if now else None)
            if now is None:
                found.append(differs(server, *key, "gone", "", diff=diff))
            else:
                brings = _brings(pin.definition, now.fields)
                found.append(differs(server, *key, "changed", now.digest, diff=diff, brings=brings))
    return found


def differs(
    server: str,
    kind: PinKind,
    name: str,
    change: str,
    digest: str,
    *,
    diff: str,
    brings: Sequence[tuple[MarkKind, str]] = (),
) -> Found:
    """Return that a definition differs from its pin.

    Args:
        server: whose.
        kind: tool, prompt, resource or instructions.
        name: its name; hostile.
        change: new, changed or gone.
        digest: of what is offered now.
        diff: a unified diff; hostile.
        brings: what it brings in that other servers may offer too; hostile.
    """
    whole = kind is PinKind.INSTRUCTIONS
    return Found(
        id=f"{server}/{kind}/{name}",
        subject=f"{kind} {name} of {server}",
        what="",
        expected="what was approved",
        observed=change,
        severity=Severity.HIGH,
        incident_class=IncidentClass.TOOL_POISONING,
        remedy=_REMEDIES.get(change, _REMEDIES[""]),
        state=f"{server}\n{kind}\n{name}\n{digest}",
        rule="Definition differs from its approved pin",
        about=(About(EntityKind.SERVER, server) if whole else About(EntityKind(kind.value), name, server),),
        tags=("definition-differs", change),
        diff=diff,
        marks=tuple(brings),
        # How many changes there are, people have approved; how many of what is new, the server chooses.
        together=server if change == "new" else "",
        tells=change != "gone",
    )


def _brings(before: Mapping[str, object] | None, after: Mapping[str, object]) -> tuple[tuple[MarkKind, str], ...]:
    """Return the places that a definition brings in, and then the longest sentences."""
    new = changes.introduced(before, after)
    places = [(MarkKind.INDICATOR, one.what) for one in new if one.kind == changes.Brought.DESTINATION]
    texts = sorted(changes.sentences(before, after), key=len, reverse=True)
    return (*places[:_BROUGHT], *((MarkKind.TEXT, text[:_LONG]) for text in texts[:_BROUGHT]))


CHECK = Inspection(
    name="drift",
    key="pin-drift",
    title="Definitions",
    looks="compare definitions with pins",
    about=(
        "Ask every MCP server for its definitions and compare them with what was approved.\n\n"
        "Red means that something differs, or that a server could not be asked. With a source `drift` in sources.yaml, "
        "what differs is also reported to the receiver, signed, and becomes an incident."
    ),
    good="as they were approved",
    against="what was approved",
    to_do=(
        "read every difference with `mcp-soar pins diff`. What is as it should be is approved with `mcp-soar pins "
        "approve SERVER`; for what is not, start a response with `mcp-soar respond`."
    ),
    pieces=_pieces,
    left_out=left_out,
    # It stays a danger while it lasts; what people gave back as it was, the engine knows again.
    daily=True,
)
