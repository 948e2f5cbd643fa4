"""The cuts that a gateway can make of who uses it: one token, or a user with all tokens."""

import asyncio
from typing import ClassVar

from pydantic import JsonValue
from typing_extensions import override

from integrations.gateways import affected
from integrations.gateways.actions import AtGateway
from integrations.gateways.driver import driver_at, driver_of
from playbooks.action import World
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.estate.gateway import GatewayAccount
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.strict import Name
from playbooks.text.sentences import say


def account_of(name: str, world: World) -> tuple[str, GatewayAccount]:
    """Return the gateway at which the inventory says that a principal has its account, and that.

    Raises:
        Misconfigured: if it has none.
    """
    known = world.inventory.principals.get(name)
    if known is None or known.gateway is None:
        what = "the inventory has no such principal" if known is None else "no gateway knows the principal; name one"
        raise Misconfigured(what, field=f"principals.{name}.places" if known else f"principals.{name}")
    return known.gateway


class RevokeToken(AtGateway):
    """Makes one API token of a principal worthless.

    Args:
        principal: whose, as the inventory names it.
        token: which: the token's id, or the inventory's name for it if no token of the principal has that id.
    """

    name: ClassVar[str] = "gateway.revoke_token"
    radius: ClassVar[Radius] = Radius.TOKEN
    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because=say("a revoked token cannot be made valid again; its owner needs a new one")
    )

    principal: Name
    token: Name

    @override
    async def plan(self, world: World) -> Plan:
        gateway, account = account_of(self.principal, world)
        id_ = account.token(self.token)
        driver = driver_at(gateway, world, self.name)
        if driver.credentials.intersection({id_, self.token}):
            raise Refused(f"the token {id_} is our own at gateway {gateway}: it is never a target")
        # Alerts and people may give the id; whoever decides knows it by its name.
        label = next((label for label, known in account.tokens.items() if known == id_), self.token)
        target = Target(system=f"gateway/{gateway}", kind="token", id=id_, name=label)
        revoked = await _revoked(target, account.user, world)
        return self.plan_of(
            summary=say("Revoke {a} (id {b}) of {c} at gateway {d}", a=target, b=id_, c=self.principal, d=gateway),
            changes=(Change(target=target, field="revoked", before=revoked, after=True),),
            breaks=say("Whatever {a} does with this token stops until a new one is issued", a=self.principal),
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
            await driver_of(change.target, world).revoke(change.target.id)
        except SoarError:
            # A second revocation meets the first one's record and breaks the gateway's own insert: that is done, too.
            if not await _revoked(change.target, None, world):
                raise

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        (target,) = plan.targets
        said = affected.administrator_says(
            check="token",
            subject=f"token {target.name} (id {target.id})",
            expected=say("the gateway lists it as revoked and inactive"),
            driver=driver_of(target, world),
            holds=lambda: _revoked(target, None, world),
        )
        found = await asyncio.gather(affected.canary_control(target, world), said)
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
            asked_as=say("nobody"),
            expected="it is valid again",
            observed=say("a revoked token stays revoked"),
            answer=Answer.NOT_ESTABLISHED,
        )
        del world
        return Verdict.of((finding,))


async def _revoked(target: Target, user: str | None, world: World) -> bool:
    """Return whether a token is out of use.

    Raises:
        Refused: there is no such token, or it is another user's.
    """
    driver = driver_of(target, world)
    revoked = await driver.is_revoked(target.id, user)
    if revoked is None:
        whose = f" of {user}" if user else ""
        raise Refused(f"gateway {driver.name} has no token{whose} with the id {target.id}")
    return revoked


class DeactivateUser(AtGateway):
    """Keeps a principal's user out of a gateway, whatever token or password it comes with.

    Args:
        principal: who, as the inventory names it.
    """

    name: ClassVar[str] = "gateway.deactivate_user"
    radius: ClassVar[Radius] = Radius.PRINCIPAL

    principal: Name

    @override
    async def plan(self, world: World) -> Plan:
        gateway, account = account_of(self.principal, world)
        if account.user == driver_at(gateway, world, self.name).administrator:
            raise Refused(f"{account.user} is who we sign in as at gateway {gateway}: never a target")
        target = Target(system=f"gateway/{gateway}", kind="user", id=account.user, name=self.principal)
        active = await _active(target, world)
        return self.plan_of(
            summary=say("Deactivate {a} ({b}) at gateway {c}", a=target, b=target.id, c=gateway),
            changes=(Change(target=target, field="is_active", before=active, after=False),),
            breaks=say("{a} can use nothing through gateway {b}, with any of its tokens", a=self.principal, b=gateway),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return await _active(change.target, world)

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        del key  # a state is set, not toggled: twice is once without a token
        await driver_of(change.target, world).set_active(change.target.id, active=change.after is True)

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

        said = affected.administrator_says(
            check="user",
            subject=say("user {a}", a=target.id),
            expected=say("the gateway lists it as active") if active else say("the gateway lists it as inactive"),
            driver=driver_of(target, world),
            holds=holds,
        )
        found = await asyncio.gather(affected.canary_control(target, world), said)
        return await affected.verdict(str(plan.params["principal"]), None, found, world, out=not active)


async def _active(target: Target, world: World) -> bool:
    driver = driver_of(target, world)
    active = await driver.is_active(target.id)
    if active is None:
        raise Refused(f"gateway {driver.name} has no user {target.id}")
    return active
