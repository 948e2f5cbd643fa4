"""Whoever changes rows behind the journal's back is found out."""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from integrations.journal import Journal, Tampered
from integrations.journal.client import address
from integrations.journal.store import UnknownSigner
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, Refused
from playbooks.record.journal import Added, Entry, Event, Fault, Head, entry, head_data, link
from tests.lab.accounts import account

Open = Callable[..., Awaitable[Journal]]
Sql = Callable[..., Awaitable[Any]]


@pytest.fixture
async def full(journal: Journal) -> Journal:
    """Give a journal of five heads: `a` has four entries, `b` one, `c` two."""
    for stream, kinds in (("a", "xy"), ("b", "x"), ("c", "x"), ("a", "zz"), ("c", "y")):
        await journal.append(stream, [Event(kind, {"who": kind}) for kind in kinds])
    return journal


async def places(journal: Journal, key: SigningKey, *witnesses: Head) -> set[tuple[str, int]]:
    return {fault[:2] for fault in await journal.verify(public_keys=[key.public], witnesses=witnesses)}


async def test_what_nobody_touched_has_no_fault(full: Journal, key: SigningKey) -> None:
    told: list[tuple[int, int]] = []
    witness = await full.head_latest()
    assert witness is not None
    faults = await full.verify(public_keys=[key.public], witnesses=[witness], progress=lambda *now: told.append(now))
    assert faults == []
    assert told[-1] == (7, 5)


async def test_an_empty_journal_has_no_fault(journal: Journal, key: SigningKey) -> None:
    assert await journal.head_latest() is None
    assert await journal.heads_for(["a"]) == []
    assert await journal.verify(public_keys=[key.public]) == []


