"""What holds for every playbook that ships: it names what exists, and its drill succeeds on real systems."""

from pathlib import Path
from typing import Any

import pytest

from flows.demo.mcp_server import Behaviour
from integrations.registry import SYSTEMS
from playbooks.action import Action, Capture, Check
from playbooks.drill import Drill, amiss, drills_of
from playbooks.incident import EntityKind, Status
from playbooks.inventory import PinKind, Resolved
from playbooks.playbook import Playbook, shipped
from playbooks.request import Verb
from playbooks.state import Incident, Progress
from playbooks.taxonomy import IncidentClass, load
from tests.contract import measuring
from tests.lab import scenes
from tests.lab.clients import Clients, joined
from tests.lab.fixtures import Lab
from tests.lab.house import SOURCES, House, alert, source

PLAYBOOKS = tuple(shipped().values())
DRILLS = {file: exercise for playbook in PLAYBOOKS for file, exercise in drills_of(playbook).items()}
KINDS: dict[str, type] = {"action": Action, "capture": Capture, "check": Check}
ARGUMENTS: dict[str, dict[str, Any]] = {"add": {"a": 1, "b": 2}}
BY_CLASS = SOURCES.model_copy(
    update={"sources": {"siem": source(classify=[{"tag": one.value, "class": one.value} for one in IncidentClass])}}
)
"""One authenticated source whose tags are the classes: nobody else confirms what it says."""

every_playbook = pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: playbook.id)
LONG = 10
"""A drill of more steps than this takes longer than ten seconds."""
every_drill = pytest.mark.parametrize(
    "exercise",
    [
        pytest.param(
            exercise,
            id=name.removesuffix(".yaml"),
            marks=[pytest.mark.slow] if len(exercise.expected.steps) > LONG else [],
        )
        for name, exercise in DRILLS.items()
    ],
)


def an_entity(kind: EntityKind) -> Resolved:
    return Resolved(kind=kind, id="something", server="a-server", principal="somebody")


def test_there_are_playbooks() -> None:
    assert PLAYBOOKS


@every_playbook
def test_every_step_names_something_of_its_kind_with_parameters_that_it_takes(playbook: Playbook) -> None:
    for step in (*playbook.confirm, *(step for _, step in playbook.steps())):
        if step.names is None:
            continue
        kind = SYSTEMS.steps.get(step.names)
        assert kind is not None, f"{step.id}: {step.names} is not registered"
        assert issubclass(kind, KINDS[step.kind]), f"{step.id}: {step.names} is no {step.kind}"
        kind.model_validate(step.parameters(an_entity(step.for_each)))


@every_playbook
def test_what_destroys_evidence_comes_after_what_collects_it(playbook: Playbook) -> None:
    collected: set[str] = set()
    for _, step in playbook.steps():
        kind = SYSTEMS.steps[step.names] if step.names else None
        if kind is not None and issubclass(kind, Capture):
            collected.add(kind.exhibit)
        if kind is not None and issubclass(kind, Action) and playbook.contain_first is None:
            assert set(kind.destroys) <= collected, f"{step.id} destroys what nobody collected before it"


@every_playbook
def test_its_drills_are_about_it_and_leave_no_step_out(playbook: Playbook) -> None:
    exercises = drills_of(playbook)
    first = f"{playbook.id}.drill.yaml"
    assert first in exercises, f"write playbooks/catalog/{first}: a playbook without a drill does not ship"
    assert playbook.class_ in {entry.id for entry in load().classes}
    runs = [step.id for _, step in playbook.steps() if step.kind != "task" and step.when != "leaking"]
    drilled: set[str] = set()
    for file, exercise in exercises.items():
        assert not list(amiss(exercise, playbook)), file
        named = [step.id for step in exercise.expected.steps if step.id in runs]
        assert named == [step for step in runs if step in named], f"{file}: in the order of the playbook"
        drilled |= set(named)
    assert set(runs) <= drilled, "no drill runs these"


@every_drill
async def test_its_drill_succeeds(exercise: Drill, lab: Lab, tmp_path: Path) -> None:
    clients = await joined(lab, tmp_path / "clients", exercise.world.principals)
    async with scenes.operator(lab) as forge:
        before = await forge.export_state()
    lab.victim.behave(Behaviour.model_validate(exercise.attack.model_dump()))
    world = {"inventory": clients.inventory, "sources": BY_CLASS}
    async with scenes.installation(lab, tmp_path, **world) as home, home.responding():  # type: ignore[arg-type]
        await home.receive(_alert(exercise, lab, clients))
        if exercise.expected.asked:
            await _asked(exercise, home, lab, clients)
        name = (await home.reaches(exercise.expected.status)).id
        await home.settled(name)
        await _as_expected(exercise, home, name)
        await _usable(lab, exercise.expected.usable, exercise.expected.unusable)
        await _let_in(clients, exercise.expected.let_in, exercise.expected.locked_out)
        measuring.note(exercise.playbook, await home.incident(name))
        if exercise.release is None:
            await home.ask("ann", Verb.CLOSE, name, reason="nothing can be given back", params={"as": "resolved"})
            await home.reaches(Status.CLOSED, name)
        else:
            await _released(exercise, home, name, lab=lab, clients=clients, before=before)


def _alert(exercise: Drill, lab: Lab, clients: Clients) -> bytes:
    given, server = exercise.alert, lab.site.server_id
    entities: list[dict[str, str]] = [{"kind": "server", "name": server}] if given.server else []
    for item in given.entities:
        if item.kind in {EntityKind.PRINCIPAL, EntityKind.TOKEN}:
            entities.append({"kind": item.kind.value, "name": clients.names.get(item.name, item.name)})
        else:
            name = scenes.the_resource(lab) if item.kind is EntityKind.RESOURCE else item.name
            entities.append({"kind": item.kind.value, "name": name, "server": server})
    return alert(server, tags=[given.tag], severity=given.severity.label, title=exercise.title, entities=entities)


async def _asked(exercise: Drill, home: House, lab: Lab, clients: Clients) -> None:
    """Have people answer, after the whole of what needs nobody: the evidence, and every cut that is automatic."""
    name = (await home.reaches(Status.AWAITING_APPROVAL)).id
    await home.settled(name)
    asked = {one.step: one for one in exercise.expected.asked}

    def waiting(incident: Incident) -> dict[str, str]:
        return {step.instance.partition("@")[0]: "; ".join(step.reasons) for step in incident.proposals}

    async def all_asked() -> bool:
        return waiting(await home.incident(name)).keys() == asked.keys()

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
    for step in incident.proposals:
        assert step.plan is not None
        verb = Verb(asked[step.instance.partition("@")[0]].says)
        await home.ask("bob", verb, name, digest=step.plan.digest, reason="looked at it")


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
        await _second_person(home, name, Verb.APPROVE, "it does")
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


async def _as_expected(exercise: Drill, home: House, name: str) -> None:
    def ended(incident: Incident) -> dict[str, set[str]]:
        ends: dict[str, set[str]] = {}
        for step in incident.steps.values():
            ends.setdefault(step.instance.partition("@")[0], set()).add(step.progress.value)
        return ends

    expected = {step.id: {step.ends.value} for step in exercise.expected.steps}

    async def so() -> bool:
        ends = ended(await home.incident(name))
        return all(ends.get(step) == end for step, end in expected.items())

    await home.until(so, f"the steps end as {expected}")
    incident = await home.incident(name)
    ours = {"raw-alert", "seal"}
    assert set(ended(incident)) - ours == set(expected), "no step runs that the drill does not name"
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
