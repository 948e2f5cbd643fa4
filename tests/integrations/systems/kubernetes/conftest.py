"""In the session's cluster a namespace for each test, in which server `weather` runs as a deployment."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integrations import registry
from integrations.connections import Connections
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.workload import ready
from playbooks.estate.inventory import Inventory
from playbooks.strict import parse_yaml
from tests.cluster.cluster import Kubernetes
from tests.lab.connected import connected

INVENTORY = """\
version: 1
servers:
  weather:
    title: Weather
    owner: weather-team
    environment: prod
    url: https://weather.example/mcp
    places:
      prod: {{namespace: {namespace}, name: weather}}
systems:
  prod: {{kind: kubernetes, kubeconfig: {{file: {kubeconfig}}}, probe: {{image: "{probe}"}}}}
"""


@dataclass(frozen=True)
class Yard:
    """A namespace with a server.

    Args:
        cluster: where.
        namespace: its name.
        world: our connections, as the responder.
        folder: where its kubeconfig is.
    """

    cluster: Kubernetes
    namespace: str
    world: Connections
    folder: Path

    @property
    def path(self) -> str:
        """The deployment's path."""
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments/weather"

    @property
    def api(self) -> Api:
        """The connection that the steps use."""
        return self.world.reach(Api, "prod")

    async def ready(self, pods: int) -> None:
        """Wait until so many of its pods are ready."""

        def are() -> bool:
            return sum(map(ready, self.cluster.pods(self.namespace))) == pods

        await asyncio.to_thread(self.cluster.until, are, "its pods are ready")

    def as_user(self, user: str) -> Connections:
        """Return connections as another user of the cluster."""
        file = self.folder / user
        file.write_text(self.cluster.kubeconfig(user))
        text = INVENTORY.format(namespace=self.namespace, kubeconfig=file, probe=self.cluster.probe)
        return connected(parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context))


@pytest.fixture
async def yard(cluster: Kubernetes, tmp_path: Path) -> AsyncIterator[Yard]:
    """Give a namespace in which server `weather` runs as two pods."""
    with cluster.namespace() as namespace:
        cluster.deploy(namespace, "weather")
        made = Yard(cluster, namespace, None, tmp_path)  # type: ignore[arg-type]  # filled in below
        world = made.as_user("responder")
        yield Yard(cluster, namespace, world, tmp_path)
        await world.aclose()


@pytest.fixture
async def idle(cluster: Kubernetes, tmp_path: Path) -> AsyncIterator[Yard]:
    """Give a namespace in which server `weather` is two pods that no node takes: quick, where nothing has to run."""
    with cluster.namespace() as namespace:
        cluster.deploy(namespace, "weather", idle=True)
        made = Yard(cluster, namespace, None, tmp_path)  # type: ignore[arg-type]  # filled in below
        world = made.as_user("responder")
        yield Yard(cluster, namespace, world, tmp_path)
        await world.aclose()
