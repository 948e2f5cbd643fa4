"""What pods of ours found, and what that means; without a cluster."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integrations import registry
from integrations.connections import Connections
from integrations.systems.kubernetes import Probe, probe
from integrations.systems.kubernetes.isolation import Scene, tried
from integrations.systems.kubernetes.policies import name_of
from integrations.systems.kubernetes.probe import Seen
from playbooks.errors import Transient
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer, Target, Verdict
from playbooks.strict import now, parse_yaml
from tests.integrations.systems.kubernetes.conftest import INVENTORY
from tests.lab.connected import connected

IMAGE = f"registry.example/probe@sha256:{'0' * 64}"
SHUT = Seen(control=True, outbound=False, inbound=False, reached=(), tried=())
TARGET = Target(system="kubernetes/prod", kind="deployment", id="d", name="mcp/weather", server="weather")


def policy(name: str, version: str = "1") -> dict[str, Any]:
    made = "2026-01-01T12:00:00Z"
    metadata = {"name": name, "namespace": "mcp", "uid": name, "resourceVersion": version, "creationTimestamp": made}
    return {"metadata": metadata, "spec": {}}


def pod(number: int, node: str = "one", start: str = "2026-01-01T13:00:00Z", **labels: str) -> dict[str, Any]:
    ports = [{"containerPort": 8000}, {"containerPort": 53, "protocol": "UDP"}]
    return {
        "metadata": {"name": f"pod-{number}", "uid": f"{number}", "labels": {"app": "weather", **labels}},
        "spec": {"nodeName": node, "containers": [{"name": "server", "ports": ports}]},
        "status": {"podIP": f"10.0.0.{number}", "startTime": start},
    }


class Network:
    """A network that answers as it is told, and notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.kept_asked = 0
        self.seen: Callable[[str], Seen] = lambda _: SHUT
        self.kept: bool | None = False

    async def ask(self, _: object, __: object, **question: Any) -> Seen:  # noqa: ANN401  # as the real one
        self.asked.append(question)
        return self.seen(question["node"])._replace(tried=tuple(question["addresses"][: probe.MOST]))

    async def keeps(self, _: object, __: object) -> bool | None:
        self.kept_asked += 1
        return self.kept


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(probe, "ask", made.ask)
    monkeypatch.setattr(probe, "keeps", made.keeps)
    return made


@pytest.fixture
def world(tmp_path: Path) -> Connections:
    file = tmp_path / "kubeconfig"
    file.touch(mode=0o600)
    file.write_text("{}", encoding="utf-8")
    text = INVENTORY.format(namespace="mcp", kubeconfig=file, probe=IMAGE)
    return connected(parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context))


async def asked(world: Connections, *pods: dict[str, Any], version: str = "1") -> Verdict:
    scene = Scene(TARGET, {"matchLabels": {"app": "weather"}}, list(pods))
    policies = [policy("ours"), policy("other", version)]
    return Verdict.of(tuple(await tried(scene, policies[0], policies, world)))


async def test_it_is_tried_at_each_node_and_one_that_leaks_is_enough(network: Network, world: Connections) -> None:
    verdict = await asked(world, pod(1), pod(2, node="two"))
    assert verdict.answer is Answer.ESTABLISHED
    assert [one["node"] for one in network.asked] == ["one", "two"]
    assert network.asked[0]["addresses"] == ["10.0.0.1,8000", "10.0.0.2,8000"], "what is UDP no connection tries"
    network.seen = lambda node: SHUT._replace(outbound=node == "two")
    verdict = await asked(world, pod(3), pod(2, node="two"))
    assert verdict.answer is Answer.NOT_ESTABLISHED
    (leak,) = [one for one in verdict.findings if one.answer is not Answer.ESTABLISHED]
    assert (leak.check, leak.asked_as) == ("outbound", "a pod of ours with its labels, at two")
    assert leak.remedy == "the cluster's network lets it through: end its pods"


async def test_more_nodes_than_are_tried_are_named_and_not_believed(network: Network, world: Connections) -> None:
    verdict = await asked(world, *(pod(number, node=f"node-{number}") for number in range(1, 10)))
    assert verdict.answer is Answer.UNKNOWN
    assert verdict.findings[-1].observed == "these were not: node-9"
    assert len(network.asked) == len(verdict.findings[:-2]) / 2


def listening(number: int, *ports: int, **spec: object) -> dict[str, Any]:
    """Return a pod that declares other ports, or is otherwise another."""
    made = pod(number)
    made["spec"] |= {"containers": [{"ports": [{"containerPort": port} for port in ports]}], **spec}
    return made


