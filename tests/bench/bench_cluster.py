"""Measures a server's cut on a real cluster beside a bare script, and a gibibyte of a container's files, and log.

    python -m tests.bench.bench_cluster [RESULTS.json]

Ours is the whole engine (inbox, correlation, gate, journal on SQLite, signed) as a responder runs it. Two sources tell
it at once, so that nobody has to agree; their alerts are put where the receiver puts them, and the time begins there.
The bare script asks the cluster the same: the workload, its namespace's pods and policies, whether ours is there, which
kinds of policy there are; and makes the policy with its label. No node takes these pods: what is measured is what is
written. One at a time, script and ours take turns, so that both are of the same minutes; at once, all of the script's
come first.

(f) 30 incidents one at a time · 100 at once
"""

import asyncio
import json
import logging
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from integrations import registry
from integrations.systems.kubernetes.policies import denying
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Radius
from playbooks.gate.policy import Cap
from playbooks.gate.rules import Mode, Rule
from playbooks.playbook import parse
from playbooks.strict import parse_yaml
from playbooks.taxonomy import IncidentClass
from tests.bench.bench_evidence import run_alone
from tests.bench.bench_journal import results
from tests.bench.bench_response import CONNECTIONS, Times
from tests.bench.container_phase import GIBIBYTE
from tests.bench.targets import FROM_A_CONTAINER, of_a_gibibyte
from tests.cluster import build
from tests.cluster.cluster import Kubernetes, kubernetes
from tests.cluster.fixtures import permitted
from tests.cluster.node import lacking
from tests.lab.connected import connected
from tests.lab.house import ROOMY, SOURCES, House, alert, house, source

SERIAL: Final = 30
BURST: Final = 100
WITHIN: Final = 300.0
POLICIES: Final = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"
PLAYBOOK: Final = """\
version: 2
id: on-kubernetes
class: server_compromise
title: A server is in somebody else's hands
summary: Shut it off from the network.
goals: {first_effect: 15m, verified: 16m}
confirm: []
phases:
  freeze: []
  cut:
    - {id: quarantine, action: kubernetes.quarantine, at: kubernetes, why: Its process is not ours any more.}
  capture: []
  isolate: []
  preserve: []
  eradicate: []
  recover: []
  review: []
notify: [opened, closed]
"""
POLICY: Final = ROOMY.model_copy(
    update={
        "rules": (Rule(classes=(IncidentClass.SERVER_COMPROMISE,), mode=Mode.AUTOMATIC, up_to=Radius.SERVER),),
        "automatic_up_to": Radius.SERVER,
        "caps": {radius: Cap(count=500, percent=100) for radius in Radius if radius is not Radius.FLEET},
    }
)


def _inventory(kubeconfig: Path, servers: dict[str, tuple[str, str]], probe: str = "") -> str:
    """Return an inventory with servers, each by the namespace and name of its deployment."""
    system = {"kind": "kubernetes", "kubeconfig": {"file": str(kubeconfig)}}
    if probe:
        system["probe"] = {"image": probe}
    written = {
        server: {
            "title": "Weather",
            "owner": "weather-team",
            "environment": "prod",
            "url": f"https://{server}.example/mcp",
            "places": {"prod": {"namespace": namespace, "name": name}},
        }
        for server, (namespace, name) in servers.items()
    }
    return json.dumps({"version": 1, "servers": written, "systems": {"prod": system}})


class Bare:
    """A script with nothing around it.

    Args:
        http: its connections.
        url: of the API server.
    """

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http, self._url = http, url

    async def _get(self, path: str) -> Any:  # noqa: ANN401  # JSON
        async with self._http.get(self._url + path) as answer:
            return json.loads(await answer.read())

    async def cut(self, namespace: str, name: str) -> float:
        """Shut a workload off, and return the seconds that it took."""
        begun = time.perf_counter()
        policies = POLICIES.format(namespace)
        there, _, _, _ = await asyncio.gather(
            self._get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
            self._get(f"/api/v1/namespaces/{namespace}/pods"),
            self._get(policies),
            self._get("/apis"),
        )
        await self._get(f"{policies}/bare-{name}")
        metadata = {"name": f"bare-{name}", "labels": {"mcp-soar.io/quarantine": name}}
        body = {"metadata": metadata, "spec": denying(there["spec"]["selector"])}
        async with self._http.post(self._url + policies, json=body) as answer:
            answer.raise_for_status()
        return time.perf_counter() - begun


