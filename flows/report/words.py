"""How times, lengths and other people's words are written in a report. Pure."""

from datetime import datetime

from playbooks.strict import iso
from playbooks.text.escaping import defanged, plain, printable
from playbooks.text.redaction import redacted

EXCERPT = 300
"""Characters of outside text that are shown in one place; the journal and the exhibits have all of it."""

EXPLAINED = (
    "A lease is a containment in force: watched, and at its end extended and paged, until somebody gives it back. "
    "Established: a probe asked as a client would, and it holds; what could not be asked is not established. "
    "Whoever asked is named: that others are answered likewise is not proven by it. "
    "Of a token or an account that nobody here can use there is its gateway's word only. "
    "Put back: somebody undid it, and mcp-soar did it again."
)
"""Our own words, for whoever reads them for the first time; once in an output."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def excerpt(text: object, limit: int = EXCERPT) -> str:
    """Return outside text as one harmless line without secrets or links; each output still escapes it in its own way.

    Args:
        text: anything; it may be hostile.
        limit: characters at most.
    """
    # Masked before it is cut, or the half of a secret would look like none.
    shown = plain(redacted(str(text)), limit)
    # U+FFFE and U+FFFF are no characters of XML, and no category that `plain` writes out.
    return "".join("\N{REPLACEMENT CHARACTER}" if ord(c) & 0xFFFE == 0xFFFE else c for c in shown)  # noqa: PLR2004  # noncharacters


def difference(diff: str, most: int = 200) -> list[str]:
    """Return a unified diff as lines of which nothing becomes a link, or does anything to a screen.

    Args:
        diff: as it was observed; hostile.
        most: lines at most.
    """
    lines = redacted(diff, len(diff) + 1).split("\n")
    shown = [defanged(printable(line, 1000)) for line in lines[:most]]
    return [*shown, f"… {len(lines) - most} more lines"] if len(lines) > most else shown


def clock(moment: datetime | str | None) -> str:
    """Return a moment in UTC with milliseconds, as 2026-01-31 12:00:00.000Z (RFC 3339; a line may break it), or a dash.

    Args:
        moment: when; text is ISO 8601.
    """
    if not moment:
        return "-"
    return iso(datetime.fromisoformat(moment) if isinstance(moment, str) else moment).replace("T", " ")


def length(seconds: float) -> str:
    """Return a length of time for people, as 54 ms, 2.4 s, 3 min 20 s, 2 h 5 min or 1 d 3 h."""
    sign, value = ("-" if seconds < 0 else ""), abs(seconds)
    if round(value * 1000) < 1000:  # noqa: PLR2004  # milliseconds in a second
        return f"{sign}{value * 1000:.0f} ms"
    if round(value, 1) < 10:  # noqa: PLR2004  # below it tenths matter
        return f"{sign}{value:.1f} s".replace(".0 s", " s")
    whole = round(value)
    if whole < _MINUTE:
        return f"{sign}{whole} s"
    if whole < _HOUR:
        return sign + _two(whole, _MINUTE, "min", 1, "s")
    if whole < _DAY:
        return sign + _two(whole, _HOUR, "h", _MINUTE, "min")
    return sign + _two(whole, _DAY, "d", _HOUR, "h")


def _two(whole: int, large: int, name: str, small: int, rest: str) -> str:
    left = whole % large // small
    return f"{whole // large} {name}" + (f" {left} {rest}" if left else "")


def since(start: datetime | None, moment: datetime | None) -> str:
    """Return how long after `start` something was, as +54 ms; empty if either is not known."""
    if start is None or moment is None:
        return ""
    seconds = (moment - start).total_seconds()
    return length(seconds) if seconds < 0 else f"+{length(seconds)}"


def against(seconds: float, goal: float, waited: float) -> str:
    """Return what to say of how long something took: nobody is faster than the person who is asked.

    Args:
        seconds: how long it took.
        goal: how long it ought to take at most.
        waited: how many of the seconds it waited for people.
    """
    if seconds <= goal:
        return "met"
    return f"met but for {length(waited)} that people took" if seconds - waited <= goal else "MISSED"
