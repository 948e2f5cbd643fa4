"""What somebody who may only insert into the inbox, a receiver that was taken over, can keep from being heard.

They write rows as they like, with none of our code in between: nothing of that may keep an alert, or a person's stop,
from being taken in at the next look.
"""

import json
import sqlite3
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from flows.engine import intake as looked
from flows.engine.intake import intake
from integrations.journal import schema
from integrations.journal.client import address
from integrations.journal.queries import LARGEST
from playbooks.people.request import Verb
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, alert, house

INVENTORY = world.READ
GUESS = {"v": 1, "incident": world.ID, "digest": "a" * 12, "actor": "bob", "code": "AAAAA-AAAAA"}


@pytest.fixture
async def home(journal_url: str | None, tmp_path: Path) -> AsyncIterator[House]:
    """An installation with nothing in it."""
    folder = tmp_path / "house"
    async with house(folder, connected(INVENTORY), url=journal_url) as made:
        made.url = journal_url or f"sqlite:///{folder}/journal.db"  # type: ignore[attr-defined]
        yield made


async def written(home: House, rows: Sequence[dict[str, Any]]) -> None:
    """Insert into the inbox exactly those columns that the receiver's role may write."""
    plain = {
        "kind": "alert",
        "source": "siem",
        "digest": "0" * 64,
        "body": b"{}",
        "headers": b"{}",
        "weight": 0,
        "stamp": None,
    }
    filled = [{"id": f"0{uuid.uuid4().hex}", "nonce": uuid.uuid4().hex, **plain, **row} for row in rows]
    assert set(filled[0]) == set(schema.RECEIVER_WRITES)
    engine = create_async_engine(address(home.url))  # type: ignore[attr-defined]
    try:
        async with engine.begin() as connection:
            await connection.execute(insert(schema.inbox), filled)
    finally:
        await engine.dispose()


@pytest.mark.parametrize(
    "row",
    [
        {"headers": b"x"},
        {"headers": b"\xff\xfe"},
        {"headers": b"[" * 100_000},
        {"headers": b'["a"]'},
        {"headers": b'{"a": ' + b"1" * 5000 + b"}"},
        {"body": b"{}" + b" " * LARGEST},
        {"kind": "x" * 40},
        {"source": "\x1b[2J\u202e"},
        {"kind": "", "source": ""},
        {"kind": "request", "body": b"[" * 100_000},
        {"kind": "code", "body": b"[" * 100_000},
    ],
    ids=lambda row: f"{next(iter(row))} {str(next(iter(row.values())))[:12]}",
)
async def test_no_row_keeps_an_alert_or_a_stop_out(home: House, row: dict[str, Any]) -> None:
    await written(home, [row])
    await home.receive(alert("weather", "forecast"))
    await home.ask("ann", Verb.STOP, "everything", reason="a test")
    assert len(await intake(home.parts)) == 1
    assert [stop.scope for stop in await home.journal.stops()] == ["everything"]
    (aside,) = await home.system("set_aside")
    assert len(json.dumps(aside.body)) < 5000, "what is said of it is short"
    assert await home.journal.waiting(9) == []


async def test_the_database_refuses_a_row_whose_names_have_no_bounds(home: House) -> None:
    with pytest.raises(IntegrityError):
        await written(home, [{"kind": "x" * 100_000}])
    assert await home.journal.waiting(9) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "id = x'00'",
        "kind = 7",
        "weight = 'x'",
        "headers = 7",
        "body = 'text'",
        "nonce = x'00'",
        "received_at = 'x'",
        "received_at = 9e999",
    ],
)
async def test_what_sqlite_holds_in_a_column_of_another_type_keeps_nobody_out(tmp_path: Path, wrong: str) -> None:
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        home.url = f"sqlite:///{tmp_path}/house/journal.db"  # type: ignore[attr-defined]
        await written(home, [{}])
        with closing(sqlite3.connect(tmp_path / "house" / "journal.db")) as database, database:
            database.execute(f"UPDATE inbox SET {wrong}")  # noqa: S608  # of our own making
        await home.receive(alert("weather", "forecast"))
        await home.ask("ann", Verb.STOP, "everything", reason="a test")
        assert len(await intake(home.parts)) == 1
        assert [stop.scope for stop in await home.journal.stops()] == ["everything"]


async def test_a_request_that_was_used_is_used_up_whatever_the_rows_say(home: House) -> None:
    await home.ask("ann", Verb.STOP, "everything", reason="a test")
    for name in ("ann", "bob"):
        await home.ask(name, Verb.RESUME, "everything", reason="over")
    await home.ask("ann", Verb.STOP, "everything", reason="another test")
    while await home.journal.waiting(1):
        await intake(home.parts)
    (stop,) = await home.journal.stops()
    engine = create_async_engine(address(home.url))  # type: ignore[attr-defined]
    try:
        async with engine.begin() as connection:
            await connection.execute(delete(schema.used))
            await connection.execute(update(schema.inbox).values(moved_at=None, incident=None))
    finally:
        await engine.dispose()
    while await home.journal.waiting(1):
        await intake(home.parts)
    assert await home.journal.stops() == [stop]


@pytest.mark.parametrize("kind", ["code", "request", "another", "alert"])
async def test_what_floods_the_inbox_keeps_nothing_of_another_kind_waiting(
    home: House, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What counts is which look takes an entry in, not how long it takes: 5000 entries are ten looks, and so are 50.
    monkeypatch.setattr(looked, "MANY", 5)
    body = json.dumps(GUESS).encode() if kind == "code" else b"garbage"
    await written(home, [{"kind": kind, "source": "person", "body": body} for _ in range(50)])
    await home.receive(alert("weather", "forecast"))
    await home.ask("ann", Verb.STOP, "everything", reason="a test")
    opened = await intake(home.parts, looked.MANY)
    assert len(opened) == 1, "not of the same kind either, if another sends it"
    assert bool(await home.journal.stops()) is (kind != "request")


async def test_codes_are_judged_for_so_long_and_no_longer_before_alerts_are_looked_for_again(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(home, [{"kind": "code", "source": "person", "body": b"garbage"} for _ in range(20)])
    monkeypatch.setattr(looked, "JUDGING", 0.0)
    for left in (19, 18):
        await intake(home.parts)
        assert len(await home.journal.waiting(99)) == left, "one at least, and then it is somebody else's turn"


async def test_a_changed_stream_that_is_no_incidents_holds_up_only_what_reads_it(home: House) -> None:
    await home.ask("bob", Verb.STOP, "server:weather", reason="a test")
    await intake(home.parts)
    engine = create_async_engine(address(home.url))  # type: ignore[attr-defined]
    async with engine.begin() as connection:
        await connection.execute(
            update(schema.entry).where(schema.entry.c.stream == "telling/system").values(data=b"{}")
        )
    await engine.dispose()
    await home.ask("ann", Verb.ACK, "system")
    await home.receive(alert("weather", "forecast"))
    assert len(await intake(home.parts)) == 1
    (aside,) = await home.system("set_aside")
    assert "telling/system is not as it was written" in str(aside.body["reason"])
    assert await home.journal.waiting(9) == []