@asynccontextmanager
async def _bare(cluster: Kubernetes) -> AsyncIterator[Bare]:
    headers = {"Authorization": f"Bearer {cluster.tokens['responder']}"}
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=ssl.create_default_context(cadata=cluster.authority))
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
        yield Bare(http, cluster.url)


async def _told(home: House, server: str) -> float:
    """Have two sources tell of a server at once, and return when they did, as seconds since 1970."""
    begun = time.time()
    body = partial(alert, server, tags=["server_compromise"], severity="critical")
    await asyncio.gather(home.receive(body()), home.receive(body(), source="second"))
    return begun


async def _cut(home: House, begun: dict[str, float], known: set[str]) -> list[float]:
    """Wait until something was written about each of some servers; return the seconds that each took."""
    took: dict[str, float] = {}
    deadline = time.monotonic() + WITHIN
    while len(took) < len(begun):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(begun) - len(took)} of {len(begun)} are not cut within {WITHIN:g} s")
        # Few and small reads: whoever measures must not be what is measured.
        await asyncio.sleep(1.0 if len(begun) == 1 else 2.0)
        for row in await home.journal.streams("incident/", limit=1 if len(begun) == 1 else 1000):
            if row.name in known:
                continue
            state = await home.incident(row.name.removeprefix("incident/"))
            if state.proposals:
                raise RuntimeError(f"the gate wants people: {state.proposals[0].reasons}")
            server = next(one.id for one in state.entities.values() if one.kind.value == "server")
            if (at := state.metrics["first_effect_at"]) is not None and server in begun:
                known.add(row.name)
                took[server] = at.timestamp() - begun[server]
    return list(took.values())


@asynccontextmanager
async def _ours(folder: Path, inventory: str) -> AsyncIterator[House]:
    world = connected(parse_yaml(Inventory, inventory, file="inventory.yaml", context=registry.SYSTEMS.context))
    await world.warm()
    classified = {"classify": [{"tag": "server_compromise", "class": "server_compromise"}]}
    sources = SOURCES.model_copy(update={"sources": {"siem": source(**classified), "second": source(**classified)}})
    played = parse(PLAYBOOK, file="on-kubernetes.yaml")
    async with house(folder, world, policy=POLICY) as made:
        home = made.changed(sources=sources, playbooks={played.class_: played})
        async with home.responding():
            yield home
    await world.aclose()


def _deployed(cluster: Kubernetes, namespace: str, count: int) -> list[str]:
    """Deploy so many servers of a pod each, and return their names."""
    names = [f"weather-{number}" for number in range(count)]
    for name in names:
        cluster.deploy(namespace, name, replicas=1, idle=True)
    return names


def figures(bare: Times, ours: Times, kind: str = "") -> dict[str, float]:
    """Return the figures of both, by name."""
    return bare.figures(f"(f) bare{kind}") | ours.figures(f"(f){kind}")


