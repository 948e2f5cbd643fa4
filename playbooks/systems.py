"""What inventory.yaml says of a system, and of where a server stands on it: each kind of system has models of its own.

`Inventory` is read with those models in its context, by `kinds`: what names another kind, or a place that its kind does
not know, is refused where it is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, SerializeAsAny, ValidationError, ValidationInfo

from playbooks.strict import Slug, Strict

if TYPE_CHECKING:
    from playbooks.inventory import Inventory

KINDS = "kinds"
"""Where the context has the models, by kind."""


class SystemSettings(Strict, ABC):
    """How a system is reached. Every kind adds its fields.

    Args:
        kind: which kind of system it is.
    """

    kind: Slug

    @abstractmethod
    def ours(self, name: str, inventory: "Inventory") -> Mapping[str, frozenset[str]]:
        """Return what there is mcp-soar's own and therefore never a target, by kind of object: ids.

        Args:
            name: what the inventory calls the system.
            inventory: what else it says.
        """


class Place(Strict):
    """Where a server stands on a system. Every kind has its own fields."""


class Kind(NamedTuple):
    """The models of a kind of system.

    Args:
        settings: of the system itself.
        place: of a server's place on it.
    """

    settings: type[SystemSettings]
    place: type[Place]


def kinds(info: ValidationInfo) -> Mapping[str, Kind]:
    """Return the kinds that are known where something is read."""
    found: Mapping[str, Kind] = (info.context or {}).get(KINDS, {})
    return found


def _settings(value: object, info: ValidationInfo) -> object:
    if isinstance(value, SystemSettings):
        return value
    kind = str(value.get("kind")) if isinstance(value, Mapping) else ""
    known = kinds(info)
    if kind not in known:
        message = f"kind: there is no kind of system {kind!r}; there is {', '.join(sorted(known)) or 'none'}"
        raise ValueError(message)
    return known[kind].settings.model_validate(value)


AnySettings = Annotated[SerializeAsAny[SystemSettings], BeforeValidator(_settings)]
AnyPlace = SerializeAsAny[Place]


def placed(servers: Any, systems: Mapping[str, SystemSettings], info: ValidationInfo) -> Any:  # noqa: ANN401  # whatever stands there
    """Return servers as they are written, with the places of each read by the models of their systems.

    Args:
        servers: by name.
        systems: those of the inventory.
        info: of the reading.

    Raises:
        ValueError: it begins with the field that is wrong.
    """
    if not isinstance(servers, Mapping):
        return servers
    return {name: _placed(name, one, systems, info) for name, one in servers.items()}


def _placed(name: object, server: Any, systems: Mapping[str, SystemSettings], info: ValidationInfo) -> Any:  # noqa: ANN401  # likewise
    places = server.get("places") if isinstance(server, Mapping) else None
    if not isinstance(places, Mapping):
        return server
    read: dict[Any, Place] = {}
    for system, place in places.items():
        where = f"{name}.places.{system}"
        if system not in systems:
            message = f"{where}: no system is called {system!r}; there is {', '.join(sorted(systems)) or 'none'}"
            raise ValueError(message)
        model = kinds(info)[systems[system].kind].place if not isinstance(place, Place) else type(place)
        try:
            read[system] = model.model_validate(place)
        except ValidationError as exc:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in exc.errors())
            known = ", ".join(model.model_fields) or "nothing"
            message = f"{where}: {wrong}; a place on a {systems[system].kind} has {known}"
            raise ValueError(message) from exc
    return {**server, "places": read}
