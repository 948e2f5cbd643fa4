"""Journals of every release there was: the present code reads, verifies and continues them."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from integrations.journal import Journal
from integrations.journal.records import Suppression
from integrations.signing import PublicKey, SigningKey
from playbooks.record.journal import SYSTEM, Event, Head

FOLDER = Path(__file__).parents[2] / "fixtures" / "journal"
RELEASES = sorted(path.stem for path in FOLDER.glob("*.sql"))


def restore(release: str, path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript((FOLDER / f"{release}.sql").read_text())
    database.close()


@pytest.mark.parametrize("release", RELEASES)
async def test_a_journal_of_an_earlier_release(release: str, key: SigningKey, tmp_path: Path) -> None:
    await asyncio.to_thread(restore, release, tmp_path / "journal.db")
    public = await asyncio.to_thread(PublicKey.load, FOLDER / f"{release}.pub")
    n, digest = (await asyncio.to_thread((FOLDER / f"{release}.head").read_text)).split()
    witness = Head(int(n), b"", bytes.fromhex(digest), b"")
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    async with await Journal.open(url, signer=key, name="r1", keys=[public]) as journal:
        await journal.migrate()
        assert await journal.verify(public_keys=[public], witnesses=[witness]) == []

        (row,) = await journal.streams("incident/")
        parsed = [entry.parsed() for entry in await journal.read(row.name)]
        assert [item.kind for item in parsed] == ["opened", "intended", "verified", "closed"]
        assert parsed[0].body["title"] == "Ein Tür-Werkzeug 도구"
        assert parsed[1].body == {"n": 1.5, "list": [1, None, "a"]}
        assert parsed[3].actor == "ann"
        assert row.seq == 4
        assert row.closed_at is not None
        (hold,) = await journal.holds()
        assert (hold.grip, hold.incident, hold.original, hold.after) == ("gw/t1", row.name, {"on": True}, {"on": False})
        assert [(r.step, r.target) for r in await journal.reserved()] == [("cut", "t1")]
        assert [stop.scope for stop in await journal.stops()] == ["server:s2"]
        assert [watch.verdict for watch in await journal.watched()] == ["established"]
        (item,) = await journal.waiting(9)
        assert (item.kind, item.body) == ("request", b"\x00\xff")

        # What came later is there, and empty.
        assert await journal.suppressions() == []
        quiet = Suppression("source:siem", "siem", None, 9.0, "drill", "ann", 1.0, 1, 1, 0)
        await journal.submit(lambda tx: tx.suppress(quiet))
        await journal.submit(lambda tx: tx.hide("source:siem"))
        assert await journal.suppressions() == [quiet._replace(hidden=1)]

        await journal.append(SYSTEM, [Event("upgraded", {})])
        assert await journal.verify(public_keys=[public, key.public], witnesses=[witness]) == []


def test_there_is_a_journal_of_a_release() -> None:
    assert RELEASES
