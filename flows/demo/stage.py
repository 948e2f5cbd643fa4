"""What the demonstration plays on: an estate, mcp-soar's configuration for it, and the two running."""

import asyncio
import base64
import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml

from flows.demo.contextforge import RunningGateway, contextforge
from flows.demo.mcp_server import McpServer, mcp_server
from flows.demo.processes import child, environment
from flows.demo.screen import Screen
from flows.demo.site import GATEWAY, Site, build
from flows.service.settings import systems
from integrations.connections import Connections
from integrations.journal.store import Journal
from integrations.protocol.agent import Agent
from integrations.siem.source import new_secret
from integrations.signing import PublicKey, SigningKey
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind
from playbooks.people.request import People, Person
from playbooks.strict import now

T = TypeVar("T")

PEOPLE = {"ann": ("responder", "approver"), "bob": ("approver", "reviewer")}
"""Who is enrolled: whoever asks for a thing does not approve it, and ending a stop takes two."""

PERSON = "ann"
REVIEWER = "bob"
MESSAGES = "state/messages"
SERVER = "server"
"""The folder of the victim, beside the configuration."""

TOOL = "get_weather"
RULE = "MCP tool definition changed"
SHELL = "Shell started in the container of an MCP server"


class Failed(Exception):
    """Something that the demonstration is about did not hold."""


@dataclasses.dataclass
class Stage:
    """Everything that is up.

    Args:
        folder: where all of it is written.
        config: the configuration folder of mcp-soar.
        server: the victim.
        gateway: in front of it.
        site: who uses it, and where.
    """

    folder: Path
    config: Path
    server: McpServer
    gateway: RunningGateway
    site: Site

    @property
    def agent(self) -> Agent:
        """The agent that uses the weather tools."""
        return Agent(self.site.client_url, self.site.agent.secret)

    @property
    def offered(self) -> str:
        """What the gateway calls the tool."""
        pin = self.site.inventory.pins.find(self.site.server_id, PinKind.TOOL, TOOL)
        return (pin.gateway_name if pin else None) or TOOL

    def status(self) -> dict[str, Any]:
        """What `up` says of itself; empty while it is not up."""
        try:
            found: dict[str, Any] = json.loads((self.config / "state" / "up.json").read_text())
        except (OSError, ValueError):
            return {}
        return found


def set_up(
    stack: ExitStack,
    screen: Screen,
    folder: Path,
    *,
    forms: bool = False,
    placed: Callable[[Site], Site] = lambda site: site,
) -> Stage:
    """Start everything, and see that the agent can use the tool.

    Args:
        stack: ends it.
        screen: where to say so.
        folder: an empty one.
        forms: do the work of Prefect's forms and schedules too, for whoever stays to try them.
        placed: says where else the server stands.

    Raises:
        Failed: the agent cannot.
    """
    screen.title("1  A small MCP estate")
    with screen.step("an MCP server with three tools (FastMCP)"):
        server = stack.enter_context(mcp_server(folder / SERVER))
    with screen.step("a gateway in front of it (ContextForge)"):
        gateway = stack.enter_context(contextforge(folder / "gateway"))
    config = folder / "config"
    with screen.step("an agent and a canary as its clients; what the server offers is approved and pinned"):
        site = placed(asyncio.run(build(gateway, server, folder / "secrets")))
        configure(site, config)
    stage = Stage(folder=folder, config=config, server=server, gateway=gateway, site=site)
    with screen.step("mcp-soar up: responder, receiver, Prefect"):
        stack.enter_context(_up(stage, forms=forms))
    said = asyncio.run(stage.agent.call(stage.offered, {"city": "Seoul"}))
    if not said.worked:
        raise Failed(f"the agent cannot call {stage.offered} before anything happened: {said.text}")
    screen.say(f"The agent calls {stage.offered}: {said.text}")
    return stage


def configure(site: Site, config: Path) -> None:
    """Write a configuration folder for an estate, with people, and pins that one of them has signed for.

    Args:
        site: the estate.
        config: a folder that is not there yet.
    """
    for folder in (config, config / "keys"):
        folder.mkdir(mode=0o700)
    key = SigningKey.generate(config / "keys" / "responder.key")
    (config / "keys" / "responder.pub").write_bytes(key.public.pem)
    keys = {name: SigningKey.generate(config / "keys" / f"{name}.key") for name in PEOPLE}
    people = {
        name: Person(key="ed25519:" + base64.b64encode(key.public.raw).decode(), roles=PEOPLE[name], enrolled_at=now())
        for name, key in keys.items()
    }
    _write(config / "people.yaml", People(people=people).model_dump(mode="json"))
    site.reviewed(REVIEWER, keys[REVIEWER].sign).write(config)
    webhook = config / "keys" / "elastic.secret"
    webhook.touch(mode=0o600)
    webhook.write_text(new_secret())
    source = {
        "format": "elastic",
        "authentication": {"bearer": {"secrets": [{"file": str(webhook)}]}},
        "confidence": "high",
        "classify": [{"rule": RULE, "class": "tool_poisoning"}, {"rule": SHELL, "class": "server_compromise"}],
    }
    _write(config / "sources.yaml", {"version": 1, "sources": {"elastic": source}})
    contacts = {name: {"file": f"{MESSAGES}/{name}"} for name in PEOPLE}
    on_call = [{"contact": name, "wait": "5m"} for name in PEOPLE]
    _write(config / "contacts.yaml", {"version": 1, "contacts": contacts, "on_call": on_call, "room": PERSON})
    _write(config / "mcp-soar.yaml", {"version": 1, "receiver": {"port": 0}, "prefect": {"port": 0}})


def _write(path: Path, document: object) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")


@contextmanager
def _up(stage: Stage, *, forms: bool) -> Iterator[None]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "flows.cli.up", str(stage.config), *([] if forms else ["--no-workers"])]
    log = stage.folder / "up.log"
    env = environment(PYTHONPATH=str(root))
    # It ends its parts one after the other, each of which may take seconds.
    with child(command, log=log, ready=lambda: bool(stage.status()), within=300, env=env, grace=60):
        yield


@asynccontextmanager
async def reading(stage: Stage) -> AsyncIterator[Journal]:
    """Yield the journal, to be read."""
    # Without a signing key it can only be read.
    url, keys = (
        f"sqlite:///{stage.config / 'state' / 'journal.db'}",
        [PublicKey.load(stage.config / "keys/responder.pub")],
    )
    journal = await Journal.open(url, signer=None, name="demo", keys=keys)
    try:
        yield journal
    finally:
        await journal.aclose()


async def administer(inventory: Inventory, server: str, work: Callable[[ContextForge, str], Awaitable[T]]) -> T:
    """Do something at the gateway as its administrator.

    Args:
        inventory: the configuration's.
        server: whose entry it is about.
        work: gets the gateway and the entry's id.
    """
    world = Connections(inventory, systems())
    try:
        place = inventory.servers[server].gateway
        return await work(world.reach(ContextForge, GATEWAY), place.id if place else "")
    finally:
        await world.aclose()
