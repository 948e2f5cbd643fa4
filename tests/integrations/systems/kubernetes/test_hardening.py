"""What the check `hardening` finds of a workload on a real cluster, asks it for, and says of who wrote what."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import yaml

from flows.checks import telling
from flows.checks.hardening import CHECK
from flows.checks.running import run
from integrations.connections import Connections
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.hardening import READING, RULES, asks, effective, written_by
from integrations.systems.kubernetes.rights import NAME, PROBES, WIDE, Permission, of_role
from playbooks.errors import Misconfigured
from playbooks.record.check import Found
from playbooks.strict import now
from tests.flows.cli.world import Installation
from tests.integrations.systems.kubernetes.conftest import INVENTORY, Yard
from tests.integrations.systems.kubernetes.test_permissions import permission
from tests.integrations.systems.kubernetes.test_signatures import IMAGE, KEY, Registry, payload, pem
from tests.lab.served import serving

APPLY = "application/apply-patch+yaml"
GOOD = {
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
HELD = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}


def written(yard: Yard, container: dict[str, Any], **pod: Any) -> None:  # noqa: ANN401  # fields of a pod
    """Have somebody write into the workload's pods."""
    spec = {"containers": [{"name": "server", **container}], **pod}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "weather"}}
    path = f"{yard.path}?fieldManager=kim&force=true"
    yard.cluster.ask("PATCH", path, {**body, "spec": {"template": {"spec": spec}}}, kind=APPLY)


async def found(yard: Yard, *looks: str) -> dict[tuple[str, str], Found]:
    asked = asks(yard.world)
    some = [one for what in looks for one in await asked[f"weather on prod: {what}"]()]
    return {(one.subject.partition(", container ")[2], one.what): one for one in some}


@pytest.fixture
def held(idle: Yard) -> Yard:
    """Have the namespace of our probes be one that is held to *restricted*: the server's own does."""
    idle.cluster.ask("PATCH", f"/api/v1/namespaces/{idle.namespace}", HELD, kind="application/merge-patch+json")
    text = INVENTORY.format(
        namespace=idle.namespace, kubeconfig=idle.folder / "responder", probe=idle.cluster.probe
    ).replace('"}}', f'", namespace: {idle.namespace}}}}}')
    (idle.folder / "inventory.yaml").write_text(text)
    return idle


def config(yard: Yard) -> Installation:
    made = Installation(yard.folder / "mcp-soar", yard.folder / "home")
    assert made.run("init", str(made.folder)).exit_code == 0
    (made.folder / "inventory.yaml").write_text((yard.folder / "inventory.yaml").read_text())
    return made


