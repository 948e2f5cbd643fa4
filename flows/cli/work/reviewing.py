"""What a reviewer reads: changed definitions as diffs, new ones as text, with a finger on what eyes skip."""

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from flows.cli.output import NotFound, Out
from integrations.hostile import disguises, printable
from integrations.protocol import pins as reading
from playbooks.estate.pins import Pin, PinKind
from playbooks.gate.refusing import can_refuse
from playbooks.screening.rules import Kind
from playbooks.screening.screen import screen

CHANGES = ("new", "changed", "gone", "gateway")
"""How a definition can differ: nobody approved it, its text, that it is there, or only the gateway's copy of it."""

_WORDS = {
    "new": "is new, nobody approved it",
    "changed": "is not what was approved",
    "gone": "is gone",
    "gateway": "is not what was approved at the gateway (the server's own is)",
}
CHANGED = {"new": "new", "changed": "changed", "gone": "gone", "gateway": "other at the gateway"}
"""The same in a word or two."""
_EXCERPT = 120


class PinDifference(NamedTuple):
    """How one definition differs from its pin.

    Args:
        server: whose.
        kind: tool, prompt, resource or instructions.
        name: its name.
        change: new, changed, gone, or `gateway` (only the gateway's copy differs).
        diff: a unified diff; hostile.
    """

    server: str
    kind: str
    name: str
    change: str
    diff: str


class Pointed(NamedTuple):
    """Something in a definition that a reader's eyes skip.

    Args:
        kind: of the definition.
        name: of the definition.
        path: which text of it.
        excerpt: what stands there; hostile.
        means: what it means.
    """

    kind: str
    name: str
    path: str
    excerpt: str
    means: str


class Chosen(NamedTuple):
    """Which definitions somebody wants to see, and so may approve.

    Args:
        names: names, or patterns such as `get_*`; none means all.
        changes: how they differ; none means however.
        flagged: only those in which something is pointed at.
    """

    names: Sequence[str] = ()
    changes: Sequence[str] = ()
    flagged: bool = False

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.names and not self.changes and not self.flagged

    def named(self, name: str) -> bool:
        """Whether a name is wanted."""
        return not self.names or any(name == one or fnmatchcase(name, one) for one in self.names)

    def of(self, found: Sequence[PinDifference], pins: Sequence[Pin]) -> list[PinDifference]:
        """Return the differences that are wanted.

        Args:
            found: all of them.
            pins: what is offered now, for what is pointed at.

        Raises:
            NotFound: a name that nothing has.
        """
        known = {pin.name for pin in pins} | {one.name for one in found}
        strange = [name for name in self.names if not any(name == one or fnmatchcase(one, name) for one in known)]
        if strange:
            raise NotFound(f"nothing is called {', '.join(strange)}")
        chosen = [one for one in found if self.named(one.name) and (not self.changes or one.change in self.changes)]
        if not self.flagged:
            return chosen
        present = {(pin.kind.value, pin.name): pin for pin in pins}
        return [one for one in chosen if (pin := present.get((one.kind, one.name))) and flagged(pin)]


def pointed(pin: Pin) -> list[Pointed]:
    """Return what in a definition is addressed to the model, hides, or asks for what it should not."""
    hits = [hit for hit in screen(pin.definition) if hit.kind is not Kind.INVISIBLE]
    return [Pointed(pin.kind.value, pin.name, hit.path, hit.excerpt, hit.means) for hit in hits]


def flagged(pin: Pin) -> bool:
    """Whether something is pointed at in a definition: what speaks to the model, hides, or reaches for secrets."""
    return bool(hidden(pin) or pointed(pin))


def hidden(pin: Pin) -> tuple[str, ...]:
    """Return the characters of a definition that show nothing, as U+200B."""
    return disguises("\n".join(str(value) for value in pin.definition.values() if value))


def show(
    out: Out, found: Sequence[PinDifference], pins: Sequence[Pin], safe: Collection[tuple[str, str]]
) -> list[Pointed]:
    """Show differences, and return what was pointed at in them.

    Args:
        out: where to.
        found: the differences.
        pins: what is offered now.
        safe: server and name of the tools that people have noted safe arguments for.
    """
    present = {(pin.kind.value, pin.name): pin for pin in pins}
    marks: list[Pointed] = []
    with out.paged(sum(one.diff.count("\n") + 4 for one in found)):
        for one in found:
            pin = present.get((one.kind, one.name))
            _one(out, one, pin)
            if pin is not None:
                marks += _point(out, pin, safe=(one.server, pin.name) in safe)
    return marks


def _one(out: Out, one: PinDifference, pin: Pin | None) -> None:
    out.heading(f"{one.server}: {one.kind} {one.name} {_WORDS[one.change]}")
    if one.change == "new" and pin is not None:
        for line in reading.text(pin).split("\n"):
            out.say(line, indent=2)
        return
    for line in one.diff.split("\n"):
        style = "good" if line.startswith("+") else "bad" if line.startswith("-") else "dim"
        out.say(line, style, indent=2)


def _point(out: Out, pin: Pin, *, safe: bool) -> list[Pointed]:
    if shown := hidden(pin):
        out.say(f"! {pin.kind} {pin.name} holds hidden characters: {', '.join(shown)}", "bad")
    if pin.kind is PinKind.TOOL and not (can_refuse(pin.definition.get("inputSchema")) or safe):
        out.say(
            f"! tool {pin.name}: its schema refuses no call, so that a cut of it cannot be proven by calling it; note "
            "safe_arguments for it in inventory.yaml, or know that what the gateway answers has to do",
            "warn",
        )
    marks = pointed(pin)
    for mark in marks:
        out.say(f"! {pin.kind} {pin.name}, {mark.path}: “{printable(mark.excerpt, _EXCERPT)}”: {mark.means}", "bad")
    return marks
