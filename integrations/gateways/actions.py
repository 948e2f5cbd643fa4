"""The cuts that a gateway can make of what its servers offer. Each is one state change, found again by immutable id."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.catalogue import Held
from integrations.gateways import exposure, returned
from integrations.gateways.driver import ENTRY_TIMEOUT, LISTED, GatewayDriver, driver_at, driver_of, entry_of
from integrations.gateways.scene import settled
from integrations.hostile import printable
from playbooks.action import Action, Glimpse, World
from playbooks.errors import Drifted, Gone, Refused
from playbooks.estate.gateway import GatewayEntry
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import LIST, Beside, Change, Plan, Radius, Target, Unapproved, Verdict, undoing
from playbooks.strict import Name, Slug
from playbooks.text.sentences import made_of, say

_RECENT: Final = 0.5
"""Seconds that a list may be old from which it is read what is already done."""


_WITH_ALL = ", with all that it offers: "


def _breaks(target: Target, gateway: str, untouched: str) -> str:
    if not untouched:
        return say("Nobody can use {a} through gateway {b}", a=target, b=gateway)
    return say(
        "Nobody can use {a} through gateway {b}. Not touched, though nobody approved it: {c}",
        a=target,
        b=gateway,
        c=untouched,
    )


def _back(plan: Plan, changes: tuple[Change, ...]) -> Plan:
    summary = made_of(undoing(plan.summary), lambda id_: id_.replace(_WITH_ALL, ", each as it was before: ", 1))
    return plan.model_copy(update={"summary": summary, "changes": changes, "breaks": ""})


def _target(entry: GatewayEntry, server: str, held: Held) -> Target:
    return Target(system=f"gateway/{entry.name}", kind=held.kind, id=held.id, name=held.name, server=server)


def _same(held: Held | None, target: Target, world: World) -> Held:
    """Return the object if it is the one that the plan means.

    Raises:
        Gone: it is no longer there.
        Drifted: its id now stands for another.
    """
    if held is None:
        raise Gone(f"{target} is no longer at {target.system} under the id {target.id}")
    # The id is the key; by its name a person would notice that it stands for something else..
    if (
        target.name not in {held.name, printable(held.names.original)}
        or held.entry != entry_of(target.server or "", world).id
    ):
        raise Drifted(f"the id {target.id} at {target.system} now stands for {held.kind} {held.name} of {held.entry}")
    return held


class AtGateway(Action):
    """What stands at one gateway."""

    permissions: ClassVar[tuple[str, ...]] = ()
    """Each product has its own, which its driver declares."""

    @override
    @classmethod
    @asynccontextmanager
    async def question(cls, plan: Plan, world: World) -> AsyncIterator[None]:
        driver = driver_of(plan.changes[0].target, world)
        async with driver.precedence.question(watching=settled(plan, driver)):
            yield


class _Exposure(AtGateway):
    """Keeps clients from what one server offers: asked about as a client, and compared with what was approved."""

    server: Slug

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return await exposure.contained(plan, world)

    @override
    @classmethod
    async def glance(cls, plan: Plan, world: World) -> Glimpse:
        return await exposure.glanced(plan, world)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return await returned.released(plan, world)

    @override
    @classmethod
    async def unapproved(cls, release: Plan, world: World) -> Unapproved:
        return await returned.unapproved(release, world)


class _OneObject(_Exposure):
    """Keeps clients from one object of one server, which the field bears that is called as its kind."""

    radius: ClassVar[Radius] = Radius.TOOL
    kind: ClassVar[PinKind]

    @property
    def object_name(self) -> str:
        """Its name at the server."""
        return str(getattr(self, self.kind))

    @override
    async def plan(self, world: World) -> Plan:
        entry = entry_of(self.server, world)
        driver = driver_at(entry.name, world, self.name)
        held, beside = await asyncio.gather(
            self._find(driver, entry, world),
            exposure.beside(self.server, driver, world.inventory, but=(self.kind, self.object_name)),
        )
        target = _target(entry, self.server, held)
        return self.plan_of(
            summary=say("Disable {a} at gateway {b}", a=target, b=entry.name),
            changes=(Change(target=target, field="enabled", before=held.enabled, after=False),),
            breaks=_breaks(target, entry.name, exposure.untouched(beside)),
            beside=beside,
        )

    @override
    def foresee(self, world: World) -> None:
        known = world.inventory.servers.get(self.server)
        pin = world.inventory.pins.find(self.server, self.kind, self.object_name)
        if self.kind is PinKind.TOOL and pin and pin.gateway_id and known and known.gateway:
            driver_at(known.gateway.name, world).foresee(pin.gateway_id, known.gateway.id)

    async def _find(self, driver: GatewayDriver, entry: GatewayEntry, world: World) -> Held:
        pin = world.inventory.pins.find(self.server, self.kind, self.object_name)
        if pin and pin.gateway_id and self.kind is PinKind.TOOL:
            held = await driver.tool(pin.gateway_id, entry.id)
            if held is not None:
                if held.name != self.object_name or held.entry != entry.id:
                    raise Refused(
                        f"the pinned id {pin.gateway_id} of {self.object_name} stands for {held.name} of {held.entry}"
                        f" at gateway {entry.name}: approve the pins of {self.server} anew"
                    )
                return held
        # Not pinned, or made anew by the gateway under another id: then its name at the server finds it.
        found = [held for held in await driver.held(self.kind, entry.id) if held.name == self.object_name]
        if len(found) != 1:
            what = f"{self.kind}s {self.object_name!r} of {self.server}"
            raise Refused(f"gateway {entry.name} holds {len(found)} {what}")
        return found[0]

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        target = change.target
        entry = entry_of(target.server or "", world)
        if target.kind == LIST:
            return await driver_of(target, world).allows(target.id)
        held = await driver_of(target, world).one(cls.kind, target.id, entry.id)
        return _same(held, target, world).enabled

    @override
    @classmethod
    @asynccontextmanager
    async def turn(cls, change: Change, world: World) -> AsyncIterator[None]:
        async with driver_of(change.target, world).precedence.turn():
            yield

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        driver, id_ = driver_of(change.target, world), change.target.id
        if change.target.kind == LIST:
            await driver.set_allows(id_, str(change.after))
        else:
            await driver.set_enabled(cls.kind, id_, enabled=change.after is True)


class DisableTool(_OneObject):
    """Keeps clients from one tool of a server, in listings and in calls.

    Args:
        server: the server, as the inventory names it.
        tool: the tool's name at the server.
    """

    name: ClassVar[str] = "gateway.disable_tool"
    kind: ClassVar[PinKind] = PinKind.TOOL

    tool: Name

    @override
    async def plan(self, world: World) -> Plan:
        plan = await super().plan(world)
        entry, (target,) = entry_of(self.server, world), plan.targets
        driver = driver_at(entry.name, world)
        if plan.pending and await driver.is_last(target.id, entry.id):
            return await _with_its_server(target, world)
        if (allows := await driver.allows(entry.id)) is not None:
            # What decides is one list: whichever incident wrote the first, the last one's release takes it away.
            place = target.model_copy(update={"kind": LIST, "id": entry.id, "name": self.server})
            listed = Change(target=place, field="allows", before=allows, after=LISTED)
            return plan.model_copy(update={"changes": (*plan.changes, listed)})
        calls = await driver.busy(entry.id)
        return stopping(plan, calls) if calls and plan.pending else plan

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        # The tool before the list: what that takes away is compared with what clients may use then.
        back = plan.inverse()
        return back.model_copy(update={"changes": back.changes[::-1]})


async def _with_its_server(target: Target, world: World) -> Plan:
    """Return the wider plan of a tool's cut: without a name a list lets all through, so its server goes."""
    plan = await DisableServer(server=target.server or "").plan(world)
    breaks = say(
        "Nobody can use anything of {a} through gateway {b}. Without {c} the gateway's list of {a} would be empty, and"
        " an empty one lets all tools through",
        a=target.server,
        b=target.system.removeprefix("gateway/"),
        c=target.name,
    )
    return plan.model_copy(update={"breaks": breaks + "."})


