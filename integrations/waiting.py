"""How long a remote asks us to wait, as every client of ours reads it: never longer than we would wait by ourselves."""

import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from playbooks.errors import Transient
from playbooks.strict import now

LONGEST: Final = 600.0
"""Seconds for which a channel is left alone at most, whatever it asks for: a page must not wait for an hour."""

# A fraction is no HTTP, and sent all the same; digits of other scripts, signs and exponents are nothing.
_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_MOST_CHARACTERS: Final = 500


def wait_of(asked: object, *, longest: float, at: datetime | None = None) -> float | None:
    """Return how many seconds to wait before asking again, None if nothing readable was said.

    Args:
        asked: a `Retry-After` (RFC 9110, 10.2.3): seconds, a fraction of them, or a date; or the number that a body
            gives. Anything else, as a negative number, counts as not said.
        longest: seconds that we wait at most, however long was asked for.
        at: the present moment, which a date is measured from.
    """
    seconds: float | None = None
    if isinstance(asked, str):
        seconds = _written(asked.strip(" \t"), at or now())
    elif isinstance(asked, int | float) and not isinstance(asked, bool):
        # A whole number may have more digits than a float can hold.
        seconds = float(min(asked, longest))
    if seconds is None or math.isnan(seconds) or seconds < 0:
        return None
    return min(seconds, longest)


def _written(text: str, at: datetime) -> float | None:
    if len(text) > _MOST_CHARACTERS:
        return math.inf if _SECONDS.fullmatch(text) else None
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        # The obsolete forms name no zone; all are in UTC.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max((moment - at).total_seconds(), 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class Respite:
    """How long a remote that asked for it is left alone; others are served meanwhile.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def grant(self, what: str, wait: float | None) -> None:
        """Leave something alone for some seconds.

        Args:
            what: it is, as we call it: never a name of the remote's choice.
            wait: from `wait_of`; None changes nothing.
        """
        if wait is not None:
            self._until[what] = self._clock() + wait

    def respect(self, what: str, where: str) -> None:
        """Do nothing if something may be asked now.

        Args:
            what: as in `grant`.
            where: it is, for people.

        Raises:
            Transient: it asked to be left alone for longer; nothing was sent.
        """
        left = self._until.get(what, 0.0) - self._clock()
        if left > 0:
            raise Transient(f"{where} asked to wait, {math.ceil(left)} s more", retry_after=left)
        self._until.pop(what, None)
