"""A playbook's own test, as data beside it: a world, an alert, and what the response to it has to come to.

The contract test of the playbooks runs each on real systems, so a playbook without a drill does not ship.
"""

from importlib import resources
from typing import Literal

from pydantic import Field

from playbooks.incident import EntityKind, Phase, Severity, Status
from playbooks.playbook import Playbook
from playbooks.policy import SeverityName
from playbooks.state import Progress
from playbooks.strict import Line, Name, Slug, Strict, parse_yaml


class Attack(Strict):
    """How the lab's server behaves while it is attacked.

    Args:
        poisoned: tools whose description carries instructions for the model.
        described: tools whose description is another one.
        added: tools that nobody approved.
        injecting: answers carry instructions for the model.
    """

    poisoned: tuple[Name, ...] = ()
    described: dict[Name, Line] = Field(default_factory=dict)
    added: tuple[Name, ...] = ()
    injecting: bool = False


class About(Strict):
    """One thing that the alert names, beside the lab's server."""

    kind: EntityKind
    name: Name


class Given(Strict):
    """The alert.

    Args:
        tag: which the source's configuration maps to the class.
        severity: of the alert.
        entities: what it names.
    """

    tag: Slug
    severity: SeverityName = Severity.HIGH
    entities: tuple[About, ...] = Field(min_length=1)


class StepEnds(Strict):
    """How one step has to end.

    Args:
        id: of the playbook.
        phase: where it runs.
        ends: where it stands when the evidence is sealed.
    """

    id: Slug
    phase: Phase
    ends: Progress


class Expected(Strict):
    """What the response has to come to.

    Args:
        status: of the incident.
        steps: every step of the playbook that runs, in order.
        exhibits: the kinds that are sealed, the raw alert among them.
        unusable: tools that an agent cannot use then.
        usable: tools that it still can.
        notices: what people are told of, by the first word.
    """

    status: Status
    steps: tuple[StepEnds, ...] = Field(min_length=1)
    exhibits: tuple[Slug, ...]
    unusable: tuple[Name, ...] = ()
    usable: tuple[Name, ...] = ()
    notices: tuple[Slug, ...]


class Recovered(Strict):
    """What a release, once the server behaves again, has to come to.

    Args:
        refused_while_attacked: asked for before that, it waits for another person.
        status: of the incident.
        usable: tools that an agent can use again.
        restored: the gateway is byte for byte what it was before.
    """

    refused_while_attacked: bool = True
    status: Status = Status.RECOVERING
    usable: tuple[Name, ...] = ()
    restored: Literal[True] = True


class Drill(Strict):
    """One exercise.

    Args:
        version: of this format.
        playbook: whose.
        title: one line.
        attack: what the server does.
        alert: what a source says of it.
        expected: what comes of that.
        release: what comes of a release.
    """

    version: Literal[1]
    playbook: Slug
    title: Line
    attack: Attack
    alert: Given
    expected: Expected
    release: Recovered | None = None


def drill_of(playbook: Playbook) -> Drill | None:
    """Return the drill that ships beside a playbook, None if it has none.

    Raises:
        Misconfigured: with file, line, field and what to write.
    """
    file = resources.files("playbooks").joinpath("catalog", f"{playbook.id}.drill.yaml")
    if not file.is_file():
        return None
    return parse_yaml(Drill, file.read_text(encoding="utf-8"), file=f"playbooks/catalog/{playbook.id}.drill.yaml")
