"""Keeps what a server runs as from growing, where load makes it: no pod more in its namespace, or no larger container.

What runs goes on as it is. Source: Kubernetes API reference v1.36, ResourceQuota and LimitRange: both are asked about
what is created, seconds after they are there, and neither about what there is already.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, JsonValue
from typing_extensions import override

from integrations.systems.kubernetes import Probe, probe_of, workloads
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import Own, namespace_of
from integrations.systems.kubernetes.policies import Raw
from integrations.systems.kubernetes.probe import pod
from integrations.systems.kubernetes.workload import CORE, FOUND, Found, OfServer, find, placed, same
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.strict import canonical
from playbooks.text.sentences import made_of, say

FREEZE: Final = Own("ResourceQuota", "v1", "resourcequotas", "freeze")
LIMIT: Final = Own("LimitRange", "v1", "limitranges", "limit")
KINDS: Final = {one.stem: one for one in (FREEZE, LIMIT)}
"""By the field of a plan's change."""

_FROZEN: Final[Mapping[str, JsonValue]] = {"hard": {"pods": "0"}}
_LEAST: Final[Mapping[str, JsonValue]] = {"cpu": "10m", "memory": "16Mi"}
"""What a container is given that asks for nothing."""

_HEEDED: Final = 20.0
"""Seconds within which the API server heeds one, or no longer; mostly it takes one or two."""

_EVERY: Final = 0.25


class _Ceiling(OfServer):
    """Sets an upper bound beside a server's workloads."""

    own: ClassVar[Own]

    def spec(self) -> dict[str, JsonValue]:
        """Return the bound, as the API has it."""
        raise NotImplementedError

    def said(self, named: str, namespaces: str) -> tuple[str, str]:
        """Return what is done, and what that breaks."""
        raise NotImplementedError

    @override
    async def plan(self, world: World) -> Plan:
        places = list(placed(self.server, self.system, world))
        found = await asyncio.gather(*(find(cluster, at, self.server, world) for cluster, at in places))
        changes = await asyncio.gather(*(self._planned(one, world) for one in found))
        summary, breaks = self.said(
            ", ".join(f"{one.target} at cluster {one.cluster}" for one in found),
            ", ".join(sorted({at.namespace for _, at in places})),
        )
        where = {(cluster, at.namespace) for cluster, at in places}
        others = {
            server
            for server, cluster, at in workloads(world.inventory)
            if (cluster, at.namespace) in where and server != self.server
        }
        if others:
            breaks = made_of(breaks, lambda id_: f"{id_}. {{d}} runs there too", d=", ".join(sorted(others)))
        return self.plan_of(
            summary=summary,
            changes=changes,
            radius=Radius.FLEET if others else None,
            breaks=breaks,
        )

    async def _planned(self, found: Found, world: World) -> Change:
        spec = self.spec()
        change = Change(target=found.target, field=self.own.stem, before=None, after=spec)
        there = await self.read(change, world)
        if there is None:
            # Whether the cluster would take it from us is known before anybody is asked.
            await self.own.put(found.target, spec, world, dry=True)
        return change.model_copy(update={"before": there})

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        there = await held(cls.own, change.target, world)
        if there is None:
            await same(change.target, world)
        return there

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        if isinstance(change.after, dict):
            await same(change.target, world)
            await cls.own.put(change.target, change.after, world)
        else:
            await cls.own.take_away(change.target, world)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_heeded(cls.own, one, world) for one in plan.changes))))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_back(cls.own, one, world) for one in plan.changes))))


