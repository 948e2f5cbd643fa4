"""What a person means by a name that is to be contained: one thing, by inventory and gateways, or a question back."""

import asyncio
import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from integrations.catalogue import Catalogue, Held
from integrations.connections import Connections
from integrations.hostile import printable
from playbooks.errors import Refused, SoarError, Transient
from playbooks.estate import naming
from playbooks.estate.inventory import ON_SERVER, Inventory, Resolved
from playbooks.record.incident import Entity

_NEAR = 5


async def of(world: Connections, entity: Entity) -> Resolved:
    """Return the one thing that a person means, by the inventory and by what gateways offer.

    What somebody approved is asked about all the same where a gateway shows another thing under that name: a custom
    name is given there, and the inventory knows nothing of it.

    Args:
        world: the connections.
        entity: what they wrote.

    Raises:
        Refused: it means more than one thing, nothing, something that the gateway does not have, or what is ours.
    """
    inventory, thing, nameless = world.inventory, None, None
    try:
        thing = naming.one(inventory, entity)
    except naming.Nameless as exc:
        if entity.kind not in ON_SERVER or entity.server is not None:
            raise
        nameless = exc
    if thing is not None and (why := naming.ours(inventory, thing)):
        raise Refused(why, ours=True)
    if thing is not None and entity.kind not in ON_SERVER:
        return thing
    server, name = naming.placed(inventory, entity)
    if thing is not None and server == thing.server:
        return await _at_home(world, thing, name)
    return await _anywhere(world, entity, thing, nameless)


async def _at_home(world: Connections, thing: Resolved, name: str) -> Resolved:
    """Return what the gateway shows of a server under a name.

    Args:
        world: the connections.
        thing: what the inventory takes it for.
        name: what was written, of that server.

    Raises:
        Refused: it shows more than one thing under it; or nothing, and nobody approved it.
    """
    place = world.inventory.servers[thing.server or ""].gateway
    if place is None:
        return thing
    kind = ON_SERVER[thing.kind]
    try:
        held = await world.reach(Catalogue, place.name).held(kind, place.id)
    except Transient:
        return thing
    names = {one.name for one in held if name in one.shown_as}
    if world.inventory.pins.find(thing.server or "", kind, thing.id) is not None:
        names.add(thing.id)
    names = names or {one.name for one in held if naming.abridges(name, one.name)}
    if len(names) == 1:
        return thing.model_copy(update={"id": names.pop()})
    if names:
        found = [_meaning(world.inventory, thing.model_copy(update={"id": one}), held) for one in sorted(names)]
        raise naming.Unclear(naming.asked(name, thing.kind, found))
    raise Refused(f"gateway {place.name} has no {thing}; {_holds(name, held)}")


def _meaning(inventory: Inventory, thing: Resolved, held: Iterable[Held]) -> naming.Meaning:
    """Return a thing with how to say that it is this one: by a name that nothing else of its server has.

    Args:
        inventory: with the pins, which still have the name that was offered when they were approved.
        thing: it.
        held: what the gateway has of that kind from its server.
    """
    own = next((one for one in held if one.name == thing.id), None)
    names = [thing.id, *((printable(own.offered_as), own.id) if own else ())]
    others = {name for one in held if one.name != thing.id for name in one.shown_as}
    pins = inventory.pins.of(thing.server or "", ON_SERVER[thing.kind])
    others |= {name for pin in pins if pin.name != thing.id for name in (pin.name, pin.gateway_name or "")}
    say = next((name for name in names if name not in others), thing.id)
    return naming.Meaning(thing, f"{thing.server}/{say}")


def _holds(name: str, held: Sequence[Held]) -> str:
    names = sorted({one.name for one in held})
    close = difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.5)
    shown = ", ".join(close or names[:_NEAR])
    return f"did you mean {shown}?" if close else f"it has {shown or 'none of that kind'}"


class _Shown(NamedTuple):
    """What gateways show under a name.

    Args:
        meanings: what it is, with how to say which.
        homeless: what no server of the inventory has, a sentence each.
        unasked: the gateways that could not be asked, likewise.
    """

    meanings: list[naming.Meaning]
    homeless: list[str]
    unasked: list[str]


async def _anywhere(
    world: Connections, entity: Entity, thing: Resolved | None, nameless: naming.Nameless | None
) -> Resolved:
    """Return what is meant by a name that is said without its server.

    Args:
        world: the connections.
        entity: what was written.
        thing: what the inventory takes it for, if it knows it.
        nameless: why the inventory does not know it.

    Raises:
        Refused: it means more than one thing, or nothing.
    """
    shown = _Shown([], [], [])
    await asyncio.gather(
        *(_look(world, gateway, entity, shown, abridged=thing is None) for gateway in world.inventory.gateways)
    )
    things = {meaning.thing.key: meaning for meaning in shown.meanings}
    if thing is not None and thing.key not in things:
        things[thing.key] = naming.Meaning(thing, f"{thing.server}/{thing.id}")
    # Where the inventory knows the name, a gateway that does not answer keeps nobody from containing what it knows.
    strange = [*shown.homeless, *(shown.unasked if thing is None else ())]
    if len(things) == 1 and not strange:
        found = next(iter(things.values())).thing
        return found if shown.meanings or shown.unasked else await _at_home(world, found, found.id)
    if things:
        raise naming.Unclear("; ".join([naming.asked(entity.name, entity.kind, things.values()), *strange]))
    raise Refused("; ".join([str(nameless), *strange]))


async def _look(world: Connections, gateway: str, entity: Entity, shown: _Shown, *, abridged: bool) -> None:
    """Add what a gateway shows under a name.

    Args:
        world: the connections.
        gateway: its name.
        entity: kind and name.
        shown: what it is added to.
        abridged: whether the short form of a thing's own name will do.
    """
    try:
        held = await world.reach(Catalogue, gateway).held(ON_SERVER[entity.kind])
    except SoarError as exc:
        shown.unasked.append(f"gateway {gateway} could not be asked: {exc}")
        return
    for one in held:
        if entity.name not in one.shown_as and not (abridged and naming.abridges(entity.name, one.name)):
            continue
        server = _server_of(world.inventory, gateway, one)
        if server is None:
            shown.homeless.append(
                f"gateway {gateway} offers {one.kind} {one.name} from its entry {one.entry}, which no server of"
                " inventory.yaml has a place for: add that server, then contain it"
            )
            continue
        beside = [other for other in held if other.entry == one.entry]
        shown.meanings.append(_meaning(world.inventory, Resolved(kind=entity.kind, id=one.name, server=server), beside))


def _server_of(inventory: Inventory, gateway: str, held: Held) -> str | None:
    places = ((name, server.gateway) for name, server in inventory.servers.items())
    return next((n for n, at in places if at and (at.name, at.id) == (gateway, held.entry)), None)
