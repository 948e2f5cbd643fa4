"""`plan`: what would be done, and why: the actions' own plans and the gate's own decision. It writes nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import records
from flows.cli.work.alerts import read_alert, source_of, understood
from flows.cli.work.pins import signed_for
from flows.cli.work.spelled import Spelling, of_plan
from flows.engine.calls import within
from flows.engine.opening import about, owners_among, resolve, triage
from flows.engine.people.reviews import ReviewBook, unreviewed
from flows.engine.schedule import asked_of, nowhere, runs_for
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.journal.store import Journal
from integrations.siem.source import parse
from integrations.system import Systems
from playbooks.action import Check
from playbooks.chosen import extended
from playbooks.errors import Misconfigured, SoarError, Transient, Unneeded
from playbooks.estate.inventory import Resolved, named_servers
from playbooks.estate.naming import guesses, meant
from playbooks.estate.places import Places
from playbooks.gate.corroboration import confirming, corroborated
from playbooks.gate.plan import Answer, Plan, Radius, Verdict
from playbooks.gate.policy import Facts, Outcome, Reservation, decide
from playbooks.gate.rules import ruled
from playbooks.people.review import Reviews
from playbooks.playbook import Playbook, Step, When
from playbooks.record.incident import AlertState, Confidence, Entity, EntityKind, Phase, Severity
from playbooks.record.state import Incident, instance_of
from playbooks.strict import canonical
from playbooks.taxonomy import IncidentClass

_NOBODYS = "inc-none"
_ACTING = (Phase.FREEZE, Phase.CUT, Phase.ISOLATE, Phase.ERADICATE, Phase.RECOVER)


@dataclass(frozen=True)
class Foreseen:
    """What would be responded to.

    Args:
        incident_class: of the incident.
        severity: of the incident.
        confidence: of who says so.
        authenticated: whether they prove who they are.
        by_hand: a person asks for it.
        entities: what they name; empty if `chosen` says it.
        about: who says what, for people.
        source: of an alert.
        chosen: the very things that a person wants contained.
        only: the systems that they want it contained at; wherever it has a place if there are none.
        playbook: what the incident goes by that is open about it already; that of the class if None.
        faults: where it is put why something could not be planned.
        missing: where it is put what has no place where something would be done, and where there is nothing to do.
        phrases: where it is put what can be spelled out at the terminal.
    """

    incident_class: IncidentClass
    severity: Severity
    confidence: Confidence
    authenticated: bool
    by_hand: bool
    entities: tuple[Entity, ...]
    about: str
    source: str = ""
    chosen: tuple[Resolved, ...] = ()
    only: frozenset[str] = frozenset()
    playbook: Playbook | None = None
    faults: list[SoarError] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    phrases: list[str] = field(default_factory=list)


def foresee(  # the command's own options
    out: Out,
    config: Configuration,
    *,
    alert: Path | None,
    source: str | None,
    incident_class: str | None,
    severity: str,
    entities: Sequence[tuple[str, str, str | None]],
) -> Exit:
    """Show what would be done for an alert, or for what a person names."""
    if (alert is None) == (incident_class is None):
        raise Usage("write either FILE --source SOURCE, or --class with --server, --tool, ...")
    cases = _from_alert(config, alert, source) if alert else [_by_hand(incident_class or "", severity, entities)]
    with out.waiting("planning"):
        found, notes = asyncio.run(all_of(config, cases))
    out.document({"plans": found, "notes": notes})
    for note in notes:
        out.say(f"! {note}", "warn")
    spelling = Spelling(phrase for case in cases for phrase in case.phrases)
    for one in found:
        show(out, spelling.whole(one))
    if not found:
        out.say("Nothing would be done to any system.")
    out.say()
    out.say("Nothing was changed.")
    return Exit.OK


def _from_alert(config: Configuration, path: Path, name: str | None) -> list[Foreseen]:
    if name is None:
        raise Usage("say which source sent it: --source SOURCE")
    source = source_of(config, name)
    raw = read_alert(path)
    understood(path, name, source, raw)
    return [
        Foreseen(
            incident_class=alert.incident_class or IncidentClass.UNCLASSIFIED,
            severity=alert.severity,
            confidence=source.confidence,
            authenticated=source.authenticated,
            by_hand=False,
            entities=alert.entities,
            about=f"{alert.state} alert {alert.external_id}: {alert.title[:200]}",
            source=name,
        )
        for alert in parse(raw, name, source)
        if alert.state is AlertState.NEW
    ]


def _by_hand(word: str, severity: str, entities: Sequence[tuple[str, str, str | None]]) -> Foreseen:
    if not entities:
        raise Usage("say what it is about: --server NAME, --tool NAME, ...")
    try:
        return Foreseen(
            incident_class=IncidentClass(word),
            severity=Severity[severity.upper()],
            confidence=Confidence.HIGH,
            authenticated=True,
            by_hand=True,
            entities=tuple(Entity(kind=EntityKind(kind), name=name, server=home) for kind, name, home in entities),
            about=f"{word} by hand",
        )
    except KeyError as exc:
        raise Usage(f"{severity} is no severity; write {', '.join(level.label for level in Severity)}") from exc
    except ValueError as exc:
        raise Usage(
            f"this cannot be responded to: {str(exc).splitlines()[0]}; classes: {', '.join(IncidentClass)}"
        ) from exc


async def all_of(
    config: Configuration, cases: Sequence[Foreseen], world: Connections | None = None, journal: Journal | None = None
) -> tuple[list[schema.Foresight], list[str]]:
    """Return what would be done for some cases, and what there is to say about it; writes nothing.

    Args:
        config: the configuration.
        cases: what would be responded to.
        world: connections to use; made for it and closed afterwards if None.
        journal: one that is open; opened for it and closed afterwards if None.
    """
    reached = world or Connections(config.inventory, config.systems)
    about_cases: list[str] = []
    begun: list[_Begun] = []
    try:
        # The systems are asked already while the journal is read.
        for case in cases:
            begun += _begin(config, reached, case, about_cases)
        recorded, reserved, reviews = await _recorded(config, journal)
        reviews = signed_for(config, reviews)
        notes: list[str] = []
        if not cases:
            notes.append("the alert reports nothing new; only what is new starts a response")
        elif cases[0].by_hand and not cases[0].chosen:
            notes.append(
                "this is what `mcp-soar respond` would do, each step once another person approves it; "
                "`mcp-soar plan FILE --source SOURCE` shows what an alert would do by itself"
            )
        found = [row for one in begun for row in await _step(config, reached, one, reserved, reviews)]
    finally:
        for one in begun:
            one.plan.cancel()
        await asyncio.gather(*(one.plan for one in begun), return_exceptions=True)
        if world is None:
            await reached.aclose()
    return found, [*notes, *recorded, *about_cases, *(said for case in cases for said in case.missing)]


async def _recorded(config: Configuration, journal: Journal | None) -> tuple[list[str], list[Reservation], Reviews]:
    """Return what the journal says of it: what is stopped, what is reserved, what people have signed for."""
    try:
        async with records.opened(config) if journal is None else nullcontext(journal) as read:
            reserved = [
                Reservation(incident=item.incident, target=item.target, radius=Radius(item.radius), age=item.age)
                for item in await read.reserved()
            ]
            reviews = await ReviewBook().current(read)
            stops = await read.stops()
    except Transient as exc:
        return [f"as if nothing were contained: {exc}"], [], Reviews()
    return [f"{stop.scope} is stopped by {stop.by}: {stop.reason}" for stop in stops], reserved, reviews


class _Begun(NamedTuple):
    """A step for one thing, whose plan is being made.

    Args:
        case: what is responded to.
        playbook: by which.
        phase: of the step.
        step: itself.
        entity: what it is about.
        plan: what it would change.
    """

    case: Foreseen
    playbook: Playbook
    phase: Phase
    step: Step
    entity: Resolved
    plan: "asyncio.Task[Plan]"


def _begin(config: Configuration, world: Connections, case: Foreseen, notes: list[str]) -> list[_Begun]:
    """Begin to plan every step that would be done in a case."""
    known, unknown = resolve(config.inventory, case.entities, unapproved=case.by_hand)
    if not case.by_hand:
        known = about(config.inventory, case.incident_class, known)
    playbook = case.playbook or config.playbooks.get(case.incident_class)
    chosen = case.chosen or (meant(known, exact=False) if case.by_hand and not unknown else ())
    if chosen:
        known = [*known, *case.chosen]
        playbook = extended(playbook, case.incident_class, {thing.kind for thing in chosen})
    places = Places(config.inventory, config.systems.titles)
    against = None if chosen else triage(playbook, places, case.incident_class, known, unknown)
    if unknown:
        named = ", ".join(f"{entity.kind} {entity.name}" for entity in unknown)
        guess = guesses(config.inventory, unknown, owners_among(config.inventory, case.entities))
        notes.append(f"{case.about}: the inventory does not know {named}" + (f"; {guess}" if guess else ""))
    if against:
        notes.append(f"{case.about}: waits for a person: {against}")
    if playbook is None or against:
        return []
    state = Incident(id=_NOBODYS, incident_class=case.incident_class, severity=case.severity)
    state.entities = {entity.key: entity for entity in known}
    state.vouched = frozenset(state.entities) if case.authenticated else frozenset()
    state.chosen = {thing.key: "a person" for thing in chosen}
    state.named = named_servers(known, unknown) | {t.key for t in chosen if t.kind is EntityKind.SERVER}
    state.only = dict.fromkeys((thing.key for thing in case.chosen), case.only)
    case.missing.extend(_nowhere(state, playbook, places))
    return [
        _Begun(case, playbook, phase, step, entity, asyncio.create_task(_plan(config.systems, world, step, entity)))
        for phase in _ACTING
        for step in playbook.phases[phase]
        # What is only done should it leak is asked about then.
        if step.action is not None and not (case.chosen and step.when is When.LEAKING)
        for entity in runs_for(state, step, places)
    ]


def _nowhere(state: Incident, playbook: Playbook, places: Places) -> list[str]:
    """Return what would not be done, because what it is about has no place where that is: once for each place."""
    found: dict[str, list[str]] = {}
    for phase, step in playbook.steps():
        for entity in nowhere(state, step, places):
            found.setdefault(places.nowhere(entity, step.at or ""), []).append(f"{phase}: {step.id}")
    return [f"{said}: nothing is done there ({', '.join(steps)})" for said, steps in found.items()]


async def _plan(systems: Systems, world: Connections, step: Step, entity: Resolved) -> Plan:
    name = step.action or ""
    kind = systems.step(name)
    action: Any = kind.model_validate(step.parameters(entity).of(kind))
    plan: Plan = await within(action.timeout, action.plan(world), f"planning {name}")
    return plan


async def _step(
    config: Configuration, world: Connections, begun: _Begun, reserved: list[Reservation], reviews: Reviews
) -> list[schema.Foresight]:
    case, playbook, phase, step, entity, planning = begun
    name = step.action or ""
    row: schema.Foresight = {
        "class": case.incident_class.value,
        "about": f"{entity} ({case.about})",
        "step": f"{phase}: {instance_of(step.id, entity)}",
        "action": name,
        "summary": "",
        "digest": None,
        "changes": [],
        "decision": "unknown",
        "rules": [],
        "reasons": [],
        "breaks": "",
        "undone_by": "",
        "irreversible": None,
    }
    try:
        plan = await planning
    except Unneeded as exc:
        case.missing.append(f"{exc}: nothing is done there ({phase}: {step.id})")
        return []
    except (SoarError, ValueError) as exc:
        case.faults.append(exc if isinstance(exc, SoarError) else Misconfigured(str(exc)))
        return [{**row, "summary": f"{name} cannot be planned now", "reasons": [f"{type(exc).__name__}: {exc}"]}]
    case.phrases.extend(of_plan(plan, config.inventory))
    verdicts, why = ([], []) if case.by_hand else await _confirmations(config.systems, world, playbook, entity)
    found = corroborated([case.source] if case.authenticated else [], map(confirming, verdicts))
    facts = Facts(
        incident_class=case.incident_class,
        severity=case.severity,
        confidence=case.confidence,
        authenticated=case.authenticated,
        confirmed=case.by_hand or found.confirmed,
        missing=found.missing,
        unreviewed=() if case.by_hand else unreviewed(reviews, config.inventory, config.policy, plan),
        chosen=case.by_hand,
        by_hand=case.by_hand,
    )
    decision = decide(plan, config.policy, facts, config.inventory, reserved)
    rules = ruled(config.policy.in_order, plan, case.incident_class, config.inventory)
    if decision.automatic and step.when is not When.LEAKING:
        # What comes after it is judged as if it were done, as the engine does.
        reserved += [
            Reservation(incident=_NOBODYS, target=target.thing, radius=plan.radius, age=0.0) for target in plan.things
        ]
    reasons = [*decision.reasons, *why]
    if decision.outcome is Outcome.NEEDS_APPROVAL:
        reasons.append(f"people needed: {decision.quorum}")
    if step.when is When.LEAKING:
        reasons.insert(0, "only if a cut does not hold")
    if step.when is When.CONTAINED:
        reasons.insert(0, "only once what else is cut of it holds")
    one: schema.Foresight = {
        **row,
        "summary": plan.summary,
        "digest": plan.digest,
        "changes": [
            {
                "target": str(change.target),
                "field": change.field,
                "before": change.before,
                "after": change.after,
                "pending": change.pending,
            }
            for change in plan.changes
        ],
        "decision": decision.outcome.value,
        "rules": [one.said(config.policy.automatic_up_to) for one in rules],
        "reasons": reasons,
        "breaks": plan.breaks,
        "undone_by": "; ".join(map(str, plan.undone)),
        "irreversible": plan.irreversible.because if plan.irreversible else None,
    }
    return [one]


async def _confirmations(
    systems: Systems, world: Connections, playbook: Playbook, entity: Resolved
) -> tuple[list[Verdict], list[str]]:
    """Ask the playbook's confirming checks, as the engine would; they only read."""
    verdicts: list[Verdict] = []
    why: list[str] = []
    for step in playbook.confirm:
        about = asked_of(entity, step.for_each)
        if about is None or step.check is None:
            continue
        try:
            kind = systems.step(step.check)
            if not issubclass(kind, Check):
                continue
            check = kind.model_validate(step.parameters(about).of(kind))
            verdict = await within(check.timeout, check.check(world), f"asking {step.check}")
        except SoarError as exc:
            why.append(f"{step.check} could not be asked: {exc}")
            continue
        verdicts.append(verdict)
        if verdict.answer is not Answer.ESTABLISHED:
            why.append(f"{step.check}: {verdict.answer}")
    return verdicts, why


def show(out: Out, one: schema.Foresight) -> None:
    """Show one plan: what it changes, what the gate says of it, and how it is undone."""
    out.heading(one["step"])
    out.say(one["summary"])
    for change in one["changes"]:
        before, after = canonical(change["before"]).decode(), canonical(change["after"]).decode()
        if change["pending"]:
            out.say(f"{change['target']}", indent=2)
            out.say(f"- {change['field']}: {before}", "bad", indent=2)
            out.say(f"+ {change['field']}: {after}", "good", indent=2)
        else:
            out.say(f"{change['target']}: {change['field']} is {after} already; it is held there", indent=2)
    out.fields(
        [
            ("gate", one["decision"]),
            ("rule", "; ".join(one["rules"])),
            ("because", "; ".join(one["reasons"])),
            ("breaks", one["breaks"]),
            ("undone by", one["undone_by"]),
            ("cannot be undone", one["irreversible"]),
            ("digest", one["digest"]),
        ]
    )
