"""What a person may have contained, beside what is open already: said before they sign, and judged when it comes in."""

import shlex
from collections.abc import Sequence

from flows.engine.opening import primary
from playbooks.errors import Refused
from playbooks.incident import EntityKind, Phase
from playbooks.inventory import ON_SERVER, Resolved
from playbooks.playbook import Playbook
from playbooks.state import Incident
from playbooks.taxonomy import IncidentClass


def key_of(incident_class: IncidentClass, meant: Sequence[Resolved]) -> str:
    """Return the key under which an incident about what a person means is open.

    Args:
        incident_class: of the incident.
        meant: the things that are to be contained; see `naming.meant`.
    """
    about = primary(incident_class, meant)
    return f"{incident_class}|{about.key if about else ''}"


def is_open(state: Incident, things: Sequence[Resolved]) -> Refused:
    """Return why what a person names opens no other incident, and the whole line that does what they want instead.

    Args:
        state: the one that is open about it.
        things: what they named.
    """
    said = f"{state.id} is open about that already"
    if not (new := yet_to_do(state, things)):
        return Refused(f"{said}: `mcp-soar respond {state.id}` has it tried again")
    line = " ".join(f"--about {shlex.quote(written(thing))}" for thing in new)
    return Refused(f"{said}: `mcp-soar respond {state.id} {line}` contains it there")


def written(thing: Resolved) -> str:
    """Return how a person names a thing so that it means nothing else, as `tool:weather/forecast`."""
    home = thing.principal if thing.kind is EntityKind.TOKEN else thing.server if thing.kind in ON_SERVER else None
    return f"{thing.kind}:{f'{home}/' if home else ''}{thing.id}"


def yet_to_do(state: Incident, things: Sequence[Resolved]) -> tuple[Resolved, ...]:
    """Return which of some things an open incident neither holds nor was asked to contain, or gave back or up.

    Args:
        state: the incident.
        things: what a person named.
    """
    held = {key for name, lease in state.leases.items() if lease.open for key in state.steps[name].about}
    return tuple(thing for thing in _not_chosen(state, things) if thing.key not in held)


def new_in(state: Incident, things: Sequence[Resolved]) -> tuple[Resolved, ...]:
    """Return which of some things are yet to be contained in an open incident, or again.

    Args:
        state: the incident.
        things: what a person named.

    Raises:
        Refused: none is, or it goes on elsewhere.
    """
    if state.part_of:
        raise Refused(f"{state.id} was joined to {state.part_of}: respond to that one")
    found = _not_chosen(state, things)
    if things and not found:
        said = f"{', '.join(map(str, things))} was chosen in {state.id} already"
        raise Refused(f"{said}: `mcp-soar respond {state.id}` has it tried again")
    return found


def _not_chosen(state: Incident, things: Sequence[Resolved]) -> tuple[Resolved, ...]:
    return tuple(
        thing
        for thing in things
        if thing.key not in state.chosen or thing.key in state.given_up or state.is_back(thing.key)
    )


def gave_back(state: Incident, things: Sequence[Resolved]) -> bool:
    """Whether all that a person names was contained in an incident and given back, so that it goes on there."""
    return bool(things) and state.part_of is None and all(state.is_back(thing.key) for thing in things)


def again_by(state: Incident, playbook: Playbook, things: Sequence[Resolved]) -> tuple[str, ...]:
    """Return the steps that contain again what was given back, by their names.

    What slipped in beside a cut comes back as what a person chose, and not as a widening.

    Args:
        state: the incident.
        playbook: what it goes by from here on.
        things: what a person named.
    """
    back = [thing for thing in things if state.is_back(thing.key)]
    steps = [step for step in playbook.phases[Phase.CUT] if step.action]
    names = (state.instance_of(step.id, thing) for step in steps for thing in back if step.for_each is thing.kind)
    return tuple(name for name in names if name in state.leases)
