"""What a responder remembers of the incidents that alerts join, so that one more message reads nothing again."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from playbooks.alike import Heard

COUNTED = 15.0
"""Seconds after which an incident that was told more of the same says so; see `flows.engine.flood`."""

REMEMBERED = 1000
"""Incidents whose news is told from memory; those of others are read again."""


class Memory:
    """What this responder remembers between two looks, none of it anybody else's business.

    A unit works on copies and hands them in when it is on disk, so that nothing of a transaction that was undone stays.
    """

    def __init__(self) -> None:
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        self.counted: dict[str, float] = {}
        """When each incident was last asked to count, by the monotonic clock."""
        self._open: OrderedDict[str, None] = OrderedDict()
        self.responses = 0
        """Incidents whose response runs at this moment."""

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
