"""The reports: what they are made of is read here, what they say is `flows.report`."""

from datetime import UTC, datetime, timedelta

from flows.reading import streams
from flows.report.document import Document
from flows.report.handover import Shift, Suppressed
from flows.report.handover import handover as handover_of
from flows.report.incident import Witness, report
from flows.report.switches import Switch, switches_of
from flows.report.week import week as week_of
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from playbooks.people import duties
from playbooks.record.journal import INCIDENT, ITSELF, SYSTEM, stream_of
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import now
from playbooks.text.own import of_inventory

YEAR = timedelta(days=366)

End = tuple[int, str] | None
"""Number and hash of the journal's last head when a report was made."""


async def incident(journal: Journal, config: Configuration, name: str) -> tuple[Document, End]:
    """Return the report of an incident, and the head that the journal had.

    Args:
        journal: the journal.
        config: for what its playbook, its servers and its people are.
        name: the incident's whole id.
    """
    entries = await journal.read(INCIDENT + name)
    system = [entry.parsed() for entry in await journal.read(SYSTEM)]
    # After the entries: the chain up to this head covers all of them.
    tip = await _tip(journal)
    row = await journal.stream(INCIDENT + name)
    parsed = [entry.parsed() for entry in entries]
    state = project(name, parsed)
    state.frozen = row.frozen if row else None
    at = now()
    document = report(
        state,
        parsed,
        at=at,
        witness=Witness(entries[-1].seq, entries[-1].hash.hex(), *tip) if entries and tip else None,
        playbook=state.goes_by(config.playbooks),
        switches=switches_of(system, state, state.scopes),
        clocks=duties.clocks(state, config.inventory, duties.load(), at),
        ours=_ours(config),
    )
    return document, tip


async def handover(journal: Journal, config: Configuration, since: timedelta) -> tuple[Document, End, list[Incident]]:
    """Return what the next shift has to know, the head that the journal had, and the incidents that it is about.

    Args:
        journal: the journal.
        config: for its playbooks, servers and people.
        since: how far back what was closed counts.
    """
    at, laws = now(), duties.load()
    # What the law wants reported does not end with the incident.
    bound = any(server.regimes for server in config.inventory.servers.values())
    states, damaged = await streams.since(journal, at - YEAR if bound else at - since)
    shift = Shift(
        at=at,
        since=since,
        states=states,
        playbooks=config.playbooks,
        approvers=[
            name for name, one in config.people().people.items() if set(one.roles) & set(config.policy.approval.roles)
        ],
        switches=[Switch(stop.scope, stop.by, stop.reason, _at(stop.at)) for stop in await journal.stops()],
        quiet=[
            Suppressed(one.scope, one.by, one.reason, _at(one.until), one.hidden)
            for one in await journal.suppressions()
            if one.until > at.timestamp()
        ],
        clocks={state.id: duties.clocks(state, config.inventory, laws, at) for state in states},
        damaged=damaged,
        itself=project(ITSELF, await journal.read(stream_of(ITSELF))),
        ours=_ours(config),
    )
    tip = await _tip(journal)
    return handover_of(shift, _made(tip)), tip, states


async def week(journal: Journal, config: Configuration, older: timedelta) -> tuple[Document, End]:
    """Return the report of the last seven days, and the head that the journal had.

    Args:
        journal: the journal.
        config: for the goals.
        older: the age from which a lease is listed.
    """
    states, damaged = await streams.since(journal, None)
    tip = await _tip(journal)
    document = week_of(states, at=now(), playbooks=config.playbooks, old=older, made=_made(tip), damaged=damaged)
    return document, tip


def _ours(config: Configuration) -> frozenset[str]:
    """Return the names that people of the house wrote, approved or are enrolled as."""
    return of_inventory(config.inventory) | config.people().people.keys()


async def _tip(journal: Journal) -> End:
    head = await journal.head_latest()
    return (head.n, head.hash.hex()) if head else None


def _made(tip: End) -> list[tuple[str, str]]:
    return [("Journal head", f"number {tip[0]}, sha256:{tip[1]}")] if tip else []


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
