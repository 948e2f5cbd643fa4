"""Has other people's NetworkPolicies leave a workload's pods out, by one requirement more in each one's selector.

Policies only add up, so that what a policy of ours says of a workload is worth nothing beside another that says more.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from integrations.hostile import printable
from integrations.systems.kubernetes import Workload, isolation, probe, probe_of
from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import JSON, Api, path_of
from integrations.systems.kubernetes.own import Own, namespace_of, patched
from integrations.systems.kubernetes.policies import (
    NETWORKING,
    UNREAD,
    WAYS,
    Raw,
    Requirement,
    excluded,
    key_of,
    labels_of,
    letting,
    selects,
    telling,
    with_exclusion,
)
from integrations.systems.kubernetes.workload import CORE, Found, find, groups, listed
from playbooks.action import World
from playbooks.errors import Gone, Refused
from playbooks.gate.plan import Answer, Change, Finding, Plan, Target, Widening
from playbooks.text.sentences import say

POLICY: Final = "networkpolicy"
PERMISSIONS: Final = (
    "get deployments.apps",
    "get statefulsets.apps",
    "list pods",
    "get pods",
    "create pods",
    "delete pods",
    "get pods/log",
    *(f"{verb} networkpolicies.networking.k8s.io" for verb in ("list", "get", "create", "patch", "delete")),
)
"""What it takes to have policies of ours and others' as they are wanted, and to try what comes of that."""

_NAMED: Final = 5


class Around(NamedTuple):
    """A workload, and what of its namespace says what reaches it.

    Args:
        found: the workload.
        pods: all pods there.
        policies: all NetworkPolicies there.
    """

    found: Found
    pods: list[dict[str, Any]]
    policies: list[dict[str, Any]]

    @property
    def selector(self) -> dict[str, Any]:
        """Which pods are the workload's."""
        chosen: dict[str, Any] = self.found.raw["spec"]["selector"]
        return chosen

    @property
    def told(self) -> Requirement | None:
        """What tells its pods from others there; see `telling`."""
        return telling(
            self.selector, [labels for pod in self.pods if not selects(self.selector, labels := labels_of(pod))]
        )

    @property
    def own(self) -> list[dict[str, str]]:
        """The labels of its pods, and of one that may come."""
        mine = [labels for pod in self.pods if selects(self.selector, labels := labels_of(pod))]
        return [*mine, labels_of(self.found.raw["spec"]["template"])]


async def around(cluster: str, at: Workload, server: str, world: World, *, pods_as: str = JSON) -> Around:
    """Return a workload among the pods and policies of its namespace.

    Args:
        cluster: what the inventory calls the cluster.
        at: where the workload stands.
        server: whose.
        world: the connections.
        pods_as: as what the pods are wanted; see `client.NAMES`.

    Raises:
        Refused: no policy reaches its pods.
    """
    api = world.reach(Api, cluster)
    found, there, policies = await asyncio.gather(
        find(cluster, at, server, world),
        listed(api, path_of(CORE, at.namespace, "pods"), accept=pods_as),
        policies_of(api, at.namespace),
    )
    if (found.raw["spec"]["template"].get("spec") or {}).get("hostNetwork"):
        raise Refused(
            f"the pods of {found.target} use their node's own network, which no NetworkPolicy reaches: end them instead"
        )
    return Around(found, there, policies)


async def policies_of(api: Api, namespace: str) -> list[dict[str, Any]]:
    """Return the NetworkPolicies of a namespace."""
    return await listed(api, path_of(NETWORKING, namespace, "networkpolicies"))


async def unread(api: Api) -> set[str]:
    """Return which kinds of policy a cluster has that are not read, by their API groups."""
    return unread_of(await groups(api))


def unread_of(served: list[dict[str, Any]]) -> set[str]:
    """Return which kinds of policy are not read, of the API groups that a cluster serves."""
    return {str(one.get("name")) for one in served} & UNREAD


def field_of(uid: str) -> str:
    """Return what a plan calls the field of a policy by which it leaves a workload out."""
    return f"excludes-{key_of(uid)}"


def leaving_out(
    one: Around, *, but_for: str = "", ways: Collection[str] = tuple(WAYS)
) -> tuple[list[Change], list[str]]:
    """Return what has each policy that lets something through leave a workload out, and which cannot.

    Args:
        one: the workload among them.
        but_for: the name of a policy that may let something through.
        ways: that count.
    """
    found, changes, kept, told, own = one.found, list[Change](), list[str](), one.told, one.own
    for policy in sorted(one.policies, key=lambda policy: str(policy["metadata"]["name"])):
        what = told.negated.raw if told else {}
        if policy["metadata"]["name"] == but_for or not any(letting([without(policy, what)], own, ways)):
            continue
        target = Target(
            system=found.target.system,
            kind=POLICY,
            id=policy["metadata"]["uid"],
            name=f"{found.at.namespace}/{policy['metadata']['name']}",
            server=found.server,
        )
        if told is None:
            kept.append(str(target))
            continue
        before = what if excluded(policy, what) else None
        changes.append(Change(target=target, field=field_of(found.uid), before=before, after=what))
    return changes, kept


