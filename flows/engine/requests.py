"""People's requests from the inbox: judged by their signature, then carried into the streams."""

import contextlib
import logging

from pydantic import Field, ValidationError

from flows.engine.case import PREFIX
from flows.engine.opening import CUT, Opened, open_incident, opening, primary, resolve, set_aside
from flows.engine.parts import Parts
from flows.engine.subject import answer, subject
from integrations.journal.records import InboxItem
from integrations.journal.store import Tx
from integrations.signing import PublicKey
from playbooks.errors import Misconfigured, Refused
from playbooks.incident import Entity, Severity
from playbooks.journal import SYSTEM, Event
from playbooks.policy import SeverityName
from playbooks.request import Request, Verb, check
from playbooks.strict import Json, Prose, Strict, now
from playbooks.taxonomy import IncidentClass

LOG = logging.getLogger("mcp_soar.engine")

SCOPES = ("everything", "class:", "server:", "incident:")


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


async def take_request(parts: Parts, item: InboxItem) -> list[Opened]:
    """Judge a person's request, then carry it out or refuse it on record; return the incident it opened, if it did."""
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
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
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
        await tx.append(stream, [answer(request, accepted=False, reason=reason)])
    await set_aside(tx, item, reason, stream if row else None)


def _signed(key: bytes, message: bytes, signature: bytes) -> bool:
    return PublicKey.from_raw(key).signed(message, signature)


async def _respond(parts: Parts, tx: Tx, request: Request) -> str | Opened:
    if request.subject != "new":
        stream, _ = await subject(tx, request)
        await tx.append(stream, [answer(request, accepted=True, reason=request.reason)])
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
    opened = opening(
        parts,
        incident_class=manual.incident_class,
        severity=manual.severity,
        title=manual.title,
        key=key,
        known=known,
        unknown=(),
        requested_by=request.actor,
    )
    return await open_incident(parts, tx, key, opened, answer(request, accepted=True, reason=request.reason))


async def _decide(parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await subject(tx, request)
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
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), decided])
    await tx.make_runnable(stream, lane=CUT)
    return stream


async def _release(_parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await subject(tx, request)
    held = [instance for instance, lease in state.leases.items() if lease.in_force]
    wanted = request.params.get("lease")
    if not held:
        raise Refused(f"nothing of {request.subject} is in force")
    if wanted is not None and wanted not in held:
        raise Refused(f"{wanted} is not in force; in force: {', '.join(held)}")
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason)])
    await tx.make_runnable(stream, lane=CUT)
    return stream


async def _close(_parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await subject(tx, request)
    held = [instance for instance, lease in state.leases.items() if lease.in_force]
    if held:
        raise Refused(f"{', '.join(held)} is still in force: release it first, or nobody will watch it")
    how = str(request.params.get("as", "resolved"))
    if how not in {"resolved", "false-positive", "duplicate"}:
        raise Refused(f"cannot be closed as {how!r}; write resolved, false-positive or duplicate")
    body: dict[str, Json] = {"as": how, "by": request.actor, "reason": request.reason}
    closed = Event("closed", body, request.actor)
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), closed])
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
        SYSTEM, [Event("stopped", body, request.actor), answer(request, accepted=True, reason=request.reason)]
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
    events = [Event("resume_asked", body, request.actor), answer(request, accepted=True, reason=request.reason)]
    if asked - {request.actor}:
        await tx.unstop(stop.scope)
        people: list[Json] = [*sorted(asked | {request.actor})]
        events.append(Event("resumed", {**body, "people": people}, request.actor))
    await tx.append(SYSTEM, events)
    return SYSTEM


_VERBS = {
    Verb.RESPOND: _respond,
    Verb.APPROVE: _decide,
    Verb.DENY: _decide,
    Verb.RELEASE: _release,
    Verb.CLOSE: _close,
    Verb.STOP: _stop,
    Verb.RESUME: _resume,
}
