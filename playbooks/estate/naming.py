"""What a person means by a name: one thing, or a question back. Pure; a gateway is asked by others.

An alert that names something in two ways is believed in neither; a person is asked which one they mean, with all that
it could be and how to say which.
"""

import difflib
import ipaddress
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from playbooks.errors import Refused
from playbooks.estate.inventory import ON_SERVER, Inventory, Resolved, named_servers
from playbooks.estate.spelling import fold, plain
from playbooks.record.incident import Entity, EntityKind

_MOST = 8
_UNSAFE = re.compile(r"[^a-z0-9]+")
_CLOSE = 3


class Meaning(NamedTuple):
    """One thing that a name can mean.

    Args:
        thing: it.
        say: how to say that it is this one, as `weather/forecast`.
    """

    thing: Resolved
    say: str


class Unclear(Refused):
    """A name means more than one thing."""


class Nameless(Refused):
    """Nothing is known by that name; a gateway may know it all the same."""


def chosen(inventory: Inventory, entities: Sequence[Entity]) -> tuple[Resolved, ...]:
    """Return the things that a person names, each once.

    Args:
        inventory: what exists.
        entities: what they wrote. A tool that names no server belongs to the one server that is named beside it.

    Raises:
        Unclear: a name means two things.
        Nameless: the inventory has no such thing, and nothing says whose it is.
        Refused: it is ours, or of a kind that nothing contains.
    """
    homes = {entity.name for entity in entities if entity.kind is EntityKind.SERVER}
    home = homes.pop() if len(homes) == 1 else None
    found: dict[str, Resolved] = {}
    for entity in entities:
        thing = one(inventory, entity, home=home)
        if why := ours(inventory, thing):
            raise Refused(why, ours=True)
        found.setdefault(thing.key, thing)
    return tuple(found.values())


def meant(things: Sequence[Resolved], *, exact: bool) -> tuple[Resolved, ...]:
    """Return which of the things that a person names are to be contained.

    Args:
        things: what they named.
        exact: all of them. Otherwise a server beside something that it offers is only said to be the home of that.
    """
    homes = named_servers(things)
    return tuple(thing for thing in things if exact or thing.kind is not EntityKind.SERVER or thing.key in homes)


def one(inventory: Inventory, entity: Entity, *, home: str | None = None) -> Resolved:
    """Return the one thing that a person means.

    Args:
        inventory: what exists.
        entity: what they wrote.
        home: the server that they named beside it, if it names none itself.

    Raises:
        Unclear: it means two things; both are shown, with how to say which.
        Nameless: nothing is known by that name.
    """
    found = {meaning.thing.key: meaning for meaning in meanings(inventory, entity, home=home)}
    if len(found) == 1:
        return next(iter(found.values())).thing
    if found:
        raise Unclear(asked(entity.name, entity.kind, found.values()), ours=True)
    raise Nameless(_unknown(inventory, entity, home), ours=True)


def asked(name: str, kind: EntityKind, found: Iterable[Meaning]) -> str:
    """Return the question that is put back: what a name can mean, and how to say which."""
    listed = "; ".join(f"{meaning.thing}: write {meaning.say}" for meaning in list(found)[:_MOST])
    return f"{kind} {name!r} means more than one thing. {listed}"


def meanings(inventory: Inventory, entity: Entity, *, home: str | None = None) -> Iterator[Meaning]:
    """Yield everything that a name can mean.

    Args:
        inventory: what exists.
        entity: what a person wrote.
        home: see `one`.
    """
    match entity.kind:
        case EntityKind.SERVER | EntityKind.PRINCIPAL:
            known = inventory.resolve(entity)
            if known:
                yield Meaning(known, known.id)
        case EntityKind.TOKEN:
            yield from _tokens(inventory, entity.name)
        case EntityKind.TOOL | EntityKind.PROMPT | EntityKind.RESOURCE:
            yield from _offered(inventory, entity, home)
        case EntityKind.ADDRESS if peer := _peer(inventory, entity, home):
            yield peer
        case _:
            for server in inventory.standing.servers(entity):
                by = f"{entity.kind} {entity.name}"
                yield Meaning(Resolved(kind=EntityKind.SERVER, id=server, server=server, by=by), server)


def _tokens(inventory: Inventory, name: str) -> Iterator[Meaning]:
    for thing in inventory.tokens_called(name):
        who = thing.principal or ""
        principal = inventory.principals[who]
        label = next(label for label, known in principal.tokens.items() if known == thing.id)
        yield Meaning(thing, f"{who}/{principal.sure(label)}")


