"""A system from outside the package: a yard of flagpoles, a file each, on each of which a server has its flag."""

from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import JsonValue
from typing_extensions import override

from integrations.secret import secret
from integrations.system import Connection, Expected, Holders, Looked, Present, System, Works
from playbooks.action import Action, Capture, Check, Sink, World
from playbooks.errors import Gone, Misconfigured
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Place, Secret, SystemSettings
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.people.contacts import Language
from playbooks.strict import Line, Name, Slug
from playbooks.text.sentences import Pairs, say


class YardSettings(SystemSettings):
    """A yard.

    Args:
        folder: where its poles are.
        password: what its gate is opened with.
        our_pole: our own flag's, which is never lowered.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"pole"})

    kind: Literal["yard"]
    folder: Line
    password: Secret
    our_pole: Name

    @override
    def address(self) -> str:
        return str(Path(self.folder).resolve())

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        return {"pole": frozenset({self.our_pole})}


class Pole(Place):
    """Where a server has its flag.

    Args:
        pole: which.
    """

    pole: Name


class Yard:
    """The way into a yard.

    Args:
        settings: where it is.
    """

    def __init__(self, settings: YardSettings) -> None:
        self.folder = Path(settings.folder)
        self.warm = False
        self.closed = False

    def flag(self, pole: str) -> str | None:
        file = self.folder / pole
        return file.read_text() if file.exists() else None

    def hoist(self, pole: str, *, up: bool) -> None:
        (self.folder / pole).write_text("up" if up else "down")

    async def aclose(self) -> None:
        self.closed = True


def _settings(inventory: Inventory, name: str) -> YardSettings | None:
    found = inventory.systems.get(name)
    return found if isinstance(found, YardSettings) else None


def _yard(inventory: Inventory, name: str) -> Yard:
    settings = _settings(inventory, name)
    if settings is None:
        raise Misconfigured(f"the inventory has no yard {name!r}")
    secret(settings.password, what=f"systems.{name}.password")
    return Yard(settings)


def _poles(inventory: Inventory) -> Iterator[tuple[str, str, str]]:
    """Yield server, yard and pole of every flag."""
    for server, one in inventory.servers.items():
        yield from ((server, yard, at.pole) for yard, at in one.places.items() if isinstance(at, Pole))


def _at(inventory: Inventory, server: str, system: str | None) -> list[tuple[str, str]]:
    """Return yard and pole of a server's flags, all or those of one yard."""
    return [(yard, pole) for one, yard, pole in _poles(inventory) if one == server and system in {None, yard}]


def _finding(plan: Plan, asked: str, answer: Answer) -> Verdict:
    subject = str(plan.changes[0].target)
    finding = Finding(check="flag", subject=subject, asked_as="passer-by", expected=asked, observed="-", answer=answer)
    return Verdict.of((finding,))


