"""What denies a workload's traffic by policies of other kinds than NetworkPolicy, where a cluster has those.

NetworkPolicies only add up; these can deny in spite of what others allow. Each is one row of a table. That the API
server keeps such an object shows that its definition is there, and not that anything heeds it: that is for pods that
try the network.

Sources: Cilium 1.20, "Deny Policies"; Network Policy API v0.3.0, "ClusterNetworkPolicy"; Calico 3.31, "NetworkPolicy";
Istio 1.32, "AuthorizationPolicy".
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from integrations.systems.kubernetes.actions import api_of
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.own import Own
from integrations.systems.kubernetes.policies import Raw, Requirement, requirements
from integrations.systems.kubernetes.workload import groups
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.gate.plan import Answer, Change, Finding, Target
from playbooks.text.sentences import say

_STEM: Final = "quarantine"
_FIRST: Final = 0
"""The priority that counts for more than every other one's (Network Policy API)."""

_BEFORE_ALL: Final = -1000
"""An order below what people write (Calico); a tier before the default one counts for more still."""

_HOME: Final = "kubernetes.io/metadata.name"
_EVERYWHERE: Final[list[JsonValue]] = ["0.0.0.0/0", "::/0"]


class Denial(NamedTuple):
    """A kind of policy that denies.

    Args:
        own: the sort of object that ours is.
        spec: from a namespace and a workload's selector, what ours says; None where it cannot say that.
    """

    own: Own
    spec: Callable[[str, Raw], dict[str, Any] | None]
    beats: bool = False
    """Whether nothing of its group allows what it denies: no tier that comes before, none of the same priority."""

    @property
    def field(self) -> str:
        """What a plan calls it."""
        return f"deny-{self.own.resource}.{self.group}"

    @property
    def group(self) -> str:
        """Its API group."""
        return self.own.version.partition("/")[0]


def _cilium(_: str, selector: Raw) -> dict[str, Any]:
    everybody = {"fromEntities": ["all"]}
    return {
        "endpointSelector": dict(selector),
        "ingressDeny": [everybody],
        "egressDeny": [{"toEntities": everybody["fromEntities"]}],
    }


def _calico(_: str, selector: Raw) -> dict[str, Any]:
    rule = [{"action": "Deny"}]
    chosen = " && ".join(map(_calico_of, requirements(selector)))
    ways = {"types": ["Ingress", "Egress"], "ingress": rule, "egress": rule}
    return {"tier": "default", "order": _BEFORE_ALL, "selector": chosen, **ways}


def _calico_of(one: Requirement) -> str:
    values = ", ".join(f"'{value}'" for value in one.values)
    return {
        "In": f"{one.key} in {{ {values} }}",
        "NotIn": f"{one.key} not in {{ {values} }}",
        "Exists": f"has({one.key})",
        "DoesNotExist": f"!has({one.key})",
    }[one.operator]


def _cluster(namespace: str, selector: Raw) -> dict[str, Any]:
    home = {"matchLabels": {_HOME: namespace}}
    return {
        "tier": "Admin",
        "priority": _FIRST,
        "subject": {"pods": {"namespaceSelector": home, "podSelector": dict(selector)}},
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
        "egress": [{"action": "Deny", "to": [{"namespaces": {}}, {"networks": _EVERYWHERE}]}],
    }


def _istio(_: str, selector: Raw) -> dict[str, Any] | None:
    if selector.get("matchExpressions"):
        # It selects by labels alone.
        return None
    return {"selector": {"matchLabels": dict(selector["matchLabels"])}, "action": "DENY", "rules": [{}]}


KINDS: Final = (
    Denial(Own("CiliumNetworkPolicy", "cilium.io/v2", "ciliumnetworkpolicies", _STEM), _cilium, beats=True),
    Denial(Own("NetworkPolicy", "projectcalico.org/v3", "networkpolicies", _STEM), _calico),
    Denial(
        Own("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2", "clusternetworkpolicies", _STEM, wide=True),
        _cluster,
    ),
    Denial(Own("AuthorizationPolicy", "security.istio.io/v1", "authorizationpolicies", _STEM), _istio),
)
FIELDS: Final[Mapping[str, Denial]] = {one.field: one for one in KINDS}
PERMISSIONS: Final = tuple(
    f"{verb} {one.own.resource}.{one.group}" for one in KINDS for verb in ("get", "create", "patch", "delete")
)


