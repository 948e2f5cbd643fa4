"""The definitions of what some clusters have beside Kubernetes, from their makers' Go modules; no controller of theirs.

With them the API server takes and keeps those objects as it does where they are in use, and nothing acts on them.
"""

import json
import shutil
import subprocess
import tempfile
import urllib.error
import zipfile
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

_WITHIN = 300.0


def _folder() -> Path:
    return place("definitions", repr(_MODULES).encode())


def fetch() -> str:
    """Put the definitions into the cache if they are not there; return what went wrong, or nothing."""
    if (where := _folder()).is_dir():
        return ""
    go = shutil.which("go")
    if go is None:
        return "go is not installed"
    where.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=where.parent, prefix="fetching-") as made:
        out = Path(made) / "definitions"
        out.mkdir()
        for module, (checksum, file) in _MODULES.items():
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
    texts = [path.read_text(encoding="utf-8") for path in sorted(_folder().glob("*.yaml"))]
    for one in (*map(yaml.safe_load, texts), _HELM_RELEASE):
        _one(cluster, one)


def _one(cluster: Kubernetes, definition: dict[str, Any]) -> None:
    where = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    try:
        cluster.ask("POST", where, definition)
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
