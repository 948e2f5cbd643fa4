"""The laws and the drills that a real gateway is held to, for the one that only pretends and stands in for it."""

from pathlib import Path

import pytest

from playbooks.drill import Drill
from playbooks.playbook import Playbook
from tests.contract.test_actions import (  # noqa: F401  # each is collected here again, without its system
    test_a_write_whose_answer_is_lost_is_found_done,
    test_after_apply_plan_is_empty_and_twice_is_once,
    test_plan_only_reads_and_says_the_same_twice_and_names_every_target,
    test_the_inverse_restores_exactly_what_was_there_with_declared_permissions,
    test_verify_is_not_fooled,
)
from tests.contract.test_playbooks import DRILLS, as_parameters, signed_in_at
from tests.lab.drill import play
from tests.lab.fixtures import Lab

OF_A_GATEWAY = ("gateway.", "mcp.")
HERE = {file: (exercise, playbook) for file, (exercise, playbook) in DRILLS.items() if not exercise.world.cluster}
"""What a cluster does is the same behind whichever gateway."""


@pytest.mark.parametrize(("exercise", "playbook"), as_parameters(HERE))
@pytest.mark.timeout(300)
async def test_its_drill_succeeds(
    exercise: Drill, playbook: Playbook, lab: Lab, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await play(exercise, playbook, lab, tmp_path, provider=signed_in_at(exercise, request))


def test_drills_on_a_cluster_try_nothing_of_a_gateway_that_no_other_tries() -> None:
    def tried(files: set[str]) -> set[str]:
        steps = {step for file in files for step in _of_a_gateway(*DRILLS[file])}
        return {name for name in steps if name.startswith(OF_A_GATEWAY)}

    assert tried(set(DRILLS)) == tried(set(HERE))


def _of_a_gateway(exercise: Drill, playbook: Playbook) -> set[str]:
    return {step.names for _, step in playbook.steps() if step.names and step.id in exercise.tries}
