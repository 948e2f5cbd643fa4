"""A cluster for the session."""

from collections.abc import Iterator

import pytest

from integrations.systems.kubernetes.rights import WIDE, role
from tests.cluster import build, crds
from tests.cluster.cluster import Kubernetes, kubernetes
from tests.cluster.node import lacking

PROBES = "mcp-soar-probes"
_RBAC = "rbac.authorization.k8s.io"


def permitted(running: Kubernetes) -> None:
    """Have user `responder` of a cluster be allowed what the steps declare, and nothing else."""
    running.ask("POST", "/api/v1/namespaces", {"metadata": {"name": PROBES}})
    rbac = f"/apis/{_RBAC}/v1"
    for one in (role(), role(WIDE)):
        name = one["metadata"]["name"]
        running.ask("POST", f"{rbac}/clusterroles", one)
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "name": "responder", "apiGroup": _RBAC}],
        }
        running.ask("POST", f"{rbac}/clusterrolebindings", binding)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Kubernetes]:
    """Give a cluster whose user `responder` may do what the steps declare, and nothing else."""
    programs = build.programs()
    if programs is None:
        pytest.skip("Kubernetes is not built: `python -m tests.cluster.build` says why")
    if missing := lacking():
        pytest.skip(missing)
    with kubernetes(programs) as running:
        permitted(running)
        yield running


@pytest.fixture(scope="session")
def definitions(cluster: Kubernetes) -> None:
    """Have the cluster take objects of KEDA, Argo CD, Flux and the Gateway API; nothing of theirs runs there."""
    if wrong := crds.fetch():
        pytest.skip(f"the definitions of KEDA, Argo CD, Flux and the Gateway API are not there: {wrong}")
    crds.install(cluster)
