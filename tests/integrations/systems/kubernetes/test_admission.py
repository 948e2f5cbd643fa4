"""An image that is kept off a cluster: by its tag and by its digest, seen by a dry run, and given back.

What a policy is asked is real here: the API server's own. That a registry has the image is nobody's question.
"""

import hashlib
import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from integrations import registry
from integrations.connections import Connections
from integrations.systems.kubernetes import images
from integrations.systems.kubernetes.admission import DenyImage
from integrations.systems.kubernetes.present import ClusterPresent
from playbooks.errors import Misconfigured, Refused
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer, Plan, Radius
from playbooks.strict import canonical, parse_yaml
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import INVENTORY, Yard
from tests.integrations.systems.kubernetes.test_doctor import looked

PATCH = "application/merge-patch+json"
INTENT = DenyImage(server="weather")
DIGEST = f"sha256:{'ab' * 32}"
POLICIES = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"


@pytest.fixture(autouse=True)
def nothing_stays(idle: Yard) -> Iterator[None]:
    """Have every policy of ours gone after a test: they are of the whole cluster."""
    yield
    for where in (BINDINGS, POLICIES):
        for one in idle.cluster.ask("GET", where)["items"]:
            if one["metadata"]["name"].startswith("mcp-soar-"):
                idle.cluster.ask("DELETE", f"{where}/{one['metadata']['name']}")


def image_of(yard: Yard, tag: str = "1") -> str:
    """Return an image that no other test keeps out."""
    return f"registry.example/{yard.namespace}:{tag}"


def runs(yard: Yard, image: str, digest: str = DIGEST) -> None:
    """Have the server run an image, and its pods say which digest that was, as a kubelet would."""
    body = {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}}
    yard.cluster.ask("PATCH", yard.path, body, kind="application/strategic-merge-patch+json")

    def new() -> list[dict[str, Any]]:
        found = yard.cluster.pods(yard.namespace)
        return [pod for pod in found if pod["spec"]["containers"][0]["image"] == image]

    yard.cluster.until(lambda: len(new()) == len(yard.cluster.pods(yard.namespace)) == 2, "its pods are those")
    repository = image.rpartition(":")[0]
    for pod in new():
        status = {
            "name": "server",
            "image": image,
            "imageID": f"{repository}@{digest}",
            "ready": False,
            "restartCount": 0,
        }
        path = f"/api/v1/namespaces/{yard.namespace}/pods/{pod['metadata']['name']}/status"
        yard.cluster.ask("PATCH", path, {"status": {"containerStatuses": [status]}}, kind=PATCH)


def started(yard: Yard, image: str, kind: str = "pods") -> str:
    """Return why a namespace does not take a pod of an image, or what makes them; nothing if it does."""
    spec = {"containers": [{"name": "one", "image": image}], "restartPolicy": "Never"}
    template = {"metadata": {"labels": {"app": "another"}}, "spec": spec}
    body: dict[str, Any] = {"metadata": {"generateName": "another-"}}
    match kind:
        case "pods":
            where, body["spec"] = "/api/v1", spec
        case "jobs":
            where, body["spec"] = "/apis/batch/v1", {"template": template}
        case "cronjobs":
            where = "/apis/batch/v1"
            body["spec"] = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
        case _:
            where = "/apis/apps/v1"
            template["spec"] = {**spec, "restartPolicy": "Always"}
            body["spec"] = {"selector": {"matchLabels": {"app": "another"}}, "template": template}
    return refusal(yard, "POST", f"{where}/namespaces/{yard.namespace}/{kind}?dryRun=All", body)


def refusal(yard: Yard, method: str, path: str, body: object, kind: str = "application/json") -> str:
    try:
        yard.cluster.ask(method, path, body, kind=kind)
    except urllib.error.HTTPError as exc:
        return str(json.loads(exc.read())["message"])
    return ""


async def state(yard: Yard) -> bytes:
    """Return the policies and bindings of ours that there are, as they are written."""
    found = [
        (one["metadata"]["name"], one["metadata"].get("annotations"), one["spec"])
        for where in (POLICIES, BINDINGS)
        for one in yard.cluster.ask("GET", where)["items"]
    ]
    return canonical(json.loads(json.dumps(found)))


