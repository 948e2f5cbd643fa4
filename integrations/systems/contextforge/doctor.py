"""What `doctor` looks at of a gateway: whether we are let in, what our account may do, whether the canary can ask."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from typing import Final

from integrations.secret import secret
from integrations.system import Looked
from integrations.systems.contextforge.audit import audited
from integrations.systems.contextforge.canary import Canary
from integrations.systems.contextforge.client import ContextForge
from integrations.systems.contextforge.enrol import ends_at
from integrations.systems.contextforge.exposure import control_call
from integrations.systems.contextforge.rights import ROLE, rights
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.inventory import PinKind
from playbooks.plan import Answer
from playbooks.strict import now

_SOON: Final = timedelta(days=14)


def doctor(world: World) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    """Yield each gateway, with what is looked at there."""
    for name in world.inventory.gateways:
        yield f"gateway {name}", _gateway(world, name)


async def _gateway(world: World, name: str) -> AsyncIterator[Looked]:
    check, forge = f"gateway {name}", world.reach(ContextForge, name)
    await forge.warm()
    yield Looked(check, "ok", f"signed in at {forge.gateway.url} as {forge.account}")
    # A gateway is one process more often than not: side by side goes only what mostly waits.
    lanes = ((_rights(forge, check), _entries(world, name), _canary(world, name)), (_audit(forge),))
    found: list[list[Looked]] = [[] for _ in lanes]
    asked = await asyncio.gather(*map(_into, found, lanes), return_exceptions=True)
    for line in itertools.chain.from_iterable(found):
        yield line
    for failure in asked:
        if failure is not None:
            raise failure
    async for line in _processes(forge, check):
        yield line


async def _into(found: list[Looked], parts: Iterable[AsyncIterator[Looked]]) -> None:
    """Keep what is found as it comes, part after part: what came before an error is kept."""
    for lines in parts:
        async for line in lines:
            found.append(line)  # noqa: PERF401  # likewise


async def _entries(world: World, name: str) -> AsyncIterator[Looked]:
    """Look whether the gateway has the entries that the inventory names, and lets clients use them."""
    check, forge, places = f"gateway {name}", world.reach(ContextForge, name), _behind(world, name)
    for server, id_ in places.items():
        entry = await forge.entry(id_)
        if entry is None:
            message = f"it has no entry {id_} for server {server}"
            yield Looked(check, "fail", message, f"mend servers.{server}.gateway.id in inventory.yaml")
        elif not entry.get("enabled", True):
            yield Looked(check, "warn", f"its entry of server {server} is disabled", "see whether an incident holds it")


def _behind(world: World, gateway: str) -> dict[str, str]:
    """Return the servers behind a gateway, each with the id of its entry there."""
    servers = world.inventory.servers.items()
    return {name: one.gateway.id for name, one in servers if one.gateway and one.gateway.name == gateway}


async def _rights(forge: ContextForge, check: str) -> AsyncIterator[Looked]:
    """Ask what our account may do, for each step that acts there or reads evidence there."""
    found = await rights(forge)
    lacking = [right for right in found if right.lacks]
    remedy = f"give it the role {ROLE} at the gateway, of scope global, and make it a platform administrator"
    for right in lacking:
        message = f"{forge.account} may not do {right.step}: it lacks {', '.join(right.lacks)}"
        yield Looked(check, "fail", message, remedy)
    if not lacking:
        yield Looked(check, "ok", f"{forge.account} may do all of the {len(found)} steps there")


async def _audit(forge: ContextForge) -> AsyncIterator[Looked]:
    """Look whether the gateway writes down what its logs are evidence of."""
    try:
        found = await audited(forge)
    except Misconfigured:
        return  # what our account may not do has a line of its own
    for one in found:
        remedy = f"{one.setting}=true where the gateway is started: {_WHY}"
        if one.on is None:
            remedy += f". Where it is set, `mcp-soar inventory import {forge.name} --make-canary` tries it out"
        check, said = f"logs of {forge.name}", f"{one.what}: {one.said}"
        yield Looked(check, "ok", said) if one.on else Looked(check, "warn", said, remedy)


_WHY = "without it nothing there says who did what"


async def _processes(forge: ContextForge, check: str) -> AsyncIterator[Looked]:
    """Count the gateway's processes: each remembers for itself what it looked up before a cut."""
    seen = await forge.count_pids()
    said, remembers = forge.gateway.processes, forge.gateway.remembers
    if seen > (said or 1):
        message = f"{seen} processes answer, and the inventory says {said or 'nothing of it'}"
        remedy = f"write gateways.{forge.name}.processes, workers times replicas: a cut is then proven for each of them"
        yield Looked(check, "warn", message, remedy)
    elif (said or 1) > 1:
        message = f"{said} processes: a cut is established when all have forgotten, after {remembers:g} s"
        yield Looked(check, "ok", message)
    else:
        yield Looked(check, "ok", "one process answers")


async def _canary(world: World, name: str) -> AsyncIterator[Looked]:
    """Ask what a verification asks: whether the canary may list, and whether it may call."""
    check, canary = f"canary of {name}", world.reach(Canary, name)
    listed = await canary.control_by_list(PinKind.TOOL)
    if listed.answer is not Answer.ESTABLISHED:
        remedy = f"without a canary nothing can be verified: `mcp-soar inventory import {name} --make-canary`"
        yield Looked(check, "fail", listed.observed, remedy)
        return
    yield Looked(check, "ok", f"{listed.asked_as} {listed.observed} tools")
    place = world.inventory.gateways[name].canary.token
    ends = ends_at(secret(place, what=f"gateways.{name}.canary.token"))
    if ends is not None and ends - now() < _SOON:
        message = f"its token ends {ends:%Y-%m-%dT%H:%M:%SZ}, and from then on nothing can be verified"
        yield Looked(check, "warn", message, f"`mcp-soar inventory import {name} --make-canary`")
    asked = False
    for server in _behind(world, name):
        called = await control_call(canary, world.inventory, server)
        if called is None:
            continue
        asked, what = True, f"its call of {world.inventory.servers[server].control_tool} of {server}"
        if called.answer is Answer.ESTABLISHED:
            yield Looked(check, "ok", f"{what} gets through")
        elif called.answer is Answer.NOT_ESTABLISHED:
            message = f"{what} is refused, as that of a contained tool: {called.observed}"
            yield Looked(check, "warn", message, "see whether an incident holds it")
        else:
            remedy = "give the canary an ordinary client's right to call tools: a refusal of its calls proves nothing"
            yield Looked(check, "fail", f"{what} meets: {called.observed}", f"{remedy}; or see whether the server runs")
    if not asked:
        message = "whether it may call a tool was not asked: no server has a control_tool that is approved"
        yield Looked(check, "warn", message, "name one in inventory.yaml, and approve it with `mcp-soar pins approve`")
