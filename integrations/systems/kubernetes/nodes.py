"""Has no new pod come to the nodes that a server runs on; what runs there goes on.

Source: Kubernetes documentation, "Nodes": `spec.unschedulable` is the scheduler's to heed, which the node's lifecycle
controller tells it by a taint. A pod that names its node itself, or is a DaemonSet's, comes all the same.
"""

import asyncio
import time
from functools import partial
from typing import Any, ClassVar, Final
from urllib.parse import quote

from pydantic import JsonValue
from typing_extensions import override

from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import patched
from integrations.systems.kubernetes.workload import PODS, OfServer, find, placed, pods
from playbooks.action import World
from playbooks.errors import Gone, Refused, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.text.sentences import say

FIELD: Final = "unschedulable"
_NODES: Final = "/api/v1/nodes"
_TAINT: Final = "node.kubernetes.io/unschedulable"
_HEEDED: Final = 10.0
"""Seconds within which the taint comes, or goes; mostly it takes one."""

_EVERY: Final = 0.25


class Cordon(OfServer):
    """Has no new pod come to the nodes that a server's pods run on, whoever's; what runs there goes on.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.cordon"
    radius: ClassVar[Radius] = Radius.FLEET
    takes: ClassVar[str] = "nodes"
    permissions: ClassVar[tuple[str, ...]] = (
        *PODS,
        "get nodes",
        "patch nodes",
    )

    @override
    async def plan(self, world: World) -> Plan:
        changes: list[Change] = []
        for cluster, at in placed(self.server, self.system, world):
            api, found = world.reach(Api, cluster), await find(cluster, at, self.server, world)
            there = await pods(api, at, found.raw)
            names = sorted({str(pod["spec"]["nodeName"]) for pod in there if pod["spec"].get("nodeName")})
            changes += [_change(await _node(api, name), cluster, self.server) for name in names]
        if not changes:
            raise Refused(f"no pod of {self.server} runs on a node: there is none to cordon")
        breaks = say("No new pod of anybody comes to {a} of the nodes; what runs there goes on", a=len(changes))
        return self.plan_of(
            summary=say("Cordon {a}", a=", ".join(f"{one.target} at {_cluster(one.target)}" for one in changes)),
            changes=changes,
            breaks=breaks,
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        return _is(await _same(change.target, world))

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        there = await _same(change.target, world)
        if _is(there) is not change.after:
            await patched(
                api_of(change.target, world), _path(change.target.name), there, {"/spec/unschedulable": change.after}
            )

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_heeded(one, world, to=True) for one in plan.changes))))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        back = (_heeded(one, world, to=bool(one.before)) for one in plan.changes)
        return Verdict.of(tuple(await asyncio.gather(*back)))


def _cluster(target: Target) -> str:
    return target.system.replace("/", " ")


def _path(name: str) -> str:
    return f"{_NODES}/{quote(name, safe='')}"


def _is(node: dict[str, Any]) -> bool:
    return bool((node.get("spec") or {}).get("unschedulable"))


async def _node(api: Api, name: str) -> dict[str, Any]:
    return await api.request("GET", _path(name))


def _change(node: dict[str, Any], cluster: str, server: str) -> Change:
    metadata = node["metadata"]
    target = Target(
        system=f"kubernetes/{cluster}", kind="node", id=metadata["uid"], name=metadata["name"], server=server
    )
    return Change(target=target, field=FIELD, before=_is(node), after=True)


async def _same(target: Target, world: World) -> dict[str, Any]:
    """Return a node, if it still is the one that a plan means."""
    found = await _node(api_of(target, world), target.name)
    if found["metadata"]["uid"] != target.id:
        raise Gone(f"{target} at {target.system} is another one now: what the plan means was deleted")
    return found


async def _heeded(change: Change, world: World, *, to: bool) -> Finding:
    """Ask whether the scheduler is told to send no pod there, or told so no longer."""
    target = change.target
    expected = say("the scheduler is told to send nothing there") if to else say("the scheduler may send pods there")
    says = partial(finding, "node", target, expected)
    try:
        says = partial(says, asked_as=say("administrator {a}", a=await api_of(target, world).who()))
        until = time.monotonic() + _HEEDED
        while True:
            node = await _same(target, world)
            told = any(one.get("key") == _TAINT for one in (node.get("spec") or {}).get("taints") or ())
            if _is(node) is not to or told is to or time.monotonic() >= until:
                break
            await asyncio.sleep(_EVERY)
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    if _is(node) is not to:
        observed = say("it is not cordoned") if to else say("it is cordoned")
        return says(observed, Answer.NOT_ESTABLISHED)
    if told is not to:
        return says(say("the cluster has not told the scheduler yet"), Answer.UNKNOWN)
    return says(expected, Answer.ESTABLISHED)


ACTIONS: Final = (Cordon,)
