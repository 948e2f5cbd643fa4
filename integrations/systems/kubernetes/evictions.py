"""Ends the pods that a server runs as; their controller starts others in their place.

Source: Kubernetes documentation, "API-initiated Eviction": an eviction is refused with 429 where a PodDisruptionBudget
does not allow it, which names the budget; a deletion asks no budget. Either goes by the pod's uid, so that another pod
of the same name, as a StatefulSet makes, is never ended for it.
"""

import asyncio
import itertools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.kubernetes import Workload, probe_of
from integrations.systems.kubernetes.actions import OF_PODS, api_of
from integrations.systems.kubernetes.client import Api, Budgeted, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import namespace_of
from integrations.systems.kubernetes.workload import CORE, PODS, Found, OfServer, find, placed, pods, shown
from playbooks.action import World
from playbooks.errors import Gone, Refused, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Target, Verdict
from playbooks.text.sentences import Sentence, say

_FIELD: Final = "running"
_NAMED: Final = 5


class _Ends(OfServer):
    """Ends each pod that a server runs as when it is planned.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    takes: ClassVar[str] = "pods"
    irreversible: ClassVar[Irreversible | None] = Irreversible(
        because=say("a pod that ended never comes back, nor what it had in memory and on disk")
    )
    destroys: ClassVar[tuple[str, ...]] = OF_PODS

    @classmethod
    @abstractmethod
    def summary(cls, named: str) -> Sentence:
        """Return what is done to the pods of those names."""

    @classmethod
    @abstractmethod
    async def end(cls, api: Api, target: Target) -> None:
        """Have a pod end, if it still is the one that is meant.

        Args:
            api: its cluster.
            target: the pod.

        Raises:
            SoarError: Gone if it has ended, Drifted if another one has its name, Budgeted if a budget does not let it
                end now.
        """

    @override
    async def plan(self, world: World) -> Plan:
        found = await asyncio.gather(
            *(find(cluster, at, self.server, world) for cluster, at in placed(self.server, self.system, world))
        )
        there = await asyncio.gather(*(_changes(one, world) for one in found))
        changes = tuple(itertools.chain.from_iterable(there))
        if not changes:
            raise Refused(f"no pod of {self.server} is there: there is none to end")
        await asyncio.gather(
            *(self.let(api_of(change.target, world), change.target) for change in changes if change.pending)
        )
        return self.plan_of(
            summary=self.summary(
                ", ".join(f"{one.target} at {one.target.system.replace('/', ' ')}" for one in changes)
            ),
            changes=changes,
            destroys=self.destroys,
            breaks=say(
                "{a} pods end, and what they were doing breaks off; {b} starts as many in their place, of the image"
                " that is written there",
                a=len(changes),
                b=", ".join(str(one.target) for one in found),
            ),
        )

    @classmethod
    async def let(cls, api: Api, target: Target) -> None:
        """Ask whether a pod may end, before people are asked; by default it may.

        Raises:
            Refused: it may not.
        """
        del api, target

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:
        there = await _same(change.target, world)
        return there is not None and "deletionTimestamp" not in there["metadata"]

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        try:
            if await cls.read(change, world):
                await cls.end(api_of(change.target, world), change.target)
        except Gone:
            # It ended by itself meanwhile.
            return

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        system = plan.params["system"]
        places = placed(str(plan.params["server"]), None if system is None else str(system), world)
        some = await asyncio.gather(*(_place(cluster, at, plan, world) for cluster, at in places))
        return Verdict.of(tuple(itertools.chain.from_iterable(some)))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        # Nothing of it comes back.
        return Verdict(answer=Answer.ESTABLISHED)


class Evict(_Ends):
    """Evicts each pod that a server runs as, unless a PodDisruptionBudget forbids it; others start in their place.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.evict"
    permissions: ClassVar[tuple[str, ...]] = (*PODS, "get pods", "create pods/eviction")

    @override
    @classmethod
    def summary(cls, named: str) -> Sentence:
        return say("Evict {a}", a=named)

    @override
    @classmethod
    async def let(cls, api: Api, target: Target) -> None:
        try:
            await _evict(api, target, {"dryRun": ["All"]})
        except Budgeted as exc:
            raise Refused(f"{target} may not be evicted now: {exc}; kubernetes.delete_pods asks no budget") from exc
        except Gone:
            return

    @override
    @classmethod
    async def end(cls, api: Api, target: Target) -> None:
        await _evict(api, target, {})


