"""HTTPRoutes that lead to a server no longer, and nodes that take no new pod.

The API server is real, and takes routes as it does where the Gateway API is in use; no gateway goes by them here, so
what one says of a route is written by the test, and how a client is answered is nothing that this can show.
"""

import json
import secrets
from collections.abc import Iterator

import pytest

from integrations import registry
from integrations.systems.kubernetes.nodes import Cordon
from integrations.systems.kubernetes.rights import Permission
from integrations.systems.kubernetes.routes import DetachRoutes
from playbooks.errors import Drifted, Gone, Refused
from playbooks.gate.plan import Answer
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.kubernetes.asking import asked
from tests.integrations.systems.kubernetes.conftest import Yard

PATCH = "application/merge-patch+json"
DETACH = DetachRoutes(server="weather")
CORDON = Cordon(server="weather")
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/httproutes"


def service(yard: Yard, name: str, app: str) -> None:
    spec = {"selector": {"app": app}, "ports": [{"port": 8000}]}
    yard.cluster.ask(
        "POST", f"/api/v1/namespaces/{yard.namespace}/services", {"metadata": {"name": name}, "spec": spec}
    )


def route(yard: Yard, name: str, *rules: tuple[str, ...]) -> str:
    """Have a route lead to services, a rule each; return its path."""
    made = [
        {"matches": [{"path": {"value": f"/{number}"}}], "backendRefs": [{"name": one, "port": 8000} for one in some]}
        for number, some in enumerate(rules)
    ]
    spec = {"parentRefs": [{"name": "front"}], "rules": made}
    body = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}
    where = ROUTES.format(yard.namespace)
    yard.cluster.ask("POST", where, body)
    return f"{where}/{name}"


def heeded(yard: Yard, where: str, *, late: int = 0) -> None:
    """Have a gateway say which state of a route it has taken."""
    seen = yard.cluster.ask("GET", where)["metadata"]["generation"] - late
    condition = {
        "type": "Accepted",
        "status": "True",
        "reason": "Accepted",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": seen,
    }
    parent = {"parentRef": {"name": "front"}, "controllerName": "example.com/gateway", "conditions": [condition]}
    yard.cluster.ask("PATCH", f"{where}/status", {"status": {"parents": [parent]}}, kind=PATCH)


async def state(yard: Yard) -> bytes:
    found = yard.cluster.ask("GET", ROUTES.format(yard.namespace))["items"]
    return canonical([[one["metadata"]["name"], one["spec"]] for one in found])


@pytest.fixture
def front(idle: Yard, definitions: None) -> str:
    """Have a route lead to the server, beside another server, and one that does not."""
    del definitions
    service(idle, "weather", "weather")
    service(idle, "news", "news")
    route(idle, "other", ("news",))
    return route(idle, "front", ("weather", "news"), ("weather",))


