"""Whether what was reported is confirmed: two facts of different kinds, of which one comparison is one. Pure.

An alert is a claim. A definition that differs from its approved one is a fact of our own, if the change brings
something in; what the screening finds in it is another. Our own drift check makes the same comparison, so that its
report and that fact are one and the same, however often they are told.
"""

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from playbooks.gate.plan import Answer, Verdict
from playbooks.text.sentences import say

OWN_COMPARISON: Final = "drift"
"""The source in whose name our own drift check reports: what it says is the comparison with the pins, once more."""

DEFINITION: Final = "definition"
"""The check of a finding that compares a definition with its approved one."""

INTRODUCES: Final = "introduces"
"""The check of the finding that says what a change brings in."""

SCREENING: Final = "screening"
"""The check of the finding that says what the screening's rules find in what a change brings in."""

NOTHING = say("nothing of our own confirms it, and no second source does")
DESCRIBES = say(
    "the definition differs, but the change only describes: it brings in no destination, parameter, order to the "
    "model or the like, so a person has to read it"
)
ONE_FACT = say(
    "only our own comparison speaks for it: that it was reported by the drift check and that the same comparison "
    "confirms it are one fact; it takes another of another kind"
)


class Corroboration(NamedTuple):
    """What is confirmed, and what is missing for that.

    Args:
        confirmed: two facts of different kinds agree.
        facts: what speaks for it, by kind.
        missing: why it is not confirmed; empty if it is.
    """

    confirmed: bool
    facts: frozenset[str]
    missing: str


def corroborated(sources: Iterable[str], confirmations: Iterable[Collection[str]]) -> Corroboration:
    """Return whether what was reported is confirmed.

    Args:
        sources: the authenticated sources whose alerts name the very thing.
        confirmations: for each confirming question of ours that was answered with yes, the checks of the findings that
            say so, as `confirming` gives them.
    """
    facts = {f"source {source}" for source in sources if source != OWN_COMPARISON}
    described = False
    for checks in confirmations:
        if DEFINITION in checks:
            described = described or INTRODUCES not in checks
            facts |= {one for one in (DEFINITION, SCREENING) if INTRODUCES in checks and one in checks}
        # An answer with an order in it, or whatever else a playbook asks for.
        facts |= {f"response {one}" for one in checks if one not in {DEFINITION, INTRODUCES, SCREENING}}
    # What the screening finds is a second fact beside another, never one to go by alone.
    confirmed = len(facts) > 1
    missing = ""
    if not confirmed:
        missing = ONE_FACT if DEFINITION in facts else DESCRIBES if described else NOTHING
    return Corroboration(confirmed=confirmed, facts=frozenset(facts), missing=missing)


def confirming(verdict: Verdict) -> frozenset[str]:
    """Return what of a verdict says yes, by the findings' checks; nothing unless the whole of it does."""
    if verdict.answer is not Answer.ESTABLISHED:
        return frozenset()
    return frozenset(finding.check for finding in verdict.findings if finding.answer is Answer.ESTABLISHED)
