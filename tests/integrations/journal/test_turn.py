"""Turns at writing SQLite are a courtesy: whoever keeps one, or the database's own lock, stops nothing unseen."""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from integrations.journal import Journal, client, turn
from integrations.journal.spool import END
from integrations.journal.turn import Turn
from integrations.signing import SigningKey
from playbooks.errors import Transient
from playbooks.record.journal import Event

SOON = 60.0
EVENT = Event("x", {})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a journal that is not there yet."""
    return tmp_path / "journal.db"


@contextmanager
def kept(path: Path, end: str) -> Iterator[None]:
    """Keep a turn's file locked, by no more than a descriptor that reads; a process that is stopped does the same."""
    file = path.with_name(path.name + end)
    descriptor = os.open(file, os.O_RDONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hung(path: Path) -> Iterator[None]:
    """Keep the database itself locked, as a process does that hangs inside a transaction."""
    process = sqlite3.connect(path, isolation_level=None)
    process.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        process.close()


@asynccontextmanager
async def opened(key: SigningKey, path: Path) -> AsyncIterator[Journal]:
    """Yield a journal, made and soon done with."""
    async with asyncio.timeout(SOON), await Journal.open(f"sqlite:///{path}", signer=key, name="r1") as journal:
        await journal.migrate()
        yield journal


def free(path: Path, end: str) -> bool:
    with path.with_name(path.name + end).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.mark.parametrize("end", ["-queue", "-turn"])
async def test_whoever_keeps_the_turn_costs_its_patience_once_and_is_told_of_once(
    key: SigningKey, path: Path, end: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(turn, "PATIENCE", 0.5)
    async with opened(key, path) as journal:
        await journal.append("a", [EVENT])
        assert not caplog.messages
        with kept(path, end):
            began = time.monotonic()
            await journal.append("a", [EVENT])
            assert time.monotonic() - began >= turn.PATIENCE
            monkeypatch.setattr(turn, "PATIENCE", 10 * SOON)
            async with asyncio.timeout(SOON):
                for nonce in "12345":
                    await journal.put(kind="alert", source="s", nonce=nonce, body=b"", headers={})
                assert await journal.ready()
        (message,) = caplog.messages
        assert "without taking turns" in message
        assert str(path) in message

        async def alone(_: object) -> bool:
            return not free(path, "-turn")

        assert await journal.submit(alone), "it takes its turn again as soon as that can be had"
        assert free(path, "-turn")
        assert len(await journal.read("a")) == 2
        assert await journal.verify(public_keys=[key.public]) == []


async def test_a_turn_that_cannot_be_opened_keeps_nobody_from_writing(
    key: SigningKey, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.with_name("journal.db-turn").mkdir()
    async with opened(key, path) as journal:
        await journal.append("a", [EVENT])
        await journal.append("a", [EVENT])
        assert len(await journal.read("a")) == 2
    (message,) = caplog.messages
    assert "journal.db-turn" in message


async def test_the_one_that_waits_goes_before_the_one_that_just_wrote(path: Path) -> None:
    first, second, order = Turn(path), Turn(path), []

    async def take(one: Turn, name: str) -> None:
        async with one:
            order.append(name)

    async with asyncio.timeout(SOON):
        await first.__aenter__()
        waits = asyncio.create_task(take(second, "who waited"))
        await asyncio.sleep(0)
        assert not free(path, "-queue")
        await first.__aexit__()
        await take(first, "who just wrote")
        await waits
    assert order == ["who waited", "who just wrote"]
    first.close()
    second.close()


async def test_who_gives_up_waiting_leaves_nothing_locked_and_no_thread(path: Path) -> None:
    with kept(path, "-turn"):
        one = Turn(path)
        waits = asyncio.create_task(one.__aenter__())
        await asyncio.sleep(0)
        assert not free(path, "-queue")
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        assert free(path, "-queue")
    assert free(path, "-turn")
    async with asyncio.timeout(SOON), one:
        assert not free(path, "-turn")
    one.close()


async def test_a_process_that_hangs_inside_a_transaction_is_said_to_keep_others_from_writing(
    key: SigningKey, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "LOCK_SECONDS", 0.2)
    async with opened(key, path) as journal:
        with hung(path), pytest.raises(Transient, match="locked"):
            await journal.append("a", [EVENT])
        with hung(path.with_name(path.name + END)):
            assert not await journal.ready()
            with pytest.raises(Transient, match="locked"):
                await journal.put(kind="alert", source="s", nonce="1", body=b"", headers={})
        assert await journal.ready()
        assert (await journal.put(kind="alert", source="s", nonce="1", body=b"", headers={})).fresh


async def test_who_asks_often_whether_it_can_be_written_does_not_lock_it_each_time(
    key: SigningKey, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(key, path) as journal:
        entered = 0
        enter = Turn.__aenter__

        async def counted(self: Turn) -> None:
            nonlocal entered
            entered += 1
            await enter(self)

        monkeypatch.setattr(Turn, "__aenter__", counted)
        for _ in range(20):
            assert await journal.ready()
        assert entered == 1


async def test_a_responder_with_nothing_to_do_says_that_it_could_not_write(
    key: SigningKey, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "LOCK_SECONDS", 0.1)
    async with opened(key, path) as journal, AsyncExitStack() as listening:
        with hung(path):
            wait = await listening.enter_async_context(journal.listen())
            await wait(0)
            await wait(0)
            (message,) = caplog.messages
            assert "cannot be written" in message
        await wait(0)
        await journal.poke()
        assert await wait(30)
