"""A journal that was copied is one that was migrated."""

import sqlite3
from pathlib import Path

from integrations.journal.store import Journal
from tests.lab.journals import laid


def content(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return [str(mode), *connection.iterdump()]
    finally:
        connection.close()


async def test_a_copied_journal_holds_what_a_migration_makes_and_is_left_as_it_is(tmp_path: Path) -> None:
    copied, migrated = tmp_path / "copied.db", tmp_path / "migrated.db"
    laid(copied)
    async with await Journal.open(f"sqlite:///{migrated}", signer=None, name="test") as journal:
        await journal.migrate()
    assert content(copied) == content(migrated)
    assert copied.stat().st_mode == migrated.stat().st_mode
    async with await Journal.open(f"sqlite:///{copied}", signer=None, name="test") as journal:
        await journal.migrate()
    assert content(copied) == content(migrated)
    copied.write_bytes(b"somebody's")
    laid(copied)
    assert copied.read_bytes() == b"somebody's"
