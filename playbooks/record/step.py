"""Steps of an incident, and the containments that came of them: how each stands, as the journal has it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from playbooks.gate.plan import NOT_RUN, Answer, Plan, Verdict, basis
from playbooks.gate.policy import Purpose
from playbooks.record.incident import Phase
from playbooks.strict import iso
from playbooks.text.difference import Diff
from playbooks.text.sentences import say

RAW_ALERT, RAW_ALERTS, SEAL = "raw-alert", "raw-alerts", "seal"
"""Steps of every incident that no playbook names: an alert as evidence, those that said the same, the seal."""

Leak = tuple[str, str, str]
"""What gets through: check, subject, and of what slipped in beside a cut what it is."""


class Progress(StrEnum):
    """Where one step stands."""

    INTENDED = "intended"
    WROTE = "wrote"
    ESTABLISHED = "established"
    NOT_ESTABLISHED = "not_established"
    UNKNOWN = "unknown"
    RETRYING = "retrying"
    FAILED = "failed"
    PROPOSED = "proposed"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    SKIPPED = "skipped"
    SEALED = "sealed"
    UNAVAILABLE = "unavailable"
    RELEASED = "released"


HELD = frozenset({Progress.ESTABLISHED, Progress.RELEASED})
"""What is in force, or was until a person gave it back."""


REFUSED = frozenset({Progress.DENIED, Progress.EXPIRED})
"""What people said no to, or nothing, which is no."""


PATIENCE = 3
"""Attempts after which a cut that is still being retried counts as not established, and people are told."""


@dataclass(slots=True)
class StepState:
    """One step of one incident for one entity."""

    instance: str
    phase: Phase
    progress: Progress
    action: str | None = None
    entity: str = ""
    """The whole key of what it is about; the first release did not say it."""
    attempt: int = 0
    looks: int = 0
    """How often it was verified since it was last decided; attempts at writing it are no looks."""
    epoch: int = 0
    key: str = ""
    plan: Plan | None = None
    former: Plan | None = None
    """What was to be done until the world was found to be another one than it was made for."""
    purpose: Purpose = Purpose.CONTAIN
    verdict: Verdict | None = None
    error: str = ""
    message: str = ""
    reasons: tuple[str, ...] = ()
    quorum: int = 0
    requested_by: str | None = None
    denied_by: str | None = None
    refused_seq: int = 0
    """The place in the stream of the last no to it, or of nobody's answer in time, which is one."""
    expires_at: datetime | None = None
    retry_at: datetime | None = None
    approved_by: tuple[str, ...] = ()
    approved_at: dict[str, datetime] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()
    behalf: dict[str, str] = field(default_factory=dict)
    asked_at: datetime | None = None
    asked_seq: int = 0
    """The place in the stream of what it was asked with: many entries share one time."""
    asked_since: datetime | None = None
    """Since when people are asked, however often the question changed meanwhile; None if it does not wait for them."""
    waits: list[tuple[datetime, datetime]] = field(default_factory=list)
    """From when to when it waited for people."""
    asked_after: int = 0
    """How many notices there were when what waits now was asked for the first time."""
    differs: str = ""
    diffs: tuple[Diff, ...] = ()
    """Of the reasons those that are differences, as the diffs that they are."""
    nowhere: bool = False
    """It was skipped because what it is about has no place where it acts."""
    no: str = ""
    """Digest of the plan that is not asked about because people said no to the very same one."""
    awaits: tuple[str, ...] = ()
    """Steps whose evidence has to be kept before what was skipped may run; of the first release, kinds of it."""
    intended_at: datetime | None = None
    wrote_at: datetime | None = None
    collected_at: datetime | None = None
    """When the source of its evidence was read."""
    settled_at: datetime | None = None
    failed_at: datetime | None = None
    """When it failed last, whether or not it is tried again."""
    established_at: datetime | None = None
    """When it was found to hold for the first time; whatever a later look says, that stays."""
    settled_seq: int = 0
    """The place in the stream of what settled it."""

    @property
    def about(self) -> frozenset[str]:
        """Keys of what the step is about, and of the one thing that its plan takes away, if it is but one."""
        return about_of(self.entity, self.plan)


def about_of(entity: str, plan: Plan | None) -> frozenset[str]:
    """Return keys of what a step is about: the entity that it runs for, and the one thing that its plan takes away."""
    taken = {f"{target.kind}:{target.server or ''}/{target.name}" for target in (plan.targets if plan else ())}
    return frozenset({entity, *(taken if len(taken) == 1 else ())} - {""})


@dataclass(frozen=True, slots=True)
class No:
    """That people said no to a plan, or nothing, which is no.

    Args:
        instance: the step that asked.
        by: who; None if the time ran out.
        at: when.
        wide: it was about a whole server, or more.
        known: what was known then to get through.
        requested_by: who had asked for it, if a person had.
        about: keys of what the step was about, and of the one thing that the plan takes away, if it is but one.
    """

    instance: str
    by: str | None
    at: datetime
    wide: bool
    known: frozenset[Leak]
    requested_by: str | None = None
    about: frozenset[str] = frozenset()

    @classmethod
    def read(cls, body: dict[str, Any]) -> "No":
        """Return the no that `body` gave."""
        return cls(
            instance=body["instance"],
            by=body["by"],
            at=datetime.fromisoformat(body["at"]),
            wide=body["wide"],
            known=frozenset((check, subject, slipped) for check, subject, slipped in body["known"]),
            requested_by=body["requested_by"],
            about=frozenset(body.get("about", ())),
        )

    def body(self) -> dict[str, Any]:
        """Return it as an entry keeps it."""
        return {
            "instance": self.instance,
            "by": self.by,
            "at": iso(self.at),
            "wide": self.wide,
            "known": [list(leak) for leak in sorted(self.known)],
            "requested_by": self.requested_by,
            "about": [*sorted(self.about)],
        }

    def __str__(self) -> str:
        said = f"{self.by} said no to" if self.by else "nobody answered"
        return f"{said} this very plan at {iso(self.at)}, when {self.instance} asked"


