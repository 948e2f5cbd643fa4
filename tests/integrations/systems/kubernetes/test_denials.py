"""Policies of other kinds that deny: a real API server takes them by their makers' definitions, and gives them back.

Nothing here shows that they shut anything off: no Cilium, Calico or Istio runs on the tests' cluster. That a selector
finds its pods, that a deny counts for more than what others allow, and what becomes of open connections show only where
theirs does. The Calico definition is an excerpt of ours: what else its own refuses does not show either.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.systems.kubernetes import denials
from integrations.systems.kubernetes.captures import CaptureWorkload
from integrations.systems.kubernetes.denials import KINDS, Denial
from integrations.systems.kubernetes.hardening import asks
from integrations.systems.kubernetes.policies import key_of
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.quarantine import Quarantine
from integrations.systems.kubernetes.rights import Permission
from playbooks.gate.plan import Answer
from tests.cluster import crds
from tests.cluster.cluster import Kubernetes
from tests.contract import laws
from tests.integrations.systems.kubernetes.asking import asked
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.pretended import DEPLOYMENT, Pretended, pretended
from tests.integrations.systems.kubernetes.test_quarantine import PATCH, unprobed
from tests.lab.exhibits import gathered

INTENT = Quarantine(server="weather")
LOOSE: dict[str, dict[str, Any]] = {
    "CiliumNetworkPolicy": {"ingressDeny": [{"fromEntities": ["host"]}]},
    "NetworkPolicy": {"order": 2000},
    "ClusterNetworkPolicy": {"tier": "Baseline"},
    "AuthorizationPolicy": {"action": "ALLOW"},
}
"""What somebody makes of ours, by which it denies less."""


@pytest.fixture(scope="module")
def policies(cluster: Kubernetes) -> Iterator[None]:
    if wrong := crds.fetch(policies=True):
        pytest.skip(f"the definitions of policies that deny are not there: {wrong}")
    with crds.policies(cluster):
        yield


def every(yard: Yard, kind: Denial) -> dict[str, Any]:
    """Return all objects of a kind, by name, as far as they say anything."""
    found = yard.cluster.ask("GET", kind.own.path(yard.namespace))["items"]
    return {one["metadata"]["name"]: [one["metadata"].get("labels"), one["spec"]] for one in found}


@pytest.mark.usefixtures("policies")
async def test_one_of_each_kind_that_the_cluster_has_denies_and_goes_again_and_nobody_takes_that_for_proof(
    idle: Yard,
) -> None:
    world, uid = unprobed(idle.world), idle.cluster.ask("GET", idle.path)["metadata"]["uid"]
    for kind in KINDS:
        # Somebody's own, which stays as it is.
        spec = kind.spec(idle.namespace, {"matchLabels": {"app": "other"}})
        body = {"apiVersion": kind.own.version, "kind": kind.own.kind, "metadata": {"name": idle.namespace}}
        idle.cluster.ask("POST", kind.own.path(idle.namespace), {**body, "spec": spec})
    before = {kind.field: every(idle, kind) for kind in KINDS}
    with asked(world.reach(type(idle.api), "prod")) as used:
        plan = await INTENT.plan(world)
        assert [one.field for one in plan.changes[1:]] == [kind.field for kind in KINDS]
        assert plan.changes[0].field == "deny-policy", "what every cluster has comes first"
        await laws.apply(Quarantine, plan, world)
        assert (await INTENT.plan(world)).pending == ()
        for change, kind in zip(plan.changes[1:], KINDS, strict=True):
            labels, spec = every(idle, kind)[kind.own.name(uid)]
            assert spec == change.after, "the API server took all of it"
            assert labels["mcp-soar.io/quarantine"] == key_of(uid)
        verdict = await Quarantine.verify(plan, world)
        assert verdict.answer is Answer.UNKNOWN, "that the API server keeps it is no proof"
        said = {one.check: one for one in verdict.findings if "deny" not in one.check}
        assert all("does not say that anything heeds it" in said[kind.own.resource].observed for kind in KINDS)
    # It asks for more than a quarantine does.
    present = ClusterPresent(world, "kubernetes/prod")
    unheld = {one.field for one in await present.look() if one.id == uid and one.value is False}
    assert unheld >= {kind.field for kind in KINDS}, "doctor finds what no incident holds"
    for change in plan.changes[1:]:
        assert await present.value("deployment", uid, change.field) == change.after
    with asked(world.reach(type(idle.api), "prod")) as more:
        for change, kind in zip(plan.changes[1:], KINDS, strict=True):
            where = kind.own.path(idle.namespace, kind.own.name(uid))
            idle.cluster.ask("PATCH", where, {"spec": LOOSE[kind.own.kind]}, kind=PATCH)
            assert await Quarantine.read(change, world) is None, "somebody made it deny less"
            (found,) = (await Quarantine.verify(plan.model_copy(update={"changes": (change,)}), world)).findings
            assert found.answer is Answer.NOT_ESTABLISHED
            await Quarantine.write(change, world, key="drill")
            assert every(idle, kind)[kind.own.name(uid)][1] == change.after, "it is put back"
        await laws.apply(Quarantine, Quarantine.inverse(plan), world)
    assert {kind.field: every(idle, kind) for kind in KINDS} == before
    assert (await Quarantine.verify_released(plan, world)).answer is Answer.ESTABLISHED
    theirs = {Permission.read(one) for one in denials.PERMISSIONS}
    assert theirs <= used | more <= theirs | {Permission.read(one) for one in Quarantine.permissions}
    for kind in KINDS:
        idle.cluster.ask("DELETE", kind.own.path(idle.namespace, idle.namespace))


@pytest.mark.usefixtures("policies")
async def test_what_is_kept_of_a_workload_takes_what_it_declares_and_all_of_it(idle: Yard) -> None:
    with asked(idle.api) as used:
        files = await gathered(CaptureWorkload(server="weather"), idle.world)
    declared = {Permission.read(written) for written in CaptureWorkload.permissions}
    assert used <= declared
    assert {one.resource for one in declared - used} == {"statefulsets"}
    assert {"clusterrolebindings.json", "ciliumnetworkpolicies-cilium-io.json"} <= set(files)
    assert b"the token of service account default" in files["secrets.txt"]
    said = files["not-available.txt"].decode().splitlines()
    assert all(line.startswith("pod-") for line in said), said


def having(at: Pretended, kind: Denial, **resource: str) -> None:
    """Have a cluster say that it has a kind."""
    groups = at.objects.setdefault("/apis", {"groups": []})["groups"]
    groups.append({"name": kind.group, "versions": [{"groupVersion": kind.own.version}]})
    at.objects[f"/apis/{kind.own.version}"] = {"resources": [{"name": kind.own.resource, **resource}]}


async def test_a_kind_that_our_account_may_not_use_holds_up_no_other_and_is_named(tmp_path: Path) -> None:
    at, (cilium, *_, istio) = Pretended(), KINDS
    having(at, cilium)
    having(at, istio)
    at.answers = lambda _, path, __: (403, {"message": "forbidden"}) if "/cilium.io/v2/names" in path else None
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
    assert [one.field for one in plan.changes] == ["deny-policy", istio.field]
    assert "Policies of CiliumNetworkPolicy (" in plan.breaks
    assert "cilium.io" in plan.breaks, "what those allow may go on"


async def test_what_a_kind_cannot_say_is_not_made_of_it_and_named(tmp_path: Path) -> None:
    at, (*_, istio) = Pretended(), KINDS
    having(at, istio)
    chosen = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["weather"]}]}
    at.objects[DEPLOYMENT]["spec"]["selector"] = chosen
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
    assert [one.field for one in plan.changes] == ["deny-policy"]
    assert "Policies of AuthorizationPolicy are not read" in plan.breaks


async def test_a_group_without_that_kind_is_no_such_kind(tmp_path: Path) -> None:
    at, (cilium, *_) = Pretended(), KINDS
    having(at, cilium, name="ciliumnodes")
    async with pretended(at, tmp_path) as world:
        plan = await INTENT.plan(world)
    assert [one.field for one in plan.changes] == ["deny-policy"]
    assert "Policies of cilium.io are not read" in plan.breaks


@pytest.mark.usefixtures("policies")
async def test_a_mesh_that_takes_what_is_not_encrypted_is_found_by_the_check_hardening(idle: Yard) -> None:
    ask = asks(idle.world)["weather on prod: mesh"]
    (one,) = await ask()
    assert (one.what, one.observed) == ("mesh mTLS", "PERMISSIVE")
    peers = f"/apis/security.istio.io/v1/namespaces/{idle.namespace}/peerauthentications"
    said = {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "strict"}}
    idle.cluster.ask("POST", peers, {**said, "spec": {"mtls": {"mode": "STRICT"}}})
    assert list(await ask()) == []


def test_a_selector_is_written_in_calico_s_own_words() -> None:
    (calico,) = (one for one in KINDS if one.group == "projectcalico.org")
    asks = [
        {"key": "tier", "operator": "NotIn", "values": ["a", "b"]},
        {"key": "old", "operator": "DoesNotExist"},
        {"key": "example.com/new", "operator": "Exists"},
    ]
    spec = calico.spec("mcp", {"matchLabels": {"app": "weather"}, "matchExpressions": asks})
    assert spec is not None
    said = "app in { 'weather' } && tier not in { 'a', 'b' } && !has(old) && has(example.com/new)"
    assert spec["selector"] == said
