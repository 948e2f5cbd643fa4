"""What `doctor` says of servers: how they differ from what was approved, and who has signed for that."""

from collections.abc import AsyncIterator, Iterator, Sequence
from copy import deepcopy

from flows.cli.output import some
from flows.cli.work import pins, records
from flows.cli.work.reviewing import PinDifference
from flows.engine.people.reviews import ReviewBook
from flows.service.access import missing
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.journal.records import Hold
from integrations.system import Holders, Looked
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.gate.refusing import can_refuse
from playbooks.people.review import Reviews


async def look(world: Connections, holders: Holders, name: str) -> AsyncIterator[Looked]:
    """Look how a server differs from what was approved, and what of it can be told apart."""
    check = f"server {name}"
    for line in told_apart(world.inventory, name):
        yield line
    if not world.inventory.servers[name].direct:
        yield Looked(check, "warn", "its own definitions cannot be read", f"add servers.{name}.url in inventory.yaml")
        return
    found = await pins.differences(world, name)
    for line in differing(name, found, (await holders.all() or ()) if found else ()):
        yield line
    if not found:
        yield Looked(check, "ok", f"{len(world.inventory.pins.of(name))} definitions are as they were approved")


_DIFFERS = {
    "new": "nobody approved",
    "changed": "not what was approved:",
    "gone": "approved, and no longer offered:",
    "gateway": "not what was approved at the gateway (the server's own is):",
}


def differing(name: str, found: Sequence[PinDifference], held: Sequence[Hold]) -> Iterator[Looked]:
    """Yield how a server differs from what is approved: a line for each way, and one for each thing that is held.

    Args:
        name: the server.
        found: the differences.
        held: what incidents hold.
    """
    check, ways = f"server {name}", dict[str, list[str]]()
    for one in found:
        if holders := sorted({hold.incident for hold in held if hold.lease.endswith(f"@{name}/{one.name}")}):
            remedy = f"{', '.join(holders)} holds it: see why before you approve it; `mcp-soar incident {holders[0]}`"
            yield Looked(check, "warn", f"{_DIFFERS[one.change]} {one.kind} {one.name}", remedy)
        else:
            ways.setdefault(one.change, []).append(f"{one.kind} {one.name}")
    for change, things in ways.items():
        remedy = f"`mcp-soar pins diff {name}`; then `mcp-soar pins approve {name} ...`, or respond"
        yield Looked(check, "warn", f"{_DIFFERS[change]} {some(things)}", remedy)


def told_apart(inventory: Inventory, name: str) -> Iterator[Looked]:
    """Yield a warning about tools of whose calls nobody can tell a refusal from a use.

    Args:
        inventory: with the pins.
        name: the server.
    """
    noted = inventory.servers[name].tools
    safe = {tool for tool, notes in noted.items() if notes.safe_arguments is not None}
    tools = [pin for pin in inventory.pins.of(name, PinKind.TOOL) if pin.name not in safe]
    taking = [pin.name for pin in tools if not can_refuse(pin.definition.get("inputSchema"))]
    if taking:
        shown = some(taking)
        message = f"the schema of {shown} refuses no call: whether one gets through is known by the gateway's word only"
        beside = ", and for the others likewise," if len(taking) > 1 else ""
        remedy = f"write servers.{name}.tools.{taking[0]}.safe_arguments{beside} for a call that changes nothing"
        yield Looked(f"server {name}", "warn", message, remedy)


async def reviewed(config: Configuration) -> AsyncIterator[Looked]:
    """Yield whether people have signed for what is approved, and whether the journal says so."""
    journalled = Reviews()
    if missing(config) is None:
        try:
            async with records.opened(config) as journal:
                journalled = await ReviewBook().current(journal)
        except SoarError:
            return  # the journal has a line of its own
    again = deepcopy(journalled)
    for name in config.inventory.servers:
        if (line := _signed_for(config, name, journalled, again)) is not None:
            yield line


def _signed_for(config: Configuration, name: str, journalled: Reviews, again: Reviews) -> Looked | None:
    """Return what is to be said of the reviews of a server's pins; None if it has none.

    Args:
        config: the configuration.
        name: the server.
        journalled: the reviews that the journal has.
        again: the same; those that stand in the file alone are added to it.
    """
    count, check, rules = len(config.inventory.pins.of(name)), f"pins of {name}", config.policy.review
    missing = journalled.lacking(config.inventory, rules, name)
    if not missing:
        return Looked(check, "ok", f"{count} definitions, signed for and journalled") if count else None
    still = pins.lacking(config, name, again)
    if not still:
        message = f"{len(missing)} definitions are signed for, and no responder has journalled it yet"
        remedy = "`mcp-soar up`; a running one takes seconds"
        return Looked(check, "warn", f"{message}: nothing is automatic on them", remedy)
    named = "; ".join(f"{kind} {one} {why}" for (kind, one), why in list(still.items())[:3])
    more = f"; and {len(still) - 3} more" if len(still) > 3 else ""  # noqa: PLR2004  # as many as were named
    said = f"nothing is automatic on {len(still)} definitions, people are asked: {named}{more}"
    remedy = f'`mcp-soar pins approve {name} --reviewed "what you looked at" --as NAME`'
    return Looked(check, "warn", said, f"{remedy} (a role that reviews: {', '.join(rules.roles)})")
