"""What a gateway says of itself, whichever product it is: cheap to import."""

from collections.abc import Callable, Iterator

from integrations.system import System, Works, written
from playbooks.estate.gateway import Account, Entry, Gateway, GatewayAccount
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Secret


def gateway_system(kind: str, title: str, works: Callable[[], Works], package: str) -> System:
    """Return the description of a product.

    Args:
        kind: as inventory.yaml names it.
        title: as people call it.
        works: imports how it works.
        package: its folder, where the words are that only it needs.
    """

    def secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
        for name, gateway in inventory.gateways_of(kind).items():
            yield f"systems.{name}.password", gateway.password
            yield f"systems.{name}.canary.token", gateway.canary.token
            for who, principal in inventory.principals.items():
                held = at.held if isinstance(at := principal.places.get(name), Account) else {}
                yield from ((f"principals.{who}.places.{name}.held.{label}", place) for label, place in held.items())

    def places(inventory: Inventory) -> Iterator[str]:
        yield from map(inventory.at, inventory.gateways_of(kind))

    return System(
        kind=kind,
        title=title,
        works=works,
        words=written(package, "integrations.gateways"),
        settings=Gateway,
        place=Entry,
        account=GatewayAccount,
        places=places,
        secrets=secrets,
    )
