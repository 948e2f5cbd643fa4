"""Who would start a server's pods again is paused before they end, seen to be, and goes on afterwards as before.

The autoscaler is Kubernetes' own, and real. KEDA, Argo CD and Flux are there by the definitions of their objects alone:
their tests show that a pause is found, taken, kept and given back, and not that a controller of theirs heeds it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from integrations import registry
from integrations.systems.kubernetes import Workload, reverters
from integrations.systems.kubernetes.actions import ScaleToZero
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.rights import role
from integrations.systems.kubernetes.workload import Found, find
from playbooks.errors import Drifted, Gone
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer, Plan
from playbooks.strict import canonical, parse_yaml
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import Yard

PATCH = "application/merge-patch+json"
INTENT = ScaleToZero(server="weather")
WORKLOAD = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "weather"}
EXTERNAL = [
    {
        "type": "External",
        "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "1"}},
    }
]


def autoscaler(yard: Yard, least: int, **spec: object) -> str:
    body = {
        "metadata": {"name": "weather"},
        "spec": {"scaleTargetRef": WORKLOAD, "minReplicas": least, "maxReplicas": 5, **spec},
    }
    where = f"/apis/autoscaling/v2/namespaces/{yard.namespace}/horizontalpodautoscalers"
    yard.cluster.ask("POST", where, body)
    return f"{where}/weather"


def marked(yard: Yard, **metadata: dict[str, str]) -> None:
    yard.cluster.ask("PATCH", yard.path, {"metadata": metadata}, kind=PATCH)


def scaled_object(yard: Yard, **annotations: str) -> str:
    where = f"/apis/keda.sh/v1alpha1/namespaces/{yard.namespace}/scaledobjects"
    trigger = {"type": "cron", "metadata": {"timezone": "UTC", "start": "0 0 * * *", "end": "1 0 * * *"}}
    spec = {"scaleTargetRef": {"name": "weather"}, "triggers": [trigger]}
    yard.cluster.ask("POST", where, {**_head("keda.sh/v1alpha1", "ScaledObject", **annotations), "spec": spec})
    return f"{where}/weather"


def application(yard: Yard, *, manages: str = "weather") -> str:
    """Have Argo CD's application, in the server's own namespace, say what it manages."""
    where = f"/apis/argoproj.io/v1alpha1/namespaces/{yard.namespace}/applications"
    spec = {
        "project": "default",
        "source": {"repoURL": "https://git.example/mcp", "path": "."},
        "destination": {"server": "https://kubernetes.default.svc", "namespace": yard.namespace},
        "syncPolicy": {"automated": {"selfHeal": True}},
    }
    status = {
        "resources": [
            {"group": "apps", "kind": "Deployment", "namespace": yard.namespace, "name": name}
            for name in (manages, "other", "third")
        ]
    }
    body = {**_head("argoproj.io/v1alpha1", "Application"), "spec": spec, "status": status}
    yard.cluster.ask("POST", where, body)
    name = f"{yard.namespace}_weather"
    tracked = f"{name}:apps/Deployment:{yard.namespace}/weather"
    marked(yard, annotations={"argocd.argoproj.io/tracking-id": tracked})
    return f"{where}/weather"


def kustomization(yard: Yard, *, manages: str = "weather") -> str:
    where = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{yard.namespace}/kustomizations"
    spec = {"interval": "1m", "prune": True, "sourceRef": {"kind": "GitRepository", "name": "mcp"}}
    yard.cluster.ask("POST", where, {**_head("kustomize.toolkit.fluxcd.io/v1", "Kustomization"), "spec": spec})
    entries = [{"id": f"{yard.namespace}_{name}_apps_Deployment", "v": "v1"} for name in (manages, "other")]
    status = {"status": {"inventory": {"entries": entries}}}
    yard.cluster.ask("PATCH", f"{where}/weather/status", status, kind=PATCH)
    mark = "kustomize.toolkit.fluxcd.io"
    marked(yard, labels={f"{mark}/name": "weather", f"{mark}/namespace": yard.namespace})
    return f"{where}/weather"


def helm_release(yard: Yard) -> str:
    where = f"/apis/helm.toolkit.fluxcd.io/v2/namespaces/{yard.namespace}/helmreleases"
    yard.cluster.ask("POST", where, {**_head("helm.toolkit.fluxcd.io/v2", "HelmRelease"), "spec": {}})
    entries = [{"id": f"{yard.namespace}_weather_apps_Deployment", "v": "v1"}]
    yard.cluster.ask("PATCH", f"{where}/weather/status", {"status": {"inventory": {"entries": entries}}}, kind=PATCH)
    mark = "helm.toolkit.fluxcd.io"
    marked(yard, labels={f"{mark}/name": "weather", f"{mark}/namespace": yard.namespace})
    return f"{where}/weather"


def _head(version: str, kind: str, **annotations: str) -> dict[str, Any]:
    metadata = {"name": "weather", "annotations": {"ours": "not", **annotations}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def as_it_is(yard: Yard, path: str) -> Any:  # noqa: ANN401  # any object
    """Return an object but for what every write changes."""
    found = yard.cluster.ask("GET", path)
    for volatile in ("resourceVersion", "generation", "managedFields"):
        found["metadata"].pop(volatile, None)
    return found


async def contained(yard: Yard, plan: Plan) -> None:
    await laws.apply(ScaleToZero, plan, yard.world)
    yard.cluster.until(lambda: not yard.cluster.pods(yard.namespace), "its pods have ended")
    verdict = await ScaleToZero.verify(plan, yard.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict


def condition(yard: Yard, path: str) -> str:
    """Return why the autoscaler's controller says that it does not scale."""
    found = yard.cluster.ask("GET", path).get("status", {}).get("conditions") or ()
    return next((one["reason"] for one in found if one["type"] == "ScalingActive" and one["status"] == "False"), "")


