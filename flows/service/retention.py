"""Retention at work: beside the responder's loop, once a day and whenever something that was intended is not done."""

import asyncio
import logging
import time
from collections.abc import Callable

from flows.engine import deletion
from flows.engine.parts import Parts
from playbooks.errors import SoarError
from playbooks.strict import now

LOG = logging.getLogger("mcp_soar.retention")

EVERY = 86400.0
"""Seconds between two looks for what the policy lets go."""

LOOK = 5.0
"""Seconds between two looks for what people asked for, or what a dead responder left half done."""

FIRST = 60.0
"""Seconds after the start before the first look: whoever just started has other things to do."""

AFTER_A_FAULT = 300.0


async def keep(parts: Callable[[], Parts], stop: asyncio.Event, *, every: float = EVERY, look: float = LOOK) -> None:
    """Delete what is to be deleted until told to stop.

    Args:
        parts: returns what the engine works with now.
        stop: ends it.
        every: seconds between two looks for what the policy lets go.
        look: seconds between two looks for the rest.
    """
    due, seen = time.monotonic() + min(FIRST, every), -1
    while not stop.is_set():
        pause = look
        try:
            wanted = await deletion.asked(parts(), max(seen, 0))
            # What was asked for before this process started was answered by another one, or is due at the first look.
            hurried, seen = -1 < seen < wanted, wanted
            if hurried or time.monotonic() >= due:
                due = time.monotonic() + every
                await look_for(parts())
            await finish(parts())
        except SoarError as exc:
            LOG.warning("nothing more is deleted for now: %s", exc)
            pause = max(look, AFTER_A_FAULT)
        except Exception:  # a bug of ours must not end the responder
            LOG.exception("nothing more is deleted for now")
            pause = max(look, AFTER_A_FAULT)
        await asyncio.wait({wait := asyncio.create_task(stop.wait())}, timeout=pause)
        wait.cancel()


async def look_for(parts: Parts) -> None:
    """Journal what the policy lets go, and forget the alerts that no incident needed."""
    found = await deletion.intend(parts, now())
    if found:
        LOG.info("retention lets %d incidents' evidence go: %s", len(found), ", ".join(found[:20]))
    await deletion.forget(parts, now())


async def finish(parts: Parts) -> None:
    """Delete what was intended and is not done."""
    for incident in await deletion.unfinished(parts):
        done = await deletion.finish(parts, incident)
        if done:
            LOG.info("the evidence of %s that was to be deleted is deleted", incident)
