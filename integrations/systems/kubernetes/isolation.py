"""Whether a quarantine holds: what pods of ours found, in words."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from integrations.hostile import printable
from integrations.systems.kubernetes import Probe, probe, settings_of
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.policies import Raw, labels_of, selects
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Finding, Target
from playbooks.strict import iso, now
from playbooks.text.sentences import say

_NAMED: Final = 5
_NODES: Final = 8
"""Nodes at which it is tried; a server has few."""

_BATCHES: Final = 4
"""Questions at a node, each of as many addresses as one takes; what is more is named."""

_OF_THEIR_CONTROLLER: Final = (
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
)
"""Labels that a controller gives the pods of one revision, or one of them: a stand-in is none of those."""


class Scene(NamedTuple):
    """A workload among the pods of its namespace.

    Args:
        target: it.
        selector: which pods are its own.
        pods: all that there are, but for ours.
    """

    target: Target
    selector: Raw
    pods: list[dict[str, Any]]

    @property
    def own(self) -> list[dict[str, Any]]:
        """Its pods."""
        return [pod for pod in self.pods if selects(self.selector, labels_of(pod))]

    @property
    def living(self) -> list[dict[str, Any]]:
        """Those of them that have not come to their end."""
        return [pod for pod in self.own if pod.get("status", {}).get("phase") not in {"Failed", "Succeeded"}]

    @property
    def running(self) -> list[dict[str, Any]]:
        """Those of them that have an address."""
        return [pod for pod in self.living if pod.get("status", {}).get("podIP")]

    @property
    def others(self) -> list[dict[str, str]]:
        """The labels of those that are not."""
        return [labels for pod in self.pods if not selects(self.selector, labels := labels_of(pod))]

    @property
    def like(self) -> dict[str, str]:
        """The labels of its pods, but for those of one revision or one of them."""
        labels = {**(self.selector.get("matchLabels") or {}), **next(map(labels_of, self.own), {})}
        asked = self.selector.get("matchLabels") or {}
        return {key: value for key, value in labels.items() if key not in _OF_THEIR_CONTROLLER or key in asked}

    @property
    def labels(self) -> list[dict[str, str]]:
        """The labels of its pods, and of one that may come."""
        return [self.like, *map(labels_of, self.own)]


def of_policies(target: Target) -> Callable[..., Finding]:
    """Return what makes a finding about the policies that select a workload's pods."""
    return partial(finding, "policies", target, say("no policy lets anything through to its pods, or from them"))


class _Known(NamedTuple):
    """What the network was found to do, and when.

    Args:
        facts: what of the policies and the pods it was found about.
        until: monotonic time until which it need not be tried again.
        findings: what was found.
    """

    facts: str
    until: float
    findings: list[Finding]


_KNOWN: Final[WeakKeyDictionary[Api, dict[str, _Known]]] = WeakKeyDictionary()
_SELDOM: Final[WeakKeyDictionary[Api, dict[object, tuple[float, Any]]]] = WeakKeyDictionary()


async def tried(scene: Scene, deny: Raw, policies: Sequence[Raw], world: World) -> list[Finding]:
    """Ask the network, by pods of ours; not again for some minutes while it holds and nothing there is another.

    Args:
        scene: the workload.
        deny: our policy about it.
        policies: all that there are in its namespace.
        world: the connections.
    """
    target, cluster = scene.target, scene.target.system.removeprefix("kubernetes/")
    network = partial(finding, "network", target, say("no pod reaches them, and none like them reaches out"))
    if not scene.own:
        return [network(say("it has no pods at this moment: there is nothing to reach"), Answer.ESTABLISHED)]
    settings = settings_of(world.inventory, cluster)
    if settings is None or settings.probe is None:
        return [probe_missing(target, network)]
    api = world.reach(Api, cluster)
    facts = repr(sorted([*map(_version, policies), *map(_known_as, scene.own)]))
    known = _KNOWN.setdefault(api, {}).get(target.key)
    if known is not None and known.facts == facts and known.until > time.monotonic():
        return known.findings
    try:
        found = await _asked(scene, deny, api, settings.probe)
    except SoarError as exc:
        return [network(str(exc), Answer.UNKNOWN)]
    if all(one.answer is Answer.ESTABLISHED for one in found):
        _KNOWN[api][target.key] = _Known(facts, time.monotonic() + settings.probe.every, found)
    return found


