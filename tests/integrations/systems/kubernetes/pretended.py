"""A pretended API server on loopback: real HTTP, so that a path is read as a server reads it; nothing of it runs."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from integrations import registry
from integrations.connections import Connections
from playbooks.estate.inventory import Inventory
from playbooks.strict import parse_yaml
from tests.integrations.systems.kubernetes.conftest import INVENTORY
from tests.lab.connected import connected

RBAC = "/apis/rbac.authorization.k8s.io/v1"
DEPLOYMENT = "/apis/apps/v1/namespaces/mcp/deployments/weather"
ME = {"kind": "ServiceAccount", "name": "weather", "namespace": "mcp"}
PROBE = f"registry.example/busybox@sha256:{'a' * 64}"
US = "system:serviceaccount:mcp-soar:responder"


class Pretended:
    """What it has, by path, and what it was asked.

    `answers` comes first: it returns a status and an object, or bytes, or None to leave the question to what is there.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {
            DEPLOYMENT: {
                "metadata": {"uid": "uid-weather", "name": "weather", "namespace": "mcp"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"app": "weather"}},
                    "template": {"spec": {"serviceAccountName": "weather", "containers": []}},
                },
            }
        }
        self.asked: list[tuple[str, str]] = []
        self.answers: Callable[[str, str, Any], tuple[int, Any] | None] = lambda *_: None
        self.elsewhere = ""
        """Where it sends whoever asks; empty for nowhere."""

    def bound(self, where: str, *subjects: dict[str, str], role: str = "reader", kind: str = "Role") -> None:
        """Have a binding at a path."""
        namespace = where.split("/")[5] if "/namespaces/" in where else None
        metadata = {"name": where.rpartition("/")[2], "uid": f"uid of {where}", "resourceVersion": "1"}
        self.objects[where] = {
            "metadata": {**metadata, **({"namespace": namespace} if namespace else {})},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": list(subjects),
        }

    def listed(self, path: str) -> list[Any]:
        """Return what a list has: of one namespace, or of all."""
        prefix, _, resource = path.rpartition("/")
        return [
            one
            for where, one in self.objects.items()
            if where.startswith(prefix) and where.rpartition("/")[0].endswith(f"/{resource}")
        ]

    async def handle(self, request: web.Request) -> web.Response:
        """Answer as an API server does."""
        text = await request.text()
        method, path, body = request.method, request.path, json.loads(text) if text else None
        self.asked.append((method, path))
        if self.elsewhere:
            return web.Response(status=307, headers={"Location": f"{self.elsewhere}{path}"})
        status, found = self.answers(method, path, body) or self._plainly(request, method, path, body)
        if isinstance(found, bytes):
            return web.Response(body=found, status=status)
        return web.json_response(found, status=status)

    def _plainly(self, request: web.Request, method: str, path: str, body: Any) -> tuple[int, Any]:  # noqa: ANN401  # JSON
        dry = "dryRun" in request.query or (body or {}).get("dryRun")
        if path.endswith("/selfsubjectreviews"):
            return 201, {"status": {"userInfo": {"username": US}}}
        if method == "POST":
            where = f"{path}/{body.get('metadata', {}).get('name', '')}"
            if not dry and where.rpartition("/")[2]:
                self.objects[where] = {**body, "metadata": {**body["metadata"], "uid": "new", "resourceVersion": "1"}}
            return 201, body
        if path not in self.objects:
            several = method == "GET" and not path.rpartition("/")[0].endswith("s")
            return (200, {"items": self.listed(path)}) if several else (404, {"message": f"no {path}"})
        if method == "PUT" and not dry:
            self.objects[path] = body
        if method == "DELETE" and not dry:
            del self.objects[path]
        return 200, self.objects.get(path, {})


@asynccontextmanager
async def pretended(at: Pretended, folder: Path) -> AsyncIterator[Connections]:
    """Give connections to a pretended cluster.

    Args:
        at: the cluster.
        folder: where its kubeconfig goes.
    """
    async with serving(at) as url:
        config = {
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "secret-of-ours"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
        file = folder / "kubeconfig"
        file.write_text(json.dumps(config))
        file.chmod(0o600)
        text = INVENTORY.format(namespace="mcp", kubeconfig=file, probe=PROBE)
        world = connected(parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context))
        try:
            yield world
        finally:
            await world.aclose()


@asynccontextmanager
async def serving(at: Pretended) -> AsyncIterator[str]:
    """Give the address at which a pretended cluster answers."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", at.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
