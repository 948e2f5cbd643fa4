"""Where principals are known, and how: what a system's actions find theirs by."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Place

P = TypeVar("P", bound=Place)


def places(inventory: Inventory, kind: type[P]) -> Iterator[tuple[str, str, P]]:
    """Yield principal, system and how it is known there, for every principal that has a place of a kind.

    Args:
        inventory: the inventory.
        kind: the model of such a place.
    """
    for who, one in inventory.principals.items():
        yield from ((who, name, at) for name, at in one.places.items() if isinstance(at, kind))


def only_place(
    inventory: Inventory,
    kind: type[P],
    who: str,
    system: str | None,
    *,
    none: str,
    several: str,
    among: Callable[[str], bool] = lambda _: True,
) -> tuple[str, P]:
    """Return the one system in which a principal is known in a way, and how.

    Args:
        inventory: the inventory.
        kind: the model of such a place.
        who: the principal.
        system: which; the one that there is if None.
        none: what to say if there is none.
        several: what to say if there are several.
        among: of which systems; of all by default.

    Raises:
        Misconfigured: in none, or in several and nobody says which.
    """
    mine = ((name, at) for one, name, at in places(inventory, kind) if one == who and system in {None, name})
    found = [(name, at) for name, at in mine if among(name)]
    if len(found) != 1:
        raise Misconfigured(several if found else none, field=f"principals.{who}.places")
    return found[0]