async def test_verifying_in_small_pieces_is_the_same(
    full: Journal, key: SigningKey, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "integrations.journal.verify"
    from integrations.journal import verify  # noqa: PLC0415  # its statements are made of what is patched

    monkeypatch.setattr(f"{module}.CHUNK", 4)
    monkeypatch.setattr(f"{module}._ENTRIES", verify._ENTRIES.limit(1))  # noqa: SLF001
    monkeypatch.setattr(f"{module}._HEADS", verify._HEADS.limit(2))  # noqa: SLF001
    assert await places(full, key) == set()
    await sql("UPDATE entry SET data = hash WHERE stream = 'c' AND seq = 1")
    assert await places(full, key) == {("c", 1)}


@pytest.mark.parametrize(
    ("statements", "stream", "seq", "all_faults"),
    [
        (["UPDATE entry SET data = hash WHERE stream = 'a' AND seq = 2"], "a", 2, {("a", 2)}),
        (["UPDATE entry SET hash = data WHERE stream = 'a' AND seq = 4"], "a", 4, {("a", 4)}),
        (["DELETE FROM entry WHERE stream = 'a' AND seq = 1"], "a", 1, {("a", 1), ("a", 2)}),
        (["DELETE FROM entry WHERE stream = 'a' AND seq = 3"], "a", 3, {("a", 3), ("a", 4)}),
        (["DELETE FROM entry WHERE stream = 'a' AND seq = 4"], "a", 4, {("a", 3), ("a", 4)}),
        (
            [
                "UPDATE entry SET seq = 9 WHERE stream = 'a' AND seq = 2",
                "UPDATE entry SET seq = 2 WHERE stream = 'a' AND seq = 3",
                "UPDATE entry SET seq = 3 WHERE stream = 'a' AND seq = 9",
            ],
            "a",
            2,
            {("a", 2)},
        ),
        (["DELETE FROM entry WHERE stream = 'b'"], "b", 1, {("b", 1)}),
        (["UPDATE stream SET hash = (SELECT hash FROM head WHERE n = 1) WHERE name = 'b'"], "b", 1, {("b", 1)}),
        (["UPDATE stream SET seq = 3 WHERE name = 'a'"], "a", 4, {("a", 3)}),
        (["UPDATE entry SET stream = 'b', seq = 2 WHERE stream = 'c' AND seq = 2"], "b", 2, {("b", 2), ("c", 2)}),
    ],
)
async def test_a_changed_row_is_found_by_reading_and_by_verifying(  # noqa: PLR0917
    full: Journal,
    key: SigningKey,
    sql: Sql,
    statements: list[str],
    stream: str,
    seq: int,
    all_faults: set[tuple[str, int]],
) -> None:
    await sql(*statements)
    with pytest.raises(Tampered) as caught:
        await full.read(stream)
    assert (caught.value.stream, caught.value.seq) == (stream, seq)
    with pytest.raises(Tampered):
        await full.submit(lambda tx: tx.read(stream))
    found = await places(full, key)
    assert (stream, min(seq, 4)) in found or all_faults <= found
    assert {name for name, _ in found} == {name for name, _ in all_faults}


async def test_a_tail_cut_off_with_its_tip_is_found_by_the_heads(full: Journal, key: SigningKey, sql: Sql) -> None:
    await sql(
        "DELETE FROM entry WHERE stream = 'a' AND seq > 2",
        "UPDATE stream SET seq = 2, hash = (SELECT hash FROM entry WHERE stream = 'a' AND seq = 2) WHERE name = 'a'",
    )
    assert len(await full.read("a")) == 2
    assert await places(full, key) == {("a", 4)}


async def test_a_stream_that_is_gone_is_found_by_the_heads(full: Journal, key: SigningKey, sql: Sql) -> None:
    await sql("DELETE FROM entry WHERE stream = 'b'", "DELETE FROM stream WHERE name = 'b'")
    assert await full.read("b") == []
    assert await places(full, key) == {("b", 1)}


async def test_a_row_that_is_gone_is_found(full: Journal, key: SigningKey, sql: Sql) -> None:
    await sql("DELETE FROM stream WHERE name = 'b'")
    assert await places(full, key) == {("b", 1)}
    with pytest.raises(Tampered):
        await full.append("b", [Event("again", {})])
    assert await full.append("c", [Event("others go on", {})])


async def lost(journal: Journal, stream: str) -> int:
    """Return where reading and appending both find a stream not to be as it was written."""
    places = []
    for attempt in (journal.read(stream), journal.append(stream, [Event("genuine", {})])):
        with pytest.raises(Tampered) as caught:
            await attempt
        assert caught.value.stream == stream
        places.append(caught.value.seq)
    assert places[0] == places[1]
    return places[0]


async def forge(sql: Sql, stream: str, seq: int, previous: bytes, kind: str) -> Entry:
    """Write an entry as the journal would, but without a key."""
    forged = entry(stream, seq, previous, "2026-01-01T00:00:00.000Z", Event(kind, {}))
    await sql("DELETE FROM entry WHERE stream = :s AND seq = :n", s=stream, n=seq)
    await sql(
        "INSERT INTO entry (stream, seq, kind, data, hash, head) VALUES (:s, :n, :k, :d, :h, 1)",
        s=stream,
        n=seq,
        k=kind,
        d=forged.data,
        h=forged.hash,
    )
    return forged


async def set_tip(sql: Sql, last: Entry) -> None:
    await sql("UPDATE stream SET seq = :n, hash = :h WHERE name = :s", s=last.stream, n=last.seq, h=last.hash)


async def test_an_entry_added_without_a_key_is_found_and_nothing_goes_on_top_of_it(
    full: Journal, open_journal: Open, key: SigningKey, sql: Sql
) -> None:
    last = (await full.read("b"))[-1]
    await set_tip(sql, await forge(sql, "b", 2, last.hash, "forged"))
    for journal in (full, await open_journal("r2")):
        assert await lost(journal, "b") == 2
        with pytest.raises(Tampered):
            await journal.submit(lambda tx: tx.read("b"))
        assert await journal.append("c", [Event("others go on", {})])
    assert await places(full, key) == {("b", 2)}


async def test_an_entry_added_without_a_key_stays_found_under_genuine_ones(
    full: Journal, key: SigningKey, sql: Sql
) -> None:
    last = (await full.read("b"))[-1]
    forged = await forge(sql, "b", 2, last.hash, "forged")
    await set_tip(sql, forged)
    # As a responder that believes whatever is there, like those of the first release.
    full._proof.know(forged.hash)  # noqa: SLF001
    await full.append("b", [Event("genuine", {}), Event("genuine", {})])
    assert await places(full, key) == {("b", 2)}


async def test_what_nobody_signed_is_set_apart_and_stays_found(
    full: Journal, open_journal: Open, key: SigningKey, sql: Sql
) -> None:
    last = (await full.read("b"))[-1]
    for _ in range(2):
        first = await forge(sql, "b", 2, last.hash, "forged")
        await set_tip(sql, await forge(sql, "b", 3, first.hash, "forged"))
        assert await full.submit(lambda tx: tx.set_apart("b")) == 2
    assert await full.submit(lambda tx: tx.set_apart("b")) == 0
    assert await full.read("b") == [last]
    genuine = await full.append("b", [Event("genuine", {})])
    assert await (await open_journal("r2")).read("b") == [last, *genuine]
    assert await places(full, key) == {("unsigned/1/b", 3), ("unsigned/2/b", 3)}


async def test_nothing_is_set_apart_from_where_signed_entries_are_gone(full: Journal, sql: Sql) -> None:
    first = await forge(sql, "c", 1, bytes(32), "forged")
    await set_tip(sql, await forge(sql, "c", 2, first.hash, "forged"))
    with pytest.raises(Tampered):
        await full.submit(lambda tx: tx.set_apart("c"))


async def test_a_rewritten_stream_is_found(full: Journal, key: SigningKey, sql: Sql) -> None:
    first = await forge(sql, "c", 1, bytes(32), "forged")
    await set_tip(sql, await forge(sql, "c", 2, first.hash, "forged"))
    assert await lost(full, "c") == 2
    found = await full.verify(public_keys=[key.public])
    assert {fault.stream for fault in found} == {"c"}
    assert any("not the entry that head" in fault.message for fault in found)


async def test_a_head_without_a_key_is_found_even_under_later_ones(full: Journal, key: SigningKey, sql: Sql) -> None:
    latest = await full.head_latest()
    assert latest is not None
    last = (await full.read("b"))[-1]
    forged = await forge(sql, "b", 2, last.hash, "forged")
    await set_tip(sql, forged)
    data = head_data(6, "2026-01-01T00:00:00.000Z", key.id, [Added("b", 2, forged.hash, 2)])
    digest = link(latest.hash, data)
    await sql("INSERT INTO head VALUES (6, :d, :h, :s)", d=data, h=digest, s=bytes(64))
    await sql("UPDATE chain SET n = 6, hash = :h", h=digest)
    assert await places(full, key) == {("heads", 6)}
    assert await lost(full, "b") == 2
    # What was not touched goes on from there; it stays found.
    await full.append("a", [Event("genuine", {})])
    assert await places(full, key) == {("heads", 6)}


async def test_bytes_under_the_signature_of_other_bytes_prove_nothing(
    full: Journal, open_journal: Open, key: SigningKey, sql: Sql
) -> None:
    last = (await full.read("b"))[-1]
    forged = await forge(sql, "b", 2, last.hash, "forged")
    await set_tip(sql, forged)
    data = head_data(5, "2026-01-01T00:00:00.000Z", key.id, [Added("b", 2, forged.hash, 2)])
    await sql("UPDATE head SET data = :d WHERE n = 5", d=data)
    await sql("UPDATE entry SET head = 5 WHERE stream = 'b' AND seq = 2")
    assert await lost(await open_journal("r2"), "b") == 2


async def test_heads_of_a_strangers_key_are_found(
    full: Journal, open_journal: Open, key: SigningKey, tmp_path: Path
) -> None:
    stranger = SigningKey.generate(tmp_path / "stranger.key")
    assert await places(full, stranger) == {("heads", n) for n in range(1, 6)}

    class Liar:
        """Signs with a key of its own in another's name."""

        id = key.id
        public = key.public
        sign = staticmethod(stranger.sign)

    await (await open_journal("r2", signer=Liar())).append("a", [Event("x", {})])
    assert await places(full, key) == {("heads", 6)}


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["UPDATE head SET data = hash WHERE n = 3"], ("heads", 3)),
        (["UPDATE head SET hash = data WHERE n = 3"], ("heads", 3)),
        (["UPDATE head SET signature = hash WHERE n = 3"], ("heads", 3)),
        (["DELETE FROM head WHERE n = 2"], ("heads", 2)),
        (["DELETE FROM head WHERE n = 5"], ("heads", 5)),
        (
            [
                "UPDATE head SET n = 9 WHERE n = 2",
                "UPDATE head SET n = 2 WHERE n = 3",
                "UPDATE head SET n = 3 WHERE n = 9",
            ],
            ("heads", 2),
        ),
        (["DELETE FROM head"], ("heads", 1)),
        (["UPDATE chain SET n = 4"], ("heads", 6)),
        (["DELETE FROM chain"], ("heads", 6)),
    ],
)
async def test_a_changed_head_is_found(
    full: Journal, key: SigningKey, sql: Sql, statements: list[str], found: tuple[str, int]
) -> None:
    await sql(*statements)
    assert found in await places(full, key)


