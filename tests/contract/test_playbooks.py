"""What holds for every playbook that ships: it names what exists, and its drill succeeds on real systems.

`MCP_SOAR_PLAYBOOKS` names a folder of other playbooks, to which the same is done instead.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from flows.service.settings import own_in
from integrations.registry import SYSTEMS
from playbooks.action import Action, Capture, Check
from playbooks.drill import Drill, amiss, drills_of
from playbooks.estate.inventory import Resolved
from playbooks.playbook import Playbook, shipped
from playbooks.record.incident import EntityKind
from playbooks.taxonomy import load
from tests.cluster.enforcer import lacking
from tests.contract import measuring
from tests.lab.drill import play
from tests.lab.fixtures import Lab
from tests.lab.keycloak import RunningKeycloak
from tests.lab.oidc import RunningProvider

OWN = os.environ.get("MCP_SOAR_PLAYBOOKS")
PLAYBOOKS = tuple((own_in(Path(OWN)) if OWN else shipped()).values())
DRILLS = {
    file: (exercise, playbook)
    for playbook in PLAYBOOKS
    for file, exercise in drills_of(playbook, Path(OWN) if OWN else None).items()
}
KINDS: dict[str, type] = {"action": Action, "capture": Capture, "check": Check}

pytestmark = pytest.mark.system("contextforge")
every_playbook = pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda playbook: playbook.id)
LONG = 10
"""A drill of more steps than this takes longer than ten seconds."""


def as_parameters(drills: dict[str, tuple[Drill, Playbook]]) -> list[ParameterSet]:
    """Return drills as parameters `exercise` and `playbook`."""
    return [
        pytest.param(
            exercise,
            playbook,
            id=name.removesuffix(".yaml"),
            marks=list(_marks(exercise)),
        )
        for name, (exercise, playbook) in drills.items()
    ]


def _marks(exercise: Drill) -> Iterator[pytest.MarkDecorator]:
    if len(exercise.expected.steps) > LONG:
        yield pytest.mark.slow
    if exercise.world.cluster:
        yield pytest.mark.starts("cluster")
    if exercise.world.keycloak:
        yield pytest.mark.starts("the_keycloak")


def signed_in_at(exercise: Drill, request: pytest.FixtureRequest) -> RunningProvider | RunningKeycloak | None:
    """Return the identity provider of a drill's world; None if it has none."""
    if not (exercise.world.signed_in or exercise.world.clients):
        return None
    found: RunningProvider | RunningKeycloak = request.getfixturevalue(
        "the_keycloak" if exercise.world.keycloak else "identity_provider"
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
        kind = SYSTEMS.steps.get(step.names)
        assert kind is not None, f"{step.id}: {step.names} is not registered"
        assert issubclass(kind, KINDS[step.kind]), f"{step.id}: {step.names} is no {step.kind}"
        kind.model_validate(step.parameters(an_entity(step.for_each)).of(kind))


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
    exercises = {file: exercise for file, (exercise, whose) in DRILLS.items() if whose is playbook}
    first = f"{playbook.id}.drill.yaml"
    assert first in exercises, f"write {first} beside it: a playbook without a drill does not ship"
    assert playbook.class_ in {entry.id for entry in load().classes}
    runs = [step.id for _, step in playbook.steps() if step.kind != "task" and step.when != "leaking"]
    drilled: set[str] = set()
    for file, exercise in exercises.items():
        assert not list(amiss(exercise, playbook)), file
        named = list(dict.fromkeys(step.id for step in exercise.expected.steps if step.id in runs))
        assert named == [step for step in runs if step in named], f"{file}: in the order of the playbook"
        drilled |= exercise.tries
    assert set(runs) <= drilled, "no drill runs these"


@pytest.mark.parametrize(("exercise", "playbook"), as_parameters(DRILLS))
@pytest.mark.timeout(300)
async def test_its_drill_succeeds(
    exercise: Drill, playbook: Playbook, lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cluster = request.getfixturevalue("cluster") if exercise.world.cluster else None
    if exercise.world.enforces and (missing := lacking()):
        pytest.skip(missing)
    provider = signed_in_at(exercise, request)
    measuring.note(exercise.playbook, await play(exercise, playbook, lab, tmp_path, cluster=cluster, provider=provider))
