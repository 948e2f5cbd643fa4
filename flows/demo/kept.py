"""What a demonstration that goes on running offers to try: commands that work as they are printed."""

import asyncio
import shlex
import sys
from pathlib import Path

from flows.demo.mcp_server import heal as made_to_behave
from flows.demo.screen import Screen
from flows.demo.stage import PERSON, REVIEWER, SERVER, Stage, administer
from flows.service import running
from flows.service.settings import Configuration
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Misconfigured
from playbooks.record.state import Incident

OTHER = "get_forecast"
"""A tool that nobody reported."""


def offer(stage: Stage, screen: Screen, incident: Incident, *, released: bool) -> None:
    """Print what to type in another terminal.

    Args:
        stage: what runs.
        screen: where to.
        incident: the one that was shown.
        released: it was given back already.
    """
    screen.title("Try it, in another terminal")
    screen.path(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    screen.path(f"export MCP_SOAR_CONFIG={shlex.quote(str(stage.config))} MCP_SOAR_PERSON={PERSON}")
    number = incident.id.rsplit("-", 1)[-1].lstrip("0")
    screen.say("What happened, what is in force, whether all is well:")
    _lines(screen, "incidents", f"incident {number}", "leases", "doctor")
    if not released:
        screen.say("Have the server's owner undo the change, then give the tool back:")
        _lines(screen, "demo --heal", f"release {number}")
    screen.say(f"Contain by hand: {PERSON} asks, {REVIEWER} approves:")
    respond = f"respond --class tool_poisoning --tool {stage.site.server_id}/{OTHER}"
    _lines(screen, respond, f"approve {int(number) + 1} --as {REVIEWER}")


def _lines(screen: Screen, *commands: str) -> None:
    for command in commands:
        screen.path(f"mcp-soar {command}")


def heal(config: Configuration, screen: Screen) -> None:
    """Have the server of a demonstration that runs behave again, and its gateway read it anew.

    Args:
        config: the demonstration's.
        screen: where to say so.

    Raises:
        Misconfigured: no demonstration runs with that configuration.
    """
    if not running.served(config.folder) or not made_to_behave(config.folder.resolve().parent / SERVER):
        message = (
            "no demonstration runs with this configuration; `mcp-soar demo --keep` starts one and says what to type"
        )
        raise Misconfigured(message, file=str(config.folder))

    async def refresh(forge: ContextForge, entry: str) -> None:
        await forge.refresh(entry)

    for server in config.inventory.servers:
        asyncio.run(administer(config.inventory, server, refresh))
    screen.say("The server's owner undid the change, and the gateway has read the server anew.")
