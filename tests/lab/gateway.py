"""A gateway in memory, both sides of it: plans and looks of its tools, and an engine over it, without a real one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from integrations.gateways.actions import DisableServer, DisableTool
from integrations.gateways.driver import Asked, Entered
from integrations.precedence import Precedence
from integrations.protocol.client import McpEndpoint
from integrations.protocol.pins import definition
from integrations.systems.contextforge.held import Held
from integrations.systems.contextforge.needs import RIGHTS
from playbooks.action import World
from playbooks.estate.inventory import Offers
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.gate.plan import Answer, Finding
from tests.flows.cli import world
from tests.lab import flags, scenes
from tests.lab.house import House, house

READ = world.READ

CUT_TOOL: dict[str, Any] = {
    "id": "cut-tool",
    "action": DisableTool.name,
    "for": "tool",
    "with": {"server": {"from": "entity.server"}, "tool": {"from": "entity.id"}},
    "why": "test",
}
CUT_SERVER: dict[str, Any] = {
    "id": "cut-server",
    "action": DisableServer.name,
    "for": "server",
    "with": {"server": {"from": "entity.server"}},
    "why": "test",
}


SCHEMA: dict[str, Any] = {"type": "object", "required": ["x"]}
"""Of each tool."""


def held(name: str, *, enabled: bool = True, **more: str) -> Held:
    """Return a tool as the gateway holds it."""
    fields = {"id": f"id-{name}", "name": f"weather-{name}", "originalName": name, "enabled": enabled}
    return Held(PinKind.TOOL, {**fields, "gatewayId": "g-1", "inputSchema": SCHEMA, **more})


def pin(name: str) -> Pin:
    """Return the approved definition of a tool, as `held` has it."""
    one = held(name)
    offered = definition(PinKind.TOOL, {"name": name, "inputSchema": SCHEMA})
    return Pin(
        kind=PinKind.TOOL,
        name=name,
        digest=offered.digest,
        definition=dict(offered.fields),
        gateway_id=one.id,
        gateway_name=one.offered_as,
        gateway_digest=one.digest,
        dossier=Dossier(reviewed="read"),
    )


class Gateway:
    """Both sides of a gateway that holds some tools, of which clients can use what is enabled."""

    name, processes, administrator, rights, governs = "main", 1, "soar", RIGHTS, True
    endpoint = SimpleNamespace(principal="canary")

    def __init__(self, *tools: Held) -> None:
        self.tools = tools
        self.on = True
        self.writes: list[str] = []
        self.precedence = Precedence(changes=2, verifications=16, looks=2)

    def change(self, name: str, **fields: object) -> None:
        """Have a tool be otherwise; one that is not there is made."""
        known = {one.name: one for one in self.tools}
        one = known.get(name, held(name))
        known[name] = Held(one.kind, {**one.fields, **fields})
        self.tools = tuple(known.values())

    def usable(self, name: str) -> bool:
        """Return whether clients can use a tool."""
        return self.on and any(one.name == name and one.enabled for one in self.tools)

    async def catalog(self, _entry: str, _since: float = 0.0) -> tuple[Held, ...]:
        return self.tools

    async def listing(self, entry: str, _since: float) -> tuple[Held, ...]:
        return await self.catalog(entry)

    def since(self, _ids: object, _seconds: float) -> float:
        return 0.0

    async def tool(self, id_: str, _entry: str) -> Held | None:
        return next((one for one in self.tools if one.id == id_), None)

    async def held(self, _kind: PinKind, _entry: str | None = None) -> tuple[Held, ...]:
        return self.tools

    async def one(self, _kind: PinKind, id_: str, entry: str) -> Held | None:
        return await self.tool(id_, entry)

    def rereads(self, _entry: str) -> str:
        return ""

    async def entry_at(self, _id: str) -> Entered:
        return Entered("weather", self.on)

    async def names(self, _kind: PinKind, _since: float = 0.0) -> frozenset[str]:
        return frozenset(one.offered_as for one in self.tools if self.usable(one.name))

    async def set_enabled(self, _kind: PinKind, id_: str, *, enabled: bool) -> None:
        (name,) = (one.name for one in self.tools if one.id == id_)
        self.writes.append(f"{name} {'on' if enabled else 'off'}")
        self.change(name, enabled=enabled)

    async def set_entry_enabled(self, _id: str, *, enabled: bool | str) -> None:
        self.writes.append(f"entry {'on' if enabled else 'off'}")
        self.on = enabled is not False
        for one in self.tools:
            self.change(one.name, enabled=self.on)

    def foresee(self, _id: str, _entry: str) -> None:
        return None

    def note(self, _id: str, *, enabled: bool) -> None:
        """Be told how an object was found; nothing depends on it here."""
        del enabled

    def disabled_for(self, _id: str) -> float:
        return 0.1

    def settled(self, _ids: object) -> bool:
        return False

    def looked_at(self, _ids: object) -> None:
        """Be a look that is not remembered."""

    async def control_by_list(self, _kind: PinKind, _since: float = 0.0) -> Finding:
        return self._found("control", "lists some")

    async def call(self, *_asked: object, **_how: object) -> Finding:
        return self._found("call", "Tool 'x' exists but is inactive")

    async def busy(self, _entry: str) -> int:
        return 0

    async def is_last(self, _id: str, _entry: str) -> bool:
        return False

    async def allows(self, _entry: str) -> None:
        return None

    async def finds(self, *_asked: object) -> Finding:
        return self._found("call", "found")

    async def ask(self, *_asked: object, **_how: object) -> Asked:
        return Asked([await self.call()])

    def exists(self, finding: Finding) -> bool:
        return "exists" in finding.observed

    def doubt(self, _held: Held) -> str:
        return ""

    def _found(self, check: str, observed: str) -> Finding:
        fields: dict[str, Any] = {"check": check, "subject": "-", "asked_as": "canary", "expected": "-"}
        return Finding(**fields, observed=observed, answer=Answer.ESTABLISHED)


class Server:
    """The server behind it, as it describes itself."""

    name, principal, instructions = "weather", "nobody", None
    capabilities: ClassVar[dict[str, Any]] = {"tools": {}}

    def __init__(self, *names: str) -> None:
        self.names = names
        self.described: dict[str, str] = {}
        """Tools that describe themselves, though the gateway may not have read it yet."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator["Server"]:
        yield self

    async def listed(self, _what: str) -> list[dict[str, Any]]:
        return [{**pin(name).definition, "description": self.described.get(name)} for name in self.names]


