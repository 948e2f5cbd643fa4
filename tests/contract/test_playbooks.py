"""What holds for every playbook that ships: it names what exists, and its drill succeeds on real systems."""

from pathlib import Path
from typing import Any

import pytest

from flows.demo.mcp_server import Behaviour
from integrations.registry import STEPS
from playbooks.action import Action, Capture, Check
from playbooks.drill import Drill, drill_of
from playbooks.incident import EntityKind
from playbooks.inventory import Resolved
from playbooks.playbook import Playbook, shipped
from playbooks.request import Verb
from playbooks.taxonomy import load
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import SOURCES, House, alert

PLAYBOOKS = tuple(shipped().values())
KINDS: dict[str, type] = {"action": Action, "capture": Capture, "check": Check}
ARGUMENTS: dict[str, dict[str, Any]] = {"add": {"a": 1, "b": 2}}

every_playbook = pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: playbook.id)


def drill(playbook: Playbook) -> Drill:
    found = drill_of(playbook)
    assert found is not None, (
        f"write playbooks/catalog/{playbook.id}.drill.yaml: a playbook without a drill does not ship"
    )
    return found


def an_entity(kind: EntityKind) -> Resolved:
    return Resolved(kind=kind, id="something", server="a-server", principal="somebody")


def test_there_are_playbooks() -> None:
    assert PLAYBOOKS


@every_playbook
def test_every_step_names_something_of_its_kind_with_parameters_that_it_takes(playbook: Playbook) -> None:
    for step in (*playbook.confirm, *(step for _, step in playbook.steps())):
        if step.names is None:
            continue
        kind = STEPS.get(step.names)
        assert kind is not None, f"{step.id}: {step.names} is not registered"
        assert issubclass(kind, KINDS[step.kind]), f"{step.id}: {step.names} is no {step.kind}"
        kind.model_validate(step.parameters(an_entity(step.for_each)))


@every_playbook
def test_what_destroys_evidence_comes_after_what_collects_it(playbook: Playbook) -> None:
    collected: set[str] = set()
    for _, step in playbook.steps():
        kind = STEPS[step.names] if step.names else None
        if kind is not None and issubclass(kind, Capture):
            collected.add(kind.exhibit)
        if kind is not None and issubclass(kind, Action) and playbook.contain_first is None:
            assert set(kind.destroys) <= collected, f"{step.id} destroys what nobody collected before it"


@every_playbook
def test_its_drill_is_about_it_and_leaves_no_step_out(playbook: Playbook) -> None:
    exercise = drill(playbook)
    assert exercise.playbook == playbook.id
    assert playbook.class_ in {entry.id for entry in load().classes}
    phases = {step.id: phase for phase, step in playbook.steps()}
    for expected in exercise.expected.steps:
        assert phases.get(expected.id) is expected.phase, f"{expected.id} is no step of that phase"
    runs = [step.id for _, step in playbook.steps() if step.kind != "task" and step.when == "always"]
    assert [step.id for step in exercise.expected.steps if step.id in runs] == runs


@every_playbook
async def test_its_drill_succeeds(playbook: Playbook, lab: Lab, tmp_path: Path) -> None:
    exercise = drill(playbook)
    async with scenes.operator(lab) as forge:
        before = await forge.export_state()
    lab.victim.behave(Behaviour.model_validate(exercise.attack.model_dump()))
    async with scenes.installation(lab, tmp_path, sources=SOURCES) as home, home.responding():
        given = exercise.alert
        about = [{"kind": item.kind.value, "name": item.name, "server": lab.site.server_id} for item in given.entities]
        entities = [{"kind": "server", "name": lab.site.server_id}, *about]
        body = alert(lab.site.server_id, tags=[given.tag], severity=given.severity.label, entities=entities)
        await home.receive(body)
        name = (await home.reaches(exercise.expected.status)).id
        await home.settled(name)
        await _as_expected(exercise, home, name)
        await _usable(lab, exercise.expected.usable, exercise.expected.unusable)
        if exercise.release is None:
            return
        if exercise.release.refused_while_attacked:
            await home.ask("ann", Verb.RELEASE, name, reason="too early")

            async def asked() -> bool:
                return any(step.instance.startswith("release-") for step in (await home.incident(name)).proposals)

            await home.until(asked, "a release while attacked waits for another person")
            for step in (await home.incident(name)).proposals:
                assert step.plan is not None
                await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="it is still attacked")
            await scenes.taken_in(home)
            await _usable(lab, exercise.expected.usable, exercise.expected.unusable)
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="it behaves again")
        await home.given_back(name)
        await home.reaches(exercise.release.status, name)
        await _usable(lab, exercise.release.usable, ())
        async with scenes.operator(lab) as forge:
            assert await forge.export_state() == before


async def _as_expected(exercise: Drill, home: House, name: str) -> None:
    def ended(incident: Any) -> dict[str, set[str]]:  # noqa: ANN401  # an Incident
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
    for tool in (*usable, *unusable):
        arguments = ARGUMENTS.get(tool, {"city": "Seoul"})
        assert await scenes.usable(lab, tool, **arguments) is (tool in usable), tool
