"""Puts a server behind a gateway with the people who use it, and writes down where everything is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from flows.demo.contextforge import RunningGateway
from flows.demo.mcp_server import McpServer
from flows.service.settings import systems
from integrations.connections import Connections
from integrations.estate import IssuedToken
from integrations.protocol.pins import read_pins
from integrations.systems.contextforge import enrol
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.gateway import Canary, Entry, Gateway, GatewayAccount
from playbooks.estate.inventory import Environment, Inventory, Principal, Server, ToolNotes
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.estate.systems import Secret
from playbooks.people import review
from playbooks.people.request import Verb, draft, sign
from playbooks.strict import now

GATEWAY = "main"

# Nothing hurries while a site is built, and the machine may be starting ten other things.
_PATIENCE = 30.0


@dataclass(frozen=True)
class Site:
    """A server behind a gateway, ready to be attacked.

    Args:
        server_id: what the inventory calls the server.
        principal: what the inventory calls the agent that uses it.
        agent: the agent's token.
        client_url: where agents reach the gateway.
        virtual_server_url: where they reach this server's tools alone.
        inventory: everything above, with the approved pins.
    """

    server_id: str
    principal: str
    agent: IssuedToken
    client_url: str
    virtual_server_url: str
    inventory: Inventory

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write inventory.yaml and pins.yaml into a folder and return their paths."""
        paths = folder / "inventory.yaml", folder / "pins.yaml"
        documents = (
            self.inventory.model_dump(mode="json", exclude={"pins"}, exclude_none=True),
            self.inventory.pins.model_dump(mode="json"),
        )
        for path, document in zip(paths, documents, strict=True):
            path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return paths

    def reviewed(self, by: str, signer: Callable[[bytes], bytes], role: str = "reviewer") -> "Site":
        """Return the same site with its pins signed for, as `mcp-soar pins approve` does it.

        Args:
            by: the reviewer, enrolled before this.
            signer: signs with their key.
            role: one of theirs that may review.
        """
        pins, text = self.inventory.pins, "the laboratory's own servers"
        drafts = (
            draft(
                actor=by, verb=Verb.REVIEW, subject=name, at=now(), reason=text, params=review.params(name, role, mine)
            )
            for name, mine in pins.servers.items()
        )
        signed = pins.model_copy(update={"reviews": tuple(sign(one, signer) for one in drafts)})
        return replace(self, inventory=self.inventory.model_copy(update={"pins": signed}))

    def through(self, url: str) -> "Site":
        """Return the same site with its gateway reached by another address, such as a proxy's."""
        gateway = self.inventory.gateways[GATEWAY]
        canary = gateway.canary.model_copy(update={"url": gateway.canary.url.replace(gateway.url, url)})
        moved = gateway.model_copy(update={"url": url, "canary": canary})
        return replace(
            self, inventory=self.inventory.model_copy(update={"systems": {**self.inventory.systems, GATEWAY: moved}})
        )


async def build(gateway: RunningGateway, server: McpServer, folder: Path, *, name: str = "weather") -> Site:
    """Register a server at a gateway, with a canary and an agent, and approve what it offers now.

    Args:
        gateway: a running gateway.
        server: a running server that still behaves.
        folder: where the secrets are written, each to a file of its own.
        name: of the server, the only one of that name at the gateway.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # a few bytes, at the start
    password = _keep(folder / "gateway-password", gateway.password)
    canary_user, agent_user = "canary@example.com", f"agent-{name}@example.com"
    client_url = f"{gateway.url}/mcp/"
    canary = Canary(principal=canary_user, token=Secret(file=str(folder / "canary-token")), url=client_url)
    place = Gateway(kind="contextforge", url=gateway.url, user=gateway.user, password=password, canary=canary)
    forge = ContextForge(GATEWAY, place, gateway.password)
    forge.patience = _PATIENCE
    try:
        entry = await enrol.register(forge, name, server.url)
        tools = tuple(held.id for held in await forge.held(PinKind.TOOL, entry))
        virtual = await enrol.publish(forge, name, tools)
        for user in (canary_user, agent_user):
            await enrol.client_user(forge, user)
        canary_token = await enrol.issue(forge, canary_user, f"canary-{name}", days=30)
        agent_token = await enrol.issue(forge, agent_user, "agent")
    finally:
        await forge.aclose()
    _keep(folder / "canary-token", canary_token.secret)
    agent_place = _keep(folder / "agent-token", agent_token.secret)
    principal = f"agent-{name}"
    inventory = Inventory(
        version=1,
        systems={GATEWAY: place.model_copy(update={"credential_ids": (canary_token.id,)})},
        servers={
            name: Server(
                title="Weather",
                aliases=(f"{name}-mcp",),
                url=server.url,
                owner="weather-team",
                environment=Environment.PROD,
                control_tool="add",
                places={GATEWAY: Entry(id=entry)},
                tools={
                    "add": ToolNotes(risk="low", safe_arguments={"a": 1, "b": 2}),
                    "get_weather": ToolNotes(safe_arguments={"city": "Seoul"}),
                },
            )
        },
        principals={
            principal: Principal(
                title="Weather agent",
                places={
                    GATEWAY: GatewayAccount(
                        user=agent_user, tokens={"agent": agent_token.id}, held={"agent": agent_place}
                    )
                },
            )
        },
    )
    return Site(
        server_id=name,
        principal=principal,
        agent=agent_token,
        client_url=client_url,
        virtual_server_url=f"{gateway.url}/servers/{virtual}/mcp",
        inventory=inventory.model_copy(update={"pins": Pins(servers={name: await _approve(inventory, name)})}),
    )


async def _approve(inventory: Inventory, server: str) -> tuple[Pin, ...]:
    connections = Connections(inventory, systems())
    connections.reach(ContextForge, GATEWAY).patience = _PATIENCE
    try:
        return await read_pins(connections, server, Dossier(reviewed="the demonstration's own server"))
    finally:
        await connections.aclose()


def _keep(path: Path, value: str) -> Secret:
    path.touch(mode=0o600)
    path.write_text(value, encoding="utf-8")
    return Secret(file=str(path))
