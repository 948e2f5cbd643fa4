"""What our account on a cluster may do, verb by verb, asked without changing anything; and the roles that have that.

Each role is for another place: where servers run; where our probes do; where Argo CD and Flux have what brings servers
back, which is no place to make pods or tokens in; and the whole cluster, for what is of no namespace, and for the
rights of an account, which may be given to it in any.

A permission is written as kubectl writes it: `get deployments.apps/scale` is a verb, a resource, its group, and a
subresource. Source: Kubernetes API reference, SelfSubjectAccessReview and ClusterRole (rbac.authorization.k8s.io/v1).
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from integrations.systems.kubernetes import (
    accounts,
    actions,
    admission,
    bindings,
    captures,
    collector,
    evictions,
    filesystem,
    hardening,
    narrowing,
    nodes,
    quarantine,
    quotas,
    routes,
)
from integrations.systems.kubernetes.client import Api

STEPS: Final = (
    *actions.ACTIONS,
    *evictions.ACTIONS,
    *quarantine.ACTIONS,
    *narrowing.ACTIONS,
    *quotas.ACTIONS,
    *routes.ACTIONS,
    *admission.ACTIONS,
    *bindings.ACTIONS,
    *accounts.ACTIONS,
    *nodes.ACTIONS,
    *captures.CAPTURES,
    *collector.CAPTURES,
    *filesystem.CAPTURES,
)
ASKED: Final = (*STEPS, hardening.READING)
"""Whatever asks a cluster for something."""

NAME: Final = "mcp-soar-responder"
PROBES: Final = f"{NAME}-probes"
REVERTERS: Final = f"{NAME}-reverters"
WIDE: Final = f"{NAME}-cluster"
CHECKPOINT: Final = f"{NAME}-checkpoint"
_OF: Final = {
    # Whoever has it may run commands in every container of every node: for a while, where somebody decides so.
    CHECKPOINT: {"create nodes/proxy"},
    PROBES: {
        *(f"{verb} pods" for verb in ("create", "delete", "get", "list")),
        "get pods/log",
        # Where the gateway's pods are, one of ours with their labels belongs to its account.
        "get serviceaccounts",
        *(f"{verb} networkpolicies.networking.k8s.io" for verb in ("create", "delete")),
    },
    REVERTERS: {
        f"{verb} {kind}"
        for kind in (
            "applications.argoproj.io",
            "helmreleases.helm.toolkit.fluxcd.io",
            "kustomizations.kustomize.toolkit.fluxcd.io",
        )
        for verb in ("get", "patch")
    },
}
"""What of the steps' permissions is for one kind of namespace, in which no server runs."""

_WIDE: Final = frozenset(
    {
        "clusternetworkpolicies",
        "clusterrolebindings",
        "clusterroles",
        "nodes",
        "peerauthentications",
        "rolebindings",
        "roles",
        "subjectaccessreviews",
        "tokenreviews",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
    }
)
"""What is of no namespace, and no RoleBinding gives; and what is looked for in every namespace."""
_REVIEW: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Permission(NamedTuple):
    """One thing that an account may do.

    Args:
        verb: as `get`.
        resource: the plural, with its subresource, as `deployments/scale`.
        group: its API group; empty for the core one.
    """

    verb: str
    resource: str
    group: str

    @classmethod
    def read(cls, written: str) -> "Permission":
        """Return a permission as a step declares it."""
        verb, _, rest = written.partition(" ")
        whole, _, sub = rest.partition("/")
        plural, _, group = whole.partition(".")
        return cls(verb, f"{plural}/{sub}" if sub else plural, group)

    @property
    def wide(self) -> bool:
        """Whether it is about the whole cluster."""
        return self.resource.partition("/")[0] in _WIDE


def wanted(steps: Iterable[Any] = ASKED) -> dict[Permission, list[str]]:
    """Return every permission that steps declare, and which of them need it."""
    found: dict[Permission, list[str]] = {}
    for step in steps:
        for written in step.permissions:
            found.setdefault(Permission.read(written), []).append(step.name)
    return found


def of_role(name: str, steps: Iterable[Any] = ASKED) -> dict[Permission, list[str]]:
    """Return the permissions of a role, and which steps need each.

    Args:
        name: of the role.
        steps: those that are to be run.
    """
    every = wanted(steps)
    if name in _OF:
        return {one: every[one] for one in map(Permission.read, sorted(_OF[name])) if one in every}
    apart = set(map(Permission.read, _OF[CHECKPOINT]))
    return {one: found for one, found in every.items() if one.wide is (name == WIDE) and one not in apart}


def role(name: str = NAME, steps: Iterable[Any] = ASKED) -> dict[str, Any]:
    """Return the ClusterRole of a name that has what steps declare, and nothing else.

    Args:
        name: `NAME`, `PROBES`, `REVERTERS`, `WIDE` or `CHECKPOINT`.
        steps: those that are to be run.
    """
    verbs: dict[tuple[str, str], set[str]] = {}
    for one in of_role(name, steps):
        verbs.setdefault((one.group, one.resource), set()).add(one.verb)
    rules = [
        {"apiGroups": [group], "resources": [resource], "verbs": sorted(verbs[group, resource])}
        for group, resource in sorted(verbs)
    ]
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": "mcp-soar"}}
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}


async def lacking(api: Api, name: str, namespace: str = "") -> list[tuple[str, list[str]]]:
    """Return what our account lacks of a role in a namespace, or on the whole cluster, and the steps that need it.

    Args:
        api: the cluster.
        name: of the role.
        namespace: where; none for the whole cluster.

    Raises:
        SoarError: the cluster does not say.
    """
    every = of_role(name)
    may = await asyncio.gather(*(_may(api, one, namespace) for one in every))
    return [
        (f"{one.verb} {one.resource}" + (f" in {one.group}" if one.group else ""), steps)
        for (one, steps), allowed in zip(every.items(), may, strict=True)
        if not allowed
    ]


async def _may(api: Api, one: Permission, namespace: str) -> bool:
    resource, _, sub = one.resource.partition("/")
    attributes = {"verb": one.verb, "group": one.group, "resource": resource, "subresource": sub}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {**attributes, **({"namespace": namespace} if namespace else {})}},
    }
    found = await api.request("POST", _REVIEW, body=body)
    return bool(found.get("status", {}).get("allowed"))
