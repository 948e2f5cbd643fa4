"""People's requests from the inbox: judged by their signature, then carried into the streams."""

import contextlib
import logging
from datetime import datetime

from pydantic import Field

from flows.engine import campaigns, choosing, classifying, deletion, joining
from flows.engine.case import PREFIX
from flows.engine.opening import CUT, Opened, after, open_incident, opening, recorded, set_aside
from flows.engine.parts import Parts
from flows.engine.people import approvals, oncall, suppression, together, voices
from flows.engine.people.telling import page, queue
from flows.engine.subject import answer, open_incident_of, said, subject
from integrations.journal.records import InboxItem, Stop
from integrations.journal.store import Tx
from integrations.signing import fits
from playbooks.chosen import extended
from playbooks.errors import Misconfigured, Refused
from playbooks.estate import naming
from playbooks.gate.policy import SeverityName
from playbooks.people.request import ROLES, Request, SignedRequest, Verb, check
from playbooks.record.campaign import marks
from playbooks.record.incident import Entity, Severity
from playbooks.record.journal import CAM, ITSELF, SYSTEM, Event, stream_of
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import Json, Prose, Slug, Strict, now
from playbooks.taxonomy import IncidentClass
from playbooks.text.redaction import redacted
from playbooks.text.sentences import say

LOG = logging.getLogger("mcp_soar.engine")

SCOPES = ("everything", "class:", "server:", "incident:")


class Manual(Strict):
    """What a person's `respond` request says.

    Args:
        incident_class: of the taxonomy.
        severity: how bad they think it is.
        title: what it is about.
        entities: what to respond to, in the inventory's names.
        exact: every one of these is meant itself. Otherwise a server beside something that it offers is only said to
            be the home of that.
        only: the systems that it is to be contained at; wherever it has a place if none is said.
    """

    incident_class: IncidentClass = Field(default=IncidentClass.UNCLASSIFIED, alias="class")
    severity: SeverityName = Severity.HIGH
    title: Prose
    entities: tuple[Entity, ...] = Field(min_length=1, max_length=50)
    exact: bool = False
    only: tuple[Slug, ...] = Field(default=(), max_length=50)


class About(Strict):
    """What a person's `respond` request says of an incident that is open already.

    Args:
        entities: what is to be contained in it; nothing more if there are none.
        only: the systems that it is to be contained at; wherever it has a place if none is said.
    """

    entities: tuple[Entity, ...] = Field(default=(), max_length=50)
    only: tuple[Slug, ...] = Field(default=(), max_length=50)


async def take_request(parts: Parts, item: InboxItem) -> list[Opened]:
    """Judge a person's request, then carry it out or refuse it on record; return the incident it opened, if it did."""
    try:
        people = parts.people()
    except Misconfigured as exc:
        # It is not the request's fault, and it may be a stop: it waits until the file is mended.
        LOG.error("a person's request waits: %s", exc)  # noqa: TRY400  # it says what to mend
        return []
    try:
        found = await parts.journal.submit(lambda tx: voices.delegations(tx, people, now()))
        lent = voices.lent(found, people, parts.policy.approval.roles)
        request = check(item.body, people, at=now(), verify=fits, lent=lent)
        # What people paste into a reason is kept for years; the entry in the inbox is what they signed.
        request = request.model_copy(update={"reason": redacted(request.reason, 2000)})
    except Refused as exc:
        reason = f"refused: {exc}"
        await parts.journal.submit(lambda tx: set_aside(tx, item, reason))
        return []

    async def unit(tx: Tx) -> list[Opened]:
        # A row says that it was used; what was done because of it is signed, and no row's loss undoes that.
        if await tx.said("request", request.nonce, SYSTEM, stream_of(request.subject)):
            raise Refused(f"the request {request.nonce} was used before")
        await tx.use_once("request", request.nonce)
        if request.verb in _SIGNED:
            # Its signature is what others will believe later, so it is journalled as it was signed, nothing masked.
            signed = SignedRequest.model_validate_json(item.body)
            if signed.request.reason != request.reason:
                raise Refused(f"its reason is kept word for word: write it without what is masked: {request.reason}")
            found: str | Opened = await _SIGNED[request.verb](parts, tx, signed)
        elif request.subject.startswith(CAM):
            found = await together.judged(parts, tx, request, _VERBS[request.verb])
        else:
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


