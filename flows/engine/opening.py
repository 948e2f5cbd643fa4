"""Opening an incident: what it is about, whether a person has to look first, its stream and its claim."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import ValidationError

from flows.engine.case import PREFIX
from flows.engine.parts import Parts
from flows.engine.schedule import WHO, runs_for, unplaced
from integrations.journal.records import InboxItem
from integrations.journal.store import Claim, Tx
from playbooks.action import Action, Check
from playbooks.chosen import extended
from playbooks.errors import SoarError
from playbooks.estate.inventory import ON_SERVER, Inventory, Resolved, named_servers
from playbooks.estate.places import Places
from playbooks.playbook import Playbook, Step, When
from playbooks.record.incident import Entity, EntityKind, Phase, Severity
from playbooks.record.journal import SYSTEM, Event
from playbooks.record.projection import WHOLE, project
from playbooks.record.state import Incident
from playbooks.strict import Json
from playbooks.taxonomy import IncidentClass, MarkKind, load
from playbooks.text.redaction import redacted
from playbooks.text.sentences import made_of, say

CUT = "cut"
RETRY = "retry"
FLOW = "flow"
WATCH = "watch"
TELL = "tell"
"""The lanes of the queue: what a responder claims together.

`retry` holds incidents whose cut is tried again at a time while there is evidence to collect: due, they are cut; before
that, a flow may take them.
"""


REASONS = 20
"""Reasons of one lot of messages that are written down one by one."""

NAME = 200
"""Characters that an entity's name may have."""

CLASSIFY = "`mcp-soar classify ID --as-class CLASS --as NAME`"
RESPOND = "`mcp-soar respond ID --about KIND:NAME --as NAME`"
"""What somebody types, whole: whoever reads the entry puts in the id of its incident."""


class Opened(NamedTuple):
    """An incident that a message opened, claimed by us.

    Args:
        claim: its claim.
        state: what its stream says.
        halted: whether the kill switch was on for it in that moment; None if nobody looked.
    """

    claim: Claim
    state: Incident
    halted: bool | None = None