async def test_a_journal_without_its_chain_takes_nothing(full: Journal, sql: Sql) -> None:
    await sql("DELETE FROM chain")
    with pytest.raises(Tampered):
        await full.append("a", [Event("x", {})])


async def test_a_lost_tail_is_found_against_a_witness_only(full: Journal, key: SigningKey, sql: Sql) -> None:
    witness = await full.head_latest()
    assert witness is not None
    await sql(
        "DELETE FROM entry WHERE head > 3",
        "DELETE FROM head WHERE n > 3",
        "UPDATE chain SET n = 3, hash = (SELECT hash FROM head WHERE n = 3)",
        "UPDATE stream SET seq = (SELECT max(seq) FROM entry WHERE entry.stream = stream.name)",
        "UPDATE stream SET hash = (SELECT hash FROM entry e WHERE e.stream = stream.name AND e.seq = stream.seq)",
    )
    assert await places(full, key) == set()
    assert await places(full, key, witness) == {("heads", 4)}
    # Written over by a responder that goes on, it is another head of that number.
    for _ in range(2):
        await full.append("a", [Event("later", {})])
    assert await places(full, key, witness) == {("heads", 5)}


async def test_every_responders_key_counts(full: Journal, open_journal: Open, key: SigningKey, tmp_path: Path) -> None:
    second = SigningKey.generate(tmp_path / "second.key")
    other = await open_journal("r2", signer=second)
    with pytest.raises(UnknownSigner):
        await other.append("a", [Event("x", {})])
    keys: list[PublicKey] = [key.public]
    other = await open_journal("r2", signer=second, keys=keys)
    await other.append("a", [Event("x", {})])
    with pytest.raises(UnknownSigner):
        await full.read("a")
    assert [fault[:2] for fault in await full.verify(public_keys=keys)] == [("heads", 6)]
    assert await full.verify(public_keys=[*keys, second.public]) == []


