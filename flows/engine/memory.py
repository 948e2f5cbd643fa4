"""What a responder remembers of the incidents that alerts join, so that one more message reads nothing again."""

import time
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from playbooks.record.alike import Heard

COUNTED = 15.0
"""Seconds after which an incident that was told more of the same says so; see `flows.engine.flood`."""

REMEMBERED = 1000
"""Incidents whose news is told from memory; those of others are read again."""

WATCHED = 10_000
"""Leases of which it is remembered what was seen; others are asked about once more."""


class Memory:
    """What this responder remembers between two looks, none of it anybody else's business.

    A unit works on copies and hands them in when it is on disk, so that nothing of a transaction that was undone stays.
    """

    def __init__(self) -> None:
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        self.counted: dict[str, float] = {}
        """When each incident was last asked to count, by the monotonic clock."""
        self._open: OrderedDict[str, None] = OrderedDict()
        self.ahead: frozenset[str] = frozenset()
        """The messages whose first questions were begun before they were read for good."""
        self.responses = 0
        """Incidents whose response runs at this moment."""
        self.marks: OrderedDict[str, str] = OrderedDict()
        """What a look saw of each lease when it was last asked about."""
        self.asking: Counter[str] = Counter()
        """Leases that are asked about at this moment, by system."""
        self._times: OrderedDict[str, float] = OrderedDict()
        """When checks of each incident were asked again, by the monotonic clock."""
        self.silent: dict[str, float] = {}
        """Systems that did not answer a look, until when nobody looks there again, by the monotonic clock."""

    @contextmanager
    def asks(self, system: str) -> Iterator[None]:
        """Count one more lease of a system that is asked about, for as long as the block runs."""
        self.asking[system] += 1
        try:
            yield
        finally:
            self.asking[system] -= 1

    def is_time(self, incident: str, seconds: float) -> bool:
        """Whether an incident's checks are to be asked again, which they then are: none was within so many seconds."""
        moment = time.monotonic()
        if moment - self._times.get(incident, -seconds) < seconds:
            return False
        self._times[incident] = moment
        self._times.move_to_end(incident)
        while len(self._times) > WATCHED:
            self._times.popitem(last=False)
        return True

    def mark(self, lease: str, mark: str) -> None:
        """Remember what was seen of a lease that is asked about now; those that were asked about last the longest."""
        self.marks[lease] = mark
        self.marks.move_to_end(lease)
        while len(self.marks) > WATCHED:
            self.marks.popitem(last=False)

    @contextmanager
    def in_hand(self) -> Iterator[None]:
        """Count one more response for as long as the block runs."""
        self.responses += 1
        try:
            yield
        finally:
            self.responses -= 1

    def is_new(self, key: str) -> bool:
        """Whether no alert met others under this key lately, so that the next one may well open an incident."""
        return key not in self._open

    def heard(self, stream: str) -> Heard:
        """Return a copy of what an incident was told, as far as it is remembered."""
        known = self._heard.get(stream)
        return known.copy() if known else Heard()

    def keep(self, heard: dict[str, Heard], counted: dict[str, float], keys: Iterable[str]) -> None:
        """Remember what incidents were told, those asked for last the longest, which were asked to count, and the keys.

        Args:
            heard: what each incident was told.
            counted: when each was asked to count.
            keys: under which alerts met.
        """
        for key in keys:
            self._open[key] = None
            self._open.move_to_end(key)
        while len(self._open) > REMEMBERED:
            self._open.popitem(last=False)
        for stream, one in heard.items():
            self._heard[stream] = one
            self._heard.move_to_end(stream)
        while len(self._heard) > REMEMBERED:
            self._heard.popitem(last=False)
        moment = time.monotonic()
        self.counted = {name: at for name, at in (self.counted | counted).items() if moment - at < COUNTED}
