"""The journal's tables as lines of JSON, all of one moment, and from there into an empty journal of either kind.

A row is one object, column by column; bytes are base64. Tables come in the order of `TABLES`, rows in that of their
keys. What only the processes of one moment mean anything to is left out: who listens, and the latest checks of leases.
"""

import base64
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

from sqlalchemy import (
    Column,
    Float,
    Integer,
    LargeBinary,
    Table,
    bindparam,
    case,
    delete,
    func,
    literal,
    null,
    select,
    tuple_,
)
from sqlalchemy import insert as insert_into
from sqlalchemy import update as change
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.journal import schema
from integrations.journal.queries import LARGEST as LARGEST_MESSAGE
from integrations.journal.schema import clock
from playbooks.errors import Refused

_MOMENTARY = {schema.responder.name, schema.watch.name}
TABLES: dict[str, Table] = {
    table.name: table for table in schema.metadata.sorted_tables if table.name not in _MOMENTARY
}
"""Those that are dumped, by name."""

LARGEST = 64 << 20
"""Bytes of a part that is taken in; those written are a fraction of it, unless a single row is larger."""

_ROWS = 500
_PART = 4 << 20  # bytes
_BIGGEST = 2**63


class Rows(NamedTuple):
    """Some rows of one table.

    Args:
        table: its name.
        rows: how many.
        data: one line of JSON each.
    """

    table: str
    rows: int
    data: bytes


async def parts(connection: AsyncConnection, arrived: AsyncIterator[Any]) -> AsyncIterator[Rows]:
    """Yield all rows of all tables.

    Args:
        connection: in a transaction that sees one moment.
        arrived: the rows that the inbox's own file has beyond the table.

    Raises:
        Refused: if a column holds what the journal never writes there.
    """
    for table in TABLES.values():
        keys = list(table.primary_key.columns)
        after = tuple_(*keys) > tuple_(*(bindparam(key.name) for key in keys))
        place: dict[str, Any] = {}
        lines: list[bytes] = []
        while True:
            some = select(table).order_by(*keys).limit(_ROWS)
            rows = (await connection.execute(some.where(after) if place else some, place)).all()
            lines += [_line(table, row) for row in rows]
            if rows:
                place = {key.name: getattr(rows[-1], key.name) for key in keys}
            if lines and (len(rows) < _ROWS or sum(map(len, lines)) > _PART):
                yield Rows(table.name, len(lines), b"".join(lines))
                lines = []
            if len(rows) < _ROWS:
                break
    lines = []
    async for row in arrived:
        lines.append(_line(schema.inbox, row))
        if len(lines) >= _ROWS or sum(map(len, lines)) > _PART:
            yield Rows(schema.inbox.name, len(lines), b"".join(lines))
            lines = []
    if lines:
        yield Rows(schema.inbox.name, len(lines), b"".join(lines))


async def size(connection: AsyncConnection) -> int:
    """Return how many rows there are to dump."""
    counts = [await connection.execute(select(func.count()).select_from(table)) for table in TABLES.values()]
    return sum(int(count.scalar_one()) for count in counts)


async def release(connection: AsyncConnection) -> str:
    """Return the release of the tables that a database has."""
    found = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
    return str(found.scalar_one())


async def fill(connection: AsyncConnection, made_by: str, rows: AsyncIterator[Rows]) -> int:
    """Take a copy into an empty journal and return how many rows it had; claims in it count no more.

    Args:
        connection: in a transaction.
        made_by: the release of the tables that were copied.
        rows: from `parts`, in their order.

    Raises:
        Refused: if there is something in the journal, or the copy is not one of this release's tables.
    """
    if (ours := await release(connection)) != made_by:
        message = f"it is of tables {made_by[:50]!a}, and this release has {ours}: restore it with the release that"
        raise Refused(f"{message} made it, then start this one on it")
    if not await _empty(connection):
        raise Refused("the journal to restore into is not empty: name an empty database")
    # The row that the tables begin with.
    await connection.execute(delete(schema.chain))
    count = sum([await _take(connection, part) async for part in rows])
    await _void(connection)
    return count


async def _empty(connection: AsyncConnection) -> bool:
    for table in (*TABLES.values(), schema.responder, schema.watch):
        count = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
        if count and table is not schema.chain:
            return False
    return True


async def _take(connection: AsyncConnection, part: Rows) -> int:
    table = TABLES.get(part.table)
    if table is None:
        raise Refused(f"this release's journal has no table {part.table[:50]!a}")
    rows = [_row(table, line) for line in part.data.splitlines()]
    if rows:
        await connection.execute(insert_into(table), rows)
    return len(rows)


async def _void(connection: AsyncConnection) -> None:
    """End all claims, so that nobody who held one before goes on under it; what is in force is verified first."""
    row = schema.stream.c
    holding = select(literal("incident/") + schema.hold.c.incident)
    due = (row.owner.is_not(None) | row.name.in_(holding)) & row.closed_at.is_(None)
    await connection.execute(
        change(schema.stream).values(
            runnable_at=case((due, clock()), else_=row.runnable_at),
            owner=null(),
            claimed_until=null(),
            fence=row.fence + 1,
        )
    )


def _line(table: Table, row: Any) -> bytes:  # noqa: ANN401  # a row
    values = {}
    emptied = table is schema.inbox and _not_for_keeping(row)
    for column, value in zip(table.columns, row, strict=True):
        if not _fits(column, value):
            raise Refused(f"a row of {table.name} holds in {column.name} what is never written there: see verify")
        kept = b"" if emptied and column.name == "body" else value
        values[column.name] = base64.b64encode(kept).decode() if isinstance(kept, bytes) else kept
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _not_for_keeping(row: Any) -> bool:  # noqa: ANN401  # a row of the inbox
    """Whether a message's bytes are left out of a copy; it says that it came, and by its digest what it was.

    A one-time code that nobody has judged yet is still good. What is larger than anything that is ever read only makes
    a copy that cannot be taken in again.
    """
    return row.kind == "code" or len(row.body) > LARGEST_MESSAGE


def _row(table: Table, line: bytes) -> dict[str, Any]:
    broken = Refused(f"the backup holds a row that is none of the table {table.name}")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise broken from exc
    if not isinstance(values, dict) or values.keys() != {column.name for column in table.columns}:
        raise broken
    row = {column.name: _value(column, values[column.name]) for column in table.columns}
    if not all(_fits(column, row[column.name]) for column in table.columns):
        raise broken
    return row


def _value(column: "Column[Any]", value: object) -> object:
    if isinstance(column.type, LargeBinary) and isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return None if not column.nullable else value
    if isinstance(column.type, Float) and type(value) is int:
        return float(value) if abs(value) < _BIGGEST else None
    return value


_KINDS: tuple[tuple[type, Callable[[object], bool]], ...] = (
    (LargeBinary, lambda value: isinstance(value, bytes)),
    (Float, lambda value: isinstance(value, float) and math.isfinite(value)),
    (Integer, lambda value: type(value) is int and abs(value) < _BIGGEST),
)


def _fits(column: "Column[Any]", value: object) -> bool:
    """Return whether a column may hold a value. SQLite holds anything in any of them."""
    if value is None:
        return bool(column.nullable)
    for kind, fits in _KINDS:
        if isinstance(column.type, kind):
            return fits(value)
    # PostgreSQL's text holds no zero.
    return isinstance(value, str) and "\x00" not in value
