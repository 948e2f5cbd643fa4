"""A gateway as the inventory has it: how it is reached, what stands on it, and who has an account there."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    model_validator,
)
from typing_extensions import override

if TYPE_CHECKING:
    from playbooks.estate.inventory import Inventory
from playbooks.estate.spelling import fold
from playbooks.estate.systems import Place, Secret, SystemSettings, Url
from playbooks.record.incident import EntityKind
from playbooks.strict import Name, Seconds, Strict


class Canary(Strict):
    """A principal of ours with the grants that an ordinary client has, used to ask whether something is reachable.

    Args:
        principal: what it is called in findings.
        token: its bearer token for the gateway's client side.
        url: the MCP address that clients use.
    """

    principal: Name
    token: Secret
    url: Url


class Gateway(SystemSettings):
    """An MCP gateway that we may act on, whichever product it is.

    Args:
        kind: which product it is.
        url: its administration address.
        user: the administrator that we sign in as.
        password: that user's password.
        canary: who asks for us on the client side.
        credential_ids: ids at the gateway of our own credentials; never a target.
        processes: how many processes answer at its address, workers times replicas; if None, as many as show.
        remembers: for how long each of them remembers what it looked up (ContextForge's
            `TOOL_LOOKUP_CACHE_TTL_SECONDS`).
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"tool", "prompt", "resource", "entry", "list", "user", "token"})

    url: Url
    user: Name
    password: Secret
    canary: Canary
    credential_ids: tuple[Name, ...] = ()
    processes: Annotated[int, Field(ge=1, le=1000)] | None = None
    remembers: Seconds = 60.0

    @property
    @override
    def sort(self) -> str:
        return "gateway"

    @override
    def address(self) -> str:
        parts = urlsplit(self.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return f"{parts.hostname}:{port}{parts.path.rstrip('/')}"

    @override
    def ours(self, name: str, inventory: "Inventory") -> Mapping[str, frozenset[str]]:
        return {"user": frozenset({self.user, self.canary.principal}), "token": frozenset(self.credential_ids)}

    @override
    def role(self, id_: str) -> str:
        roles = {fold(self.user): "who mcp-soar signs in as", fold(self.canary.principal): "our canary"}
        return roles.get(fold(id_), super().role(id_))


class Entry(Place):
    """How a gateway knows a server.

    Args:
        id: the server's immutable id there.
    """

    id: Name


class GatewayEntry(NamedTuple):
    """A server's place at a gateway.

    Args:
        name: the gateway, as the inventory names it.
        id: the server's immutable id there.
    """

    name: str
    id: str


class Account(Place):
    """How a system knows a principal that it lets in as a user, with tokens.

    Args:
        user: its user (e-mail) there.
        tokens: its API tokens there: name → immutable id.
        held: tokens of it that we hold, by their name in `tokens`: a cut is then asked about as this principal itself.
    """

    user: Name
    tokens: dict[Name, Name] = Field(default_factory=dict)
    held: dict[Name, Secret] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _held_are_its_own(self) -> Self:
        if unknown := sorted(self.held.keys() - self.tokens.keys()):
            message = f"held: {', '.join(unknown)} is none of its tokens; name it in `tokens` with its id"
            raise ValueError(message)
        return self

    def token(self, named: str) -> str:
        """Return the id of the token that is called so: an id stands for itself, whatever a token is labelled.

        Its owner chooses a token's label, and may choose another one's id; a gateway chooses ids. What is neither is
        returned as it is: an id that is not known here.
        """
        return named if named in self.tokens.values() else self.tokens.get(named, named)

    @override
    def objects(self) -> Mapping[str, Collection[str]]:
        return {"user": (self.user,)}

    @override
    def credentials(self) -> Mapping[str, Collection[str]]:
        return {"token": self.tokens.values()}

    @override
    def known_by(self) -> Mapping[EntityKind, Collection[str]]:
        return {EntityKind.PRINCIPAL: (self.user,)}


class GatewayAccount(Account):
    """How a gateway knows a principal."""
