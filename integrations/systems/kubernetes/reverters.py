"""Who would start a workload's pods again, and how each is paused: what scales it, and what follows a repository.

Sources: Kubernetes documentation, "Horizontal Pod Autoscaling" (a target at zero with a minimum above it is left
alone); KEDA, "Pause autoscaling"; Argo CD, "Skip Application Reconcile" and "Resource Tracking"; Flux, `spec.suspend`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from integrations.hostile import printable
from integrations.systems.kubernetes import settings_of
from integrations.systems.kubernetes.client import Api, path_of
from integrations.systems.kubernetes.finding import finding
from integrations.systems.kubernetes.workload import Found, listed
from playbooks.action import World
from playbooks.errors import Drifted, Gone, SoarError, Transient
from playbooks.gate.plan import Answer, Change, Finding, Target
from playbooks.strict import canonical
from playbooks.text.sentences import say

_TRIES: Final = 3
"""Writes of one pause: between its reading and its writing a controller may write how it stands."""


class Sort(NamedTuple):
    """A sort of object that starts pods again.

    Args:
        kind: as a plan's target names it.
        title: what people call it.
        prefix: of its API.
        resource: its plural.
        field: what pauses it, as a plan's change names it.
        at: where in the object that stands.
        paused: what is there when it is paused.
        reads: what the field is, of what is there.
        writes: what is there, of what the field is.
    """

    kind: str
    title: str
    prefix: str
    resource: str
    field: str
    at: tuple[str, ...]
    paused: JsonValue
    reads: Callable[[JsonValue], JsonValue] = lambda found: found
    writes: Callable[[JsonValue], JsonValue] = lambda value: value

    def path(self, namespace: str, name: str = "") -> str:
        """Return the path of one, or of all in a namespace."""
        return path_of(self.prefix, namespace, self.resource, name)

    def value(self, raw: dict[str, Any]) -> JsonValue:
        """Return the field of an object."""
        found: Any = raw
        for step in self.at:
            found = (found or {}).get(step)
        return self.reads(found)

    def patch(self, value: JsonValue, **metadata: object) -> dict[str, Any]:
        """Return the merge patch that sets the field, and does so only where the metadata is as said."""
        body: Any = self.writes(value)
        for step in reversed(self.at):
            body = {step: body}
        return {**body, "metadata": {**body.get("metadata", {}), **metadata}}


AUTOSCALER: Final = Sort(
    "horizontalpodautoscaler",
    "HorizontalPodAutoscaler",
    "/apis/autoscaling/v2",
    "horizontalpodautoscalers",
    "from-zero",
    ("spec", "minReplicas"),
    paused=False,
    # With a minimum above zero it takes zero pods as off, and otherwise as a number like any other.
    reads=lambda least: least == 0,
    writes=lambda scales: 0 if scales else 1,
)
SCALED_OBJECT: Final = Sort(
    "scaledobject",
    "KEDA ScaledObject",
    "/apis/keda.sh/v1alpha1",
    "scaledobjects",
    "paused-replicas",
    ("metadata", "annotations", "autoscaling.keda.sh/paused-replicas"),
    paused="0",
)
APPLICATION: Final = Sort(
    "application",
    "Argo CD Application",
    "/apis/argoproj.io/v1alpha1",
    "applications",
    "skip-reconcile",
    # What is in no repository is not taken away by the parent of an application: its sync policy would be.
    ("metadata", "annotations", "argocd.argoproj.io/skip-reconcile"),
    paused="true",
)
KUSTOMIZATION: Final = Sort(
    "kustomization",
    "Flux Kustomization",
    "/apis/kustomize.toolkit.fluxcd.io/v1",
    "kustomizations",
    "suspend",
    ("spec", "suspend"),
    paused=True,
)
HELM_RELEASE: Final = Sort(
    "helmrelease",
    "Flux HelmRelease",
    "/apis/helm.toolkit.fluxcd.io/v2",
    "helmreleases",
    "suspend",
    ("spec", "suspend"),
    paused=True,
)
SORTS: Final = {one.kind: one for one in (AUTOSCALER, SCALED_OBJECT, APPLICATION, KUSTOMIZATION, HELM_RELEASE)}

PERMISSIONS: Final = (
    "list horizontalpodautoscalers.autoscaling",
    "list scaledobjects.keda.sh",
    *(f"{verb} {one.resource}.{one.prefix.split('/')[2]}" for one in SORTS.values() for verb in ("get", "patch")),
)


class Reverter(NamedTuple):
    """One that can be paused.

    Args:
        sort: what it is.
        raw: the object.
        others: how many more objects it manages.
        cluster: what the inventory calls the cluster.
        server: whose workload it starts.
    """

    sort: Sort
    raw: dict[str, Any]
    others: int
    cluster: str
    server: str

    @property
    def change(self) -> Change:
        """Its pause, as a plan has it."""
        metadata = self.raw["metadata"]
        target = Target(
            system=f"kubernetes/{self.cluster}",
            kind=self.sort.kind,
            id=metadata["uid"],
            name=f"{metadata['namespace']}/{metadata['name']}",
            server=self.server,
        )
        return Change(target=target, field=self.sort.field, before=self.sort.value(self.raw), after=self.sort.paused)


class Reverters(NamedTuple):
    """All who would start a workload's pods again.

    Args:
        pausable: those that can be paused, or are.
        others: those that cannot be paused from here, by name.
    """

    pausable: tuple[Reverter, ...]
    others: tuple[str, ...]


async def reverters(found: Found, world: World) -> Reverters:
    """Return who would start a workload's pods again.

    A pause is tried as a dry run: what we may not pause, or something in between refuses, is named for a person.

    Args:
        found: the workload.
        world: the connections.

    Raises:
        Transient: the cluster does not answer.
    """
    api = world.reach(Api, found.cluster)
    looked = await asyncio.gather(
        _scaling(api, found, AUTOSCALER),
        _scaling(api, found, SCALED_OBJECT),
        _argo(api, found, world),
        _flux(api, found),
    )
    pausable = [one for some in looked for one in some.pausable]
    others = [name for some in looked for name in some.others]
    owners: list[dict[str, Any]] = found.raw["metadata"].get("ownerReferences") or []
    others += [_called(one.get("kind", ""), one.get("name", "")) for one in owners if one.get("controller")]
    tried = await asyncio.gather(*(_refuses(api, one) for one in pausable))
    others += [_named(one) for one, refused in zip(pausable, tried, strict=True) if refused]
    settings = settings_of(world.inventory, found.cluster)
    ours = settings.our_namespaces if settings else ()
    kept = [one for one, refused in zip(pausable, tried, strict=True) if not refused]
    others += [_named(one) for one in kept if one.raw["metadata"]["namespace"] in ours]
    for one in kept:
        # An application that is made by a set is brought back to what the set says of it, annotations included.
        made_by: list[dict[str, Any]] = one.raw["metadata"].get("ownerReferences") or []
        others += [
            _called("Argo CD ApplicationSet", by["name"]) for by in made_by if by.get("kind") == "ApplicationSet"
        ]
    kept = [one for one in kept if one.raw["metadata"]["namespace"] not in ours]
    return Reverters(tuple(kept), tuple(dict.fromkeys(others)))


def _called(title: str, name: str) -> str:
    return f"{printable(title)} {printable(name)}"


def _named(one: Reverter) -> str:
    return _called(one.sort.title, one.raw["metadata"]["name"])


async def _refuses(api: Api, one: Reverter) -> bool:
    """Whether the cluster would not have it paused: we may not, or something in between says no."""
    if not one.change.pending:
        return False
    metadata = one.raw["metadata"]
    where = one.sort.path(metadata["namespace"], metadata["name"])
    body = one.sort.patch(one.sort.paused, uid=metadata["uid"])
    try:
        there = await api.request("PATCH", where, query={"dryRun": "All"}, body=body)
    except Transient:
        raise
    except SoarError:
        return True
    return one.sort.value(there) != one.sort.paused


_OBJECT: Final = {"deployment": "Deployment", "statefulset": "StatefulSet"}
"""What a workload is called as an object's kind."""