def without(policy: Raw, what: Raw) -> dict[str, Any]:
    """Return a policy as it is when it leaves nobody out for us."""
    if not what:
        return dict(policy)
    spec = dict(policy.get("spec") or {})
    return {**policy, "spec": {**spec, "podSelector": with_exclusion(spec.get("podSelector") or {}, what, there=False)}}


def raw(value: JsonValue) -> dict[str, Any]:
    """Return a value of ours that a plan has.

    Raises:
        Refused: it has none.
    """
    if not isinstance(value, dict):
        raise Refused("the plan has no such value of ours")
    return value


async def read(change: Change, world: World) -> JsonValue:
    """Return whether a policy leaves a workload out: what is asked for, or None."""
    wanted: JsonValue = change.after if change.after is not None else change.before
    return wanted if excluded(await _policy(change.target, world), raw(wanted)) else None


async def write(change: Change, world: World) -> None:
    """Have a policy leave a workload out, or not any more; what others change of it meanwhile stays."""
    there = await _policy(change.target, world)
    what = raw(change.before if change.after is None else change.after)
    present = there["spec"].get("podSelector") or {}
    wanted = with_exclusion(present, what, there=change.after is not None)
    if wanted != present:
        where = path_of(NETWORKING, namespace_of(change.target), "networkpolicies", there["metadata"]["name"])
        await patched(api_of(change.target, world), where, there, {"/spec/podSelector": wanted})


async def _policy(target: Target, world: World) -> dict[str, Any]:
    """Return somebody else's policy, if it still is the one that a plan means."""
    namespace, _, name = target.name.partition("/")
    found = await api_of(target, world).request("GET", path_of(NETWORKING, namespace, "networkpolicies", name))
    if found["metadata"]["uid"] != target.id:
        raise Gone(f"{target} at {target.system} is another one now: what the plan means was deleted")
    return found


class InForce(NamedTuple):
    """What is in force about a workload, as the API server has it.

    Args:
        ours: our policy; None if there is none.
        policies: all of the namespace.
        scene: the workload among its pods.
        unread: the kinds of policy that are not read.
        says: makes a finding about the policies.
    """

    ours: dict[str, Any] | None
    policies: list[dict[str, Any]]
    scene: isolation.Scene
    unread: set[str]
    says: Callable[..., Finding]


async def seen(own: Own, target: Target, selector: Raw, says: Callable[..., Finding], world: World) -> InForce:
    """Return what is in force about a workload.

    Raises:
        SoarError: the cluster does not say.
    """
    namespace, api = namespace_of(target), api_of(target, world)
    policies, there, kinds = await asyncio.gather(
        policies_of(api, namespace),
        listed(api, path_of(CORE, namespace, "pods")),
        unread(api),
    )
    given = probe_of(world.inventory, target.system.removeprefix("kubernetes/"))
    theirs = [pod for pod in there if not probe.stands_in(pod, given, target.id)]
    return InForce(own.among(policies, target), policies, isolation.Scene(target, selector, theirs), kinds, says)


def through(
    one: InForce, plan: Plan, *, but_for: str = "", ways: Collection[str] = tuple(WAYS)
) -> tuple[list[Finding], list[Widening]]:
    """Return that others' policies let something through to a workload, or from it, and what to do; else nothing.

    Args:
        one: what is in force.
        plan: ours.
        but_for: the name of a policy that may.
        ways: that count.
    """
    target, scene = one.scene.target, one.scene
    found = letting([each for each in one.policies if each["metadata"]["name"] != but_for], scene.labels, ways)
    names = [printable(each["metadata"]["name"]) for each in found]
    if not names:
        return [], []
    observed = say("these allow something: {a}", a=", ".join(names[:_NAMED]))
    if telling(scene.selector, scene.others) is None:
        remedy = say("no one label tells its pods from others there: end them")
        return [one.says(observed, Answer.NOT_ESTABLISHED, remedy=remedy)], []
    params = {**plan.params, "system": target.system.removeprefix("kubernetes/")}
    more = Widening(action=plan.action, params=params, because=say("a policy lets {a} through again", a=target))
    return [one.says(observed, Answer.NOT_ESTABLISHED)], [more]
