"""`contain`, and `respond --about`: what a person chooses, asked of inventory and gateway, planned, then handed in.

Nothing is decided here: the responder reads the names, plans and asks the gate again. What cannot be is refused before
anybody signs for it, with what would be right.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from importlib import import_module

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import asking, meaning, questions, records, responding
from flows.cli.work.ahead import imported
from flows.cli.work.spelled import Spelling
from flows.cli.work.wish import Wish
from flows.engine import choosing
from flows.engine.subject import still_open
from flows.reading import streams
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.journal.store import Journal
from playbooks.errors import Refused, Transient
from playbooks.estate.inventory import Resolved
from playbooks.estate.places import Places
from playbooks.gate.policy import Outcome
from playbooks.people.request import Verb
from playbooks.playbook import Playbook
from playbooks.record.incident import Confidence, EntityKind, Severity
from playbooks.record.journal import INCIDENT
from playbooks.record.state import Incident
from playbooks.strict import Json
from playbooks.taxonomy import IncidentClass

_PLANNING = "flows.cli.work.plan"


def contain(out: Out, who: asking.Person, wish: Wish) -> Exit:
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
    return asking.finish(out, who.config, asyncio.run(_contain(out, who.config, who, wish)))


async def _contain(out: Out, config: Configuration, who: asking.Person, wish: Wish) -> schema.Act | None:
    world = Connections(config.inventory, config.systems)
    # The systems are asked already while what plans is imported and the journal opened.
    meant = asyncio.create_task(_meant(world, wish))
    try:
        await imported(lambda: import_module(_PLANNING))
        return await _chosen(out, config, who, wish, world, meant)
    finally:
        meant.cancel()
        await asyncio.gather(meant, return_exceptions=True)
        await world.aclose()


async def _meant(world: Connections, wish: Wish) -> list[Resolved]:
    found = [await meaning.of(world, one) for one in wish.chosen]
    return list({thing.key: thing for thing in found}.values())


async def _chosen(  # noqa: PLR0917  # what it rests on
    out: Out,
    config: Configuration,
    who: asking.Person,
    wish: Wish,
    world: Connections,
    meant: Awaitable[list[Resolved]],
) -> schema.Act | None:
    subject, state, word = "new", None, wish.incident_class or IncidentClass.UNCLASSIFIED
    async with records.opened(config) as journal:
        await asking.allowed(journal, who, Verb.RESPOND)
        if wish.incident is not None:
            subject = await streams.find(journal, wish.incident)
            state = await streams.load(journal, subject)
            still_open(state)
            word = state.incident_class
        try:
            with out.waiting("looking at the gateway"):
                things = await meant
            choosing.placed_at(Places(config.inventory, config.systems.titles), things, wish.only)
            if state is not None:
                choosing.new_in(state, things, wish.only)
            elif (state := await _open_about(journal, IncidentClass(word), things, wish.only)) is not None:
                subject = state.id
                gave = choosing.gave_back(state, things)
                said = ", and gave it back: it is contained again there" if gave else ": it is contained there"
                out.say(f"{subject}, {state.title}, is open about {', '.join(map(str, things))} as {word}{said}")
            playbook = state.goes_by(config.playbooks) if state else None
            await _foresee(out, config, world, journal, things, IncidentClass(word), wish, playbook)
        finally:
            await world.aclose()
        listed = ", ".join(map(str, things))
        if wish.only:
            listed += f" at {' and '.join(wish.only)} only"
        if not questions.agreed(out, f"Contain {listed} as {who.name}?", does="contains", yes=who.yes):
            return None
        named: list[Json] = [_written(thing) for thing in things]
        params: dict[str, Json] = {"entities": named, **wish.narrowed}
        if state is None:
            title = wish.title or f"{who.name} contains {listed}"[:2000]
            params |= {"class": str(word), "severity": wish.severity, "exact": True, "title": title}
        return await responding.responded(out, journal, who, subject=subject, reason=wish.reason, params=params)


async def _open_about(
    journal: Journal, incident_class: IncidentClass, things: Sequence[Resolved], only: Sequence[str]
) -> Incident | None:
    """Return the open incident about just what is meant, in which it is contained then; None if there is none.

    Raises:
        Refused: it is held there already, or was chosen; with what would be right.
    """
    found = [await journal.find_open(key) for key in choosing.keys_of(incident_class, things)]
    if (stream := next(filter(None, found), None)) is None:
        return None

    async def load(name: str) -> Incident:
        return await streams.load(journal, name)

    state = await choosing.going_on(await load(stream.removeprefix(INCIDENT)), things, journal.find_open, load)
    if not choosing.yet_to_do(state, things, only):
        raise choosing.is_open(state, things, only)
    choosing.new_in(state, things, only)
    return state


def _written(thing: Resolved) -> dict[str, Json]:
    """Return a thing as the responder will read it: in the one way that means nothing else."""
    name = f"{thing.principal}/{thing.id}" if thing.kind is EntityKind.TOKEN else thing.id
    home = {"server": thing.server} if thing.server and thing.kind is not EntityKind.SERVER else {}
    return {"kind": thing.kind.value, "name": name, **home}


async def _foresee(  # noqa: PLR0917  # what a plan rests on
    out: Out,
    config: Configuration,
    world: Connections,
    journal: Journal,
    things: Sequence[Resolved],
    incident_class: IncidentClass,
    wish: Wish,
    playbook: Playbook | None,
) -> None:
    """Show what would be changed.

    Raises:
        Refused: it cannot be done, whoever approves it.
    """
    from flows.cli.work import plan  # noqa: PLC0415  # it takes as long to import as to be let in

    case = plan.Foreseen(
        incident_class=incident_class,
        severity=Severity[wish.severity.upper()],
        confidence=Confidence.HIGH,
        authenticated=True,
        by_hand=True,
        entities=(),
        about="chosen by hand",
        chosen=tuple(things),
        only=frozenset(wish.only),
        playbook=playbook,
    )
    with out.waiting("planning"):
        found, notes = await plan.all_of(config, [case], world, journal)
    firm = [fault for fault in case.faults if not isinstance(fault, Transient)]
    if not found or len(firm) == len(found):
        reasons = "; ".join(map(str, firm)) or "; ".join(case.missing) or "nothing of it is contained by hand"
        raise Refused(f"it cannot be contained, and nothing was handed in: {reasons}")
    for fault in case.faults:
        if isinstance(fault, Transient):
            notes.append(
                f"it cannot be planned from here ({fault}); the responder plans it itself, and asks about that"
            )
        else:
            notes.append(f"a part of it cannot be contained: {fault}")
    for note in notes:
        out.say(f"! {note}", "warn")
    spelling = Spelling(case.phrases)
    for one in found:
        plan.show(out, spelling.whole(one))
    if denied := [one for one in found if one["decision"] == Outcome.DENY.value]:
        reasons = "; ".join(denied[0]["reasons"])
        raise Refused(f"the gate denies {denied[0]['summary']} Because {reasons}. Nothing was handed in")
    out.say()