async def _scaling(api: Api, found: Found, sort: Sort) -> Reverters:
    """Return what scales a workload by load."""
    try:
        there = await listed(api, sort.path(found.at.namespace))
    except Gone:
        return Reverters((), ())
    except Transient:
        raise
    except SoarError:
        return Reverters((), (say("a {a}, which we may not read", a=sort.title),))
    mine = []
    for one in there:
        target = one.get("spec", {}).get("scaleTargetRef") or {}
        means = target.get("kind") or "Deployment", target.get("name")
        owners = one["metadata"].get("ownerReferences") or ()
        # One that another object makes is what that says; KEDA takes its own away when it is paused.
        if means == (_OBJECT[found.at.workload], found.at.name) and not any(by.get("controller") for by in owners):
            mine.append(Reverter(sort, one, 0, found.cluster, found.server))
    return Reverters(tuple(mine), ())


async def _argo(api: Api, found: Found, world: World) -> Reverters:
    """Return the Argo CD application that a workload is of."""
    metadata, at = found.raw["metadata"], found.at
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    settings = settings_of(world.inventory, found.cluster)
    home = settings.argocd_namespace if settings else ""
    tracked = str(marks.get("argocd.argoproj.io/tracking-id", ""))
    name, _, rest = tracked.partition(":")
    if name and rest != f"apps/{_OBJECT[at.workload]}:{at.namespace}/{at.name}":
        # Copied along from another object: Argo CD does not go by it either.
        name = ""
    # Helm writes the last of them too: then the application itself has to say that the workload is its own.
    sure = name or str(marks.get("argocd.argoproj.io/instance", ""))
    name = sure or str(marks.get("app.kubernetes.io/instance", ""))
    if not name:
        return Reverters((), ())
    elsewhere, _, alone = name.partition("_")
    namespace, name = (elsewhere, alone) if alone else (home, name)
    mine = {"group": "apps", "kind": _OBJECT[at.workload], "namespace": at.namespace, "name": at.name}

    def manages(raw: dict[str, Any]) -> tuple[bool, int]:
        resources: list[dict[str, Any]] = raw.get("status", {}).get("resources") or []
        return any(mine.items() <= one.items() for one in resources), len(resources) - 1

    return await _following(api, found, APPLICATION, (namespace, name), manages, silent=not sure)


