"""A principal of each test's own, signed in at the session's identity provider; both tokens of its grant are held."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integrations.connections import Connections
from integrations.identity.client import Api
from integrations.identity.provider import Identity
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Inventory, Principal
from tests.lab.fixtures import unique_name
from tests.lab.oidc import RunningProvider


@dataclass(frozen=True)
class SignedIn:
    """A principal that is signed in.

    Args:
        provider: where.
        user: who.
        world: our connections.
        at: its place there.
        folder: where its tokens are.
    """

    provider: RunningProvider
    user: str
    world: Connections
    at: Identity
    folder: Path

    @property
    def api(self) -> Api:
        """The connection that the steps use."""
        return self.world.reach(Api, "sso")

    def token(self, label: str) -> str:
        """Return one of its tokens."""
        return (self.folder / f"{self.user}-{label}").read_text()

    async def state(self) -> bytes:
        """Return all that can be changed of it: which of its tokens are in use."""
        return json.dumps([self.provider.active(self.token(label)) for label in ("laptop", "access")]).encode()

    def placed(self, **fields: object) -> Connections:
        """Return connections over an inventory in which its place is another."""
        at = Identity.model_validate({**self.at.model_dump(exclude={"tokens"}), **fields})
        return self.world.with_inventory(inventory(self.provider, self.folder, self.user, at))


def inventory(provider: RunningProvider, folder: Path, user: str, at: Identity) -> Inventory:
    """Return an inventory with a provider and a principal at it."""
    principal = Principal(title="Alice", places={"sso": at})
    written = {
        "version": 1,
        "systems": {"sso": provider.settings(folder).model_dump()},
        "principals": {user: principal.model_dump()},
    }
    return Inventory.model_validate(written, context=SYSTEMS.context)


@pytest.fixture
async def signed_in(identity_provider: RunningProvider, tmp_path: Path) -> AsyncIterator[SignedIn]:
    """Give a principal that is signed in, with its client's secret and where its tokens are used."""
    user = unique_name("alice")
    at = identity_provider.account(tmp_path, user)
    world = Connections(inventory(identity_provider, tmp_path, user, at), SYSTEMS)
    yield SignedIn(identity_provider, user, world, at, tmp_path)
    await world.aclose()


@pytest.fixture(autouse=True)
def honest(identity_provider: RunningProvider) -> Iterator[None]:
    """End every lie with the test that told it."""
    yield
    identity_provider.lies()
