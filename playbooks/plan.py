"""The frozen list of what would be done. Its digest is what people approve."""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Self

from pydantic import Field
from typing_extensions import override

from playbooks.strict import Digest, JsonField, Line, Name, Redacted, RedactedLine, Slug, Strict, canonical, digest


class Radius(IntEnum):
    """How much breaks if the action hits the wrong target. Wider is larger."""

    TOKEN = 1
    TOOL = 2
    PRINCIPAL = 3
    SERVER = 4
    FLEET = 5


class Target(Strict):
    """One object of one outside system, by the id that never changes hands.

    Args:
        system: the connection that reaches it, as `gateway/main`.
        kind: its kind there, as `tool`.
        id: its immutable id there (UID, UUID, jti), never its name.
        name: what people call it.
        server: the inventory's server that it belongs to, if it belongs to one.
    """

    system: str = Field(pattern=r"^[a-z0-9-]+/[a-z0-9_.-]+$")
    kind: Slug
    id: Name
    name: Name
    server: Slug | None = None

    @property
    def key(self) -> str:
        """The object as one string, for holds."""
        return f"{self.system}/{self.kind}/{self.id}"

    @property
    def thing(self) -> str:
        """What it is, whatever id it has just now: a tool that is deleted and taken in again is the same thing."""
        return f"{self.system}/{self.kind}/{self.server}/{self.name}" if self.server else self.key

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" of {self.server}" if self.server and self.kind != "server" else "")


class Change(Strict):
    """One field of one object, before and after. Equal values are a grip on what is already so."""

    target: Target
    field: Slug
    before: JsonField
    after: JsonField

    @property
    def grip(self) -> str:
        """The held field as one string."""
        return f"{self.target.key}#{self.field}"

    @property
    def pending(self) -> bool:
        """Whether there is something to write."""
        return canonical(self.before) != canonical(self.after)

    def within(self, shown: "Change") -> bool:
        """Whether it does no more than another one of its field says: the same, or nothing, for it is so already."""
        if (self.target, canonical(self.after)) != (shown.target, canonical(shown.after)):
            return False
        return not self.pending or canonical(self.before) == canonical(shown.before)

    def inverse(self) -> "Change":
        """Return the change that takes this one back."""
        return self.model_copy(update={"before": self.after, "after": self.before})

    def __str__(self) -> str:
        return f"{self.target}: {self.field} {_show(self.before)} → {_show(self.after)}"


def _show(value: object) -> str:
    return canonical(value).decode()


class Irreversible(Strict):
    """Why an effect cannot be taken back; it always needs a human."""

    because: Line


class Beside(Strict):
    """Something that a server offers beside what is cut, as it was at some moment; nobody approved it so.

    Args:
        kind: tool, prompt or resource.
        name: what its server calls it.
        id: its immutable id, there and in the inventory.
        digest: of its definition, as it was held then.
        given_back: who gave it back as it is, and where; empty for what was there when a cut was planned.
        approved: the digest of the pin of its name at that moment; empty if there was none.
    """

    kind: Slug
    name: Name
    id: Name
    digest: Digest
    given_back: Line = Field(default="", exclude_if=lambda who: not who)
    approved: Line = Field(default="", exclude_if=lambda pin: not pin)

    @property
    def thing(self) -> tuple[str, str, str, str]:
        """What it is: under its name may come another thing, or another definition."""
        return self.kind, self.name, self.id, self.digest


class Unapproved(NamedTuple):
    """What of a server is not what people approved, when something of it is given back.

    Args:
        back: what comes back.
        beside: what else clients have of it that nobody ever approved, and that was not there when it was cut.
    """

    back: tuple[Beside, ...] = ()
    beside: tuple[Beside, ...] = ()


