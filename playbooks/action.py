"""The contract of everything a playbook's step can name: an action writes, a capture collects, a check asks.

Source of the contract's laws: DESIGN, "Laws"; tests/contract holds every registered class to them.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar, NamedTuple, Protocol, TypeVar

from pydantic import JsonValue

from playbooks.errors import Gone
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Beside, Change, Irreversible, Plan, Radius, Unapproved, Verdict
from playbooks.strict import Strict, canonical, fingerprint

S = TypeVar("S")


class World(Protocol):
    """What a step may reach: the inventory, and the connections that it names."""

    @property
    def inventory(self) -> Inventory:
        """The servers that exist, with their approved pins."""
        ...

    def reach(self, kind: type[S], name: str) -> S:
        """Return the connection of that kind and name.

        Raises:
            Misconfigured: if the inventory has none.
        """
        ...


class Glimpse(NamedTuple):
    """What is seen of a plan without asking as a client. It can say that something is amiss, never that all is well.

    Args:
        holds: whether all that was seen is as the plan left it.
        mark: of what was seen: another mark is news.
    """

    holds: bool
    mark: str


class Action(Strict, ABC):
    """A typed intent. `plan` only reads; `write` makes one change; `verify` asks the world, not the API just called."""

    name: ClassVar[str]
    radius: ClassVar[Radius]
    permissions: ClassVar[tuple[str, ...]]
    irreversible: ClassVar[Irreversible | None] = None
    destroys: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[str] = ""
    """What of a thing it takes away, in a word or two, as its `network`; nothing if it is the thing itself."""
    timeout: ClassVar[float] = 5.0
    """Seconds that one `read` or `write` may take; the engine holds it to that, and to less than its claim."""
    levels: ClassVar[Mapping[str, tuple[JsonValue, ...]]] = {}
    """A field with more than two values → all of them, the loosest first: of two wishes the stricter one holds."""

    @abstractmethod
    async def plan(self, world: World) -> Plan:
        """Return the frozen changes, the ones already so included. Writes nothing.

        Raises:
            SoarError: Transient if the system does not answer, Refused if the target is not what the inventory says.
        """

    def plan_of(
        self,
        *,
        changes: Iterable[Change],
        summary: str,
        breaks: str,
        radius: Radius | None = None,
        irreversible: Irreversible | None = None,
        destroys: tuple[str, ...] = (),
        beside: tuple[Beside, ...] = (),
    ) -> Plan:
        """Return this action's plan.

        Args:
            changes: in order, the ones already so included.
            summary: one plain sentence that names every target.
            breaks: what stops working for people while it lasts, without a full stop.
            radius: how much it touches, where that is not what such an action touches.
            irreversible: why it cannot be undone, where another of its kind could be.
            destroys: as a plan's.
            beside: as a plan's.
        """
        return Plan(
            action=self.name,
            params=self.model_dump(mode="json"),
            summary=summary,
            changes=tuple(changes),
            radius=self.radius if radius is None else radius,
            irreversible=irreversible or self.irreversible,
            destroys=destroys,
            breaks=f"{breaks}.",
            beside=beside,
        )

    def foresee(self, world: World) -> None:
        """Begin to read what `plan` will ask for in a moment; by default nothing. It decides nothing.

        Args:
            world: the connections.
        """
        del world

    @classmethod
    @abstractmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        """Return the present value of the change's field, from the system itself."""

    @classmethod
    @asynccontextmanager
    async def turn(cls, change: Change, world: World) -> AsyncIterator[None]:
        """Wait until the system takes the change, which is written within the block; by default it takes all at once.

        Whatever has to be so when it is written is asked after that: the wait may be long.

        Args:
            change: what is to be written.
            world: the connections.
        """
        del change, world
        yield

    @classmethod
    @asynccontextmanager
    async def question(cls, plan: Plan, world: World) -> AsyncIterator[None]:
        """Wait until the system takes the questions of a verification, put within the block; by default all at once.

        Whoever asks a system more than it can answer in time gets no answer to any of it.

        Args:
            plan: what is to be verified.
            world: the connections.
        """
        del plan, world
        yield

    @classmethod
    @abstractmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        """Set the change's field to its `after`. Twice is once.

        Args:
            change: what to write; the engine has compared `before` just now.
            world: the connections.
            key: the idempotency key, for systems that take a client token.
        """

    @classmethod
    def holds(cls, change: Change, value: JsonValue) -> bool:
        """Return whether a value of a change's field contains at least as much as the change wants."""
        levels = cls.levels.get(change.field, ())
        if canonical(value) == canonical(change.after):
            return True
        return value in levels and change.after in levels and levels.index(value) > levels.index(change.after)

    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        """Return the plan that restores what was there; by default the same changes backwards, last first."""
        return plan.inverse()

    @classmethod
    async def unapproved(cls, release: Plan, world: World) -> Unapproved:
        """Return what a release gives back that is not what people approved, as it is now; by default nothing.

        Args:
            release: the plan that restores what was there.
            world: the connections.

        Raises:
            SoarError: if the system does not say.
        """
        del release, world
        return Unapproved()

    @classmethod
    @abstractmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        """Ask the world whether the plan is in force, as the affected principal or a canary with equal grants."""

    @classmethod
    async def glance(cls, plan: Plan, world: World) -> Glimpse:
        """See whether a plan's fields are as it left them, by what many plans share where the system has such a thing.

        Args:
            plan: what is in force.
            world: the connections.

        Raises:
            SoarError: if the system does not say.
        """
        holds, values = True, list[list[JsonValue]]()
        for change in plan.changes:
            try:
                value = await cls.read(change, world)
            except Gone:
                values.append([])
                continue
            holds = holds and cls.holds(change, value)
            values.append([value])
        return Glimpse(holds, fingerprint(values).digest)

    @classmethod
    @abstractmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        """Ask the world whether what the plan took away is back; `established` means that it is."""


