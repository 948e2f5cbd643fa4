"""How an MCP server is asked itself, and what it can be asked."""

from typing import Final

from integrations.protocol.client import McpEndpoint
from integrations.system import Connection, Works
from integrations.systems.mcp.behaviour import AnswersClean, RefusedDirectly, ResponseInjection
from integrations.systems.mcp.captures import CaptureAnswer, CaptureDefinitions
from integrations.systems.mcp.checks import DefinitionDiffers, DefinitionsMatch
from playbooks.errors import Misconfigured
from playbooks.estate.inventory import Inventory
from playbooks.text.sentences import say


def _direct(inventory: Inventory, name: str) -> McpEndpoint:
    server = inventory.servers.get(name)
    if server is None or not server.direct:
        raise Misconfigured(
            "the inventory has no such server" if server is None else "add the server's own MCP address",
            field=f"servers.{name}.url",
        )
    url, command = server.url or "", () if server.url else server.command
    return McpEndpoint(say("server {a}", a=name), url, principal="nobody in particular", command=command)


def _at(inventory: Inventory, name: str) -> object:
    server = inventory.servers.get(name)
    return server and (server.url, server.command)


WORKS: Final = Works(
    steps=(
        CaptureDefinitions,
        CaptureAnswer,
        DefinitionDiffers,
        DefinitionsMatch,
        RefusedDirectly,
        ResponseInjection,
        AnswersClean,
    ),
    connections={McpEndpoint: Connection(_direct, _at)},
)