async def _flux(api: Api, found: Found) -> Reverters:
    """Return what of Flux a workload is of."""
    labels, at = found.raw["metadata"].get("labels") or {}, found.at
    mine = f"{at.namespace}_{at.name}_apps_{_OBJECT[at.workload]}"

    def manages(raw: dict[str, Any]) -> tuple[bool, int]:
        # A HelmRelease of helm-controller before 1.5 lists nothing: people pause that.
        entries: list[dict[str, Any]] = (raw.get("status", {}).get("inventory") or {}).get("entries") or []
        return any(one.get("id") == mine for one in entries), len(entries) - 1

    some = []
    for sort, group in ((KUSTOMIZATION, "kustomize"), (HELM_RELEASE, "helm")):
        name = labels.get(f"{group}.toolkit.fluxcd.io/name")
        if name:
            namespace = labels.get(f"{group}.toolkit.fluxcd.io/namespace") or at.namespace
            some.append(await _following(api, found, sort, (namespace, name), manages))
    return Reverters(tuple(one for of in some for one in of.pausable), tuple(name for of in some for name in of.others))


async def _following(
    api: Api,
    found: Found,
    sort: Sort,
    at: tuple[str, str],
    manages: Callable[[dict[str, Any]], tuple[bool, int]],
    *,
    silent: bool = False,
) -> Reverters:
    """Return what follows a repository, by the name that the workload's marks say.

    Args:
        api: the cluster.
        found: the workload.
        sort: what it is.
        at: its namespace and name; the marks are not ours, and the object has to say that the workload is its own.
        manages: whether the object says that the workload is its own, and how many more it has.
        silent: nothing is said where there is none, for the mark means something else then.
    """
    other = Reverters((), () if silent else (_called(sort.title, at[1]),))
    try:
        raw = await api.request("GET", sort.path(*at))
    except Transient:
        raise
    except SoarError:
        # It may be at another cluster, or it is closed to us: somebody else pauses it.
        return other
    is_its, others = manages(raw)
    return Reverters((Reverter(sort, raw, others, found.cluster, found.server),), ()) if is_its else other