async def _respond(parts: Parts, tx: Tx, request: Request) -> str | Opened:
    if request.subject != "new":
        return await _again(parts, tx, request)
    manual = said(Manual, request)
    known = naming.chosen(parts.world.inventory, manual.entities)
    meant = naming.meant(known, exact=manual.exact)
    choosing.placed_at(parts.places, meant, manual.only)
    keys = choosing.keys_of(manual.incident_class, meant)
    found = await tx.find_all_open(keys)
    if open_one := next((found[key] for key in keys if key in found), None):

        async def load(name: str) -> Incident:
            return (await open_incident_of(tx, name))[1]

        first = await load(open_one.removeprefix(PREFIX))
        raise choosing.is_open(await choosing.going_on(first, meant, tx.find_open, load), meant, manual.only)
    opened = opening(
        parts,
        incident_class=manual.incident_class,
        severity=manual.severity,
        title=manual.title,
        key=keys[0],
        known=known,
        unknown=(),
        requested_by=request.actor,
        chosen=meant,
        only=manual.only,
    )
    begun = await open_incident(parts, tx, keys[0], opened, answer(request, accepted=True, reason=request.reason))
    servers = {thing.server or "" for thing in known}
    await campaigns.take(tx, begun.claim.stream, marks(known, (), (), ()), servers)
    return begun


async def _again(parts: Parts, tx: Tx, request: Request) -> str:
    """Have an incident tried again, and contain in it what a person names beside."""
    about = said(About, request)
    stream, state = await subject(tx, request)
    things = naming.chosen(parts.world.inventory, about.entities)
    choosing.placed_at(parts.places, things, about.only)
    new = choosing.new_in(state, things, about.only)
    if not things and (over := choosing.is_over(state)):
        raise over
    events = [answer(request, accepted=True, reason=request.reason)]
    if new:
        present = state.goes_by(parts.playbooks)
        playbook = extended(present, state.incident_class, {thing.kind for thing in new})
        body: dict[str, Json] = {
            "by": request.actor,
            "entities": [thing.model_dump(mode="json") for thing in new],
            "playbook": recorded(playbook),
            "reason": redacted(request.reason, 2000),
            "again": list(choosing.again_by(state, playbook, new, parts.places, about.only)),
        }
        body |= {"only": list(about.only)} if about.only else {}
        events.append(Event("chosen", body, request.actor))
    await tx.append(stream, events)
    await tx.make_runnable(stream, lane=CUT)
    await queue(tx, state.id)
    return stream


async def _decide(parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await subject(tx, request)
    step = approvals.waiting(state, request.digest or "")
    decided = await approvals.decision(parts, tx, step, actor=request.actor, verb=request.verb, reason=request.reason)
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), decided])
    await tx.make_runnable(stream, lane=CUT)
    await queue(tx, state.id)
    return stream


async def _acknowledge(_parts: Parts, tx: Tx, request: Request) -> str:
    """Take up the pages of an incident, or of the installation: nobody else is woken for them."""
    stream = stream_of(request.subject)
    row = await tx.stream(stream)
    if row is None:
        raise Refused(f"there is no incident {request.subject}")
    state = project(request.subject, await tx.read(stream))
    pages: list[Json] = [page for page in state.pages if page not in state.acknowledged]
    body: dict[str, Json] = {"pages": pages, "by": request.actor, "way": "key"}
    await tx.append(
        stream, [answer(request, accepted=True, reason=request.reason), Event("acknowledged", body, request.actor)]
    )
    await queue(tx, request.subject)
    return stream


