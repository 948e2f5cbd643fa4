"""A real mcp-manager-gateway on loopback, in an environment of its own, for tests that need a second product.

`python -m tests.lab.manager` installs the locked release, once for each lock, outside the repository. It needs another
Python than the project may have, 3.12 or newer: one on PATH, or of pyenv's.
"""

import http.client
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import httpx

from flows.demo.mcp_server import McpServer
from flows.demo.processes import child, environment, free_port
from flows.demo.site import GATEWAY
from integrations.connections import Connections
from integrations.gateways.affected import Affected
from integrations.systems.mcp_manager_gateway import KIND
from integrations.systems.mcp_manager_gateway.canary import ManagerCanary
from integrations.systems.mcp_manager_gateway.driver import ManagerGateway
from integrations.systems.mcp_manager_gateway.importing import issue, ordinary
from playbooks.estate.gateway import Canary, Gateway, GatewayAccount
from tests.lab.behind import approved, inventory_of, kept, moved
from tests.lab.connected import connected
from tests.lab.environments import Environment

ENVIRONMENT = Environment("manager-gateway", (3, 12))
_ADMIN = "administrator"


@dataclass(frozen=True)
class RunningManager:
    """A gateway that answers.

    Args:
        url: its address.
        password: its administrator's.
        folder: where its database and its log are.
    """

    url: str
    password: str
    folder: Path


@contextmanager
def manager_gateway(folder: Path) -> Iterator[RunningManager]:
    """Run a gateway on a free loopback port, with a fresh database in `folder` and an administrator."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), f"Aa1!{secrets.token_urlsafe(24)}"
    origin = f"http://127.0.0.1:{port}"

    def ask(method: str, path: str, body: str = "") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request(method, path, body, {"Origin": origin, "Content-Type": "application/json"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    command = [ENVIRONMENT.python, "-m", "mcp_manager.cli", "--home", str(folder), "serve"]
    ready = partial(ask, "GET", "/readyz")
    with child(
        [*command, "--port", str(port)],
        log=folder / "manager.log",
        ready=lambda: ready() == http.HTTPStatus.OK,
        within=90,
        env=environment(),
    ):
        made = ask("POST", "/api/v1/auth/register", f'{{"username": "{_ADMIN}", "password": "{password}"}}')
        assert made == http.HTTPStatus.OK, made
        yield RunningManager(origin, password, folder)


@dataclass(frozen=True)
class Managed:
    """A server behind such a gateway, with who uses it.

    Args:
        world: connections to it.
        server: what the inventory calls the server.
        victim: the server itself.
        principal: what the inventory calls the agent that uses it.
        agent: the agent's token.
    """

    world: Connections
    server: str
    victim: McpServer
    principal: str
    agent: str

    @property
    def driver(self) -> ManagerGateway:
        """Its administration."""
        return self.world.reach(ManagerGateway, GATEWAY)

    def at(self, url: str) -> "Managed":
        """Return the same, with the gateway reached by another address, such as a proxy's."""
        return replace(self, world=connected(moved(self.world.inventory, url)))


@asynccontextmanager
async def managed(gateway: RunningManager, victim: McpServer, folder: Path, name: str) -> AsyncIterator[Managed]:
    """Put a server behind a gateway, with a canary and an agent, and approve what it offers now.

    Args:
        gateway: a running gateway.
        victim: a running server that behaves.
        folder: where the secrets are written.
        name: of the server, the only one of that name at the gateway.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once
    client = f"{gateway.url}/mcp"
    canary = Canary(principal="canary", token=kept(folder / "canary", ""), url=client)
    password = kept(folder / "password", gateway.password)
    settings = Gateway(kind=KIND, url=gateway.url, user=_ADMIN, password=password, canary=canary)
    driver = ManagerGateway(GATEWAY, settings, gateway.password)
    driver.patience = 30.0
    try:
        body = {
            "name": name,
            "slug": name,
            "transport": "streamable-http",
            "mode": "eager",
            "isolation": "service",
            "config": {"url": victim.url, "stop_timeout": 1, "headers": {"X-Key": "a secret of the server's"}},
        }
        made = await driver.manager.fields("POST", "/mcps", body=body)
        assert made is not None
        kept(folder / "canary", (await issue(driver, await ordinary(driver, "canary"), f"canary-{name}")).secret)
        agent = await issue(driver, await ordinary(driver, f"agent-{name}"), "agent")
    finally:
        await driver.aclose()
    account = GatewayAccount(
        user=f"agent-{name}", tokens={"agent": agent.id}, held={"agent": kept(folder / "agent", agent.secret)}
    )
    inventory = inventory_of(name, victim, settings, str(made["id"]), account)
    asked = connected(inventory)
    asked.reach(ManagerGateway, GATEWAY).patience = 20.0
    world = connected(inventory.model_copy(update={"pins": await approved(asked, name)}))
    # A loaded test machine is no finding.
    world.reach(ManagerGateway, GATEWAY).patience = 20.0
    for side in (world.reach(ManagerCanary, GATEWAY), world.reach(Affected, f"agent-{name}/agent")):
        side.endpoint.patience = 20.0
        side.endpoint._http.timeout = httpx.Timeout(20.0)  # noqa: SLF001  # likewise
    try:
        yield Managed(world, name, victim, f"agent-{name}", agent.secret)
    finally:
        await world.aclose()


if __name__ == "__main__":
    if wrong := ENVIRONMENT.install():
        print(f"mcp-manager-gateway could not be installed, so its tests will be skipped: {wrong}", file=sys.stderr)  # noqa: T201  # a program
    sys.exit(bool(wrong))
