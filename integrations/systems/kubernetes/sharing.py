"""Who else uses what a server's pods use, an image or an account, and so stands still with them."""

import asyncio
from collections.abc import Callable
from typing import Any

from integrations.hostile import printable
from integrations.systems.kubernetes import Workload, workloads
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.workload import CORE, Found, find, listed, pods
from playbooks.action import World
from playbooks.errors import Gone, SoarError, Transient

Uses = Callable[[dict[str, Any]], bool]
"""Whether a pod of this `spec` uses it."""


async def others(found: Found, uses: Uses, world: World, *, namespace: str = "") -> set[str]:
    """Return what else uses something; with `(?)` what the cluster does not say.

    Servers are looked at by their workloads too, which may have no pods just now; all else by the pods that stand where
    servers stand.

    Args:
        found: the workload that is meant itself.
        uses: whether a pod does.
        world: the connections.
        namespace: where alone it can be used; empty for all in which servers of the cluster stand.

    Raises:
        Transient: the cluster does not answer.
    """
    places = {
        (at.namespace, at.name): (server, at)
        for server, cluster, at in workloads(world.inventory)
        if cluster == found.cluster and namespace in {"", at.namespace}
        if (at.namespace, at.name) != (found.at.namespace, found.at.name)
    }
    api = world.reach(Api, found.cluster)
    mine = {pod["metadata"]["uid"] for pod in await pods(api, found.at, found.raw)}
    there = sorted({found.at.namespace, *(where for where, _ in places)})
    some = await asyncio.gather(
        *(_workload(found.cluster, at, server, uses, world) for server, at in places.values()),
        *(_pods(api, where, mine, uses) for where in there),
    )
    known = {f"{where}/{name}": server for (where, name), (server, _) in places.items()}
    return {known.get(one, one.removeprefix(f"{namespace}/")) for few in some for one in few}


async def _workload(cluster: str, at: Workload, server: str, uses: Uses, world: World) -> set[str]:
    try:
        raw = (await find(cluster, at, server, world)).raw
    except Transient:
        raise
    except Gone:
        return set()
    except SoarError:
        return {f"{server} (?)"}
    return {server} if uses(raw["spec"]["template"]["spec"]) else set()


async def _pods(api: Api, namespace: str, mine: set[str], uses: Uses) -> set[str]:
    try:
        there = await listed(api, path_of(CORE, namespace, "pods"))
    except Transient:
        raise
    except SoarError:
        return {f"{namespace} (?)"}
    return {f"{namespace}/{_owner(pod)}" for pod in there if pod["metadata"]["uid"] not in mine and uses(pod["spec"])}


def _owner(pod: dict[str, Any]) -> str:
    """Return what has a pod made, as people know it; the pod itself if nothing has."""
    owners = pod["metadata"].get("ownerReferences") or [{"name": pod["metadata"]["name"]}]
    # A replica set is called after its deployment, and another one with each new image.
    hash_ = (pod["metadata"].get("labels") or {}).get("pod-template-hash", "")
    return printable(owners[0]["name"].removesuffix(f"-{hash_}"))
