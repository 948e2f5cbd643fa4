"""A plan that waits, for whoever decides on it: what it changes, why it is asked, how it is undone."""

from flows.cli import schema
from flows.cli.output import Out
from flows.cli.work import records

LONGEST = 80
"""Lines of one difference."""


def show(out: Out, ask: schema.Ask, more: list[tuple[str, object]]) -> None:
    """Show what is asked.

    Args:
        out: where to.
        ask: the question.
        more: what else there is to say of it, as names and values.
    """
    for change in ask["changes"]:
        out.say(change, indent=2)
    if not ask["changes"]:
        out.say("it changes nothing: all of it is so already", indent=2)
    because(out, ask)
    out.fields(
        [
            ("breaks", ask["breaks"]),
            ("undone by", records.undone(ask)),
            ("cannot be undone", ask["irreversible"]),
            ("changed since it was asked before", ask["differs"]),
            ("asked for by", ask["requested_by"]),
            ("their reason", ask["reason"]),
            *more,
        ]
    )


def because(out: Out, ask: schema.Ask) -> None:
    """Show why people are asked, one reason a line; a reason that is a difference as the diff that it is."""
    diffs = {one["reason"]: one for one in ask["diffs"]}
    out.say("it waits because", "dim")
    for reason in ask["reasons"]:
        if (one := diffs.get(reason)) is None:
            out.say(f"- {reason}", indent=2)
        else:
            out.say(f"- {one['about']} is not as approved:", indent=2)
            difference(out, one["diff"], indent=4)


def difference(out: Out, diff: str, *, indent: int) -> None:
    """Show a unified diff, line by line."""
    lines = diff.split("\n")
    for line in lines[:LONGEST]:
        style = "good" if line.startswith("+") else "bad" if line.startswith("-") else "dim"
        out.say(line, style, indent=indent)
    if len(lines) > LONGEST:
        out.say(f"… {len(lines) - LONGEST} more lines: `mcp-soar pins diff` shows them", "dim", indent=indent)
