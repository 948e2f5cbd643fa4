"""The laws of a gateway that lies, hangs, or loses an answer, and of what is asked for, tried on a real one."""

from collections.abc import AsyncIterator

import pytest

from flows.demo.site import GATEWAY
from integrations.gateways.affected import Affected
from integrations.registry import SYSTEMS
from integrations.systems.mcp_manager_gateway.canary import ManagerCanary
from tests.contract import laws
from tests.integrations.systems.mcp_manager_gateway.test_laws import every_action, intent, lab, manager, state
from tests.lab.faulty_proxy import FaultyProxy, faulty_proxy
from tests.lab.manager import Managed

__all__ = ["lab", "manager"]
pytestmark = [pytest.mark.system("mcp-manager-gateway"), pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
async def faulty(lab: Managed) -> AsyncIterator[tuple[Managed, FaultyProxy]]:  # the fixture
    """The server behind it, with what fails as it is told to in between."""
    async with faulty_proxy(lab.driver.gateway.url) as proxy:
        other = lab.at(proxy.url)
        other.driver.patience = 20.0
        try:
            yield other, proxy
        finally:
            await other.world.aclose()


@every_action
async def test_it_uses_what_it_declares(faulty: tuple[Managed, FaultyProxy], name: str) -> None:
    one, proxy = faulty
    declared = SYSTEMS.works["mcp-manager-gateway"].asks(type(intent(one, name)))
    await laws.uses_what_it_declares(intent(one, name), one.world, lambda: state(one), proxy, declared)


@every_action
async def test_verify_is_not_fooled(faulty: tuple[Managed, FaultyProxy], name: str) -> None:
    one, proxy = faulty

    def hurry(seconds: float) -> None:
        one.driver.patience = seconds
        for side in (one.world.reach(ManagerCanary, GATEWAY), one.world.reach(Affected, f"{one.principal}/agent")):
            side.endpoint.patience = seconds

    hurry(20.0)
    await laws.is_not_fooled(intent(one, name), one.world, proxy, hurry)


@every_action
async def test_a_write_whose_answer_is_lost_is_found_done(faulty: tuple[Managed, FaultyProxy], name: str) -> None:
    one, proxy = faulty
    await laws.a_lost_answer_is_found_done(intent(one, name), one.world, proxy)
