"""Stands in for a network that enforces NetworkPolicies, on the one node of the tests: iptables on the pods' bridge.

It reads policies and pods of chosen namespaces again and again, and drops what no policy allows, between pods. It shows
that a policy which selects a pod isolates it, that others add to that, and what becomes of connections that are open.
An address in a rule means pods too, as on some engines. What it cannot show: several nodes, a delay before a new pod
is shut in, an engine that *refuses* instead of dropping, ports in a rule (one with some allows nothing here), IPv6,
traffic past the bridge.
"""

import contextlib
import ipaddress
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from integrations.systems.kubernetes.policies import selects
from tests.cluster.cluster import Kubernetes

_BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_WAYS = {"Ingress": ("-d", "-s", "from"), "Egress": ("-s", "-d", "to")}
_EVERY = 0.1
_WITHIN = 300.0


def lacking() -> str:
    """Return what is missing for it, or nothing."""
    if shutil.which("iptables-restore") is None:
        return "iptables is missing"
    # What goes over a bridge passes iptables only then.
    filtered = _BRIDGED.read_text().strip() == "1" if _BRIDGED.is_file() else False
    return "" if filtered else "br_netfilter is not loaded, or does not hand bridged packets to iptables"


@contextlib.contextmanager
def enforcing(cluster: Kubernetes, *namespaces: str, keeps: bool = False) -> Iterator[Callable[[], None]]:
    """Enforce the policies of namespaces while the block lasts; yield what waits until the present ones are in force.

    Args:
        cluster: whose node is on this machine.
        namespaces: whose policies.
        keeps: connections that are open stay so, whatever a later policy says, as on some engines.
    """
    one = _Enforcer(cluster, namespaces, keeps=keeps)
    one.chain("-N")
    try:
        one.turn()
        running = threading.Thread(target=one.run, daemon=True)
        running.start()
        try:
            yield one.caught_up
        finally:
            one.ends.set()
            running.join()
    finally:
        one.chain("-X")


class _Enforcer:
    def __init__(self, cluster: Kubernetes, namespaces: tuple[str, ...], *, keeps: bool) -> None:
        self.cluster, self.namespaces, self.keeps = cluster, namespaces, keeps
        # One for each way: what a sender may do says nothing of whom its receiver takes something from.
        self.chains = {way: f"T-{way[0]}-{namespaces[0]}"[:28].upper() for way in _WAYS}
        self.ends = threading.Event()
        self.turns = 0
        self._last: list[str] = []

    def chain(self, what: str) -> None:
        """Make its chains, or take them away."""
        for name in self.chains.values():
            jump = ["FORWARD", "-j", name]
            if what == "-N":
                _iptables("-N", name)
                _iptables("-I", *jump)
                continue
            _iptables("-D", *jump)
            _iptables("-F", name)
            _iptables("-X", name)

    def caught_up(self) -> None:
        """Wait until what is there now is in force.

        Raises:
            TimeoutError: it is not for long.
        """
        # The turn that is under way may have read before.
        wanted, end = self.turns + 2, time.monotonic() + _WITHIN
        while self.turns < wanted:
            if time.monotonic() > end:
                raise TimeoutError("the enforcer does not turn")
            time.sleep(_EVERY / 2)

    def run(self) -> None:
        while not self.ends.wait(_EVERY):
            self.turn()

    def turn(self) -> None:
        """Read everything, and have the node do what it says."""
        rules = self._rules()
        if rules != self._last:
            chains = [f":{name} - [0:0]" for name in self.chains.values()]
            text = "\n".join(["*filter", *chains, *rules, "COMMIT", ""])
            command = ["iptables-restore", "-w", "--noflush"]
            subprocess.run(command, input=text, text=True, check=True, capture_output=True)  # noqa: S603  # ours
            self._last = rules
        self.turns += 1

    def _rules(self) -> list[str]:
        pods = self.cluster.ask("GET", "/api/v1/pods")["items"]
        labels = {one["metadata"]["name"]: one["metadata"].get("labels") or {} for one in self._all("namespaces")}
        states = "ESTABLISHED,RELATED"
        # Answers always pass: whether anything was asked is decided where it was asked.
        known = f"-m conntrack --ctstate {states}{'' if self.keeps else ' --ctdir REPLY'} -j RETURN"
        rules = [f"-A {name} {known}" for name in self.chains.values()]
        running = [pod for pod in pods if pod["status"].get("podIP")]
        for pod in running:
            if (namespace := pod["metadata"]["namespace"]) not in self.namespaces:
                continue
            where = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
            mine = [one["spec"] for one in self.cluster.ask("GET", where)["items"] if _takes(one, pod)]
            for kind, (own, other, key) in _WAYS.items():
                name = self.chains[kind]
                isolating = [spec for spec in mine if kind in spec["policyTypes"]]
                if not isolating:
                    continue
                address = pod["status"]["podIP"]
                for rule in (rule for spec in isolating for rule in spec.get(kind.lower()) or ()):
                    if rule.get("ports"):
                        continue
                    peers = rule.get(key)
                    if not peers:
                        rules.append(f"-A {name} {own} {address} -j RETURN")
                    rules += [
                        f"-A {name} {own} {address} {other} {peer['status']['podIP']} -j RETURN"
                        for peer in running
                        if any(_is(one, peer, namespace, labels) for one in peers or ())
                    ]
                rules.append(f"-A {name} {own} {address} -j DROP")
        return rules

    def _all(self, what: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.ask("GET", f"/api/v1/{what}")["items"]
        return found


def _takes(policy: dict[str, Any], pod: dict[str, Any]) -> bool:
    return selects(policy["spec"].get("podSelector") or {}, pod["metadata"].get("labels") or {})


def _is(one: dict[str, Any], peer: dict[str, Any], own: str, namespaces: dict[str, dict[str, str]]) -> bool:
    """Whether a pod is a rule's peer; without a selector of namespaces it is one of the policy's own."""
    if block := one.get("ipBlock"):
        address = ipaddress.ip_address(peer["status"]["podIP"])
        less = (ipaddress.ip_network(each) for each in block.get("except") or ())
        return address in ipaddress.ip_network(block["cidr"]) and not any(address in each for each in less)
    where = peer["metadata"]["namespace"]
    there = selects(one["namespaceSelector"], namespaces[where]) if "namespaceSelector" in one else where == own
    return there and selects(one.get("podSelector") or {}, peer["metadata"].get("labels") or {})


def _iptables(*words: str) -> None:
    subprocess.run(["iptables", "-w", *words], check=True, capture_output=True)  # noqa: S603, S607  # ours
