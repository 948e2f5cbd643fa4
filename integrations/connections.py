"""The connections that the inventory names, each made when it is first used."""

import asyncio
from typing import Any, Self, TypeVar

from integrations.system import Systems
from playbooks.estate.inventory import Inventory

S = TypeVar("S")


class Connections:
    """What steps may reach: implements `playbooks.action.World`. It belongs to one event loop.

    All readings of an inventory share what is open, by kind, name and place: a case that began with an earlier reading
    ends with it, and closing any of them closes everything.

    Args:
        inventory: what exists.
        systems: what there is to act on.
    """

    def __init__(self, inventory: Inventory, systems: Systems) -> None:
        self._inventory = inventory
        self._systems = systems
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
        found, how = self._systems.connection(kind, self._inventory, name)
        key = (found, name, repr(how.place(self._inventory, name)))
        if key not in self._open:
            self._open[key] = how.make(self._inventory, name)
        connection: S = self._open[key]
        return connection

    async def warm(self) -> None:
        """Do what each place of each system has done ahead of need, so that the first containment does not wait for it.

        Raises:
            SoarError: one of them does not answer; all others are done.
        """
        waiting = [one for works in self._systems.works.values() for one in works.warm(self)]
        for failure in await asyncio.gather(*waiting, return_exceptions=True):
            if failure is not None:
                raise failure

    def with_inventory(self, inventory: Inventory) -> Self:
        """Return connections over another reading of the inventory, which share what is open with these."""
        fresh = type(self)(inventory, self._systems)
        fresh._open = self._open  # noqa: SLF001  # of the same class
        return fresh

    async def aclose(self) -> None:
        """Close every connection, of all readings."""
        everything = list(self._open.values())
        self._open.clear()
        for connection in everything:
            await connection.aclose()
