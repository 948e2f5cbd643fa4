"""What the screening finds in the labelled set, as the table in `docs/screening.md` (`make screening` writes it)."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from playbooks.screening.screen import poisoned, screen

LABELLED = Path(__file__).parent / "labelled"
DOCUMENT = Path(__file__).parents[3] / "docs" / "screening.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


LAST = "last"
"""The group that was written after the rules."""

EVADING = "evading"
"""The group that was written with the rules in view; none of it is held out."""


def _held_out(group: str, count: int) -> bool:
    return group == LAST or (group != EVADING and count % 2 == 0)


class Sample(NamedTuple):
    """One labelled definition.

    Args:
        bad: whether it is poisoned.
        group: the kind of poison, or the group of clean ones.
        name: the tool's name.
        definition: as a server gives it.
        held_out: whether it was put aside while the rules were written.
    """

    bad: bool
    group: str
    name: str
    definition: dict[str, Any]
    held_out: bool


def samples() -> Iterator[Sample]:
    """Yield the whole set."""
    bad: dict[str, list[dict[str, Any]]] = yaml.safe_load((LABELLED / "poisoned.yaml").read_text("utf-8"))
    for group, items in bad.items():
        for count, item in enumerate(items, 1):
            made = definition(item["name"], item["description"], item.get("parameters", {}))
            yield Sample(bad=True, group=group, name=item["name"], definition=made, held_out=_held_out(group, count))
    clean: dict[str, dict[str, Any]] = yaml.safe_load((LABELLED / "clean.yaml").read_text("utf-8"))
    for group, named in clean.items():
        for count, (name, said) in enumerate(named.items(), 1):
            text, parameters = (said, {}) if isinstance(said, str) else said
            made = definition(name, text, parameters)
            yield Sample(bad=False, group=group, name=name, definition=made, held_out=_held_out(group, count))


def definition(name: str, description: str, parameters: dict[str, str]) -> dict[str, Any]:
    """Return a tool's definition."""
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    return {"name": name, "description": description, "inputSchema": {"type": "object", "properties": properties}}


class Measured(NamedTuple):
    """What came of the set.

    Args:
        found: how many the screening calls poisoned, by (bad, group, held out).
        of: how many there are, likewise.
        wrong: those that it is wrong about.
    """

    found: Counter[tuple[bool, str, bool]]
    of: Counter[tuple[bool, str, bool]]
    wrong: list[Sample]

    def share(self, *, bad: bool, held_out: bool | None = None, group: str | None = None) -> tuple[int, int]:
        """Return how many were called poisoned, and of how many."""
        wanted = [
            key
            for key in self.of
            if key[0] is bad and (held_out is None or key[2] is held_out) and (group is None or key[1] == group)
        ]
        return sum(self.found[key] for key in wanted), sum(self.of[key] for key in wanted)


@cache
def measure() -> Measured:
    """Screen the whole set."""
    found: Counter[tuple[bool, str, bool]] = Counter()
    of: Counter[tuple[bool, str, bool]] = Counter()
    wrong: list[Sample] = []
    for sample in samples():
        key = (sample.bad, sample.group, sample.held_out)
        said = poisoned(screen(sample.definition))
        found[key] += said
        of[key] += 1
        if said is not sample.bad:
            wrong.append(sample)
    return Measured(found, of, wrong)


def table(measured: Measured) -> str:
    """Return the table in Markdown."""
    rows = ["| | All | Held out |", "|---|---|---|"]
    for bad, title in ((True, "Poisoned, found"), (False, "Clean, false alarms")):
        rows.append(f"| **{title}** | {of(measured, bad=bad)} | {of(measured, bad=bad, held_out=True)} |")
        groups = dict.fromkeys(key[1] for key in measured.of if key[0] is bad)
        rows += [
            f"| {group.replace('_', ' ')} | {of(measured, bad=bad, group=group)}"
            f" | {of(measured, bad=bad, group=group, held_out=True)} |"
            for group in groups
        ]
    return "\n".join(rows)


def of(measured: Measured, *, bad: bool, group: str | None = None, held_out: bool | None = None) -> str:
    """Return how many of a group the screening calls poisoned, as a table has it."""
    found, all_ = measured.share(bad=bad, group=group, held_out=held_out)
    if not all_:
        return "none"
    return f"{found} of {all_}" + (f" ({100 * found / all_:.1f} %)" if group is None else "")


def written() -> str:
    """Return the document as it has to be."""
    before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(measure())}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(), "utf-8")
