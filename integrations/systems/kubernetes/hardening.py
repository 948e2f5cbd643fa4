"""What the check `hardening` asks of a cluster: what a server's pods may do there beside what they need. It only reads.

What *Pod Security restricted* asks for, the API server itself says: the pod, as a dry run, in the namespace of our
probes, which is held to it. Everything else is read of the workload and its namespace; who wrote a field last and when
is in its `managedFields`. That a policy is there says nothing of whether anything heeds it: a containment's probe does.
Sources: Kubernetes documentation v1.36, "Pod Security Standards", "Security Context", "Server-Side Apply"; Istio,
"PeerAuthentication".
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from integrations.hostile import printable
from integrations.settings import Ask, setting
from integrations.systems.kubernetes import Workload, probe_of, settings_of, signatures, workloads
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.exclusion import policies_of, unread
from integrations.systems.kubernetes.policies import WAYS, allowed, labels_of, selects
from integrations.systems.kubernetes.workload import CORE, FOUND, find, groups, listed
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.estate.image import reference
from playbooks.record.check import About
from playbooks.record.check import Found as NotAsItShould
from playbooks.taxonomy import EntityKind, Severity
from playbooks.text.redaction import redacted

_PEERS: Final = "peerauthentications"
_ISTIO: Final = "security.istio.io"
_MESH: Final = "istio-system"
"""Where what holds for the whole mesh stands, unless somebody moved it (Istio, `rootNamespace`)."""

_RUNS_AS: Final = frozenset({"RuntimeDefault", "Localhost"})
_BOUNDS: Final = ("cpu", "memory")
_SECRET: Final = re.compile(r"(?i)(^|[_-])(password|passwd|secret|token|api_?key|private_?key|credentials?)$")
_MASKED: Final = re.compile(r"\[redacted: [^\]]*(?:key|token|password|secret|credential)")
_VIOLATES: Final = re.compile(r'violates PodSecurity "restricted:[^"]*": (.*?)(?:: an admission rule|$)')
_LONG: Final = 60
"""Characters of a name that somebody chose."""


class Reading(NamedTuple):
    """What a check asks a cluster for, as a step says it.

    Args:
        name: of the check.
        permissions: as kubectl writes them.
    """

    name: str
    permissions: tuple[str, ...]


READING: Final = Reading(
    "the check hardening",
    (
        *FOUND,
        "list networkpolicies.networking.k8s.io",
        "list limitranges",
        "list resourcequotas",
        f"list {_PEERS}.{_ISTIO}",
        # As a dry run, in the namespace of our probes: nothing is made.
        "create pods",
    ),
)

Raw = Mapping[str, Any]


class _Seen(NamedTuple):
    """A workload, as it is looked at.

    Args:
        server: whose.
        cluster: on which.
        at: where.
        raw: the object.
    """

    server: str
    cluster: str
    at: Workload
    raw: Raw

    @property
    def subject(self) -> str:
        """What people call it."""
        return f"{self.at.workload} {self.at.namespace}/{self.at.name} on {self.cluster}"

    @property
    def template(self) -> Raw:
        """What its pods are made from."""
        found: Raw = (self.raw.get("spec") or {}).get("template") or {}
        return found

    @property
    def spec(self) -> Raw:
        """The pods' own."""
        return self.template.get("spec") or {}

    def found(
        self, what: str, observed: str, expected: str, severity: Severity, remedy: str, *, of: str = ""
    ) -> NotAsItShould:
        """Return that something of it is not as it should be; how is its owner's to choose, and no news each time."""
        about = (About(EntityKind.SERVER, self.server),)
        subject = self.subject + of
        made = setting(
            subject, what, observed, expected=expected, severity=severity, remedy=remedy.format(self.at), about=about
        )
        # One workload, one message.
        return made._replace(state=f"{subject}\n{what}", together=f"{self.server} on {self.cluster}")


Look = Callable[[_Seen, Api, World], Any]


