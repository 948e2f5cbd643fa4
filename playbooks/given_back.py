"""What people gave back as it was though nobody approved it so: while it is that, it is no leak beside a cut. Pure."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from playbooks.plan import Beside, Plan
from playbooks.strict import Json

STREAM: Final = "given-back"
"""The journal's stream of it, over all incidents: a cut of another one must not undo what people decided."""

KIND: Final = "given_back"
"""The kind of its entries: incident lease by[name] server things[{kind name id digest}]."""


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


class GivenBack:
    """All that people gave back so: of each thing how it was the last time."""

    def __init__(self) -> None:
        self._things: dict[str, dict[tuple[str, str], Beside]] = {}
        self.entries = 0
        """How many entries it was made of."""

    def take(self, said: Mapping[str, Any]) -> None:
        """Take in what one entry says."""
        self.entries += 1
        mine = self._things.setdefault(said["server"], {})
        for item in said["things"]:
            who = f"{' and '.join(said['by'])} in {said['incident']}"
            thing = Beside.model_validate({**item, "given_back": who})
            mine[thing.kind, thing.id] = thing

    def beside(self, plan: Plan) -> Plan:
        """Return a plan as it is to be verified: with what people gave back of its servers beside what it takes."""
        servers = dict.fromkeys(target.server for target in plan.targets if target.server)
        known = tuple(thing for server in servers for thing in self._things.get(server, {}).values())
        return plan.model_copy(update={"beside": (*plan.beside, *known)}) if known else plan