def replicas(yard: Yard) -> int:
    return int(yard.cluster.ask("GET", yard.path)["spec"]["replicas"])


async def test_a_real_autoscaler_takes_zero_as_off_and_scales_again_when_the_server_is_back(idle: Yard) -> None:
    path = autoscaler(idle, 3)
    idle.cluster.until(lambda: replicas(idle) == 3, "it scales")
    before = as_it_is(idle, path)["spec"]
    plan = await INTENT.plan(idle.world)
    assert [(change.field, change.pending) for change in plan.changes] == [("from-zero", False), ("replicas", True)]
    await contained(idle, plan)
    idle.cluster.until(lambda: condition(idle, path) == "ScalingDisabled", "its controller says that it is off")
    assert replicas(idle) == 0
    await laws.apply(ScaleToZero, ScaleToZero.inverse(plan), idle.world)
    assert as_it_is(idle, path)["spec"] == before
    idle.cluster.ask("PATCH", f"{idle.path}/scale", {"spec": {"replicas": 1}}, kind=PATCH)
    idle.cluster.until(lambda: replicas(idle) == 3, "it scales again")


async def test_a_real_autoscaler_that_starts_from_zero_is_paused_first(idle: Yard) -> None:
    path = autoscaler(idle, 0, metrics=EXTERNAL)
    plan = await INTENT.plan(idle.world)
    assert [(one.field, one.before, one.after) for one in plan.changes] == [
        ("from-zero", True, False),
        ("replicas", 2, 0),
    ]
    assert plan.summary == (
        f"Pause horizontalpodautoscaler {idle.namespace}/weather of weather, then scale deployment "
        f"{idle.namespace}/weather of weather at cluster prod to zero"
    )
    await contained(idle, plan)
    idle.cluster.until(lambda: condition(idle, path) == "ScalingDisabled", "its controller says that it is off")
    idle.cluster.ask("PATCH", path, {"spec": {"minReplicas": 0}}, kind=PATCH)
    verdict = await ScaleToZero.verify(plan, idle.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, "no pod is left, and it may start some at any moment"
    await laws.apply(ScaleToZero, plan, idle.world)
    # A minimum that somebody raises meanwhile keeps it as paused as it was.
    idle.cluster.ask("PATCH", path, {"spec": {"minReplicas": 2}}, kind=PATCH)
    assert (await ScaleToZero.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    await laws.apply(ScaleToZero, ScaleToZero.inverse(plan), idle.world)
    assert idle.cluster.ask("GET", path)["spec"]["minReplicas"] == 0


@pytest.mark.usefixtures("definitions")
async def test_all_of_them_at_once_are_held_to_the_laws(idle: Yard) -> None:
    paths = [
        idle.path,
        scaled_object(idle),
        application(idle),
        kustomization(idle),
        helm_release(idle),
        autoscaler(idle, 0, metrics=EXTERNAL),
    ]

    async def state() -> bytes:
        wanted = replicas(idle)
        idle.cluster.until(lambda: len(idle.cluster.pods(idle.namespace)) == wanted, "it has the pods that are wanted")
        found = [as_it_is(idle, path) for path in paths]
        return canonical(
            [[one["metadata"], one["spec"]] for one in (*found[1:-1],)] + [found[0]["spec"], found[-1]["spec"]]
        )

    await laws.plan_only_reads(INTENT, idle.world, state)
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    before, plan = await state(), await INTENT.plan(idle.world)
    assert plan.changes[-1].field == "replicas", "all of them are paused before its pods end"
    assert len(plan.pending) == len(paths)
    assert "with 3 more objects that it manages" in plan.breaks
    await laws.twice_is_once(INTENT, idle.world, state)
    assert (await ScaleToZero.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    back = ScaleToZero.inverse(plan)
    assert back.changes[0].field == "replicas"
    await laws.apply(ScaleToZero, back, idle.world)
    assert await state() == before
    findings = (await ScaleToZero.verify_released(plan, idle.world)).findings
    assert {one.answer for one in findings if one.check == "reverter"} == {Answer.ESTABLISHED}


@pytest.mark.usefixtures("definitions")
async def test_what_was_paused_before_stays_as_it_was(idle: Yard) -> None:
    path = scaled_object(idle, **{"autoscaling.keda.sh/paused-replicas": "5"})
    before = as_it_is(idle, path)
    plan = await INTENT.plan(idle.world)
    await contained(idle, plan)
    mark = "autoscaling.keda.sh/paused-replicas"
    assert as_it_is(idle, path)["metadata"]["annotations"][mark] == "0"
    await laws.apply(ScaleToZero, ScaleToZero.inverse(plan), idle.world)
    assert as_it_is(idle, path) == before


@pytest.mark.usefixtures("definitions")
async def test_how_much_stands_still_with_it_is_said(idle: Yard) -> None:
    application(idle)
    plan = await INTENT.plan(idle.world)
    name = f"application {idle.namespace}/weather of weather"
    assert f"{name} stands still meanwhile, with 2 more objects that it manages" in plan.breaks


@pytest.mark.usefixtures("definitions")
async def test_a_mark_that_its_object_does_not_bear_out_pauses_nothing_of_others(idle: Yard) -> None:
    application(idle, manages="payments")
    kustomization(idle, manages="payments")
    plan = await INTENT.plan(idle.world)
    assert [change.field for change in plan.changes] == ["replicas"]
    assert "Argo CD Application weather and Flux Kustomization weather may start them again" in plan.breaks
    # Copied along with an object, as a tracking id often is: Argo CD does not go by it either.
    marked(idle, annotations={"argocd.argoproj.io/tracking-id": f"x:apps/Deployment:{idle.namespace}/payments"})
    assert "Argo CD" not in (await INTENT.plan(idle.world)).breaks


async def marks(**paths: dict[str, Any]) -> reverters.Reverters:
    """Return who reverts a workload whose marks name `falco`, at a cluster that has these objects, by their kinds."""
    mark = "toolkit.fluxcd.io"
    metadata = {
        "uid": "weather",
        "labels": {f"{kind}.{mark}/{key}": "falco" for kind in ("helm", "kustomize") for key in ("name", "namespace")},
        "annotations": {"argocd.argoproj.io/tracking-id": "falco:apps/Deployment:mcp/weather"},
    }

    class Pretended:
        async def request(self, method: str, path: str, **_: object) -> dict[str, Any]:
            kind = path.split("/")[-2]
            if method == "PATCH":
                return {"spec": {"suspend": True}, "metadata": {"annotations": {reverters.APPLICATION.at[-1]: "true"}}}
            named = {"metadata": {"namespace": "security", "name": "falco", "uid": kind}}
            return {} if path.endswith("s") else named | paths.get(kind, {})

        async def together(self, _what: object, ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401  # the answer
            return await ask()

        async def raw(self, path: str, **_: object) -> bytes:
            del path
            return b"{}"

        def read(self, raw: bytes, what: str) -> dict[str, Any]:
            del raw, what
            return {}

    class World:
        inventory = parse_yaml(Inventory, "version: 1\n", file="inventory.yaml", context=registry.SYSTEMS.context)

        def reach(self, *_: object) -> Pretended:
            return Pretended()

    at = Workload(namespace="mcp", name="weather")
    found = Found("prod", at, "weather", {"metadata": metadata})
    return await reverters.reverters(found, World())  # type: ignore[arg-type]  # as far as it is asked


async def test_labels_of_a_workload_alone_pause_nothing_and_are_named_for_people() -> None:
    # As helm-controller before 1.5 has one: what was released, and no list of objects.
    release = {"status": {"history": [{"name": "falco", "chartName": "falco"}]}}
    found = await marks(helmreleases=release, kustomizations={"status": {}}, applications={})
    names = ("Argo CD Application falco", "Flux Kustomization falco", "Flux HelmRelease falco")
    assert found == reverters.Reverters((), names)
    lists = {"status": {"inventory": {"entries": [{"id": "mcp_weather_apps_Deployment", "v": "v1"}]}}}
    found = await marks(helmreleases=lists)
    assert [(one.sort, one.others) for one in found.pausable] == [(reverters.HELM_RELEASE, 0)]
    assert found.others == names[:2]


async def test_an_owner_that_only_itself_can_pause_is_named(idle: Yard) -> None:
    owner = {"apiVersion": "toolhive.stacklok.dev/v1alpha1", "kind": "MCPServer", "name": "weather", "uid": "1"}
    # An owner that is nowhere is collected with what it owns; a finalizer keeps it for as long as this takes.
    body = {"metadata": {"ownerReferences": [{**owner, "controller": True}], "finalizers": ["example.com/kept"]}}
    idle.cluster.ask("PATCH", idle.path, body, kind=PATCH)
    try:
        assert "MCPServer weather may start them again" in (await INTENT.plan(idle.world)).breaks
    finally:
        idle.cluster.ask("PATCH", idle.path, {"metadata": {"finalizers": None}}, kind=PATCH)


@pytest.mark.usefixtures("definitions")
async def test_one_that_came_after_the_cut_is_no_containment_and_widens_it(idle: Yard) -> None:
    plan = await INTENT.plan(idle.world)
    await contained(idle, plan)
    path = scaled_object(idle)
    verdict = await ScaleToZero.verify(plan, idle.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    (widening,) = verdict.widen
    assert widening.because == f"scaledobject {idle.namespace}/weather of weather may start its pods again"
    wider = await ScaleToZero.model_validate(widening.params).plan(idle.world)
    assert [change.field for change in wider.pending] == ["paused-replicas"]
    await laws.apply(ScaleToZero, wider, idle.world)
    assert (await ScaleToZero.verify(plan, idle.world)).answer is Answer.ESTABLISHED
    idle.cluster.ask("DELETE", path)
    assert (await ScaleToZero.verify(wider, idle.world)).answer is Answer.ESTABLISHED, "what is gone starts nothing"


@pytest.mark.usefixtures("definitions")
async def test_another_one_of_its_name_and_other_hands_are_seen(idle: Yard) -> None:
    path = scaled_object(idle)
    plan = await INTENT.plan(idle.world)
    pause = plan.changes[0]
    mark = "autoscaling.keda.sh/paused-replicas"
    idle.cluster.ask("PATCH", path, {"metadata": {"annotations": {mark: "3"}}}, kind=PATCH)
    with pytest.raises(Drifted, match="neither before nor after"):
        await reverters.write(pause, idle.world)
    idle.cluster.ask("DELETE", path)
    scaled_object(idle)
    with pytest.raises(Gone, match="another one now"):
        await ScaleToZero.read(pause, idle.world)
    with pytest.raises(Gone, match="another one now"):
        await ScaleToZero.write(pause, idle.world, key="drill")
    assert mark not in as_it_is(idle, path)["metadata"]["annotations"]


@pytest.mark.usefixtures("definitions")
async def test_one_that_is_left_paused_is_an_orphan(idle: Yard) -> None:
    kustomization(idle)
    autoscaler(idle, 0, metrics=EXTERNAL)
    present = ClusterPresent(idle.world, "kubernetes/prod")
    looked = await present.look()
    assert [one.field for one in looked if await present.value(one.kind, one.id, one.field) != one.value] == []
    assert {one.field for one in looked} >= {"replicas", "suspend"}
    plan = await INTENT.plan(idle.world)
    await contained(idle, plan)
    present = ClusterPresent(idle.world, "kubernetes/prod")
    found = {one.field: await present.value(one.kind, one.id, one.field) for one in await present.look()}
    assert found == {"replicas": 0, "suspend": True, "deny-policy": False, "freeze": False, "limit": False}
    for change in plan.changes:
        held_with = await present.value(change.target.kind, change.target.id, change.field)
        assert held_with == change.after, "what a hold is compared with"


@pytest.mark.usefixtures("definitions")
async def test_what_our_account_may_not_pause_holds_up_no_containment_and_is_named(idle: Yard) -> None:
    kustomization(idle)
    scaled_object(idle)
    rules = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "patch" or rule["apiGroups"] == ["apps"]]}
        for rule in role()["rules"]
        if rule["apiGroups"] != ["keda.sh"]
    ]
    rules = [rule for rule in rules if rule["verbs"]]
    rbac, group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{idle.namespace}", "rbac.authorization.k8s.io"
    idle.cluster.ask("POST", f"{rbac}/roles", {"metadata": {"name": "half"}, "rules": rules})
    binding = {
        "metadata": {"name": "half"},
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "half"},
        "subjects": [{"kind": "User", "name": "stranger", "apiGroup": group}],
    }
    idle.cluster.ask("POST", f"{rbac}/rolebindings", binding)
    world = idle.as_user("stranger")
    plan = await INTENT.plan(world)
    assert [change.field for change in plan.changes] == ["replicas"]
    assert (
        "Flux Kustomization weather and a KEDA ScaledObject, which we may not read may start them again" in plan.breaks
    )
    await world.aclose()


@pytest.mark.usefixtures("definitions")
async def test_what_stands_in_a_namespace_of_ours_is_named_and_left_alone(idle: Yard) -> None:
    path = kustomization(idle)
    ours = idle.world.inventory.systems["prod"].model_copy(update={"our_namespaces": (idle.namespace,)})
    inventory = idle.world.inventory
    world = idle.world.with_inventory(inventory.model_copy(update={"systems": {**inventory.systems, "prod": ours}}))
    at = Workload(namespace=idle.namespace, name="weather")
    found = await reverters.reverters(await find("prod", at, "weather", world), world)
    assert found == reverters.Reverters((), ("Flux Kustomization weather",))
    assert "suspend" not in as_it_is(idle, path)["spec"]
