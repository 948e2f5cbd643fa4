"""Takes something out of what a server's pods may reach and be reached by: an address, or all but the gateway.

Policies only add up, and none takes away what another allows. So a policy of ours allows those pods what others allowed
them, but for what is to be out; and every other one that lets something through leaves them out. All that is taken out
of one workload's is in one policy, which is worked out anew whenever something comes or goes; what others allowed when
the first of it came is written on it. What they allow those pods later counts when all of it is given back.
"""

import asyncio
import ipaddress
import itertools
import re
from collections.abc import Collection
from functools import partial
from typing import Annotated, Any, ClassVar, Final

from pydantic import AfterValidator, JsonValue, ValidationError
from typing_extensions import override

from integrations.systems.kubernetes import Probe, Workload, exclusion, isolation, openings, quarantine, settings_of
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import Own
from integrations.systems.kubernetes.policies import (
    WAYS,
    Network,
    Raw,
    allowed,
    as_sent,
    narrowing,
    requirements,
    with_exclusion,
    within,
)
from integrations.systems.kubernetes.workload import OfServer, placed, same
from playbooks.action import World
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Target, Verdict, Widening
from playbooks.strict import Strict, iso, now
from playbooks.text.sentences import made_of, say

NARROW: Final = Own("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", "narrow")
_STATE: Final = "mcp-soar.io/narrowed"
_ONLY: Final = "only-gateway"
_WIDEST: Final = {4: 8, 6: 16}
"""Bits of the network's part of an address: what is wider is no address."""

Base = dict[str, list[dict[str, JsonValue]] | None]


class _State(Strict):
    """What is taken out of a workload's network, as our policy says it.

    Args:
        base: what others allowed, by way; None where nobody isolated it.
        blocked: addresses.
        only: the peer that alone reaches it; None for whoever did.
        since: when something was taken out last.
    """

    base: Base
    blocked: tuple[str, ...] = ()
    only: dict[str, JsonValue] | None = None
    since: str = ""

    def has(self, wanted: Raw) -> bool:
        """Whether that is taken out."""
        return wanted["address"] in self.blocked if "address" in wanted else self.only == wanted["only"]

    def changed(self, wanted: Raw, *, out: bool) -> "_State":
        """Return what is taken out with that, or without it."""
        if "address" in wanted:
            rest = {one for one in self.blocked if one != wanted["address"]}
            found = self.model_copy(update={"blocked": tuple(sorted({*rest, *([wanted["address"]] if out else [])}))})
        else:
            found = self.model_copy(update={"only": wanted["only"] if out else None})
        return found.model_copy(update={"since": iso(now())}) if out else found

    def spec(self, selector: Raw) -> dict[str, Any]:
        """Return what the policy says."""
        return narrowing(selector, self.base, [ipaddress.ip_network(one) for one in self.blocked], self.only)


def _read(there: Raw) -> _State | None:
    """Return what a policy of ours says is taken out; None if somebody wrote over that."""
    try:
        return _State.model_validate_json(there["metadata"]["annotations"][_STATE])
    except (KeyError, TypeError, ValueError, ValidationError):
        return None


def _network(written: str) -> str:
    try:
        found: Network = ipaddress.ip_network(written, strict=False)
    except ValueError as exc:
        message = f"{written!r} is no address, nor a network as 203.0.113.0/24"
        raise ValueError(message) from exc
    if found.prefixlen < _WIDEST[found.version]:
        message = f"{found} is too wide for an address: quarantine the server instead"
        raise ValueError(message)
    return str(found)