async def test_decoy_ports_keep_none_from_being_tried(network: Network, world: Connections) -> None:
    verdict = await asked(world, listening(1, *range(1, 21)), listening(2, 8000))
    assert verdict.answer is Answer.ESTABLISHED
    assert [len(one["addresses"]) for one in network.asked] == [16, 5]
    assert "none of 21 addresses" in verdict.findings[0].observed
    network.asked.clear()

    async def reached(*_: object, addresses: list[str], **__: object) -> Seen:
        return SHUT._replace(reached=tuple({"10.0.0.2,8000"} & set(addresses)), tried=tuple(addresses))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "ask", reached)
        verdict = await asked(world, listening(1, *range(1, 22)), listening(2, 8000), version="2")
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert verdict.findings[0].observed == "it reached pod-2"


async def test_ports_beyond_all_that_is_tried_are_named_and_not_believed(network: Network, world: Connections) -> None:
    verdict = await asked(world, listening(1, *range(1, 65)), listening(2, 8000))
    assert (len(network.asked), verdict.answer) == (4, Answer.UNKNOWN)
    assert verdict.findings[-1].observed == "not every port of these was tried: pod-2"


async def test_a_pod_of_which_nothing_was_tried_is_not_believed(network: Network, world: Connections) -> None:
    verdict = await asked(world, pod(1), listening(2))
    assert verdict.answer is Answer.UNKNOWN
    assert verdict.findings[-1].observed == "these declare no TCP port, so that none was tried: pod-2"
    late = listening(2)
    address = late.pop("status")
    assert (await asked(world, pod(1), late)).answer is Answer.ESTABLISHED, "it has no address yet"
    assert (await asked(world, pod(1), late | {"status": address})).answer is Answer.UNKNOWN, "and now it has one"
    ended = listening(2)
    ended["status"]["phase"] = "Failed"
    assert (await asked(world, pod(1), ended)).answer is Answer.ESTABLISHED
    assert network.asked


async def test_a_pod_on_its_nodes_own_network_is_not_shut_off(network: Network, world: Connections) -> None:
    verdict = await asked(world, pod(1), listening(2, 8000, hostNetwork=True))
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert network.asked
    assert "which no NetworkPolicy reaches: pod-2" in verdict.findings[-1].observed


async def test_a_receiver_that_nobody_reaches_proves_nothing(network: Network, world: Connections) -> None:
    network.seen = lambda _: SHUT._replace(control=False)
    verdict = await asked(world, pod(1))
    assert verdict.answer is Answer.UNKNOWN
    assert not verdict.tried


async def test_a_stand_in_goes_by_the_labels_of_the_pods_but_is_of_no_revision(
    network: Network, world: Connections
) -> None:
    await asked(world, pod(1, **{"pod-template-hash": "x", "team": "a"}), pod(2) | {"metadata": {"labels": {}}})
    assert network.asked[0]["labels"] == {"app": "weather", "team": "a"}


