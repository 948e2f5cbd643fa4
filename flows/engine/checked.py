"""What a check says of its run: kept in a stream of the check's own, if a receiver of ours took it from us."""

from pydantic import ValidationError

from flows.engine.opening import Opened, set_aside
from flows.engine.parts import Parts
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.check import CHECK, Ran
from playbooks.record.journal import Event

_STRANGE = "no check of ours says so through a receiver of ours"


async def take_check(parts: Parts, item: InboxItem) -> list[Opened]:
    """Write down that a check ran, and what it found; opens nothing: what it found comes as alerts."""
    source = parts.sources.sources.get(item.source)
    ours = item.source == OWN_COMPARISON and source is not None and source.authenticated and parts.journal.genuine(item)
    try:
        said = Ran.model_validate_json(item.body) if ours else None
    except ValidationError:
        said = None
    # A stream for each name that somebody thinks of would have no end.
    if said is None or said.check not in parts.checks:
        await parts.journal.submit(lambda tx: set_aside(tx, item, _STRANGE))
        return []
    body, stream = said.model_dump(mode="json"), f"{CHECK}{said.check}"

    async def unit(tx: Tx) -> None:
        await tx.move(item.id, None)
        await tx.append(stream, [Event("ran", body, item.source)])

    await parts.journal.submit(unit)
    return []