def asks(world: World) -> Mapping[str, Ask]:
    """Return what is asked of each server's workload."""
    looks = {"containers": _containers, "Pod Security": _restricted, "network": _network, "bounds": _bounds}
    looks |= {"mesh": _mesh}
    found = {
        f"{server} on {cluster}: {what}": partial(_asked, look, server, cluster, at, world)
        for server, cluster, at in workloads(world.inventory)
        for what, look in looks.items()
    }
    return found | {
        f"{server} on {cluster}: signatures": partial(_asked, _signed, server, cluster, at, world)
        for server, cluster, at in workloads(world.inventory)
        if (settings := settings_of(world.inventory, cluster)) is not None and settings.signed is not None
    }


async def _asked(look: Look, server: str, cluster: str, at: Workload, world: World) -> Sequence[NotAsItShould]:
    seen = _Seen(server, cluster, at, (await find(cluster, at, server, world)).raw)
    found: Sequence[NotAsItShould] = await look(seen, world.reach(Api, cluster), world)
    return found


class _Rule(NamedTuple):
    """One thing that a container should be.

    Args:
        what: which, for people.
        expected: what it should be.
        severity: how grave it is otherwise.
        field: where it is written, in a container.
        remedy: what to do.
        observed: says what it is, by container and pod; nothing if that is as it should be.
    """

    what: str
    expected: str
    severity: Severity
    field: tuple[str, ...]
    remedy: str
    observed: Callable[[Raw, Raw], str]


def _context(container: Raw, pod: Raw, field: str) -> Any:  # noqa: ANN401  # whatever the field holds
    """Return a field of a container's security context, which its pod's stands in for."""
    own, whole = container.get("securityContext") or {}, pod.get("securityContext") or {}
    return own[field] if own.get(field) is not None else whole.get(field)


def _on(field: str, said: str = "off", *, wanted: bool = True) -> Callable[[Raw, Raw], str]:
    def observed(container: Raw, pod: Raw) -> str:
        return "" if _context(container, pod, field) is wanted else said

    return observed


def _capabilities(container: Raw, _: Raw) -> str:
    said = (container.get("securityContext") or {}).get("capabilities") or {}
    added = sorted({str(one) for one in said.get("add") or ()} - {"NET_BIND_SERVICE"})
    if added:
        return f"given more: {printable(', '.join(added), _LONG)}"
    return "" if "ALL" in (said.get("drop") or ()) else "those that the container's runtime gives"


def _seccomp(container: Raw, pod: Raw) -> str:
    kind = (_context(container, pod, "seccompProfile") or {}).get("type")
    return "" if kind in _RUNS_AS else printable(str(kind or "not said"), _LONG)


def _apparmor(container: Raw, pod: Raw) -> str:
    kind = (_context(container, pod, "appArmorProfile") or {}).get("type")
    return "" if kind is None or kind in _RUNS_AS else printable(str(kind), _LONG)


def _by_digest(container: Raw, _: Raw) -> str:
    image = str(container.get("image") or "")
    found = reference(image)
    return "" if found is not None and found.digest else f"named by its tag: {printable(image, 2 * _LONG)}"


def _in_the_clear(container: Raw, _: Raw) -> str:
    """Return which variables hold a secret in the clear; never what they hold."""
    names = [
        str(one.get("name", ""))
        for one in container.get("env") or ()
        if isinstance(value := one.get("value"), str) and _secret(str(one.get("name", "")), value)
    ]
    return f"in the clear: {printable(', '.join(sorted(names)), 2 * _LONG)}" if names else ""


def _secret(name: str, value: str) -> bool:
    if not value or "$(" in value or value.startswith("/") or value.isdigit():
        return False
    return bool(_SECRET.search(name) or _MASKED.search(redacted(value)))


def _from_secrets(container: Raw, _: Raw) -> str:
    env = container.get("env") or ()
    some = [one for one in env if "secretKeyRef" in (one.get("valueFrom") or {})]
    some += [one for one in container.get("envFrom") or () if "secretRef" in one]
    return f"{len(some)} of Secrets" if some else ""


