"""Which steps of an incident can run now, and when it has to be looked at again. Pure."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from playbooks.estate.inventory import Resolved
from playbooks.estate.places import Places
from playbooks.playbook import NOTHING, Parameters, Playbook, Step, When
from playbooks.record.incident import EntityKind, Phase
from playbooks.record.state import Incident
from playbooks.record.step import HELD, RAW_ALERT, RAW_ALERTS, Progress, StepState

PHASES = tuple(Phase)
READING = {"capture", "raw", "repeats", "check", "nowhere"}
"""What goes on while the kill switch is on."""

ASKED = frozenset({Progress.PROPOSED, Progress.APPROVED})
"""What people are asked about, or said yes to."""

UNDECIDED = ASKED | {Progress.SKIPPED}
"""Where nothing was decided yet that has to be carried through."""

MOOT = "no longer needed: what leaked holds by now"
"""Why a step is skipped that runs after all should it leak again."""

ATTRIBUTED = "no longer asked: by now it is known who does it, and that is where it is stopped"
"""Why a step is skipped that runs after all should a person choose it."""

OURSELVES = "mcp-soar"
"""Who asks for what no person asked for."""

LOOKS = 0.75
"""Share of `watch_every` after which a lease is looked at again: by a list that is as old as the rest of it at most, so
that what somebody undid is seen within that time."""

ACTING = (Phase.FREEZE, Phase.CUT)
"""The phases that run before any flow."""


@dataclass(frozen=True, slots=True)
class Todo:
    """One step that can run now.

    Args:
        instance: the step for one entity, its name in the journal.
        phase: where it belongs.
        kind: what to do: action, capture, check, raw (the alert itself as an exhibit), repeats (those that said the
            same, together), release, seal, moot (nothing, any more), nowhere (nothing: there is no place for it).
        title: what it does to what, for people.
        name: the registered action, capture or check; of what is moot, or nowhere, why.
        params: its parameters.
        lease: seconds that an action stays in force.
        entity: key of the entity that it is about.
        named: it is about a server that was named itself, and goes by what names that.
        system: of its place, where it is done at one of several.
    """

    instance: str
    phase: Phase
    kind: str
    title: str
    name: str = ""
    params: Parameters = NOTHING
    lease: float = 24 * 3600.0
    entity: str = ""
    named: bool = False
    system: str = ""


def entities_for(state: Incident, kind: EntityKind) -> list[Resolved]:
    """Return the incident's entities of a kind; every entity has its server too."""
    if kind is EntityKind.SERVER:
        return [Resolved(kind=kind, id=server, server=server) for server in state.servers]
    return [entity for entity in state.entities.values() if entity.kind is kind]


def runs_for(state: Incident, step: Step, places: Places) -> list[Resolved]:
    """Return what a step runs for, once each, at each place of it; whether a cut leaks is another question."""
    found = _placed(step, _named_for(state, step), places)
    return [at for at in found if not (only := _narrowed(state, step, at)) or places.system(at) in only]


def _placed(step: Step, things: Iterable[Resolved], places: Places) -> list[Resolved]:
    return [at for thing in things for at in (places.of(thing, step.at) if step.at else [thing])]


def nowhere(state: Incident, step: Step, places: Places) -> list[Resolved]:
    """Return what a step would run for if it had a place there; none where the installation has no such system."""
    missing = unplaced(state, step, places) if places.exists(step.at or "") else []
    return [item for item in missing if not _narrowed(state, step, item)]


def unplaced(state: Incident, step: Step, places: Places) -> list[Resolved]:
    """Return what a step would run for if it had a place there, whether or not there is any such system."""
    return [item for item in _named_for(state, step) if step.at and not places.of(item, step.at)]


def _narrowed(state: Incident, step: Step, entity: Resolved) -> frozenset[str]:
    """Return the only systems that whoever chose a thing wants it contained at; empty where nobody said so.

    What an alert is answered with by its class's playbook, no person who chose the same narrows.
    """
    theirs = step.kind == "action" and (step.when is When.CHOSEN or not state.alerts)
    return state.only.get(entity.key, frozenset()) if theirs else frozenset()


def _named_for(state: Incident, step: Step) -> list[Resolved]:
    found = entities_for(state, step.for_each)
    if step.when is When.NAMED:
        return [entity for entity in found if entity.key in state.named]
    if step.when is When.CHOSEN:
        return [entity for entity in found if entity.key in state.chosen]
    if step.when is When.UNATTRIBUTED:
        return [entity for entity in found if _unattributed(state, step, entity)]
    return found


