"""The journal in SQLite or PostgreSQL: streams with one writer at a time over all machines, and the inbox."""

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, TypeVar, cast

from sqlalchemy import URL, Executable, false, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.journal import client, dump, queries, rights, schema, spool
from integrations.journal.batch import Batch
from integrations.journal.client import LostClaim, Tampered, UnknownSigner, Unsure
from integrations.journal.dump import Rows
from integrations.journal.insertions import Insertions
from integrations.journal.lane import Done, Failed, Lane, Spoilt
from integrations.journal.poke import Listener, Poker
from integrations.journal.proof import Proof
from integrations.journal.reading import Reading
from integrations.journal.records import (
    Claim,
    InboxCount,
    InboxItem,
    Receipt,
    Signer,
    Told,
)
from integrations.journal.schema import clock
from integrations.journal.spool import Spool
from integrations.journal.stamp import Stamp
from integrations.journal.turn import Turn
from integrations.journal.tx import Tx
from integrations.journal.verify import Verification
from integrations.signing import PublicKey
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.record import check
from playbooks.record.journal import APART, Entry, Event, Fault
from playbooks.strict import canonical, sha256

__all__ = ["Claim", "InboxItem", "Journal", "LostClaim", "Receipt", "Tampered", "Tx", "UnknownSigner", "Unsure"]

LOG = logging.getLogger(__name__)
T = TypeVar("T")
UNIT_SECONDS = 5.0
STAMPED = frozenset({"alert", check.KIND})
"""The kind of entry that only a receiver may put in."""

LOCKED = 0.03
"""Seconds of one transaction after which what else waits goes into the next one: others have their turn between."""

TRIED = 5.0
"""Seconds for which a write that went well tells that the next one would: who asks often locks nothing by that."""

_MOST_NAMES = 256
_MIGRATIONS = Path(__file__).parent / "migrations"
# Alembic keeps what it is at in globals.
_MIGRATING = threading.Lock()


class _Append(NamedTuple):
    stream: str
    events: Sequence[Event]
    claim: Claim | None


class _Put(NamedTuple):
    id: str
    kind: str
    source: str
    nonce: str
    digest: str
    body: bytes
    headers: bytes
    weight: int
    stamp: bytes | None


class _Try(NamedTuple):
    """A put of nothing."""


_Unit = Callable[[Tx], Awaitable[Any]]


