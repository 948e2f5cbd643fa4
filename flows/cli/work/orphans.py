"""`doctor --orphans`: what is disabled or revoked out there and no lease knows, and what a lease holds in vain."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work.ahead import imported
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.system import Present
from playbooks.action import World
from playbooks.errors import SoarError

if TYPE_CHECKING:
    from flows.cli.work.orphans_compared import Misfits


def orphans(out: Out, config: Configuration) -> Exit:
    """Compare what is really there with inventory, pins and holds, and show what does not fit."""
    with out.waiting("asking every system"):
        found, unasked = asyncio.run(_compare(config))
    out.document({"ok": not found and not unasked, "orphans": found, "unasked": unasked})
    for one in unasked:
        out.say(f"{called(one['system'])} could not be asked: {one['message']}", "bad")
    out.table(
        ("", "object", "found"),
        [
            (
                one["finding"].upper(),
                f"{one['kind']} {one['name']}\n{called(one['system'])}",
                f"{one['message']}\n→ {one['remedy']}",
            )
            for one in found
        ],
        empty="everything that should be offered is, or an incident holds it; every hold holds",
    )
    if found:
        return Exit.NO
    return Exit.UNREACHABLE if unasked else Exit.OK


async def _compare(config: Configuration) -> "Misfits":
    world = Connections(config.inventory, config.systems)
    places = config.systems.present(config.inventory).values()
    signing_in = [asyncio.create_task(_ready(present, world)) for present in places]
    try:
        compare = await imported(_comparing)
        return await compare(config, world)
    finally:
        for one in signing_in:
            one.cancel()
        await asyncio.gather(*signing_in, return_exceptions=True)
        await world.aclose()


async def _ready(present: Callable[[World], Present], world: Connections) -> None:
    # Who does not let us in says so when it is looked at.
    with suppress(SoarError):
        await present(world).ready()


def _comparing() -> "Callable[[Configuration, Connections], Awaitable[Misfits]]":
    from flows.cli.work.orphans_compared import compare  # noqa: PLC0415  # it takes as long as to be let in

    return compare


def called(system: str) -> str:
    """Return what people read of a system's name."""
    return system.replace("/", " ")
