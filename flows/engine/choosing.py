"""What a person may have contained, beside what is open already: said before they sign, and judged when it comes in."""

import shlex
from collections.abc import Awaitable, Callable, Collection, Sequence

from flows.engine.case import PREFIX
from flows.engine.opening import after, meeting
from playbooks.chosen import cuts
from playbooks.errors import Refused
from playbooks.estate.inventory import ON_SERVER, Resolved
from playbooks.estate.places import Places
from playbooks.playbook import Playbook
from playbooks.record.incident import EntityKind
from playbooks.record.state import Incident
from playbooks.taxonomy import IncidentClass


def keys_of(incident_class: IncidentClass, meant: Sequence[Resolved]) -> tuple[str, ...]:
    """Return the keys under which an incident about what a person means is open, the one that it opens under first.

    Args:
        incident_class: of the incident.
        meant: the things that are to be contained; see `naming.meant`.
    """
    return meeting(incident_class, meant) or (f"{incident_class}|",)


def is_open(state: Incident, things: Sequence[Resolved], only: Collection[str] = ()) -> Refused:
    """Return why what a person names opens no other incident, and the whole line that does what they want instead.

    Args:
        state: the one that is open about it.
        things: what they named.
        only: the systems that they want it contained at; everywhere if there are none.
    """
    said = f"{state.id} is open about that already"
    if not (new := yet_to_do(state, things, only)):
        return Refused(f"{said}: `mcp-soar respond {state.id}` has it tried again")
    return Refused(f"{said}: `{_line(state, new, only)}` contains it there", ours=True)


def is_over(state: Incident) -> Refused | None:
    """Return why an incident cannot be tried again, and what contains it again; None if there is something to try.

    Args:
        state: the incident, nothing of which a person names.
    """
    if not state.given_back or state.given_up:
        return None
    on = f"; {state.continued_in} was opened about the same since" if state.continued_in else ""
    back = [thing for thing in state.entities.values() if state.is_back(thing.key)]
    again = f": `{_line(state, back)}` contains it again" if back else ""
    return Refused(f"all that {state.id} held was given back, and there is nothing to try again{on}{again}", ours=True)


def _line(state: Incident, things: Sequence[Resolved], only: Collection[str] = ()) -> str:
    words = [*(("--about", written(thing)) for thing in things), *(("--only", name) for name in only)]
    return f"mcp-soar respond {state.id} {' '.join(f'{option} {shlex.quote(value)}' for option, value in words)}"


def written(thing: Resolved) -> str:
    """Return how a person names a thing so that it means nothing else, as `tool:weather/forecast`."""
    of_server = thing.kind in ON_SERVER or thing.kind is EntityKind.ADDRESS
    home = thing.principal if thing.kind is EntityKind.TOKEN else thing.server if of_server else None
    return f"{thing.kind}:{f'{home}/' if home else ''}{thing.id}"


def yet_to_do(state: Incident, things: Sequence[Resolved], only: Collection[str] = ()) -> tuple[Resolved, ...]:
    """Return which of some things an open incident neither holds nor was asked to contain, or gave back or up.

    Args:
        state: the incident.
        things: what a person named.
        only: the systems that they want it contained at; everywhere if there are none.
    """
    held = {key for name, lease in state.leases.items() if lease.open for key in state.steps[name].about}
    return tuple(
        thing for thing in _not_chosen(state, things, only) if thing.key not in held or _wider(state, thing, only)
    )


def placed_at(places: Places, things: Sequence[Resolved], only: Collection[str]) -> None:
    """Refuse to contain things only at systems where none of them, or one of them not, has a place.

    Args:
        places: where each stands.
        things: what a person named.
        only: the systems that they want it contained at; everywhere if there are none.

    Raises:
        Refused: naming where each stands.
    """
    for thing in things if only else ():
        stands = places.systems(thing)
        if strange := [name for name in only if name not in stands]:
            known = f"it has one at {', '.join(stands)}" if stands else "it has none anywhere"
            raise Refused(f"{thing} has no place at {' or '.join(strange)}: {known}", ours=True)


def new_in(state: Incident, things: Sequence[Resolved], only: Collection[str] = ()) -> tuple[Resolved, ...]:
    """Return which of some things are yet to be contained in an open incident, or again.

    Args:
        state: the incident.
        things: what a person named.
        only: the systems that they want it contained at; everywhere if there are none.

    Raises:
        Refused: none is, or it goes on elsewhere.
    """
    if state.part_of:
        raise Refused(f"{state.id} was joined to {state.part_of}: respond to that one")
    found = _not_chosen(state, things, only)
    if things and not found:
        said = f"{', '.join(map(str, things))} was chosen in {state.id} already"
        raise Refused(f"{said}: `mcp-soar respond {state.id}` has it tried again", ours=True)
    return found


def _not_chosen(state: Incident, things: Sequence[Resolved], only: Collection[str]) -> tuple[Resolved, ...]:
    return tuple(
        thing
        for thing in things
        if thing.key not in state.chosen
        or thing.key in state.given_up
        or state.is_back(thing.key)
        or _wider(state, thing, only)
    )


def _wider(state: Incident, thing: Resolved, only: Collection[str]) -> bool:
    """Whether a thing was chosen at some systems only, and is wanted at more of them now."""
    before = state.only.get(thing.key)
    return before is not None and not (only and before.issuperset(only))


def gave_back(state: Incident, things: Sequence[Resolved]) -> bool:
    """Whether all that a person names was contained in an incident and given back, so that it goes on there."""
    return bool(things) and state.part_of is None and all(state.is_back(thing.key) for thing in things)


async def going_on(
    state: Incident,
    things: Sequence[Resolved],
    find_open: Callable[[str], Awaitable[str | None]],
    load: Callable[[str], Awaitable[Incident]],
) -> Incident:
    """Return the incident that goes on with what an open one gave back, if one does; else that one.

    Args:
        state: the one that is found under the keys of what a person names.
        things: what they name.
        find_open: returns the open stream that has a key.
        load: returns an incident by its id.
    """
    while gave_back(state, things) and (later := await find_open(after(f"{PREFIX}{state.id}"))) is not None:
        state = await load(later.removeprefix(PREFIX))
    return state


def again_by(
    state: Incident, playbook: Playbook, things: Sequence[Resolved], places: Places, only: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the steps that contain again what was given back, by their names.

    What slipped in beside a cut comes back as what a person chose, and not as a widening.

    Args:
        state: the incident.
        playbook: what it goes by from here on.
        things: what a person named.
        places: where each stands.
        only: the systems that they want it contained at; everywhere if there are none.
    """
    back = [thing for thing in things if state.is_back(thing.key)]
    runs = (
        state.instance_of(step.id, at)
        for step in cuts(playbook)
        for thing in back
        if step.for_each is thing.kind
        for at in (places.of(thing, step.at) if step.at else [thing])
        if not only or places.system(at) in only
    )
    return tuple(name for name in runs if name in state.leases)
