"""What a system says of itself. Step names, connections, secrets, and what looks after it follow from a list of these.

A description is cheap to import: how the system works, its clients among it, is imported when it is first needed.
"""

import difflib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic import JsonValue

from integrations.estate import Survey, Surveyed
from playbooks.action import Action, Capture, Check, World
from playbooks.contacts import Language
from playbooks.errors import Misconfigured
from playbooks.inventory import Inventory, Secret
from playbooks.policy import OURSELVES
from playbooks.sentences import Pairs, Sentences, read
from playbooks.systems import KINDS, Kind, Place, SystemSettings

S = TypeVar("S")

AnyStep = type[Action] | type[Capture] | type[Check]


class Looked(NamedTuple):
    """One thing that `doctor` looked at.

    Args:
        check: what.
        level: ok, warn or fail.
        message: what was found.
        remedy: what to do about it; empty if nothing has to be done.
    """

    check: str
    level: str
    message: str
    remedy: str = ""


class Expected(NamedTuple):
    """An object of which inventory or pins say how it is unless an incident holds it.

    Args:
        kind: what it is, as a plan's target says it.
        id: its immutable id there.
        field: which of its fields says whether it is in use.
        value: what that is then.
        name: what people call it.
        file: which file says so.
        gone: what to do if it is not there at all.
        otherwise: what it is if the field is another, as `disabled`.
        again: what to do then.
        server: whose it is.
    """

    kind: str
    id: str
    field: str
    value: JsonValue
    name: str
    file: str
    gone: str
    otherwise: str
    again: str
    server: str | None = None

    def grip(self, system: str) -> str:
        """Return what a hold on it is called, as a plan's change calls it."""
        return f"{system}/{self.kind}/{self.id}#{self.field}"


class Present(ABC):
    """What is really there at one place of a system: for `doctor --orphans`."""

    @abstractmethod
    async def look(self) -> Sequence[Expected]:
        """Ask for everything there, and return what should be in use."""

    @abstractmethod
    async def value(self, kind: str, id_: str) -> JsonValue:
        """Return the field of an object that says whether it is in use; None if there is no such object."""


class Connection(NamedTuple):
    """How to connect to something.

    Args:
        make: makes the connection of that name; raises `Misconfigured` if the inventory has none.
        place: what of the inventory it depends on, None if the name is not there: where that differs, it is another
            connection.
    """

    make: Callable[[Inventory, str], Any]
    place: Callable[[Inventory, str], object]


@dataclass(frozen=True)
class Works:
    """How a system works.

    Args:
        steps: its actions, captures and checks.
        connections: how to connect to it, by the class of what is returned.
        warm: what is done ahead of need, place by place, so that the first containment does not wait for it.
        doctor: what `doctor` looks at, in groups: what each is about, and what is found, asked one after the other.
        present: how to look at what is really there, by the place as a plan's target names it.
        imports: what `inventory import` asks, of a gateway.
    """

    steps: tuple[AnyStep, ...]
    connections: Mapping[type, Connection]
    warm: Callable[[World], Iterable[Awaitable[None]]] = lambda _: ()
    doctor: Callable[[World], Iterable[tuple[str, AsyncIterator[Looked]]]] = lambda _: ()
    present: Callable[[World, str], Present] | None = None
    imports: Callable[[Survey], Coroutine[Any, Any, Surveyed]] | None = None


@dataclass(frozen=True)
class System:
    """What a system says of itself.

    Args:
        kind: what it is called.
        works: imports how it works.
        settings: the model of how it is reached, which also knows what there is ours; None if nothing acts there.
        place: the model of where a server stands on it, if inventory.yaml has it among `systems`.
        words: what it says in other languages than English: in its plans, and of what it found.
        places: where an inventory has it, as a plan's target names it: `gateway/main`.
        secrets: the secrets that it is reached with, each with the field of inventory.yaml that says where it is.
    """

    kind: str
    works: Callable[[], Works]
    words: Callable[[], Mapping[Language, Pairs]] | None = None
    settings: type[SystemSettings] | None = None
    place: type[Place] | None = None
    places: Callable[[Inventory], Iterable[str]] = lambda _: ()
    secrets: Callable[[Inventory], Iterable[tuple[str, Secret]]] = lambda _: ()


_TAKEN = OURSELVES | {"gateway"}