def stopping(plan: Plan, calls: int) -> Plan:
    """Return the wider plan of a tool's cut: its server is in use, and is stopped for it.

    Args:
        plan: the narrow one.
        calls: how many are under way as far as is known.
    """
    (target,) = plan.targets
    gateway = target.system.removeprefix("gateway/")
    untouched = exposure.untouched([one for one in plan.beside if isinstance(one, Beside)])
    also = ". Not touched, though nobody approved it: {e}" if untouched else ""
    breaks = say(
        "Nobody can use {a} through gateway {b}. {c} calls of {d} are under way and break off, whoever made them:"
        " the gateway changes nothing of a server that is in use" + also,
        a=target,
        b=gateway,
        c=max(calls, 1),
        d=target.server,
        **({"e": untouched} if untouched else {}),
    )
    summary = say("Stop server {a} at gateway {b} and disable {c}", a=target.server, b=gateway, c=target)
    wider = {"action": StopAndDisableTool.name, "radius": StopAndDisableTool.radius}
    return plan.model_copy(update={**wider, "summary": summary, "breaks": f"{breaks}."})


class StopAndDisableTool(DisableTool):
    """Keeps clients from one tool of a server that is in use: calls of any of its tools that are under way break off.

    Where a gateway takes no change of a server that is in use, `gateway.disable_tool` plans this. It is given back
    without a stop, once nothing is under way.

    Args:
        server: the server, as the inventory names it.
        tool: the tool's name at the server.
    """

    name: ClassVar[str] = "gateway.stop_and_disable_tool"
    radius: ClassVar[Radius] = Radius.SERVER
    timeout: ClassVar[float] = ENTRY_TIMEOUT + 1.0

    @override
    async def plan(self, world: World) -> Plan:
        plan = await super().plan(world)
        return plan if plan.summary.startswith("Stop ") else stopping(plan, 1)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        driver, enabled = driver_of(change.target, world), change.after is True
        await driver.set_enabled(cls.kind, change.target.id, enabled=enabled, stopping=not enabled)

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        (target,) = plan.targets
        gateway = target.system.removeprefix("gateway/")
        summary = say("Give back {a} at gateway {b}", a=target, b=gateway)
        return plan.inverse().model_copy(update={"summary": summary})


