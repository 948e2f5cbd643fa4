"""What of an incident is proven, and what is not: the one answer that pages, reports and every list give. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.record.incident import Phase
from playbooks.record.state import Incident
from playbooks.record.step import LeaseState, Progress, StepState
from playbooks.strict import Strict
from playbooks.text.difference import parted
from playbooks.text.redaction import redacted

_ASKED = frozenset({Phase.CAPTURE, Phase.ERADICATE})
"""Where questions are put beside those about the cuts."""

_WHOLE = 6000
"""Characters of a diff."""

_UNFINISHED = {
    Progress.FAILED: "it failed",
    Progress.RETRYING: "it failed, and is tried again",
    Progress.WROTE: "it was written, and nobody has asked yet whether it holds",
}


class Fact(Strict):
    """One answer of the world, or that there is none.

    Args:
        check: what was asked, or `step` for what was not done.
        subject: of what.
        asked_as: who asked.
        observed: what came back, without a diff; hostile.
        answer: what that means.
        remedy: what a person can do about it, as a clause; empty if nothing is said of that.
        diff: the unified diff that came back; empty if none did; hostile.
        earlier: it is of the last look at what was contained, and that was given back since.
    """

    check: str
    subject: str
    asked_as: str
    observed: str
    answer: Answer
    remedy: str = ""
    diff: str = ""
    earlier: bool = False

    def __str__(self) -> str:
        return ("while it was contained: " if self.earlier else "") + self._said()

    def _said(self) -> str:
        if self.remedy:
            doubts, is_ = self.answer is Answer.UNKNOWN, "was" if self.earlier else "is"
            subject = self.subject
            what = f"it {is_} not proven that {subject} {is_} refused" if doubts else f"{subject} {is_} NOT refused"
            # There is nothing to do any more about what was given back.
            return f"{what}, because {self.observed}" + ("" if self.earlier else f": {self.remedy}")
        doubt = " (could not be found out)" if self.answer is Answer.UNKNOWN else ""
        # It stands on what this one was answered: a gateway may answer another one otherwise.
        asked = f", asked as {self.asked_as}" if self.asked_as not in _NO_CLIENT else ""
        return f"{self.check} of {self.subject}{asked}: {self.observed}{doubt}"


_NO_CLIENT = frozenset({"mcp-soar", "nobody"})
"""Who did not ask as anybody."""


def differences(facts: Iterable[Fact]) -> dict[str, str]:
    """Return the diffs among facts, each once: the diff → of what it is; not those of what was so earlier."""
    found: dict[str, str] = {}
    for fact in facts:
        if fact.diff and not fact.earlier:
            found.setdefault(fact.diff, fact.subject)
    return found


class Checks(NamedTuple):
    """What our own checks found of what an alert claims.

    Args:
        answer: whether they confirm it: one that does is enough; None if none was asked, or none has answered yet.
        facts: what they found; of each the answer is whether that speaks for what was reported.
    """

    answer: Answer | None
    facts: tuple[Fact, ...]

    @property
    def said(self) -> tuple[str, ...]:
        """Each of the facts in a sentence."""
        return tuple(f"{fact.subject}: {fact.observed} ({_SPEAKS[fact.answer]})" for fact in self.facts)


_SPEAKS = {
    Answer.ESTABLISHED: "speaks for what was reported",
    Answer.NOT_ESTABLISHED: "does not confirm what was reported",
    Answer.UNKNOWN: "could not be found out",
}


def checks(state: Incident) -> Checks:
    """Return what our own checks found of what was reported: an alert is a claim, and this stands beside it."""
    verdicts = state.checked.values()
    answers = [verdict.answer for verdict in verdicts]
    order = (Answer.ESTABLISHED, Answer.NOT_ESTABLISHED, Answer.UNKNOWN)
    answer = min(answers, key=order.index, default=None)
    facts = [_fact(finding) for verdict in verdicts for finding in verdict.findings]
    # What a change brings in and what the screening finds of it are two questions, and often one answer.
    once = {(fact.subject, fact.observed, fact.answer): fact for fact in reversed(facts)}
    return Checks(answer, tuple(reversed(once.values())))


class Proof(NamedTuple):
    """How well founded it is that an incident is contained.

    Args:
        good: what was found to be as it should.
        lacking: what was found not to be, what could not be found out, and what did not get so far.
    """

    good: tuple[Fact, ...]
    lacking: tuple[Fact, ...]


def proof(state: Incident) -> Proof:
    """Return what the last look at each cut and release found and what it did not, and what was asked beside it."""
    leases = state.leases
    verdicts = [verdict for lease in leases.values() if (verdict := _last(lease))]
    verdicts += [step.verdict for step in state.cuts if step.instance not in leases and step.verdict]
    # What a server offers is asked too: what differs there and not yet at the gateway is on its way to clients.
    asked = [step.verdict for step in state.steps.values() if step.phase in _ASKED and step.verdict]
    # Giving it back neither proves nor unproves what was so before: that comes first.
    before = [lease.was for lease in leases.values() if lease.was and lease.released_at and not lease.plan.irreversible]
    # They were asked for the containment's sake, and nobody asks them again once that is over.
    (before if state.given_back else verdicts).extend(asked)
    found = [_fact(one, earlier=True) for verdict in before for one in verdict.findings]
    found += [_fact(finding) for verdict in verdicts for finding in verdict.findings]
    lacking = [fact for fact in found if fact.answer is not Answer.ESTABLISHED]
    good = [fact for fact in found if fact.answer is Answer.ESTABLISHED]
    # What had no place comes last: it is no news, and must not take the room of what gets through.
    nowhere = [_of_step(step, step.message) for step in state.nowhere]
    return Proof(tuple(good), (*_unfinished(state), *lacking, *nowhere))


def _last(lease: LeaseState) -> Verdict | None:
    """Return what the last look at a containment says: of what was given back, whether it is back."""
    # What cannot be taken back holds for good, though the watch over it may have been ended.
    return lease.verdict if lease.released_at is None or lease.plan.irreversible else lease.back


def _unfinished(state: Incident) -> Iterator[Fact]:
    """Yield the steps of which no question has been put, because they did not get so far."""
    for step in state.steps.values():
        if step.progress is Progress.RETRYING and not step.message:
            # Somebody asked for it again: nothing of it has failed yet.
            continue
        if step.progress in _UNFINISHED:
            yield _of_step(step, _UNFINISHED[step.progress] + (f": {step.message}" if step.message else ""))
        elif step.progress is Progress.UNKNOWN and step.verdict and not step.verdict.findings:
            yield _of_step(step, "nothing could be asked")


def _of_step(step: StepState, observed: str) -> Fact:
    answer = Answer.UNKNOWN if step.progress in {Progress.WROTE, Progress.UNKNOWN} else Answer.NOT_ESTABLISHED
    said = _fit(observed, 300)
    return Fact(check="step", subject=_fit(step.instance, 200), asked_as="mcp-soar", observed=said, answer=answer)


def _fact(finding: Finding, *, earlier: bool = False) -> Fact:
    found = parted(finding.observed)
    return Fact(
        check=finding.check,
        subject=_fit(finding.subject, 200),
        asked_as=_fit(finding.asked_as, 200),
        observed=_fit(found.short, 300),
        answer=finding.answer,
        remedy=_fit(finding.remedy, 300) if finding.answer is not Answer.ESTABLISHED else "",
        diff=_fit(found.diff, _WHOLE),
        earlier=earlier,
    )


def _fit(text: str, limit: int) -> str:
    # What lies far beyond the limit is not even looked at: a hostile server may send megabytes.
    return redacted(text[: limit * 4], limit)