class _Narrowing(OfServer):
    """Takes something out of what a server's pods reach and are reached by."""

    takes: ClassVar[str] = "network"
    ways: ClassVar[Collection[str]] = tuple(WAYS)
    timeout: ClassVar[float] = 30.0

    def wanted(self, cluster: str, world: World) -> dict[str, JsonValue]:
        """Return what is taken out at a cluster."""
        raise NotImplementedError

    def field(self) -> str:
        """Return what a plan calls that."""
        raise NotImplementedError

    def said(self, named: str) -> tuple[str, str]:
        """Return what is done, and what that breaks."""
        raise NotImplementedError

    @override
    async def plan(self, world: World) -> Plan:
        places = list(placed(self.server, self.system, world))
        planned = await asyncio.gather(*(self._planned(cluster, at, world) for cluster, at in places))
        changes = tuple(itertools.chain.from_iterable(planned))
        ours = [one.target for one in changes if one.target.kind != exclusion.POLICY]
        others = ", ".join(str(one.target) for one in changes if one.target.kind == exclusion.POLICY)
        clusters = sorted({cluster for cluster, _ in places})
        kinds = set().union(*await asyncio.gather(*(exclusion.unread(world.reach(Api, one)) for one in clusters)))
        named = ", ".join(f"{one} at {one.system.replace('/', ' ')}" for one in ours)
        summary, breaks = self.said(named)
        if others:
            summary = made_of(summary, lambda id_: f"{id_}, and have {{e}} leave it out", e=others)
        if kinds:
            breaks = made_of(
                breaks,
                lambda id_: f"{id_}. Policies of {{d}} are not read: what they allow may go on",
                d=", ".join(sorted(kinds)),
            )
        return self.plan_of(
            summary=summary,
            changes=changes,
            breaks=breaks,
        )

    async def _planned(self, cluster: str, at: Workload, world: World) -> list[Change]:
        one = await exclusion.around(cluster, at, self.server, world)
        target, wanted = one.found.target, self.wanted(cluster, world)
        await _not_shut_off(target, world)
        there = await NARROW.there(target, world)
        mine = NARROW.name(target.id)
        changes, kept = exclusion.leaving_out(one, but_for=mine, ways=self.ways)
        if kept:
            raise Refused(
                f"{', '.join(kept)} would go on allowing it, and no one label tells its pods from others there: "
                "quarantine it, or end its pods"
            )
        self.check(one)
        state = _read(there) if there else None
        what = one.told.negated.raw if one.told else {}
        rest = [exclusion.without(policy, what) for policy in one.policies if policy["metadata"]["name"] != mine]
        base = state.base if state else {way: allowed(rest, one.own, way) for way in WAYS}
        change = Change(target=target, field=self.field(), before=None, after={**wanted, "base": base})
        return [change.model_copy(update={"before": await self.read(change, world)}), *changes]

    def check(self, one: exclusion.Around) -> None:
        """Refuse what cannot be taken out of a workload's network; by default nothing."""

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        if change.target.kind == exclusion.POLICY:
            return await exclusion.read(change, world)
        wanted: JsonValue = change.after if change.after is not None else change.before
        there = await NARROW.there(change.target, world)
        if there is None:
            await same(change.target, world)
            return None
        state = _read(there)
        if change.after is None:
            # What somebody wrote over is given back whole.
            return wanted if state is None or state.has(exclusion.raw(wanted)) else None
        if state is None or not state.has(exclusion.raw(wanted)):
            return None
        return wanted if await _as_written(change.target, there, state, world) else None

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        if change.target.kind == exclusion.POLICY:
            return await exclusion.write(change, world)
        out = change.after is not None
        wanted, target = exclusion.raw(change.after if out else change.before), change.target
        there = await NARROW.there(target, world)
        if not out and there is None:
            return None
        state = (_read(there) if there else None) or _State(base=wanted["base"])
        if there and state.has(wanted) is out and await _as_written(target, there, state, world):
            return None
        state = state.changed(wanted, out=out)
        if not state.blocked and state.only is None:
            return await NARROW.take_away(target, world)
        selector = (await same(target, world))["spec"]["selector"]
        spec, notes = state.spec(selector), {_STATE: state.model_dump_json()}
        if there is None:
            await _not_shut_off(target, world)
        elif await quarantine.OURS.there(target, world):
            # The quarantine has this one leave the workload out, and takes that back itself.
            spec["podSelector"] = there["spec"]["podSelector"]
        await NARROW.put(target, spec, world, notes=notes)
        return None

    @override
    @classmethod
    def inverse(cls, plan: Plan) -> Plan:
        # What others allow comes back first: there is no moment without either.
        summary = say("Have {a} reached, and reach others, as before", a=", ".join(map(str, plan.targets)))
        return plan.inverse().model_copy(update={"summary": summary})

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        ours = [one for one in plan.changes if one.target.kind != exclusion.POLICY]
        looks = await asyncio.gather(*(cls._look(one, plan, world) for one in ours))
        findings = tuple(itertools.chain.from_iterable(found for found, _ in looks))
        return Verdict.of(findings, tuple(itertools.chain.from_iterable(more for _, more in looks)))

    @classmethod
    async def _look(cls, change: Change, plan: Plan, world: World) -> tuple[list[Finding], list[Widening]]:
        """Ask what is in force about one workload, and then the network itself."""
        target, expected = change.target, say("no policy but ours lets anything through to its pods, or from them")
        says = partial(finding, "policies", target, expected)
        try:
            says = partial(says, asked_as=say("administrator {a}", a=await api_of(target, world).who()))
            selector = (await same(target, world))["spec"]["selector"]
            one = await exclusion.seen(NARROW, target, selector, says, world)
            if one.ours is None or await cls.read(change, world) is None:
                return [says(say("what is to be out is not taken out"), Answer.NOT_ESTABLISHED)], []
            found, more = exclusion.through(one, plan, but_for=NARROW.name(target.id), ways=cls.ways)
            if found:
                return found, more
            none = say("no NetworkPolicy does; those of {a} are not read", a=", ".join(sorted(one.unread)))
            found = [says(none if one.unread else say("none does"), Answer.ESTABLISHED)]
        except SoarError as exc:
            return [says(str(exc), Answer.UNKNOWN)], []
        return [*found, *await cls._tried(one, world)], []

    @classmethod
    async def _tried(cls, one: exclusion.InForce, world: World) -> list[Finding]:
        target, scene = one.scene.target, one.scene
        network = partial(finding, "network", target, say("what is taken out is out of reach"))
        settings = settings_of(world.inventory, target.system.removeprefix("kubernetes/"))
        if settings is None or settings.probe is None:
            return [isolation.probe_missing(target, network)]
        state, api = _read(one.ours or {}), api_of(target, world)
        try:
            found = await cls.ask(scene, settings.probe, world)
            if all(each.answer is Answer.ESTABLISHED for each in found):
                found.append(await isolation.open_before(scene, state.since if state else "", api, settings.probe))
        except SoarError as exc:
            return [network(str(exc), Answer.UNKNOWN)]
        return found

    @classmethod
    async def ask(cls, scene: isolation.Scene, given: Probe, world: World) -> list[Finding]:
        """Ask the network itself."""
        raise NotImplementedError

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_back(cls, change, world) for change in plan.changes))))