class SetAside:
    """What no incident takes in: on the system stream, so that nothing is lost without a word. Alike is one entry."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, str | None], list[str]] = {}

    def copy(self) -> "SetAside":
        """Return one that goes its own way from here."""
        other = SetAside()
        other._found = {key: list(receipts) for key, receipts in self._found.items()}
        return other

    def add(self, item: InboxItem, reason: str, incident: str | None = None) -> None:
        """Add a message, whose entry in the inbox is moved by others.

        Args:
            item: the message.
            reason: why.
            incident: the stream that it would have joined.
        """
        key = (item.kind, item.source, redacted(reason, 2000), incident)
        if key not in self._found and len(self._found) >= REASONS:
            key = (item.kind, item.source, "for reasons of which there are too many to name: see the messages", None)
        receipts = self._found.setdefault(key, [])
        if item.id not in receipts[-1:]:
            receipts.append(item.id)

    async def write(self, tx: Tx) -> None:
        """Write it down."""
        events = []
        for (kind, source, reason, incident), receipts in self._found.items():
            body: dict[str, Json] = {"receipt": receipts[0], "kind": kind, "source": source, "reason": reason}
            if incident:
                body["incident"] = incident
            if len(receipts) > 1:
                body["receipts"] = list(receipts)
            events.append(Event("set_aside", body, source))
        if events:
            await tx.append(SYSTEM, events)


async def set_aside(tx: Tx, item: InboxItem, reason: str, incident: str | None = None) -> None:
    """Record on the system stream what no incident takes in, so that nothing is lost without a word."""
    await tx.move(item.id, incident)
    if item.kind == "code":
        # What was mistyped, or came to the wrong place, may still be good for something.
        await tx.blank([item.id])
    body: dict[str, Json] = {
        "receipt": item.id,
        "kind": item.kind,
        "source": item.source,
        "reason": redacted(reason, 2000),
    }
    await tx.append(SYSTEM, [Event("set_aside", body, item.source)])


def resolve(
    inventory: Inventory, entities: Sequence[Entity], *, unapproved: bool = False
) -> tuple[list[Resolved], list[Entity]]:
    """Return an alert's entities that the inventory knows, and those that it does not.

    Args:
        inventory: what exists.
        entities: the alert's claims. A tool that names no server belongs to the alert's one server; where there is
            none, to the one whose tool a gateway offers under that name, if there is but one. Where no server is named
            at all, it is the one that stands on what is, if that can mean but one. A token's label is one of the
            principals' that are named beside it.
        unapproved: see `Inventory.resolve`.
    """
    servers = [inventory.resolve(entity) for entity in entities if entity.kind is EntityKind.SERVER]
    stands = inventory.standing.stands(entities) if not servers else None
    if stands and len(stands.servers) == 1:
        (there,), said = stands.servers, shown(stands.on[0])
        servers = [Resolved(kind=EntityKind.SERVER, id=there, server=there, by=f"{said.kind} {said.name}")]
    # Beside a server that nobody knows it may as well belong to that one.
    homes = {found.id if found else None for found in servers}
    home = homes.pop() if len(homes) == 1 else None
    owners = owners_among(inventory, entities)
    known: dict[str, Resolved] = {}
    unknown: list[Entity] = []
    for entity in entities:
        found = inventory.resolve(entity, server=home, anywhere=not servers, unapproved=unapproved, owners=owners)
        if stands and home and (entity in stands.on or (found and entity.server is None and found.server == home)):
            # What stands for its server says nothing more; and whose the rest is, that said.
            found = found.model_copy(update={"by": servers[0].by}) if found and servers[0] else servers[0]
        if found:
            known.setdefault(found.key, found)
        else:
            unknown.append(entity)
    return list(known.values()), unknown


def owners_among(inventory: Inventory, entities: Sequence[Entity]) -> tuple[str, ...] | None:
    """Return the principals that are named and known, None if there is none."""
    named = (inventory.resolve(entity) for entity in entities if entity.kind is EntityKind.PRINCIPAL)
    return tuple(dict.fromkeys(found.id for found in named if found)) or None


def about(inventory: Inventory, incident_class: IncidentClass, known: Sequence[Resolved]) -> list[Resolved]:
    """Return what an incident of a class is about, of what one message names: a whole server, if the class is of those.

    Args:
        inventory: what exists.
        incident_class: of the incident.
        known: what the message names and the inventory knows.
    """
    if load().of(incident_class).meets[0] is not EntityKind.SERVER:
        return list(known)
    homes = dict.fromkeys(thing.server for thing in known if thing.kind in ON_SERVER)
    servers = (inventory.resolve(Entity(kind=EntityKind.SERVER, name=home)) for home in homes if home)
    # What is known of one that was named stays: what it was known by.
    found = {thing.key: thing for thing in (*filter(None, servers), *known)}
    return list(found.values())


def meeting(incident_class: IncidentClass, entities: Sequence[Resolved]) -> tuple[str, ...]:
    """Return the keys under which alerts about one thing meet, the one that they open under first; none if unknown.

    Args:
        incident_class: of the incident; the taxonomy says at what its alerts meet.
        entities: what is known of what it is about.
    """
    if not entities:
        return ()
    entry = load().of(incident_class)
    order = {kind: place for place, kind in enumerate(entry.entities)}
    # By the most specific thing, as all releases until now had it: what is open may have been opened so.
    former = min(entities, key=lambda entity: (order.get(entity.kind, len(order)), entity.key)).key
    places = (min(_at(kind, entities), default=None) for kind in entry.meets)
    now = next(filter(None, places), former)
    return tuple(f"{incident_class}|{key}" for key in dict.fromkeys((now, former)))


def _at(kind: EntityKind | MarkKind, entities: Sequence[Resolved]) -> Iterator[str]:
    """Yield the keys of the things of a kind that some things are, or belong to."""
    for thing in entities:
        if thing.kind is kind:
            yield thing.key
        elif kind is EntityKind.SERVER and thing.server:
            yield Resolved(kind=kind, id=thing.server, server=thing.server).key
        elif kind is EntityKind.PRINCIPAL and thing.principal:
            yield Resolved(kind=kind, id=thing.principal).key


def opening(  # the fields of one event, all by name
    parts: Parts,
    *,
    incident_class: IncidentClass,
    severity: Severity,
    title: str,
    key: str,
    known: Sequence[Resolved],
    unknown: Sequence[Entity],
    requested_by: str | None,
    chosen: Sequence[Resolved] = (),
    only: Sequence[str] = (),
) -> dict[str, Json]:
    """Return the body of an incident's first entry."""
    playbook = parts.playbooks.get(incident_class)
    if chosen:
        playbook = extended(playbook, incident_class, {thing.kind for thing in chosen})
    begun: dict[str, Json] = {}
    if requested_by:
        # Whether they named the thing or its class beside it: one person's word is answered by another's.
        begun = {"chosen": [thing.key for thing in chosen], "by_hand": True}
        begun |= {"only": list(only)} if only else {}
    return {
        **begun,
        "class": incident_class.value,
        "severity": int(severity),
        "title": redacted(title),
        "key": key,
        "entities": [entity.model_dump(mode="json") for entity in known],
        "unresolved": [shown(entity).model_dump(mode="json") for entity in unknown],
        "playbook": recorded(playbook),
        "linked": [],
        "requested_by": requested_by,
        "names": WHOLE,
        "prose": False,
        "triage": None if chosen else triage(playbook, parts.places, incident_class, known, unknown),
    }


