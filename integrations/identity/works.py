"""How a product is reached, and what can be done at any provider."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Final

from integrations.identity.actions import ACTIONS, RevokeToken, RevokeTokens
from integrations.identity.captures import CAPTURES, CaptureTokens
from integrations.identity.client import Api
from integrations.identity.doctor import looked
from integrations.identity.provider import Provider
from integrations.identity.settings import asks
from integrations.secret import secret
from integrations.settings import Asks
from integrations.system import AnyStep, Connection, Holders, Looked, Works
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory

_ASKS: Final = "introspection_endpoint: ask about tokens of others"
_REVOKES: Final = (
    _ASKS,
    "revocation_endpoint: revoke tokens of others, or as the client that they were issued to",
    "token_endpoint: try a refresh token, as the client that it was issued to",
    "userinfo_endpoint: try an access token",
)
PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    RevokeToken.name: _REVOKES,
    RevokeTokens.name: _REVOKES,
    CaptureTokens.name: (_ASKS,),
}

Asked = Callable[[World, str], Asks]
Doctor = Callable[[World, str], AsyncIterator[Looked]]


def provider_works(
    kind: str, api: type[Api] = Api, *, steps: tuple[AnyStep, ...] = (), doctor: Doctor = looked, asked: Asked = asks
) -> Works:
    """Return how a product works.

    Args:
        kind: as inventory.yaml names it.
        api: the way to one.
        steps: what only it has, beside what any provider has.
        doctor: looks at one, by its name.
        asked: what the check `configuration` asks of one, by its name.
    """

    def settings(inventory: Inventory, name: str) -> Provider | None:
        found = inventory.systems.get(name)
        return found if isinstance(found, Provider) and found.kind == kind else None

    def names(inventory: Inventory) -> Iterator[str]:
        yield from (name for name in inventory.systems if settings(inventory, name))

    def make(inventory: Inventory, name: str) -> Api:
        found = settings(inventory, name)
        if found is None:
            raise Misconfigured(f"the inventory has no provider {name!r}")
        return api(name, found, secret(found.secret, what=f"systems.{name}.secret"))

    async def described(world: World, name: str) -> None:
        await world.reach(api, name).described()

    def warm(world: World) -> Iterator[Awaitable[None]]:
        yield from (described(world, name) for name in names(world.inventory))

    def looks(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
        del holders  # nothing there is out of use for an incident's sake that anybody could take for a fault
        yield from ((f"provider {name}", doctor(world, name)) for name in names(world.inventory))

    return Works(
        steps=(*ACTIONS, *CAPTURES, *steps),
        permissions=PERMISSIONS,
        connections={api: Connection(make, settings)},
        warm=warm,
        doctor=looks,
        configuration=lambda world: {
            what: ask for name in names(world.inventory) for what, ask in asked(world, name).items()
        },
    )
