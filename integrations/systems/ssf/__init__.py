"""Receivers of security events (Shared Signals, CAEP): told that somebody's sessions were revoked, they end theirs."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, ClassVar, Final, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator
from typing_extensions import override

from integrations.system import System, Works, written
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Place, Secret, SystemSettings, Url
from playbooks.strict import Line, Name
from playbooks.taxonomy import EntityKind

KIND: Final = "ssf"
USER: Final = "user"
"""The kind of object that a receiver has of principals."""

_HERE: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Claim = Annotated[str, Field(min_length=1, max_length=200)]
"""As it stands in an event, to the character."""


class Receiver(SystemSettings):
    """Who listens: a stream of events that it takes from us.

    Args:
        url: where events are pushed to (RFC 8935).
        audience: what it calls itself in `aud`.
        issuer: what it knows us as, `iss`.
        key: our signing key, in PEM: of P-256 (ES256) or Ed25519 (EdDSA). It has the public half.
        token: what we are let in with there; none where it asks for none.
        folder: where each event is kept that it is told, so that it is told the very same one again.
        stream: what it calls the stream: `doctor` then sends it an event that only asks whether events arrive.
        spared: subjects that it is never told of: those that mcp-soar and its people come as.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({USER})

    url: Url
    audience: Line
    issuer: Line
    key: Secret
    token: Secret | None = None
    folder: Line
    stream: Name | None = None
    spared: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _in_secret(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme != "https" and parts.hostname not in _HERE:
            message = "url: an event says whose sessions were revoked: write https://"
            raise ValueError(message)
        return self

    @override
    def address(self) -> str:
        return f"{self.url} {self.audience}"

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        return {USER: frozenset(self.spared)}

    @override
    def role(self, id_: str) -> str:
        return "who mcp-soar comes as" if id_ in self.spared else super().role(id_)


class Subject(Place):
    """A principal as a receiver knows it (RFC 9493): an issuer's subject, or an e-mail address.

    Args:
        iss: the provider that it signs in at, to the character.
        sub: what that calls it.
        email: its address, in place of both.
    """

    iss: Claim | None = None
    sub: Claim | None = None
    email: Claim | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.iss is None) != (self.sub is None) or (self.sub is None) == (self.email is None):
            message = "write either iss and sub, or email"
            raise ValueError(message)
        return self

    @property
    def id(self) -> str:
        """What it is called there."""
        return self.sub or self.email or ""

    @property
    def identifier(self) -> dict[str, str]:
        """What an event calls it."""
        if self.email is not None:
            return {"format": "email", "email": self.email}
        return {"format": "iss_sub", "iss": self.iss or "", "sub": self.sub or ""}

    @override
    def objects(self) -> Mapping[str, Collection[str]]:
        return {USER: (self.id,)}

    @override
    def known_by(self) -> Mapping[EntityKind, Collection[str]]:
        return {EntityKind.PRINCIPAL: (self.id,)}


def receivers(inventory: Inventory) -> dict[str, Receiver]:
    """Return the receivers of an inventory, by their names."""
    return {name: one for name, one in inventory.systems.items() if isinstance(one, Receiver)}


def _secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
    for name, one in receivers(inventory).items():
        yield f"systems.{name}.key", one.key
        if one.token:
            yield f"systems.{name}.token", one.token


def _works() -> Works:
    from integrations.systems.ssf.works import WORKS  # noqa: PLC0415  # imported when it is first needed

    return WORKS


SYSTEM = System(
    kind=KIND,
    title="a receiver of security events",
    works=_works,
    words=written(__name__),
    settings=Receiver,
    account=Subject,
    places=lambda inventory: (f"{KIND}/{name}" for name in receivers(inventory)),
    secrets=_secrets,
)
