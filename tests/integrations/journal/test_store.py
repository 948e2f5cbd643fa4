"""Streams, claims, the inbox and what a unit decides, on both databases."""

import asyncio
import json
import stat
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from integrations.journal import Claim, Journal, LostClaim, Stop, Tampered, Tx, schema
from integrations.journal.client import address
from integrations.signing import SigningKey
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.record.journal import BY_BODY, GENESIS, Entry, Event, link
from playbooks.strict import sha256

Open = Callable[..., Awaitable[Journal]]
Sql = Callable[..., Awaitable[Any]]
LONG_AGO = 1.0
SEEN = Event("seen", {"a": [1, "ü", None]}, "siem")


async def opened(journal: Journal, correlation: str | None = "key", seconds: float = 60.0) -> tuple[str, Claim]:
    """Open an incident's stream; with no seconds its claim has run out."""
    return await journal.submit(
        lambda tx: tx.open_stream(
            "incident/inc", correlation=correlation, lane="cut", owner="r1", claim_seconds=seconds
        )
    )


def modes_of(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("j.db*")}


# Migration and opening


# SQLAlchemy 2.1.0 reads PostgreSQL's check constraints with an argument that itself then does not know.
@pytest.mark.filterwarnings("ignore:Can't validate argument 'dialect_options':sqlalchemy.exc.SAWarning")
async def test_migrations_make_what_the_code_expects_and_only_once(journal: Journal, url: str) -> None:
    await journal.migrate()
    engine = create_async_engine(address(url))
    async with engine.connect() as connection:
        difference = await connection.run_sync(
            lambda c: compare_metadata(MigrationContext.configure(c, opts={"compare_type": True}), schema.metadata)
        )
    await engine.dispose()
    assert difference == []


async def test_what_is_of_this_release_is_not_migrated(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alembic.command.upgrade", None)
    await journal.migrate()
    monkeypatch.setattr(schema, "RELEASE", "another")
    with pytest.raises(TypeError):
        await journal.migrate()


def test_this_release_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(Path(schema.__file__).parent / "migrations")).get_current_head() == schema.RELEASE


async def test_many_may_migrate_at_once(open_journal: Open) -> None:
    journals = [await open_journal(f"r{n}") for n in range(4)]
    await asyncio.gather(*(journal.migrate() for journal in journals))
    assert await journals[0].append("system", [SEEN])


async def test_what_is_not_migrated_is_not_ready_and_says_so(open_journal: Open) -> None:
    journal = await open_journal()
    assert not await journal.ready()
    with pytest.raises(Misconfigured, match=r"not migrated|does not exist"):
        await journal.append("system", [SEEN])
    await journal.migrate()
    assert await journal.ready()


@pytest.mark.parametrize("url", ["mysql://host/x", "nonsense", "sqlite://", "sqlite:////no/such/folder/journal.db"])
async def test_an_address_that_is_none_is_refused(url: str, key: SigningKey) -> None:
    with pytest.raises(Misconfigured):
        await Journal.open(url, signer=key, name="r1")


async def test_only_its_owner_can_read_a_sqlite_journal(tmp_path: Path, key: SigningKey) -> None:
    async with await Journal.open(f"sqlite:///{tmp_path / 'j.db'}", signer=key, name="r1") as journal:
        await journal.migrate()
        await journal.append("system", [SEEN])
        modes = await asyncio.to_thread(modes_of, tmp_path)
        assert len(modes) > 3
        assert set(modes.values()) == {0o600}


async def test_without_a_key_it_only_reads_and_puts(journal: Journal, open_journal: Open) -> None:
    receiver = await open_journal("receiver", signer=None)
    await journal.append("system", [SEEN])
    with pytest.raises(Refused):
        await receiver.append("system", [SEEN])
    with pytest.raises(Refused):
        await receiver.submit(lambda tx: tx.stops())
    with pytest.raises(Refused):
        await receiver.claim("r1", lane="cut", limit=1, seconds=1)
    assert len(await receiver.read("system")) == 1
    assert (await receiver.put(kind="alert", source="s", nonce="1", body=b"", headers={})).fresh


async def test_times_are_the_databases(journal: Journal) -> None:
    assert abs(await journal.clock() - datetime.now(UTC).timestamp()) < 60
    assert abs(await journal.submit(lambda tx: tx.clock()) - await journal.clock()) < 60


