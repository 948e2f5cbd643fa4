"""Stamps: what a receiver put into the inbox is told from what others did; and what may stand there has bounds.

Revision ID: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_BOUNDS = (
    "length({0}id) <= 64 AND length({0}kind) <= 40 AND length({0}source) <= 200 AND length({0}nonce) <= 200"
    " AND length({0}digest) <= 100 AND (length({0}stamp) <= 64 OR {0}stamp IS NULL)"
)
_RESUME_ASKED = sa.text("kind = 'resume_asked'")


def upgrade() -> None:
    """Add the stamp, the bounds, rights by row, and what finds who asked to resume."""
    op.add_column("inbox", sa.Column("stamp", sa.LargeBinary))
    op.create_index(
        "entry_resume",
        "entry",
        ["stream", "seq"],
        sqlite_where=_RESUME_ASKED,
        postgresql_where=_RESUME_ASKED,
    )
    if op.get_bind().dialect.name == "postgresql":
        # Those that are there already are cut off when they are read.
        op.execute(f"ALTER TABLE inbox ADD CONSTRAINT inbox_bounds CHECK ({_BOUNDS.format('')}) NOT VALID")
        # Its owner, who is the responder, may do all; whoever was given the right to insert needs a policy as well.
        op.execute("ALTER TABLE inbox ENABLE ROW LEVEL SECURITY")
    else:
        # SQLite adds no constraint to a table without copying it whole.
        op.execute(
            f"CREATE TRIGGER inbox_bounds BEFORE INSERT ON inbox WHEN NOT ({_BOUNDS.format('NEW.')})"
            " BEGIN SELECT RAISE(ABORT, 'inbox_bounds: what is put in is too long'); END"
        )
