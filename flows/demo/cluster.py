"""The demonstration on Kubernetes: a server is in somebody else's hands, and what it runs as is ended and given back.

It plays on the cluster of the tests, which a checkout of the source builds once, or on that of `KUBECONFIG`, in
namespaces of its own. The server that the gateway calls runs beside; what stands on the cluster for it are two pods.
"""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.demo.play import alert, gateway_state, run_command, send, show_news, shown, until_released
from flows.demo.processes import child, environment
from flows.demo.screen import Screen
from flows.demo.site import Site
from flows.demo.stage import PERSON, REVIEWER, SHELL, Failed, Stage, reading, set_up
from integrations.signing import PublicKey
from integrations.systems.kubernetes import Cluster, Probe, Workload
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.workload import ready
from integrations.vault import bundle
from playbooks.errors import Gone, SoarError
from playbooks.estate.systems import Secret
from playbooks.playbook import When, shipped
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = "cluster"
NAME = "weather"
PODS = 2
WITHIN = 600.0
"""Seconds for one part of it: a busy machine takes minutes to start some pods."""

_BUILT_WITHIN = 3600.0
_STEPS = [
    step.id
    for _, step in shipped()[IncidentClass.SERVER_COMPROMISE].steps()
    if step.action and step.when not in {When.LEAKING, When.CHOSEN}
]
"""What people are asked about."""


