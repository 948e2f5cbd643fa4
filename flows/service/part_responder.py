"""The responder as two parts of `up`: one contains, watches and tells; one does what comes after, and shows it."""

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flows.checks import asked
from flows.engine import left_behind
from flows.engine.parts import Parts
from flows.service import listener, retention, running
from flows.service.assembly import assembled, reloading
from flows.service.desk import Desk
from flows.service.part import DIED
from flows.service.responder import Responder
from flows.service.settings import Configuration, read
from integrations.connections import Connections
from integrations.secret import secret
from playbooks.errors import Misconfigured, SoarError

LOG = logging.getLogger("mcp_soar.responder")

RESPONDER = "responder"
"""The part that cuts."""

FLOWS = "flows"
"""The part that runs flows."""

Beside = Callable[[Callable[[], Parts], asyncio.Event], Coroutine[Any, Any, None]]


async def respond(folder: Path, _api: str, stop: asyncio.Event, *, ready: Callable[[], None]) -> None:
    """Contain, watch over what is contained and tell people until told to stop.

    Args:
        folder: of the configuration.
        stop: ends it.
        ready: called when incidents are worked on.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    async with _opened(folder) as opened:
        responder = Responder(opened.parts, flows=0, reload=opened.reload)
        await _work(responder, opened, stop, ready, _pressed)


async def follow(folder: Path, api: str, stop: asyncio.Event, *, ready: Callable[[], None]) -> None:
    """Run what comes after the cuts and what checks are asked for, show it in Prefect, and delete what may go.

    Args:
        folder: of the configuration.
        api: of Prefect; empty for none.
        stop: ends it.
        ready: called when incidents are worked on.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    async with _opened(folder, FLOWS) as opened:
        responder = Responder(
            opened.parts,
            flows=opened.config.settings.prefect.concurrency,
            cuts=False,
            reload=opened.reload,
        )
        if api:
            opened.stack.push_async_callback(_ended, asyncio.create_task(_published(opened.parts)))
        await _work(
            responder,
            opened,
            stop,
            ready,
            retention.keep,
            partial(asked.attend, folder),
            partial(_heard, opened.config),
        )


class _Opened(NamedTuple):
    """What a responder's part works with.

    Args:
        config: as it was read.
        parts: made of that.
        reload: tells it that the configuration changed.
        stack: ends what runs beside it.
    """

    config: Configuration
    parts: Parts
    reload: Callable[[], Parts | None]
    stack: contextlib.AsyncExitStack


@contextlib.asynccontextmanager
async def _opened(folder: Path, part: str = RESPONDER) -> AsyncIterator[_Opened]:
    """Yield what a part works with, and close it afterwards.

    Args:
        folder: of the configuration.
        part: which of the two it is; whoever runs flows has a name of its own.
    """
    # Before they are read: what changes meanwhile is read at the first question.
    uses = running.digests(folder)
    config = read(folder)
    name = config.settings.responder + ("" if part == RESPONDER else f"-{part}")
    async with assembled(config, name=name) as parts, contextlib.AsyncExitStack() as stack:
        if os.environ.get(DIED):
            await left_behind.take_up(parts)
        yield _Opened(config, parts, reloading(parts, config, uses, part=part), stack)


async def _work(
    responder: Responder, opened: _Opened, stop: asyncio.Event, ready: Callable[[], None], *beside: Beside
) -> None:
    """Have a responder work until told to stop.

    Args:
        responder: it.
        opened: what it works with.
        stop: ends it.
        ready: called when incidents are worked on.
        beside: what runs beside it, with the parts that it works with then.
    """
    working = asyncio.create_task(responder.run(stop))
    for other in (_warm(opened.parts), *(one(lambda: responder.parts, stop) for one in beside)):
        opened.stack.push_async_callback(_ended, asyncio.create_task(other))
    ready()
    await working


async def _heard(config: Configuration, parts: Callable[[], Parts], stop: asyncio.Event) -> None:
    """Listen to servers that say that something of them changed."""
    await listener.listen(parts, config, stop)


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
    desk = await asyncio.to_thread(importlib.import_module, "integrations.channels.slack.desk")
    await desk.run(app_token, bot_token, slack.url, Desk(parts), stop)


async def _warm(parts: Parts) -> None:
    """Sign in to the gateways ahead of need."""
    if isinstance(parts.world, Connections):
        try:
            await parts.world.warm()
        except SoarError as exc:
            LOG.warning("a gateway does not answer yet: %s", exc)


async def _published(parts: Parts) -> None:
    """Show incidents in Prefect, which is loaded beside the first of them: its import takes over a second."""
    try:
        publishing = await asyncio.to_thread(importlib.import_module, "flows.pages.publishing")
        await publishing.publish(parts.journal, parts.playbooks)
    except Exception:
        LOG.exception("Prefect shows nothing until this is mended and the responder restarted")


async def _ended(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=2.0)
