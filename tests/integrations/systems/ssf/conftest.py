"""A principal with sessions at an application, which listens to events."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from integrations.connections import Connections
from integrations.registry import SYSTEMS
from integrations.systems.ssf.client import Listener
from playbooks.estate.inventory import Inventory
from playbooks.strict import canonical
from tests.lab.connected import connected
from tests.lab.ssf import Application, Listening, listening

SUBJECT: dict[str, object] = {"iss": "https://id.example.com", "sub": "s-agent"}


@dataclass
class Lab:
    """A principal, and who listens.

    Args:
        there: what listens.
        settings: more of how it is reached.
        place: the principal's.
        patience: seconds that it may take for an answer; a machine of two cores runs other tests as well.
    """

    there: Listening
    settings: dict[str, object] = field(default_factory=dict)
    place: dict[str, object] = field(default_factory=lambda: dict(SUBJECT))
    patience: float = 30.0
    name: str = "agent"

    @property
    def application(self) -> Application:
        return self.there.application

    @property
    def inventory(self) -> Inventory:
        written = {
            "version": 1,
            "systems": {"app": self.there.settings(**self.settings).model_dump()},
            "principals": {self.name: {"title": "The agent", "places": {"app": self.place}}},
        }
        return Inventory.model_validate(written, context=SYSTEMS.context)

    @asynccontextmanager
    async def world(self) -> AsyncIterator[Connections]:
        """Connect anew, as a responder that started just now."""
        world = connected(self.inventory)
        world.reach(Listener, "app").patience = self.patience
        try:
            yield world
        finally:
            await world.aclose()

    async def state(self) -> bytes:
        """Return what the application has, and whose sessions it ended."""
        return canonical([self.application.taken, self.application.told])


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    """Give the lab, whose key is of P-256."""
    async with listening(tmp_path) as there:
        yield Lab(there)
