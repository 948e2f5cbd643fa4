"""What is left to do: what is held, what waits for whom, which clocks run."""

from collections.abc import Iterator, Sequence

from flows.report.document import (
    Block,
    Commands,
    Table,
    Text,
    listed,
)
from flows.report.standing import asker, holding, needed
from flows.report.words import clock, excerpt
from playbooks.record.view import Owed, View


def duties_table(duties: Sequence[tuple[str, Owed]]) -> Table:
    """Return duties with their deadlines, by incident."""
    rows = [
        (
            incident,
            excerpt(one.duty),
            f"{excerpt(one.law)}, {excerpt(one.article)}",
            one.to,
            clock(one.until) if one.until else "without undue delay",
            f"fulfilled {clock(one.fulfilled)}" if one.fulfilled else "OVERDUE" if one.overdue else "not yet",
        )
        for incident, one in duties
    ]
    heads = ("Incident", "Owed", "Law", "Who is told", "Due", "Stands")
    return Table("Duties with a deadline", heads, rows, "No duty with a deadline is known.")


def open_ends(it: View) -> Iterator[Block]:
    """Yield what somebody still has to do about an incident."""
    asks = [(excerpt(ask.summary), asker(ask), needed(ask), clock(ask.expires_at), ask.digest) for ask in it.asks]
    heads = ("Plan", "Asked for by", "Still needed", "Until", "Digest")
    yield listed("Waits for a decision", heads, asks, "No question is open.")
    for said in dict.fromkeys(filter(None, (ask.by_itself for ask in it.asks))):
        yield Text(f"{excerpt(said, _TASK)}.")
    leases = [
        (
            excerpt(lease.instance),
            excerpt(lease.summary),
            clock(lease.until) if lease.in_force else "-",
            holding(lease),
            clock(lease.checked_at),
        )
        for lease in it.leases
        if lease.holds
    ]
    heads = ("Lease", "What", "Until", "Holds", "Asked last")
    yield listed("In force", heads, leases, "Nothing is contained.")
    yield Table("Left to people", ("Step", "Task", "Until"), tasks(it), "No task is open.")
    yield duties_table([(it.id, one) for one in it.clocks])
    if it.closed_at is None:
        yield Commands([f"mcp-soar incident {it.id}", f"mcp-soar report {it.id} --out {it.id}.html"])


_TASK = 1200
"""Characters of one task: it may quote a plan's summary, which others chose."""


def tasks(it: View) -> list[tuple[str, str, str]]:
    """Return what is left to people: step, task, until."""
    return [(one.step, excerpt(one.task, _TASK), one.until) for one in it.tasks]
