"""A step `when: contained` waits until all that is cut of its thing holds, and of nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.engine.schedule import Todo, ready
from integrations import registry
from integrations.system import Systems
from playbooks.estate.inventory import Resolved
from playbooks.estate.places import Places
from playbooks.gate.plan import Plan, Radius
from playbooks.playbook import Playbook, Step
from playbooks.record.incident import EntityKind, Phase
from playbooks.record.state import Incident
from playbooks.record.step import LeaseState, Progress, StepState
from playbooks.strict import now
from tests.flows.engine.test_places import LOWER, WEATHER, about, book, inventory
from tests.lab.yard import SYSTEM, LowerFlag

TELL = {"id": "tell", "action": LowerFlag.name, "for": "server", "at": "yard", "when": "contained", "why": "test"}
OTHER = Resolved(kind=EntityKind.SERVER, id="other", server="other")
CUT, TOLD = "lower@back:weather", "tell@back:weather"


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "SYSTEMS", Systems((*registry.SYSTEMS.all, SYSTEM)))


@pytest.fixture
def where(tmp_path: Path) -> Places:
    return Places(inventory(tmp_path, "back"), registry.SYSTEMS.titles)


def stands(state: Incident, instance: str, progress: Progress, **more: Any) -> None:  # noqa: ANN401  # fields of it
    key = (OTHER if instance.endswith("other") else WEATHER).key
    step = StepState(instance, Phase.CUT, progress, action=LowerFlag.name, entity=key, **more)
    state.steps[instance] = step


def todos(state: Incident, where: Places) -> list[str]:
    def found(playbook: Playbook) -> Iterator[Todo]:
        return ready(state, playbook, places=where, until=Phase.CUT, now=now(), stopped=False, retries=())

    return [todo.instance for todo in found(book(LOWER, TELL))]


def test_nothing_is_asked_before_the_first_cut(where: Places) -> None:
    assert todos(about(WEATHER), where) == [CUT]


@pytest.mark.parametrize(
    ("progress", "more"),
    [
        *((one, {}) for one in Progress if one not in {Progress.ESTABLISHED, Progress.SKIPPED, Progress.RELEASED}),
        (Progress.SKIPPED, {"awaits": ("picture@weather",)}),
        (Progress.SKIPPED, {"no": "sha256:0"}),
        # All of it was given back: nothing is contained.
        (Progress.RELEASED, {}),
    ],
)
def test_what_does_not_hold_is_waited_for(where: Places, progress: Progress, more: dict[str, Any]) -> None:
    state = about(WEATHER)
    stands(state, CUT, progress, **more)
    assert TOLD not in todos(state, where)
    # Beside one that holds, too; and where it was approved meanwhile, it waits all the same.
    stands(state, "cut@weather", Progress.ESTABLISHED)
    if progress is not Progress.RELEASED:
        assert TOLD not in todos(state, where)
        stands(state, TOLD, Progress.APPROVED)
        assert TOLD not in todos(state, where)


def test_once_it_holds_it_runs_whatever_has_no_place_and_however_others_stand(where: Places) -> None:
    state = about(WEATHER)
    stands(state, CUT, Progress.ESTABLISHED)
    stands(state, "cut@weather", Progress.SKIPPED, nowhere=True)
    stands(state, "cut@other", Progress.PROPOSED)
    assert todos(state, where) == [TOLD]


def test_what_was_begun_is_brought_to_its_end_though_somebody_undid_the_cut(where: Places) -> None:
    state = about(WEATHER)
    stands(state, CUT, Progress.NOT_ESTABLISHED)
    stands(state, TOLD, Progress.INTENDED)
    plan = Plan(action=LowerFlag.name, params={}, summary="x", changes=(), radius=Radius.SERVER)
    state.leases[TOLD] = LeaseState(TOLD, plan, 1, now(), now())
    assert todos(state, where) == [TOLD]


def test_only_tasks_and_actions_wait_for_it() -> None:
    with pytest.raises(ValueError, match="only a task or an action says `when: contained`"):
        Step.model_validate({"id": "ask", "check": "mcp.definitions_match", "when": "contained", "why": "test"})
