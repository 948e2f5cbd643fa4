"""The tokens that are held of a principal: found by name once, known by a fingerprint from then on."""

import hashlib
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple
from uuid import UUID

from integrations.identity.client import Api, Credentials
from integrations.identity.provider import SORT, Identity
from integrations.places import places
from integrations.secret import secret
from playbooks.action import World
from playbooks.errors import Drifted, Misconfigured, SoarError, Unneeded
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Target
from playbooks.text.sentences import say

_SHORTEST: Final = 16
"""Characters of a token: of less a fingerprint gives it away."""


class Held(NamedTuple):
    """One token.

    Args:
        who: whose, as the inventory names that principal.
        provider: who issued it, likewise.
        at: how that knows them.
        label: what the inventory calls it.
        type: as RFC 7009 has it.
        value: it itself, which goes to its provider and nowhere else.
    """

    who: str
    provider: str
    at: Identity
    label: str
    type: Literal["access_token", "refresh_token"]
    value: str

    @property
    def target(self) -> Target:
        """It, as a plan names it."""
        id_, name = fingerprint(self.value), f"{self.who}/{self.label}"
        return Target(system=f"{SORT}/{self.provider}", kind="token", id=id_, name=name)

    @property
    def words(self) -> str:
        """What type it is of, for people."""
        return self.type.replace("_", " ")

    def client(self) -> Credentials | None:
        """Return the client that it was issued to, if we can come as that; with its secret, where it has one.

        Raises:
            Misconfigured: the secret is not to be found.
        """
        if self.at.client is None:
            return None
        field = f"principals.{self.who}.places.{self.provider}.secret"
        known = secret(self.at.secret, what=field) if self.at.secret else ""
        return Credentials(self.at.client, known, field)


def fingerprint(token: str) -> str:
    """Return what a token is called where it must not stand: the first half of its SHA-256, written as a UUID."""
    return str(UUID(bytes=hashlib.sha256(token.encode()).digest()[:16]))


def held(world: World, who: str, system: str | None = None) -> Iterator[Held]:
    """Yield the tokens that are held of a principal, those first that others are issued for.

    Args:
        world: the connections.
        who: as the inventory names it.
        system: of which provider; of all if None.

    Raises:
        Misconfigured: one is not where the inventory says.
    """
    for name, provider, at in places(world.inventory, Identity):
        if name == who and system in {None, provider}:
            for label in (*at.refresh, *at.held):
                yield _read(who, provider, at, label)


def none_held(world: World, who: str, system: str | None = None) -> SoarError:
    """Return what it means that no token of a principal is held.

    Args:
        world: the connections.
        who: as the inventory names it.
        system: at which provider; at all if None.
    """
    known = places(world.inventory, Identity)
    at = {name: place for one, name, place in known if one == who and system in {None, name}}
    if at and all(world.reach(Api, name).ends_sessions and not place.for_itself for name, place in at.items()):
        named = " and ".join(f"provider {name}" for name in at)
        return Unneeded(
            say("no token of {a} is held; whatever it was issued ends with its sessions at {b}", a=who, b=named)
        )
    where = f"principals.{who}.places.{system or 'PROVIDER'}.refresh"
    return Misconfigured("no token of it is held, and only who has a token can revoke it", field=where)


def one_of(world: World, who: str, token: str, system: str | None) -> Held:
    """Return one token of a principal.

    Args:
        world: the connections.
        who: as the inventory names it.
        token: its id there, or its name.
        system: of which provider; of any if None.

    Raises:
        Misconfigured: it is not held.
    """
    for name, provider, at in places(world.inventory, Identity):
        if name == who and system in {None, provider}:
            id_ = at.token(token)
            label = next((label for label in (*at.refresh, *at.held) if at.tokens[label] == id_), None)
            if label is not None:
                return _read(who, provider, at, label)
    field = f"principals.{who}.places"
    raise Misconfigured(f"no token of {who} is held by that name: only who has a token can revoke it", field=field)


def same(target: Target, world: World) -> Held:
    """Return the token that a plan means.

    Raises:
        Drifted: what is held under its name is another one by now, or nothing is.
    """
    provider = target.system.removeprefix(f"{SORT}/")
    who, _, label = target.name.rpartition("/")
    for name, where, at in places(world.inventory, Identity):
        if (name, where) == (who, provider) and (label in at.refresh or label in at.held):
            found = _read(who, provider, at, label)
            if fingerprint(found.value) == target.id:
                return found
            raise Drifted(f"what is held as {target} is another one by now, with the fingerprint {found.target.id}")
    raise Drifted(f"the inventory has no {target} at provider {provider} any more")


def _read(who: str, provider: str, at: Identity, label: str) -> Held:
    refresh = label in at.refresh
    place: Secret = at.refresh[label] if refresh else at.held[label]
    field = f"principals.{who}.places.{provider}.{'refresh' if refresh else 'held'}.{label}"
    value = secret(place, what=field)
    if len(value) < _SHORTEST or not value.isascii() or not value.isprintable() or " " in value:
        raise Misconfigured("what is there is no token", field=field)
    return Held(who, provider, at, label, "refresh_token" if refresh else "access_token", value)
