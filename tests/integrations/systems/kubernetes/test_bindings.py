"""The rights of the account that a server's pods run as: taken away, asked about, and given back as they were."""

from typing import Any

import pytest

from integrations import registry
from integrations.systems.kubernetes.bindings import RemoveBindings
from integrations.systems.kubernetes.present import ClusterPresent
from playbooks.gate.plan import Answer, Plan
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import Yard

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
INTENT = RemoveBindings(server="weather")
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}


def _in(yard: Yard, kind: str) -> str:
    return f"{RBAC}/namespaces/{yard.namespace}/{kind}"


def me(yard: Yard) -> dict[str, str]:
    return {"kind": "ServiceAccount", "name": "default", "namespace": yard.namespace}


def bound(yard: Yard, name: str, rule: dict[str, Any], *more: dict[str, str], mine: bool = True) -> str:
    """Have a role of a name bound to the server's account, and to others."""
    yard.cluster.ask("POST", _in(yard, "roles"), {"metadata": {"name": name}, "rules": [rule]})
    body = {
        "metadata": {"name": name, "labels": {"made": "by-hand"}, "annotations": {"why": "it lists"}},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name},
        "subjects": [*([me(yard)] if mine else []), *more],
    }
    yard.cluster.ask("POST", _in(yard, "rolebindings"), body)
    return f"{_in(yard, 'rolebindings')}/{name}"


def may(yard: Yard, verb: str, resource: str) -> bool:
    spec = {
        "user": f"system:serviceaccount:{yard.namespace}:default",
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{yard.namespace}", "system:authenticated"],
        "resourceAttributes": {"verb": verb, "resource": resource, "namespace": yard.namespace},
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    found = yard.cluster.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(found["status"]["allowed"])


async def state(yard: Yard) -> bytes:
    """Return what is bound in the namespace, as it is written."""
    there = yard.cluster.ask("GET", _in(yard, "rolebindings"))["items"]
    found = [
        [*(one["metadata"].get(key) for key in ("name", "labels", "annotations")), one["roleRef"], one.get("subjects")]
        for one in there
    ]
    return canonical(sorted(found, key=str))


async def taken(yard: Yard) -> Plan:
    plan = await INTENT.plan(yard.world)
    await laws.apply(RemoveBindings, plan, yard.world)
    return plan


async def test_it_is_held_to_the_laws(idle: Yard) -> None:
    bound(idle, "lister", PODS)
    assert may(idle, "list", "pods")
    await laws.plan_only_reads(INTENT, idle.world, lambda: state(idle))
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    plan = await INTENT.plan(idle.world)
    assert f"(rolebinding {idle.namespace}/lister taken away)" in plan.breaks
    (finding,) = (await RemoveBindings.verify(plan, idle.world)).findings
    assert finding.answer is Answer.NOT_ESTABLISHED
    assert 'list pods: RBAC: allowed by RoleBinding "lister' in finding.observed
    await laws.the_inverse_restores(INTENT, idle.world, lambda: state(idle))
    await laws.twice_is_once(INTENT, idle.world, lambda: state(idle))
    assert not may(idle, "list", "pods")


async def test_what_we_may_not_bind_is_taken_away_by_people_alone_for_it_does_not_come_back_by_us(idle: Yard) -> None:
    path = bound(idle, "reader", SECRETS)
    plan = await INTENT.plan(idle.world)
    assert plan.irreversible is not None
    assert f"we may not bind what rolebinding {idle.namespace}/reader binds" in plan.irreversible.because
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    await laws.apply(RemoveBindings, plan, idle.world)
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    assert not idle.cluster.there(path)
    kept = plan.changes[0].before[path]
    assert (kept["roleRef"]["name"], kept["subjects"]) == ("reader", [me(idle)]), "people make it again from this"


async def test_where_we_may_bind_the_role_it_comes_back(idle: Yard) -> None:
    path = bound(idle, "reader", SECRETS)
    rule = {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["bind"], "resourceNames": ["reader"]}
    responder = {"kind": "User", "name": "responder", "apiGroup": GROUP}
    bound(idle, "binder", rule, responder, mine=False)
    before = await state(idle)
    plan = await taken(idle)
    assert plan.irreversible is None
    assert not idle.cluster.there(path)
    await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), idle.world)
    assert await state(idle) == before
    assert (await RemoveBindings.verify_released(plan, idle.world)).answer is Answer.ESTABLISHED


async def test_others_keep_what_they_have_by_the_same_binding(idle: Yard) -> None:
    other = {"kind": "ServiceAccount", "name": "other", "namespace": idle.namespace}
    path = bound(idle, "lister", PODS, other)
    before = await state(idle)
    plan = await taken(idle)
    assert idle.cluster.ask("GET", path)["subjects"] == [other]
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), idle.world)
    assert await state(idle) == before


