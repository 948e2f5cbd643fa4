"""People told of a test's one incident: its pages journalled as the engine does it, the lane that tells run once."""

from datetime import datetime
from typing import Any, Final

from flows.engine.case import PREFIX
from flows.engine.opening import TELL
from flows.engine.people.notices import due
from flows.engine.people.telling import queue, tell
from integrations.journal.store import Tx
from playbooks.playbook import Notice
from playbooks.record.journal import Event
from tests.flows.cli.world import ID
from tests.lab.house import House

NEW: Final[dict[str, Any]] = {
    "class": "tool_poisoning",
    "title": "seen",
    "entities": [{"kind": "tool", "name": "forecast", "server": "weather"}],
}
"""What asks for it."""


async def queued(home: House, *events: Event) -> None:
    """Journal what people are to be told of."""

    async def unit(tx: Tx) -> None:
        await tx.append(PREFIX + ID, events)
        await queue(tx, ID)

    await home.journal.submit(unit)


async def paged(home: House, *more: Event) -> list[str]:
    """Journal the pages that are due, as the engine does, and return their ids."""
    state = await home.incident(ID)
    pages = [Event("page", {"id": i, "notice": n, "text": text}) for i, n, text in due(state, tuple(Notice))]
    await queued(home, *more, *pages)
    return [str(event.body["id"]) for event in pages]


async def told(home: House) -> datetime | None:
    """Run the lane once, and return when it wants to run again."""
    at = None
    for claim in await home.journal.claim(home.parts.name, lane=TELL, limit=8, seconds=60.0):
        at = await tell(home.parts, claim)
        await home.journal.release(claim, runnable_at=at, lane=TELL)
    return at
