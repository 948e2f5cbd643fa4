"""Connections to the journal's database, tuned, and its drivers' errors as ours."""

import asyncio
import contextlib
import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from playbooks.errors import Misconfigured, Refused, SoarError, Transient

READERS = 5
LOCK_SECONDS = 10
_BEGIN = "BEGIN IMMEDIATE"
_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}

# SQLSTATE classes: what a person must mend, and what the statement itself got wrong. Everything else passes.
_OURS_TO_MEND = {"28", "3D", "42"}
_NEVER = {"22", "23"}
_NOT_MIGRATED = ("no such table", "no such column")
_DAMAGED = ("malformed", "not a database", "Could not decode")


class LostClaim(Refused):
    """Another responder has the stream now, or the claim ran out."""


class Unsure(Transient):
    """The connection died while it committed: read again whether it did."""


class UnknownSigner(Refused):
    """Entries are signed with a key that is none of a known responder's: one is not listed, or somebody forged them.

    Args:
        stream: which stream.
        key: the key's id.
    """

    def __init__(self, stream: str, key: str) -> None:
        # The beginning of it names it, and holds no run of digits that masking takes for a number of somebody's.
        super().__init__(
            f"{stream} ends with what key {key[:19]} signed, which none of `responders` in mcp-soar.yaml is: list that"
            " responder's public key there, or, if there is no such responder, see `mcp-soar verify`"
        )


class Tampered(SoarError):
    """The journal is not as it was written.

    Args:
        stream: which stream.
        seq: the first entry that does not fit.
        message: what is wrong with it.
    """

    def __init__(self, stream: str, seq: int, message: str) -> None:
        super().__init__(f"{stream}, entry {seq}: {message}")
        self.stream = stream
        self.seq = seq


def address(url: str) -> URL:
    """Return a database's address with the driver that we use.

    Raises:
        Misconfigured: if it is neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except SQLAlchemyError as exc:
        raise Misconfigured(f"is not a database's address: {exc}", field="journal.url") from exc
    kind = parsed.drivername.partition("+")[0]
    if kind not in _DRIVERS:
        message = f"{kind} is not a journal's database; write sqlite:///path or postgresql://user@host/name"
        raise Misconfigured(message, field="journal.url")
    if kind == "sqlite" and not parsed.database:
        raise Misconfigured("a journal needs a file; write sqlite:///path", field="journal.url")
    return parsed.set(drivername=_DRIVERS[kind])


def bare(url: URL) -> str:
    """Return a database's address as it stands in the settings: without a password, which is kept elsewhere."""
    kind = url.get_backend_name()
    # A URL is a named tuple; its own `set` takes None for what stays as it is.
    return url._replace(password=None, drivername=kind).render_as_string(hide_password=False)


class _Near(aiosqlite.Connection):
    """Runs in the caller's thread what cannot take long.

    The driver hands each of the four calls that make a statement to a thread and back, which takes ten times as long as
    the statement. In a transaction that has the lock, nothing but the commit waits for anything; where there is none,
    there is nothing to roll back. The lock itself is mostly free: only who does not get it at once waits for it.
    """

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        here = self._connection
        if here is not None and self._running:
            whole = getattr(fn, "__self__", None) is here
            name = getattr(fn, "__name__", "")
            in_lock = here.in_transaction and not (whole and name in {"commit", "close"})
            idle = whole and (name == "cursor" or (name == "rollback" and not here.in_transaction))
            if in_lock or idle or (name == "close" and not whole):
                return fn(*args, **kwargs)
            if args[:1] == (_BEGIN,) and _free(here):
                return None
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call]  # untyped upstream


def _free(here: sqlite3.Connection) -> bool:
    """Take the lock if nobody has it, and return whether it was had."""
    here.execute("PRAGMA busy_timeout=0")
    try:
        here.execute(_BEGIN)
    except sqlite3.OperationalError:
        return False
    finally:
        here.execute(f"PRAGMA busy_timeout={LOCK_SECONDS * 1000}")
    return True


