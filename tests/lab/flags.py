"""An outside system of files, each a flag that is on or off: plans of several changes without a gateway, and fast."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

from pydantic import JsonValue
from typing_extensions import override

from flows.engine.parts import Timing
from integrations.registry import SYSTEMS
from playbooks.action import Action, Capture, Check, Sink, World
from playbooks.errors import Refused
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.gate.policy import Policy
from playbooks.gate.rules import Mode
from playbooks.playbook import Notice, Playbook
from playbooks.record.incident import Phase
from playbooks.strict import Line
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.forked import FORKED
from tests.lab.house import ROOMY, House, alert, house

INVENTORY = world.READ
ASKING = ROOMY.model_copy(update={"classes": {IncidentClass.TOOL_POISONING: Mode.APPROVE}})
CUT = "cut-flags@weather/forecast"
NAMES = ("a", "b", "c")
CLAIM = 2.0
"""Seconds that the claim of one who dies outlives them."""
NEW = {
    "class": "tool_poisoning",
    "title": "seen",
    "entities": [{"kind": "tool", "name": "forecast", "server": "weather"}],
}

Hook = Callable[[str, Change], Awaitable[None]]


async def _nothing(_moment: str, _change: Change) -> None:
    return None


def _files(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.flag"))


def _state(change: Change) -> str:
    return Path(change.target.id).read_text()


def _set(change: Change) -> None:
    file = Path(change.target.id)
    with (file.parent / "writes").open("a") as log:
        log.write(f"{change.target.name} {change.after}\n")
    file.write_text(str(change.after))


def _finding(answer: Answer) -> Verdict:
    finding = Finding(check="flags", subject="flags", asked_as="test", expected="-", observed="-", answer=answer)
    return Verdict.of((finding,))


def _is(plan: Plan, change: Callable[[Change], JsonValue]) -> Verdict:
    holds = all(_state(item) == change(item) for item in plan.changes)
    return _finding(Answer.ESTABLISHED if holds else Answer.NOT_ESTABLISHED)


class SetFlags(Action):
    """Turns every flag of a folder off.

    Args:
        folder: where the flags are.
    """

    name: ClassVar[str] = "test.set_flags"
    radius: ClassVar[Radius] = Radius.TOOL
    permissions: ClassVar[tuple[str, ...]] = ()
    happens: ClassVar[Hook] = staticmethod(_nothing)
    """Called with `planned` and the first change, with `asked` when a check asks, and with `reading`,
    `writing` or `wrote` and each."""

    folder: Line

    @override
    async def plan(self, world: World) -> Plan:
        files = _files(self.folder)
        targets = [
            Target(system="gateway/main", kind="tool", id=str(file), name=file.stem, server="weather") for file in files
        ]
        grips = [Change(target=target, field="state", before="on", after="off") for target in targets]
        changes = [grip.model_copy(update={"before": _state(grip)}) for grip in grips]
        summary = f"Turn off {', '.join(map(str, targets))}"
        params = self.model_dump(mode="json")
        await type(self).happens("planned", changes[0])
        return Plan(action=self.name, params=params, summary=summary, changes=tuple(changes), radius=self.radius)

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        await cls.happens("reading", change)
        return _state(change)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        await cls.happens("writing", change)
        _set(change)
        await cls.happens("wrote", change)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return _is(plan, lambda change: change.after)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return _is(plan, lambda change: change.before)


class SetServersFlags(SetFlags):
    """Turns every flag of a folder off, which a whole server depends on."""

    name: ClassVar[str] = "test.set_servers_flags"
    radius: ClassVar[Radius] = Radius.SERVER


class SetLevels(SetFlags):
    """Sets every flag of a folder to a level: dim on account of the tool `add`, off on account of all others.

    Args:
        tool: which.
    """

    name: ClassVar[str] = "test.set_levels"
    levels: ClassVar[Mapping[str, tuple[JsonValue, ...]]] = {"state": ("on", "dim", "off")}

    tool: Line

    @override
    async def plan(self, world: World) -> Plan:
        plan = await super().plan(world)
        level = "dim" if self.tool == "add" else "off"
        return plan.model_copy(
            update={"changes": tuple(change.model_copy(update={"after": level}) for change in plan.changes)}
        )

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        held = all(cls.holds(change, _state(change)) for change in plan.changes)
        return _finding(Answer.ESTABLISHED if held else Answer.NOT_ESTABLISHED)


class SetUnranked(SetLevels):
    """The same, of which nobody says which level is the stricter one."""

    name: ClassVar[str] = "test.set_unranked"
    levels: ClassVar[Mapping[str, tuple[JsonValue, ...]]] = {}


class BurnFlags(SetFlags):
    """Turns every flag of a folder off for good."""

    name: ClassVar[str] = "test.burn_flags"
    irreversible: ClassVar[Irreversible | None] = Irreversible(because="what is burnt is gone")

    @override
    async def plan(self, world: World) -> Plan:
        return (await super().plan(world)).model_copy(update={"irreversible": self.irreversible})


class FlagsHealthy(Check):
    """Established if a folder has no file `poisoned`.

    Args:
        folder: which.
    """

    name: ClassVar[str] = "test.flags_healthy"
    permissions: ClassVar[tuple[str, ...]] = ()

    folder: Line

    @override
    async def check(self, world: World) -> Verdict:
        for file in _files(self.folder)[:1]:
            target = Target(system="gateway/main", kind="tool", id=str(file), name=file.stem, server="weather")
            await SetFlags.happens("asked", Change(target=target, field="state", before="on", after="on"))
        return _finding(Answer.NOT_ESTABLISHED if (Path(self.folder) / "poisoned").exists() else Answer.ESTABLISHED)


class KeepFlags(Capture):
    """Keeps how the flags stand, on account of a tool; of one called `add` that cannot be had.

    Args:
        tool: which.
    """

    name: ClassVar[str] = "test.keep_flags"
    exhibit: ClassVar[str] = "flags"
    permissions: ClassVar[tuple[str, ...]] = ()

    tool: Line

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        if self.tool == "add":
            raise Refused("no rights to look")
        await sink.add("flags.txt", self.tool.encode(), media_type="text/plain", origin="flags")


class WipeFlags(SetFlags):
    """Turns every flag off and, so it says, destroys what could be kept of them."""

    name: ClassVar[str] = "test.wipe_flags"
    destroys: ClassVar[tuple[str, ...]] = ("flags",)

    @override
    async def plan(self, world: World) -> Plan:
        return (await super().plan(world)).model_copy(update={"destroys": self.destroys})


_STEPS: tuple[type[Action] | type[Capture] | type[Check], ...] = (
    SetFlags,
    SetServersFlags,
    SetLevels,
    SetUnranked,
    BurnFlags,
    WipeFlags,
    KeepFlags,
    FlagsHealthy,
)
WITH_FLAGS = {**SYSTEMS.steps, **{step.name: step for step in _STEPS}}


def flags(folder: Path, *names: str) -> Path:
    """Make a folder with flags that are on, `NAMES` if none is named."""
    folder.mkdir(parents=True)
    for name in names or NAMES:
        (folder / f"{name}.flag").write_text("on")
    return folder


def states(folder: Path) -> str:
    """Return how the flags of a folder stand, as `on on off`."""
    return " ".join(file.read_text() for file in _files(str(folder)))


def writes(folder: Path) -> list[str]:
    """Return what was written there, in order, as `a off`."""
    log = folder / "writes"
    return log.read_text().splitlines() if log.exists() else []


def step(folder: Path, **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of a step
    """Return a playbook's step that turns the flags of a folder off."""
    fields = {"id": "cut-flags", "action": SetFlags.name, "for": "tool", "with": {"folder": str(folder)}}
    return {**fields, "why": "test", **changes}


