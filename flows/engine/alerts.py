"""Alerts from the inbox into incidents: correlate, join or open."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from flows.engine.opening import CUT, Opened, open_incident, opening, primary, resolve, set_aside, shown
from flows.engine.parts import Parts
from flows.engine.suppression import hidden
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from integrations.siem.source import Malformed, parse
from playbooks.incident import Alert, AlertState, Confidence, Entity
from playbooks.inventory import Resolved
from playbooks.journal import SYSTEM, Event
from playbooks.projection import project
from playbooks.redaction import redacted
from playbooks.state import Incident
from playbooks.strict import Json, digest, iso
from playbooks.taxonomy import IncidentClass

UNSIGNED = 100
"""Entries of an incident after which alerts that prove no sender are only counted to it."""


LINE = 2000
"""Characters that are kept of an id or a rule."""


async def take_alerts(parts: Parts, item: InboxItem) -> list[Opened]:
    """Move a source's message into the incidents that its alerts are about; return those it opened."""
    source = parts.sources.sources.get(item.source)
    if source is None:
        reason = f"source {item.source!r} is no longer configured"
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
        return []
    try:
        # The receiver read it before, to answer; what counts is what the responder reads itself.
        alerts = parse(item.body, item.source, source)
    except Malformed as exc:
        reason = str(exc)
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
        return []

    async def unit(tx: Tx) -> list[Opened]:
        opened: list[Opened] = []
        streams: list[str] = []
        for alert in alerts:
            stream, fresh = await _join(
                parts, tx, item, alert, trusted=source.authenticated, confidence=source.confidence
            )
            streams += [stream] if stream else []
            opened += [fresh] if fresh else []
        await tx.move(item.id, streams[0] if streams else None)
        return opened

    return await parts.journal.submit(unit)


def correlation(alert: Alert, incident_class: IncidentClass, known: Sequence[Resolved], *, trusted: bool) -> str:
    """Return the key under which alerts about one thing meet."""
    about = primary(incident_class, known)
    if about:
        return f"{incident_class}|{about.key}"
    # What is unknown is told apart by what it claims to be; an unsigned sender gets one incident for all its unknowns.
    claims: Any = [[entity.kind.value, entity.name.casefold()] for entity in alert.entities] if trusted else []
    return f"{incident_class}|unknown:{alert.source}:{hashlib.sha256(digest(claims).encode()).hexdigest()[:16]}"


async def _join(
    parts: Parts, tx: Tx, item: InboxItem, alert: Alert, *, trusted: bool, confidence: Confidence
) -> tuple[str | None, Opened | None]:
    if await hidden(parts, tx, item, alert, trusted=trusted):
        return None, None
    incident_class = alert.incident_class or IncidentClass.UNCLASSIFIED
    known, unknown = resolve(parts.world.inventory, alert.entities)
    key = correlation(alert, incident_class, known, trusted=trusted)
    event = _seen(item, alert, known, unknown, trusted=trusted, confidence=confidence)
    stream = await tx.find_open(key)
    if stream is not None:
        row = await tx.stream(stream)
        if row is not None and row.frozen:
            body: dict[str, Json] = {"receipt": item.id, "incident": stream, "reason": f"frozen: {row.frozen}"}
            await tx.append(SYSTEM, [Event("set_aside", {**body, "kind": item.kind, "source": item.source})])
            return stream, None
        if not trusted and row is not None and row.seq > UNSIGNED:
            # A flood of what anybody can send: it is kept in the inbox and named by it, and costs nothing more here.
            return stream, None
        if not _repeats(project(stream, await tx.read(stream)), alert, item.digest):
            await tx.append(stream, [event])
            await tx.make_runnable(stream, lane=CUT)
        return stream, None
    if alert.state is not AlertState.NEW:
        # The end or the change of something that is not open here starts nothing.
        reason = f"{alert.state} alert about {key}, and no incident of that is open"
        body = {"receipt": item.id, "kind": item.kind, "source": item.source, "reason": redacted(reason, 2000)}
        await tx.append(SYSTEM, [Event("set_aside", body, item.source)])
        return None, None
    opened = opening(
        parts,
        incident_class=incident_class,
        severity=alert.severity,
        title=alert.title,
        key=key,
        known=known,
        unknown=unknown,
        requested_by=None,
    )
    fresh = await open_incident(parts, tx, key, opened, event)
    return fresh.claim.stream, fresh


def _repeats(state: Incident, alert: Alert, message: str) -> bool:
    """Whether the incident has this very alert already, so that a source that fires again adds nothing.

    Args:
        state: the incident.
        alert: what came.
        message: digest of the body that it came in.
    """
    external_id = redacted(alert.external_id, LINE)
    same = [
        seen
        for seen in state.alerts
        if seen.source == alert.source
        and seen.external_id == external_id
        # Two ids that look alike once something in them is masked are the same only in the same message.
        and (external_id == alert.external_id or seen.digest == message)
    ]
    # Beside what came last: firing, resolved and firing again are three messages, and the third is news.
    last = same[-1] if same else None
    return last is not None and last.state == alert.state.value and last.severity >= alert.severity


def _seen(
    item: InboxItem,
    alert: Alert,
    known: Sequence[Resolved],
    unknown: Sequence[Entity],
    *,
    trusted: bool,
    confidence: Confidence,
) -> Event:
    return Event(
        "alert",
        {
            "receipt": item.id,
            "source": item.source,
            "external_id": redacted(alert.external_id, LINE),
            "state": alert.state.value,
            "severity": int(alert.severity),
            "rule": redacted(alert.rule, LINE),
            "title": redacted(alert.title),
            "authenticated": trusted,
            "confidence": int(confidence),
            "detected_at": iso(alert.detected_at),
            "accepted_at": iso(datetime.fromtimestamp(item.received_at, UTC)),
            "digest": item.digest,
            "entities": [entity.model_dump(mode="json") for entity in known],
            "unresolved": [shown(entity).model_dump(mode="json") for entity in unknown],
        },
        item.source,
    )
