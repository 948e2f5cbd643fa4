"""What `doctor --orphans` compares: what is really there, with inventory, pins and holds."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from flows.cli import schema
from flows.cli.work import records
from flows.cli.work.orphans import called
from flows.reading import streams
from flows.service.settings import Configuration
from integrations.journal.client import Tampered
from integrations.journal.records import Hold
from integrations.journal.store import Journal
from integrations.system import Expected, Present
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.record.journal import INCIDENT

_YOUNG = 60.0
"""Seconds in which a hold may be there before its change is made."""

_STRANGE = "an incident holds something there, and inventory.yaml does not have it"


class Misfits(NamedTuple):
    """What came of it.

    Args:
        found: what does not fit.
        unasked: who could not be asked.
    """

    found: list[schema.Orphan]
    unasked: list[schema.Unasked]


async def compare(config: Configuration, world: World) -> Misfits:
    """Compare everything.

    Args:
        config: the configuration.
        world: the connections.

    Raises:
        Tampered: an incident's journal is not as it was written.
        Transient: there is no journal yet.
    """
    found: list[schema.Orphan] = []
    unasked: list[schema.Unasked] = []
    places = config.systems.present(config.inventory)
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
    return Misfits(found, unasked)


def _name(system: str) -> str:
    return system.partition("/")[2]


async def _one(present: Present, journal: Journal, system: str) -> list[schema.Orphan]:
    # Looked at before and after: what is being cut or released meanwhile is neither an orphan nor undone.
    before = _of(await journal.holds(), system)
    wanted = [one for one in await present.look() if one.id]
    named = {one.grip(system): (one.kind, one.id, one.field) for one in wanted}
    now_is = await _values(present, named)
    gripped = await _values(present, {grip: _parsed(grip)[1:] for grip in before})
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


async def _values(present: Present, fields: Mapping[str, tuple[str, str, str]]) -> dict[str, JsonValue]:
    """Ask for some fields at once, and return each by its grip."""
    values = await asyncio.gather(*(present.value(*field) for field in fields.values()))
    return dict(zip(fields, values, strict=True))


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
        message = f"{called(system)} no longer has it, and {one.file} says that it is offered{past}"
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
        finding, message = "gone", f"{hold.incident} holds it, and {called(system)} no longer has it"
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