RULES: Final = (
    _Rule(
        "its root file system",
        "read-only",
        Severity.MEDIUM,
        ("securityContext", "readOnlyRootFilesystem"),
        "set readOnlyRootFilesystem: true, and an emptyDir where it has to write",
        _on("readOnlyRootFilesystem", "writable"),
    ),
    _Rule(
        "its capabilities",
        "all dropped, NET_BIND_SERVICE at most",
        Severity.MEDIUM,
        ("securityContext", "capabilities"),
        "set capabilities: {{drop: [ALL]}}",
        _capabilities,
    ),
    _Rule(
        "privilege escalation",
        "off",
        Severity.MEDIUM,
        ("securityContext", "allowPrivilegeEscalation"),
        "set allowPrivilegeEscalation: false",
        _on("allowPrivilegeEscalation", "on", wanted=False),
    ),
    _Rule(
        "privileged",
        "off",
        Severity.CRITICAL,
        ("securityContext", "privileged"),
        "take privileged away: it is root on its node",
        lambda container, _: "on" if (container.get("securityContext") or {}).get("privileged") else "",
    ),
    _Rule(
        "seccomp",
        "RuntimeDefault or Localhost",
        Severity.MEDIUM,
        ("securityContext", "seccompProfile"),
        "set seccompProfile: {{type: RuntimeDefault}}",
        _seccomp,
    ),
    _Rule(
        "AppArmor",
        "RuntimeDefault or Localhost",
        Severity.HIGH,
        ("securityContext", "appArmorProfile"),
        "set appArmorProfile: {{type: RuntimeDefault}}",
        _apparmor,
    ),
    _Rule(
        "its user",
        "not root",
        Severity.MEDIUM,
        ("securityContext", "runAsNonRoot"),
        "set runAsNonRoot: true, and a user in the image",
        _on("runAsNonRoot", "whoever the image says, root too"),
    ),
    _Rule(
        "its image",
        "named by its digest",
        Severity.MEDIUM,
        ("image",),
        "name it by its digest: whoever may push the tag chooses what runs",
        _by_digest,
    ),
    _Rule(
        "secrets in its environment",
        "none",
        Severity.HIGH,
        ("env",),
        "put them into a Secret that is mounted, and make new ones: whoever may read {0.workload}s has read these",
        _in_the_clear,
    ),
    _Rule(
        "what its environment has",
        "no Secret",
        Severity.LOW,
        ("env",),
        "mount the Secret as a file: what starts there inherits the environment, and dumps show it",
        _from_secrets,
    ),
)


async def _containers(seen: _Seen, _api: Api, _world: World) -> Sequence[NotAsItShould]:
    found = list(_of_pod(seen))
    for kind in ("initContainers", "containers"):
        for container in seen.spec.get(kind) or ():
            name = str(container.get("name", ""))
            for rule in RULES:
                if observed := rule.observed(container, seen.spec):
                    at = ("spec", "template", "spec", kind, json.dumps({"name": name}, separators=(",", ":")))
                    whom = written_by(seen.raw, (*at, *rule.field))
                    of = f", container {printable(name, _LONG)}"
                    found.append(
                        seen.found(rule.what, observed + whom, rule.expected, rule.severity, rule.remedy, of=of)
                    )
    return found


def _of_pod(seen: _Seen) -> Iterator[NotAsItShould]:
    at = ("spec", "template", "spec")
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if seen.spec.get(field):
            whom, remedy = written_by(seen.raw, (*at, field)), f"take {field} away: its node's own is everybody's there"
            yield seen.found(field, f"on{whom}", "off", Severity.HIGH, remedy)
    volumes = [one for one in seen.spec.get("volumes") or () if "hostPath" in one]
    if volumes:
        places = sorted(str((one.get("hostPath") or {}).get("path", "")) for one in volumes)
        said = f"mounted: {printable(', '.join(places), 2 * _LONG)}{written_by(seen.raw, (*at, 'volumes'))}"
        yield seen.found("its node's files", said, "not mounted", Severity.HIGH, "take the hostPath volumes away")


