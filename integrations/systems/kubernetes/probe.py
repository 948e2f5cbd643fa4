"""Asks a cluster's network itself: pods of ours try to reach a workload's pods, and one like them tries to reach out.

Three for each question, deleted when it is answered: a *receiver* in a namespace of ours, which anybody may reach; a
*stand-in* beside the workload, with its pods' labels and on one of their nodes, so that every policy that takes those
takes it; and a *prober* on that node. Nothing is run in the workload's own pods: whoever has them would choose what it
says. Traffic from a node itself passes most engines, so that no answer of a node's counts.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.policies import MANAGED, NETWORKING, denying, name_of
from playbooks.errors import Gone, SoarError, Transient

if TYPE_CHECKING:
    from integrations.systems.kubernetes import Probe

CORE: Final = "/api/v1"
ROLE: Final = "mcp-soar.io/probe"
"""The label of a pod of ours that asks; its value is which of them it is."""

PORT: Final = 41414
"""Where ours listen: no Service of the workload's sends anybody there."""

_EVERY: Final = 0.2
_WITHIN: Final = 40.0
"""Seconds that a pod has to run, its image fetched, and its answer to come."""

_LIVES: Final = 150
"""Seconds after which a pod of ours ends by itself, whoever of us died."""

MOST: Final = 16
"""Addresses that one question tries."""

# `shut` is believed when it is so three times: a network may take a moment to let a new pod, or a policy, in. It counts
# only where what is open is reached in the same second: who is given no time to connect has not been shut off.
TRY = """\
reach() { nc -w 1 $1 $2 -e true >/dev/null 2>&1; }
try() { # times, address, port, address and port of what is open: what it comes to within so many tries
  n=0; all=0; shut=0; got=unclear
  while [ $n -lt $1 ] && [ $all -lt $((3*$1)) ]; do
    all=$((all+1))
    if reach $2 $3; then n=$((n+1)); shut=0; got=open
    elif reach $4 $5; then n=$((n+1)); shut=$((shut+1)); [ $shut -lt 3 ] && got=unclear || { got=shut; break; }
    else shut=0; got=unclear
    fi
    sleep 0.3
  done
  echo $got
}
once() { # address, port: whether it is reached at all, however long a busy node takes
  n=0; while [ $n -lt 25 ]; do n=$((n+1)); reach $1 $2 && { echo open; return; }; sleep 0.3; done; echo shut
}
"""
_RECEIVE = 'exec nc -ll -p "$1" -e cat'
# It says whenever it does not reach itself, where no policy stands between: then it is not shut off, but late.
_STAND_IN = (
    TRY
    + """\
nc -ll -p $1 -e cat &
echo "outbound $(try 8 $2 $1 127.0.0.1 $1)"
late=0
while :; do reach 127.0.0.1 $1 && late=0 || late=$((late+1)); [ $late -lt 2 ] || echo late; sleep 0.3; done
"""
)
_PROBE = (
    TRY
    + """\
port=$1; receiver=$2; shift 2
echo "control $(once $receiver $port)"
for one in "$@"; do (echo "$one $(try 8 ${one%,*} ${one#*,} $receiver $port)") & done
wait; echo done
"""
)
# What is reached although it was to be out of reach may be tried no more. The other way begins to count only while this
# runs: whose address that is, is known by then.
_BLOCKED = (
    TRY
    + """\
port=$1; control=$2
echo "control $(once $control $port)"
out=$(try 30 $3 $port $control $port); echo "outbound $out"
[ $out = open ] || echo "inbound $(try 60 $4 $port $control $port)"
echo done
"""
)
# Numbers go out and come back by one connection, and meanwhile another is tried again and again.
_CALL = """\
count() { n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo $n; sleep 0.2; done; }
count | nc $2 $1 | while read n; do echo "held $n"; done &
n=0; shut=0
while [ $n -lt 60 ] && [ $shut -lt 3 ]; do
  n=$((n+1))
  if nc -w 1 $2 $1 -e true >/dev/null 2>&1; then shut=0; sleep 0.2; else shut=$((shut+1)); fi
done
[ $shut -lt 3 ] || { echo shut; sleep 3; }
echo done
"""
_SCRIPTS: Final = {"receiver": _RECEIVE, "stand-in": _STAND_IN, "prober": _PROBE, "caller": _CALL, "blocked": _BLOCKED}
CALLER: Final = "mcp-soar.io/caller"
"""The label by which a policy of ours in our namespace means one of them."""

