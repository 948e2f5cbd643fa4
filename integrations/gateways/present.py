"""What is really at a gateway, beside what inventory and pins say: for `doctor --orphans`."""

import asyncio
from collections.abc import Iterator
from typing import Final

from typing_extensions import override

from integrations.catalogue import Held
from integrations.gateways.driver import driver_at
from integrations.system import Expected, Present
from playbooks.action import World
from playbooks.estate.gateway import GatewayAccount
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind

_KINDS: Final = (PinKind.TOOL, PinKind.PROMPT, PinKind.RESOURCE)


class GatewayPresent(Present):
    """What a gateway says of its objects, each asked for once.

    Args:
        world: the connections.
        system: the gateway, as a plan's target names it.
    """

    def __init__(self, world: World, system: str) -> None:
        self._name = system.removeprefix("gateway/")
        self._inventory = world.inventory
        self._driver = driver_at(self._name, world)
        self._held: dict[str, Held] = {}

    @override
    async def ready(self) -> None:
        await self._driver.sign_in()

    @override
    async def look(self) -> tuple[Expected, ...]:
        kinds = await asyncio.gather(*map(self._driver.held, _KINDS))
        self._held = {held.id: held for found in kinds for held in found}
        return (*expected(self._inventory, self._name), *self._unpinned())

    @override
    async def value(self, kind: str, id_: str, field: str) -> bool | None:
        # Each has one field that says whether it is in use.
        del field
        if kind == "entry":
            entered = await self._driver.entry_at(id_)
            return entered.enabled is not False if entered is not None else None
        if kind == "user":
            return await self._driver.is_active(id_)
        if kind == "token":
            return await self._driver.is_revoked(id_, None)
        held = self._held.get(id_)
        return None if held is None or held.kind != kind else held.enabled

    def _unpinned(self) -> Iterator[Expected]:
        """Yield the tools that the inventory notes and nobody pinned, where the gateway holds them."""
        for name, server in self._inventory.servers.items():
            if server.gateway is None or server.gateway.name != self._name:
                continue
            for tool in server.tools:
                held = self._named(server.gateway.id, tool)
                if held is not None and self._inventory.pins.find(name, PinKind.TOOL, tool) is None:
                    yield _object(PinKind.TOOL, held.id, tool, name)

    def _named(self, entry: str, tool: str) -> Held | None:
        """Return the tool of a server that has a name."""
        found = (held for held in self._held.values() if (held.entry, held.name) == (entry, tool))
        return next((held for held in found if held.kind is PinKind.TOOL), None)


_REVOKED: Final = "it stays worthless: issue a new one, and write its id into inventory.yaml"
_AGAIN: Final = "whoever did it: {} it at the gateway, or have it held and watched: `mcp-soar respond`"
_ENABLE, _ACTIVATE = _AGAIN.format("enable"), _AGAIN.format("activate")
_INVENTORY: Final = {"file": "inventory.yaml", "gone": "mend inventory.yaml"}


def expected(inventory: Inventory, gateway: str) -> Iterator[Expected]:
    """Yield what should be in use at a gateway, as inventory and pins say."""
    for name, server in inventory.servers.items():
        if server.gateway is None or server.gateway.name != gateway:
            continue
        out_of_use = {"otherwise": "disabled", "again": _ENABLE, **_INVENTORY}
        yield Expected("entry", server.gateway.id, "enabled", value=True, name=name, server=name, **out_of_use)
        for pin in inventory.pins.of(name):
            if pin.kind in _KINDS and pin.gateway_id:
                yield _object(pin.kind, pin.gateway_id, pin.name, name)
    for name, principal in inventory.principals.items():
        if not isinstance(account := principal.places.get(gateway), GatewayAccount):
            continue
        out_of_use = {"otherwise": "deactivated", "again": _ACTIVATE, **_INVENTORY}
        yield Expected("user", account.user, "is_active", value=True, name=name, **out_of_use)
        out_of_use = {"otherwise": "revoked", "again": _REVOKED, **_INVENTORY}
        for label, token in account.tokens.items():
            yield Expected("token", token, "revoked", value=False, name=f"{label} of {name}", **out_of_use)


def _object(kind: PinKind, id_: str, name: str, server: str) -> Expected:
    return Expected(
        kind=kind.value,
        id=id_,
        field="enabled",
        value=True,
        name=name,
        server=server,
        file="pins.yaml",
        gone=f"`mcp-soar pins diff {server}`; approve what is there",
        otherwise="disabled",
        again=_ENABLE,
    )
