"""What was acknowledged is there, once, whatever dies: a process, the server, the connection under a commit."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncTransaction

from integrations.journal import Journal, Unsure
from integrations.signing import SigningKey
from playbooks.errors import Transient
from playbooks.record.journal import Event
from tests.lab.postgres import PostgresServer

Open = Callable[..., Awaitable[Journal]]
ROOT = Path(__file__).parents[3]
APPENDER = Path(__file__).with_name("appender.py")
ENOUGH = 200


async def appender(url: str, tmp_path: Path, name: str, each: int) -> Process:
    arguments = [url, str(tmp_path / "responder.key"), name, str(each)]
    return await asyncio.create_subprocess_exec(
        sys.executable, APPENDER, *arguments, stdout=PIPE, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )


async def lines(process: Process, most: int) -> list[list[str]]:
    assert process.stdout is not None
    found: list[list[str]] = []
    while len(found) < most and (line := await process.stdout.readline()):
        found.append(line.decode().split())
    return found


async def test_a_process_killed_while_it_appends_leaves_what_it_acknowledged(
    journal: Journal, url: str, key: SigningKey, tmp_path: Path
) -> None:
    process = await appender(url, tmp_path, "victim", 1_000_000)
    acknowledged = await lines(process, ENOUGH)
    process.kill()
    await process.wait()
    assert len(acknowledged) == ENOUGH
    stored = {(e.stream, str(e.seq), e.hash.hex()) for n in range(3) for e in await journal.read(f"campaign/{n}")}
    assert {tuple(line) for line in acknowledged} <= stored
    assert await journal.append("campaign/0", [Event("after", {})])
    last = await journal.head_latest()
    assert last is not None
    assert await journal.verify(public_keys=[key.public], witnesses=[last]) == []


async def test_two_processes_and_this_one_write_one_chain(
    journal: Journal, url: str, key: SigningKey, tmp_path: Path
) -> None:
    processes = [await appender(url, tmp_path, name, 50) for name in ("a", "b")]
    mine = [
        await asyncio.gather(*(journal.append(f"campaign/{n % 3}", [Event("mine", {})]) for n in range(8)))
        for _ in range(20)
    ]
    theirs = [line for process in processes for line in await lines(process, 1_000_000)]
    assert [await process.wait() for process in processes] == [0, 0]
    stored = [entry for n in range(3) for entry in await journal.read(f"campaign/{n}")]
    assert len(stored) == len(theirs) + 160 == 2 * 8 * 50 + 160
    assert len({(entry.stream, entry.seq) for entry in stored}) == len(stored)
    assert {entry for batch in mine for (entry,) in batch} < set(stored)
    assert await journal.verify(public_keys=[key.public]) == []


async def test_a_restarted_server_loses_nothing_and_doubles_nothing(
    postgres: PostgresServer, postgres_url: str, key: SigningKey
) -> None:
    async with await Journal.open(postgres_url, signer=key, name="r1") as journal:
        await journal.migrate()
        there: set[str] = set()
        absent: set[str] = set()
        interrupted = asyncio.Event()
        enough = asyncio.Event()

        async def write(writer: int) -> None:
            n = 0
            while not (interrupted.is_set() and len(there) > 2 * ENOUGH):
                n += 1
                name = f"{writer}.{n}"
                try:
                    await journal.append(f"campaign/{writer % 3}", [Event("bench", {"name": name})])
                except Unsure:
                    continue
                except Transient:
                    absent.add(name)
                    continue
                there.add(name)
                if len(there) >= ENOUGH:
                    enough.set()

        async with asyncio.TaskGroup() as tasks:
            for writer in range(8):
                tasks.create_task(write(writer))
            await enough.wait()
            await asyncio.to_thread(postgres.restart)
            interrupted.set()
        names = [e.parsed().body["name"] for n in range(3) for e in await journal.read(f"campaign/{n}")]
        assert len(names) == len(set(names))
        assert there <= set(names)
        assert not absent & set(names)
        assert await journal.verify(public_keys=[key.public]) == []


async def test_a_connection_that_died_while_nobody_used_it_is_replaced(
    postgres: PostgresServer, postgres_url: str, key: SigningKey
) -> None:
    async with await Journal.open(postgres_url, signer=key, name="r1") as journal:
        await journal.migrate()
        await journal.append("a", [Event("one", {})])
        await journal.put(kind="alert", source="s", nonce="1", body=b"", headers={})
        async with journal.listen() as wait:
            await wait(0)
            await asyncio.to_thread(postgres.restart)
            assert await journal.stops() == []
            await journal.append("a", [Event("two", {})])
            # Said to look, because what came while it did not listen is unknown; then it listens again.
            assert await wait(30)
            await wait(0)
            assert (await journal.put(kind="alert", source="s", nonce="2", body=b"", headers={})).fresh
            assert await wait(30)
        assert len(await journal.read("a")) == 2


@pytest.fixture
def break_commit(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that breaks the next commit's connection, before or after it happened."""
    commit = AsyncTransaction.commit

    def broken(*, after: bool) -> None:
        async def once(self: AsyncTransaction) -> None:
            if self.nested:
                await commit(self)
                return
            monkeypatch.setattr(AsyncTransaction, "commit", commit)
            if after:
                await commit(self)
            raise OperationalError("COMMIT", None, OSError("cut"), connection_invalidated=True)

        monkeypatch.setattr(AsyncTransaction, "commit", once)

    return broken