class BlockAddress(_Narrowing):
    """Takes an address out of what a server's pods reach, and are reached from; all else that they reach goes on.

    Args:
        server: whose.
        address: an address, or a network as 203.0.113.0/24; not one of pods.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.block_address"
    takes: ClassVar[str] = "way to it"
    permissions: ClassVar[tuple[str, ...]] = exclusion.PERMISSIONS

    address: Annotated[str, AfterValidator(_network)]

    @override
    def wanted(self, cluster: str, world: World) -> dict[str, JsonValue]:
        return {"address": self.address}

    @override
    def field(self) -> str:
        return _field(self.address)

    @override
    def said(self, named: str) -> tuple[str, str]:
        return (
            say("Block {b} for {a}", a=named, b=self.address),
            say("{a} does not reach {b}, nor is reached from there; all else goes on", a=self.server, b=self.address),
        )

    @override
    def check(self, one: exclusion.Around) -> None:
        mine = ipaddress.ip_network(self.address)
        for pod in one.pods:
            address = (pod.get("status") or {}).get("podIP")
            if address and within(ipaddress.ip_network(address), mine):
                raise Refused(
                    f"{self.address} is an address of pods, for which many networks go by no policy: quarantine them"
                )

    @override
    @classmethod
    async def ask(cls, scene: isolation.Scene, given: Probe, world: World) -> list[Finding]:
        return await openings.by_address(scene.target, api_of(scene.target, world), given)


class OnlyGateway(_Narrowing):
    """Closes the way around the gateway: nobody but its pods reaches a server's pods.

    Args:
        server: whose.
        system: on which cluster; on all of them if None. It says which pods are the gateway's.
    """

    name: ClassVar[str] = "kubernetes.only_gateway"
    takes: ClassVar[str] = "way around the gateway"
    ways: ClassVar[Collection[str]] = ("Ingress",)
    permissions: ClassVar[tuple[str, ...]] = (*exclusion.PERMISSIONS, "get serviceaccounts")

    @override
    def wanted(self, cluster: str, world: World) -> dict[str, JsonValue]:
        settings = settings_of(world.inventory, cluster)
        if settings is None or settings.gateway is None:
            raise Misconfigured(
                "it does not say which pods are the gateway's; write its namespace and labels",
                field=f"systems.{cluster}.gateway",
            )
        # Every namespace has its name as this label, which nobody can change.
        there: dict[str, JsonValue] = {"matchLabels": {"kubernetes.io/metadata.name": settings.gateway.namespace}}
        mine: dict[str, JsonValue] = {"matchLabels": dict(settings.gateway.labels)}
        return {"only": {"namespaceSelector": there, "podSelector": mine}}

    @override
    def field(self) -> str:
        return _ONLY

    @override
    def said(self, named: str) -> tuple[str, str]:
        return (
            say("Let nobody but the gateway reach {a}", a=named),
            say("Nobody but the gateway reaches {a} there; whom it reaches itself goes on", a=self.server),
        )

    @override
    @classmethod
    async def ask(cls, scene: isolation.Scene, given: Probe, world: World) -> list[Finding]:
        if not scene.running:
            says = partial(finding, "bypass", scene.target, say("it reaches none of its pods"))
            return [says(say("it has no pods at this moment: there is nothing to reach"), Answer.ESTABLISHED)]
        settings = settings_of(world.inventory, scene.target.system.removeprefix("kubernetes/"))
        if settings is None or settings.gateway is None:
            raise Misconfigured("it does not say any more which pods are the gateway's", field="systems")
        return await openings.bypassed(scene, settings.gateway, api_of(scene.target, world), given)


async def _not_shut_off(target: Target, world: World) -> None:
    """Refuse what would let something through that is shut off as a whole.

    Raises:
        Refused: it is quarantined.
    """
    if await quarantine.OURS.there(target, world):
        raise Refused(f"{target} is quarantined: nothing reaches it, and it reaches nobody; give that back first")


async def _as_written(target: Target, there: Raw, state: _State, world: World) -> bool:
    """Whether our policy says what it is to say; a quarantine of ours has it leave the workload out."""
    selector = (await same(target, world))["spec"]["selector"]
    spec = there["spec"]
    if await quarantine.OURS.there(target, world):
        chosen = spec.get("podSelector") or {}
        for asked in requirements(selector):
            chosen = with_exclusion(chosen, asked.negated.raw, there=False)
        spec = {**spec, "podSelector": chosen}
    return as_sent(spec) == as_sent(state.spec(selector))


async def _back(cls: type[_Narrowing], change: Change, world: World) -> Finding:
    """Ask whether what was taken out is not taken out by us any more."""
    says = partial(finding, "policies", change.target, say("nothing of ours takes it out"))
    try:
        says = partial(says, asked_as=say("administrator {a}", a=await api_of(change.target, world).who()))
        present = await cls.read(change.inverse(), world)
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    if present is None or change.before is not None:
        return says(say("nothing does"), Answer.ESTABLISHED)
    return says(say("it is taken out still"), Answer.NOT_ESTABLISHED)


async def held(target: Target, world: World) -> dict[str, JsonValue]:
    """Return what is taken out of a workload's network, as a plan's changes say it, by their fields.

    Args:
        target: the workload.
        world: the connections.
    """
    there = await NARROW.there(target, world)
    state = _read(there) if there else None
    if state is None:
        return {}
    base: JsonValue = state.model_dump(mode="json")["base"]
    found: dict[str, JsonValue] = {_field(one): {"address": one, "base": base} for one in state.blocked}
    return {**found, **({_ONLY: {"only": state.only, "base": base}} if state.only else {})}


def _field(address: str) -> str:
    return f"blocks-{re.sub('[^0-9a-f.]', '-', address)}"


ACTIONS: Final = (BlockAddress, OnlyGateway)
