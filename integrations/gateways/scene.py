"""One server behind one gateway, as whoever asks about a plan needs it: what was approved, and what stood beside it."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from integrations.catalogue import Held, Names
from integrations.gateways.canary import Canary
from integrations.gateways.driver import GatewayDriver, driver_at
from integrations.hostile import own_name
from integrations.protocol.probe import rejected_arguments
from playbooks.action import World
from playbooks.estate.inventory import Inventory, Server
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Beside, Finding, Plan, Target
from playbooks.strict import digest
from playbooks.text.sentences import clause

MOST_CALLED: Final = 3
"""Of a whole server's tools this many are called; all are looked for in the list."""


class Scene:
    """One server behind one gateway, while a plan about it is verified."""

    def __init__(self, plan: Plan, world: World) -> None:
        first = plan.changes[0].target
        gateway = first.system.removeprefix("gateway/")
        self.server = first.server or ""
        self.inventory = world.inventory
        self.notes: Server = world.inventory.servers[self.server]
        self.pins = world.inventory.pins
        self.entry = self.notes.gateway.id if self.notes.gateway else ""
        self.world = world
        self.driver = driver_at(gateway, world)
        self.canary = world.reach(Canary, gateway)
        self.targets = things(plan)
        self.beside = frozenset(one.thing if isinstance(one, Beside) else one for one in plan.beside)
        self.given_back = {
            one.thing: one.given_back
            for one in plan.beside
            # What was approved of its name since then is what people decided last.
            if isinstance(one, Beside) and one.given_back and one.approved == self._approved(one.kind, one.name)
        }
        self.imported = self.inventory.unapproved(self.server)
        self.whole = first.kind == "entry"
        if self.whole and not self.targets:
            # Only the entry is gripped: what was approved, or imported, says what its server offered.
            self.targets = _known(first, self.inventory)
        self.settled = settled(plan, self.driver)
        self.approved = bool(self.pins.of(self.server))
        self.siblings = frozenset(pin.gateway_id for pin in self.pins.of(self.server) if pin.gateway_id)

    def _approved(self, kind: str, name: str) -> str:
        """Return the digest of what is approved of a name now, pin and all; empty if nothing is."""
        pin = self.pins.find(self.server, PinKind(kind), name)
        return digest(pin) if pin else ""

    def as_given_back(self, held: Held) -> Beside:
        """Return a thing as it is now, with what is approved of its name."""
        one = as_beside(held)
        return one.model_copy(update={"approved": self._approved(one.kind, one.name)})

    def arguments(self, kind: PinKind, name: str, definition: dict[str, Any]) -> dict[str, Any] | None:
        """Return what a probe may send."""
        return _arguments(self.notes, kind, name, definition)

    def was_beside(self, held: Held) -> bool:
        """Whether it is what the plan leaves alone, and nothing that came later under the same name."""
        if thing(held) in self.beside:
            return True
        # A plan of before says neither id nor definition; the inventory has at least the id.
        return (held.kind, held.name) in self.beside and (held.kind, held.name, held.id) in self.imported

    def back(self, held: Held) -> str:
        """Return who gave it back as it is, and where; empty if nobody did, or it is another thing by now."""
        return self.given_back.get(thing(held), "")

    def is_approved(self, held: Held) -> bool:
        """Whether it is what people approved."""
        pin = self.pins.find(self.server, held.kind, held.name)
        return pin is not None and pin.gateway_digest == held.digest

    def form(self, target: Target, catalog: Mapping[str, Held]) -> tuple[Names, dict[str, Any]] | None:
        """Return a target's names and definition, as the gateway holds it or as it was approved; None if neither."""
        held = catalog.get(target.id)
        if held is not None:
            return held.names, held.definition
        pin = self.pins.find(self.server, PinKind(target.kind), target.name) if self.whole else None
        if pin is None or pin.gateway_name is None:
            return None
        return Names(pin.gateway_name, str(pin.definition.get("name") or pin.name)), pin.definition

    def offered_as(self, target: Target, catalog: dict[str, Held]) -> str | None:
        """Return the name that clients use for a target."""
        held = catalog.get(target.id)
        pin = self.pins.find(self.server, PinKind(target.kind), target.name)
        return held.offered_as if held else pin.gateway_name if pin else None

    def unapproved(self, held: Held, gone: Collection[tuple[str, str]] = ()) -> str | None:
        """Return why nobody would let clients have a thing, as a clause; None if somebody did, or nothing was approved.

        Args:
            held: the thing.
            gone: kinds and names of what is cut, under which nothing comes back.
        """
        if (held.kind, held.name) in gone:
            return clause("is back under another id")
        if not self.approved or self.is_approved(held) or self.back(held):
            return None
        if self.pins.find(self.server, held.kind, held.name) is not None:
            return clause("differs from its approved definition")
        return None if self.was_beside(held) else clause("was never approved")

    def finding(
        self, check: str, subject: str, expected: str, observed: str, answer: Answer = Answer.UNKNOWN
    ) -> Finding:
        """Return what the canary found."""
        return Finding(
            check=check,
            subject=subject[:2000],
            asked_as=self.canary.endpoint.principal,
            expected=expected,
            observed=observed[:20_000],
            answer=answer,
        )


def things(plan: Plan) -> list[Target]:
    """Return the tools, prompts and resources that a plan is about."""
    return [target for target in plan.targets if target.kind in set(PinKind)]


def _known(entry: Target, inventory: Inventory) -> list[Target]:
    server = entry.server or ""
    known = {(pin.kind, pin.name): pin.gateway_id for pin in inventory.pins.of(server) if pin.gateway_id}
    known = {(kind, name): id_ for kind, name, id_ in inventory.unapproved(server)} | known
    return [
        Target(system=entry.system, kind=kind, id=id_, name=name, server=server)
        for (kind, name), id_ in sorted(known.items())
    ]


def _arguments(notes: Server, kind: PinKind, name: str, definition: dict[str, Any]) -> dict[str, Any] | None:
    if kind is not PinKind.TOOL:
        asked = definition.get("arguments")
        names = [item.get("name") for item in asked] if isinstance(asked, list) else []
        return {str(name): "mcp-soar probe" for name in names}
    noted = notes.tools.get(name)
    if noted is not None and noted.safe_arguments is not None:
        return dict(noted.safe_arguments)
    return rejected_arguments(definition.get("inputSchema"))


async def control_call(canary: Canary, inventory: Inventory, server: str) -> Finding | None:
    """Call a server's control tool as a client would; None if it has none that is pinned and harmless to call.

    Args:
        canary: of the server's gateway.
        inventory: with the pins.
        server: as the inventory calls it.
    """
    notes = inventory.servers[server]
    pin = inventory.pins.find(server, PinKind.TOOL, notes.control_tool) if notes.control_tool else None
    if pin is None or pin.gateway_name is None:
        return None
    arguments = _arguments(notes, PinKind.TOOL, pin.name, pin.definition)
    return None if arguments is None else await canary.control(pin.gateway_name, arguments)


def settled(plan: Plan, driver: GatewayDriver) -> bool:
    """Return whether a plan was verified some time ago, so that whoever asks again is the watch."""
    return driver.settled(target.id for target in things(plan))


def thing(held: Held) -> tuple[str, str, str, str]:
    """Return what it is, as `Beside.thing`, of whatever a server or its gateway calls things."""
    return held.kind.value, held.name, own_name(held.id), held.digest


def as_beside(held: Held) -> Beside:
    """Return likewise, as plans write it down."""
    kind, name, id_, digest = thing(held)
    return Beside(kind=kind, name=name, id=id_, digest=digest)
