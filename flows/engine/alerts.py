"""Alerts from the inbox into incidents: correlate, join or open.

Many messages are one unit of work, and joining is a look-up by key: an open incident is found by its correlation key,
and whether an alert is news to it by what the incident was told before (`playbooks.record.alike`). What is no news is
counted: its message is moved to the incident, where the raw bytes stay, and costs nothing more.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from flows.engine import campaigns
from flows.engine.memory import COUNTED
from flows.engine.opening import (
    CUT,
    Opened,
    SetAside,
    about,
    after,
    foresee,
    meeting,
    open_incident,
    opening,
    resolve,
    shown,
)
from flows.engine.parts import Parts
from flows.engine.people.suppression import Quiet
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from integrations.siem.source import Malformed, Source, parse
from playbooks.errors import SoarError
from playbooks.estate.inventory import Resolved, named_servers
from playbooks.gate.corroboration import OWN_COMPARISON
from playbooks.record.alike import KINDS, Heard
from playbooks.record.campaign import marks
from playbooks.record.incident import Alert, AlertState, Confidence, Entity, EntityKind
from playbooks.record.journal import Event
from playbooks.strict import Json, digest, iso
from playbooks.taxonomy import IncidentClass, MarkKind, load
from playbooks.text.redaction import redacted

LONG = 64 * 1024
"""Bytes from which on a message is read beside the loop."""

UNSTAMPED = (
    "it has no stamp of a receiver of ours, so it is believed as little as an unsigned one: somebody else put it into "
    "the inbox, or a receiver has another key than keys/receiver.stamp here"
)

FORESEEN = 2
"""Alerts of one look for whose cuts it is asked ahead; of more, the gateway tells in one list."""

LOG = logging.getLogger(__name__)

_ON_ITS_WAY = 0.001
"""Seconds in which a question that is begun reaches its connection."""

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
    # What their first cuts have to know is asked for while they are being opened.
    if _foreseen(parts, (one for one in said if one.item.id not in parts.memory.ahead)):
        # It is on its way before the transaction has this loop, for ten times as long.
        await asyncio.sleep(_ON_ITS_WAY)

    async def unit(tx: Tx) -> _Joining:
        joining = _Joining(parts, tx, aside.copy())
        await joining.take(messages)
        return joining

    joining = await parts.journal.submit(unit)
    parts.memory.keep(joining.heard, joining.counted, (one.key for one in said))
    return joining.opened


def look_ahead(parts: Parts, items: Sequence[InboxItem]) -> None:
    """Begin to read what the first cuts of messages will ask for, while those are still on their way into the journal.

    Args:
        parts: what the engine works with.
        items: messages, of which nothing is done yet: whatever is wrong with one, taking it in will say so.
    """
    said: list[_Said] = []
    for item in items:
        source = parts.sources.sources.get(item.source)
        if item.kind != "alert" or source is None or not source.authenticated or len(item.body) > LONG:
            continue
        try:
            if parts.journal.genuine(item):
                read = parse(item.body, item.source, source)
                said += (_read(parts, item, source, alert, trusted=True) for alert in read)
        except Exception as exc:  # noqa: BLE001  # whatever it does to us, it keeps nothing from coming in
            LOG.debug("nothing is foreseen of inbox entry %s: %s", item.id, type(exc).__name__)
    parts.memory.ahead = frozenset(item.id for item in items)
    _foreseen(parts, said)


def correlation(
    alert: Alert, incident_class: IncidentClass, known: Sequence[Resolved], *, trusted: bool
) -> tuple[str, ...]:
    """Return the keys under which alerts about one thing meet, the one that they open under first."""
    if keys := meeting(incident_class, known):
        return keys
    # What is unknown is told apart by what it claims to be; an unsigned sender gets one incident for all its unknowns.
    # As the releases before told them apart: what is open may have been opened so.
    former: Any = [[entity.kind.value, entity.name.casefold()] for entity in alert.entities] if trusted else []
    now = _claimed(alert, incident_class) if trusted else None
    hashes = (hashlib.sha256(digest(one).encode()).hexdigest()[:16] for one in (now, former) if one is not None)
    return tuple(dict.fromkeys(f"{_unknown(incident_class, alert.source)}{key}" for key in hashes))


def _claimed(alert: Alert, incident_class: IncidentClass) -> Any:  # noqa: ANN401  # what has a digest
    """Return at what alerts about things that nobody knows meet: the first that the taxonomy names; None if none is."""
    servers = {one.name.casefold() for one in alert.entities if one.kind is EntityKind.SERVER}
    home = next(iter(servers)) if len(servers) == 1 else ""
    homes = servers | {one.server.casefold() for one in alert.entities if one.server}
    shared = marks((), alert.entities, alert.entities, alert.marks)
    for kind in load().of(incident_class).meets:
        if kind is EntityKind.SERVER:
            found = [[kind.value, name] for name in homes]
        elif isinstance(kind, MarkKind):
            found = [[kind.value, mark.value] for mark in shared if mark.kind.value == kind.value]
        else:
            named = (one for one in alert.entities if one.kind is kind)
            found = [[kind.value, (one.server or home).casefold(), one.name.casefold()] for one in named]
        if found:
            return min(found)
    return None


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
    keys: tuple[str, ...]

    @property
    def key(self) -> str:
        """What an incident about it is opened under."""
        return self.keys[0]

    @property
    def places(self) -> frozenset[str]:
        """At which servers it is, as the inventory or else the alert itself calls them."""
        known = {thing.server for thing in self.known if thing.server}
        claimed = {one.server or one.name for one in self.unknown if one.server or one.kind is EntityKind.SERVER}
        return frozenset(known or {redacted(name.casefold(), LINE) for name in claimed} or {""})


def _foreseen(parts: Parts, said: Iterable[_Said]) -> bool:
    """Begin to read what the first cuts of alerts will ask for, and return whether anything was begun."""
    fresh = (one for one in said if one.trusted and one.alert.state is AlertState.NEW and parts.memory.is_new(one.key))
    soon = list(islice(fresh, FORESEEN))
    for one in soon:
        foresee(parts, one.incident_class, one.known)
    return bool(soon)


class _Message(NamedTuple):
    item: InboxItem
    alerts: tuple[_Said, ...]


def _read(parts: Parts, item: InboxItem, source: Source, alert: Alert, *, trusted: bool) -> _Said:
    incident_class = alert.incident_class or IncidentClass.UNCLASSIFIED
    # What slips in beside what was approved is contained by the same path, once our own comparison has seen it.
    ours = trusted and item.source == OWN_COMPARISON
    known, unknown = resolve(parts.world.inventory, alert.entities, unapproved=ours)
    keys = correlation(alert, incident_class, known, trusted=trusted)
    known = about(parts.world.inventory, incident_class, known)
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
    # What somebody says who does not prove who they are joins nothing.
    if trusted and (shared := marks(known, alert.entities, unknown, alert.marks)):
        body["marks"] = [mark.body() for mark in shared]
    return _Said(
        item=item,
        alert=alert,
        trusted=trusted,
        incident_class=incident_class,
        known=known,
        unknown=unknown,
        event=Event("alert", body, item.source),
        masked=external_id != alert.external_id,
        keys=keys,
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
        self._open = await tx.find_all_open(
            {key for message in messages for said in message.alerts for key in said.keys}
        )
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
        stream, key = next((self._open[key] for key in said.keys if key in self._open), None), said.key
        earlier = None
        if stream is not None:
            stream, earlier = await self._onward(stream, said)
        if stream is None and alert.state is not AlertState.NEW:
            # The end or the change of something that is not open here starts nothing.
            # Not what it is about: a message may name a hundred things, and what is alike is one entry.
            self.aside.add(said.item, f"{alert.state} alert, and no incident of that is open")
            return None
        if earlier is not None:
            key = after(earlier)
        elif stream is None and not said.known:
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
        fresh = await open_incident(self.parts, self.tx, key, opened, said.event, after=earlier)
        await campaigns.take(self.tx, fresh.claim.stream, Heard().new_marks(said.event.body), said.places)
        self._open[key] = fresh.claim.stream
        self.opened.append(fresh)
        return fresh.claim.stream

    async def _onward(self, stream: str, said: _Said) -> tuple[str | None, str | None]:
        """Follow from an open incident that gave back what an alert is about to the one that goes on with that.

        When the alert says that it happened decides nothing: a sender's clock may be wrong, and nobody who gave it back
        had read it. It is checked anew, and what is healed by then is cut on nobody's word alone.

        Returns:
            Where it belongs, None if another one has to be opened; and the incident that this one goes on after.
        """
        body, masked = said.event.body, said.masked
        named = named_servers(said.known, said.unknown)
        while True:
            heard = await self._heard(stream)
            if not heard.holding.gave_back(said.known, said.unknown, named):
                return stream, None
            # Our own comparison says the same of a difference at each look; to those who gave it back so it is no news.
            whenever = said.item.source == OWN_COMPARISON and heard.holding.as_found
            if heard.was_told(body, masked=masked, whenever=whenever):
                return stream, None
            if (key := after(stream)) not in self._open:
                self._open |= await self.tx.find_all_open([key])
            if key not in self._open:
                return (None, stream) if said.alert.state is AlertState.NEW else (stream, None)
            stream = self._open[key]

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
        heard = await self._heard(stream)
        if heard.is_news(said.event.body, masked=said.masked):
            await self.tx.append(stream, [said.event])
            await campaigns.take(self.tx, stream, heard.new_marks(said.event.body), said.places)
            heard.take(said.event.body)
            heard.seq = await self.tx.tip(stream)
            self._news.add(stream)

    async def _heard(self, stream: str) -> Heard:
        """Return what an incident was told and holds, with what others wrote since."""
        heard = self.heard.get(stream)
        if heard is None:
            heard = self.heard[stream] = self.parts.memory.heard(stream)
        if (seq := await self.tx.tip(stream)) > heard.seq:
            for entry in await self.tx.of_kinds(stream, *KINDS, after=heard.seq):
                heard.read(entry.kind, entry.body)
            heard.seq = seq
        return heard

    async def _have_counted(self, streams: set[str]) -> None:
        """See to it that an incident which was told more of the same says so before long."""
        moment = time.monotonic()
        for stream in sorted(streams - {fresh.claim.stream for fresh in self.opened}):
            if moment - self.parts.memory.counted.get(stream, -COUNTED) >= COUNTED:
                await self.tx.make_runnable(stream, at=await self.tx.clock() + COUNTED, lane=CUT)
                self.counted[stream] = moment
