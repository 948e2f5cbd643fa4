"""The connections that the inventory names, each made when it is first used."""

from collections.abc import Callable
from typing import Any, Self, TypeVar

from integrations.secret import secret
from integrations.systems.contextforge.affected import Affected
from integrations.systems.contextforge.canary import Canary
from integrations.systems.contextforge.client import ContextForge
from integrations.systems.mcp.client import McpEndpoint
from playbooks.errors import Misconfigured
from playbooks.inventory import Gateway, Inventory

S = TypeVar("S")


class Connections:
    """What steps may reach: implements `playbooks.action.World`. It belongs to one event loop.

    All readings of an inventory share what is open, by kind, name and place: a case that began with an earlier reading
    ends with it, and closing any of them closes everything.

    Args:
        inventory: what exists.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._open: dict[tuple[type, str, str], Any] = {}

    @property
    def inventory(self) -> Inventory:
        """The servers that exist, with their approved pins."""
        return self._inventory

    def reach(self, kind: type[S], name: str) -> S:
        """Return the connection of that kind and name.

        Raises:
            Misconfigured: if the inventory has none, or its secret is not to be found.
        """
        key = (kind, name, repr(_place(self._inventory, kind, name)))
        if key not in self._open:
            if kind not in _BUILDERS:
                raise Misconfigured(f"nothing here connects to a {kind.__name__}")
            self._open[key] = _BUILDERS[kind](self._inventory, name)
        connection: S = self._open[key]
        return connection

    async def warm(self) -> None:
        """Sign in to every gateway ahead of need, so that the first containment does not wait for it."""
        for name in self._inventory.gateways:
            await self.reach(ContextForge, name).warm()

    def with_inventory(self, inventory: Inventory) -> Self:
        """Return connections over another reading of the inventory, which share what is open with these."""
        fresh = type(self)(inventory)
        fresh._open = self._open  # noqa: SLF001  # of the same class
        return fresh

    async def aclose(self) -> None:
        """Close every connection, of all readings."""
        everything = list(self._open.values())
        self._open.clear()
        for connection in everything:
            await connection.aclose()


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


def _direct(inventory: Inventory, name: str) -> McpEndpoint:
    server = inventory.servers.get(name)
    if server is None or not server.direct:
        raise Misconfigured(
            "the inventory has no such server" if server is None else "add the server's own MCP address",
            field=f"servers.{name}.url",
        )
    url, command = server.url or "", () if server.url else server.command
    return McpEndpoint(f"server {name}", url, principal="nobody in particular", command=command)


_BUILDERS: dict[type, Callable[[Inventory, str], Any]] = {
    ContextForge: _contextforge,
    Canary: _canary,
    Affected: _affected,
    McpEndpoint: _direct,
}


def _place(inventory: Inventory, kind: type, name: str) -> object:
    if kind is McpEndpoint:
        server = inventory.servers.get(name)
        return server and (server.url, server.command)
    if kind is Affected:
        principal = inventory.principals.get(name.partition("/")[0])
        return principal and (principal, inventory.gateways.get(principal.gateway))
    return inventory.gateways.get(name)
