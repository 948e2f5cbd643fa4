"""One part of `up` as a process of its own: `python -m flows.service.part responder|flows|receiver|prefect|worker …`.

Each ends when its standard input closes, and so with whoever started it, however that one died. What it has to say to
`up` it writes to standard output, a line of JSON each; its log goes to standard error.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from typing_extensions import override

from playbooks.errors import Misconfigured
from playbooks.text import redaction
from playbooks.text.escaping import printable
from playbooks.text.redaction import redacted

GRACE = 6.0
"""Seconds that a part may take to end once it was told to."""

BEAT = 5.0
"""Seconds between two signs of life."""

DIED = "MCP_SOAR_DIED"
"""Set by `up` for a part that takes the place of one which it saw die."""

BEHIND = {"flows": 5, "prefect": 5, "worker": 15}
"""How far the parts that contain nothing stand behind those that do on a busy machine, as `nice` counts."""

_YOUNG = 10_000
"""Things that a process makes between two looks for what of them is garbage: an incident makes some 30,000."""

_GROUP = Path("/proc/self/autogroup")

_ESCAPED = 18
"""Characters that one can become: in NFKC (`U+FDFA`), a tenth of each at most as an escape."""

LOG = logging.getLogger("mcp_soar.part")


class Masking(logging.Formatter):
    """Masks secrets and personal data in whole lines, what an exception and its traceback quote included.

    What is invisible or moves the cursor is written out, and whatever is not the first line of an entry is set in: what
    somebody else chose to say is no entry of its own, and no command to a terminal.
    """

    @override
    def format(self, record: logging.LogRecord) -> str:
        # Whatever else ends a line somewhere (CR, U+2028) is written out.
        lines = redacted(super().format(record)).split("\n")
        return "\n    ".join(printable(line, len(line) * _ESCAPED) for line in lines)


def main(arguments: list[str]) -> int:
    """Run a part until it is told to end.

    Args:
        arguments: which part, and what it takes: the configuration folder, a socket's number, a server's address, or a
            pool, and whether its worker may run unconfined.
    """
    kind, *rest = arguments
    confined = kind in {"receiver", "worker"}
    # Nothing that contains waits for them; where processors are few, it would wait for these.
    os.nice(BEHIND.get(kind, 0))
    if kind != "prefect":
        stand_behind()
    if not confined:
        _leash()
    # Before anything waits for it.
    redaction.prepare()
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(Masking("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[log])
    # The database driver would log what goes into the inbox, one-time codes among it, if somebody wanted to see all.
    for chatty in ("aiosqlite", "alembic", "docket", "httpx", "httpx2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # Nothing that these write is for others to read.
    os.umask(0o077)
    try:
        # Each process imports what it runs, and no more.
        if kind == "receiver":
            from flows.service.part_receiver import confine, prepare, receive  # noqa: PLC0415

            prepared = prepare(Path(rest[0]))
            # Before there is another thread, which it would not bind.
            fault = confine(prepared.config)
            say(unconfined=fault)
            if fault:
                LOG.warning("the receiver can read what its user can: %s", fault)
            _leash()
            settle()
            _run(lambda stop: receive(prepared, int(rest[1]), stop))
        elif kind in {"responder", "flows"}:
            from flows.service import part_responder  # noqa: PLC0415

            work = part_responder.respond if kind == "responder" else part_responder.follow
            _run(lambda stop: work(Path(rest[0]), rest[1], stop, ready=_ready))
        elif kind == "worker":
            from flows.service import part_worker  # noqa: PLC0415

            say(unconfined=part_worker.confined(anyhow=rest[1] == "unconfined"))
            _leash()
            part_worker.run(rest[0], ready=_last_word)
        elif kind == "prefect":
            from flows.service.prefect_server import serve  # noqa: PLC0415

            # Not while it starts, which takes it a minute on a busy machine.
            serve(int(rest[0]), started=_started)
    except Misconfigured as exc:
        say(misconfigured=str(exc))
        LOG.error("%s", exc)  # noqa: TRY400  # it says what to mend; a traceback does not
        return 3
    return 0


def stand_behind() -> None:
    """Let other parts of `up` go first by as much as `nice` says of this one.

    Each is a session, and Linux may weigh sessions as wholes: then `nice` counts within a session alone.
    """
    if (nice := os.nice(0)) > 0 and os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            _GROUP.write_text(str(nice), encoding="ascii")


def settle() -> None:
    """Leave what this process is made of by now out of every look for garbage.

    That is two hundred thousand things; looking at all of them stops whatever it does for a sixth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 20)


def _ready() -> None:
    settle()
    say(ready=True)


def _started() -> None:
    stand_behind()
    settle()


def say(**what: Any) -> None:  # noqa: ANN401  # anything JSON
    """Tell `up` something."""
    with contextlib.suppress(OSError):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


async def _beat() -> None:
    """Tell `up` from within the loop that it turns; never waiting for `up` to listen."""
    os.set_blocking(1, False)
    while True:
        with contextlib.suppress(OSError):
            os.write(1, b'{"alive": true}\n')
        await asyncio.sleep(BEAT)


def _last_word() -> None:
    """Tell `up` that this part is ready, and nothing ever again: what is started here from now on is not ours."""
    say(ready=True)
    os.dup2(2, 1)


def _leash() -> None:
    """End this process when standard input closes, and what it started: `up` makes each part a group of its own."""

    def hold() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 1024):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=hold, name="leash", daemon=True).start()


def _run(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run a part in a loop of its own thread, until a signal says to stop.

    Not in the main thread: there Prefect would take SIGTERM over while a flow runs, and raise it in the middle of
    whatever the loop does just then.
    """
    import uvloop  # noqa: PLC0415  # Prefect's server brings its own loop

    stop = threading.Event()
    failure: list[BaseException] = []

    async def supervised() -> None:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()

        def pass_on() -> None:
            stop.wait()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(told.set)

        threading.Thread(target=pass_on, daemon=True).start()
        beating = asyncio.create_task(_beat())
        try:
            await work(told)
        finally:
            beating.cancel()

    def loop() -> None:
        try:
            uvloop.run(supervised())
        except BaseException as exc:  # noqa: BLE001  # raised again in the main thread
            failure.append(exc)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    thread = threading.Thread(target=loop, name="loop")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
