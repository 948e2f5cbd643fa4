"""`contain`, and `respond --about`: what a person chooses, asked of inventory and gateway, planned, then handed in.

Nothing is decided here: the responder reads the names, plans and asks the gate again. What cannot be is refused before
anybody signs for it, with what would be right.
"""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import acts, plan, questions, records
from flows.cli.work.spelled import Spelling
from flows.engine import choosing
from flows.engine.subject import still_open
from flows.settings import Configuration
from integrations.connections import Connections
from integrations.hostile import printable
from integrations.journal.store import Journal
from integrations.systems.contextforge.client import ContextForge, Held
from playbooks import naming
from playbooks.chosen import containable
from playbooks.errors import Refused, SoarError, Transient
from playbooks.incident import Confidence, Entity, EntityKind, Severity
from playbooks.inventory import ON_SERVER, Inventory, Resolved
from playbooks.playbook import Playbook
from playbooks.policy import Outcome
from playbooks.request import Verb
from playbooks.state import Incident
from playbooks.strict import Json
from playbooks.taxonomy import IncidentClass

_NEAR = 5

OFFERED = frozenset(kind.value for kind in ON_SERVER)
"""The words for what a server offers, and what `--server` is therefore for."""


@dataclass(frozen=True)
class Wish:
    """What a person wants contained.

    Args:
        entities: the things, as they wrote them.
        incident: the open incident that it belongs to; a new one if None.
        incident_class: of a new incident.
        severity: of a new incident, as a word.
        title: of a new incident; made up if None.
        reason: why.
    """

    entities: tuple[Entity, ...]
    incident: str | None
    incident_class: str | None
    severity: str
    title: str | None
    reason: str


def entity(kind: str, name: str, server: str | None = None) -> Entity:
    """Return what somebody wrote as an entity.

    Raises:
        Usage: nothing of that kind can be contained, or the name is none.
    """
    kinds = containable()
    if kind not in kinds:
        raise Usage(f"{kind!r} cannot be contained; write one of {', '.join(kinds)}")
    try:
        return Entity(kind=EntityKind(kind), name=name, server=server)
    except ValueError as exc:
        raise Usage(f"{name!r} is no name: 1 to 200 characters, without control characters") from exc


def about(words: Sequence[str], server: str | None = None) -> tuple[Entity, ...]:
    """Return what `--about KIND:NAME` names.

    Raises:
        Usage: naming what to write.
    """
    found = []
    for word in words:
        kind, colon, name = word.partition(":")
        if not colon or not name:
            raise Usage(
                f"{word!r}: write --about KIND:NAME, as --about tool:weather/forecast or --about server:weather"
            )
        # A server is not its own home.
        home = server if kind in OFFERED else None
        found.append(entity(kind, name, home))
    return tuple(found)


def contain(out: Out, config: Configuration, who: acts.Person, wish: Wish) -> Exit:
    """Show what containing something would change, and have it done once the person says yes."""
    out.aside = who.prints
    try:
        IncidentClass(wish.incident_class or IncidentClass.UNCLASSIFIED)
        Severity[wish.severity.upper()]
    except ValueError as exc:
        raise Usage(f"{wish.incident_class} is no class; write one of {', '.join(IncidentClass)}") from exc
    except KeyError as exc:
        levels = ", ".join(level.label for level in Severity)
        raise Usage(f"{wish.severity} is no severity; write {levels}") from exc
    return acts.finish(out, config, asyncio.run(_contain(out, config, who, wish)))


async def _contain(out: Out, config: Configuration, who: acts.Person, wish: Wish) -> schema.Act | None:
    subject, state, word = "new", None, wish.incident_class or IncidentClass.UNCLASSIFIED
    async with records.opened(config) as journal:
        await acts.allowed(journal, who, Verb.RESPOND)
        if wish.incident is not None:
            subject = await records.find(journal, wish.incident)
            state = await records.load(journal, subject)
            still_open(state)
            word = state.incident_class
        world = Connections(config.inventory)
        try:
            with out.waiting("looking at the gateway"):
                found = [await meaning(world, one) for one in wish.entities]
                things = list({thing.key: thing for thing in found}.values())
            await _refuse_taken(journal, state, IncidentClass(word), things)
            playbook = state.goes_by(config.playbooks) if state else None
            await _foresee(out, config, world, things, IncidentClass(word), wish.severity, playbook)
        finally:
            await world.aclose()
        listed = ", ".join(map(str, things))
        if not questions.agreed(out, f"Contain {listed} as {who.name}?", does="contains", yes=who.yes):
            return None
        named: list[Json] = [_written(thing) for thing in things]
        params: dict[str, Json] = {"entities": named}
        if wish.incident is None:
            title = wish.title or f"{who.name} contains {listed}"[:2000]
            params |= {"class": str(word), "severity": wish.severity, "exact": True, "title": title}
        return await acts.carry(
            out,
            journal,
            who,
            verb=Verb.RESPOND,
            subject=subject,
            reason=wish.reason,
            params=params,
            look=acts.contained,
        )


async def _refuse_taken(
    journal: Journal, state: Incident | None, incident_class: IncidentClass, things: Sequence[Resolved]
) -> None:
    """Refuse what the responder would refuse once it is signed, before anybody reads a plan of it.

    Args:
        journal: says what is open.
        state: the incident that it is to be contained in; None for a new one.
        incident_class: of that one.
        things: what is meant.

    Raises:
        Refused: with what would be right.
    """
    if state is not None:
        choosing.new_in(state, things)
    elif stream := await journal.find_open(choosing.key_of(incident_class, things)):
        raise choosing.is_open(await records.load(journal, stream.removeprefix(records.PREFIX)), things)


