"""What `doctor` looks at of a LiteLLM proxy."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime

from integrations.gateways.canary import Canary
from integrations.gateways.doctor import behind, client_side, entries
from integrations.gateways.named import moment_of
from integrations.system import Holders, Looked
from integrations.systems.litellm import KIND
from integrations.systems.litellm.answers import opens
from integrations.systems.litellm.driver import LiteLLM
from integrations.systems.litellm.needs import RIGHTS
from playbooks.action import World
from playbooks.estate.pins import PinKind


def doctor(world: World, holders: Holders) -> Iterator[tuple[str, AsyncIterator[Looked]]]:
    """Yield each gateway, with what is looked at there."""
    for name in world.inventory.gateways_of(KIND):
        yield f"gateway {name}", _gateway(world, holders, name)


async def _gateway(world: World, holders: Holders, name: str) -> AsyncIterator[Looked]:
    check, driver = f"gateway {name}", world.reach(LiteLLM, name)
    # What only a proxy administrator is told, and only where there is a database.
    await driver.keys(driver.gateway.canary.principal)
    await driver.users(driver.administrator)
    yield Looked(check, "ok", f"its key may do all of the {len(RIGHTS)} steps at {driver.origin}")
    async for line in entries(world, holders, name):
        yield line
    async for line in _servers(world, driver, check):
        yield line

    async def until() -> datetime | None:
        ends = [
            moment_of(one.get("expires")) for one in await driver.keys(driver.gateway.canary.principal) if opens(one)
        ]
        return None if None in ends else max((end for end in ends if end), default=None)

    async for line in client_side(world, holders, name, until):
        yield line


async def _servers(world: World, driver: LiteLLM, check: str) -> AsyncIterator[Looked]:
    """Look, server by server, whether it can be cut at all, and whether the canary's key would meet what others do."""
    registered, again = await driver.registered(), f"`mcp-soar inventory import {driver.name} --make-canary`"
    listed = await world.reach(Canary, driver.name).names(PinKind.TOOL)
    for server, entry in behind(world, driver.name).items():
        known = registered.get(entry)
        if known is None:
            continue
        if known.get("is_config") is True:
            message = f"{server} stands in the proxy's configuration file: nothing of it can be cut while it runs"
            yield Looked(check, "fail", message, "add it to the proxy's database (Admin UI, or POST /v1/mcp/server)")
        if not await driver.may_use(driver.gateway.canary.principal, entry):
            message = f"the canary's key may not use {server}: what it meets there proves nothing"
            yield Looked(check, "fail", message, again)
        offered = [held.offered_as for held in await driver.catalog(entry) if held.enabled]
        if offered and not listed.intersection(offered):
            message = f"clients list no tool of {server} by the name that was expected, as {offered[0]}"
            remedy = "set neither MCP_TOOL_PREFIX_SEPARATOR nor LITELLM_USE_SHORT_MCP_TOOL_PREFIX where it is started"
            yield Looked(check, "fail", message, remedy)
