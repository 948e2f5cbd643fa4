"""Which campaign is meant, and what its incidents ask, hold and were told, as its list and their streams say."""

from collections.abc import Sequence
from typing import TypedDict

from flows.reading import streams
from integrations.journal.client import Tampered
from integrations.journal.store import Journal
from playbooks.errors import Ambiguous, NoSuch
from playbooks.record.campaign import Mark, Member, spread
from playbooks.record.journal import CAM, CAMPAIGN, Parsed
from playbooks.record.state import Incident
from playbooks.record.step import StepState

_MANY = 1000
"""Campaigns that are listed, the youngest."""

_SCOPES = 20
"""Rules that one answer suppresses."""


class CampaignRow(TypedDict):
    """Incidents at several servers that share something (`kind`, `value`)."""

    id: str
    kind: str
    value: str
    incidents: list[str]


class Campaign:
    """A campaign as its list says it.

    Args:
        name: of the campaign.
        entries: of its stream.
    """

    def __init__(self, name: str, entries: Sequence[Parsed]) -> None:
        self.name = name
        self.members = [Member.read(entry.body) for entry in entries if entry.kind == "member"]
        self.mark = Mark.read(entries[0].body["mark"])
        self.answers = [entry for entry in entries if entry.kind == "request"]

    def row(self) -> CampaignRow:
        """Return it as a line of a list."""
        return {
            "id": self.name,
            "kind": self.mark.kind.value,
            "value": self.mark.value,
            "incidents": [one.incident for one in self.members],
        }


async def listed(journal: Journal) -> list[Campaign]:
    """Return the campaigns that have open incidents at several servers."""
    rows = await journal.streams(CAMPAIGN, open_only=True, limit=_MANY)
    found = [await load(journal, row.name.removeprefix(CAMPAIGN)) for row in rows if row.frozen is None]
    return [one for one in found if spread(one.members)]


async def load(journal: Journal, name: str) -> Campaign:
    """Return a campaign by its whole name."""
    return Campaign(name, [entry.parsed() for entry in await journal.read(f"{CAMPAIGN}{name}")])


async def find(journal: Journal, given: str) -> str:
    """Return the campaign that a whole name or its number means.

    Raises:
        NoSuch: there is none.
        Ambiguous: there are several.
    """
    if await journal.stream(f"{CAMPAIGN}{given}") is not None:
        return given
    number = given.removeprefix(CAM)
    names = [row.name.removeprefix(CAMPAIGN) for row in await journal.streams(CAMPAIGN, limit=100_000)]
    found = [name for name in names if number.isdigit() and int(name.rpartition("-")[2]) == int(number)]
    if not found:
        raise NoSuch(f"there is no campaign {given}; `mcp-soar campaign` lists them")
    if len(found) > 1:
        raise Ambiguous(f"{given} could be {', '.join(found[:10])}: write more of it")
    return found[0]


async def meant(journal: Journal, given: str) -> tuple[Campaign, list[Incident], list[str]]:
    """Return a campaign, its incidents that are open and can be read, and what there is to say of the others.

    Raises:
        NoSuch: there is none.
        Ambiguous: there are several.
    """
    one = await load(journal, await find(journal, given))
    states: list[Incident] = []
    notes: list[str] = []
    for member in one.members:
        try:
            state = await streams.load(journal, member.incident)
        except Tampered as exc:
            notes.append(f"{member.incident} is not as it was written: {exc}")
            continue
        if state.closed_at is None and state.frozen is None:
            states.append(state)
        else:
            notes.append(f"{member.incident} is {state.status}")
    return one, states, notes


def asked(states: Sequence[Incident]) -> list[tuple[Incident, StepState]]:
    """Return what incidents ask, each with the plan that waits."""
    return [(state, step) for state in states for step in state.proposals if step.plan]


def held(states: Sequence[Incident]) -> list[tuple[Incident, str]]:
    """Return what incidents hold, each with the lease."""
    return [(state, key) for state in states for key, lease in state.leases.items() if lease.open]


async def scopes(journal: Journal, given: str) -> list[str]:
    """Return the scopes that keep out what the open incidents of a campaign were told.

    Raises:
        NoSuch: there is no such campaign, or no source told them anything.
    """
    one, states, _ = await meant(journal, given)
    said = [(alert.source, alert.rule) for state in states for alert in state.alerts]
    found = [f"rule:{source}/{rule}" for source, rule in dict.fromkeys(said)]
    if not found:
        raise NoSuch(f"no alert is behind {one.name}: there is nothing to suppress")
    return found[:_SCOPES]
