"""What inventory.yaml says of a system, and of where a server or a principal stands on it: each kind has its models.

`Inventory` is read with those models in its context, by `kinds`: what names another kind, or a place that its kind does
not know, is refused where it is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, LiteralString, NamedTuple, Self, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from playbooks.strict import Line, Name, Slug, Strict
from playbooks.taxonomy import EntityKind

if TYPE_CHECKING:
    from playbooks.estate.inventory import Inventory

T = TypeVar("T")

KINDS = "kinds"
"""Where the context has the models, by kind."""


class Secret(Strict):
    """Where a secret is found: an environment variable or a file. Its value never stands in a configuration file."""

    env: Name | None = None
    file: Line | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.env is None) == (self.file is None):
            message = "write exactly one of `env: VARIABLE` or `file: path`"
            raise ValueError(message)
        return self


class SystemSettings(Strict, ABC):
    """How a system is reached. Every kind adds its fields.

    Args:
        kind: which kind of system it is.
    """

    kinds: ClassVar[frozenset[str]] = frozenset()
    """The kinds of object that it has, as a plan's target names them: nothing else there is ever a target."""

    kind: Slug

    @property
    def sort(self) -> str:
        """What a plan's target calls systems of its sort, several kinds of which may do the same: `gateway`."""
        return self.kind

    @abstractmethod
    def address(self) -> str:
        """Return where it is, in one spelling: two systems of a kind that say the same are one place."""

    @abstractmethod
    def ours(self, name: str, inventory: "Inventory") -> Mapping[str, frozenset[str]]:
        """Return what there is mcp-soar's own and therefore never a target, by kind of object: ids.

        Args:
            name: what the inventory calls the system.
            inventory: what else it says.
        """

    def role(self, id_: str) -> str:
        """Return what something of ours there is to us.

        Args:
            id_: one that `ours` has.
        """
        del id_
        return "a credential of it"


class Place(Strict):
    """Where a server or a principal stands on a system. Every kind has its own fields."""

    def objects(self) -> Mapping[str, Collection[str]]:
        """Return what it itself is there, by kind of object, as a plan's target has them: ids."""
        return {}

    def credentials(self) -> Mapping[str, Collection[str]]:
        """Return what it is let in with there, likewise."""
        return {}

    def known_by(self) -> Mapping[EntityKind, Collection[str]]:
        """Return what alerts call it there, by kind of entity."""
        return {}


class KindModels(NamedTuple):
    """The models of a kind of system.

    Args:
        settings: of the system itself.
        place: of a server's place on it; None if no server has one.
        account: of a principal's, likewise.
    """

    settings: type[SystemSettings]
    place: type[Place] | None
    account: type[Place] | None = None


def kinds(info: ValidationInfo) -> Mapping[str, KindModels]:
    """Return the kinds that are known where something is read."""
    found: Mapping[str, KindModels] = (info.context or {}).get(KINDS, {})
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


def placed(
    things: Any,  # noqa: ANN401  # whatever stands there
    systems: Mapping[str, SystemSettings] | None,
    info: ValidationInfo,
    rest: Callable[[Any], T],
) -> T:
    """Return servers or principals as they are read, the places of each by the models of their systems.

    Args:
        things: what is written of them, by name.
        systems: those of the inventory; None if they could not be read, and no place can be.
        info: of the reading.
        rest: reads the rest of them.

    Raises:
        ValidationError: with each field that is wrong, and what there is.
    """
    if not isinstance(things, Mapping):
        return rest(things)
    reading = _Reading(systems, kinds(info), info.field_name or "")
    read = {name: reading.thing(str(name), one) for name, one in things.items()}
    try:
        made = rest(read)
        if not reading.faults:
            return made
    except ValidationError as exc:
        for one in exc.errors(include_url=False):
            reading.fault(one["loc"], one["msg"], one["input"], kind=one["type"])
    raise ValidationError.from_exception_data(reading.field, reading.faults)


_SAID = {"extra_forbidden": "is not a field here", "missing": "is missing"}


class _Reading:
    """Places as they are read.

    Args:
        systems: those of the inventory; None if they could not be read, and no place can be.
        known: the kinds' models.
        field: the inventory's, `servers` or `principals`.
    """

    def __init__(
        self, systems: Mapping[str, SystemSettings] | None, known: Mapping[str, KindModels], field: str
    ) -> None:
        self.systems, self.known, self.field = systems, known, field
        self.faults: list[InitErrorDetails] = []

    def thing(self, name: str, one: Any) -> Any:  # noqa: ANN401  # whatever stands there
        places = one.get("places") if isinstance(one, Mapping) else None
        if not isinstance(places, Mapping):
            return one
        read = {at: self._place((name, "places", str(at)), value) for at, value in places.items()}
        # What is wrong is said once.
        return {**one, "places": {at: place for at, place in read.items() if place is not None}}

    def _place(self, where: tuple[str, ...], value: object) -> object:
        if self.systems is None:
            return None
        found, whose = self.systems.get(where[-1]), self.field.removesuffix("s")
        if found is None:
            there = ", ".join(sorted(self.systems)) or "none"
            self.fault(where, f"no system is called {where[-1]!r}; there is {there}", value)
            return None
        if isinstance(value, Place):
            return value
        kind = self.known[found.kind]
        model = kind.place if whose == "server" else kind.account
        if model is None:
            self.fault(where, f"no {whose} has a place on a {found.kind}", value)
            return None
        try:
            return model.model_validate(value)
        except ValidationError as exc:
            fields = ", ".join(model.model_fields) or "nothing"
            for one in exc.errors(include_url=False):
                said = _SAID.get(one["type"], one["msg"].removeprefix("Value error, "))
                said = f"{said}; a {whose}'s place on a {found.kind} has {fields}"
                self.fault((*where, *one["loc"]), said, one["input"])
        return None

    def fault(self, where: tuple[str | int, ...], message: str, value: object, kind: LiteralString = "place") -> None:
        fault = PydanticCustomError(kind, "{said}", {"said": message})
        self.faults.append(InitErrorDetails(type=fault, loc=where, input=value))


def names_of(places: Mapping[str, Place], kind: EntityKind) -> Iterator[str]:
    """Yield what alerts call whoever has those places."""
    for place in places.values():
        yield from place.known_by().get(kind, ())


Url = Annotated[str, Field(pattern=r"^https?://[^\s@]+$", max_length=2000)]
"""An http or https address without credentials in it."""