async def _restricted(seen: _Seen, api: Api, world: World) -> Sequence[NotAsItShould]:
    """Have the API server say what *restricted* forbids of it: nothing is made, and our own account asks."""
    settings, given = settings_of(world.inventory, seen.cluster), probe_of(world.inventory, seen.cluster)
    where = given.namespace if given else "mcp-soar-probes"
    pods = path_of(CORE, where, "pods")
    # Where that is not held to it, to be let in means nothing.
    held = await api.refusal(pods, _pod({"containers": [{"name": "a", "image": "a"}], "hostPID": True}))
    if not _VIOLATES.search(held):
        raise Misconfigured(
            f"the API server does not say what Pod Security *restricted* forbids: have namespace {where} labelled "
            "pod-security.kubernetes.io/enforce=restricted, and our account make pods there "
            f"(ClusterRole mcp-soar-responder-probes){': ' + held if held else ''}",
            field=f"systems.{seen.cluster}.probe" if settings else None,
        )
    kept = {key: value for key, value in seen.spec.items() if key not in _OF_ITS_OWN}
    said = await api.refusal(pods, _pod(kept))
    if (violates := _VIOLATES.search(said)) is not None:
        what, expected = "Pod Security", "restricted"
        remedy = "set what it names, then label namespace {0.namespace} pod-security.kubernetes.io/enforce=restricted"
        return [seen.found(what, f"violated: {printable(violates[1], 600)}", expected, Severity.MEDIUM, remedy)]
    if said:
        raise Misconfigured(f"the API server takes no pod as it is: {said}")
    return []


_OF_ITS_OWN: Final = frozenset({"serviceAccountName", "serviceAccount", "priorityClassName", "runtimeClassName"})
"""What names objects that only its own namespace or cluster need have, and Pod Security does not look at."""


def _pod(spec: Raw) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mcp-soar-hardening"}, "spec": {**spec}}


async def _network(seen: _Seen, api: Api, _world: World) -> Sequence[NotAsItShould]:
    labels = labels_of(seen.template)
    policies = await policies_of(api, seen.at.namespace)
    lacking = [way for way in WAYS if allowed(policies, [labels], way) is None]
    if lacking and (others := await unread(api)):
        raise Misconfigured(f"it has policies of {', '.join(sorted(others))}, too, which are not read here")
    remedy = (
        "put a NetworkPolicy into namespace {0.namespace} that allows nothing, and one beside it for what is needed"
    )
    said = {"Ingress": ("who may reach it", "everybody"), "Egress": ("whom it may reach", "everybody")}
    return [seen.found(*said[way], "those that a NetworkPolicy names", Severity.MEDIUM, remedy) for way in lacking]


async def _bounds(seen: _Seen, api: Api, _world: World) -> Sequence[NotAsItShould]:
    namespace = seen.at.namespace
    ranges = await listed(api, path_of(CORE, namespace, "limitranges"))
    given = {
        bound
        for one in ranges
        for limit in (one.get("spec") or {}).get("limits") or ()
        if limit.get("type") == "Container"
        for bound in {**(limit.get("default") or {}), **(limit.get("max") or {})}
    }
    found: list[NotAsItShould] = []
    for container in seen.spec.get("containers") or ():
        has = ((container.get("resources") or {}).get("limits") or {}).keys() | given
        if lacking := [one for one in _BOUNDS if one not in has]:
            of = f", container {printable(str(container.get('name', '')), _LONG)}"
            remedy = "set resources.limits: one that is taken over takes all that its node has"
            said = f"without an end: {', '.join(lacking)}"
            found.append(seen.found("what it may use", said, "bounded", Severity.MEDIUM, remedy, of=of))
    if not await listed(api, path_of(CORE, namespace, "resourcequotas")):
        what, expected = "what its namespace may use", "bounded by a ResourceQuota"
        remedy = "put a ResourceQuota into namespace {0.namespace}"
        found.append(seen.found(what, "without an end", expected, Severity.LOW, remedy))
    return found


