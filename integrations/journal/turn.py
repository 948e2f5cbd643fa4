"""Turns at writing one SQLite file, by all processes of a machine.

SQLite has a writer that finds the file locked ask again after a while. Against one that writes all the time the others
then wait for seconds. Here they queue: whoever waits holds the queue, so the one that just wrote gets behind it.
"""

import asyncio
import os
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Not on Windows: there SQLite's own asking must do.
    fcntl = None  # type: ignore[assignment]  # a module or nothing


class Turn:
    """A turn at writing; an async context.

    Args:
        path: of the SQLite file. Two empty files are kept beside it. A lock on the file itself would end SQLite's own.
    """

    def __init__(self, path: Path) -> None:
        self._here = asyncio.Lock()
        self._paths = [path.with_name(path.name + end) for end in ("-queue", "-turn")]
        self._files: list[IO[bytes]] = []

    async def __aenter__(self) -> None:
        await self._here.acquire()
        if fcntl is None:
            return
        try:
            if not self._take(fcntl.LOCK_EX | fcntl.LOCK_NB):
                await asyncio.to_thread(self._take, fcntl.LOCK_EX)
        except BaseException:
            self.close()
            self._here.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        if fcntl is not None:
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
        self._here.release()

    def _take(self, how: int) -> bool:
        if not self._files:
            for path in self._paths:
                self._files.append(os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600), "wb"))
        queue, turn = self._files
        try:
            fcntl.flock(queue, how)
            try:
                fcntl.flock(turn, how)
            finally:
                fcntl.flock(queue, fcntl.LOCK_UN)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the files."""
        while self._files:
            self._files.pop().close()
