"""What one transaction adds to the streams: entries chained to their tips, and one signed head over all of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, func, insert, literal, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.journal import schema
from integrations.journal.client import LostClaim, Tampered
from integrations.journal.proof import Proof
from integrations.journal.records import Claim, Signer
from integrations.journal.schema import clock
from playbooks.errors import Refused, SoarError
from playbooks.record import journal
from playbooks.record.journal import GENESIS, Added, Entry, Event, Head
from playbooks.strict import iso, now

_stream = schema.stream.c
_INSERT_ENTRY = insert(schema.entry)
MOVE_TIP = (
    update(schema.stream)
    .where(_stream.name == bindparam("stream"))
    .values(seq=bindparam("tip"), hash=bindparam("tip_hash"))
)
"""Says where a stream ends now."""

_INSERT_HEAD = insert(schema.head)
_MOVE_CHAIN = update(schema.chain).where(schema.chain.c.id == 1).values(n=bindparam("tip"), hash=bindparam("tip_hash"))
# All of the above at once, the rows as arrays: whoever waits for the lock waits for one round trip to PostgreSQL.
_WRITE = f"""
WITH made AS (
    INSERT INTO entry (stream, seq, kind, data, hash, head)
    SELECT *, $12::int FROM unnest($1::text[], $2::int[], $3::text[], $4::bytea[], $5::bytea[])
), begun AS (
    INSERT INTO stream (name, seq, hash, lane, fence, opened_at)
    SELECT *, '', 0, {schema.POSTGRES_CLOCK} FROM unnest($6::text[], $7::int[], $8::bytea[])
), moved AS (
    UPDATE stream SET seq = tip.seq, hash = tip.hash
    FROM unnest($9::text[], $10::int[], $11::bytea[]) AS tip (name, seq, hash) WHERE stream.name = tip.name
), signed AS (
    INSERT INTO head (n, data, hash, signature) VALUES ($12, $13, $14, $15)
)
UPDATE chain SET n = $12, hash = $14 WHERE id = 1
"""  # noqa: S608  # names of our own
_LOCK_CHAIN = select(schema.chain.c.n, schema.chain.c.hash, clock()).where(schema.chain.c.id == 1).with_for_update()
_ROWS = select(
    _stream.name,
    _stream.seq,
    _stream.hash,
    _stream.fence,
    func.coalesce(_stream.claimed_until > clock(), literal(value=False)).label("live"),
    _stream.frozen,
    _stream.closed_at.is_not(None).label("closed"),
).where(_stream.name.in_(bindparam("names", expanding=True)))
MOST_NAMES = 256
"""What one statement names at the most."""


class _Row(NamedTuple):
    seq: int
    hash: bytes
    fence: int
    live: bool
    frozen: str | None
    closed: bool
    stored: bool
    signed: bool = True


_NEW = _Row(0, GENESIS, 0, live=False, frozen=None, closed=False, stored=False)


def first_row(name: str) -> dict[str, Any]:
    """Return the row of a stream that has no entry yet."""
    return {"name": name, "seq": 0, "hash": GENESIS, "lane": "", "fence": 0}


class Appended(NamedTuple):
    """An entry, and what its row needs beside it.

    Args:
        entry: the entry.
        kind: of its event.
    """

    entry: Entry
    kind: str


class Batch:
    """The state of one transaction: tips moved and entries made, written together at its end.

    Args:
        connection: in a transaction.
        signer: signs the head.
        proof: what this process knows to be signed.
    """

    def __init__(self, connection: AsyncConnection, signer: Signer, proof: Proof) -> None:
        self.connection = connection
        self.proof = proof
        self.at = iso(now())
        self.time = 0.0
        self._signer = signer
        self._rows: dict[str, _Row] = {}
        self._stale: set[str] = set()
        self._made: list[Appended] = []
        self._n = 0
        self._hash = GENESIS

    async def lock(self) -> None:
        """Take the one lock that all writers of all machines take."""
        row = (await self.connection.execute(_LOCK_CHAIN)).one_or_none()
        if row is None:
            raise Tampered("heads", 0, "the row that holds the chain's tip is gone")
        self._n, self._hash, self.time = row

    def state(self) -> tuple[dict[str, _Row], int]:
        """Return what `restore` needs after a unit that raised."""
        return dict(self._rows), len(self._made)

    def restore(self, state: tuple[dict[str, _Row], int]) -> None:
        """Forget what was made since `state`."""
        self._rows, made = state
        del self._made[made:]

    async def load(self, names: Iterable[str]) -> None:
        """Read the tips of streams that are not known yet, with one statement."""
        names = set(names)
        wanted = sorted(names - self._rows.keys() | names & self._stale)
        self._stale -= names
        for start in range(0, len(wanted), MOST_NAMES):
            some = wanted[start : start + MOST_NAMES]
            # Padded to a power of two: each length is a statement of its own to prepare.
            padded = some + some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
            found = await self.run(_ROWS, {"names": padded})
            unproven = await self.proof.unproven([(name, seq, tip) for name, seq, tip, *_ in found if seq], self.run)
            for name, seq, tip, fence, live, frozen, closed in found:
                row = _Row(seq, tip, fence, live, frozen, closed, stored=True, signed=name not in unproven)
                known = self._rows.get(name)
                # The stored tip is behind what this transaction has made and not yet written.
                self._rows[name] = row if known is None else row._replace(seq=known.seq, hash=known.hash)
            for name in some:
                self._rows.setdefault(name, _NEW)

    async def run(self, statement: Select[Any], values: Mapping[str, Any]) -> Sequence[Any]:
        """Return the rows of a reading statement."""
        rows: Sequence[Any] = (await self.connection.execute(statement, values)).all()
        return rows

    def frozen(self, name: str) -> str | None:
        """Return why a stream that is loaded is frozen, None if it is not."""
        return self._rows[name].frozen

    def closed(self, name: str) -> bool:
        """Return whether a stream that is loaded was closed."""
        return self._rows[name].closed

    def forget(self, name: str) -> None:
        """Read a stream's row again when it is needed next, because somebody changed it."""
        self._stale.add(name)

    def dropped(self, name: str) -> None:
        """Read a stream's row again when it is needed next, its tip too: nothing of it was made here."""
        self._rows.pop(name, None)

    def opened(self, name: str) -> None:
        """Take in a stream that was just made and claimed."""
        self._rows[name] = _Row(0, GENESIS, 1, live=True, frozen=None, closed=False, stored=True)

    async def ensure(self, name: str) -> None:
        """Write the row of a stream that this transaction began, so that it can be changed."""
        row = self._rows.get(name)
        if row is not None and not row.stored:
            await self.connection.execute(insert(schema.stream).values(opened_at=clock()), first_row(name))
            self._rows[name] = row._replace(stored=True)

    async def signed(self, stream: str) -> bool:
        """Whether the stream's tip is one that a responder signed."""
        await self.load([stream])
        return self._rows[stream].signed

    def fault(self, stream: str) -> SoarError:
        """Return what is wrong with the tip of a stream that is loaded and not signed."""
        row = self._rows[stream]
        return self.proof.fault(stream, row.seq, row.hash)

    def append(self, stream: str, events: Sequence[Event], claim: Claim | None) -> tuple[Entry, ...]:
        """Make entries for a stream that is loaded; they are written at the end."""
        row = self._rows[stream]
        if claim is not None and (claim.stream != stream or claim.fence != row.fence or not row.live):
            raise LostClaim(f"{claim.owner} no longer has the claim on {stream}")
        if row.frozen is not None:
            raise Refused(f"{stream} is frozen: {row.frozen}")
        if not row.signed:
            # What is appended would stand for what it is chained to.
            raise self.fault(stream)
        entries = []
        seq, tip = row.seq, row.hash
        for event in events:
            seq += 1
            entry = journal.entry(stream, seq, tip, self.at, event)
            tip = entry.hash
            entries.append(entry)
        self._made.extend(Appended(entry, event.kind) for entry, event in zip(entries, events, strict=True))
        self._rows[stream] = row._replace(seq=seq, hash=tip)
        return tuple(entries)

    def tip(self, stream: str) -> int:
        """Return the number of the last entry of a stream that is loaded."""
        return self._rows[stream].seq

    def made(self, stream: str) -> list[Entry]:
        """Return the entries of a stream that are not written yet."""
        return [made.entry for made in self._made if made.entry.stream == stream]

    async def flush(self) -> Head | None:
        """Write all entries, the tips and one signed head over them."""
        if not self._made:
            return None
        n = self._n + 1
        first: dict[str, int] = {}
        for made in self._made:
            first.setdefault(made.entry.stream, made.entry.seq)
        names = sorted(first)
        added = [Added(name, self._rows[name].seq, self._rows[name].hash, first[name]) for name in names]
        data = journal.head_data(n, self.at, self._signer.id, added)
        digest = journal.link(self._hash, data)
        head = Head(n, data, digest, self._signer.sign(digest))
        try:
            await (self._write_postgres if self.connection.dialect.name == "postgresql" else self._write)(names, head)
        except IntegrityError as exc:
            lost = self._made[0].entry
            raise Tampered(lost.stream, lost.seq, "the place of a new entry or head is taken") from exc
        # Before the commit: should that fail, nothing has these tips.
        for tip in added:
            self.proof.know(tip.hash)
        return head

    async def _write(self, names: Sequence[str], head: Head) -> None:
        run = self.connection.execute
        rows = [
            {"stream": e.stream, "seq": e.seq, "kind": kind, "data": e.data, "hash": e.hash, "head": head.n}
            for e, kind in self._made
        ]
        new = [first_row(name) for name in names if not self._rows[name].stored]
        tips = [{"stream": name, "tip": self._rows[name].seq, "tip_hash": self._rows[name].hash} for name in names]
        await run(_INSERT_ENTRY, rows)
        if new:
            await run(insert(schema.stream).values(opened_at=clock()), new)
        await run(MOVE_TIP, tips)
        await run(_INSERT_HEAD, head._asdict())
        await run(_MOVE_CHAIN, {"tip": head.n, "tip_hash": head.hash})

    async def _write_postgres(self, names: Sequence[str], head: Head) -> None:
        made = [(e.stream, e.seq, kind, e.data, e.hash) for e, kind in self._made]
        tips = {
            stored: [(name, *self._rows[name][:2]) for name in names if self._rows[name].stored is stored]
            for stored in (False, True)
        }
        arrays = (*_columns(made, 5), *_columns(tips[False], 3), *_columns(tips[True], 3))
        await self.connection.exec_driver_sql(_WRITE, (*arrays, *head))


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(width)]
