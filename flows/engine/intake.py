"""From the inbox into the streams: correlate alerts into incidents, judge people's requests. One unit for each message.

Units run alone under the journal's lock, so an alert may join a stream whose claim another responder holds: the holder
takes the entry in before its next step. (The claim guards effects; the lock and the chain guard the stream.)
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from flows.engine.alerts import take_alerts
from flows.engine.case import PREFIX
from flows.engine.checked import take_check
from flows.engine.opening import Opened, set_aside
from flows.engine.parts import Parts
from flows.engine.people.approvals import take_code
from flows.engine.people.telling import freeze
from flows.engine.refused import take_refused
from flows.engine.requests import take_request
from integrations.journal.records import InboxItem
from integrations.journal.store import Tampered, Tx
from playbooks.errors import Refused, Transient
from playbooks.record import check, refusal

LOG = logging.getLogger("mcp_soar.engine")
MANY = 50
"""Entries of each kind that one look takes in: a look is short, so that what is grave never waits long for the next."""

FEW = 4
"""Entries of one source in a look that are taken in before those of a source that says more."""

JUDGING = 0.5
"""Seconds that one look spends on one-time codes, whose hashes are slow on purpose."""

_KINDS = ("request", "alert", "code")


class Taken(list[Opened]):
    """The incidents that a look opened, claimed by us.

    Args:
        begin: called with each when it is added.
    """

    def __init__(self, begin: Callable[[Opened], None]) -> None:
        super().__init__()
        self._begin = begin
        self.more = False
        """There may be more in the inbox: look again at once."""

    def add(self, opened: Iterable[Opened]) -> None:
        """Add incidents, and begin with them."""
        for one in opened:
            self.append(one)
            self._begin(one)


def _nothing(_opened: Opened) -> None:
    """Begin nothing."""


async def intake(
    parts: Parts, limit: int = MANY, begin: Callable[[Opened], None] = _nothing, *, brief: bool = False
) -> Taken:
    """Move what waits in the inbox into streams; return the incidents opened and claimed on the way.

    Args:
        parts: what the engine works with.
        limit: entries of each kind.
        begin: called with each incident as soon as it is open, before anything else is looked at.
        brief: look at nothing more once an incident was opened: what it needs comes first.
    """
    # Whoever does not prove who they are waits until all others are served; so does what untrusted places hand in.
    known = sorted(parts.sources.sources)
    unsigned = [name for name in known if not parts.sources.sources[name].authenticated]
    last, waiting = [*unsigned, "prefect", "slack"], parts.journal.waiting
    # Each kind has its own place, and each source of alerts: whoever floods us keeps nothing of another waiting.
    kinds, alerts = await asyncio.gather(
        parts.journal.kinds(_KINDS), parts.journal.turns("alert", known, limit, last=unsigned)
    )
    requests = await waiting(limit, ["request"], last) if "request" in kinds else []
    opened = Taken(begin)
    await _all(parts, requests, opened)
    said = Counter(item.source for item in alerts)
    # Whoever says little does not wait until what a flood brought is read, and written.
    for some in ([item for item in alerts if (said[item.source] <= FEW) is few] for few in (True, False)):
        await _together(parts, some, opened)
        if brief and opened:
            opened.more = True
            return opened
    strayed = "alert" in kinds and len(alerts) < limit
    strays = await parts.journal.strays("alert", known, limit) if strayed else []
    await _all(parts, strays, opened)
    # These one after the other: what was guessed wrong too often is not even hashed, so guessing costs us little.
    codes = await waiting(limit, ["code"], last) if "code" in kinds else []
    began = time.monotonic()
    for item in codes:
        await _all(parts, [item], opened)
        if time.monotonic() - began >= JUDGING:
            break  # alerts may have come meanwhile; the next look goes on here
    # Reports of receivers and checks, and what nobody reads; looking for them reads whatever waits, so it waits for a
    # quiet moment.
    unread = [] if len(alerts) >= limit else await waiting(limit, last=last, others=_KINDS)
    await _all(parts, unread, opened)
    opened.more = bool(requests or alerts or strays or codes or unread)
    return opened


async def _together(parts: Parts, alerts: Sequence[InboxItem], opened: Taken) -> None:
    """Take in alerts as one unit; if that fails, each as one of its own: a bad one fails alone."""
    if len(alerts) > 1:
        try:
            opened.add(await take_alerts(parts, alerts))
        except Transient:
            raise
        except Exception as exc:  # noqa: BLE001  # whatever it is, it belongs to one of them, which is found below
            LOG.info("%d alerts are taken in one by one: %s", len(alerts), type(exc).__name__)
        else:
            return
    await _all(parts, alerts, opened)


async def _all(parts: Parts, items: Sequence[InboxItem], opened: Taken) -> None:
    # Submitted together, they share one commit; a bad one fails alone.
    for result in await asyncio.gather(*(_one(parts, item) for item in items), return_exceptions=True):
        if isinstance(result, Refused):
            continue  # another responder moved it first
        if isinstance(result, BaseException):
            raise result
        opened.add(result)


async def _one(parts: Parts, item: InboxItem) -> list[Opened]:
    read = _READERS.get(item.kind)
    if read is None:
        reason = f"nothing reads inbox entries of kind {item.kind!r}"
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
        return []
    try:
        return await read(parts, item)
    except Tampered as exc:
        # An incident that is not as it was written waits for a person, and what is about it with it.
        reason = f"{exc.stream} is not as it was written: {exc}"
        stream = exc.stream
        await parts.journal.submit(lambda tx: _freeze(tx, item, stream, reason))
        return []
    except (Transient, Refused):
        raise
    except Exception as exc:  # one message, whatever it does to us, must not keep the others out
        # What it says of a one-time code may be the code, which is still good.
        secret = item.kind == "code"
        said = "inbox entry %s cannot be taken in: %s"
        LOG.error(said, item.id, type(exc).__name__, exc_info=None if secret else exc)  # noqa: TRY400  # see above
        reason = f"a fault of ours: {type(exc).__name__}" + ("" if secret else f": {exc}")
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
        return []


async def _freeze(tx: Tx, item: InboxItem, stream: str, reason: str) -> None:
    LOG.error("inbox entry %s is held up: %s", item.id, reason)
    if not await freeze(tx, stream, reason):
        await set_aside(tx, item, reason, stream if stream.startswith(PREFIX) else None)


async def _take_alert(parts: Parts, item: InboxItem) -> list[Opened]:
    return await take_alerts(parts, [item])


_READERS = {
    "alert": _take_alert,
    "code": take_code,
    "request": take_request,
    check.KIND: take_check,
    refusal.KIND: take_refused,
}
