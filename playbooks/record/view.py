"""How an incident stands, once: command line, JSON, messages, Prefect, report and handover all say this. Pure.

Whoever shows it puts it into words, and works out nothing anew. JSON is its dump, whose keys are an interface: they are
added to, and not changed. Much of it is other people's text: no escaping is done here.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, PlainSerializer

from playbooks.advisories import Advisory
from playbooks.gate.plan import Answer, Finding, Plan
from playbooks.gate.policy import CHANGED, Purpose
from playbooks.people.duties import Clock
from playbooks.playbook import Goals
from playbooks.record.campaign import Mark, Shared
from playbooks.record.incident import Phase, Severity, Status
from playbooks.record.proof import Checks, Fact
from playbooks.record.step import Progress
from playbooks.strict import Strict, iso
from playbooks.taxonomy import IncidentClass
from playbooks.text.sentences import say

When = Annotated[datetime, PlainSerializer(iso, when_used="json")]
"""A moment; in JSON to the millisecond, in UTC."""

Level = Annotated[Severity, PlainSerializer(lambda severity: severity.label, when_used="json")]
Said = Annotated[Fact, PlainSerializer(str, when_used="json")]


COMMANDS = frozenset({"approve", "deny", "release", "fulfil"})
"""Fields that are commands, to be copied as they are."""


class Shown(Strict):
    """What is shown of an incident; all of it is dumped alike."""

    def dump(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return self.model_dump(mode="json", by_alias=True)


class Difference(Shown):
    """A unified diff.

    Args:
        reason: the same on one line, if it is one of the reasons of an approval; else empty.
        about: of what it is.
        diff: hostile.
    """

    reason: str
    about: str
    diff: str


class Ask(Shown):
    """A plan that waits for people.

    Args:
        instance: its step.
        digest: of the plan, what an answer is bound to; an approver's own machine computes it anew.
        short: the twelve digits of it that people type.
        plan: itself.
        summary: what would be done to what.
        changes: field by field.
        reasons: why people are asked.
        diffs: of these the differences, line by line.
        breaks: what stops working while it lasts.
        undone: what taking it back would set; empty if it cannot be.
        irreversible: why it cannot be taken back.
        differs: what is no longer so since it was asked the first time.
        purpose: contain, put back, release.
        quorum: answers that it needs.
        approved_by: who said yes.
        missing: answers that it still needs.
        requested_by: who asked for it, and therefore does not count.
        reason: why they want it, in their own words; empty if they did not say.
        expires_at: after this the answer is no.
        by_itself: when it is done without anybody's answer, in a sentence; empty if it never is.
        approve: the command that says yes.
        deny: the command that says no.
        voices: whose answer it has, or does not count.
        about: whether a message is about this one.
    """

    instance: str = ""
    digest: str
    short: str
    plan: Plan
    summary: str
    changes: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    diffs: tuple[Difference, ...] = ()
    breaks: str
    undone: tuple[str, ...]
    irreversible: str | None
    differs: Annotated[tuple[str, ...], PlainSerializer("; ".join, when_used="json")] = ()
    purpose: Purpose = Purpose.CONTAIN
    quorum: int = 0
    approved_by: tuple[str, ...] = ()
    missing: int = 0
    requested_by: str | None = None
    reason: str = ""
    expires_at: When | None = None
    by_itself: str = ""
    approve: str = ""
    deny: str = ""
    voices: frozenset[str] = Field(default=frozenset(), exclude=True)
    about: bool = Field(default=False, exclude=True)

    @classmethod
    def of(cls, plan: Plan, **more: Any) -> "Ask":  # noqa: ANN401  # any of its fields
        """Return what a plan itself says of what is asked, all that its digest covers, and what there is to add."""
        return cls(
            digest=plan.digest,
            short=plan.digest[7:19],
            plan=plan,
            summary=plan.summary,
            changes=tuple(map(str, plan.pending)),
            breaks=plan.breaks,
            undone=tuple(map(str, plan.undone)),
            irreversible=plan.irreversible.because if plan.irreversible else None,
            by_itself=_by_itself(more.get("purpose"), more.get("reasons", ()), more.get("requested_by")),
            **more,
        )

    @property
    def undo(self) -> str | None:
        """How it is undone, in words; None if it cannot be."""
        if self.irreversible:
            return None
        way = "responding again" if self.purpose is Purpose.RELEASE else "a release"
        return f"{way}, which sets {'; '.join(self.undone)}" if self.undone else f"{way}; there is nothing to set back"

    @property
    def reasons_in_short(self) -> tuple[str, ...]:
        """Why people are asked, where a difference has no room."""
        diffs = {one.reason: one.about for one in self.diffs}
        return tuple(f"{diffs[one]} is not as approved" if one in diffs else one for one in self.reasons)

    @property
    def needed(self) -> str:
        """How many people still have to say yes."""
        return f"{self.missing} of {self.quorum}"


def _by_itself(purpose: Purpose | None, reasons: Sequence[str], by: str | None) -> str:
    """Return when what is asked is done on the word of whoever asked for it, in a sentence; empty if it never is."""
    if purpose is not Purpose.RELEASE or by is None or CHANGED not in reasons:
        return ""
    return say(
        "If what comes back is as it was approved before anybody answers, and nothing else said here takes a second "
        "person, it is given back on the word of {a} alone; a no keeps it",
        a=by,
    )


class Held(Shown):
    """A containment in force, or one that was.

    Args:
        incident: whose.
        instance: its step.
        summary: what was done.
        changes: field by field.
        in_force: whether it holds, or ought to.
        began_at: when something of it was written first; nothing of it ever was without.
        done_at: when it was confirmed, if it cannot be taken back and needs no watch.
        opened_at: when it was decided.
        until: when it ends or is extended.
        requested_by: who asked for it.
        answer: of the last verification.
        checked_at: when that was: a verification asks as a client.
        seen_at: when a look, which asks no client's question, last found it as it was; None if none was since.
        asked_every: how many seconds lie between two verifications at the present number of containments there.
        age: how many seconds ago.
        put_backs: how often somebody undid it and mcp-soar did it again.
        releasing: it may be given back already, and nobody verifies that it holds.
        released_at: when it was given back.
        released_by: who asked for that.
        release: the command that gives it back.
        things: what it holds; what another one holds too is the same.
        about: whether a message is about this one.
    """

    incident: str = ""
    instance: str = Field(serialization_alias="lease")
    summary: str
    changes: tuple[str, ...] = ()
    in_force: bool
    began_at: When | None = None
    done_at: When | None
    opened_at: When | None = None
    until: When
    requested_by: str | None = None
    answer: Answer | None = Field(serialization_alias="verdict")
    checked_at: When | None
    seen_at: When | None = None
    asked_every: float | None = None
    age: float | None = None
    put_backs: int
    releasing: bool = False
    released_at: When | None
    released_by: str | None
    release: str = ""
    things: frozenset[str] = Field(default=frozenset(), exclude=True)
    about: bool = Field(default=False, exclude=True)

    @property
    def holds(self) -> bool:
        """Whether something of it is as it was contained: in force, or done for good."""
        return self.in_force or self.done_at is not None


class Stopped(Shown):
    """A kill switch that is on.

    Args:
        scope: what it stops.
        reason: why, in somebody's words.
        by: who.
        since: when it was turned on; None if it cannot be read, which counts as on.
        resume_asked_by: who asked already that it end; it takes two.
    """

    scope: str
    reason: str
    by: str
    since: When | None = Field(serialization_alias="at")
    resume_asked_by: tuple[str, ...] = ()


class Lost(Shown):
    """A page that somebody has to hear of still.

    Args:
        page: its id.
        text: what it says.
        since: when it was written.
        tried: whether somebody was tried for it.
    """

    page: str = ""
    text: str
    since: When
    tried: bool = True


class Missed(Shown):
    """Somebody whom a page did not reach."""

    page: str
    text: str
    who: str
    why: str


class Repeated(Shown):
    """How many messages of a source said what the incident had already, and between which times they came."""

    source: str
    messages: int
    since: When
    until: When


class Shares(Shown):
    """What an incident has in common with others at other servers.

    Args:
        campaign: the name that all of them have.
        kind: what it is.
        value: which one; hostile.
        others: some of the other incidents.
    """

    campaign: str
    kind: Shared
    value: str
    others: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.campaign}: {Mark(self.kind, self.value)}, as in {', '.join(self.others)}"


class Owed(Shown):
    """A duty to report that a law brings with an incident.

    Args:
        until: None where the law names no number.
        fulfil: the command that says that it is done.
        clock: itself, in every language.
    """

    id: str
    law: str
    article: str
    to: str
    duty: str
    unless: str
    since: When
    until: When | None
    fulfilled: When | None
    overdue: bool
    fulfil: str
    clock: Clock = Field(exclude=True)


class Noted(Shown):
    """What a person wrote into an incident."""

    at: When
    by: str
    text: str


class Metrics(Shown):
    """When what happened, and how long it took; the lengths count from `accepted_at`.

    `first_effect_at` and `verified_at` are those of the cuts. What is None has not happened. What of a length was spent
    waiting for people is said beside it.
    """

    detected_at: When | None
    accepted_at: When | None
    first_effect_at: When | None
    verified_at: When | None
    released_at: When | None
    first_effect_seconds: float | None
    verified_seconds: float | None
    released_seconds: float | None
    first_effect_waited: float = 0.0
    verified_waited: float = 0.0


class Begun(Shown):
    """One step for one entity, and where it stands.

    Args:
        instance: its name in the journal.
        summary: what it does to what.
        phase: where it belongs.
        action: what acts; None of what reads.
        progress: where it stands.
        attempt: how often it was tried since it was last decided.
        verdict: what the last look at it found.
        message: what went wrong, or why it was skipped.
        digest: of its plan.
        changes: field by field, those that there are.
        breaks: what stops working while it lasts; empty if it takes nothing, or gives it back.
        reasons: what the gate said.
        approved_by: who said yes.
        asked_at: when people were asked.
        intended_at: when it was decided.
        wrote_at: when its first change was made.
        collected_at: when its source was read.
        settled_at: when its outcome was clear.
        failed_at: when it failed last.
        plan: itself; of what waits for people JSON has it among the `asks`.
        findings: what that look saw.
    """

    instance: str
    summary: str
    phase: Phase
    action: str | None
    progress: Progress
    attempt: int
    verdict: Answer | None
    message: str
    digest: str | None
    changes: tuple[str, ...]
    breaks: str
    reasons: tuple[str, ...]
    approved_by: tuple[str, ...]
    asked_at: When | None
    intended_at: When | None
    wrote_at: When | None
    collected_at: When | None
    settled_at: When | None
    failed_at: When | None
    plan: Plan | None = Field(exclude=True)
    findings: tuple[Finding, ...] = Field(exclude=True)

    @property
    def cuts(self) -> bool:
        """Whether it makes the incident contained that this holds."""
        cutting = self.phase in {Phase.CUT, Phase.ISOLATE}
        return cutting and self.action is not None and self.progress is not Progress.SKIPPED

    @property
    def ended_at(self) -> datetime | None:
        """When its outcome was clear, or it failed last; None while neither is so."""
        if self.progress in _UNDER_WAY:
            return None
        return self.failed_at if self.progress in _FAILED else self.settled_at

    @property
    def ran_from(self) -> datetime | None:
        """When what ended then began; None while nothing has ended."""
        began, ended = self.intended_at or self.collected_at, self.ended_at
        return min(began, ended) if began and ended else ended

    @property
    def why(self) -> str:
        """Why it stands as it does: what was seen, else what went wrong, else what the gate said; hostile."""
        seen = (f"{one.check} as {one.asked_as}: {one.answer}, {one.observed}" for one in self.findings)
        return "; ".join(seen) or self.message or "; ".join(self.reasons)


_UNDER_WAY = {Progress.PROPOSED, Progress.APPROVED, Progress.INTENDED, Progress.WROTE}
_FAILED = {Progress.FAILED, Progress.RETRYING}


class KeptFile(Shown):
    """One file of an exhibit, with its digest, and what it was read from."""

    name: str
    size: int
    sha256: str
    origin: str


class Passed(Shown):
    """One line of an exhibit's custody record."""

    at: str
    actor: str
    act: str
    note: str


