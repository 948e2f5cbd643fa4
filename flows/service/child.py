"""A child process of `up`: started again when it dies, ended in order, and never without what it started."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.service.part import BEAT, DIED, GRACE
from playbooks.errors import Misconfigured

Say = Callable[[str], None]

RESTARTS = 5
"""How often within `WITHIN` seconds a part is started again before we give up on it."""

WITHIN = 300.0

SILENT = 60.0
"""Seconds without a sign of life after which a part that gives any counts as hanging."""

_LATE = 2


@dataclass
class Part:
    """One child process, started again when it dies.

    Args:
        name: what people call it.
        arguments: of `flows.service.part`.
        log: where its log goes.
        environment: its environment.
        sockets: listening sockets that it inherits.
        needed: without it, everything ends.
        lasting: it is started again for as long as it takes; nothing ends, and nothing is done without it.
        healthy: asks whether it serves; None if it says so itself.
    """

    name: str
    arguments: Sequence[str]
    log: Path
    environment: dict[str, str]
    sockets: Sequence[socket.socket] = ()
    needed: bool = True
    lasting: bool = False
    healthy: Callable[[], bool] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None
    misconfigured: str | None = None
    unconfined: str | None = None
    _again: bool = False
    _heard: float | None = None
    _hung: bool = False

    async def run(self, say: Say) -> None:
        """Keep it running until cancelled, or until it dies too often.

        Raises:
            Misconfigured: if it says that it is, and is needed.
        """
        deaths: deque[float] = deque(maxlen=RESTARTS)
        while True:
            ended = await self._once()
            if self._again:
                self._again = False
                continue
            if self.misconfigured and self.needed:
                raise Misconfigured(self.misconfigured)
            if self.misconfigured and not self.lasting:
                say(f"{self.name}: {self.misconfigured}; going on without it (log: {self.log})")
                return
            moment = time.monotonic()
            if not self.lasting and len(deaths) == RESTARTS and moment - deaths[0] < WITHIN:
                say(f"{self.name} died {RESTARTS + 1} times within {WITHIN:.0f} s, I give up on it; see {self.log}")
                return
            deaths.append(moment)
            # Its successor need not wait for what it had in hand.
            self.environment = {**self.environment, DIED: "1"}
            why, self.misconfigured = self.misconfigured or ended, None
            say(f"{self.name} {why}; starting it again (log: {self.log})")
            await asyncio.sleep(min(0.2 * 2 ** len(deaths), 5.0))

    async def _once(self) -> str:
        """Run it once, and return how that ended."""
        try:
            status = await self._started()
        except OSError as exc:
            # No memory, no process, no file for its log: tried again like what died.
            return f"cannot be started ({exc})"
        if self._hung:
            return f"gave no sign of life for {SILENT:.0f} s and was ended"
        return f"ended with status {status}"

    async def _started(self) -> int:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "flows.service.part",
                *self.arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=self.environment,
                pass_fds=[item.fileno() for item in self.sockets],
                # Ctrl-C in a terminal goes to the whole group: we alone decide in which order things end.
                start_new_session=True,
            )
        asking = asyncio.create_task(self._ask()) if self.healthy else None
        self._heard, self._hung = None, False
        watching = asyncio.create_task(self._watch(self.process))
        try:
            await self._listen(self.process)
            return await self.process.wait()
        finally:
            watching.cancel()
            if asking:
                asking.cancel()
            self._sweep()

    def _sweep(self) -> None:
        """End what a part that has died leaves behind; it was the first of a process group of its own."""
        process = self.process
        if process is not None and process.returncode is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        async for line in process.stdout:
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    if said.get("alive"):
                        self._heard = time.monotonic()
                    self.misconfigured = said.get("misconfigured") or self.misconfigured
                    self.unconfined = said.get("unconfined", self.unconfined)
                    if said.get("ready"):
                        self.ready.set()

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """End what said that it is alive and has long stopped saying so: what it holds hangs with it."""
        late = 0
        while late < _LATE:
            await asyncio.sleep(BEAT)
            # Twice in a row: if we ourselves were stopped, what it said meanwhile is not read yet.
            late = late + 1 if self._heard is not None and time.monotonic() - self._heard > SILENT else 0
        self._hung = True
        with contextlib.suppress(ProcessLookupError):
            process.kill()

    async def _ask(self) -> None:
        while self.healthy and not await asyncio.to_thread(self.healthy):  # noqa: ASYNC110  # another process is asked
            await asyncio.sleep(0.1)
        self.ready.set()

    async def end(self) -> None:
        """End it, by force if it does not listen."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), GRACE)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        self._sweep()

    async def restart(self) -> None:
        """Have it started anew, with what it is given then."""
        if self.process is not None and self.process.returncode is None:
            self._again = True
            await self.end()
