"""The journal's tables, as the present release reads and writes them. What changes them stands in `migrations/`.

An index that is partial on SQLite is so on PostgreSQL too, by its migration: to say it here would load that dialect.
JSON is stored as canonical bytes. Times are seconds since 1970 by the database's clock, never a process's.
"""

from typing import Any, Literal

from sqlalchemy import (
    Boolean,
    Column,
    Compiled,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

RELEASE = "0005"
"""The newest of the migrations: what a database has that needs none."""

# Names are compared as bytes: a locale's order is slower, and may change with the system's libraries.
Text = String().with_variant(String(collation="C"), "postgresql")

SQLITE_CLOCK = "((julianday('now') - 2440587.5) * 86400.0)"
POSTGRES_CLOCK = "extract(epoch from clock_timestamp())::double precision"


def insertion(dialect: str) -> Any:  # noqa: ANN401  # the two share no class that knows `on_conflict`
    """Return how a database's insert is made that can say what to do about what is there.

    Args:
        dialect: `postgresql` or `sqlite`; the other's is not loaded, which takes a while.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415  # see above

        return insert
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert  # noqa: PLC0415  # likewise

    return sqlite_insert


class clock(FunctionElement[float]):  # noqa: N801  # an SQL function, used as one
    """The database's time, in seconds since 1970."""

    type = Float()
    inherit_cache = True
    name = "clock"


@compiles(clock, "sqlite")
def _sqlite_clock(_element: clock, _compiler: Compiled, **_kw: Any) -> str:  # noqa: ANN401  # upstream's signature
    return SQLITE_CLOCK


@compiles(clock, "postgresql")
def _postgres_clock(_element: clock, _compiler: Compiled, **_kw: Any) -> str:  # noqa: ANN401  # upstream's signature
    return f"({POSTGRES_CLOCK})"


class holds(FunctionElement[bool]):  # noqa: N801  # an SQL function, used as one
    """Whether bytes hold other bytes: `holds(column, value)`."""

    type = Boolean()
    inherit_cache = True
    name = "holds"


@compiles(holds, "sqlite")
def _sqlite_holds(element: holds, compiler: Compiled, **kw: Any) -> str:  # noqa: ANN401  # upstream's signature
    column, value = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(instr({column}, {value}) > 0)"


@compiles(holds, "postgresql")
def _postgres_holds(element: holds, compiler: Compiled, **kw: Any) -> str:  # noqa: ANN401  # upstream's signature
    column, value = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"(position({value} in {column}) > 0)"


class well_typed(FunctionElement[bool]):  # noqa: N801  # an SQL function, used as one
    """Whether text columns hold text, and one of bytes holds bytes: SQLite takes anything in any of them.

    `well_typed(text, …, bytes)`: the last two are bytes, all others text.
    """

    type = Boolean()
    inherit_cache = True
    name = "well_typed"


@compiles(well_typed, "sqlite")
def _sqlite_typed(element: well_typed, compiler: Compiled, **kw: Any) -> str:  # noqa: ANN401  # upstream's signature
    columns = [compiler.process(clause, **kw) for clause in element.clauses]
    kinds = ["text"] * (len(columns) - 2) + ["blob"] * 2
    return "(" + " AND ".join(f"typeof({name}) = '{kind}'" for name, kind in zip(columns, kinds, strict=True)) + ")"


@compiles(well_typed, "postgresql")
def _postgres_typed(_element: well_typed, _compiler: Compiled, **_kw: Any) -> str:  # noqa: ANN401  # as above
    return "true"


metadata = MetaData()

entry = Table(
    "entry",
    metadata,
    Column("stream", Text, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    # The head whose commit wrote it: where to look, proof of nothing.
    Column("head", Integer, nullable=False),
)

stream = Table(
    "stream",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seq", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("lane", Text, nullable=False),
    # Unclaimed: when it may be claimed. Claimed: when somebody asked meanwhile that it run again.
    Column("runnable_at", Float),
    Column("owner", Text),
    Column("fence", Integer, nullable=False),
    Column("claimed_until", Float),
    Column("correlation", Text),
    Column("frozen", Text),
    Column("opened_at", Float, nullable=False),
    Column("closed_at", Float),
    # Of earlier releases' journals: nothing writes it, or reads it.
    Column("summary", LargeBinary),
)
Index(
    "stream_correlation",
    stream.c.correlation,
    unique=True,
    sqlite_where=stream.c.closed_at.is_(None),
)
Index(
    "stream_closed",
    stream.c.correlation,
    sqlite_where=stream.c.closed_at.is_not(None),
)
Index("stream_runnable", stream.c.lane, stream.c.runnable_at)
Index("stream_claimed", stream.c.claimed_until)

head = Table(
    "head",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)

# Who asked that something stopped goes on, however long the stream of them is.
RESUME_ASKED = entry.c.kind == literal_column("'resume_asked'")
Index("entry_resume", entry.c.stream, entry.c.seq, sqlite_where=RESUME_ASKED)

# One row: the tip of the heads. Whoever holds its lock writes, and nobody else.
chain = Table(
    "chain",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

inbox = Table(
    "inbox",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("headers", LargeBinary, nullable=False),
    # By default, because the exposed receiver may not write this column.
    Column("received_at", Float, nullable=False, server_default=clock()),
    Column("moved_at", Float),
    Column("incident", Text),
    # A receiver's proof that it put the row there: see `stamp`.
    Column("stamp", LargeBinary),
    # How grave the receiver finds what it says: an order among one sender's messages, and nothing else.
    Column("weight", Integer, nullable=False, server_default="0"),
    UniqueConstraint("source", "nonce", name="inbox_nonce"),
)
Index(
    "inbox_waiting",
    inbox.c.received_at,
    inbox.c.id,
    sqlite_where=inbox.c.moved_at.is_(None),
)
Index(
    "inbox_turn",
    inbox.c.kind,
    inbox.c.source,
    inbox.c.weight.desc(),
    inbox.c.received_at,
    inbox.c.id,
    sqlite_where=inbox.c.moved_at.is_(None),
)
Index("inbox_incident", inbox.c.incident, inbox.c.moved_at, inbox.c.id)

hold = Table(
    "hold",
    metadata,
    Column("grip", Text, primary_key=True),
    Column("incident", Text, primary_key=True),
    Column("lease", Text, primary_key=True),
    Column("server", Text, nullable=False),
    Column("before", LargeBinary, nullable=False),
    Column("after", LargeBinary, nullable=False),
    Column("original", LargeBinary, nullable=False),
    Column("taken_at", Float, nullable=False),
)
Index("hold_incident", hold.c.incident)

reservation = Table(
    "reservation",
    metadata,
    Column("incident", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("server", Text, nullable=False),
    Column("radius", Integer, nullable=False),
    Column("at", Float, nullable=False),
)

used = Table(
    "used",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("nonce", Text, primary_key=True),
    Column("at", Float, nullable=False),
)

# Kill switches as the first release kept them: read until the stream `switches` begins, and written no more.
stop = Table(
    "stop",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("seq", Integer, nullable=False),
)

# Until when alerts are kept from opening incidents. A row whose time is over counts for nothing and stays.
suppression = Table(
    "suppression",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("source", Text),
    Column("rule", Text),
    Column("until", Float, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", Float, nullable=False),
    Column("seq", Integer, nullable=False),
    # The system stream's entry that says who signed for it.
    Column("entry", Integer, nullable=False),
    # How many alerts it has set aside.
    Column("hidden", Integer, nullable=False),
)

watch = Table(
    "watch",
    metadata,
    Column("lease", Text, primary_key=True),
    Column("incident", Text, nullable=False),
    Column("checked_at", Float, nullable=False),
    Column("verdict", Text, nullable=False),
    # Where it is in force, and how grave what it contains is: by both the watch gives turns.
    Column("system", Text, nullable=False, server_default=""),
    Column("severity", Integer, nullable=False, server_default="0"),
    # Seconds that asking took.
    Column("took", Float),
    # When a look at what is cheap to see last found it as it was.
    Column("seen_at", Float),
)

responder = Table(
    "responder",
    metadata,
    Column("name", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("seen_at", Float, nullable=False),
)

number = Table(
    "number",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
)

LONGEST = {"id": 64, "kind": 40, "source": 200, "nonce": 200, "digest": 100}
"""Characters that a row of the inbox may have in each column; the database holds to it as well."""

RECEIVER_WRITES = ("id", "kind", "source", "nonce", "digest", "body", "headers", "weight", "stamp")
RECEIVER_READS = ("id", "source", "nonce", "digest", "incident", "kind")

WORKERS = "prefect"
"""The one source that a worker may put under: what is forged there takes no other's place."""

_ROWS = {"receiver": "kind = 'alert'", "worker": f"kind IN ('request', 'code') AND source = '{WORKERS}'"}


READER_READS = (entry, stream, head, chain, stop, suppression)
"""What whoever verifies and reports reads: not the inbox, where one-time codes pass through."""


def quoted_role(role: str) -> str:
    """Return a role's name as it stands in SQL."""
    return '"' + role.replace('"', '""') + '"'


def grants(role: str, part: Literal["receiver", "worker", "reader"]) -> list[str]:
    """Return the SQL that lets a PostgreSQL role do its part, and nothing else.

    Args:
        role: an existing role that owns nothing and is no superuser.
        part: a receiver puts alerts into the inbox; a worker requests and codes, and those under its own source; a
            reader reads what is written, and puts nothing.
    """
    quoted = quoted_role(role)
    if part == "reader":
        return [
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}",
            f"GRANT USAGE ON SCHEMA public TO {quoted}",
            *(f"GRANT SELECT ON {table.name} TO {quoted}" for table in READER_READS),
        ]
    return [
        # Before version 15 everybody may create tables, and with them shadow ours.
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {quoted}",
        f"GRANT USAGE ON SCHEMA public TO {quoted}",
        f"GRANT INSERT ({', '.join(RECEIVER_WRITES)}) ON inbox TO {quoted}",
        f"GRANT SELECT ({', '.join(RECEIVER_READS)}) ON inbox TO {quoted}",
        # Whoever had the part before has no policy any more, and with it no row.
        f"DROP POLICY IF EXISTS soar_{part}_puts ON inbox",
        f"DROP POLICY IF EXISTS soar_{part}_sees ON inbox",
        f"CREATE POLICY soar_{part}_puts ON inbox FOR INSERT TO {quoted} WITH CHECK ({_ROWS[part]})",
        f"CREATE POLICY soar_{part}_sees ON inbox FOR SELECT TO {quoted} USING ({_ROWS[part]})",
    ]
