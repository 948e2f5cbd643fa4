"""A Prefect worker as a part of `up`: it does a pool's work, and whoever commands it gets nothing by that.

Prefect is not trusted: who reaches its API can have any command run here. So a worker is given no credential of a
target, no signing key and nothing that writes a stream. Before it asks for work it gives up all files but its own
folder, the programs that it runs, and the journal: for the pool `requests` to put into, for `reading` to read.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from flows.service import workers
from flows.service.needed import needed_by_python
from flows.service.part_receiver import opened_for_good
from flows.service.settings import read_inventory
from flows.service.workers import CONFIG, CONFINED, INBOX, JOURNAL, RECEIVER
from integrations import landlock
from playbooks.errors import Misconfigured

LOG = logging.getLogger("mcp_soar.worker")

_DEPLOYED_WITHIN = 120.0
_AGAIN = 15.0
_LOADERS = ("lib64/ld-*.so*", "lib/ld-*.so*", "lib/*/ld-*.so*")
"""Where the program is that the system starts a program with."""


def confined(*, anyhow: bool) -> str:
    """Keep this process from what its work has no need of, or say why that cannot be.

    Args:
        anyhow: go on where it cannot be.

    Raises:
        Misconfigured: it cannot be.
    """
    fault = confine()
    if fault and not anyhow:
        raise Misconfigured(f"it does not run where it could read the responder's keys: {fault}")
    return fault


def confine() -> str:
    """Keep this process, and all that it starts, from everything that its pool's work has no need of.

    What that is stands in its environment. Call it before there are other threads.

    Returns:
        What does not hold, in words for a person; nothing if all does.
    """
    writable, readable, urls = (
        [Path(os.devnull)],
        [*needed_by_python(), workers.DEPLOYMENTS],
        [os.environ["PREFECT_API_URL"]],
    )
    for name in (INBOX, JOURNAL):
        url = os.environ.get(name, "")
        if url.startswith("sqlite"):
            try:
                files = opened_for_good(url, puts=name == INBOX)
            except sqlite3.Error:
                return "the journal is not there yet"
            readable += files.read
            writable += files.written
        elif url:
            urls.append(url)
    if folder := os.environ.get(CONFIG):
        readable.append(Path(folder))
        urls += [*workers.urls(read_inventory(Path(folder))), os.environ[RECEIVER]]
    home = Path(os.environ["HOME"])
    # Prefect looks for settings where it is.
    os.chdir(home)
    try:
        done = landlock.confine(
            readable=readable,
            writable=writable,
            ports=workers.ports(urls),
            own=[home],
            programs=[Path(sys.executable).resolve(), *_loaders()],
        )
    except OSError as exc:
        return f"Landlock cannot be used ({exc.strerror})"
    if not done:
        return "this system has no Landlock (Linux 5.13)"
    os.environ[CONFINED] = "1"
    return ""


def _loaders() -> Iterator[Path]:
    for pattern in _LOADERS:
        yield from {path.resolve() for path in Path("/").glob(pattern)}


async def work(pool: str, stop: asyncio.Event, *, ready: Callable[[], None]) -> None:
    """Make the pool's deployments and do its work until told to stop.

    Args:
        pool: whose work.
        stop: ends it.
        ready: called when it asks for work.
    """
    told = asyncio.create_task(stop.wait())
    while True:
        deploying = asyncio.create_task(_deployed(pool))
        await asyncio.wait({told, deploying}, return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            deploying.cancel()
            return
        if deploying.result():
            break
        # Prefect is not there, or not yet; nothing but its own work waits for it.
        LOG.warning("the deployments of %s could not be made, the lines before say why; trying again", pool)
        await asyncio.wait({told}, timeout=_AGAIN)
    from prefect.workers.process import ProcessWorker  # noqa: PLC0415  # once this process is confined

    worker = ProcessWorker(work_pool_name=pool, name=workers.name_of(pool), limit=2)
    workers.begins(Path(os.environ["HOME"]))
    ready()
    working = asyncio.create_task(worker.start(printer=LOG.info))
    await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if working.done():
        working.result()
        return
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working


async def _deployed(pool: str) -> bool:
    """Make the deployments in a process of its own, which loads the flows: this one stays small."""
    made = await asyncio.create_subprocess_exec(sys.executable, "-m", "flows.service.deployments", pool)
    try:
        async with asyncio.timeout(_DEPLOYED_WITHIN):
            return await made.wait() == 0
    except TimeoutError:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.kill()


def run(pool: str, *, ready: Callable[[], None]) -> None:
    """Do a pool's work until a signal says to stop, and end what it started.

    Args:
        pool: `requests` or `reading`.
        ready: called when it asks for work.
    """

    async def main() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await work(pool, stop, ready=ready)

    try:
        asyncio.run(main())
    finally:
        # Whatever run is still under way ends with us.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGTERM)