async def in_force(yard: Yard) -> Plan:
    plan = await INTENT.plan(yard.world)
    await laws.apply(DenyImage, plan, yard.world)
    verdict = await DenyImage.verify(plan, yard.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
    return plan


async def test_it_is_held_to_the_laws(idle: Yard) -> None:
    runs(idle, image_of(idle))
    await laws.plan_only_reads(INTENT, idle.world, lambda: state(idle))
    await laws.speaks_every_language(INTENT, idle.world, registry.SYSTEMS.words)
    plan = await INTENT.plan(idle.world)
    assert (await DenyImage.verify(plan, idle.world)).answer is Answer.NOT_ESTABLISHED
    await laws.the_inverse_restores(INTENT, idle.world, lambda: state(idle))
    await laws.twice_is_once(INTENT, idle.world, lambda: state(idle))


async def test_it_is_kept_out_by_tag_and_by_digest_however_it_is_written_and_whatever_starts_it(idle: Yard) -> None:
    image = image_of(idle)
    runs(idle, image)
    plan = await in_force(idle)
    repository = image.rpartition(":")[0]
    assert [change.target.name for change in plan.changes] == [image, f"{repository}@{DIGEST}"]
    for bad in (image, f"{repository}@{DIGEST}", f"mirror.example/x:2@{DIGEST}", f"{repository}:9@{DIGEST}"):
        assert "mcp-soar-deny-" in started(idle, bad), bad
    for kind in ("deployments", "statefulsets", "daemonsets", "replicasets", "jobs", "cronjobs"):
        assert "contained by mcp-soar" in started(idle, image, kind), kind
    for way in {way for change in plan.changes for way in images.spellings(change.target.name)}:
        assert "mcp-soar-deny-" in started(idle, way), way
    other = f"{repository}@sha256:{'cd' * 32}"
    for good in (image_of(idle, "2"), f"{image}2", other, f"other.example/{image}", f"other/{image}"):
        assert not started(idle, good), good


async def test_what_runs_already_can_be_changed_and_gets_no_such_container_added(idle: Yard) -> None:
    image = image_of(idle)
    runs(idle, image)
    await in_force(idle)
    pod = idle.cluster.pods(idle.namespace)[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{idle.namespace}/pods/{pod}"
    label = {"metadata": {"labels": {"mcp-soar.io/quarantine": "x"}}}
    assert not refusal(idle, "PATCH", path, label, PATCH), "a cut of our own is a change of the pod too"
    assert not refusal(idle, "PATCH", idle.path, {"metadata": {"labels": {"a": "b"}}}, PATCH)
    strategic = "application/strategic-merge-patch+json"
    for spelled in (f"x.example/x@{DIGEST}", image):
        debug = {"spec": {"ephemeralContainers": [{"name": "debug", "image": spelled}]}}
        assert "contained" in refusal(idle, "PATCH", f"{path}/ephemeralcontainers", debug, strategic), spelled
    assert not refusal(idle, "PATCH", f"{idle.path}/scale", {"spec": {"replicas": 1}}, PATCH)
    other = {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image_of(idle, "2")}]}}}}
    assert not refusal(idle, "PATCH", idle.path, other, strategic), "the way out is another image"
    back = {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}}
    assert "contained" in refusal(idle, "PATCH", idle.path, back, strategic), "and there is no way back"


