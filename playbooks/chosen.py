"""The response to what a person chose: the class's playbook, and what it lacks for the kinds of things chosen. Pure."""

from collections.abc import Collection, Iterable, Iterator
from functools import cache
from importlib import resources

from playbooks.errors import Refused
from playbooks.estate.places import GATEWAY
from playbooks.playbook import Playbook, Step, When, parse
from playbooks.record.incident import EntityKind, Phase
from playbooks.taxonomy import IncidentClass

_FILE = "chosen.yaml"
_OF_SERVERS = frozenset({EntityKind.TOOL, EntityKind.PROMPT, EntityKind.RESOURCE, EntityKind.SERVER})


@cache
def shipped() -> Playbook:
    """Return the steps for what a person chooses, one cut for each kind that can be contained at a kind of system."""
    text = resources.files("playbooks").joinpath(_FILE).read_text(encoding="utf-8")
    return parse(text, file=f"playbooks/{_FILE}")


def containable() -> tuple[EntityKind, ...]:
    """Return the kinds of things that a person can have contained."""
    return tuple(dict.fromkeys(step.for_each for step in shipped().phases[Phase.CUT]))


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
    ours = shipped()
    does = {_does(step) for step in cuts(playbook)} if playbook else set[Does]()
    lacking = {_where(step) for step in cuts(ours) if step.for_each in kinds and _does(step) not in does}
    if playbook is not None and not lacking:
        return playbook
    base = playbook or ours.model_copy(update={"class_": incident_class, "phases": dict.fromkeys(Phase, ())})
    taken = {step.id for _, step in base.steps()} | {step.id for step in base.confirm}
    phases = {
        phase: (*base.phases[phase], *_more(ours.phases[phase], base.phases[phase], phase, lacking, taken))
        for phase in Phase
    }
    return Playbook.model_validate({**base.model_dump(by_alias=True), "phases": phases})


Where = tuple[EntityKind, str]
"""A kind of thing, and the kind of system that it is contained at; `gateway` where a step says nothing of that."""


def _where(step: Step) -> Where:
    return step.for_each, step.at or GATEWAY


Does = tuple[EntityKind, str | None]
"""A kind of thing, and what cuts it; at gateways, where a thing has one cut, that it is cut there."""


def _does(step: Step) -> Does:
    return step.for_each, GATEWAY if step.at in {None, GATEWAY} else step.action


def cuts(playbook: Playbook) -> Iterator[Step]:
    """Yield the steps of a playbook that contain something whenever a person chose it."""
    for phase in (Phase.CUT, Phase.ISOLATE):
        yield from (step for step in playbook.phases[phase] if step.action and step.when is not When.LEAKING)


def _more(
    ours: Iterable[Step], theirs: Collection[Step], phase: Phase, lacking: set[Where], taken: set[str]
) -> Iterator[Step]:
    """Yield what a phase lacks for what its playbook does not cut."""
    does = {_alike(step) for step in theirs if step.names}
    for step in ours:
        if not _fits(step, lacking) or (phase is not Phase.CUT and _alike(step) in does):
            continue
        name, number = step.id, 1
        while name in taken:
            number += 1
            name = f"{step.id}-{number}"
        taken.add(name)
        yield step.model_copy(update={"id": name})


def _alike(step: Step) -> tuple[str | None, EntityKind, bool]:
    return step.names, step.for_each, step.when is When.LEAKING


def _fits(step: Step, lacking: set[Where]) -> bool:
    # What is of servers is at gateways, but for whom they talk to.
    kinds = {kind for kind, at in lacking if at == GATEWAY or kind is EntityKind.ADDRESS}
    if step.kind == "task":
        # A token that was revoked comes back by nobody's decision.
        return bool(kinds) and (step.until != "released" or bool(kinds - {EntityKind.TOKEN}))
    if step.when is When.LEAKING:
        # What leaks of a whole server is not stopped by the same once more.
        return bool(kinds & _OF_SERVERS) and EntityKind.SERVER not in kinds
    if step.for_each is EntityKind.SERVER and step.at is None:
        return bool(kinds & _OF_SERVERS)
    return _where(step) in lacking