def _offered(inventory: Inventory, entity: Entity, home: str | None) -> Iterator[Meaning]:
    server, name = placed(inventory, entity, home=home)
    if server is not None:
        yield from _at(inventory, server, entity.kind, name, unapproved=True)
    if entity.server is None and home is None:
        for place in inventory.servers:
            yield from _known_at(inventory, place, entity.kind, entity.name)


def _peer(inventory: Inventory, entity: Entity, home: str | None) -> Meaning | None:
    """Return an address that a server reaches, or is reached from, where it is said whose; None if it is not."""
    server, name = placed(inventory, entity, home=home)
    try:
        network = ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None
    thing = server and Resolved(kind=EntityKind.ADDRESS, id=str(network), server=server)
    return Meaning(thing, f"{server}/{network}") if thing else None


def placed(inventory: Inventory, entity: Entity, *, home: str | None = None) -> tuple[str | None, str]:
    """Return the server that a name is said with and the name there; None, and all of it, if it is said with none.

    Args:
        inventory: what exists.
        entity: a tool, prompt, resource or address, as a person wrote it.
        home: see `one`.
    """
    place = entity.server or home
    if place is not None:
        return _server(inventory, place), entity.name
    first, slash, rest = entity.name.partition("/")
    server = _server(inventory, first) if slash and rest else None
    return (server, rest) if server else (None, entity.name)


def _server(inventory: Inventory, name: str) -> str | None:
    found = inventory.resolve(Entity(kind=EntityKind.SERVER, name=name))
    return found.id if found else None


def _known_at(inventory: Inventory, server: str, kind: EntityKind, name: str) -> Iterator[Meaning]:
    """Yield what a name means at a server that nobody named: what is known there by it, else by the short form of it.

    Only here: with its server a name is what somebody signed, and means what is called exactly so.
    """
    exact = list(_at(inventory, server, kind, name, unapproved=False))
    notes = inventory.servers[server]
    known = {*notes.offers.of(ON_SERVER[kind]), *(notes.tools if kind is EntityKind.TOOL else ())}
    approved = {pin.name for pin in inventory.pins.of(server, ON_SERVER[kind])}
    if exact:
        yield from exact
    elif name in known:
        yield Meaning(Resolved(kind=kind, id=name, server=server), f"{server}/{name}")
    else:
        for own in sorted(one for one in known | approved if abridges(name, one)):
            yield Meaning(Resolved(kind=kind, id=own, server=server), f"{server}/{own}")


def abridges(name: str, own: str) -> bool:
    """Whether a name is the short form that a gateway makes of a thing's own: `get-weather` of `get_weather`."""
    return bool(name) and name == _UNSAFE.sub("-", fold(own)).strip("-")


def _at(inventory: Inventory, server: str, kind: EntityKind, name: str, *, unapproved: bool) -> Iterator[Meaning]:
    """Yield what a name means at one server: what is approved by either name, else what somebody says is there."""
    pins = [pin for pin in inventory.pins.of(server, ON_SERVER[kind]) if name in {pin.name, pin.gateway_name}]
    names = [pin.name for pin in pins]
    if not names and unapproved:
        names = [name]
    offered = {pin.name: pin.gateway_name for pin in pins}
    for own in names:
        # Where one's own name is what the gateway calls another, only the gateway's name tells them apart.
        say = offered.get(own) if len(names) > 1 and own == name else own
        yield Meaning(Resolved(kind=kind, id=own, server=server), f"{server}/{say or own}")


def _unknown(inventory: Inventory, entity: Entity, home: str | None) -> str:
    """Return what to say of a name that nothing has: what comes close, and what would be right."""
    if why := _a_credential(inventory, entity):
        return why
    kind, name, place = entity.kind, entity.name, entity.server or home
    if place is not None and kind in ON_SERVER:
        return f"the inventory does not know server {place}; {near(place, inventory.servers)}"
    if kind in ON_SERVER:
        servers = near(name, inventory.servers)
        return f"nothing approved is called {kind} {name!r}; say whose it is with --server NAME ({servers})"
    known: dict[EntityKind, Collection[str]] = {
        EntityKind.SERVER: inventory.servers,
        EntityKind.PRINCIPAL: inventory.principals,
        EntityKind.TOKEN: inventory.token_names(name),
    }
    if kind is EntityKind.ADDRESS:
        return f"{name!r} is no address of a server: write SERVER/ADDRESS, as weather/203.0.113.7"
    if kind not in known:
        return f"nothing here contains a {kind}"
    return f"the inventory does not know {kind} {name}; {near(name, known[kind])}"