class LowerFlag(Action):
    """Takes a server's flag down.

    Args:
        server: whose.
        system: in which yard; in all of them if None.
    """

    name: ClassVar[str] = "yard.lower_flag"
    radius: ClassVar[Radius] = Radius.TOOL
    permissions: ClassVar[tuple[str, ...]] = ("read flag", "write flag")

    server: Slug
    system: Slug | None = None

    @override
    async def plan(self, world: World) -> Plan:
        found = _at(world.inventory, self.server, self.system)
        if not found:
            raise Misconfigured("it has no place in a yard", field=f"servers.{self.server}.places")
        targets = [
            Target(system=f"yard/{yard}", kind="pole", id=pole, name=f"{pole} pole", server=self.server)
            for yard, pole in found
        ]
        before = [world.reach(Yard, yard).flag(pole) for yard, pole in found]
        return self.plan_of(
            summary=say("Lower the flag at {a}", a=", ".join(target.name for target in targets)),
            changes=tuple(
                Change(target=target, field="flag", before=was, after="down")
                for target, was in zip(targets, before, strict=True)
            ),
            breaks=say("Nobody sees the flag of {a}", a=self.server),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        flag = world.reach(Yard, change.target.system.removeprefix("yard/")).flag(change.target.id)
        if flag is None:
            raise Gone(f"there is no {change.target}")
        return flag

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        yard = world.reach(Yard, change.target.system.removeprefix("yard/"))
        yard.hoist(change.target.id, up=change.after == "up")

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        held = [await cls.read(change, world) == change.after for change in plan.changes]
        return _finding(plan, "down", Answer.ESTABLISHED if all(held) else Answer.NOT_ESTABLISHED)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        back = [await cls.read(change, world) == change.before for change in plan.changes]
        return _finding(plan, "as before", Answer.ESTABLISHED if all(back) else Answer.NOT_ESTABLISHED)


class PictureFlag(Capture):
    """How a server's flag stands.

    Args:
        server: whose.
        system: in which yard; in all of them if None.
    """

    name: ClassVar[str] = "yard.picture_flag"
    exhibit: ClassVar[str] = "flag"
    permissions: ClassVar[tuple[str, ...]] = ("read flag",)

    server: Slug
    system: Slug | None = None

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        for yard, pole in _at(world.inventory, self.server, self.system):
            flag = (world.reach(Yard, yard).flag(pole) or "gone").encode()
            await sink.add(f"{yard}.{pole}.txt", flag, media_type="text/plain", origin=f"yard {yard}")


class FlagDown(Check):
    """Established if a server's flag is down.

    Args:
        server: whose.
    """

    name: ClassVar[str] = "yard.flag_down"
    permissions: ClassVar[tuple[str, ...]] = ("read flag",)

    server: Slug

    @override
    async def check(self, world: World) -> Verdict:
        return await LowerFlag.verify(await LowerFlag(server=self.server).plan(world), world)


class InYard(Present):
    """What flies in a yard.

    Args:
        world: the connections.
        system: the yard, as a plan's target names it.
    """

    def __init__(self, world: World, system: str) -> None:
        self._name = system.removeprefix("yard/")
        self._inventory, self._yard = world.inventory, world.reach(Yard, self._name)

    @override
    async def look(self) -> Sequence[Expected]:
        return [
            Expected("pole", pole, "flag", "up", f"flag of {server}", "inventory.yaml", "mend it", "down", "hoist it")
            for server, yard, pole in _poles(self._inventory)
            if yard == self._name
        ]

    @override
    async def value(self, kind: str, id_: str, field: str) -> JsonValue:
        return self._yard.flag(id_)


async def _looked(world: World, holders: Holders, name: str) -> AsyncIterator[Looked]:
    yard = world.reach(Yard, name)
    there = yard.folder.is_dir()
    yield Looked(f"yard {name}", "ok" if there else "fail", "its gate is open" if there else "it is gone", "look again")
    for one in await InYard(world, f"yard/{name}").look():
        if (flies := yard.flag(one.id)) != one.value:
            grip = one.grip(f"yard/{name}")
            yield await holders.explain(f"yard {name}", f"{one.name} is down", grip, value=flies, otherwise=one.again)


def _doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    for place in _places(world.inventory):
        name = place.removeprefix("yard/")
        yield f"yard {name}", _looked(world, holders, name)


def _warm(world: World) -> Iterator[Awaitable[None]]:
    yield from (_warmed(world, place.removeprefix("yard/")) for place in _places(world.inventory))


async def _warmed(world: World, name: str) -> None:
    world.reach(Yard, name).warm = True


def _places(inventory: Inventory) -> Iterator[str]:
    yield from (f"yard/{name}" for name in inventory.systems if _settings(inventory, name))


def _secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
    for name in inventory.systems:
        if (settings := _settings(inventory, name)) is not None:
            yield f"systems.{name}.password", settings.password


def _words() -> dict[Language, Pairs]:
    korean = (
        ("Lower the flag at {a}", "{a}에서 깃발 내림"),
        ("Nobody sees the flag of {a}", "{a}의 깃발이 보이지 않음"),
    )
    return {Language.KO: korean}


def _works() -> Works:
    return Works(
        steps=(LowerFlag, PictureFlag, FlagDown),
        connections={Yard: Connection(_yard, _settings)},
        warm=_warm,
        doctor=_doctor,
        present=InYard,
    )


SYSTEM = System(
    kind="yard",
    title="Yard",
    works=_works,
    settings=YardSettings,
    place=Pole,
    words=_words,
    places=_places,
    secrets=_secrets,
)
