"""The cuts that a ContextForge gateway can make. Each is one state change, found again by immutable id."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.contextforge import affected, exposure
from integrations.systems.contextforge.client import ENTRY_TIMEOUT, ContextForge, Held
from playbooks.action import Action, World
from playbooks.errors import Drifted, Gone, Misconfigured, Refused, SoarError
from playbooks.inventory import GatewayEntry, PinKind, Principal
from playbooks.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Unapproved, Verdict, undoing
from playbooks.strict import Name, Slug

ADMINISTRATOR: Final = "platform administrator"
"""What no permission makes up for."""

_RECENT: Final = 0.5
"""Seconds that a list may be old from which it is read what is already done."""

_ASKS: Final = ("GET /v1/tools", "GET /v1/prompts", "GET /v1/resources")


def forge_of(target: Target, world: World) -> ContextForge:
    """Return the gateway that a plan's target stands on."""
    return world.reach(ContextForge, target.system.removeprefix("gateway/"))


def entry_of(server: str, world: World) -> GatewayEntry:
    """Return where the inventory says that a server stands.

    Raises:
        Misconfigured: if it stands behind no gateway.
    """
    known = world.inventory.servers.get(server)
    if known is None or known.gateway is None:
        what = "the inventory has no such server" if known is None else "the server stands behind no gateway; name one"
        raise Misconfigured(what, field=f"servers.{server}.gateway")
    return known.gateway


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

    needs: ClassVar[tuple[str, ...]]
    """The permissions that our account needs there, beyond reading what clients read."""
    tried: ClassVar[str] = ""
    """What is read to see whether an administrator's session is not narrowed after all, to a team as an instance."""

    @override
    @classmethod
    @asynccontextmanager
    async def question(cls, plan: Plan, world: World) -> AsyncIterator[None]:
        forge = forge_of(plan.changes[0].target, world)
        async with forge.precedence.question(watching=exposure.settled(plan, forge)):
            yield


class _OneObject(AtGateway):
    """Keeps clients from one object of one server."""

    radius: ClassVar[Radius] = Radius.TOOL
    kind: ClassVar[PinKind]

    server: Slug

    @property
    @abstractmethod
    def object_name(self) -> str:
        """Its name at the server."""

    @override
    async def plan(self, world: World) -> Plan:
        entry = entry_of(self.server, world)
        forge = world.reach(ContextForge, entry.name)
        held, beside = await asyncio.gather(
            self._find(forge, entry, world),
            exposure.beside(self.server, forge, world.inventory, but=(self.kind, self.object_name)),
        )
        target = _target(entry, self.server, held)
        return Plan(
            action=self.name,
            params=self.model_dump(mode="json"),
            summary=f"Disable {target} at gateway {entry.name}",
            changes=(Change(target=target, field="enabled", before=held.enabled, after=False),),
            radius=self.radius,
            breaks=f"Nobody can use {target} through gateway {entry.name}.{exposure.untouched(beside)}",
            beside=beside,
        )

    @override
    def foresee(self, world: World) -> None:
        known = world.inventory.servers.get(self.server)
        pin = world.inventory.pins.find(self.server, self.kind, self.object_name)
        if self.kind is PinKind.TOOL and pin and pin.gateway_id and known and known.gateway:
            world.reach(ContextForge, known.gateway.name).foresee(pin.gateway_id, known.gateway.id)

    async def _find(self, forge: ContextForge, entry: GatewayEntry, world: World) -> Held:
        pin = world.inventory.pins.find(self.server, self.kind, self.object_name)
        if pin and pin.gateway_id and self.kind is PinKind.TOOL:
            held = await forge.tool(pin.gateway_id, entry.id)
            if held is not None:
                if held.name != self.object_name or held.entry != entry.id:
                    raise Refused(
                        f"the pinned id {pin.gateway_id} of {self.object_name} stands for {held.name} of {held.entry}"
                        f" at gateway {entry.name}: approve the pins of {self.server} anew"
                    )
                return held
        # Not pinned, or made anew by the gateway under another id: then its name at the server finds it.
        found = [held for held in await forge.held(self.kind, entry.id) if held.name == self.object_name]
        if len(found) != 1:
            what = f"{self.kind}s {self.object_name!r} of {self.server}"
            raise Refused(f"gateway {entry.name} holds {len(found)} {what}")
        return found[0]

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        target, forge = change.target, forge_of(change.target, world)
        entry = entry_of(target.server or "", world)
        if cls.kind is PinKind.TOOL:
            held = await forge.tool(target.id, entry.id)
        else:
            # Prompts and resources have no address that reads without using them.
            held = next((held for held in await forge.held(cls.kind, entry.id) if held.id == target.id), None)
        return _same(held, target, world).enabled

    @override
    @classmethod
    @asynccontextmanager
    async def turn(cls, change: Change, world: World) -> AsyncIterator[None]:
        async with forge_of(change.target, world).precedence.turn():
            yield

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        await forge_of(change.target, world).set_enabled(cls.kind, change.target.id, enabled=change.after is True)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return await exposure.contained(plan, world)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return await exposure.released(plan, world)

    @override
    @classmethod
    async def unapproved(cls, release: Plan, world: World) -> Unapproved:
        return await exposure.unapproved(release, world)


