"""Alerts from the inbox into incidents: correlate, join or open.

Many messages are one unit of work, and joining is a look-up by key: an open incident is found by its correlation key,
and whether an alert is news to it by what the incident was told before (`playbooks.alike`). What is no news is counted:
its message is moved to the incident, where the raw bytes stay, and costs nothing more.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from flows.engine.memory import COUNTED
from flows.engine.opening import CUT, Opened, SetAside, foresee, open_incident, opening, primary, resolve, shown
from flows.engine.parts import Parts
from flows.engine.suppression import Quiet
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from integrations.siem.source import Malformed, Source, parse
from playbooks.alike import Heard
from playbooks.corroboration import OWN_COMPARISON
from playbooks.errors import SoarError
from playbooks.incident import Alert, AlertState, Confidence, Entity
from playbooks.inventory import Resolved
from playbooks.journal import Event
from playbooks.redaction import redacted
from playbooks.strict import Json, digest, iso
from playbooks.taxonomy import IncidentClass

LONG = 64 * 1024
"""Bytes from which on a message is read beside the loop."""

UNSTAMPED = (
    "it has no stamp of a receiver of ours, so it is believed as little as an unsigned one: somebody else put it into "
    "the inbox, or a receiver has another key than keys/receiver.stamp here"
)

FORESEEN = 2
"""Alerts of one look for whose cuts it is asked ahead; of more, the gateway tells in one list."""

LINE = 2000
"""Characters that are kept of an id or a rule."""


async def take_alerts(parts: Parts, items: Sequence[InboxItem]) -> list[Opened]:
    """Move messages into the incidents that their alerts are about; return those they opened."""
    messages: list[_Message] = []
    aside = SetAside()
    for item in items:
        source = parts.sources.sources.get(item.source)
        if source is None:
            aside.add(item, f"source {item.source!r} is no longer configured")
            messages.append(_Message(item, ()))
            continue
        try:
            # The receiver read it before, to answer; what counts is what the responder reads itself.
            # In a thread, what takes long: cuts share this loop.
            reading = asyncio.to_thread(parse, item.body, item.source, source) if len(item.body) > LONG else None
            read = await reading if reading else parse(item.body, item.source, source)
            trusted = source.authenticated and parts.journal.genuine(item)
            if source.authenticated and not trusted:
                # Taken in all the same: it may be a receiver of ours that has another key.
                aside.add(item, UNSTAMPED)
            alerts = tuple(_read(parts, item, source, alert, trusted=trusted) for alert in read)
        except Malformed as exc:
            aside.add(item, str(exc))
            alerts = ()
        messages.append(_Message(item, alerts))
        # Reading is all processor time: whatever cuts has its turn between two.
        await asyncio.sleep(0)

    said = [one for message in messages for one in message.alerts]
    fresh = (one for one in said if one.trusted and one.alert.state is AlertState.NEW and parts.memory.is_new(one.key))
    # What their first cuts have to know is asked for while they are being opened.
    for one in islice(fresh, FORESEEN):
        foresee(parts, one.incident_class, one.known)

    async def unit(tx: Tx) -> _Joining:
        joining = _Joining(parts, tx, aside.copy())
        await joining.take(messages)
        return joining

    joining = await parts.journal.submit(unit)
    parts.memory.keep(joining.heard, joining.counted, (one.key for one in said))
    return joining.opened


def correlation(alert: Alert, incident_class: IncidentClass, known: Sequence[Resolved], *, trusted: bool) -> str:
    """Return the key under which alerts about one thing meet."""
    about = primary(incident_class, known)
    if about:
        return f"{incident_class}|{about.key}"
    # What is unknown is told apart by what it claims to be; an unsigned sender gets one incident for all its unknowns.
    claims: Any = [[entity.kind.value, entity.name.casefold()] for entity in alert.entities] if trusted else []
    return f"{_unknown(incident_class, alert.source)}{hashlib.sha256(digest(claims).encode()).hexdigest()[:16]}"


def _unknown(incident_class: IncidentClass, source: str) -> str:
    return f"{incident_class}|unknown:{source}:"


class _Said(NamedTuple):
    """One alert, with what the inventory says of it, the entry that it would become, and where it would meet others."""

    item: InboxItem
    alert: Alert
    trusted: bool
    incident_class: IncidentClass
    known: Sequence[Resolved]
    unknown: Sequence[Entity]
    event: Event
    masked: bool
    key: str


class _Message(NamedTuple):
    item: InboxItem
    alerts: tuple[_Said, ...]


def _read(parts: Parts, item: InboxItem, source: Source, alert: Alert, *, trusted: bool) -> _Said:
    incident_class = alert.incident_class or IncidentClass.UNCLASSIFIED
    # What slips in beside what was approved is contained by the same path, once our own comparison has seen it.
    ours = trusted and item.source == OWN_COMPARISON
    known, unknown = resolve(parts.world.inventory, alert.entities, unapproved=ours)
    external_id = redacted(alert.external_id, LINE)
    body: dict[str, Json] = {
        "receipt": item.id,
        "source": item.source,
        "external_id": external_id,
        "state": alert.state.value,
        "severity": int(alert.severity),
        "rule": redacted(alert.rule, LINE),
        "title": redacted(alert.title),
        "authenticated": trusted,
        "confidence": int(source.confidence if trusted else Confidence.LOW),
        "detected_at": iso(alert.detected_at),
        "accepted_at": iso(datetime.fromtimestamp(item.received_at, UTC)),
        "digest": item.digest,
        "entities": [entity.model_dump(mode="json") for entity in known],
        "unresolved": [shown(entity).model_dump(mode="json") for entity in unknown],
    }
    return _Said(
        item=item,
        alert=alert,
        trusted=trusted,
        incident_class=incident_class,
        known=known,
        unknown=unknown,
        event=Event("alert", body, item.source),
        masked=external_id != alert.external_id,
        key=correlation(alert, incident_class, known, trusted=trusted),
    )


@dataclass
class _Joining:
    """One unit of joining: what it did, for those who wait for it to be on disk."""

    parts: Parts
    tx: Tx
    aside: SetAside
    opened: list[Opened] = field(default_factory=list)
    heard: dict[str, Heard] = field(default_factory=dict)
    counted: dict[str, float] = field(default_factory=dict)
    _open: dict[str, str] = field(default_factory=dict)
    _news: set[str] = field(default_factory=set)

    async def take(self, messages: Sequence[_Message]) -> None:
        """Take in messages in their order, and move each to where its first alert went."""
        tx = self.tx
        quiet = await Quiet.now(self.parts, tx)
        self._open = await tx.find_all_open({said.key for message in messages for said in message.alerts})
        moved: dict[str | None, list[str]] = {}
        for message in messages:
            streams = [await self._join(said, quiet) for said in message.alerts]
            moved.setdefault(next(filter(None, streams), None), []).append(message.item.id)
        for stream, names in moved.items():
            await tx.move_all(names, stream)
        for stream in sorted(self._news):
            await tx.make_runnable(stream, lane=CUT)
        await self._have_counted({stream for stream in moved if stream} - self._news)
        await self._look_at_switches()
        await quiet.close(tx)
        await self.aside.write(tx)

    async def _look_at_switches(self) -> None:
        """Note of what was opened whether it is stopped, so that its first step need not ask for that once more."""
        if self.opened:
            with contextlib.suppress(SoarError):
                on = {stop.scope for stop in await self.tx.stops()}
                self.opened = [one._replace(halted=not on.isdisjoint(one.state.scopes)) for one in self.opened]

    async def _join(self, said: _Said, quiet: Quiet) -> str | None:
        """Put one alert where it belongs, and return the stream that has it, None if none has."""
        alert = said.alert
        if await quiet.hides(self.tx, said.item, alert, trusted=said.trusted):
            return None
        stream, key = self._open.get(said.key), said.key
        if stream is None and alert.state is not AlertState.NEW:
            # The end or the change of something that is not open here starts nothing.
            # Not what it is about: a message may name a hundred things, and what is alike is one entry.
            self.aside.add(said.item, f"{alert.state} alert, and no incident of that is open")
            return None
        if stream is None and not said.known:
            key = await self._meeting(said)
            stream = self._open.get(key)
        if stream is not None:
            await self._add(stream, said)
            return stream
        opened = opening(
            self.parts,
            incident_class=said.incident_class,
            severity=alert.severity,
            title=alert.title,
            key=key,
            known=said.known,
            unknown=said.unknown,
            requested_by=None,
        )
        fresh = await open_incident(self.parts, self.tx, key, opened, said.event)
        self._open[key] = fresh.claim.stream
        self.opened.append(fresh)
        return fresh.claim.stream

    async def _meeting(self, said: _Said) -> str:
        """Return where an alert about things that nobody knows belongs: with its like, if there are many such."""
        prefix = _unknown(said.incident_class, said.item.source)
        most = self.parts.policy.intake.unknown
        if await self.tx.open_below(prefix, most) < most:
            return said.key
        key = f"{prefix}others"
        self._open |= await self.tx.find_all_open({key})
        return key

    async def _add(self, stream: str, said: _Said) -> None:
        if (frozen := await self.tx.frozen(stream)) is not None:
            self.aside.add(said.item, f"frozen: {frozen}", incident=stream)
            return
        heard = self.heard.get(stream)
        if heard is None:
            heard = self.heard[stream] = self.parts.memory.heard(stream)
        if (seq := await self.tx.tip(stream)) > heard.seq:
            for entry in await self.tx.of_kinds(stream, "alert", after=heard.seq):
                heard.take(entry.body)
            heard.seq = seq
        if heard.is_news(said.event.body, masked=said.masked):
            await self.tx.append(stream, [said.event])
            heard.take(said.event.body)
            heard.seq = seq + 1
            self._news.add(stream)

    async def _have_counted(self, streams: set[str]) -> None:
        """See to it that an incident which was told more of the same says so before long."""
        moment = time.monotonic()
        for stream in sorted(streams - {fresh.claim.stream for fresh in self.opened}):
            if moment - self.parts.memory.counted.get(stream, -COUNTED) >= COUNTED:
                await self.tx.make_runnable(stream, at=await self.tx.clock() + COUNTED, lane=CUT)
                self.counted[stream] = moment
