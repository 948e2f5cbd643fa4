"""A server behind a gateway of any product, as an inventory has it: with its agent, and what it offers approved."""

from pathlib import Path

from flows.demo.mcp_server import McpServer
from flows.demo.site import GATEWAY
from integrations.connections import Connections
from integrations.protocol.pins import read_pins
from playbooks.estate.gateway import Entry, Gateway, GatewayAccount
from playbooks.estate.inventory import Environment, Inventory, Principal, Server, ToolNotes
from playbooks.estate.pins import Dossier, Pins
from playbooks.estate.systems import Secret


def inventory_of(name: str, victim: McpServer, settings: Gateway, entry: str, account: GatewayAccount) -> Inventory:
    """Return an inventory of one server.

    Args:
        name: what it calls the server.
        victim: the server.
        settings: how the gateway is reached.
        entry: the server's id there.
        account: of the agent that uses it.
    """
    return Inventory(
        version=1,
        systems={GATEWAY: settings},
        servers={
            name: Server(
                title="Weather",
                url=victim.url,
                owner="weather-team",
                environment=Environment.PROD,
                control_tool="add",
                places={GATEWAY: Entry(id=entry)},
                tools={"add": ToolNotes(risk="low", safe_arguments={"a": 1, "b": 2})},
            )
        },
        principals={f"agent-{name}": Principal(title="Weather agent", places={GATEWAY: account})},
    )


def moved(inventory: Inventory, url: str) -> Inventory:
    """Return the same, with the gateway reached by another address, such as a proxy's."""
    gateway = inventory.gateways[GATEWAY]
    canary = gateway.canary.model_copy(update={"url": gateway.canary.url.replace(gateway.url, url)})
    return inventory.model_copy(
        update={"systems": {GATEWAY: gateway.model_copy(update={"url": url, "canary": canary})}}
    )


async def approved(world: Connections, name: str) -> Pins:
    """Return the pins of what a server offers now; closes the connections."""
    try:
        return Pins(servers={name: await read_pins(world, name, Dossier(reviewed="the laboratory's own server"))})
    finally:
        await world.aclose()


def kept(path: Path, value: str) -> Secret:
    """Write a secret down, and return where it is."""
    path.touch(mode=0o600)
    path.write_text(value, encoding="utf-8")
    return Secret(file=str(path))
