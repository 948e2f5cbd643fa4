"""The reading statements, for a unit inside the lock and for everybody beside it, and their rows as values."""

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CompoundSelect,
    Integer,
    LargeBinary,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from integrations.journal import schema
from integrations.journal.client import Tampered
from integrations.journal.proof import Proof, Run
from integrations.journal.records import Hold, InboxItem, Stop, StreamInfo
from integrations.journal.schema import clock, well_typed
from playbooks.record import journal
from playbooks.record.journal import GENESIS, Entry, fits

CHANNEL = "soar_poke"
"""On which PostgreSQL's listeners are poked."""

MOST_AT_ONCE = 4096
"""Entries of one stream that a commit writes, at most; their places are what is looked at to prove one of them."""

_BUILT = 64
"""Statements of one shape that are kept as they were built: to build one takes as long as to ask it."""

_ALIKE = 10
"""Earlier streams of one key that are named, at most."""

_stream = schema.stream.c

INFO = (
    _stream.name,
    _stream.seq,
    _stream.lane,
    _stream.runnable_at,
    _stream.owner,
    _stream.claimed_until,
    _stream.correlation,
    _stream.frozen,
    _stream.opened_at,
    _stream.closed_at,
)
STREAM = select(*INFO).where(_stream.name == bindparam("stream"))
FIND_OPEN = select(_stream.name).where(_stream.correlation == bindparam("correlation"), _stream.closed_at.is_(None))
FIND_ALL_OPEN = select(_stream.correlation, _stream.name).where(
    _stream.correlation.in_(bindparam("correlations", expanding=True)), _stream.closed_at.is_(None)
)
OPEN_BELOW = select(func.count()).select_from(
    select(_stream.name)
    .where(
        _stream.correlation >= bindparam("prefix"),
        _stream.correlation < bindparam("end"),
        _stream.closed_at.is_(None),
    )
    .limit(bindparam("most"))
    .subquery()
)
_FROZEN = (
    select(literal(0).label("closed"), _stream.name, _stream.opened_at.label("at"))
    .where(
        _stream.correlation >= bindparam("prefix"),
        _stream.correlation < bindparam("end"),
        _stream.closed_at.is_(None),
    )
    .order_by(_stream.opened_at.desc(), _stream.name.desc())
    .limit(_ALIKE)
)
_CLOSED = (
    select(literal(1).label("closed"), _stream.name, _stream.closed_at.label("at"))
    .where(_stream.correlation == bindparam("correlation"), _stream.closed_at.is_not(None))
    .order_by(_stream.closed_at.desc(), _stream.name.desc())
    .limit(_ALIKE)
)
EARLIER = union_all(*(select(some.subquery()) for some in (_FROZEN, _CLOSED)))
_stop = schema.stop.c
# As the first release kept them, before there was a stream of switches.
# With the tip of that stream, so that whoever asks where there is none asks once.
STOPS = (
    select(_stream.seq.label("tip"), _stop.scope, _stop.reason, _stop.by, _stop.at, _stop.seq)
    .select_from(
        select(literal(1).label("one"))
        .subquery()
        .outerjoin(schema.stream, _stream.name == journal.SWITCHES)
        .outerjoin(schema.stop, true())
    )
    .order_by(_stop.seq)
)
_suppression = schema.suppression.c
SUPPRESSION = (
    _suppression.scope,
    _suppression.source,
    _suppression.rule,
    _suppression.until,
    _suppression.reason,
    _suppression.by,
    _suppression.at,
    _suppression.seq,
    _suppression.entry,
    _suppression.hidden,
)
SUPPRESSIONS = select(*SUPPRESSION).order_by(_suppression.seq)
_reservation = schema.reservation.c
RESERVED = select(
    _reservation.incident,
    _reservation.step,
    _reservation.target,
    _reservation.server,
    _reservation.radius,
    _reservation.at,
    clock() - _reservation.at,
).order_by(_reservation.at)
LATELY = 7 * 86400.0
"""Seconds for which a stream that was closed still counts as one that people are told of."""
# What was told to people, and to whom it could not be, of all streams that are open, or were until lately.
TELLING = (
    select(schema.entry.c.stream, schema.entry.c.seq, schema.entry.c.data, schema.entry.c.hash)
    .join(schema.stream, _stream.name == schema.entry.c.stream)
    .where(
        or_(_stream.closed_at.is_(None), _stream.closed_at > clock() - LATELY),
        schema.entry.c.kind.in_(["page", "told", "acknowledged", "closed"]),
    )
    .order_by(schema.entry.c.stream, schema.entry.c.seq)
)
_SYSTEM = select(schema.entry.c.stream, schema.entry.c.seq, schema.entry.c.data, schema.entry.c.hash).where(
    schema.entry.c.stream == journal.SYSTEM
)
RESUMES = _SYSTEM.where(schema.RESUME_ASKED).order_by(schema.entry.c.seq)
# One statement, so that entries and tip are of one moment; with the entry at `after`, to which the next is chained.
READ = (
    select(_stream.seq, _stream.hash, schema.entry.c.seq, schema.entry.c.data, schema.entry.c.hash)
    .select_from(
        schema.stream.outerjoin(
            schema.entry, and_(schema.entry.c.stream == _stream.name, schema.entry.c.seq >= bindparam("after"))
        )
    )
    .where(_stream.name == bindparam("stream"))
    .order_by(schema.entry.c.seq)
)