def _unattributed(state: Incident, step: Step, entity: Resolved) -> bool:
    begun = state.steps.get(state.instance_of(step.id, entity))
    open_yet = begun is None or begun.progress in {Progress.PROPOSED, Progress.SKIPPED}
    if entity.key in state.chosen or not open_yet:
        # What people said yes to, or was begun, is brought to its end, whoever is named meanwhile.
        return True
    itself = entity.kind is not EntityKind.SERVER or entity.key in state.named
    # Anybody can name an innocent one: only whoever counts takes a question back.
    said = {*state.vouched, *state.chosen}
    return itself and not any(item.kind in WHO and key in said for key, item in state.entities.items())


WHO = frozenset({EntityKind.PRINCIPAL, EntityKind.TOKEN})
"""Those who do something."""


def asked_of(entity: Resolved, kind: EntityKind) -> Resolved | None:
    """Return what a question for each entity of a kind is put about, on account of one entity: itself, or its server.

    None if the question has nothing to do with it.
    """
    if kind is EntityKind.SERVER and entity.server:
        return Resolved(kind=kind, id=entity.server, server=entity.server)
    return entity if entity.kind is kind else None


def concerns(entity: Resolved, about: str, servers: Collection[str]) -> bool:
    """Whether evidence about an entity is evidence about a plan's targets.

    Args:
        entity: what the evidence is about.
        about: the key of what the plan's step runs for.
        servers: those that the plan's targets belong to.
    """
    if entity.kind is EntityKind.SERVER:
        return entity.id in servers
    whole = {Resolved(kind=EntityKind.SERVER, id=server, server=server).key for server in servers}
    return entity.key == about or (about in whole and entity.server in servers)


def ready(
    state: Incident,
    playbook: Playbook | None,
    *,
    places: Places,
    until: Phase,
    now: datetime,
    stopped: bool,
    retries: tuple[float, ...],
) -> Iterator[Todo]:
    """Yield the steps that can run now, in the order of a response.

    Args:
        state: the incident.
        playbook: its class's; None if there is none, and then nothing is done to anything.
        places: where what it is about stands.
        until: the last phase that is wanted.
        now: the present moment.
        stopped: the kill switch is on: captures and what people release go on, effects do not.
        retries: waits between verifications that did not find a containment in force.
    """
    if state.frozen or state.closed_at:
        return
    yield from _releases(state, now, retries, stopped=stopped)
    if playbook is None or state.triage:
        yield from _raw(state, until, now)
        return
    for phase in PHASES[: PHASES.index(until) + 1]:
        todos = list(_phase(state, playbook, phase, places=places, now=now, retries=retries))
        if phase is Phase.CAPTURE:
            todos += _raw(state, until, now)
        if stopped:
            todos = [todo for todo in todos if todo.kind in READING]
        yield from todos
        # The next phase starts when everything of this one was tried once: what waits for a person or for a retry
        # holds up eradication and recovery only.
        if any(_unattempted(state, todo) for todo in todos):
            return
        if phase is Phase.PRESERVE:
            yield from _sealing(state, now)
            if not _settled(state):
                return


def _sealing(state: Incident, now: datetime) -> Iterator[Todo]:
    complete = (len(state.exhibits), len(state.unavailable)) == state.sealed_of
    if complete or _collecting(state):
        return
    if _runnable(state.steps.get("seal"), "seal", state, now=now, retries=()):
        yield Todo("seal", Phase.PRESERVE, "seal", "Seal the evidence")


def _unattempted(state: Incident, todo: Todo) -> bool:
    step = state.steps.get(todo.instance)
    at_once = {Progress.INTENDED, Progress.WROTE, Progress.APPROVED}
    return step is None or step.progress in at_once or (step.progress is Progress.SKIPPED and bool(step.awaits))


def _collecting(state: Incident) -> bool:
    """Whether an exhibit is being tried again: the bundle waits for it, or for the word that it cannot be had."""
    collecting = (Phase.CAPTURE, Phase.PRESERVE)
    return any(
        step.progress is Progress.RETRYING
        and (step.phase in collecting or (step.phase in ACTING and not step.action))
        and step.instance != "seal"
        for step in state.steps.values()
    )


def _settled(state: Incident) -> bool:
    """Whether eradication may begin: every cut holds, and nobody is being asked."""
    return not state.proposals and all(step.progress in HELD for step in state.cuts)


