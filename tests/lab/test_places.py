"""What a test leaves behind the gateway, the next one does not find."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import Behaviour, McpServer
from flows.demo.site import GATEWAY
from integrations.protocol.client import McpEndpoint
from integrations.systems.contextforge import enrol
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.pins import PinKind
from tests.lab.fixtures import unique_name
from tests.lab.places import Place, Places, entry

pytestmark = pytest.mark.system("contextforge")

Act = Callable[[ContextForge, Place], Awaitable[object]]


async def cut(forge: ContextForge, place: Place) -> None:
    """Disable one of each, after the gateway was taught a tool's name at the server."""
    agent = McpEndpoint("agent", place.site.client_url, principal="agent", token=place.site.agent.secret)
    await agent.ask("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    await agent.aclose()
    for kind in (PinKind.TOOL, PinKind.PROMPT, PinKind.RESOURCE):
        held = await forge.held(kind, entry(place.site))
        await forge.set_enabled(kind, held[0].id, enabled=False)


async def poisoned(forge: ContextForge, place: Place) -> None:
    place.server.poison("add")
    await forge.refresh(entry(place.site))


async def grown(forge: ContextForge, place: Place) -> None:
    place.server.behave(Behaviour(added=("evil",)))
    await forge.refresh(entry(place.site))


async def contained(forge: ContextForge, place: Place) -> None:
    await forge.set_entry_enabled(entry(place.site), enabled=False)


async def another_door(forge: ContextForge, place: Place) -> None:
    tools = tuple(held.id for held in await forge.held(PinKind.TOOL, entry(place.site)))
    await enrol.publish(forge, unique_name("door"), tools)


async def another_token(forge: ContextForge, place: Place) -> None:
    await enrol.issue(forge, place.site.inventory.principals[place.site.principal].users[0], "spare")


async def revoked(forge: ContextForge, place: Place) -> None:
    await forge.revoke(place.site.agent.id)


async def shut_out(forge: ContextForge, place: Place) -> None:
    user = place.site.inventory.principals[place.site.principal].users[0]
    await forge.set_active(user, active=False)


async def gone(forge: ContextForge, place: Place) -> None:
    held = await forge.held(PinKind.TOOL, entry(place.site))
    await forge.api.request("DELETE", f"/v1/tools/{held[0].id}")


async def removed(forge: ContextForge, place: Place) -> None:
    await forge.api.request("DELETE", f"/v1/gateways/{entry(place.site)}")


async def nonsense(_forge: ContextForge, place: Place) -> None:
    next(path for path in place.secrets if path.name == "canary-token").write_text("nonsense")


@pytest.mark.parametrize("act", [cut, poisoned, contained], ids=lambda act: act.__name__)
async def test_what_can_be_undone_is(places: Places, act: Act) -> None:
    assert await again(places, act)


@pytest.mark.parametrize(
    "act",
    [grown, another_door, another_token, revoked, shut_out, gone, removed, nonsense],
    ids=lambda act: act.__name__,
)
async def test_what_cannot_is_nobodys_any_more(places: Places, act: Act) -> None:
    assert not await again(places, act)


@pytest.fixture
def places(gateway: RunningGateway, mcp_process: McpServer, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Places of this test alone."""
    return Places(gateway, mcp_process, tmp_path_factory.mktemp("places"), unique_name)


@asynccontextmanager
async def administrator(place: Place) -> AsyncIterator[ContextForge]:
    password = next(text for path, text in place.secrets.items() if path.name == "gateway-password")
    forge = ContextForge(GATEWAY, place.site.inventory.gateways[GATEWAY], password)
    forge.patience = 30.0
    try:
        yield forge
    finally:
        await forge.aclose()


async def again(places: Places, act: Act) -> bool:
    """Take a place, do something with it, take one again; return whether it is the same, and see that it is well."""
    async with places.taken() as first, administrator(first) as forge:
        await act(forge, first)
    async with places.taken() as second, administrator(second) as forge:
        assert second.server.calls() == []
        catalog = await forge.catalog(entry(second.site))
        assert len(catalog) == 5
        assert all(held.enabled for held in catalog)
        assert not any("IMPORTANT" in str(held.fields) for held in catalog)
    return second.site.server_id == first.site.server_id