async def _release(_parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await subject(tx, request)
    all_of_it = [(stream, state), *await joining.parts_of(tx, state)]
    held = joining.held([one for _, one in all_of_it])
    wanted = request.params.get("lease")
    there = f"; it was joined to {state.part_of}: release that one" if state.part_of else ""
    if not held:
        raise Refused(f"nothing of {request.subject} is in force{there}")
    if wanted is not None and wanted not in held:
        raise Refused(f"{wanted} is not in force; in force: {', '.join(dict.fromkeys(held))}")
    for where, one in all_of_it:
        # What goes on in it is given back with it, in the stream in which it was taken.
        meant = [instance for instance in joining.held([one]) if wanted in {None, instance}]
        if meant or where == stream:
            await tx.append(where, [answer(request, accepted=True, reason=request.reason)])
            await tx.make_runnable(where, lane=CUT)
    return stream


async def _original(tx: Tx, request: Request, how: str) -> str | None:
    """Return the incident that another one is a duplicate of, if the request names one."""
    of = request.params.get("of")
    if of is None:
        return None
    if how != "duplicate":
        raise Refused(f"only a duplicate is one of another incident; this one is to be closed as {how}")
    if of == request.subject:
        raise Refused("an incident is no duplicate of itself")
    stream = f"{PREFIX}{of}"
    if not isinstance(of, str) or await tx.stream(stream) is None:
        raise Refused(f"there is no incident {of} that it could be a duplicate of")
    # Of two that name each other nobody could say which one to read.
    onward = project(of, await tx.read(stream)).duplicate_of
    if onward is not None:
        raise Refused(f"{of} is a duplicate itself, of {onward}: name that one")
    return of


async def _close(_parts: Parts, tx: Tx, request: Request) -> str:
    stream, state = await subject(tx, request)
    parts = await joining.parts_of(tx, state)
    if why := joining.in_force([state, *(one for _, one in parts)]):
        raise why
    how = str(request.params.get("as", "resolved"))
    if how not in {"resolved", "false-positive", "duplicate"}:
        raise Refused(f"cannot be closed as {how!r}; write resolved, false-positive or duplicate")
    of = await _original(tx, request, how)
    body: dict[str, Json] = {"as": how, "by": request.actor, "reason": request.reason, "of": of}
    closed = Event("closed", body, request.actor)
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), closed])
    for where, one in parts:
        ended: dict[str, Json] = {**body, "as": "duplicate", "of": state.id}
        await tx.append(where, [Event("closed", ended, request.actor)])
        await _end(tx, where, one.id)
    await _end(tx, stream, state.id)
    over = (state, *(one for _, one in parts))
    # What a person named has no alert that says whose it is.
    shared = {mark for one in over for mark in (*one.marks, *marks(one.entities.values(), (), (), ()))}
    await campaigns.leave(tx, shared)
    return stream


async def _end(tx: Tx, stream: str, incident: str) -> None:
    await tx.unreserve(incident)
    if (later := await tx.find_open(after(stream))) is not None:
        # What it gave back and went on meets there from now on, and opens no third one.
        await tx.hand_over(stream, later)
    await tx.close_stream(stream)
    # Once more, for what is told to people; it cannot be claimed for anything else.
    await tx.make_runnable(stream, lane=CUT)


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
    await page(
        tx, ITSELF, _switched("stopped", stop, say("STOPPED {a}, by {b}: {c}", a=stop.scope, b=stop.by, c=stop.reason))
    )
    return SYSTEM


def _switched(kind: str, stop: Stop, text: str) -> Event:
    notice = f"{kind}:{stop.scope}:{stop.seq}"
    return Event("page", {"id": notice, "notice": notice, "text": text[:4000]})


async def _resume(parts: Parts, tx: Tx, request: Request) -> str:
    stop = next((stop for stop in await tx.stops() if stop.scope == request.subject), None)
    if stop is None:
        raise Refused(f"{request.subject} is not stopped")
    # Whoever was removed since, or lost the role, is no second person.
    people = parts.people()
    asked = {
        str(entry.body["by"])
        for entry in await tx.resumes(stop.seq)
        if people.stands_by(str(entry.body["by"]), ROLES[Verb.RESUME], datetime.fromisoformat(entry.at))
    }
    body: dict[str, Json] = {"scope": stop.scope, "by": request.actor, "reason": request.reason, "number": stop.seq}
    events = [Event("resume_asked", body, request.actor), answer(request, accepted=True, reason=request.reason)]
    if asked - {request.actor}:
        await tx.unstop(stop.scope)
        both: list[Json] = [*sorted(asked | {request.actor})]
        events.append(Event("resumed", {**body, "people": both}, request.actor))
        text = f"Resumed {stop.scope}, by {' and '.join(sorted(asked | {request.actor}))}: {request.reason}"
        await page(tx, ITSELF, _switched("resumed", stop, text))
    await tx.append(SYSTEM, events)
    return SYSTEM


_SIGNED = {Verb.DELEGATE: approvals.delegate, Verb.SUPPRESS: suppression.suppress}

_VERBS = {
    Verb.RESPOND: _respond,
    Verb.ACK: _acknowledge,
    Verb.APPROVE: _decide,
    Verb.DENY: _decide,
    Verb.RELEASE: _release,
    Verb.CLOSE: _close,
    Verb.STOP: _stop,
    Verb.RESUME: _resume,
    Verb.NOTE: oncall.note,
    Verb.ASSIGN: oncall.assign,
    Verb.EXTEND: oncall.extend,
    Verb.HOLD: oncall.hold,
    Verb.UNHOLD: oncall.unhold,
    Verb.ERASE: deletion.erase,
    Verb.PURGE: deletion.purge,
    Verb.UNSUPPRESS: suppression.unsuppress,
    Verb.CLASSIFY: classifying.classify,
    Verb.JOIN: joining.join,
}
