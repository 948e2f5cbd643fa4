"""What came in about an incident: alerts, how often they were repeated, what people asked for and noted."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from playbooks.record.incident import Confidence, Severity
from playbooks.strict import iso


@dataclass(slots=True)
class HeardAlert:
    """One alert of an incident."""

    source: str
    external_id: str
    state: str
    authenticated: bool
    confidence: Confidence
    severity: Severity
    receipt: str
    digest: str
    detected_at: datetime
    accepted_at: datetime
    rule: str
    title: str
    entities: frozenset[str]
    named: frozenset[str] = frozenset()
    """Of these, the servers that it is about itself."""
    first_in: str = ""
    """The incident that was told of it, if that was joined to this one."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often a source said what an incident has already.

    Args:
        messages: how many.
        since: when the first of them came.
        until: when the last of them came.
    """

    messages: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Counted:
    """One count of messages that an incident was given and did not write down.

    Args:
        number: of the count, from 1.
        after: the messages were moved to the incident after this moment, in seconds since 1970.
        until: and not after this one.
        sources: who sent how many.
    """

    number: int
    after: float
    until: float
    sources: dict[str, Repeats]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A person's signed wish to give something back.

    Args:
        actor: who.
        at: when.
        reason: why, in their words.
        lease: only this one; None means all.
        accept_changed: they saw that a definition differs from its pin, and accept it.
        seq: its place in the stream; leases opened later are not meant.
        shown: kind, id and digest of what they saw that nobody approved so, and signed for.
    """

    actor: str
    at: datetime
    reason: str
    lease: str | None
    accept_changed: bool
    seq: int
    shown: frozenset[tuple[str, str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Wish:
    """Why a person wants something contained, in their own words.

    Args:
        by: who.
        at: when.
        reason: what they said.
        about: keys of what they named; None if they named nothing, and mean all that is done.
    """

    by: str
    at: datetime
    reason: str
    about: frozenset[str] | None = None

    @classmethod
    def read(cls, body: dict[str, Any]) -> "Wish":
        """Return the wish that `body` gave."""
        about = frozenset(body["about"]) if body["about"] is not None else None
        return cls(by=body["by"], at=datetime.fromisoformat(body["at"]), reason=body["reason"], about=about)

    def body(self) -> dict[str, Any]:
        """Return it as an entry keeps it."""
        about = [*sorted(self.about)] if self.about is not None else None
        return {"by": self.by, "at": iso(self.at), "reason": self.reason, "about": about}


@dataclass(frozen=True, slots=True)
class Note:
    """What a person wrote into an incident."""

    by: str
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How well founded it is to act on one entity: the best of what authenticated alerts and our own checks say.

    Args:
        authenticated: an authenticated source reported it, or a person did.
        confidence: of the best of these.
        severity: the worst that they say.
        confirmed: two facts of different kinds agree.
        missing: why it is not confirmed; empty if it is.
    """

    authenticated: bool
    confidence: Confidence
    severity: Severity
    confirmed: bool
    missing: str = ""
