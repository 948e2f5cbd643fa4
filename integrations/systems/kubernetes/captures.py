"""Evidence from a cluster: what it holds of a server, and what the server's containers wrote."""

from typing import Any, ClassVar, Final

from typing_extensions import override

from integrations.exhibits import add_json, add_text
from integrations.systems.kubernetes import Workload, denials
from integrations.systems.kubernetes.actions import POD_LOGS
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.held import secrets
from integrations.systems.kubernetes.workload import APPS, CORE, PODS, find, groups, listed, path, placed, pods
from playbooks.action import Capture, Sink, World
from playbooks.errors import SoarError
from playbooks.strict import Slug

_POLICIES: Final = "/apis/networking.k8s.io/v1"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_CHUNK: Final = 65_536
_LISTS: Final = (
    ("replicasets", APPS),
    ("services", CORE),
    ("events", CORE),
    ("networkpolicies", _POLICIES),
    ("serviceaccounts", CORE),
    ("roles", _RBAC),
    ("rolebindings", _RBAC),
)
"""What of the namespace is kept as it is: what owns the pods, reaches them, lets them be reached, and what they may."""

_WIDE: Final = ("clusterroles", "clusterrolebindings")
"""What of the cluster says what they may."""

_HELD: Final = (
    "What its pods are given, by what is written of them; none of it was read. Whoever has had the server has had each."
    " What it fetches by itself, what clients sent it, and what the gateway signs in with at it, is not here."
)


class CaptureWorkload(Capture):
    """A server's workloads: the objects and events as the API server has them, and the logs of every container.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.capture_workload"
    exhibit: ClassVar[str] = POD_LOGS
    permissions: ClassVar[tuple[str, ...]] = (
        *PODS,
        "get pods/log",
        "list services",
        "list events",
        "list networkpolicies.networking.k8s.io",
        "list serviceaccounts",
        *(f"list {kind}.rbac.authorization.k8s.io" for kind in ("roles", "rolebindings", *_WIDE)),
        *(f"list {one.own.resource}.{one.group}" for one in denials.KINDS),
    )

    server: Slug
    system: Slug | None = None

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        for number, (cluster, at) in enumerate(placed(self.server, self.system, world), 1):
            api = world.reach(Api, cluster)
            found = await find(cluster, at, self.server, world)
            before = f"{number}-" if number > 1 else ""
            raw = await api.raw(path(at))
            await sink.add(f"{before}{at.workload}.json", raw, media_type="application/json", origin=path(at))
            missing: list[str] = []
            for name, where in await _lists(api, at.namespace, missing):
                try:
                    raw = await api.raw(where)
                except SoarError as exc:
                    missing.append(f"{name}: {exc}")
                    continue
                await sink.add(f"{before}{name}.json", raw, media_type="application/json", origin=where)
            there = await pods(api, at, found.raw)
            await add_json(sink, f"{before}pods.json", there, path_of(CORE, at.namespace, "pods"))
            accounts = await _accounts(api, at.namespace, missing)
            rows = secrets([found.raw["spec"]["template"], *there], accounts)
            await add_text(sink, f"{before}secrets.txt", "\n".join([_HELD, *rows]) + "\n", path(at))
            for place, pod in enumerate(there, 1):
                missing += await self._logs(api, at, pod, f"{before}pod-{place}", sink)
            if missing:
                text = "\n".join(missing) + "\n"
                await add_text(sink, f"{before}not-available.txt", text, f"cluster {cluster}")

    async def _logs(self, api: Api, at: Workload, pod: dict[str, Any], label: str, sink: Sink) -> list[str]:
        """Write the logs of a pod's containers, and of the instances before; return what there is none of, and why."""
        missing: list[str] = []
        where = path_of(CORE, at.namespace, "pods", pod["metadata"]["name"], "log")
        spec = pod.get("spec", {})
        kinds = ("initContainers", "containers", "ephemeralContainers")
        containers = [str(one["name"]) for kind in kinds for one in spec.get(kind) or ()]
        for number, container in enumerate(containers, 1):
            for previous in (False, True):
                name = f"{label}-{number}{'-previous' if previous else ''}.log"
                of = f"{container} of {pod['metadata']['name']}"
                query = {"container": container, "timestamps": "true", **({"previous": "true"} if previous else {})}
                try:
                    async with api.ask("GET", where, query=query) as answer:
                        origin = f"{where}?container={container}{'&previous=true' if previous else ''}"
                        some = False
                        async with sink.file(name, media_type="text/plain", origin=origin) as file:
                            async for chunk in answer.content.iter_chunked(_CHUNK):
                                some = True
                                await file.write(chunk)
                    if not some:
                        missing.append(f"{name} ({of}): it is empty")
                except SoarError as exc:
                    # That there was none before is how most containers are.
                    missing.append(f"{name} ({of}): {exc}")
        return missing


async def _lists(api: Api, namespace: str, missing: list[str]) -> list[tuple[str, str]]:
    """Return what is kept as it is, by the name of its file and its path."""
    found = [(resource, path_of(prefix, namespace, resource)) for resource, prefix in _LISTS]
    found += [(resource, f"{_RBAC}/{resource}") for resource in _WIDE]
    try:
        kinds = await denials.served(api, await groups(api))
    except SoarError as exc:
        missing.append(f"policies of other kinds: {exc}")
        return found
    return [*found, *((f"{one.own.resource}-{one.group.replace('.', '-')}", one.own.path(namespace)) for one in kinds)]


async def _accounts(api: Api, namespace: str, missing: list[str]) -> list[dict[str, Any]]:
    try:
        return await listed(api, path_of(CORE, namespace, "serviceaccounts"))
    except SoarError as exc:
        missing.append(f"secrets.txt: what its account is given is not in it: {exc}")
        return []


CAPTURES: Final = (CaptureWorkload,)
