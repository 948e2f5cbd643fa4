"""One question for all who wait for its answer."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from playbooks.errors import Transient

T = TypeVar("T")

LONGEST: Final = 20.0
"""Seconds that a question may take altogether, however many requests it needs."""


class Shared(Generic[T]):
    """Asks once for everybody who waits, and answers nobody with what was asked before the moment that they name.

    A verification must see the world after its own effect: an answer under way when it arrives may be older, so the
    caller waits for the next one, together with all others that arrive meanwhile. Whoever knows since when nothing was
    changed may take an answer that is under way, or the last one.

    It ends by itself, whoever still waits: a place that answers for ever must not be asked for ever.

    Args:
        ask: puts the question.
        within: seconds after which it is given up, as `Transient`, for everybody who waits.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, within: float = LONGEST) -> None:
        self._ask = ask
        self._within = within
        self._running: asyncio.Task[T] | None = None
        self._began = -math.inf
        self._next: asyncio.Task[T] | None = None

    async def __call__(self, since: float = math.inf) -> T:
        """Return an answer to a question that was put after this call began, or after an earlier moment.

        Args:
            since: that moment, in monotonic seconds.
        """
        last = self._running
        if last is not None and self._began >= since and not _failed(last):
            return await asyncio.shield(last)
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
            # Everybody may have given up by the time it fails: then it is nobody's.
            self._next.add_done_callback(_failed)
        # shield: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(self._next)

    async def _after(self, previous: "asyncio.Task[T] | None") -> T:
        if previous is not None:
            await asyncio.wait([previous])
        self._running, self._next, self._began = self._next, None, time.monotonic()
        try:
            async with asyncio.timeout(self._within):
                return await self._ask()
        except TimeoutError as exc:
            raise Transient(f"what many wait for was not answered within {self._within:g} s") from exc


def _failed(task: "asyncio.Task[T]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
