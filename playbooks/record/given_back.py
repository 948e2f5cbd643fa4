"""What people gave back as it was though nobody approved it so: for a time, it is no leak beside a cut. Pure.

It ends with its incident, when it is contained again, and when something else is approved of its name.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from playbooks.gate.plan import Beside, Plan
from playbooks.strict import Json

STREAM: Final = "given-back"
"""The journal's stream of it, over all incidents: a cut of another one must not undo what people decided."""

KIND: Final = "given_back"
"""The kind of its entries: incident lease by[name] server things[{kind name id digest approved?}]."""

OVER: Final = "given_back_over"
"""The kind of the entries that end it: incident lease server things[{kind id}]."""

NAMED: Final = 20
"""Things that a question names one by one. What it does not name, nobody who answers it gives back as it is."""


UNAPPROVED: Final = "unapproved"
"""The parameter of a release that says what comes back by it and is not what was approved: as it is, so that whoever
approves the release approves this and nothing that takes its place."""

ACCEPTS: Final = "accepts"
"""The parameter of a release that names the difference which whoever approves it accepts, by its digest."""


def unapproved(release: Plan) -> tuple[Beside, ...]:
    """Return what a release says comes back by it unapproved."""
    said = release.params.get(UNAPPROVED)
    return tuple(Beside.model_validate(one) for one in said) if isinstance(said, list) else ()


def body(incident: str, lease: str, by: Collection[str], server: str, things: Collection[Beside]) -> dict[str, Json]:
    """Return what an entry says.

    Args:
        incident: in which it is given back.
        lease: by the end of which.
        by: who asked for it, and who agreed.
        server: whose it is.
        things: as they are when that is decided.
    """
    return {
        "incident": incident,
        "lease": lease,
        "by": [*sorted(by)],
        "server": server,
        "things": [thing.model_dump(mode="json") for thing in things],
    }


def named(things: Collection[Beside]) -> dict[str, Beside]:
    """Return what a question says of each thing that would come back as nobody approved it, a line for each.

    Args:
        things: all of it; what is beyond `NAMED` is only counted elsewhere.
    """
    return {
        f"{thing.kind} {thing.name} comes back as it is now ({thing.digest[:23]}), and nobody approved it so": thing
        for thing in [*things][:NAMED]
    }


class GivenBack:
    """All that people gave back so: of each thing how it was the last time."""

    def __init__(self) -> None:
        self._things: dict[str, dict[tuple[str, str], tuple[str, Beside]]] = {}
        self.entries = 0
        """How many entries it was made of."""

    def take(self, kind: str, said: Mapping[str, Any]) -> None:
        """Take in what one entry says."""
        if kind not in {KIND, OVER}:
            return
        self.entries += 1
        mine = self._things.setdefault(said["server"], {})
        for item in said["things"]:
            if kind == OVER:
                mine.pop((item["kind"], item["id"]), None)
                continue
            who = f"{' and '.join(said['by'])} in {said['incident']}"
            thing = Beside.model_validate({**item, "given_back": who})
            mine[thing.kind, thing.id] = said["incident"], thing

    @property
    def incidents(self) -> frozenset[str]:
        """Those in which something was given back that still counts."""
        return frozenset(incident for mine in self._things.values() for incident, _ in mine.values())

    def closed(self, incident: str) -> None:
        """End what was given back in an incident that is over: the next one is decided on anew."""
        for mine in self._things.values():
            for key in [key for key, (where, _) in mine.items() if where == incident]:
                del mine[key]

    def taken(self, plan: Plan) -> dict[str, list[tuple[str, str]]]:
        """Return what of it a plan contains again: of each server kind and id; with its entry, all of a server."""
        found: dict[str, list[tuple[str, str]]] = {}
        for target in plan.targets:
            mine = self._things.get(target.server or "", {})
            keys = [*mine] if target.kind == "entry" else [key for key in mine if key == (target.kind, target.id)]
            if keys:
                known = found.setdefault(target.server or "", [])
                known += [key for key in keys if key not in known]
        return found

    def beside(self, plan: Plan) -> Plan:
        """Return a plan as it is to be verified: with what people gave back of its servers beside what it takes."""
        servers = dict.fromkeys(target.server for target in plan.targets if target.server)
        known = tuple(thing for server in servers for _, thing in self._things.get(server, {}).values())
        return plan.model_copy(update={"beside": (*plan.beside, *known)}) if known else plan
