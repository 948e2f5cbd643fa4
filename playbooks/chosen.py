"""The response to what a person chose: the class's playbook, and what it lacks for the kinds of things chosen. Pure."""

from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib import resources

from playbooks.errors import Refused
from playbooks.incident import EntityKind, Phase
from playbooks.playbook import Playbook, Step, When, parse
from playbooks.taxonomy import IncidentClass

_FILE = "chosen.yaml"
_OF_SERVERS = frozenset({EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE, EntityKind.SERVER})


@cache
def shipped() -> Playbook:
    """Return the steps for what a person chooses, one cut for each kind that can be contained."""
    text = resources.files("playbooks").joinpath(_FILE).read_text(encoding="utf-8")
    return parse(text, file=f"playbooks/{_FILE}")


def containable() -> tuple[EntityKind, ...]:
    """Return the kinds of things that a person can have contained."""
    return tuple(step.for_each for step in shipped().phases[Phase.CUT])


def extended(playbook: Playbook | None, incident_class: IncidentClass, kinds: Collection[EntityKind]) -> Playbook:
    """Return what an incident goes by in which a person chose things of some kinds.

    Steps of the playbook stay as they are, under their names: what was begun by them goes on.

    Args:
        playbook: the one that it goes by so far, its class's as a rule; None if there is none.
        incident_class: of the incident.
        kinds: of what was chosen.

    Raises:
        Refused: nothing contains a thing of such a kind.
    """
    if strange := sorted(set(kinds) - set(containable())):
        known = ", ".join(containable())
        raise Refused(f"nothing here contains a {' or a '.join(strange)}; what can be contained: {known}")
    lacking = set(kinds) - (set(_cut(playbook)) if playbook else set())
    ours = shipped()
    if playbook is not None and not lacking:
        return playbook
    base = playbook or ours.model_copy(update={"class_": incident_class, "phases": dict.fromkeys(Phase, ())})
    taken = {step.id for _, step in base.steps()} | {step.id for step in base.confirm}
    phases = {
        phase: (*base.phases[phase], *_more(ours.phases[phase], base.phases[phase], phase, lacking, taken))
        for phase in Phase
    }
    return Playbook.model_validate({**base.model_dump(by_alias=True), "phases": phases})


def _cut(playbook: Playbook) -> Iterator[EntityKind]:
    """Yield the kinds of things that a playbook cuts whenever a person chose one."""
    for step in playbook.phases[Phase.CUT]:
        if step.action and step.when is not When.LEAKING:
            yield step.for_each


def _more(
    ours: Iterable[Step], theirs: Collection[Step], phase: Phase, lacking: set[EntityKind], taken: set[str]
) -> Iterator[Step]:
    """Yield what a phase lacks for kinds that its playbook does not cut."""
    does = {(step.names, step.for_each) for step in theirs if step.names}
    for step in ours:
        if not _fits(step, phase, lacking) or (phase is not Phase.CUT and (step.names, step.for_each) in does):
            continue
        name, number = step.id, 1
        while name in taken:
            number += 1
            name = f"{step.id}-{number}"
        taken.add(name)
        yield step.model_copy(update={"id": name})


def _fits(step: Step, phase: Phase, lacking: set[EntityKind]) -> bool:
    if step.kind == "task":
        # A token that was revoked comes back by nobody's decision.
        return step.until != "released" or bool(lacking - {EntityKind.TOKEN})
    if phase is Phase.ISOLATE:
        # What leaks of a whole server is not stopped by the same once more.
        return bool(lacking & _OF_SERVERS) and EntityKind.SERVER not in lacking
    if step.for_each is EntityKind.SERVER and phase is not Phase.CUT:
        return bool(lacking & _OF_SERVERS)
    return step.for_each in lacking
