"""What `doctor` looks at of a cluster: whether we are let in, what we may do, whether the workloads are there."""

from collections.abc import AsyncIterator, Collection, Iterator

from integrations.system import Holders, Looked
from integrations.systems.kubernetes import (
    Probe,
    Workload,
    admission,
    narrowing,
    probe,
    probe_of,
    quotas,
    settings_of,
    workloads,
)
from integrations.systems.kubernetes.client import Api
from integrations.systems.kubernetes.policies import denying
from integrations.systems.kubernetes.quarantine import DENY, held
from integrations.systems.kubernetes.reverters import reverters
from integrations.systems.kubernetes.rights import NAME, PROBES, WIDE, lacking
from integrations.systems.kubernetes.workload import Found, find
from playbooks.action import World
from playbooks.errors import Gone
from playbooks.gate.plan import Change

_NAMED = 5


def doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    """Yield each cluster, with what is looked at there."""
    for name in world.inventory.systems:
        if settings_of(world.inventory, name):
            yield f"cluster {name}", _cluster(world, holders, name)


async def _cluster(world: World, holders: Holders, name: str) -> AsyncIterator[Looked]:
    check, api = f"cluster {name}", world.reach(Api, name)
    yield Looked(check, "ok", f"it lets us in as {await api.who()}")
    here = [(server, at) for server, cluster, at in workloads(world.inventory) if cluster == name]
    servers, given = sorted({at.namespace for _, at in here}), probe_of(world.inventory, name)
    needed = [("", WIDE), *((namespace, NAME) for namespace in servers)]
    settings = settings_of(world.inventory, name)
    tried = [given, settings.gateway if settings else None] if given and servers else []
    needed += [(one.namespace, PROBES) for one in tried if one]
    closed: set[str] = set()
    for namespace, role in needed:
        one = await _rights(check, api, namespace, role)
        closed |= {namespace} if one.level == "fail" else set()
        yield one
    if let_in := set(servers) - closed:
        async for one in _network(check, api, given, let_in):
            yield one
    async for one in _images(check, api, holders, closed):
        yield one
    for server, at in here:
        if at.namespace not in closed:
            async for one in _place(name, server, at, world, holders):
                yield one


async def _rights(check: str, api: Api, namespace: str, role: str) -> Looked:
    """Return whether our account may do somewhere what a role lets it."""
    where = f"in namespace {namespace}" if namespace else "on the whole cluster"
    lacks = await lacking(api, role, namespace)
    if not lacks:
        return Looked(check, "ok", f"our account may do {where} what the steps need")
    named = ", ".join(f"{what} ({', '.join(steps)})" for what, steps in lacks[:_NAMED])
    more = f" and {len(lacks) - _NAMED} more" if len(lacks) > _NAMED else ""
    remedy = f"bind it there to the ClusterRole {role}, which docs/contain-on-kubernetes.md has"
    return Looked(check, "fail", f"{where} our account may not {named}{more}", remedy)


async def _images(check: str, api: Api, holders: Holders, closed: Collection[str]) -> AsyncIterator[Looked]:
    """Yield what is kept out on our account, and who answers for that."""
    for image in await admission.kept_out(api) if "" not in closed else ():
        grip = Change(target=image.at(api.name), field="admitted", before=True, after=False).grip
        message, remedy = f"no new pod of {image.image} is let in", f"delete binding and policy {image.id}"
        yield await holders.explain(check, message, grip, value=False, otherwise=remedy)


async def _place(cluster: str, server: str, at: Workload, world: World, holders: Holders) -> AsyncIterator[Looked]:
    """Yield whether a server stands where the inventory says, and how."""
    check = f"cluster {cluster}"
    subject = f"{at.workload} {at.namespace}/{at.name} of server {server}"
    try:
        found = await find(cluster, at, server, world)
    except Gone:
        remedy = f"mend servers.{server}.places.{cluster} in inventory.yaml"
        yield Looked(check, "fail", f"there is no {subject}", remedy)
        return
    async for one in _workload(check, subject, found, world, holders):
        yield one


async def _workload(check: str, subject: str, found: Found, world: World, holders: Holders) -> AsyncIterator[Looked]:
    """Yield how a workload stands, and who answers for that."""
    if others := (await reverters(found, world)).others:
        remedy = "give our account what docs/contain-on-kubernetes.md has there, or have people pause it"
        message = f"{subject} is started again by {' and '.join(others)}, which cannot be paused from here"
        yield Looked(check, "warn", message, remedy)
    if await held(found.at.workload, found.uid, DENY, [found], world):
        wanted = denying(found.raw["spec"]["selector"])
        grip = Change(target=found.target, field=DENY, before=None, after=wanted).grip
        otherwise = "take away the policy that is labelled mcp-soar.io/quarantine"
        yield await holders.explain(check, f"{subject} is quarantined", grip, value=wanted, otherwise=otherwise)
    for field, value in (await narrowing.held(found.target, world)).items():
        grip = Change(target=found.target, field=field, before=None, after=value).grip
        otherwise = f"take away networkpolicy {narrowing.NARROW.name(found.uid)}"
        yield await holders.explain(check, f"{subject} is narrowed ({field})", grip, value=value, otherwise=otherwise)
    for own, says in ((quotas.FREEZE, "no new pod starts beside"), (quotas.LIMIT, "no larger container starts beside")):
        if (bound := await quotas.held(own, found.target, world)) is not None:
            grip = Change(target=found.target, field=own.stem, before=None, after=bound).grip
            otherwise = f"take away {own.kind.lower()} {own.name(found.uid)}"
            yield await holders.explain(check, f"{says} {subject}", grip, value=bound, otherwise=otherwise)
    if found.replicas:
        yield Looked(check, "ok", f"{subject} has {found.replicas} replicas")
        return
    grip = Change(target=found.target, field="replicas", before=1, after=0).grip
    yield await holders.explain(
        check, f"{subject} is scaled to zero", grip, value=0, otherwise="scale it up if it is to run"
    )


async def _network(check: str, api: Api, given: Probe | None, namespaces: Collection[str]) -> AsyncIterator[Looked]:
    """Yield whether anybody can say what a cluster's network lets through, and what earlier questions left behind."""
    if given is None:
        remedy = f"name an image in systems.{api.name}.probe of inventory.yaml"
        yield Looked(check, "warn", "no probe is set up: a quarantine is never established", remedy)
        return
    for namespace in sorted(namespaces):
        if why := await probe.rehearsed(api, given, namespace):
            remedy = f"mend systems.{api.name}.probe, or make namespace {given.namespace}"
            yield Looked(check, "fail", f"pods that try the network would not run in {namespace}: {why}", remedy)
            return
    yield Looked(check, "ok", "pods that try the network may run there")
    if left := await probe.left(api, given, {given.namespace, *namespaces}):
        named = ", ".join("/".join(one) for one in left[:_NAMED])
        message = f"{len(left)} pods of ours were left behind: {named}"
        yield Looked(check, "warn", message, "the next question deletes them")
