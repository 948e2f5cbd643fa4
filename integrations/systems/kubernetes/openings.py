"""Whether what a server was narrowed to is so on the network: what pods of ours found, in words."""

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from integrations.hostile import printable
from integrations.systems.kubernetes import GatewayPods, Probe
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.isolation import Scene, addresses_of, seldom, untried
from integrations.systems.kubernetes.policies import WAYS
from integrations.systems.kubernetes.probe import CALLER, CORE, MOST, PORT, Run, owner_of, policy, sweep
from playbooks.errors import Transient
from playbooks.gate.plan import Answer, Finding, Target
from playbooks.strict import iso, now
from playbooks.text.sentences import say

_NAMED: Final = 5


async def blocks(api: Api, given: Probe) -> tuple[bool | None, bool | None] | None:
    """Return whether an address is reached, and reaches, that a policy takes out of all that it allows.

    Tried between pods of ours, in our namespace: neither may be, and another has to be. None is for what nobody
    can say: of both, or of one way.

    Args:
        api: the cluster.
        given: what they run, and where.

    Raises:
        SoarError: they could not be started, or do not answer in time.
    """
    await sweep(api, given, {given.namespace})
    async with Run(api, given) as run:
        ways = ("control", "outbound", "inbound")
        some = await asyncio.gather(
            *(run.start("receiver", [str(PORT)], called=way, labels={CALLER: f"{run.id}-{way}"}) for way in ways)
        )
        there = [one["status"]["podIP"] for one in some]
        async with contextlib.AsyncExitStack() as policies:

            async def except_for(way: str, chosen: str, address: str) -> None:
                end = WAYS[way]
                rule = {end: [{"ipBlock": {"cidr": _whole(address), "except": [_alone(address)]}}]}
                spec = {"podSelector": {"matchLabels": {CALLER: chosen}}, "policyTypes": [way], way.lower(): [rule]}
                await policies.enter_async_context(policy(api, given, f"{run.id}-{way.lower()}", some[0], spec))

            mine = f"{run.id}-blocked"
            await except_for("Egress", mine, there[1])
            caller = await run.start("blocked", [str(PORT), *there], labels={CALLER: mine})
            await except_for("Ingress", f"{run.id}-inbound", caller["status"]["podIP"])
            said = dict(await run.said("blocked", "done"))
    if said.get("control") != "open":
        return None
    meant = {"open": True, "shut": False}
    out = meant.get(said.get("outbound", ""))
    # Where it is not heeded one way, the other is of no use.
    return (True, True) if out else (out, meant.get(said.get("inbound", "")))


def _whole(address: str) -> str:
    return "::/0" if ":" in address else "0.0.0.0/0"


