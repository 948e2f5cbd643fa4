"""What was asked of a cluster about one of its objects, and what came back."""

from integrations.hostile import printable
from playbooks.gate.plan import Answer, Finding, Target
from playbooks.text.sentences import Sentence, say


def finding(
    check: str,
    target: Target,
    expected: str,
    observed: str,
    answer: Answer,
    *,
    asked_as: str = say("nobody"),
    remedy: str = "",
) -> Finding:
    """Return it as a row; whoever asked may have a name of the cluster's choice."""
    return Finding(
        check=check,
        subject=str(target),
        asked_as=asked_as if isinstance(asked_as, Sentence) else printable(asked_as),
        expected=expected,
        observed=observed[:20_000],
        answer=answer,
        remedy=remedy,
    )
