"""Suppressions: which alerts are kept from opening incidents for a while.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "suppression",
        sa.Column("scope", _TEXT, primary_key=True),
        sa.Column("source", _TEXT),
        sa.Column("rule", _TEXT),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("by", _TEXT, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("entry", sa.Integer, nullable=False),
        sa.Column("hidden", sa.Integer, nullable=False),
    )
