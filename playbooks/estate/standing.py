"""What a server stands on, as alerts name it: an image, a package, a workload, a host. Pure.

A detection that sees processes and packets knows no server's name. What people wrote of a server (`found_by`), and what
its places say of it (`Place.known_by`), tells which one is meant; where that could be several, nobody guesses.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from playbooks.estate.image import reference
from playbooks.estate.package import named as package
from playbooks.record.incident import Entity
from playbooks.taxonomy import EntityKind

GROUNDS: Final = (
    EntityKind.WORKLOAD,
    EntityKind.IMAGE,
    EntityKind.PACKAGE,
    EntityKind.CLOUD_RESOURCE,
    EntityKind.WORKSPACE,
    EntityKind.HOST,
    EntityKind.ADDRESS,
)
"""The kinds of things that servers stand on."""

_NEAREST: Final = ((*GROUNDS[:5],), (EntityKind.HOST,), (EntityKind.ADDRESS,))
"""What says which server it is: what it is itself, else where that runs, else an address, which may be a peer's."""


class Stands(NamedTuple):
    """What a message says of where it happened.

    Args:
        on: the things of it that servers stand on, of the nearest kinds that it names.
        servers: the servers that all of them can mean; one, if it is known which.
    """

    on: tuple[Entity, ...]
    servers: tuple[str, ...]


class Index:
    """Servers, by what they stand on.

    Args:
        known: server, kind and name of everything that one stands on.
    """

    def __init__(self, known: Iterable[tuple[str, EntityKind, str]]) -> None:
        self._known: dict[tuple[EntityKind, str], list[tuple[str, str]]] = {}
        for server, kind, name in known:
            self._known.setdefault(_drawer(kind, name), []).append((name, server))

    def servers(self, entity: Entity) -> tuple[str, ...]:
        """Return the servers that stand on a thing."""
        if entity.kind not in GROUNDS:
            return ()
        there = self._known.get(_drawer(entity.kind, entity.name), ())
        return tuple(dict.fromkeys(server for name, server in there if _same(entity.kind, name, entity.name)))

    def stands(self, entities: Sequence[Entity]) -> Stands:
        """Return which servers a message can mean by what it names, of which none is a server's name.

        A thing is named in several ways, some of which nobody wrote down: those that are known have to agree.
        """
        for kinds in _NEAREST:
            named = [entity for entity in entities if entity.kind in kinds]
            if not named:
                continue
            found = [(entity, servers) for entity in named if (servers := self.servers(entity))]
            every = [server for _, servers in found for server in servers]
            common = [server for server in dict.fromkeys(every) if all(server in servers for _, servers in found)]
            # What contradicts itself could mean any of them.
            return Stands(tuple(entity for entity, _ in found), tuple(common or dict.fromkeys(every)))
        return Stands((), ())

    def shared(self) -> Iterator[tuple[EntityKind, str, tuple[str, ...]]]:
        """Yield what several servers stand on, so that it alone says of none that it is meant."""
        for (kind, _), there in self._known.items():
            for name in dict.fromkeys(name for name, _ in there):
                servers = self.servers(Entity(kind=kind, name=name))
                if len(servers) > 1:
                    yield kind, name, servers


def _drawer(kind: EntityKind, name: str) -> tuple[EntityKind, str]:
    """Return what two names of one thing have in common."""
    match kind:
        case EntityKind.IMAGE:
            return kind, _image(name)[0]
        case EntityKind.PACKAGE:
            return kind, package(name).package
        case EntityKind.WORKLOAD:
            return kind, _segments(name)[-1]
        case EntityKind.ADDRESS:
            return kind, _address(name)
        case _:
            return kind, name.casefold()


def _same(kind: EntityKind, known: str, said: str) -> bool:
    """Whether what somebody says is what is known; both have `_drawer` in common."""
    if kind is EntityKind.IMAGE:
        # Which tag or digest it is counts where it is written.
        return all(mine in {"", theirs} for mine, theirs in zip(_image(known)[1:], _image(said)[1:], strict=True))
    if kind is EntityKind.PACKAGE:
        return package(known).version in {"", package(said).version}
    if kind is EntityKind.WORKLOAD:
        # `prod/weather` is said with its namespace or without.
        mine, theirs = _segments(known), _segments(said)
        length = min(len(mine), len(theirs))
        return mine[-length:] == theirs[-length:]
    return True


def _segments(name: str) -> list[str]:
    return [part for part in name.casefold().split("/") if part] or [name]


def _image(said: str) -> tuple[str, str, str]:
    """Return name, tag and digest of an image, each empty where it says none."""
    found = reference(said.strip())
    return (found.name, found.tag, found.digest) if found else (said, "", "")


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text.strip().strip("[]"))
    except ValueError:
        return text.casefold()
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