async def test_heads_for_a_bundle_are_a_part_without_a_gap(full: Journal) -> None:
    assert [head.n for head in await full.heads_for(["a"])] == [1, 2, 3, 4]
    assert [head.n for head in await full.heads_for(["c"])] == [2, 3, 4, 5]
    assert [head.n for head in await full.heads_for(["b"])] == [1, 2]
    assert [head.n for head in await full.heads_for(["b", "c"])] == [1, 2, 3, 4, 5]
    heads = await full.heads_for(["c"])
    assert all(link(one.hash, two.data) == two.hash for one, two in pairwise(heads))
    assert json.loads(heads[-1].data)["tips"][0][0] == "c"
    assert heads[-1] == await full.head_latest()


async def test_faults_of_one_stream_do_not_hide_those_of_another(full: Journal, key: SigningKey, sql: Sql) -> None:
    await sql("UPDATE entry SET data = hash WHERE seq = 1")
    found: list[Fault] = await full.verify(public_keys=[key.public])
    assert {("a", 1), ("b", 1), ("c", 1)} <= {fault[:2] for fault in found}


# The receiver's role


@asynccontextmanager
async def signed_in(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(address(url))
    yield engine
    await engine.dispose()


async def test_the_receivers_role_puts_and_does_nothing_else(postgres_url: str, key: SigningKey) -> None:
    async with (
        account(postgres_url, "receiver") as (role, mine),
        await Journal.open(postgres_url, signer=key, name="r1") as owner,
        await Journal.open(mine, signer=key, name="receiver") as receiver,
        signed_in(mine) as as_receiver,
    ):
        await owner.migrate()
        await owner.grant(role, "receiver")
        await owner.append("a", [Event("x", {})])

        assert await receiver.ready()
        put = {"kind": "alert", "source": "s", "nonce": "1", "headers": {}}
        first = await receiver.put(**put, body=b"x")  # type: ignore[arg-type]
        assert first.fresh
        assert (await receiver.put(**put, body=b"y")).conflict  # type: ignore[arg-type]
        await owner.submit(lambda tx: tx.move(first.id, "a"))
        assert (await receiver.put(**put, body=b"x")).incident == "a"  # type: ignore[arg-type]
        async with owner.listen() as wait:
            await wait(0)
            await receiver.put(**{**put, "nonce": "2"}, body=b"x")  # type: ignore[arg-type]
            assert await wait(30)

        for attempt in (
            receiver.append("a", [Event("forged", {})]),
            receiver.read("a"),
            receiver.waiting(9),
            receiver.stops(),
            receiver.migrate(),
        ):
            with pytest.raises((Misconfigured, Refused)):
                await attempt
        for statement in (
            "SELECT body FROM inbox",
            "SELECT * FROM inbox",
            "UPDATE inbox SET incident = 'b'",
            "DELETE FROM inbox",
            "TRUNCATE inbox",
            "INSERT INTO inbox (id, received_at) VALUES ('1', 1)",
            "INSERT INTO inbox (id, incident) VALUES ('1', 'b')",
            *(f"TABLE {table}" for table in ("entry", "stream", "head", "chain", "hold", "used", "stop")),
            "INSERT INTO stop VALUES ('s', 'r', 'b', 1, 1)",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                async with as_receiver.begin() as connection:
                    await connection.exec_driver_sql(statement)
        assert len(await owner.read("a")) == 1


async def test_a_receiver_puts_alerts_and_a_worker_what_people_sign(postgres_url: str, key: SigningKey) -> None:
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(await Journal.open(postgres_url, signer=key, name="r1"))
        engine = await stack.enter_async_context(signed_in(postgres_url))
        await owner.migrate()
        parts: dict[str, Journal] = {}
        of: tuple[Literal["receiver", "worker"], ...] = ("receiver", "worker")
        for part in of:
            role, mine = await stack.enter_async_context(account(postgres_url, part))
            # Started again, or by a second responder: the rights are given anew.
            for _ in range(2):
                await owner.grant(role, part)
            parts[part] = await stack.enter_async_context(await Journal.open(mine, signer=None, name=part))
        rows = [("alert", "siem"), ("request", "prefect"), ("code", "prefect"), ("request", "person"), ("code", "siem")]
        may: dict[str, list[tuple[str, str]]] = {part: [] for part in parts}
        for name, journal in parts.items():
            for kind, source in rows:
                put = {"kind": kind, "source": source, "nonce": f"{name} {kind}", "body": b"x", "headers": {}}
                with contextlib.suppress(Misconfigured, Refused):
                    assert (await journal.put(**put)).fresh  # type: ignore[arg-type]
                    assert not (await journal.put(**put)).fresh  # type: ignore[arg-type]
                    may[name].append((kind, source))
        assert may == {"receiver": rows[:1], "worker": rows[1:3]}
        assert sorted(item.kind for item in await owner.waiting(9)) == ["alert", "code", "request"]
        # What Journal.put would not let through, the database does not either.
        for name in ("id", "nonce", "digest"):
            row = {"id": "i", "nonce": "n", "digest": "d"} | {name: "x" * 5000}
            values = f"'{row['id']}', 'alert', 'siem', '{row['nonce']}', '{row['digest']}', '', ''"
            with pytest.raises(DBAPIError, match="inbox_bounds"):
                async with engine.begin() as connection:
                    await connection.exec_driver_sql(
                        f"INSERT INTO inbox (id, kind, source, nonce, digest, body, headers) VALUES ({values})"  # noqa: S608  # of our own making
                    )


async def test_a_reader_reads_and_verifies_what_is_written_and_neither_writes_nor_sees_the_inbox(
    postgres_url: str, key: SigningKey
) -> None:
    async with (
        account(postgres_url, "reader") as (role, mine),
        await Journal.open(postgres_url, signer=key, name="r1") as owner,
        await Journal.open(mine, signer=None, name="r", keys=[key.public]) as reader,
        signed_in(mine) as as_reader,
    ):
        await owner.migrate()
        await owner.grant(role, "reader")
        await owner.append("a", [Event("x", {})])
        assert len(await reader.read("a")) == 1
        assert not await reader.stops()
        assert not await reader.suppressions()
        assert not await reader.verify(public_keys=[key.public])
        for statement in (
            "SELECT * FROM inbox",
            "INSERT INTO inbox (id, kind, source, nonce) VALUES ('1', 'request', 'prefect', '1')",
            "UPDATE entry SET data = hash",
            "DELETE FROM head",
            "CREATE TABLE mine (id int)",
        ):
            with pytest.raises(DBAPIError, match="permission denied"):
                async with as_reader.begin() as connection:
                    await connection.exec_driver_sql(statement)


async def test_what_a_responder_wrote_that_nobody_told_us_of_is_neither_believed_nor_taken_for_forged(
    full: Journal, open_journal: Open, tmp_path: Path
) -> None:
    other = SigningKey.generate(tmp_path / "other.key")
    stranger = await open_journal("r2", signer=other)
    with pytest.raises(UnknownSigner, match="none of `responders`"):
        await stranger.read("a")
    with pytest.raises(UnknownSigner):
        await stranger.append("a", [Event("z", {})])
    # It may be genuine: nothing of it is moved out of the way.
    with pytest.raises(UnknownSigner):
        await stranger.submit(lambda tx: tx.set_apart("a"))
    assert len(await full.read("a")) == 4
    # One stream of another's keeps nobody from a stream of one's own.
    await stranger.append("d", [Event("z", {})])
    with pytest.raises(UnknownSigner, match=other.id[:19]):
        await full.read("d")
    friend = await open_journal("r3", keys=[other.public])
    assert len(await friend.read("d")) == 1
    await friend.append("d", [Event("z", {})])
