"""The receiver as a part of `up`: it may put into the inbox, and holds no signing key and no target's credential.

It has the same user as the responder. So it reads what it needs first, and then gives up the rest (`confine`): keys,
evidence, other processes, and every way out but the journal's.
"""

import asyncio
import contextlib
import os
import site
import sqlite3
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from flows import running
from flows.access import open_inbox
from flows.entrance import Entrance, listener, server
from flows.receiver import create_app
from flows.settings import Configuration, read
from integrations import landlock
from integrations.journal.store import Journal
from playbooks.strict import now

_POSTGRES = 5432
BESIDE = ("", "-wal", "-shm", "-queue", "-turn")
"""What belongs to a SQLite journal, after its file's name."""

_ETC = ("hosts", "nsswitch.conf", "resolv.conf", "gai.conf", "host.conf", "localtime", "ssl", "pki", "passwd")
_CODE = ("flows", "integrations", "playbooks")


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
        files = [Path(url.partition(":///")[2] + end) for end in BESIDE]
        try:
            _open_for_good(files[0])
        except sqlite3.Error:
            return "the journal is not there yet"
        for path in files[3:]:
            path.touch(mode=0o600)
    code = list(needed_by_python())
    # A rule for a folder is one for all that is in it.
    if within := [path for path in code if config.folder.resolve().is_relative_to(path)]:
        return f"the configuration is in {within[0]}, which the receiver has to read"
    ports = [] if files else [urlsplit(url).port or _POSTGRES]
    try:
        done = landlock.confine(readable=code, writable=[*files, Path(os.devnull)], ports=ports)
    except OSError as exc:
        return f"Landlock cannot be used ({exc.strerror})"
    return "" if done else "this system has no Landlock (Linux 5.13)"


_kept: list[sqlite3.Connection] = []


def _open_for_good(path: Path) -> None:
    """Open a SQLite file as long as this process lives: the files beside it are then never removed and made anew."""
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, check_same_thread=False)
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    _kept.append(connection)


def needed_by_python() -> Iterator[Path]:
    """Yield what has to be read to run Python and our code, find a host, and check a certificate."""
    root = Path(__file__).resolve().parents[1]
    yield from (root / name for name in _CODE)
    installed = [
        sys.prefix,
        sys.base_prefix,
        *site.getsitepackages(),
        "/usr/lib",
        "/usr/share/zoneinfo",
        "/lib",
        "/lib64",
    ]
    yield from (Path(place).resolve() for place in installed)
    with contextlib.suppress(OSError):
        yield Path(sys.executable).resolve(strict=True)
    yield from (Path("/etc") / name for name in _ETC)
    yield from (Path("/dev/urandom"), Path("/run/systemd/resolve"))
    if bundle := ssl.get_default_verify_paths().cafile:
        yield Path(bundle)


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
