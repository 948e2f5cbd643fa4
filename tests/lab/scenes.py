"""What tests of the engine set up again and again: a house over a lab, faster watches, playbooks of their own."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from flows.demo.mcp_server import Behaviour
from flows.engine.case import PREFIX
from flows.engine.parts import Timing
from integrations.gateways.canary import Canary
from integrations.protocol.agent import Agent
from integrations.protocol.client import McpEndpoint
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.held import Held
from playbooks.estate.inventory import Inventory, Server
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer
from playbooks.gate.policy import Policy
from playbooks.gate.rules import Mode
from playbooks.people.request import Verb
from playbooks.record.journal import Parsed
from playbooks.record.state import Incident
from playbooks.record.step import Progress, StepState
from playbooks.taxonomy import IncidentClass
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import ROOMY, House, house

GATEWAY = "main"
FAST = Timing(write_retries=(0.1, 0.2, 0.3, 0.5), verify_retries=(0.1, 0.2, 0.3), stopped=0.2)
"""Waits, not limits, shortened: what the engine's safety rests on stays as it ships."""

BOTH_AUTOMATIC = ROOMY.model_copy(
    update={"classes": {IncidentClass.TOOL_POISONING: Mode.AUTOMATIC, IncidentClass.TOOL_MISUSE: Mode.AUTOMATIC}}
)


@asynccontextmanager
async def installation(
    lab: Lab,
    folder: Path,
    *,
    policy: Policy = ROOMY,
    watch_every: float = 1.0,
    patience: float | None = None,
    inventory: Inventory | None = None,
    **parts: Any,  # noqa: ANN401  # fields of Parts
) -> AsyncIterator[House]:
    """Make an installation over a lab.

    Args:
        lab: the lab.
        folder: for the installation's files.
        policy: the gate's rules.
        watch_every: seconds between two verifications of a lease, which keep the gateway busy for a third of one.
        patience: seconds after which its gateway counts as silent.
        inventory: another reading of what exists.
        parts: other parts of the engine.
    """
    read = (inventory or lab.world.inventory).model_copy(update={"watch_every": watch_every})
    world = connected(read)
    connections = (world.reach(ContextForge, GATEWAY), world.reach(Canary, GATEWAY).endpoint)
    for connection in connections:
        connection.patience = 20.0
    await world.warm()
    for connection in connections:
        connection.patience = patience or 20.0
    lab.proxy.forget()
    try:
        async with house(folder / "house", world, policy=policy) as home:
            yield home.changed(**{"timing": FAST, **parts})
    finally:
        await world.aclose()


def served(lab: Lab, **changes: Any) -> Inventory:  # noqa: ANN401  # fields of Server
    """Return the lab's inventory with its server described otherwise."""
    inventory, name = lab.world.inventory, lab.site.server_id
    server: Server = inventory.servers[name].model_copy(update=changes)
    return inventory.model_copy(update={"servers": {**inventory.servers, name: server}})


@asynccontextmanager
async def operator(lab: Lab) -> AsyncIterator[ContextForge]:
    """Be somebody else with an administrator's rights at the gateway itself, past the proxy."""
    place = lab.world.inventory.gateways[GATEWAY].model_copy(update={"url": lab.gateway.url})
    forge = ContextForge(GATEWAY, place, lab.gateway.password)
    forge.patience = 20.0
    try:
        yield forge
    finally:
        await forge.aclose()


def entry(lab: Lab) -> str:
    """Return the id of the lab's server at the gateway."""
    known = lab.world.inventory.servers[lab.site.server_id].gateway
    assert known is not None
    return known.id


async def turn(lab: Lab, behaviour: Behaviour | None) -> None:
    """Have the server behave so, and the gateway read its definitions anew."""
    lab.victim.behave(behaviour)
    async with operator(lab) as forge:
        await forge.refresh(entry(lab))


async def held(lab: Lab, tool: str) -> Held | None:
    """Return a tool of the lab's server as the gateway holds it now."""
    async with operator(lab) as forge:
        return next((item for item in await forge.held(PinKind.TOOL, entry(lab)) if item.name == tool), None)


async def enable(lab: Lab, tool: str, *, enabled: bool) -> None:
    """Set a tool's state by hand, as an operator does."""
    found = await held(lab, tool)
    assert found is not None
    async with operator(lab) as forge:
        await forge.set_enabled(PinKind.TOOL, found.id, enabled=enabled)