class Again(NamedTuple):
    """That a person asks again for a plan that people had said no to.

    Args:
        by: who counts as having asked, and does not agree to it alone.
        no: what had been said.
    """

    by: str
    no: No

    def __str__(self) -> str:
        return f"{self.no}; it is asked for again"


_FEW = 5
"""Things that one sentence names."""


def stays_off(things: Sequence[str], holders: Sequence[str]) -> str:
    """Return that something does not come back, and because of whom, in a sentence.

    Args:
        things: what, each once; not empty.
        holders: who holds it too, each once; not empty.
    """
    listed = ", ".join(things[:_FEW]) + (f" and {len(things) - _FEW} more" if len(things) > _FEW else "")
    whose = " and ".join(holders)
    if len(things) == 1 and len(holders) == 1:
        return say("{a} stays off, because {b} holds it too", a=listed, b=whose)
    if len(things) == 1:
        return say("{a} stays off, because {b} hold it too", a=listed, b=whose)
    if len(holders) == 1:
        return say("{a} stay off, because {b} holds them too", a=listed, b=whose)
    return say("{a} stay off, because {b} hold them too", a=listed, b=whose)


@dataclass(slots=True)
class LeaseState:
    """A containment that was decided: in force once something of it was written, until it is given back."""

    instance: str
    plan: Plan
    epoch: int
    opened_at: datetime
    until: datetime
    opened_seq: int = 0
    """The place in the stream of its first intent."""
    number: int = 1
    """How many times it has been taken: once more for each time that it was contained again after it was given back."""
    requested_by: str | None = None
    verdict: Verdict | None = None
    checked_at: datetime | None = None
    put_backs: int = 0
    ran_out: int = 0
    held: int = 0
    originals: dict[str, Any] = field(default_factory=dict)
    releasing: Plan | None = None
    release_key: str = ""
    kept: tuple[str, ...] = ()
    """Grips that stayed when it was given back, for others hold them."""
    kept_by: tuple[str, ...] = ()
    """Those others, in words; the first releases did not record them."""
    released_at: datetime | None = None
    released_by: str | None = None
    began_at: datetime | None = None
    """When the first change of it was written, or found to be so already."""
    done_at: datetime | None = None
    """When a probe confirmed what cannot be taken back: there is nothing to watch over or to give back."""
    gone: tuple[str, ...] = ()
    """Targets that the system no longer had when they were to be given back."""
    was: Verdict | None = None
    """What the last look at it found before it was given back."""
    back: Verdict | None = None
    """Whether what was given back is back; None if nobody asked."""

    @property
    def open(self) -> bool:
        """Whether somebody still has to see to it: watch over it, try it again, give it back."""
        return self.released_at is None and self.done_at is None

    @property
    def in_force(self) -> bool:
        """Whether it still holds, or ought to; what was never written does not."""
        return self.open and self.began_at is not None

    @property
    def things(self) -> frozenset[str]:
        """What it holds, whatever id that has just now: what another lease holds too is the same."""
        return frozenset(target.thing for target in self.plan.things or self.plan.targets)

    @property
    def holds(self) -> bool:
        """Whether something of it is as it was contained: in force, or done for good."""
        return self.in_force or self.done_at is not None

    @property
    def staying(self) -> str:
        """What of it did not come back when it was given back, and because of whom; empty if nothing stayed."""
        things = list(dict.fromkeys(str(change.target) for change in self.plan.changes if change.grip in self.kept))
        if not things:
            return ""
        return stays_off(things, self.kept_by or ("another incident",))

    @property
    def returned(self) -> str:
        """What came of giving it back, in words."""
        missing = [str(target) for target in self.plan.targets if target.key in self.gone]
        if missing and len(missing) == len(self.plan.targets):
            return f"{', '.join(missing)} no longer exists there: nothing was given back"
        beside = f"; {', '.join(missing)} no longer exists there" if missing else ""
        if self.back is None:
            return f"{self._unasked}{beside}"
        if self.back.answer is Answer.ESTABLISHED and any(f.observed.startswith(NOT_RUN) for f in self.back.findings):
            offered = "a probe confirmed that the gateway offers it again; it was not run"
            return f"{offered}, so that it works is not proven{beside}"
        if self.back.answer is Answer.ESTABLISHED and not self.back.tried:
            return f"it is back, and {basis([(self.plan, self.back)])}{beside}"
        if self.back.answer is Answer.ESTABLISHED:
            return f"a probe confirmed that it is back{beside}"
        doubts = [f for f in self.back.findings if f.answer is not Answer.ESTABLISHED]
        why = f": {doubts[0].check} of {doubts[0].subject}: {doubts[0].observed[:300]}" if doubts else ""
        return f"NO probe confirmed that it is back{why}{beside}"

    @property
    def _unasked(self) -> str:
        """Why no probe asked whether it is back, in words."""
        if self.plan.irreversible:
            return "nothing of it can come back: the watch over it has ended"
        if not self.staying:
            return "no probe asked whether it is back, and the journal does not say why"
        if all(change.grip in self.kept for change in self.plan.changes):
            return self.staying
        return f"no probe asked whether the rest is back, because a part stays off: {self.staying}"

    @property
    def has_held(self) -> bool:
        """Whether a probe found this epoch of it in force once: what does not hold now was undone by somebody."""
        return self.held == self.epoch