async def _object(target: Target, world: World) -> dict[str, Any]:
    sort, (namespace, _, name) = SORTS[target.kind], target.name.partition("/")
    api = world.reach(Api, target.system.removeprefix("kubernetes/"))
    raw = await api.request("GET", sort.path(namespace, name))
    if raw.get("metadata", {}).get("uid") != target.id:
        raise Gone(f"{target} at {target.system} is another one now: what the plan means was deleted")
    return raw


async def read(change: Change, world: World) -> JsonValue:
    """Return what pauses it, as it is now.

    Raises:
        Gone: it is no longer there, or another stands under its name.
    """
    return SORTS[change.target.kind].value(await _object(change.target, world))


async def write(change: Change, world: World) -> None:
    """Pause it, or have it go on; refused where it is another one, or was changed since it was read.

    Raises:
        Drifted: it is neither as before nor as after, or somebody has it otherwise at once.
    """
    sort, api = SORTS[change.target.kind], world.reach(Api, change.target.system.removeprefix("kubernetes/"))
    namespace, _, name = change.target.name.partition("/")
    for left in reversed(range(_TRIES)):
        raw = await _object(change.target, world)
        value = sort.value(raw)
        if value == change.after:
            return
        if value != change.before:
            raise Drifted(
                f"{change.target}: {change.field} is {value!r}, which is neither before nor after of the plan"
            )
        body = sort.patch(change.after, uid=change.target.id, resourceVersion=raw["metadata"]["resourceVersion"])
        try:
            there = await api.request("PATCH", sort.path(namespace, name), body=body)
        except Drifted:
            if left:
                continue
            raise
        if sort.value(there) != change.after:
            raise Drifted(f"{change.target}: the cluster took {change.field}, and has it otherwise at once")
        return


async def stands(change: Change, world: World, *, released: bool = False) -> Finding:
    """Ask whether one is paused, or goes on as before: what stands on it, which its controller goes by."""
    target, sort = change.target, SORTS[change.target.kind]
    wanted = change.before if released else change.after
    expected = say("it goes on as before") if released else say("it is marked as paused")
    try:
        asked_as = await world.reach(Api, target.system.removeprefix("kubernetes/")).who()
        value = sort.value(await _object(target, world))
    except Gone:
        return finding(
            "reverter", target, expected, say("it is no longer there"), Answer.ESTABLISHED, asked_as="administrator"
        )
    except SoarError as exc:
        return finding("reverter", target, expected, str(exc), Answer.UNKNOWN)
    same = value == wanted
    observed = expected if same else say("its {a} is {b}", a=change.field, b=canonical(value).decode())
    answer = Answer.ESTABLISHED if same else Answer.NOT_ESTABLISHED
    return finding("reverter", target, expected, observed, answer, asked_as=f"administrator {asked_as}")


async def came_since(found: Found, held: Sequence[str], world: World) -> AsyncIterator[Finding]:
    """Yield who would start a workload's pods again, could be paused, and is not.

    Args:
        found: the workload.
        held: the grips of the plan.
        world: the connections.
    """
    for one in (await reverters(found, world)).pausable:
        change = one.change
        if change.pending and change.grip not in held:
            observed = say("it is not paused, and may start its pods again")
            yield finding(
                "reverter",
                change.target,
                say("it is marked as paused"),
                observed,
                Answer.NOT_ESTABLISHED,
                asked_as="administrator",
            )
