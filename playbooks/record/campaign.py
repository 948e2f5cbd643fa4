"""What incidents at different servers have in common, and the campaign that they are then part of.

A campaign joins nothing: each of its incidents stays what it is, is decided on by its own plans and closed by itself.
What they share is said by authenticated sources only, and is counted up to a limit, for an attacker writes most of it.
"""

import ipaddress
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import chain, islice, zip_longest
from typing import Any, Final, NamedTuple

from playbooks.estate.inventory import Resolved
from playbooks.estate.package import named as package
from playbooks.record.incident import Claimed, Entity, EntityKind
from playbooks.strict import Json, digest
from playbooks.taxonomy import MarkKind
from playbooks.text.redaction import redacted

EACH: Final = 16
"""Marks of one incident that count; what its alerts name beyond that joins nothing."""

MEMBERS: Final = 100
"""Incidents of one campaign; what comes beyond is no part of it."""

ACCEPTED: Final = 50
"""Things that a release of a campaign accepts as they are, though nobody approved them so: forms have room for them."""

NAMED: Final = 10
"""Others that an incident names when it becomes part of one."""

_SHORT: Final = 20
"""Characters below which a text is too short to say that two of it are one."""

_SHOWN: Final = 200


_INSIDE: Final = tuple(
    ipaddress.ip_network(net)
    for net in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "0.0.0.0/8", "fc00::/7")
)
"""Networks whose addresses are another host in every house."""


class Shared(StrEnum):
    """What incidents can have in common."""

    PRINCIPAL = "principal"
    INDICATOR = "indicator"
    DIGEST = "digest"
    PACKAGE = "package"
    VULNERABILITY = "vulnerability"
    TEXT = "text"


class Mark(NamedTuple):
    """One thing that incidents can have in common.

    Args:
        kind: what it is.
        value: which one; of a text a digest, whatever its case and spacing.
    """

    kind: Shared
    value: str

    @property
    def key(self) -> str:
        """The key under which a campaign of it is found."""
        return f"mark|{self.kind}:{self.value}"

    def body(self) -> dict[str, Json]:
        """Return it as an entry keeps it."""
        return {"kind": self.kind.value, "value": self.value}

    @classmethod
    def read(cls, body: dict[str, str]) -> "Mark":
        """Return the mark that `body` gave."""
        return cls(Shared(body["kind"]), body["value"])

    def __str__(self) -> str:
        return f"{'injected text' if self.kind is Shared.TEXT else self.kind} {self.value}"


def marks(
    known: Iterable[Resolved], named: Iterable[Entity], unknown: Iterable[Entity], claimed: Iterable[Claimed]
) -> tuple[Mark, ...]:
    """Return what an alert may have in common with others, each once, the surest first.

    Args:
        known: what it names and the inventory knows: whose it is, counts.
        named: all that it names: images count by their digest, packages by their version.
        unknown: what of that the inventory does not know: addresses count that mean the same everywhere.
        claimed: what it says that it found.
    """
    # No more is read than counts: a message costs the same whatever it claims.
    some = islice(dict.fromkeys(claimed), EACH)
    addresses = (one.name for one in unknown if one.kind is EntityKind.ADDRESS and _everywhere(one.name))
    images = (one.name for one in named if one.kind is EntityKind.IMAGE and "@sha256:" in one.name)
    packages = (package(one.name) for one in named if one.kind is EntityKind.PACKAGE)
    found = [
        *(Mark(Shared.PRINCIPAL, thing.principal) for thing in known if thing.principal),
        *(_mark(MarkKind.INDICATOR, name) for name in addresses),
        *(_mark(MarkKind.DIGEST, name.rpartition("@")[2]) for name in images),
        *(_mark(Shared.PACKAGE, f"{one.package}@{one.version}") for one in packages if one.version),
        *(_mark(one.kind, one.value) for one in some if one.kind is not MarkKind.TEXT or _long(one.value)),
    ]
    # Each kind has its turn: whoever fills in one of them hides none of the others.
    kinds: dict[Shared, list[Mark]] = {}
    for mark in dict.fromkeys(found):
        kinds.setdefault(mark.kind, []).append(mark)
    return tuple(filter(None, chain.from_iterable(zip_longest(*kinds.values()))))[:EACH]


def _everywhere(address: str) -> bool:
    """Whether an address is the same host for everybody: what is private or our own is what many alerts name."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    special = found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified
    return not special and not any(found in inside for inside in _INSIDE if inside.version == found.version)


def _long(text: str) -> bool:
    return len(_folded(text)) >= _SHORT


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _mark(kind: MarkKind | Shared, value: str) -> Mark:
    folded = _folded(value)
    # What would be masked where it is shown, or is too long to be looked through, is told from others by its digest.
    plain = kind is not MarkKind.TEXT and len(folded) <= _SHOWN and redacted(folded, _SHOWN) == folded
    return Mark(Shared(kind.value), folded if plain else digest(folded))


class Membership(NamedTuple):
    """That an incident is part of a campaign, as its own journal says it.

    Args:
        campaign: which.
        mark: what they share.
        others: the incidents that were part of it then, the last that came.
    """

    campaign: str
    mark: Mark
    others: tuple[str, ...]


class Member(NamedTuple):
    """One incident of a campaign.

    Args:
        incident: which.
        servers: where it was when it became part.
    """

    incident: str
    servers: frozenset[str]

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Member":
        """Return the member that `body` gave."""
        return cls(body["incident"], frozenset(body["servers"]))

    def body(self, mark: Mark) -> dict[str, Json]:
        """Return it as an entry keeps it, with what it shares."""
        return {"incident": self.incident, "servers": [*sorted(self.servers)], "mark": mark.body()}


def spread(members: Sequence[Member]) -> bool:
    """Whether incidents that have something in common are at different servers, so that they are a campaign.

    One that is about no server, such as about a token alone, is at none: it makes no second one.
    """
    return len(members) > 1 and len(frozenset[str]().union(*(one.servers for one in members)) - {""}) > 1