@pytest.mark.parametrize(
    ("image", "written"),
    [
        ("{}:1.25", "Index.docker.io:0443/library/{}:1.25"),
        ("{}/weather:1.25", f"docker.io/{{}}/weather:1.25@sha256:{'0' * 64}"),
        ("ghcr.io/{}/weather", "GHCR.io:443/{}/weather"),
        (f"{{}}@{DIGEST}", "sha256:0123"),
    ],
)
async def test_the_cluster_s_own_policy_reads_a_name_as_a_kubelet_does(idle: Yard, image: str, written: str) -> None:
    # What another test kept out is refused for a moment after it.
    own = f"sha256:{hashlib.sha256(idle.namespace.encode()).hexdigest()}"
    image, written = (one.format(idle.namespace).replace(DIGEST, own) for one in (image, written))
    runs(idle, image, own)
    await in_force(idle)
    where = f"/api/v1/namespaces/{idle.namespace}/pods"
    good, bad = {"name": "good", "image": "registry.example/x:1"}, {"name": "bad", "image": written}
    for spec in ({"containers": [good, bad]}, {"containers": [good], "initContainers": [bad]}):
        body = {"metadata": {"generateName": "another-"}, "spec": spec}
        assert "contained" in refusal(idle, "POST", f"{where}?dryRun=All", body), spec
    idle.cluster.ask("POST", where, {"metadata": {"name": "good"}, "spec": {"containers": [good]}})
    strategic = "application/strategic-merge-patch+json"
    debug = {"spec": {"ephemeralContainers": [bad]}}
    assert "contained" in refusal(idle, "PATCH", f"{where}/good/ephemeralcontainers", debug, strategic)


async def test_an_image_that_is_only_mounted_is_kept_out_too(idle: Yard) -> None:
    image = image_of(idle)
    runs(idle, image)
    await in_force(idle)
    spec = {
        "containers": [{"name": "one", "image": "registry.example/good:1"}],
        "volumes": [{"name": "it", "image": {"reference": image}}],
    }
    body = {"metadata": {"generateName": "another-"}, "spec": spec}
    assert "contained" in refusal(idle, "POST", f"/api/v1/namespaces/{idle.namespace}/pods?dryRun=All", body)


async def test_other_servers_that_run_it_make_it_wider_and_are_named(idle: Yard) -> None:
    image = image_of(idle)
    runs(idle, image)
    idle.cluster.deploy(idle.namespace, "forecast", idle=True, replicas=0)
    body = {"spec": {"template": {"spec": {"containers": [{"name": "server", "image": image}]}}}}
    where = f"/apis/apps/v1/namespaces/{idle.namespace}/deployments/forecast"
    idle.cluster.ask("PATCH", where, body, kind="application/strategic-merge-patch+json")
    text = INVENTORY.format(namespace=idle.namespace, kubeconfig=idle.folder / "responder", probe=idle.cluster.probe)
    text = text.replace(
        "systems:",
        "  forecast:\n    title: Forecast\n    owner: weather-team\n    environment: prod\n"
        f"    places:\n      prod: {{namespace: {idle.namespace}, name: forecast}}\nsystems:",
    )
    world = Connections(
        parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context), registry.SYSTEMS
    )
    plan = await INTENT.plan(world)
    assert plan.radius is Radius.FLEET
    assert "forecast runs it too, and starts no new pod either" in plan.breaks
    await world.aclose()
    assert (await INTENT.plan(idle.world)).radius is Radius.SERVER


async def test_when_its_pods_have_ended_what_is_kept_out_is_still_known_and_given_back(idle: Yard) -> None:
    image = image_of(idle)
    runs(idle, image)
    first = await in_force(idle)
    idle.cluster.ask("PATCH", f"{idle.path}/scale", {"spec": {"replicas": 0}}, kind=PATCH)
    idle.cluster.until(lambda: not idle.cluster.pods(idle.namespace), "its pods have ended")
    anew = await INTENT.plan(idle.world)
    assert [change.grip for change in anew.changes] == [change.grip for change in first.changes]


async def test_a_digest_that_is_not_known_is_said(idle: Yard) -> None:
    idle.cluster.ask("PATCH", f"{idle.path}/scale", {"spec": {"replicas": 0}}, kind=PATCH)
    idle.cluster.until(lambda: not idle.cluster.pods(idle.namespace), "its pods have ended")
    plan = await INTENT.plan(idle.world)
    assert f"The digest that deployment {idle.namespace}/weather of weather ran is not known" in plan.breaks


