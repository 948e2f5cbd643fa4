"""How an incident stands, as its journal says."""

from playbooks.journal import Event, Parsed
from playbooks.projection import project
from playbooks.state import Incident
from playbooks.strict import iso, now
from tests.flows.cli import world


def incident(*events: Event) -> Incident:
    at = iso(now())
    stream = f"incident/{world.ID}"
    return project(world.ID, [Parsed(stream, n, at, e.kind, e.actor, dict(e.body)) for n, e in enumerate(events, 1)])
