"""What `doctor` looks at of any gateway: whether it has what the inventory names, and whether the canary can ask."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

from integrations.gateways.canary import Canary
from integrations.gateways.driver import driver_at
from integrations.gateways.scene import control_call
from integrations.system import Holders, Looked
from playbooks.action import World
from playbooks.estate.pins import PinKind
from playbooks.gate.plan import Answer, Change, Target
from playbooks.strict import now

_SOON: Final = timedelta(days=14)


async def into(found: list[Looked], parts: Iterable[AsyncIterator[Looked]]) -> None:
    """Keep what is found as it comes, part after part: what came before an error is kept."""
    for lines in parts:
        async for line in lines:
            found.append(line)  # noqa: PERF401  # likewise


async def entries(world: World, holders: Holders, name: str) -> AsyncIterator[Looked]:
    """Look whether the gateway has the entries that the inventory names, and lets clients use them."""
    check, driver, places = f"gateway {name}", driver_at(name, world), behind(world, name)
    for server, id_ in places.items():
        entry = await driver.entry_at(id_)
        if entry is None:
            message = f"it has no entry {id_} for server {server}"
            yield Looked(check, "fail", message, f"mend servers.{server}.places.{name}.id in inventory.yaml")
        elif entry.enabled is False:
            grip = _grip(name, "entry", id_)
            message, otherwise = f"its entry of server {server} is disabled", f"{_AGAIN} server {server}`"
            yield await holders.explain(check, message, grip, value=False, otherwise=otherwise)


_AGAIN: Final = "whoever did it: enable it at the gateway, or have it held and watched: `mcp-soar contain"


def _grip(gateway: str, kind: str, id_: str) -> str:
    """Return what a hold on an object is called that keeps it out of use."""
    target = Target(system=f"gateway/{gateway}", kind=kind, id=id_, name=id_)
    return Change(target=target, field="enabled", before=True, after=False).grip


def behind(world: World, gateway: str) -> dict[str, str]:
    """Return the servers behind a gateway, each with the id of its entry there."""
    servers = world.inventory.servers.items()
    return {name: one.gateway.id for name, one in servers if one.gateway and one.gateway.name == gateway}


async def client_side(
    world: World, holders: Holders, name: str, until: Callable[[], Awaitable[datetime | None]]
) -> AsyncIterator[Looked]:
    """Ask what a verification asks: whether the canary may list, and whether it may call.

    Args:
        world: the connections.
        holders: who holds what is out of use.
        name: the gateway.
        until: says until when the canary's token is good; None if for ever, or nobody knows.
    """
    check, canary = f"canary of {name}", world.reach(Canary, name)
    listed = await canary.control_by_list(PinKind.TOOL)
    if listed.answer is not Answer.ESTABLISHED:
        remedy = f"without a canary nothing can be verified: `mcp-soar inventory import {name} --make-canary`"
        yield Looked(check, "fail", listed.observed, remedy)
        return
    yield Looked(check, "ok", f"{listed.asked_as} {listed.observed} tools")
    ends = await until()
    if ends is not None and ends - now() < _SOON:
        message = f"its token ends {ends:%Y-%m-%dT%H:%M:%SZ}, and from then on nothing can be verified"
        yield Looked(check, "warn", message, f"`mcp-soar inventory import {name} --make-canary`")
    asked = False
    for server, entry in behind(world, name).items():
        called = await control_call(canary, world.inventory, server)
        if called is None:
            continue
        tool = world.inventory.servers[server].control_tool or ""
        asked, what = True, f"its call of {tool} of {server}"
        if called.answer is Answer.ESTABLISHED:
            yield Looked(check, "ok", f"{what} gets through")
        elif called.answer is Answer.NOT_ESTABLISHED:
            message = f"{what} is refused, as that of a contained tool: {called.observed}"
            pin = world.inventory.pins.find(server, PinKind.TOOL, tool)
            held = (("entry", entry), (PinKind.TOOL, pin.gateway_id if pin else None))
            grips = [_grip(name, kind, id_) for kind, id_ in held if id_]
            otherwise = f"{_AGAIN} tool {server}/{tool}`"
            yield await holders.explain(check, message, *grips, value=False, otherwise=otherwise)
        else:
            remedy = "give the canary an ordinary client's right to call tools: a refusal of its calls proves nothing"
            yield Looked(check, "fail", f"{what} meets: {called.observed}", f"{remedy}; or see whether the server runs")
    if not asked:
        message = "whether it may call a tool was not asked: no server has a control_tool that is approved"
        yield Looked(check, "warn", message, "name one in inventory.yaml, and approve it with `mcp-soar pins approve`")
