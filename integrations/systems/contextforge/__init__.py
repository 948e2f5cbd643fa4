"""MCP gateways: what they hold, and the cuts that they can make."""

from collections.abc import Iterator

from integrations.system import System, Works, written
from playbooks.inventory import Gateway, Inventory, Secret


def _works() -> Works:
    from integrations.systems.contextforge.works import WORKS  # noqa: PLC0415  # its client takes long to import

    return WORKS


def _secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
    for name, gateway in inventory.gateways.items():
        yield f"gateways.{name}.password", gateway.password
        yield f"gateways.{name}.canary.token", gateway.canary.token
    for name, principal in inventory.principals.items():
        yield from ((f"principals.{name}.held.{label}", place) for label, place in principal.held.items())


def _places(inventory: Inventory) -> Iterator[str]:
    yield from (f"gateway/{name}" for name in inventory.gateways)


SYSTEM = System(
    kind="contextforge",
    works=_works,
    words=written(__name__),
    settings=Gateway,
    places=_places,
    secrets=_secrets,
)
