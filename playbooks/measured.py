"""How long the playbooks took in their drills: `measured.yaml` beside this file, which `make classes` writes."""

from datetime import date
from importlib import resources

from playbooks.strict import Line, Slug, Strict, parse_yaml

FILE = "measured.yaml"


class Took(Strict):
    """What one playbook's drills took, in seconds; of several the longest.

    Args:
        automatic: from the alert to the verified cut, of what waits for nobody.
        asked: from the alert to the question, of what waits for a person.
        agreed: from their yes to the verified cut.
    """

    automatic: float | None = None
    asked: float | None = None
    agreed: float | None = None


class Measured(Strict):
    """One run of all drills.

    Args:
        version: of this format.
        on: the day.
        machine: on what, with which gateway.
        playbooks: by id.
    """

    version: int
    on: date
    machine: Line
    playbooks: dict[Slug, Took]


def load() -> Measured | None:
    """Return the last measurement that was kept; None if there is none.

    Raises:
        Misconfigured: it was edited into something else.
    """
    file = resources.files("playbooks").joinpath(FILE)
    if not file.is_file():
        return None
    return parse_yaml(Measured, file.read_text(encoding="utf-8"), file=f"playbooks/{FILE}")
