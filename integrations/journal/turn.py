"""Turns at writing one SQLite file, by all processes of a machine.

SQLite has a writer that finds the file locked ask again after a while. Against one that writes all the time the others
then wait for seconds. Here they queue: whoever waits holds the queue, so the one that just wrote gets behind it.

A turn is a courtesy, and nothing is safe by it: SQLite's own lock is what keeps two from writing. Every process that
may open the files can keep the turn, and so does one that is stopped while it has it. So nobody waits without end.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Not on Windows: there SQLite's own asking must do.
    fcntl = None  # type: ignore[assignment]  # a module or nothing

LOG = logging.getLogger(__name__)

PATIENCE = 1.5
"""Seconds that one waits for its turn before it writes without: many times what those before it take, and less than a
receiver is given to say that it is ready."""

BRIEF = 0.05
"""Seconds that one waits when it wrote without a moment ago: longer than a transaction that is not in trouble."""

AGAIN = 60.0
"""Seconds after which one waits with all patience again. Whoever keeps the turn costs a writer no more than that."""

_FIRST, _LONGEST = 0.0005, 0.002
"""Seconds between two looks at whether the turn is free: a transaction takes a few milliseconds."""


class Turn:
    """A turn at writing; an async context, entered without the turn if it cannot be had in time.

    Args:
        path: of the SQLite file. Two empty files are kept beside it. A lock on the file itself would end SQLite's own.
    """

    def __init__(self, path: Path) -> None:
        self._here = asyncio.Lock()
        self._paths = [path.with_name(path.name + end) for end in ("-queue", "-turn")]
        self._files: list[IO[bytes]] = []
        self._had = False
        self._brief_until = 0.0
        self._said = False

    async def __aenter__(self) -> None:
        await self._here.acquire()
        if fcntl is None:
            return
        try:
            self._had = await self._taken()
        except BaseException:
            self.close()
            self._here.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._had:
            self._had = False
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
        self._here.release()

    async def _taken(self) -> bool:
        """Wait for the turn, as long as that makes sense, and return whether this process has it."""
        began = time.monotonic()
        patient = began >= self._brief_until
        try:
            taken = await self._take(began + (PATIENCE if patient else BRIEF))
            why = f"{self._paths[1]} was locked for {PATIENCE:g} s, by a process that hangs or is not ours"
        except OSError as exc:
            self.close()
            taken, why = False, f"{exc.filename or self._paths[1]}: {exc.strerror}"
        if taken:
            self._said = False
        elif patient:
            self._brief_until = time.monotonic() + AGAIN
            if not self._said:
                LOG.warning("the journal is written without taking turns until that can be done again: %s", why)
            self._said = True
        return taken

    async def _take(self, until: float) -> bool:
        if not self._files:
            for path in self._paths:
                self._files.append(os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "wb"))
        queue, turn = self._files
        # Looked at again and again, not waited for in a thread: nothing ends a thread that waits for a lock.
        pauses = _pauses()
        while not _locked(queue):
            if not await _paused(next(pauses), until):
                return False
        try:
            while not _locked(turn):
                if not await _paused(next(pauses), until):
                    return False
        finally:
            fcntl.flock(queue, fcntl.LOCK_UN)
        return True

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.pop().close()


def _locked(file: IO[bytes]) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _pauses() -> Iterator[float]:
    pause = _FIRST
    while True:
        yield pause
        pause = min(1.5 * pause, _LONGEST)


async def _paused(seconds: float, until: float) -> bool:
    if time.monotonic() >= until:
        return False
    await asyncio.sleep(seconds)
    return True
