"""What a person means by a name: one thing, or a question back. Pure; a gateway is asked by others.

An alert that names something in two ways is believed in neither; a person is asked which one they mean, with all that
it could be and how to say which.
"""

import difflib
import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from playbooks.errors import Refused
from playbooks.incident import Entity, EntityKind
from playbooks.inventory import ON_SERVER, Inventory, Resolved, fold, named_servers

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
            raise Refused(why)
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
        raise Unclear(asked(entity.name, entity.kind, found.values()))
    raise Nameless(_unknown(inventory, entity, home))


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
        case _:
            return


def _tokens(inventory: Inventory, name: str) -> Iterator[Meaning]:
    """Yield the tokens that a name can mean: by id, else by owner and id or label, else by the label alone.

    A token's owner chooses its label, and may choose what another one is called by; so the surer way wins.
    """
    owner, slash, rest = name.partition("/")
    owners = inventory.principals.items()
    theirs = [(who, one) for who, one in owners if slash and fold(owner) in map(fold, (who, one.user))]
    by_id = [(who, one, name) for who, one in owners if name in one.tokens.values()]
    by_owner = [(who, one, one.token(rest)) for who, one in theirs if one.token(rest) in one.tokens.values()]
    by_label = [(who, one, one.tokens[name]) for who, one in owners if name in one.tokens.keys() - inventory.token_ids]
    for who, principal, token in by_id or by_owner or by_label:
        label = next(label for label, known in principal.tokens.items() if known == token)
        yield Meaning(inventory.token(who, token), f"{who}/{principal.sure(label)}")


def _offered(inventory: Inventory, entity: Entity, home: str | None) -> Iterator[Meaning]:
    server, name = placed(inventory, entity, home=home)
    if server is not None:
        yield from _at(inventory, server, entity.kind, name, unapproved=True)
    if entity.server is None and home is None:
        for place in inventory.servers:
            yield from _known_at(inventory, place, entity.kind, entity.name)


def placed(inventory: Inventory, entity: Entity, *, home: str | None = None) -> tuple[str | None, str]:
    """Return the server that a name is said with and the name there; None, and all of it, if it is said with none.

    Args:
        inventory: what exists.
        entity: a tool, prompt or resource, as a person wrote it.
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
    tokens = (f"{who}/{one.sure(label)}" for who, one in inventory.principals.items() for label in one.tokens)
    known: dict[EntityKind, Collection[str]] = {
        EntityKind.SERVER: inventory.servers,
        EntityKind.PRINCIPAL: inventory.principals,
        EntityKind.TOKEN: list(tokens),
    }
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


def guesses(inventory: Inventory, entities: Iterable[Entity]) -> str:
    """Return what names that the inventory does not know may be misspelt for, as a question; empty if nothing is close.

    Args:
        inventory: what exists.
        entities: what is not known, of an alert say: hostile. Only the first few are looked at.
    """
    found = [say for entity in itertools.islice(entities, _CLOSE) for say in _guessed(inventory, entity)]
    return f"did you mean {', '.join(dict.fromkeys(found))}?" if found else ""


def _guessed(inventory: Inventory, entity: Entity) -> list[str]:
    match entity.kind:
        case EntityKind.SERVER:
            return difflib.get_close_matches(entity.name, inventory.servers, n=_CLOSE)
        case EntityKind.PRINCIPAL:
            return difflib.get_close_matches(entity.name, inventory.principals, n=_CLOSE)
        case EntityKind.TOKEN:
            tokens = [f"{who}/{one.sure(label)}" for who, one in inventory.principals.items() for label in one.tokens]
            return difflib.get_close_matches(entity.name, tokens, n=_CLOSE)
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
    if principal is None:
        return None
    mine = inventory.ours(f"gateway/{principal.gateway}") or {}
    if thing.kind is EntityKind.PRINCIPAL and fold(principal.user) in mine.get("user", ()):
        return _never(f"{principal.user}", inventory, principal.gateway, principal.user)
    if thing.kind is EntityKind.TOKEN and fold(thing.id) in mine.get("token", ()):
        return _never(f"the token {thing.id}", inventory, principal.gateway, principal.user)
    return None


def _a_credential(inventory: Inventory, entity: Entity) -> str | None:
    """Return why a name that the inventory lists nowhere is never contained: it is what we sign in with."""
    kind = {EntityKind.PRINCIPAL: "user", EntityKind.TOKEN: "token"}.get(entity.kind)
    for name in inventory.gateways:
        mine = inventory.ours(f"gateway/{name}") or {}
        if kind and fold(entity.name) in mine.get(kind, ()):
            return _never(f"the {kind} {entity.name}", inventory, name, entity.name)
    return None


def _never(what: str, inventory: Inventory, gateway: str, user: str) -> str:
    place = inventory.gateways[gateway]
    roles = {fold(place.user): "who mcp-soar signs in as", fold(place.canary.principal): "our canary"}
    role = roles.get(fold(user), "a credential of it")
    return (
        f"{what} is mcp-soar's own at gateway {gateway} ({role}): without it nothing can be contained or verified"
        f" there, so it is never a target. If it was stolen, replace it at the gateway and in inventory.yaml first"
    )
