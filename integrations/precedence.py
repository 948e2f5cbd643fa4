"""Who goes first at one place that answers few at a time: changes, then what is verified first, then the watch."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

GIVES_WAY: Final = 1.0
"""Seconds for which a look of the watch waits for what is being cut or verified for the first time: once when its turn
comes, and once more among all of its doors."""

BEHIND: Final = 10.0
"""Seconds that a look waits for its turn, after which the watch gives way no more until it has caught up: where
something is always under way, what many leases have to be asked would otherwise be asked by nobody."""


class Precedence:
    """Whose turn it is, and since when nothing was changed; all of it as far as this process goes.

    Args:
        changes: changes under way at once.
        verifications: verifications under way at once.
        looks: looks of the watch under way at once: whatever is to be cut waits behind no more of them.
    """

    def __init__(self, *, changes: int, verifications: int, looks: int) -> None:
        self._changes = asyncio.Semaphore(changes)
        self._questions = asyncio.Semaphore(verifications)
        self._looks = asyncio.Semaphore(looks)
        self._changing = 0
        self._verifying = 0
        self._quiet = asyncio.Event()
        self._leisure = asyncio.Event()
        self._waiting: dict[object, float] = {}
        self._planned_until = 0.0
        self._writing = 0
        self._written_at = 0.0
        self.writes = 0
        """How many changes of ours were begun or ended: what was asked before one says nothing after it."""
        self._note()

    def _note(self) -> None:
        for event, waits in ((self._quiet, self._changing), (self._leisure, self._changing or self._verifying)):
            if waits:
                event.clear()
            else:
                event.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until few enough changes are under way for another one, which is made within the block."""
        self._changing += 1
        self._note()
        try:
            async with self._changes:
                yield
        finally:
            self._changing -= 1
            self._note()

    @asynccontextmanager
    async def question(self, within: float = 8.0, *, watching: bool = False) -> AsyncIterator[None]:
        """Wait until few enough verifications are under way for another one, which asks within the block.

        It waits until none of our changes is under way: in a burst every cut is made before the first is verified.

        Args:
            within: seconds to wait for the changes at most.
            watching: it was verified before, and waits for those that were not.
        """
        if watching:
            async with self._look(within):
                yield
            return
        await self._until_quiet(within)
        self._verifying += 1
        self._note()
        try:
            async with self._questions:
                yield
        finally:
            self._verifying -= 1
            self._note()

    async def _until_quiet(self, within: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._quiet.wait()

    @asynccontextmanager
    async def _look(self, within: float) -> AsyncIterator[None]:
        mine = object()
        self._waiting[mine] = time.monotonic()
        try:
            await self._until_quiet(within)
            await self._looks.acquire()
        finally:
            del self._waiting[mine]
        try:
            await self.give_way()
            yield
        finally:
            self._looks.release()

    def plans_for(self, seconds: float) -> None:
        """Note that a change is being planned, which will be made in so many seconds if it is made at all."""
        self._planned_until = max(self._planned_until, time.monotonic() + seconds)

    async def give_way(self, most: float | None = None) -> float:
        """Let what is being cut, or verified for the first time, ask first; not for ever: a watch is to be kept.

        Args:
            most: seconds to wait at most; by default `GIVES_WAY`.

        Returns:
            Seconds that it waited: a look has so many less to wait later.
        """
        began = time.monotonic()
        most = GIVES_WAY if most is None else most
        # In order of when they came: the first has waited longest.
        longest = next(iter(self._waiting.values()), began)
        if most <= 0 or began - longest > BEHIND:
            return 0.0
        until = began + most
        with suppress(TimeoutError):
            async with asyncio.timeout(most):
                while not self._leisure.is_set() or time.monotonic() < self._planned_until:
                    await self._leisure.wait()
                    await asyncio.sleep(max(0.0, min(self._planned_until, until) - time.monotonic()))
        return time.monotonic() - began

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Count a change, which is made within the block."""
        self.writes += 1
        self._writing += 1
        try:
            yield
        finally:
            self.writes += 1
            self._writing -= 1
            self._written_at = time.monotonic()

    def unchanged_for(self, seconds: float) -> float:
        """Return since when, in monotonic seconds and at most so long, nothing was changed here by this process."""
        return math.inf if self._writing else max(self._written_at, time.monotonic() - seconds)
