"""Pin drift, by schedule: each server is asked for its definitions, as a client would, and compared with its pins.

Its own definitions only: to compare the gateway's copies takes the gateway's credential, which this worker does not
have (`mcp-soar pins diff` does).
"""

import asyncio
import hashlib
import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefect import flow
from prefect.client.schemas.objects import State

from flows.pages import scheduled
from flows.pages.pages import banner
from flows.pages.text import escaped, facts, table
from flows.service import workers
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.protocol import pins
from integrations.protocol.client import McpEndpoint
from integrations.siem.sending import deliver
from integrations.siem.source import Source, read_keys
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.gate import change as changes
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.incident import MarkKind
from playbooks.strict import canonical, iso, now

KEY = "pin-drift"
SOURCE = OWN_COMPARISON
"""The source of `sources.yaml` in whose name differences are reported; without it they are only shown."""

RECEIVER = workers.RECEIVER
_KNOWN = frozenset({200, 202, 409})
"""Accepted, or reported before: the id is that of the difference, and the time in the message is not."""


_BROUGHT = 4
"""Places, and as many sentences, that one difference names of what it brings in."""

_LONG = 2000
"""Characters of one sentence."""

_NAMED = 20
"""Things that one message names; what is beyond is counted in its title, and looked for by the cut's verification."""


class Drift(NamedTuple):
    """How one definition differs from its pin.

    Args:
        server: whose.
        kind: tool, prompt, resource or instructions.
        name: its name; hostile.
        change: new, changed or gone.
        digest: of what is offered now.
        diff: a unified diff; hostile.
        brings: what it brings in that other servers may offer too, as an alert has it: kind and value; hostile.
    """

    server: str
    kind: PinKind
    name: str
    change: str
    digest: str
    diff: str
    brings: tuple[tuple[MarkKind, str], ...] = ()


@flow(
    name="pin-drift", flow_run_name="compare definitions with pins", retries=0, persist_result=False, log_prints=False
)
async def pin_drift() -> State[Any]:
    """Ask every MCP server for its definitions and compare them with what was approved.

    Red means that something differs, or that a server could not be asked. With a source `drift` in sources.yaml, what
    differs is also reported to the receiver, signed, and becomes an incident.
    """
    config = scheduled.configuration()
    found, unasked = await drifts(config)
    told = await asyncio.to_thread(_report, config, found)
    rows = [(escaped(one.server), escaped(one.kind), escaped(one.name, 100), one.change) for one in found]
    hows = [
        (f"{escaped(one.kind)} {escaped(one.name, 100)} of {escaped(one.server)}", escaped(one.diff, 600))
        for one in found
    ]
    left = left_out(config)
    asked = len(config.inventory.servers) - len(unasked) - len(left)
    parts = [
        f"# Definitions: {len(found)} differ from what was approved"
        if found
        else "# Definitions: as they were approved",
        f"{asked} of {len(config.inventory.servers)} servers were asked.",
        table(("Server", "Kind", "Name", "It is"), rows, empty=""),
        facts(hows),
    ]
    if left:
        parts.append(f"Left out: {escaped(_left(left), 1000)}")
    if unasked:
        parts += ["## Not asked", facts((escaped(server), escaped(why)) for server, why in unasked)]
    if found:
        parts.append(
            f"{escaped(told)} What to do: read every difference with `mcp-soar pins diff`. What is as it should be is "
            "approved with `mcp-soar pins approve SERVER`; for what is not, start a response with `mcp-soar respond`."
        )
    said = f"{len(found)} definitions differ, {len(unasked)} servers could not be asked"
    await scheduled.show(KEY, said, await _switch(config) + "\n\n".join(part for part in parts if part) + "\n")
    if not found and not unasked:
        beside = f"; left out: {_left(left)}" if left else ""
        return scheduled.ended(f"{asked} servers offer exactly what was approved{beside}", good=True)
    names = ", ".join([*(f"{one.kind} {one.name} of {one.server} is {one.change}" for one in found[:10])])
    gone = ", ".join(f"{server} does not answer" for server, _ in unasked[:10])
    detail = "; ".join(part for part in (names, gone) if part)
    return scheduled.ended(f"{said}: {detail}. {told} See the artifact {KEY}, and `mcp-soar pins diff`", good=False)


def left_out(config: Configuration) -> list[str]:
    """Return the servers that are not asked from here: to ask one that has no address starts a program."""
    if workers.CONFINED not in os.environ:
        return []
    return sorted(name for name, server in config.inventory.servers.items() if server.command and server.url is None)


def _left(names: Sequence[str]) -> str:
    commands = ", ".join(f"`mcp-soar pins diff {name}`" for name in names[:10])
    return f"{len(names)} that speak over stdio, which a confined worker does not start: {commands} compares"


async def _switch(config: Configuration) -> str:
    """Return the kill switch's banner."""
    try:
        async with scheduled.journal(config) as journal:
            return banner(await journal.stops())
    except SoarError as exc:
        return f"> Whether a kill switch is on cannot be read: {escaped(exc)}\n\n"


