"""A real Kubernetes for the tests: API server with etcd, controllers, scheduler and a node; gone when the tests end.

It takes NetworkPolicies and enforces none, like a cluster whose network has no support for them.
"""

import base64
import contextlib
import json
import secrets
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from flows.demo.processes import child, free_port, listens
from integrations.systems.kubernetes.workload import ready
from tests.cluster.node import SERVER, bridge, node

_WITHIN = 300.0
"""Seconds for it to be ready."""

_EVERY = 0.05
"""Seconds between two looks at what it waits for."""


_FEATURES = "--feature-gates=HPAScaleToZero=true"
"""What some clusters have on: an autoscaler that starts pods where there are none."""


@dataclass(frozen=True)
class Kubernetes:
    """A running cluster.

    Args:
        url: of its API server.
        authority: the certificate that its own is signed by, as PEM.
        tokens: the users there are → their tokens.
        probe: the image that pods of ours run there which ask.
        taking: the command by which its node takes an image from an archive.
    """

    url: str
    authority: str
    tokens: dict[str, str]
    probe: str = ""
    taking: tuple[str, ...] = ()

    def take(self, archive: Path) -> None:
        """Have its node run what is in an archive."""
        subprocess.run([*self.taking, str(archive)], check=True, capture_output=True)  # noqa: S603  # ours

    def door(self) -> str:
        """Return the address by which pods reach what listens on this machine, and nothing else of it."""
        (node,) = self.ask("GET", "/api/v1/nodes")["items"]
        (address,) = (one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
        return bridge(str(address))

    def kubeconfig(self, user: str = "admin") -> str:
        """Return a kubeconfig of a user."""
        certificate = base64.b64encode(self.authority.encode()).decode()
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "tests", "cluster": {"server": self.url, "certificate-authority-data": certificate}}
                ],
                "users": [{"name": user, "user": {"token": self.tokens[user]}}],
                "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
                "current-context": "tests",
            }
        )

    def ask(self, method: str, path: str, body: object = None, *, kind: str = "application/json") -> dict[str, Any]:
        """Return what it answers an administrator, without a client of ours.

        Raises:
            urllib.error.HTTPError: it says no.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.tokens['admin']}", "content-type": kind}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)  # noqa: S310  # https
        context = ssl.create_default_context(cadata=self.authority)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310  # https
            found: dict[str, Any] = json.loads(answer.read())
        return found

    def read(self, path: str) -> bytes:
        """Return what it answers an administrator where that is no object: a log."""
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {self.tokens['admin']}"})  # noqa: S310  # https
        context = ssl.create_default_context(cadata=self.authority)
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310  # https
            found: bytes = answer.read()
        return found

    @contextlib.contextmanager
    def namespace(self) -> Iterator[str]:
        """Yield a new namespace, with its default account, and have it deleted afterwards."""
        name = f"test-{secrets.token_hex(4)}"
        self.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.until(lambda: self.there(f"/api/v1/namespaces/{name}/serviceaccounts/default"), "its account is there")
        try:
            yield name
        finally:
            self.ask("DELETE", f"/api/v1/namespaces/{name}")

    def has_a_node(self) -> bool:
        """Whether a node takes pods."""
        found = self.ask("GET", "/api/v1/nodes")["items"]
        return any(ready(one) for one in found)

    def there(self, path: str) -> bool:
        """Whether an object is there."""
        try:
            self.ask("GET", path)
        except urllib.error.HTTPError as exc:
            if exc.code != 404:  # HTTP
                raise
            return False
        return True

    def until(self, condition: Any, what: str) -> None:  # noqa: ANN401  # a function without arguments
        """Wait until something is so.

        Raises:
            TimeoutError: it is not so for long.
        """
        end = time.monotonic() + _WITHIN
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"the cluster does not come to where {what}")
            time.sleep(_EVERY)

    def deploy(
        self, namespace: str, name: str, *, replicas: int = 2, idle: bool = False, **metadata: object
    ) -> dict[str, Any]:
        """Create a deployment, wait until its pods are ready, and return it.

        Args:
            namespace: where.
            name: of the deployment, and its label `app`.
            replicas: how many pods.
            idle: no node takes its pods, and nobody waits for them; they end at once.
            metadata: more of the deployment's.
        """
        labels = {"app": name}
        container = {"name": "server", "image": SERVER, "imagePullPolicy": "Never", "ports": [{"containerPort": 8000}]}
        self.ask(
            "POST",
            f"/apis/apps/v1/namespaces/{namespace}/deployments",
            {
                "metadata": {"name": name, **metadata},
                "spec": {
                    "replicas": replicas,
                    # What never is ready is never replaced a little at a time.
                    **({"strategy": {"type": "Recreate"}} if idle else {}),
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "containers": [container],
                            "terminationGracePeriodSeconds": 0,
                            **({"nodeSelector": {"there": "is-none"}} if idle else {}),
                        },
                    },
                },
            },
        )
        if idle:
            mine = f"/api/v1/namespaces/{namespace}/pods?labelSelector=app%3D{name}"
            self.until(lambda: len(self.ask("GET", mine)["items"]) == replicas, "its pods are there")
        else:
            self.until(lambda: sum(map(ready, self.pods(namespace))) == replicas, "its pods are ready")
        return self.ask("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")

    def pods(self, namespace: str) -> list[dict[str, Any]]:
        """Return the pods of a namespace."""
        found: list[dict[str, Any]] = self.ask("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        return found


@contextlib.contextmanager
def kubernetes(programs: Path, *, largest_log: str = "10Mi") -> Iterator[Kubernetes]:
    """Yield a running cluster.

    Args:
        programs: from `tests.cluster.build`.
        largest_log: what its node keeps of a container's log in one piece.
    """
    program = programs / "kubernetes"
    with tempfile.TemporaryDirectory(prefix="mcp-soar-kubernetes-", ignore_cleanup_errors=True) as name:
        folder, port, etcd = Path(name), free_port(), f"http://127.0.0.1:{free_port()}"
        users = {user: secrets.token_urlsafe(24) for user in ("admin", "responder", "stranger")}
        groups = {"admin": ',"system:masters"'}
        lines = [f"{token},{user},{user}{groups.get(user, '')}\n" for user, token in users.items()]
        (folder / "users.csv").write_text("".join(lines))
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / "accounts.key").write_bytes(private)
        url = f"https://127.0.0.1:{port}"
        env = {"ETCD_FOLDER": str(folder / "etcd"), "ETCD_CLIENTS": etcd, "HOME": name, "PATH": ""}
        env["ETCD_PEERS"] = f"http://127.0.0.1:{free_port()}"
        server = [
            f"--etcd-servers={etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder / 'certificates'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'accounts.key'}",
            f"--service-account-signing-key-file={folder / 'accounts.key'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            f"--token-auth-file={folder / 'users.csv'}",
            "--kubelet-preferred-address-types=InternalIP",
            _FEATURES,
        ]
        authority = folder / "certificates" / "apiserver.crt"

        def cluster() -> Kubernetes:
            return Kubernetes(url, authority.read_text(), users)

        command = [str(program), "apiserver", *server]
        log = folder / "apiserver.log"
        with child(command, log=log, ready=lambda: authority.exists() and _ready(cluster()), within=_WITHIN, env=env):
            (folder / "controllers.kubeconfig").write_text(cluster().kubeconfig())
            secure = free_port()
            controllers = [
                f"--kubeconfig={folder / 'controllers.kubeconfig'}",
                f"--service-account-private-key-file={folder / 'accounts.key'}",
                "--leader-elect=false",
                # An autoscaler looks every fifteen seconds otherwise.
                "--horizontal-pod-autoscaler-sync-period=1s",
                _FEATURES,
                f"--secure-port={secure}",
                "--bind-address=127.0.0.1",
                f"--cert-dir={folder / 'controllers'}",
            ]
            scheduling = free_port()
            scheduler = [
                f"--kubeconfig={folder / 'controllers.kubeconfig'}",
                "--leader-elect=false",
                f"--secure-port={scheduling}",
                "--bind-address=127.0.0.1",
                f"--cert-dir={folder / 'scheduler'}",
            ]
            with contextlib.ExitStack() as parts:
                for role, arguments, opened in (
                    ("controllers", controllers, secure),
                    ("scheduler", scheduler, scheduling),
                ):
                    command, log = [str(program), role, *arguments], folder / f"{role}.log"
                    ready = partial(listens, opened)
                    parts.enter_context(child(command, log=log, ready=ready, within=_WITHIN, env=env))
                probe = parts.enter_context(node(programs, cluster().kubeconfig(), folder, largest_log=largest_log))
                ctr = (str(programs / "ctr"), "--address", str(folder / "c.sock"), "-n", "k8s.io", "images", "import")
                running = replace(cluster(), probe=probe, taking=ctr)
                running.until(running.has_a_node, "its node is ready")
                yield running


def _ready(cluster: Kubernetes) -> bool:
    try:
        cluster.ask("GET", "/api/v1/namespaces/default")
    except (OSError, ValueError):
        return False
    return True
