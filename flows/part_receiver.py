"""The receiver as a part of `up`: it may put into the inbox, and holds no signing key and no target's credential.

It has the same user as the responder. So it reads what it needs first, and then gives up the rest (`confine`): keys,
evidence, other processes, and every way out but the journal's.
"""

import asyncio
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows import running
from flows.access import open_inbox
from flows.entrance import Entrance, listener, server
from flows.needed import laid_open, needed_by_python
from flows.receiver import create_app
from flows.settings import Configuration, read
from integrations import landlock
from integrations.journal.store import Journal
from integrations.siem.reading import Finding
from playbooks.strict import build, now

_POSTGRES = 5432
READ = ("", "-wal", "-shm")
"""What whoever reads a SQLite journal opens, after its file's name."""
TURNS = ("-queue", "-turn")
"""What whoever writes one opens besides. To open one is enough to keep the turn."""


@dataclass(frozen=True)
class Prepared:
    """A receiver that has read all that it needs.

    Args:
        config: its configuration.
        journal: the inbox.
        serving: its server.
    """

    config: Configuration
    journal: Journal
    serving: Entrance


def prepare(folder: Path) -> Prepared:
    """Read everything that the receiver needs to know, its secrets too.

    Args:
        folder: of the configuration.

    Raises:
        Misconfigured: naming what has to be mended.
    """
    # Now: the first alert does not wait for it.
    build(Finding)
    uses = running.digests(folder)
    config = read(folder)
    running.note(folder, "receiver", uses)
    settings = config.settings.receiver
    journal = asyncio.run(open_inbox(config, name=f"receiver-{os.getpid()}"))
    app = create_app(config.sources.sources, journal, clock=now, tls=settings.tls, host=settings.host)
    serving = server(
        app,
        host=settings.host,
        port=settings.port,
        certificate=config.path(settings.certificate) if settings.certificate else None,
        key=config.path(settings.key) if settings.key else None,
        limit=settings.connections,
        each=settings.per_peer,
    )
    serving.config.timeout_graceful_shutdown = 2
    serving.config.load()
    return Prepared(config, journal, serving)


def confine(config: Configuration) -> str:
    """Keep this process from everything that a receiver has no need of; call it before there are other threads.

    Args:
        config: the configuration.

    Returns:
        What does not hold, in words for a person; nothing if all does.
    """
    url = config.journal_url
    files: list[Path] = []
    if url.startswith("sqlite"):
        files = [Path(url.partition(":///")[2] + end) for end in (*READ, *TURNS)]
        try:
            _open_for_good(files[0])
        except sqlite3.Error:
            return "the journal is not there yet"
        for path in files[len(READ) :]:
            path.touch(mode=0o600)
    # Whatever that says, it is kept from everything else.
    laid = laid_open(config)
    ports = [] if files else [urlsplit(url).port or _POSTGRES]
    try:
        done = landlock.confine(readable=needed_by_python(), writable=[*files, Path(os.devnull)], ports=ports)
    except OSError as exc:
        return f"Landlock cannot be used ({exc.strerror})"
    return laid if done else "this system has no Landlock (Linux 5.13)"


_kept: list[sqlite3.Connection] = []


def _open_for_good(path: Path) -> None:
    """Open a SQLite file as long as this process lives: the files beside it are then never removed and made anew."""
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, check_same_thread=False)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    _kept.append(connection)


async def receive(prepared: Prepared, descriptor: int, stop: asyncio.Event) -> None:
    """Take alerts in until told to stop.

    Args:
        prepared: the receiver.
        descriptor: of the listening socket.
        stop: ends it.
    """
    try:
        work = asyncio.create_task(prepared.serving.serve(sockets=[listener(descriptor)]))
        told = asyncio.create_task(stop.wait())
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        prepared.serving.should_exit = True
        await work
        told.cancel()
    finally:
        await prepared.journal.aclose()