class Journal(Reading):
    """One installation's journal; made by `open`.

    Args:
        url: of the database.
        signer: signs heads; None for a process that only reads and puts.
        name: of this process.
        keys: the public keys of all responders.
        stamp: a receiver's.
    """

    def __init__(
        self,
        url: URL,
        *,
        signer: Signer | None,
        name: str,
        keys: Collection[PublicKey] = (),
        stamp: Stamp | None = None,
    ) -> None:
        self.name = name
        self._stamp = stamp
        self._signer = signer
        if url.get_backend_name() == "sqlite":
            client.private(Path(url.database or ""))
        self._writing, reading = client.engines(url, name)
        self._insertions = Insertions(self._writing.dialect)
        super().__init__(reading, Proof([*keys, *([signer.public] if signer else [])]))
        # PostgreSQL's lanes have a lock each: its own are fair, and a receiver's inserts wait for nobody.
        self._turn = Turn(Path(url.database or "")) if self.dialect == "sqlite" else None
        self._streams: Lane[_Append | _Unit] = Lane(self._writing, self._carry_out, self._turn or asyncio.Lock())
        self._spool = Spool(url, name, read=self._rows, turn=self._turn, put=self._put_all) if self._turn else None
        self._puts: Lane[_Put | _Try] = (
            self._spool.puts if self._spool else Lane(client.at_once(self._writing), self._put_all, asyncio.Lock())
        )
        self._put_at = -TRIED
        self._held_up = False
        self._poker = Poker(self._reading, self.dialect)

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        signer: Signer | None,
        name: str,
        keys: Collection[PublicKey] = (),
        stamp: Stamp | None = None,
    ) -> Self:
        """Open a journal. It need not be migrated or reachable yet.

        Args:
            url: as `sqlite:///path` or `postgresql://user@host/name`.
            signer: signs heads; None for a process that only reads and puts.
            name: of this process, unique among responders.
            keys: the public keys of all responders; what none of them signed is not believed.
            stamp: stamps the alerts that are put in, and tells those of a receiver from others; without it, none is.

        Raises:
            Misconfigured: if the address is not one of a journal.
        """
        return cls(client.address(url), signer=signer, name=name, keys=keys, stamp=stamp)

    async def aclose(self) -> None:
        """Finish what was submitted and close all connections."""
        await self._streams.aclose()
        await (self._spool or self._puts).aclose()
        await self._poker.aclose()
        if self._turn is not None:
            self._turn.close()
        await self._writing.dispose()
        await self._reading.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def migrate(self) -> None:
        """Bring the tables to this release's form; does nothing if they are."""
        try:
            if not await self._is_of_this_release():
                await self._upgrade()
            if self._spool is not None:
                await self._spool.migrate()
        except Exception as exc:
            if not client.foreign(exc):
                raise
            raise client.mapped(exc) from exc

    async def _is_of_this_release(self) -> bool:
        """Whether there is nothing to migrate, asked without a lock and without Alembic, which takes long to load.

        Any fault is a no: whoever migrates meets it again, and says what it is.
        """
        with contextlib.suppress(SoarError):
            async with client.reading(self._reading) as connection:
                return await dump.release(connection) == schema.RELEASE
        return False

    async def _upgrade(self) -> None:
        from alembic import command  # noqa: PLC0415  # its import takes time that only this needs
        from alembic.config import Config  # noqa: PLC0415

        def upgrade(connection: Any) -> None:  # noqa: ANN401
            config = Config(attributes={"connection": connection})
            config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
            command.upgrade(config, "head")

        await asyncio.to_thread(_MIGRATING.acquire)
        try:
            async with self._writing.begin() as connection:
                await connection.run_sync(upgrade)
        finally:
            _MIGRATING.release()

    async def grant(self, role: str, part: Literal["receiver", "worker", "reader"]) -> None:
        """Let an existing PostgreSQL role do its part and nothing else.

        Args:
            role: which; a part has one.
            part: a receiver puts alerts into the inbox, a Prefect worker what people sign; a reader reads.

        Raises:
            Misconfigured: if there is no such role, or it is not ours to grant.
        """
        if self.dialect != "postgresql":
            raise Refused("SQLite has no roles")
        try:
            async with self._writing.begin() as connection:
                # Two responders that start at once would be in each other's way.
                await connection.execute(select(schema.chain.c.n).with_for_update())
                ours = (await connection.execute(text("SELECT current_user"))).scalar_one() == role
                for statement in () if ours else schema.grants(role, part):
                    await connection.execute(text(statement.replace(":", r"\:")))
        except Exception as exc:
            if not client.foreign(exc):
                raise
            raise client.mapped(exc) from exc
        if ours:
            message = f"{role} is the responder's own account; a {part}'s must be another one"
            fields = {"receiver": "receiver.account.user", "worker": "prefect.workers", "reader": "prefect.readers"}
            raise Misconfigured(message, field=fields[part])

    async def writes_streams(self, role: str) -> bool:
        """Return whether a PostgreSQL role may write entries, which only a responder's should."""
        by_column = func.has_any_column_privilege(role, schema.entry.name, "INSERT, UPDATE")
        by_table = func.has_table_privilege(role, schema.entry.name, "DELETE, TRUNCATE")
        return any((await self._rows(select(by_column, by_table)))[0])

    async def excess(self, roles: Sequence[str]) -> list[rights.Excess]:
        """Return what PostgreSQL roles may do beyond their part, besides writing entries; nothing is changed."""
        (place,) = await self._rows(select(func.current_database(), text("current_user")))
        held = {role: (await self._rows(rights.asked(role)))[0]._asdict() for role in roles}
        return rights.excess(held, *place)

    @property
    def installation(self) -> str:
        """Whose inbox it is, for `Stamp.installation`; empty if nothing is stamped here."""
        return self._stamp.installation if self._stamp else ""

    async def ready(self) -> bool:
        """Return whether something could be put into the inbox now; it waits as long as a put would."""
        try:
            await self.try_to_put()
        except SoarError:
            return False
        return True

    async def try_to_put(self) -> None:
        """Put nothing into the inbox, as something would be put; done lately, it is only read.

        Raises:
            Transient: if another process keeps the database locked, or it does not answer.
            Misconfigured: if it has no inbox, or this account may not put into it.
        """
        inbox = schema.inbox.c
        await self._rows(select(inbox.id, inbox.source, inbox.nonce, inbox.digest, inbox.incident).limit(0))
        if time.monotonic() - self._put_at > TRIED:
            await self._puts.submit(_Try())
            self._put_at = time.monotonic()

    async def try_to_write(self) -> None:
        """Begin writing the journal, and write nothing; `try_to_put` tries the inbox, which may have a file of its own.

        Raises:
            Transient: if another process keeps the database locked, or it does not answer.
        """
        try:
            async with self._writing.begin():
                pass
        except Exception as exc:
            if not client.foreign(exc):
                raise
            raise client.mapped(exc) from exc

    # Inbox

    async def put(
        self, *, kind: str, source: str, nonce: str, body: bytes, headers: Mapping[str, str], weight: int = 0
    ) -> Receipt:
        """Put a message from outside into the inbox; it is on disk when this returns.

        Args:
            kind: as `alert`, `request`, `timer`.
            source: who sent it.
            nonce: which the source uses for one message only.
            body: the raw bytes.
            headers: worth keeping; never one that authenticates.
            weight: how grave it is; of what one source sent, the gravest is moved first.

        Raises:
            Refused: if a name is too long to be one.
        """
        said = {"kind": kind, "source": source, "nonce": nonce}
        if long := [name for name, value in said.items() if len(value) > schema.LONGEST[name]]:
            raise Refused(f"{long[0]} has more than {schema.LONGEST[long[0]]} characters")
        digest, kept = sha256(body), canonical(dict(headers))
        stamp = None
        if self._stamp is not None and kind in STAMPED:
            stamp = self._stamp.of(kind=kind, source=source, nonce=nonce, digest=digest, headers=kept)
        put = _Put(_sortable(), kind, source, nonce, digest, body, kept, weight, stamp)
        receipt: Receipt = await self._puts.submit(put)
        self._put_at = time.monotonic()
        if receipt.fresh and self.dialect == "sqlite":
            # Who listens is read from the database: no sender waits for that, and a storm asks once at a time.
            self._poker.soon()
        return receipt

    def genuine(self, item: InboxItem) -> bool:
        """Return whether a receiver of ours put an entry into the inbox, as it stands there."""
        return self._stamp is not None and self._stamp.fits(item)

    async def _put_all(self, connection: AsyncConnection, jobs: Sequence[_Put | _Try]) -> Done:
        puts = [job for job in jobs if isinstance(job, _Put)]
        if not puts:
            table = spool.HERE if self._spool else schema.inbox
            nothing = select(table.c.source, table.c.nonce).where(false())
            await connection.execute(table.insert().from_select(["source", "nonce"], nothing, include_defaults=False))
            return Done([None] * len(jobs), None)
        # In one order everywhere: two receivers that wait for each other's nonces would be a deadlock.
        ordered = [put._asdict() for put in sorted(puts, key=lambda put: (put.source, put.nonce))]
        found = await (self._spool.store if self._spool else _store)(connection, ordered)
        stored = {(source, nonce): (name, digest, incident) for source, nonce, name, digest, incident in found}
        receipts: list[Receipt | Failed | None] = []
        for put in jobs:
            if isinstance(put, _Try):
                receipts.append(None)
                continue
            if (put.source, put.nonce) not in stored:
                # Its incident was closed while we looked: sent again, it is news.
                receipts.append(Failed(Transient("what this message repeats was let go just now")))
                continue
            name, digest, incident = stored[put.source, put.nonce]
            receipts.append(Receipt(name, fresh=name == put.id, conflict=digest != put.digest, incident=incident))
        return Done(receipts, None)

    def tell_ahead(self, told: Callable[[Sequence[InboxItem]], None]) -> None:
        """Have somebody told of messages while they are on their way into the journal, where they are few: a hint.

        Args:
            told: returns at once, and raises nothing; it may be told of a message again.
        """
        if self._spool is not None:
            self._spool.news = lambda rows: told([queries.inbox_item(row) for row in rows])

    async def waiting(
        self,
        limit: int,
        kinds: Sequence[str] | None = None,
        last: Sequence[str] = (),
        others: Sequence[str] = (),
    ) -> list[InboxItem]:
        """Return the oldest inbox entries that no stream has yet, as a hint: `Tx.move` is what counts.

        Args:
            limit: at most so many.
            kinds: only these.
            last: sources whose entries come after those of all others.
            others: kinds that are left out.
        """
        statement = queries.waiting(limit, None if kinds is None else tuple(kinds), tuple(last), tuple(others))
        ahead = await self._ahead(statement)
        items = [queries.inbox_item(row) for row in await self._rows(statement)]
        if not ahead:
            return items
        once = {item.id: item for item in [*map(queries.inbox_item, ahead), *items]}
        return sorted(once.values(), key=lambda item: (item.source in last, item.received_at, item.id))[:limit]

    async def kinds(self, named: Sequence[str]) -> set[str]:
        """Return of which of some kinds there are inbox entries that no stream has yet."""
        statement = queries.kinds(tuple(named))
        return {row.kind for row in [*await self._ahead(statement), *await self._rows(statement)]}

    async def _ahead(self, statement: Executable) -> Sequence[Any]:
        """Copy into the journal what came; whoever may not write it is told what a statement finds there."""
        if self._spool is None:
            return ()
        if self._signer is None:
            return await self._spool.waiting(statement)
        try:
            await self._spool.copy()
            self._held_up = False
        except SoarError as exc:
            # What came stays where it is; what the journal has already does not wait for that.
            if not self._held_up:
                LOG.warning("what came in cannot be copied into the journal, trying again: %s", exc)
            self._held_up = True
        return ()

    async def turns(self, kind: str, sources: Sequence[str], limit: int, last: Collection[str] = ()) -> list[InboxItem]:
        """Return entries of a kind that no stream has yet: in turn one of each source, of a source the gravest first.

        Args:
            kind: which.
            sources: whose.
            limit: at most so many; fewer if they are large.
            last: those of them whose entries come after those of all others.
        """
        if not sources:
            return []
        statement = queries.turns(kind, tuple(sources), limit)
        found = [*await self._ahead(statement), *await self._rows(statement)]
        names: list[str] = []
        room = queries.LARGEST
        # By place in its source's own line, then by source: one of each, then the second of each.
        for name, _, size, _ in sorted(
            found, key=lambda row: (row.source in last, row.place, sources.index(row.source))
        ):
            room -= size
            if len(names) == limit or (names and room < 0):
                break
            names.append(name)
        return await self._messages(names)

    async def strays(self, kind: str, sources: Sequence[str], limit: int) -> list[InboxItem]:
        """Return the oldest entries of a kind that no stream has yet and that come from none of some sources."""
        statement = queries.strays(kind, tuple(sources), limit)
        found = [*await self._ahead(statement), *await self._rows(statement)]
        return [queries.inbox_item(row) for row in found]

    async def _messages(self, names: Sequence[str]) -> list[InboxItem]:
        fresh = self._spool.fresh if self._spool else {}
        items = {name: queries.inbox_item(fresh[name]) for name in names if name in fresh}
        rest = [name for name in names if name not in items]
        for start in range(0, len(rest), _MOST_NAMES):
            some = rest[start : start + _MOST_NAMES]
            for row in await self._rows(queries.MESSAGES, {"names": some}):
                items[row[0]] = queries.inbox_item(row)
        return [items[name] for name in names if name in items]

    async def message(self, item: str) -> InboxItem | None:
        """Return an inbox entry, moved or not."""
        statement = select(*queries.INBOX).where(schema.inbox.c.id == item)
        found = [*await self._ahead(statement), *await self._rows(statement)]
        return queries.inbox_item(found[0]) if found else None

    async def told(self, stream: str, after: float, until: float, limit: int) -> list[Told]:
        """Return the messages that a stream was given in a span of time, the first moved first.

        Args:
            stream: which.
            after: seconds since 1970; this moment itself is left out.
            until: seconds since 1970.
            limit: at most so many.
        """
        found = queries.told(stream, after, until).limit(limit)
        return [Told(*row) for row in await self._rows(found)]

    async def messages(self, receipts: Collection[str]) -> list[InboxItem]:
        """Return some messages with their bytes, the first moved first; see `told`."""
        return [queries.inbox_item(row) for row in await self._rows(queries.messages(receipts))]

    async def inbox_counts(self) -> list[InboxCount]:
        """Return how much of each kind waits."""
        inbox = schema.inbox.c
        counts = (
            select(inbox.kind, func.count(), clock() - func.min(inbox.received_at))
            .where(inbox.moved_at.is_(None))
            .group_by(inbox.kind)
            .order_by(inbox.kind)
        )
        ahead = dict[str, tuple[int, float]]()
        if self._spool is not None:
            async for row in self._spool.all_waiting():
                count, first = ahead.get(row.kind, (0, row.received_at))
                ahead[row.kind] = (count + 1, min(first, row.received_at))
        found = {kind: InboxCount(kind, *count) for kind, *count in await self._rows(counts)}
        moment = await self.clock() if ahead else 0.0
        for kind, (count, first) in ahead.items():
            _, more, oldest = found.get(kind, (kind, 0, 0.0))
            found[kind] = InboxCount(kind, count + more, max(oldest, moment - first))
        return [found[kind] for kind in sorted(found)]

    # Writing streams

    async def submit(self, work: Callable[[Tx], Awaitable[T]]) -> T:
        """Carry out a unit of work, alone on all machines, and return its result once it is on disk.

        Args:
            work: reads, decides and writes through the `Tx` only. It may be called again after a rollback, so it
                touches nothing else; if it raises, nothing of it stays and the caller gets the exception.

        Raises:
            Unsure: if it may or may not have happened: read again.
            Transient: if the database did not answer; it did not happen.
        """
        self._may_write()
        return cast("T", await self._streams.submit(work))

    async def append(self, stream: str, events: Sequence[Event], *, claim: Claim | None = None) -> tuple[Entry, ...]:
        """Append to a stream; the entries are on disk when this returns.

        Args:
            stream: one that does not exist begins.
            events: what happened, in order.
            claim: refuses the append if it is no longer the stream's.

        Raises:
            LostClaim: if `claim` is lost.
            Refused: if the stream is frozen.
            Unsure: if it may or may not have happened: read again.
            Transient: if the database did not answer; it did not happen.
        """
        self._may_write()
        return cast("tuple[Entry, ...]", await self._streams.submit(_Append(stream, events, claim)))

    def _may_write(self) -> Signer:
        if self._signer is None:
            raise Refused("this journal was opened without a signing key: it can only be read and put into")
        return self._signer

    async def _carry_out(self, connection: AsyncConnection, jobs: Sequence[_Append | _Unit]) -> Done:
        batch = Batch(connection, self._may_write(), self._proof)
        await batch.lock()
        await batch.load(job.stream for job in jobs if isinstance(job, _Append))
        outcomes: list[Any] = []
        began = time.monotonic()
        for job in jobs:
            if outcomes and time.monotonic() - began > LOCKED:
                break
            if isinstance(job, _Append):
                # A unit before it in this batch may have changed what was loaded.
                await batch.load([job.stream])
                try:
                    outcomes.append(batch.append(*job))
                except Exception as exc:  # noqa: BLE001  # belongs to its caller alone
                    outcomes.append(Failed(exc))
            else:
                outcomes.append(await self._unit(batch, job, alone=len(jobs) == 1))
        head = await batch.flush()

        async def confirm(again: AsyncConnection) -> bool:
            if head is None:
                raise Transient("nothing tells whether it happened")
            async with again.begin():
                # The lock, because the dying connection's commit may still be under way.
                await Batch(again, self._may_write(), self._proof).lock()
                found = await again.execute(select(schema.head.c.hash).where(schema.head.c.n == head.n))
                return bool(found.scalar_one_or_none() == head.hash)

        return Done(outcomes, confirm)

    async def _unit(self, batch: Batch, work: _Unit, *, alone: bool) -> Any:  # noqa: ANN401  # what the unit returns
        state = batch.state()
        tx = Tx(batch, self._insertions, alone=alone)
        limit = asyncio.timeout(UNIT_SECONDS)
        try:
            async with limit:
                result = await work(tx)
            await tx.end()
        except Exception as exc:
            if limit.expired():
                # It was cut off inside a statement: this transaction is of no use to the others either.
                raise Refused(f"a unit held the journal's lock for {UNIT_SECONDS} s") from exc
            if isinstance(exc, DBAPIError) and client.lost(exc):
                raise
            if not await tx.undo() and isinstance(exc, DBAPIError):
                # PostgreSQL lets a transaction do nothing more after an error that no savepoint caught.
                raise
            error = client.mapped(exc) if client.foreign(exc) else exc
            if tx.spoilt:
                raise Spoilt(error) from exc
            batch.restore(state)
            return Failed(error)
        return result

    # Claims

    async def claim(
        self,
        owner: str,
        *,
        lane: str,
        limit: int,
        seconds: float,
        early: bool = False,
        overdue: float = 0.0,
        but: Collection[str] = (),
    ) -> list[Claim]:
        """Claim runnable streams of a lane, the longest waiting first, and those whose claim ran out.

        Args:
            owner: who claims; unique among responders.
            lane: which lane.
            limit: at most so many.
            seconds: how long the claims last.
            early: claim those that run at a later time too.
            overdue: claim only those that have waited for so many seconds, or whose claim ran out.
            but: streams that are left alone.
        """
        self._may_write()
        # The sweep finds nothing most of the time: that takes no lock.
        find = partial(queries.claimable, lane, early=early, overdue=overdue, but=frozenset(but))
        if not await self._rows(find(1)):
            return []
        found = find(limit)
        return await self.submit(lambda tx: tx.claim(owner, found, seconds=seconds))

    async def due(self, lanes: Sequence[str]) -> set[str]:
        """Return in which of some lanes there is a stream to claim; asked at once, since mostly there is none."""
        return {row.lane for row in await self._rows(queries.due(tuple(lanes)))}

    async def in_hand(self, lane: str) -> bool:
        """Return whether somebody, of whatever process, works on a stream of a lane, or ought to."""
        return bool(await self._rows(queries.in_hand(lane)))

    async def unattended(self, lane: str, seconds: float, *, but: str = "") -> list[str]:
        """Return the streams that have waited in a lane for so long while nobody, of whatever process, works there.

        Args:
            lane: which lane.
            seconds: how long.
            but: whose work there does not count.
        """
        if await self._rows(queries.in_hand(lane, waiting=False, but=but)):
            return []
        return [row.name for row in await self._rows(queries.claimable(lane, 100, overdue=seconds))]

    async def renew(self, claim: Claim, seconds: float) -> Claim:
        """Let a claim last `seconds` from now.

        Raises:
            LostClaim: if it ran out, or another has it.
        """
        return await self.submit(lambda tx: tx.renew(claim, seconds))

    async def release(self, claim: Claim, *, runnable_at: datetime | float | None, lane: str | None = None) -> bool:
        """Give a claim back and say when the stream runs next; see `Tx.release`."""
        return await self.submit(lambda tx: tx.release(claim, runnable_at=runnable_at, lane=lane))

    async def set_watch(
        self,
        *,
        lease: str,
        incident: str,
        verdict: str,
        system: str = "",
        severity: int = 0,
        took: float | None = None,
    ) -> None:
        """Keep the latest check of a lease; see `Watch`."""
        await self.submit(
            lambda tx: tx.set_watch(lease, incident, verdict, system=system, severity=severity, took=took)
        )

    async def seen(self, lease: str) -> None:
        """Keep that a lease was just seen as it was; see `Tx.seen`."""
        await self.submit(lambda tx: tx.seen(lease))

    # Copies

    @asynccontextmanager
    async def copying(self) -> AsyncIterator[tuple[str, int, AsyncIterator[Rows]]]:
        """Yield the release of the tables, how many rows there are, and all rows, of one moment, while others write.

        Raises:
            Refused: if a column holds what the journal never writes there.
        """
        if self._spool is None:
            async with self._moment(self._reading) as connection:
                yield await dump.release(connection), await dump.size(connection), dump.parts(connection, spool.none())
            return
        # What is on its way into the journal is in one of the two, if this one is looked at first.
        async with self._moment(self._spool.reading) as ahead, self._moment(self._reading) as connection:
            beyond = await spool.beyond(ahead, connection)
            size = await dump.size(connection) + len(beyond)
            yield await dump.release(connection), size, dump.parts(connection, spool.whole(ahead, beyond))

    async def fill(self, release: str, rows: AsyncIterator[Rows], public_keys: Collection[PublicKey]) -> int:
        """Take in a copy, verified and all of it or nothing, and return how many rows it had; its claims are void.

        Args:
            release: of the tables that were copied.
            rows: from `copying`, in their order.
            public_keys: those of all responders there ever were.

        Raises:
            Refused: if there is something in this journal, or the copy is not one of this release's tables.
            Tampered: if it is not as it was written.
        """
        try:
            async with self._writing.begin() as connection:
                count = await dump.fill(connection, release, rows)
                _sound(await Verification(connection, public_keys, None).run(()))
                return count
        except Exception as exc:
            if not client.foreign(exc):
                raise
            raise client.mapped(exc) from exc

    # Pokes

    async def poke(self) -> None:
        """Wake the responders that listen; a hint that may get lost."""
        await self._poker.poke()

    def listen(self) -> AbstractAsyncContextManager[Callable[[float], Awaitable[bool]]]:
        """Listen for pokes: `async with journal.listen() as wait: poked = await wait(seconds)`."""
        return Listener(self, self._writing)


