"""What a person may have contained, beside what is open already: said before they sign, and judged when it comes in."""

from collections.abc import Sequence

from flows.engine.opening import primary
from playbooks.errors import Refused
from playbooks.inventory import Resolved
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
    """Return why what a person names opens no other incident, and what they can do instead.

    Args:
        state: the one that is open about it.
        things: what they named.
    """
    said = f"{state.id} is open about that already"
    if gone := _given_back(state, things):
        return Refused(f"{said}, and {gone}")
    return Refused(f"{said}: `mcp-soar respond {state.id}` has it tried again, and with --about it contains more")


def new_in(state: Incident, things: Sequence[Resolved]) -> tuple[Resolved, ...]:
    """Return which of some things are yet to be contained in an open incident.

    Args:
        state: the incident.
        things: what a person named.

    Raises:
        Refused: none is, or it goes on elsewhere.
    """
    if state.part_of:
        raise Refused(f"{state.id} was joined to {state.part_of}: respond to that one")
    found = tuple(thing for thing in things if thing.key not in state.chosen or thing.key in state.given_up)
    if things and not found:
        said = f"{', '.join(map(str, things))} was chosen in {state.id} already"
        gone = _given_back(state, things)
        raise Refused(f"{said}, and {gone}" if gone else f"{said}: without --about it is tried again")
    return found


def _given_back(state: Incident, things: Sequence[Resolved]) -> str:
    """Return what to do about things that an incident held and gave back; empty if it still holds one, or never did.

    What was given back is not taken again under the same lease: people closed that matter.
    """
    keys = {thing.key for thing in things}
    held = [state.leases[name] for name, step in state.steps.items() if name in state.leases and step.about & keys]
    if not held or any(lease.open for lease in held):
        return ""
    first = "" if state.given_back else f"release what it still holds (`mcp-soar release {state.id}`), "
    return (
        f"gave it back: {first}close it (`mcp-soar close {state.id}`), and contain it anew; that is an incident of its "
        f"own, linked to this one"
    )
