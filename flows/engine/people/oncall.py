"""What people on call write into an incident: notes, who looks after it, longer leases, and legal holds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from flows.engine.case import PREFIX
from flows.engine.parts import Parts
from flows.engine.people.telling import queue
from flows.engine.subject import answer, subject
from integrations.journal.store import Tx
from playbooks.errors import Refused
from playbooks.people import duties
from playbooks.people.duties import clocks
from playbooks.people.request import ROLES, Request, Verb
from playbooks.record.journal import Event
from playbooks.strict import Json, Line, Name, Prose, Slug, Strict, iso, now
from playbooks.text.redaction import redacted

M = TypeVar("M", bound=BaseModel)


class Note(Strict):
    """What a `note` says.

    Args:
        text: in the person's words, with line breaks where they want them.
        fulfils: the duty's clock that it ends, as `gdpr`.
    """

    text: Annotated[Prose, Field(min_length=1, max_length=4000)]
    fulfils: Slug | None = None


class Assignment(Strict):
    """What an `assign` says.

    Args:
        to: an enrolled person.
    """

    to: Name


class Extension(Strict):
    """What an `extend` says.

    Args:
        seconds: from now.
        lease: only this one; None means all that are in force.
    """

    seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    lease: Line | None = None


def read(model: type[M], params: Mapping[str, Any]) -> M:
    """Return a request's parameters as what the verb needs.

    Raises:
        Refused: naming the field that does not fit.
    """
    try:
        return model.model_validate(dict(params))
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(f"{where}: {first['msg']}") from exc


async def note(parts: Parts, tx: Tx, request: Request) -> str:
    """Keep what a person wrote; a clock that it fulfils stops."""
    said = read(Note, request.params)
    stream, state = await subject(tx, request, closed=True)
    events = [answer(request, accepted=True, reason=request.reason)]
    body: dict[str, Json] = {"by": request.actor, "text": redacted(said.text)}
    events.append(Event("noted", body, request.actor))
    if said.fulfils is not None:
        known = [clock.id for clock in clocks(state, parts.world.inventory, duties.load(), now())]
        if said.fulfils not in known:
            raise Refused(f"{said.fulfils} is no duty of {state.id}; it has {', '.join(known) or 'none'}")
        if said.fulfils in state.fulfilled:
            raise Refused(f"{said.fulfils} was fulfilled {iso(state.fulfilled[said.fulfils])} already")
        events.append(Event("fulfilled", {"clock": said.fulfils, **body}, request.actor))
        # Nobody has to be woken for it any more, and the report that counts from this one is due earlier.
        await queue(tx, state.id)
    await tx.append(stream, events)
    return stream


async def assign(parts: Parts, tx: Tx, request: Request) -> str:
    """Say who looks after an incident."""
    to = read(Assignment, request.params).to
    stream, _ = await subject(tx, request, closed=True)
    people = parts.people().people
    if to not in people:
        raise Refused(f"{to} is not enrolled; enrolled: {', '.join(sorted(people))}")
    assigned = Event("assigned", {"to": to, "by": request.actor}, request.actor)
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), assigned])
    return stream


async def extend(parts: Parts, tx: Tx, request: Request) -> str:
    """Put the end of leases in force farther away, as far as the policy lets a person."""
    asked = read(Extension, request.params)
    stream, state = await subject(tx, request)
    if not request.reason:
        raise Refused("extending needs a reason: whoever reads the lease later wants to know why it is still there")
    held = {instance: lease for instance, lease in state.leases.items() if lease.in_force}
    if not held:
        raise Refused(f"nothing of {request.subject} is in force")
    if asked.lease is not None and asked.lease not in held:
        raise Refused(f"{asked.lease} is not in force; in force: {', '.join(held)}")
    longest = parts.policy.lease.longest
    if asked.seconds > longest:
        raise Refused(f"the policy lets a lease end {longest / 3600:g} h from now at the latest (lease.longest)")
    until = now() + timedelta(seconds=asked.seconds)
    wanted = [asked.lease] if asked.lease is not None else list(held)
    later = [instance for instance in wanted if held[instance].until >= until]
    if later:
        raise Refused(f"{later[0]} lasts until {iso(held[later[0]].until)} already; `release` gives it back earlier")
    events = [answer(request, accepted=True, reason=request.reason)]
    for instance in wanted:
        why = f"{request.actor}: {request.reason}"
        body: dict[str, Json] = {"instance": instance, "until": iso(until), "why": why, "by": request.actor}
        events.append(Event("lease_extended", body, request.actor))
    await tx.append(stream, events)
    return stream


async def hold(_parts: Parts, tx: Tx, request: Request) -> str:
    """Keep everything of an incident from being deleted, whatever retention says.

    A second matter's hold is added to the first one's: lifting it takes both reasons into account.
    """
    stream, state = await subject(tx, request, closed=True)
    if not request.reason:
        raise Refused("a legal hold needs a reason: the matter that it is for")
    body: dict[str, Json] = {"by": request.actor, "reason": request.reason}
    held = Event("legal_hold", body, request.actor)
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), held])
    for part in state.parts:
        # What was found there belongs to the same matter; each is let go by itself.
        if await tx.frozen(f"{PREFIX}{part}") is None:
            await tx.append(f"{PREFIX}{part}", [held])
    return stream


async def unhold(parts: Parts, tx: Tx, request: Request) -> str:
    """End a legal hold once two approvers have asked for it.

    Placing one costs nothing and ending one allows evidence to be destroyed, so nobody can end it alone: whoever
    placed it may be one of the two. A reason is on record from each.
    """
    stream, state = await subject(tx, request, closed=True)
    if state.legal_hold is None:
        raise Refused(f"{request.subject} is under no legal hold")
    if not request.reason:
        raise Refused("ending a legal hold needs a reason")
    people = parts.people()
    before = {name for name, at in state.unhold_asked.items() if people.stands_by(name, ROLES[Verb.UNHOLD], at)}
    asked = {*before, request.actor}
    body: dict[str, Json] = {"by": request.actor, "reason": request.reason}
    events = [
        answer(request, accepted=True, reason=request.reason),
        Event("legal_hold_end_asked", body, request.actor),
    ]
    if len(asked) > 1:
        both: list[Json] = [*sorted(asked)]
        events.append(Event("legal_hold_ended", {**body, "people": both}, request.actor))
    await tx.append(stream, events)
    return stream