async def read(stream: str, after: int, proof: Proof, run: Run) -> list[Entry]:
    """Return a stream's entries after one of them.

    Args:
        stream: which.
        after: leave out those up to this one; they are not verified then.
        proof: what is known to be signed.
        run: asks the database.

    Raises:
        Tampered: if they do not fit each other or the stream's tip, no responder signed them, or some are gone.
        UnknownSigner: if a responder signed them that is not known here.
    """
    # Asked before the rows: another reader may be ahead of us when they come.
    reached = proof.reached.get(stream, 0)
    rows = await run(READ, {"stream": stream, "after": after})
    tip, digest = rows[0][:2] if rows else (0, GENESIS)
    if tip < reached:
        raise Tampered(stream, tip + 1, f"this entry was there, and the stream ends with {tip}")
    entries = checked(stream, after, rows)
    if tip and await proof.unproven([(stream, tip, digest)], run):
        raise proof.fault(stream, tip, digest)
    proof.reached[stream] = max(tip, proof.reached.get(stream, 0))
    return entries


_HERE = schema.entry.alias("here")
# An entry, the one before it, and what the same commit wrote after it: the last of those is what its head signs.
_PLACE = (
    select(schema.entry.c.seq, schema.entry.c.data, schema.entry.c.hash)
    .join(_HERE, and_(_HERE.c.stream == schema.entry.c.stream, _HERE.c.seq == bindparam("seq")))
    .where(
        schema.entry.c.stream == bindparam("stream"),
        or_(
            schema.entry.c.seq == bindparam("seq") - 1,
            and_(
                schema.entry.c.seq.between(bindparam("seq"), bindparam("seq") + MOST_AT_ONCE),
                schema.entry.c.head == _HERE.c.head,
            ),
        ),
    )
    .order_by(schema.entry.c.seq)
)


async def prove(stream: str, seq: int, proof: Proof, run: Run) -> None:
    """Do nothing if an entry is as a responder wrote it, without reading the stream that it stands in.

    Args:
        stream: which.
        seq: its place.
        proof: what is known to be signed.
        run: asks the database.

    Raises:
        Tampered: if it is not, or no responder signed what it was written with.
        UnknownSigner: if a responder signed that who is not known here.
    """
    rows = list(await run(_PLACE, {"stream": stream, "seq": seq}))
    previous: Any = GENESIS
    expected = seq
    if rows and rows[0].seq == seq - 1:
        previous = rows.pop(0).hash
    elif seq > 1:
        raise Tampered(stream, seq - 1, "this entry is missing")
    for row in rows:
        if row.seq != expected or not fits(previous, row.data, row.hash):
            raise Tampered(stream, row.seq, "its bytes do not have the hash that the chain gives it")
        previous, expected = row.hash, expected + 1
    if expected == seq:
        raise Tampered(stream, seq, "this entry is missing")
    if await proof.unproven([(stream, expected - 1, previous)], run):
        raise proof.fault(stream, expected - 1, previous)