async def drifts(config: Configuration) -> tuple[list[Drift], list[tuple[str, str]]]:
    """Return what differs, and which servers could not be asked, with the reason."""
    world = Connections(config.inventory, config.systems)
    try:
        names = sorted(config.inventory.servers.keys() - set(left_out(config)))
        answers = await asyncio.gather(*(_of(world, name) for name in names), return_exceptions=True)
    finally:
        await world.aclose()
    found: list[Drift] = []
    unasked: list[tuple[str, str]] = []
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, SoarError):
            unasked.append((name, str(answer)))
        elif isinstance(answer, Exception):
            # Whoever chooses what is read chooses what it breaks: the other servers are compared all the same.
            unasked.append((name, f"what it says is more than we can read ({type(answer).__name__})"))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    return found, unasked


async def _of(world: Connections, server: str) -> list[Drift]:
    offered = {(one.kind, one.name): one for one in await pins.snapshot(world.reach(McpEndpoint, server))}
    approved = {(pin.kind, pin.name): pin for pin in world.inventory.pins.of(server)}
    found = []
    for key in sorted({*offered, *approved}):
        pin, one = approved.get(key), offered.get(key)
        if pin is None and one is not None:
            found.append(Drift(server, *key, "new", one.digest, pins.introduced(one), _brings(None, one.fields)))
        elif pin is not None and not pins.same(pin, one):
            diff = pins.diff(pin, one.fields if one else None)
            if one is None:
                found.append(Drift(server, *key, "gone", "", diff))
            else:
                found.append(Drift(server, *key, "changed", one.digest, diff, _brings(pin.definition, one.fields)))
    return found


def _brings(before: Mapping[str, object] | None, after: Mapping[str, object]) -> tuple[tuple[MarkKind, str], ...]:
    """Return the places that a definition brings in, and then the longest sentences."""
    new = changes.introduced(before, after)
    places = [(MarkKind.INDICATOR, one.what) for one in new if one.kind == changes.Brought.DESTINATION]
    texts = sorted(changes.sentences(before, after), key=len, reverse=True)
    return (*places[:_BROUGHT], *((MarkKind.TEXT, text[:_LONG]) for text in texts[:_BROUGHT]))


def _report(config: Configuration, found: Sequence[Drift]) -> str:
    """Report what is new or changed to the receiver, and return what there is to say of that."""
    wanted = [one for one in found if one.change != "gone"]
    source = config.sources.sources.get(SOURCE)
    if not wanted:
        return ""
    if source is None or not source.secrets:
        return f"Nobody was told: sources.yaml has no source {SOURCE} with a secret."
    failed = ""
    accepted = 0
    for some in _together(wanted):
        try:
            status, answer = _send(config, source, some)
        except (SoarError, OSError) as exc:
            failed = str(exc)
            continue
        if status in _KNOWN:
            accepted += len(some)
        else:
            failed = f"{status} {answer.get('detail') or answer.get('title') or ''}".strip()
    said = f"{accepted} of {len(wanted)} were reported to the receiver as {SOURCE}."
    return f"{said} It answered: {failed}." if failed else said


def _together(found: Sequence[Drift]) -> list[list[Drift]]:
    """Return what is reported in one message each: a change by itself, what is new at a server together.

    How many there are of the former, people have approved; how many of the latter, the server chooses.
    """
    new: dict[str, list[Drift]] = {}
    for one in found:
        if one.change == "new":
            new.setdefault(one.server, []).append(one)
    return [*([one] for one in found if one.change != "new"), *new.values()]


def _entity(one: Drift) -> dict[str, str]:
    if one.kind is PinKind.INSTRUCTIONS:
        return {"kind": "server", "name": one.server}
    return {"kind": one.kind.value, "name": one.name, "server": one.server}


def _send(config: Configuration, source: Source, some: Sequence[Drift]) -> tuple[int, dict[str, Any]]:
    one, more = some[0], len(some) - 1
    about = "\n\n".join(f"{each.server}\n{each.kind}\n{each.name}\n{each.digest}" for each in some).encode()
    difference = hashlib.sha256(about).hexdigest()[:32]
    what = f"{one.kind} {one.name} of {one.server}" + (f" and {more} more" if more else "")
    at = now()
    alert = {
        "version": 1,
        # With what differs: to people who gave one difference back as it was, another one is news.
        "id": f"{f'{one.server}/{one.kind}/{one.name}'[:1900]} {difference}",
        "rule": "Definition differs from its approved pin",
        "title": f"{what} {'are' if more else 'is'} {one.change}: nobody approved it so",
        "severity": "high",
        "detected_at": iso(at),
        "tags": ["definition-differs", one.change],
        "entities": [_entity(each) for each in some[:_NAMED]],
        "excerpt": "\n".join(each.diff for each in some)[:2000],
        "marks": [{"kind": kind.value, "value": text} for each in some for kind, text in each.brings][:_NAMED],
    }
    # The same difference is reported once a day: as long as it lasts somebody hears of it, and no more than that.
    number = f"drift-{at:%Y%m%d}-{difference}"
    base, context = _address(config)
    return deliver(f"{base}/v1/alerts/{SOURCE}", source, read_keys(SOURCE, source), number, canonical(alert), context)


def _address(config: Configuration) -> tuple[str, ssl.SSLContext]:
    """Return where the receiver is, and whose certificates count there."""
    receiver = config.settings.receiver
    host = f"[{receiver.host}]" if ":" in receiver.host else receiver.host
    base = os.environ.get(RECEIVER) or f"{'https' if receiver.tls else 'http'}://{host}:{receiver.port}"
    certificate = str(config.path(receiver.certificate)) if receiver.certificate else None
    return base.rstrip("/"), ssl.create_default_context(cafile=certificate)