async def _signed(seen: _Seen, _api: Api, world: World) -> Sequence[NotAsItShould]:
    """Ask the registries whether its images are signed by whom they are to be."""
    settings = settings_of(world.inventory, seen.cluster)
    if settings is None or settings.signed is None:
        return []
    keys = signatures.read(settings.signed.keys, f"systems.{seen.cluster}.signed.keys")
    found: list[NotAsItShould] = []
    containers = (one for kind in ("initContainers", "containers") for one in seen.spec.get(kind) or ())
    for container in containers:
        image = reference(str(container.get("image") or ""))
        of = f", container {printable(str(container.get('name', '')), _LONG)}"
        if image is None or not image.digest:
            observed = "nobody's: it is named by its tag, which may be another image by now"
        elif image.registry not in settings.signed.registries:
            observed = (
                f"not asked for: {printable(image.registry, _LONG)} is none of systems.{seen.cluster}.signed.registries"
            )
        else:
            observed = await signatures.signed(image, keys)
        if observed:
            remedy = "see where the image comes from; sign it with cosign, or run one that is signed"
            expected = "by a key of yours"
            found.append(seen.found("its image's signature", observed, expected, Severity.HIGH, remedy, of=of))
    return found


async def _mesh(seen: _Seen, api: Api, _world: World) -> Sequence[NotAsItShould]:
    """Look whether a mesh takes only mTLS for it; where there is none, nothing is asked of anybody."""
    versions = [one.get("preferredVersion") or {} for one in await groups(api) if one.get("name") == _ISTIO]
    if not versions:
        return []
    there = await listed(api, f"/apis/{versions[0].get('groupVersion')}/{_PEERS}")
    mode, loose = effective(there, seen.at.namespace, labels_of(seen.template))
    remedy = "put a PeerAuthentication into namespace {0.namespace} with mtls: {{mode: STRICT}}"
    found = []
    if mode != "STRICT":
        found.append(seen.found("mesh mTLS", mode, "STRICT", Severity.MEDIUM, remedy))
    if loose:
        said = f"less than STRICT at port {', '.join(loose)}"
        found.append(seen.found("mesh mTLS of some ports", said, "STRICT", Severity.MEDIUM, remedy))
    return found


def effective(there: Iterable[Raw], namespace: str, labels: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the mode of mTLS that holds for some pods, and the ports at which less does.

    Args:
        there: every PeerAuthentication of the cluster.
        namespace: where the pods are.
        labels: theirs.
    """
    own, whole, mesh = list[Raw](), list[Raw](), list[Raw]()
    for one in there:
        spec, where = one.get("spec") or {}, (one.get("metadata") or {}).get("namespace")
        selector = spec.get("selector") or {}
        if where == namespace and selector:
            own += [spec] if selects(selector, labels) else []
        elif where == namespace:
            whole.append(spec)
        elif where == _MESH and not selector:
            mesh.append(spec)
    modes = [str((spec.get("mtls") or {}).get("mode") or "UNSET") for spec in (*own, *whole, *mesh)]
    # What is not said there is said by what is around it, and at last by Istio: both are taken.
    mode = next((one for one in modes if one != "UNSET"), "PERMISSIVE")
    ports = {
        str(port): str((said or {}).get("mode") or "UNSET")
        for spec in own
        for port, said in (spec.get("portLevelMtls") or {}).items()
    }
    return printable(mode, _LONG), sorted(port for port, said in ports.items() if said not in {"STRICT", "UNSET"})


def written_by(raw: Raw, path: Sequence[str]) -> str:
    """Return who wrote a field, or what is around it, and when, as words that follow what it is; empty if nobody says.

    Args:
        raw: the object.
        path: of the field; an item of a list by the key that tells it apart, as JSON.
    """
    deepest, found = 0, list[tuple[str, str, str]]()
    for entry in (raw.get("metadata") or {}).get("managedFields") or ():
        at, depth = entry.get("fieldsV1") or {}, 0
        for part in path:
            below = at.get(f"k:{part}" if part.startswith("{") else f"f:{part}")
            if below is None:
                break
            at, depth = below, depth + 1
        if depth and depth >= deepest:
            found = [] if depth > deepest else found
            deepest = depth
            found.append((str(entry.get("time") or ""), str(entry.get("manager") or ""), str(entry.get("operation"))))
    if not found:
        return ""
    time, manager, _ = max(found)
    return f" (last written by {printable(manager, _LONG)}, {printable(time, 30)})"