class FreezePods(_Ceiling):
    """Lets no new pod start in the namespaces of a server's workloads; what runs goes on, and is not replaced.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.freeze_pods"
    takes: ClassVar[str] = "new pods"
    own: ClassVar[Own] = FREEZE
    permissions: ClassVar[tuple[str, ...]] = (
        *FOUND,
        # Asked as a dry run alone.
        "create pods",
        *(f"{verb} resourcequotas" for verb in ("get", "create", "patch", "delete")),
    )

    @override
    def spec(self) -> dict[str, JsonValue]:
        return dict(_FROZEN)

    @override
    def said(self, named: str, namespaces: str) -> tuple[str, str]:
        return (
            say("Let no new pod start beside {a}", a=named),
            say("No pod starts in namespace {a}, nor in the place of one that ends; what runs goes on", a=namespaces),
        )


class LimitPods(_Ceiling):
    """Lets no container start in the namespaces of a server's workloads that may use more than so much.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
        millicores: of a processor, a thousand of which are one.
        mebibytes: of memory.
    """

    name: ClassVar[str] = "kubernetes.limit_pods"
    takes: ClassVar[str] = "larger pods"
    own: ClassVar[Own] = LIMIT
    permissions: ClassVar[tuple[str, ...]] = (
        *FOUND,
        # Asked as a dry run alone.
        "create pods",
        *(f"{verb} limitranges" for verb in ("get", "create", "patch", "delete")),
    )

    # Below these the pods that try the network would not start either.
    millicores: Annotated[int, Field(ge=200, le=1_000_000)] = 500
    mebibytes: Annotated[int, Field(ge=32, le=16 * 1024 * 1024)] = 512

    @override
    def spec(self) -> dict[str, JsonValue]:
        return limits(*_quantities(self.millicores, self.mebibytes))

    @override
    def said(self, named: str, namespaces: str) -> tuple[str, str]:
        cpu, memory = _quantities(self.millicores, self.mebibytes)
        return (
            say("Let no container start beside {a} that may use more than {b} CPU and {c}", a=named, b=cpu, c=memory),
            say("No container that asks for more starts in namespace {a}; what runs goes on", a=namespaces),
        )


def _quantities(millicores: int, mebibytes: int) -> tuple[str, str]:
    """Return them as the API server writes them: in whole units where that is exact."""
    cpu = f"{millicores}m" if millicores % 1000 else str(millicores // 1000)
    amount, unit = mebibytes, "Mi"
    for larger in ("Gi", "Ti"):
        if amount % 1024:
            break
        amount, unit = amount // 1024, larger
    return cpu, f"{amount}{unit}"


def limits(cpu: str, memory: str) -> dict[str, JsonValue]:
    """Return what a LimitRange of ours says."""
    most: dict[str, JsonValue] = {"cpu": cpu, "memory": memory}
    return {"limits": [{"type": "Container", "max": most, "default": {**most}, "defaultRequest": {**_LEAST}}]}


def _ours(spec: Raw) -> bool:
    """Whether a bound says what one of ours says, of whatever size."""
    if canonical(spec) == canonical(_FROZEN):
        return True
    most = ((spec.get("limits") or [{}])[0]).get("max") or {}
    return canonical(spec) == canonical(limits(str(most.get("cpu")), str(most.get("memory"))))


async def held(own: Own, target: Target, world: World) -> dict[str, Any] | None:
    """Return what bounds a workload on our account; None if nothing does, or somebody made another thing of it."""
    there = await own.there(target, world)
    return there["spec"] if there is not None and _ours(there["spec"]) else None


def _more(quantity: str) -> str:
    """Return a little more than a quantity."""
    number = quantity.rstrip("mMGTi")
    return f"{int(number) + 1}{quantity[len(number) :]}"


def _asked_for(change: Change, given: Probe) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a pod that is to be refused, and what its refusal says if we are why."""
    body = pod("mcp-soar-asked", "stand-in", given.image, [])
    if change.field == FREEZE.stem:
        return body, (FREEZE.name(change.target.id),)
    wanted = change.after if isinstance(change.after, dict) else change.before
    most = wanted["limits"][0]["max"]
    body["spec"]["containers"][0]["resources"]["limits"] = {what: _more(much) for what, much in most.items()}
    return body, tuple(f"maximum {what} usage per Container is {much}" for what, much in most.items())


async def _heeded(own: Own, change: Change, world: World) -> Finding:  # noqa: PLR0911  # one for each thing found
    """Ask whether a pod beyond the bound is refused for it, and one that is within it is not."""
    target, namespace = change.target, namespace_of(change.target)
    freezes = own is FREEZE
    expected = (
        say("a new pod there is refused for it, and elsewhere it is not")
        if freezes
        else say("a pod that asks for more is refused for it, and one that does not is not")
    )
    says = partial(finding, own.stem, target, expected)
    try:
        api = api_of(target, world)
        says = partial(says, asked_as=say("administrator {a}", a=await api.who()))
        in_force = canonical(await held(own, target, world)) == canonical(change.after)
        given = _probe(target, world)
        if given is None:
            remedy = say("name an image for it in systems.{a}.probe of inventory.yaml", a=api.name)
            return says(say("nobody can say: no probe is set up"), Answer.UNKNOWN, remedy=remedy)
        body, because = _asked_for(change, given)
        until = time.monotonic() + (_HEEDED if in_force else 0.0)
        while True:
            said = await api.refusal(path_of(CORE, namespace, "pods"), body)
            if all(why in said for why in because) or time.monotonic() >= until:
                break
            await asyncio.sleep(_EVERY)
        where = path_of(CORE, given.namespace if freezes else namespace, "pods")
        control = await api.refusal(where, pod("mcp-soar-asked", "stand-in", given.image, []))
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    if not in_force:
        return says(say("our bound is not there"), Answer.NOT_ESTABLISHED)
    if not said:
        return says(say("it would be let in"), Answer.NOT_ESTABLISHED)
    if not all(why in said for why in because):
        return says(say("it is refused for another reason: {a}", a=said), Answer.UNKNOWN)
    # What is asked last is the number of pods: refused for that, it was within the limits.
    if control and (freezes or FREEZE.name(target.id) not in control):
        return says(say("the one that is to be let in is refused too: {a}", a=control), Answer.UNKNOWN)
    return says(expected, Answer.ESTABLISHED)


async def _back(own: Own, change: Change, world: World) -> Finding:
    """Ask whether nothing of ours bounds it any more; what others refuse is theirs."""
    target = change.target
    says = partial(finding, own.stem, target, say("nothing of ours refuses it"))
    try:
        api, given = api_of(target, world), _probe(target, world)
        says = partial(says, asked_as=say("administrator {a}", a=await api.who()))
        there = await held(own, target, world)
        if change.before is not None:
            return says(say("it was so before"), Answer.ESTABLISHED)
        if there is not None:
            return says(say("our bound is still there"), Answer.NOT_ESTABLISHED)
        until = time.monotonic() + _HEEDED
        while given is not None:
            body, because = _asked_for(change, given)
            said = await api.refusal(path_of(CORE, namespace_of(target), "pods"), body)
            if not all(why in said for why in because):
                break
            if time.monotonic() >= until:
                return says(said, Answer.NOT_ESTABLISHED)
            await asyncio.sleep(_EVERY)
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    return says(say("nothing does"), Answer.ESTABLISHED)


def _probe(target: Target, world: World) -> Probe | None:
    return probe_of(world.inventory, target.system.removeprefix("kubernetes/"))


ACTIONS: Final = (FreezePods, LimitPods)