class Plan(Strict):
    """What an action would do, as data.

    Args:
        action: the action's registered name.
        params: its parameters.
        summary: one plain sentence that names every target.
        changes: what is gripped, in order; the ones that are already so included.
        radius: how much it touches.
        irreversible: why it cannot be undone, if it cannot.
        destroys: the kinds of exhibit that carrying it out would destroy.
        breaks: one sentence on what stops working for people while it lasts.
        beside: what its server offered beside it when this was planned, as the inventory knew it, and nobody approved:
            it did not come later, so that this cut is never widened to it. Plans of before have kind and name alone.
    """

    action: Slug
    params: dict[str, JsonField]
    summary: Redacted
    changes: tuple[Change, ...]
    radius: Radius
    irreversible: Irreversible | None = None
    destroys: tuple[Slug, ...] = ()
    breaks: Redacted = ""
    # Not written where there is nothing, so that plans of before keep the digests that people signed.
    beside: tuple[Beside | tuple[Slug, Name], ...] = Field(default=(), exclude_if=lambda beside: not beside)

    @property
    def pending(self) -> tuple[Change, ...]:
        """The changes that there are still to make."""
        return tuple(change for change in self.changes if change.pending)

    @property
    def undone(self) -> tuple[Change, ...]:
        """What taking it back would change; nothing if it cannot be taken back."""
        return () if self.irreversible else tuple(change.inverse() for change in self.pending)

    @property
    def targets(self) -> tuple[Target, ...]:
        """Each object once, in order."""
        return tuple({change.target.key: change.target for change in self.changes}.values())

    @cached_property
    def digest(self) -> Digest:
        """What an approval is bound to."""
        return digest(self)

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields changed; it is another plan, so it has a digest of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("digest", None)
        return copied

    def stands(self, anew: "Plan") -> bool:
        """Whether it still is what would be done: planned anew, nothing but what is beside it is another.

        Its server chooses what is beside it, and must not have people asked again and again.
        """
        one, other = (plan.model_copy(update={"beside": (), "breaks": ""}) for plan in (self, anew))
        return self.beside != anew.beside and one.digest == other.digest

    def covers(self, anew: "Plan") -> bool:
        """Whether all that a plan made anew would do is what this one says, so that a yes to this one is one to that.

        Meanwhile some of it may have been done by others, or be there no longer; nothing may be more, or otherwise.
        """
        shown = {change.grip: change for change in self.changes}
        left = {change.grip for change in anew.changes}
        in_order = [change.grip for change in self.changes if change.grip in left]
        alike = ("action", "params", "radius", "irreversible")
        return (
            all(getattr(self, name) == getattr(anew, name) for name in alike)
            and set(anew.destroys) <= set(self.destroys)
            and (self.beside != anew.beside or self.breaks == anew.breaks)
            and in_order == [change.grip for change in anew.changes]
            and all(change.within(shown[change.grip]) for change in anew.changes)
        )

    def inverse(self) -> "Plan":
        """Return the plan that restores what was there, last change first; that breaks nothing for anybody."""
        changes = tuple(change.inverse() for change in reversed(self.changes))
        return self.model_copy(update={"summary": undoing(self.summary), "changes": changes, "breaks": ""})


def undoing(summary: str) -> str:
    """Return what restoring does, from the sentence that says what was done.

    It does not say *enable*: what was disabled before the incident comes back disabled.
    """
    verb, _, rest = summary.partition(" ")
    return f"Give back {rest}" if verb in {"Disable", "Deactivate"} else f"Undo: {summary}"[:20_000]


class Answer(StrEnum):
    """What a verification found. `unknown` never counts as established."""

    ESTABLISHED = "established"
    NOT_ESTABLISHED = "not_established"
    UNKNOWN = "unknown"


EXPOSURE = "exposure"
"""The check of whatever else clients can have of a server."""

NOT_RUN = "the gateway finds it, and it was not run: that it works is not proven"
"""How a finding begins that shows that a thing is offered again, and nothing of whether it works."""

LET_BE = "not touched, for "
"""Begins what that check says of what a person gave back as it is."""


class Finding(Strict):
    """One question put to the world.

    Args:
        check: what was asked, as `call`, `list`, `control`, `exposure`, `token`.
        subject: of what.
        asked_as: the principal that asked, or the canary that stood in for it.
        expected: what a held containment would answer.
        observed: what came back (short, hostile); with a remedy, why it is not proven, as a clause.
        answer: what that means.
        remedy: what a person can do where it is not established, as a clause; empty if there is nothing to say.
    """

    check: Slug
    subject: RedactedLine
    asked_as: Line
    expected: RedactedLine
    observed: Redacted
    answer: Answer
    remedy: RedactedLine = ""


class Widening(Strict):
    """A further step that a verification found to be necessary; it passes the gate like any other.

    Args:
        action: the action's registered name.
        params: its parameters.
        because: what slipped in.
        describes: what slipped in is a change that only describes: people are asked, whatever else is automatic.
    """

    action: Slug
    params: dict[str, JsonField]
    because: RedactedLine
    describes: bool = False


class Verdict(Strict):
    """The answer of a verification, with what it rests on."""

    answer: Answer
    findings: tuple[Finding, ...] = ()
    widen: tuple[Widening, ...] = ()

    @classmethod
    def of(cls, findings: tuple[Finding, ...], widen: tuple[Widening, ...] = ()) -> "Verdict":
        """Return the verdict that the findings add up to: one leak is not established, one doubt is unknown."""
        answers = {finding.answer for finding in findings}
        if Answer.NOT_ESTABLISHED in answers:
            answer = Answer.NOT_ESTABLISHED
        elif Answer.UNKNOWN in answers or not findings:
            answer = Answer.UNKNOWN
        else:
            answer = Answer.ESTABLISHED
        return cls(answer=answer, findings=findings, widen=widen)
