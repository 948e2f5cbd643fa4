"""Evidence from beside a server's processes: what runs in its containers, with what open, and whom they talk to.

An ephemeral container of ours is put into each pod, shares the process namespace of the container that is in doubt, and
writes what `/proc` says to its own log. Of all ways that is the one with the least right: `patch` on
`pods/ephemeralcontainers` where servers run, where our account may make pods already. A pod that sees a whole node's
processes takes a namespace in which privileged pods may be made, and whoever makes pods there has every node;
`pods/exec` would be a way into each pod that runs. What it costs is said beside the evidence: it runs as the same user
as the server, who may see it and end it, and it stays in the pod's object until the pod ends.

Source: Kubernetes API reference v1.36, EphemeralContainer; proc(5).
"""

import asyncio
import secrets
from abc import abstractmethod
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote

from typing_extensions import override

from integrations.exhibits import add_text
from integrations.systems.kubernetes import Probe, Workload, probe_of
from integrations.systems.kubernetes.actions import PROCESSES
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.workload import CORE, PODS, find, placed, pods
from playbooks.action import Capture, Sink, World
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.strict import Slug

_STRATEGIC: Final = "application/strategic-merge-patch+json"
_MOST: Final = 8 << 20
"""Bytes of one container's answer. A kubelet begins another log after ten MiB, and gives the last alone."""

WITHIN: Final = 60.0
"""Seconds in which our container has to have been pulled and started, and those in which it has to be done."""

_EVERY: Final = 0.25
_AT_ONCE: Final = 16
"""Containers of ours that begin at the same time."""

_WRITTEN_WITHIN: Final = 300.0
"""Seconds that a container's memory has to be written in: the kubelet is told, and we wait a little longer."""

_PATIENCE: Final = _WRITTEN_WITHIN + 15.0
_CHUNK: Final = 65_536
_STUCK: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "CreateContainerError"})
_END: Final = b"# all of it\n"
# What a process says of itself may look like any line: it is set in by a blank, what we say is not.
_SCRIPT: Final = f"""\
show() {{ echo "# $1"; tr '\\000' '\\n' <"$1" 2>&1 | sed 's/^/ /'; }}
all() {{
echo "# the collector is process $$ and those that it started"
for p in /proc/[0-9]*; do
  for f in status cmdline environ maps cgroup; do [ -e "$p/$f" ] && show "$p/$f"; done
  echo "# $p: exe, cwd, root, fd"; ls -l "$p/exe" "$p/cwd" "$p/root" "$p/fd" 2>&1 | sed 's/^/ /'
done
for f in tcp tcp6 udp udp6 raw raw6 unix route; do [ -e "/proc/net/$f" ] && show "/proc/net/$f"; done
show /proc/mounts
}}
all 2>&1 | head -c {_MOST}
echo; printf '{_END.decode().strip()}\\n'
"""
_HOW: Final = (
    "read from /proc by an ephemeral container of ours, which ran in the pod as the server's user: whoever has the"
    " server could see it, and could have ended or deceived it"
)


class Beside(NamedTuple):
    """A container beside which one of ours is put.

    Args:
        api: its cluster.
        at: whose it is.
        pod: its pod.
        container: it.
        probe: what ours runs.
    """

    api: Api
    at: Workload
    pod: dict[str, Any]
    container: dict[str, Any]
    probe: Probe

    def path(self, sub: str = "") -> str:
        """Return its pod's path."""
        return path_of(CORE, self.at.namespace, "pods", self.pod["metadata"]["name"], sub)


