"""A workload and the pods that are its own: found by name once, known by uid from then on."""

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from integrations.hostile import printable
from integrations.systems.kubernetes import Probe, Workload, settings_of, workloads
from integrations.systems.kubernetes.client import JSON, Api, path_of
from integrations.systems.kubernetes.probe import stands_in
from playbooks.action import Action, World
from playbooks.errors import Gone, Misconfigured, Refused, Transient
from playbooks.gate.plan import Radius, Target
from playbooks.strict import Slug

APPS: Final = "/apis/apps/v1"
CORE: Final = "/api/v1"
_MOST_PODS: Final = 500
"""Pods that are asked for at once; a server has few."""

_MOST_PAGES: Final = 200
_MOST_BYTES: Final = 64 * 1024 * 1024
"""Of one list, all pages together: ten thousand pods, or role bindings of a whole cluster, have fewer."""


FOUND: Final = ("get deployments.apps", "get statefulsets.apps")
"""Permissions with which a workload is found."""

PODS: Final = (*FOUND, "list replicasets.apps", "list pods")
"""Permissions with which its pods are."""


class OfServer(Action):
    """What is done about a server's workloads.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    radius: ClassVar[Radius] = Radius.SERVER
    timeout: ClassVar[float] = 15.0

    server: Slug
    system: Slug | None = None


class Found(NamedTuple):
    """A workload as its cluster has it.

    Args:
        cluster: what the inventory calls the cluster.
        at: where it stands.
        server: whose.
        raw: the object.
    """

    cluster: str
    at: Workload
    server: str
    raw: dict[str, Any]

    @property
    def uid(self) -> str:
        """Its id, which another of the same name does not have."""
        return str(self.raw["metadata"]["uid"])

    @property
    def replicas(self) -> int:
        """How many pods are wanted of it."""
        return int(self.raw.get("spec", {}).get("replicas", 1))

    @property
    def target(self) -> Target:
        """It, as a plan names it."""
        name = f"{self.at.namespace}/{self.at.name}"
        system = f"kubernetes/{self.cluster}"
        return Target(system=system, kind=self.at.workload, id=self.uid, name=name, server=self.server)


def path(at: Workload, sub: str = "") -> str:
    """Return a workload's path."""
    return path_of(APPS, at.namespace, f"{at.workload}s", at.name, sub)


def placed(server: str, system: str | None, world: World) -> Iterator[tuple[str, Workload]]:
    """Yield cluster and workload of a server, on every cluster or on one.

    Args:
        server: whose.
        system: the cluster; None for all.
        world: the connections.

    Raises:
        Misconfigured: it stands on no cluster.
        Refused: it stands in a namespace of ours.
    """
    found = [
        (cluster, at) for who, cluster, at in workloads(world.inventory) if who == server and system in {None, cluster}
    ]
    if not found:
        raise Misconfigured("it has no place in Kubernetes; name one", field=f"servers.{server}.places")
    for cluster, at in found:
        settings = settings_of(world.inventory, cluster)
        if settings is None or at.namespace in settings.our_namespaces:
            raise Refused(
                f"namespace {at.namespace} of cluster {cluster} is mcp-soar's own or the cluster's: nothing there is a "
                f"target (systems.{cluster}.our_namespaces)"
            )
        yield cluster, at


async def find(cluster: str, at: Workload, server: str, world: World) -> Found:
    """Return a workload by its name.

    Raises:
        SoarError: there is none, or the cluster does not say.
    """
    return Found(cluster, at, server, await world.reach(Api, cluster).request("GET", path(at)))


def place_of(target: Target, world: World) -> Workload:
    """Return where a plan's target stands, as the inventory has it now.

    Raises:
        Gone: it has no such place any more.
    """
    cluster = target.system.removeprefix("kubernetes/")
    for _, where, at in workloads(world.inventory):
        if where == cluster and target.kind == at.workload and target.name == f"{at.namespace}/{at.name}":
            return at
    raise Gone(f"the inventory has no {target} at {target.system} any more")


