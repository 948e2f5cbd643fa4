"""What incidents at different servers have in common: found by key, written in both, and never a reason to do anything.

Each mark has a small stream of its own, found by the mark as an incident is by its key. It lists who has it, up to a
limit, and ends when all of these are closed.
"""

import logging
from collections.abc import Iterable, Sequence

from flows.engine.case import PREFIX
from flows.engine.opening import CUT
from integrations.journal.client import Tampered
from integrations.journal.store import Tx
from playbooks.record.campaign import MEMBERS, NAMED, Mark, Member, spread
from playbooks.record.journal import CAM, CAMPAIGN, Event

LOG = logging.getLogger("mcp_soar.engine")


async def take(tx: Tx, stream: str, marks: Sequence[Mark], servers: Iterable[str]) -> None:
    """Note what an incident has in common with others, and say so in each once it is at different servers.

    What it costs does not grow with the alerts: a mark is taken once for each incident, and a list ends at its limit.

    Args:
        tx: the transaction that the alert is taken in.
        stream: the incident's.
        marks: of the alert, those that the incident did not have.
        servers: where it is.
    """
    incident = stream.removeprefix(PREFIX)
    found = await tx.find_all_open({mark.key for mark in marks})
    for mark in marks:
        name = found.get(mark.key) or await tx.begin(f"{CAMPAIGN}{CAM.rstrip('-')}", mark.key)
        before = await members(tx, name)
        if before is None or len(before) >= MEMBERS or any(one.incident == incident for one in before):
            continue
        new = Member(incident, frozenset(servers))
        await tx.append(name, [Event("member", new.body(mark))])
        if not spread([*before, new]):
            continue
        # Those before hear of it when it begins; after that only who comes: a list says who has come since.
        told = [new] if spread(before) else [*before, new]
        everyone = [*before, new]
        for one in told:
            await _say(tx, one, name.removeprefix(CAMPAIGN), mark, everyone)


async def _say(tx: Tx, one: Member, name: str, mark: Mark, everyone: Sequence[Member]) -> None:
    where = f"{PREFIX}{one.incident}"
    row = await tx.stream(where)
    if row is None or row.frozen is not None or row.closed_at is not None:
        return
    others = [other.incident for other in everyone if other.incident != one.incident]
    body = {"campaign": name, "mark": mark.body(), "with": others[-NAMED:], "members": len(everyone)}
    await tx.append(where, [Event("campaign", body)])
    # People hear of it.
    await tx.make_runnable(where, lane=CUT)


async def members(tx: Tx, name: str) -> list[Member] | None:
    """Return the incidents of a campaign; None if its list is not as it was written, and is used no more."""
    try:
        entries = await tx.read(name)
    except Tampered as exc:
        # It joins nothing, so that nothing is lost with it: the next alert begins another one.
        LOG.error("%s is not as it was written: %s", name, exc)  # noqa: TRY400  # it says what there is to say
        await tx.freeze(name, str(exc))
        return None
    return [Member.read(one.body) for one in (entry.parsed() for entry in entries) if one.kind == "member"]


async def leave(tx: Tx, marks: Iterable[Mark]) -> None:
    """End the campaigns of an incident that was just closed, of which no other one is open any more.

    Args:
        tx: the transaction that it is closed in.
        marks: of the incident.
    """
    found = await tx.find_all_open({mark.key for mark in marks})
    for name in found.values():
        rows = [await tx.stream(f"{PREFIX}{one.incident}") for one in await members(tx, name) or ()]
        if all(row is None or row.closed_at is not None for row in rows):
            await tx.close_stream(name)
