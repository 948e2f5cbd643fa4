"""What is left to do: what is held, what waits for whom, which clocks run."""

from collections.abc import Iterator, Sequence

from flows.report.document import (
    Block,
    Commands,
    Table,
    listed,
)
from flows.report.standing import asker, holding, needed
from flows.report.words import clock, excerpt
from playbooks.contacts import Language
from playbooks.duties import Clock
from playbooks.left import left
from playbooks.playbook import Playbook
from playbooks.state import Incident


def duties_table(clocks: Sequence[tuple[str, Clock]]) -> Table:
    """Return duties with their deadlines, by incident."""
    rows = [
        (
            incident,
            excerpt(one.duty[Language.EN]),
            f"{excerpt(one.law[Language.EN])}, {excerpt(one.article[Language.EN])}",
            one.to,
            clock(one.due) if one.due else "without undue delay",
            f"fulfilled {clock(one.fulfilled)}" if one.fulfilled else "OVERDUE" if one.overdue else "not yet",
        )
        for incident, one in clocks
    ]
    heads = ("Incident", "Duty", "Law", "Who is told", "Due", "Stands")
    return Table("Duties with a deadline", heads, rows, "No duty with a deadline is known.")


def open_ends(state: Incident, playbook: Playbook | None, clocks: Sequence[Clock] = ()) -> Iterator[Block]:
    """Yield what somebody still has to do about an incident."""
    asks = [
        (excerpt(step.plan.summary), asker(state, step), needed(step), clock(step.expires_at), step.plan.digest)
        for step in state.proposals
        if step.plan
    ]
    heads = ("Plan", "Asked for by", "Still needed", "Until", "Digest")
    yield listed("Waits for a decision", heads, asks, "No question is open.")
    leases = [
        (
            excerpt(lease.instance),
            excerpt(lease.plan.summary),
            clock(lease.until) if lease.in_force else "-",
            holding(lease),
            clock(lease.checked_at),
        )
        for lease in state.leases.values()
        if lease.holds
    ]
    heads = ("Lease", "What", "Until", "Holds", "Asked last")
    yield listed("In force", heads, leases, "Nothing is contained.")
    yield Table("Left to people", ("Step", "Task", "Until"), tasks(state, playbook), "No task is open.")
    yield duties_table([(state.id, one) for one in clocks])
    if state.closed_at is None:
        yield Commands([f"mcp-soar incident {state.id}", f"mcp-soar report {state.id} --out {state.id}.html"])


_TASK = 1200
"""Characters of one task: it may quote a plan's summary, which others chose."""


def tasks(state: Incident, playbook: Playbook | None) -> list[tuple[str, str, str]]:
    """Return what the playbook leaves to people and nobody has ended: step, task, until."""
    if state.closed_at or state.part_of:
        return []
    if state.triage and not state.leases:
        return [("triage", excerpt(f"Nothing was done, because: {state.triage}"), "closed")]
    return [(one.step, excerpt(one.task, _TASK), one.until) for one in left(state, playbook)]
