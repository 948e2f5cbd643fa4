"""Pods end by their uid, unless a budget forbids it; what comes in their place is said, and taken for nothing else."""

import pytest

from integrations import registry
from integrations.systems.kubernetes.actions import OF_PODS
from integrations.systems.kubernetes.client import PATIENCE, Budgeted
from integrations.systems.kubernetes.evictions import DeletePods, Evict
from playbooks.errors import Drifted, Gone, Refused, Transient
from playbooks.gate.plan import Answer
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import Yard

INTENT = Evict(server="weather")
BOTH = pytest.mark.parametrize("action", [Evict, DeletePods])
PATCH = "application/merge-patch+json"


def names(yard: Yard) -> set[str]:
    return {pod["metadata"]["name"] for pod in yard.cluster.pods(yard.namespace)}


def budget(yard: Yard, available: int) -> None:
    """Have so many of its pods be available at any time, and wait until the cluster counts them."""
    where = f"/apis/policy/v1/namespaces/{yard.namespace}/poddisruptionbudgets"
    spec = {"minAvailable": available, "selector": {"matchLabels": {"app": "weather"}}}
    yard.cluster.ask("POST", where, {"metadata": {"name": "keep"}, "spec": spec})

    def counted() -> bool:
        status = yard.cluster.ask("GET", f"{where}/keep").get("status") or {}
        return bool(status.get("expectedPods")) and "disruptionsAllowed" in status

    yard.cluster.until(counted, "its budget is counted")


async def state(yard: Yard) -> bytes:
    return canonical(sorted(pod["metadata"]["uid"] for pod in yard.cluster.pods(yard.namespace)))


@BOTH
async def test_each_pod_there_ends_and_what_comes_in_its_place_is_said(idle: Yard, action: type[Evict]) -> None:
    intent, before = action(server="weather"), names(idle)
    await laws.plan_only_reads(intent, idle.world, lambda: state(idle))
    await laws.speaks_every_language(intent, idle.world, registry.SYSTEMS.words)
    plan = await intent.plan(idle.world)
    assert {one.name.partition("/")[2] for one in plan.targets} == before
    assert plan.irreversible == action.irreversible
    assert plan.destroys == OF_PODS, "its evidence is sealed first"
    assert "starts as many in their place" in plan.breaks
    assert (await action.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(action, plan, idle.world)
    idle.cluster.until(lambda: len(names(idle) - before) == 2, "others are there")  # as deployed
    verdict = await action.verify(plan, idle.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    for one in verdict.findings:
        assert one.asked_as == "responder"
        assert all(name in one.observed for name in names(idle)), "whoever reads it knows what runs now"
    # Twice is once: those that came since are nobody's business.
    since = await state(idle)
    for change in plan.changes:
        await action.write(change, idle.world, key="drill")
    assert await state(idle) == since


async def test_a_budget_that_lets_none_end_is_named_before_people_are_asked_and_none_ends(yard: Yard) -> None:
    budget(yard, 2)
    before = await state(yard)
    with pytest.raises(Refused, match=r"budget keep needs 2 healthy pods and has 2.*kubernetes\.delete_pods asks no"):
        await INTENT.plan(yard.world)
    assert await state(yard) == before
    await DeletePods(server="weather").plan(yard.world)


async def test_a_budget_that_lets_one_end_at_a_time_has_the_next_one_wait_and_is_named(yard: Yard) -> None:
    budget(yard, 1)
    plan = await INTENT.plan(yard.world)
    first, second = plan.changes
    await Evict.write(first, yard.world, key="drill")
    with pytest.raises(Budgeted, match="budget keep"):
        await Evict.write(second, yard.world, key="drill")
    assert await Evict.read(second, yard.world) is True, "it goes on"
    await yard.ready(2)
    await Evict.write(second, yard.world, key="drill")
    assert await Evict.read(second, yard.world) is False


@BOTH
async def test_another_pod_under_its_name_is_not_ended(idle: Yard, action: type[Evict]) -> None:
    where = f"/api/v1/namespaces/{idle.namespace}/pods"
    spec = {"containers": [{"name": "one", "image": "registry.example/x:1"}], "nodeSelector": {"there": "is-none"}}
    pod = {"metadata": {"name": "weather-0", "labels": {"app": "weather"}}, "spec": spec}
    idle.cluster.ask("POST", where, pod)
    plan = await action(server="weather").plan(idle.world)
    (change,) = (one for one in plan.changes if one.target.name.endswith("/weather-0"))
    idle.cluster.ask("DELETE", f"{where}/weather-0?gracePeriodSeconds=0")
    with pytest.raises(Gone):
        await action.end(idle.api, change.target)
    idle.cluster.ask("POST", where, pod)
    # The API server tries an eviction of another uid again for some time.
    idle.api.patience = 1.0
    with pytest.raises((Drifted, Transient)):
        await action.end(idle.api, change.target)
    idle.api.patience = PATIENCE
    await action.write(change, idle.world, key="drill")
    assert "deletionTimestamp" not in idle.cluster.ask("GET", f"{where}/weather-0")["metadata"]


async def test_one_that_is_ending_still_runs_and_is_not_asked_again(idle: Yard) -> None:
    plan = await INTENT.plan(idle.world)
    pod = f"/api/v1/namespaces/{plan.changes[0].target.name.replace('/', '/pods/')}"
    idle.cluster.ask("PATCH", pod, {"metadata": {"finalizers": ["example.com/slow"]}}, kind=PATCH)
    await laws.apply(Evict, plan, idle.world)
    assert await Evict.read(plan.changes[0], idle.world) is False
    first, second = (await Evict.verify(plan, idle.world)).findings
    assert (first.answer, second.answer) == (Answer.NOT_ESTABLISHED, Answer.ESTABLISHED)
    assert "(ending)" in first.observed
    idle.cluster.ask("PATCH", pod, {"metadata": {"finalizers": None}}, kind=PATCH)
    idle.cluster.until(lambda: not idle.cluster.there(pod), "it has ended")
    assert (await Evict.verify(plan, idle.world)).answer is Answer.ESTABLISHED


async def test_where_there_is_no_pod_none_is_ended(idle: Yard) -> None:
    idle.cluster.ask("PATCH", f"{idle.path}/scale", {"spec": {"replicas": 0}}, kind=PATCH)
    idle.cluster.until(lambda: not names(idle), "it has none")
    with pytest.raises(Refused, match="there is none to end"):
        await INTENT.plan(idle.world)