@dataclass(frozen=True)
class Ground:
    """Where it plays.

    Args:
        kubeconfig: of an account that may make and delete namespaces.
        image: what runs there, by its digest.
        namespace: of the server.
        probes: of what tries the network.
    """

    kubeconfig: Path
    image: str
    namespace: str
    probes: str

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Return what the cluster answers."""

        async def asked() -> dict[str, Any]:
            api = Api("demo", self.kubeconfig.read_text)
            try:
                return await api.request(method, path, body=body)
            finally:
                await api.aclose()

        return asyncio.run(asked())

    def pods(self) -> list[dict[str, Any]]:
        """Return the server's pods."""
        where = f"/api/v1/namespaces/{self.namespace}/pods"
        found: list[dict[str, Any]] = self.ask("GET", where).get("items") or []
        return [one for one in found if (one["metadata"].get("labels") or {}) == {"app": NAME, **_hash(one)}]

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises:
            Failed: it is not so in time.
        """
        deadline = time.monotonic() + WITHIN
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"the cluster did not come to where {what} within {WITHIN:.0f} s")
            time.sleep(0.2)

    def placed(self, site: Site) -> Site:
        """Return a site whose server stands on the cluster too."""
        server = site.inventory.servers[site.server_id]
        there = Cluster(
            kind="kubernetes",
            kubeconfig=Secret(file=str(self.kubeconfig)),
            probe=Probe(image=self.image, namespace=self.probes),
            our_namespaces=(self.probes, "kube-system"),
        )
        places = {**server.places, CLUSTER: Workload(namespace=self.namespace, name=NAME)}
        update = {
            "systems": {**site.inventory.systems, CLUSTER: there},
            "servers": {**site.inventory.servers, site.server_id: server.model_copy(update={"places": places})},
        }
        return replace(site, inventory=site.inventory.model_copy(update=update))


def _hash(pod: dict[str, Any]) -> dict[str, str]:
    labels = pod["metadata"].get("labels") or {}
    return {"pod-template-hash": labels["pod-template-hash"]} if "pod-template-hash" in labels else {}


def play_on_cluster(screen: Screen, *, image: str = "", keep: bool = False) -> int:
    """Show it, and return the exit status: 0 only if its pods end, the evidence verifies and all comes back.

    Args:
        screen: where to.
        image: what runs on the cluster of `KUBECONFIG`, by its digest.
        keep: leave everything running until Ctrl-C.
    """

    def work(stack: ExitStack, folder: Path) -> Callable[[], None]:
        screen.title("1  A small MCP estate, on a cluster")
        ground = stack.enter_context(_ground(screen, folder, image))
        stage = set_up(stack, screen, folder, placed=ground.placed)
        before = gateway_state(stage)
        incident = _compromised(stage, ground, screen)
        _given_back(stage, ground, screen, incident)
        if gateway_state(stage) != before:
            raise Failed("at the gateway not everything is as it was before")
        screen.check("the gateway's state is what it was before, field by field")
        return lambda: None

    return shown(screen, work, keep=keep)


@contextmanager
def _ground(screen: Screen, folder: Path, image: str) -> Iterator[Ground]:
    """Yield where it plays: nothing of it is left there afterwards.

    Raises:
        Failed: there is no cluster, and what is missing for one.
    """
    with ExitStack() as stack:
        given = os.environ.get("KUBECONFIG", "")
        if given:
            if "@sha256:" not in image:
                raise Failed(
                    "on a cluster of your own say what runs there: --image registry.example.com/busybox@sha256:…, which"
                    " its nodes can pull"
                )
            kubeconfig = Path(given)
            screen.say(f"On the cluster of {given}, in namespaces of its own.")
        else:
            kubeconfig, image = _own(stack, screen, folder)
        id_ = secrets.token_hex(3)
        ground = Ground(kubeconfig, image, f"mcp-soar-demo-{id_}", f"mcp-soar-demo-{id_}-probes")
        with screen.step(f"server {NAME} as {PODS} pods in namespace {ground.namespace}"):
            stack.callback(_cleared, ground, screen, whole=not given)
            _deployed(ground)
        yield ground


def _own(stack: ExitStack, screen: Screen, folder: Path) -> tuple[Path, str]:
    """Start the cluster of the tests; return its kubeconfig, and the image that it has."""
    where = folder / "kubernetes"
    where.mkdir()
    if not (ROOT / "tests" / "cluster").is_dir() or importlib.util.find_spec("yaml") is None:
        raise Failed("a cluster of its own is in the source: run it in a checkout, or say KUBECONFIG=FILE")
    command = [sys.executable, "-m", "tests.cluster.running", str(where)]
    up, env = (where / "kubeconfig").exists, environment(PYTHONPATH=str(ROOT))
    with screen.step("Kubernetes: API server, controllers, scheduler, a node (the first time it builds them, minutes)"):
        try:
            stack.enter_context(child(command, log=where / "log", ready=up, within=_BUILT_WITHIN, env=env, grace=20.0))
        except SoarError as exc:
            why = str(exc).strip().rpartition("\n")[2]
            raise Failed(f"{why}. It takes Linux, root, Go and busybox; or say KUBECONFIG=FILE with --image") from exc
    screen.say("Its network enforces no NetworkPolicy, as that of some clusters: you will see that found out.")
    return where / "kubeconfig", (where / "image").read_text(encoding="utf-8")


def _deployed(ground: Ground) -> None:
    for name in (ground.namespace, ground.probes):
        ground.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    for name in (ground.namespace, ground.probes):
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        ground.until("a namespace has its account", lambda path=account: _there(ground, path))  # type: ignore[misc]  # its default
    container = {
        "name": "server",
        "image": ground.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/sh", "-c", "echo serving; exec nc -ll -p 8000 -e cat"],
        "ports": [{"containerPort": 8000}],
    }
    spec = {
        "replicas": PODS,
        "selector": {"matchLabels": {"app": NAME}},
        "template": {
            "metadata": {"labels": {"app": NAME}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
        },
    }
    where = f"/apis/apps/v1/namespaces/{ground.namespace}/deployments"
    ground.ask("POST", where, {"metadata": {"name": NAME}, "spec": spec})
    ground.until("its pods are ready", lambda: sum(map(ready, ground.pods())) == PODS)


def _there(ground: Ground, path: str) -> bool:
    try:
        ground.ask("GET", path)
    except Gone:
        return False
    return True


def _cleared(ground: Ground, screen: Screen, *, whole: bool) -> None:
    """Have nothing left of it; a cluster of our own ends as a whole."""
    if whole:
        return
    for name in (ground.namespace, ground.probes):
        with contextlib.suppress(Gone):
            ground.ask("DELETE", f"/api/v1/namespaces/{name}")
    left = [name for name in (ground.namespace, ground.probes) if not _ends(ground, name)]
    screen.say(f"Delete namespace {' and '.join(left)}: it does not end." if left else "Its namespaces are gone.")


def _ends(ground: Ground, name: str) -> bool:
    with contextlib.suppress(Failed, SoarError):
        ground.until(f"namespace {name} is gone", lambda: not _there(ground, f"/api/v1/namespaces/{name}"))
        return True
    return False


def _compromised(stage: Stage, ground: Ground, screen: Screen) -> Incident:
    screen.title("2  A shell is started in a pod of the server")
    screen.say("Whoever has it has all that the server may do, behind every cut at the gateway.")
    sent = now()
    screen.say(f"Elastic Security sends its alert, with its bearer token: {send(stage, alert(stage, SHELL))}")
    screen.title("3  Evidence first; people are asked about all else")
    incident = asyncio.run(_watched(stage, screen, sent, None, lambda it: _asked_all(it) and bool(it.sealed)))
    if len(ground.pods()) != PODS:
        raise Failed("pods ended before anybody agreed")
    screen.check(f"nobody has agreed yet: {PODS} pods run on, and their logs are sealed")
    for step in [one for name in _STEPS for one in incident.proposals if one.instance.partition("@")[0] == name]:
        if step.plan is None:
            raise Failed(f"{step.instance} waits without a plan")
        screen.say(f"{REVIEWER} approves: {step.plan.summary}", style="strong")
        _approved(stage, incident, step.plan.digest)
    screen.title("4  Does it hold?")
    incident = asyncio.run(_watched(stage, screen, sent, incident, lambda it: it.status is Status.CONTAINED))
    if ground.pods():
        raise Failed("pods of the server run on")
    screen.check("the cluster has no pod of the server any more")
    said = asyncio.run(stage.agent.call(stage.offered, {"city": "Busan"}))
    if said.worked:
        raise Failed(f"the agent can still call {stage.offered}")
    screen.check(f"the agent calls {stage.offered}: refused ({said.text})")
    archived = stage.folder / "evidence.tar.gz"
    run_command(stage, "archive", incident.id, "--out", str(archived))
    report = bundle.verify(archived, PublicKey.load(stage.config / "keys" / "responder.pub"))
    if not report.ok:
        raise Failed("the evidence does not verify: " + "; ".join(c.sentence for c in report.checks if not c.ok))
    screen.check(f"the evidence bundle verifies offline, with the public key alone ({len(report.checks)} checks)")
    screen.path(str(archived))
    return incident


def _asked_all(incident: Incident) -> bool:
    return {step.instance.partition("@")[0] for step in incident.proposals} >= set(_STEPS)


def _approved(stage: Stage, incident: Incident, digest: str) -> None:
    words = ("approve", incident.id, "--digest", digest, "--as", REVIEWER, "--yes", "--reason", "looked at it")
    with contextlib.suppress(Failed):
        # It ends with what came of it: one that does not hold yet is no failure of the command.
        run_command(stage, *words, within=WITHIN)


async def _watched(
    stage: Stage, screen: Screen, since: datetime, known: Incident | None, until: Callable[[Incident], bool]
) -> Incident:
    """Show the incident's journal as it grows, until something is so.

    Raises:
        Failed: it is not so in time.
    """
    deadline = time.monotonic() + WITHIN
    async with reading(stage) as journal:
        state = known
        while state is None or not until(state):
            if time.monotonic() > deadline:
                raise Failed(f"{state.id if state else 'the incident'} is {state.status if state else 'not opened'}")
            if state is None:
                stream = next((found.name for found in await journal.streams("incident/")), "")
                state = Incident(id=stream.removeprefix("incident/")) if stream else None
            else:
                await show_news(journal, f"incident/{state.id}", state, screen, since)
            await asyncio.sleep(0.1)
        return state


def _given_back(stage: Stage, ground: Ground, screen: Screen, incident: Incident) -> None:
    screen.title("5  Rebuilt, and given back")
    screen.say(f"{PERSON} asks for it, and for a whole server another person agrees: {REVIEWER}.")
    asked = now()
    words = ("release", incident.id, "--as", PERSON, "--yes", "--reason", "rebuilt from a source that we trust")
    with contextlib.suppress(Failed):
        # It waits for the other person, and says so by its exit code.
        run_command(stage, *words, within=WITHIN)

    def waits(it: Incident) -> bool:
        open_ = {f"release-{name}" for name, lease in it.leases.items() if lease.open}
        return not open_ or open_ == {step.instance for step in it.proposals}

    incident = asyncio.run(_watched(stage, screen, asked, incident, waits))
    for step in incident.proposals:
        if step.plan is not None:
            _approved(stage, incident, step.plan.digest)
    asyncio.run(until_released(stage, screen, incident, asked, within=WITHIN))
    ground.until("its pods are back", lambda: sum(map(ready, ground.pods())) == PODS)
    screen.check(f"{PODS} pods of the server are ready again")