async def test_an_append_whose_commit_nobody_confirmed_is_looked_up(
    journal: Journal, break_commit: Callable[..., None], key: SigningKey
) -> None:
    await journal.append("a", [Event("one", {})])
    break_commit(after=True)
    (entry,) = await journal.append("a", [Event("two", {})])
    assert await journal.read("a", after=1) == [entry]
    break_commit(after=False)
    with pytest.raises(Transient) as caught:
        await journal.append("a", [Event("three", {})])
    assert not isinstance(caught.value, Unsure)
    assert len(await journal.read("a")) == 2
    await journal.append("a", [Event("four", {})])
    assert await journal.verify(public_keys=[key.public]) == []


async def test_what_cannot_be_looked_up_is_unsure(journal: Journal, break_commit: Callable[..., None]) -> None:
    break_commit(after=True)
    with pytest.raises(Unsure):
        await journal.submit(lambda tx: tx.use_once("approval", "1"))
    break_commit(after=True)
    with pytest.raises(Unsure):
        await journal.put(kind="alert", source="s", nonce="1", body=b"x", headers={})
    assert not (await journal.put(kind="alert", source="s", nonce="1", body=b"x", headers={})).fresh


async def test_a_fault_in_signing_reaches_the_callers(journal: Journal, open_journal: Open, key: SigningKey) -> None:
    class Broken:
        id = "sha256:broken"
        public = key.public

        def sign(self, data: bytes) -> bytes:
            raise RuntimeError(data.hex())

    broken: Any = Broken()
    other = await open_journal("r2", signer=broken)
    results = await asyncio.gather(*(other.append("a", [Event("one", {})]) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError] * 3
    assert await journal.read("a") == []
    assert (await journal.append("a", [Event("one", {})]))[0].seq == 1


async def one_by_one(journal: Journal, events: list[Event]) -> None:
    while True:
        await journal.append("a", events)


async def test_a_full_disk_is_transient_and_leaves_a_sound_journal(key: SigningKey, tmp_path: Path) -> None:
    async with await Journal.open(f"sqlite:///{tmp_path / 'journal.db'}", signer=key, name="r1") as journal:
        await journal.migrate()
        pages = 80

        def limit(connection: Any) -> None:  # noqa: ANN401
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

        for engine in (journal._writing, journal._puts._engine):  # noqa: SLF001  # stands in for the disk
            sqlalchemy.event.listen(engine.sync_engine, "begin", limit)

        much = [Event("x", {"much": "x" * 2000})] * 5
        results = await asyncio.gather(*(one_by_one(journal, much) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(result, Transient) and "full" in str(result) for result in results)
        written = len(await journal.read("a"))
        assert written
        with pytest.raises(Transient, match="full"):
            await journal.put(kind="alert", source="s", nonce="1", body=bytes(400_000), headers={})
        pages = 1_000_000
        await journal.append("a", [Event("x", {})])
        last = await journal.head_latest()
        assert last is not None
        assert await journal.verify(public_keys=[key.public], witnesses=[last]) == []