def healthy(folder: Path) -> dict[str, Any]:
    """Return a playbook's step that asks whether what comes back is what it should be."""
    fields = {"id": "healthy", "check": FlagsHealthy.name, "for": "tool", "with": {"folder": str(folder)}}
    return {**fields, "why": "test"}


def playbook(
    *cuts: dict[str, Any],
    confirm: Sequence[dict[str, Any]] = (),
    version: int = 1,
    **phases: Any,  # noqa: ANN401  # a phase's steps
) -> dict[IncidentClass, Playbook]:
    """Return a playbook of those cuts, confirming checks and other phases' steps, by its class.

    In the first format, as if nobody had said it, a release waits for all checks of `confirm` and `eradicate`.
    """
    made = Playbook.model_validate(
        {
            "version": version,
            "id": "tool_poisoning",
            "class": "tool_poisoning",
            "title": "A test",
            "summary": "Turns flags off.",
            "goals": {"first_effect": "1s", "verified": "60s"},
            "confirm": list(confirm),
            "phases": {**{phase.value: [] for phase in Phase}, "cut": cuts, **phases},
            "notify": list(Notice),
        }
    )
    return {made.class_: made}


@asynccontextmanager
async def installation(
    folder: Path,
    playbooks: dict[IncidentClass, Playbook],
    *,
    policy: Policy = ROOMY,
    watch_every: float = 600.0,
    name: str = "responder-1",
    **parts: Any,  # noqa: ANN401  # fields of Parts
) -> AsyncIterator[House]:
    """Make an installation whose playbooks turn flags off, or open the one that is there.

    Args:
        folder: for its files.
        playbooks: what it does.
        policy: the gate's rules.
        watch_every: seconds between two verifications of a lease.
        name: of the responder.
        parts: other parts of the engine.
    """
    inventory = INVENTORY.model_copy(update={"watch_every": watch_every})
    async with house(folder / "house", connected(inventory), policy=policy, name=name) as home:
        yield home.changed(**{"timing": scenes.FAST, "steps": WITH_FLAGS, "playbooks": playbooks, **parts})


async def respond(home: House, *tools: str) -> None:
    """Have two sources report a tool that the cuts are for, at once: what alerts carry waits for nobody.

    Args:
        home: the installation.
        tools: of the server; `forecast` if none is named.
    """
    entities = [{"kind": "tool", "name": tool, "server": "weather"} for tool in tools or ("forecast",)]
    body = alert("weather", entities=entities)
    await asyncio.gather(home.receive(body), home.receive(body, source="second"))


async def dies(folder: Path, playbooks: dict[IncidentClass, Playbook], moment: str, number: int) -> int:
    """Run a responder to its end, and return its exit status: minus the signal if it was killed.

    Args:
        folder: the installation's.
        playbooks: what it does.
        moment: when it kills itself, as `SetFlags.happens` is told it.
        number: which one of those; the first is 1.
    """
    process = FORKED.Process(target=_run, args=(folder, playbooks, moment, number), daemon=True)
    process.start()
    await asyncio.to_thread(process.join, 60.0)
    process.kill()
    return process.exitcode if process.exitcode is not None else 0


def _run(folder: Path, playbooks: dict[IncidentClass, Playbook], moment: str, number: int) -> None:
    left = number

    async def happens(now_: str, _change: Change) -> None:
        nonlocal left
        left -= now_ == moment
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async def work() -> None:
        SetFlags.happens = happens
        async with (
            installation(folder, playbooks, name="responder-0", timing=Timing(claim=CLAIM)) as home,
            home.responding(),
        ):
            await asyncio.Event().wait()

    asyncio.run(work())