class Systems:
    """All systems there are.

    Args:
        systems: each once.

    Raises:
        Misconfigured: two are called the same, or one lacks what nobody else can know of it.
    """

    def __init__(self, systems: Sequence[System]) -> None:
        self.all = tuple(systems)
        for system in self.all:
            if system.words is None:
                raise Misconfigured(f"system {system.kind} has no words but English: nobody else knows what it says")
            if system.settings and getattr(system.settings.ours, "__isabstractmethod__", False):
                raise Misconfigured(f"system {system.kind} does not say what is ours there: {system.settings.__name__}")
            if system.place and system.kind in _TAKEN:
                raise Misconfigured(f"no system can be called {system.kind}: that is what is mcp-soar's, or a gateway")
            if sum(other.kind == system.kind for other in self.all) > 1:
                raise Misconfigured(f"two systems are called {system.kind}")

    @cached_property
    def works(self) -> Mapping[str, Works]:
        """How each works, by its kind.

        Raises:
            Misconfigured: one acts, and nothing says what there is ours.
        """
        found = {system.kind: system.works() for system in self.all}
        for system in self.all:
            if system.settings is None and any(issubclass(step, Action) for step in found[system.kind].steps):
                raise Misconfigured(f"system {system.kind} acts, and does not say what is ours there")
        return MappingProxyType(found)

    @cached_property
    def steps(self) -> Mapping[str, AnyStep]:
        """Every step that a playbook can name."""
        found: dict[str, AnyStep] = {}
        for kind, works in self.works.items():
            for step in works.steps:
                if not step.__doc__:
                    raise Misconfigured(f"system {kind} has no words for {step.name}: its docstring says what it does")
                if step.name in found:
                    raise Misconfigured(f"system {kind}: another step is called {step.name}")
                found[step.name] = step
        return MappingProxyType(found)

    def step(self, name: str) -> AnyStep:
        """Return the step of that name.

        Raises:
            Misconfigured: if there is none; says which ones come close.
        """
        if name in self.steps:
            return self.steps[name]
        near = difflib.get_close_matches(name, self.steps) or sorted(self.steps)
        raise Misconfigured(f"there is no step {name!r}; did you mean {', '.join(near)}?")

    def connection(self, kind: type[S], inventory: Inventory, name: str) -> tuple[type[S], Connection]:
        """Return how to connect to something of a name, and what that is.

        Args:
            kind: what is wanted: a class, or one that several systems have a driver of.
            inventory: says whose the name is.
            name: what is wanted, by its name there.

        Raises:
            Misconfigured: nothing here does.
        """
        ways = [way for works in self.works.values() for way in works.connections.items() if issubclass(way[0], kind)]
        if not ways:
            raise Misconfigured(f"nothing here connects to a {kind.__name__}")
        # Where nobody knows the name, whoever is asked says so.
        return next((way for way in ways if way[1].place(inventory, name) is not None), ways[0])

    @cached_property
    def words(self) -> Sentences:
        """What the systems say, in other languages than English.

        Raises:
            Misconfigured: one has no words in one of them.
        """
        spoken: dict[Language, list[tuple[str, str]]] = {lang: [] for lang in Language if lang is not Language.EN}
        for system in self.all:
            words = system.words() if system.words else {}
            for language, already in spoken.items():
                if not words.get(language):
                    raise Misconfigured(f"system {system.kind} has no words in {language}")
                already.extend(words[language])
        return Sentences(spoken)

    @property
    def context(self) -> dict[str, Mapping[str, Kind]]:
        """What an inventory is read with: the models of each kind of system that it lists."""
        models = ((system.kind, system.settings, system.place) for system in self.all)
        return {KINDS: {kind: Kind(settings, place) for kind, settings, place in models if settings and place}}

    def doctor(self, world: World) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
        """Yield what `doctor` looks at of every system, in groups that it may ask side by side."""
        for works in self.works.values():
            yield from works.doctor(world)

    def present(self, inventory: Inventory) -> dict[str, Callable[[World], Present]]:
        """Return how to look at what is really there, for every place that can be looked at."""
        return {
            place: partial(_present, look, place)
            for system in self.all
            if (look := self.works[system.kind].present) is not None
            for place in system.places(inventory)
        }

    @cached_property
    def importers(self) -> Mapping[str, Callable[[Survey], Coroutine[Any, Any, Surveyed]]]:
        """What `inventory import` asks, by the kind of gateway."""
        return {kind: works.imports for kind, works in self.works.items() if works.imports is not None}

    def secrets(self, inventory: Inventory) -> Iterator[tuple[str, Secret]]:
        """Yield every secret that a system of an inventory is reached with, and the field that says where it is."""
        for system in self.all:
            yield from system.secrets(inventory)


def written(package: str) -> Callable[[], Mapping[Language, Pairs]]:
    """Return what reads a system's words, from the files `words.LANGUAGE.yaml` beside it.

    Args:
        package: where they are.
    """

    def words() -> dict[Language, Pairs]:
        beside = {language: files(package) / f"words.{language}.yaml" for language in Language}
        found = {language: file for language, file in beside.items() if file.is_file()}
        return {lang: read(file.read_text("utf-8"), file=f"{package}/{file.name}") for lang, file in found.items()}

    return words


def _present(look: Callable[[World, str], Present], place: str, world: World) -> Present:
    return look(world, place)