class CaptureBeside(Capture):
    """What is read from beside each container of a server's pods.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    ending: ClassVar[str]
    """How the names of its files end."""
    how: ClassVar[str]
    """How it was read, for whoever judges it."""

    server: Slug
    system: Slug | None = None

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        for number, (cluster, at) in enumerate(placed(self.server, self.system, world), 1):
            probe = probe_of(world.inventory, cluster)
            if probe is None:
                message = "no image is named that can look there: write one, by its digest"
                raise Misconfigured(message, field=f"systems.{cluster}.probe")
            api = world.reach(Api, cluster)
            found = await find(cluster, at, self.server, world)
            before = f"{number}-" if number > 1 else ""
            missing: list[str] = []
            looks = [
                (f"{before}pod-{place}-{count}-{self.ending}", Beside(api, at, pod, container, probe))
                for place, pod in enumerate(await pods(api, at, found.raw, probe=probe), 1)
                for count, container in enumerate(pod["spec"]["containers"], 1)
            ]
            # A node takes its time to begin, and more to say that it cannot: all of them have that at once.
            turns = asyncio.Semaphore(_AT_ONCE)
            begun = await asyncio.gather(*(self._begun(one, turns) for _, one in looks))
            for (name, one), own in zip(looks, begun, strict=True):
                said = f"{name} ({one.container['name']} of {one.pod['metadata']['name']})"
                try:
                    if isinstance(own, SoarError):
                        raise own
                    missing += [f"{said}: {each}" for each in await self.keep(one, own, name, sink)]
                except SoarError as exc:
                    missing.append(f"{said}: {exc}")
            for lacking in missing:
                sink.lacks(lacking)
            await add_text(sink, f"{before}how.txt", "\n".join([self.how, *missing]) + "\n", f"cluster {cluster}")

    @classmethod
    async def _begun(cls, one: Beside, turns: asyncio.Semaphore) -> str | SoarError:
        async with turns:
            try:
                return await cls.begin(one)
            except SoarError as exc:
                return exc

    @classmethod
    async def begin(cls, one: Beside) -> str:
        """Have beside one container what can be done there before it is its turn, and return what ours is called.

        What is put there ends by itself, whoever comes for it. By default nothing is.

        Raises:
            SoarError: it could not be done.
        """
        del one
        return ""

    @classmethod
    @abstractmethod
    async def keep(cls, one: Beside, own: str, name: str, sink: Sink) -> list[str]:
        """Write one container's, and return what is missing of it.

        Args:
            one: the container.
            own: what ours beside it is called, if one was begun.
            name: of the file.
            sink: where to.

        Raises:
            SoarError: it could not be read, or not to the end.
        """


class CaptureProcesses(CaptureBeside):
    """What runs in each container of a server's pods: processes, environment, open files, memory maps, sockets.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.capture_processes"
    exhibit: ClassVar[str] = PROCESSES
    permissions: ClassVar[tuple[str, ...]] = (*PODS, "get pods", "get pods/log", "patch pods/ephemeralcontainers")
    silence: ClassVar[float] = WITHIN + 30.0
    ending: ClassVar[str] = "processes.txt"
    how: ClassVar[str] = _HOW

    @override
    @classmethod
    async def begin(cls, one: Beside) -> str:
        own = await put(one, _SCRIPT)
        await came_to(one, own, "terminated")
        return own

    @override
    @classmethod
    async def keep(cls, one: Beside, own: str, name: str, sink: Sink) -> list[str]:
        where = one.path("log")
        last, size = b"", 0
        async with (
            one.api.ask("GET", where, query={"container": own}) as answer,
            sink.file(name, media_type="text/plain", origin=f"{where}?container={own}") as file,
        ):
            async for chunk in answer.content.iter_chunked(_CHUNK):
                last, size = (last + chunk)[-len(_END) :], size + len(chunk)
                await file.write(chunk)
        if last != _END:
            raise Transient("it broke off: our container was ended, or its log was")
        return [f"there is more of it than {_MOST} bytes, which are the first"] if size > _MOST else []


async def put(one: Beside, script: str, **more: object) -> str:
    """Put a container of ours beside one of a pod, as its user, and return its name.

    Args:
        one: the container beside which it is, and whose processes it sees.
        script: what its shell does.
        more: what else is written of it.
    """
    own = f"mcp-soar-{secrets.token_hex(4)}"
    beside = {
        "name": own,
        "image": one.probe.image,
        "targetContainerName": one.container["name"],
        "command": ["sh", "-c", script],
        "securityContext": _as(one.pod, one.container),
        **more,
    }
    body = {"metadata": {"uid": one.pod["metadata"]["uid"]}, "spec": {"ephemeralContainers": [beside]}}
    await one.api.request("PATCH", one.path("ephemeralcontainers"), body=body, media_type=_STRATEGIC)
    return own


