"""Servers behind the session's gateway that tests take and leave.

To put one there takes the gateway dozens of requests; to have it read one anew and to look at everything of it, a few.
Nobody takes what is not, to its administrator and to a client, as it was when it was made.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer
from flows.demo.site import GATEWAY, Site, build
from integrations.gateways.administration import Fields
from integrations.protocol.client import McpEndpoint
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.held import VOLATILE
from playbooks.errors import SoarError
from playbooks.estate.pins import PinKind
from playbooks.strict import canonical

_PATIENCE = 30.0


@dataclass(frozen=True)
class Place:
    """A server, and where it stands at the gateway.

    Args:
        gateway: where it stands.
        server: behaves, and was called by nobody.
        site: its site.
        state: what the gateway said of it when it was made.
        secrets: what the site's files held then, by path.
    """

    gateway: RunningGateway
    server: McpServer
    site: Site
    state: bytes
    secrets: dict[Path, str]


class Places:
    """The session's, at one gateway.

    Args:
        gateway: the gateway.
        process: serves all of them; one behaviour at a time, so only one of them is somebody's.
        folder: for their secrets.
        named: returns a name from a stem that nothing else has.
    """

    def __init__(self, gateway: RunningGateway, process: McpServer, folder: Path, named: Callable[[str], str]) -> None:
        self._gateway = gateway
        self._process = process
        self._folder = folder
        self._named = named
        self._left: list[Place] = []

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[Place]:
        """Have a place to oneself: one that was left if it is as it was made, else a new one."""
        place = await self._as_made() or await self._new()
        try:
            yield place
        finally:
            place.server.behave()
            self._left.append(place)

    async def _as_made(self) -> Place | None:
        while self._left:
            left = self._left.pop()
            place = replace(left, server=self._server(left.server.name))
            if await is_as_made(place):
                # The look was a call too.
                return replace(place, server=self._server(left.server.name))
        return None

    async def _new(self) -> Place:
        server, name = self._server(self._named("victim")), self._named("weather")
        folder = self._folder / name
        site = await build(self._gateway, server, folder, name=name)
        secrets = {path: path.read_text() for path in folder.iterdir()}  # a few bytes
        async with _administrator(site) as forge:
            return Place(self._gateway, server, site, await state(forge, site), secrets)

    def _server(self, name: str) -> McpServer:
        return McpServer(self._process.port, self._process.folder, name=name)


async def is_as_made(place: Place) -> bool:
    """Have the gateway read a place's server anew and forget what it knew of it; return whether it is as it was."""
    site = place.site
    if any(not path.exists() or path.read_text() != text for path, text in place.secrets.items()):
        return False
    agent = McpEndpoint("agent", site.client_url, principal="agent", token=site.agent.secret)
    agent.patience = _PATIENCE
    try:
        async with _administrator(site) as forge:
            # What it remembers of names and tools goes with the first; the second reads the server's definitions, and
            # enables what was disabled tool by tool.
            await forge.set_entry_enabled(entry(site), enabled=False)
            await forge.set_entry_enabled(entry(site), enabled=True)
            if await state(forge, site) != place.state:
                for held in await forge.catalog(entry(site)):
                    if not held.enabled:
                        await forge.set_enabled(held.kind, held.id, enabled=True)
                if await state(forge, site) != place.state:
                    return False
        said = await agent.ask("tools/call", {"name": f"{site.server_id}-add", "arguments": {"a": 1, "b": 2}})
    except SoarError:
        return False
    finally:
        await agent.aclose()
    return said.text == "3"


def entry(site: Site) -> str:
    """Return the id of a site's server at the gateway."""
    known = site.inventory.servers[site.server_id].gateway
    assert known is not None
    return known.id


async def state(forge: ContextForge, site: Site) -> bytes:
    """Return everything that a gateway says of a site, less what changes without anybody's deciding it."""
    ours, user = entry(site), site.inventory.principals[site.principal].users[0]
    found, catalog, doors, tokens, account, may = await asyncio.gather(
        forge.entry(ours),
        forge.catalog(ours),
        forge.api.request("GET", "/v1/servers", params={"include_inactive": "true", "limit": "0"}),
        forge.tokens(user),
        forge.user(user),
        forge.api.request("GET", f"/rbac/permissions/user/{user}"),
    )
    tools = {held.id for held in catalog if held.kind is PinKind.TOOL}
    through = [door for door in doors if tools & set(door["associatedToolIds"])]
    return canonical(
        {
            "entry": _settled(found or {}),
            "holds": _in_order(held.fields for held in catalog),
            "doors": _in_order(through),
            "tokens": _in_order(tokens),
            "user": _settled(account or {}),
            "may": sorted(may),
        }
    )


def _in_order(objects: Iterable[Fields]) -> list[dict[str, Any]]:
    return sorted(map(_settled, objects), key=lambda fields: str(fields["id"]))


def _settled(fields: Fields) -> dict[str, Any]:
    leave_out = VOLATILE
    return {key: value for key, value in fields.items() if key not in leave_out}


@asynccontextmanager
async def _administrator(site: Site) -> AsyncIterator[ContextForge]:
    place = site.inventory.gateways[GATEWAY]
    forge = ContextForge(GATEWAY, place, Path(place.password.file or "").read_text())  # noqa: ASYNC240  # a few bytes
    forge.patience = _PATIENCE
    try:
        yield forge
    finally:
        await forge.aclose()
