"""Kubernetes clusters: the workloads that servers run as, and what can be done to them there."""

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from integrations.system import System, Works, written
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Place, Secret, SystemSettings
from playbooks.strict import Line, Seconds, Strict
from playbooks.taxonomy import EntityKind

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$"
"""How namespaces and objects are named (RFC 1123, as Kubernetes takes it)."""


class Probe(Strict):
    """Pods of ours that try what a cluster's network lets through.

    Args:
        image: what they run, by its digest: a shell and `nc` of BusyBox.
        namespace: where those run that are not beside a workload; no policy of anybody's is in force there.
        every: how long an answer that all is shut is good for, while neither policies nor pods are others.
    """

    image: str = Field(pattern=r"^[a-z0-9][a-zA-Z0-9./:_-]{0,200}@sha256:[0-9a-f]{64}$")
    namespace: str = Field(default="mcp-soar-probes", pattern=DNS_LABEL)
    every: Seconds = 600.0


class GatewayPods(Strict):
    """The pods of a gateway that runs on a cluster: who alone may reach a server, where the way around it is closed.

    Args:
        namespace: where.
        labels: which of those there; no other pod has all of them.
    """

    namespace: str = Field(pattern=DNS_LABEL)
    labels: dict[Line, Line] = Field(min_length=1)


class Signed(Strict):
    """By whom images are to be signed, for the check `hardening`; nothing else is asked of a registry.

    Args:
        keys: public keys of cosign, as PEM, of which one suffices.
        registries: where they are, as hosts; no other is asked.
    """

    keys: tuple[Annotated[str, Field(max_length=5000)], ...] = Field(min_length=1)
    registries: tuple[Line, ...] = Field(min_length=1)


class Cluster(SystemSettings):
    """A cluster.

    Args:
        kubeconfig: where a kubeconfig is, as `file` or `env`; its account needs what `doctor` names, and no more.
        context: which of its contexts; by default the current one.
        argocd_namespace: where Argo CD has its applications, where it manages what runs there.
        probe: what tries the network there; nothing does if it is left out.
        signed: by whom the images of its servers are to be signed; not looked at if it is left out.
        gateway: the pods of the gateway that its servers stand behind, if that runs there.
        our_namespaces: where mcp-soar itself and the cluster's own parts run: nothing there is ever a target.
    """

    kinds: ClassVar[frozenset[str]] = frozenset(
        {
            "deployment",
            "statefulset",
            "pod",
            "networkpolicy",
            "horizontalpodautoscaler",
            "scaledobject",
            "application",
            "kustomization",
            "helmrelease",
            "image",
            "account",
            "serviceaccount",
            "node",
        }
    )

    kind: Literal["kubernetes"]
    kubeconfig: Secret
    context: Line = ""
    argocd_namespace: str = Field(default="argocd", pattern=DNS_LABEL)
    probe: Probe | None = None
    gateway: GatewayPods | None = None
    signed: Signed | None = None
    our_namespaces: tuple[str, ...] = ("kube-system", "kube-public", "kube-node-lease", "mcp-soar", "mcp-soar-probes")

    @override
    def address(self) -> str:
        # What a kubeconfig says of it is a secret, and read when it is connected to.
        return f"{self.kubeconfig.file or self.kubeconfig.env}#{self.context}"

    @override
    def ours(self, name: str, inventory: Inventory) -> Mapping[str, frozenset[str]]:
        # Objects there are known by their uid, which nobody can write down beforehand: what stands in a namespace of
        # ours is refused when it is planned, and a namespace as a whole here.
        return {"namespace": frozenset(self.our_namespaces)}


class Workload(Place):
    """What a server runs as.

    Args:
        namespace: where.
        workload: its kind.
        name: its name there.
        service_account: what its pods are to run as; as what else they run is found there, and is cut too.
    """

    namespace: str = Field(pattern=DNS_LABEL)
    workload: Literal["deployment", "statefulset"] = "deployment"
    name: str = Field(pattern=DNS_NAME)
    service_account: str = Field(default="", pattern=rf"^$|{DNS_NAME}")

    @override
    def known_by(self) -> Mapping[EntityKind, Collection[str]]:
        return {EntityKind.WORKLOAD: (f"{self.namespace}/{self.name}",)}


def settings_of(inventory: Inventory, name: str) -> Cluster | None:
    """Return a cluster of an inventory; None if it has none of that name."""
    found = inventory.systems.get(name)
    return found if isinstance(found, Cluster) else None


def probe_of(inventory: Inventory, name: str) -> Probe | None:
    """Return what tries a cluster's network; None if nothing does."""
    found = settings_of(inventory, name)
    return found.probe if found else None


def workloads(inventory: Inventory) -> Iterator[tuple[str, str, Workload]]:
    """Yield server, cluster and workload of every server that stands on one."""
    for server, one in inventory.servers.items():
        yield from ((server, cluster, at) for cluster, at in one.places.items() if isinstance(at, Workload))


def _works() -> Works:
    from integrations.systems.kubernetes.works import WORKS  # noqa: PLC0415  # imported when it is first needed

    return WORKS


def _places(inventory: Inventory) -> Iterator[str]:
    yield from (f"kubernetes/{name}" for name in inventory.systems if settings_of(inventory, name))


def _secrets(inventory: Inventory) -> Iterator[tuple[str, Secret]]:
    for name in inventory.systems:
        if (settings := settings_of(inventory, name)) is not None:
            yield f"systems.{name}.kubeconfig", settings.kubeconfig


SYSTEM = System(
    kind="kubernetes",
    title="Kubernetes",
    works=_works,
    words=written(__name__),
    settings=Cluster,
    place=Workload,
    places=_places,
    secrets=_secrets,
)