def _near(*args: Any, **kwargs: Any) -> _Near:  # noqa: ANN401
    connection = _Near(lambda: sqlite3.connect(*args, **kwargs), iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does with those that it makes
    return connection


def engines(url: URL, name: str, *, durable: bool = True) -> tuple[AsyncEngine, AsyncEngine]:
    """Return the engine that writes and the one that reads.

    Args:
        url: from `address`.
        name: of this process, for the database's list of connections.
        durable: what is committed is on disk. Otherwise, in SQLite, it is once something durable was committed after.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, durable=durable)
    return _postgres(url, name)


def private(path: Path) -> None:
    """Make a SQLite file that nobody else on this machine reads, if there is none; its -wal file gets the same mode.

    Raises:
        Misconfigured: if it cannot be opened.
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            return
    except OSError as exc:
        raise Misconfigured(f"cannot open {path}: {exc.strerror}", field="journal.url") from exc
    # One that is there is not opened: whoever closes a file again ends all locks that their process has on it, SQLite's
    # own with them, and another process then tidies up what this one still writes
    # (https://sqlite.org/howtocorrupt.html, 2.2). Who may only read it can do that; what they write fails.
    if not os.access(path, os.R_OK):
        raise Misconfigured(f"cannot open {path}: {os.strerror(errno.EACCES)}", field="journal.url")


def _sqlite(url: URL, *, durable: bool) -> tuple[AsyncEngine, AsyncEngine]:
    # As a URI: the one name that can be attached to be read alone.
    arguments: dict[str, Any] = {
        "timeout": LOCK_SECONDS,
        "check_same_thread": False,
        "uri": True,
        "async_creator_fn": _near,
    }
    writing = create_async_engine(url, poolclass=NullPool, connect_args=arguments)
    reading = create_async_engine(url, pool_size=READERS, connect_args=arguments)

    def tuned(connection: Any, pragmas: tuple[str, ...]) -> None:  # noqa: ANN401  # the driver's adapter has no type
        # None: we say BEGIN ourselves, the driver's own guesses where one starts break savepoints.
        connection.isolation_level = None
        cursor = connection.cursor()
        # What a large statement puts aside would go to files in /tmp, which a confined receiver may not make.
        for pragma in (
            *pragmas,
            "temp_store=MEMORY",
            f"busy_timeout={LOCK_SECONDS * 1000}",
            "foreign_keys=ON",
            "trusted_schema=OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(writing.sync_engine, "connect")
    def _writer(connection: Any, _record: object) -> None:  # noqa: ANN401
        # FULL: with WAL, NORMAL may lose the last commits in a power cut.
        tuned(connection, ("journal_mode=WAL", f"synchronous={'FULL' if durable else 'NORMAL'}"))

    @event.listens_for(reading.sync_engine, "connect")
    def _reader(connection: Any, _record: object) -> None:  # noqa: ANN401
        tuned(connection, ("query_only=ON",))

    @event.listens_for(writing.sync_engine, "begin")
    def _begin(connection: Any) -> None:  # noqa: ANN401
        # IMMEDIATE: the one lock is taken before anything is read.
        connection.exec_driver_sql(_BEGIN)

    return writing, reading


def _postgres(url: URL, name: str) -> tuple[AsyncEngine, AsyncEngine]:
    settings = {"application_name": f"mcp-soar {name}"[:63]}
    limits = {
        # A responder that hangs inside a transaction must not stop all others.
        "lock_timeout": f"{LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{LOCK_SECONDS}s",
        # A commit counts only when it is on disk, whatever the server's default says.
        "synchronous_commit": "on",
    }
    arguments: dict[str, Any] = {"timeout": LOCK_SECONDS, "command_timeout": 4 * LOCK_SECONDS}
    writing = create_async_engine(
        url, poolclass=NullPool, connect_args={**arguments, "server_settings": settings | limits}
    )
    reading = create_async_engine(
        url,
        pool_size=READERS,
        # The one just used: what it asked before is prepared there.
        pool_use_lifo=True,
        isolation_level="AUTOCOMMIT",
        connect_args={"timeout": LOCK_SECONDS, "server_settings": settings},
    )
    return writing, reading


def at_once(engine: AsyncEngine) -> AsyncEngine:
    """Return PostgreSQL's engine with each statement a transaction of its own, which takes no round trip more."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def lost(exc: BaseException) -> bool:
    """Return whether the connection is gone, so that another one may do."""
    if isinstance(exc, DBAPIError):
        return exc.connection_invalidated or isinstance(exc, InterfaceError) or _state(exc)[:2] in {"08", "57"}
    return isinstance(exc, OSError | EOFError | TimeoutError) or _state(exc)[:2] in {"08", "57"}


def _state(exc: BaseException) -> str:
    """Return the SQLSTATE that PostgreSQL gave, empty if none."""
    original = getattr(exc, "orig", None) or exc
    return str(getattr(original, "sqlstate", None) or "")


def mapped(exc: BaseException) -> SoarError:
    """Return a driver's error as ours."""
    if isinstance(exc, SoarError):
        return exc
    text = str(getattr(exc, "orig", None) or exc) or type(exc).__name__
    state = _state(exc)[:2]
    ours: SoarError = Transient(f"the journal's database does not answer: {text}")
    if isinstance(exc, DBAPIError) and any(words in text for words in _DAMAGED):
        ours = Tampered("journal", 0, f"the database's file is damaged: {text}")
    elif isinstance(exc, DBAPIError) and any(words in text for words in _NOT_MIGRATED):
        ours = Misconfigured(f"the journal is not migrated: {text}", field="journal.url")
    elif state in _OURS_TO_MEND:
        ours = Misconfigured(f"the journal's database refuses: {text}", field="journal.url")
    elif state in _NEVER or (isinstance(exc, DBAPIError) and not state and not _passes(exc)):
        ours = Refused(f"the journal's database refuses: {text}")
    return ours


def _passes(exc: DBAPIError) -> bool:
    return lost(exc) or isinstance(exc, OperationalError | InterfaceError)


def foreign(exc: BaseException) -> bool:
    """Return whether an error comes from the database or the way to it, and is not ours yet."""
    return isinstance(exc, SQLAlchemyError | OSError | EOFError) or bool(_state(exc))


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection for one statement, its errors ours."""
    try:
        async with engine.connect() as connection:
            yield connection
    except asyncio.CancelledError:
        raise
    except Exception as exc:
        if not foreign(exc):
            raise
        raise mapped(exc) from exc
