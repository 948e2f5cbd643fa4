"""No pod more in a server's namespace, and no larger container: as the API server itself refuses them."""

import urllib.error
from typing import Any

import pytest

from integrations import registry
from integrations.connections import Connections
from integrations.systems.kubernetes import Probe, Workload
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.quotas import FREEZE, LIMIT, FreezePods, LimitPods, limits
from playbooks.action import Action
from playbooks.errors import Misconfigured, Refused
from playbooks.gate.plan import Answer, Radius
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.test_doctor import looked

PATCH = "application/merge-patch+json"
FROZEN = FreezePods(server="weather")
LIMITED = LimitPods(server="weather", millicores=500, mebibytes=1024)
every_bound = pytest.mark.parametrize("intent", [FROZEN, LIMITED], ids=lambda one: one.own.stem)


async def state(yard: Yard) -> bytes:
    """Return every bound of the namespace."""
    where = f"/api/v1/namespaces/{yard.namespace}"
    lists = [yard.cluster.ask("GET", f"{where}/{what}")["items"] for what in ("resourcequotas", "limitranges")]
    return canonical([[one["metadata"]["name"], one["spec"]] for found in lists for one in found])


def with_probe(world: Connections, probe: Probe | None) -> Connections:
    systems = {"prod": world.inventory.systems["prod"].model_copy(update={"probe": probe})}
    return world.with_inventory(world.inventory.model_copy(update={"systems": systems}))


def started(yard: Yard, memory: str = "64Mi") -> bool:
    """Whether the namespace takes a pod of somebody's."""
    container = {"name": "one", "image": "registry.example/x:1", "resources": {"limits": {"memory": memory}}}
    body = {"metadata": {"generateName": "another-"}, "spec": {"containers": [container]}}
    try:
        yard.cluster.ask("POST", f"/api/v1/namespaces/{yard.namespace}/pods?dryRun=All", body)
    except urllib.error.HTTPError:
        return False
    return True


