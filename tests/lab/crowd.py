"""A server with many tools, each of which is somebody's incident."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer, mcp_server
from flows.demo.site import Site, build
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.pins import PinKind
from tests.lab.fixtures import unique_name

SPARE = 3
"""The tools that are nobody's incident; one of them is what the control calls use."""


@dataclass(frozen=True)
class Crowd:
    """A server with many tools behind the gateway.

    Args:
        gateway: the gateway.
        server: the server, which can be told to turn hostile.
        site: the server at the gateway.
        tools: names of those that may be contained.
    """

    gateway: RunningGateway
    server: McpServer
    site: Site
    tools: tuple[str, ...]

    @property
    def server_id(self) -> str:
        return self.site.server_id

    def poison(self) -> None:
        """Give every tool that may be contained another definition than the approved one."""
        self.server.poison(*self.tools)

    def tool_id(self, tool: str) -> str:
        pin = self.site.inventory.pins.find(self.server_id, PinKind.TOOL, tool)
        if pin is None or pin.gateway_id is None:
            raise AssertionError(f"{tool} is not pinned")
        return pin.gateway_id

    def change(self, tool: str) -> tuple[str, str]:
        """Return the one request that takes a tool away or gives it back."""
        return "POST", f"/v1/tools/{self.tool_id(tool)}/state"

    async def enabled(self, forge: ContextForge) -> dict[str, bool]:
        """Return which of the server's tools the gateway lets clients use."""
        entry = self.site.inventory.servers[self.server_id].gateway
        return {held.name: held.enabled for held in await forge.held(PinKind.TOOL, entry.id if entry else "")}

    async def restore(self, forge: ContextForge) -> None:
        """Let clients use everything again, past whatever was counted."""
        for tool, enabled in (await self.enabled(forge)).items():
            if not enabled:
                await forge.set_enabled(PinKind.TOOL, self.tool_id(tool), enabled=True)


@contextmanager
def crowd(gateway: RunningGateway, folder: Path, *, tools: int) -> Iterator[Crowd]:
    """Run a server and put it behind the gateway, its tools approved.

    Args:
        gateway: a running gateway.
        folder: an empty folder.
        tools: how many may be contained.
    """
    with mcp_server(folder / "server", tools=SPARE + tools) as process:
        server = McpServer(process.port, process.folder, name=unique_name("victim"))
        site = asyncio.run(build(gateway, server, folder / "site", name=unique_name("weather")))
        yield Crowd(gateway, server, site, tuple(f"t{number:03}" for number in range(SPARE, SPARE + tools)))