async def enabled(lab: Lab, tool: str) -> bool:
    """Return whether the gateway says that a tool can be used."""
    found = await held(lab, tool)
    return found is not None and found.enabled


async def usable(lab: Lab, tool: str, **arguments: Any) -> bool:  # noqa: ANN401  # a tool's arguments
    """Return whether the lab's agent gets an answer from a tool, asked past the proxy."""
    agent = Agent(lab.site.client_url, lab.site.agent.secret)
    name = next(
        (seen for seen in await agent.tools() if seen == f"{lab.site.server_id}-{tool.replace('_', '-')}"), None
    )
    return name is not None and (await agent.call(name, arguments)).worked


def the_resource(lab: Lab) -> str:
    """Return the URI of the lab's server's one resource."""
    (pin,) = lab.site.inventory.pins.of(lab.site.server_id, PinKind.RESOURCE)
    return pin.name


async def readable(lab: Lab, kind: PinKind) -> bool:
    """Return whether the lab's agent lists and gets the server's one prompt, or its one resource, past the proxy."""
    (pin,) = lab.site.inventory.pins.of(lab.site.server_id, kind)
    name = pin.gateway_name or pin.name
    key, get = ("uri", "resources/read") if kind is PinKind.RESOURCE else ("name", "prompts/get")
    agent = McpEndpoint("agent", lab.site.client_url, principal="agent", token=lab.site.agent.secret)
    try:
        listed = name in {item.get(key) for item in await agent.listed(f"{kind}s")}
        reply = await agent.ask(get, {key: name} | ({"arguments": {"name": "Ann"}} if kind is PinKind.PROMPT else {}))
    finally:
        await agent.aclose()
    assert listed is not reply.failed, f"{name} is listed: {listed}; asked for: {reply.said}"
    return listed


def cut_of(lab: Lab, tool: str) -> str:
    """Return the name of the step, and of the lease, that the shipped playbook cuts a tool with."""
    return f"cut-tool@{lab.site.server_id}/{tool}"


def answers(incident_entries: Iterable[Parsed]) -> list[Answer]:
    """Return what every verification of a stream found, in order."""
    kinds = {"verified", "lease_checked"}
    return [Answer(entry.body["verdict"]["answer"]) for entry in incident_entries if entry.kind in kinds]


async def entries(home: House, incident: str) -> list[Parsed]:
    """Return an incident's stream."""
    return [entry.parsed() for entry in await home.journal.read(f"{PREFIX}{incident}")]


async def established(home: House, incident: str, instance: str) -> Incident:
    """Wait until a step of an incident is established."""

    async def so() -> bool:
        step = (await home.incident(incident)).steps.get(instance)
        return step is not None and step.progress is Progress.ESTABLISHED

    await home.until(so, f"{instance} is established")
    return await home.incident(incident)


async def proposed(home: House, incident: str, instance: str) -> StepState:
    """Wait until a step of an incident waits for people, and return it."""

    async def so() -> bool:
        step = (await home.incident(incident)).steps.get(instance)
        return step is not None and step.progress is Progress.PROPOSED

    await home.until(so, f"{instance} is proposed")
    return (await home.incident(incident)).steps[instance]


async def approve(home: House, who: str, incident: str, step: StepState) -> str:
    """Have a person approve what a step proposes."""
    assert step.plan is not None
    return await home.ask(who, Verb.APPROVE, incident, digest=step.plan.digest, reason="looked at it")


async def all_back(home: House, name: str) -> Incident:
    """Have bob agree to what a second person is asked about, until all of an incident is given back."""
    answered: set[str] = set()

    async def back() -> bool:
        incident = await home.incident(name)
        for step in incident.proposals:
            if step.plan and step.plan.digest not in answered:
                answered.add(step.plan.digest)
                await approve(home, "bob", name, step)
        return incident.metrics["released_at"] is not None

    await home.until(back, f"{name} has given everything back")
    return await home.incident(name)


async def taken_in(home: House) -> None:
    """Wait until nothing is left in the inbox."""

    async def empty() -> bool:
        return not await home.journal.waiting(1)

    await home.until(empty, "the inbox is empty")
