"""What holds for every vault, in a folder and in a bucket: it keeps what it is given, once, and whole or not at all."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from integrations.vault import TooLarge
from integrations.vault.local import LocalVault
from playbooks.errors import Refused
from playbooks.record.evidence import Authority, Method
from playbooks.strict import sha256
from tests.lab.exhibits import AT, INCIDENT, LOGS, SEALING, SMALL, kept, read
from tests.lab.exhibits import pod_logs as _seal
from tests.lab.vaults import KeptIn

pytestmark = pytest.mark.parametrize("evidence_kept", ["folder", "s3"], indirect=True)


async def test_what_is_sealed_can_be_read(evidence_kept: KeptIn) -> None:
    vault = evidence_kept.vault()
    exhibit = await _seal(vault)
    assert exhibit.id == "x-0001-pod-logs"
    assert [(file.name, file.size, file.sha256) for file in exhibit.files] == [
        (name, len(data), sha256(data)) for name, data in LOGS.items()
    ]
    assert [line.act for line in exhibit.custody] == ["collected", "sealed"]
    for name, data in LOGS.items():
        assert await asyncio.to_thread(read, vault, INCIDENT, exhibit.id, name) == data
    assert await vault.list(INCIDENT) == (exhibit,)
    assert await vault.find(INCIDENT, exhibit.id) == exhibit
    assert await vault.whole(INCIDENT, exhibit.id) == exhibit
    assert await vault.find(INCIDENT, "x-0002-pod-logs") is None
    assert await vault.whole(INCIDENT, "x-0002-pod-logs") is None
    assert await vault.find("inc-2", exhibit.id) is None
    assert await vault.list("inc-2") == ()
    assert await vault.verify(INCIDENT, [exhibit]) == ()
    assert await vault.faults() == ()
    with pytest.raises(Refused, match="no exhibit"):
        await asyncio.to_thread(read, vault, INCIDENT, "x-0002-pod-logs", "a.log")
    with pytest.raises(Refused, match="no file"):
        await asyncio.to_thread(read, vault, INCIDENT, exhibit.id, "c.log")


async def test_exhibits_are_listed_by_number(evidence_kept: KeptIn) -> None:
    vault = evidence_kept.vault()
    for number in (10_000, 2, 0):
        await _seal(vault, number=number)
    assert [exhibit.number for exhibit in await vault.list(INCIDENT)] == [0, 2, 10_000]


async def test_the_same_bytes_again_are_the_same_exhibit(evidence_kept: KeptIn) -> None:
    first = await _seal(evidence_kept.vault())
    before = evidence_kept.lying()
    assert await _seal(evidence_kept.vault()) == first
    assert await _seal(evidence_kept.vault(), dict(reversed(LOGS.items()))) == first
    assert evidence_kept.lying() == before


@pytest.mark.parametrize(
    "other",
    [
        {"a.log": b"line\n"},
        {**SMALL, "b.log": b"x"},
        {"a.log": b"line\n", "c.log": b""},
        {**SMALL, "c.log": b"line\n"},
        LOGS,
    ],
)
async def test_other_bytes_under_the_same_id_are_refused(evidence_kept: KeptIn, other: dict[str, bytes]) -> None:
    vault = evidence_kept.vault()
    await _seal(vault, SMALL)
    before = evidence_kept.lying()
    with pytest.raises(Refused, match="other bytes"):
        await _seal(vault, other)
    assert evidence_kept.lying() == before


async def test_many_at_once_seal_it_once(evidence_kept: KeptIn) -> None:
    exhibits = await asyncio.gather(*(_seal(evidence_kept.vault()) for _ in range(5)))
    assert all(exhibit == exhibits[0] for exhibit in exhibits)
    assert await evidence_kept.vault().verify(INCIDENT, exhibits[:1]) == ()


HOSTILE = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "A.log",
    ".hidden",
    "a\0",
    "a\n",
    "\uff41",
    "-rf",
    "a" * 101,
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_no_name_leads_out_of_the_vault(evidence_kept: KeptIn, name: str) -> None:
    vault = evidence_kept.vault()
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: _seal(vault, {name: b"x"}),
        lambda: kept(vault, INCIDENT, 1, name, SMALL),
        lambda: kept(vault, name, 1, "pod-logs", SMALL),
        lambda: vault.find(name, "x-0001-pod-logs"),
        lambda: vault.find(INCIDENT, name),
        lambda: vault.list(name),
        lambda: asyncio.to_thread(read, vault, name, "x-0001-pod-logs", "a.log"),
        lambda: asyncio.to_thread(read, vault, INCIDENT, name, "a.log"),
        lambda: asyncio.to_thread(read, vault, INCIDENT, "x-0001-pod-logs", name),
        lambda: vault.verify(name),
    ]
    for call in calls:
        with pytest.raises(Refused):
            await call()
    assert evidence_kept.lying() == {}


async def test_an_exhibit_has_files_with_different_names(evidence_kept: KeptIn) -> None:
    many = {f"{number}.log": b"" for number in range(1001)}
    for files in ({}, many):
        with pytest.raises(Refused, match="1 to 1000 files"):
            await _seal(evidence_kept.vault(), files)
    async with evidence_kept.vault().draft(INCIDENT, 1, "pod-logs") as draft:
        await draft.add("a.log", b"", media_type="text/plain", origin="o")
        with pytest.raises(Refused, match="same name"):
            await draft.add("a.log", b"", media_type="text/plain", origin="o")
        async with draft.file("b.log", media_type="text/plain", origin="o"):
            with pytest.raises(Refused, match="before"):
                await draft.add("c.log", b"", media_type="text/plain", origin="o")
    assert evidence_kept.lying() == {}


async def test_a_record_that_has_no_canonical_form_is_refused_whole(evidence_kept: KeptIn) -> None:
    for files in (LOGS, SMALL):
        with pytest.raises(Refused, match="record"):
            await _seal(evidence_kept.vault(), files, params={"bytes": 2**60})
    assert evidence_kept.lying() == {}


@pytest.mark.parametrize("bad", ["two\nlines", "a\u202eb", "x" * 2001])
async def test_what_no_record_can_say_is_refused_before_a_byte_of_it(evidence_kept: KeptIn, bad: str) -> None:
    async with evidence_kept.vault().draft(INCIDENT, 1, "pod-logs") as draft:
        for words in ({"media_type": bad, "origin": "o"}, {"media_type": "text/plain", "origin": bad}):
            with pytest.raises(Refused):
                await draft.add("a.log", b"x", **words)
        assert draft.size == 0


async def test_no_more_is_held_than_a_few_mebibytes_however_it_comes(evidence_kept: KeptIn) -> None:
    vault = evidence_kept.vault()
    pieces = {"a.log": [b"x" * 300_000] * 30, "b.log": [b"y" * (6 << 20)], "c.log": [b"z"] * 100}
    async with vault.draft(INCIDENT, 1, "pod-logs") as draft:
        for name, chunks in pieces.items():
            async with draft.file(name, media_type="text/plain", origin="o") as file:
                for number, chunk in enumerate(chunks):
                    await file.write(chunk)
                    assert number % 10 or draft.size - evidence_kept.unfinished() <= evidence_kept.held
        assert await vault.list(INCIDENT) == ()
        exhibit = await draft.seal(
            collected_at=AT,
            collected_by="mcp-soar",
            authority=Authority(step="logs", actor="sam"),
            how=Method(tool="mcp-soar@0.1.0", capture="pod-logs"),
        )
    for name, chunks in pieces.items():
        assert read(vault, INCIDENT, exhibit.id, name) == b"".join(chunks)
    assert exhibit.incomplete == ""
    assert await vault.verify(INCIDENT, [exhibit]) == ()


@pytest.mark.parametrize("files", [LOGS, SMALL])
async def test_what_is_not_sealed_leaves_nothing(evidence_kept: KeptIn, files: dict[str, bytes]) -> None:
    vault = evidence_kept.vault()
    async with vault.draft(INCIDENT, 1, "pod-logs") as draft:
        for name, data in files.items():
            await draft.add(name, data, media_type="text/plain", origin="o")
    assert evidence_kept.lying() == {}
    assert (await _seal(vault, files)).number == 1


async def test_an_exhibit_has_a_cap_and_what_fits_can_be_sealed_as_incomplete(evidence_kept: KeptIn) -> None:
    vault = evidence_kept.vault(most=3 << 20)
    async with vault.draft(INCIDENT, 1, "pod-logs") as draft:
        with pytest.raises(TooLarge, match="3145728"):
            await draft.add("a.log", b"x" * (3 << 20) + b"y", media_type="text/plain", origin="o")
        assert draft.size == 3 << 20
        exhibit = await draft.seal(
            collected_at=AT,
            collected_by="mcp-soar",
            authority=Authority(step="logs", actor="sam"),
            how=Method(tool="mcp-soar@0.1.0", capture="pod-logs"),
            interrupted=True,
        )
    assert exhibit.incomplete == "INCOMPLETE: it breaks off in a.log after 3145728 bytes"
    assert [line.act for line in exhibit.custody] == ["collected", "interrupted", "sealed"]
    assert read(vault, INCIDENT, exhibit.id, "a.log") == b"x" * (3 << 20)
    assert await vault.verify(INCIDENT, [exhibit]) == ()


async def test_a_capture_that_takes_no_notice_of_the_cap_is_incomplete_all_the_same(evidence_kept: KeptIn) -> None:
    vault = evidence_kept.vault(most=3 << 20)
    async with vault.draft(INCIDENT, 1, "pod-logs") as draft:
        async with draft.file("a.log", media_type="text/plain", origin="o") as file:
            with contextlib.suppress(TooLarge):
                await file.write(b"x" * (3 << 20) + b"y")
        exhibit = await draft.seal(**SEALING)
    assert exhibit.incomplete == "INCOMPLETE: it breaks off in a.log after 3145728 bytes"


@pytest.mark.parametrize("size", [1, (1 << 20) + 5], ids=["held", "on disk"])
async def test_nothing_is_added_to_a_file_that_has_ended(evidence_kept: KeptIn, size: int) -> None:
    vault = evidence_kept.vault()
    async with vault.draft(INCIDENT, 1, "pod-logs") as draft:
        async with draft.file("a.log", media_type="text/plain", origin="o") as file:
            await file.write(b"x" * size)
        await draft.add("b.log", b"y" * size, media_type="text/plain", origin="o")
        with pytest.raises(Refused, match="has ended"):
            await file.write(b"late")
        exhibit = await draft.seal(**SEALING)
        with pytest.raises(Refused, match="has ended"):
            await file.write(b"later")
    assert [one.size for one in exhibit.files] == [size, size]
    assert read(vault, INCIDENT, exhibit.id, "a.log") == b"x" * size
    assert not exhibit.incomplete


async def test_what_lies_where_the_journal_names_nothing_is_found(evidence_kept: KeptIn) -> None:
    vault = evidence_kept.vault()
    assert await vault.verify(INCIDENT, ()) == ()
    exhibit = await _seal(vault)
    (flaw,) = await vault.verify(INCIDENT, ())
    assert (flaw.exhibit, flaw.message) == (exhibit.id, "the journal knows nothing of this exhibit")


async def test_an_exhibit_that_is_whole_but_for_its_end_says_so(evidence_kept: KeptIn) -> None:
    exhibit = await _seal(evidence_kept.vault(), SMALL, interrupted=True)
    assert exhibit.incomplete == "INCOMPLETE: it breaks off after b.log"


async def test_two_large_ones_of_one_incident_grow_side_by_side(evidence_kept: KeptIn) -> None:
    first, second = evidence_kept.vault(), evidence_kept.vault()
    async with first.draft(INCIDENT, 1, "pod-logs") as one, second.draft(INCIDENT, 2, "pod-logs") as other:
        for draft in (one, other):
            await draft.add("a.log", b"x" * (6 << 20), media_type="text/plain", origin="o")
        assert evidence_kept.unfinished() > 2 << 20
        # A third one tidies up after the dead, and leaves the living alone.
        await _seal(evidence_kept.vault(), number=3)
        for draft in (one, other):
            await draft.seal(
                collected_at=AT,
                collected_by="mcp-soar",
                authority=Authority(step="logs", actor="sam"),
                how=Method(tool="mcp-soar@0.1.0", capture="pod-logs"),
            )
    found = await first.list(INCIDENT)
    assert [exhibit.number for exhibit in found] == [1, 2, 3]
    assert await first.verify(INCIDENT, found) == ()


async def test_what_was_cancelled_can_be_sealed_again(evidence_kept: KeptIn) -> None:
    task = asyncio.create_task(_seal(evidence_kept.vault()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await _seal(evidence_kept.vault())).number == 1


async def test_what_the_journal_knows_better_is_found(evidence_kept: KeptIn, tmp_path: Path) -> None:
    vault = evidence_kept.vault()
    exhibit = await _seal(vault)
    other = await _seal(LocalVault(tmp_path / "other", reserve=0), {"a.log": LOGS["a.log"]})
    assert [flaw.message for flaw in await vault.verify(INCIDENT, [other])] == [
        "its record is not the one that the journal has"
    ]
    another = await _seal(LocalVault(tmp_path / "other", reserve=0), number=2)
    assert {flaw.exhibit for flaw in await vault.verify(INCIDENT, [another])} == {exhibit.id, another.id}
    assert [flaw.message for flaw in await vault.verify("inc-2", [another])] == ["the exhibit is gone"]
