"""An address that is taken out of what a server reaches, and a server that only the gateway reaches."""

import asyncio
import ipaddress
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pydantic import ValidationError

from integrations import registry
from integrations.connections import Connections
from integrations.systems.kubernetes import GatewayPods, openings, probe
from integrations.systems.kubernetes.narrowing import NARROW, BlockAddress, OnlyGateway, held
from integrations.systems.kubernetes.policies import EVERYBODY, narrowing
from integrations.systems.kubernetes.present import ClusterPresent
from integrations.systems.kubernetes.probe import ROLE
from integrations.systems.kubernetes.quarantine import Quarantine
from integrations.systems.kubernetes.rights import Permission
from playbooks.action import Action
from playbooks.errors import Misconfigured, Refused
from playbooks.gate.plan import Answer, Plan, Verdict
from tests.cluster.enforcer import enforcing, lacking
from tests.cluster.fixtures import PROBES
from tests.contract import laws
from tests.integrations.systems.kubernetes.asking import asked
from tests.integrations.systems.kubernetes.conftest import Yard
from tests.integrations.systems.kubernetes.test_doctor import looked
from tests.integrations.systems.kubernetes.test_quarantine import NET, PATCH, allow, answers, state, unprobed

# Each question of the network starts pods, some questions are asked again.
pytestmark = pytest.mark.timeout(300)

ADDRESS, OTHER = "203.0.113.7/32", "2001:db8::/32"
BLOCK = BlockAddress(server="weather", address="203.0.113.7")
ONLY = OnlyGateway(server="weather")
QUARANTINE = Quarantine(server="weather")
SELECTOR = {"matchLabels": {"app": "weather"}}
GATEWAY = {"app": "gateway"}
every_one = pytest.mark.parametrize("intent", [BLOCK, ONLY], ids=["address", "gateway"])
Rules = list[dict[str, Any]]


def but(*addresses: str, ingress: Rules | None = None, egress: Rules | None = None) -> dict[str, Any]:
    blocked = [ipaddress.ip_network(one) for one in addresses]
    return narrowing(SELECTOR, {"Ingress": ingress, "Egress": egress}, blocked, None)


def test_where_nobody_isolates_them_everybody_else_is_allowed() -> None:
    spec = but(ADDRESS)
    rule = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": [ADDRESS]}}, *EVERYBODY[1:]]
    assert spec["egress"] == [{"to": rule}]
    assert spec["ingress"] == [{"from": rule}]
    assert but(ADDRESS, OTHER)["egress"][0]["to"][1] == {"ipBlock": {"cidr": "::/0", "except": [OTHER]}}