async def served(api: Api, there: Iterable[Mapping[str, Any]]) -> list[Denial]:
    """Return the kinds that a cluster has.

    Args:
        api: the cluster.
        there: the API groups that it serves.

    Raises:
        SoarError: it does not say.
    """
    versions = {str(one.get("groupVersion")) for group in there for one in group.get("versions") or ()}
    some = [one for one in KINDS if one.own.version in versions]
    lists = await asyncio.gather(*(api.request("GET", f"/apis/{one.own.version}") for one in some))
    return [
        one
        for one, found in zip(some, lists, strict=True)
        if any(each.get("name") == one.own.resource for each in found.get("resources") or ())
    ]


async def planned(
    kinds: Iterable[Denial], target: Target, namespace: str, selector: Raw, world: World
) -> tuple[list[Change], list[str]]:
    """Return what denies a workload's traffic by each kind that its cluster has, and by which nothing can.

    A kind that our account may not use holds up none of the others.

    Args:
        kinds: that its cluster has.
        target: the workload.
        namespace: where it stands.
        selector: which pods are its own.
        world: the connections.
    """
    changes, without = list[Change](), list[str]()
    for one in kinds:
        wanted = one.spec(namespace, selector)
        try:
            there = await one.own.there(target, world) if wanted is not None else None
        except SoarError as exc:
            without.append(f"{one.own.kind} ({exc})")
            continue
        if wanted is None:
            without.append(one.own.kind)
            continue
        before = wanted if there is not None and there["spec"] == wanted else None
        changes.append(Change(target=target, field=one.field, before=before, after=wanted))
    return changes, without


async def read(change: Change, world: World) -> JsonValue:
    """Return what ours says if it is in force as a whole, or is to go and has not; else None."""
    wanted: JsonValue = change.after if change.after is not None else change.before
    there = await FIELDS[change.field].own.there(change.target, world)
    return wanted if there is not None and (change.after is None or there["spec"] == wanted) else None


async def write(change: Change, world: World) -> None:
    """Have ours there as it is wanted, or not at all."""
    own = FIELDS[change.field].own
    if isinstance(change.after, dict):
        await own.put(change.target, change.after, world)
    else:
        await own.take_away(change.target, world)


async def held(target: Target, world: World) -> dict[str, JsonValue]:
    """Return what denies a workload's traffic on our account, by the field that a plan calls it.

    Raises:
        SoarError: the cluster does not say.
    """
    api = api_of(target, world)
    kinds = await served(api, await groups(api))
    some = await asyncio.gather(*(one.own.there(target, world) for one in kinds))
    return {one.field: there["spec"] for one, there in zip(kinds, some, strict=True) if there is not None}


async def look(change: Change, world: World) -> Finding:
    """Say whether ours is there; whether anything heeds it shows only where pods of ours try the network."""
    target, own = change.target, FIELDS[change.field].own
    says = partial(finding, own.resource, target, say("ours is there, as it was made"))
    try:
        says = partial(says, asked_as=say("administrator {a}", a=await api_of(target, world).who()))
        there = await read(change, world)
    except SoarError as exc:
        return says(str(exc), Answer.UNKNOWN)
    if there is None:
        return says(say("ours is not there"), Answer.NOT_ESTABLISHED)
    return says(say("the {a} is there; that alone does not say that anything heeds it", a=own.kind), Answer.ESTABLISHED)


def beaten(changes: Iterable[Change]) -> set[str]:
    """Return the API groups whose policies allow nothing any more that changes of a plan deny."""
    kinds = (FIELDS[one.field] for one in changes if one.field in FIELDS)
    return {one.group for one in kinds if one.beats}
