"""What contains a server on a cluster: each finds its workload again by uid, and asks whether its pods are gone."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.systems.kubernetes import Probe, probe_of, reverters
from integrations.systems.kubernetes.client import JSON_PATCH, Api
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.reverters import Reverter
from integrations.systems.kubernetes.workload import (
    Found,
    OfServer,
    find,
    path,
    place_of,
    placed,
    pods,
    ready,
    same,
    shown,
)
from playbooks.action import World
from playbooks.errors import Gone, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Target, Verdict, Widening
from playbooks.text.sentences import made_of, say

POD_LOGS: Final = "workload"
PROCESSES: Final = "processes"
FILES: Final = "files"
OF_PODS: Final = (POD_LOGS, PROCESSES, FILES)
"""Kinds of exhibits that are gone with a pod."""
"""The exhibit that is lost with a pod: what its containers wrote, the instances before included."""

_NAMED: Final = 5
"""Pods that one finding names."""

_REPLICAS: Final = "replicas"


def api_of(target: Target, world: World) -> Api:
    """Return the cluster that a plan's target stands on."""
    return world.reach(Api, target.system.removeprefix("kubernetes/"))


class ScaleToZero(OfServer):
    """Pauses what would start a server's workloads again, ends every pod of them, and keeps how many there were.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.scale_to_zero"
    takes: ClassVar[str] = "pods"
    permissions: ClassVar[tuple[str, ...]] = (
        "get deployments.apps",
        "get deployments.apps/scale",
        "patch deployments.apps/scale",
        "get statefulsets.apps",
        "get statefulsets.apps/scale",
        "patch statefulsets.apps/scale",
        "list replicasets.apps",
        "list pods",
        *reverters.PERMISSIONS,
    )
    destroys: ClassVar[tuple[str, ...]] = OF_PODS
    timeout: ClassVar[float] = 12.0

    @override
    async def plan(self, world: World) -> Plan:
        found = await asyncio.gather(
            *(find(cluster, at, self.server, world) for cluster, at in placed(self.server, self.system, world))
        )
        some = await asyncio.gather(*(reverters.reverters(one, world) for one in found))
        paused = [one for of in some for one in of.pausable]
        named = ", ".join(f"{one.target} at cluster {one.cluster}" for one in found)
        # Who would start them again stands still before they end.
        pauses = {change.grip: change for change in (one.change for one in paused)}
        ends = (Change(target=one.target, field=_REPLICAS, before=one.replicas, after=0) for one in found)
        ending = sum(one.replicas for one in found)
        summary = say("Scale {a} to zero", a=named)
        if pauses:
            summary = say(
                "Pause {b}, then scale {a} to zero", a=named, b=", ".join(str(one.target) for one in pauses.values())
            )
        return self.plan_of(
            summary=summary,
            changes=(*pauses.values(), *ends),
            destroys=self.destroys if ending else (),
            breaks=_breaks(self.server, ending, paused, [name for of in some for name in of.others]),
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        if change.field != _REPLICAS:
            return await reverters.read(change, world)
        scale = await same(change.target, world, "scale")
        return int(scale.get("spec", {}).get("replicas", 0))

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        if change.field != _REPLICAS:
            await reverters.write(change, world)
            return
        at = place_of(change.target, world)
        # Refused where another stands under the name by now.
        body = [
            {"op": "test", "path": "/metadata/uid", "value": change.target.id},
            {"op": "replace", "path": "/spec/replicas", "value": change.after},
        ]
        api = api_of(change.target, world)
        await api.request("PATCH", path(at, "scale"), body=body, media_type=JSON_PATCH)

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        ends, pauses = _parted(plan)
        found = await asyncio.gather(
            *(_ended(change, world) for change in ends), *(reverters.stands(change, world) for change in pauses)
        )
        since = [one for change in ends for one in await _came_since(change, plan, world)]
        again = {name: value for name, value in plan.params.items() if value is not None}
        because = say("{a} may start its pods again", a=since[0].subject) if since else ""
        widen = (Widening(action=cls.name, params=again, because=because),) if since else ()
        return Verdict.of((*found, *since), widen)

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        ends, pauses = _parted(plan)
        found = await asyncio.gather(
            *(_back(change, world) for change in ends),
            *(reverters.stands(change, world, released=True) for change in pauses),
        )
        return Verdict.of(tuple(found))


def _parted(plan: Plan) -> tuple[list[Change], list[Change]]:
    """Return what a plan ends, and what it pauses."""
    ends = [change for change in plan.changes if change.field == _REPLICAS]
    return ends, [change for change in plan.changes if change.field != _REPLICAS]


def _breaks(server: str, ending: int, paused: Sequence[Reverter], others: Sequence[str]) -> str:
    said = say("Nobody reaches {a}: all of its pods end ({b} now)", a=server, b=ending)
    if paused:
        more = say("{a} more objects", a=sum(one.others for one in paused))
        names = ", ".join(sorted({str(one.change.target) for one in paused}))
        said = made_of(
            said,
            lambda id_: f"{id_}. {{d}} stands still meanwhile, with {{e}} that it manages",
            d=names,
            e=more,
        )
    if others:
        again = " and ".join(sorted(set(others)))
        said = made_of(said, lambda id_: f"{id_}. {{c}} may start them again: pause it there", c=again)
    return said


async def _came_since(change: Change, plan: Plan, world: World) -> list[Finding]:
    """Return who would start a workload's pods again, and came after the plan."""
    target = change.target
    try:
        found = Found(
            target.system.removeprefix("kubernetes/"),
            place_of(target, world),
            target.server or "",
            await same(target, world),
        )
        return [one async for one in reverters.came_since(found, [one.grip for one in plan.changes], world)]
    except Gone:
        # What is gone has its own finding.
        return []
    except SoarError as exc:
        return [finding("pods", target, say("nothing may start its pods again"), str(exc), Answer.UNKNOWN)]