async def test_it_is_held_to_the_laws_and_others_of_the_route_go_on(idle: Yard, front: str) -> None:
    await laws.plan_only_reads(DETACH, idle.world, lambda: state(idle))
    await laws.speaks_every_language(DETACH, idle.world, registry.SYSTEMS.words)
    before = await state(idle)
    plan = await DETACH.plan(idle.world)
    assert (await DetachRoutes.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(DetachRoutes, plan, idle.world)
    first, second = idle.cluster.ask("GET", front)["spec"]["rules"]
    assert [one["name"] for one in first["backendRefs"]] == ["news"]
    assert "backendRefs" not in second
    assert [one for one in idle.cluster.ask("GET", front)["spec"]["parentRefs"] if one["name"] == "front"]
    await laws.apply(DetachRoutes, DetachRoutes.inverse(plan), idle.world)
    assert await state(idle) == before
    assert (await DetachRoutes.verify_released(plan, idle.world)).answer is Answer.ESTABLISHED
    await laws.twice_is_once(DETACH, idle.world, lambda: state(idle))


async def test_nothing_is_established_by_what_no_gateway_has_taken(idle: Yard, front: str) -> None:
    heeded(idle, front)
    plan = await DETACH.plan(idle.world)
    await laws.apply(DetachRoutes, plan, idle.world)
    for late, answer in ((1, Answer.NOT_ESTABLISHED), (0, Answer.ESTABLISHED)):
        heeded(idle, front, late=late)
        assert (await DetachRoutes.verify(plan, idle.world)).answer is answer
    (_, last) = (await DetachRoutes.verify(plan, idle.world)).findings
    assert "how they answer was not tried" in last.observed
    idle.cluster.ask("PATCH", f"{front}/status", {"status": {"parents": []}}, kind=PATCH)
    assert (await DetachRoutes.verify(plan, idle.world)).answer is Answer.UNKNOWN


async def test_a_route_that_comes_later_is_seen_and_a_changed_one_is_left_to_people(idle: Yard, front: str) -> None:
    plan = await DETACH.plan(idle.world)
    await laws.apply(DetachRoutes, plan, idle.world)
    route(idle, "back", ("weather",))
    verdict = await DetachRoutes.verify(plan, idle.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    assert "back" in verdict.findings[0].observed
    idle.cluster.ask("PATCH", front, {"spec": {"rules": [{"backendRefs": [{"name": "news", "port": 1}]}]}}, kind=PATCH)
    with pytest.raises(Drifted, match="has other rules than the plan says"):
        await DetachRoutes.write(plan.inverse().changes[0], idle.world, key="drill")


async def test_where_none_leads_to_it_nothing_is_written(idle: Yard) -> None:
    """With a Gateway API or without."""
    plan = await DETACH.plan(idle.world)
    assert not plan.pending
    assert (await DetachRoutes.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    await laws.speaks_every_language(DETACH, idle.world, registry.SYSTEMS.words)


@pytest.fixture
def node(idle: Yard) -> Iterator[str]:
    """Have the server's pods be on a node of which nothing but its object is there."""
    name = f"node-{secrets.token_hex(4)}"
    where = f"/api/v1/nodes/{name}"
    idle.cluster.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    for pod in idle.cluster.pods(idle.namespace):
        metadata = {"name": pod["metadata"]["name"]}
        body = {"metadata": metadata, "target": {"apiVersion": "v1", "kind": "Node", "name": name}}
        path = f"/api/v1/namespaces/{idle.namespace}/pods/{metadata['name']}/binding"
        idle.cluster.ask("POST", path, body)
    yield where
    if idle.cluster.there(where):
        idle.cluster.ask("DELETE", where)


async def test_a_node_is_cordoned_and_given_back_unless_it_was_so_before(idle: Yard, node: str) -> None:
    async def unschedulable() -> bytes:
        return canonical(bool(idle.cluster.ask("GET", node)["spec"].get("unschedulable")))

    with asked(idle.api) as used:
        await laws.plan_only_reads(CORDON, idle.world, unschedulable)
        await laws.speaks_every_language(CORDON, idle.world, registry.SYSTEMS.words)
        await laws.the_inverse_restores(CORDON, idle.world, unschedulable)
        await laws.twice_is_once(CORDON, idle.world, unschedulable)
        plan = await CORDON.plan(idle.world)
        assert (await Cordon.verify(plan, idle.world)).answer is Answer.ESTABLISHED
        await laws.apply(Cordon, Cordon.inverse(plan), idle.world)
        assert json.loads(await unschedulable()) is True, "somebody else had it so"
        assert (await Cordon.verify_released(plan, idle.world)).answer is Answer.ESTABLISHED
    idle.cluster.ask("PATCH", node, {"spec": {"unschedulable": False}}, kind=PATCH)
    assert (await Cordon.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    declared = {Permission.read(one) for one in Cordon.permissions}
    assert used <= declared
    assert {one.resource for one in declared - used} == {"statefulsets"}


async def test_another_node_of_its_name_is_not_touched(idle: Yard, node: str) -> None:
    plan = await CORDON.plan(idle.world)
    name = node.rpartition("/")[2]
    idle.cluster.ask("DELETE", node)
    idle.cluster.ask("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    with pytest.raises(Gone, match="is another one now"):
        await Cordon.write(plan.changes[0], idle.world, key="drill")
    assert not idle.cluster.ask("GET", node)["spec"].get("unschedulable")


async def test_pods_that_are_nowhere_have_no_node_to_cordon(idle: Yard) -> None:
    with pytest.raises(Refused, match="none to cordon"):
        await CORDON.plan(idle.world)