def _known_as(pod: Raw) -> str:
    return f"{pod['metadata']['uid']} {pod.get('status', {}).get('podIP', '')}"


def _version(policy: Raw) -> str:
    return f"{policy['metadata']['uid']} {policy['metadata']['resourceVersion']}"


async def _asked(scene: Scene, deny: Raw, api: Api, given: Probe) -> list[Finding]:
    running = scene.running
    addresses = list(dict.fromkeys(itertools.chain.from_iterable(map(addresses_of, running))))
    batches = [addresses[start : start + probe.MOST] for start in range(0, len(addresses), probe.MOST)] or [[]]
    nodes = sorted({str(pod["spec"]["nodeName"]) for pod in running if pod["spec"].get("nodeName")})
    ask = partial(probe.ask, api, given, labels=scene.like, deny=deny)

    async def at(node: str) -> probe.Seen:
        return _together(await asyncio.gather(*(ask(node=node, addresses=batch) for batch in batches[:_BATCHES])))

    seen = await asyncio.gather(*(at(node) for node in nodes[:_NODES] or [""]))
    found = [one for node, each in zip(nodes or [""], seen, strict=False) for one in _meant(scene, node, each, running)]
    found += untried(scene.target, scene.living, frozenset(addresses).intersection(*(each.tried for each in seen)))
    if all(one.answer is Answer.ESTABLISHED for one in found):
        found.append(await open_before(scene, deny["metadata"]["creationTimestamp"], api, given))
    if more := nodes[_NODES:]:
        on = partial(finding, "network", scene.target, say("each of their nodes is tried"))
        found.append(on(say("these were not: {a}", a=", ".join(map(printable, more))), Answer.UNKNOWN))
    return found


def _together(seen: Sequence[probe.Seen]) -> probe.Seen:
    """Return what was found at a node in all: what one question saw open is open."""
    return probe.Seen(
        control=all(one.control for one in seen),
        outbound=any(one.outbound for one in seen),
        inbound=any(one.inbound for one in seen),
        reached=tuple(itertools.chain.from_iterable(one.reached for one in seen)),
        tried=tuple(itertools.chain.from_iterable(one.tried for one in seen)),
    )


def untried(target: Target, own: Sequence[Raw], tried: frozenset[str]) -> list[Finding]:
    """Return what of its pods no question was about: nothing is known of that, or no policy is in force there."""
    says = partial(finding, "network", target, say("each of its pods is tried, at each of its ports"))
    found = []
    hosts = [pod for pod in own if pod["spec"].get("hostNetwork")]
    if hosts:
        observed = say("these use their node's own network, which no NetworkPolicy reaches: {a}", a=_some(hosts))
        found.append(says(observed, Answer.NOT_ESTABLISHED, remedy=say("end these pods")))
    # One without an address nobody reaches.
    rest = [pod for pod in own if pod not in hosts and pod.get("status", {}).get("podIP")]
    if portless := [pod for pod in rest if not addresses_of(pod)]:
        observed = say("these declare no TCP port, so that none was tried: {a}", a=_some(portless))
        remedy = say("declare the ports that its containers listen at, or end these pods")
        found.append(says(observed, Answer.UNKNOWN, remedy=remedy))
    if more := [pod for pod in rest if not addresses_of(pod).keys() <= tried]:
        observed = say("not every port of these was tried: {a}", a=_some(more))
        found.append(says(observed, Answer.UNKNOWN, remedy=say("end these pods")))
    return found


def _some(pods: Sequence[Raw]) -> str:
    named = [printable(pod["metadata"]["name"]) for pod in pods[:_NAMED]]
    return ", ".join([*named, *(["…"] if len(pods) > _NAMED else [])])


T = TypeVar("T")


async def seldom(api: Api, given: Probe, ask: Callable[[Api, Probe], Awaitable[T | None]]) -> T | None:
    """Return what a cluster's network does, which seldom changes; asked again at once where nobody could say."""
    known = _SELDOM.setdefault(api, {})
    until, found = known.get(ask, (0.0, None))
    if until < time.monotonic():
        found = await ask(api, given)
        known[ask] = time.monotonic() + (given.every if found is not None else 0.0), found
    return found  # type: ignore[no-any-return]  # what is kept is what was asked for


