"""The connections of an inventory, over all systems that there are."""

from integrations import registry
from integrations.connections import Connections
from playbooks.estate.inventory import Inventory


def connected(inventory: Inventory) -> Connections:
    """Return the connections that an inventory names: the one place where tests make them.

    Args:
        inventory: what exists.
    """
    return Connections(inventory, registry.SYSTEMS)
