"""What a journal says, read beside whoever writes it: streams, what is in force, whether all is as it was written."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from sqlalchemy import Executable, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from integrations.journal import also, client, queries, schema
from integrations.journal.proof import Proof
from integrations.journal.records import Hold, Reservation, Stop, StreamInfo, Suppression, Watch
from integrations.journal.schema import clock
from integrations.journal.verify import Progress, Verification
from integrations.signing import PublicKey
from playbooks.errors import Transient
from playbooks.record.journal import SWITCHES, Entry, Fault, Head


class Reading:
    """A journal as it is read, without a lock.

    Args:
        engine: reads.
        proof: what is known to be signed.
    """

    def __init__(self, engine: AsyncEngine, proof: Proof) -> None:
        self.dialect = engine.dialect.name
        self._reading = engine
        self._proof = proof

    async def _rows(self, statement: Executable, values: Mapping[str, Any] | None = None) -> Sequence[Any]:
        try:
            return await self._read_once(statement, values)
        except Transient:
            # A pooled connection may have died while nobody used it; the failure emptied the pool.
            return await self._read_once(statement, values)

    async def _read_once(self, statement: Executable, values: Mapping[str, Any] | None) -> Sequence[Any]:
        async with client.reading(self._reading) as connection:
            rows: Sequence[Any] = (await connection.execute(statement, values)).all()
            return rows

    async def clock(self) -> float:
        """Return the database's time, in seconds since 1970."""
        return float((await self._rows(select(clock())))[0][0])

    async def read(self, stream: str, after: int = 0) -> list[Entry]:
        """Return a stream's entries; none if there is no such stream.

        Args:
            stream: which.
            after: leave out those up to this one; they are not verified then.

        Raises:
            Tampered: if they do not fit each other or the stream's tip, or no responder signed them.
        """
        return await queries.read(stream, after, self._proof, self._rows)

    async def streams(self, prefix: str = "", *, open_only: bool = False, limit: int = 1000) -> list[StreamInfo]:
        """Return the rows of streams, the youngest first."""
        row = schema.stream.c
        found = select(*queries.INFO).where(func.substr(row.name, 1, len(prefix)) == prefix)
        if open_only:
            found = found.where(row.closed_at.is_(None))
        found = found.order_by(row.opened_at.desc(), row.name.desc()).limit(limit)
        return [queries.info(line) for line in await self._rows(found)]

    async def stream(self, name: str) -> StreamInfo | None:
        """Return a stream's row."""
        found = await self._rows(queries.STREAM, {"stream": name})
        return queries.info(found[0]) if found else None

    async def find_open(self, correlation: str) -> str | None:
        """Return the open stream that has a correlation key; one that is frozen has none."""
        found = await self._rows(queries.FIND_OPEN, {"correlation": correlation})
        return also.whose(found[0][0]) if found else None

    async def holds(self, grip: str | None = None, incident: str | None = None, lease: str | None = None) -> list[Hold]:
        """Return the holds in force, the first taken first."""
        return [queries.a_hold(row) for row in await self._rows(queries.holds(grip, incident, lease))]

    async def reserved(self) -> list[Reservation]:
        """Return all blast radius that is reserved."""
        return [Reservation(*row) for row in await self._rows(queries.RESERVED)]

    async def stops(self) -> list[Stop]:
        """Return the kill switches that are on. It raises if it cannot tell: then they count as on."""
        return await queries.stops(self._proof, self._rows, partial(self.read, SWITCHES))

    async def resumes(self) -> list[Entry]:
        """Return the entries in which people asked to end a stop; an index over the stream, its chain not verified."""
        return [Entry(*row) for row in await self._rows(queries.RESUMES)]

    async def telling(self) -> list[Entry]:
        """Return the pages of all streams that are open, or were until lately, and what became of them.

        An index too, the chains not verified.
        """
        return [Entry(*row) for row in await self._rows(queries.TELLING)]

    async def suppressions(self) -> list[Suppression]:
        """Return all suppressions; those whose time is over, by the database's clock, count for nothing."""
        return [Suppression(*row) for row in await self._rows(queries.SUPPRESSIONS)]

    async def watched(self) -> list[Watch]:
        """Return the latest check of every lease."""
        row = schema.watch.c
        age = (clock() - row.checked_at).label("age")
        columns = (row[name] for name in Watch._fields if name != "age")
        return [Watch(*line) for line in await self._rows(select(*columns, age).order_by(row.lease))]

    async def head_latest(self) -> Head | None:
        """Return the last head, to be kept elsewhere as a witness."""
        head = schema.head.c
        found = await self._rows(select(head.n, head.data, head.hash, head.signature).order_by(head.n.desc()).limit(1))
        return Head(*found[0]) if found else None

    async def heads_for(self, streams: Sequence[str]) -> list[Head]:
        """Return the part of the heads' chain that covers some streams, without a gap.

        It begins with the head before the first one that names them (if there is one): what that is chained to.
        """
        head = schema.head.c
        named = select(func.min(schema.entry.c.head), func.max(schema.entry.c.head))
        first, last = (await self._rows(named.where(schema.entry.c.stream.in_(streams))))[0]
        if first is None:
            return []
        found = select(head.n, head.data, head.hash, head.signature).where(head.n >= first - 1, head.n <= last)
        return [Head(*row) for row in await self._rows(found.order_by(head.n))]

    async def verify(
        self,
        *,
        public_keys: Collection[PublicKey],
        witnesses: Collection[Head] = (),
        progress: Progress | None = None,
    ) -> list[Fault]:
        """Read everything and return what is not as it was written.

        Args:
            public_keys: those of all responders there ever were.
            witnesses: heads that were kept elsewhere, by their numbers and the beginnings of their hashes; without one
                a lost tail is not found.
            progress: told now and then how many entries and heads are verified.
        """
        async with self._moment(self._reading) as connection:
            return await Verification(connection, public_keys, progress).run(witnesses)

    @asynccontextmanager
    async def _moment(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        """Yield a connection to which nothing changes any more."""
        async with client.reading(engine) as connection:
            if self.dialect == "postgresql":
                connection = await connection.execution_options(  # noqa: PLW2901  # the same one
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            else:
                await connection.exec_driver_sql("BEGIN")
                # The moment is that of the first look.
                await connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")
            try:
                yield connection
            finally:
                if self.dialect == "sqlite":
                    await connection.exec_driver_sql("ROLLBACK")
