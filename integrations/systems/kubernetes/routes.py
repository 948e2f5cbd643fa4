"""Takes a server's workloads out of the HTTPRoutes that lead to them: whoever comes by those finds nothing there.

Source: Gateway API v1.4, HTTPRoute: a rule without a backend is answered with 500; a controller says of each gateway
that it has taken a route, and which state of it. A connection that is open goes on until its gateway ends it.
"""

import asyncio
from collections.abc import Collection
from functools import partial
from typing import Any, ClassVar, Final

from pydantic import JsonValue
from typing_extensions import override

from integrations.hostile import printable
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import namespace_of, patched
from integrations.systems.kubernetes.policies import Raw, labels_of
from integrations.systems.kubernetes.workload import CORE, FOUND, Found, OfServer, find, listed, placed, same
from playbooks.action import World
from playbooks.errors import Drifted, Gone, SoarError
from playbooks.gate.plan import Answer, Change, Finding, Plan, Target, Verdict
from playbooks.strict import canonical
from playbooks.text.sentences import say

FIELD: Final = "routes"
_GATEWAYS: Final = "/apis/gateway.networking.k8s.io/v1"
_NAMED: Final = 5

Rules = dict[str, Any]
"""The rules of the routes that lead to a workload, by the routes' names."""


class DetachRoutes(OfServer):
    """Takes a server's workloads out of the HTTPRoutes of their namespaces; other backends of those go on.

    Args:
        server: whose.
        system: on which cluster; on all of them if None.
    """

    name: ClassVar[str] = "kubernetes.detach_routes"
    takes: ClassVar[str] = "routes"
    permissions: ClassVar[tuple[str, ...]] = (
        *FOUND,
        "list services",
        *(f"{verb} httproutes.gateway.networking.k8s.io" for verb in ("get", "list", "patch")),
    )

    @override
    async def plan(self, world: World) -> Plan:
        places = list(placed(self.server, self.system, world))
        found = await asyncio.gather(*(find(cluster, at, self.server, world) for cluster, at in places))
        changes = await asyncio.gather(*(_planned(one, world) for one in found))
        led = sorted({name for change in changes for name in change.before})
        named = ", ".join(f"{one.target} at cluster {one.cluster}" for one in found)
        breaks = say("Whoever comes to {a} by an HTTPRoute of its namespace is answered with an error", a=self.server)
        return self.plan_of(
            summary=(
                say("Take {a} out of {b}", a=named, b=", ".join(f"httproute {printable(name)}" for name in led))
                if led
                else say("Take {a} out of every HTTPRoute: none leads there now", a=named)
            ),
            changes=changes,
            breaks=breaks,
        )

    @override
    @classmethod
    async def read(cls, change: Change, world: World) -> JsonValue:

        return await held(change.target, world, also={*change.before, *change.after})

    @override
    @classmethod
    async def write(cls, change: Change, world: World, *, key: str) -> None:
        api, namespace = api_of(change.target, world), namespace_of(change.target)
        for name in sorted({*change.before, *change.after}):
            wanted, there = change.after.get(name), await _route(api, namespace, name)
            rules = (there.get("spec") or {}).get("rules")
            if canonical(rules) == canonical(wanted):
                continue
            if canonical(rules) != canonical(change.before.get(name)):
                raise Drifted(f"httproute {namespace}/{printable(name)} has other rules than the plan says")
            await patched(api, _path(namespace, name), there, {"/spec/rules": wanted})

    @override
    @classmethod
    async def verify(cls, plan: Plan, world: World) -> Verdict:
        found = await asyncio.gather(*(_detached(change, world) for change in plan.changes))
        return Verdict.of(tuple(one for some in found for one in some))

    @override
    @classmethod
    async def verify_released(cls, plan: Plan, world: World) -> Verdict:
        return Verdict.of(tuple(await asyncio.gather(*(_back(change, world) for change in plan.changes))))


def _path(namespace: str, name: str = "") -> str:
    return path_of(_GATEWAYS, namespace, "httproutes", name)


async def _route(api: Api, namespace: str, name: str) -> dict[str, Any]:
    return await api.request("GET", _path(namespace, name))


async def _routes(api: Api, namespace: str) -> list[dict[str, Any]]:
    try:
        return await listed(api, _path(namespace))
    except Gone:
        # The cluster has no Gateway API.
        return []


async def _services(api: Api, namespace: str, template: Raw) -> set[str]:
    """Return the services that send whoever comes to a workload's pods."""
    labels = labels_of(template)
    found = await listed(api, path_of(CORE, namespace, "services"))
    chosen = {str(one["metadata"]["name"]): (one.get("spec") or {}).get("selector") or {} for one in found}
    return {name for name, asked in chosen.items() if asked and asked.items() <= labels.items()}