@pytest.mark.parametrize("how", ["an exception in the policy", "no binding", "a binding that only warns"])
async def test_whoever_opens_a_way_around_it_is_seen_and_it_is_closed_again(idle: Yard, how: str) -> None:
    runs(idle, image_of(idle))
    plan = await in_force(idle)
    name = plan.changes[0].target.id
    if how == "no binding":
        idle.cluster.ask("DELETE", f"{BINDINGS}/{name}")
    elif how == "a binding that only warns":
        idle.cluster.ask("PATCH", f"{BINDINGS}/{name}", {"spec": {"validationActions": ["Warn"]}}, kind=PATCH)
    else:
        spec = {"matchConditions": [{"name": "not-me", "expression": "request.userInfo.username != 'eve'"}]}
        idle.cluster.ask("PATCH", f"{POLICIES}/{name}", {"spec": spec}, kind=PATCH)
    assert await DenyImage.read(plan.changes[0], idle.world) is True
    await laws.apply(DenyImage, plan, idle.world)
    assert (await DenyImage.verify(plan, idle.world)).answer is Answer.ESTABLISHED


async def test_a_policy_of_somebody_else_under_its_name_is_left_alone(idle: Yard) -> None:
    runs(idle, image_of(idle))
    plan = await INTENT.plan(idle.world)
    theirs = images.policy(plan.changes[0].target.name, "weather")
    theirs["metadata"].pop("labels")
    theirs["spec"]["validations"][0]["message"] = "ours"
    idle.cluster.ask("POST", POLICIES, theirs)
    with pytest.raises(Refused, match="is somebody else's, and is left alone"):
        await laws.apply(DenyImage, plan, idle.world)
    with pytest.raises(Refused, match="is somebody else's, and is left alone"):
        await DenyImage.write(DenyImage.inverse(plan).changes[-1], idle.world, key="drill")
    there = idle.cluster.ask("GET", f"{POLICIES}/{plan.changes[0].target.id}")
    assert there["spec"]["validations"][0]["message"] == "ours"


async def test_a_namespace_that_refuses_every_pod_is_no_proof(idle: Yard) -> None:
    runs(idle, image_of(idle))
    plan = await in_force(idle)
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    where = f"/api/v1/namespaces/{idle.namespace}"
    idle.cluster.ask("POST", f"{where}/resourcequotas", quota)
    idle.cluster.until(lambda: "exceeded quota" in started(idle, "registry.example/good:1"), "its quota is heeded")
    verdict = await DenyImage.verify(plan, idle.world)
    assert verdict.answer is Answer.UNKNOWN
    assert "a pod of another image is refused too" in verdict.findings[0].observed


async def test_a_namespace_of_ours_is_spared(idle: Yard) -> None:
    image = image_of(idle)
    runs(idle, image)
    await in_force(idle)
    body = {"metadata": {"generateName": "x-"}, "spec": {"containers": [{"name": "one", "image": image}]}}
    where = "/api/v1/namespaces/{}/pods?dryRun=All"
    assert "contained" in refusal(idle, "POST", where.format("default"), body)
    idle.cluster.until(lambda: idle.cluster.there("/api/v1/namespaces/kube-system/serviceaccounts/default"), "it is up")
    assert not refusal(idle, "POST", where.format("kube-system"), body)


async def test_without_the_right_it_says_so_before_anything_is_asked_of_people(idle: Yard) -> None:
    world = idle.as_user("stranger")
    with pytest.raises(Misconfigured, match="403"):
        await INTENT.plan(world)
    await world.aclose()


async def test_one_that_nobody_holds_is_an_orphan(idle: Yard) -> None:
    runs(idle, image_of(idle))
    present = ClusterPresent(idle.world, "kubernetes/prod")
    assert {one.kind for one in await present.look()} == {"deployment"}
    plan = await in_force(idle)
    present = ClusterPresent(idle.world, "kubernetes/prod")
    found = [one for one in await present.look() if one.kind == "image"]
    assert {one.id for one in found} == {change.target.id for change in plan.changes}
    assert [(one.value, await present.value(one.kind, one.id, one.field)) for one in found] == [(True, False)] * 2
    assert {one.name for one in found} == {change.target.name for change in plan.changes}
    lines = [one for one in await looked(idle.world) if "is let in" in one.message]
    assert [one.level for one in lines] == ["warn"] * 2, lines
    assert "and no incident holds it" in lines[0].message
