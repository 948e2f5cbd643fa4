"""NetworkPolicies, as far as a quarantine has to know them: whom one selects, whether it lets anything through.

They only add up: a pod that any policy selects is isolated, and reaches what any of them allows; none takes away what
another allows. Source: Kubernetes, "Network Policies" and "Labels and Selectors" (API reference v1.36). Pure.
"""

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from playbooks.strict import canonical

NETWORKING: Final = "/apis/networking.k8s.io/v1"
MANAGED: Final = {"app.kubernetes.io/managed-by": "mcp-soar"}

UNREAD: Final = frozenset(
    {"cilium.io", "crd.antrea.io", "crd.projectcalico.org", "policy.networking.k8s.io", "projectcalico.org"}
)
"""API groups whose policies may allow what a NetworkPolicy denies, some of them in spite of it; they are not read."""

_NEGATED: Final = {"In": "NotIn", "NotIn": "In", "Exists": "DoesNotExist", "DoesNotExist": "Exists"}

Raw = Mapping[str, Any]


class Requirement(NamedTuple):
    """One thing that a selector asks of a pod's labels."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    @classmethod
    def read(cls, raw: Raw) -> "Requirement":
        """Return one as a selector's `matchExpressions` has it."""
        return cls(str(raw["key"]), str(raw["operator"]), tuple(sorted(map(str, raw.get("values") or ()))))

    @property
    def raw(self) -> dict[str, Any]:
        """It, as a selector has it."""
        return {"key": self.key, "operator": self.operator, **({"values": list(self.values)} if self.values else {})}

    @property
    def negated(self) -> "Requirement":
        """What is met by exactly the labels that do not meet it."""
        return self._replace(operator=_NEGATED[self.operator])

    def met(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it."""
        if self.operator in {"Exists", "DoesNotExist"}:
            return (self.key in labels) is (self.operator == "Exists")
        return (labels.get(self.key) in self.values) is (self.operator == "In")


def requirements(selector: Raw) -> tuple[Requirement, ...]:
    """Return all that a selector asks for; nothing where it takes every pod."""
    alike = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    return (*alike, *map(Requirement.read, selector.get("matchExpressions") or ()))


def selects(selector: Raw, labels: Mapping[str, str]) -> bool:
    """Whether a selector takes a pod with such labels."""
    return all(one.met(labels) for one in requirements(selector))


def labels_of(pod: Raw) -> dict[str, str]:
    """Return the labels of a pod, or of a template."""
    return dict((pod.get("metadata") or {}).get("labels") or {})


WAYS: Final = {"Ingress": "from", "Egress": "to"}
"""The ways that a policy is about → who is at the other end of a rule's."""


def types_of(policy: Raw) -> tuple[str, ...]:
    """Return the ways in which a policy isolates whom it selects."""
    spec = policy.get("spec") or {}
    return tuple(spec.get("policyTypes") or ("Ingress", *(("Egress",) if spec.get("egress") else ())))


def opens(policy: Raw, ways: Collection[str] = tuple(WAYS)) -> bool:
    """Whether a policy allows anything to whom it selects; one without rules only isolates."""
    spec = policy.get("spec") or {}
    return any(bool(spec.get(one.lower())) for one in types_of(policy) if one in ways)


def letting(
    policies: Iterable[Raw], pods: Collection[Mapping[str, str]], ways: Collection[str] = tuple(WAYS)
) -> Iterator[Raw]:
    """Yield the policies that allow something to any of some pods, by their labels."""
    for policy in policies:
        chosen = (policy.get("spec") or {}).get("podSelector") or {}
        if opens(policy, ways) and any(selects(chosen, labels) for labels in pods):
            yield policy


EVERYBODY: Final[tuple[dict[str, Any], ...]] = (
    {"ipBlock": {"cidr": "0.0.0.0/0"}},
    {"ipBlock": {"cidr": "::/0"}},
    {"namespaceSelector": {}},
)
"""Whoever is there, as a rule names them: networks differ in whether an address means pods, too."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def allowed(policies: Iterable[Raw], pods: Collection[Mapping[str, str]], way: str) -> list[dict[str, Any]] | None:
    """Return the rules by which some pods are reached, or reach others; None where no policy isolates them that way."""
    mine = [
        spec
        for spec in ((one.get("spec") or {}) for one in policies if way in types_of(one))
        if any(selects(spec.get("podSelector") or {}, labels) for labels in pods)
    ]
    return [dict(rule) for spec in mine for rule in spec.get(way.lower()) or ()] if mine else None


def narrowing(
    selector: Raw, base: Mapping[str, Sequence[Raw] | None], blocked: Collection[Network], only: Raw | None
) -> dict[str, Any]:
    """Return the `spec` of a policy that allows a workload's pods what others allowed them, but for something.

    Args:
        selector: the workload's.
        base: what others allowed them, by way; None where nobody isolated them.
        blocked: addresses that they do not reach, and that do not reach them.
        only: who alone reaches them, as a rule's peer; None for whoever did.
    """
    spec: dict[str, Any] = {"podSelector": dict(selector), "policyTypes": []}
    for way, end in WAYS.items():
        rules = [{end: [dict(only)]}] if only and way == "Ingress" else base.get(way)
        if blocked:
            rules = _but_for([{}] if rules is None else rules, end, blocked)
        if rules is not None:
            spec["policyTypes"].append(way)
            if rules:
                spec[way.lower()] = [dict(rule) for rule in rules]
    return spec


def _but_for(rules: Iterable[Raw], end: str, blocked: Collection[Network]) -> list[dict[str, Any]]:
    """Return rules that allow what some do, but for addresses; one with nobody left would allow everybody."""
    found = []
    for rule in rules:
        peers = [left for one in rule.get(end) or EVERYBODY if (left := _peer(one, blocked)) is not None]
        found += [{**rule, end: peers}] if peers else []
    return found


def _peer(peer: Raw, blocked: Collection[Network]) -> dict[str, Any] | None:
    """Return a rule's peer without addresses; None if nothing is left of it."""
    if "ipBlock" not in peer:
        return dict(peer)
    block = peer["ipBlock"]
    whole = ipaddress.ip_network(block["cidr"], strict=False)
    less = [ipaddress.ip_network(one, strict=False) for one in block.get("except") or ()]
    for one in blocked:
        if within(whole, one):
            return None
        if within(one, whole) and not any(within(one, other) for other in less):
            less.append(one)
    return {"ipBlock": {"cidr": block["cidr"], **({"except": list(map(str, less))} if less else {})}}


def within(one: Network, other: Network) -> bool:
    """Whether all addresses of one network are of another."""
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and one.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and one.subnet_of(other)


def telling(selector: Raw, others: Collection[Mapping[str, str]]) -> Requirement | None:
    """Return what of a workload's selector no other pod of its namespace meets; None where it takes all of it.

    A policy that asks for the contrary leaves out that workload's pods, whenever they come, and nobody else's.

    Args:
        selector: the workload's.
        others: the labels of the pods that are not its own.
    """
    asked = sorted(requirements(selector), key=lambda one: (not one.key.endswith(("app", "name")), one.key))
    return next((one for one in asked if not any(one.met(labels) for labels in others)), None)


def excluded(policy: Raw, what: Raw) -> bool:
    """Whether a policy's selector asks for that, too."""
    chosen = (policy.get("spec") or {}).get("podSelector") or {}
    wanted = Requirement.read(what)
    return any(Requirement.read(one) == wanted for one in chosen.get("matchExpressions") or ())


def with_exclusion(selector: Raw, what: Raw, *, there: bool) -> dict[str, Any]:
    """Return a selector that asks for something beside what it asks for, or does so no longer."""
    wanted = Requirement.read(what)
    rest = [one for one in selector.get("matchExpressions") or () if Requirement.read(one) != wanted]
    found = {key: value for key, value in selector.items() if key != "matchExpressions"}
    if expressions := [*rest, *([dict(what)] if there else [])]:
        found["matchExpressions"] = expressions
    return found


def key_of(uid: str) -> str:
    """Return what a workload is called in names and labels of ours, whichever incident wants them."""
    return hashlib.sha256(uid.encode()).hexdigest()[:12]


def name_of(uid: str, what: str = "quarantine") -> str:
    """Return the name of an object of ours about a workload, by what it does."""
    return f"mcp-soar-{what}-{key_of(uid)}"


def denying(selector: Raw) -> dict[str, Any]:
    """Return the `spec` of a policy that isolates a workload's pods in both directions and allows nothing."""
    return {"podSelector": dict(selector), "policyTypes": ["Ingress", "Egress"]}


def as_sent(spec: Raw) -> bytes:
    """Return a policy's `spec` for comparing: in whatever order its parts came back."""
    types: Sequence[str] = spec.get("policyTypes") or ()
    asked = sorted([one.key, one.operator, list(one.values)] for one in requirements(spec.get("podSelector") or {}))
    rest = {key: value for key, value in spec.items() if key not in {"podSelector", "policyTypes"}}
    return canonical([asked, sorted(types), rest])
