"""One claimed incident in hand: its state, and the only way to write to its stream."""

import asyncio
import copy
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from flows.engine.parts import Parts
from integrations.journal.store import Claim, Tx
from playbooks.errors import Refused, SoarError
from playbooks.estate.inventory import Resolved
from playbooks.playbook import Playbook
from playbooks.record.journal import Entry, Event
from playbooks.record.projection import fold, project
from playbooks.record.state import Incident

T = TypeVar("T")

LOG = logging.getLogger("mcp_soar.engine")
PREFIX = "incident/"
MARGIN = 2.0
"""Seconds that a claim has to outlast the effect that is begun under it."""


PATIENT = 3
"""How often a decision waits for news to be folded first; after that it is folded inside the transaction."""


class Stopped(Refused):
    """The kill switch is on for this incident."""


class _News(Exception):
    """The stream holds more than what a decision was to be made on."""


class Case:
    """An incident that this responder holds the claim of.

    Args:
        parts: what the engine works with.
        claim: the claim; every entry is written under its fence.
        state: what the stream says so far.
    """

    def __init__(self, parts: Parts, claim: Claim, state: Incident) -> None:
        self.parts = parts
        self.claim = claim
        self.state = state
        self._goes_by: tuple[str | None, Playbook | None] = (state.playbook_digest, state.goes_by(parts.playbooks))
        # Opened in a long batch, the claim is older than this object; a clock that is behind must not lengthen it.
        left = min(parts.timing.claim, claim.until - time.time())
        self._until = time.monotonic() + left
        self._renewing = asyncio.Lock()
        self._folding = asyncio.Lock()
        self.confirming: dict[str, asyncio.Task[None]] = {}
        self.asks_at: float | None = None
        """When the watch comes back to it before its time, by the monotonic clock."""

    @classmethod
    async def take(cls, parts: Parts, claim: Claim) -> "Case":
        """Read a claimed incident.

        Raises:
            Tampered: if its stream is not as it was written.
        """
        entries = await parts.journal.read(claim.stream)
        return cls(parts, claim, project(claim.stream.removeprefix(PREFIX), entries))

    @property
    def playbook(self) -> Playbook | None:
        """What it goes by; somebody may have chosen more meanwhile, or given it its class."""
        if self._goes_by[0] != self.state.playbook_digest:
            self._goes_by = (self.state.playbook_digest, self.state.goes_by(self.parts.playbooks))
        return self._goes_by[1]

    @property
    def stream(self) -> str:
        """The incident's stream."""
        return self.claim.stream

    @property
    def id(self) -> str:
        """The incident's id."""
        return self.state.id

    def entities(self) -> Sequence[Resolved]:
        """Return what it is about, the most specific first."""
        return tuple(self.state.entities.values())

    def asks_in(self, seconds: float) -> None:
        """Have the watch come back in so many seconds, if not sooner."""
        at = time.monotonic() + seconds
        self.asks_at = at if self.asks_at is None else min(self.asks_at, at)

    async def record(self, *events: Event) -> None:
        """Append to the stream, durably, and take it into the state."""
        await self._take(await self.parts.journal.append(self.stream, events, claim=self.claim))

    async def transact(self, work: Callable[[Tx], Awaitable[tuple[Sequence[Event], T]]]) -> T:
        """Run checks and appends of this incident in one transaction with everything else that is shared.

        Args:
            work: returns the events to append, and what the caller wants to know.
        """

        async def unit(tx: Tx) -> tuple[tuple[Entry, ...], T]:
            events, result = await work(tx)
            return (await tx.append(self.stream, events, claim=self.claim) if events else ()), result

        entries, result = await self.parts.journal.submit(unit)
        await self._take(entries)
        return result

    async def decide(self, work: Callable[[Tx, Incident], Awaitable[tuple[Sequence[Event], T]]]) -> T:
        """Decide on the stream as it stands in that transaction, and append what was decided.

        Whatever was read before it began may be old: somebody may have said no, approved, asked for a release or
        brought a second alert since. On news, what there is now is folded, and it is decided again.

        Args:
            work: decides on the state that it is handed, and on no other; returns the events to append, and what the
                caller wants to know. It may be called several times.
        """
        patience = PATIENT
        while True:
            try:
                return await self.transact(partial(self._on_the_tip, work, folding=patience == 0))
            except _News:
                patience -= 1
                await self.catch_up()

    async def _on_the_tip(
        self, work: Callable[[Tx, Incident], Awaitable[tuple[Sequence[Event], T]]], tx: Tx, *, folding: bool
    ) -> tuple[Sequence[Event], T]:
        state = self.state
        if await tx.tip(self.stream) != state.seq:
            if not folding:
                # It is folded outside, so that the journal's one lock is not held meanwhile.
                raise _News
            # News that never ends (a flood of alerts) does not put a decision off for ever.
            state = copy.deepcopy(state)
            for entry in await tx.read(self.stream, after=state.seq):
                fold(state, entry.parsed())
        return await work(tx, state)

    async def catch_up(self) -> None:
        """Take in what others appended since: alerts, decisions, requests."""
        async with self._folding:
            for entry in await self.parts.journal.read(self.stream, after=self.state.seq):
                fold(self.state, entry.parsed())

    async def _take(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        async with self._folding:
            if entries[0].seq > self.state.seq + 1:
                # Somebody moved an alert or a decision into the stream meanwhile; steps of ours that run side by side
                # may also reach this point out of order.
                entries = await self.parts.journal.read(self.stream, after=self.state.seq)
            for entry in entries:
                if entry.seq > self.state.seq:
                    fold(self.state, entry.parsed())

    async def outlast(self, seconds: float) -> None:
        """Make sure that the claim lasts longer than an effect of that length, so that a successor waits it out.

        Raises:
            LostClaim: if somebody else has it now.
        """
        if self._until - time.monotonic() > seconds + MARGIN:
            return
        async with self._renewing:
            if self._until - time.monotonic() <= seconds + MARGIN:
                await self.renew(max(self.parts.timing.claim, seconds + 2 * MARGIN))

    async def renew(self, seconds: float | None = None) -> None:
        """Extend the claim; one that was made to outlast an effect never becomes shorter.

        Raises:
            LostClaim: if somebody else has it now.
        """
        before = time.monotonic()
        length = max(seconds or self.parts.timing.claim, self._until - before)
        self.claim = await self.parts.journal.renew(self.claim, length)
        self._until = before + length

    async def check_stop(self) -> None:
        """Ask the kill switch.

        Raises:
            Stopped: if it is on for this incident, or cannot be read.
        """
        try:
            stops = await self.parts.journal.stops()
        except SoarError as exc:
            raise Stopped(f"the kill switch cannot be read, so it counts as on: {exc}") from exc
        scopes = self.state.scopes
        for stop in stops:
            if stop.scope in scopes:
                raise Stopped(f"stopped for {stop.scope} by {stop.by}: {stop.reason}")

    async def is_stopped(self) -> bool:
        """Whether the kill switch is on for this incident; unreadable counts as on."""
        try:
            await self.check_stop()
        except Stopped as exc:
            # Asked again every other second, of every open incident: the responder says once that it is on.
            LOG.debug("%s: %s", self.id, exc)
            return True
        return False
