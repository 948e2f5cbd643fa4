"""`doctor --orphans`: what is disabled or revoked out there and no lease knows, and what a lease holds in vain."""

import asyncio
from collections.abc import Sequence

from pydantic import JsonValue

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work import records
from flows.reading import streams
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.journal.client import Tampered
from integrations.journal.records import Hold
from integrations.journal.store import Journal
from integrations.system import Expected, Present
from playbooks.errors import SoarError
from playbooks.record.journal import INCIDENT

_YOUNG = 60.0
"""Seconds in which a hold may be there before its change is made."""


def orphans(out: Out, config: Configuration) -> Exit:
    """Compare what is really there with inventory, pins and holds, and show what does not fit."""
    with out.waiting("asking every system"):
        found, unasked = asyncio.run(_compare(config))
    out.document({"ok": not found and not unasked, "orphans": found, "unasked": unasked})
    for one in unasked:
        out.say(f"{_called(one['system'])} could not be asked: {one['message']}", "bad")
    out.table(
        ("", "object", "found"),
        [
            (
                one["finding"].upper(),
                f"{one['kind']} {one['name']}\n{_called(one['system'])}",
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
    world = Connections(config.inventory, config.systems)
    places = config.systems.present(config.inventory)
    try:
        async with records.opened(config) as journal:
            for system, present in places.items():
                try:
                    found += await _one(present(world), journal, system)
                except Tampered:
                    raise
                except SoarError as exc:
                    unasked.append({"system": system, "gateway": _name(system), "message": str(exc)})
            holds = await journal.holds()
            strange = {_parsed(hold.grip)[0] for hold in holds} - set(places)
            unasked += [{"system": system, "gateway": system, "message": _STRANGE} for system in sorted(strange)]
    finally:
        await world.aclose()
    return found, unasked


_STRANGE = "an incident holds something there, and inventory.yaml does not have it"


def _name(system: str) -> str:
    return system.partition("/")[2]


def _called(system: str) -> str:
    return system.replace("/", " ")


async def _one(present: Present, journal: Journal, system: str) -> list[schema.Orphan]:
    # Looked at before and after: what is being cut or released meanwhile is neither an orphan nor undone.
    before = _of(await journal.holds(), system)
    wanted = [one for one in await present.look() if one.id]
    now_is = {one.grip(system): await present.value(one.kind, one.id, one.field) for one in wanted}
    gripped = {grip: await present.value(*_parsed(grip)[1:]) for grip in before}
    after = _of(await journal.holds(), system)
    clock = await journal.clock()
    known = before | after
    lost = [
        (one, now_is[one.grip(system)])
        for one in wanted
        if now_is[one.grip(system)] != one.value and one.grip(system) not in known
    ]
    history = await _history(journal, {one.grip(system) for one, _ in lost}) if lost else {}
    found = [_lost(system, one, is_now, history.get(one.grip(system), [])) for one, is_now in lost]
    for grip in before.keys() & after.keys():
        hold = after[grip]
        if gripped[grip] != hold.after and clock - hold.taken_at > _YOUNG:
            found.append(_vain(_parsed(grip), hold, gripped[grip]))
    return sorted(found, key=lambda one: (one["finding"], one["kind"], one["name"]))


def _of(holds: Sequence[Hold], system: str) -> dict[str, Hold]:
    return {hold.grip: hold for hold in holds if _parsed(hold.grip)[0] == system}


def _parsed(grip: str) -> tuple[str, str, str, str]:
    """Return system, kind and id of what a grip is on, and the field."""
    thing, _, field = grip.rpartition("#")
    system, name, kind, id_ = [*thing.split("/", 3), "", "", "", ""][:4]
    return f"{system}/{name}", kind, id_, field


async def _history(journal: Journal, grips: set[str]) -> dict[str, list[str]]:
    """Return which incidents ever had a lease on these."""
    found: dict[str, list[str]] = {}
    for row in await journal.streams(INCIDENT, limit=1_000_000):
        try:
            state = await streams.load(journal, row.name.removeprefix(INCIDENT))
        except Tampered:
            continue
        had = {change.grip for lease in state.leases.values() for change in lease.plan.changes}
        for grip in had & grips:
            found.setdefault(grip, []).append(state.id)
    return found


def _lost(system: str, one: Expected, is_now: JsonValue, incidents: list[str]) -> schema.Orphan:
    past = f"; {', '.join(incidents)} had a lease on it once" if incidents else ""
    if is_now is None:
        message = f"{_called(system)} no longer has it, and {one.file} says that it is offered{past}"
        finding, remedy = "gone", one.gone
    else:
        finding, message, remedy = "orphan", f"{one.otherwise}, and no incident holds that{past}", one.again
    return {
        "system": system,
        "gateway": _name(system),
        "kind": one.kind,
        "id": one.id,
        "name": one.name,
        "server": one.server,
        "finding": finding,
        "incidents": incidents,
        "message": message,
        "remedy": remedy,
    }


def _vain(parsed: tuple[str, str, str, str], hold: Hold, is_now: JsonValue) -> schema.Orphan:
    system, kind, id_, _ = parsed
    if is_now is None:
        finding, message = "gone", f"{hold.incident} holds it, and {_called(system)} no longer has it"
        remedy = f"see what came in its place; then `mcp-soar release {hold.incident} --lease {hold.lease}`"
    else:
        finding, message = "undone", f"in use again, although {hold.incident} holds it"
        remedy = f"the watch puts it back while a responder runs: `mcp-soar incident {hold.incident}`"
    return {
        "system": system,
        "gateway": _name(system),
        "kind": kind,
        "id": id_,
        "name": id_,
        "server": hold.server or None,
        "finding": finding,
        "incidents": [hold.incident],
        "message": message,
        "remedy": remedy,
    }
