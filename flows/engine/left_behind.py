"""What a responder had in hand that is known to be dead: it is taken up at once, and not when its claim runs out."""

import logging

from flows.engine.case import PREFIX
from flows.engine.parts import Parts
from playbooks.errors import SoarError
from playbooks.record.projection import project

LOG = logging.getLogger("mcp_soar.engine")

_MOST = 10_000


async def take_up(parts: Parts) -> None:
    """Give back the claims on incidents that a process of this one's name had when it died.

    Where an effect was under way its claim runs out by itself: what was sent may still arrive, and a successor waits it
    out.

    Args:
        parts: of the process that takes its place, and has claimed nothing yet.
    """
    try:
        streams = await parts.journal.streams(PREFIX, open_only=True, limit=_MOST)
        theirs = [row.name for row in streams if row.owner == parts.name]
        free = [name for name in theirs if await _at_rest(parts, name)]
        if free and (given := await parts.journal.submit(lambda tx: tx.give_up(parts.name, free))):
            LOG.info("taken up at once, as whoever had them in hand is dead: %d incidents", given)
    except SoarError as exc:
        LOG.warning("what a dead process had in hand is taken up when its claims run out: %s", exc)


async def _at_rest(parts: Parts, stream: str) -> bool:
    try:
        return project(stream.removeprefix(PREFIX), await parts.journal.read(stream)).at_rest
    except SoarError:
        # Whoever claims it next finds out what is wrong with it.
        return False