async def open_before(scene: Scene, begun: str, api: Api, given: Probe) -> Finding:
    """Ask what becomes of connections that a workload's pods had before they were shut off.

    Args:
        scene: the workload.
        begun: when that was, as the API server writes it.
        api: the cluster.
        given: what tries its network.

    Raises:
        SoarError: nobody can say.
    """
    older = [pod for pod in scene.running if pod["status"].get("startTime", "") <= begun]
    return _of_open(scene.target, (await seldom(api, given, probe.keeps)) if older else False, older)


def probe_missing(target: Target, says: Callable[..., Finding]) -> Finding:
    """Return that nobody can say what a cluster's network does."""
    observed = say("nobody can say whether the cluster's network does what its policies say: no probe is set up")
    cluster = target.system.removeprefix("kubernetes/")
    return says(
        observed, Answer.UNKNOWN, remedy=say("name an image for it in systems.{a}.probe of inventory.yaml", a=cluster)
    )


def _of_open(target: Target, kept: bool | None, older: Sequence[Raw]) -> Finding:  # noqa: FBT001  # what was found
    """Return what becomes of connections that its pods had before they were shut off."""
    says = partial(finding, "open-connections", target, say("connections that were open before are cut"))
    if not older:
        return says(say("all of its pods came after it was shut off"), Answer.ESTABLISHED)
    says = partial(says, asked_as=say("pods of ours in a namespace of ours"))
    named = ", ".join(printable(pod["metadata"]["name"]) for pod in older[:_NAMED])
    remedy = say("end these pods once what they hold is kept: those that come in their place have none")
    if kept is None:
        return says(say("that could not be tried: {a} may go on with theirs", a=named), Answer.UNKNOWN, remedy=remedy)
    if kept:
        return says(
            say("this network lets them go on: {a} may go on with theirs", a=named),
            Answer.NOT_ESTABLISHED,
            remedy=remedy,
        )
    return says(say("one of ours was cut"), Answer.ESTABLISHED)


def addresses_of(pod: Raw) -> dict[str, None]:
    """Return where a running pod says that it listens, in its order."""
    every = (one.get("ports") or () for one in pod["spec"].get("containers") or ())
    ports = [int(one["containerPort"]) for one in itertools.chain(*every) if one.get("protocol", "TCP") == "TCP"]
    return dict.fromkeys(f"{pod['status']['podIP']},{port}" for port in ports)


def _meant(scene: Scene, node: str, seen: probe.Seen, running: Sequence[Raw]) -> list[Finding]:
    """Return what pods of ours found at a node, as findings."""
    target, at = scene.target, printable(node) or say("any node")
    prober, stand_in = say("a pod of ours at {a}", a=at), say("a pod of ours with its labels, at {a}", a=at)
    if not seen.control:
        control = partial(finding, "control", target, say("anybody reaches our receiver"), asked_as=prober)
        return [control(say("our own receiver was not reached either: nothing is known by this"), Answer.UNKNOWN)]
    names = {pod["status"]["podIP"]: printable(pod["metadata"]["name"]) for pod in running}
    came = list(dict.fromkeys(names[one.partition(",")[0]] for one in seen.reached))[:_NAMED]
    nothing = seen.outbound and seen.inbound and len(seen.reached) == len(seen.tried)
    remedy = (
        say("the cluster's network enforces no NetworkPolicy here: end its pods, or take its node off the network")
        if nothing
        else say("the cluster's network lets it through: end its pods")
    )
    moment = iso(now())
    inbound = partial(finding, "inbound", target, say("it reaches none of its pods"), asked_as=prober)
    outbound = partial(finding, "outbound", target, say("it reaches nobody"), asked_as=stand_in)
    if came or seen.inbound:
        reached = ", ".join([*came, *([say("the one with its labels")] if seen.inbound else [])])
        into = inbound(say("it reached {a}", a=reached), Answer.NOT_ESTABLISHED, remedy=remedy)
    else:
        number = len(seen.tried)
        none = say("at {b} none of {a} addresses answered it, nor did the one with its labels", a=number, b=moment)
        into = inbound(none, Answer.ESTABLISHED)
    if seen.outbound:
        out = outbound(say("it reached our receiver"), Answer.NOT_ESTABLISHED, remedy=remedy)
    else:
        none = say("at {b} it did not reach our receiver, which others reach", b=moment)
        out = outbound(none, Answer.ESTABLISHED)
    return [into, out]