async def test_a_closed_journal_takes_nothing_and_loses_nothing(open_journal: Open, journal: Journal) -> None:
    waiting = [asyncio.create_task(journal.append("system", [SEEN])) for _ in range(5)]
    await asyncio.sleep(0)
    await journal.aclose()
    assert [(await task)[0].seq for task in waiting] == [1, 2, 3, 4, 5]
    with pytest.raises(Refused):
        await journal.append("system", [SEEN])
    assert len(await (await open_journal("r2")).read("system")) == 5


# Streams


async def test_entries_are_chained_and_come_back_as_they_were_written(journal: Journal) -> None:
    first, second = await journal.append("system", [SEEN, Event("more", {})])
    (third,) = await journal.append("system", [SEEN])
    assert await journal.read("system") == [first, second, third]
    assert [entry.seq for entry in (first, second, third)] == [1, 2, 3]
    assert first.hash == link(GENESIS, first.data)
    assert third.hash == link(second.hash, third.data)
    parsed = first.parsed()
    assert (parsed.kind, parsed.actor, parsed.body) == ("seen", "siem", {"a": [1, "ü", None]})


async def test_reading_after_an_entry_and_of_what_is_not_there(journal: Journal) -> None:
    entries = await journal.append("system", [SEEN] * 4)
    assert await journal.read("system", after=2) == list(entries[2:])
    assert await journal.read("system", after=4) == []
    assert await journal.read("nothing") == []
    assert await journal.append("system", []) == ()
    with pytest.raises(Tampered):
        await journal.read("system", after=9)


async def test_an_event_that_has_no_canonical_form_fails_alone(journal: Journal) -> None:
    bad = Event("bad", {"n": float("nan")})
    results = await asyncio.gather(
        journal.append("a", [SEEN]),
        journal.append("b", [SEEN, bad]),
        journal.append("c", [SEEN]),
        return_exceptions=True,
    )
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert await journal.read("b") == []


async def test_concurrent_appends_share_one_head(journal: Journal) -> None:
    await journal.append("system", [SEEN])
    await asyncio.gather(*(journal.append(f"s{n % 8}", [SEEN]) for n in range(32)))
    latest = await journal.head_latest()
    assert latest is not None
    assert latest.n <= 4
    assert len(json.loads(latest.data)["tips"]) == 8


async def test_a_unit_sees_what_it_made_and_what_units_before_it_made(journal: Journal) -> None:
    async def unit(tx: Tx) -> list[Entry]:
        await tx.append("campaign/x", [SEEN])
        await tx.make_runnable("campaign/x", lane="flow")
        await tx.append("campaign/x", [SEEN])
        return await tx.read("campaign/x")

    both = await asyncio.gather(journal.submit(unit), journal.append("campaign/x", [SEEN]), journal.submit(unit))
    assert [[entry.seq for entry in entries] for entries in both] == [[1, 2], [3], [1, 2, 3, 4, 5]]
    assert await journal.read("campaign/x") == both[2]
    assert [claim.stream for claim in await journal.claim("r1", lane="flow", limit=9, seconds=9)] == ["campaign/x"]


