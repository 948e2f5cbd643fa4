"""Whatever is done to the rows of a journal without a key is found by `verify`, also under what came afterwards."""

import asyncio
import contextlib
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.journal import Journal
from integrations.journal.proof import Proof
from integrations.signing import SigningKey
from playbooks.errors import SoarError
from playbooks.record.journal import Event, Fault, entry
from tests.lab.examples import examples

STREAMS = ("system", "incident/inc-2026-000001", "campaign/x")
SIGNED = {"entry": ("data", "hash"), "head": ("data", "hash", "signature")}

Tampering = Callable[[sqlite3.Connection, random.Random], None]


class Written(NamedTuple):
    """A journal that responders wrote, and their key."""

    file: Path
    key: SigningKey


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Give a journal whose commits touch one stream or several, with one entry or several each."""
    folder = tmp_path_factory.mktemp("written")
    key = SigningKey.generate(folder / "key")

    async def write() -> None:
        async with await Journal.open(f"sqlite:///{folder}/journal.db", signer=key, name="r1") as journal:
            await journal.migrate()
            for commit in range(6):
                for name in STREAMS[: 1 + commit % 3]:
                    await journal.append(name, [Event("seen", {"n": n}) for n in range(1 + commit % 2)])
            both = [journal.append(name, [Event("seen", {})]) for name in STREAMS]
            await asyncio.gather(*both)

    asyncio.run(write())
    return Written(folder / "journal.db", key)


def rows(database: sqlite3.Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    return database.execute(statement, values).fetchall()


def flip(database: sqlite3.Connection, chance: random.Random) -> None:
    """Flip one bit of what a signature covers, or of the signature."""
    table = chance.choice(list(SIGNED))
    column = chance.choice(SIGNED[table])
    row, value = chance.choice(rows(database, f"SELECT rowid, {column} FROM {table}"))  # noqa: S608  # of this file
    changed, place = bytearray(value), chance.randrange(len(value) * 8)
    changed[place // 8] ^= 1 << place % 8
    database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (bytes(changed), row))  # noqa: S608


def drop(database: sqlite3.Connection, chance: random.Random) -> None:
    """Delete an entry or a head."""
    table = chance.choice(list(SIGNED))
    (row,) = chance.choice(rows(database, f"SELECT rowid FROM {table}"))  # noqa: S608  # of this file
    database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))  # noqa: S608


def swap(database: sqlite3.Connection, chance: random.Random) -> None:
    """Have two entries of a stream, or two heads, change places."""
    if chance.random() < 0.5:
        place, (one, two) = "head SET n", chance.sample(rows(database, "SELECT rowid, n FROM head"), 2)
    else:
        stream = chance.choice(STREAMS)
        found = rows(database, "SELECT rowid, seq FROM entry WHERE stream = ?", stream)
        place, (one, two) = "entry SET seq", chance.sample(found, 2)
    for row, number in ((one[0], -1), (two[0], one[1]), (one[0], two[1])):
        database.execute(f"UPDATE {place} = ? WHERE rowid = ?", (number, row))  # of this file


def tip(database: sqlite3.Connection, stream: str) -> None:
    """Have a stream's row name its last entry."""
    last = "(SELECT {} FROM entry WHERE stream = name ORDER BY seq DESC LIMIT 1)"
    columns = f"seq = coalesce({last.format('seq')}, 0), hash = coalesce({last.format('hash')}, zeroblob(32))"
    database.execute(f"UPDATE stream SET {columns} WHERE name = ?", (stream,))  # noqa: S608  # of this file


def cut(database: sqlite3.Connection, chance: random.Random) -> None:
    """Cut a stream's tail off, with its tip."""
    stream = chance.choice(STREAMS)
    seqs = rows(database, "SELECT seq FROM entry WHERE stream = ?", stream)
    database.execute("DELETE FROM entry WHERE stream = ? AND seq >= ?", (stream, *chance.choice(seqs)))
    tip(database, stream)


def add(database: sqlite3.Connection, chance: random.Random) -> None:
    """Add entries to a stream, with its tip, under the number of any head."""
    stream = chance.choice(STREAMS)
    (heads,) = rows(database, "SELECT max(n) FROM head")[0]
    for _ in range(chance.randint(1, 3)):
        seq, last = rows(database, "SELECT seq, hash FROM stream WHERE name = ?", stream)[0]
        made = entry(stream, seq + 1, last, "2026-01-01T00:00:00.000Z", Event("forged", {}))
        row = (stream, made.seq, "forged", made.data, made.hash, chance.randint(1, heads + 1))
        database.execute("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", row)
        tip(database, stream)


def rewrite(database: sqlite3.Connection, chance: random.Random) -> None:
    """Write a stream anew from any place, as it could have been."""
    stream = chance.choice(STREAMS)
    seqs = rows(database, "SELECT seq FROM entry WHERE stream = ? ORDER BY seq", stream)
    first = chance.choice(seqs)[0]
    before = rows(database, "SELECT hash FROM entry WHERE stream = ? AND seq = ?", stream, first - 1)
    last = before[0][0] if before else bytes(32)
    for (seq,) in seqs[first - 1 :]:
        made = entry(stream, seq, last, "2026-01-01T00:00:00.000Z", Event("forged", {}))
        database.execute("UPDATE entry SET data = ?, hash = ? WHERE stream = ? AND seq = ?", (*made[2:], stream, seq))
        last = made.hash
    tip(database, stream)


async def goes_on(journal: Journal, streams: list[str]) -> None:
    for stream in streams:
        # Some of it cannot be gone on from at all.
        with contextlib.suppress(SoarError):
            await journal.append(stream, [Event("genuine", {}), Event("genuine", {})])


async def verified(
    written: Written,
    later: list[str],
    *,
    believing: bool,
    tampering: Callable[[sqlite3.Connection], None] | None = None,
) -> list[Fault]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "journal.db"
        shutil.copy(written.file, file)
        if tampering is not None:
            with closing(sqlite3.connect(file)) as database, database:
                tampering(database)
        key = written.key
        async with await Journal.open(f"sqlite:///{file}", signer=key, name="r1") as journal:
            if believing:
                journal._proof = Believing([key.public])  # noqa: SLF001  # responders of the first release were like that
            await goes_on(journal, later)
            return await journal.verify(public_keys=[key.public])


class Believing(Proof):
    """Takes whatever is there for signed."""

    async def unproven(self, *_: object) -> set[str]:
        return set()


later = st.lists(st.sampled_from(STREAMS), max_size=3)


@settings(max_examples=examples(80))
@given(
    tampering=st.sampled_from([flip, drop, swap, cut, add, rewrite]),
    chance=st.randoms(),
    later=later,
    believing=st.booleans(),
)
def test_whatever_is_done_to_the_rows_stays_found(
    written: Written, tampering: Tampering, chance: random.Random, later: list[str], *, believing: bool
) -> None:
    assert asyncio.run(
        verified(written, later, believing=believing, tampering=lambda database: tampering(database, chance))
    )


@settings(max_examples=10)
@given(later=later, believing=st.booleans())
def test_what_nobody_touched_has_no_fault(written: Written, later: list[str], *, believing: bool) -> None:
    assert asyncio.run(verified(written, later, believing=believing)) == []
