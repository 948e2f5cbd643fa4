"""Plays a playbook's drill: a real server behind a real gateway is attacked, alerts come, people answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.demo.mcp_server import Behaviour
from integrations.systems.denylist import DenyList, Subject
from integrations.systems.kubernetes import Cluster, GatewayPods, Probe, Workload
from integrations.systems.kubernetes.probe import ours
from integrations.systems.ssf import Subject as Listened
from playbooks.drill import Drill
from playbooks.estate.inventory import Inventory, Principal
from playbooks.estate.pins import PinKind
from playbooks.estate.systems import Secret
from playbooks.people.request import Verb
from playbooks.playbook import Playbook, When
from playbooks.record.incident import EntityKind, Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.taxonomy import IncidentClass
from tests.cluster.cluster import Kubernetes
from tests.cluster.enforcer import enforcing
from tests.cluster.fixtures import PROBES
from tests.lab import denied, http_served, scenes
from tests.lab.clients import Clients, joined
from tests.lab.fixtures import Lab, unique_name
from tests.lab.house import SOURCES, House, alert, source
from tests.lab.keycloak import RunningKeycloak
from tests.lab.oidc import RunningProvider, kept
from tests.lab.ssf import listening

CLUSTER = "cluster"
PROVIDER = "sso"
LIST = "denied"
RECEIVER = "app"
_DENIED = 401  # HTTP
WATCH_EVERY = 6.0
"""Seconds between two verifications of a lease; no drill is about what they find, and each asks the gateway a lot."""
ARGUMENTS: dict[str, dict[str, Any]] = {"add": {"a": 1, "b": 2}}
BY_CLASS = SOURCES.model_copy(
    update={"sources": {"siem": source(classify=[{"tag": one.value, "class": one.value} for one in IncidentClass])}}
)
"""One authenticated source whose tags are the classes: nobody else confirms what it says."""


async def play(
    exercise: Drill,
    playbook: Playbook,
    lab: Lab,
    folder: Path,
    *,
    cluster: Kubernetes | None = None,
    provider: RunningProvider | RunningKeycloak | None = None,
) -> Incident:
    """Play a drill to its end, and return the incident as it was before anything was given back.

    Args:
        exercise: the drill.
        playbook: whose.
        lab: the world it is played in.
        folder: for the installation's files.
        cluster: that its server runs on too, if its world has one.
        provider: that its principals are signed in at, if any is.

    Raises:
        AssertionError: something came otherwise than it says.
    """
    clients = await joined(lab, folder / "clients", exercise.world.principals)
    clients, issued = _signed_in(exercise, clients, folder / "issued", provider)
    async with scenes.operator(lab) as forge:
        before = await forge.export_state()
    lab.victim.behave(Behaviour.model_validate(exercise.attack.model_dump()))
    world: dict[str, Any] = {"sources": BY_CLASS, "playbooks": {playbook.class_: playbook}}
    async with (
        _listed(exercise, clients, folder / "listed", lab) as (clients, turned_away),
        _subscribed(exercise, clients, folder / "subscribed") as (clients, told),
        _standing(lab, clients.inventory, folder, cluster, enforces=exercise.world.enforces) as (inventory, pods),
        scenes.installation(lab, folder, inventory=inventory, watch_every=WATCH_EVERY, **world) as home,
        home.responding(),
    ):
        await home.receive(_alert(exercise, lab, clients))
        if exercise.alert.chosen:
            entities = [{"kind": "server", "name": lab.site.server_id}]
            opened = (await home.reaches(Status.AWAITING_APPROVAL)).id
            await home.ask("ann", Verb.RESPOND, opened, reason="look at it", params={"entities": entities})
        if exercise.expected.asked:
            later = {step.id for _, step in playbook.steps() if step.action and step.when is When.CONTAINED}
            await _asked(exercise, home, lab, clients, later=later)
        name = (await home.reaches(exercise.expected.status)).id
        await home.settled(name)
        await _as_expected(exercise, home, name)
        await _usable(lab, exercise.expected.usable, exercise.expected.unusable)
        await _let_in(clients, exercise.expected.let_in, exercise.expected.locked_out)
        assert pods() == exercise.expected.pods
        worthless = set(exercise.expected.worthless)
        assert {name for name, active in issued().items() if not active} == worthless
        assert await turned_away() == set(exercise.expected.turned_away)
        assert told() == list(exercise.expected.told), "once each, and nobody else"
        contained = await home.incident(name)
        if exercise.release is None:
            await home.ask("ann", Verb.CLOSE, name, reason="nothing can be given back", params={"as": "resolved"})
            await home.reaches(Status.CLOSED, name)
        else:
            await _released(exercise, home, name, lab=lab, clients=clients, before=before)
            assert pods() == exercise.release.pods
            assert {name for name, active in issued().items() if not active} == worthless, "nothing is resurrected"
            assert await turned_away() == set(), "what was on the list alone is taken again"
            assert told() == list(exercise.expected.told), "what was told stays told, and no more is"
    return contained


def _signed_in(
    exercise: Drill, clients: Clients, folder: Path, provider: RunningProvider | RunningKeycloak | None
) -> tuple[Clients, Callable[[], dict[str, bool]]]:
    """Have principals signed in at a provider; return everybody, and what says of each token whether it is in use."""
    if provider is None:
        return clients, dict
    names, tokens = dict(clients.names), dict[str, str]()
    principals = dict(clients.inventory.principals)
    for who in (*exercise.world.signed_in, *exercise.world.clients):
        name = names.setdefault(who, unique_name(who))
        if who in exercise.world.signed_in:
            at = provider.account(folder, name, access=f"{who}-session", refresh=f"{who}-laptop")
        else:
            assert isinstance(provider, RunningKeycloak), "a drill that has clients has one"
            at = provider.service(folder, name, access=f"{who}-session")
        known = principals.get(name) or Principal(title=who)
        principals[name] = known.model_copy(update={"places": {**known.places, PROVIDER: at}})
        for label in at.tokens:
            tokens[label] = (folder / f"{name}-{label}").read_text(encoding="utf-8")
    systems = {**clients.inventory.systems, PROVIDER: provider.settings(folder)}
    inventory = clients.inventory.model_copy(update={"systems": systems, "principals": principals})
    return replace(clients, inventory=inventory, names=names), lambda: {
        label: provider.active(token) for label, token in tokens.items()
    }


@asynccontextmanager
async def _listed(
    exercise: Drill, clients: Clients, folder: Path, lab: Lab
) -> AsyncIterator[tuple[Clients, Callable[[], Awaitable[set[str]]]]]:
    """Have principals use JWTs at a server that asks a list; yield everybody, and what says which it turns away."""
    if not exercise.world.listed:
        yield clients, _nobody
        return
    folder.mkdir(mode=0o700)  # noqa: ASYNC240  # at the start
    file, names, principals = folder / "denied.json", dict(clients.names), dict(clients.inventory.principals)
    with denied.listed(file) as url:
        async with http_served.serve(denied.Door(url, lab.victim.url).answer) as address:
            resource, tokens = f"{address}/mcp", dict[str, str]()
            for who in exercise.world.listed:
                name = names.setdefault(who, unique_name(who))
                tokens[label := f"{who}-jwt"] = denied.issued(name)
                held = {label: kept(folder, f"{name}-{label}", tokens[label])}
                known = principals.get(name) or Principal(title=who)
                at = Subject.model_validate({"user": name, "resource": resource, "held": held})
                principals[name] = known.model_copy(update={"places": {**known.places, LIST: at}})
            settings = DenyList(kind="denylist", file=str(file), url=url, issuer=denied.ISSUER)
            systems = {**clients.inventory.systems, LIST: settings}
            inventory = clients.inventory.model_copy(update={"systems": systems, "principals": principals})

            async def turned_away() -> set[str]:
                return {label for label, token in tokens.items() if await denied.status(resource, token) == _DENIED}

            assert await turned_away() == set()
            yield replace(clients, inventory=inventory, names=names), turned_away


@asynccontextmanager
async def _subscribed(
    exercise: Drill, clients: Clients, folder: Path
) -> AsyncIterator[tuple[Clients, Callable[[], list[str]]]]:
    """Have an application that listens keep sessions of principals; yield everybody, and what says whose it ended."""
    if not exercise.world.subscribed:
        yield clients, list
        return
    async with listening(folder) as there:
        names, principals = dict(clients.names), dict(clients.inventory.principals)
        for who in exercise.world.subscribed:
            name = names.setdefault(who, unique_name(who))
            known = principals.get(name) or Principal(title=who)
            at = Listened(iss=denied.ISSUER, sub=name)
            principals[name] = known.model_copy(update={"places": {**known.places, RECEIVER: at}})
        systems = {**clients.inventory.systems, RECEIVER: there.settings()}
        inventory = clients.inventory.model_copy(update={"systems": systems, "principals": principals})
        called = {name: who for who, name in names.items()}
        yield (
            replace(clients, inventory=inventory, names=names),
            lambda: [called[subject["sub"]] for subject in there.application.told],
        )


async def _nobody() -> set[str]:
    return set()


@asynccontextmanager
async def _standing(
    lab: Lab, inventory: Inventory, folder: Path, cluster: Kubernetes | None, *, enforces: bool
) -> AsyncIterator[tuple[Inventory, Callable[[], int | None]]]:
    """Have the lab's server run on a cluster, if there is one; yield the inventory, and what counts its pods there."""
    if cluster is None:
        yield inventory, lambda: None
        return
    with cluster.namespace() as namespace, enforcing(cluster, namespace, PROBES) if enforces else nullcontext():
        await asyncio.to_thread(cluster.deploy, namespace, "weather")
        file = folder / "kubeconfig"
        file.touch(mode=0o600)
        file.write_text(cluster.kubeconfig("responder"), encoding="utf-8")
        probe = Probe(image=cluster.probe)
        server = inventory.servers[lab.site.server_id]
        places = {**server.places, CLUSTER: Workload(namespace=namespace, name="weather")}
        there = inventory.model_copy(
            update={
                "systems": {
                    **inventory.systems,
                    CLUSTER: Cluster(
                        kind="kubernetes",
                        kubeconfig=Secret(file=str(file)),
                        probe=probe,
                        gateway=GatewayPods(namespace=namespace, labels={"app": "gateway"}),
                    ),
                },
                "servers": {**inventory.servers, lab.site.server_id: server.model_copy(update={"places": places})},
            }
        )
        yield there, lambda: sum(not ours(pod, probe) for pod in cluster.pods(namespace))


