"""What each class of incident does today: what is contained where, what is automatic, what waits for a person."""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, Final, NamedTuple

from flows.service.settings import systems
from playbooks.action import Action
from playbooks.chosen import containable
from playbooks.gate.policy import Policy
from playbooks.gate.rules import Mode
from playbooks.measured import Measured, Took
from playbooks.playbook import Playbook, When
from playbooks.record.incident import EntityKind
from playbooks.taxonomy import IncidentClass, load

ONLY: Final = {
    When.ALWAYS: "",
    When.NAMED: " if only the server is named",
    When.UNATTRIBUTED: " if nobody is named who does it",
    When.CHOSEN: " if a person chose it",
    When.LEAKING: " if a cut leaks",
    When.CONTAINED: " once all other cuts of it hold",
}


class Cut(NamedTuple):
    """One way in which a playbook contains something.

    Args:
        kind: of what.
        system: where, as `gateway`.
        automatic: without a person, once two facts of different kinds agree.
        where: the policy's rules, by their number, after which that depends on the server that is touched.
        final: it cannot be taken back.
        when: the one condition beside.
        takes: what of it; nothing if it is the thing itself.
    """

    kind: EntityKind
    system: str
    automatic: bool
    final: bool
    when: When
    takes: str = ""
    where: tuple[int, ...] = ()


class ClassRow(NamedTuple):
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
        kinds = _kinds(cut for cut in self.cuts if cut.automatic or cut.where)
        return f"{kinds}, once two facts agree" if kinds else "nothing"

    @property
    def waits(self) -> str:
        """What waits for a person."""
        if not self.cuts:
            things = ", ".join(self.by_hand)
            return f"everything: the alert is kept and people are called, who can `mcp-soar contain` its {things}"
        waiting = _kinds(cut for cut in self.cuts if not cut.automatic and not cut.where)
        if not any(cut.automatic or cut.where for cut in self.cuts):
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
    said = (f"{_named(cut)}{' (for good)' if cut.final else ''}{_ruled(cut.where)}" for cut in cuts)
    return ", ".join(dict.fromkeys(said))


def _named(cut: Cut) -> str:
    return f"{cut.kind}'s {cut.takes}" if cut.takes else cut.kind.value


def _ruled(where: tuple[int, ...]) -> str:
    if not where:
        return ""
    return f" (subject to rule{'s' if len(where) > 1 else ''} {', '.join(map(str, where))} of policy.yaml)"


def rows(
    playbooks: Mapping[IncidentClass, Playbook], policy: Policy, measured: Measured | None
) -> tuple[ClassRow, ...]:
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
        found.append(ClassRow(entry.id, book.id if book else None, _cuts(book, policy) if book else (), by_hand, took))
    return tuple(sorted(found, key=lambda row: row.playbook is None))


def _cuts(book: Playbook, policy: Policy) -> tuple[Cut, ...]:
    found = []
    for _, step in book.steps():
        if step.action is None:
            continue
        action = systems().step(step.action)
        if not issubclass(action, Action):
            continue
        final = action.irreversible is not None
        automatic, where = _outlook(book.class_, action, policy)
        system = step.action.partition(".")[0]
        found.append(Cut(step.for_each, system, automatic, final, step.when, takes=action.takes, where=where))
    return tuple(found)


def _outlook(incident_class: IncidentClass, action: type[Action], policy: Policy) -> tuple[bool, tuple[int, ...]]:
    """Return whether a class's action is automatic on any server, and else the rules by which it depends on which."""
    if action.irreversible is not None:
        return False, ()
    seen: list[tuple[int, bool]] = []
    otherwise = False
    for number, rule in enumerate(policy.in_order, 1):
        if not rule.of_step(incident_class, action.name):
            continue
        automatic = rule.mode is Mode.AUTOMATIC and action.radius <= (rule.up_to or policy.automatic_up_to)
        if not rule.of_servers:
            otherwise = automatic
            break
        seen.append((number, automatic))
    where = tuple(number for number, _ in seen) if any(found is not otherwise for _, found in seen) else ()
    return otherwise and not where, where


def document(row: ClassRow) -> dict[str, Any]:
    """Return a class as `playbooks list --json` writes it."""
    return {
        "class": row.incident_class.value,
        "playbook": row.playbook,
        "cuts": [
            {
                "kind": cut.kind.value,
                "takes": cut.takes,
                "system": cut.system,
                "automatic": cut.automatic,
                "rules": list(cut.where),
                "final": cut.final,
                "when": cut.when.value,
            }
            for cut in row.cuts
        ],
        "by_hand": [kind.value for kind in row.by_hand],
        "drill": row.took.model_dump() if row.took else None,
    }


def markdown(found: Iterable[ClassRow], measured: Measured | None) -> str:
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
