"""The frozen list of what would be done. Its digest is what people approve."""

from collections.abc import Iterable
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Annotated, Final, NamedTuple

from pydantic import Field, PlainSerializer
from typing_extensions import override

from playbooks.strict import Digest, JsonField, Line, Name, Redacted, RedactedLine, Slug, Strict, canonical, digest
from playbooks.text.redaction import redacted
from playbooks.text.sentences import Sentence, known, made_of, named, say


class Radius(IntEnum):
    """How much breaks if the action hits the wrong target. Wider is larger; a later one finds room between two.

    The order is here alone. What is written down is `written`, which no later order changes: it stands in the digests
    that people approved.
    """

    TOKEN = 100
    TOOL = 200
    PRINCIPAL = 300
    SERVER = 400
    FLEET = 500

    @property
    def written(self) -> int:
        """Its number in plans, and so in their digests, and in reservations."""
        return _FIRST.get(self.name, self.value)

    @override
    @classmethod
    def _missing_(cls, value: object) -> "Radius | None":
        """Return the radius that was written as this number."""
        return next((cls[name] for name, number in _FIRST.items() if number == value), None)


_FIRST = {"TOKEN": 1, "TOOL": 2, "PRINCIPAL": 3, "SERVER": 4, "FLEET": 5}
"""What the first release wrote, and whatever reads it still does; a later radius is written as its own number."""

RadiusWritten = Annotated[Radius, PlainSerializer(lambda radius: radius.written, return_type=int)]


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
        whose = [(" of ", self.server)] if self.server and self.kind != "server" else []
        return named((f"{self.kind} ", self.name), *whose)


LIST: Final = "list"
"""The kind of object that says which tools of a server clients may use, where each has no flag of its own."""


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
        return say("{a}: {B} {c} → {d}", a=self.target, B=self.field, c=_show(self.before), d=_show(self.after))


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
        remedy: what a person can do so that what comes back is as approved, as a clause; empty if nothing is known.
    """

    back: tuple[Beside, ...] = ()
    beside: tuple[Beside, ...] = ()
    remedy: str = ""


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
    radius: RadiusWritten
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

    @property
    def things(self) -> tuple[Target, ...]:
        """What it takes away: each target but the lists by which others are kept from clients."""
        return tuple(target for target in self.targets if target.kind != LIST)

    @cached_property
    def digest(self) -> Digest:
        """What an approval is bound to."""
        return digest(self)

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
    verb = summary.partition(" ")[0]
    sentence = known(summary)
    if verb not in {"Disable", "Deactivate"}:
        return say("Undo: {a}", a=sentence)
    if not isinstance(sentence, Sentence):
        # What looks like a hole in it is in a name.
        return f"Give back {summary.partition(' ')[2]}"
    return made_of(sentence, lambda id_: f"Give back {id_.partition(' ')[2]}")


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
        asked_as: the principal that asked, or the canary that stood in for it; `administrator NAME` where a system's
            own word is all, `nobody` where nobody could ask.
        expected: what a held containment would answer.
        observed: what came back (short, hostile); with a remedy, why it is not proven, as a clause.
        answer: what that means.
        remedy: what a person can do where it is not as it should be, as a clause; empty if there is nothing to say.
        of_approval: it says whether what is there is as people approved it, and nothing of whether it is there: who
            takes a difference on takes it on.
    """

    check: Slug
    subject: RedactedLine
    asked_as: Line
    expected: RedactedLine
    observed: Redacted
    answer: Answer
    remedy: RedactedLine = ""
    of_approval: bool = Field(default=False, exclude_if=lambda so: not so)

    @property
    def tried(self) -> bool:
        """Whether the thing itself was tried, as by a client: no control, and no system's word on what it did."""
        return self.check != "control" and self.asked_as != "nobody" and not self.asked_as.startswith("administrator ")


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

    @property
    def tried(self) -> bool:
        """Whether it holds by a probe, and not by a system's own word alone."""
        return any(finding.tried and finding.answer is Answer.ESTABLISHED for finding in self.findings)


def _system(name: str) -> str:
    kind, _, which = name.partition("/")
    return say("gateway {A}", A=which) if kind == "gateway" else f"{kind} {which}".strip()


def basis(looks: Iterable[tuple[Plan, Verdict]]) -> str:
    """Return by what it is known that plans are carried out, as a clause: a probe, or the word of a system alone.

    Args:
        looks: plans, and what the last look at each found.
    """
    targets = [target for plan, verdict in looks if not verdict.tried for target in plan.targets]
    if not targets:
        return "a probe confirmed it"
    systems = [_system(name) for name in dict.fromkeys(target.system for target in targets)]
    whose = systems[0] if len(systems) == 1 else " and ".join(systems)
    things = list(dict.fromkeys(known(redacted(str(target))) for target in targets))
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    listed = things[0] if len(things) == 1 else ", ".join(things[:_NAMED]) + more
    return say("that is known by the word of {a} only: no probe tried {b}", a=whose, b=listed)


_NAMED = 3
"""Targets that a clause names."""