def _alert(exercise: Drill, lab: Lab, clients: Clients) -> bytes:
    given, server = exercise.alert, lab.site.server_id
    entities: list[dict[str, str]] = [{"kind": "server", "name": server}] if given.server else []
    for item in given.entities:
        if item.kind in {EntityKind.PRINCIPAL, EntityKind.TOKEN}:
            # A token's name may have whose it is before it.
            who, of, label = item.name.partition("/")
            entities.append({"kind": item.kind.value, "name": clients.names.get(who, who) + of + label})
        else:
            name = scenes.the_resource(lab) if item.kind is EntityKind.RESOURCE else item.name
            entities.append({"kind": item.kind.value, "name": name, "server": server})
    return alert(server, tags=[given.tag], severity=given.severity.label, title=exercise.title, entities=entities)


async def _asked(exercise: Drill, home: House, lab: Lab, clients: Clients, *, later: set[str]) -> None:
    """Have people answer, after the whole of what needs nobody: the evidence, and every cut that is automatic.

    Args:
        exercise: the drill.
        home: who responds.
        lab: the world.
        clients: who is there.
        later: steps that nobody is asked about before what is cut holds.
    """
    name = (await home.reaches(Status.AWAITING_APPROVAL)).id
    await home.settled(name)
    asked = {one.step: one for one in exercise.expected.asked}

    def waiting(incident: Incident) -> dict[str, str]:
        return {step.instance.partition("@")[0]: "; ".join(step.reasons) for step in incident.proposals}

    async def all_asked() -> bool:
        return waiting(await home.incident(name)).keys() == asked.keys() - later

    await home.until(all_asked, f"people are asked about {sorted(asked)}, and about nothing else")
    incident = await home.incident(name)
    for name_, reasons in waiting(incident).items():
        assert asked[name_].because in reasons, name_
    done = [step for step in incident.cuts if step.progress is not Progress.PROPOSED]
    assert all(step.progress is Progress.ESTABLISHED for step in done), "what is automatic does not wait for anybody"
    if not done:
        assert incident.metrics["first_effect_at"] is None, "what waits has no effect"
        await _usable(lab, (*exercise.expected.usable, *exercise.expected.unusable), ())
    await _let_in(clients, (*exercise.expected.let_in, *exercise.expected.locked_out), ())
    answered: set[str] = set()
    steps: set[str] = set()

    async def all_answered() -> bool:
        waits = (await home.incident(name)).proposals
        # One step may be asked about several things, and about one of them later.
        for step in waits:
            assert step.plan is not None
            if step.plan.digest not in answered:
                answered.add(step.plan.digest)
                steps.add(step.instance.partition("@")[0])
                answer = asked[step.instance.partition("@")[0]]
                assert answer.because in "; ".join(step.reasons), step.instance
                for who in answer.by:
                    await home.ask(who, Verb(answer.says), name, digest=step.plan.digest, reason="looked at it")
        return not waits and steps == asked.keys()

    await home.until(all_answered, f"people have answered whatever {name} asks")


