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

from flows.service import running
from flows.service.access import open_inbox
from flows.service.entrance import Entrance, listener, server
from flows.service.needed import laid_open, needed_by_python
from flows.service.receiver import create_app
from flows.service.settings import Configuration, read
from integrations import landlock
from integrations.journal.spool import END
from integrations.journal.stamp import INSTALLATION
from integrations.journal.store import Journal
from integrations.siem.reading import Reported
from playbooks.strict import build, now

_POSTGRES = 5432
READ = ("", "-wal", "-shm")
"""What whoever reads a SQLite file opens, after its name."""
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
    build(Reported)
    uses = running.digests(folder)
    config = read(folder)
    running.note(folder, "receiver", uses)
    settings = config.settings.receiver
    journal = asyncio.run(open_inbox(config, name=f"receiver-{os.getpid()}"))
    whose = {INSTALLATION: journal.installation}
    app = create_app(config.sources.sources, journal, clock=now, tls=settings.tls, host=settings.host, whose=whose)
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
    files = None
    if url.startswith("sqlite"):
        try:
            files = opened_for_good(url)
        except sqlite3.Error:
            return "the journal is not there yet"
    # Whatever that says, it is kept from everything else.
    laid = laid_open(config)
    ports = [] if files else [urlsplit(url).port or _POSTGRES]
    readable, writable = (files.read, files.written) if files else ([], [])
    try:
        done = landlock.confine(
            readable=[*needed_by_python(), *readable], writable=[*writable, Path(os.devnull)], ports=ports
        )
    except OSError as exc:
        return f"Landlock cannot be used ({exc.strerror})"
    return laid if done else "this system has no Landlock (Linux 5.13)"


_kept: list[sqlite3.Connection] = []


@dataclass(frozen=True)
class Files:
    """The files of a SQLite journal that a part opens.

    Args:
        read: to read.
        written: to write too.
    """

    read: list[Path]
    written: list[Path]


def opened_for_good(url: str, *, puts: bool = True) -> Files:
    """Open a SQLite journal as long as this process lives, and return the files that it has to open from now on.

    What is open is never removed and made anew. The journal is read, and no more: what is put in has its own file.

    Args:
        url: the journal's.
        puts: open its inbox too.

    Raises:
        sqlite3.Error: it is not there.
    """
    journal = url.partition(":///")[2]
    inbox = journal + END
    read = [Path(journal + end) for end in READ]
    written = [Path(inbox + end) for end in (*READ, *TURNS)] if puts else []
    _kept.append(sqlite3.connect(f"file:{journal}?mode={'rw' if puts else 'ro'}", uri=True, check_same_thread=False))
    if puts:
        # An inbox that no responder has made yet: the files beside it are there from now on.
        _kept.append(sqlite3.connect(f"file:{inbox}?mode=rw", uri=True, check_same_thread=False))
        _kept[-1].execute("PRAGMA journal_mode=WAL")
        # Where readers say what they read: who may not write there reads nothing while others write.
        written.append(read.pop())
    for connection in _kept:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    for turn in written[len(READ) : len(READ) + len(TURNS)]:
        turn.touch(mode=0o600)
    return Files(read, written)


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
