"""The laws, and what a cluster does to whoever relies on it: ending pods, other hands, another of the same name."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from integrations import registry
from integrations.systems.kubernetes.actions import ScaleToZero
from integrations.systems.kubernetes.client import Api
from playbooks.errors import Drifted, Gone, Misconfigured, Refused, Transient
from playbooks.estate.inventory import Inventory
from playbooks.gate.plan import Answer
from playbooks.strict import canonical, parse_yaml
from tests.contract import laws
from tests.integrations.systems.kubernetes.conftest import INVENTORY, Yard
from tests.lab.connected import connected

PATCH = "application/merge-patch+json"
INTENT = ScaleToZero(server="weather")


async def state(yard: Yard) -> bytes:
    """Return what of the namespace a release has to restore: how many pods are wanted, and how many there are."""
    wanted = yard.cluster.ask("GET", yard.path)["spec"]["replicas"]
    yard.cluster.until(lambda: len(yard.cluster.pods(yard.namespace)) == wanted, "it has the pods that are wanted")
    return canonical([wanted])


async def test_its_plan_only_reads_and_names_every_target_in_every_language(yard: Yard) -> None:
    await laws.plan_only_reads(INTENT, yard.world, lambda: state(yard))
    await laws.speaks_every_language(INTENT, yard.world, registry.SYSTEMS.words)


async def test_twice_is_once(yard: Yard) -> None:
    await laws.twice_is_once(INTENT, yard.world, lambda: state(yard))


async def test_the_inverse_restores_exactly_what_was_there(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    await laws.apply(ScaleToZero, plan, yard.world)
    assert json.loads(await state(yard)) == [0]
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.ESTABLISHED
    assert (await ScaleToZero.verify_released(plan, yard.world)).answer is Answer.NOT_ESTABLISHED
    await laws.apply(ScaleToZero, ScaleToZero.inverse(plan), yard.world)
    assert json.loads(await state(yard)) == [2]
    await yard.ready(2)
    released = await ScaleToZero.verify_released(plan, yard.world)
    assert released.answer is Answer.ESTABLISHED, released


async def test_what_only_its_spec_says_is_no_containment(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.NOT_ESTABLISHED
    name = yard.cluster.pods(yard.namespace)[0]["metadata"]["name"]
    pod = f"/api/v1/namespaces/{yard.namespace}/pods/{name}"
    yard.cluster.ask("PATCH", pod, {"metadata": {"finalizers": ["example.com/slow"]}}, kind=PATCH)
    await laws.apply(ScaleToZero, plan, yard.world)
    yard.cluster.until(lambda: len(yard.cluster.pods(yard.namespace)) == 1, "one is left, which does not end")
    (finding,) = (await ScaleToZero.verify(plan, yard.world)).findings
    assert finding.answer is Answer.NOT_ESTABLISHED
    assert "(ending)" in finding.observed, "it runs for as long as it has not ended"
    assert finding.asked_as == "responder"
    yard.cluster.ask("PATCH", pod, {"metadata": {"finalizers": None}}, kind=PATCH)
    yard.cluster.until(lambda: not yard.cluster.pods(yard.namespace), "it has ended")
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.ESTABLISHED


async def test_somebody_who_scales_it_up_again_is_seen(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    await laws.apply(ScaleToZero, plan, yard.world)
    yard.cluster.ask("PATCH", f"{yard.path}/scale", {"spec": {"replicas": 1}}, kind=PATCH)
    assert await ScaleToZero.read(plan.changes[0], yard.world) == 1
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.NOT_ESTABLISHED


async def test_another_one_of_its_name_is_neither_read_nor_scaled(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    yard.cluster.ask("DELETE", f"{yard.path}?propagationPolicy=Foreground")
    yard.cluster.until(lambda: not yard.cluster.there(yard.path), "it is deleted")
    yard.cluster.deploy(yard.namespace, "weather", replicas=1)
    with pytest.raises(Gone, match="another one now"):
        await ScaleToZero.read(plan.changes[0], yard.world)
    with pytest.raises(Drifted):
        await ScaleToZero.write(plan.changes[0], yard.world, key="drill")
    assert yard.cluster.ask("GET", yard.path)["spec"]["replicas"] == 1
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.UNKNOWN, "the server runs, as another one"


async def test_who_may_bring_it_back_is_said(yard: Yard) -> None:
    tracked = f"x:apps/Deployment:{yard.namespace}/weather"
    mark = {"metadata": {"annotations": {"argocd.argoproj.io/tracking-id": tracked}}}
    yard.cluster.ask("PATCH", yard.path, mark, kind=PATCH)
    plan = await INTENT.plan(yard.world)
    assert "Argo CD Application x may start them again" in plan.breaks, "it is at another cluster"
    await laws.speaks_every_language(INTENT, yard.world, registry.SYSTEMS.words)


async def test_a_pod_that_was_taken_out_of_its_hands_goes_on_and_is_seen(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    name = yard.cluster.pods(yard.namespace)[0]["metadata"]["name"]
    pod = f"/api/v1/namespaces/{yard.namespace}/pods/{name}"
    yard.cluster.ask("DELETE", f"{yard.path}?propagationPolicy=Orphan")
    yard.cluster.until(lambda: not yard.cluster.there(yard.path), "it is deleted, and its pods go on")
    assert yard.cluster.there(pod)
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.UNKNOWN


async def test_a_pod_that_only_has_its_labels_answers_for_it_and_is_counted(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    await laws.apply(ScaleToZero, plan, yard.world)
    yard.cluster.until(lambda: not yard.cluster.pods(yard.namespace), "its pods have ended")
    assert (await ScaleToZero.verify(plan, yard.world)).answer is Answer.ESTABLISHED
    spec = {"containers": [{"name": "one", "image": "registry.example/other:1"}]}
    another = {"metadata": {"name": "another", "labels": {"app": "weather", "more": "1"}}, "spec": spec}
    yard.cluster.ask("POST", f"/api/v1/namespaces/{yard.namespace}/pods", another)
    (finding,) = (await ScaleToZero.verify(plan, yard.world)).findings
    assert finding.answer is Answer.NOT_ESTABLISHED
    assert "another" in finding.observed


async def test_the_responder_needs_what_its_role_has_and_is_refused_beyond(yard: Yard) -> None:
    stranger = yard.as_user("stranger")
    with pytest.raises(Misconfigured, match=r"403: deployments\.apps"):
        await INTENT.plan(stranger)
    await stranger.aclose()
    with pytest.raises(Misconfigured, match=r"403: secrets"):
        await yard.api.request("GET", f"/api/v1/namespaces/{yard.namespace}/secrets")


async def test_a_namespace_of_ours_is_no_target(yard: Yard) -> None:
    for namespace in ("kube-system", "mcp-soar"):
        text = INVENTORY.format(namespace=namespace, kubeconfig=yard.folder / "responder", probe=yard.cluster.probe)
        inventory = parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context)
        with pytest.raises(Refused, match=f"namespace {namespace} of cluster prod is mcp-soar's own"):
            await INTENT.plan(connected(inventory))


async def test_what_stands_on_no_cluster_says_so(yard: Yard) -> None:
    text = INVENTORY.format(namespace=yard.namespace, kubeconfig=yard.folder / "responder", probe=yard.cluster.probe)
    lines = [line for line in text.splitlines() if "places" not in line and "prod: {namespace" not in line]
    inventory = parse_yaml(Inventory, "\n".join(lines), file="inventory.yaml", context=registry.SYSTEMS.context)
    with pytest.raises(Misconfigured, match="has no place in Kubernetes"):
        await INTENT.plan(connected(inventory))


@contextmanager
def silent() -> Iterator[str]:
    """Yield the address of something that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_cluster_that_does_not_answer_is_no_proof_of_anything(yard: Yard) -> None:
    plan = await INTENT.plan(yard.world)
    with silent() as url:
        config = json.loads(yard.cluster.kubeconfig("responder"))
        config["clusters"][0]["cluster"]["server"] = url
        (yard.folder / "responder").write_text(json.dumps(config))
        text = INVENTORY.format(
            namespace=yard.namespace, kubeconfig=yard.folder / "responder", probe=yard.cluster.probe
        )
        world = connected(parse_yaml(Inventory, text, file="inventory.yaml", context=registry.SYSTEMS.context))
        world.reach(Api, "prod").patience = 0.5
        verdict = await ScaleToZero.verify(plan, world)
        assert verdict.answer is Answer.UNKNOWN
        with pytest.raises(Transient):
            await INTENT.plan(world)
        await world.aclose()


