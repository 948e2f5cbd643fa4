"""What a check measured, with what it was at earlier runs. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Final, NamedTuple

from pydantic import Field

from playbooks.strict import Moment, RedactedLine, Strict

KEPT: Final = 20
"""Earlier figures that are kept of one thing."""

_BARS: Final = "▁▂▃▄▅▆▇█"


class Figure(NamedTuple):
    """Something that was measured.

    Args:
        what: which.
        seconds: how long it took.
    """

    what: str
    seconds: float


_Seconds = Annotated[float, Field(ge=0, le=10**9)]


class EarlierFigure(Strict):
    """What it was, and when."""

    at: Moment
    seconds: _Seconds


class KeptFigure(Strict):
    """A figure, as the journal keeps it.

    Args:
        what: which.
        at: when that was.
        seconds: how long it took.
        earlier: how long it took before, the latest first.
    """

    what: Annotated[RedactedLine, Field(max_length=2000)]
    at: Moment
    seconds: _Seconds
    earlier: Annotated[tuple[EarlierFigure, ...], Field(max_length=KEPT)] = ()

    @property
    def trend(self) -> str:
        """All of it as a chart of one line, the oldest first; the highest bar is the longest."""
        every = [*(one.seconds for one in reversed(self.earlier)), self.seconds]
        longest = max(every) or 1.0
        return "".join(_BARS[min(len(_BARS) - 1, int(one / longest * len(_BARS)))] for one in every)


def kept(some: Sequence[Figure], before: Iterable[KeptFigure], at: datetime, most: int) -> tuple[KeptFigure, ...]:
    """Return what the journal keeps of some figures, with their history; what was not measured now stays as it was.

    Args:
        some: the figures.
        before: what it kept of the run before.
        at: when they were measured.
        most: figures that are kept.
    """
    known = {one.what: one for one in before}
    for one in some:
        was = known.get(one.what)
        earlier = (EarlierFigure(at=was.at, seconds=was.seconds), *was.earlier)[:KEPT] if was else ()
        known[one.what] = KeptFigure(what=one.what, at=at, seconds=round(one.seconds, 2), earlier=earlier)
    return tuple(sorted(known.values(), key=lambda one: one.what)[:most])
