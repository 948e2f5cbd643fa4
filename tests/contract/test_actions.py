"""The laws that hold for every registered action, tried on real systems.

A new action needs a drill beside the tests of its system; the first test fails until it has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest

from integrations.gateways.canary import Canary
from integrations.registry import SYSTEMS
from integrations.systems.contextforge.driver import ContextForge
from playbooks.action import Action, Capture
from playbooks.strict import canonical
from tests.contract import laws
from tests.lab.fixtures import Lab


def drilled(kind: str) -> Mapping[str, Callable[[Any], dict[str, Any]]]:
    """Return the parameters with which each action of a system is tried, from the folder of its tests."""
    found: Mapping[str, Callable[[Any], dict[str, Any]]] = import_module(
        f"tests.integrations.systems.{kind.replace('-', '_')}.drills"
    ).DRILLS
    return found


@dataclass(frozen=True)
class Drill:
    """How to try an action.

    Args:
        action: its class.
        params: its parameters, for a lab.
    """

    action: type[Action]
    params: Callable[[Lab], dict[str, Any]]

    def intent(self, lab: Lab) -> Action:
        return self.action.model_validate(self.params(lab))


def actions(kind: str) -> dict[str, type[Action]]:
    return {step.name: step for step in SYSTEMS.works[kind].steps if issubclass(step, Action)}


DRILLS = [Drill(actions("contextforge")[name], params) for name, params in drilled("contextforge").items()]

pytestmark = pytest.mark.system("contextforge")
every_action = pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.action.name)


async def state(lab: Lab) -> bytes:
    """Return everything of the gateway that a release has to restore."""
    return canonical(await lab.world.reach(ContextForge, "main").export_state())


def test_every_action_has_a_drill() -> None:
    for kind in SYSTEMS.works:
        if wanted := set(actions(kind)):
            assert wanted == set(drilled(kind)), f"tests/integrations/systems: drills of {kind}"


def test_names_are_unique_and_every_step_declares_what_it_may() -> None:
    for step in SYSTEMS.steps.values():
        assert (0 < step.silence <= step.longest) if issubclass(step, Capture) else step.timeout > 0


@every_action
async def test_plan_only_reads_and_says_the_same_twice_and_names_every_target(lab: Lab, drill: Drill) -> None:
    await laws.plan_only_reads(drill.intent(lab), lab.world, lambda: state(lab))
    assert lab.proxy.writes == []
    await laws.speaks_every_language(drill.intent(lab), lab.world, SYSTEMS.words)


@every_action
async def test_after_apply_plan_is_empty_and_twice_is_once(lab: Lab, drill: Drill) -> None:
    await laws.twice_is_once(drill.intent(lab), lab.world, lambda: state(lab))


@every_action
async def test_the_inverse_restores_exactly_what_was_there_with_declared_permissions(lab: Lab, drill: Drill) -> None:
    declared = SYSTEMS.works["contextforge"].asks(drill.action)
    await laws.uses_what_it_declares(drill.intent(lab), lab.world, lambda: state(lab), lab.proxy, declared)


@every_action
async def test_verify_is_not_fooled(lab: Lab, drill: Drill) -> None:
    def hurry(seconds: float) -> None:
        lab.world.reach(ContextForge, "main").patience = seconds
        lab.world.reach(Canary, "main").endpoint.patience = seconds

    await laws.is_not_fooled(drill.intent(lab), lab.world, lab.proxy, hurry)


@every_action
async def test_a_write_whose_answer_is_lost_is_found_done(lab: Lab, drill: Drill) -> None:
    await laws.a_lost_answer_is_found_done(drill.intent(lab), lab.world, lab.proxy)
