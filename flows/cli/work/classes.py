"""What each class of incident does today: what is contained where, what is automatic, what waits for a person."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from integrations import registry
from playbooks.action import Action
from playbooks.chosen import containable
from playbooks.incident import EntityKind
from playbooks.measured import Measured, Took
from playbooks.playbook import Playbook, When
from playbooks.policy import Mode, Policy
from playbooks.taxonomy import IncidentClass, load

ONLY: Final = {
    When.ALWAYS: "",
    When.NAMED: " if only the server is named",
    When.UNATTRIBUTED: " if nobody is named who does it",
    When.CHOSEN: " if a person chose it",
    When.LEAKING: " if a cut leaks",
}


class Cut(NamedTuple):
    """One way in which a playbook contains something.

    Args:
        kind: of what.
        system: where, as `gateway`.
        automatic: without a person, once two facts of different kinds agree.
        final: it cannot be taken back.
        when: the one condition beside.
    """

    kind: EntityKind
    system: str
    automatic: bool
    final: bool
    when: When


class Row(NamedTuple):
    """What one class does.

    Args:
        incident_class: of the taxonomy.
        playbook: its id; None if there is none.
        cuts: what it contains, in its order; nothing without a playbook.
        by_hand: the kinds of things of this class that a person can contain.
        took: what its drills took; None if nobody measured them.
    """

    incident_class: IncidentClass
    playbook: str | None
    cuts: tuple[Cut, ...]
    by_hand: tuple[EntityKind, ...]
    took: Took | None

    @property
    def contains(self) -> str:
        """What is contained where."""
        if not self.cuts:
            return "nothing by itself"
        found: list[str] = []
        ordered = sorted(self.cuts, key=lambda cut: (cut.system, list(ONLY).index(cut.when)))
        for system, at in groupby(ordered, key=lambda cut: cut.system):
            parts = [_kinds(cut for cut in some) + ONLY[when] for when, some in groupby(at, key=lambda cut: cut.when)]
            found.append(f"{system}: {'; '.join(parts)}")
        return ". ".join(found)

    @property
    def automatic(self) -> str:
        """What waits for nobody."""
        kinds = _kinds(cut for cut in self.cuts if cut.automatic)
        return f"{kinds}, once two facts agree" if kinds else "nothing"

    @property
    def waits(self) -> str:
        """What waits for a person."""
        if not self.cuts:
            things = ", ".join(self.by_hand)
            return f"everything: the alert is kept and people are called, who can `mcp-soar contain` its {things}"
        waiting = _kinds(cut for cut in self.cuts if not cut.automatic)
        if not any(cut.automatic for cut in self.cuts):
            return waiting
        return f"{waiting}; whatever is not confirmed" if waiting else "whatever is not confirmed"

    @property
    def drill(self) -> str:
        """What its drills took, in words."""
        if self.took is None:
            return "not measured" if self.playbook else "none"
        took = self.took
        parts = [
            f"contained in {took.automatic:.1f} s" if took.automatic is not None else "",
            f"asked in {took.asked:.1f} s" if took.asked is not None else "",
            f"contained {took.agreed:.1f} s after the yes" if took.agreed is not None else "",
        ]
        return ", ".join(filter(None, parts)) or "not measured"


def _kinds(cuts: Iterable[Cut]) -> str:
    return ", ".join(dict.fromkeys(f"{cut.kind}{' (for good)' if cut.final else ''}" for cut in cuts))


def rows(playbooks: Mapping[IncidentClass, Playbook], policy: Policy, measured: Measured | None) -> tuple[Row, ...]:
    """Return what every class does, those with a playbook first.

    Args:
        playbooks: those in use.
        policy: the gate's rules.
        measured: what the drills took.
    """
    found = []
    for entry in load().classes:
        if not entry.id.actionable:
            continue
        book = playbooks.get(entry.id)
        took = measured.playbooks.get(book.id) if measured and book else None
        by_hand = tuple(kind for kind in containable() if kind in entry.entities)
        found.append(Row(entry.id, book.id if book else None, _cuts(book, policy) if book else (), by_hand, took))
    return tuple(sorted(found, key=lambda row: row.playbook is None))


def _cuts(book: Playbook, policy: Policy) -> tuple[Cut, ...]:
    found = []
    mode = policy.classes.get(book.class_, Mode.APPROVE)
    for _, step in book.steps():
        if step.action is None:
            continue
        action = registry.SYSTEMS.step(step.action)
        if not issubclass(action, Action):
            continue
        final = action.irreversible is not None
        automatic = mode is Mode.AUTOMATIC and not final and action.radius <= policy.automatic_up_to
        found.append(Cut(step.for_each, step.action.partition(".")[0], automatic, final, step.when))
    return tuple(found)


def document(row: Row) -> dict[str, Any]:
    """Return a class as `playbooks list --json` writes it."""
    return {
        "class": row.incident_class.value,
        "playbook": row.playbook,
        "cuts": [
            {
                "kind": cut.kind.value,
                "system": cut.system,
                "automatic": cut.automatic,
                "final": cut.final,
                "when": cut.when.value,
            }
            for cut in row.cuts
        ],
        "by_hand": [kind.value for kind in row.by_hand],
        "drill": row.took.model_dump() if row.took else None,
    }


def markdown(found: Iterable[Row], measured: Measured | None) -> str:
    """Return the classes as a table in Markdown."""
    lines = [
        "| Class | Contains | Automatic | Waits for a person | Its drills took |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| `{row.incident_class}` | {row.contains} | {row.automatic} | {row.waits} | {row.drill} |" for row in found
    ]
    if measured:
        lines += ["", f"Drills: {measured.on.isoformat()}, {measured.machine}, from the alert; the longest of each."]
    return "\n".join(lines)
