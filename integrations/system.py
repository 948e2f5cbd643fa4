"""What a system says of itself. Step names, connections, secrets, and what looks after it follow from a list of these.

A description is cheap to import: how the system works, its clients among it, is imported when it is first needed.
"""

import asyncio
import difflib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.resources import files
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pydantic import JsonValue

from integrations.estate import Survey, Surveyed
from integrations.settings import Ask, Asks
from playbooks.action import Action, Capture, Check, World
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.places import GATEWAY
from playbooks.estate.systems import KINDS, KindModels, Place, Secret, SystemSettings
from playbooks.gate.policy import OURSELVES
from playbooks.people.contacts import Language
from playbooks.text.sentences import Pairs, Sentences, alike, house, read, say

if TYPE_CHECKING:
    from integrations.journal.records import Hold

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


class Holders:
    """Which incidents hold what, for `doctor`: asked of the journal once, by whoever wants to know first.

    Args:
        ask: returns every hold; raises `SoarError` where the journal does not say.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, "Sequence[Hold]"]]) -> None:
        self._ask = ask
        self._asked: asyncio.Task[Sequence[Hold]] | None = None

    async def all(self) -> "Sequence[Hold] | None":
        """Return every hold; None if the journal does not say, of which it has a line of its own."""
        if self._asked is None:
            self._asked = asyncio.create_task(self._ask())
        try:
            # Whoever gives up waiting leaves the answer to the others.
            return await asyncio.shield(self._asked)
        except SoarError:
            return None

    async def explain(self, check: str, message: str, *grips: str, value: JsonValue, otherwise: str) -> Looked:
        """Return that something is out of use: nothing is wrong where incidents hold it so, and they are named.

        Args:
            check: what was looked at.
            message: what is out of use.
            grips: what a hold that explains it is called, as a plan's change calls it; one of them does.
            value: what it holds the field at.
            otherwise: what to do if no incident holds it.
        """
        holds = await self.all()
        if holds is None:
            return Looked(check, "warn", message, f"see whether an incident holds it; if none does, {otherwise}")
        incidents = sorted({hold.incident for hold in holds if hold.grip in grips and hold.after == value})
        if incidents:
            return Looked(
                check, "ok", f"{message}: {' and '.join(incidents)} {'holds' if len(incidents) == 1 else 'hold'} it so"
            )
        return Looked(check, "warn", f"{message}, and no incident holds it", otherwise)


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

    async def ready(self) -> None:  # noqa: B027  # most have nothing to do
        """Do ahead of need what the first look would wait for; by default nothing."""

    @abstractmethod
    async def look(self) -> Sequence[Expected]:
        """Ask for everything there, and return what should be in use."""

    @abstractmethod
    async def value(self, kind: str, id_: str, field: str) -> JsonValue:
        """Return a field of an object, as a plan's change calls it; None if there is no such object."""


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
        permissions: what its steps ask for there, by their names, where a step is of several systems and knows none.
        connections: how to connect to it, by the class of what is returned.
        warm: what is done ahead of need, place by place, so that the first containment does not wait for it.
        doctor: what `doctor` looks at, in groups: what each is about, and what is found, asked one after the other.
            What is out of use there may be so because an incident holds it.
        present: how to look at what is really there, by the place as a plan's target names it.
        imports: what `inventory import` asks, of a gateway.
        configuration: what the check `configuration` asks, by what it is about: how what there is of it is set.
        hardening: likewise, what the check `hardening` asks: what a server that runs there may do.
    """

    steps: tuple[AnyStep, ...]
    connections: Mapping[type, Connection]
    permissions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warm: Callable[[World], Iterable[Awaitable[None]]] = lambda _: ()
    doctor: Callable[[World, Holders], Iterable[tuple[str, AsyncIterator[Looked]]]] = lambda *_: ()
    present: Callable[[World, str], Present] | None = None
    imports: Callable[[Survey], Coroutine[Any, Any, Surveyed]] | None = None
    configuration: Callable[[World], Asks] = lambda _: {}
    hardening: Callable[[World], Asks] = lambda _: {}

    def asks(self, step: AnyStep) -> tuple[str, ...]:
        """Return what one of its steps asks for there."""
        return step.permissions or self.permissions.get(step.name, ())


@dataclass(frozen=True)
class System:
    """What a system says of itself.

    Args:
        kind: what it is called, in files.
        title: what people call it, where a sentence names it.
        works: imports how it works.
        settings: the model of how it is reached, which also knows what there is ours; None if nothing acts there.
        place: the model of where a server stands on it, if one does.
        account: the model of where a principal stands on it, if one does.
        words: what it says in other languages than English: in its plans, and of what it found.
        places: where an inventory has it, as a plan's target names it: `gateway/main`.
        secrets: the secrets that it is reached with, each with the field of inventory.yaml that says where it is.
    """

    kind: str
    works: Callable[[], Works]
    words: Callable[[], Mapping[Language, Pairs]] | None = None
    settings: type[SystemSettings] | None = None
    place: type[Place] | None = None
    account: type[Place] | None = None
    places: Callable[[Inventory], Iterable[str]] = lambda _: ()
    secrets: Callable[[Inventory], Iterable[tuple[str, Secret]]] = lambda _: ()
    title: str = ""


_TAKEN = OURSELVES | {GATEWAY}


class Systems:
    """All systems there are.

    Args:
        systems: each once.

    Raises:
        Misconfigured: two are called the same, or one lacks what nobody else can know of it.
    """

    def __init__(self, systems: Sequence[System]) -> None:
        self.all = tuple(systems)
        self._known = dict[str, Works]()
        for system in self.all:
            if system.words is None:
                raise Misconfigured(f"system {system.kind} has no words but English: nobody else knows what it says")
            if system.settings and (unsaid := next(_unsaid(system.settings), None)):
                raise Misconfigured(f"system {system.kind} does not say {unsaid}: {system.settings.__name__}")
            if system.settings and system.kind in _TAKEN:
                raise Misconfigured(f"no system can be called {system.kind}: that is what is mcp-soar's, or a gateway")
            if sum(other.kind == system.kind for other in self.all) > 1:
                raise Misconfigured(f"two systems are called {system.kind}")

    @cached_property
    def works(self) -> Mapping[str, Works]:
        """How each works, by its kind.

        Raises:
            Misconfigured: one acts, and nothing says what there is ours.
        """
        return MappingProxyType({system.kind: self._works(system) for system in self.all})

    def _works(self, system: System) -> Works:
        """Return how one works, which is imported when somebody asks: a command needs few of them."""
        if system.kind not in self._known:
            works = system.works()
            if system.settings is None and any(issubclass(step, Action) for step in works.steps):
                raise Misconfigured(f"system {system.kind} acts, and does not say what is ours there")
            self._known[system.kind] = works
        return self._known[system.kind]

    def _first(self, *kinds: str) -> Iterator[Works]:
        """Yield how each works, those of some kinds first."""
        return map(self._works, sorted(self.all, key=lambda system: system.kind not in kinds))

    @cached_property
    def steps(self) -> Mapping[str, AnyStep]:
        """Every step that a playbook can name."""
        found: dict[str, AnyStep] = {}
        for kind, works in self.works.items():
            for step in works.steps:
                if not step.__doc__:
                    raise Misconfigured(f"system {kind} has no words for {step.name}: its docstring says what it does")
                if not works.asks(step):
                    raise Misconfigured(f"system {kind} does not say what {step.name} asks for there")
                # What several of a sort share is one step, and each says what it asks for.
                if step.name in found and (found[step.name] is not step or step.permissions):
                    raise Misconfigured(f"system {kind}: another step is called {step.name}")
                found[step.name] = step
        return MappingProxyType(found)

    def step(self, name: str) -> AnyStep:
        """Return the step of that name.

        Raises:
            Misconfigured: if there is none; says which ones come close.
        """
        for works in self._first(name.partition(".")[0]):
            if (found := next((step for step in works.steps if step.name == name), None)) is not None:
                return found
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
        ways = list[tuple[type[S], Connection]]()
        likely = [system.kind for system in self.all if system.settings is None]
        if name in inventory.systems:
            likely.append(inventory.systems[name].kind)
        for works in self._first(*likely):
            for way in works.connections.items():
                if issubclass(way[0], kind):
                    if way[1].place(inventory, name) is not None:
                        return way
                    ways.append(way)
        if not ways:
            raise Misconfigured(f"nothing here connects to a {kind.__name__}")
        # Where nobody knows the name, whoever is asked says so.
        return ways[0]

    @cached_property
    def words(self) -> Sentences:
        """What the systems say, in other languages than English.

        Raises:
            Misconfigured: one has no words in one of them, or says otherwise what another, or the house, says too.
        """
        spoken: dict[Language, list[tuple[str, str]]] = {lang: [] for lang in Language if lang is not Language.EN}
        known: dict[tuple[Language, str], tuple[str, str]] = {}
        for language in spoken:
            _told(known, "mcp-soar", language, house().by_id(language).items())
        for system in self.all:
            words = system.words() if system.words else {}
            for language, already in spoken.items():
                if not words.get(language):
                    raise Misconfigured(f"system {system.kind} has no words in {language}")
                _told(known, system.kind, language, words[language])
                already.extend(words[language])
        return Sentences(spoken)

    @property
    def titles(self) -> dict[str, str]:
        """What people call each, by its kind; and what has its place at any gateway."""
        return {GATEWAY: say("a gateway"), **{system.kind: system.title or system.kind for system in self.all}}

    @property
    def context(self) -> dict[str, Mapping[str, KindModels]]:
        """What an inventory is read with: the models of each kind of system that it lists."""
        return {KINDS: {one.kind: KindModels(one.settings, one.place, one.account) for one in self.all if one.settings}}

    def doctor(self, world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
        """Yield what `doctor` looks at of every system that there is one of, in groups that it may ask side by side."""
        there = {one.kind for one in world.inventory.systems.values()}
        for system in self.all:
            if system.settings is None or system.kind in there:
                yield from self._works(system).doctor(world, holders)

    def configuration(self, world: World) -> dict[str, Ask]:
        """Return what the check `configuration` asks of every system that there is one of."""
        return {what: ask for one in self._of(world) for what, ask in one.configuration(world).items()}

    def hardening(self, world: World) -> dict[str, Ask]:
        """Return what the check `hardening` asks, likewise."""
        return {what: ask for one in self._of(world) for what, ask in one.hardening(world).items()}

    def _of(self, world: World) -> Iterator[Works]:
        """Yield how each works that there is one of."""
        there = {one.kind for one in world.inventory.systems.values()}
        yield from (self._works(system) for system in self.all if system.settings is None or system.kind in there)

    def present(self, inventory: Inventory) -> dict[str, Callable[[World], Present]]:
        """Return how to look at what is really there, for every place that can be looked at."""
        return {
            place: partial(_present, look, place)
            for system in self.all
            for place in system.places(inventory)
            if (look := self._works(system).present) is not None
        }

    @cached_property
    def importers(self) -> Mapping[str, Callable[[Survey], Coroutine[Any, Any, Surveyed]]]:
        """What `inventory import` asks, by the kind of gateway."""
        return {kind: works.imports for kind, works in self.works.items() if works.imports is not None}

    def secrets(self, inventory: Inventory) -> Iterator[tuple[str, Secret]]:
        """Yield every secret that a system of an inventory is reached with, and the field that says where it is."""
        for system in self.all:
            yield from system.secrets(inventory)


def _told(
    known: dict[tuple[Language, str], tuple[str, str]], whose: str, language: Language, pairs: Iterable[tuple[str, str]]
) -> None:
    """Take note of what is said in a language, and refuse what one says otherwise than another."""
    for english, other in pairs:
        sentence, means = alike(english, other)
        first, before = known.setdefault((language, sentence), (whose, means))
        if before != means:
            raise Misconfigured(f"{first} and {whose} say {english!r} differently in {language}: {before!r}, {means!r}")


def _unsaid(settings: type[SystemSettings]) -> Iterator[str]:
    """Yield what only a system's own settings can say, and these do not."""
    for method, what in (("ours", "what is ours there"), ("address", "where it is")):
        if getattr(getattr(settings, method), "__isabstractmethod__", False):
            yield what
    if not settings.kinds:
        yield "which kinds of object it has"


def written(*packages: str) -> Callable[[], Mapping[Language, Pairs]]:
    """Return what reads a system's words, from the files `words.LANGUAGE.yaml` beside it.

    Args:
        packages: where they are: its own, and what it shares with others of its sort.
    """

    def words() -> dict[Language, Pairs]:
        found: dict[Language, Pairs] = {}
        for package, language in product(packages, Language):
            file = files(package) / f"words.{language}.yaml"
            if file.is_file():
                text = file.read_text("utf-8")
                found[language] = (*found.get(language, ()), *read(text, file=f"{package}/{file.name}"))
        return found

    return words


def _present(look: Callable[[World, str], Present], place: str, world: World) -> Present:
    return look(world, place)