def _written(thing: Resolved) -> dict[str, Json]:
    """Return a thing as the responder will read it: in the one way that means nothing else."""
    name = f"{thing.principal}/{thing.id}" if thing.kind is EntityKind.TOKEN else thing.id
    home = {"server": thing.server} if thing.server and thing.kind is not EntityKind.SERVER else {}
    return {"kind": thing.kind.value, "name": name, **home}


async def _foresee(  # noqa: PLR0917  # everything that a plan rests on
    out: Out,
    config: Configuration,
    world: Connections,
    things: Sequence[Resolved],
    incident_class: IncidentClass,
    severity: str,
    playbook: Playbook | None,
) -> None:
    """Show what would be changed.

    Raises:
        Refused: it cannot be done, whoever approves it.
    """
    case = plan.Case(
        incident_class=incident_class,
        severity=Severity[severity.upper()],
        confidence=Confidence.HIGH,
        authenticated=True,
        by_hand=True,
        entities=(),
        about="chosen by hand",
        chosen=tuple(things),
        playbook=playbook,
    )
    with out.waiting("planning"):
        found, notes = await plan.all_of(config, [case], world)
    for fault in case.faults:
        if not isinstance(fault, Transient):
            raise Refused(f"it cannot be contained, and nothing was handed in: {fault}")
        notes.append(f"it cannot be planned from here ({fault}); the responder plans it itself, and asks about that")
    for note in notes:
        out.say(f"! {note}", "warn")
    spelling = Spelling(case.phrases)
    for one in found:
        plan.show(out, spelling.whole(one))
    if denied := [one for one in found if one["decision"] == Outcome.DENY.value]:
        reasons = "; ".join(denied[0]["reasons"])
        raise Refused(f"the gate denies {denied[0]['summary']} Because {reasons}. Nothing was handed in")
    out.say()


async def meaning(world: Connections, entity: Entity) -> Resolved:
    """Return the one thing that a person means, by the inventory and by what gateways offer.

    Args:
        world: the connections.
        entity: what they wrote.

    Raises:
        Refused: it means more than one thing, nothing, something that the gateway does not have, or what is ours.
    """
    inventory = world.inventory
    try:
        thing = naming.one(inventory, entity)
    except naming.Nameless as exc:
        if entity.kind not in ON_SERVER or entity.server is not None:
            raise
        return await _anywhere(world, entity, exc)
    if why := naming.ours(inventory, thing):
        raise Refused(why)
    if entity.kind in ON_SERVER and inventory.pins.find(thing.server or "", ON_SERVER[entity.kind], thing.id) is None:
        return await _unapproved(world, thing)
    return thing


async def _unapproved(world: Connections, thing: Resolved) -> Resolved:
    """Return what nobody approved under the name that its server has for it, as the gateway knows it.

    Raises:
        Refused: the gateway has no such thing.
    """
    place = world.inventory.servers[thing.server or ""].gateway
    if place is None:
        return thing
    kind = ON_SERVER[thing.kind]
    try:
        held = await world.reach(ContextForge, place.name).held(kind, place.id)
    except Transient:
        return thing
    names = {one.name for one in held if thing.id in _names(one)}
    names = names or {one.name for one in held if naming.abridges(thing.id, one.name)}
    if len(names) == 1:
        return thing.model_copy(update={"id": names.pop()})
    if names:
        found = [naming.Meaning(thing.model_copy(update={"id": name}), f"{thing.server}/{name}") for name in names]
        raise naming.Unclear(naming.asked(thing.id, thing.kind, found))
    raise Refused(f"gateway {place.name} has no {thing}; {_holds(thing.id, held)}")


def _names(held: Held) -> set[str]:
    return {held.name, printable(held.offered_as), printable(held.names.original)}


def _holds(name: str, held: Sequence[Held]) -> str:
    names = sorted({one.name for one in held})
    close = difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.5)
    shown = ", ".join(close or names[:_NEAR])
    return f"did you mean {shown}?" if close else f"it has {shown or 'none of that kind'}"


async def _anywhere(world: Connections, entity: Entity, nameless: naming.Nameless) -> Resolved:
    """Return what a gateway offers under a name that nothing approved has, if that is one thing."""
    found: list[naming.Meaning] = []
    strange: list[str] = []
    for gateway in world.inventory.gateways:
        try:
            held = await world.reach(ContextForge, gateway).held(ON_SERVER[entity.kind])
        except SoarError as exc:
            strange.append(f"gateway {gateway} could not be asked: {exc}")
            continue
        for one in held:
            if entity.name not in _names(one) and not naming.abridges(entity.name, one.name):
                continue
            server = _server_of(world.inventory, gateway, one)
            if server is None:
                strange.append(
                    f"gateway {gateway} offers {one.kind} {one.name} from its entry {one.entry}, which no server of"
                    " inventory.yaml has as its gateway.id: add that server, then contain it"
                )
                continue
            thing = Resolved(kind=entity.kind, id=one.name, server=server)
            found.append(naming.Meaning(thing, f"{server}/{one.name}"))
    things = {meaning.thing.key: meaning for meaning in found}
    if len(things) == 1 and not strange:
        return found[0].thing
    if things:
        raise naming.Unclear("; ".join([naming.asked(entity.name, entity.kind, things.values()), *strange]))
    raise Refused("; ".join([str(nameless), *strange]))


def _server_of(inventory: Inventory, gateway: str, held: Held) -> str | None:
    places = ((name, server.gateway) for name, server in inventory.servers.items())
    return next((n for n, at in places if at and (at.name, at.id) == (gateway, held.entry)), None)
