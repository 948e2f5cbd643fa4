"""What every answer says beside what was asked for: what is stopped or suppressed, and which pages reached nobody."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypedDict

from integrations.journal.store import Journal
from playbooks.errors import Misconfigured
from playbooks.record.journal import INCIDENT, ITSELF, TELLING, Entry
from playbooks.record.projection import fold
from playbooks.record.state import Incident
from playbooks.record.view import Stopped
from playbooks.record.viewing import stopped_of
from playbooks.strict import iso, now

_LATE = 60.0
"""Seconds after which a page that was not even tried counts as one that reached nobody."""


class Undelivered(TypedDict):
    """Pages that somebody could not be told of: every way was tried and failed, or they wait for over a minute.

    They are of an open incident, or, where they reached nobody and nobody took them up, of one that was closed in the
    last days, or of mcp-soar itself: then `incident` is `system`.
    """

    incident: str
    pages: int
    texts: list[str]


class SuppressionRow(TypedDict):
    """Alerts that open nothing until a time. A null `source` is every source, a null `rule` every rule."""

    scope: str
    source: str | None
    rule: str | None
    until: str | None
    by: str
    at: str | None
    reason: str
    set_aside: int


class Standing(TypedDict):
    """What every answer says beside what was asked for."""

    stops: list[Stopped]
    undelivered: list[Undelivered]
    suppressions: list[SuppressionRow]


async def standing(journal: Journal) -> Standing:
    """Return what every answer says: three questions to the database, and a fourth while something is stopped."""
    on, failed = await stops(journal), undelivered(await journal.telling(), now())
    return {"stops": on, "undelivered": failed, "suppressions": await suppressed(journal)}


async def suppressed(journal: Journal) -> list[SuppressionRow]:
    """Return the suppressions in force."""
    try:
        found = await journal.suppressions()
    except Misconfigured:
        # A journal of the first release, which no responder has brought up to date yet: it has none.
        return []
    at = await journal.clock() if found else 0.0
    return [
        {
            "scope": one.scope,
            "source": one.source,
            "rule": one.rule,
            "until": _iso(one.until),
            "by": one.by,
            "at": _iso(one.at),
            "reason": one.reason,
            "set_aside": one.hidden,
        }
        for one in found
        if one.until > at
    ]


def _iso(seconds: float) -> str:
    return iso(datetime.fromtimestamp(seconds, UTC))


async def stops(journal: Journal) -> list[Stopped]:
    """Return the kill switches that are on, with who asked to end them."""
    on = await journal.stops()
    asked: dict[int, list[str]] = {}
    for entry in (item.parsed() for item in (await journal.resumes() if on else ())):
        people = asked.setdefault(entry.body["number"], [])
        people += [entry.body["by"]] if entry.body["by"] not in people else []
    return [stopped_of(stop, asked.get(stop.seq, ())) for stop in on]


def undelivered(entries: Sequence[Entry], at: datetime) -> list[Undelivered]:
    """Return the pages that did not reach who they are for.

    What is about mcp-soar itself is never closed, and who was missed about a closed incident misses nothing any more:
    of these it is what reached nobody, until somebody takes it up.

    Args:
        entries: what `Journal.telling` returns.
        at: now.
    """
    late = iso(at - timedelta(seconds=_LATE))
    states: dict[str, Incident] = {}
    old: dict[str, set[str]] = {}
    for entry in (item.parsed() for item in entries):
        name = entry.stream.removeprefix(INCIDENT).removeprefix(TELLING)
        fold(states.setdefault(name, Incident(name)), entry)
        if entry.kind == "page" and entry.at < late:
            old.setdefault(name, set()).add(str(entry.body["id"]))
    found: list[Undelivered] = []
    for name, state in states.items():
        # Somebody could not be told of it by any way that was tried; or nobody was, and that for a while.
        missed = {page for page, _ in state.undelivered}
        untold = state.untold.keys() & (missed | old.get(name, set()))
        lost = untold if name == ITSELF or state.closed_at else missed | untold
        if lost:
            texts = [page.text for page in state.pages.values() if page.id in lost]
            found.append({"incident": name, "pages": len(lost), "texts": texts})
    return found