_UNDER_WAY: Final = 5
"""Numbers that may still come back that were under way; they go out five a second."""


class Seen(NamedTuple):
    """What pods of ours found.

    Args:
        control: the prober reaches the receiver, as everybody may.
        outbound: the stand-in reaches the receiver.
        inbound: the prober reaches the stand-in.
        reached: addresses of the workload that the prober reaches.
        tried: addresses of it that it tried.
    """

    control: bool
    outbound: bool
    inbound: bool
    reached: tuple[str, ...]
    tried: tuple[str, ...]


_GIVEN: Final = {
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "serviceAccount": "default",
    "serviceAccountName": "default",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
"""What the API server writes into a pod, or its container, that says nothing of it."""

_WHERE: Final = frozenset(
    {
        "affinity",
        "imagePullSecrets",
        "nodeName",
        "nodeSelector",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "tolerations",
    }
)
"""What a cluster writes into a pod of where it runs, and by whose leave its image is fetched: not of what it does."""

_ARGUMENT: Final = re.compile(r"[0-9a-fA-F.:]+(,[0-9]{1,5})?")


def ours(found: Mapping[str, Any], probe: "Probe | None") -> bool:
    """Whether a pod does what one of ours does, and nothing else: its label and its command anybody can write.

    Args:
        found: the pod.
        probe: what ours run; without one no pod is ours.
    """
    role = ((found.get("metadata") or {}).get("labels") or {}).get(ROLE)
    spec = found.get("spec") or {}
    containers: list[dict[str, Any]] = spec.get("containers") or []
    if probe is None or role not in _SCRIPTS or len(containers) != 1:
        return False
    port, *rest = containers[0].get("args") or [""]
    if port != str(PORT) or not all(_ARGUMENT.fullmatch(str(one)) for one in rest):
        # The scripts take them apart into words.
        return False
    made = pod("", role, probe.image, [port, *rest])["spec"]
    (container,) = made.pop("containers")
    return _but_for_given(spec, {"containers"}) == _but_for_given(made) and _but_for_given(containers[0]) == container


def _but_for_given(found: Mapping[str, Any], more: Collection[str] = ()) -> dict[str, Any]:
    left_out = {*_WHERE, *more}
    return {key: value for key, value in found.items() if key not in left_out and _GIVEN.get(key) != value}


def stands_in(found: Mapping[str, Any], probe: "Probe | None", uid: str) -> bool:
    """Whether a pod is a stand-in of ours beside a workload, and none that should be gone by now.

    Args:
        found: the pod.
        probe: what ours run.
        uid: the workload's.
    """
    metadata = found.get("metadata") or {}
    owners = [(one.get("kind"), one.get("name")) for one in metadata.get("ownerReferences") or ()]
    if owners != [("NetworkPolicy", name_of(uid))] or metadata["labels"].get(ROLE) != "stand-in":
        return False
    return ours(found, probe) and not _overdue(found)


def _overdue(found: Mapping[str, Any]) -> bool:
    made = datetime.fromisoformat(found["metadata"]["creationTimestamp"])
    return datetime.now(UTC) - made > timedelta(seconds=_LIVES)


def _run(script: str) -> list[str]:
    return ["/bin/sh", "-c", script, "mcp-soar"]


class Run:
    """Pods of ours for one question, which are gone when the block ends.

    Args:
        api: the cluster.
        probe: what they run, and where.
    """

    def __init__(self, api: Api, probe: "Probe") -> None:
        self.api, self.probe, self.id = api, probe, secrets.token_hex(4)
        self.made: dict[str, tuple[str, str]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await _deleted(self.api, self.made.values())

    async def start(
        self,
        role: str,
        arguments: Sequence[str],
        *,
        called: str = "",
        where: str = "",
        **more: Any,  # noqa: ANN401  # see `pod`
    ) -> dict[str, Any]:
        """Start a pod, and return it once it runs."""
        called = called or role
        name, namespace = f"mcp-soar-{called}-{self.id}", where or self.probe.namespace
        self.made[called] = namespace, name
        body = pod(name, role, self.probe.image, arguments, **more)
        await self.api.request("POST", path_of(CORE, namespace, "pods"), body=body)
        return await _running(self.api, namespace, name)

    async def said(self, role: str, last: str) -> list[tuple[str, str]]:
        """Return what a pod wrote, word and rest of each line, once there is one that begins with that word."""
        namespace, name = self.made[role]
        path = path_of(CORE, namespace, "pods", name, "log")
        async for _ in _waiting(f"cluster {self.api.name}: pod {namespace}/{name} of ours does not answer"):
            lines = (await self.api.raw(path, query={"container": "probe"})).decode("ascii", "replace").split("\n")
            # What has no end yet is not written out.
            found = [(word, rest) for word, _, rest in (line.partition(" ") for line in lines[:-1])]
            if any(word == last for word, _ in found):
                return found
        return []


async def ask(
    api: Api,
    probe: "Probe",
    *,
    labels: Mapping[str, str],
    node: str,
    deny: Mapping[str, Any],
    addresses: Sequence[str],
) -> Seen:
    """Have pods of ours try the ways to and from a workload's pods.

    Args:
        api: the cluster.
        probe: what they run, and where those of them run that are not like the workload's.
        labels: of the workload's pods.
        node: where one of them runs; empty for any.
        deny: our policy there, which the stand-in belongs to: no controller takes it for its own.
        addresses: of its pods, as `10.0.0.1,8000`.

    Raises:
        SoarError: they could not be started, or do not answer in time.
    """
    namespace = deny["metadata"]["namespace"]
    await sweep(api, probe, {namespace, probe.namespace})
    owner = {**owner_of("networking.k8s.io/v1", "NetworkPolicy", deny), "controller": True}
    async with Run(api, probe) as run:
        receiver = await run.start("receiver", [str(PORT)])
        there = receiver["status"]["podIP"]
        like = await run.start(
            "stand-in",
            [str(PORT), there],
            where=namespace,
            labels=labels,
            node=node,
            owner={**owner, "controller": True},
        )
        stand_in, tried = f"{like['status']['podIP']},{PORT}", tuple(addresses[:MOST])
        await run.start("prober", [str(PORT), there, stand_in, *tried], node=like["spec"]["nodeName"])
        out, into = await asyncio.gather(run.said("stand-in", "outbound"), run.said("prober", "done"))
        late = ("late", "") in await run.said("stand-in", "outbound")
    said = dict([*out, *into])
    clear = not late and {said.get(one) for one in ("outbound", stand_in, *tried)} <= {"open", "shut"}
    if said.get("control") == "open" and not clear:
        raise Transient(
            f"cluster {api.name}: pods of ours have too little time there, so that nothing is known by them"
        )
    return Seen(
        control=said.get("control") == "open",
        outbound=said.get("outbound") == "open",
        inbound=said.get(stand_in) == "open",
        reached=tuple(one for one in tried if said.get(one) == "open"),
        tried=tried,
    )


async def keeps(api: Api, probe: "Probe") -> bool | None:
    """Return whether a network lets a connection go on that was open before a policy denied it; None if nobody can say.

    Tried between pods of ours, in our namespace, with a policy of ours: nothing of anybody else's is touched.

    Args:
        api: the cluster.
        probe: what they run, and where.

    Raises:
        SoarError: they could not be started, or do not answer in time.
    """
    async with Run(api, probe) as run:
        receiver = await run.start("receiver", [str(PORT)])
        labels = {CALLER: run.id}
        caller = await run.start("caller", [str(PORT), receiver["status"]["podIP"]], labels=labels)
        await run.said("caller", "held")
        async with policy(api, probe, f"caller-{run.id}", caller, denying({"matchLabels": labels})):
            lines = await run.said("caller", "done")
    if ("shut", "") not in lines:
        return None
    before, after = lines[: lines.index(("shut", ""))], lines[lines.index(("shut", "")) :]
    return _last(after) > _last(before) + _UNDER_WAY


@contextlib.asynccontextmanager
async def policy(
    api: Api, probe: "Probe", name: str, owner: Mapping[str, Any], spec: Mapping[str, Any]
) -> AsyncIterator[None]:
    """Have a policy of ours in our namespace while the block lasts; it would go with a pod, a while after."""
    metadata = {"name": f"mcp-soar-{name}", "labels": MANAGED, "ownerReferences": [owner_of("v1", "Pod", owner)]}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    policies = path_of(NETWORKING, probe.namespace, "networkpolicies")
    await api.request("POST", policies, body=body)
    try:
        yield
    finally:
        await asyncio.gather(api.request("DELETE", f"{policies}/mcp-soar-{name}"), return_exceptions=True)


def _last(lines: Sequence[tuple[str, str]]) -> int:
    """Return the last number that came back by an open connection."""
    return max((int(rest) for word, rest in lines if word == "held" and rest.isdigit()), default=0)


def owner_of(version: str, kind: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object as the owner of another."""
    return {"apiVersion": version, "kind": kind, "name": raw["metadata"]["name"], "uid": raw["metadata"]["uid"]}


def pod(
    name: str,
    role: str,
    image: str,
    arguments: Sequence[str],
    *,
    labels: Mapping[str, str] | None = None,
    node: str = "",
    owner: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a pod of ours: it may run where Pod Security is *restricted*, and is ready for nobody."""
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": _run(_SCRIPTS[role]),
        "args": list(arguments),
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "200m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": _LIVES,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # No Service of the workload's sends it anything.
        "readinessGates": [{"conditionType": "mcp-soar.io/never"}],
        **({"nodeName": node} if node else {}),
    }
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {**(labels or {}), **MANAGED, ROLE: role},
        **({"ownerReferences": [owner]} if owner else {}),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


async def _running(api: Api, namespace: str, name: str) -> dict[str, Any]:
    where = path_of(CORE, namespace, "pods", name)
    async for _ in _waiting(f"pod {namespace}/{name} does not run"):
        pod = await api.request("GET", where)
        status = pod.get("status", {})
        if status.get("phase") == "Running" and status.get("podIP"):
            return pod
        if status.get("phase") in {"Failed", "Succeeded"}:
            break
        states = [one.get("state", {}).get("waiting") or {} for one in status.get("containerStatuses") or ()]
        if why := next((f"{one.get('reason')}: {one.get('message', '')}" for one in states if _hopeless(one)), ""):
            raise Transient(f"cluster {api.name}: pod {namespace}/{name} of ours does not start: {why}")
    raise Transient(f"cluster {api.name}: pod {namespace}/{name} of ours ended at once")


def _hopeless(waiting: Mapping[str, Any]) -> bool:
    return waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}


async def _waiting(what: str) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    until = loop.time() + _WITHIN
    while loop.time() < until:
        yield
        await asyncio.sleep(_EVERY)
    raise Transient(f"{what} within {_WITHIN:g} s")


async def _deleted(api: Api, pods: Iterable[tuple[str, str]]) -> None:
    """Delete pods; what stays behind ends by itself, and the next question sweeps it up."""
    body = {"gracePeriodSeconds": 0}
    gone = (api.request("DELETE", path_of(CORE, where, "pods", name), body=body) for where, name in pods)
    await asyncio.gather(*gone, return_exceptions=True)


async def left(api: Api, probe: "Probe", namespaces: Collection[str]) -> list[tuple[str, str]]:
    """Return the pods of ours that a question that broke off has left behind: namespace and name."""
    found: list[tuple[str, str]] = []
    for namespace in sorted(namespaces):
        there = await api.request("GET", path_of(CORE, namespace, "pods"), query={"labelSelector": ROLE})
        overdue = [pod for pod in there.get("items") or () if ours(pod, probe) and _overdue(pod)]
        found += [(namespace, pod["metadata"]["name"]) for pod in overdue]
    return found


async def sweep(api: Api, probe: "Probe", namespaces: Collection[str]) -> None:
    """Delete the pods of ours that a question that broke off has left behind."""
    with contextlib.suppress(Gone):
        await _deleted(api, await left(api, probe, namespaces))


async def rehearsed(api: Api, probe: "Probe", namespace: str) -> str:
    """Return why a cluster would not take pods of ours, without making one; nothing if it would.

    Args:
        api: the cluster.
        probe: what they run, and where.
        namespace: a workload's.
    """
    for role, where in (("receiver", probe.namespace), ("stand-in", namespace), ("prober", probe.namespace)):
        body = pod(f"mcp-soar-{role}-rehearsal", role, probe.image, [])
        try:
            await api.request("POST", path_of(CORE, where, "pods"), query={"dryRun": "All"}, body=body)
        except SoarError as exc:
            return str(exc)
    return ""
