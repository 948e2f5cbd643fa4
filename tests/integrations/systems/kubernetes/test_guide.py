"""The account that the guide has people make: its objects are taken by a real cluster, and are enough for doctor."""

import asyncio
import os
import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from integrations import registry
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.quarantine import ACTIONS
from integrations.systems.kubernetes.rights import PROBES, REVERTERS, lacking
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer
from playbooks.strict import parse_yaml
from tests.cluster.manifests import built
from tests.contract import laws
from tests.contract.guides import MANIFESTS
from tests.integrations.systems.kubernetes.conftest import INVENTORY, Yard
from tests.integrations.systems.kubernetes.test_doctor import looked
from tests.lab.connected import connected

GUIDE = (Path(__file__).parents[4] / "docs" / "contain-on-kubernetes.md").read_text(encoding="utf-8")
RBAC = "/apis/rbac.authorization.k8s.io/v1"
WHERE = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ClusterRole": f"{RBAC}/clusterroles",
    "ClusterRoleBinding": f"{RBAC}/clusterrolebindings",
    "RoleBinding": f"{RBAC}/namespaces/{{}}/rolebindings",
}
KUBECTL = """\
#!/bin/sh
case "$*" in
  apply*) ;;
  "config view --minify --output jsonpath={.clusters[0].cluster.server}") printf %s "$SERVER" ;;
  *"get secret responder --namespace mcp-soar --output jsonpath={.data.ca\\.crt}") printf %s "$AUTHORITY" ;;
  *"get secret responder --namespace mcp-soar --output jsonpath={.data.token}") printf %s "$TOKEN" ;;
  *) echo "no such command: $*" >&2; exit 1 ;;
esac
"""


def block(mark: str) -> str:
    found = re.search(rf"<!-- {mark}: \w[^\n]* -->\n```\w*\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None, mark
    return found[1]


@pytest.fixture
def secret(yard: Yard) -> Iterator[dict[str, Any]]:
    """Apply what the guide has, for the servers of a test's namespace, and give the account's secret."""
    made: list[str] = []
    objects = [*built(MANIFESTS / "account"), {"kind": "Namespace", "metadata": {"name": "argocd"}}]
    text = block("servers").replace("namespace: mcp}", f"namespace: {yard.namespace}}}")
    for one in (*objects, *yaml.safe_load_all(text), *yaml.safe_load_all(block("token"))):
        if one["kind"] == "ClusterRoleBinding":
            # The session's own responder has that one.
            one["metadata"]["name"] = f"{one['metadata']['name']}-of-the-guide"
        where = WHERE[one["kind"]].format(one["metadata"].get("namespace"))
        try:
            yard.cluster.ask("POST", where, one)
        except urllib.error.HTTPError as exc:
            if exc.code != 409 or one["kind"] not in {"Namespace", "ClusterRole"}:
                raise
        else:
            made.append(f"{where}/{one['metadata']['name']}")
    try:
        kept = WHERE["Secret"].format("mcp-soar") + "/responder"
        yard.cluster.until(lambda: "token" in (yard.cluster.ask("GET", kept).get("data") or {}), "it has a token")
        yield yard.cluster.ask("GET", kept)["data"]
    finally:
        for path in reversed(made):
            if "clusterroles/" not in path and yard.cluster.there(path):
                yard.cluster.ask("DELETE", path)


async def test_the_account_of_the_guide_is_enough_and_may_make_no_pods_where_controllers_are(
    yard: Yard, secret: dict[str, Any], tmp_path: Path
) -> None:
    for name, text in (("kubectl", KUBECTL), ("mcp-soar", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    told = {"SERVER": yard.cluster.url, "AUTHORITY": secret["ca.crt"], "TOKEN": secret["token"]}
    # The API server of the tests signs for itself; what the controllers put into the secret is the same elsewhere.
    told["AUTHORITY"] = yaml.safe_load(yard.cluster.kubeconfig())["clusters"][0]["cluster"][
        "certificate-authority-data"
    ]
    env = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", **told}
    shell = ("-euo", "pipefail", "-c", block("kubeconfig"))
    done = await asyncio.create_subprocess_exec("bash", *shell, cwd=tmp_path, env=env)
    assert await done.wait() == 0
    file = tmp_path / "kubeconfigs" / "prod"
    assert file.stat().st_mode & 0o777 == 0o600
    text = INVENTORY.format(namespace=yard.namespace, kubeconfig=file, probe=yard.cluster.probe)
    world = connected(parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context))
    try:
        found = await looked(world)
        assert found[0].message == "it lets us in as system:serviceaccount:mcp-soar:responder"
        assert {one.level for one in found} == {"ok"}, found
        api = world.reach(Api, "prod")
        assert await lacking(api, REVERTERS, "argocd") == []
        assert "create pods" in [what for what, _ in await lacking(api, PROBES, "argocd")]
        (quarantine,) = ACTIONS
        plan = await quarantine(server="weather").plan(world)
        await laws.apply(quarantine, plan, world)
        verdict = await quarantine.verify(plan, world)
        assert verdict.answer is Answer.NOT_ESTABLISHED, "nothing enforces it there, and that was found out"
        assert not [one for one in verdict.findings if "403" in one.observed]
        await laws.apply(quarantine, quarantine.inverse(plan), world)
    finally:
        await world.aclose()
