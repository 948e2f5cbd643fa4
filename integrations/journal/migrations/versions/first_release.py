"""The first release's tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_NOT_MOVED = sa.text("moved_at IS NULL")
_OPEN = sa.text("closed_at IS NULL")
_CLOSED = sa.text("closed_at IS NOT NULL")
_CLOCK = {
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
    "postgresql": "(extract(epoch from clock_timestamp())::double precision)",
}


def _streams() -> None:
    op.create_table(
        "entry",
        sa.Column("stream", _TEXT, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("head", sa.Integer, nullable=False),
    )
    op.create_table(
        "stream",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("lane", _TEXT, nullable=False),
        sa.Column("runnable_at", sa.Float),
        sa.Column("owner", _TEXT),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("claimed_until", sa.Float),
        sa.Column("correlation", _TEXT),
        sa.Column("frozen", _TEXT),
        sa.Column("opened_at", sa.Float, nullable=False),
        sa.Column("closed_at", sa.Float),
        sa.Column("summary", sa.LargeBinary),
    )
    op.create_index(
        "stream_correlation", "stream", ["correlation"], unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_index("stream_closed", "stream", ["correlation"], sqlite_where=_CLOSED, postgresql_where=_CLOSED)
    op.create_index("stream_runnable", "stream", ["lane", "runnable_at"])
    op.create_index("stream_claimed", "stream", ["claimed_until"])
    op.create_table(
        "head",
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    chain = op.create_table(
        "chain",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.bulk_insert(chain, [{"id": 1, "n": 0, "hash": bytes(32)}])


def _inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("source", _TEXT, nullable=False),
        sa.Column("nonce", _TEXT, nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("headers", sa.LargeBinary, nullable=False),
        sa.Column(
            "received_at", sa.Float, nullable=False, server_default=sa.text(_CLOCK[op.get_context().dialect.name])
        ),
        sa.Column("moved_at", sa.Float),
        sa.Column("incident", _TEXT),
        sa.UniqueConstraint("source", "nonce", name="inbox_nonce"),
    )
    op.create_index(
        "inbox_waiting", "inbox", ["received_at", "id"], sqlite_where=_NOT_MOVED, postgresql_where=_NOT_MOVED
    )


def _grips() -> None:
    op.create_table(
        "hold",
        sa.Column("grip", _TEXT, primary_key=True),
        sa.Column("incident", _TEXT, primary_key=True),
        sa.Column("lease", _TEXT, primary_key=True),
        sa.Column("server", _TEXT, nullable=False),
        sa.Column("before", sa.LargeBinary, nullable=False),
        sa.Column("after", sa.LargeBinary, nullable=False),
        sa.Column("original", sa.LargeBinary, nullable=False),
        sa.Column("taken_at", sa.Float, nullable=False),
    )
    op.create_index("hold_incident", "hold", ["incident"])
    op.create_table(
        "reservation",
        sa.Column("incident", _TEXT, primary_key=True),
        sa.Column("step", _TEXT, primary_key=True),
        sa.Column("target", _TEXT, primary_key=True),
        sa.Column("server", _TEXT, nullable=False),
        sa.Column("radius", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "used",
        sa.Column("kind", _TEXT, primary_key=True),
        sa.Column("nonce", _TEXT, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "stop",
        sa.Column("scope", _TEXT, primary_key=True),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("by", _TEXT, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
    )


def _responders() -> None:
    op.create_table(
        "watch",
        sa.Column("lease", _TEXT, primary_key=True),
        sa.Column("incident", _TEXT, nullable=False),
        sa.Column("checked_at", sa.Float, nullable=False),
        sa.Column("verdict", _TEXT, nullable=False),
    )
    op.create_table(
        "responder",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("address", _TEXT, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_table(
        "number",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("value", sa.Integer, nullable=False),
    )


def upgrade() -> None:
    """Create everything."""
    _streams()
    _inbox()
    _grips()
    _responders()
