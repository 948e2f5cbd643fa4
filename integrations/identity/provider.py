"""OAuth and OpenID Connect providers, as an inventory has them, and the tokens that principals come with."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Final, Self
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from pydantic import Field, model_validator
from typing_extensions import override

from integrations.places import places
from integrations.system import System, Works, written
from playbooks.estate.gateway import Account
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Secret, SystemSettings, Url
from playbooks.strict import Name

SORT: Final = "oidc"
"""What a plan's target calls any of them, and a playbook's step."""

_IDS: Final = UUID("6d1f0c5e-6a0b-4f51-9a37-7a4c3a0f5c11")
"""What the ids of tokens are made under."""


class Provider(SystemSettings):
    """An identity provider, or any OAuth authorization server that describes itself.

    Args:
        issuer: its issuer, exactly as its own description and its tokens have it.
        client: the client that mcp-soar comes as; it may revoke and introspect what others were issued.
        secret: that client's secret.
        hosts: other hosts that its endpoints may be on; by default only the issuer's own, for our secret goes there.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token"})

    issuer: Url
    client: Name
    secret: Secret
    hosts: tuple[Name, ...] = ()

    @property
    @override
    def sort(self) -> str:
        return SORT

    @override
    def address(self) -> str:
        parts = urlsplit(self.issuer)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{parts.hostname}:{port}{parts.path.rstrip('/')}"

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        # A token is known by what it is, which nobody can write down: one that was issued to this client is refused
        # when it is planned, and whoever comes as this client here.
        return {"user": frozenset({self.client}), "client": frozenset({self.client})}

    @override
    def role(self, id_: str) -> str:
        return "the client that mcp-soar comes as" if id_ == self.client else super().role(id_)


def with_ids(value: Any, *fields: str) -> Any:  # noqa: ANN401  # whatever is written
    """Give each token that is held an id: nobody has to write down what only its name is needed for.

    Args:
        value: a principal's place, as it is written.
        fields: of it, that say by name which are held.
    """
    if not isinstance(value, Mapping):
        return value
    named = [some for some in map(value.get, fields) if isinstance(some, Mapping)]
    ids = {label: str(uuid5(_IDS, f"{value.get('user')}/{label}")) for some in named for label in some}
    return {**value, "tokens": {**ids, **(value.get("tokens") or {})}}


class Identity(Account):
    """How a provider knows a principal.

    Args:
        user: its subject there, as `sub` says it; of a client that acts for itself, its client id.
        client: the client that its tokens are issued to; if it is left out, any is taken, and no refresh is tried.
        secret: that client's secret, if it has one. Where it is given, tokens are revoked as this client, as RFC 7009
            has it, and whether a refresh token still works is tried with it.
        tokens: ids by which alerts name its tokens, by their names below; made up where nothing is said.
        held: access tokens of it that we hold, by a name.
        refresh: refresh tokens of it that we hold, likewise.
        resource: an MCP address at which its access tokens are used: whether it turns them away is asked there.
    """

    client: Name | None = None
    secret: Secret | None = None
    refresh: dict[Name, Secret] = Field(default_factory=dict)
    resource: Url | None = None

    @model_validator(mode="before")
    @classmethod
    def _have_ids(cls, value: Any) -> Any:  # noqa: ANN401  # whatever is written
        return with_ids(value, "held", "refresh")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if both := sorted(self.held.keys() & self.refresh.keys()):
            message = f"refresh: {', '.join(both)} is an access token too; call one of them otherwise"
            raise ValueError(message)
        if self.secret and not self.client:
            message = "secret: say in `client` whose it is"
            raise ValueError(message)
        return self

    @property
    def for_itself(self) -> bool:
        """Whether it is a client that acts for itself, and no user."""
        return self.user == self.client

    @override
    def objects(self) -> Mapping[str, Collection[str]]:
        return {**super().objects(), **({"client": (self.client,)} if self.client else {})}

    def secrets(self, field: str) -> Iterator[tuple[str, Secret]]:
        """Yield what is kept of it, and the field of inventory.yaml that says where it is.

        Args:
            field: its own.
        """
        if self.secret:
            yield f"{field}.secret", self.secret
        yield from ((f"{field}.held.{label}", place) for label, place in self.held.items())
        yield from ((f"{field}.refresh.{label}", place) for label, place in self.refresh.items())


def provider_system(
    kind: str, title: str, works: Callable[[], Works], package: str, settings: type[Provider] = Provider
) -> System:
    """Return the description of a product.

    Args:
        kind: as inventory.yaml names it.
        title: as people call it.
        works: imports how it works.
        package: its folder, where the words are that only it needs.
        settings: how it is reached.
    """

    def addresses(inventory: Inventory) -> Iterator[str]:
        yield from (inventory.at(name) for name in _of(inventory, kind))

    def secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
        mine = _of(inventory, kind)
        yield from ((f"systems.{name}.secret", one.secret) for name, one in mine.items())
        for who, name, at in places(inventory, Identity):
            if name in mine:
                yield from at.secrets(f"principals.{who}.places.{name}")

    return System(
        kind=kind,
        title=title,
        works=works,
        words=written(package, "integrations.identity"),
        settings=settings,
        account=Identity,
        places=addresses,
        secrets=secrets,
    )


def _of(inventory: Inventory, kind: str) -> dict[str, Provider]:
    return {name: one for name, one in inventory.systems.items() if isinstance(one, Provider) and one.kind == kind}
