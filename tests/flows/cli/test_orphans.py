"""`doctor --orphans` on a real gateway: what is out of use and nobody holds, and what is held in vain."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from flows.demo import site as building
from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer
from flows.demo.site import GATEWAY
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.pins import PinKind
from tests.flows.cli import world
from tests.flows.cli.world import Installation
from tests.lab.connected import connected
from tests.lab.fixtures import unique_name

pytestmark = pytest.mark.system("contextforge")


@pytest.fixture
def estate(site: Installation, gateway: RunningGateway, victim: McpServer) -> tuple[Installation, str]:
    """The installation with a real server, approved as it is now; and what the inventory calls it."""
    name = unique_name("weather")
    asyncio.run(building.build(gateway, victim, site.folder / "secrets", name=name)).write(site.folder)
    site.append(world.opened())
    return site, name


@contextlib.asynccontextmanager
async def operator(site: Installation) -> AsyncIterator[ContextForge]:
    connections = connected(site.config.inventory)
    try:
        yield connections.reach(ContextForge, GATEWAY)
    finally:
        await connections.aclose()


def by_hand(site: Installation, act: Callable[[ContextForge], Awaitable[Any]]) -> None:
    async def work() -> None:
        async with operator(site) as forge:
            forge.patience = 20.0
            await act(forge)

    asyncio.run(work())


def hold(site: Installation, kind: str, id_: str, field: str = "enabled", *, after: bool = False) -> None:
    """Take a hold as a responder does, an hour ago."""
    site.hold(f"gateway/{GATEWAY}/{kind}/{id_}#{field}", before=not after, after=after)
    with sqlite3.connect(site.folder / "state/journal.db") as connection:
        connection.execute("UPDATE hold SET taken_at = taken_at - 3600")


def found(site: Installation) -> set[tuple[str, str, str]]:
    """Return finding, kind and name of everything that does not fit."""
    result = site.run("doctor", "--orphans", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == (0 if document["ok"] else 1)
    assert all(one["remedy"] and one["message"] for one in document["orphans"])
    return {(one["finding"], one["kind"], one["name"]) for one in document["orphans"]}


def pin_id(site: Installation, server: str, kind: PinKind, name: str) -> str:
    pin = site.config.inventory.pins.find(server, kind, name)
    assert pin is not None
    assert pin.gateway_id is not None
    return pin.gateway_id


def test_containment_that_no_lease_knows_is_found_and_what_a_lease_holds_is_not(
    estate: tuple[Installation, str],
) -> None:
    site, name = estate
    assert found(site) == set()
    inventory = site.config.inventory
    tool = pin_id(site, name, PinKind.TOOL, "get_weather")
    other = pin_id(site, name, PinKind.TOOL, "add")
    resource = next(pin for pin in inventory.pins.of(name) if pin.kind is PinKind.RESOURCE)
    prompt = next(pin for pin in inventory.pins.of(name) if pin.kind is PinKind.PROMPT)
    ((who, principal),) = inventory.principals.items()
    ((label, token),) = principal.tokens.items()

    async def act(forge: ContextForge) -> None:
        await forge.set_enabled(PinKind.TOOL, tool, enabled=False)
        await forge.set_enabled(PinKind.TOOL, other, enabled=False)
        await forge.set_enabled(PinKind.PROMPT, str(prompt.gateway_id), enabled=False)
        await forge.set_enabled(PinKind.RESOURCE, str(resource.gateway_id), enabled=False)
        await forge.set_active(principal.users[0], active=False)
        await forge.revoke(token)

    by_hand(site, act)
    hold(site, "tool", other)

    assert found(site) == {
        ("orphan", "tool", "get_weather"),
        ("orphan", "prompt", prompt.name),
        ("orphan", "resource", resource.name),
        ("orphan", "user", who),
        ("orphan", "token", f"{label} of {who}"),
    }
    shown = site.run("doctor", "--orphans").stdout
    assert "ORPHAN" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "\x1b" not in shown
    hold(site, "tool", tool)
    assert ("orphan", "tool", "get_weather") not in found(site)


def test_a_whole_server_that_somebody_disabled_is_one_of_them(estate: tuple[Installation, str]) -> None:
    site, name = estate
    entry = site.config.inventory.servers[name].gateway
    assert entry is not None
    by_hand(site, lambda forge: forge.set_entry_enabled(entry.id, enabled=False))
    assert ("orphan", "entry", name) in found(site)
    hold(site, "entry", entry.id)
    assert ("orphan", "entry", name) not in found(site)


def test_what_is_held_in_vain_is_found(estate: tuple[Installation, str]) -> None:
    site, name = estate
    tool = pin_id(site, name, PinKind.TOOL, "get_weather")
    hold(site, "tool", tool)
    hold(site, "tool", "no-such-tool")
    assert found(site) == {("undone", "tool", tool), ("gone", "tool", "no-such-tool")}


def test_a_pinned_object_that_the_gateway_no_longer_has_is_said_to_be_gone(estate: tuple[Installation, str]) -> None:
    site, name = estate
    tool = pin_id(site, name, PinKind.TOOL, "get_weather")
    by_hand(site, lambda forge: forge.api.request("DELETE", f"/v1/tools/{tool}"))
    assert found(site) == {("gone", "tool", "get_weather")}


def test_a_gateway_that_does_not_answer_is_not_called_clean(site: Installation) -> None:
    site.append(world.opened())
    document = site.json("doctor", "--orphans", code=5)
    assert not document["ok"]
    assert [one["gateway"] for one in document["unasked"]] == ["main"]
