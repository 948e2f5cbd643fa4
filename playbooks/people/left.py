"""What is left to people: the tasks of a playbook, as far as there is anything to do for what was really done. Pure."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from playbooks.gate.plan import Answer
from playbooks.playbook import Playbook, Step, When
from playbooks.record.incident import EntityKind
from playbooks.record.proof import checks
from playbooks.record.state import Incident


class Left(NamedTuple):
    """One thing that is left to people.

    Args:
        step: the playbook's, also of one that had no place, or `refused` for what people said no to.
        task: what there is to do.
        until: what ends it: `released` or `closed`.
    """

    step: str
    task: str
    until: str


def left(state: Incident, playbook: Playbook | None) -> tuple[Left, ...]:
    """Return what is left to people of an incident that is open and stands for itself.

    Args:
        state: the incident.
        playbook: the one that it goes by.
    """
    return (*_refused(state), *_nowhere(state), *(_of(state, playbook) if playbook else ()))


def _refused(state: Incident) -> Iterator[Left]:
    for said in state.refusals:
        yield Left(
            "refused",
            f"{said}. Nothing of it is done. Have it asked again: `mcp-soar respond {state.id} --as NAME`; have "
            f"something else contained: `mcp-soar respond {state.id} --about KIND:NAME --as NAME`; or end it: "
            f"`mcp-soar close {state.id} --outcome OUTCOME --as NAME`.",
            "closed",
        )


def _nowhere(state: Incident) -> Iterator[Left]:
    found: dict[str, list[str]] = {}
    for step in state.nowhere:
        found.setdefault(step.message, []).append(step.instance.partition("@")[0])
    for said, names in found.items():
        were = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'}"
        yield Left(names[0], f"{said}: {were} not done there. See to it by hand.", "closed")


def _of(state: Incident, playbook: Playbook) -> Iterator[Left]:
    for _, step in playbook.steps():
        if step.task and step.until and _stands(state, step):
            yield Left(step.id, _NAMED.sub(lambda one: f"`{_WHOLE[one[1]].format(state.id)}`", step.task), step.until)


_NAMED = re.compile(r"`mcp-soar (release|note|incident)`")
_WHOLE = {
    "release": "mcp-soar release {} --as NAME",
    "note": "mcp-soar note {} TEXT --as NAME",
    "incident": "mcp-soar incident {}",
}
"""What a playbook's task names a command by, and what is typed: it is written before there is an incident."""


def _stands(state: Incident, step: Step) -> bool:
    """Whether there is anything to do of a task."""
    # What nobody took away, nobody can give back.
    if step.until == "released" and not any(lease.in_force for lease in state.leases.values()):
        return False
    if step.when is When.CONTAINED:
        return step.for_each in _contained(state)
    return step.when is not When.UNREFUTED or checks(state).answer is not Answer.NOT_ESTABLISHED


def _contained(state: Incident) -> set[EntityKind]:
    """Return the kinds of what was contained, whether it was given back since or not."""
    begun = [name for name, lease in state.leases.items() if lease.began_at is not None]
    kinds = {kind.value: kind for kind in EntityKind}
    # The account of a principal is a user there.
    kinds["user"] = EntityKind.PRINCIPAL
    return {kinds[t.kind] for name in begun for t in state.leases[name].plan.targets if t.kind in kinds}