def _leads(backend: Raw, namespace: str, services: set[str]) -> bool:
    """Whether a backend of a rule is one of some services."""
    kind = backend.get("group") or "", backend.get("kind") or "Service"
    return (
        kind == ("", "Service")
        and (backend.get("namespace") or namespace) == namespace
        and backend.get("name") in services
    )


def _without(rules: list[dict[str, Any]], namespace: str, services: set[str]) -> list[dict[str, Any]]:
    """Return rules without the backends that lead to some services."""
    found = []
    for rule in rules:
        left = [one for one in rule.get("backendRefs") or () if not _leads(one, namespace, services)]
        rest = {key: value for key, value in rule.items() if key != "backendRefs"}
        found.append({**rest, **({"backendRefs": left} if left else {})} if "backendRefs" in rule else rule)
    return found


async def _planned(found: Found, world: World) -> Change:
    api, namespace = world.reach(Api, found.cluster), found.at.namespace
    services = await _services(api, namespace, found.raw["spec"]["template"])
    before = await held(found.target, world)
    after: Rules = {name: _without(rules, namespace, services) for name, rules in before.items()}
    return Change(target=found.target, field=FIELD, before=before, after=after)


async def held(target: Target, world: World, also: Collection[str] = ()) -> Rules:
    """Return the rules of the routes that lead to a workload, and of some more.

    Args:
        target: the workload.
        world: the connections.
        also: the names of routes that count whether or not they do.
    """
    api, namespace = api_of(target, world), namespace_of(target)
    template = (await same(target, world))["spec"]["template"]
    services, routes = await asyncio.gather(_services(api, namespace, template), _routes(api, namespace))
    found: Rules = {}
    for one in routes:
        name, rules = str(one["metadata"]["name"]), (one.get("spec") or {}).get("rules") or []
        leads = any(_leads(each, namespace, services) for rule in rules for each in rule.get("backendRefs") or ())
        if leads or name in also:
            found[name] = rules
    return found


def _taken(route: Raw) -> bool | None:
    """Whether every gateway says that it has taken a route as it is now; None if none says anything of it."""
    parents = (route.get("status") or {}).get("parents") or []
    now = route["metadata"].get("generation", 0)
    seen = [
        max((one.get("observedGeneration", 0) for one in parent.get("conditions") or ()), default=0)
        for parent in parents
    ]
    return min(seen) >= now if seen else None


async def _detached(change: Change, world: World) -> list[Finding]:
    """Ask whether no route leads to a workload, and whether the gateways know that."""
    target, namespace = change.target, namespace_of(change.target)
    says = partial(finding, "routes", target, say("no HTTPRoute leads to it"))
    try:
        api = api_of(target, world)
        who = await api.who()
        says = partial(says, asked_as=say("administrator {a}", a=who))
        there = await held(target, world)
        if there:
            names = ", ".join(sorted(map(printable, there))[:_NAMED])
            return [says(say("these lead there: {a}", a=names), Answer.NOT_ESTABLISHED)]
        if not change.after:
            return [says(say("none does"), Answer.ESTABLISHED)]
        taken = {name: _taken(await _route(api, namespace, name)) for name in change.after}
    except SoarError as exc:
        return [says(str(exc), Answer.UNKNOWN)]
    expected = say("each gateway has taken them as they are")
    heeds = partial(finding, "heeded", target, expected, asked_as=say("administrator {a}", a=who))
    silent = ", ".join(sorted(printable(name) for name, one in taken.items() if one is None))
    late = ", ".join(sorted(printable(name) for name, one in taken.items() if one is False))
    if late:
        last = heeds(say("a gateway goes by an earlier state of {a}", a=late), Answer.NOT_ESTABLISHED)
    elif silent:
        observed = say("no gateway says anything of {a}: whether one goes by them nobody knows", a=silent)
        last = heeds(observed, Answer.UNKNOWN)
    else:
        last = heeds(say("they say so; how they answer was not tried"), Answer.ESTABLISHED)
    return [says(say("none does"), Answer.ESTABLISHED), last]


async def _back(change: Change, world: World) -> Finding:
    says = partial(finding, "routes", change.target, say("the routes that led there do again"))
    try:
        says = partial(says, asked_as=say("administrator {a}", a=await api_of(change.target, world).who()))
        there = await DetachRoutes.read(change, world)
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    if canonical(there) == canonical(change.before):
        return says(say("they do"), Answer.ESTABLISHED)
    return says(say("their rules are other ones"), Answer.NOT_ESTABLISHED)


ACTIONS: Final = (DetachRoutes,)
