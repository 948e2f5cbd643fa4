"""Giving an incident its class: a person says what it is, and it goes by that from then on."""

from pydantic import Field

from flows.engine.case import PREFIX
from flows.engine.opening import CUT, meeting, recorded, resolve, shown, triage
from flows.engine.parts import Parts
from flows.engine.people.telling import queue
from flows.engine.subject import answer, said, subject
from integrations.journal.store import Tx
from playbooks.errors import Refused
from playbooks.people.request import Request
from playbooks.record.journal import Event
from playbooks.strict import Json, Strict
from playbooks.taxonomy import IncidentClass
from playbooks.text.redaction import redacted


class Class(Strict):
    """What a person's `classify` request says.

    Args:
        incident_class: of the taxonomy.
    """

    incident_class: IncidentClass = Field(alias="class")


async def classify(parts: Parts, tx: Tx, request: Request) -> str:
    """Give an incident its class, in one transaction: it is found under the new one from then on, or nothing changes.

    What waited for a person only because it had no class, or its class no playbook, takes one up and goes on through
    the gate. What was begun ends with the playbook that it began with.

    Returns:
        Its stream.

    Raises:
        Refused: it has that class already, or another incident is open about the same under it.
    """
    wanted = said(Class, request).incident_class
    if not wanted.actionable:
        classes = ", ".join(known for known in IncidentClass if known.actionable)
        raise Refused(f"{wanted} is what an incident is without a class; write one of {classes}")
    stream, state = await subject(tx, request)
    if state.part_of:
        raise Refused(f"{state.id} was joined to {state.part_of}: classify that one")
    if wanted is state.incident_class and state.triage is None:
        raise Refused(f"{state.id} is {wanted} already")
    fresh, left = resolve(parts.world.inventory, state.unresolved)
    entities = {**state.entities, **{thing.key: thing for thing in fresh}}
    keys = meeting(wanted, tuple(entities.values())) or (f"{wanted}|{state.key.partition('|')[2]}",)
    key = keys[0]
    others = (name for name in (await tx.find_all_open(keys)).values() if name != stream)
    if (other := next(others, None)) is not None:
        name = other.removeprefix(PREFIX)
        raise Refused(
            f"{name} is open about that as {wanted} already: `mcp-soar join {name} {state.id}` makes one of the two"
        )
    begun = state.triage is None
    playbook = None if begun else parts.playbooks.get(wanted)
    waits = None if begun else triage(playbook, parts.places, wanted, list(entities.values()), left)
    body: dict[str, Json] = {
        "class": wanted.value,
        "was": state.incident_class.value,
        "by": request.actor,
        "key": key,
        "entities": [thing.model_dump(mode="json") for thing in fresh],
        "unresolved": [shown(entity).model_dump(mode="json") for entity in left],
        "playbook": recorded(playbook),
        "triage": waits,
        "reason": redacted(request.reason, 2000),
    }
    classified = Event("classified", body, request.actor)
    await tx.append(stream, [answer(request, accepted=True, reason=request.reason), classified])
    await tx.rekey(stream, key)
    await tx.make_runnable(stream, lane=CUT)
    # Whoever was woken to look at it is not woken any more: somebody has.
    await queue(tx, state.id)
    return stream