def _raw(state: Incident, until: Phase, now: datetime) -> Iterator[Todo]:
    if PHASES.index(until) < PHASES.index(Phase.CAPTURE):
        return
    for number, alert in enumerate(state.alerts):
        instance = f"{RAW_ALERT}@{alert.receipt}"
        if _runnable(state.steps.get(instance), "raw", state, now=now, retries=()):
            title = f"Keep alert {number + 1} from {alert.source} as it came"
            yield Todo(instance, Phase.CAPTURE, "raw", title, name=alert.receipt)
    for counted in state.counted:
        instance = f"{RAW_ALERTS}@{counted.number}"
        if _runnable(state.steps.get(instance), "repeats", state, now=now, retries=()):
            many = sum(one.messages for one in counted.sources.values())
            title = f"Keep {many} more alerts as they came"
            yield Todo(instance, Phase.CAPTURE, "repeats", title, name=str(counted.number))


def _phase(
    state: Incident, playbook: Playbook, phase: Phase, *, places: Places, now: datetime, retries: tuple[float, ...]
) -> Iterator[Todo]:
    busy: dict[str, str] = {}
    for step in playbook.phases[phase]:
        if step.kind == "task":
            continue
        runs, otherwise = _running(state, step, places)
        if otherwise:
            known = _placed(step, entities_for(state, step.for_each), places)
            yield from _moot(state, step, phase, [entity for entity in known if entity not in runs], otherwise)
        yield from _nowhere(state, step, phase, places)
        for entity in runs:
            todo = _todo(state, step, phase, entity)
            if state.part_of and step.kind == "action" and todo.instance not in state.leases:
                # It goes on elsewhere; only what was decided here is carried through here.
                continue
            # The list's order binds actions on the same target; its places do not wait for each other.
            if step.kind == "action" and busy.get(entity.key, step.id) != step.id:
                continue
            if _being_given_back(state, todo.instance) or _too_early(state, step, todo):
                continue
            if _runnable(state.steps.get(todo.instance), step.kind, state, now=now, retries=retries):
                busy[entity.key] = step.id
                yield todo
    if phase is Phase.CUT:
        yield from _widenings(state, now, retries)


def _too_early(state: Incident, step: Step, todo: Todo) -> bool:
    """Whether a step that waits until its thing is contained has to wait; what was begun is brought to its end."""
    if step.when is not When.CONTAINED or todo.instance in state.leases:
        return False
    stand = {
        one.progress
        for one in state.steps.values()
        if one.action and one.entity == todo.entity and one.phase in ACTING
        if one.instance.partition("@")[0] != step.id
        # What has no place, or nothing to do, is no cut; what waits for evidence, or was said no to, is one.
        if one.progress is not Progress.SKIPPED or one.awaits or one.no
    }
    return Progress.ESTABLISHED not in stand or not stand <= HELD


def _nowhere(state: Incident, step: Step, phase: Phase, places: Places) -> Iterator[Todo]:
    """Yield what a step cannot run for, to be said once."""
    if state.part_of or not step.at or (step.when is When.LEAKING and not leaking_at(state)):
        return
    for entity in nowhere(state, step, places):
        todo = _todo(state, step, phase, entity)
        if todo.instance not in state.steps:
            yield replace(todo, kind="nowhere", name=places.nowhere(entity, step.at))


def _running(state: Incident, step: Step, places: Places) -> tuple[list[Resolved], str]:
    """Return what a step runs for as things stand, and why it is needed for nothing else, where that can change."""
    runs = runs_for(state, step, places)
    if step.when is When.LEAKING:
        homes = leaking_at(state)
        return [entity for entity in runs if entity.server in homes], MOOT
    return runs, ATTRIBUTED if step.when is When.UNATTRIBUTED else ""


def _widenings(state: Incident, now: datetime, retries: tuple[float, ...]) -> Iterator[Todo]:
    for instance, widening in state.widenings.items():
        step, server = state.steps.get(instance), widening.params.get("server")
        home = Resolved(kind=EntityKind.SERVER, id=server, server=server).key if isinstance(server, str) else ""
        title, params = f"Widen: {widening.because}", Parameters(tuple(sorted(widening.params.items())))
        todo = Todo(instance, Phase.CUT, "action", title, widening.action, params, entity=home)
        if _unneeded(state, instance):
            if step and step.progress in ASKED:
                yield replace(todo, kind="moot", name=MOOT)
        elif not _being_given_back(state, instance) and _runnable(step, "action", state, now=now, retries=retries):
            yield todo


