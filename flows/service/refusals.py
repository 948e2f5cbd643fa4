"""Messages that an authenticated source sent and that could not be read: counted, and handed in for people to see."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from playbooks.errors import SoarError
from playbooks.record.refusal import KIND, Refusal
from playbooks.strict import canonical

log = logging.getLogger(__name__)

EVERY: Final = 600.0
"""Seconds between two reports about one source; the first is at once."""

_WITHIN: Final = 10.0


class _Inbox(Protocol):
    """What takes a report in, as `flows.service.receiver.Inbox` does."""

    async def put(
        self, *, kind: str, source: str, nonce: str, body: bytes, headers: dict[str, str], weight: int
    ) -> object:
        """Store an entry."""


class Refusals:
    """Counts them by source, and puts what it counted into the inbox now and then: an entry, however many there were.

    Args:
        inbox: takes a report in.
        clock: the present moment.
    """

    def __init__(self, inbox: _Inbox, clock: Callable[[], datetime]) -> None:
        self._inbox = inbox
        self._clock = clock
        self._counted: dict[str, Refusal] = {}
        self._busy: dict[str, asyncio.Task[None]] = {}

    def note(self, source: str, said: str) -> None:
        """Count a message.

        Args:
            source: whose it is: a configured name.
            said: what was wrong with it, as its sender was told.
        """
        before = self._counted.get(source)
        since, count = (before.since, before.count + 1) if before else (self._clock(), 1)
        self._counted[source] = Refusal(count=count, since=since, said=said[:1000])
        if source not in self._busy:
            self._busy[source] = asyncio.get_running_loop().create_task(self._report(source))

    async def _report(self, source: str) -> None:
        """Report what is counted at once, and what is counted meanwhile a while later, until nothing is."""
        try:
            while (counted := self._counted.pop(source, None)) is not None:
                await self._put(source, counted)
                await asyncio.sleep(EVERY)
        finally:
            del self._busy[source]

    async def _put(self, source: str, counted: Refusal) -> None:
        nonce = f"refused-{secrets.token_hex(16)}"
        try:
            async with asyncio.timeout(_WITHIN):
                await self._inbox.put(
                    kind=KIND, source=source, nonce=nonce, body=canonical(counted), headers={}, weight=0
                )
        except (SoarError, TimeoutError) as exc:
            # Metrics have them; the next report counts these as well.
            log.warning("refused messages not reported", extra={"source": source, "fault": type(exc).__name__})
            after = self._counted.get(source)
            count = counted.count + (after.count if after else 0)
            self._counted[source] = counted.model_copy(update={"count": count})
