"""A list of tokens that are turned away though nobody can revoke them: whoever takes JWTs asks it beside."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, ClassVar, Final

from pydantic import Field, model_validator
from typing_extensions import override

from integrations.identity.provider import with_ids
from integrations.places import places
from integrations.system import System, Works, written
from playbooks.estate.gateway import Account
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Secret, SystemSettings, Url
from playbooks.strict import Line, Name, Seconds

KIND: Final = "denylist"


class DenyList(SystemSettings):
    """A file of what is denied of one issuer, and where that is asked.

    Args:
        file: the list; every responder writes this one file, and whoever serves it reads it.
        url: where it is served, as servers ask it.
        issuer: whose tokens, as `iss` says it.
        spared: subjects of that issuer that are never denied: those that mcp-soar itself comes as.
        canary: a token of ours that servers go on taking: one that turns anybody away does not look contained then.
        longest: how long a token that says no end of its own is denied.
        skew: how far the issuer's clock may be from ours.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"token", "subject"})

    file: Line
    url: Url
    issuer: Line
    spared: tuple[Name, ...] = ()
    canary: Secret | None = None
    longest: Seconds = 24 * 3600.0
    skew: float = Field(default=300.0, ge=0, le=3600)

    @override
    def address(self) -> str:
        return f"{self.file} {self.issuer}"

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        return {"subject": frozenset(self.spared)}

    @override
    def role(self, id_: str) -> str:
        return "who mcp-soar comes as" if id_ in self.spared else super().role(id_)


class Subject(Account):
    """A principal as an issuer's tokens call it.

    Args:
        user: as `sub` says it.
        tokens: ids by which alerts name its tokens; made up where nothing is said.
        held: JWTs of it that we hold, by a name.
        resource: an MCP address at which they are used: whether it turns them away is asked there.
    """

    resource: Url | None = None

    @model_validator(mode="before")
    @classmethod
    def _have_ids(cls, value: Any) -> Any:  # noqa: ANN401  # whatever is written
        return with_ids(value, "held")

    @override
    def objects(self) -> Mapping[str, Collection[str]]:
        return {"subject": (self.user,)}


def _lists(inventory: Inventory) -> dict[str, DenyList]:
    return {name: one for name, one in inventory.systems.items() if isinstance(one, DenyList)}


def _secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
    for name, one in _lists(inventory).items():
        if one.canary:
            yield f"systems.{name}.canary", one.canary
    for who, name, at in places(inventory, Subject):
        yield from ((f"principals.{who}.places.{name}.held.{label}", place) for label, place in at.held.items())


def _works() -> Works:
    from integrations.systems.denylist.works import WORKS  # noqa: PLC0415  # imported when it is first needed

    return WORKS


SYSTEM = System(
    kind=KIND,
    title="a deny list",
    works=_works,
    words=written(__name__),
    settings=DenyList,
    account=Subject,
    places=lambda inventory: (f"{KIND}/{name}" for name in _lists(inventory)),
    secrets=_secrets,
)
