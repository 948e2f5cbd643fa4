"""A difference between two definitions as people read it: a unified diff, line by line, and what was said beside it.

What a check observed is often such a diff. On one line nobody can read it, so whoever shows it takes it apart first.
"""

from typing import NamedTuple

_BEGINS = "--- approved "
"""How a diff of one field begins; `integrations.protocol.pins.diff` writes them."""


class Diff(NamedTuple):
    """A reason that is a difference.

    Args:
        reason: the same on one line, as it stands among the reasons.
        about: of what it is.
        diff: a unified diff; hostile.
    """

    reason: str
    about: str
    diff: str


class Parted(NamedTuple):
    """What was observed, taken apart.

    Args:
        said: what stands before a diff; all of it if there is none.
        diff: a unified diff; empty if there is none.
        fields: the fields of which it is.
    """

    said: str
    diff: str
    fields: tuple[str, ...]

    @property
    def short(self) -> str:
        """What it says where a diff has no room."""
        if not self.diff:
            return self.said
        return "; ".join(filter(None, (self.said, f"not as approved in {', '.join(self.fields)}")))


def parted(observed: str) -> Parted:
    """Take what was observed apart.

    Args:
        observed: what came back, of whatever check; hostile.
    """
    lines = observed.split("\n")
    first = next((n for n, line in enumerate(lines) if line.startswith(_BEGINS)), None)
    if first is None:
        return Parted(observed, "", ())
    fields = [line.removeprefix(_BEGINS) for line in lines[first:] if line.startswith(_BEGINS)]
    return Parted("\n".join(lines[:first]), "\n".join(lines[first:]), tuple(dict.fromkeys(fields)))