async def came_to(one: Beside, own: str, state: str) -> dict[str, Any]:
    """Wait until a container of ours is `running`, or `terminated`, and return what is said of that.

    Raises:
        Transient: it does not come to that, or has gone past it.
    """
    why = "nothing is said of it"
    try:
        async with asyncio.timeout(WITHIN):
            while True:
                now = await one.api.request("GET", one.path())
                statuses = now.get("status", {}).get("ephemeralContainerStatuses") or ()
                states = (each.get("state", {}) for each in statuses if each.get("name") == own)
                found: dict[str, Any] = next(states, {})
                if state in found:
                    return dict(found[state] or {})
                waiting = found.get("waiting") or found.get("terminated") or {}
                why = f"{waiting.get('reason', 'it runs')} {waiting.get('message', '')}".strip()
                if waiting.get("reason") in _STUCK or "terminated" in found:
                    break
                await asyncio.sleep(_EVERY)
    except TimeoutError:
        pass
    raise Transient(f"our container beside it did not come to be {state}: {why}")


def _as(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """Return as whom ours runs: as whom that one does, with no more rights, for /proc says nothing to others."""
    given = {key: value for key, value in (container.get("securityContext") or {}).items() if key != "privileged"}
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    user: dict[str, Any] = next(
        (one.get("user", {}).get("linux", {}) for one in statuses if one["name"] == container["name"]), {}
    )
    who = {
        key: user[name]
        for key, name in (("runAsUser", "uid"), ("runAsGroup", "gid"))
        if isinstance(user.get(name), int)
    }
    return {**given, **who, "readOnlyRootFilesystem": True}


class CaptureCheckpoint(Capture):
    """A checkpoint of each container of a server's pods, memory included, on its node; what is kept is where it is.

    The container stands still meanwhile, and the node's disk takes all of its memory, where none but root reads it.
    Asking takes `nodes/proxy`, which is a right over every container of every node: a role of its own, to be bound for
    as long as it is needed. Source: Kubernetes, "Kubelet Checkpoint API" (KEP-2008).

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.capture_checkpoint"
    exhibit: ClassVar[str] = "checkpoint"
    permissions: ClassVar[tuple[str, ...]] = (*PODS, "create nodes/proxy")
    silence: ClassVar[float] = 1800.0

    server: Slug
    system: Slug | None = None

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        rows: dict[str, list[str]] = {}
        missing: list[str] = []
        some = False
        for cluster, at in placed(self.server, self.system, world):
            try:
                made, left = await self._made(cluster, at, world)
            except SoarError as exc:
                made, left = [], [f"not available: cluster {cluster}: {exc}"]
            rows[cluster] = [*made, *left]
            missing += left
            some = some or bool(made)
        if not some:
            raise Refused("; ".join(missing) or "it has no pods")
        for one in missing:
            sink.lacks(one)
        for number, (cluster, said) in enumerate(rows.items(), 1):
            before = f"{number}-" if number > 1 else ""
            await add_text(sink, f"{before}checkpoints.txt", "\n".join(said) + "\n", f"cluster {cluster}")

    async def _made(self, cluster: str, at: Workload, world: World) -> tuple[list[str], list[str]]:
        """Have a cluster's checkpoints made, and return where each is, and what there is none of."""
        api = world.reach(Api, cluster)
        found = await find(cluster, at, self.server, world)
        made, missing = [], []
        for pod in await pods(api, at, found.raw, probe=probe_of(world.inventory, cluster)):
            for container in pod["spec"]["containers"]:
                of = f"{container['name']} of {pod['metadata']['name']}"
                where = _checkpoint(at, pod, container["name"])
                try:
                    answer = await api.request(
                        "POST", where, query={"timeout": f"{_WRITTEN_WITHIN:.0f}"}, patience=_PATIENCE
                    )
                    made.append(f"{of}: node {pod['spec']['nodeName']}, {answer.get('items')}")
                except SoarError as exc:
                    missing.append(f"not available: {of}: {exc}")
        return made, missing


def _checkpoint(at: Workload, pod: dict[str, Any], container: str) -> str:
    names = (at.namespace, pod["metadata"]["name"], container)
    node = quote(str(pod["spec"].get("nodeName", "")), safe="")
    return f"{CORE}/nodes/{node}/proxy/checkpoint/" + "/".join(quote(str(name), safe="") for name in names)


CAPTURES: Final = (CaptureProcesses, CaptureCheckpoint)