def _sound(faults: Sequence[Fault]) -> None:
    for fault in faults:
        # What was set apart is part of nothing; it goes along, and stays found.
        if not fault.stream.startswith(APART):
            raise Tampered(*fault)


async def _store(connection: AsyncConnection, puts: Sequence[Mapping[str, Any]]) -> Sequence[Any]:
    """Put into PostgreSQL's inbox what is not there; return source, nonce, id, digest and incident of each.

    What is new, which is nearly all, takes one statement, that is its own transaction and wakes the responders.
    """
    columns = [[put[name] for put in puts] for name in schema.RECEIVER_WRITES]
    made = (await connection.exec_driver_sql(queries.PUT, tuple(columns))).all()
    new = {(row.source, row.nonce) for row in made}
    known = [key for put in puts if (key := (put["source"], put["nonce"])) not in new]
    # Another statement, which sees what others put there while that one waited for them.
    found = (await connection.execute(queries.KNOWN, {"keys": known})).all() if known else ()
    return [*((row.source, row.nonce, row.id, row.digest, None) for row in made), *found]


def _sortable() -> str:
    """Return an id that no other process makes; later ones sort later, as far as clocks agree."""
    return f"{time.time_ns() // 1_000_000:012x}-{uuid.uuid4().hex[:20]}"
