"""What whoever can write the journal's SQLite file, and has no key, can make it say; stolen processes run it too."""

import json
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from playbooks.record.journal import Event, entry
from playbooks.strict import iso, now


@contextmanager
def opened(database: str) -> Iterator[sqlite3.Connection]:
    """Open the file behind the journal's back, alone for as long as the block runs."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")


def add(connection: sqlite3.Connection, stream: str, kind: str, body: Mapping[str, Any], actor: str) -> bytes:
    """Append to a stream as the journal would, have it looked at at once, and return the entry's hash."""
    found = connection.execute("SELECT seq, hash FROM stream WHERE name = ?", (stream,)).fetchone()
    made = entry(stream, found[0] + 1, found[1], iso(now()), Event(kind, body, actor))
    connection.execute(
        "INSERT INTO entry (stream, seq, kind, data, hash, head) VALUES (?, ?, ?, ?, ?, (SELECT n FROM chain))",
        (stream, made.seq, kind, made.data, made.hash),
    )
    connection.execute(
        "UPDATE stream SET seq = ?, hash = ?, runnable_at = 0 WHERE name = ?", (made.seq, made.hash, stream)
    )
    return made.hash


def lift(connection: sqlite3.Connection) -> None:
    """End every kill switch, as far as rows can."""
    connection.execute("DELETE FROM stop")
    if connection.execute("SELECT 1 FROM stream WHERE name = 'switches'").fetchone():
        add(connection, "switches", "switched", {"on": []}, "mcp-soar")


if __name__ == "__main__":
    # DATABASE [[stream, kind, body, actor], …]
    with opened(sys.argv[1]) as journal:
        for forged in json.loads(sys.argv[2]):
            add(journal, *forged)
        lift(journal)