async def test_what_holds_is_asked_again_when_something_there_is_another(
    network: Network, world: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(world, pod(1))
    await asked(world, pod(1))
    assert len(network.asked) == 1
    await asked(world, pod(1), version="2")
    await asked(world, pod(2), version="2")
    assert len(network.asked) == 3  # a policy and a pod were others
    later = time.monotonic() + 601
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await asked(world, pod(2), version="2")
    assert len(network.asked) == 4  # ten minutes later


async def test_what_does_not_hold_is_asked_again_each_time(network: Network, world: Connections) -> None:
    network.seen = lambda _: SHUT._replace(inbound=True)
    for _ in range(2):
        assert (await asked(world, pod(1))).answer is Answer.NOT_ESTABLISHED
    assert len(network.asked) == 2
    network.seen = lambda _: (_ for _ in ()).throw(Transient("no node takes our pods"))
    verdict = await asked(world, pod(1))
    assert (verdict.answer, verdict.findings[0].observed) == (Answer.UNKNOWN, "no node takes our pods")


@pytest.mark.parametrize(
    ("kept", "answer"), [(True, Answer.NOT_ESTABLISHED), (None, Answer.UNKNOWN), (False, Answer.ESTABLISHED)]
)
async def test_only_pods_that_were_there_before_have_connections_from_before(
    network: Network, world: Connections, *, kept: bool | None, answer: Answer
) -> None:
    network.kept = kept
    before = pod(1, start="2026-01-01T12:00:00Z")
    verdict = await asked(world, before, pod(2))
    assert verdict.answer is answer
    assert "pod-2" not in verdict.findings[-1].observed
    assert ("pod-1" in verdict.findings[-1].observed) is (answer is not Answer.ESTABLISHED)
    assert network.kept_asked == 1
    assert (await asked(world, pod(2))).answer is Answer.ESTABLISHED
    assert network.kept_asked == 1, "none is left of before"


async def test_without_a_pod_there_is_nothing_to_try(network: Network, world: Connections) -> None:
    assert (await asked(world)).answer is Answer.ESTABLISHED
    assert network.asked == []


def came_to(asks: str) -> str:
    """Return what a script says that asks as our pods do."""
    shell = shutil.which("busybox")
    if shell is None:
        pytest.skip("busybox is missing")
    script = f'nc() {{ {shell} nc "$@"; }}\n{probe.TRY}{asks}'
    done = subprocess.run([shell, "sh", "-c", script], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  # ours
    return done.stdout.strip()


def test_who_is_given_no_time_to_connect_is_not_taken_for_shut_off() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        there, closed = (f"127.0.0.1 {one.getsockname()[1]}" for one in (listening, bound))
        assert came_to(f"try 4 {there} {there}") == "open"
        assert came_to(f"try 4 {closed} {there}") == "shut"
        assert came_to(f"try 4 {closed} {closed}") == "unclear", "what is open is not reached either"


def test_what_everybody_reaches_counts_as_reached_however_late() -> None:
    """Every first try of a busy node's may fail, three times one after another: that says nothing."""
    late = "tries=0; reach() { tries=$((tries+1)); [ $((tries%12)) = 0 ]; }; sleep() { :; }\n"
    assert came_to(f"{late}once 127.0.0.1 1") == "open"
    assert came_to(f"{late.replace('%12', '%99')}once 127.0.0.1 1") == "shut"


def stand_in(**metadata: object) -> dict[str, Any]:
    """Return one of ours as an API server has it."""
    owner = {"kind": "NetworkPolicy", "name": name_of("d"), "controller": True}
    made = probe.pod("mcp-soar-stand-in-1", "stand-in", IMAGE, ["41414", "10.0.0.1"], node="one", owner=owner)
    made["metadata"] |= {"creationTimestamp": now().isoformat(), **metadata}
    made["spec"] |= {"dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "schedulerName": "default-scheduler"}
    made["spec"]["containers"][0] |= {"terminationMessagePolicy": "File"}
    return made


@pytest.mark.parametrize(
    "spec",
    [
        {"hostNetwork": True},
        {"serviceAccountName": "weather"},
        {"automountServiceAccountToken": True},
        {"activeDeadlineSeconds": None},
        {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]},
        {"initContainers": [{"name": "first"}]},
        {"ephemeralContainers": [{"name": "debug"}]},
        {"container": {"image": "attacker.example/sh:1"}},
        {"container": {"image": f"attacker.example/sh@sha256:{'1' * 64}"}},
        {"container": {"command": ["/bin/sh"]}},
        {"container": {"args": ["41414", "10.0.0.1 4444 -e /bin/sh"]}},
        {"container": {"lifecycle": {"postStart": {"exec": {"command": ["/bin/sh", "-c", "id"]}}}}},
        {"container": {"env": [{"name": "ENV", "value": "/www/rc"}]}},
        {"container": {"ports": [{"containerPort": 8000}]}},
        {"metadata": {"labels": {}}},
        {"metadata": {"ownerReferences": []}},
        {"metadata": {"ownerReferences": [{"kind": "ReplicaSet", "name": "weather-1"}]}},
        {"metadata": {"creationTimestamp": "2026-01-01T12:00:00+00:00"}},
    ],
    ids=str,
)
def test_a_pod_is_ours_by_all_that_it_is_and_not_by_label_and_command(spec: dict[str, Any]) -> None:
    given = Probe(image=IMAGE)
    made = stand_in()
    assert probe.stands_in(made, given, "d")
    assert not probe.stands_in(made, given, "another workload's")
    assert not probe.stands_in(made, None, "d"), "no probe is set up"
    (container,) = made["spec"]["containers"]
    made["spec"]["containers"] = [container | spec.pop("container", {})]
    made["metadata"] |= spec.pop("metadata", {})
    made["spec"] |= spec
    assert not probe.stands_in(made, given, "d")


def test_a_second_container_beside_ours_is_none_of_ours() -> None:
    made = stand_in()
    made["spec"]["containers"].append({"name": "more", "command": ["/server"]})
    assert not probe.stands_in(made, Probe(image=IMAGE), "d")
