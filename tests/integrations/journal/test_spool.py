"""A SQLite journal's inbox has a file of its own: nothing there waits for who writes, or is lost or doubled."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from integrations.journal import Journal, Receipt, queries, spool
from integrations.journal.poke import Poker
from integrations.journal.spool import Spool
from integrations.signing import SigningKey
from playbooks.errors import Refused
from playbooks.record.journal import BY_BODY
from tests.integrations.journal.test_turn import hung

SOON = 30.0
"""Seconds, far less than nobody would notice, and far more than a busy machine takes."""

Open = Callable[..., Awaitable[Journal]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a journal."""
    return tmp_path / "journal.db"


@pytest.fixture
async def process(tmp_path: Path, path: Path) -> AsyncIterator[Open]:
    """Give a function that opens the journal as another process would: a responder, or one that only puts and reads."""
    key = SigningKey.generate(tmp_path / "responder.key")
    async with AsyncExitStack() as stack:

        async def opened(name: str, *, responder: bool) -> Journal:
            signer = key if responder else None
            journal = await Journal.open(f"sqlite:///{path}", signer=signer, name=name, keys=[key.public])
            if responder:
                await journal.migrate()
            return await stack.enter_async_context(journal)

        yield opened


async def put(journal: Journal, nonce: str, body: bytes = b"x", kind: str = "alert") -> Receipt:
    return await journal.put(kind=kind, source="s", nonce=nonce, body=body, headers={})


async def nonces(journal: Journal) -> list[str]:
    return [item.nonce for item in await journal.waiting(99)]


async def _for_ever(_poker: Poker) -> list[tuple[str, int]]:
    await asyncio.Event().wait()
    return []


def rows(path: Path, file: str, statement: str = "SELECT nonce FROM inbox ORDER BY nonce") -> list[str]:
    """Run a statement behind the journal's back."""
    with closing(sqlite3.connect(f"{path}{file}")) as connection, connection:
        return [row[0] for row in connection.execute(statement)]


async def forgotten(journal: Journal, path: Path, left: list[str]) -> None:
    """Wait until the inbox's own file has no more than some messages."""
    async with asyncio.timeout(SOON):
        while rows(path, spool.END) != left:
            await journal.waiting(9)
            await asyncio.sleep(0.02)


async def test_what_comes_in_is_taken_while_somebody_keeps_the_journal_locked(process: Open, path: Path) -> None:
    responder, receiver = await process("r1", responder=True), await process("receiver", responder=False)
    with hung(path):
        # The lock is never given back: whoever waits for it fails.
        first, again = await put(receiver, "1"), await put(receiver, "1")
        assert (first.fresh, again.fresh, again.id) == (True, False, first.id)
        assert (await put(receiver, "1", b"other")).conflict
        assert await receiver.ready()
    assert await nonces(responder) == ["1"]


