"""From the inbox into the streams: correlate alerts into incidents, judge people's requests. One unit for each message.

Units run alone under the journal's lock, so an alert may join a stream whose claim another responder holds: the holder
takes the entry in before its next step. (The claim guards effects; the lock and the chain guard the stream.)
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic import Field, ValidationError

from flows.engine.case import PREFIX
from flows.engine.parts import Parts
from integrations.journal.records import InboxItem
from integrations.journal.store import Claim, Tampered, Tx
from integrations.siem.source import Malformed, parse
from integrations.signing import PublicKey
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.incident import Alert, AlertState, Confidence, Entity, EntityKind, Severity
from playbooks.inventory import Inventory, Resolved
from playbooks.journal import SYSTEM, Event
from playbooks.policy import SeverityName
from playbooks.projection import Incident, project
from playbooks.request import Request, Verb, check
from playbooks.strict import Json, Prose, Strict, digest, iso, now
from playbooks.taxonomy import IncidentClass, load

LOG = logging.getLogger("mcp_soar.engine")
CUT = "cut"
FLOW = "flow"
WATCH = "watch"
SCOPES = ("everything", "class:", "server:", "incident:")
MANY = 500
UNSIGNED = 100
"""Entries of an incident after which alerts that prove no sender are only counted to it."""


class Opened(NamedTuple):
    """An incident that a message opened, claimed by us."""

    claim: Claim
    state: Incident


class Manual(Strict):
    """What a person's `respond` request says.

    Args:
        incident_class: of the taxonomy.
        severity: how bad they think it is.
        title: what it is about.
        entities: what to respond to, in the inventory's names.
    """

    incident_class: IncidentClass = Field(alias="class")
    severity: SeverityName = Severity.HIGH
    title: Prose
    entities: tuple[Entity, ...] = Field(min_length=1, max_length=50)


async def intake(parts: Parts, limit: int = MANY) -> list[Opened]:
    """Move what waits in the inbox into streams; return the incidents opened and claimed on the way."""
    # Whoever does not prove who they are waits until all others are served.
    unsigned = [name for name, source in parts.sources.sources.items() if not source.authenticated]
    items = await parts.journal.waiting(limit, last=unsigned)
    if not items:
        return []
    # Submitted together, they share one commit; a bad one fails alone.
    results = await asyncio.gather(*(_one(parts, item) for item in items), return_exceptions=True)
    opened: list[Opened] = []
    for result in results:
        if isinstance(result, Refused):
            continue  # another responder moved it first
        if isinstance(result, BaseException):
            raise result
        opened += result
    return opened


async def _one(parts: Parts, item: InboxItem) -> list[Opened]:
    read = _READERS.get(item.kind)
    if read is None:
        reason = f"nothing reads inbox entries of kind {item.kind!r}"
        await parts.journal.submit(lambda tx: _set_aside(tx, item, reason))
        return []
    try:
        return await read(parts, item)
    except Tampered as exc:
        # The incident that it belongs to is not as it was written. That one waits for a person, this entry with it.
        reason = f"{PREFIX}{exc.stream.removeprefix(PREFIX)} is not as it was written: {exc}"
        stream = exc.stream
        await parts.journal.submit(lambda tx: _freeze(tx, item, stream, reason))
        return []
    except (Transient, Refused):
        raise
    except Exception as exc:  # one message, whatever it does to us, must not keep the others out
        LOG.exception("inbox entry %s cannot be taken in", item.id)
        reason = f"a fault of ours: {type(exc).__name__}: {exc}"
        await parts.journal.submit(lambda tx: _set_aside(tx, item, reason))
        return []


async def _freeze(tx: Tx, item: InboxItem, stream: str, reason: str) -> None:
    if not stream.startswith(PREFIX):
        raise Transient(reason)
    await tx.freeze(stream, reason)
    await tx.append(SYSTEM, [Event("frozen", {"incident": stream.removeprefix(PREFIX), "reason": reason[:2000]})])
    await _set_aside(tx, item, reason, stream)


async def _set_aside(tx: Tx, item: InboxItem, reason: str, incident: str | None = None) -> None:
    """Record on the system stream what no incident takes in, so that nothing is lost without a word."""
    await tx.move(item.id, incident)
    body: dict[str, Json] = {"receipt": item.id, "kind": item.kind, "source": item.source, "reason": reason[:2000]}
    await tx.append(SYSTEM, [Event("set_aside", body, item.source)])


# Alerts


async def _alerts(parts: Parts, item: InboxItem) -> list[Opened]:
    source = parts.sources.sources.get(item.source)
    if source is None:
        reason = f"source {item.source!r} is no longer configured"
        await parts.journal.submit(lambda tx: _set_aside(tx, item, reason))
        return []
    try:
        # The receiver read it before, to answer; what counts is what the responder reads itself.
        alerts = parse(item.body, item.source, source)
    except Malformed as exc:
        reason = str(exc)
        await parts.journal.submit(lambda tx: _set_aside(tx, item, reason))
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


def resolve(inventory: Inventory, entities: Sequence[Entity]) -> tuple[list[Resolved], list[Entity]]:
    """Return an alert's entities that the inventory knows, and those that it does not.

    Args:
        inventory: what exists.
        entities: the alert's claims. A tool that names no server belongs to the alert's one server.
    """
    servers = [inventory.resolve(entity) for entity in entities if entity.kind is EntityKind.SERVER]
    homes = {found.id for found in servers if found}
    home = homes.pop() if len(homes) == 1 else None
    known: dict[str, Resolved] = {}
    unknown: list[Entity] = []
    for entity in entities:
        found = inventory.resolve(entity, server=home)
        if found:
            known[found.key] = found
        else:
            unknown.append(entity)
    return list(known.values()), unknown


def primary(incident_class: IncidentClass, entities: Sequence[Resolved]) -> Resolved | None:
    """Return the most specific entity, in the order that the taxonomy gives the class."""
    order = {kind: place for place, kind in enumerate(load().of(incident_class).entities)}
    ranked = sorted(entities, key=lambda entity: (order.get(entity.kind, len(order)), entity.key))
    return ranked[0] if ranked else None


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
    incident_class = alert.incident_class or IncidentClass.UNCLASSIFIED
    known, unknown = resolve(parts.world.inventory, alert.entities)
    key = correlation(alert, incident_class, known, trusted=trusted)
    event = _seen(item, alert, known, trusted=trusted, confidence=confidence)
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
        if not _repeats(project(stream, await tx.read(stream)), alert):
            await tx.append(stream, [event])
            await tx.make_runnable(stream, lane=CUT)
        return stream, None
    if alert.state is not AlertState.NEW:
        # The end or the change of something that is not open here starts nothing.
        reason = f"{alert.state} alert about {key}, and no incident of that is open"
        body = {"receipt": item.id, "kind": item.kind, "source": item.source, "reason": reason[:2000]}
        await tx.append(SYSTEM, [Event("set_aside", body, item.source)])
        return None, None
    opened = _opening(
        parts,
        incident_class=incident_class,
        severity=alert.severity,
        title=alert.title,
        key=key,
        known=known,
        unknown=unknown,
        requested_by=None,
    )
    fresh = await _open(parts, tx, key, opened, event)
    return fresh.claim.stream, fresh


def _repeats(state: Incident, alert: Alert) -> bool:
    """Whether the incident has this very alert already, so that a source that fires again adds nothing."""
    return any(
        seen.source == alert.source
        and seen.external_id == alert.external_id
        and seen.state == alert.state.value
        and seen.severity >= alert.severity
        for seen in state.alerts
    )


def _seen(item: InboxItem, alert: Alert, known: Sequence[Resolved], *, trusted: bool, confidence: Confidence) -> Event:
    return Event(
        "alert",
        {
            "receipt": item.id,
            "source": item.source,
            "external_id": alert.external_id,
            "state": alert.state.value,
            "severity": int(alert.severity),
            "rule": alert.rule,
            "title": alert.title,
            "authenticated": trusted,
            "confidence": int(confidence),
            "detected_at": iso(alert.detected_at),
            "accepted_at": iso(datetime.fromtimestamp(item.received_at, UTC)),
            "digest": item.digest,
            "entities": [entity.model_dump(mode="json") for entity in known],
        },
        item.source,
    )


def _opening(  # the fields of one event, all by name
    parts: Parts,
    *,
    incident_class: IncidentClass,
    severity: Severity,
    title: str,
    key: str,
    known: Sequence[Resolved],
    unknown: Sequence[Entity],
    requested_by: str | None,
) -> dict[str, Json]:
    playbook = parts.playbooks.get(incident_class)
    return {
        "class": incident_class.value,
        "severity": int(severity),
        "title": title,
        "key": key,
        "entities": [entity.model_dump(mode="json") for entity in known],
        "unresolved": [entity.model_dump(mode="json") for entity in unknown],
        "playbook": {"id": playbook.id, "digest": playbook.digest} if playbook else None,
        "linked": [],
        "requested_by": requested_by,
        "triage": triage(parts, incident_class, known, unknown),
    }


def triage(
    parts: Parts, incident_class: IncidentClass, known: Sequence[Resolved], unknown: Sequence[Entity]
) -> str | None:
    """Return why a person has to look before anything can be done, None if nothing stands against it."""
    if not incident_class.actionable:
        return "no rule of the source's configuration gives it a class: which one is it?"
    playbook = parts.playbooks.get(incident_class)
    if playbook is None:
        return f"there is no playbook for {incident_class} yet: respond by hand"
    named = ", ".join(f"{entity.kind} {entity.name}" for entity in unknown) or "nothing"
    if not known:
        return f"unknown server: shadow? The inventory knows nothing of what it names ({named})"
    kinds = {step.for_each for _, step in playbook.steps() if step.kind == "action"}
    if not any(entity.kind in kinds for entity in known):
        return f"it names {', '.join(map(str, known))}, but no {' or '.join(sorted(kinds))} that is approved ({named})"
    return None


async def _open(parts: Parts, tx: Tx, key: str, opened: dict[str, Json], *events: Event) -> Opened:
    opened["linked"] = [name.removeprefix(PREFIX) for name in await tx.closed_with(key)]
    stream, claim = await tx.open_stream(
        f"{PREFIX}inc", correlation=key, lane=CUT, owner=parts.name, claim_seconds=parts.timing.claim
    )
    actor = str(opened["requested_by"] or "mcp-soar")
    entries = await tx.append(stream, [Event("opened", opened, actor), *events], claim)
    return Opened(claim, project(stream.removeprefix(PREFIX), entries))


# People's requests


async def _request(parts: Parts, item: InboxItem) -> list[Opened]:
    try:
        people = parts.people()
    except Misconfigured as exc:
        # It is not the request's fault, and it may be a stop: it waits until the file is mended.
        LOG.error("a person's request waits: %s", exc)  # noqa: TRY400  # it says what to mend
        return []
    try:
        request = check(item.body, people, at=now(), verify=_signed)
    except Refused as exc:
        reason = f"refused: {exc}"
        await parts.journal.submit(lambda tx: _set_aside(tx, item, reason))
        return []

    async def unit(tx: Tx) -> list[Opened]:
        await tx.use_once("request", request.nonce)
        found = await _VERBS[request.verb](parts, tx, request)
        await tx.move(item.id, found.claim.stream if isinstance(found, Opened) else found)
        return [found] if isinstance(found, Opened) else []

    try:
        return await parts.journal.submit(unit)
    except Refused as exc:
        reason = f"refused: {exc}"
        await parts.journal.submit(lambda tx: _refuse(tx, item, request, reason))
        return []


async def _refuse(tx: Tx, item: InboxItem, request: Request, reason: str) -> None:
    # What was refused once must not be accepted later, when the world has changed and the person may not want it any
    # more. Used before means that this is a replay already.
    with contextlib.suppress(Refused):
        await tx.use_once("request", request.nonce)
    stream = f"{PREFIX}{request.subject}"
    row = await tx.stream(stream)
    if row is not None and not row.frozen:
        await tx.append(stream, [_answer(request, accepted=False, reason=reason)])
    await _set_aside(tx, item, reason, stream if row else None)


def _signed(key: bytes, message: bytes, signature: bytes) -> bool:
    return PublicKey.from_raw(key).signed(message, signature)


def _answer(request: Request, *, accepted: bool, reason: str) -> Event:
    body: dict[str, Json] = {
        "verb": request.verb.value,
        "actor": request.actor,
        "nonce": request.nonce,
        "accepted": accepted,
        "reason": reason[:2000],
        "params": dict(request.params),
    }
    return Event("request", body, request.actor)


async def _stream_of(tx: Tx, request: Request) -> tuple[str, Incident]:
    stream = f"{PREFIX}{request.subject}"
    row = await tx.stream(stream)
    if row is None:
        raise Refused(f"there is no incident {request.subject}")
    if row.frozen:
        raise Refused(f"{request.subject} is frozen ({row.frozen}): its journal has to be looked at first")
    state = project(request.subject, await tx.read(stream))
    if state.closed_at:
        raise Refused(f"{request.subject} is closed; a closed incident never reopens")
    return stream, state


async def _respond(parts: Parts, tx: Tx, request: Request) -> str | Opened:
    if request.subject != "new":
        stream, _ = await _stream_of(tx, request)
        await tx.append(stream, [_answer(request, accepted=True, reason=request.reason)])
        await tx.make_runnable(stream, lane=CUT)
        return stream
    try:
        manual = Manual.model_validate(request.params)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(f"{where}: {first['msg']}") from exc
    known, unknown = resolve(parts.world.inventory, manual.entities)
    if unknown:
        named = ", ".join(f"{entity.kind} {entity.name}" for entity in unknown)
        raise Refused(f"the inventory does not know {named}; `mcp-soar inventory show` lists what there is")
    about = primary(manual.incident_class, known)
    key = f"{manual.incident_class}|{about.key if about else ''}"
    open_one = await tx.find_open(key)
    if open_one:
        raise Refused(f"{open_one.removeprefix(PREFIX)} is open about that already; `mcp-soar respond` it by its id")
    opened = _opening(
        parts,
        incident_class=manual.incident_class,
        severity=manual.severity,
        title=manual.title,
        key=key,
        known=known,
        unknown=(),
        requested_by=request.actor,
    )
    return await _open(parts, tx, key, opened, _answer(request, accepted=True, reason=request.reason))


async def _decide(parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await _stream_of(tx, request)
    current = {step.plan.digest: step for step in state.proposals if step.plan}
    step = current.get(request.digest or "")
    if step is None:
        asked = ", ".join(digest_[7:19] for digest_ in current) or "none"
        given = (request.digest or "none")[7:19]
        raise Refused(f"plan {given} is not waiting for a decision in {request.subject}; waiting: {asked}")
    if step.expires_at and step.expires_at <= now():
        raise Refused("the time to decide is over, which counted as no; `mcp-soar respond` asks again")
    if request.verb is Verb.APPROVE:
        if not set(parts.policy.approval.roles) & set(parts.people().people[request.actor].roles):
            raise Refused(f"approving needs the role {' or '.join(parts.policy.approval.roles)}")
        if request.actor == step.requested_by:
            raise Refused("whoever asked for it cannot approve it; another person has to")
        if request.actor in step.approved_by:
            raise Refused("you approved this plan already; another person has to")
    body: dict[str, Json] = {
        "digest": request.digest,
        "verb": request.verb.value,
        "actor": request.actor,
        "reason": request.reason,
    }
    decided = Event("decided", body, request.actor)
    await tx.append(stream, [_answer(request, accepted=True, reason=request.reason), decided])
    await tx.make_runnable(stream, lane=CUT)
    return stream


async def _release(_parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await _stream_of(tx, request)
    held = [instance for instance, lease in state.leases.items() if lease.in_force]
    wanted = request.params.get("lease")
    if not held:
        raise Refused(f"nothing of {request.subject} is in force")
    if wanted is not None and wanted not in held:
        raise Refused(f"{wanted} is not in force; in force: {', '.join(held)}")
    await tx.append(stream, [_answer(request, accepted=True, reason=request.reason)])
    await tx.make_runnable(stream, lane=CUT)
    return stream


async def _close(_parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await _stream_of(tx, request)
    held = [instance for instance, lease in state.leases.items() if lease.in_force]
    if held:
        raise Refused(f"{', '.join(held)} is still in force: release it first, or nobody will watch it")
    how = str(request.params.get("as", "resolved"))
    if how not in {"resolved", "false-positive", "duplicate"}:
        raise Refused(f"cannot be closed as {how!r}; write resolved, false-positive or duplicate")
    body: dict[str, Json] = {"as": how, "by": request.actor, "reason": request.reason}
    closed = Event("closed", body, request.actor)
    await tx.append(stream, [_answer(request, accepted=True, reason=request.reason), closed])
    await tx.unreserve(state.id)
    await tx.close_stream(stream)
    # Once more, for what is told to people; it cannot be claimed for anything else.
    await tx.make_runnable(stream, lane=CUT)
    return stream


async def _exists(parts: Parts, tx: Tx, scope: str) -> bool:
    """Whether a scope of the kill switch means something: a mistyped one would stop nothing, without a word."""
    kind, _, name = scope.partition(":")
    if kind == "class":
        return name in list(IncidentClass)
    if kind == "server":
        return name in parts.world.inventory.servers
    if kind == "incident":
        return await tx.stream(f"{PREFIX}{name}") is not None
    return scope == "everything"


async def _stop(parts: Parts, tx: Tx, request: Request) -> str:
    if not request.subject.startswith(SCOPES) or request.subject in SCOPES[1:]:
        raise Refused("write a scope: everything, class:NAME, server:NAME or incident:ID")
    if not await _exists(parts, tx, request.subject):
        raise Refused(f"there is no {request.subject.replace(':', ' ')}, so that would stop nothing")
    if not request.reason:
        raise Refused("a stop needs a reason; it is shown wherever something does not happen because of it")
    stop = await tx.stop(request.subject, request.reason, request.actor)
    body: dict[str, Json] = {"scope": stop.scope, "by": stop.by, "reason": stop.reason, "number": stop.seq}
    await tx.append(
        SYSTEM, [Event("stopped", body, request.actor), _answer(request, accepted=True, reason=request.reason)]
    )
    return SYSTEM


async def _resume(_parts: Parts, tx: Tx, request: Request) -> str:
    stop = next((stop for stop in await tx.stops() if stop.scope == request.subject), None)
    if stop is None:
        raise Refused(f"{request.subject} is not stopped")
    asked = {
        str(entry.body["by"])
        for entry in (item.parsed() for item in await tx.read(SYSTEM))
        if entry.kind == "resume_asked" and entry.body["number"] == stop.seq
    }
    body: dict[str, Json] = {"scope": stop.scope, "by": request.actor, "reason": request.reason, "number": stop.seq}
    events = [Event("resume_asked", body, request.actor), _answer(request, accepted=True, reason=request.reason)]
    if asked - {request.actor}:
        await tx.unstop(stop.scope)
        people: list[Json] = [*sorted(asked | {request.actor})]
        events.append(Event("resumed", {**body, "people": people}, request.actor))
    await tx.append(SYSTEM, events)
    return SYSTEM


_READERS = {"alert": _alerts, "request": _request}

_VERBS = {
    Verb.RESPOND: _respond,
    Verb.APPROVE: _decide,
    Verb.DENY: _decide,
    Verb.RELEASE: _release,
    Verb.CLOSE: _close,
    Verb.STOP: _stop,
    Verb.RESUME: _resume,
}