async def _measured(cluster: Kubernetes, folder: Path, spaces: Sequence[str], path: str | None) -> None:
    (folder / "kubeconfig").touch(mode=0o600)
    (folder / "kubeconfig").write_text(cluster.kubeconfig("responder"))
    serial, burst = _deployed(cluster, spaces[0], SERIAL), _deployed(cluster, spaces[1], BURST)
    servers = {f"one-{name}": (spaces[0], name) for name in serial} | {
        f"all-{name}": (spaces[1], name) for name in burst
    }
    bare, ours, known = Times(), Times(), set[str]()
    async with _bare(cluster) as script, _ours(folder / "house", _inventory(folder / "kubeconfig", servers)) as home:
        for name in serial:
            bare.first_effect.append(await script.cut(spaces[0], name))
            ours.first_effect += await _cut(home, {f"one-{name}": await _told(home, f"one-{name}")}, known)
        results(figures(bare, ours), path)
        bare, ours = Times(), Times()
        bare.first_effect += await asyncio.gather(*(script.cut(spaces[1], name) for name in burst))
        begun = {}
        for name in burst:
            begun[f"all-{name}"] = await _told(home, f"all-{name}")
        ours.first_effect += await _cut(home, begun, known)
        results(figures(bare, ours, " burst"), path)


def kept(what: str, resident: float, took: float) -> dict[str, float]:
    """Return the figures of a gibibyte that was kept, by name."""
    return {f"{of_a_gibibyte(what)}, peak MB": resident, f"{of_a_gibibyte(what)}, s": took}


def _gibibyte(cluster: Kubernetes, folder: Path, namespace: str, path: str | None) -> None:
    """Measure the memory that a gibibyte of a container's files takes, and of its log, each in its own process."""
    made = {
        "files": f"head -c {GIBIBYTE} /dev/urandom >/tmp/large",
        "log": f"yes $(head -c 6000 /dev/urandom | od -An -tx1 | tr -d ' \\n') | head -c {GIBIBYTE}",
    }
    kubeconfig = folder / "administrator"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(cluster.kubeconfig())
    for what in FROM_A_CONTAINER:
        _ready(cluster, namespace, what, made[what])
        inventory = folder / f"{what}.yaml"
        inventory.write_text(_inventory(kubeconfig, {"weather": (namespace, what)}, cluster.probe))
        command = [sys.executable, "-m", "tests.bench.container_phase", what, str(folder / what), str(inventory)]
        results(kept(what, *run_alone(command, folder)), path)


def _ready(cluster: Kubernetes, namespace: str, name: str, made: str) -> None:
    """Have a server run, and wait until it has done something first."""
    probe = {"httpGet": {"path": "/made", "port": 8000}, "periodSeconds": 1}
    command = ["/bin/sh", "-c", f"{made}; touch /www/made; exec httpd -f -p 8000 -h /www"]
    container = {"name": "server", "command": command, "readinessProbe": probe}
    cluster.deploy(namespace, name, replicas=1, idle=True)
    spec = {"nodeSelector": None, "containers": [container]}
    where = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    change = {"spec": {"template": {"spec": spec}}}
    cluster.ask("PATCH", where, change, kind="application/strategic-merge-patch+json")

    def so() -> bool:
        status = cluster.ask("GET", where)
        now, new = status["status"], status["metadata"]["generation"]
        return bool(
            now.get("observedGeneration") == new and now.get("updatedReplicas") == now.get("readyReplicas") == 1
        )

    cluster.until(so, f"a gibibyte of {name} is written")


@contextmanager
def _cluster() -> Iterator[Kubernetes]:
    programs = build.programs()
    if missing := lacking() or (
        "" if programs else "Kubernetes is not built: `python -m tests.cluster.build` says why"
    ):
        print(f"{missing}, so a cluster is not measured", flush=True)  # noqa: T201  # what it is for
        raise SystemExit(0)
    assert programs is not None
    with kubernetes(programs, largest_log="2Gi") as cluster:
        yield cluster


def measure(path: str | None) -> None:
    """Measure all of it."""
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as name, _cluster() as cluster:
        folder = Path(name)
        with cluster.namespace() as first, cluster.namespace() as second, cluster.namespace() as third:
            permitted(cluster)
            asyncio.run(_measured(cluster, folder, (first, second), path))
            _gibibyte(cluster, folder, third, path)


if __name__ == "__main__":
    # What people are told is not what is read here.
    logging.disable()
    measure(sys.argv[1] if sys.argv[1:] else None)
