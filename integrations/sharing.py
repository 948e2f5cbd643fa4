"""One question for all who wait for its answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from playbooks.errors import Transient

T = TypeVar("T")

LONGEST: Final = 20.0
"""Seconds that a question may take altogether, however many requests it needs."""


class Shared(Generic[T]):
    """Asks once for everybody who waits, and never answers a caller with what was asked before the caller came.

    A verification must see the world after its own effect: an answer under way when it arrives may be older, so the
    caller waits for the next one, together with all others that arrive meanwhile.

    It ends by itself, whoever still waits: a place that answers for ever must not be asked for ever.

    Args:
        ask: puts the question.
        within: seconds after which it is given up, as `Transient`, for everybody who waits.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, within: float = LONGEST) -> None:
        self._ask = ask
        self._within = within
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Return an answer to a question that was put after this call began."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        # shield: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(self._next)

    async def _after(self, previous: "asyncio.Task[T] | None") -> T:
        if previous is not None:
            await asyncio.wait([previous])
        self._running, self._next = self._next, None
        try:
            async with asyncio.timeout(self._within):
                return await self._ask()
        except TimeoutError as exc:
            raise Transient(f"what many wait for was not answered within {self._within:g} s") from exc