class Written(Protocol):
    """A file of an exhibit while it is written."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes, raw; returns when there is room for more.

        Raises:
            Refused: if it is more than an exhibit may have, or there is no room; the capture ends with it.
        """
        ...


class Sink(ABC):
    """Where a capture writes what it reads, as it reads it: nobody holds an exhibit whole."""

    lacking: tuple[str, ...] = ()
    """What the source has not, or does not tell, of what was asked of it."""

    def lacks(self, what: str) -> None:
        """Have people hear, beside the exhibit, what of it the source has not: an empty file alone says nothing.

        Args:
            what: a clause; may carry an outside system's words.
        """
        self.lacking = (*self.lacking, what)

    @abstractmethod
    def file(self, name: str, *, media_type: str, origin: str) -> AbstractAsyncContextManager[Written]:
        """Begin a file of the exhibit, which is complete when the block ends and breaks off where the block raises.

        Args:
            name: in the exhibit, a slug; one file is open at a time.
            media_type: what the bytes are.
            origin: the API or the path that they are read from.
        """

    async def add(self, name: str, data: bytes, *, media_type: str, origin: str) -> None:
        """Write a file of which all is there already; see `file`."""
        async with self.file(name, media_type=media_type, origin=origin) as file:
            await file.write(data)


class Capture(Strict, ABC):
    """Collects evidence. Reads only."""

    name: ClassVar[str]
    exhibit: ClassVar[str]
    """The kind of exhibit that it makes, as actions name it in `destroys`."""
    permissions: ClassVar[tuple[str, ...]]
    silence: ClassVar[float] = 30.0
    """Seconds that may pass without a byte of it: a time-out that a large exhibit does not meet for being large."""
    longest: ClassVar[float] = 3600.0
    """Seconds after which it ends in any case: whoever sends a byte now and then is not waited for without end."""

    @abstractmethod
    async def collect(self, world: World, sink: Sink) -> None:
        """Write the evidence into a sink, each piece as it is read.

        Raises:
            SoarError: the engine records the exhibit as unavailable, with this as its reason; what was written by then
                is kept, marked as incomplete.
        """


class Check(Strict, ABC):
    """Asks the world something. Reads only; the answer's meaning stands in its docstring."""

    name: ClassVar[str]
    permissions: ClassVar[tuple[str, ...]]
    timeout: ClassVar[float] = 15.0
    asked_again: ClassVar[bool] = True
    """Whether people are asked only after a confirmation that could not be had was tried again. Not where whoever is
    under suspicion decides how long that takes."""

    def askable(self, inventory: Inventory) -> bool:
        """Return whether there is a question at all; what cannot be asked by its nature holds up nothing else."""
        del inventory
        return True

    def foresee(self, world: World) -> None:
        """Begin to work out what `check` will say in a moment, of what is being read ahead anyway; by default nothing.

        Args:
            world: the connections.
        """

    @abstractmethod
    async def check(self, world: World) -> Verdict:
        """Return what the world says."""
