"""A plan that waits, for whoever decides on it: which one is meant, what it changes, why it is asked, yes or no."""

from collections.abc import Mapping

from flows.cli.output import NotFound, Out, Usage, safe
from playbooks.people.request import Verb
from playbooks.record.view import Ask

LONGEST = 80
"""Lines of one difference."""

_SHORT = 12
"""Digits of a digest that people type."""

_FEWEST = 8
"""Digits that tell a plan: fewer, and whoever names something in another plan has it begin with the same."""


def meant(
    incident: str, plans: Mapping[str, str], *given: str | None, option: str = "--digest", there: str = ""
) -> str:
    """Return the digest of the plan that is meant, of those that wait.

    Args:
        incident: that asks.
        plans: what waits: digest → summary; not empty.
        given: beginnings of the digest that is meant, with `sha256:` or without; whoever gives none means the only one.
            A beginning only chooses among what waits.
        option: how one is given, for the answer.
        there: what else there is to say of where such a plan may be.

    Raises:
        NotFound: no such plan waits.
        Usage: more than one thing is asked, each is named with the digits that tell it; or so few digits tell nothing.
    """
    wanted = [one.lower().removeprefix("sha256:") for one in given if one is not None]
    listed = "".join(f"\n  {option} {digest[7 : 7 + _SHORT]}  {safe(summary)}" for digest, summary in plans.items())
    if any(len(one) < _FEWEST for one in wanted):
        raise Usage(
            f"a plan is told by at least {_FEWEST} digits of its digest, for many begin with fewer; {incident} asks:"
            f"{listed}"
        )
    found = [digest for digest in plans if all(digest.removeprefix("sha256:").startswith(one) for one in wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Usage(f"{incident} asks for more than one thing; say which:{listed}")
    raise NotFound(f"no plan {' and '.join(filter(None, given))} waits in {incident}{there}; there is:{listed}")


def agreed(out: Out, question: str, *, does: str, yes: bool) -> bool:
    """Return whether somebody says yes: with --yes before they were asked, else at their terminal.

    Whatever else they wrote, nothing is done without either.

    Args:
        out: where to ask.
        question: with yes or no for an answer.
        does: what nobody does unseen, as `approves`.
        yes: whether --yes was written.

    Raises:
        Usage: nobody is there to ask, and nobody has said yes.
    """
    if yes:
        return True
    if not out.asks:
        why = "--json asks nobody" if out.as_json else "there is no terminal to ask at"
        raise Usage(f"nobody {does} unseen, and {why}: nothing was done. Look at it, then add --yes")
    return out.confirm(question)


def decision(out: Out, ask: Ask, verb: Verb, *, source: str = "", stopped: str = "") -> None:
    """Show what is asked, and what follows from an answer.

    Args:
        out: where to.
        ask: the question.
        verb: approve or deny.
        source: who says what the plan's digest does not cover; empty if the journal does.
        stopped: why it is not done even so, as a clause; empty if nothing stops it.
    """
    out.say(ask.summary, "head")
    done = stopped or "it is done as soon as enough people have approved"
    left = "it is not done, and everything stays as it is"
    said = ("if you approve", done) if verb is Verb.APPROVE else ("if you deny", left)
    show(out, ask, [*([("digest, of the plan", ask.digest)] if source else []), said], source=source)


def show(out: Out, ask: Ask, more: list[tuple[str, object]], *, source: str = "") -> None:
    """Show what is asked.

    Args:
        out: where to.
        ask: the question.
        more: what else there is to say of it, as names and values.
        source: who says what the plan's digest does not cover; empty if the journal does.
    """
    says = f", says {source}" if source else ""
    for change in ask.changes:
        out.say(change, indent=2)
    if not ask.changes:
        out.say("it changes nothing: all of it is so already", indent=2)
    because(out, ask, says=says)
    out.fields(
        [
            ("breaks", ask.breaks),
            ("undone by", ask.undo),
            ("cannot be undone", ask.irreversible),
            (f"changed since it was asked before{says}", "; ".join(ask.differs)),
            (f"asked for by{says}", ask.requested_by),
            (f"their reason{says}", ask.reason),
            (f"once it is healed{says}", ask.by_itself),
            *more,
        ]
    )


def because(out: Out, ask: Ask, *, says: str = "") -> None:
    """Show why people are asked, one reason a line; a reason that is a difference as the diff that it is."""
    diffs = {one.reason: one for one in ask.diffs}
    out.say(f"it waits because{says}", "dim")
    for reason in ask.reasons:
        if (one := diffs.get(reason)) is None:
            out.say(f"- {reason}", indent=2)
        else:
            out.say(f"- {one.about} is not as approved:", indent=2)
            difference(out, one.diff, indent=4)


def difference(out: Out, diff: str, *, indent: int) -> None:
    """Show a unified diff, line by line."""
    lines = diff.split("\n")
    for line in lines[:LONGEST]:
        style = "good" if line.startswith("+") else "bad" if line.startswith("-") else "dim"
        out.say(line, style, indent=indent)
    if len(lines) > LONGEST:
        out.say(f"… {len(lines) - LONGEST} more lines: `mcp-soar pins diff` shows them", "dim", indent=indent)