async def stops(proof: Proof, run: Run, read: Callable[[int], Awaitable[Sequence[Entry]]]) -> list[Stop]:
    """Return the kill switches that are on.

    Args:
        proof: what is known to be signed.
        run: asks the database.
        read: reads the stream of switches, after an entry.

    Raises:
        Tampered: if they are not as responders wrote them.
    """
    await proof.catch_up(journal.SWITCHES, run)
    begun = proof.reached.get(journal.SWITCHES, 0) > 0
    rows = [] if begun else await run(STOPS, {})
    if (begun or rows[0].tip is not None) and (entries := await read(proof.before_last(journal.SWITCHES))):
        return switched(entries)
    return [Stop(*row[1:]) for row in rows if row.scope is not None]


def switched(entries: Sequence[Entry]) -> list[Stop]:
    """Return the kill switches that are on after the last of these entries."""
    return [Stop(**one) for one in entries[-1].parsed().body["on"]]


def checked(stream: str, after: int, rows: Sequence[Any]) -> list[Entry]:
    """Return the entries that `READ` gave.

    Raises:
        Tampered: if they do not fit each other or the stream's tip.
    """
    if not rows:
        return []
    last, tip = rows[0][0], rows[0][1]
    entries = [Entry(stream, seq, data, digest) for _, _, seq, data, digest in rows if seq is not None]
    expected, previous = after, GENESIS
    if after and entries and entries[0].seq == after:
        previous = entries.pop(0).hash
    elif after and last > 0:
        raise Tampered(stream, after, "this entry is missing")
    for entry in entries:
        expected += 1
        if entry.seq != expected:
            raise Tampered(stream, expected, f"this entry is missing; the next one there is {entry.seq}")
        if not fits(previous, entry.data, entry.hash):
            raise Tampered(stream, entry.seq, "its bytes do not have the hash that the chain gives it")
        previous = entry.hash
    if last != expected:
        raise Tampered(stream, min(last, expected) + 1, f"the stream has {expected} entries and its tip is {last}")
    if previous != tip:
        raise Tampered(stream, expected, "it is not the entry that the stream's tip names")
    return entries


@lru_cache(_BUILT)
def claimable(
    lane: str, limit: int, *, early: bool = False, overdue: float = 0.0, but: frozenset[str] = frozenset()
) -> Select[Any]:
    """Return the statement that finds streams to claim.

    Args:
        lane: which lane.
        limit: at most so many.
        early: those that run at a later time too.
        overdue: only those that have waited for so many seconds, or whose claim ran out.
        but: streams that are left alone.
    """
    time = clock()
    due = _stream.runnable_at.is_not(None) if early else _stream.runnable_at <= time - overdue
    return (
        select(_stream.name)
        .where(
            _stream.lane == lane,
            _stream.frozen.is_(None),
            *([_stream.name.not_in(sorted(but))] if but else []),
            or_(
                and_(_stream.owner.is_(None), due),
                and_(_stream.owner.is_not(None), _stream.claimed_until <= time),
            ),
        )
        .order_by(func.coalesce(_stream.runnable_at, _stream.claimed_until), _stream.name)
        .limit(limit)
    )


@lru_cache(_BUILT)
def due(lanes: tuple[str, ...]) -> Select[Any]:
    """Return the statement that finds in which of some lanes there is a stream to claim."""
    time = clock()
    found = or_(
        and_(_stream.owner.is_(None), _stream.runnable_at <= time),
        and_(_stream.owner.is_not(None), _stream.claimed_until <= time),
    )
    return select(_stream.lane).where(_stream.lane.in_(lanes), _stream.frozen.is_(None), found).distinct()


@lru_cache(_BUILT)
def in_hand(lane: str, *, waiting: bool = True, but: str = "") -> Select[Any]:
    """Return the statement that finds a stream of a lane that somebody works on.

    Args:
        lane: which lane.
        waiting: or that waits for somebody who does.
        but: whose work does not count.
    """
    time = clock()
    found = [and_(_stream.owner.is_not(None), _stream.owner != but, _stream.claimed_until > time)]
    if waiting:
        found.append(and_(_stream.owner.is_(None), _stream.runnable_at <= time))
    return select(_stream.name).where(_stream.lane == lane, _stream.frozen.is_(None), or_(*found)).limit(1)