async def test_what_is_loose_is_found_with_who_wrote_it_and_what_is_mended_is_not(held: Yard) -> None:
    loose = {
        "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}},
        "env": [{"name": "API_TOKEN", "value": "hunter2-hunter2"}, {"name": "TOKEN_FILE", "value": "/run/token"}],
    }
    written(held, loose, hostPID=True)
    site = config(held)
    done = await run(CHECK, site.config)
    assert (done.unknown, done.left_out) == ((), ())
    there = {(one.subject.partition(", container ")[2], one.what): one for one in done.found}
    named = {what for _, what in there}
    assert named == {
        "hostPID",
        "its root file system",
        "its capabilities",
        "privilege escalation",
        "seccomp",
        "its user",
        "its image",
        "secrets in its environment",
        "Pod Security",
        "who may reach it",
        "whom it may reach",
        "what it may use",
        "what its namespace may use",
    }
    one = there["server", "its capabilities"]
    assert one.observed.startswith("given more: NET_ADMIN (last written by kim, 20")
    assert "API_TOKEN" in there["server", "secrets in its environment"].observed
    assert "hunter2" not in str(done.found)
    assert "TOKEN_FILE" not in str(done.found)
    # One workload is one alert, that begins with the gravest.
    (message,) = telling.messages(done, None, now())
    assert message.alert["severity"] == "high"
    assert message.alert["title"].endswith("it should be off") or "it should be none" in message.alert["title"]
    assert message.alert["entities"] == [{"kind": "server", "name": "weather"}]
    violated = there["", "Pod Security"].observed
    assert "host namespaces (hostPID=true)" in violated
    digest = "registry.example/weather@sha256:" + "a" * 64
    good = {
        "securityContext": GOOD,
        "image": digest,
        "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
        "env": [],
    }
    written(held, good, hostPID=False)
    policies = f"/apis/networking.k8s.io/v1/namespaces/{held.namespace}/networkpolicies"
    shut = {"metadata": {"name": "shut"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    held.cluster.ask("POST", policies, shut)
    quota = {"metadata": {"name": "some"}, "spec": {"hard": {"pods": "9"}}}
    held.cluster.ask("POST", f"/api/v1/namespaces/{held.namespace}/resourcequotas", quota)
    done = await run(CHECK, site.config)
    assert (done.found, done.unknown, done.asked) == ((), (), 5)


async def test_it_writes_nothing_and_asks_for_what_it_declares(held: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    used, ask = set[Permission](), Api.ask

    @asynccontextmanager
    async def noted(self: Api, method: str, path: str, **more: Any) -> AsyncIterator[Any]:  # noqa: ANN401  # as it takes
        assert method == "GET" or (method, more.get("query")) == ("POST", {"dryRun": "All"}), f"{method} {path}"
        if path.count("/") > 3:
            used.add(permission(method, path))
        async with ask(self, method, path, **more) as answer:
            yield answer

    monkeypatch.setattr(Api, "ask", noted)
    done = await run(CHECK, config(held).config)
    assert done.unknown == ()
    declared = {Permission.read(one) for one in READING.permissions}
    assert used <= declared
    # What takes a workload of the other kind, and a mesh.
    assert declared - used == {Permission.read("get statefulsets.apps"), *_mesh()}
    roles = {name: set(of_role(name)) for name in (NAME, PROBES, WIDE)}
    assert declared <= roles[NAME] | roles[WIDE]
    assert _mesh() <= roles[WIDE]
    assert Permission.read("create pods") in roles[PROBES]


async def test_whether_images_are_signed_is_asked_of_the_registries_that_are_listed(held: Yard) -> None:
    registry = Registry()
    async with serving(registry) as place:
        host = place.url.removeprefix("http://").partition("/")[0]
        site = config(held)
        document = yaml.safe_load((site.folder / "inventory.yaml").read_text())
        document["systems"]["prod"]["signed"] = {"keys": [pem(KEY)], "registries": [host]}
        (site.folder / "inventory.yaml").write_text(yaml.safe_dump(document))

        async def said() -> str:
            world = Connections(site.config.inventory, site.config.systems)
            try:
                some = await asks(world)["weather on prod: signatures"]()
            finally:
                await world.aclose()
            return "; ".join(one.observed for one in some)

        assert "named by its tag" in await said()
        written(held, {"image": f"elsewhere.example/weather@{IMAGE}"})
        assert "elsewhere.example is none of systems.prod.signed.registries" in await said()
        written(held, {"image": f"{host}/team/weather@{IMAGE}"})
        assert await said() == "by nobody"
        registry.sign(KEY, payload(IMAGE))
        assert await said() == ""


def _mesh() -> set[Permission]:
    return {Permission.read("list peerauthentications.security.istio.io")}


async def test_where_nobody_holds_pods_to_it_pod_security_is_unknown_and_so_is_a_cluster_that_does_not_let_us_in(
    idle: Yard,
) -> None:
    with pytest.raises(Misconfigured, match="labelled pod-security"):
        await found(idle, "Pod Security")
    stranger = idle.as_user("stranger")
    try:
        with pytest.raises(Misconfigured, match="403"):
            await asks(stranger)["weather on prod: containers"]()
    finally:
        await stranger.aclose()


@pytest.mark.parametrize(
    ("what", "container", "pod", "observed"),
    [
        ("privileged", {"privileged": True}, {}, "on"),
        ("AppArmor", {}, {}, ""),
        ("AppArmor", {"appArmorProfile": {"type": "Unconfined"}}, {}, "Unconfined"),
        ("seccomp", {}, {"seccompProfile": {"type": "Localhost"}}, ""),
        (
            "seccomp",
            {"seccompProfile": {"type": "Unconfined"}},
            {"seccompProfile": {"type": "Localhost"}},
            "Unconfined",
        ),
        ("its user", {"runAsNonRoot": False}, {"runAsNonRoot": True}, "whoever the image says, root too"),
        ("its capabilities", {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}, {}, ""),
    ],
)
def test_a_container_says_for_itself_what_its_pod_says_for_all(
    what: str, container: dict[str, Any], pod: dict[str, Any], observed: str
) -> None:
    (rule,) = (one for one in RULES if one.what == what)
    assert rule.observed({"securityContext": container}, {"securityContext": pod}) == observed


def test_who_wrote_a_field_is_said_of_the_field_itself_or_of_what_is_around_it() -> None:
    key = json.dumps({"name": "a"}, separators=(",", ":"))
    path = ("spec", "containers", key, "image")

    def entry(manager: str, time: str, fields: dict[str, Any]) -> dict[str, Any]:
        return {"manager": manager, "time": time, "operation": "Update", "fieldsV1": {"f:spec": fields}}

    around = entry("kubectl", "2026-12-01T00:00:00Z", {"f:containers": {f"k:{key}": {".": {}}}})
    exact = entry("helm\x1b[2J", "2026-11-01T00:00:00Z", {"f:containers": {f"k:{key}": {"f:image": {}}}})
    assert written_by({"metadata": {"managedFields": [around]}}, path).startswith(
        " (last written by kubectl, 2026-12-01"
    )
    both = written_by({"metadata": {"managedFields": [around, exact]}}, path)
    assert "helm" in both
    assert "\x1b" not in both
    assert written_by({"metadata": {"managedFields": [exact, around]}}, path) == both
    assert written_by({}, path) == ""


def test_the_mode_of_mtls_that_holds_is_the_nearest_and_ports_count() -> None:
    mesh, whole, own = yaml.safe_load(
        """
        - {metadata: {namespace: istio-system}, spec: {mtls: {mode: STRICT}}}
        - {metadata: {namespace: a}, spec: {mtls: {mode: UNSET}}}
        - metadata: {namespace: a}
          spec:
            selector: {matchLabels: {app: weather}}
            mtls: {mode: PERMISSIVE}
            portLevelMtls: {8000: {mode: DISABLE}, 8001: {mode: STRICT}}
        """
    )
    labels = {"app": "weather"}
    assert effective([], "a", labels) == ("PERMISSIVE", [])
    assert effective([mesh, whole], "a", labels) == ("STRICT", [])
    assert effective([mesh, whole, own], "a", labels) == ("PERMISSIVE", ["8000"])
    assert effective([mesh, own], "a", {"app": "other"}) == ("STRICT", [])
    assert effective([own], "b", labels) == ("PERMISSIVE", [])
