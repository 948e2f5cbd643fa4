"""PostgreSQL is restarted in the middle of a response: nothing is lost, and nothing is done twice."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.demo.contextforge import RunningGateway
from flows.demo.site import GATEWAY
from integrations.signing import SigningKey
from integrations.systems.contextforge.driver import ContextForge
from playbooks.record.incident import Status
from tests.lab.connected import connected
from tests.lab.crowd import Crowd, crowd
from tests.lab.faulty_proxy import faulty_proxy
from tests.lab.house import alert, house
from tests.lab.postgres import PostgresServer
from tests.lab.responder_process import Orders, at_rest, responder_process

TOOLS = 6
NAME = "responder-1"


@pytest.fixture(scope="module")
def some(pretended_gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowd(pretended_gateway, tmp_path_factory.mktemp("crowd"), tools=TOOLS) as running:
        yield running


@pytest.mark.slow
async def test_a_response_goes_on_when_its_journal_is_back(
    some: Crowd, postgres: PostgresServer, postgres_url: str, tmp_path: Path
) -> None:
    some.poison()
    SigningKey.generate(tmp_path / f"{NAME}.key")
    world = connected(some.site.inventory)
    forge = world.reach(ContextForge, GATEWAY)
    forge.patience = 30.0
    async with (
        faulty_proxy(some.gateway.url) as proxy,
        house(tmp_path, world, url=postgres_url, key=NAME, name="test") as home,
    ):
        orders = Orders(tmp_path, some.site.through(proxy.url).inventory, NAME, url=postgres_url)
        receipts = [await home.receive(alert(some.server_id, tool)) for tool in some.tools]
        async with responder_process(orders) as process:
            # In the middle: the first change has reached the gateway, and what became of it is on no record.
            async with asyncio.timeout(60.0):
                while not proxy.writes:
                    assert process.alive, process.output()
                    await asyncio.sleep(0.001)
            await asyncio.to_thread(postgres.restart)
            incidents = await at_rest(home, Status.CONTAINED, TOOLS, [process], within=100.0)
        assert await process.ended() == 0, process.output()
        assert Counter(proxy.writes) == Counter(some.change(tool) for tool in some.tools)
        assert {name for name, enabled in (await some.enabled(forge)).items() if not enabled} == set(some.tools)
        await some.restore(forge)
        assert sorted(alert.receipt for incident in incidents for alert in incident.alerts) == sorted(receipts)
        assert len(await home.journal.holds()) == TOOLS
        assert len(await home.journal.reserved()) == TOOLS
        assert await home.journal.verify(public_keys=tuple(home.parts.keys.values())) == []
    await world.aclose()