def _being_given_back(state: Incident, instance: str) -> bool:
    """Whether a release of what a step took was decided: nothing of its cut is tried again from there on."""
    lease = state.leases.get(instance)
    return lease is not None and lease.open and lease.releasing is not None


def wanted(
    state: Incident, playbook: Playbook, todo: Todo, *, places: Places, now: datetime, retries: tuple[float, ...]
) -> bool:
    """Whether a step of a phase that was begun is still one that can run now.

    Args:
        state: the incident as it stands now.
        playbook: its playbook.
        todo: what was begun, some time ago.
        places: where what it is about stands.
        now: the present moment.
        retries: waits between verifications.
    """
    again = _phase(state, playbook, todo.phase, places=places, now=now, retries=retries)
    return any((one.instance, one.kind) == (todo.instance, todo.kind) for one in again)


def _unneeded(state: Incident, widening: str) -> bool:
    """Whether a widening that was not decided yet is needed no longer."""
    step = state.steps.get(widening)
    retried = step is not None and step.progress is Progress.RETRYING and step.intended_at is None
    return (step is None or step.progress in UNDECIDED or retried) and not state.needs(widening)


def _moot(state: Incident, step: Step, phase: Phase, spared: Iterable[Resolved], because: str) -> Iterator[Todo]:
    """Yield what people are asked, or said yes to, and what is needed no longer."""
    for entity in spared:
        asked = state.steps.get(state.instance_of(step.id, entity))
        if asked and asked.progress in ASKED:
            yield replace(_todo(state, step, phase, entity), kind="moot", name=because)


def _todo(state: Incident, step: Step, phase: Phase, entity: Resolved) -> Todo:
    params = step.parameters(entity)
    instance = state.instance_of(step.id, entity)
    title = f"{step.id}: {entity}"
    named = step.when is When.NAMED or (step.when is When.UNATTRIBUTED and entity.kind is EntityKind.SERVER)
    at = entity.system or ""
    return Todo(instance, phase, step.kind, title, step.names or "", params, step.lease, entity.key, named, at)


def _runnable(step: StepState | None, kind: str, state: Incident, *, now: datetime, retries: tuple[float, ...]) -> bool:
    at_once = {Progress.INTENDED, Progress.WROTE, Progress.APPROVED}
    # An earlier release gave a bundle up when it failed.
    sealing = kind == "seal" and step is not None and step.progress in {Progress.SEALED, Progress.FAILED}
    if step is None or step.progress in at_once or sealing or _missed(step, kind, now):
        return True
    if step.progress is Progress.SKIPPED:
        # What waited for evidence runs when that is sealed, or when it is on record that it cannot be had.
        # What people had said no to is asked about when that no holds no longer.
        again = step.message in {MOOT, ATTRIBUTED} or (bool(step.no) and not state.held_back(step))
        return again or (bool(step.awaits) and not uncollected(state, step.awaits))
    if step.progress is Progress.RETRYING:
        return step.retry_at is None or step.retry_at <= now
    if step.progress is Progress.PROPOSED:
        # A new alert may bring the confirmation that was missing: the gate is asked again.
        return state.alerted_seq > step.asked_seq or (step.expires_at is not None and step.expires_at <= now)
    if step.progress in {Progress.NOT_ESTABLISHED, Progress.UNKNOWN} and kind != "check":
        due = _verify_due(step, state, retries)
        return due is not None and due <= now
    return False


def _missed(step: StepState, kind: str, now: datetime) -> bool:
    """Whether what could not be had is due again: rights can be given, and a server can come back."""
    due = step.retry_at is not None and step.retry_at <= now
    return kind == "capture" and step.progress is Progress.UNAVAILABLE and due


def uncollected(state: Incident, wanted: Iterable[str]) -> list[str]:
    """Return what of some evidence is neither sealed nor recorded as unavailable.

    Args:
        state: the incident.
        wanted: steps that collect it; the first release named only kinds.
    """
    known = {item["kind"] for item in (*state.exhibits, *state.unavailable)}
    known |= {name for name, step in state.steps.items() if step.progress in {Progress.SEALED, Progress.UNAVAILABLE}}
    return [name for name in wanted if name not in known]


