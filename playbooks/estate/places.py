"""Where what an incident is about stands on the systems of one kind, as the inventory has it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from playbooks.estate.inventory import Inventory, Resolved
from playbooks.estate.systems import Place
from playbooks.record.incident import EntityKind
from playbooks.text.sentences import say

GATEWAY: Final = "gateway"
"""What a step says that has its place at whichever product of a gateway."""


@dataclass(frozen=True, slots=True)
class Places:
    """Looks places up.

    Args:
        inventory: what there is.
        titles: what each kind of system calls itself.
    """

    inventory: Inventory
    titles: Mapping[str, str] = field(default_factory=dict)

    def of(self, entity: Resolved, kind: str) -> list[Resolved]:
        """Return an entity at each of its places, or of those of its server or its principal.

        Args:
            entity: of an incident.
            kind: of system, or `gateway`. Nobody stands at two of those, so that nothing says at which.
        """
        if kind == GATEWAY:
            return [entity] if self._of(entity).keys() & self.inventory.gateways.keys() else []
        names = sorted(self._of(entity).keys() & self._systems(kind))
        return [entity.model_copy(update={"system": name}) for name in names]

    def system(self, entity: Resolved) -> str | None:
        """Return the system that an entity at one of its places stands on: its gateway, if no other is said.

        Args:
            entity: of an incident, as `of` returns it, or one that is only ever touched at its gateway.
        """
        return entity.system or next(iter(self._of(entity).keys() & self.inventory.gateways.keys()), None)

    def systems(self, entity: Resolved) -> tuple[str, ...]:
        """Return every system that an entity, or its server or principal, has a place on.

        Args:
            entity: of an incident.
        """
        return tuple(sorted(self._of(entity)))

    def exists(self, kind: str) -> bool:
        """Whether the inventory has a system of a kind at all: what has no place is missing in nothing otherwise.

        Args:
            kind: of system, or `gateway`.
        """
        return bool(self.inventory.gateways if kind == GATEWAY else self._systems(kind))

    def _systems(self, kind: str) -> set[str]:
        return {name for name, one in self.inventory.systems.items() if kind in {one.kind, one.sort}}

    def _of(self, entity: Resolved) -> Mapping[str, Place]:
        if entity.server:
            server = self.inventory.servers.get(entity.server)
            return server.places if server else {}
        who = self.inventory.principals.get(entity.principal or "")
        if who is None or entity.kind is not EntityKind.TOKEN:
            return who.places if who else {}
        # A token is good at the one place that issued it.
        return {name: at for name, at in who.accounts.items() if entity.id in at.tokens.values()}

    def nowhere(self, entity: Resolved, kind: str) -> str:
        """Return that an entity has no such place, as a sentence.

        Args:
            entity: of an incident.
            kind: of system.
        """
        return say("{a} has no place in {b}", a=entity, b=self.titles.get(kind, kind))
