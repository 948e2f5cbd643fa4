"""A quarantine: what it does to policies of others, whether it holds, and what is said where nothing enforces it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from integrations import registry
from integrations.systems.kubernetes import Cluster, Workload, exclusion, probe, probe_of
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.policies import key_of, name_of
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.quarantine import Quarantine
from integrations.systems.kubernetes.rights import Permission
from integrations.systems.kubernetes.workload import pods
from playbooks.action import World
from playbooks.errors import Drifted, Gone, Refused
from playbooks.gate.plan import Answer, Plan, Verdict
from playbooks.strict import canonical
from tests.cluster.enforcer import enforcing, lacking
from tests.cluster.fixtures import PROBES
from tests.contract import laws
from tests.integrations.systems.kubernetes.asking import asked
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.test_admission import refusal
from tests.integrations.systems.kubernetes.test_doctor import looked

# Each question of the network starts pods, some questions are asked again.
pytestmark = pytest.mark.timeout(300)

PATCH = "application/merge-patch+json"
INTENT = Quarantine(server="weather")
NET = "/apis/networking.k8s.io/v1/namespaces"


def allow(yard: Yard, name: str, selector: dict[str, Any] | None = None, **spec: object) -> str:
    """Have somebody allow something; return the policy's path."""
    rules = spec or {"ingress": [{}], "egress": [{}], "policyTypes": ["Ingress", "Egress"]}
    body = {"metadata": {"name": name}, "spec": {"podSelector": selector or {}, **rules}}
    yard.cluster.ask("POST", f"{NET}/{yard.namespace}/networkpolicies", body)
    return f"{NET}/{yard.namespace}/networkpolicies/{name}"


async def state(yard: Yard) -> bytes:
    """Return every policy, as far as it says anything, and how the workload is described."""
    policies = yard.cluster.ask("GET", f"{NET}/{yard.namespace}/networkpolicies")["items"]
    said = [[one["metadata"]["name"], one["metadata"].get("labels"), one["spec"]] for one in policies]
    pods = sorted(pod["metadata"]["uid"] for pod in yard.cluster.pods(yard.namespace))
    return canonical([said, yard.cluster.ask("GET", yard.path)["spec"], pods])


def answers(verdict: Verdict) -> dict[str, str]:
    return {finding.check: finding.answer.value for finding in verdict.findings}


async def seen(plan: Plan, world: World) -> Verdict:
    """Return what is found once anything is: pods of ours on a busy node may have too little time to know."""
    async with asyncio.timeout(200):
        while (verdict := await Quarantine.verify(plan, world)).answer is Answer.UNKNOWN:
            pass
    return verdict


def unprobed(world: World) -> World:
    """Return a world in which no probe is set up: then nothing runs, and nothing is established."""
    systems = {"prod": world.inventory.systems["prod"].model_copy(update={"probe": None})}
    found: World = world.with_inventory(world.inventory.model_copy(update={"systems": systems}))  # type: ignore[attr-defined]
    return found


