"""Messages that the receiver could not read: on the system stream, and a page a day for each source."""

from pydantic import ValidationError

from flows.engine.opening import Opened, set_aside
from flows.engine.parts import Parts
from flows.engine.people.telling import page
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from playbooks.errors import Refused
from playbooks.record.journal import ITSELF, SYSTEM, Event
from playbooks.record.refusal import Refusal
from playbooks.strict import iso, now

_LARGEST = 16 * 1024
_SLOT = 300.0
"""Seconds in which a source has one entry: a receiver reports half as often, and whoever can insert is bounded."""


async def take_refused(parts: Parts, item: InboxItem) -> list[Opened]:
    """Write down that a source's messages were refused, and tell people; opens nothing."""
    source = parts.sources.sources.get(item.source)
    try:
        said = Refusal.model_validate_json(item.body) if len(item.body) <= _LARGEST else None
    except ValidationError:
        said = None
    if source is None or said is None:
        await parts.journal.submit(lambda tx: set_aside(tx, item, "no report of a receiver about a source of ours"))
        return []
    at = now()

    async def unit(tx: Tx) -> None:
        await tx.move(item.id, None)
        if not await _first(tx, f"{item.source}:{int(at.timestamp() // _SLOT)}"):
            return
        body = {"source": item.source, "count": said.count, "since": iso(said.since), "said": said.said}
        await tx.append(SYSTEM, [Event("refused", body, item.source)])
        day = iso(at)[:10]
        # Anybody can send in the name of a source that proves nothing: that wakes nobody.
        if source.authenticated and await _first(tx, f"{item.source}:{day}"):
            notice = f"fault:refused:{item.source}:{day}"
            text = (
                f"Source {item.source}: {said.count} of its messages could not be read since {iso(said.since)}, and "
                f"what they report is in no incident. Of the last one: {said.said} How its product is set up: "
                "docs/connect-a-siem.md. The receiver's /metrics count on."
            )
            await page(tx, ITSELF, Event("page", {"id": notice, "notice": notice, "text": text[:4000]}))

    await parts.journal.submit(unit)
    return []


async def _first(tx: Tx, what: str) -> bool:
    try:
        await tx.use_once("refused", what)
    except Refused:
        return False
    return True