class DisablePrompt(_OneObject):
    """Keeps clients from one prompt of a server.

    Args:
        server: the server, as the inventory names it.
        prompt: the prompt's name at the server.
    """

    name: ClassVar[str] = "gateway.disable_prompt"
    kind: ClassVar[PinKind] = PinKind.PROMPT

    prompt: Name


class DisableResource(_OneObject):
    """Keeps clients from one resource of a server.

    Args:
        server: the server, as the inventory names it.
        resource: the resource's URI.
    """

    name: ClassVar[str] = "gateway.disable_resource"
    kind: ClassVar[PinKind] = PinKind.RESOURCE

    resource: Name


class DisableServer(_Exposure):
    """Keeps clients from everything that a gateway holds from one server.

    Grips the entry and, where enabling an entry enables everything under it, each object's own flag: only a record of
    each brings back what was there.

    Args:
        server: the server, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.disable_server"
    radius: ClassVar[Radius] = Radius.SERVER
    timeout: ClassVar[float] = ENTRY_TIMEOUT + 1.0

    @override
    async def plan(self, world: World) -> Plan:
        entry = entry_of(self.server, world)
        driver = driver_at(entry.name, world, self.name)
        entered = await driver.entry_at(entry.id)
        if entered is None:
            raise Refused(
                f"gateway {entry.name} has no entry {entry.id}; mend servers.{self.server}.places.{entry.name}.id"
            )
        held = await driver.catalog(entry.id)
        place = Target(
            system=f"gateway/{entry.name}",
            kind="entry",
            id=entry.id,
            name=printable(entered.name),
            server=self.server,
        )
        changes = [Change(target=place, field="enabled", before=entered.enabled, after=False)]
        for item in held if driver.governs else ():
            target = _target(entry, self.server, item)
            changes.append(Change(target=target, field="enabled", before=item.enabled, after=False))
        listed = ", ".join(f"{item.kind} {item.name}" for item in held) or "nothing"
        return self.plan_of(
            summary=say("Disable {a} at gateway {b}, with all that it offers: {c}", a=place, b=entry.name, c=listed)[
                :20_000
            ],
            changes=changes,
            breaks=say("Nobody can use anything of {a} through gateway {b}", a=self.server, b=entry.name),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        target, driver = change.target, driver_of(change.target, world)
        if target.kind == "entry":
            entered = await driver.entry_at(target.id)
            if entered is None:
                raise Gone(f"gateway {driver.name} no longer has the entry {target.id}")
            return entered.enabled
        # Writing the entry has done most of them: one list finds that out, where a hundred single questions would take
        # seconds. Only what a list shows as done is taken from it; whatever is to be written is read anew.
        entry = entry_of(target.server or "", world)
        # Good for finding what is already done, not for more.
        by_id = {held.id: held for held in await driver.catalog(entry.id, driver.precedence.unchanged_for(_RECENT))}
        seen = by_id.get(target.id)
        if seen is None or seen.enabled != change.after:
            by_id = {held.id: held for held in await driver.held(PinKind(target.kind), entry.id)}
            seen = by_id.get(target.id)
        return _same(seen, target, world).enabled

    @override
    @classmethod
    @asynccontextmanager
    async def turn(cls, change: Change, world: World) -> AsyncIterator[None]:
        if change.target.kind == "entry" and change.after is not False:
            # The gateway asks the server itself meanwhile, which may be slow on purpose: no cut queues behind that.
            yield
            return
        async with driver_of(change.target, world).precedence.turn():
            yield

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        target, driver, enabled = change.target, driver_of(change.target, world), change.after is True
        if target.kind == "entry":
            await driver.set_entry_enabled(
                target.id, enabled=change.after if isinstance(change.after, str) else enabled
            )
            # What was listed before that says nothing of it.
            driver.note(target.id, enabled=change.after is not False)
        else:
            await driver.set_enabled(PinKind(target.kind), target.id, enabled=enabled)

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        """Return the plan that restores each flag: the entry first, since enabling it enables everything under it.

        What was disabled before is thereby enabled for the moment until its own change disables it again.
        """
        entry, *rest = plan.changes
        if entry.before is False or not rest:
            # The entry was disabled already and stays so, or nothing under it is gripped.
            return _back(plan, plan.inverse().changes)
        restored = [
            change.inverse() if change.before is True else change.model_copy(update={"before": True, "after": False})
            for change in rest
        ]
        # First what has to go off again, to keep that moment short.
        restored.sort(key=lambda change: change.after is True)
        return _back(plan, (entry.inverse(), *restored))

    @override
    @classmethod
    async def glance(cls, plan: Plan, world: World) -> Glimpse:
        entry = plan.changes[0]
        entered = await driver_of(entry.target, world).entry_at(entry.target.id)
        rest = await exposure.glanced(plan, world, but=[entered.enabled if entered else None])
        return rest._replace(holds=rest.holds and (entered is None or cls.holds(entry, entered.enabled)))
