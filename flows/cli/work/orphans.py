"""`doctor --orphans`: what is disabled or revoked out there and no lease knows, and what a lease holds in vain."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work import records
from flows.settings import Configuration
from integrations.connections import Connections
from integrations.journal.client import Tampered
from integrations.journal.records import Hold
from integrations.journal.store import Journal
from integrations.systems.contextforge.client import ContextForge, Held
from playbooks.errors import SoarError
from playbooks.inventory import Inventory, PinKind
from playbooks.strict import Json

_YOUNG = 60.0
"""Seconds in which a hold may be there before its change is made."""

_KINDS = (PinKind.TOOL, PinKind.PROMPT, PinKind.RESOURCE)


class Expected(NamedTuple):
    """An object that inventory or pins say is offered.

    Args:
        kind: entry, tool, prompt, resource, user or token.
        id: its immutable id at the gateway.
        field: which of its fields says whether it is in use.
        value: what that is then.
        name: what people call it.
        server: whose it is.
    """

    kind: str
    id: str
    field: str
    value: bool
    name: str
    server: str | None


class _Gateway:
    """What a gateway says of its objects, each asked for once.

    Args:
        forge: its administration.
    """

    def __init__(self, forge: ContextForge) -> None:
        self._forge = forge
        self._held: dict[str, Held] = {}
        self._tokens: dict[str, bool] | None = None

    async def look(self) -> None:
        """Ask for everything that it holds, the disabled included."""
        for kind in _KINDS:
            self._held |= {held.id: held for held in await self._forge.held(kind)}

    def named(self, entry: str, tool: str) -> Held | None:
        """Return the tool of a server that has a name."""
        found = (held for held in self._held.values() if (held.entry, held.name) == (entry, tool))
        return next((held for held in found if held.kind is PinKind.TOOL), None)

    async def value(self, kind: str, id_: str) -> bool | None:
        """Return the field of an object that says whether it is in use; None if there is no such object."""
        if kind == "entry":
            entry = await self._forge.entry(id_)
            return None if entry is None else bool(entry["enabled"])
        if kind == "user":
            user = await self._forge.user(id_)
            return None if user is None else bool(user["is_active"])
        if kind == "token":
            if self._tokens is None:
                listed = await self._forge.tokens()
                self._tokens = {str(one["id"]): bool(one["is_revoked"]) or not one["is_active"] for one in listed}
            return self._tokens.get(id_)
        held = self._held.get(id_)
        return None if held is None or held.kind != kind else held.enabled


def orphans(out: Out, config: Configuration) -> Exit:
    """Compare the gateways with inventory, pins and holds, and show what does not fit."""
    with out.waiting("asking the gateways"):
        found, unasked = asyncio.run(_compare(config))
    out.document({"ok": not found and not unasked, "orphans": found, "unasked": unasked})
    for one in unasked:
        out.say(f"gateway {one['gateway']} could not be asked: {one['message']}", "bad")
    out.table(
        ("", "object", "found"),
        [
            (
                one["finding"].upper(),
                f"{one['kind']} {one['name']}\n{one['gateway']}",
                f"{one['message']}\n→ {one['remedy']}",
            )
            for one in found
        ],
        empty="everything that should be offered is, or an incident holds it; every hold holds",
    )
    if found:
        return Exit.NO
    return Exit.UNREACHABLE if unasked else Exit.OK


async def _compare(config: Configuration) -> tuple[list[schema.Orphan], list[schema.Unasked]]:
    found: list[schema.Orphan] = []
    unasked: list[schema.Unasked] = []
    world = Connections(config.inventory)
    try:
        async with records.opened(config) as journal:
            for name in config.inventory.gateways:
                try:
                    found += await _one(world, journal, name)
                except Tampered:
                    raise
                except SoarError as exc:
                    unasked.append({"gateway": name, "message": str(exc)})
            holds = await journal.holds()
            strange = {_parsed(hold.grip)[0] for hold in holds} - {
                f"gateway/{name}" for name in config.inventory.gateways
            }
            unasked += [
                {"gateway": system, "message": "an incident holds something there, and inventory.yaml does not have it"}
                for system in sorted(strange)
            ]
    finally:
        await world.aclose()
    return found, unasked


async def _one(world: Connections, journal: Journal, name: str) -> list[schema.Orphan]:
    gateway = _Gateway(world.reach(ContextForge, name))
    # Looked at before and after: what is being cut or released meanwhile is neither an orphan nor undone.
    before = _of(await journal.holds(), name)
    await gateway.look()
    wanted = [one for one in expected(world.inventory, name) if one.id] + list(
        _unpinned(world.inventory, name, gateway)
    )
    now_is = {(one.kind, one.id): await gateway.value(one.kind, one.id) for one in wanted}
    gripped = {parsed: await gateway.value(parsed[1], parsed[2]) for parsed in map(_parsed, before)}
    after = _of(await journal.holds(), name)
    clock = await journal.clock()
    known = before | after
    lost = [
        (one, now_is[one.kind, one.id])
        for one in wanted
        if now_is[one.kind, one.id] is not one.value and _grip(name, one) not in known
    ]
    history = await _history(journal, {_grip(name, one) for one, _ in lost}) if lost else {}
    found = [_lost(name, one, is_now, history.get(_grip(name, one), [])) for one, is_now in lost]
    for grip in before.keys() & after.keys():
        hold, parsed = after[grip], _parsed(grip)
        if gripped[parsed] != hold.after and clock - hold.taken_at > _YOUNG:
            found.append(_vain(name, parsed, hold, gripped[parsed]))
    return sorted(found, key=lambda one: (one["finding"], one["kind"], one["name"]))


def expected(inventory: Inventory, gateway: str) -> Iterator[Expected]:
    """Yield what should be in use at a gateway, as inventory and pins say."""
    for name, server in inventory.servers.items():
        if server.gateway is None or server.gateway.name != gateway:
            continue
        yield Expected("entry", server.gateway.id, "enabled", value=True, name=name, server=name)
        for pin in inventory.pins.of(name):
            if pin.kind in _KINDS and pin.gateway_id:
                yield Expected(pin.kind.value, pin.gateway_id, "enabled", value=True, name=pin.name, server=name)
    for name, principal in inventory.principals.items():
        if principal.gateway != gateway:
            continue
        yield Expected("user", principal.user, "is_active", value=True, name=name, server=None)
        for label, token in principal.tokens.items():
            yield Expected("token", token, "revoked", value=False, name=f"{label} of {name}", server=None)


def _unpinned(inventory: Inventory, gateway: str, asked: _Gateway) -> Iterator[Expected]:
    """Yield the tools that the inventory notes and nobody pinned, where the gateway holds them."""
    for name, server in inventory.servers.items():
        if server.gateway is None or server.gateway.name != gateway:
            continue
        for tool in server.tools:
            held = asked.named(server.gateway.id, tool)
            if held is not None and inventory.pins.find(name, PinKind.TOOL, tool) is None:
                yield Expected("tool", held.id, "enabled", value=True, name=tool, server=name)


def _of(holds: Sequence[Hold], gateway: str) -> dict[str, Hold]:
    return {hold.grip: hold for hold in holds if _parsed(hold.grip)[0] == f"gateway/{gateway}"}


def _grip(gateway: str, one: Expected) -> str:
    return f"gateway/{gateway}/{one.kind}/{one.id}#{one.field}"


def _parsed(grip: str) -> tuple[str, str, str]:
    """Return system, kind and id of what a grip is on."""
    system, name, kind, id_ = [*grip.rpartition("#")[0].split("/", 3), "", "", "", ""][:4]
    return f"{system}/{name}", kind, id_


async def _history(journal: Journal, grips: set[str]) -> dict[str, list[str]]:
    """Return which incidents ever had a lease on these."""
    found: dict[str, list[str]] = {}
    for row in await journal.streams(records.PREFIX, limit=1_000_000):
        try:
            state = await records.load(journal, row.name.removeprefix(records.PREFIX))
        except Tampered:
            continue
        had = {change.grip for lease in state.leases.values() for change in lease.plan.changes}
        for grip in had & grips:
            found.setdefault(grip, []).append(state.id)
    return found


def _lost(gateway: str, one: Expected, is_now: Json, incidents: list[str]) -> schema.Orphan:
    where = "inventory.yaml" if one.kind in {"entry", "user", "token"} else "pins.yaml"
    past = f"; {', '.join(incidents)} had a lease on it once" if incidents else ""
    if is_now is None:
        finding, message = "gone", f"gateway {gateway} no longer has it, and {where} says that it is offered{past}"
        remedy = (
            f"mend {where}"
            if where == "inventory.yaml"
            else f"`mcp-soar pins diff {one.server}`; approve what is there"
        )
    elif one.kind == "token":
        finding, message = "orphan", f"revoked, and no incident holds that{past}"
        remedy = "it stays worthless: issue a new one, and write its id into inventory.yaml"
    else:
        word = "deactivated" if one.kind == "user" else "disabled"
        finding, message = "orphan", f"{word}, and no incident holds that{past}"
        again = "activate" if one.kind == "user" else "enable"
        remedy = f"whoever did it: {again} it at the gateway, or have it held and watched: `mcp-soar respond`"
    return {
        "gateway": gateway,
        "kind": one.kind,
        "id": one.id,
        "name": one.name,
        "server": one.server,
        "finding": finding,
        "incidents": incidents,
        "message": message,
        "remedy": remedy,
    }


def _vain(gateway: str, parsed: tuple[str, str, str], hold: Hold, is_now: Json) -> schema.Orphan:
    _, kind, id_ = parsed
    if is_now is None:
        finding, message = "gone", f"{hold.incident} holds it, and gateway {gateway} no longer has it"
        remedy = f"see what came in its place; then `mcp-soar release {hold.incident} --lease {hold.lease}`"
    else:
        finding, message = "undone", f"in use again, although {hold.incident} holds it"
        remedy = f"the watch puts it back while a responder runs: `mcp-soar incident {hold.incident}`"
    return {
        "gateway": gateway,
        "kind": kind,
        "id": id_,
        "name": id_,
        "server": hold.server or None,
        "finding": finding,
        "incidents": [hold.incident],
        "message": message,
        "remedy": remedy,
    }