_inbox = schema.inbox.c
INBOX = (
    _inbox.id,
    _inbox.kind,
    _inbox.source,
    _inbox.nonce,
    _inbox.digest,
    _inbox.body,
    _inbox.headers,
    _inbox.received_at,
    _inbox.stamp,
)


KNOWN = select(_inbox.source, _inbox.nonce, _inbox.id, _inbox.digest, _inbox.incident).where(
    tuple_(_inbox.source, _inbox.nonce).in_(bindparam("keys", expanding=True))
)

_SENT = [schema.inbox.c[name].type for name in schema.RECEIVER_WRITES]
_ARRAYS = {LargeBinary: "bytea[]", Integer: "int[]"}
# As text, and the rows as arrays: one statement, however many they are, which PostgreSQL knows already.
PUT = f"""
WITH put AS (
    INSERT INTO inbox ({", ".join(schema.RECEIVER_WRITES)})
    SELECT * FROM unnest({", ".join(f"${n}::{_ARRAYS.get(type(of), 'text[]')}" for n, of in enumerate(_SENT, 1))})
    ON CONFLICT (source, nonce) DO NOTHING
    RETURNING source, nonce, id, digest
)
SELECT source, nonce, id, digest, (SELECT pg_notify('{CHANNEL}', '')) FROM put
"""  # noqa: S608  # names of our own
"""Puts rows into PostgreSQL's inbox and pokes if any of them is new; returns those."""

LARGEST = 4 * 1024 * 1024
"""Bytes of a body that is handed out for moving: the receiver takes less, but whoever may insert may insert more."""

_HEADERS = 64 * 1024
_NAME = 400
_STAMP = 64
_NOTHING = literal(b"", LargeBinary)
_LATEST_TIME = 1e11
"""Seconds since 1970; later is no time that we write."""

OURS = and_(
    well_typed(_inbox.id, _inbox.kind, _inbox.source, _inbox.nonce, _inbox.digest, _inbox.body, _inbox.headers),
    *(func.length(_inbox[name]) <= schema.LONGEST[name] for name in ("id", "nonce", "digest")),
    _inbox.received_at.between(0, _LATEST_TIME),
)
"""Of a type and a size that we write."""


HANDED = (
    _inbox.id,
    func.substr(_inbox.kind, 1, _NAME),
    func.substr(_inbox.source, 1, _NAME),
    _inbox.nonce,
    _inbox.digest,
    case((func.length(_inbox.body) <= LARGEST, _inbox.body), else_=_NOTHING),
    case((func.length(_inbox.headers) <= _HEADERS, _inbox.headers), else_=_NOTHING),
    _inbox.received_at,
    case((func.length(_inbox.stamp) <= _STAMP, _inbox.stamp), else_=None),
)
MESSAGES = select(*HANDED).where(_inbox.id.in_(bindparam("names", expanding=True)), _inbox.moved_at.is_(None), OURS)
_WAITING = (_inbox.moved_at.is_(None), OURS)


@lru_cache(_BUILT)
def waiting(
    limit: int, kinds: tuple[str, ...] | None, last: tuple[str, ...] = (), others: tuple[str, ...] = ()
) -> Select[Any]:
    """Return the statement that finds inbox entries to move, for `inbox_item`.

    What is too large to be anything of ours is cut off in the database: it would fill the memory of whoever reads it.
    What has a type that we never write is left where it is.

    Args:
        limit: at most so many.
        kinds: only these, None for all.
        last: sources whose entries come after those of all others.
        others: kinds that are left out.
    """
    order = [_inbox.source.in_(last)] if last else []
    found = select(*HANDED).where(*_WAITING).order_by(*order, _inbox.received_at, _inbox.id)
    found = found.limit(limit) if kinds is None else found.where(_inbox.kind.in_(kinds)).limit(limit)
    return found.where(_inbox.kind.not_in(others)) if others else found


