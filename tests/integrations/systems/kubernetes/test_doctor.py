"""What `doctor` and `doctor --orphans` say of a cluster."""

from integrations.system import Holders, Looked
from integrations.systems.kubernetes.doctor import doctor
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.rights import (
    CHECKPOINT,
    NAME,
    PROBES,
    REVERTERS,
    WIDE,
    Permission,
    of_role,
    wanted,
)
from playbooks.action import World
from tests.integrations.systems.kubernetes.conftest import Yard

PATCH = "application/merge-patch+json"


async def nobody() -> list[object]:
    return []


async def looked(world: World) -> list[Looked]:
    ((_, lines),) = doctor(world, Holders(nobody))  # type: ignore[arg-type]  # no hold at all
    return [line async for line in lines]


async def test_all_is_well_where_the_account_has_the_role_and_nothing_else(yard: Yard) -> None:
    found = await looked(yard.world)
    assert [one.level for one in found] == ["ok"] * 6, found
    assert found[0].message == "it lets us in as responder"


async def test_every_permission_that_is_missing_is_named_with_the_step_that_needs_it(yard: Yard) -> None:
    world = yard.as_user("stranger")
    (_, whole, found, probes) = await looked(world)
    assert whole.level == found.level == "fail"
    assert "on the whole cluster our account may not get clusternetworkpolicies" in whole.message
    assert "get validatingadmissionpolicies in admissionregistration.k8s.io (kubernetes.deny_image)" in whole.message
    assert "ClusterRole mcp-soar-responder-cluster" in whole.remedy
    assert "our account may not get deployments in apps (kubernetes.scale_to_zero" in found.message
    assert "ClusterRole mcp-soar-responder," in found.remedy
    assert "in namespace mcp-soar-probes our account may not" in probes.message
    assert "create pods (kubernetes.quarantine, " in probes.message
    assert "ClusterRole mcp-soar-responder-probes," in probes.remedy
    await world.aclose()


async def test_what_is_scaled_to_zero_and_nobody_holds_is_warned_of_and_an_orphan(yard: Yard) -> None:
    present = ClusterPresent(yard.world, "kubernetes/prod")
    expected, *_ = await present.look()
    assert await present.value(expected.kind, expected.id, expected.field) == expected.value
    yard.cluster.ask("PATCH", yard.path, {"spec": {"replicas": 0}}, kind=PATCH)
    last = (await looked(yard.world))[-1]
    assert last.level == "warn"
    assert "is scaled to zero, and no incident holds it" in last.message
    expected, *_ = await present.look()
    assert await present.value(expected.kind, expected.id, expected.field) == 0
    assert expected.value == 1


async def test_who_starts_it_again_and_cannot_be_paused_from_here_is_warned_of(idle: Yard) -> None:
    tracked = f"weather:apps/Deployment:{idle.namespace}/weather"
    mark = {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": tracked}}}
    idle.cluster.ask("PATCH", idle.path, mark, kind=PATCH)
    (found,) = [one for one in await looked(idle.world) if one.level == "warn"]
    assert "started again by Argo CD Application weather, which cannot be paused from here" in found.message


async def test_what_is_not_there_is_said_to_be_gone(yard: Yard) -> None:
    yard.cluster.ask("DELETE", yard.path)
    last = (await looked(yard.world))[-1]
    assert last.level == "fail"
    assert "there is no deployment" in last.message
    present = ClusterPresent(yard.world, "kubernetes/prod")
    expected, *_ = await present.look()
    assert await present.value(expected.kind, expected.id, expected.field) is None


def test_the_roles_have_each_permission_and_no_more() -> None:
    written = {name: set(of_role(name)) for name in (NAME, PROBES, REVERTERS, WIDE, CHECKPOINT)}
    assert written[NAME] | written[WIDE] | written[CHECKPOINT] == set(wanted())
    assert not written[NAME] & written[WIDE]
    # Root on every node: nobody has it along with anything else.
    assert not written[CHECKPOINT] & (written[NAME] | written[WIDE])
    for name in (PROBES, REVERTERS):
        assert written[name] < written[NAME]
    assert not {one for one in written[REVERTERS] if one.verb not in {"get", "patch"} or not one.group}
    assert Permission.read("patch deployments.apps/scale") == Permission("patch", "deployments/scale", "apps")
    assert Permission.read("list networkpolicies.networking.k8s.io").group == "networking.k8s.io"
    assert Permission.read("get pods/log") == Permission("get", "pods/log", "")