def near(name: str, known: Collection[str]) -> str:
    """Return what to say after a name that is not among those there are: the ones that come close, else all of them.

    Args:
        name: what somebody wrote.
        known: what there is.
    """
    close = difflib.get_close_matches(name, known, n=_CLOSE)
    shown = ", ".join(close or sorted(known)[:_MOST])
    return f"{'did you mean' if close else 'it has'} {shown or 'none'}" + ("?" if close else "")


def guesses(inventory: Inventory, entities: Iterable[Entity], owners: Collection[str] | None = None) -> str:
    """Return what names that the inventory does not know may be misspelt for, as a question; empty if nothing is close.

    Args:
        inventory: what exists.
        entities: what is not known, of an alert say: hostile. Only the first few are looked at.
        owners: the principals that are named beside it: a token is one of theirs. None if none is.
    """
    found = [say for entity in itertools.islice(entities, _CLOSE) for say in _guessed(inventory, entity, owners)]
    return f"did you mean {', '.join(dict.fromkeys(found))}?" if found else ""


def _guessed(inventory: Inventory, entity: Entity, owners: Collection[str] | None) -> list[str]:
    match entity.kind:
        case EntityKind.SERVER:
            return difflib.get_close_matches(entity.name, inventory.servers, n=_CLOSE)
        case EntityKind.PRINCIPAL:
            return difflib.get_close_matches(entity.name, inventory.principals, n=_CLOSE)
        case EntityKind.TOKEN:
            known = inventory.token_names(entity.name, owners)
            called = [one for one in known if one.endswith(f"/{entity.name}")]
            return called[:_CLOSE] or difflib.get_close_matches(entity.name, known, n=_CLOSE)
        case EntityKind.TOOL | EntityKind.PROMPT | EntityKind.RESOURCE:
            return _offered_near(inventory, entity)
        case _:
            return []


def _offered_near(inventory: Inventory, entity: Entity) -> list[str]:
    """Return what a server offers under a name like this one; only the server, if it is that which is misspelt."""
    home = _server(inventory, entity.server) if entity.server else None
    homes: Collection[str] = inventory.servers
    if entity.server:
        homes = [home] if home else difflib.get_close_matches(entity.server, inventory.servers, n=1)
    found = []
    for server in homes:
        names = {pin.name for pin in inventory.pins.of(server, ON_SERVER[entity.kind])}
        names |= inventory.servers[server].tools.keys() if entity.kind is EntityKind.TOOL else set()
        found += [f"{server}/{name}" for name in difflib.get_close_matches(entity.name, sorted(names), n=_CLOSE)]
    return found[:_CLOSE] or ([] if home or not entity.server else list(homes))


def ours(inventory: Inventory, thing: Resolved) -> str | None:
    """Return why something is never contained, because it is mcp-soar's own; None if it is not."""
    principal = inventory.principals.get(thing.principal or "")
    for name, place in principal.places.items() if principal else ():
        mine = inventory.ours(inventory.at(name)) or {}
        if thing.kind is EntityKind.PRINCIPAL:
            own = [id_ for kind, ids in place.objects().items() for id_ in ids if plain(id_) in mine.get(kind, ())]
            if own:
                return _never(own[0], inventory, name, own[0])
        elif thing.kind is EntityKind.TOKEN:
            for kind, ids in place.credentials().items():
                if thing.id in ids and plain(thing.id) in mine.get(kind, ()):
                    whose = next((id_ for some in place.objects().values() for id_ in some), thing.id)
                    return _never(f"the {kind} {thing.id}", inventory, name, whose)
    return None


def _a_credential(inventory: Inventory, entity: Entity) -> str | None:
    """Return why a name that the inventory lists nowhere is never contained: it is what we sign in with."""
    kind = {EntityKind.PRINCIPAL: "user", EntityKind.TOKEN: "token"}.get(entity.kind)
    for name in inventory.systems if kind else ():
        mine = inventory.ours(inventory.at(name)) or {}
        if plain(entity.name) in mine.get(str(kind), ()):
            return _never(f"the {kind} {entity.name}", inventory, name, entity.name)
    return None


def _never(what: str, inventory: Inventory, system: str, id_: str) -> str:
    settings = inventory.systems[system]
    return (
        f"{what} is mcp-soar's own at {settings.sort} {system} ({settings.role(id_)}): without it nothing can be"
        f" contained or verified there, so it is never a target. If it was stolen, replace it at the"
        f" {settings.sort} and in inventory.yaml first"
    )
