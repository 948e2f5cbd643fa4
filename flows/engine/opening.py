"""Opening an incident: what it is about, whether a person has to look first, its stream and its claim."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import ValidationError

from flows.engine.case import PREFIX
from flows.engine.parts import Parts
from flows.engine.schedule import WHO, runs_for
from integrations.journal.records import InboxItem
from integrations.journal.store import Claim, Tx
from playbooks.action import Action
from playbooks.chosen import extended
from playbooks.errors import SoarError
from playbooks.incident import Entity, EntityKind, Phase, Severity
from playbooks.inventory import Inventory, Resolved, named_servers
from playbooks.journal import SYSTEM, Event
from playbooks.playbook import Playbook, Step, When
from playbooks.projection import WHOLE, project
from playbooks.redaction import redacted
from playbooks.state import Incident
from playbooks.strict import Json
from playbooks.taxonomy import IncidentClass, load

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
            none, to the one whose tool a gateway offers under that name, if there is but one.
        unapproved: see `Inventory.resolve`.
    """
    servers = [inventory.resolve(entity) for entity in entities if entity.kind is EntityKind.SERVER]
    # Beside a server that nobody knows it may as well belong to that one.
    homes = {found.id if found else None for found in servers}
    home = homes.pop() if len(homes) == 1 else None
    known: dict[str, Resolved] = {}
    unknown: list[Entity] = []
    for entity in entities:
        found = inventory.resolve(entity, server=home, anywhere=not servers, unapproved=unapproved)
        if found:
            known[found.key] = found
        else:
            unknown.append(entity)
    return list(known.values()), unknown


def primary(incident_class: IncidentClass, entities: Sequence[Resolved]) -> Resolved | None:
    """Return the most specific entity, in the order that the taxonomy gives the class."""
    if len(entities) < 2:  # noqa: PLR2004  # no order is needed, and to read it takes long
        return next(iter(entities), None)
    order = {kind: place for place, kind in enumerate(load().of(incident_class).entities)}
    ranked = sorted(entities, key=lambda entity: (order.get(entity.kind, len(order)), entity.key))
    return ranked[0] if ranked else None


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
) -> dict[str, Json]:
    """Return the body of an incident's first entry."""
    playbook = parts.playbooks.get(incident_class)
    if chosen:
        playbook = extended(playbook, incident_class, {thing.kind for thing in chosen})
    begun: dict[str, Json] = {}
    if requested_by:
        # Whether they named the thing or its class beside it: one person's word is answered by another's.
        begun = {"chosen": [thing.key for thing in chosen], "by_hand": True}
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
        "triage": None if chosen else triage(playbook, parts.world.inventory, incident_class, known, unknown),
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
    inventory: Inventory,
    incident_class: IncidentClass,
    known: Sequence[Resolved],
    unknown: Sequence[Entity],
) -> str | None:
    """Return why a person has to look before anything can be done, None if nothing stands against it.

    Args:
        playbook: of the class, None if there is none.
        inventory: what exists.
        incident_class: of the incident.
        known: what it names and the inventory knows.
        unknown: what it names beside.
    """
    if not incident_class.actionable:
        return "no rule of the source's configuration gives it a class: `mcp-soar classify ID --as-class` does"
    if playbook is None:
        return f"there is no playbook for {incident_class}: say what to contain, with `mcp-soar respond ID --about`"
    named = ", ".join(map(str, map(shown, unknown)))
    if not known and any(inventory.resolve(entity, unapproved=True) for entity in unknown):
        found = f"the server is known, but nothing is approved there that is called so: {named}. Is it new?"
        return f"{found} `mcp-soar respond ID --about` contains it all the same"
    if not known:
        return f"unknown server: shadow? The inventory knows nothing of what it names ({named or 'nothing'})"
    state = Incident(id="", entities={entity.key: entity for entity in known}, named=named_servers(known, unknown))
    # What only runs when a cut leaks begins nothing.
    begins = [step for _, step in playbook.steps() if step.kind == "action" and step.when in _BEGIN]
    if not any(runs_for(state, step) for step in begins):
        beside = f" ({named})" if named else ""
        return f"it names {', '.join(map(str, known))}, but no {_lacking(begins)}{beside}"
    return None


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
        if step.when is not When.ALWAYS or action is None or not issubclass(action, Action):
            continue
        for entity in known[:_FORESEEN]:
            if entity.kind is step.for_each:
                # Whatever is wrong with it, its plan will say so.
                with contextlib.suppress(SoarError, ValidationError):
                    action.model_validate(step.parameters(entity)).foresee(parts.world)


_FORESEEN = 2
"""Things of an alert whose plans are read ahead for: more of them wait for one list."""


async def open_incident(parts: Parts, tx: Tx, key: str, opened: dict[str, Json], *events: Event) -> Opened:
    """Open an incident's stream with its first entries, claimed by us.

    Args:
        parts: what the engine works with.
        tx: the transaction that it happens in.
        key: under which alerts about one thing meet.
        opened: from `opening`.
        events: what comes right after.
    """
    before = await tx.closed_with(key)
    # What is frozen takes nothing in any more: this goes on with what it was about.
    opened["linked"] = [name.removeprefix(PREFIX) for name in (*await tx.frozen_with(key), *before)]
    stream, claim = await tx.open_stream(
        f"{PREFIX}inc", correlation=key, lane=CUT, owner=parts.name, claim_seconds=parts.timing.claim
    )
    actor = str(opened["requested_by"] or "mcp-soar")
    entries = await tx.append(stream, [Event("opened", opened, actor), *events], claim)
    if before and await tx.frozen(before[0]) is None:
        # Whoever reads the earlier one finds the later one too.
        await tx.append(before[0], [Event("continued", {"incident": stream.removeprefix(PREFIX)})])
    return Opened(claim, project(stream.removeprefix(PREFIX), entries))