@pytest.mark.parametrize(
    ("kubeconfig", "says"),
    [
        ("{", "it is no YAML"),
        ("[]", "it is no kubeconfig: it lists no clusters"),
        ('{"clusters": [{"name": "a"}], "contexts": [{"name": "a"}]}', "it has no context None; it has: a"),
    ],
    ids=["broken", "something else", "no context"],
)
async def test_a_kubeconfig_that_cannot_be_used_says_what_is_wrong(kubeconfig: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as caught:
        await Api("prod", lambda: kubeconfig).who()
    assert caught.value.field == "systems.prod.kubeconfig"


async def test_an_expired_token_is_told_from_a_missing_permission(yard: Yard) -> None:
    config = json.loads(yard.cluster.kubeconfig("responder"))
    config["users"][0]["user"]["token"] = "expired"  # noqa: S105  # it is none
    api = Api("prod", lambda: json.dumps(config))
    with pytest.raises(Misconfigured, match=r"401.*renew its token"):
        await api.who()
    await api.aclose()


async def test_a_token_that_was_renewed_is_taken_up_without_a_restart(yard: Yard) -> None:
    config = json.loads(yard.cluster.kubeconfig("responder"))
    good, config["users"][0]["user"]["token"] = config["users"][0]["user"]["token"], "expired"
    reads: list[str] = []

    def text() -> str:
        reads.append(config["users"][0]["user"]["token"])
        return json.dumps(config)

    api = Api("prod", text)
    with pytest.raises(Misconfigured, match="401"):
        await api.who()
    config["users"][0]["user"]["token"] = good
    assert await api.who() == "responder"
    assert await api.who() == "responder"
    assert reads == ["expired", "expired", good], "it is read again where the cluster refuses it, and only there"
    await api.aclose()


async def test_a_token_in_a_file_is_read_again_where_the_cluster_refuses_it(yard: Yard, tmp_path: Path) -> None:
    config, file = json.loads(yard.cluster.kubeconfig("responder")), tmp_path / "token"
    good = config["users"][0]["user"].pop("token")
    config["users"][0]["user"]["tokenFile"] = str(file)
    api = Api("prod", lambda: json.dumps(config))
    with pytest.raises(Misconfigured, match="tokenFile"):
        await api.who()
    file.write_text("expired")
    with pytest.raises(Misconfigured, match="401"):
        await api.who()
    # As a kubelet does in a pod.
    file.write_text(f"{good}\n")
    assert await api.who() == "responder"
    await api.aclose()