async def same(target: Target, world: World, sub: str = "") -> dict[str, Any]:
    """Return a workload, or a subresource of it, if it still is the one that a plan means.

    Raises:
        Gone: it is no longer there, or another stands under its name.
    """
    at = place_of(target, world)
    found = await world.reach(Api, target.system.removeprefix("kubernetes/")).request("GET", path(at, sub))
    if found.get("metadata", {}).get("uid") != target.id:
        raise Gone(f"{target} at {target.system} is another one now: what the plan means was deleted")
    return found


async def pods(api: Api, at: Workload, found: dict[str, Any], *, probe: Probe | None = None) -> list[dict[str, Any]]:
    """Return the pods that a workload owns, itself or by its replica sets, and those that bear its labels.

    One that was taken out of its hands goes on by its labels: clients reach it as the server, whoever put them on.

    Args:
        api: its cluster.
        at: where it stands.
        found: the workload.
        probe: what stand-ins of ours run, which are left out; None to leave out nothing.

    Raises:
        SoarError: the cluster does not say.
    """
    uid = str(found["metadata"]["uid"])
    owners = {uid}
    if at.workload == "deployment":
        sets = await listed(api, path_of(APPS, at.namespace, "replicasets"))
        owners |= {str(one["metadata"]["uid"]) for one in sets if _owned(one, owners)}
    labels = (found.get("spec", {}).get("selector") or {}).get("matchLabels") or {}
    there = await listed(api, path_of(CORE, at.namespace, "pods"))
    theirs = [pod for pod in there if _owned(pod, owners) or _bears(pod, labels)]
    return [pod for pod in theirs if not stands_in(pod, probe, uid)]


def _bears(pod: dict[str, Any], labels: dict[str, str]) -> bool:
    return bool(labels) and labels.items() <= (pod["metadata"].get("labels") or {}).items()


async def groups(api: Api) -> list[dict[str, Any]]:
    """Return the API groups that a cluster serves."""
    return await api.together(groups, partial(_groups, api))


async def _groups(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.request("GET", "/apis")).get("groups") or []
    return found


async def listed(api: Api, where: str, *, accept: str = JSON) -> list[dict[str, Any]]:
    """Return all objects of a list, page after page; one answer for all who ask for it at the same time.

    Args:
        api: the cluster.
        where: the list's path.
        accept: as what its objects are wanted; see `client.NAMES`.

    Raises:
        SoarError: as `Api.request` does; Refused if it has no end, or too much before that.
    """
    return await api.together((where, accept), partial(_listed, api, where, accept))


async def _listed(api: Api, where: str, accept: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query, size, tokens = {"limit": str(_MOST_PODS)}, 0, set[str]()
    for _ in range(_MOST_PAGES):
        raw = await api.raw(where, query=query, accept=accept)
        size += len(raw)
        if size > _MOST_BYTES:
            raise Refused(f"cluster {api.name}: {where} has more than {_MOST_BYTES} bytes")
        page = api.read(raw, where)
        items = page.get("items") or []
        if not isinstance(items, list):
            raise Transient(f"cluster {api.name}: {where}: the answer is no list")
        found += items
        token = (page.get("metadata") or {}).get("continue")
        if not token:
            return found
        if token in tokens:
            raise Refused(f"cluster {api.name}: {where} leads to the same page again")
        tokens.add(token)
        query = {"limit": str(_MOST_PODS), "continue": str(token)}
    raise Refused(f"cluster {api.name}: {where} has more than {_MOST_PAGES} pages")


def _owned(one: dict[str, Any], owners: set[str]) -> bool:
    return any(owner.get("uid") in owners for owner in one["metadata"].get("ownerReferences") or ())


def ready(pod: dict[str, Any]) -> bool:
    """Whether a pod says that it takes requests."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def shown(pod: dict[str, Any]) -> str:
    """Return a pod's name and state, in words."""
    state = "ending" if pod["metadata"].get("deletionTimestamp") else pod.get("status", {}).get("phase", "unknown")
    return f"{printable(pod['metadata']['name'])} ({printable(state)})"