class KeptExhibit(Shown):
    """One piece of evidence in the vault.

    Args:
        files: their names.
        bytes: of all of them.
        collected_at: when the source was read, as its custody record writes it.
        collected_by: the responder that did.
        capture: how.
        tool: with what.
        incomplete: where it breaks off and why; empty if it is whole.
        contents: its files.
        custody: who had it since.
    """

    id: str
    kind: str
    files: tuple[str, ...]
    bytes: int
    collected_at: str
    collected_by: str
    capture: str
    tool: str
    incomplete: str
    contents: tuple[KeptFile, ...]
    custody: tuple[Passed, ...]


class Missing(Shown):
    """An exhibit that could not be had."""

    kind: str
    reason: str
    recorded_by: str
    at: str


class Alerted(Shown):
    """An alert that the incident has; source, rule and title are other people's words."""

    source: str
    state: str
    severity: Level
    rule: str
    title: str
    authenticated: bool
    confidence: str
    detected_at: When
    accepted_at: When
    digest: str


class Attempted(Shown):
    """One attempt to tell somebody; no contact is the log."""

    at: When
    contact: str | None
    channel: str
    text: str
    delivered: bool
    detail: str


class Paged(Shown):
    """Something that people have to hear of, and who took it up."""

    page: str
    kind: str
    text: str
    at: When
    taken_up_by: str | None


