"""The inbox's own file beside a SQLite journal: who puts something in never waits for who writes the journal.

A SQLite file has one writer. What comes in is put here, and is on disk when its sender is answered; a responder copies
it into the journal's inbox, and moves it there in one transaction with what becomes of it.

Copies need not be on disk: until a responder has moved a message, it stays here as well. A move that others see is on
disk, and with it all that was written to the journal before it. Only then is the message forgotten here. So whoever is
killed in between has lost nothing, and what is copied again is known by its id. PostgreSQL has no such file: there
nobody who puts something in waits for a responder.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    URL,
    Column,
    Executable,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    event,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.journal import client, queries, schema
from integrations.journal.insertions import Insertion
from integrations.journal.lane import Done, Lane
from integrations.journal.turn import Turn
from playbooks.errors import Misconfigured, SoarError, Transient

LOG = logging.getLogger(__name__)

END = "-inbox"
"""What the file's name has after the journal's."""

FORGETS = 1.0
"""Seconds between two looks for what was moved and can be forgotten here."""

_SOME = 256
_LOOKS = 64
"""Times `_SOME` messages that are looked at then; what is behind them waits for the next time."""

_inbox = schema.inbox.c
_METADATA = MetaData()
# The inbox's columns, and a number that never comes twice: what is behind the last one that was copied is new.
_TABLE = Table(
    schema.inbox.name,
    _METADATA,
    Column("n", Integer, primary_key=True, autoincrement=True),
    *(
        Column(c.name, c.type, nullable=c.nullable, server_default=getattr(c.server_default, "arg", None))
        for c in schema.inbox.columns
    ),
    UniqueConstraint("id"),
    UniqueConstraint("source", "nonce"),
    sqlite_autoincrement=True,
)
Index("inbox_order", _TABLE.c.received_at, _TABLE.c.id)

_N: Any = literal_column("n", Integer)
_NEXT = (bindparam("after") < _N,)
_BEHIND = select(_N, func.min(func.length(_inbox.body), queries.LARGEST)).where(*_NEXT, queries.OURS)
_BEHIND = _BEHIND.order_by(_N).limit(_SOME)
_ROWS = select(*queries.HANDED, _inbox.weight).where(*_NEXT, queries.OURS).order_by(_N)
_COPY = _ROWS.where(bindparam("last") >= _N)
_FEW = 4
"""Messages that are read without a look at how large they are."""
_FIRST = _ROWS.add_columns(_N).limit(_FEW)
_COPIED = ("id", "kind", "source", "nonce", "digest", "body", "headers", "received_at", "stamp", "weight")
_IDS = select(_N, _inbox.id, _inbox.kind, _inbox.received_at).where(*_NEXT).order_by(_N).limit(_SOME)
_WHOLE = select(schema.inbox).where(_inbox.id == bindparam("id"))
_IN_JOURNAL = select(_inbox.id).where(_inbox.id.in_(bindparam("ids", expanding=True)))
_JOURNAL = "journal"
"""By which name one who puts something in reads the journal."""
_MOVED = _IN_JOURNAL.where(_inbox.moved_at.is_not(None))
_FORGET = delete(schema.inbox).where(_inbox.id.in_(bindparam("ids", expanding=True)))


HERE = schema.inbox.to_metadata(MetaData(), schema="main")
"""The inbox in this file, for who reads the journal beside it: a bare name may mean either."""

_there = schema.inbox.to_metadata(MetaData(), schema=_JOURNAL).c
_AMONG_THERE = select(_there.id).where(_there.id.in_(bindparam("ids", expanding=True)))


def _known(count: int) -> str:
    """Return the statement that finds so many messages by source and nonce: whether here, both, id, digest, incident.

    As text, and in one: each message of a flood pays for what it takes to build it.
    """
    given = f"WITH given AS (VALUES {', '.join(['(?, ?)'] * count)})"
    find = "SELECT {}, source, nonce, id, digest, incident FROM {}.inbox WHERE (source, nonce) IN given"
    return f"{given} {find.format(0, _JOURNAL)} UNION ALL {find.format(1, 'main')}"


Read = Callable[[Executable, Mapping[str, Any] | None], Awaitable[Sequence[Any]]]
"""Reads the journal."""


class Spool:
    """The inbox's own file.

    Args:
        journal: the journal's address.
        name: of this process.
        read: reads the journal, as it is at that moment.
        turn: at writing the journal.
        put: puts into an open transaction of this file; a lane's.
    """

    def __init__(
        self,
        journal: URL,
        name: str,
        *,
        read: Read,
        turn: Turn,
        put: Callable[[AsyncConnection, Sequence[Any]], Awaitable[Done]],
    ) -> None:
        path = Path(f"{journal.database}{END}")
        url = journal.set(database=str(path))
        with contextlib.suppress(Misconfigured):  # who may not write beside the journal only reads that
            client.private(path)
        self._journal = read
        self._turn = Turn(path)
        self._writing, self.reading = client.engines(url, name)
        event.listen(self._writing.sync_engine, "connect", partial(_attach, str(journal.database)))
        # Nothing waits for the disk here: see above.
        self._into, _ = client.engines(journal, name, durable=False)
        self._out_of, _ = client.engines(url, name, durable=False)
        self.puts: Lane[Any] = Lane(self._writing, put, self._turn)
        new = schema.insertion("sqlite")(schema.inbox).on_conflict_do_nothing()
        self._copies: Lane[Mapping[str, Any]] = Lane(
            self._into, partial(_copy, Insertion(new, self._into.dialect)), turn
        )
        self._forgets: Lane[list[str]] = Lane(self._out_of, _forget, self._turn)
        self._one_copies = asyncio.Lock()
        self._began = 0
        self._last = 0
        self._holds = True
        self._looked = 0
        self.news: Callable[[Sequence[Any]], None] = lambda _: None
        """Told of the first rows that are new, before they are copied."""
        self.fresh: Mapping[str, Any] = {}
        """The first rows that were copied last, by their ids: they need not be read again a moment later."""
        self._forgetting: asyncio.Task[None] | None = None
        self._forgot_at = -FORGETS

    async def aclose(self) -> None:
        """Finish what was put, and close all connections."""
        if self._forgetting is not None:
            await asyncio.wait([self._forgetting])
        for lane in (self.puts, self._copies, self._forgets):
            await lane.aclose()
        self._turn.close()
        for engine in (self._writing, self.reading, self._into, self._out_of):
            await engine.dispose()

    async def migrate(self) -> None:
        """Make the table; does nothing if it is there."""
        # Who reads the journal beside it would be the last to close that, and could not tidy up after itself.
        async with self._out_of.begin() as connection:
            await connection.run_sync(_METADATA.create_all)

    async def store(self, connection: AsyncConnection, puts: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
        """Put in what is neither here nor in the journal; return source, nonce, id, digest and incident of each.

        Args:
            connection: which writes this file, in a transaction. The journal is read as it was when that began: what it
                lacks was not forgotten here.
            puts: the rows.
        """
        keys = [(put["source"], put["nonce"]) for put in puts]
        run = connection.execute
        known: dict[tuple[str, str], Any] = {}
        here: dict[tuple[str, str], Any] = {}
        found = await connection.exec_driver_sql(_known(len(keys)), tuple(chain(*keys)))
        for ours, *row in found:
            (here if ours else known)[row[0], row[1]] = row
        here = {key: row for key, row in here.items() if key not in known}
        if here:
            # What the journal has under another nonce was let go there: the same message again is news.
            gone = set((await run(_AMONG_THERE, {"ids": [row[2] for row in here.values()]})).scalars())
            if gone:
                await run(delete(HERE).where(HERE.c.id.in_(sorted(gone))))
                here = {key: row for key, row in here.items() if row[2] not in gone}
        new: dict[tuple[str, str], Mapping[str, Any]] = {}
        for key, put in zip(keys, puts, strict=True):
            if key not in known and key not in here:
                new.setdefault(key, put)
        if new:
            await run(insert(HERE), list(new.values()))
        made = ((*key, put["id"], put["digest"], None) for key, put in new.items())
        return [*known.values(), *here.values(), *made]

    # Into the journal

    async def copy(self) -> None:
        """Copy into the journal's inbox what it lacks.

        Raises:
            SoarError: if the journal cannot be written, or this file not be read.
        """
        asked = self._began
        # Who asks at the same moment shares what is copied then: it all begins after they asked.
        await asyncio.sleep(0)
        async with self._one_copies:
            if self._began == asked:
                self._began += 1
                try:
                    await self._copy_new()
                except BaseException:
                    self._began = asked
                    raise
        idle = self._forgetting is None or self._forgetting.done()
        if self._holds and idle and time.monotonic() - self._forgot_at >= FORGETS:
            self._forgot_at = time.monotonic()
            self._forgetting = asyncio.create_task(self._forget_moved())

    async def _copy_new(self) -> None:
        first = await self._rows(_FIRST, {"after": self._last})
        self.fresh = {row[0]: row[: len(queries.HANDED)] for row in first}
        if len(first) < _FEW:
            if first:
                self.news([row[: len(queries.HANDED)] for row in first])
                await self._copy_rows([row[:-1] for row in first])
                self._last, self._holds = first[-1][-1], True
            return
        more = True
        while more and (behind := await self._rows(_BEHIND, {"after": self._last})):
            last, room = behind[0][0], queries.LARGEST
            for n, size in behind:
                room -= size
                if room < 0 and n > behind[0][0]:
                    break
                last = n
            rows = await self._rows(_COPY, {"after": self._last, "last": last})
            await self._copy_rows(rows)
            self._last, self._holds = last, True
            more = last < behind[-1][0] or len(behind) == _SOME

    async def _copy_rows(self, rows: Sequence[Any]) -> None:
        copies = (self._copies.submit(dict(zip(_COPIED, row, strict=True))) for row in rows)
        for row, outcome in zip(rows, await asyncio.gather(*copies, return_exceptions=True), strict=True):
            if isinstance(outcome, Transient) or not isinstance(outcome, Exception | None):
                raise outcome
            if outcome is not None:
                # It keeps nothing else from coming in.
                LOG.error("the inbox entry %a cannot be copied into the journal: %s", row[0], outcome)

    async def _forget_moved(self) -> None:
        last = self._last
        with contextlib.suppress(SoarError):  # then the next time
            for _ in range(_LOOKS):
                rows = await self._rows(_IDS, {"after": self._looked})
                if not rows:
                    self._holds = self._looked > 0 or self._last > last
                    self._looked = 0
                    return
                moved = await self._journal(_MOVED, {"ids": [row.id for row in rows]})
                self._looked = rows[-1].n
                if not moved:
                    # What is behind what waits waits too, most of it; the next look goes on there all the same.
                    return
                await self._forgets.submit([name for (name,) in moved])

    # Reading what no responder has copied yet

    async def waiting(self, statement: Executable) -> list[Any]:
        """Return the rows that a statement over an inbox finds here, the id in front, but those that the journal has.

        Read before the journal's own, so that nothing is missed on its way.
        """
        rows = await self._rows(statement)
        copied = await self._copied([row[0] for row in rows])
        return [row for row in rows if row[0] not in copied]

    async def all_waiting(self) -> AsyncIterator[Any]:
        """Yield n, id, kind and time of all that the journal does not have."""
        after = 0
        while rows := await self._rows(_IDS, {"after": after}):
            copied = await self._copied([row.id for row in rows])
            for row in rows:
                if row.id not in copied:
                    yield row
            after = rows[-1].n

    async def _copied(self, names: Sequence[str]) -> set[str]:
        return {name for (name,) in await self._journal(_IN_JOURNAL, {"ids": names})} if names else set()

    async def _rows(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        try:
            async with client.reading(self.reading) as connection:
                return (await connection.execute(statement, values)).all()
        except Misconfigured:
            return ()  # a responder of an earlier release still runs, or none has run yet: nothing came here


def _attach(journal: str, connection: Any, _record: object) -> None:  # noqa: ANN401  # the driver's has no type
    """Let a connection read the journal in the transactions in which it writes; it takes no lock there."""
    cursor = connection.cursor()
    cursor.execute(f"ATTACH ? AS {_JOURNAL}", (f"file:{quote(journal)}?mode=ro",))
    cursor.close()


async def _copy(new: Insertion, connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> Done:
    await connection.execute(new.compiled(rows[0]), list(rows))
    return Done([None] * len(rows), None)


async def _forget(connection: AsyncConnection, jobs: Sequence[list[str]]) -> Done:
    for names in jobs:
        await connection.execute(_FORGET, {"ids": names})
    return Done([None] * len(jobs), None)


# For a copy of everything


async def beyond(here: AsyncConnection, journal: AsyncConnection) -> list[str]:
    """Return the ids of what this file has and the journal lacks.

    Args:
        here: sees one moment of this file.
        journal: sees one moment of the journal, not an earlier one.
    """
    found: list[str] = []
    if not (await here.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'inbox'")).all():
        return found
    after = 0
    while rows := (await here.execute(_IDS, {"after": after})).all():
        names = [row.id for row in rows]
        copied = set((await journal.execute(_IN_JOURNAL, {"ids": names})).scalars())
        found += [name for name in names if name not in copied]
        after = rows[-1].n
    return found


async def whole(here: AsyncConnection, names: Sequence[str]) -> AsyncIterator[Any]:
    """Yield rows of this file, as the journal's table has them."""
    for name in names:
        for row in await here.execute(_WHOLE, {"id": name}):
            yield row


async def none() -> AsyncIterator[Any]:
    """Yield nothing: PostgreSQL has no such file."""
    nothing: tuple[Any, ...] = ()
    for row in nothing:
        yield row
