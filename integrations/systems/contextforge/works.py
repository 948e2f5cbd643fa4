"""How a ContextForge gateway is reached, and what can be done there."""

from collections.abc import Awaitable, Iterator
from typing import Final

from integrations.protocol.client import McpEndpoint
from integrations.secret import secret
from integrations.system import Connection, Works
from integrations.systems.contextforge.actions import ACTIONS
from integrations.systems.contextforge.affected import Affected
from integrations.systems.contextforge.canary import Canary
from integrations.systems.contextforge.captures import CAPTURES
from integrations.systems.contextforge.client import ContextForge
from integrations.systems.contextforge.doctor import doctor
from integrations.systems.contextforge.importing import look_through
from integrations.systems.contextforge.present import GatewayPresent
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.inventory import Gateway, Inventory


def _gateway(inventory: Inventory, name: str) -> Gateway:
    if name not in inventory.gateways:
        known = ", ".join(sorted(inventory.gateways)) or "none"
        raise Misconfigured(f"the inventory has no gateway {name!r}; it has: {known}")
    return inventory.gateways[name]


def _contextforge(inventory: Inventory, name: str) -> ContextForge:
    gateway = _gateway(inventory, name)
    return ContextForge(name, gateway, secret(gateway.password, what=f"gateways.{name}.password"))


def _canary(inventory: Inventory, name: str) -> Canary:
    canary = _gateway(inventory, name).canary
    token = secret(canary.token, what=f"gateways.{name}.canary.token")
    label = f"client side of gateway {name}"
    return Canary(McpEndpoint(label, canary.url, principal=f"canary {canary.principal}", token=token))


def _affected(inventory: Inventory, name: str) -> Affected:
    who, _, label = name.partition("/")
    principal = inventory.principals.get(who)
    if principal is None or label not in principal.held:
        raise Misconfigured("no such token of that principal is held", field=f"principals.{who}.held.{label}")
    token = secret(principal.held[label], what=f"principals.{who}.held.{label}")
    url = _gateway(inventory, principal.gateway).canary.url
    place = f"client side of gateway {principal.gateway}"
    return Affected(McpEndpoint(place, url, principal=f"principal {who}", token=token))


def _at(inventory: Inventory, name: str) -> object:
    return inventory.gateways.get(name)


def _of_principal(inventory: Inventory, name: str) -> object:
    principal = inventory.principals.get(name.partition("/")[0])
    return principal and (principal, inventory.gateways.get(principal.gateway))


def _warm(world: World) -> Iterator[Awaitable[None]]:
    yield from (_sign_in(world, name) for name in world.inventory.gateways)


async def _sign_in(world: World, name: str) -> None:
    await world.reach(ContextForge, name).warm()


WORKS: Final = Works(
    steps=(*ACTIONS, *CAPTURES),
    connections={
        ContextForge: Connection(_contextforge, _at),
        Canary: Connection(_canary, _at),
        Affected: Connection(_affected, _of_principal),
    },
    warm=_warm,
    doctor=doctor,
    present=GatewayPresent,
    imports=look_through,
)
