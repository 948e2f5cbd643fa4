"""What `doctor` looks at of an mcp-manager-gateway."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from integrations.gateways.doctor import client_side, entries
from integrations.gateways.named import moment_of
from integrations.system import Holders, Looked
from integrations.systems.mcp_manager_gateway import KIND
from integrations.systems.mcp_manager_gateway.driver import ManagerGateway
from integrations.systems.mcp_manager_gateway.needs import ADMIN, RIGHTS
from playbooks.action import World

_SLOW: float = 4.0
"""Seconds for which a stop may wait for calls to end: a cut of a server that is in use takes as long."""


def doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    """Yield each gateway, with what is looked at there."""
    for name in world.inventory.gateways_of(KIND):
        yield f"gateway {name}", _gateway(world, holders, name)


async def _gateway(world: World, holders: Holders, name: str) -> AsyncIterator[Looked]:
    check, driver = f"gateway {name}", world.reach(ManagerGateway, name)
    await driver.warm()
    account = driver.manager.account
    yield Looked(check, "ok", f"signed in at {driver.origin} as {account}")
    me = await driver.manager.fields("GET", "/me") or {}
    if me.get("role") != ADMIN:
        message = f"{account} is no {ADMIN}, and may do none of the {len(RIGHTS)} steps there"
        yield Looked(check, "fail", message, f"give it the role {ADMIN} at the gateway")
        return
    yield Looked(check, "ok", f"{account} may do all of the {len(RIGHTS)} steps there")
    async for line in entries(world, holders, name):
        yield line
    async for line in _stops(world, driver, check):
        yield line

    async def until() -> datetime | None:
        ours = await driver.tokens(driver.gateway.canary.principal)
        ends = [moment_of(one.get("expires_at")) for one in ours if one.get("disabled") is False]
        return None if None in ends else max((end for end in ends if end), default=None)

    async for line in client_side(world, holders, name, until):
        yield line


async def _stops(world: World, driver: ManagerGateway, check: str) -> AsyncIterator[Looked]:
    """Look how long a server that is in use takes to be stopped: nothing of it can be cut before."""
    for server, known in world.inventory.servers.items():
        if known.gateway is None or known.gateway.name != driver.name:
            continue
        service = await driver.service(known.gateway.id)
        waits = service.config.get("stop_timeout", 10) if service else 0
        if isinstance(waits, int | float) and waits > _SLOW:
            message = f"stopping {server} waits {waits:g} s for calls under way, and a cut of it waits as long"
            yield Looked(check, "warn", message, f"set stop_timeout of {server} to 1 at the gateway")