def _verify_due(step: StepState, state: Incident, retries: tuple[float, ...]) -> datetime | None:
    """Return when an effect that is not in force is verified again; None when only the watch still does that."""
    if step.settled_at is None:
        return None
    widened = [state.steps.get(name) for name in state.widenings if name != step.instance]
    if any(w is not None and w.progress is Progress.ESTABLISHED and w.settled_seq > step.settled_seq for w in widened):
        return step.settled_at
    if step.looks > len(retries):
        return None
    return step.settled_at + timedelta(seconds=retries[step.looks - 1] if step.looks else 0.0)


def _leaks(state: Incident) -> list[StepState]:
    """Return the cuts that were carried out, tried again, and do not hold; none while one is being widened."""
    found = [
        step
        for step in state.steps.values()
        if step.action
        and step.phase is Phase.CUT
        and step.progress in {Progress.NOT_ESTABLISHED, Progress.FAILED}
        and (step.looks > 1 or step.progress is Progress.FAILED)
    ]
    return [] if _being_widened(state) else found


def leaking_at(state: Incident) -> set[str | None]:
    """Return the servers that get around a cut of what is theirs; all, if what leaks is of none."""
    things = [*state.entities.values(), *entities_for(state, EntityKind.SERVER)]
    found: set[str | None] = set()
    for step in _leaks(state):
        name = step.instance.partition("@")[0]
        about = {
            item.server
            for item in things
            if item.server and (item.key == step.entity or state.instance_of(name, item) == step.instance)
        }
        about |= {target.server for target in step.plan.targets if target.server} if step.plan else set()
        # What belongs to no server at all is asked about whatever leaks.
        found |= {None, *(about or state.servers)}
    return found


def _being_widened(state: Incident) -> bool:
    steps = (state.steps.get(name) for name in state.widenings if not _unneeded(state, name))
    under_way = {Progress.INTENDED, Progress.WROTE, Progress.RETRYING, Progress.PROPOSED, Progress.APPROVED}
    return any(step is None or step.progress in under_way for step in steps)


def _releases(state: Incident, now: datetime, retries: tuple[float, ...], *, stopped: bool) -> Iterator[Todo]:
    # The last one taken goes first: a whole entry comes back before its single tools are judged. While people are asked
    # about it, what they are asked must not change under their hands.
    waiting: set[str] = set()
    latest = list(reversed(state.leases.items()))
    for instance, lease in sorted(latest, key=lambda item: not _covered(state, item[0])):
        wish = state.release_wanted(instance)
        if not lease.open or (stopped and OURSELVES in {lease.released_by, wish.actor if wish else None}):
            continue
        wanted = lease.releasing is not None or wish
        grips = {change.grip for change in lease.plan.changes}
        if wanted and grips & waiting:
            continue
        step = state.steps.get(release_of(instance))
        anew = _asked_anew(state, instance)
        if wanted and step and step.progress is Progress.PROPOSED and not anew:
            waiting |= grips
        if wanted and (anew or _runnable(step, "action", state, now=now, retries=retries)):
            yield Todo(release_of(instance), Phase.RECOVER, "release", f"Release {instance}", name=instance)
            return


def _covered(state: Incident, instance: str) -> bool:
    """Whether all that a lease holds another one holds too, which is to be given back with it and was not asked about.

    It goes first: nothing comes back by it, so that people are asked once, about all that comes back with the other.
    """
    grips = {change.grip for change in state.leases[instance].plan.changes}
    for name, lease in state.leases.items():
        wider = grips < {change.grip for change in lease.plan.changes}
        if wider and lease.open and lease.releasing is None and state.release_wanted(name):
            step = state.steps.get(release_of(name))
            return step is None or step.progress is not Progress.PROPOSED
    return False


def release_due(state: Incident, instance: str, *, now: datetime, retries: tuple[float, ...]) -> bool:
    """Whether the release of a lease that is still in force can go on now, as far as its own step says."""
    lease = state.leases[instance]
    step = state.steps.get(release_of(instance))
    can = _asked_anew(state, instance) or _runnable(step, "action", state, now=now, retries=retries)
    return lease.open and lease.releasing is None and can


def _asked_anew(state: Incident, instance: str) -> bool:
    """Whether somebody asked for a release that people are asked about already: it is looked at as it is now."""
    step, wish = state.steps.get(release_of(instance)), state.release_wanted(instance)
    asked = step is not None and step.progress is Progress.PROPOSED
    return asked and wish is not None and step is not None and wish.seq > step.asked_seq


