"""Two incidents that are one: the second goes on in the first.

Nothing that is in force moves. A hold, the value that it restores and the plan that was agreed to stand in the stream
in which they were decided, and a copy elsewhere would be a claim about them that nothing proves. So the second one
stays open as a part of the first: what it holds is watched over and given back there, and whoever releases the first
releases it as well. It begins nothing new. What it is about, who said so and what people chose go to the first one,
which goes by its own playbook; what a part holds already it takes hold of too, without asking anybody a second time.
"""

from collections.abc import Sequence

from flows.engine.case import PREFIX
from flows.engine.opening import CUT, recorded
from flows.engine.parts import Parts
from flows.engine.people.telling import queue
from flows.engine.subject import answer, open_incident_of, said, subject
from integrations.journal.store import Tx
from playbooks.chosen import extended
from playbooks.errors import Refused
from playbooks.gate.plan import Plan
from playbooks.gate.policy import Purpose
from playbooks.people.request import Request
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.strict import Json, Line, Strict, canonical
from playbooks.text.redaction import redacted


class Second(Strict):
    """What a person's `join` request says.

    Args:
        incident: the id of the one that goes on in the subject.
    """

    incident: Line


async def join(parts: Parts, tx: Tx, request: Request) -> str:
    """Have one incident go on in another, in one transaction: both streams say so and its keys lead there, or nothing.

    Returns:
        The stream of the one that goes on.

    Raises:
        Refused: one of them is closed, frozen or a part of another, or they should be joined the other way round.
    """
    stream, first = await subject(tx, request)
    name = said(Second, request).incident
    if name == first.id:
        raise Refused("an incident cannot be joined with itself: name two")
    other, second = await open_incident_of(tx, name)
    _fits(first, second)
    chosen = {key: who for key, who in second.chosen.items() if key not in first.chosen}
    things = [second.entities[key] for key in chosen if key in second.entities]
    playbook = None
    if things:
        playbook = extended(first.goes_by(parts.playbooks), first.incident_class, {thing.kind for thing in things})
    reason = redacted(request.reason, 2000)
    body: dict[str, Json] = {
        "incident": second.id,
        "parts": list(second.parts),
        "by": request.actor,
        "class": second.incident_class.value,
        "classes": [one.value for one in sorted({second.incident_class, *second.former_classes})],
        "severity": int(second.severity),
        "entities": [thing.model_dump(mode="json") for thing in second.entities.values()],
        "unresolved": [entity.model_dump(mode="json") for entity in second.unresolved],
        "chosen": dict(chosen),
        "by_hand": [key for key in chosen if key in second.by_hand],
        "only": {key: list[Json](sorted(second.only[key])) for key in chosen if key in second.only},
        "playbook": recorded(playbook),
        "reason": reason,
        # What people said no to there is not asked about here by another step, nor agreed to by whoever asks for it.
        "noes": [{"digest": digest, **no.body()} for digest, no in second.noes.items()],
        "again": [
            {"digest": digest, "asked_by": again.by, **again.no.body()} for digest, again in second.asked_again.items()
        ],
        "wishes": [wish.body() for wish in second.wishes],
    }
    events = [answer(request, accepted=True, reason=request.reason), Event("joined", body, request.actor)]
    told = (item.parsed() for item in await tx.read(other))
    # Whoever spoke for something there speaks for it here.
    events += [Event("alert", {**one.body, "from": second.id}, one.actor) for one in told if one.kind == "alert"]
    if second.legal_hold:
        # Its alerts are kept here too from now on.
        events.append(Event("legal_hold", {"by": request.actor, "reason": second.legal_hold}, request.actor))
    await tx.append(stream, events)
    part: dict[str, Json] = {"incident": first.id, "by": request.actor, "reason": reason}
    for name in (second.id, *second.parts):
        said_there = [Event("goes_on_in", part, request.actor)]
        if first.legal_hold:
            said_there.append(Event("legal_hold", {"by": request.actor, "reason": first.legal_hold}, request.actor))
        await tx.append(f"{PREFIX}{name}", said_there)
        await tx.make_runnable(f"{PREFIX}{name}", lane=CUT)
    await tx.hand_over(other, stream)
    await tx.make_runnable(stream, lane=CUT)
    # What people were asked in the second is asked by the first, if at all.
    for name in (second.id, *second.parts):
        await queue(tx, name)
    return stream


def _fits(first: Incident, second: Incident) -> None:
    if first.part_of:
        raise Refused(f"{first.id} was joined to {first.part_of}: join {first.part_of} and {second.id}")
    if second.part_of:
        raise Refused(f"{second.id} was joined to {second.part_of} already")
    if first.triage and not second.triage:
        raise Refused(
            f"{first.id} waits for a person to look at it and {second.id} does not: write"
            f" `mcp-soar join {second.id} {first.id}`, so that the one that is under way goes on"
        )


async def held_by_parts(tx: Tx, state: Incident, plan: Plan) -> str | None:
    """Return which parts of an incident hold all of a plan already, in words; None if it would change anything.

    Args:
        tx: the transaction that it is decided in.
        state: the incident.
        plan: what it would do.
    """
    if not state.parts or plan.pending or plan.irreversible:
        return None
    holders: dict[str, None] = {}
    for change in plan.changes:
        found = [
            hold.incident
            for hold in await tx.holds(grip=change.grip)
            if hold.incident in state.parts and canonical(hold.after) == canonical(change.after)
        ]
        if not found:
            return None
        holders |= dict.fromkeys(found)
    return f"{', '.join(holders)}, which goes on here, holds it already"


async def parts_of(tx: Tx, state: Incident) -> list[tuple[str, Incident]]:
    """Return the incidents that go on in another and are still open: stream and state."""
    found = []
    for name in state.parts:
        row = await tx.stream(f"{PREFIX}{name}")
        if row is not None and row.closed_at is None and row.frozen is None:
            found.append(await open_incident_of(tx, name))
    return found


def held(states: Sequence[Incident]) -> list[str]:
    """Return what some incidents hold, or try to: the leases' names."""
    return [instance for state in states for instance, lease in state.leases.items() if lease.open]


def in_force(states: Sequence[Incident]) -> Refused | None:
    """Return why an incident cannot be closed yet, and what ends that; None if nothing of it is in force.

    Args:
        states: the incident, and after it those that go on in it.
    """
    if not (named := ", ".join(dict.fromkeys(held(states)))):
        return None
    said = f"{named} is still in force, or tried for, and nobody would watch it any more"
    asking = [one.id for one in states if any(step.purpose is Purpose.RELEASE for step in one.proposals)]
    if asking:
        return Refused(f"{said}. Giving it back waits for another person: `mcp-soar approve {asking[0]} --as NAME`")
    return Refused(f"{said}: `mcp-soar release {states[0].id} --as NAME` gives it back")
