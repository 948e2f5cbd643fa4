"""The laws that hold for every action, tried on a real mcp-manager-gateway."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flows.demo.mcp_server import McpServer
from integrations.registry import SYSTEMS
from playbooks.action import Action
from playbooks.gate.plan import Answer
from playbooks.strict import canonical
from tests.contract import laws
from tests.integrations.systems.mcp_manager_gateway.drills import DRILLS
from tests.lab.manager import ENVIRONMENT, Managed, RunningManager, managed, manager_gateway

pytestmark = [pytest.mark.system("mcp-manager-gateway"), pytest.mark.timeout(240)]

_NUMBERS = itertools.count(1)

every_action = pytest.mark.parametrize("name", DRILLS)


@pytest.fixture(scope="session")
def manager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningManager]:
    """A real gateway, shared by the session."""
    if wrong := ENVIRONMENT.install():
        pytest.skip(f"mcp-manager-gateway is not installed: {wrong}")
    with manager_gateway(tmp_path_factory.mktemp("manager")) as running:
        yield running


@pytest.fixture
async def lab(manager: RunningManager, victim: McpServer, tmp_path: Path) -> AsyncIterator[Managed]:
    """A server of its own behind it."""
    async with managed(manager, victim, tmp_path / "managed", f"weather-{next(_NUMBERS)}") as one:
        yield one


def intent(lab: Managed, name: str) -> Action:
    action = SYSTEMS.step(name)
    assert issubclass(action, Action)
    return action.model_validate(DRILLS[name](lab))


async def state(lab: Managed) -> bytes:
    return canonical(await lab.driver.export_state())


@every_action
async def test_every_action_keeps_the_laws(lab: Managed, name: str) -> None:
    one = intent(lab, name)

    async def now() -> bytes:
        return await state(lab)

    await laws.plan_only_reads(one, lab.world, now)
    await laws.speaks_every_language(one, lab.world, SYSTEMS.words)
    plan = await one.plan(lab.world)
    assert (await type(one).verify(plan, lab.world)).answer is Answer.NOT_ESTABLISHED
    if plan.irreversible is None:
        await laws.the_inverse_restores(one, lab.world, now)
    await laws.twice_is_once(one, lab.world, now)
    verdict = await type(one).verify(plan, lab.world)
    assert verdict.answer is Answer.ESTABLISHED, verdict
