"""Whose account is cut when somebody points a workload at another's: all that its pods run as, and others are named."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from integrations import registry
from integrations.connections import Connections
from integrations.systems.kubernetes.accounts import RevokeTokens
from integrations.systems.kubernetes.bindings import RemoveBindings
from playbooks.action import Action
from playbooks.errors import Drifted, Gone
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer, Radius
from playbooks.strict import parse_yaml
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import INVENTORY
from tests.integrations.systems.kubernetes.pretended import DEPLOYMENT, ME, PROBE, RBAC, Pretended, pretended

CORE = "/api/v1/namespaces/mcp"
MINE = f"{CORE}/serviceaccounts/weather"
CUTS = (RevokeTokens(server="weather"), RemoveBindings(server="weather"))


def pod(name: str, account: str, *owners: dict[str, str], **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "mcp", "uid": f"uid of {name}", "labels": labels}
    return {"metadata": {**metadata, "ownerReferences": list(owners)}, "spec": {"serviceAccountName": account}}


@pytest.fixture
def at() -> Pretended:
    """Give a cluster on which `weather` and, beside it, `billing` run, each as an account of its own."""
    made = Pretended()
    made.answers = lambda _, path, __: (201, {"status": {"token": "new"}}) if path.endswith("/token") else None
    for name in ("weather", "billing"):
        metadata = {"name": name, "namespace": "mcp", "uid": f"uid of account {name}", "resourceVersion": "1"}
        made.objects[f"{CORE}/serviceaccounts/{name}"] = {"metadata": metadata}
        made.bound(f"{RBAC}/namespaces/mcp/rolebindings/{name}", {**ME, "name": name})
    made.objects[f"{CORE}/pods/w"] = pod("w", "weather", app="weather")
    made.objects[f"{CORE}/pods/b"] = pod(
        "b", "billing", {"name": "billing-7f", "uid": "x"}, **{"pod-template-hash": "7f"}
    )
    return made


@pytest.fixture
async def world(at: Pretended, tmp_path: Path) -> AsyncIterator[Connections]:
    """Give connections to it."""
    async with pretended(at, tmp_path) as connections:
        yield connections


def pointed(at: Pretended, account: str) -> None:
    """Have whoever may change the workload point it at another account."""
    at.objects[DEPLOYMENT]["spec"]["template"]["spec"]["serviceAccountName"] = account


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_what_only_one_server_runs_as_is_that_server_s(cut: Action, world: Connections) -> None:
    plan = await cut.plan(world)
    assert [change.target.name for change in plan.changes] == ["mcp/weather"]
    assert plan.radius is Radius.SERVER


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_who_points_a_workload_at_another_s_account_saves_its_own_and_asks_more_people(
    cut: Action, at: Pretended, world: Connections
) -> None:
    pointed(at, "billing")
    plan = await cut.plan(world)
    assert [change.target.name for change in plan.changes] == ["mcp/billing", "mcp/weather"]
    assert plan.radius is Radius.FLEET
    assert "billing runs as it too" in plan.breaks


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_what_people_wrote_is_cut_when_no_pod_runs_as_it_any_more(
    cut: Action, at: Pretended, world: Connections, tmp_path: Path
) -> None:
    pointed(at, "billing")
    at.objects[f"{CORE}/pods/w"] = pod("w", "billing", app="weather")
    text = INVENTORY.format(namespace="mcp", kubeconfig=tmp_path / "kubeconfig", probe=PROBE)
    text = text.replace("name: weather}", "name: weather, service_account: weather}")
    inventory = parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context)
    plan = await cut.plan(world.with_inventory(inventory))
    assert [change.target.name for change in plan.changes] == ["mcp/billing", "mcp/weather"]


async def test_an_account_that_is_not_there_saves_none_that_is(at: Pretended, world: Connections) -> None:
    pointed(at, "ghost")
    plan = await CUTS[0].plan(world)
    assert [change.target.name for change in plan.changes] == ["mcp/weather"]
    del at.objects[MINE]
    with pytest.raises(Gone, match="there is no account"):
        await CUTS[0].plan(world)


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_what_a_server_runs_as_no_more_is_not_ended_on_its_account(
    cut: Action, at: Pretended, world: Connections
) -> None:
    pointed(at, "billing")
    at.objects[f"{CORE}/pods/w"] = pod("w", "billing", app="weather")
    plan = await cut.plan(world)
    pointed(at, "weather")
    at.objects[f"{CORE}/pods/w"] = pod("w", "weather", app="weather")
    before = dict(at.objects)
    (change,) = plan.changes
    with pytest.raises(Drifted, match="weather does not run as mcp/billing any more, but as weather"):
        await type(cut).write(change, world, key="drill")
    assert at.objects == before


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.name)
async def test_pods_that_run_as_another_account_since_are_no_containment(
    cut: Action, at: Pretended, world: Connections
) -> None:
    plan = await cut.plan(world)
    await laws.apply(type(cut), plan, world)
    pointed(at, "billing")
    found = [one for one in (await type(cut).verify(plan, world)).findings if one.check == "account"]
    assert [one.answer for one in found] == [Answer.NOT_ESTABLISHED]
    assert "mcp/billing" in found[0].observed


async def test_what_was_taken_is_given_back_whatever_the_server_runs_as_by_then(
    at: Pretended, world: Connections
) -> None:
    plan = await CUTS[1].plan(world)
    await laws.apply(RemoveBindings, plan, world)
    pointed(at, "billing")
    at.objects[f"{CORE}/pods/w"] = pod("w", "billing", app="weather")
    await laws.apply(RemoveBindings, RemoveBindings.inverse(plan), world)
    assert at.objects[f"{RBAC}/namespaces/mcp/rolebindings/weather"]["subjects"] == [ME]