async def in_force(intent: Action, world: Connections) -> Any:  # noqa: ANN401  # a plan
    plan = await intent.plan(world)
    await laws.apply(type(intent), plan, world)
    verdict = await type(intent).verify(plan, world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    return plan


@every_bound
async def test_it_is_held_to_the_laws(idle: Yard, intent: Action) -> None:
    # What somebody has there before stays as it is.
    quota = {"metadata": {"name": "theirs"}, "spec": {"hard": {"pods": "40"}}}
    idle.cluster.ask("POST", f"/api/v1/namespaces/{idle.namespace}/resourcequotas", quota)
    await laws.plan_only_reads(intent, idle.world, lambda: state(idle))
    await laws.speaks_every_language(intent, idle.world, registry.SYSTEMS.words)
    plan = await intent.plan(idle.world)
    assert (await type(intent).verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    await laws.the_inverse_restores(intent, idle.world, lambda: state(idle))
    await laws.twice_is_once(intent, idle.world, lambda: state(idle))
    for finding in (await type(intent).verify(plan, idle.world)).findings:
        assert finding.asked_as != "nobody"


async def test_one_beside_the_other_each_says_what_it_does_and_what_runs_goes_on(idle: Yard) -> None:
    assert started(idle, "2Gi")
    limited = await in_force(LIMITED, idle.world)
    assert (started(idle), started(idle, "2Gi")) == (True, False)
    await in_force(FROZEN, idle.world)
    assert not started(idle)
    assert (await LimitPods.verify(limited, idle.world)).answer is Answer.ESTABLISHED
    assert len(idle.cluster.pods(idle.namespace)) == 2  # as deployed
    # One that ends is not replaced, as the plan said.
    name = idle.cluster.pods(idle.namespace)[0]["metadata"]["name"]
    idle.cluster.ask("DELETE", f"/api/v1/namespaces/{idle.namespace}/pods/{name}")
    assert len(idle.cluster.pods(idle.namespace)) == 1
    await laws.apply(FreezePods, FreezePods.inverse(await FROZEN.plan(idle.world)), idle.world)


@every_bound
async def test_a_refusal_for_another_reason_or_of_every_pod_is_no_proof(idle: Yard, intent: Action) -> None:
    plan = await in_force(intent, idle.world)
    unprobed = await type(intent).verify(plan, with_probe(idle.world, None))
    assert unprobed.answer is Answer.UNKNOWN
    assert unprobed.findings[0].remedy == "name an image for it in systems.prod.probe of inventory.yaml"
    elsewhere = Probe(image=idle.cluster.probe, namespace="there-is-none")
    if intent is FROZEN:
        verdict = await FreezePods.verify(plan, with_probe(idle.world, elsewhere))
        assert verdict.answer is Answer.UNKNOWN
        assert "is refused too" in verdict.findings[0].observed
        return
    # Somebody's own bound refuses both: ours is not what keeps it out.
    theirs = {"limits": [{"type": "Container", "max": {"memory": "1Mi"}}]}
    where = f"/api/v1/namespaces/{idle.namespace}/limitranges"
    idle.cluster.ask("POST", where, {"metadata": {"name": "a-first"}, "spec": theirs})
    idle.cluster.until(lambda: not started(idle), "it is heeded")
    verdict = await LimitPods.verify(plan, idle.world)
    assert verdict.answer is Answer.UNKNOWN, verdict


@every_bound
async def test_whoever_loosens_it_is_seen_and_it_is_put_back(idle: Yard, intent: Any) -> None:  # noqa: ANN401  # either
    plan = await in_force(intent, idle.world)
    uid = plan.changes[0].target.id
    where = intent.own.path(idle.namespace, intent.own.name(uid))
    loose = {"hard": {"pods": "50"}} if intent is FROZEN else {"limits": [{"type": "Pod", "max": {"cpu": "64"}}]}
    idle.cluster.ask("PATCH", where, {"spec": loose}, kind=PATCH)
    assert await type(intent).read(plan.changes[0], idle.world) is None
    assert (await type(intent).verify(plan, idle.world)).answer is not Answer.ESTABLISHED
    await laws.apply(type(intent), plan, idle.world)
    assert idle.cluster.ask("GET", where)["spec"] == plan.changes[0].after
    theirs = idle.cluster.ask("GET", where)
    idle.cluster.ask("PATCH", where, {"metadata": {"labels": {intent.own.mark: None}}}, kind=PATCH)
    with pytest.raises(Refused, match="has our name and is not ours"):
        await type(intent).write(plan.inverse().changes[0], idle.world, key="drill")
    assert idle.cluster.ask("GET", where)["spec"] == theirs["spec"]


async def test_what_else_runs_there_makes_it_wider_and_is_named(idle: Yard) -> None:
    known = idle.world.inventory.servers["weather"]
    other = known.model_copy(update={"places": {"prod": Workload(namespace=idle.namespace, name="forecast")}})
    inventory = idle.world.inventory.model_copy(update={"servers": {"weather": known, "forecast": other}})
    world = idle.world.with_inventory(inventory)
    for intent in (FROZEN, LIMITED):
        plan = await intent.plan(world)
        assert plan.radius is Radius.FLEET
        assert plan.breaks.endswith("forecast runs there too.")
        await laws.speaks_every_language(intent, world, registry.SYSTEMS.words)


async def test_without_the_right_it_says_so_before_anybody_is_asked(idle: Yard) -> None:
    world = idle.as_user("stranger")
    with pytest.raises(Misconfigured, match="403"):
        await FROZEN.plan(world)
    await world.aclose()


async def test_doctor_and_the_list_of_orphans_know_them(idle: Yard) -> None:
    for intent in (FROZEN, LIMITED):
        await laws.apply(type(intent), await intent.plan(idle.world), idle.world)
    warned = [one.message for one in await looked(idle.world) if one.level == "warn"]
    subject = f"deployment {idle.namespace}/weather of server weather, and no incident holds it"
    assert warned == [f"no new pod starts beside {subject}", f"no larger container starts beside {subject}"]
    present = ClusterPresent(idle.world, "kubernetes/prod")
    amiss = {one.field for one in await present.look() if await present.value(one.kind, one.id, one.field) != one.value}
    assert amiss == {FREEZE.stem, LIMIT.stem}


@pytest.mark.parametrize(
    ("millicores", "mebibytes", "cpu", "memory"), [(500, 512, "500m", "512Mi"), (2000, 2048, "2", "2Gi")]
)
def test_quantities_are_as_the_api_server_writes_them(millicores: int, mebibytes: int, cpu: str, memory: str) -> None:
    """One that came back otherwise would be taken for changed by hand."""
    assert LimitPods(server="weather", millicores=millicores, mebibytes=mebibytes).spec() == limits(cpu, memory)