class Place:
    """A world with one gateway, and one server behind it."""

    def __init__(
        self, gateway: Gateway, *, approved: tuple[str, ...], imported: tuple[str, ...], watch_every: float = 0.1
    ) -> None:
        offers = Offers(tools={name: f"id-{name}" for name in imported})
        weather = READ.servers["weather"].model_copy(update={"offers": offers})
        pins = Pins(servers={"weather": tuple(map(pin, approved))})
        changes = {"servers": {"weather": weather}, "pins": pins, "watch_every": watch_every}
        self.inventory = READ.model_copy(update=changes)
        self.gateway = gateway
        self.server = Server(*(one.name for one in gateway.tools))

    def reach(self, kind: type[object], _name: str) -> Any:  # noqa: ANN401  # whichever of both is meant
        return self.server if kind is McpEndpoint else self.gateway


@asynccontextmanager
async def installation(folder: Path, place: Place, **parts: Any) -> AsyncIterator[House]:  # noqa: ANN401  # fields of Parts
    """Make an installation over a place, or open the one that is there.

    Args:
        folder: for its files.
        place: what it acts on.
        parts: parts of the engine.
    """
    async with house(folder / "house", cast("World", place)) as home:
        yield home.changed(**{"timing": scenes.FAST, "playbooks": flags.playbook(CUT_TOOL), **parts})
