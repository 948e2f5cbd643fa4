"""The responder as two parts of `up`: one contains, watches and tells; the other runs what comes after it as flows."""

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows import retention, running
from flows.assembly import assembled, reloading
from flows.desk import Desk
from flows.engine.case import Case
from flows.engine.parts import Parts
from flows.responder import FlowStarter, Responder, direct_flow
from flows.settings import read
from integrations.connections import Connections
from integrations.journal.store import Claim
from integrations.secret import secret
from playbooks.errors import Misconfigured, SoarError

LOG = logging.getLogger("mcp_soar.responder")

LOAD_WITHIN = 10.0
"""Seconds that a flow waits for Prefect to be loaded; then it runs without."""

FLOWS = "flows"
"""The part that runs flows."""


async def respond(folder: Path, _api: str, stop: asyncio.Event, *, ready: Callable[[], None]) -> None:
    """Contain, watch over what is contained and tell people until told to stop.

    Args:
        folder: of the configuration.
        stop: ends it.
        ready: called when incidents are worked on.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    uses = running.digests(folder)
    config = read(folder)
    async with assembled(config) as parts, contextlib.AsyncExitStack() as stack:
        responder = Responder(parts, flows=0, reload=reloading(parts, config, uses))
        working = asyncio.create_task(responder.run(stop))
        stack.push_async_callback(_ended, asyncio.create_task(_pressed(lambda: responder.parts, stop)))
        stack.push_async_callback(_ended, asyncio.create_task(_warm(parts)))
        ready()
        await working


async def follow(folder: Path, api: str, stop: asyncio.Event, *, ready: Callable[[], None]) -> None:
    """Run what comes after the cuts, and delete what may go, until told to stop.

    Args:
        folder: of the configuration.
        api: of Prefect; empty for none.
        stop: ends it.
        ready: called when incidents are worked on.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    uses = running.digests(folder)
    config = read(folder)
    name = f"{config.settings.responder}-{FLOWS}"
    async with assembled(config, name=name) as parts, contextlib.AsyncExitStack() as stack:
        responder = Responder(
            parts,
            flow=await _reported(parts, stack, stop) if api else direct_flow,
            flows=config.settings.prefect.concurrency,
            cuts=False,
            reload=reloading(parts, config, uses, part=FLOWS),
        )
        working = asyncio.create_task(responder.run(stop))
        stack.push_async_callback(_ended, asyncio.create_task(_warm(parts)))
        stack.push_async_callback(_ended, asyncio.create_task(retention.keep(lambda: responder.parts, stop)))
        ready()
        await working


async def _pressed(parts: Callable[[], Parts], stop: asyncio.Event) -> None:
    """Listen for what people press in Slack. Where its tokens cannot be read nobody can press; all else goes on."""
    slack = parts().contacts.channels.slack
    if slack is None or slack.app_token is None:
        return
    try:
        app_token = secret(slack.app_token, what="channels.slack.app_token")
        bot_token = secret(slack.bot_token, what="channels.slack.bot_token")
    except Misconfigured as exc:
        LOG.error("Slack: nobody can press a button until this is mended and the responder restarted: %s", exc)  # noqa: TRY400  # it says what to mend
        return
    # Half a second to load, for those who use it.
    desk = await asyncio.to_thread(importlib.import_module, "integrations.slack.desk")
    await desk.run(app_token, bot_token, slack.url, Desk(parts), stop)


async def _warm(parts: Parts) -> None:
    """Sign in to the gateways ahead of need."""
    if isinstance(parts.world, Connections):
        try:
            await parts.world.warm()
        except SoarError as exc:
            LOG.warning("a gateway does not answer yet: %s", exc)


async def _reported(parts: Parts, stack: contextlib.AsyncExitStack, stop: asyncio.Event) -> FlowStarter:
    """Return what runs flows in Prefect, which is loaded beside the first of them: its import takes over a second."""

    async def load() -> FlowStarter:
        flows = await asyncio.to_thread(importlib.import_module, "flows.respond")
        prefect = await stack.enter_async_context(flows.connected(parts.playbooks))
        stack.push_async_callback(_ended, asyncio.create_task(prefect.publish(parts.journal, stop)))
        start: FlowStarter = prefect.start
        return start

    loading = asyncio.create_task(load())
    stack.push_async_callback(_ended, loading)

    async def start(current: Parts, claim: Claim) -> Case:
        await asyncio.wait({loading}, timeout=LOAD_WITHIN)
        if loading.done() and (failure := loading.exception()) is None:
            return await loading.result()(current, claim)
        LOG.error("Prefect cannot be loaded; going on without it: %r", failure if loading.done() else "too slow")
        return await direct_flow(current, claim)

    return start


async def _ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=2.0)