async def test_a_unit_that_raises_leaves_nothing_and_takes_nobody_along(journal: Journal) -> None:
    async def bad(tx: Tx) -> None:
        await tx.append("mine", [SEEN])
        await tx.append("shared", [Event("bad", {})])
        await tx.use_once("approval", "n1")
        await tx.open_stream("incident/inc", correlation="k", lane="cut", owner="r1", claim_seconds=9)
        raise ValueError("no")

    async def broken(tx: Tx) -> None:
        await tx.append("shared", [Event("bad", {})])
        await tx._run(schema.chain.insert(), {"id": 1, "n": 1, "hash": b""})  # noqa: SLF001  # the database refuses

    results = await asyncio.gather(
        journal.append("shared", [SEEN]),
        journal.submit(bad),
        journal.submit(broken),
        journal.submit(lambda tx: tx.append("shared", [SEEN])),
        journal.append("shared", [SEEN]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [tuple, ValueError, Refused, tuple, tuple]
    assert [entry.parsed().kind for entry in await journal.read("shared")] == ["seen"] * 3
    assert await journal.read("mine") == []
    await journal.submit(lambda tx: tx.use_once("approval", "n1"))
    assert (await opened(journal, "k"))[0].endswith("-000001")


async def test_a_unit_that_raises_alone_leaves_nothing(journal: Journal) -> None:
    async def bad(tx: Tx) -> None:
        await tx.use_once("approval", "n1")
        await tx.append("mine", [SEEN])
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await journal.submit(bad)
    assert await journal.read("mine") == []
    await journal.submit(lambda tx: tx.use_once("approval", "n1"))


def asked(journal: Journal, engine: str) -> list[str]:
    """Return a list of how every statement begins that one of the journal's engines sends from now on."""
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement.split(maxsplit=1)[0])

    event.listen(getattr(journal, engine).sync_engine, "before_cursor_execute", note)
    return found


async def test_an_append_holds_the_lock_for_a_look_and_a_write(postgres_url: str, key: SigningKey) -> None:
    async with await Journal.open(postgres_url, signer=key, name="r1") as journal:
        await journal.migrate()
        await journal.append("a", [SEEN])
        statements = asked(journal, "_writing")
        await journal.submit(lambda tx: tx.append("a", [SEEN, SEEN]))
        assert statements == ["SELECT", "SELECT", "WITH"]
        assert [entry.seq for entry in await journal.read("a")] == [1, 2, 3]
        assert await journal.verify(public_keys=[key.public]) == []


async def test_a_new_message_is_one_statement_and_its_own_transaction(
    postgres_url: str, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Journal.open(postgres_url, signer=key, name="r1") as journal:
        await journal.migrate()
        statements = asked(journal, "_writing")
        monkeypatch.setattr("asyncpg.transaction.Transaction.start", None)  # whoever begins one fails
        assert (await journal.put(kind="alert", source="s", nonce="1", body=b"x", headers={})).fresh
        assert statements == ["WITH"]
        assert not (await journal.put(kind="alert", source="s", nonce="1", body=b"x", headers={})).fresh


async def test_whether_anything_is_stopped_is_one_question(journal: Journal) -> None:
    assert await journal.stops() == []
    statements = asked(journal, "_reading")
    assert await journal.stops() == []
    assert len(statements) == 1
    await journal.submit(lambda tx: tx.stop("everything", "try", "ann"))
    assert [stop.scope for stop in await journal.stops()] == ["everything"]
    del statements[:]
    assert [stop.scope for stop in await journal.stops()] == ["everything"]
    assert len(statements) == 1


async def test_a_unit_that_hangs_is_cut_off(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.journal.store.UNIT_SECONDS", 0.01)

    async def hanging(tx: Tx) -> None:
        await tx.append("a", [SEEN])
        await asyncio.Event().wait()

    results = await asyncio.gather(journal.submit(hanging), journal.append("a", [SEEN]), return_exceptions=True)
    assert isinstance(results[0], Refused)
    assert [entry.seq for entry in await journal.read("a")] == [1]


async def test_a_caller_that_gives_up_before_its_turn_writes_nothing(journal: Journal) -> None:
    tasks = [asyncio.create_task(journal.append("a", [SEEN])) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert len(await journal.read("a")) == 2


async def test_opening_gives_readable_numbers_and_a_claim(journal: Journal) -> None:
    (first, claim), (second, _) = [await opened(journal, name) for name in ("a", "b")]
    year = datetime.fromtimestamp(await journal.clock(), UTC).year
    assert [first, second] == [f"incident/inc-{year}-000001", f"incident/inc-{year}-000002"]
    assert (claim.stream, claim.owner) == (first, "r1")
    assert await journal.append(first, [SEEN], claim=claim)
    assert [row.name for row in await journal.streams("incident/")] == [second, first]


async def test_a_correlation_key_is_one_open_streams_only(journal: Journal) -> None:
    name, _ = await opened(journal, "key")
    with pytest.raises(Refused):
        await opened(journal, "key")
    assert await journal.submit(lambda tx: tx.find_open("key")) == name
    assert await journal.find_open("key") == name
    await journal.submit(lambda tx: tx.close_stream(name))
    assert await journal.find_open("key") is None
    other, _ = await opened(journal, "key")
    assert other != name
    assert await journal.submit(lambda tx: tx.earlier("key")) == ([], [name])
    assert [row.name for row in await journal.streams("incident/", open_only=True)] == [other]
    await opened(journal, None)
    await opened(journal, None)


async def test_only_one_of_many_opens_a_correlation_key(journal: Journal, open_journal: Open) -> None:
    other = await open_journal("r2")
    results = await asyncio.gather(*(opened(one, "key") for one in (journal, other) * 8), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Refused"] * 15 + ["tuple"]


async def test_what_a_list_shows_of_a_stream(journal: Journal) -> None:
    name, _ = await opened(journal)
    row = await journal.stream(name)
    assert row is not None
    assert (row.correlation, row.owner, row.seq) == ("key", "r1", 0)
    assert await journal.submit(lambda tx: tx.stream(name)) == row
    assert await journal.stream("nothing") is None
    with pytest.raises(Refused):
        await journal.submit(lambda tx: tx.close_stream("nothing"))


async def test_what_waits_in_a_lane_while_nobody_works_there_is_unattended(journal: Journal) -> None:
    name, claim = await opened(journal)
    other, theirs = await opened(journal, "other")
    assert await journal.in_hand("cut")
    assert await journal.unattended("cut", 0.0) == []
    await journal.release(claim, runnable_at=time.time() - 100, lane="cut")
    assert await journal.unattended("cut", 50.0) == [], "somebody works on the other one"
    assert await journal.unattended("cut", 50.0, but="r1") == [name]
    await journal.release(theirs, runnable_at=time.time() - 10, lane="cut")
    assert await journal.unattended("cut", 50.0) == [name]
    assert await journal.unattended("cut", 0.0) == [name, other]
    claimed = await journal.claim("r2", lane="cut", limit=9, seconds=9, overdue=50.0)
    assert [found.stream for found in claimed] == [name]
    assert await journal.claim("r2", lane="cut", limit=9, seconds=9, but=[other]) == []
    assert await journal.in_hand("cut")


async def test_a_frozen_stream_takes_nothing(journal: Journal) -> None:
    name, _ = await opened(journal, seconds=0)
    await journal.submit(lambda tx: tx.freeze(name, "its chain is broken"))
    with pytest.raises(Refused, match="its chain is broken"):
        await journal.append(name, [SEEN])
    assert await journal.claim("r1", lane="cut", limit=9, seconds=9) == []


async def test_a_frozen_stream_gives_its_key_up_to_another(journal: Journal) -> None:
    name, _ = await opened(journal, "key")
    await journal.submit(lambda tx: tx.freeze(name, "its chain is broken"))
    assert await journal.submit(lambda tx: tx.find_open("key")) is None
    assert await journal.submit(lambda tx: tx.earlier("key")) == ([name], [])
    assert await journal.submit(lambda tx: tx.earlier("ke")) == ([], [])
    other, _ = await opened(journal, "key")
    assert await journal.find_open("key") == other


async def test_a_stream_that_was_frozen_with_its_key_is_passed_over(journal: Journal) -> None:
    """As the first releases froze one."""
    name, _ = await opened(journal, "key")
    await journal.submit(lambda tx: tx._change(name, frozen="its chain is broken"))  # noqa: SLF001  # nothing does so any more
    assert await journal.submit(lambda tx: tx.find_all_open({"key", "other"})) == {}
    other, _ = await opened(journal, "key")
    assert await journal.submit(lambda tx: tx.find_open("key")) == other
    assert await journal.submit(lambda tx: tx.earlier("key")) == ([name], [])


# Claims


async def test_a_claim_that_ran_out_cannot_append(journal: Journal) -> None:
    name, claim = await opened(journal, seconds=0)
    with pytest.raises(LostClaim):
        await journal.append(name, [SEEN], claim=claim)
    with pytest.raises(LostClaim):
        await journal.submit(lambda tx: tx.append(name, [SEEN], claim))
    with pytest.raises(LostClaim):
        await journal.renew(claim, 60)
    assert await journal.read(name) == []


async def test_a_claim_that_another_has_cannot_append(journal: Journal, open_journal: Open) -> None:
    name, first = await opened(journal, seconds=0)
    other = await open_journal("r2")
    (second,) = await other.claim("r2", lane="cut", limit=9, seconds=60)
    assert second.fence == first.fence + 1
    with pytest.raises(LostClaim):
        await journal.append(name, [SEEN], claim=first)
    with pytest.raises(LostClaim):
        await journal.append(name, [SEEN], claim=first._replace(until=second.until + 1))
    with pytest.raises(LostClaim):
        await journal.append("system", [SEEN], claim=second)
    assert not await journal.release(first, runnable_at=LONG_AGO)
    assert await other.append(name, [SEEN], claim=second)


async def test_a_claim_lost_within_the_same_commit_is_lost(journal: Journal) -> None:
    name, claim = await opened(journal)
    results = await asyncio.gather(
        journal.append(name, [SEEN], claim=claim),
        journal.release(claim, runnable_at=None),
        journal.append(name, [SEEN], claim=claim),
        journal.append(name, [SEEN]),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [tuple, bool, LostClaim, tuple]
    assert [entry.seq for entry in await journal.read(name)] == [1, 2]


async def test_a_renewed_claim_goes_on(journal: Journal) -> None:
    name, claim = await opened(journal, seconds=30)
    renewed = await journal.renew(claim, 600)
    assert renewed.until > claim.until + 500
    assert await journal.append(name, [SEEN], claim=claim)
    assert await journal.claim("r2", lane="cut", limit=9, seconds=9) == []


async def test_the_longest_waiting_is_claimed_first_and_by_one_only(journal: Journal, open_journal: Open) -> None:
    names = []
    for place in range(6):
        name, claim = await opened(journal, f"k{place}")
        await journal.release(claim, runnable_at=LONG_AGO + 6 - place, lane="flow")
        names.append(name)
    assert await journal.claim("r1", lane="cut", limit=9, seconds=9) == []
    assert [c.stream for c in await journal.claim("r1", lane="flow", limit=2, seconds=9)] == [names[5], names[4]]
    other = await open_journal("r2")
    rest = await asyncio.gather(
        journal.claim("r1", lane="flow", limit=3, seconds=9), other.claim("r2", lane="flow", limit=3, seconds=9)
    )
    assert sorted(c.stream for claims in rest for c in claims) == names[:4]


async def test_released_streams_wait_for_their_time(journal: Journal) -> None:
    name, claim = await opened(journal)
    assert await journal.release(claim, runnable_at=datetime.now(UTC).timestamp() + 3600)
    assert await journal.claim("r1", lane="cut", limit=9, seconds=9) == []
    await journal.submit(lambda tx: tx.make_runnable(name, at=LONG_AGO, lane="flow"))
    (claim,) = await journal.claim("r1", lane="flow", limit=9, seconds=9)
    assert await journal.release(claim, runnable_at=None)
    assert await journal.claim("r1", lane="flow", limit=9, seconds=9) == []
    await journal.submit(lambda tx: tx.make_runnable(name, lane="cut"))
    assert len(await journal.claim("r1", lane="cut", limit=9, seconds=9)) == 1


@pytest.mark.parametrize("later", [None, datetime(2100, 1, 1, tzinfo=UTC)])
async def test_what_was_asked_for_during_a_claim_is_not_lost(journal: Journal, later: datetime | None) -> None:
    name, claim = await opened(journal)
    await journal.submit(lambda tx: tx.make_runnable(name))
    assert await journal.claim("r2", lane="cut", limit=9, seconds=9) == []
    assert await journal.release(claim, runnable_at=later, lane="flow")
    assert [found.stream for found in await journal.claim("r2", lane="cut", limit=9, seconds=9)] == [name]


async def test_a_later_wish_neither_delays_nor_moves_an_earlier_one(journal: Journal) -> None:
    name, claim = await opened(journal)
    await journal.release(claim, runnable_at=LONG_AGO)
    await journal.submit(lambda tx: tx.make_runnable(name, at=4e9, lane="flow"))
    assert [found.stream for found in await journal.claim("r2", lane="cut", limit=9, seconds=9)] == [name]


# Inbox


async def test_a_nonce_is_one_message_only(journal: Journal) -> None:
    async def put(nonce: str, body: bytes, source: str = "siem") -> tuple[str, bool, bool, str | None]:
        return await journal.put(kind="alert", source=source, nonce=nonce, body=body, headers={"a": "b"})

    first = await put("1", b"x")
    assert first[1:] == (True, False, None)
    assert await put("1", b"x") == (first[0], False, False, None)
    assert await put("1", b"y") == (first[0], False, True, None)
    assert (await put("1", b"y", "other"))[1:] == (True, False, None)
    (item, _) = await journal.waiting(9)
    assert (item.id, item.kind, item.nonce, item.body, item.headers) == (first[0], "alert", "1", b"x", {"a": "b"})
    assert item.digest == sha256(b"x")
    await journal.submit(lambda tx: tx.move(item.id, "incident/inc-2026-000001"))
    assert await put("1", b"x") == (first[0], False, False, "incident/inc-2026-000001")


async def test_a_body_without_an_id_may_come_again_once_no_open_incident_has_it(journal: Journal) -> None:
    async def put(nonce: str) -> bool:
        return (await journal.put(kind="alert", source="s", nonce=nonce, body=b"x", headers={})).fresh

    by_body, by_id = BY_BODY + "0" * 64, "0" * 64
    for nonce in (by_body, by_id):
        assert [await put(nonce), await put(nonce)] == [True, False]
    for item in await journal.waiting(9):
        await journal.submit(lambda tx, item=item: tx.move(item.id, None))  # type: ignore[misc]  # bound at once
    assert [await put(by_id), await put(by_body), await put(by_body)] == [False, True, False]

    name, _ = await opened(journal)
    (item,) = await journal.waiting(9)
    await journal.submit(lambda tx: tx.move(item.id, name))
    assert not await put(by_body)
    await journal.submit(lambda tx: tx.close_stream(name))
    assert [await put(by_body), await put(by_body)] == [True, False]


async def test_one_of_many_equal_messages_is_fresh(journal: Journal, open_journal: Open) -> None:
    other = await open_journal("r2", signer=None)
    receipts = await asyncio.gather(
        *(
            one.put(kind="alert", source="s", nonce=str(n % 10), body=b"%d" % (n % 20), headers={})
            for n in range(100)
            for one in (journal, other)
        )
    )
    assert sum(receipt.fresh for receipt in receipts) == 10
    assert sum(receipt.conflict for receipt in receipts) == 100
    assert len({receipt.id for receipt in receipts}) == 10


async def test_messages_are_moved_once_in_the_order_they_came(journal: Journal) -> None:
    for n, kind in enumerate(["alert", "request", "alert"]):
        await journal.put(kind=kind, source="s", nonce=str(n), body=b"", headers={})
    alerts = await journal.waiting(9, ["alert"])
    assert [item.nonce for item in alerts] == ["0", "2"]
    assert [(count.kind, count.waiting) for count in await journal.inbox_counts()] == [("alert", 2), ("request", 1)]
    await journal.submit(lambda tx: tx.move(alerts[0].id, None))
    for wrong in (alerts[0].id, "nothing"):
        with pytest.raises(Refused):
            await journal.submit(lambda tx, wrong=wrong: tx.move(wrong, None))  # type: ignore[misc]
    assert [item.nonce for item in await journal.waiting(1)] == ["1"]
    found = await journal.message(alerts[0].id)
    assert found == alerts[0]
    assert await journal.message("nothing") is None


async def test_a_message_that_the_database_cannot_hold_fails_alone(journal: Journal) -> None:
    async def put(nonce: str) -> bool:
        return (await journal.put(kind="alert", source="s", nonce=nonce, body=b"", headers={})).fresh

    results = await asyncio.gather(*(put(nonce) for nonce in ("a", "b\0", "c")), return_exceptions=True)
    assert results[0] is results[2] is True
    # SQLite can hold it.
    assert results[1] is True or isinstance(results[1], Refused)


# What units decide


async def test_the_first_hold_records_what_was_there(journal: Journal) -> None:
    async def hold(incident: str, before: str, after: str = "off") -> Any:  # noqa: ANN401
        return await journal.submit(
            lambda tx: tx.hold("gw/tool", incident=incident, lease="l1", server="s", before=before, after=after)
        )

    assert [await hold("i1", "on"), await hold("i2", "off"), await hold("i1", "off", "gone")] == ["on"] * 3
    first, second = await journal.holds(grip="gw/tool")
    assert (first.incident, first.before, first.after, first.original) == ("i1", "on", "gone", "on")
    assert (second.before, second.original) == ("off", "on")
    assert await journal.holds(incident="i2") == [second] == await journal.submit(lambda tx: tx.holds(incident="i2"))
    assert await journal.holds(lease="other") == []
    assert await journal.submit(lambda tx: tx.drop_hold("gw/tool", "i1", "l1")) == 1
    # Even when the first goes before the others, they know what to restore.
    assert await hold("i3", "off") == "on"
    assert await journal.submit(lambda tx: tx.drop_hold("gw/tool", "i2", "l1")) == 1
    assert await journal.submit(lambda tx: tx.drop_hold("gw/tool", "i3", "l1")) == 0
    assert await hold("i4", "new") == "new"


async def test_reservations(journal: Journal) -> None:
    async def unit(tx: Tx) -> None:
        for step, target in (("s1", "a"), ("s1", "b"), ("s2", "a"), ("s1", "a")):
            await tx.reserve("i1", step, target, server="srv", radius=2)
        await tx.reserve("i2", "s1", "a", server="srv", radius=1)

    await journal.submit(unit)
    assert len(await journal.reserved()) == 4
    await journal.submit(lambda tx: tx.unreserve("i1", "s1"))
    left = await journal.submit(lambda tx: tx.reserved())
    assert [(r.incident, r.step, r.target, r.radius) for r in left] == [("i1", "s2", "a", 2), ("i2", "s1", "a", 1)]
    assert all(0 <= r.age < 60 for r in left)
    await journal.submit(lambda tx: tx.unreserve("i1"))
    assert [r.incident for r in await journal.reserved()] == ["i2"]


async def test_something_is_used_once_by_however_many(journal: Journal, open_journal: Open) -> None:
    other = await open_journal("r2")
    results = await asyncio.gather(
        *(one.submit(lambda tx: tx.use_once("approval", "n1")) for one in (journal, other) * 10),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["NoneType"] + ["Refused"] * 19
    await journal.submit(lambda tx: tx.use_once("request", "n1"))


async def test_stops(journal: Journal, open_journal: Open) -> None:
    first = await journal.submit(lambda tx: tx.stop("everything", "drill", "ann"))
    second = await journal.submit(lambda tx: tx.stop("server:x", "odd", "bob"))
    again = await journal.submit(lambda tx: tx.stop("everything", "no drill", "bob"))
    assert first.seq < second.seq < again.seq
    other = await open_journal("cli", signer=None)
    assert await other.stops() == [second, again] == await journal.submit(lambda tx: tx.stops())
    assert await journal.submit(lambda tx: tx.unstop("everything"))
    assert not await journal.submit(lambda tx: tx.unstop("everything"))
    assert await other.stops() == [second]


async def test_stops_of_the_first_release_are_on_until_somebody_ends_them(journal: Journal, sql: Sql) -> None:
    await sql("INSERT INTO stop (scope, reason, by, at, seq) VALUES ('everything', 'drill', 'ann', 1.5, 1)")
    old = Stop("everything", "drill", "ann", 1.5, 1)
    assert await journal.stops() == [old] == await journal.submit(lambda tx: tx.stops())
    await journal.submit(lambda tx: tx.stop("server:x", "odd", "bob"))
    assert [stop.scope for stop in await journal.stops()] == ["everything", "server:x"]
    assert await journal.submit(lambda tx: tx.unstop("everything"))
    assert [stop.scope for stop in await journal.stops()] == ["server:x"], "the row of old counts no more"


async def test_stops_that_cannot_be_read_raise(journal: Journal, sql: Sql) -> None:
    await journal.submit(lambda tx: tx.stop("everything", "drill", "ann"))
    await sql("UPDATE entry SET data = hash WHERE stream = 'switches'")
    with pytest.raises(Tampered):
        await journal.stops()


async def test_a_stop_cannot_be_rolled_back_under_who_saw_it(journal: Journal, open_journal: Open, sql: Sql) -> None:
    await journal.submit(lambda tx: tx.stop("server:x", "odd", "bob"))
    other = await open_journal("r2")
    await journal.submit(lambda tx: tx.stop("everything", "drill", "ann"))
    for one in (journal, other):
        assert len(await one.stops()) == 2
    await sql(
        "DELETE FROM entry WHERE stream = 'switches' AND seq = 2",
        "UPDATE stream SET seq = 1, hash = (SELECT hash FROM entry WHERE stream = 'switches') WHERE name = 'switches'",
    )
    for one in (journal, other):
        with pytest.raises(Tampered):
            await one.stops()
        with pytest.raises(Tampered):
            await one.submit(lambda tx: tx.unstop("server:x"))


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_stop_cannot_be_deleted_under_who_starts_afterwards(
    journal: Journal, open_journal: Open, sql: Sql, kept: int
) -> None:
    await journal.submit(lambda tx: tx.stop("server:x", "odd", "bob"))
    await journal.submit(lambda tx: tx.stop("everything", "drill", "ann"))
    assert len(await (await open_journal("r2")).stops()) == 2
    cut = (
        "UPDATE stream SET seq = 1, hash = (SELECT hash FROM entry WHERE stream = 'switches') WHERE name = 'switches'"
        if kept
        else "DELETE FROM stream WHERE name = 'switches'"
    )
    await sql(f"DELETE FROM entry WHERE stream = 'switches' AND seq > {kept}", cut)  # noqa: S608  # of our own making
    for signer in ({}, {"signer": None}):
        with pytest.raises(Tampered):
            await (await open_journal("r3", **signer)).stops()
    with pytest.raises(Tampered):
        await (await open_journal("r4")).submit(lambda tx: tx.unstop("server:x"))


async def test_the_latest_check_of_a_lease(journal: Journal) -> None:
    await journal.set_watch(lease="l1", incident="i1", verdict="established")
    await journal.set_watch(lease="l2", incident="i1", verdict="established")
    await journal.set_watch(lease="l1", incident="i1", verdict="unknown")
    assert [(w.lease, w.verdict) for w in await journal.watched()] == [("l1", "unknown"), ("l2", "established")]
    await journal.submit(lambda tx: tx.drop_watch("l1"))
    assert [w.lease for w in await journal.watched()] == ["l2"]


# Pokes


async def test_a_poke_wakes_who_listens(journal: Journal, open_journal: Open) -> None:
    receiver = await open_journal("receiver", signer=None)
    async with journal.listen() as wait:
        await wait(0)
        await receiver.poke()
        assert await wait(30)
        assert not await wait(0)
        await receiver.put(kind="alert", source="s", nonce="1", body=b"", headers={})
        assert await wait(30)
    await receiver.poke()


async def test_pokes_are_held_apart_and_the_first_after_a_quiet_time_wakes_at_once(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with journal.listen() as wait:
        await wait(0)
        monkeypatch.setattr("integrations.journal.poke.APART", 0.5)
        assert not await wait(0.5)
        began = time.monotonic()
        await journal.poke()
        assert await wait(30)
        assert time.monotonic() - began < 0.5
        for _ in range(3):
            await journal.poke()
        assert await wait(30)
        assert time.monotonic() - began >= 0.5
        assert not await wait(0), "several are one"


async def test_nobody_needs_to_listen(journal: Journal, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("integrations.journal.poke.KNOWN_SECONDS", 0)
    await journal.poke()
    await sql("INSERT INTO responder VALUES ('dead@1', '127.0.0.1:9', 4e9), ('old@1', '127.0.0.1:9', 1)")
    await journal.poke()
    async with journal.listen() as wait:
        await wait(0)
        await journal.poke()
        assert await wait(30)


async def test_a_poke_never_raises(open_journal: Open) -> None:
    journal = await open_journal()  # not even migrated
    await journal.poke()
    async with journal.listen() as wait:
        await wait(0)


# Both databases at once are never right


async def test_a_journal_that_cannot_be_reached_is_transient(key: SigningKey) -> None:
    async with await Journal.open("postgresql://nobody@127.0.0.1:9/none", signer=key, name="r1") as journal:
        assert not await journal.ready()
        for attempt in (journal.stops(), journal.append("a", [SEEN]), journal.migrate()):
            with pytest.raises(Transient):
                await attempt
        with pytest.raises(Transient):
            await journal.put(kind="alert", source="s", nonce="1", body=b"", headers={})
        await journal.poke()


async def test_a_storm_of_messages_asks_who_listens_once_at_a_time(journal: Journal) -> None:
    asked = 0
    read = journal._poker._listening  # noqa: SLF001  # what it costs has no public name

    async def counted() -> list[tuple[str, int]]:
        nonlocal asked
        asked += 1
        return await read()

    journal._poker._listening = counted  # type: ignore[method-assign]  # noqa: SLF001  # as above
    async with journal.listen() as wait:
        await wait(0)
        puts = (journal.put(kind="alert", source="s", nonce=str(n), body=b"", headers={}) for n in range(200))
        assert all(receipt.fresh for receipt in await asyncio.gather(*puts))
        assert await wait(30)
    # PostgreSQL pokes with the commit, and asks nobody.
    assert asked in (range(1, 11) if journal.dialect == "sqlite" else range(1))
