"""How gateways of one product are reached, and what can be done there."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from integrations.estate import Survey, Surveyed
from integrations.gateways.affected import Affected
from integrations.gateways.canary import Canary
from integrations.gateways.driver import GatewayDriver, driver_at
from integrations.gateways.present import GatewayPresent
from integrations.gateways.steps import steps_of
from integrations.protocol.client import McpEndpoint
from integrations.secret import secret
from integrations.settings import Asks
from integrations.system import Connection, Holders, Looked, Works
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.estate.gateway import Gateway, GatewayAccount
from playbooks.estate.inventory import Inventory
from playbooks.text.sentences import say


@dataclass(frozen=True)
class Product:
    """How gateways of one product are reached.

    Args:
        kind: as inventory.yaml names it.
        driver: its administration, made of a name, its settings and the administrator's password.
        canary: its client side.
        endpoint: how that is spoken to.
    """

    kind: str
    driver: Callable[[str, Gateway, str], GatewayDriver]
    canary: Callable[[McpEndpoint], Canary]
    endpoint: type[McpEndpoint] = McpEndpoint

    def works(
        self,
        driver: type[GatewayDriver],
        canary: type[Canary],
        *,
        doctor: Callable[[World, Holders], Iterable[tuple[str, AsyncIterator[Looked]]]],
        imports: Callable[[Survey], Coroutine[Any, Any, Surveyed]],
        configuration: Callable[[World], Asks] = lambda _: {},
    ) -> Works:
        """Return how they work.

        Args:
            driver: the class of its administration.
            canary: that of its client side.
            doctor: what `doctor` looks at there.
            imports: what `inventory import` asks there.
            configuration: what the check `configuration` asks there.
        """
        return Works(
            steps=steps_of(driver.rights),
            permissions={step: rights.asks for step, rights in driver.rights.items()},
            connections={
                driver: Connection(self._administration, self._at),
                canary: Connection(self._client_side, self._of_client),
                Affected: Connection(self._affected, self._of_principal),
            },
            warm=self._warm,
            doctor=doctor,
            present=GatewayPresent,
            imports=imports,
            configuration=configuration,
        )

    def _settings(self, inventory: Inventory, name: str) -> Gateway:
        known = inventory.gateways_of(self.kind)
        if name not in known:
            there = ", ".join(sorted(inventory.gateways)) or "none"
            raise Misconfigured(f"the inventory has no gateway {name!r}; it has: {there}")
        return known[name]

    def _administration(self, inventory: Inventory, name: str) -> GatewayDriver:
        gateway = self._settings(inventory, name)
        return self.driver(name, gateway, secret(gateway.password, what=f"systems.{name}.password"))

    def _client_side(self, inventory: Inventory, name: str) -> Canary:
        if "/" in name:
            # A client that is not ours asks the same questions.
            return self.canary(self._client(inventory, name))
        ours = self._settings(inventory, name).canary
        token = secret(ours.token, what=f"systems.{name}.canary.token")
        label = f"client side of gateway {name}"
        return self.canary(self.endpoint(label, ours.url, principal=say("canary {a}", a=ours.principal), token=token))

    def _affected(self, inventory: Inventory, name: str) -> Affected:
        return Affected(self._client(inventory, name))

    def _client(self, inventory: Inventory, name: str) -> McpEndpoint:
        """Return the client side as a principal sees it that is not ours, by its name and that of a held token."""
        who, _, label = name.partition("/")
        gateway, account = _account(inventory, who)
        what = f"principals.{who}.places.{gateway}.held.{label}"
        if account is None or label not in account.held:
            raise Misconfigured("no such token of that principal is held", field=what)
        token = secret(account.held[label], what=what)
        url = self._settings(inventory, gateway).canary.url
        place = f"client side of gateway {gateway}"
        return self.endpoint(place, url, principal=say("principal {a}", a=who), token=token)

    def _at(self, inventory: Inventory, name: str) -> object:
        return inventory.gateways_of(self.kind).get(name)

    def _of_principal(self, inventory: Inventory, name: str) -> object:
        gateway, account = _account(inventory, name.partition("/")[0])
        place = self._at(inventory, gateway)
        return account and place and (account, place)

    def _of_client(self, inventory: Inventory, name: str) -> object:
        return self._of_principal(inventory, name) if "/" in name else self._at(inventory, name)

    def _warm(self, world: World) -> Iterator[Awaitable[None]]:
        yield from (_sign_in(world, name) for name in world.inventory.gateways_of(self.kind))


async def _sign_in(world: World, name: str) -> None:
    await driver_at(name, world).warm()


def _account(inventory: Inventory, who: str) -> tuple[str, GatewayAccount | None]:
    principal = inventory.principals.get(who)
    account = principal.gateway if principal else None
    return account or ("GATEWAY", None)
