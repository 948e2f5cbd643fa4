"""Turns: what waits in the inbox is looked up by kind and sender, the gravest first, and what an incident has by it.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_NOT_MOVED = sa.text("moved_at IS NULL")


def upgrade() -> None:
    """Add a message's weight, and the two indexes."""
    op.add_column("inbox", sa.Column("weight", sa.Integer, nullable=False, server_default="0"))
    op.create_index(
        "inbox_turn",
        "inbox",
        ["kind", "source", sa.text("weight DESC"), "received_at", "id"],
        sqlite_where=_NOT_MOVED,
        postgresql_where=_NOT_MOVED,
    )
    op.create_index("inbox_incident", "inbox", ["incident", "moved_at", "id"])
