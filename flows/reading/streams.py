"""Which incident is meant, and how it stands as its stream says."""

from datetime import datetime

from integrations.journal.client import Tampered
from integrations.journal.store import Journal
from playbooks.errors import Ambiguous, NoSuch
from playbooks.record.journal import INCIDENT
from playbooks.record.projection import project
from playbooks.record.state import Incident

_MANY = 100_000


async def find(journal: Journal, given: str) -> str:
    """Return the incident that a whole id or a unique part of one means.

    Raises:
        NoSuch: there is none.
        Ambiguous: there are several; the message lists them.
    """
    given = given.strip().removeprefix(INCIDENT)
    if given and await journal.stream(INCIDENT + given) is not None:
        return given
    names = [row.name.removeprefix(INCIDENT) for row in await journal.streams(INCIDENT, limit=_MANY)]
    if given.isascii() and given.isdigit():
        found = [
            name for name in names if name.rsplit("-", 1)[-1].isdigit() and int(name.rsplit("-", 1)[-1]) == int(given)
        ]
    else:
        found = []
    found = found or [name for name in names if given and (name.endswith(given) or name.startswith(given))]
    if not found:
        raise NoSuch(f"there is no incident {given}; `mcp-soar incidents --all` lists them")
    if len(found) > 1:
        raise Ambiguous(f"{given} could be {', '.join(found[:10])}: write more of it")
    return found[0]


async def load(journal: Journal, incident: str) -> Incident:
    """Return an incident as its journal says.

    Raises:
        NoSuch: there is none.
        Tampered: its journal is not as it was written.
    """
    row = await journal.stream(INCIDENT + incident)
    if row is None:
        raise NoSuch(f"there is no incident {incident}")
    state = project(incident, await journal.read(INCIDENT + incident))
    # Frozen stands beside the stream, not in it: nothing can be appended to it any more.
    state.frozen = row.frozen
    return state


async def since(journal: Journal, begin: datetime | None) -> tuple[list[Incident], list[tuple[str, str]]]:
    """Return the open incidents and those closed since, and those whose journal cannot be read, with the reason.

    Args:
        journal: the journal.
        begin: from when; None for all that there ever were.
    """
    found, damaged = [], []
    for row in await journal.streams(INCIDENT, limit=_MANY):
        if begin is not None and row.closed_at is not None and row.closed_at < begin.timestamp():
            continue
        name = row.name.removeprefix(INCIDENT)
        try:
            found.append(await load(journal, name))
        except Tampered as exc:
            damaged.append((name, str(exc)))
    return found, damaged
