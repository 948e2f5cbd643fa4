"""More of the same: an incident that was told what it has already says how often, by whom and since when.

Joining only moves such a message to the incident (`flows.engine.alerts`). Whoever holds the incident's claim counts
them now and then: when they have doubled, and when they have stopped coming. So a flood makes a handful of entries, and
its raw bytes as many exhibits.
"""

import math
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from flows.engine.case import Case
from flows.engine.memory import COUNTED
from integrations.journal.records import Told
from integrations.journal.store import Tx
from playbooks.record.journal import Event
from playbooks.strict import Json, iso

QUIET = 10.0
"""Seconds without another one after which they have stopped coming."""

SETTLED = 1.0
"""Seconds after which no other transaction adds a message with an earlier time."""

MOST = 2000
"""Messages of one exhibit."""

LARGEST = 16 << 20
"""Bytes of one exhibit's messages, unless a single one is larger."""


async def count(case: Case) -> None:
    """Journal how many more messages an incident was told that it did not write down, if it is time to."""
    state, journal = case.state, case.parts.journal
    if not state.alerts:
        return
    after = state.counted[-1].until if state.counted else 0.0
    own = frozenset(alert.receipt for alert in state.alerts)
    clock = await journal.clock()
    # Nothing more joins what is closed: that is counted to its end, and at once.
    closed = state.closed_at is not None
    found = await journal.told(case.stream, after, clock if closed else clock - SETTLED, MOST)
    some, more = _together(found)
    told = [one for one in some if one.receipt not in own]
    if not told:
        return
    before = sum(one.messages for counted in state.counted for one in counted.sources.values())
    if not (more or closed) and len(told) < before and clock - told[-1].moved_at < QUIET:
        await journal.submit(lambda tx: tx.make_runnable(case.stream, at=clock + COUNTED))
        return
    sources: dict[str, Json] = {}
    for name in sorted({one.source for one in told}):
        times = [one.received_at for one in told if one.source == name]
        since, until = (iso(datetime.fromtimestamp(at, UTC)) for at in (min(times), max(times)))
        sources[name] = {"messages": len(times), "since": since, "until": until}
    body: dict[str, Json] = {
        "number": len(state.counted) + 1,
        "after": after,
        "until": some[-1].moved_at,
        "sources": sources,
    }

    async def work(tx: Tx) -> tuple[Sequence[Event], None]:
        # There may be more by now, and whoever asked before us asks no second time.
        if more or not closed:
            await tx.make_runnable(case.stream, at=clock if more else clock + COUNTED)
        return [Event("counted", body)], None

    await case.transact(work)


async def due(case: Case) -> datetime | None:
    """Return when it is time to count what an incident was told and did not write down, None if that is nothing.

    Asked by whoever gives its claim back: to claim it is to forget when it was to run, and that may have been for this.
    """
    state = case.state
    after = state.counted[-1].until if state.counted else 0.0
    own = frozenset(alert.receipt for alert in state.alerts)
    found = await case.parts.journal.told(case.stream, after, math.inf, len(own) + 1)
    uncounted = state.alerts and any(one.receipt not in own for one in found)
    return datetime.fromtimestamp(time.time() + COUNTED, UTC) if uncounted else None


def _together(found: Sequence[Told]) -> tuple[Sequence[Told], bool]:
    """Return the first messages that fit one exhibit, none of one moment apart, and whether there are more."""
    size, most = 0, len(found)
    for place, one in enumerate(found):
        size += one.size
        if size > LARGEST and place:
            most = place
            break
    else:
        if most < MOST:
            return found, False
    while most > 1 and most < len(found) and found[most - 1].moved_at == found[most].moved_at:
        most -= 1
    if most == len(found):
        # The last moment may go on beyond what was read.
        last = found[-1].moved_at
        most = next((n for n in range(most, 0, -1) if found[n - 1].moved_at != last), most)
    return found[:most], True
