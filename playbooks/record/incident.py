"""What an incident is about: alerts, the entities that they name, and the words for where a response stands."""

from collections.abc import Sequence
from enum import IntEnum, StrEnum

from pydantic import Field

from playbooks.strict import Line, Moment, Name, Prose, Slug, Strict
from playbooks.taxonomy import EntityKind, IncidentClass, MarkKind, Severity
from playbooks.text.sentences import named

__all__ = [
    "Alert",
    "AlertState",
    "Claimed",
    "Confidence",
    "Entity",
    "EntityKind",
    "IncidentClass",
    "MarkKind",
    "Phase",
    "Severity",
    "Status",
]


class Entity(Strict):
    """One thing that an alert names, in the alert's own words: a claim until the inventory resolves it.

    Args:
        kind: what it is.
        name: what the alert calls it.
        server: the server that it belongs to, as the alert calls it, if it says.
    """

    kind: EntityKind
    name: Name
    server: Name | None = None

    def __str__(self) -> str:
        return named((f"{self.kind} ", self.name), *([(" of ", self.server)] if self.server else []))


class Claimed(Strict):
    """What an alert says that was found, beside the things that it names.

    Args:
        kind: indicator, digest, vulnerability, text.
        value: what it is; of a text all of it, or its beginning.
    """

    kind: MarkKind
    value: Prose


class AlertState(StrEnum):
    """Whether an alert reports something new. Only `new` may start containment."""

    NEW = "new"
    UPDATED = "updated"
    RESOLVED = "resolved"


class Alert(Strict):
    """One message from a detection source, normalised.

    Args:
        source: the configured source that sent it.
        external_id: the source's own id of the thing that it reports; repeats share it.
        state: new, updated or resolved.
        rule: the detection's name, as the source gives it.
        title: one line for people; hostile.
        severity: on our scale.
        detected_at: when the source says that it saw it.
        incident_class: the class that the source's configuration gives it; None if nothing matched.
        entities: what it names.
        excerpt: a short hostile text for people (the raw bytes are exhibit 0).
        marks: what it says that was found, which alerts about other things may have in common with it.
    """

    source: Slug
    external_id: Line
    state: AlertState = AlertState.NEW
    rule: Line
    title: Prose
    severity: Severity
    detected_at: Moment
    incident_class: IncidentClass | None = None
    entities: tuple[Entity, ...] = Field(default=(), max_length=100)
    excerpt: Prose = ""
    marks: tuple[Claimed, ...] = Field(default=(), max_length=100)


class Confidence(IntEnum):
    """How far a source may be believed; set in its configuration, never by its alerts."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


class Phase(StrEnum):
    """The order of a response."""

    FREEZE = "freeze"
    CUT = "cut"
    CAPTURE = "capture"
    ISOLATE = "isolate"
    PRESERVE = "preserve"
    ERADICATE = "eradicate"
    RECOVER = "recover"
    REVIEW = "review"


class Status(StrEnum):
    """Where an incident stands, computed from its journal."""

    TRIAGE = "triage"
    CONTAINING = "containing"
    AWAITING_APPROVAL = "awaiting_approval"
    CONTAINED = "contained"
    NOT_ESTABLISHED = "not_established"
    RECOVERING = "recovering"
    RELEASED = "released"
    JOINED = "joined"
    """It goes on in another one; what it still holds is in force, and nothing here needs anybody."""
    CLOSED = "closed"
    FROZEN = "frozen"

    def stands(self, part_of: str | None, awaits: Sequence[str] = ()) -> str:
        """Return it in words; of an incident that goes on in another one, in which.

        Args:
            part_of: that other one.
            awaits: what people are asked to approve, as `cut`; each once.
        """
        # No colour is needed to tell the bad ones.
        bad = {Status.NOT_ESTABLISHED: "NOT contained", Status.FROZEN: "FROZEN"}
        words = bad.get(self, self.value.replace("_", " "))
        if self is Status.AWAITING_APPROVAL and awaits:
            words = f"{', '.join(awaits)} {'awaits' if len(awaits) == 1 else 'await'} approval"
        if part_of is None or self in {Status.CLOSED, Status.FROZEN}:
            return words
        return f"joined to {part_of}" if self is Status.JOINED else f"{words}, joined to {part_of}"
