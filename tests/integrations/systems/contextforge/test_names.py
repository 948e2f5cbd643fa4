"""What a hostile server calls its things keeps nobody from containing them: ids are keys, names are shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer
from flows.demo.site import build
from integrations.gateways.actions import DisableResource
from integrations.gateways.canary import Canary
from integrations.siem.reading import entity
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.held import Held
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Target
from playbooks.record.incident import EntityKind
from playbooks.text.escaping import own_name
from tests.lab.connected import connected
from tests.lab.fixtures import unique_name


async def test_a_resource_whose_uri_is_longer_than_any_name_is_approved_cut_and_given_back(
    gateway: RunningGateway, mcp_process: McpServer, tmp_path: Path
) -> None:
    victim = McpServer(mcp_process.port, mcp_process.folder, name=unique_name("long") + "x" * 190)
    site = await build(gateway, victim, tmp_path / "site", name=unique_name("long-named"))
    world = connected(site.inventory)
    world.reach(ContextForge, "main").patience = world.reach(Canary, "main").endpoint.patience = 20.0
    try:
        (pin,) = site.inventory.pins.of(site.server_id, PinKind.RESOURCE)
        uri = str(pin.definition["uri"])
        assert len(uri) > 200
        claimed = entity(EntityKind.RESOURCE, uri, "entities.0", server=site.server_id)
        resolved = site.inventory.resolve(claimed)
        assert resolved is not None, "an alert names it as it is"
        plan = await DisableResource(server=site.server_id, resource=resolved.id).plan(world)
        assert (await DisableResource.verify(plan, world)).answer is Answer.NOT_ESTABLISHED
        for change in plan.changes:
            assert await DisableResource.read(change, world) == change.before
            await DisableResource.write(change, world, key="test")
            assert await DisableResource.read(change, world) == change.after
        verdict = await DisableResource.verify(plan, world)
        assert verdict.answer is Answer.ESTABLISHED, verdict
        for change in DisableResource.inverse(plan).changes:
            await DisableResource.write(change, world, key="test")
        assert (await DisableResource.verify_released(plan, world)).answer is Answer.ESTABLISHED
    finally:
        await world.aclose()
        victim.behave()


def resource(uri: str) -> Held:
    return Held(PinKind.RESOURCE, {"id": uri, "uri": uri, "name": "r", "enabled": True})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("file:///" + "a" * 300 + "1", "file:///" + "a" * 300 + "2"),
        ("file:///secret", "file:///sec\u200bret"),
        ("file:///a", "file:///\uff41"),
        (own_name("file:///" + "a" * 300), "file:///" + "a" * 300),
    ],
    ids=["one beginning", "zero-width", "full-width", "named as the other is shown"],
)
def test_two_objects_never_share_a_name(one: str, other: str) -> None:
    first, second = resource(one).name, resource(other).name
    assert first != second
    for name in (first, second):
        assert Target(system="gateway/main", kind="resource", id="1", name=name).name == name


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_stay_apart_and_fit(one: str, other: str) -> None:
    assert (own_name(one) == own_name(other)) is (one == other)
    assert 1 <= len(own_name(one)) <= 200


@pytest.mark.parametrize("name", ["get_weather", "config://version", "날씨 조회", "a" * 200])
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert own_name(name) == name
