"""What a check by schedule finds, and what the journal keeps of its run. Pure."""

import hashlib
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, TypeAdapter

from playbooks.gate.plan import Answer
from playbooks.record.figure import KeptFigure
from playbooks.record.trust import KeptTrust, Reason
from playbooks.strict import Json, Moment, RedactedLine, Slug, Strict
from playbooks.taxonomy import EntityKind, IncidentClass, MarkKind, Severity

KIND: Final = "check"
"""The kind of an inbox entry that holds a `Ran` or an `Asked`."""

CHECK: Final = "check/"
"""Begins the name of the stream of a check's runs."""

ASKED: Final = "asked/"
"""Begins the name of the stream of a check that was asked for, and of how far that is."""

AGAIN: Final = 600.0
"""Seconds that pass at least between two times that a check is asked for."""

NAMED: Final = 200
"""Findings, and pieces that could not be asked, that the journal names of one run; what is beyond is counted."""

_SHORT: Final = 300
"""Characters of a text that the journal keeps."""


class About(NamedTuple):
    """A thing that a finding is about, as an alert names it.

    Args:
        kind: what it is.
        name: as the inventory, or whoever offers it, calls it.
        server: whose it is.
    """

    kind: EntityKind
    name: str
    server: str | None = None


class Found(NamedTuple):
    """Something that is not as it should be.

    Args:
        id: what tells it from everything else that the check looks at, while it is there.
        subject: what people call the thing; may be hostile.
        what: which of its properties; empty for the thing itself.
        expected: what that should be.
        observed: what it is, after the word *is*.
        severity: how grave.
        incident_class: what an alert of it is, unless the source's own rules say another.
        remedy: what to do about it.
        state: as long as that is the same, it is the same finding.
        rule: what an alert of it is called.
        answer: `not established`, or `unknown` where it could not be told.
        about: what an alert of it names.
        tags: of an alert; its class, if it has none.
        diff: before and after, if there is more to read; hostile.
        marks: what alerts about other things may have in common with it; hostile.
        together: findings with the same are told in one message; empty for none.
        tells: whether it becomes an alert.
        grip: the field that it speaks of, as `Change.grip` says it; empty if nothing of ours ever writes that.
        value: what that field is.
    """

    id: str
    subject: str
    what: str
    expected: str
    observed: str
    severity: Severity
    incident_class: IncidentClass
    remedy: str
    state: str
    rule: str
    answer: Answer = Answer.NOT_ESTABLISHED
    about: tuple[About, ...] = ()
    tags: tuple[str, ...] = ()
    diff: str = ""
    marks: tuple[tuple[MarkKind, str], ...] = ()
    together: str = ""
    tells: bool = True
    grip: str = ""
    value: Json = None

    @property
    def said(self) -> str:
        """It in one sentence."""
        return _sentence(self.subject, self.what, self.observed)

    @property
    def key(self) -> str:
        """What it is known again by at the next run."""
        return difference(self)

    @property
    def servers(self) -> tuple[str, ...]:
        """Whose it is, of the servers."""
        named = (one.name if one.kind is EntityKind.SERVER else one.server for one in self.about)
        return tuple(dict.fromkeys(name for name in named if name))


def _sentence(subject: str, what: str, observed: str) -> str:
    return f"{subject}: {what} is {observed}" if what else f"{subject} is {observed}"


def difference(*found: Found) -> str:
    """Return what tells findings that are told together from what is told otherwise."""
    return hashlib.sha256("\n\n".join(one.state for one in found).encode()).hexdigest()[:32]


_Text = Annotated[RedactedLine, Field(max_length=2000)]


class KeptFinding(Strict):
    """A finding, as the journal keeps it.

    Args:
        key: of the finding.
        since: of the first run that found it so, without one between that did not.
        subject: as in the finding, like the rest.
        servers: whose it is.
    """

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    since: Moment
    subject: _Text
    what: _Text
    expected: _Text
    observed: _Text
    answer: Answer
    severity: Annotated[str, Field(pattern=f"^({'|'.join(one.label for one in Severity)})$")]
    incident_class: IncidentClass
    remedy: _Text
    servers: Annotated[tuple[_Text, ...], Field(max_length=NAMED)] = Field(default=(), exclude_if=lambda some: not some)

    def reason(self, check: str) -> Reason:
        """Return it as something that speaks against its servers.

        Args:
            check: which found it.
        """
        return Reason(check, self.what, self.said, Severity[self.severity.upper()], self.incident_class)

    @property
    def said(self) -> str:
        """It in one sentence."""
        return _sentence(self.subject, self.what, self.observed)


class KeptUnasked(Strict):
    """What could not be asked, is not asked from there, or is what an incident holds, and why."""

    piece: _Text
    why: _Text


class Ran(Strict):
    """One run of a check.

    Args:
        check: which.
        by: what started it.
        began: when.
        ended: when.
        pieces: how many there are.
        asked: of how many we know how they are.
        found: what is not as it should be.
        differ: how many there are of that.
        unknown: what could not be asked.
        left_out: what is not asked from there.
        trust: how far each server is trusted, of a check that says so.
        figures: what it measured, with what that was before.
        held: what is as an incident holds it, and so no finding; earlier releases did not say.
    """

    check: Slug
    by: Literal["schedule", "hand"]
    began: Moment
    ended: Moment
    pieces: Annotated[int, Field(ge=0, le=10**9)]
    asked: Annotated[int, Field(ge=0, le=10**9)]
    found: Annotated[tuple[KeptFinding, ...], Field(max_length=NAMED)]
    differ: Annotated[int, Field(ge=0, le=10**9)]
    unknown: Annotated[tuple[KeptUnasked, ...], Field(max_length=NAMED)]
    left_out: Annotated[tuple[KeptUnasked, ...], Field(max_length=NAMED)]
    trust: Annotated[tuple[KeptTrust, ...], Field(max_length=NAMED)] = Field(
        default=(), exclude_if=lambda some: not some
    )
    held: Annotated[tuple[KeptUnasked, ...], Field(max_length=NAMED)] = ()

    figures: Annotated[tuple[KeptFigure, ...], Field(max_length=NAMED)] = Field(
        default=(), exclude_if=lambda some: not some
    )

    @property
    def partial(self) -> bool:
        """Whether there is something of which it does not say how it is."""
        return self.asked < self.pieces


class Asked(Strict):
    """A check is to be run where the credentials are that it takes.

    Args:
        asked: which.
    """

    asked: Slug


SAID: Final[TypeAdapter[Ran | Asked]] = TypeAdapter(Ran | Asked)
"""What a check of ours may say to the receiver."""


def row(found: Found, since: Moment) -> KeptFinding:
    """Return what is kept of a finding.

    Args:
        found: it.
        since: see `KeptFinding`.
    """
    return KeptFinding(
        key=found.key,
        since=since,
        subject=line(found.subject),
        what=line(found.what),
        expected=line(found.expected),
        observed=line(found.observed),
        answer=found.answer,
        severity=found.severity.label,
        incident_class=found.incident_class,
        remedy=line(found.remedy),
        servers=tuple(line(one) for one in found.servers[:NAMED]),
    )


def line(text: str) -> str:
    """Return a text that may be hostile as one line, of a length that is kept."""
    return " ".join("".join(character if character.isprintable() else " " for character in text[:_SHORT]).split())