class DisableTool(_OneObject):
    """Keeps clients from one tool of a server, in listings and in calls.

    Args:
        server: the server, as the inventory names it.
        tool: the tool's name at the server.
    """

    name: ClassVar[str] = "gateway.disable_tool"
    needs: ClassVar[tuple[str, ...]] = ("tools.read", "tools.update")
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/tools/{id}",
        "POST /v1/tools/{id}/state",
        "GET /v1/servers",
        *_ASKS,
    )
    kind: ClassVar[PinKind] = PinKind.TOOL

    tool: Name

    @property
    def object_name(self) -> str:
        """Its name at the server."""
        return self.tool


class DisablePrompt(_OneObject):
    """Keeps clients from one prompt of a server.

    Args:
        server: the server, as the inventory names it.
        prompt: the prompt's name at the server.
    """

    name: ClassVar[str] = "gateway.disable_prompt"
    needs: ClassVar[tuple[str, ...]] = ("prompts.read", "prompts.update")
    permissions: ClassVar[tuple[str, ...]] = ("POST /v1/prompts/{id}/state", *_ASKS)
    kind: ClassVar[PinKind] = PinKind.PROMPT

    prompt: Name

    @property
    def object_name(self) -> str:
        """Its name at the server."""
        return self.prompt


class DisableResource(_OneObject):
    """Keeps clients from one resource of a server.

    Args:
        server: the server, as the inventory names it.
        resource: the resource's URI.
    """

    name: ClassVar[str] = "gateway.disable_resource"
    needs: ClassVar[tuple[str, ...]] = ("resources.read", "resources.update")
    permissions: ClassVar[tuple[str, ...]] = ("POST /v1/resources/{id}/state", *_ASKS)
    kind: ClassVar[PinKind] = PinKind.RESOURCE

    resource: Name

    @property
    def object_name(self) -> str:
        """Its name at the server."""
        return self.resource