def stateful(yard: Yard) -> World:
    """Return a world in which the server is a stateful set that has no pods."""
    template = yard.cluster.ask("GET", yard.path)["spec"]["template"]
    template["metadata"]["labels"] = labels = {"app": "kept"}
    spec = {"serviceName": "kept", "replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    where = f"/apis/apps/v1/namespaces/{yard.namespace}/statefulsets"
    yard.cluster.ask("POST", where, {"metadata": {"name": "kept"}, "spec": spec})
    place = Workload(namespace=yard.namespace, workload="statefulset", name="kept")
    server = yard.world.inventory.servers["weather"].model_copy(update={"places": {"prod": place}})
    return yard.world.with_inventory(yard.world.inventory.model_copy(update={"servers": {"weather": server}}))


@pytest.fixture
async def enforced(yard: Yard) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Have the network of a yard enforce its policies; give what waits until the present ones are in force."""
    if missing := lacking():
        pytest.skip(missing)
    with enforcing(yard.cluster, yard.namespace, PROBES) as caught_up:
        yield lambda: asyncio.to_thread(caught_up)


async def test_where_nothing_enforces_policies_it_is_not_established_and_says_what_to_do(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    await laws.apply(Quarantine, plan, yard.world)
    verdict = await seen(plan, yard.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert answers(verdict) == {"policies": "established", "inbound": "not_established", "outbound": "not_established"}
    for finding in verdict.findings[1:]:
        assert "enforces no NetworkPolicy here" in finding.remedy
    assert "it reached weather-" in verdict.findings[1].observed
    left = [*yard.cluster.pods(yard.namespace), *yard.cluster.pods(PROBES)]
    assert [one["metadata"]["name"] for one in left if probe.ROLE in one["metadata"]["labels"]] == []


@pytest.mark.slow
async def test_it_holds_beside_a_policy_that_allows_everything_and_for_pods_that_come_later(
    yard: Yard, enforced: Callable[[], Awaitable[None]]
) -> None:
    allow(yard, "everything")
    before = await state(yard)
    plan = await INTENT.plan(yard.world)
    deny, exclude = plan.changes
    await Quarantine.write(deny, yard.world, key="drill")
    verdict = await Quarantine.verify(plan, yard.world)
    assert answers(verdict) == {"policies": "not_established"}, "another policy allows it: ours alone is nothing"
    (more,) = verdict.widen
    assert (more.action, more.params) == (Quarantine.name, {"server": "weather", "system": "prod"})
    await Quarantine.write(exclude, yard.world, key="drill")
    assert len(yard.cluster.pods(yard.namespace)) == 2, "nothing was replaced for it"  # as deployed
    await enforced()
    with asked(yard.api) as used:
        verdict = await seen(plan, yard.world)
        assert verdict.answer is Answer.ESTABLISHED, verdict
        assert verdict.tried
        assert answers(verdict).keys() == {"policies", "inbound", "outbound", "open-connections"}
        assert verdict.findings[-1].observed == "one of ours was cut"
        assert Permission.read("create pods") in used
    with asked(yard.api) as used:
        again = await Quarantine.verify(plan, yard.world)
        assert again.findings == verdict.findings, "and it says when that was"
        assert Permission.read("create pods") not in used, "nothing there is another: it is not tried each minute"
    for finding in verdict.findings:
        assert finding.asked_as != "nobody"
    await laws.apply(Quarantine, Quarantine.inverse(plan), yard.world)
    assert await state(yard) == before
    assert (await Quarantine.verify_released(plan, yard.world)).answer is Answer.ESTABLISHED
    # Its controller makes another pod: that is shut off without anybody doing anything.
    await laws.apply(Quarantine, plan, yard.world)
    name = yard.cluster.pods(yard.namespace)[0]["metadata"]["name"]
    yard.cluster.ask("DELETE", f"/api/v1/namespaces/{yard.namespace}/pods/{name}")
    await yard.ready(2)
    await enforced()
    assert (await seen(plan, yard.world)).answer is Answer.ESTABLISHED


@pytest.mark.slow
async def test_what_was_open_before_and_goes_on_is_no_containment(yard: Yard) -> None:
    if missing := lacking():
        pytest.skip(missing)
    plan = await INTENT.plan(yard.world)
    with enforcing(yard.cluster, yard.namespace, PROBES, keeps=True) as caught_up:
        await laws.apply(Quarantine, plan, yard.world)
        await asyncio.to_thread(caught_up)
        verdict = await seen(plan, yard.world)
        assert answers(verdict) == {
            "policies": "established",
            "inbound": "established",
            "outbound": "established",
            "open-connections": "not_established",
        }
        names = {pod["metadata"]["name"] for pod in yard.cluster.pods(yard.namespace)}
        assert all(name in verdict.findings[-1].observed for name in names)
        assert "end these pods" in verdict.findings[-1].remedy
        # Those that come in their place never had any.
        for name in names:
            yard.cluster.ask("DELETE", f"/api/v1/namespaces/{yard.namespace}/pods/{name}")
        await yard.ready(2)
        yard.cluster.until(lambda: len(yard.cluster.pods(yard.namespace)) == len(names), "the old ones have ended")
        await asyncio.to_thread(caught_up)
        verdict = await seen(plan, yard.world)
        assert verdict.answer is Answer.ESTABLISHED, verdict
        assert verdict.findings[-1].observed == "all of its pods came after it was shut off"
    assert yard.cluster.ask("GET", f"{NET}/{PROBES}/networkpolicies")["items"] == []


async def test_what_it_asks_for_is_what_it_declares_and_nothing_else(yard: Yard) -> None:
    allow(yard, "everything")
    with asked(yard.api) as used:
        plan = await INTENT.plan(yard.world)
        await laws.apply(Quarantine, plan, yard.world)
        await Quarantine.verify(plan, yard.world)
        await laws.apply(Quarantine, Quarantine.inverse(plan), yard.world)
        await Quarantine.verify_released(plan, yard.world)
    world = stateful(yard)
    with asked(yard.api) as more:
        plan = await INTENT.plan(world)
        await laws.apply(Quarantine, plan, world)
        verdict = await Quarantine.verify(plan, world)
    assert verdict.findings[-1].observed == "it has no pods at this moment: there is nothing to reach"
    # What denies by other kinds takes is asked for only where the cluster has those.
    assert used | more == {Permission.read(one) for one in exclusion.PERMISSIONS}


async def test_its_plan_only_reads_and_names_every_target_in_every_language(idle: Yard) -> None:
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    allow(idle, "everything")
    await laws.plan_only_reads(INTENT, idle.world, lambda: state(idle))
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    await laws.twice_is_once(INTENT, idle.world, lambda: state(idle))


async def test_only_policies_that_allow_its_pods_something_are_touched(idle: Yard) -> None:
    weather, news = {"matchLabels": {"app": "weather"}}, {"matchLabels": {"app": "news"}}
    gateway = allow(idle, "from-gateway", weather, ingress=[{"from": [{"podSelector": news}]}], policyTypes=["Ingress"])
    allow(idle, "of-news", news)
    allow(idle, "default-deny", policyTypes=["Ingress", "Egress"])
    plan = await INTENT.plan(idle.world)
    assert [change.target.kind for change in plan.changes] == ["deployment", "networkpolicy"]
    uid = idle.cluster.ask("GET", idle.path)["metadata"]["uid"]
    (change,) = plan.changes[1:]
    assert change.target.name == f"{idle.namespace}/from-gateway"
    assert change.field == f"excludes-{key_of(uid)}"
    assert (change.before, change.after) == (None, {"key": "app", "operator": "NotIn", "values": ["weather"]})
    await laws.apply(Quarantine, plan, idle.world)
    # Whoever changes another part of it meanwhile keeps that, and what was added goes again.
    idle.cluster.ask("PATCH", gateway, {"spec": {"ingress": [{}]}}, kind=PATCH)
    await laws.apply(Quarantine, Quarantine.inverse(plan), idle.world)
    spec = idle.cluster.ask("GET", gateway)["spec"]
    assert (spec["podSelector"], spec["ingress"]) == (weather, [{}])


async def test_what_no_label_tells_from_others_is_left_and_said(idle: Yard) -> None:
    spec = {"containers": [{"name": "one", "image": "registry.example/other:1"}]}
    selector = {"matchLabels": {"app": "weather"}, "matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}
    body = idle.cluster.ask("GET", idle.path)
    body["metadata"] = {"name": "odd"}
    body["spec"] |= {"selector": selector, "replicas": 0}
    body["spec"]["template"]["metadata"]["labels"] = {"app": "weather"}
    idle.cluster.ask("DELETE", idle.path)
    idle.cluster.until(lambda: not idle.cluster.pods(idle.namespace), "its pods have ended")
    idle.cluster.ask("POST", f"/apis/apps/v1/namespaces/{idle.namespace}/deployments", body)
    for name, labels in (("a", {"app": "weather", "x": "1"}), ("b", {"app": "news"})):
        pod = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        idle.cluster.ask("POST", f"/api/v1/namespaces/{idle.namespace}/pods", pod)
    allow(idle, "everything")
    server = idle.world.inventory.servers["weather"]
    places = {"prod": Workload(namespace=idle.namespace, name="odd")}
    servers = {"weather": server.model_copy(update={"places": places})}
    world = idle.world.with_inventory(idle.world.inventory.model_copy(update={"servers": servers}))
    plan = await INTENT.plan(world)
    assert len(plan.changes) == 1
    assert f"but by what networkpolicy {idle.namespace}/everything of weather allows" in plan.breaks
    await laws.speaks_every_language(INTENT, world, registry.SYSTEMS.words)
    await laws.apply(Quarantine, plan, world)
    verdict = await Quarantine.verify(plan, world)
    assert (verdict.answer, verdict.widen) == (Answer.NOT_ESTABLISHED, ()), "asking for it again changes nothing"
    assert "end them" in verdict.findings[0].remedy


async def test_kinds_of_policy_that_are_not_read_are_named(idle: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cluster with Cilium answers; whether its policies let anything through this cannot show."""
    world, real = unprobed(idle.world), Api.request
    assert "not read" not in (await INTENT.plan(world)).breaks

    async def request(api: Api, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # as the real one
        return (
            {"groups": [{"name": "apps"}, {"name": "cilium.io"}]}
            if path == "/apis"
            else await real(api, method, path, **more)
        )

    monkeypatch.setattr(Api, "request", request)
    plan = await INTENT.plan(world)
    assert "Policies of cilium.io are not read: what they allow may go on." in plan.breaks
    await laws.speaks_every_language(INTENT, world, registry.SYSTEMS.words)
    await laws.apply(Quarantine, plan, world)
    assert (await Quarantine.verify(plan, world)).findings[
        0
    ].observed == "no NetworkPolicy does; those of cilium.io are not read"


async def test_without_a_probe_it_is_unknown_and_says_what_to_set_up(idle: Yard) -> None:
    world = unprobed(idle.world)
    plan = await INTENT.plan(world)
    await laws.apply(Quarantine, plan, world)
    verdict = await Quarantine.verify(plan, world)
    assert answers(verdict) == {"policies": "established", "network": "unknown"}
    assert verdict.findings[1].remedy == "name an image for it in systems.prod.probe of inventory.yaml"


async def test_a_policy_of_ours_that_somebody_opens_or_takes_away_is_not_in_force(idle: Yard) -> None:
    world = unprobed(idle.world)
    plan = await INTENT.plan(world)
    await laws.apply(Quarantine, plan, world)
    (ours,) = idle.cluster.ask("GET", f"{NET}/{idle.namespace}/networkpolicies")["items"]
    where = f"{NET}/{idle.namespace}/networkpolicies/{ours['metadata']['name']}"
    idle.cluster.ask("PATCH", where, {"spec": {"egress": [{}]}}, kind=PATCH)
    assert await Quarantine.read(plan.changes[0], world) is None
    assert (await Quarantine.verify(plan, world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(Quarantine, plan, world)
    assert idle.cluster.ask("GET", where)["spec"] == ours["spec"], "it is put back as it was"
    idle.cluster.ask("DELETE", where)
    assert (await Quarantine.verify(plan, world)).answer is Answer.NOT_ESTABLISHED


async def test_a_policy_of_somebody_else_under_our_name_is_never_overwritten(idle: Yard) -> None:
    plan = await INTENT.plan(idle.world)
    uid = idle.cluster.ask("GET", idle.path)["metadata"]["uid"]
    where = allow(idle, f"mcp-soar-quarantine-{key_of(uid)}")
    before = idle.cluster.ask("GET", where)
    with pytest.raises(Refused, match="has our name and is not ours"):
        await Quarantine.write(plan.changes[0], idle.world, key="drill")
    with pytest.raises(Refused):
        await INTENT.plan(idle.world)
    assert idle.cluster.ask("GET", where) == before


async def test_another_one_of_its_name_is_not_touched(idle: Yard) -> None:
    where = allow(idle, "everything")
    plan = await INTENT.plan(idle.world)
    idle.cluster.ask("DELETE", where)
    allow(idle, "everything")
    with pytest.raises(Gone, match="another one now"):
        await Quarantine.write(plan.changes[1], idle.world, key="drill")
    assert idle.cluster.ask("GET", where)["spec"]["podSelector"] == {}


async def test_a_policy_that_was_changed_in_between_is_read_again_first(
    idle: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = allow(idle, "everything")
    plan = await INTENT.plan(idle.world)
    real = Api.request

    async def request(api: Api, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # as the real one
        if method == "PATCH":
            selector = {"spec": {"podSelector": {"matchLabels": {"app": "news"}}}}
            idle.cluster.ask("PATCH", where, selector, kind=PATCH)
        return await real(api, method, path, **more)

    monkeypatch.setattr(Api, "request", request)
    with pytest.raises(Drifted):
        await Quarantine.write(plan.changes[1], idle.world, key="drill")
    assert idle.cluster.ask("GET", where)["spec"]["podSelector"] == {"matchLabels": {"app": "news"}}


async def test_it_is_lifted_though_its_workload_was_deleted(idle: Yard) -> None:
    plan = await INTENT.plan(idle.world)
    await laws.apply(Quarantine, plan, idle.world)
    idle.cluster.ask("DELETE", idle.path)
    idle.cluster.until(lambda: not idle.cluster.there(idle.path), "it is deleted")
    assert await Quarantine.read(plan.changes[0], idle.world) == plan.changes[0].after, "it is in force all the same"
    await laws.apply(Quarantine, Quarantine.inverse(plan), idle.world)
    assert idle.cluster.ask("GET", f"{NET}/{idle.namespace}/networkpolicies")["items"] == []
    with pytest.raises(Gone):
        await Quarantine.read(plan.changes[0], idle.world)


async def test_pods_on_their_nodes_own_network_are_refused(idle: Yard) -> None:
    spec = {"spec": {"replicas": 0, "template": {"spec": {"hostNetwork": True}}}}
    idle.cluster.ask("PATCH", idle.path, spec, kind="application/strategic-merge-patch+json")
    with pytest.raises(Refused, match="use their node's own network"):
        await INTENT.plan(idle.world)


async def test_doctor_says_who_quarantined_it_and_that_nobody_did(idle: Yard) -> None:
    plan = await INTENT.plan(idle.world)
    await laws.apply(Quarantine, plan, idle.world)
    (found,) = [one for one in await looked(idle.world) if "is quarantined" in one.message]
    assert (found.level, found.remedy) == ("warn", "take away the policy that is labelled mcp-soar.io/quarantine")
    present = ClusterPresent(idle.world, "kubernetes/prod")
    (expected,) = [one for one in await present.look() if one.field == "deny-policy"]
    assert await present.value(expected.kind, expected.id, expected.field) == plan.changes[0].after
    await laws.apply(Quarantine, Quarantine.inverse(plan), idle.world)
    assert await present.value(expected.kind, expected.id, expected.field) is expected.value is False


async def test_doctor_says_that_a_probe_is_missing_or_would_not_run(idle: Yard) -> None:
    assert [one.message for one in await looked(unprobed(idle.world)) if one.level == "warn"] == [
        "no probe is set up: a quarantine is never established"
    ]
    settings = idle.world.inventory.systems["prod"]
    assert isinstance(settings, Cluster)
    assert settings.probe is not None
    elsewhere = settings.model_copy(update={"probe": settings.probe.model_copy(update={"namespace": "not-there"})})
    world = idle.world.with_inventory(idle.world.inventory.model_copy(update={"systems": {"prod": elsewhere}}))
    (found,) = [one for one in await looked(world) if one.level == "fail"]
    assert "would not run" in found.message
    assert 'namespaces "not-there" not found' in found.message
    assert "make namespace not-there" in found.remedy


async def test_an_admission_rule_that_takes_no_policy_of_ours_is_told_from_a_missing_permission(idle: Yard) -> None:
    admission, name = "/apis/admissionregistration.k8s.io/v1", f"nobody-{idle.namespace}"
    rule = {"apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"]}
    spec = {
        "matchConstraints": {"resourceRules": [{**rule, "resources": ["networkpolicies"]}]},
        "validations": [{"expression": "false", "message": "the network team makes these", "reason": "Forbidden"}],
    }
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": idle.namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": only}
    plan = await INTENT.plan(idle.world)
    bound = {"validatingadmissionpolicies": spec, "validatingadmissionpolicybindings": binding}
    try:
        for kind, each in bound.items():
            idle.cluster.ask("POST", f"{admission}/{kind}", {"metadata": {"name": name}, "spec": each})
        where = f"{NET}/{idle.namespace}/networkpolicies?dryRun=All"
        body = {"metadata": {"name": "probe"}, "spec": {"podSelector": {}}}
        idle.cluster.until(lambda: refusal(idle, "POST", where, body), "the rule is in force")
        with pytest.raises(Refused, match=r"403: .*the network team makes these: an admission rule of the cluster"):
            await Quarantine.write(plan.changes[0], idle.world, key="drill")
    finally:
        for kind in bound:
            idle.cluster.ask("DELETE", f"{admission}/{kind}/{name}")


async def test_of_two_servers_in_one_namespace_one_is_given_back_and_the_other_stays_shut_off(idle: Yard) -> None:
    idle.cluster.deploy(idle.namespace, "forecast", idle=True)
    where = allow(idle, "everything")
    weather = idle.world.inventory.servers["weather"]
    places = {"prod": Workload(namespace=idle.namespace, name="forecast")}
    servers = {"weather": weather, "forecast": weather.model_copy(update={"places": places})}
    world = unprobed(idle.world.with_inventory(idle.world.inventory.model_copy(update={"servers": servers})))
    one, other = INTENT, Quarantine(server="forecast")
    plans = []
    for intent in (one, other):
        plans.append(await intent.plan(world))
        await laws.apply(Quarantine, plans[-1], world)
    await laws.apply(Quarantine, Quarantine.inverse(plans[0]), world)
    left = [{"key": "app", "operator": "NotIn", "values": ["forecast"]}]
    assert idle.cluster.ask("GET", where)["spec"]["podSelector"] == {"matchExpressions": left}
    (policies, *_) = (await Quarantine.verify(plans[1], world)).findings
    assert policies.answer is Answer.ESTABLISHED
    assert (await Quarantine.verify_released(plans[0], world)).answer is Answer.ESTABLISHED
    await laws.apply(Quarantine, Quarantine.inverse(plans[1]), world)
    assert idle.cluster.ask("GET", where)["spec"]["podSelector"] == {}


async def test_a_stand_in_of_ours_is_not_taken_for_a_pod_of_the_server(idle: Yard) -> None:
    await laws.apply(Quarantine, await INTENT.plan(idle.world), idle.world)
    labels, where = {"app": "weather"}, f"/api/v1/namespaces/{idle.namespace}/pods"
    at, found = Workload(namespace=idle.namespace, name="weather"), idle.cluster.ask("GET", idle.path)
    name = name_of(found["metadata"]["uid"])
    deny = idle.cluster.ask("GET", f"{NET}/{idle.namespace}/networkpolicies/{name}")
    owner = {"apiVersion": deny["apiVersion"], "kind": "NetworkPolicy", "name": name, "uid": deny["metadata"]["uid"]}
    given = probe_of(idle.world.inventory, "prod")
    assert given is not None
    arguments = ["41414", "10.0.0.1"]
    one = probe.pod("mcp-soar-stand-in-1", "stand-in", given.image, arguments, labels=labels, owner=owner)
    one["spec"]["nodeSelector"] = {"there": "is-none"}
    idle.cluster.ask("POST", where, one)
    assert len(await pods(idle.api, at, found, probe=given)) == 2, "as deployed"
    assert len(await pods(idle.api, at, found)) == 3, "as evidence it is kept"
    one["metadata"]["name"] = "looks-like-one"
    one["spec"]["containers"][0]["lifecycle"] = {"postStart": {"exec": {"command": ["/bin/sh", "-c", "id"]}}}
    idle.cluster.ask("POST", where, one)
    assert len(await pods(idle.api, at, found, probe=given)) == 3, "whoever only looks like it answers for the server"
