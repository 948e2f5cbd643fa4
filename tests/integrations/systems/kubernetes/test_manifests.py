"""How mcp-soar is deployed on a cluster: a real API server takes every manifest, and holds each pod to *restricted*."""

import json
import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.systems.kubernetes.rights import PROBES, WIDE
from tests.cluster.cluster import Kubernetes
from tests.cluster.manifests import built
from tests.contract.guides import DOCS, MANIFESTS

OBJECTS = built(MANIFESTS)
WHERE = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Service": "/api/v1/namespaces/{}/services",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}
DRY = "dryRun=All&fieldValidation=Strict"


def of(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == kind}


def spec(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def restricted(cluster: Kubernetes) -> Iterator[str]:
    """Give a namespace that is held to *restricted*, as ours is, with the responder's account."""
    (ours,) = (one for one in OBJECTS if one["kind"] == "Namespace" and one["metadata"]["name"] == "mcp-soar")
    with cluster.namespace() as namespace:
        labels = {"metadata": {"labels": ours["metadata"]["labels"]}}
        cluster.ask("PATCH", f"/api/v1/namespaces/{namespace}", labels, kind="application/merge-patch+json")
        cluster.ask("POST", WHERE["ServiceAccount"].format(namespace), {"metadata": {"name": "responder"}})
        yield namespace


def refused(cluster: Kubernetes, path: str, body: object) -> str:
    """Return what the API server has against it, or nothing."""
    try:
        cluster.ask("POST", path, body)
    except urllib.error.HTTPError as exc:
        # There already, in its own place: all the rest was looked at before.
        return "" if exc.code == 409 else exc.read().decode()
    return ""


def test_the_api_server_takes_every_object_and_knows_each_of_its_fields(cluster: Kubernetes, restricted: str) -> None:
    for one in OBJECTS:
        metadata = one["metadata"]
        inside = {**metadata, **({"namespace": restricted} if "namespace" in metadata else {})}
        said = refused(cluster, f"{WHERE[one['kind']].format(restricted)}?{DRY}", {**one, "metadata": inside})
        assert not said, f"{one['kind']} {metadata['name']}: {said}"


@pytest.mark.parametrize("name", of("Deployment"))
def test_pods_of_ours_pass_pod_security_restricted(cluster: Kubernetes, restricted: str, name: str) -> None:
    pods = f"/api/v1/namespaces/{restricted}/pods?{DRY}"
    pod = {"metadata": {"name": name}, "spec": spec(of("Deployment")[name])}
    assert not refused(cluster, pods, pod)
    loose = json.loads(json.dumps(pod))
    del loose["spec"]["securityContext"]["seccompProfile"]
    assert "violates PodSecurity" in refused(cluster, pods, loose)


def test_the_responder_alone_has_an_account() -> None:
    deployments = of("Deployment")
    assert {name for name, one in deployments.items() if "serviceAccountName" in spec(one)} == {"responder"}
    for name, one in deployments.items():
        assert spec(one)["automountServiceAccountToken"] is (name == "responder")
        # A Service called `prefect` would else be settings of Prefect's.
        assert spec(one)["enableServiceLinks"] is False
    bound = {one["roleRef"]["name"]: one["subjects"] for one in OBJECTS if "roleRef" in one}
    assert set(bound) == {PROBES, WIDE}
    assert all(
        who == [{"kind": "ServiceAccount", "name": "responder", "namespace": "mcp-soar"}] for who in bound.values()
    )


def test_what_a_manifest_names_is_there_or_the_guide_makes_it() -> None:
    guide = (DOCS / "production.md").read_text(encoding="utf-8")
    made = {
        name: set(re.findall(r"--from-(?:file|literal)=(\w[\w.]*)=", rest))
        for name, rest in re.findall(r"create secret generic (\S+)((?:[^\n]*\\\n)*[^\n]*)", guide)
    }
    wanted: dict[str, set[str]] = {}
    for one in of("Deployment").values():
        for container in (*spec(one).get("initContainers", ()), *spec(one)["containers"]):
            assert container["image"] == "mcp-soar"
            volumes = {volume["name"] for volume in spec(one)["volumes"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for variable in container.get("env", ()):
                if "valueFrom" in variable:
                    key = variable["valueFrom"]["secretKeyRef"]
                    wanted.setdefault(key["name"], set()).add(key["key"])
        for volume in spec(one)["volumes"]:
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"]["items"]}
                wanted.setdefault(volume["secret"]["secretName"], set()).update(keys)
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in of("PersistentVolumeClaim")
    assert made == wanted


def test_each_policy_and_service_selects_pods_of_ours_by_a_label_that_they_have() -> None:
    apps = {one["spec"]["template"]["metadata"]["labels"]["app"] for one in of("Deployment").values()}
    named = set(re.findall(r"app: (\w+)", (MANIFESTS / "network.yaml").read_text(encoding="utf-8")))
    listed = re.findall(r"values: \[([^]]+)\]", (MANIFESTS / "network.yaml").read_text(encoding="utf-8"))
    named |= {name for names in listed for name in names.split(", ")}
    named |= {one["spec"]["selector"]["app"] for one in of("Service").values()}
    assert named == apps


def test_a_kustomization_that_leaves_a_manifest_out_is_found(tmp_path: Path) -> None:
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [one.yaml]\n"
    (tmp_path / "kustomization.yaml").write_text(head)
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("kind: Service\n")
    with pytest.raises(ValueError, match=r"two\.yaml"):
        built(tmp_path)