class DeletePods(_Ends):
    """Deletes each pod that a server runs as, whatever budget there is; others start in their place.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.delete_pods"
    permissions: ClassVar[tuple[str, ...]] = (*PODS, "get pods", "delete pods")

    @override
    @classmethod
    def summary(cls, named: str) -> Sentence:
        return say("Delete {a}", a=named)

    @override
    @classmethod
    async def end(cls, api: Api, target: Target) -> None:
        await api.request("DELETE", _path(target), body={"preconditions": {"uid": target.id}})


def _path(target: Target, sub: str = "") -> str:
    return path_of(CORE, namespace_of(target), "pods", target.name.partition("/")[2], sub)


async def _evict(api: Api, target: Target, options: dict[str, Any]) -> None:
    namespace, _, name = target.name.partition("/")
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": {"preconditions": {"uid": target.id}, **options},
    }
    await api.request("POST", _path(target, "eviction"), body=body)


async def _pods(cluster: str, at: Workload, found: dict[str, Any], world: World) -> list[dict[str, Any]]:
    return await pods(world.reach(Api, cluster), at, found, probe=probe_of(world.inventory, cluster))


async def _changes(found: Found, world: World) -> list[Change]:
    """Return what ends each pod of a workload."""
    changes = []
    for pod in await _pods(found.cluster, found.at, found.raw, world):
        metadata = pod["metadata"]
        target = Target(
            system=f"kubernetes/{found.cluster}",
            kind="pod",
            id=metadata["uid"],
            name=f"{found.at.namespace}/{metadata['name']}",
            server=found.server,
        )
        changes.append(Change(target=target, field=_FIELD, before="deletionTimestamp" not in metadata, after=False))
    return changes


async def _same(target: Target, world: World) -> dict[str, Any] | None:
    """Return a pod; None if it has ended, whoever has its name by now."""
    try:
        found = await api_of(target, world).request("GET", _path(target))
    except Gone:
        return None
    return found if found["metadata"]["uid"] == target.id else None


async def _place(cluster: str, at: Workload, plan: Plan, world: World) -> list[Finding]:
    """Ask whether the pods of one workload have ended, each for itself, and what there is in their place."""
    system, here = f"kubernetes/{cluster}", f"{at.namespace}/"
    meant = [one for one in plan.changes if one.target.system == system and one.target.name.startswith(here)]
    api, since = world.reach(Api, cluster), list[dict[str, Any]]()
    asked_as, said = str(say("nobody")), ""
    try:
        asked_as = await api.who()
        found = await find(cluster, at, str(plan.params["server"]), world)
        known = {one.target.id for one in meant}
        since = [pod for pod in await _pods(cluster, at, found.raw, world) if pod["metadata"]["uid"] not in known]
    except Gone:
        # With its workload gone nothing starts another.
        pass
    except SoarError as exc:
        said = str(exc)
    return [await _ended(one, since, said, asked_as, world) for one in meant]


async def _ended(change: Change, since: Sequence[dict[str, Any]], unknown: str, asked_as: str, world: World) -> Finding:
    target, expected = change.target, say("it has ended")
    try:
        there = await _same(target, world)
    except SoarError as exc:
        return finding("pods", target, expected, str(exc), Answer.UNKNOWN)
    if there is not None:
        return finding("pods", target, expected, shown(there), Answer.NOT_ESTABLISHED, asked_as=asked_as)
    named = ", ".join(map(shown, since[:_NAMED])) + (f" and {len(since) - _NAMED} more" if len(since) > _NAMED else "")
    observed = say("it has ended; nothing is there in its place at this moment")
    if unknown:
        observed = say("it has ended; what is there in its place nobody says: {a}", a=printable(unknown))
    elif since:
        observed = say("it has ended; in its place, of the same workload, there is {a}", a=named)
    return finding("pods", target, expected, observed, Answer.ESTABLISHED, asked_as=asked_as)


ACTIONS: Final = (Evict, DeletePods)