def recorded(playbook: Playbook | None) -> Json:
    """Return what an entry says of the playbook that an incident goes by: all of it."""
    return {"id": playbook.id, "digest": playbook.digest, "text": playbook.text} if playbook else None


def shown(entity: Entity) -> Entity:
    """Return what an alert names in a form that may be kept: what the inventory does not know is outside text."""
    server = redacted(entity.server, NAME) if entity.server else None
    return entity.model_copy(update={"name": redacted(entity.name, NAME), "server": server})


def triage(
    playbook: Playbook | None,
    places: Places,
    incident_class: IncidentClass,
    known: Sequence[Resolved],
    unknown: Sequence[Entity],
) -> str | None:
    """Return why a person has to look before anything can be done, None if nothing stands against it.

    Args:
        playbook: of the class, None if there is none.
        places: what exists, and where it stands.
        incident_class: of the incident.
        known: what it names and the inventory knows.
        unknown: what it names beside.
    """
    if not incident_class.actionable:
        return say("no rule of the source's configuration gives it a class: {a} does", a=CLASSIFY)
    if playbook is None:
        return say("there is no playbook for {a}: say what to contain, with {b}", a=incident_class, b=RESPOND)
    things: str = str(shown(unknown[0])) if len(unknown) == 1 else ", ".join(map(str, map(shown, unknown)))
    if not known:
        return _unknown(places.inventory, unknown, things)
    state = Incident(id="", entities={entity.key: entity for entity in known}, named=named_servers(known, unknown))
    # What only runs when a cut leaks begins nothing.
    begins = [step for _, step in playbook.steps() if step.kind == "action" and step.when in _BEGIN]
    if not any(runs_for(state, step, places) for step in begins):
        beside = f" ({things})" if things else ""
        likely = sorted(begins, key=lambda step: not places.exists(step.at or ""))
        without = (places.nowhere(item, step.at or "") for step in likely for item in unplaced(state, step, places))
        names = str(known[0]) if len(known) == 1 else ", ".join(map(str, known))
        lacking = say("it names {a}, but no {b}", a=names, b=f"{_lacking(begins)}{beside}")
        nothing = (made_of(said, lambda id_: f"{id_}, and nothing else of its playbook can begin") for said in without)
        return next(nothing, lacking)
    return None


