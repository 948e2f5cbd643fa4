"""How a receiver of security events is reached, what it is told, and what `doctor` looks at."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

from integrations.places import places
from integrations.system import Connection, Holders, Looked, Works
from integrations.systems.ssf import Receiver, Subject, receivers
from integrations.systems.ssf.actions import ACTIONS
from integrations.systems.ssf.client import Listener
from playbooks.action import World
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.inventory import Inventory


def _settings(inventory: Inventory, name: str) -> Receiver | None:
    return receivers(inventory).get(name)


def _made(inventory: Inventory, name: str) -> Listener:
    found = _settings(inventory, name)
    if found is None:
        raise Misconfigured(f"the inventory has no receiver {name!r}")
    return Listener(name, found)


async def _looked(world: World, name: str) -> AsyncIterator[Looked]:
    check, there = f"receiver {name}", world.reach(Listener, name)
    try:
        key = await there.signer()
        await there.token()
    except SoarError as exc:
        yield Looked(check, "fail", str(exc), f"mend systems.{name}")
        return
    yield Looked(check, "ok", f"events are signed with {key.public['kid']} ({key.algorithm})")
    if there.settings.stream is None:
        remedy = f"write in systems.{name}.stream what it calls the stream: it is then sent an event that only asks"
        yield Looked(check, "warn", "whether events arrive there is not known", remedy)
    else:
        try:
            await there.verify(there.settings.stream)
            yield Looked(check, "ok", f"{there.settings.url} takes what we sign")
        except SoarError as exc:
            yield Looked(check, "fail", str(exc), f"mend systems.{name}, or have whoever runs it take events of us")
    if not any(where == name for _, where, _ in places(world.inventory, Subject)):
        remedy = f"give each principal whose sessions it keeps a place: principals.NAME.places.{name}"
        yield Looked(check, "warn", "it knows no principal, and is told of nobody", remedy)


def _doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    del holders  # nothing there is out of use for an incident's sake
    yield from ((f"receiver {name}", _looked(world, name)) for name in receivers(world.inventory))


WORKS: Final = Works(steps=ACTIONS, connections={Listener: Connection(_made, _settings)}, doctor=_doctor)
