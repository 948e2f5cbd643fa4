"""The definitions of what some clusters have beside Kubernetes, from their makers' Go modules; no controller of theirs.

With them the API server takes and keeps those objects as it does where they are in use, and nothing acts on them.
"""

import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.error
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Kubernetes
from tests.lab.cache import place

_MODULES = {
    "github.com/kedacore/keda/v2@v2.18.3": (
        "h1:PY3o80tzBAzCffS8J6eBZctT4B+g/r26zErNSMleC50=",
        "config/crd/bases/keda.sh_scaledobjects.yaml",
    ),
    "github.com/argoproj/argo-cd/v3@v3.2.0": (
        "h1:m2eGAV+nXQGgzZbH5SyJD5laaPW27mzWXBrgisUHY/0=",
        "manifests/crds/application-crd.yaml",
    ),
    "github.com/fluxcd/kustomize-controller@v1.7.3": (
        "h1:SzNnGn/4ObAPEHHleM5U7y/AKxKXph3Vj6ZhteeXw8M=",
        "config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml",
    ),
    "sigs.k8s.io/gateway-api@v1.4.0": (
        "h1:ZwlNM6zOHq0h3WUX2gfByPs2yAEsy/EenYJB78jpQfQ=",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    ),
}
"""Module with its version → its checksum as go.sum has it, and the definition in it."""

_POLICIES = {
    "github.com/cilium/cilium@v1.20.2": (
        "h1:dqiEGIcXc+gqCLYG/l7VCFJ8GHyb4HUrwbZOpkX5dL8=",
        "pkg/k8s/apis/cilium.io/client/crds/v2/ciliumnetworkpolicies.yaml",
    ),
    "istio.io/api@v1.32.0": (
        "h1:37mJvg9I0biYZAEQF+MATs4FNeCpXEIVO3LFpVb6iNM=",
        "kubernetes/customresourcedefinitions.gen.yaml",
    ),
    "sigs.k8s.io/network-policy-api@v0.3.0": (
        "h1:RL6fVXiix9IW1pj0ImkW645m+EWmb3dBGCiW19bg5+k=",
        "config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml",
    ),
}
"""Likewise, of policies that deny."""

_HELM_RELEASE = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "helmreleases.helm.toolkit.fluxcd.io"},
    "spec": {
        "group": "helm.toolkit.fluxcd.io",
        "names": {"kind": "HelmRelease", "plural": "helmreleases", "singular": "helmrelease"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v2",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"suspend": {"type": "boolean"}}},
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}
"""What is touched of Flux's HelmRelease; its maker's module is not to be had whole."""

_ANY_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_CALICO = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "networkpolicies.projectcalico.org"},
    "spec": {
        "group": "projectcalico.org",
        "names": {"kind": "NetworkPolicy", "plural": "networkpolicies", "singular": "networkpolicy"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v3",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "tier": {"type": "string"},
                                    "order": {"type": "number"},
                                    "selector": {"type": "string"},
                                    "types": {"type": "array", "items": {"type": "string"}},
                                    "ingress": {"type": "array", "items": _ANY_OBJECT},
                                    "egress": {"type": "array", "items": _ANY_OBJECT},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}
"""What is touched of Calico's NetworkPolicy; its maker's module is not to be had."""

_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_OF_ISTIO = {"authorizationpolicies.security.istio.io", "peerauthentications.security.istio.io"}
_WITHIN = 300.0


def _folder(modules: dict[str, tuple[str, str]]) -> Path:
    return place("definitions", repr(modules).encode())


def fetch(*, policies: bool = False) -> str:
    """Put the definitions into the cache if they are not there; return what went wrong, or nothing.

    Args:
        policies: whether those of policies that deny are meant, and not the others.
    """
    modules = _POLICIES if policies else _MODULES
    if (where := _folder(modules)).is_dir():
        return ""
    go = shutil.which("go")
    if go is None:
        return "go is not installed"
    where.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.parent, prefix="fetching-") as made:
        out = Path(made) / "definitions"
        out.mkdir()
        for module, (checksum, file) in modules.items():
            command = [go, "mod", "download", "-json", module]
            done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=_WITHIN, check=False)  # noqa: S603  # pinned
            said = json.loads(done.stdout or "{}")
            if done.returncode or said.get("Sum") != checksum:
                return f"{module}: {said.get('Error') or done.stderr.strip()[-300:] or 'it has another checksum'}"
            with zipfile.ZipFile(said["Zip"]) as archive:
                (out / Path(file).name).write_bytes(archive.read(f"{module}/{file}"))
        if not where.exists():
            out.rename(where)
    return ""


def install(cluster: Kubernetes) -> None:
    """Have a cluster take the objects that are defined, and wait until it does."""
    for one in (*_read(_MODULES), _HELM_RELEASE):
        _one(cluster, one)


@contextlib.contextmanager
def policies(cluster: Kubernetes) -> Iterator[None]:
    """Have a cluster take policies that deny, and a mesh's, while the block lasts, and none afterwards."""
    made = [*(one for one in _read(_POLICIES) if _denies(one)), _CALICO]
    groups = {one["spec"]["group"] for one in made}
    try:
        for one in made:
            _one(cluster, one)
        yield
    finally:
        for one in made:
            with contextlib.suppress(urllib.error.HTTPError):
                cluster.ask("DELETE", f"{_DEFINITIONS}/{one['metadata']['name']}")

        def gone() -> bool:
            return groups.isdisjoint(group["name"] for group in cluster.ask("GET", "/apis")["groups"])

        cluster.until(gone, "it has no such policies any more")


def _denies(definition: dict[str, Any]) -> bool:
    return not definition["spec"]["group"].endswith("istio.io") or str(definition["metadata"]["name"]) in _OF_ISTIO


def _read(modules: dict[str, tuple[str, str]]) -> Iterator[dict[str, Any]]:
    for path in sorted(_folder(modules).glob("*.yaml")):
        yield from (one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one)


def _one(cluster: Kubernetes, definition: dict[str, Any]) -> None:
    try:
        cluster.ask("POST", _DEFINITIONS, definition)
    except urllib.error.HTTPError as exc:
        if exc.code != 409:  # HTTP
            raise
    spec = definition["spec"]
    (version,) = (one["name"] for one in spec["versions"] if one["storage"])
    objects = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"

    def served() -> bool:
        try:
            return cluster.there(objects)
        except urllib.error.HTTPError as exc:
            if exc.code != 429:  # HTTP; its storage is being made
                raise
            return False

    cluster.until(served, f"it has {objects}")