async def _released(
    exercise: Drill, home: House, name: str, *, lab: Lab, clients: Clients, before: dict[str, list[dict[str, Any]]]
) -> None:
    wanted = exercise.release
    assert wanted is not None
    if wanted.refused_while_attacked:
        await home.ask("ann", Verb.RELEASE, name, reason="too early")
        await _second_person(home, name, Verb.DENY, "it is still attacked")
        await scenes.taken_in(home)
        await _usable(lab, exercise.expected.usable, exercise.expected.unusable)
        await _let_in(clients, exercise.expected.let_in, exercise.expected.locked_out)
    lab.victim.behave()
    await home.ask("ann", Verb.RELEASE, name, reason="it behaves again")
    if wanted.approved:
        await _agreed(home, name)
    await home.given_back(name)
    await home.reaches(wanted.status, name)
    await _usable(lab, wanted.usable, ())
    await _let_in(clients, wanted.let_in, wanted.lost)
    gone = {clients.token_id(client) for client in wanted.lost}
    async with scenes.operator(lab) as forge:
        after = await forge.export_state()
    lost = [token for token in after["tokens"] if token["id"] in gone]
    assert all(token["is_revoked"] for token in lost)
    for state in (before, after):
        state["tokens"] = [token for token in state["tokens"] if token["id"] not in gone]
    assert after == before


