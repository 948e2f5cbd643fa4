"""The kill switches that were on during an incident."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from flows.report.document import (
    Table,
)
from flows.report.words import clock, excerpt
from playbooks.record.journal import Parsed
from playbooks.record.state import Incident


class Switch(NamedTuple):
    """A kill switch that was on during an incident.

    Args:
        scope: what it stopped.
        by: who.
        reason: why.
        since: from when.
        until: to when; None if it still is on.
        ended_by: who ended it.
    """

    scope: str
    by: str
    reason: str
    since: datetime
    until: datetime | None = None
    ended_by: str = ""


def switches_of(system: Sequence[Parsed], state: Incident, scopes: frozenset[str]) -> list[Switch]:
    """Return the kill switches that were on at some time between an incident's opening and its close.

    Args:
        system: the entries of the stream `system`.
        state: the incident.
        scopes: those that it stands under.
    """
    found: dict[int, Switch] = {}
    for entry in system:
        if entry.kind == "stopped":
            number, since_ = int(entry.body.get("number", entry.seq)), datetime.fromisoformat(entry.at)
            by, reason = str(entry.body.get("by", entry.actor)), str(entry.body.get("reason", ""))
            found[number] = Switch(str(entry.body["scope"]), by, reason, since_)
        elif entry.kind == "resumed" and (number := int(entry.body.get("number", 0))) in found:
            people = ", ".join(map(str, entry.body.get("people", [entry.actor])))
            found[number] = found[number]._replace(until=datetime.fromisoformat(entry.at), ended_by=people)
    begin, end = state.opened_at, state.closed_at
    return [
        one
        for one in found.values()
        if one.scope in scopes
        and (end is None or one.since <= end)
        and (one.until is None or begin is None or one.until >= begin)
    ]


def switches_table(switches: Sequence[Switch], empty: str) -> Table:
    """Return kill switches with their reasons.

    Args:
        switches: which.
        empty: what is said if there is none.
    """
    rows = [
        (
            one.scope,
            excerpt(one.by),
            excerpt(one.reason),
            clock(one.since),
            f"{clock(one.until)} by {excerpt(one.ended_by)}" if one.until else "STILL ON",
        )
        for one in switches
    ]
    return Table("Kill switches", ("Scope", "By", "Reason", "Since", "Until"), rows, empty)
