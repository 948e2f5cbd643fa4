"""Two responders, two processes, one journal: fifty incidents about fifty tools, each done once, by one at a time."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.demo.contextforge import RunningGateway
from flows.demo.site import GATEWAY
from flows.engine.case import PREFIX
from integrations.signing import SigningKey
from integrations.systems.contextforge.driver import ContextForge
from playbooks.record.incident import Status
from tests.lab.connected import connected
from tests.lab.crowd import Crowd, crowd
from tests.lab.faulty_proxy import faulty_proxy
from tests.lab.house import alert, house
from tests.lab.responder_process import Orders, at_rest, in_turn, responder_process

MANY = 50
NAMES = ("responder-1", "responder-2")


@pytest.fixture(scope="module")
def many(pretended_gateway: RunningGateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    with crowd(pretended_gateway, tmp_path_factory.mktemp("crowd"), tools=MANY) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_two_responders_share_a_journal(many: Crowd, journal_url: str | None, tmp_path: Path) -> None:
    many.poison()
    for name in NAMES:
        SigningKey.generate(tmp_path / f"{name}.key")
    world = connected(many.site.inventory)
    forge = world.reach(ContextForge, GATEWAY)
    forge.patience = 30.0
    async with (
        faulty_proxy(many.gateway.url) as proxy,
        house(tmp_path, world, url=journal_url, key=NAMES[0], name="test") as home,
    ):
        inventory = many.site.through(proxy.url).inventory
        crew = [Orders(tmp_path, inventory, name, url=journal_url, claim=10.0) for name in NAMES]
        async with responder_process(crew[0]) as one, responder_process(crew[1]) as other:
            for tool in many.tools:
                await home.receive(alert(many.server_id, tool))
            incidents = await at_rest(home, Status.CONTAINED, MANY, [one, other], within=480.0)
        assert await one.ended() == 0, one.output()
        assert await other.ended() == 0, other.output()
        # The gateway got each change once, and nothing else.
        assert Counter(proxy.writes) == Counter(many.change(tool) for tool in many.tools)
        assert {name for name, enabled in (await many.enabled(forge)).items() if not enabled} == set(many.tools)
        await many.restore(forge)
        # One incident, one cut, one reservation for each tool.
        assert {key for incident in incidents for key in incident.leases} == {
            f"cut-tool@{many.server_id}/{tool}" for tool in many.tools
        }
        assert len(await home.journal.holds()) == MANY
        assert len({item.target for item in await home.journal.reserved()}) == MANY
        assert len(await home.journal.reserved()) == MANY
        # Both worked, never both at once, and everything is signed by one of them.
        writers = {stream: who for stream, who in in_turn(crew).items() if stream.startswith(PREFIX)}
        assert len(writers) == MANY
        assert set().union(*writers.values()) == set(NAMES)
        assert await home.journal.verify(public_keys=tuple(home.parts.keys.values())) == []
    await world.aclose()