class DisableServer(AtGateway):
    """Keeps clients from everything that a gateway holds from one server.

    Grips the entry and each object's own flag: enabling an entry enables everything under it, so that only a record of
    each flag brings back what was there.

    Args:
        server: the server, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.disable_server"
    needs: ClassVar[tuple[str, ...]] = ("gateways.read", "gateways.update", "tools.update")
    radius: ClassVar[Radius] = Radius.SERVER
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/gateways/{id}",
        "POST /v1/gateways/{id}/state",
        "GET /v1/tools/{id}",
        "POST /v1/tools/{id}/state",
        "POST /v1/prompts/{id}/state",
        "POST /v1/resources/{id}/state",
        "GET /v1/servers",
        *_ASKS,
    )
    timeout: ClassVar[float] = ENTRY_TIMEOUT + 1.0

    server: Slug

    @override
    async def plan(self, world: World) -> Plan:
        entry = entry_of(self.server, world)
        forge = world.reach(ContextForge, entry.name)
        fields = await forge.entry(entry.id)
        if fields is None:
            raise Refused(f"gateway {entry.name} has no entry {entry.id}; mend servers.{self.server}.gateway.id")
        held = await forge.catalog(entry.id)
        place = Target(
            system=f"gateway/{entry.name}",
            kind="entry",
            id=entry.id,
            name=printable(str(fields["name"])),
            server=self.server,
        )
        changes = [Change(target=place, field="enabled", before=bool(fields["enabled"]), after=False)]
        for item in held:
            target = _target(entry, self.server, item)
            changes.append(Change(target=target, field="enabled", before=item.enabled, after=False))
        listed = ", ".join(f"{item.kind} {item.name}" for item in held) or "nothing"
        return Plan(
            action=self.name,
            params=self.model_dump(mode="json"),
            summary=f"Disable {place} at gateway {entry.name}, with all that it offers: {listed}"[:20_000],
            changes=tuple(changes),
            radius=self.radius,
            breaks=f"Nobody can use anything of {self.server} through gateway {entry.name}.",
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        target, forge = change.target, forge_of(change.target, world)
        if target.kind == "entry":
            fields = await forge.entry(target.id)
            if fields is None:
                raise Gone(f"gateway {forge.name} no longer has the entry {target.id}")
            return bool(fields["enabled"])
        # Writing the entry has done most of them: one list finds that out, where a hundred single questions would take
        # seconds. Only what a list shows as done is taken from it; whatever is to be written is read anew.
        entry = entry_of(target.server or "", world)
        # Good for finding what is already done, not for more.
        by_id = {held.id: held for held in await forge.catalog(entry.id, forge.precedence.unchanged_for(_RECENT))}
        seen = by_id.get(target.id)
        if seen is None or seen.enabled != change.after:
            by_id = {held.id: held for held in await forge.held(PinKind(target.kind), entry.id)}
            seen = by_id.get(target.id)
        return _same(seen, target, world).enabled

    @override
    @classmethod
    @asynccontextmanager
    async def turn(cls, change: Change, world: World) -> AsyncIterator[None]:
        if change.target.kind == "entry" and change.after is True:
            # The gateway asks the server itself meanwhile, which may be slow on purpose: no cut queues behind that.
            yield
            return
        async with forge_of(change.target, world).precedence.turn():
            yield

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        target, forge, enabled = change.target, forge_of(change.target, world), change.after is True
        if target.kind == "entry":
            await forge.set_entry_enabled(target.id, enabled=enabled)
        else:
            await forge.set_enabled(PinKind(target.kind), target.id, enabled=enabled)

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        """Return the plan that restores each flag: the entry first, since enabling it enables everything under it.

        What was disabled before is thereby enabled for the moment until its own change disables it again.
        """
        entry, *rest = plan.changes
        if entry.before is not True:
            # The entry was disabled already and stays so: nothing under it comes back by itself.
            return plan.inverse()
        restored = [
            change.inverse() if change.before is True else change.model_copy(update={"before": True, "after": False})
            for change in rest
        ]
        # First what has to go off again, to keep that moment short.
        restored.sort(key=lambda change: change.after is True)
        summary = undoing(plan.summary).replace(", with all that it offers: ", ", each as it was before: ", 1)
        return plan.model_copy(update={"summary": summary, "changes": (entry.inverse(), *restored), "breaks": ""})

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return await exposure.contained(plan, world)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return await exposure.released(plan, world)

    @override
    @classmethod
    async def unapproved(cls, release: Plan, world: World) -> Unapproved:
        return await exposure.unapproved(release, world)


def principal_of(name: str, world: World) -> Principal:
    """Return a principal of the inventory.

    Raises:
        Misconfigured: if it has none of that name.
    """
    known = world.inventory.principals.get(name)
    if known is None:
        raise Misconfigured("the inventory has no such principal", field=f"principals.{name}")
    return known


class RevokeToken(AtGateway):
    """Makes one API token of a principal worthless.

    Args:
        principal: whose, as the inventory names it.
        token: which: the token's id, or the inventory's name for it if no token of the principal has that id.
    """

    name: ClassVar[str] = "gateway.revoke_token"
    needs: ClassVar[tuple[str, ...]] = (ADMINISTRATOR,)
    tried: ClassVar[str] = "/v1/tokens/admin/all"
    radius: ClassVar[Radius] = Radius.TOKEN
    permissions: ClassVar[tuple[str, ...]] = ("GET /v1/tokens/admin/all", "DELETE /v1/tokens/admin/{id}")
    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because="a revoked token cannot be made valid again; its owner needs a new one"
    )

    principal: Name
    token: Name

    @override
    async def plan(self, world: World) -> Plan:
        principal = principal_of(self.principal, world)
        id_ = principal.token(self.token)
        if {id_, self.token}.intersection(world.inventory.gateways[principal.gateway].credential_ids):
            raise Refused(f"the token {id_} is our own at gateway {principal.gateway}: it is never a target")
        # Alerts and people may give the id; whoever decides knows it by its name.
        label = next((label for label, known in principal.tokens.items() if known == id_), self.token)
        target = Target(system=f"gateway/{principal.gateway}", kind="token", id=id_, name=label)
        revoked = await _revoked(target, principal.user, world)
        return Plan(
            action=self.name,
            params=self.model_dump(mode="json"),
            summary=f"Revoke {target} (id {id_}) of {self.principal} at gateway {principal.gateway}",
            changes=(Change(target=target, field="revoked", before=revoked, after=True),),
            radius=self.radius,
            irreversible=self.irreversible,
            breaks=f"Whatever {self.principal} does with this token stops until a new one is issued.",
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await _revoked(change.target, None, world)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key
        if change.after is not True:
            raise Refused("a revoked token cannot be made valid again; issue a new one")
        try:
            await forge_of(change.target, world).revoke(change.target.id)
        except SoarError:
            # A second revocation meets the first one's record and breaks the gateway's own insert: that is done, too.
            if not await _revoked(change.target, None, world):
                raise

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        said = exposure.administrator_says(
            check="token",
            subject=f"token {target.name} (id {target.id})",
            expected="the gateway lists it as revoked and inactive",
            forge=forge_of(target, world),
            holds=lambda: _revoked(target, None, world),
        )
        found = await asyncio.gather(exposure.canary_control(target, world), said)
        who = str(plan.params["principal"])
        principal = world.inventory.principals.get(who)
        labels = [label for label, id_ in principal.tokens.items() if id_ == target.id] if principal else []
        return await affected.verdict(who, labels, found, world, out=True)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        finding = Finding(
            check="token",
            subject=f"token {target.name} (id {target.id})",
            asked_as="nobody",
            expected="it is valid again",
            observed="a revoked token stays revoked",
            answer=Answer.NOT_ESTABLISHED,
        )
        del world
        return Verdict.of((finding,))


async def _revoked(target: Target, user: str | None, world: World) -> bool:
    """Return whether a token is out of use.

    Raises:
        Refused: there is no such token, or it is another user's.
    """
    forge = forge_of(target, world)
    fields = next((token for token in await forge.tokens(user) if token["id"] == target.id), None)
    if fields is None:
        whose = f" of {user}" if user else ""
        raise Refused(f"gateway {forge.name} has no token{whose} with the id {target.id}")
    return bool(fields["is_revoked"]) and not fields["is_active"]


class DeactivateUser(AtGateway):
    """Keeps a principal's user out of a gateway, whatever token or password it comes with.

    Args:
        principal: who, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.deactivate_user"
    needs: ClassVar[tuple[str, ...]] = (ADMINISTRATOR,)
    tried: ClassVar[str] = "/v1/auth/email/admin/users"
    radius: ClassVar[Radius] = Radius.PRINCIPAL
    permissions: ClassVar[tuple[str, ...]] = (
        "GET /v1/auth/email/admin/users/{id}",
        "PATCH /v1/auth/email/admin/users/{id}",
    )

    principal: Name

    @override
    async def plan(self, world: World) -> Plan:
        principal = principal_of(self.principal, world)
        if principal.user == world.inventory.gateways[principal.gateway].user:
            raise Refused(f"{principal.user} is who we sign in as at gateway {principal.gateway}: never a target")
        target = Target(system=f"gateway/{principal.gateway}", kind="user", id=principal.user, name=self.principal)
        active = await _active(target, world)
        return Plan(
            action=self.name,
            params=self.model_dump(mode="json"),
            summary=f"Deactivate {target} ({target.id}) at gateway {principal.gateway}",
            changes=(Change(target=target, field="is_active", before=active, after=False),),
            radius=self.radius,
            breaks=f"{self.principal} can use nothing through gateway {principal.gateway}, with any of its tokens.",
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await _active(change.target, world)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        await forge_of(change.target, world).set_active(change.target.id, active=change.after is True)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return await cls._is(plan, world, active=False)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return await cls._is(plan, world, active=plan.changes[0].before is True)

    @classmethod
    async def _is(cls, plan: Plan, world: World, *, active: bool) -> Verdict:
        (target,) = plan.targets

        async def holds() -> bool:
            return await _active(target, world) is active

        said = exposure.administrator_says(
            check="user",
            subject=f"user {target.id}",
            expected=f"the gateway lists it as {'active' if active else 'inactive'}",
            forge=forge_of(target, world),
            holds=holds,
        )
        found = await asyncio.gather(exposure.canary_control(target, world), said)
        return await affected.verdict(str(plan.params["principal"]), None, found, world, out=not active)


async def _active(target: Target, world: World) -> bool:
    forge = forge_of(target, world)
    fields = await forge.user(target.id)
    if fields is None:
        raise Refused(f"gateway {forge.name} has no user {target.id}")
    return bool(fields["is_active"])


ACTIONS: Final[tuple[type[AtGateway], ...]] = (
    DisableTool,
    DisablePrompt,
    DisableResource,
    DisableServer,
    RevokeToken,
    DeactivateUser,
)
