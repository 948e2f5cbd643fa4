"""Each action asks a cluster for what it declares, and for nothing else, from its plan to its release."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.rights import Permission
from integrations.systems.kubernetes.works import WORKS
from playbooks.action import Action
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.drills import DRILLS
from tests.integrations.systems.kubernetes.test_accounts import account
from tests.integrations.systems.kubernetes.test_admission import image_of, runs
from tests.integrations.systems.kubernetes.test_bindings import PODS, bound
from tests.integrations.systems.kubernetes.test_reverters import (
    EXTERNAL,
    application,
    autoscaler,
    helm_release,
    kustomization,
    scaled_object,
)
from tests.integrations.systems.kubernetes.test_routes import route, service

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_EVERYBODY = {"selfsubjectreviews", "selfsubjectaccessreviews"}


def permission(method: str, path: str) -> Permission:
    """Return what a request takes, as the API server reads it (Kubernetes documentation, "Authorization")."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:  # NAMESPACE, and something in it
        rest = rest[2:]
    resource = "/".join([rest[0], *rest[2:]])
    verb = ("get" if len(rest) > 1 else "list") if method == "GET" else VERBS[method]
    return Permission(verb, resource, group)


def everything_that_scales(yard: Yard) -> None:
    for one in (scaled_object, application, kustomization, helm_release):
        one(yard)
    autoscaler(yard, 0, metrics=EXTERNAL)


def led_to(yard: Yard) -> None:
    service(yard, "weather", "weather")
    route(yard, "front", ("weather",))


MADE: Mapping[str, Callable[[Yard], Any]] = {
    "kubernetes.deny_image": lambda yard: runs(yard, image_of(yard)),
    "kubernetes.detach_routes": led_to,
    "kubernetes.delete_pods": lambda _: None,
    "kubernetes.evict": lambda _: None,
    "kubernetes.freeze_pods": lambda _: None,
    "kubernetes.limit_pods": lambda _: None,
    "kubernetes.remove_bindings": lambda yard: bound(yard, "lister", PODS),
    "kubernetes.revoke_account_tokens": account,
    "kubernetes.scale_to_zero": everything_that_scales,
}
ACTIONS: dict[str, type[Action]] = {step.name: step for step in WORKS.steps if issubclass(step, Action)}
UNTRIED = {"statefulsets", "statefulsets/scale"}
"""What takes a workload of the other kind."""

RARE = {
    # Somebody changed what we wrote, or others share what is taken away.
    "kubernetes.deny_image": {"update"},
    "kubernetes.freeze_pods": {"patch"},
    "kubernetes.limit_pods": {"patch"},
    "kubernetes.remove_bindings": {"update"},
    "kubernetes.revoke_account_tokens": {"update"},
}
"""Verbs that only a disturbed run asks for; tests of those runs are beside each action's."""


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize("name", MADE)
async def test_an_action_asks_for_what_it_declares_and_for_all_of_it(
    idle: Yard, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    MADE[name](idle)
    used: set[Permission] = set()
    ask = Api.ask

    @asynccontextmanager
    async def noted(self: Api, method: str, path: str, **more: Any) -> AsyncIterator[Any]:  # noqa: ANN401  # as it takes
        used.add(permission(method, path))
        async with ask(self, method, path, **more) as answer:
            yield answer

    monkeypatch.setattr(Api, "ask", noted)
    action = ACTIONS[name]
    plan = await action.model_validate(DRILLS[name](None)).plan(idle.world)
    assert plan.pending
    await laws.apply(action, plan, idle.world)
    await action.verify(plan, idle.world)
    if plan.irreversible is None:
        await laws.apply(action, action.inverse(plan), idle.world)
        await action.verify_released(plan, idle.world)
    declared = {Permission.read(written) for written in action.permissions}
    asked = {one for one in used if one.resource not in _OF_EVERYBODY}
    assert asked <= declared
    rare = {one for one in declared if one.resource in UNTRIED or one.verb in RARE.get(name, ())}
    cluster_wide = {one for one in declared if one.resource in {"clusterrolebindings", "clusterroles"}}
    assert declared - asked <= rare | cluster_wide, declared - asked