async def _second_person(home: House, name: str, verb: Verb, reason: str) -> None:
    async def asked() -> bool:
        incident = await home.incident(name)
        still = {f"release-{instance}" for instance, lease in incident.leases.items() if lease.open}
        return bool(still) and still == {step.instance for step in incident.proposals}

    await home.until(asked, "every release that is left waits for another person")
    for step in (await home.incident(name)).proposals:
        assert step.plan is not None
        await home.ask("bob", verb, name, digest=step.plan.digest, reason=reason)


async def _agreed(home: House, name: str) -> None:
    """Have another person agree to every release until all is given back: one may change what the next would do."""
    await _second_person(home, name, Verb.APPROVE, "it does")
    agreed: set[str] = set()

    async def back() -> bool:
        incident = await home.incident(name)
        for step in incident.proposals:
            if step.plan is not None and step.plan.digest not in agreed:
                agreed.add(step.plan.digest)
                await home.ask("bob", Verb.APPROVE, name, digest=step.plan.digest, reason="it does")
        return incident.metrics["released_at"] is not None

    await home.until(back, f"{name} has given everything back")


async def _as_expected(exercise: Drill, home: House, name: str) -> None:
    def ended(incident: Incident) -> dict[str, set[str]]:
        ends: dict[str, set[str]] = {}
        for step in incident.steps.values():
            ends.setdefault(step.instance.partition("@")[0], set()).add(step.progress.value)
        return ends

    expected: dict[str, set[str]] = {}
    for step in exercise.expected.steps:
        expected.setdefault(step.id, set()).add(step.ends.value)

    async def so() -> bool:
        ends = ended(await home.incident(name))
        return all(ends.get(step) == end for step, end in expected.items())

    await home.until(so, f"the steps end as {expected}")
    incident = await home.incident(name)
    ours = {"raw-alert", "seal"}
    unnamed = set(ended(incident)) - ours - set(expected)
    assert not unnamed, f"these steps ran too, and the drill does not name them: {unnamed}"
    assert {exhibit["kind"] for exhibit in incident.exhibits} == set(exercise.expected.exhibits)
    assert incident.unavailable == []

    async def told() -> bool:
        return {notice.partition(":")[0] for notice in (await home.incident(name)).noticed} >= set(
            exercise.expected.notices
        )

    await home.until(told, f"people are told of {exercise.expected.notices}")


async def _usable(lab: Lab, usable: tuple[str, ...], unusable: tuple[str, ...]) -> None:
    for what in (*usable, *unusable):
        kind, _, name = what.rpartition(" ")
        if kind:
            assert await scenes.readable(lab, PinKind(kind)) is (what in usable), what
            continue
        arguments = ARGUMENTS.get(name, {"city": "Seoul"})
        assert await scenes.usable(lab, name, **arguments) is (what in usable), what


async def _let_in(clients: Clients, let_in: tuple[str, ...], locked_out: tuple[str, ...]) -> None:
    for client in (*let_in, *locked_out):
        assert await clients.let_in(client) is (client in let_in), client