async def _ended(change: Change, world: World) -> Finding:
    """Ask whether a workload has pods left: what its `spec` says is a wish, and one that is ending still runs.

    Where it is gone, nobody can say what of it goes on: its pods may have been left behind, and another of its name is
    that server all the same.
    """
    target, expected = change.target, say("no pod of it is left")
    try:
        at, api = place_of(target, world), api_of(target, world)
        found = await same(target, world)
        left = await pods(api, at, found, probe=_probe(target, world))
        asked_as = await api.who()
    except SoarError as exc:
        return finding("pods", target, expected, str(exc), Answer.UNKNOWN)
    wanted = found.get("spec", {}).get("replicas", 1)
    if left:
        named = ", ".join(map(shown, left[:_NAMED])) + (f" and {len(left) - _NAMED} more" if len(left) > _NAMED else "")
        return finding(
            "pods", target, expected, f"{len(left)} left: {named}", Answer.NOT_ESTABLISHED, asked_as=asked_as
        )
    if wanted:
        observed = f"none at this moment, and {wanted} are wanted of it: they are on their way"
        return finding("pods", target, expected, observed, Answer.NOT_ESTABLISHED, asked_as=asked_as)
    return finding(
        "pods", target, expected, say("none is left, and none is wanted"), Answer.ESTABLISHED, asked_as=asked_as
    )


def _probe(target: Target, world: World) -> Probe | None:
    return probe_of(world.inventory, target.system.removeprefix("kubernetes/"))


async def _back(change: Change, world: World) -> Finding:
    target, before = change.target, change.before
    expected = say("{a} pods of it are ready", a=before) if before else say("it has no pods, as before")
    try:
        at, api = place_of(target, world), api_of(target, world)
        there = await pods(api, at, await same(target, world), probe=_probe(target, world))
        asked_as = await api.who()
    except SoarError as exc:
        return finding("pods", target, expected, str(exc), Answer.UNKNOWN)
    are = sum(map(ready, there))
    enough = isinstance(before, int) and (are >= before if before else not there)
    observed = f"{are} of {len(there)} are ready"
    return finding(
        "pods", target, expected, observed, Answer.ESTABLISHED if enough else Answer.NOT_ESTABLISHED, asked_as=asked_as
    )


ACTIONS: Final = (ScaleToZero,)