class Task(Shown):
    """What is left to a person, and what ends it: `released` or `closed`."""

    step: str
    task: str
    until: str


class Happened(Shown):
    """One thing that happened."""

    at: When
    actor: str
    what: str
    detail: str
    kind: str = Field(exclude=True)


class Heading(Shown):
    """What tells an incident from others, as what it is about, in words, and how it stands: a list's line begins so.

    Args:
        awaits: what people are asked to approve, each once: `cut`, `put-back`, `release`.
    """

    id: str
    incident_class: IncidentClass = Field(serialization_alias="class")
    severity: Level
    status: Status
    awaits: tuple[str, ...] = ()
    part_of: str | None
    title: str
    about: str
    servers: tuple[str, ...]
    where: tuple[str, ...]
    opened_at: When | None
    assigned_to: str | None

    @property
    def stands(self) -> str:
        """Where it stands, in words; one that goes on in another says in which."""
        return self.status.stands(self.part_of, self.awaits)


class Row(Heading):
    """An incident as a line of a list.

    Args:
        asks: questions that wait.
        leases: in force.
        contained: things that these hold: what two hold is one.
        campaigns: those that it is part of.
    """

    asks: int
    leases: int
    contained: int = 0
    campaigns: tuple[str, ...] = ()


class View(Heading):
    """Everything that there is to say of an incident now.

    Args:
        entities: what it is about, one by one.
        unresolved: what alerts named and the inventory does not know.
        campaigns: what it has in common with others at other servers.
        advisories: what is published of the vulnerabilities that its alerts name.
        claimed: the class is what alerts say, and no person has said what it is.
        confirmed: whether our own checks confirm that; None if none has answered.
        checks: what they found.
        not_proven: what was found not to be as it should, what could not be found out, what did not get so far.
        differences: the diffs among that, each once.
        refused: what people said no to, with who did.
        triage: why a person has to look first.
        frozen: why nothing more is done.
        requested_by: who started it by hand.
        why: why people want something contained, as `kim: it reads keys`, each once.
        wishes: the same with their times.
        chosen: what a person chose to have contained.
        linked: earlier incidents about the same.
        parts: those that go on in this one.
        goals: of its playbook, in seconds.
        by_word: that containments are known by the word of a system only, as a clause; empty if probes confirmed them.
        given_back: something was given back, and nothing is left to give back.
        unavailable: evidence that could not be had.
        tasks: what is left to people.
        untold: pages that reached nobody, and that nobody took up.
        missed: who was not reached by which page, and why.
        waiting: pages that somebody has to take up, and nobody has.
        bundle: the file of its sealed evidence.
        pages: what people have to hear of.
        told: every attempt to tell somebody.
        seq: the last journal entry that this knows.
    """

    entities: tuple[str, ...]
    unresolved: tuple[str, ...]
    repeats: tuple[Repeated, ...]
    campaigns: tuple[Shares, ...] = ()
    advisories: tuple[Advisory, ...] = ()
    closed_at: When | None
    closed_as: str | None
    duplicate_of: str | None
    legal_hold: str | None
    notes: tuple[Noted, ...]
    fulfilled: dict[str, When]
    clocks: tuple[Owed, ...]
    claimed: bool
    confirmed: Answer | None
    checks: Annotated[tuple[Fact, ...], PlainSerializer(lambda some: list(Checks(None, some).said), when_used="json")]
    proven: tuple[Said, ...]
    not_proven: tuple[Said, ...]
    differences: tuple[Difference, ...]
    refused: tuple[str, ...]
    triage: str | None
    frozen: str | None
    requested_by: str | None
    why: tuple[str, ...]
    wishes: tuple[Noted, ...]
    chosen: tuple[str, ...]
    linked: tuple[str, ...]
    continued_in: str | None
    parts: tuple[str, ...]
    playbook: str | None
    playbook_digest: str | None
    goals: Goals | None
    metrics: Metrics
    asks: tuple[Ask, ...]
    leases: tuple[Held, ...]
    by_word: str
    given_back: bool
    alerts: tuple[Alerted, ...]
    pages: tuple[Paged, ...]
    told: tuple[Attempted, ...]
    steps: tuple[Begun, ...]
    exhibits: tuple[KeptExhibit, ...]
    unavailable: tuple[Missing, ...]
    tasks: tuple[Task, ...]
    stops: tuple[Stopped, ...]
    untold: tuple[Annotated[Lost, PlainSerializer(lambda page: page.text, when_used="json")], ...]
    # Every answer says under that name what the whole installation could not deliver.
    missed: tuple[Missed, ...] = Field(exclude=True)
    waiting: tuple[Lost, ...] = Field(exclude=True)
    timeline: tuple[Happened, ...]
    bundle: str | None
    bundle_digest: str | None
    seq: int

    @property
    def cuts(self) -> tuple[Begun, ...]:
        """The steps whose holding makes the incident contained."""
        return tuple(step for step in self.steps if step.cuts)

    @property
    def checked(self) -> tuple[str, ...]:
        """What our own checks found, each in a sentence."""
        return Checks(None, self.checks).said

    @property
    def in_force(self) -> tuple[Held, ...]:
        """The containments in force."""
        return tuple(lease for lease in self.leases if lease.in_force)