@lru_cache(_BUILT)
def kinds(named: tuple[str, ...]) -> CompoundSelect[Any]:
    """Return the statement that finds an entry to move of each of some kinds: id and kind."""
    found = (select(_inbox.id, _inbox.kind).where(_inbox.kind == kind, *_WAITING).limit(1) for kind in named)
    return union_all(*(select(one.subquery()) for one in found))


# What is handed out empty takes no room.
_SIZE = case((func.length(_inbox.body) <= LARGEST, func.length(_inbox.body)), else_=0).label("size")


@lru_cache(_BUILT)
def turns(kind: str, sources: tuple[str, ...], limit: int) -> CompoundSelect[Any]:
    """Return the statement that finds what waits of each source: id, source, bytes, place in that source's line.

    A line is read as far as the limit and no further, however long it is.

    Args:
        kind: of the entries.
        sources: whose.
        limit: at most so many of each.
    """
    order = (_inbox.weight.desc(), _inbox.received_at, _inbox.id)
    lines = []
    for source in sources:
        own = select(_inbox.id, _inbox.source, _SIZE, _inbox.weight, _inbox.received_at)
        line = (
            own.where(_inbox.kind == kind, _inbox.source == source, *_WAITING).order_by(*order).limit(limit).subquery()
        )
        place = func.row_number().over(order_by=(line.c.weight.desc(), line.c.received_at, line.c.id))
        lines.append(select(line.c.id, line.c.source, line.c.size, place.label("place")))
    return union_all(*lines)


def told(stream: str, after: float, until: float) -> Select[Any]:
    """Return the statement that finds what a stream was given in a span of time, without the bytes."""
    found = select(_inbox.id, _inbox.source, _inbox.received_at, _inbox.moved_at, func.length(_inbox.body))
    moment = (_inbox.incident == stream, _inbox.kind == "alert", _inbox.moved_at > after, _inbox.moved_at <= until)
    return found.where(*moment).order_by(_inbox.moved_at, _inbox.id)


def messages(receipts: Collection[str]) -> Select[Any]:
    """Return the statement that finds some messages, the first moved first, for `inbox_item`."""
    return select(*INBOX).where(_inbox.id.in_(receipts)).order_by(_inbox.moved_at, _inbox.id)


@lru_cache(_BUILT)
def strays(kind: str, sources: tuple[str, ...], limit: int) -> Select[Any]:
    """Return the statement that finds the oldest entries of a kind that none of some sources sent."""
    found = select(*HANDED).where(_inbox.kind == kind, _inbox.source.not_in(sources), *_WAITING)
    return found.order_by(_inbox.received_at, _inbox.id).limit(limit)


def inbox_item(row: Any) -> InboxItem:  # noqa: ANN401  # a row
    """Return a row of `INBOX` as a value."""
    name, kind, source, nonce, digest, body, headers, received_at, stamp = row
    return InboxItem(name, kind, source, nonce, digest, body, _headers(headers), received_at, stamp)


def _headers(stored: bytes) -> dict[str, str]:
    """Return a message's headers, none if they are not as we write them: one bad row must not hide all the others."""
    try:
        found = json.loads(stored)
    except (ValueError, TypeError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def holds(grip: str | None, incident: str | None, lease: str | None) -> Select[Any]:
    """Return the statement that finds holds, for `a_hold`."""
    hold = schema.hold.c
    found = select(
        hold.grip, hold.incident, hold.lease, hold.server, hold.before, hold.after, hold.original, hold.taken_at
    ).order_by(hold.taken_at, hold.grip, hold.incident, hold.lease)
    for column, value in ((hold.grip, grip), (hold.incident, incident), (hold.lease, lease)):
        if value is not None:
            found = found.where(column == value)
    return found


def a_hold(row: Any) -> Hold:  # noqa: ANN401  # a row
    """Return a row of `holds` as a value."""
    grip, incident, lease, server, before, after, original, taken_at = row
    return Hold(grip, incident, lease, server, json.loads(before), json.loads(after), json.loads(original), taken_at)


def info(row: Any) -> StreamInfo:  # noqa: ANN401  # a row
    """Return a row of `INFO` as a value."""
    return StreamInfo(**row._asdict())