def release_of(instance: str) -> str:
    """Return the name of the step that releases a lease."""
    return f"release-{instance}"


def rival(todo: Todo) -> str:
    """Return the step that must not run beside one: what contains a thing, and what gives it back, undo each other."""
    return todo.name if todo.kind == "release" else release_of(todo.instance)


def next_watch(state: Incident, *, now: datetime, every: float) -> datetime | None:
    """Return when the leases of an incident are verified again, None if none is in force.

    Args:
        state: the incident.
        now: the present moment.
        every: seconds between two verifications.
    """
    if state.frozen or state.closed_at or not any(lease.open for lease in state.leases.values()):
        return None
    # Whoever works on a lease comes back to it by itself; its end is looked at after that.
    ends = (lease.until for lease in map(state.leases.__getitem__, watched(state)) if lease.in_force)
    return min([now + timedelta(seconds=every), *ends])


def ended(state: Incident, now: datetime) -> list[str]:
    """Return the leases that the watch asks about and whose time is over; what was never written has none."""
    leases = state.leases
    return [instance for instance in watched(state) if leases[instance].in_force and leases[instance].until <= now]


def next_due(
    state: Incident, *, now: datetime, stopped_wait: float | None, retries: tuple[float, ...]
) -> datetime | None:
    """Return when the next retry or expiry of an incident comes, None if none does.

    Args:
        state: the incident.
        now: the present moment.
        stopped_wait: seconds until a stopped incident asks again; None if it is not stopped.
        retries: waits between verifications.
    """
    if state.frozen or state.closed_at:
        return None
    due: list[datetime] = []
    if stopped_wait is not None:
        due.append(now + timedelta(seconds=stopped_wait))
    for step in state.steps.values():
        if _being_given_back(state, step.instance):
            continue
        if step.progress in {Progress.RETRYING, Progress.UNAVAILABLE} and step.retry_at:
            due.append(step.retry_at)
        elif step.progress is Progress.PROPOSED and step.expires_at:
            due.append(step.expires_at)
        elif step.progress in {Progress.NOT_ESTABLISHED, Progress.UNKNOWN} and step.action:
            again = _verify_due(step, state, retries)
            due += [again] if again else []
    return min(due, default=None)


def cut_due(state: Incident, *, retries: tuple[float, ...]) -> datetime | None:
    """Return when the next cut is written or verified again, None if none is.

    Args:
        state: the incident.
        retries: waits between verifications.
    """
    due: list[datetime | None] = []
    for step in (step for step in state.steps.values() if step.phase in ACTING):
        if _being_given_back(state, step.instance):
            continue
        if step.progress is Progress.RETRYING:
            due.append(step.retry_at)
        elif step.action and step.progress in {Progress.NOT_ESTABLISHED, Progress.UNKNOWN}:
            due.append(_verify_due(step, state, retries))
    return min((at for at in due if at is not None), default=None)


def watched(state: Incident) -> list[str]:
    """Return the leases, in force or still to be, that nobody is working on: those that the watch asks about."""
    in_hand = {Progress.INTENDED, Progress.WROTE, Progress.RETRYING, Progress.APPROVED}
    return [
        instance
        for instance, lease in state.leases.items()
        if lease.open and lease.releasing is None and state.steps[instance].progress not in in_hand
    ]


def step_of(state: Incident, instance: str) -> Todo:
    """Return the step that took a lease, for doing it again."""
    lease, step = state.leases[instance], state.steps[instance]
    server = lease.plan.changes[0].target.server or ""
    home = Resolved(kind=EntityKind.SERVER, id=server, server=server).key if server else ""
    name = instance.partition("@")[0]
    about = (item.key for item in state.entities.values() if instance == state.instance_of(name, item))
    params = Parameters(tuple(sorted(lease.plan.params.items())))
    title = f"Put back {instance}"
    return Todo(
        instance, step.phase, "action", title, lease.plan.action, params, entity=step.entity or next(about, home)
    )


def unsatisfied(state: Incident, playbook: Playbook, places: Places) -> Iterator[Todo]:
    """Yield the checks that were asked and not answered `established`; the watch asks them again."""
    for phase, step in playbook.steps():
        if step.check is None:
            continue
        for entity in runs_for(state, step, places):
            todo = _todo(state, step, phase, entity)
            asked = state.steps.get(todo.instance)
            if asked and asked.progress in {Progress.NOT_ESTABLISHED, Progress.UNKNOWN}:
                yield todo