def _unknown(inventory: Inventory, unknown: Sequence[Entity], things: str) -> str:
    """Return what to say where the inventory knows nothing for certain of what a message names."""
    if any(inventory.resolve(entity, unapproved=True) for entity in unknown):
        return say(
            "the server is known, but nothing is approved there that is called so: {a}. Is it new? {b} contains it all "
            "the same",
            a=things,
            b=RESPOND,
        )
    if among := inventory.standing.stands(unknown).servers:
        return say(
            "several servers stand on what it names ({a}): {b}. {c} says which one it is",
            a=things,
            b=", ".join(among),
            c=RESPOND,
        )
    if unknown and all(entity.kind in WHO for entity in unknown):
        return say("the inventory does not know for certain who is meant: {a}", a=things)
    return say("unknown server: shadow? The inventory knows nothing of what it names ({a})", a=things or say("nothing"))


_BEGIN = frozenset({When.ALWAYS, When.NAMED, When.UNATTRIBUTED})


def _lacking(begins: Sequence[Step]) -> str:
    """Return what a message would have to name for anything to begin."""
    always = {step.for_each for step in begins if step.when is not When.NAMED} - {EntityKind.SERVER}
    parts = [
        (sorted(always - WHO), " that is approved"),
        (sorted(always & WHO), " that the inventory knows"),
        (sorted({step.for_each for step in begins} - always), " itself"),
    ]
    return " or ".join(f"{' or '.join(kinds)}{which}" for kinds, which in parts if kinds)


def foresee(parts: Parts, incident_class: IncidentClass, known: Sequence[Resolved]) -> None:
    """Begin to read what the plans of an incident's first cuts will ask for, beside the opening of it.

    Args:
        parts: what the engine works with.
        incident_class: of the incident.
        known: what it names and the inventory knows.
    """
    playbook = parts.playbooks.get(incident_class)
    for step in playbook.phases.get(Phase.CUT, ()) if playbook else ():
        action = parts.steps.get(step.action or "")
        if step.at or step.when is not When.ALWAYS or action is None or not issubclass(action, Action):
            continue
        for entity in known[:_FORESEEN]:
            if entity.kind is step.for_each:
                # Whatever is wrong with it, its plan will say so.
                with contextlib.suppress(SoarError, ValidationError):
                    action.model_validate(step.parameters(entity).of(action)).foresee(parts.world)
    for step in playbook.confirm if playbook else ():
        check = parts.steps.get(step.check or "")
        for entity in known[:_FORESEEN]:
            if entity.kind is step.for_each and check is not None and issubclass(check, Check):
                with contextlib.suppress(SoarError, ValidationError):
                    check.model_validate(step.parameters(entity).of(check)).foresee(parts.world)


_FORESEEN = 2
"""Things of an alert whose plans are read ahead for: more of them wait for one list."""


def after(stream: str) -> str:
    """Return the key of what goes on with things that an open incident gave back: it answers to the others itself."""
    return f"after|{stream.removeprefix(PREFIX)}"


async def open_incident(
    parts: Parts, tx: Tx, key: str, opened: dict[str, Json], *events: Event, after: str | None = None
) -> Opened:
    """Open an incident's stream with its first entries, claimed by us.

    Args:
        parts: what the engine works with.
        tx: the transaction that it happens in.
        key: under which alerts about one thing meet.
        opened: from `opening`.
        events: what comes right after.
        after: the stream of an open incident that gave it back.
    """
    frozen, before = await tx.earlier(key)
    earlier = [after] if after else []
    # What is frozen takes nothing in any more: this goes on with what it was about.
    linked = dict.fromkeys((*earlier, *frozen, *before))
    opened["linked"] = [name.removeprefix(PREFIX) for name in linked]
    stream, claim = await tx.open_stream(
        f"{PREFIX}inc", correlation=key, lane=CUT, owner=parts.name, claim_seconds=parts.timing.claim
    )
    actor = str(opened["requested_by"] or "mcp-soar")
    entries = await tx.append(stream, [Event("opened", opened, actor), *events], claim)
    for name in (*earlier, *before[:1]):
        # Whoever reads the earlier one finds the later one too.
        if await tx.frozen(name) is None:
            await tx.append(name, [Event("continued", {"incident": stream.removeprefix(PREFIX)})])
    return Opened(claim, project(stream.removeprefix(PREFIX), entries))