def _alone(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"


class Told(NamedTuple):
    """What pods of ours found that were taken for a gateway's, and for nobody's.

    Args:
        control: whoever is nobody's reaches the receiver, as everybody may.
        stranger: addresses of the workload that it reaches.
        gateway: those that the one with the gateway's labels reaches.
        tried: addresses that both tried.
    """

    control: bool
    stranger: tuple[str, ...]
    gateway: tuple[str, ...]
    tried: tuple[str, ...]


async def tell_apart(api: Api, given: Probe, *, gateway: GatewayPods, addresses: Sequence[str]) -> Told:
    """Have two pods of ours try a workload's addresses: one with a gateway's labels, in its namespace, and one without.

    Args:
        api: the cluster.
        given: what they run, and where.
        gateway: whose labels one has; no controller takes it for its own.
        addresses: of the workload's pods, as `10.0.0.1,8000`.

    Raises:
        SoarError: they could not be started, or do not answer in time.
    """
    await sweep(api, given, {given.namespace, gateway.namespace})
    account = await api.request("GET", path_of(CORE, gateway.namespace, "serviceaccounts", "default"))
    owner = {**owner_of("v1", "ServiceAccount", account), "controller": True}
    tried = tuple(addresses[:MOST])
    async with Run(api, given) as run:
        receiver = await run.start("receiver", [str(PORT)])
        arguments = [str(PORT), receiver["status"]["podIP"], *tried]
        await asyncio.gather(
            run.start("prober", arguments),
            run.start(
                "prober", arguments, called="gateway", where=gateway.namespace, labels=gateway.labels, owner=owner
            ),
        )
        said = await asyncio.gather(run.said("prober", "done"), run.said("gateway", "done"))
    stranger, theirs = map(dict, said)
    control = stranger.get("control") == "open"
    if control and not {stranger.get(one) for one in tried} <= {"open", "shut"}:
        raise Transient(
            f"cluster {api.name}: pods of ours have too little time there, so that nothing is known by them"
        )
    return Told(
        control=control,
        stranger=tuple(one for one in tried if stranger.get(one) == "open"),
        gateway=tuple(one for one in tried if theirs.get(one) == "open"),
        tried=tried,
    )


async def by_address(target: Target, api: Api, given: Probe) -> list[Finding]:
    """Ask whether a cluster's network keeps an address out that a policy takes out of what it allows.

    Tried between pods of ours: whoever has the address that is blocked is not told of it.

    Args:
        target: the workload.
        api: the cluster.
        given: what tries its network.

    Raises:
        SoarError: nobody can say.
    """
    asked_as, moment = say("pods of ours in a namespace of ours"), iso(now())
    made = [
        partial(finding, check, target, expected, asked_as=asked_as)
        for check, expected in (
            ("outbound", say("an address that a policy takes out is not reached, and others are")),
            ("inbound", say("an address that a policy takes out reaches nobody, and others do")),
        )
    ]
    seen = await seldom(api, given, blocks)
    if seen is None:
        observed = say("one that no policy takes out was not reached either: nothing is known by this")
        return [made[0](observed, Answer.UNKNOWN)]
    found = []
    for says, open_ in zip(made, seen, strict=True):
        if open_ is None:
            found.append(says(say("it could not be tried"), Answer.UNKNOWN))
        elif open_:
            remedy = say("this network goes by no policy about addresses: block it where it goes out of the cluster")
            found.append(says(say("it was reached all the same"), Answer.NOT_ESTABLISHED, remedy=remedy))
        else:
            found.append(says(say("at {a} it was so between pods of ours", a=moment), Answer.ESTABLISHED))
    return found


async def bypassed(scene: Scene, gateway: GatewayPods, api: Api, given: Probe) -> list[Finding]:
    """Ask whether anybody but the gateway reaches a workload's pods, and whether the gateway does.

    Args:
        scene: the workload.
        gateway: whose pods alone reach them.
        api: the cluster.
        given: what tries its network.

    Raises:
        SoarError: nobody can say.
    """
    target = scene.target
    addresses = list(dict.fromkeys(itertools.chain.from_iterable(map(addresses_of, scene.running))))
    seen = await tell_apart(api, given, gateway=gateway, addresses=addresses)
    stranger, theirs = say("a pod of ours that is not the gateway"), say("a pod of ours with the gateway's labels")
    if not seen.control:
        control = partial(finding, "control", target, say("anybody reaches our receiver"), asked_as=stranger)
        return [control(say("our own receiver was not reached either: nothing is known by this"), Answer.UNKNOWN)]
    names = {pod["status"]["podIP"]: printable(pod["metadata"]["name"]) for pod in scene.running}

    def named(some: Sequence[str]) -> str:
        return ", ".join(list(dict.fromkeys(names[one.partition(",")[0]] for one in some))[:_NAMED])

    bypass = partial(finding, "bypass", target, say("it reaches none of its pods"), asked_as=stranger)
    through = partial(finding, "gateway", target, say("it reaches them still"), asked_as=theirs)
    remedy = say("the cluster's network lets it through: end its pods")
    none = say("at {b} none of {a} addresses answered it", a=len(seen.tried), b=iso(now()))
    found = [
        bypass(say("it reached {a}", a=named(seen.stranger)), Answer.NOT_ESTABLISHED, remedy=remedy)
        if seen.stranger
        else bypass(none, Answer.ESTABLISHED),
        through(say("it reached {a}", a=named(seen.gateway)), Answer.ESTABLISHED)
        if seen.gateway
        else through(say("it reached none of them: then it says nothing that others did not"), Answer.UNKNOWN),
    ]
    return [*found, *untried(target, scene.living, frozenset(seen.tried))]