def test_what_others_keep_shut_is_never_opened() -> None:
    ports = [{"port": 443, "protocol": "TCP"}]
    spec = but(ADDRESS, ingress=[], egress=[{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": ports}])
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in spec
    assert spec["egress"] == [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": [ADDRESS]}}], "ports": ports}]
    # A rule of nobody allows everybody: one that is left with nobody goes as a whole.
    assert "egress" not in but("203.0.113.0/24", ingress=[], egress=[{"to": [{"ipBlock": {"cidr": ADDRESS}}]}])


def test_of_the_other_way_all_that_others_allowed_stays() -> None:
    only = {"podSelector": {"matchLabels": GATEWAY}}
    egress: Rules = [{"to": [{"podSelector": {}}]}]
    spec = narrowing(SELECTOR, {"Ingress": [{}], "Egress": egress}, [], only)
    assert (spec["ingress"], spec["egress"]) == ([{"from": [only]}], egress)
    assert narrowing(SELECTOR, {"Ingress": None, "Egress": None}, [], only)["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize("address", ["203.0.113", "evil.example", "0.0.0.0/0", "::/0", "10.0.0.0/7", ""])
def test_what_is_no_address_or_everybodys_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match=r"no address|too wide"):
        BlockAddress(server="weather", address=address)


@pytest.mark.parametrize(
    ("open_", "said"),
    [
        ("control", "control open\noutbound shut\ninbound shut\ndone"),
        ("control outbound", "control open\noutbound open\ndone"),
        ("control inbound", "control open\noutbound shut\ninbound open\ndone"),
        ("outbound", "control shut\noutbound open\ndone"),
    ],
)
def test_what_our_pod_says_of_an_address_that_is_taken_out(open_: str, said: str) -> None:
    if (shell := shutil.which("busybox")) is None:
        pytest.skip("busybox is missing")
    script = probe.pod("x", "blocked", "image", [])["spec"]["containers"][0]["command"][2]
    network = f'reach() {{ case " {open_} " in *" $1 "*) true;; *) false;; esac; }}; sleep() {{ :; }}\n'
    told = [
        shell,
        "sh",
        "-c",
        script.replace(probe.TRY, probe.TRY + network),
        "x",
        "1",
        "control",
        "outbound",
        "inbound",
    ]
    done = subprocess.run(told, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603  # ours
    assert done.stdout.strip() == said


def behind_gateway(yard: Yard) -> Connections:
    """Have the cluster's settings say which pods are the gateway's: some beside the server."""
    world = yard.world
    gateway = GatewayPods(namespace=yard.namespace, labels=GATEWAY)
    systems = {"prod": world.inventory.systems["prod"].model_copy(update={"gateway": gateway})}
    return world.with_inventory(world.inventory.model_copy(update={"systems": systems}))


def enforced_by(monkeypatch: pytest.MonkeyPatch, found: tuple[bool | None, bool | None] | None) -> None:
    """Have the network do as it is told, where no pod need run."""

    async def blocks(*_: object) -> tuple[bool | None, bool | None] | None:
        return found

    monkeypatch.setattr(openings, "blocks", blocks)


def policies(yard: Yard) -> dict[str, Any]:
    return {
        one["metadata"]["name"]: one
        for one in yard.cluster.ask("GET", f"{NET}/{yard.namespace}/networkpolicies")["items"]
    }


def ours(yard: Yard) -> Any:  # noqa: ANN401  # JSON
    (found,) = [one for name, one in policies(yard).items() if name.startswith("mcp-soar-narrow-")]
    return found


async def done(intent: Action, world: Any) -> Plan:  # noqa: ANN401  # connections
    plan = await intent.plan(world)
    await laws.apply(type(intent), plan, world)
    return plan


async def undone(plan: Plan, intent: Action, world: Any) -> None:  # noqa: ANN401  # connections
    await laws.apply(type(intent), type(intent).inverse(plan), world)
    assert (await type(intent).verify_released(plan, world)).answer is Answer.ESTABLISHED


@every_one
async def test_it_is_held_to_the_laws(idle: Yard, monkeypatch: pytest.MonkeyPatch, intent: Action) -> None:
    enforced_by(monkeypatch, (False, False))
    world = behind_gateway(idle)
    await laws.speaks_every_language(intent, world, registry.SYSTEMS.words)
    allow(idle, "everything")
    await laws.plan_only_reads(intent, world, lambda: state(idle))
    await laws.speaks_every_language(intent, world, registry.SYSTEMS.words)
    plan = await intent.plan(world)
    assert (await type(intent).verify(plan, world)).answer is Answer.NOT_ESTABLISHED
    await laws.the_inverse_restores(intent, world, lambda: state(idle))
    await laws.twice_is_once(intent, world, lambda: state(idle))


async def test_several_of_them_are_one_policy_and_each_goes_by_itself(idle: Yard) -> None:
    world = behind_gateway(idle)
    egress = [{"to": [{"ipBlock": {"cidr": "203.0.0.0/8"}}]}]
    allow(idle, "theirs", SELECTOR, ingress=[{}], egress=egress, policyTypes=["Ingress", "Egress"])
    before = await state(idle)
    other = BlockAddress(server="weather", address=OTHER)
    first, second, third = [await done(one, world) for one in (BLOCK, ONLY, other)]
    spec = ours(idle)["spec"]
    assert spec["egress"] == [{"to": [{"ipBlock": {"cidr": "203.0.0.0/8", "except": [ADDRESS]}}]}]
    assert [peer["podSelector"] for peer in spec["ingress"][0]["from"]] == [{"matchLabels": GATEWAY}]
    assert set(await held(first.changes[0].target, world)) == {one.changes[0].field for one in (first, second, third)}
    # What others hold of the same policies goes with the last of them, as the engine has it.
    for plan, intent in ((first, BLOCK), (second, ONLY)):
        back = plan.inverse().changes[-1]
        await type(intent).write(back, world, key="drill")
        assert await type(intent).read(back, world) is None
        assert await type(intent).read(third.changes[0], world) == third.changes[0].after
    assert ours(idle)["spec"]["egress"] == egress
    assert ours(idle)["spec"]["ingress"][0]["from"][1] == {"ipBlock": {"cidr": "::/0", "except": [OTHER]}}
    await BlockAddress.write(third.inverse().changes[-1], world, key="drill")
    await undone(first, BLOCK, world)
    assert await state(idle) == before


async def test_a_quarantine_counts_for_more_and_leaves_it_as_it_was(idle: Yard) -> None:
    plan = await done(BLOCK, idle.world)
    before = await state(idle)
    shut = await done(QUARANTINE, idle.world)
    world = unprobed(idle.world)
    assert answers(await Quarantine.verify(shut, world))["policies"] == "established", "ours lets nothing through"
    assert await BlockAddress.read(plan.changes[0], idle.world) == plan.changes[0].after
    # Put back meanwhile, it opens nothing.
    await BlockAddress.write(plan.changes[0], idle.world, key="drill")
    more = BlockAddress(server="weather", address=OTHER)
    with pytest.raises(Refused, match="is quarantined"):
        await more.plan(idle.world)
    idle.cluster.ask("DELETE", NARROW.path(idle.namespace, ours(idle)["metadata"]["name"]))
    with pytest.raises(Refused, match="is quarantined"):
        await BlockAddress.write(plan.changes[0], idle.world, key="drill")
    await laws.apply(Quarantine, shut.model_copy(update={"changes": shut.inverse().changes[-1:]}), idle.world)
    await laws.apply(BlockAddress, plan, idle.world)
    assert await state(idle) == before


@pytest.mark.parametrize("how", ["a rule more", "what it says of itself", "gone"])
async def test_whoever_opens_it_is_seen_and_it_is_put_back(idle: Yard, how: str) -> None:
    plan = await done(BLOCK, idle.world)
    before = await state(idle)
    where = NARROW.path(idle.namespace, ours(idle)["metadata"]["name"])
    if how == "gone":
        idle.cluster.ask("DELETE", where)
    elif how == "a rule more":
        idle.cluster.ask("PATCH", where, {"spec": {"egress": [{}]}}, kind=PATCH)
    else:
        idle.cluster.ask("PATCH", where, {"metadata": {"annotations": {"mcp-soar.io/narrowed": "{}"}}}, kind=PATCH)
    verdict = await BlockAddress.verify(plan, unprobed(idle.world))
    assert answers(verdict) == {"policies": "not_established"}
    await laws.apply(BlockAddress, plan, idle.world)
    assert await state(idle) == before


async def test_a_policy_that_comes_later_and_allows_something_is_found(idle: Yard) -> None:
    world = unprobed(behind_gateway(idle))
    block, only = await done(BLOCK, world), await done(ONLY, world)
    allow(idle, "egress", egress=[{}], policyTypes=["Egress"])
    assert answers(await OnlyGateway.verify(only, world)) == {"policies": "established", "network": "unknown"}
    verdict = await BlockAddress.verify(block, world)
    assert answers(verdict) == {"policies": "not_established"}
    (more,) = verdict.widen
    assert more.params == {"server": "weather", "system": "prod", "address": ADDRESS}
    await done(BlockAddress.model_validate(more.params), world)
    assert answers(await BlockAddress.verify(block, world))["policies"] == "established"


async def test_the_network_has_the_last_word(idle: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = await done(BLOCK, idle.world)
    for found, answer in (
        ((True, True), Answer.NOT_ESTABLISHED),
        ((False, None), Answer.UNKNOWN),
        ((False, True), Answer.NOT_ESTABLISHED),
        (None, Answer.UNKNOWN),
    ):
        enforced_by(monkeypatch, found)
        assert (await BlockAddress.verify(plan, idle.world)).answer is answer, found
    unknown = await BlockAddress.verify(plan, unprobed(idle.world))
    assert unknown.findings[-1].remedy == "name an image for it in systems.prod.probe of inventory.yaml"


async def test_what_cannot_be_done_is_refused_and_says_what_to_do(idle: Yard) -> None:
    with pytest.raises(Misconfigured, match="which pods are the gateway's"):
        await ONLY.plan(idle.world)
    pod = idle.cluster.pods(idle.namespace)[0]["metadata"]["name"]
    status = {"status": {"podIP": "203.0.113.7", "podIPs": [{"ip": "203.0.113.7"}]}}
    idle.cluster.ask("PATCH", f"/api/v1/namespaces/{idle.namespace}/pods/{pod}/status", status, kind=PATCH)
    with pytest.raises(Refused, match="an address of pods"):
        await BLOCK.plan(idle.world)


async def test_doctor_and_the_list_of_orphans_know_it(idle: Yard) -> None:
    await done(BLOCK, idle.world)
    (warned,) = [one.message for one in await looked(idle.world) if one.level == "warn"]
    assert f"{idle.namespace}/weather of server weather is narrowed (blocks-203.0.113.7-32), and no incident" in warned
    present = ClusterPresent(idle.world, "kubernetes/prod")
    amiss = {one.field for one in await present.look() if await present.value(one.kind, one.id, one.field) != one.value}
    assert amiss == {"blocks-203.0.113.7-32"}


async def seen(intent: Action, plan: Plan, world: Any) -> Verdict:  # noqa: ANN401  # connections
    """Return what is found once anything is: pods of ours on a busy node may have too little time to know."""
    async with asyncio.timeout(200):
        while (verdict := await type(intent).verify(plan, world)).answer is Answer.UNKNOWN:
            pass
    return verdict


def left(yard: Yard) -> list[str]:
    pods = [*yard.cluster.pods(yard.namespace), *yard.cluster.pods(PROBES)]
    mine = [*pods, *yard.cluster.ask("GET", f"{NET}/{PROBES}/networkpolicies")["items"]]
    return [one["metadata"]["name"] for one in mine if ROLE in one["metadata"]["labels"] or "spec" not in one]


async def test_where_nothing_enforces_policies_neither_is_established(yard: Yard) -> None:
    allow(yard, "everything")
    world = behind_gateway(yard)
    with asked(world.reach(type(yard.api), "prod")) as used:
        found = {}
        for intent in (BLOCK, ONLY):
            plan = await done(intent, world)
            verdict = await seen(intent, plan, world)
            assert verdict.answer is Answer.NOT_ESTABLISHED, verdict
            found = {finding.check: finding for finding in verdict.findings}
            await undone(plan, intent, world)
        assert found["bypass"].observed.startswith("it reached weather-")
        assert found["gateway"].answer is Answer.ESTABLISHED
    assert left(yard) == []
    declared = {Permission.read(one) for one in OnlyGateway.permissions}
    assert declared - used == {one for one in declared if one.resource == "statefulsets"}
    assert used <= declared


@pytest.fixture
async def enforced(yard: Yard) -> AsyncIterator[Callable[[], Any]]:
    """Have the network of a yard enforce its policies; give what waits until the present ones are in force."""
    if missing := lacking():
        pytest.skip(missing)
    with enforcing(yard.cluster, yard.namespace, PROBES) as caught_up:
        yield lambda: asyncio.to_thread(caught_up)


@pytest.mark.slow
async def test_where_the_network_goes_by_them_both_are_established_and_the_gateway_still_reaches_it(
    yard: Yard, enforced: Callable[[], Any]
) -> None:
    allow(yard, "everything")
    before, world = await state(yard), behind_gateway(yard)
    for intent, asks in ((BLOCK, {"outbound", "inbound"}), (ONLY, {"bypass", "gateway"})):
        plan = await done(intent, world)
        await enforced()
        verdict = await seen(intent, plan, world)
        assert verdict.answer is Answer.ESTABLISHED, answers(verdict)
        assert answers(verdict).keys() == {"policies", "open-connections", *asks}
        await undone(plan, intent, world)
        assert await state(yard) == before
    # With a gateway that is shut out as well nobody can say why others are.
    allowed = OnlyGateway(server="weather")
    plan = await done(allowed, world)
    elsewhere = GatewayPods(namespace=PROBES, labels=GATEWAY)
    systems = {"prod": world.inventory.systems["prod"].model_copy(update={"gateway": elsewhere})}
    mistaken = world.with_inventory(world.inventory.model_copy(update={"systems": systems}))
    await enforced()
    async with asyncio.timeout(200):
        while "gateway" not in (found := answers(await OnlyGateway.verify(plan, mistaken))):
            pass
    assert found["gateway"] == "unknown"
