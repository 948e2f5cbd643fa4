"""How what an incident holds and asks stands, in a few words: the same at a terminal, in Prefect and in reports."""

from collections.abc import Callable, Sequence
from datetime import datetime

from flows.report import words
from flows.report.words import excerpt
from playbooks.gate.plan import Answer
from playbooks.record.view import Ask, Held


def holding(lease: Held, *, clock: Callable[[datetime | None], str] = words.clock, age: str = "") -> str:
    """Return how far a containment holds.

    Args:
        lease: the containment.
        clock: how a moment is written.
        age: how long ago it was looked at, in words.
    """
    if lease.done_at:
        return f"done for good {clock(lease.done_at)}, it cannot be taken back"
    if lease.released_at:
        return f"released {clock(lease.released_at)} by {excerpt(lease.released_by or 'mcp-soar')}"
    if not lease.in_force:
        return "NOT in force: nothing of it was written"
    again = f", put back {lease.put_backs}x" if lease.put_backs else ""
    doubt = "; BEING GIVEN BACK: it may no longer hold" if lease.releasing else ""
    return answer_word(lease.answer) + age + again + doubt


def things(leases: Sequence[Held]) -> str:
    """Return how many things leases hold, and how many leases that are where several hold one."""
    count = len({lease.things for lease in leases})
    return str(count) if count == len(leases) else f"{count} (by {len(leases)} leases)"


def answer_word(answer: Answer | None) -> str:
    """Return an answer so that no colour is needed to tell a bad one."""
    if answer is None:
        return "not verified yet"
    return {Answer.ESTABLISHED: "established", Answer.NOT_ESTABLISHED: "NOT established"}.get(answer, "unknown")


def asker(ask: Ask) -> str:
    """Return who asked for something and why, in their own words; a dash if nobody did."""
    return excerpt(f"{ask.requested_by or '-'}" + (f": {ask.reason}" if ask.reason else ""))


def needed(ask: Ask) -> str:
    """Return how many people still have to say yes, and who has."""
    return ask.needed + (f", approved by {excerpt(', '.join(ask.approved_by))}" if ask.approved_by else "")
