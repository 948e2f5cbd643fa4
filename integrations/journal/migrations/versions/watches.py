"""Watches: what the watch asks in turn is known of each lease: where it is, how grave, and what asking took.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Add what the turns go by, and when a lease was last seen unchanged."""
    op.add_column("watch", sa.Column("system", _TEXT, nullable=False, server_default=""))
    op.add_column("watch", sa.Column("severity", sa.Integer, nullable=False, server_default="0"))
    op.add_column("watch", sa.Column("took", sa.Float))
    op.add_column("watch", sa.Column("seen_at", sa.Float))
