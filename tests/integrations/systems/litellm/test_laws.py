"""The laws that hold for every action, tried on the stand-in for a LiteLLM proxy."""

from collections.abc import AsyncIterator

import pytest

from integrations.registry import SYSTEMS
from playbooks.action import Action
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.litellm.drills import DRILLS
from tests.lab.faulty_proxy import FaultyProxy, faulty_proxy
from tests.lab.litellm import Proxied

every_action = pytest.mark.parametrize("name", DRILLS)


@pytest.fixture
async def faulty(lab: Proxied) -> AsyncIterator[tuple[Proxied, FaultyProxy]]:
    """The same, behind what fails as it is told to."""
    async with faulty_proxy(lab.url) as proxy:
        other = lab.at(proxy.url)
        try:
            yield other, proxy
        finally:
            await other.world.aclose()


def intent(lab: Proxied, name: str) -> Action:
    action = SYSTEMS.step(name)
    assert issubclass(action, Action)
    return action.model_validate(DRILLS[name](lab))


async def state(lab: Proxied) -> bytes:
    return canonical(await lab.driver.export_state())


@every_action
async def test_its_plan_only_reads_and_is_said_in_every_language(lab: Proxied, name: str) -> None:
    await laws.plan_only_reads(intent(lab, name), lab.world, lambda: state(lab))
    await laws.speaks_every_language(intent(lab, name), lab.world, SYSTEMS.words)


@every_action
async def test_twice_is_once(lab: Proxied, name: str) -> None:
    await laws.twice_is_once(intent(lab, name), lab.world, lambda: state(lab))


@every_action
async def test_the_inverse_restores_with_declared_permissions(faulty: tuple[Proxied, FaultyProxy], name: str) -> None:
    lab, proxy = faulty
    declared = SYSTEMS.works["litellm"].asks(type(intent(lab, name)))
    await laws.uses_what_it_declares(intent(lab, name), lab.world, lambda: state(lab), proxy, declared)


@every_action
async def test_verify_is_not_fooled(faulty: tuple[Proxied, FaultyProxy], name: str) -> None:
    lab, proxy = faulty
    await laws.is_not_fooled(intent(lab, name), lab.world, proxy, lab.hurry)


@every_action
async def test_a_write_whose_answer_is_lost_is_found_done(faulty: tuple[Proxied, FaultyProxy], name: str) -> None:
    lab, proxy = faulty
    await laws.a_lost_answer_is_found_done(intent(lab, name), lab.world, proxy)
