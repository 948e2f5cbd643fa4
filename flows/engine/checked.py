"""What a check says of its run, and which is asked for: kept in streams, if a receiver of ours took it from us."""

from datetime import datetime

from pydantic import ValidationError

from flows.engine.opening import Opened, set_aside
from flows.engine.parts import Parts
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.check import AGAIN, ASKED, CHECK, SAID, Asked, Ran
from playbooks.record.journal import Event

LANE = "check"
"""The lane of the queue in which a check waits that was asked for."""

_STRANGE = "no check of ours says so through a receiver of ours"


async def take_check(parts: Parts, item: InboxItem) -> list[Opened]:
    """Write down that a check ran, and what it found, or that it is asked for.

    Opens nothing: what it found comes as alerts.
    """
    source = parts.sources.sources.get(item.source)
    ours = item.source == OWN_COMPARISON and source is not None and source.authenticated and parts.journal.genuine(item)
    try:
        said = SAID.validate_json(item.body) if ours else None
    except ValidationError:
        said = None
    # A stream for each name that somebody thinks of would have no end.
    if isinstance(said, Ran) and said.check in parts.checks:
        await _ran(parts, item, said)
    elif isinstance(said, Asked) and said.asked in parts.asked:
        await _asked(parts, item, said)
    else:
        await parts.journal.submit(lambda tx: set_aside(tx, item, _STRANGE))
    return []


async def _ran(parts: Parts, item: InboxItem, said: Ran) -> None:
    body, stream = said.model_dump(mode="json"), f"{CHECK}{said.check}"

    async def unit(tx: Tx) -> None:
        await tx.move(item.id, None)
        await tx.append(stream, [Event("ran", body, item.source)])

    await parts.journal.submit(unit)


async def _asked(parts: Parts, item: InboxItem, said: Asked) -> None:
    stream = f"{ASKED}{said.asked}"

    async def unit(tx: Tx) -> None:
        await tx.move(item.id, None)
        last = await tx.entry(stream, await tx.tip(stream))
        # One at a time, and not as often as a worker likes: whoever asks again meanwhile gets the answer of that one.
        if last and await tx.clock() - datetime.fromisoformat(last.at).timestamp() < AGAIN:
            return
        await tx.append(stream, [Event("asked", {}, item.source)])
        await tx.make_runnable(stream, lane=LANE)

    await parts.journal.submit(unit)