async def test_a_shared_one_that_we_may_not_change_stays_is_named_and_is_no_containment(idle: Yard) -> None:
    other = {"kind": "ServiceAccount", "name": "other", "namespace": idle.namespace}
    bound(idle, "reader", SECRETS, other)
    before = await state(idle)
    plan = await taken(idle)
    assert f"rolebinding {idle.namespace}/reader stays: others have their rights by it" in plan.breaks
    assert await state(idle) == before
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED


async def test_what_a_group_gives_it_stays_is_named_and_is_asked_about(idle: Yard) -> None:
    bound(idle, "lister", PODS)
    group = {"kind": "Group", "name": f"system:serviceaccounts:{idle.namespace}", "apiGroup": GROUP}
    bound(idle, "all", PODS, group, mine=False)
    plan = await taken(idle)
    assert f"rolebinding {idle.namespace}/all stays" in plan.breaks
    (finding,) = (await RemoveBindings.verify(plan, idle.world)).findings
    assert finding.answer is Answer.NOT_ESTABLISHED
    assert 'RoleBinding "all' in finding.observed, "the API server says by what"


async def test_the_cluster_s_own_bindings_and_the_account_s_name_as_a_user_are_found(idle: Yard) -> None:
    name = f"{idle.namespace}-lister"
    body = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "mcp-soar-responder"},
        "subjects": [{"kind": "User", "name": f"system:serviceaccount:{idle.namespace}:default", "apiGroup": GROUP}],
    }
    idle.cluster.ask("POST", f"{RBAC}/clusterrolebindings", body)
    try:
        plan = await taken(idle)
        assert plan.irreversible is None, "the responder has those rights itself"
        assert not idle.cluster.there(f"{RBAC}/clusterrolebindings/{name}")
        assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.ESTABLISHED
        await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), idle.world)
        assert idle.cluster.ask("GET", f"{RBAC}/clusterrolebindings/{name}")["subjects"] == body["subjects"]
    finally:
        idle.cluster.ask("DELETE", f"{RBAC}/clusterrolebindings/{name}")


async def test_one_that_a_controller_makes_again_is_seen_and_taken_away_again(idle: Yard) -> None:
    path = bound(idle, "lister", PODS)
    plan = await taken(idle)
    body = {
        "metadata": {"name": "lister"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "lister"},
        "subjects": [me(idle)],
    }
    idle.cluster.ask("POST", _in(idle, "rolebindings"), body)
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    anew = await INTENT.plan(idle.world)
    assert anew.pending
    await laws.apply(RemoveBindings, anew, idle.world)
    assert not idle.cluster.there(path)


async def test_an_account_without_rights_is_gripped_so_that_none_come_unseen(idle: Yard) -> None:
    plan = await taken(idle)
    assert plan.changes
    assert plan.pending == ()
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    bound(idle, "lister", PODS)
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED


async def test_what_others_are_given_by_it_meanwhile_stays_when_it_comes_back(idle: Yard) -> None:
    other = {"kind": "ServiceAccount", "name": "other", "namespace": idle.namespace}
    third = {"kind": "ServiceAccount", "name": "third", "namespace": idle.namespace}
    path = bound(idle, "lister", PODS, other)
    plan = await taken(idle)
    merge = "application/merge-patch+json"
    idle.cluster.ask("PATCH", path, {"subjects": [other, third]}, kind=merge)
    assert (await RemoveBindings.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    (change,) = RemoveBindings.inverse(plan).changes
    await RemoveBindings.write(change, idle.world, key="drill")
    assert idle.cluster.ask("GET", path)["subjects"] == [other, third, me(idle)]


async def test_what_a_hold_is_compared_with_is_what_is_there(idle: Yard) -> None:
    bound(idle, "lister", PODS)
    plan = await taken(idle)
    present = ClusterPresent(idle.world, "kubernetes/prod")
    await present.look()
    (change,) = plan.changes
    assert await present.value(change.target.kind, change.target.id, change.field) == change.after
    await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), idle.world)
    assert await present.value(change.target.kind, change.target.id, change.field) == change.before


@pytest.mark.parametrize("again", ["revoked", "as it was"])
async def test_its_rights_come_back_whichever_uid_the_account_has_by_then(idle: Yard, again: str) -> None:
    bound(idle, "lister", PODS)
    before, plan = await state(idle), await taken(idle)
    if again == "revoked":
        where = f"/api/v1/namespaces/{idle.namespace}/serviceaccounts/default"
        uid = idle.cluster.ask("GET", where)["metadata"]["uid"]
        idle.cluster.ask("DELETE", where)

        def new() -> bool:
            return idle.cluster.there(where) and idle.cluster.ask("GET", where)["metadata"]["uid"] != uid

        idle.cluster.until(new, "its controller has made it anew")
    await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), idle.world)
    assert await state(idle) == before
