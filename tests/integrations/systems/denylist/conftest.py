"""A principal with tokens that a server takes, which asks a deny list."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.demo.mcp_server import McpServer
from integrations.connections import Connections
from integrations.registry import SYSTEMS
from integrations.systems.denylist.client import Denied
from playbooks.estate.inventory import Inventory
from playbooks.strict import canonical
from tests.lab import http_served
from tests.lab.connected import connected
from tests.lab.denied import ISSUER, Door, issued, listed, status
from tests.lab.oidc import kept


@dataclass
class Lab:
    """A principal with tokens that its server takes, and a list that the server asks.

    Args:
        name: what the inventory calls it.
        folder: where tokens and the list are.
        url: where the list is served.
        door: before the server.
        resource: the door's address.
        settings: more of the list's.
        held: names of its tokens.
    """

    name: str
    folder: Path
    url: str
    door: Door
    resource: str
    settings: dict[str, object] = field(default_factory=dict)
    held: tuple[str, ...] = ("session",)

    @property
    def subject(self) -> str:
        return f"s-{self.name}"

    @property
    def file(self) -> Path:
        return self.folder / "denied.json"

    def keep(self, label: str, token: str) -> str:
        kept(self.folder, label, token)
        return token

    def token(self, label: str = "session") -> str:
        return (self.folder / label).read_text()

    @property
    def inventory(self) -> Inventory:
        place: dict[str, object] = {"user": self.subject, "resource": self.resource}
        place |= {"held": {label: {"file": str(self.folder / label)} for label in self.held}}
        denied = {"kind": "denylist", "file": str(self.file), "url": self.url, "issuer": ISSUER, **self.settings}
        written = {
            "version": 1,
            "systems": {"denied": denied},
            "principals": {self.name: {"title": "The agent", "places": {"denied": place}}},
        }
        return Inventory.model_validate(written, context=SYSTEMS.context)

    @asynccontextmanager
    async def world(self) -> AsyncIterator[Connections]:
        world = connected(self.inventory)
        # A machine of two cores that runs other tests as well.
        world.reach(Denied, "denied").patience = 30.0
        yield world
        await world.aclose()

    async def state(self) -> bytes:
        return canonical(json.loads(self.file.read_text())["denied"] if self.file.exists() else [])

    async def status(self, token: str) -> int:
        """Return what the server answers whoever comes with a token."""
        return await status(self.resource, token)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve the list of a test's folder; yield where."""
    with listed(tmp_path / "denied.json") as url:
        yield url


@pytest.fixture
async def lab(served: str, victim: McpServer, tmp_path: Path) -> AsyncIterator[Lab]:
    """Give the lab, with one token that the server takes."""
    door = Door(served, victim.url)
    async with http_served.serve(door.answer) as address:
        made = Lab("agent", tmp_path, served, door, f"{address}/mcp")
        made.keep("session", issued(made.subject))
        yield made
