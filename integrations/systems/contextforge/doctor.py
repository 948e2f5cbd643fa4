"""What `doctor` looks at of a gateway: whether we are let in, what our account may do, whether the canary can ask."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from integrations.gateways.doctor import client_side, entries, into
from integrations.secret import secret
from integrations.system import Holders, Looked
from integrations.systems.contextforge import KIND
from integrations.systems.contextforge.audit import audited
from integrations.systems.contextforge.driver import ContextForge
from integrations.systems.contextforge.enrol import ends_at
from integrations.systems.contextforge.rights import ROLE, rights
from playbooks.action import World
from playbooks.errors import Misconfigured


def doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    """Yield each gateway, with what is looked at there."""
    for name in world.inventory.gateways_of(KIND):
        yield f"gateway {name}", _gateway(world, holders, name)


async def _gateway(world: World, holders: Holders, name: str) -> AsyncIterator[Looked]:
    check, forge = f"gateway {name}", world.reach(ContextForge, name)

    async def until() -> datetime | None:
        token = world.inventory.gateways[name].canary.token
        return ends_at(secret(token, what=f"systems.{name}.canary.token"))

    found: list[list[Looked]] = [[], [], []]
    # The canary has its token already: it asks while the gateway hashes our password.
    canary = asyncio.create_task(into(found[1], (client_side(world, holders, name, until),)))
    try:
        await forge.sign_in()
    except BaseException:
        # Why we are not let in is the one thing to say.
        canary.cancel()
        await asyncio.gather(canary, return_exceptions=True)
        raise
    yield Looked(check, "ok", f"signed in at {forge.gateway.url} as {forge.api.account}")
    # A gateway is one process more often than not: side by side goes only what mostly waits.
    ours = into(found[0], (_rights(forge, check), entries(world, holders, name)))
    asked = await asyncio.gather(ours, canary, into(found[2], (_audit(forge),)), return_exceptions=True)
    for line in itertools.chain.from_iterable(found):
        yield line
    for failure in asked:
        if failure is not None:
            raise failure
    async for line in _processes(forge, check):
        yield line


async def _rights(forge: ContextForge, check: str) -> AsyncIterator[Looked]:
    """Ask what our account may do, for each step that acts there or reads evidence there."""
    found = await rights(forge)
    lacking = [right for right in found if right.lacks]
    remedy = f"give it the role {ROLE} at the gateway, of scope global, and make it a platform administrator"
    for right in lacking:
        message = f"{forge.api.account} may not do {right.step}: it lacks {', '.join(right.lacks)}"
        yield Looked(check, "fail", message, remedy)
    if not lacking:
        yield Looked(check, "ok", f"{forge.api.account} may do all of the {len(found)} steps there")


async def _audit(forge: ContextForge) -> AsyncIterator[Looked]:
    """Look whether the gateway writes down what its logs are evidence of."""
    try:
        found = await audited(forge)
    except Misconfigured:
        return  # what our account may not do has a line of its own
    for one in found:
        remedy = f"{one.setting}=true where the gateway is started: {_WHY}"
        if one.on is None:
            remedy = f"`mcp-soar inventory import {forge.name} --make-canary` tries it out; if it is off, {remedy}"
        check, said = f"logs of {forge.name}", f"{one.what}: {one.said}"
        yield Looked(check, "ok", said) if one.on else Looked(check, "warn", said, remedy)


_WHY = "without it nothing there says who did what"


async def _processes(forge: ContextForge, check: str) -> AsyncIterator[Looked]:
    """Count the gateway's processes: each remembers for itself what it looked up before a cut."""
    seen = await forge.count_pids()
    said, remembers = forge.gateway.processes, forge.gateway.remembers
    if seen > (said or 1):
        message = f"{seen} processes answer, and the inventory says {said or 'nothing of it'}"
        remedy = f"write systems.{forge.name}.processes, workers times replicas: a cut is then proven for each of them"
        yield Looked(check, "warn", message, remedy)
    elif (said or 1) > 1:
        message = f"{said} processes: a cut is established when all have forgotten, after {remembers:g} s"
        yield Looked(check, "ok", message)
    else:
        yield Looked(check, "ok", "one process answers")