async def test_looks_of_one_moment_share_what_is_copied_and_a_later_one_misses_nothing(
    process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder, receiver = await process("responder", responder=True), await process("receiver", responder=False)
    asked: list[object] = []
    rows = Spool._rows  # noqa: SLF001  # how often a file is looked at shows nowhere else

    async def counted(self: Spool, statement: Any, values: Any = None) -> Any:  # noqa: ANN401  # as it is
        asked.append(statement)
        found = await rows(self, statement, values)
        if len(asked) == 1:
            await put(receiver, "b")
        return found

    await put(receiver, "a")
    monkeypatch.setattr(Spool, "_rows", counted)
    late = asyncio.create_task(nonces(responder))
    assert await nonces(responder) == ["a"]
    await late
    assert asked.count(spool._FIRST) == 1  # noqa: SLF001  # likewise
    assert await nonces(responder) == ["a", "b"]


async def test_a_message_that_was_just_copied_is_read_once_and_many_are_read_whole(
    process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, responder = await process("receiver", responder=False), await process("r1", responder=True)
    asked: list[Any] = []
    read = Journal._rows  # noqa: SLF001  # counts

    async def counted(self: Journal, statement: Any, values: Any = None) -> Any:  # noqa: ANN401  # as it is
        asked.append(statement)
        return await read(self, statement, values)

    monkeypatch.setattr(Journal, "_rows", counted)
    await put(receiver, "1", b"one")
    (item,) = await responder.turns("alert", ["s"], 9)
    assert (item.nonce, item.body) == ("1", b"one")
    assert queries.MESSAGES not in asked
    several = {f"{number}": b"%d" % number for number in range(2, 12)}
    for nonce, body in several.items():
        await put(receiver, nonce, body)
    found = await responder.turns("alert", ["s"], 99)
    assert {item.nonce: item.body for item in found} == {"1": b"one", **several}


async def test_who_dies_between_the_two_files_loses_and_doubles_nothing(process: Open, path: Path) -> None:
    receiver = await process("receiver", responder=False)
    dead = await process("dead", responder=True)
    receipts = [await put(receiver, str(n)) for n in range(3)]
    assert await nonces(dead) == ["0", "1", "2"], "they are copied, and none is moved"
    after = await process("r1", responder=True)
    assert await nonces(after) == ["0", "1", "2"]
    await after.submit(lambda tx: tx.move(receipts[0].id, "incident/inc-2026-000001"))
    # Moved, and died before it was forgotten: whoever comes next copies it once more.
    third = await process("r2", responder=True)
    for journal in (third, dead, after):
        assert await nonces(journal) == ["1", "2"]
        with pytest.raises(Refused):
            await journal.submit(lambda tx: tx.move(receipts[0].id, None))
    again = await put(receiver, "0")
    assert (again.id, again.fresh, again.incident) == (receipts[0].id, False, "incident/inc-2026-000001")
    await forgotten(third, path, ["1", "2"])
    assert (await put(receiver, "0")).incident == "incident/inc-2026-000001"
    assert rows(path, "") == ["0", "1", "2"]


async def test_copies_that_a_power_cut_took_are_made_again(process: Open, path: Path) -> None:
    receiver, responder = await process("receiver", responder=False), await process("r1", responder=True)
    receipts = [await put(receiver, str(n)) for n in range(3)]
    assert await nonces(responder) == ["0", "1", "2"]
    await responder.submit(lambda tx: tx.move(receipts[1].id, None))
    # What was copied and not moved need not be on disk.
    rows(path, "", "DELETE FROM inbox WHERE moved_at IS NULL")
    assert await nonces(await process("r2", responder=True)) == ["0", "2"]


async def test_a_few_messages_are_told_of_before_they_are_in_the_journal(process: Open, path: Path) -> None:
    responder = await process("r1", responder=True)
    told: list[tuple[list[str], list[str]]] = []
    responder.tell_ahead(lambda items: told.append(([item.nonce for item in items], rows(path, ""))))
    await put(responder, "first")
    assert await nonces(responder) == ["first"]
    assert told == [(["first"], [])]
    for n in range(10):
        await put(responder, f"{n}")
    assert len(await nonces(responder)) == 11
    assert len(told) == 1, "of many nobody is told: one list answers for all of them"


async def test_only_what_is_moved_is_forgotten(process: Open, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "FORGETS", 0.0)
    monkeypatch.setattr(spool, "_SOME", 3)
    responder = await process("r1", responder=True)
    receipts = [await put(responder, f"{n:02}") for n in range(10)]
    assert len(await nonces(responder)) == 10
    moved = [receipt.id for receipt in receipts[::2]]
    await responder.submit(lambda tx: tx.move_all(moved, None))
    await forgotten(responder, path, [f"{n:02}" for n in range(1, 10, 2)])
    # A number never comes twice, though the last one was forgotten.
    await responder.submit(lambda tx: tx.move_all([receipt.id for receipt in receipts[1::2]], None))
    await forgotten(responder, path, [])
    await put(responder, "new")
    assert await nonces(responder) == ["new"]


async def test_a_look_for_what_is_moved_does_not_read_all_that_waits(
    process: Open, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "FORGETS", 3600.0)
    monkeypatch.setattr(spool, "_IDS", spool._IDS.limit(2))  # noqa: SLF001  # how many at once
    responder = await process("r1", responder=True)
    receipts = [await put(responder, f"{n:02}") for n in range(10)]
    assert len(await nonces(responder)) == 10
    inbox = responder._spool  # noqa: SLF001  # what is looked at
    assert inbox
    assert inbox._forgetting  # noqa: SLF001  # the look that came with the first copy
    await inbox._forgetting  # noqa: SLF001  # likewise
    asked, read = 0, inbox._journal  # noqa: SLF001  # where it asks what was moved

    async def counted(*given: Any) -> Any:  # noqa: ANN401
        nonlocal asked
        asked += 1
        return await read(*given)

    monkeypatch.setattr(inbox, "_journal", counted)
    for looks in range(1, 4):
        await inbox._forget_moved()  # noqa: SLF001  # one look
        assert asked == looks, "it went on behind what waits"
    monkeypatch.setattr(spool, "FORGETS", 0.0)
    # Where it is in a row with others does not keep it: the looks come round.
    await responder.submit(lambda tx: tx.move_all([receipts[1].id, receipts[8].id], None))
    await forgotten(responder, path, [f"{n:02}" for n in range(10) if n not in {1, 8}])


async def test_what_was_let_go_comes_again_though_it_is_not_forgotten_yet(process: Open, path: Path) -> None:
    receiver, responder = await process("receiver", responder=False), await process("r1", responder=True)
    by_body = BY_BODY + "0" * 64
    first = await put(receiver, by_body)
    assert await nonces(responder) == [by_body]
    await responder.submit(lambda tx: tx.move(first.id, None))
    assert rows(path, spool.END) == [by_body]
    second = await put(receiver, by_body)
    assert second.fresh
    assert second.id != first.id
    assert [item.id for item in await responder.waiting(9)] == [second.id]
    assert not (await put(receiver, by_body)).fresh


async def test_what_an_earlier_release_left_in_the_journal_is_still_taken(process: Open, path: Path) -> None:
    responder = await process("r1", responder=True)
    fields = "INSERT INTO inbox (id, kind, source, nonce, digest, body, headers) VALUES"
    rows(path, "", f"{fields} ('a', 'alert', 's', '1', 'd', x'', x'7b7d')")
    receiver = await process("receiver", responder=False)
    assert await put(receiver, "1") == Receipt("a", fresh=False, conflict=True, incident=None)
    await put(receiver, "2")
    for journal in (receiver, responder):
        assert await nonces(journal) == ["1", "2"]
        assert [(count.kind, count.waiting) for count in await journal.inbox_counts()] == [("alert", 2)]


async def test_a_journal_that_no_responder_of_this_release_opened_is_read_as_it_is(process: Open, path: Path) -> None:
    await process("r1", responder=True)
    rows(path, spool.END, "DROP TABLE inbox")
    reader = await process("reader", responder=False)
    assert await reader.waiting(9) == []
    assert await reader.inbox_counts() == []
    async with reader.copying() as (_, size, parts):
        assert sum([part.rows async for part in parts]) == size
    assert not await reader.ready(), "nothing can be put yet"
    migrated = await process("r2", responder=True)
    assert (await put(reader, "1")).fresh
    assert await nonces(migrated) == ["1"]


async def test_who_only_reads_sees_what_nobody_has_copied_yet(process: Open, path: Path) -> None:
    responder, reader = await process("r1", responder=True), await process("reader", responder=False)
    await put(reader, "0", kind="code")
    assert await nonces(responder) == ["0"]
    receipt = await put(reader, "1")
    assert rows(path, "") == ["0"]
    assert await nonces(reader) == ["0", "1"]
    assert [(count.kind, count.waiting) for count in await reader.inbox_counts()] == [("alert", 1), ("code", 1)]
    assert all(count.oldest >= 0 for count in await reader.inbox_counts())
    assert (await reader.message(receipt.id)) == (await reader.waiting(9))[1]


async def test_a_copy_of_everything_has_each_message_once(process: Open, tmp_path: Path) -> None:
    responder, receiver = await process("r1", responder=True), await process("receiver", responder=False)
    first = await put(receiver, "copied")
    assert await nonces(responder) == ["copied"]
    await responder.submit(lambda tx: tx.move(first.id, None))
    await put(receiver, "alone", b"body")
    async with receiver.copying() as (release, size, parts):
        copied = [part async for part in parts]
    assert sum(part.rows for part in copied) == size

    async def again() -> AsyncIterator[object]:
        for part in copied:
            yield part

    async with await Journal.open(f"sqlite:///{tmp_path / 'new.db'}", signer=None, name="restore") as restored:
        await restored.migrate()
        assert await restored.fill(release, again(), []) == size  # type: ignore[arg-type]  # the same parts
        (item,) = await restored.waiting(9)
        assert (item.nonce, item.body) == ("alone", b"body")
        assert not (await put(restored, "copied")).fresh


async def test_what_we_never_write_keeps_nothing_else_from_coming_in(process: Open, path: Path) -> None:
    responder = await process("r1", responder=True)
    fields = "INSERT INTO inbox (id, kind, source, nonce, digest, body, headers, received_at) VALUES"
    rows(path, spool.END, f"{fields} ('{'a' * 65}', 'alert', 's', 'long', 'd', x'', x'7b7d', 1)")
    rows(path, spool.END, f"{fields} ('a', 'alert', 's', x'00', 'd', x'', x'7b7d', 1)")
    rows(path, spool.END, f"{fields} ('b', 'alert', 's', 'later', 'd', x'', x'7b7d', 1e12)")
    await put(responder, "good")
    assert await nonces(responder) == ["good"]


async def test_an_inbox_that_cannot_be_read_stops_nothing_that_the_journal_has(
    process: Open, path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    responder = await process("r1", responder=True)
    await put(responder, "1")
    assert await nonces(responder) == ["1"]
    await responder.aclose()
    with closing(sqlite3.connect(f"{path}{spool.END}")) as connection:
        connection.executescript("PRAGMA journal_mode=DELETE")
    with open(f"{path}{spool.END}", "r+b") as file:  # noqa: ASYNC230, PTH123  # nothing else runs here
        file.write(b"no database" * 100)
    other = SigningKey.generate(tmp_path / "other.key")
    async with await Journal.open(f"sqlite:///{path}", signer=other, name="r2") as after:
        assert await nonces(after) == ["1"]
    assert "cannot be copied into the journal" in caplog.text


async def test_who_listened_a_moment_ago_is_poked_though_nobody_can_look_up_who_listens(
    process: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder, receiver = await process("r1", responder=True), await process("receiver", responder=False)
    monkeypatch.setattr("integrations.journal.poke.APART", 0.0)
    monkeypatch.setattr("integrations.journal.poke.KNOWN_SECONDS", 0.0)
    async with responder.listen() as wait:
        await wait(0)
        await receiver.poke()
        assert await wait(SOON)
        monkeypatch.setattr(Poker, "_listening", _for_ever)
        poking = asyncio.create_task(receiver.poke())
        assert await wait(SOON)
        poking.cancel()


@pytest.mark.parametrize("end", ["", spool.END])
async def test_opening_it_twice_in_a_process_ends_no_lock_of_the_first(process: Open, path: Path, end: str) -> None:
    """Else another process, when it closes the file, takes away what the first one still writes into."""
    first = await process("responder", responder=True)
    await put(first, "1")
    assert await nonces(first) == ["1"]
    second = await Journal.open(f"sqlite:///{path}", signer=None, name="second")
    await second.aclose()
    other = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT * FROM inbox'); c.close()"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", other, f"{path}{end}"], check=True)
    assert await asyncio.to_thread(Path(f"{path}{end}-wal").exists)
    await put(first, "2")
    assert await nonces(first) == ["1", "2"]
