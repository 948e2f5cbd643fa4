"""A bundle can be verified with nothing but itself and a public key, and no byte of it can change unnoticed."""

import asyncio
import base64
import gzip
import io
import json
import os
import random
import re
import shutil
import struct
import subprocess
import tarfile
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.signing import PublicKey, SigningKey
from integrations.vault import Damaged, archive, bundle
from integrations.vault.archive import GZIP
from integrations.vault.bundle.layout import MANIFEST
from integrations.vault.local import LocalVault
from playbooks.errors import Misconfigured, Refused
from playbooks.record.evidence import (
    SEALED,
    UNAVAILABLE,
    Exhibit,
    Manifest,
    Tip,
    Unavailable,
    sealed,
    unavailable,
)
from playbooks.record.journal import GENESIS, Added, Entry, Event, Head, entry, head_data, link
from playbooks.strict import Json, canonical
from tests.lab import exhibits
from tests.lab.examples import examples

EARLIER = Path(__file__).parents[2] / "fixtures" / "evidence"
"""What the first release wrote."""

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
STAMP = "2026-11-20T12:00:00.000Z"
INCIDENT = "inc-2026-000001"
STREAM = f"incident/{INCIDENT}"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OLD = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
STRANGER = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
MISSING = Unavailable(kind="memory", reason="the node has no checkpoint\x1b[2J", recorded_by="sam", at=AT)


class Case(NamedTuple):
    """An incident's evidence and journal."""

    vault: LocalVault
    exhibits: tuple[Exhibit, ...]
    entries: list[Entry]
    heads: list[Head]
    manifest: Manifest


def _chained(events: Sequence[Event], stream: str = STREAM) -> list[Entry]:
    entries: list[Entry] = []
    for event in events:
        entries.append(entry(stream, len(entries) + 1, entries[-1].hash if entries else GENESIS, STAMP, event))
    return entries


def _heads(tips: Sequence[tuple[SigningKey, Sequence[tuple[str, int, bytes]]]]) -> list[Head]:
    heads: list[Head] = []
    last: dict[str, int] = {}
    for n, (key, named) in enumerate(tips, 1):
        data = head_data(n, STAMP, key.id, [Added(*tip, last.get(tip[0], 0) + 1) for tip in named])
        last.update((stream, seq) for stream, seq, _ in named)
        value = link(heads[-1].hash if heads else GENESIS, data)
        heads.append(Head(n, data, value, key.sign(value)))
    return heads


async def _case(root: Path) -> Case:
    vault = LocalVault(root / "vault", reserve=0)
    made = [
        await exhibits.kept(vault, INCIDENT, number, kind, files, at=AT)
        for number, kind, files in (
            (0, "raw-alert", {"alert.json": b'{"rule":"x"}'}),
            (1, "pod-logs", {"a.log": b"line\n" * 300, "b.log": b""}),
        )
    ]
    events = [
        Event("opened", {"alert": {"title": '","stream":"incident/other","v":1'}}, "falco"),
        *(Event(SEALED, sealed(exhibit)) for exhibit in made),
        Event(UNAVAILABLE, {"instance": "memory", "phase": "capture", **unavailable(MISSING)}, "sam"),
        Event("sealed", {"digest": "sha256:0", "bundle": "übung", "exhibits": 2, "unavailable": 1}),
    ]
    entries = _chained(events)
    others = ("incident/inc-2026-000002", 7, b"o" * 32)
    heads = _heads(
        [
            (OLD, [others]),
            (OLD, [others, (STREAM, 1, entries[0].hash)]),
            (KEY, [(STREAM, 3, entries[2].hash)]),
            (KEY, [others]),
            (KEY, [(STREAM, 5, entries[4].hash)]),
        ]
    )
    manifest = Manifest(
        incident=INCIDENT,
        made_at=AT,
        made_by="mcp-soar",
        exhibits=tuple(made),
        unavailable=(MISSING,),
        journal=bundle.tips(entries, heads),
        keys=(KEY.id, OLD.id),
    )
    return Case(vault, tuple(made), entries, heads, manifest)


async def _export(case: Case, out: Path, **changes: object) -> Path:
    values: dict[str, object] = {
        "vault": case.vault,
        "journal_entries": case.entries,
        "heads": case.heads,
        "public_keys": (KEY.public, OLD.public),
        "manifest": bundle.sign(case.manifest, KEY.dsse()),
        "out": out,
    }
    return await bundle.export(INCIDENT, **(values | changes))  # type: ignore[arg-type]  # one of them at a time


@pytest.fixture
async def case(tmp_path: Path) -> Case:
    return await _case(tmp_path)


@pytest.fixture
async def folder(case: Case, tmp_path: Path) -> Path:
    return await _export(case, tmp_path / "bundle")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sample")

    async def make() -> None:
        made = await _case(root)
        await _export(made, root / "bundle")
        await _export(made, root / "bundle.tar.gz")

    asyncio.run(make())
    for path in (root / "bundle").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return root


def _failed(path: Path, **more: object) -> set[str]:
    report = bundle.verify(path, KEY.public, **more)  # type: ignore[arg-type]  # passed on
    assert report.ok == all(check.ok for check in report.checks)
    assert all(check.sentence.endswith(".") and "\x1b" not in check.sentence for check in report.checks)
    return {check.name for check in report.checks if not check.ok}


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path.chmod(0o600)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


# As it should be


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
async def test_what_is_exported_verifies(case: Case, tmp_path: Path, name: str) -> None:
    out = await _export(case, tmp_path / name)
    report = bundle.verify(out, KEY.public)
    assert report.ok, report.checks
    assert report.manifest == case.manifest
    assert [check.name for check in report.checks] == [
        "bundle", "signature", "files", "keys", "journal", "heads", "tips", "custody"
    ]  # fmt: skip
    assert _names(tmp_path) == sorted({"vault", name})


async def test_the_same_incident_gives_the_same_bytes(case: Case, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await _export(case, tmp_path / name)
        await _export(case, tmp_path / f"{name}.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    one, two = ({p.relative_to(tmp_path / n): p.read_bytes() for p in _files(tmp_path / n)} for n in ("one", "two"))
    assert one == two


async def test_an_archive_unpacks_to_the_folder(case: Case, folder: Path, tmp_path: Path) -> None:
    out = await _export(case, tmp_path / "bundle.tar.gz")
    (tmp_path / "unpacked").mkdir()
    command = ["tar", "-xzf", str(out), "-C", str(tmp_path / "unpacked")]
    await asyncio.to_thread(subprocess.run, command, check=True)
    names = {path.relative_to(folder): path.read_bytes() for path in _files(folder)}
    assert {
        path.relative_to(tmp_path / "unpacked"): path.read_bytes() for path in _files(tmp_path / "unpacked")
    } == names
    assert _failed(tmp_path / "unpacked") == set()


async def test_a_bundle_without_exhibits_or_heads_verifies(case: Case, tmp_path: Path) -> None:
    entries = _chained([Event("opened", {})])
    manifest = case.manifest.model_copy(update={"exhibits": (), "unavailable": (), "journal": bundle.tips(entries, [])})
    out = await _export(
        case, tmp_path / "b", manifest=bundle.sign(manifest, KEY.dsse()), journal_entries=entries, heads=[]
    )
    assert _failed(out) == set()


@pytest.mark.parametrize("first", [1, 2, 3, 4])
async def test_a_part_of_the_heads_is_enough(case: Case, tmp_path: Path, first: int) -> None:
    heads = case.heads[first:]
    manifest = case.manifest.model_copy(update={"journal": bundle.tips(case.entries, heads)})
    out = await _export(case, tmp_path / "b", manifest=bundle.sign(manifest, KEY.dsse()), heads=heads)
    assert _failed(out) == set()
    _lines(out / "heads.jsonl", lambda lines: lines[1:])
    assert "tips" in _failed(out)


async def test_entries_after_the_manifest_count_if_a_head_is_signed(case: Case, tmp_path: Path) -> None:
    manifest = case.manifest.model_copy(update={"journal": bundle.tips(case.entries[:4], case.heads[:4])})
    signed = bundle.sign(manifest, KEY.dsse())
    assert _failed(await _export(case, tmp_path / "a", manifest=signed)) == set()
    assert _failed(await _export(case, tmp_path / "b", manifest=signed, heads=case.heads[:4])) == {"tips"}


async def test_exports_are_refused_for_another_incident_or_other_keys(case: Case, tmp_path: Path) -> None:
    signed = bundle.sign(case.manifest.model_copy(update={"incident": "inc-2", "exhibits": ()}), KEY.dsse())
    with pytest.raises(Refused, match="inc-2"):
        await _export(case, tmp_path / "b", manifest=signed)
    with pytest.raises(Refused, match="keys"):
        await _export(case, tmp_path / "b", public_keys=(KEY.public,))
    with pytest.raises(Refused):
        await _export(case, tmp_path / "b", manifest=b"{}")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
async def test_an_export_overwrites_nothing_and_leaves_no_half(case: Case, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(Refused, match="already"):
        await _export(case, tmp_path / name)
    (tmp_path / name).rmdir()
    with pytest.raises(Misconfigured):
        await _export(case, tmp_path / "nowhere" / name)
    evidence = next((tmp_path / "vault").rglob("b.log"))
    evidence.chmod(0o600)
    evidence.write_bytes(b"x")
    with pytest.raises(Damaged, match=r"b\.log"):
        await _export(case, tmp_path / name)
    assert _names(tmp_path) == ["vault"]


def test_what_the_first_release_exported_verifies() -> None:
    report = bundle.verify(EARLIER / "0.1.0.tar.gz", PublicKey.load(EARLIER / "0.1.0.pub"))
    assert report.ok, report.checks
    assert report.manifest is not None
    assert [exhibit.id for exhibit in report.manifest.exhibits] == ["x-0000-raw-alert", "x-0001-pod-logs"]
    assert bundle.signed(EARLIER / "0.1.0.tar.gz", [PublicKey.load(EARLIER / "0.1.0.pub")]) == report.manifest


async def test_what_the_first_release_kept_is_exported_as_it_exported_it(tmp_path: Path) -> None:
    kept = await _case(tmp_path)
    held = bundle.signed(EARLIER / "0.1.0.tar.gz", [KEY.public])
    assert [exhibit.content for exhibit in held.exhibits] == [exhibit.content for exhibit in kept.exhibits]
    with (
        tarfile.open(EARLIER / "0.1.0.tar.gz") as earlier,
        tarfile.open(await _export(kept, tmp_path / "now.tar.gz")) as now,
    ):
        assert earlier.getnames() == now.getnames()


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
async def test_evidence_that_is_not_what_the_manifest_names_is_not_exported(
    case: Case, tmp_path: Path, name: str
) -> None:
    await case.vault.delete(INCIDENT, "x-0001-pod-logs")
    await exhibits.kept(case.vault, INCIDENT, 1, "pod-logs", {"a.log": b"LINE\n" * 300, "b.log": b""}, at=AT)
    with pytest.raises(Refused, match="what the manifest names"):
        await _export(case, tmp_path / name)
    assert _names(tmp_path) == ["vault"]


@pytest.mark.parametrize("name", ["bundle", "bundle.tar.gz"])
async def test_an_export_that_is_cancelled_leaves_nothing(
    case: Case, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = LocalVault.read

    def slow(self: LocalVault, incident: str, exhibit: str, file: str) -> Iterator[bytes]:
        begun.set()
        assert go_on.wait(60)
        return read(self, incident, exhibit, file)

    monkeypatch.setattr(LocalVault, "read", slow)
    task = asyncio.create_task(_export(case, tmp_path / name))
    assert await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    assert _names(tmp_path) == ["vault"]


# As it should not be


@settings(max_examples=examples(300))
@given(data=st.data())
def test_no_byte_of_any_file_can_change(sample: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([path for path in _files(sample / "bundle") if path.stat().st_size]))
    content = path.read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        assert _failed(sample / "bundle")
    finally:
        path.write_bytes(content)


@settings(max_examples=examples(200))
@given(data=st.data())
def test_no_file_can_grow_shrink_or_go(sample: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_files(sample / "bundle")))
    content = path.read_bytes()
    cut = data.draw(st.none() | st.integers(0, len(content)))
    if cut is None:
        path.unlink()
    else:
        path.write_bytes(content[:cut] + (b"\n" if cut == len(content) else b""))
    try:
        assert _failed(sample / "bundle")
    finally:
        path.write_bytes(content)


def _unzipped(data: bytes) -> bytes | None:
    try:
        return zlib.decompress(data, wbits=31)
    except zlib.error:
        return None


@settings(max_examples=examples(300))
@given(data=st.data())
def test_no_byte_of_an_archive_can_change(
    sample: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = (sample / "bundle.tar.gz").read_bytes()
    changed = bytearray(content)
    changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("changed") / "bundle.tar.gz"
    path.write_bytes(changed)
    # Deflate can spell one content in several ways (a match at another distance, unused last bits): that is no change.
    assert _failed(path) or _unzipped(bytes(changed)) == _unzipped(content)


@given(content=st.binary(max_size=2000), prefix=st.integers(0, 60))
def test_no_bytes_make_it_raise(
    tmp_path_factory: pytest.TempPathFactory, sample: Path, content: bytes, prefix: int
) -> None:
    path = tmp_path_factory.mktemp("hostile") / "bundle.tar.gz"
    for data in (content, _zipped(content), (sample / "bundle.tar.gz").read_bytes()[:prefix] + content):
        path.write_bytes(data)
        assert _failed(path) == {"bundle"}


LINES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "first dropped": lambda lines: lines[1:],
    "middle dropped": lambda lines: lines[:2] + lines[3:],
    "last dropped": lambda lines: lines[:-1],
    "all dropped": lambda _: [],
    "two exchanged": lambda lines: [lines[1], lines[0], *lines[2:]],
    "one twice": lambda lines: [*lines, lines[-1]],
    "reversed": lambda lines: lines[::-1],
    "blank line": lambda lines: [*lines, b"\n"],
    "spelled otherwise": lambda lines: [lines[0].replace(b":", b": ", 1), *lines[1:]],
    "one more field": lambda lines: [lines[0].replace(b"{", b'{"a":1,', 1), *lines[1:]],
    "no line end": lambda lines: [*lines[:-1], lines[-1][:-1]],
    "no JSON": lambda lines: [b"[" * 5000 + b"\n", *lines],
    "huge number": lambda lines: [b'{"seq":' + b"9" * 5000 + b"}\n", *lines],
}


@pytest.mark.parametrize("name", ["journal.jsonl", "heads.jsonl"])
@pytest.mark.parametrize("change", LINES)
async def test_lines_cannot_go_or_move(folder: Path, name: str, change: str) -> None:
    _lines(folder / name, LINES[change])
    assert _failed(folder)


async def test_a_rewritten_journal_is_found_by_the_manifest_and_the_heads(case: Case, tmp_path: Path) -> None:
    events = [Event(parsed.kind, parsed.body, parsed.actor) for parsed in (item.parsed() for item in case.entries)]
    events[-1] = Event("closed", {"note": "nothing happened"}, "sam")
    rewritten = _chained(events)
    assert _failed(await _export(case, tmp_path / "a", journal_entries=rewritten)) == {"tips", "heads"}
    # Not even by somebody who has a responder's old key and signs heads that fit.
    heads = _heads([(OLD, [(STREAM, item.seq, item.hash)]) for item in rewritten])
    assert "tips" in _failed(await _export(case, tmp_path / "b", journal_entries=rewritten, heads=heads))


async def test_a_tail_that_went_with_its_heads_is_found_by_a_witness(case: Case, tmp_path: Path) -> None:
    manifest = case.manifest.model_copy(update={"journal": bundle.tips(case.entries[:4], case.heads[:4])})
    signed = bundle.sign(manifest, KEY.dsse())
    out = await _export(case, tmp_path / "b", manifest=signed, journal_entries=case.entries[:4], heads=case.heads[:4])
    assert _failed(out) == set()
    for witness in (
        Tip(stream=STREAM, seq=5, hash=case.entries[4].hash.hex()),
        Tip(stream="heads", seq=5, hash=case.heads[4].hash.hex()),
        Tip(stream=STREAM, seq=4, hash="0" * 64),
    ):
        assert _failed(out, witnesses=[witness]) == {"tips"}
    assert _failed(out, witnesses=[Tip(stream="heads", seq=4, hash=case.heads[3].hash.hex())]) == set()


async def test_a_head_by_a_strangers_key_does_not_count(case: Case, tmp_path: Path) -> None:
    last = case.heads[-1]
    data = head_data(6, STAMP, STRANGER.id, [Added(STREAM, 5, case.entries[4].hash, 5)])
    value = link(last.hash, data)
    claimed = head_data(6, STAMP, KEY.id, [Added(STREAM, 5, case.entries[4].hash, 5)])
    for n, head in enumerate(
        [
            Head(6, data, value, STRANGER.sign(value)),
            Head(6, claimed, link(last.hash, claimed), STRANGER.sign(link(last.hash, claimed))),
        ]
    ):
        assert _failed(await _export(case, tmp_path / str(n), heads=[*case.heads, head])) == {"heads"}


async def test_another_key_opens_nothing_and_a_swapped_one_is_found(folder: Path) -> None:
    report = bundle.verify(folder, STRANGER.public)
    assert [(check.name, check.ok) for check in report.checks] == [("bundle", True), ("signature", False)]
    assert report.manifest is None
    path = folder / "keys" / f"{OLD.id.removeprefix('sha256:')}.pub"
    path.chmod(0o600)
    path.write_bytes(STRANGER.public.pem)
    assert {"keys", "heads"} <= _failed(folder)
    path.unlink()
    assert {"keys", "heads"} <= _failed(folder)
    path.write_bytes(OLD.public.pem)
    assert _failed(folder) == set()
    (folder / "keys" / f"{STRANGER.id.removeprefix('sha256:')}.pub").write_bytes(STRANGER.public.pem)
    assert _failed(folder) == {"keys"}


def _packed(out: Path, *files: tuple[str, bytes]) -> Path:
    with out.open("wb") as file:
        made = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        tar = b"".join(archive.header(name, len(data)) + data + bytes(-len(data) % 512) for name, data in files)
        tar += bytes(1024)
        file.write(GZIP + made.compress(tar) + made.flush())
        file.write(struct.pack("<II", zlib.crc32(tar), len(tar)))
    return out


async def test_nothing_is_unpacked_behind_a_manifest_that_nobody_we_know_signed(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def take(self: archive.Inflated, size: int) -> bytes:
        nonlocal taken
        taken += size
        return real(self, size)

    real = archive.Inflated.take
    monkeypatch.setattr(archive.Inflated, "take", take)
    large = ("exhibits/x-0001-raw/a", bytes(8 << 20))
    stranger = (MANIFEST, bundle.sign(case.manifest, STRANGER.dsse()))
    ours = (MANIFEST, bundle.sign(case.manifest, KEY.dsse()))
    for number, (files, failed) in enumerate(
        (((large,), "bundle"), ((large, ours), "bundle"), ((stranger, large), "signature"))
    ):
        taken = 0
        report = bundle.verify(_packed(tmp_path / f"{number}.tar.gz", *files), KEY.public)
        assert [(check.name, check.ok) for check in report.checks] == [(failed, False)]
        assert taken < 1 << 20
    report = bundle.verify(_packed(tmp_path / "ours.tar.gz", ours, large), KEY.public)
    assert {"bundle", "signature"} <= {check.name for check in report.checks if check.ok}, "it is read as ever"
    assert taken > 8 << 20


async def test_a_bundle_signed_anew_by_a_stranger_is_refused(case: Case, tmp_path: Path) -> None:
    manifest = case.manifest.model_copy(update={"keys": (STRANGER.id, KEY.id, OLD.id)})
    out = await _export(
        case,
        tmp_path / "b",
        manifest=bundle.sign(manifest, STRANGER.dsse()),
        public_keys=(KEY.public, OLD.public, STRANGER.public),
    )
    assert _failed(out) == {"signature"}
    # A signer that does not name itself among the keys is one that nobody vouches for.
    unnamed = case.manifest.model_copy(update={"keys": (OLD.id,)})
    out = await _export(
        case, tmp_path / "c", manifest=bundle.sign(unnamed, KEY.dsse()), public_keys=(OLD.public,), heads=[]
    )
    assert "keys" in _failed(out)


async def test_exhibits_cannot_go_come_or_be_exchanged(folder: Path) -> None:
    logs = folder / "exhibits" / "x-0001-pod-logs"
    shutil.copy(logs / "a.log", logs / "c.log")
    assert _failed(folder) == {"files"}
    (logs / "c.log").unlink()
    assert _failed(folder) == set()
    (logs / "a.log").rename(logs / "c.log")
    (logs / "b.log").rename(logs / "a.log")
    (logs / "c.log").rename(logs / "b.log")
    assert _failed(folder) == {"files"}
    shutil.rmtree(logs)
    assert _failed(folder) == {"files"}


async def test_journal_and_manifest_must_name_the_same(case: Case, tmp_path: Path) -> None:
    longer = case.exhibits[0].model_copy(update={"collected_by": "somebody else"})
    wrong: list[Mapping[str, object]] = [
        {"exhibits": case.exhibits[:1]},
        {"exhibits": (longer, case.exhibits[1])},
        {"unavailable": ()},
    ]
    for n, changes in enumerate(wrong):
        signed = bundle.sign(case.manifest.model_copy(update=changes), KEY.dsse())
        assert _failed(await _export(case, tmp_path / str(n), manifest=signed)) == {"custody"}


@pytest.mark.parametrize(
    "body", [{"exhibit": 1}, {}, {"exhibit": {"id": "x"}}, {"exhibit": None}], ids=["1", "none", "half", "null"]
)
async def test_a_journal_that_cannot_be_read_is_found(case: Case, tmp_path: Path, body: dict[str, Json]) -> None:
    entries = [*case.entries, entry(STREAM, 6, case.entries[-1].hash, STAMP, Event(SEALED, body))]
    manifest = case.manifest.model_copy(update={"journal": bundle.tips(entries, case.heads)})
    signed = bundle.sign(manifest, KEY.dsse())
    assert _failed(await _export(case, tmp_path / "b", manifest=signed, journal_entries=entries)) == {"custody"}


@pytest.mark.parametrize("data", [b"", b"1", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"v":9}'])
async def test_a_chained_entry_that_is_no_entry_is_found(case: Case, tmp_path: Path, data: bytes) -> None:
    entries = [*case.entries, Entry(STREAM, 6, data, link(case.entries[-1].hash, data))]
    manifest = case.manifest.model_copy(update={"journal": bundle.tips(entries, case.heads)})
    signed = bundle.sign(manifest, KEY.dsse())
    assert _failed(await _export(case, tmp_path / "b", manifest=signed, journal_entries=entries)) == {
        "journal",
        "custody",
    }


async def test_a_manifest_must_say_where_the_journal_and_the_heads_are(case: Case, tmp_path: Path) -> None:
    own = tuple(tip for tip in case.manifest.journal if tip.stream == STREAM)
    heads = tuple(tip for tip in case.manifest.journal if tip.stream == "heads")
    for n, tips in enumerate(((), own, heads, own + heads[1:])):
        signed = bundle.sign(case.manifest.model_copy(update={"journal": tips}), KEY.dsse())
        assert _failed(await _export(case, tmp_path / str(n), manifest=signed)) == {"tips"}


# Hostile bundles


def _zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=6) as file:
        file.write(data)
    assert buffer.getvalue().startswith(GZIP)
    return buffer.getvalue()


def _tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], path: Path, tail: bytes = b"") -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(_zipped(buffer.getvalue() + tail))
    return path


def _info(name: str, kind: bytes = tarfile.REGTYPE, **more: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, 0o400
    for key, value in more.items():
        setattr(info, key, value)
    return info


def _first(case: Case) -> tuple[tarfile.TarInfo, bytes]:
    """Return what an archive of ours begins with."""
    manifest = bundle.sign(case.manifest, KEY.dsse())
    return _info(MANIFEST, size=len(manifest)), manifest


@pytest.mark.parametrize(
    "info",
    [
        _info("/etc/passwd"),
        _info("../README.txt"),
        _info("exhibits/../../README.txt"),
        _info("exhibits/x-0001-a/../../../x"),
        _info("./README.txt"),
        _info("exhibits//x-0001-a/a"),
        _info("exhibits/x-0001-a/\x1b[2J"),
        _info("elsewhere.txt"),
        _info("README.txt", tarfile.SYMTYPE, linkname="/etc/passwd"),
        _info("README.txt", tarfile.LNKTYPE, linkname="manifest.dsse.json"),
        _info("README.txt", tarfile.CHRTYPE, devmajor=1, devminor=5),
        _info("README.txt", tarfile.BLKTYPE),
        _info("README.txt", tarfile.FIFOTYPE),
        _info("README.txt", tarfile.XHDTYPE),
        _info("README.txt", tarfile.XGLTYPE),
        _info("README.txt", tarfile.GNUTYPE_LONGNAME),
        _info("README.txt", tarfile.GNUTYPE_SPARSE),
        _info("README.txt", tarfile.CONTTYPE),
        _info("exhibits", tarfile.DIRTYPE),
        _info("README.txt", mode=0o4755),
        _info("README.txt", uid=1),
        _info("README.txt", uname="root"),
        _info("README.txt", mtime=1),
    ],
    ids=lambda info: f"{info.name!a}-{ord(info.type):c}-{info.mode:o}",
)
def test_an_archive_holds_plain_files_of_ours_alone(case: Case, tmp_path: Path, info: tarfile.TarInfo) -> None:
    place = tmp_path / "place"
    place.mkdir()
    report = bundle.verify(_tar([_first(case), (info, b"")], place / "b.tar.gz"), KEY.public)
    assert [check.ok for check in report.checks] == [False]
    assert re.search(r"not one that mcp-soar writes|not a name|damaged header", report.checks[0].sentence)
    assert [path.name for path in place.iterdir()] == ["b.tar.gz"]


def test_an_archive_has_one_end_and_each_file_once(case: Case, tmp_path: Path) -> None:
    twice = [_first(case), (_info("README.txt"), b""), (_info("README.txt"), b"")]
    assert _failed(_tar(twice, tmp_path / "a.tar.gz")) == {"bundle"}
    assert _failed(_tar(twice[:2], tmp_path / "b.tar.gz", b"hidden")) == {"bundle"}
    for tail in (b"x", _zipped(b"more"), bytes(512)):
        path = _tar(twice[:2], tmp_path / "c.tar.gz")
        path.write_bytes(path.read_bytes() + tail)
        assert _failed(path) == {"bundle"}


async def test_an_archive_with_something_appended_is_refused(case: Case, tmp_path: Path) -> None:
    path = await _export(case, tmp_path / "b.tar.gz")
    content = path.read_bytes()
    path.chmod(0o600)
    for tail in (b"x", _zipped(b"more"), bytes(512)):
        path.write_bytes(content + tail)
        assert _failed(path) == {"bundle"}
    path.write_bytes(_zipped(gzip.decompress(content) + bytes(512)))
    assert _failed(path) == {"bundle"}


def test_a_bomb_goes_off_nowhere(case: Case, tmp_path: Path) -> None:
    info = _info("exhibits/x-0001-a/zeros", size=64 << 20)
    path = _tar([_first(case), (info, bytes(64 << 20))], tmp_path / "b.tar.gz")
    assert path.stat().st_size < 100_000
    report = bundle.verify(path, KEY.public, limits=bundle.Limits(total=1 << 20))
    assert "more than 1048576 bytes" in report.checks[0].sentence
    big = _info("README.txt", size=2 << 20)
    report = bundle.verify(
        _tar([_first(case), (big, bytes(2 << 20))], tmp_path / "c.tar.gz"), KEY.public, limits=bundle.Limits()
    )
    assert "README.txt has more than" in report.checks[0].sentence
    many = [_first(case), *((_info(f"exhibits/x-0001-a/{n}"), b"") for n in range(12))]
    report = bundle.verify(_tar(many, tmp_path / "d.tar.gz"), KEY.public, limits=bundle.Limits(files=10))
    assert "more than 10 files" in report.checks[0].sentence


def test_what_is_kept_has_one_budget(case: Case, tmp_path: Path) -> None:
    names = [f"keys/{number:064x}.pub" for number in range(40)]
    many = [(_info(name, size=15 << 10), bytes(15 << 10)) for name in names]
    path = _tar([_first(case), *many], tmp_path / "b.tar.gz")
    tracemalloc.start()
    try:
        report = bundle.verify(path, KEY.public, limits=bundle.Limits(memory=100 << 10))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "more than 102400 bytes of memory" in report.checks[0].sentence
    assert peak < 400 << 10


async def test_what_is_read_in_the_journal_counts_too(case: Case, folder: Path) -> None:
    extra = _chained([Event("told", {})] * 300, "incident/inc-2026-000777")
    spelled = [
        {
            "stream": one.stream,
            "seq": one.seq,
            "data": base64.b64encode(one.data).decode(),
            "hash": one.hash.hex(),
        }
        for one in (*case.entries, *extra)
    ]
    path = folder / "journal.jsonl"
    path.chmod(0o600)
    path.write_bytes(b"".join(canonical(one) + b"\n" for one in spelled))
    size = sum(path.stat().st_size for path in _files(folder))
    assert "heads" not in _failed(folder)
    assert _failed(folder, limits=bundle.Limits(memory=size + (200 << 10))) == {"bundle"}


async def test_lines_are_not_counted_before_the_first_is_looked_at(folder: Path) -> None:
    path = folder / "journal.jsonl"
    path.chmod(0o600)
    path.write_bytes(b"\n" * (1 << 20))
    tracemalloc.start()
    try:
        failed = _failed(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "journal" in failed
    assert peak < 4 << 20


def test_a_stranger_s_manifest_is_not_read(tmp_path: Path) -> None:
    payload = base64.b64encode(b"[" + b"0," * (1 << 20) + b"0]").decode()
    shape = {
        "payload": payload,
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": KEY.id, "sig": base64.b64encode(bytes(64)).decode()}],
    }
    data = canonical(shape)
    tmp_path.joinpath("manifest.dsse.json").write_bytes(data)
    tracemalloc.start()
    try:
        report = bundle.verify(tmp_path, KEY.public)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "did not sign this manifest" in report.checks[1].sentence
    # Its million numbers would be objects of more than 24 MiB.
    assert peak < 8 * len(data)


def test_a_size_that_lies_is_found(tmp_path: Path) -> None:
    header = _info("README.txt", size=8**11 - 1).tobuf(tarfile.USTAR_FORMAT)
    path = tmp_path / "b.tar.gz"
    path.write_bytes(_zipped(header + b"short"))
    assert _failed(path) == {"bundle"}


def _linked(root: Path) -> None:
    (root / "README.txt").unlink()
    (root / "README.txt").symlink_to("/etc/passwd")


def _linked_folder(root: Path) -> None:
    (root / "keys").rename(root.parent / "keys")
    (root / "keys").symlink_to(root.parent / "keys")


def _piped(root: Path) -> None:
    (root / "README.txt").unlink()
    os.mkfifo(root / "README.txt")


def _folder_for_a_file(root: Path) -> None:
    (root / "README.txt").unlink()
    (root / "README.txt").mkdir()


FOLDERS: dict[str, Callable[[Path], object]] = {
    "a link": _linked,
    "a linked folder": _linked_folder,
    "a pipe": _piped,
    "a stranger": lambda root: (root / "run-me.sh").write_text("x"),
    "a hidden file": lambda root: (root / "keys" / ".x").write_text("x"),
    "a terminal's control": lambda root: (root / "\x1b[2J").write_text("x"),
    "no text": lambda root: Path(os.fsdecode(os.fsencode(root) + b"/\xff")).write_text("x"),
    "a folder": lambda root: (root / "more").mkdir(),
    "a folder in a folder": lambda root: (root / "exhibits" / "x-0001-pod-logs" / "more").mkdir(),
    "a folder for a file": _folder_for_a_file,
}


@pytest.mark.parametrize("harm", FOLDERS)
async def test_a_folder_holds_plain_files_of_ours_alone(folder: Path, harm: str) -> None:
    FOLDERS[harm](folder)
    assert _failed(folder) == {"bundle"}


async def test_a_folder_has_limits_too(folder: Path) -> None:
    assert _failed(folder, limits=bundle.Limits(files=5)) == {"bundle"}
    assert _failed(folder, limits=bundle.Limits(total=100)) == {"bundle"}


def test_no_bundle_is_no_finding(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured):
        bundle.verify(tmp_path / "missing", KEY.public)
    tmp_path.joinpath("empty").mkdir()
    assert _failed(tmp_path / "empty") == {"signature"}


# What the README says


def _commands() -> list[str]:
    blocks: list[str] = []
    for line in bundle.README_TEXT.decode().split("Verify by hand")[1].splitlines():
        if line.startswith("  "):
            blocks[-1] += line[2:] + "\n"
        elif not blocks or blocks[-1]:
            blocks.append("")
    return [block for block in blocks if block]


async def test_the_readme_verifies_by_hand(case: Case, folder: Path, tmp_path: Path) -> None:
    missing = [tool for tool in ("bash", "jq", "openssl", "sha256sum", "xxd") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    (tmp_path / "KEY.pub").write_bytes(KEY.public.pem)

    def run(block: str) -> str:
        script = block.replace("/tmp/", f"{tmp_path}/").replace("KEY.pub", f"{tmp_path}/KEY.pub")  # noqa: S108  # replaced
        done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603, S607  # our own text
        return done.stdout + done.stderr

    signature, files, chain, tips, *_ = _commands()
    assert run(signature) == "Signature Verified Successfully\n"
    assert run(files).splitlines() == [
        "README.txt: OK",
        "exhibits/x-0000-raw-alert/alert.json: OK",
        "exhibits/x-0001-pod-logs/a.log: OK",
        "exhibits/x-0001-pod-logs/b.log: OK",
    ]
    assert run(chain) == case.entries[-1].hash.hex() + "\n"
    assert f"{STREAM} 5 {case.entries[-1].hash.hex()}\n" in run(tips)
    key = bundle.README_TEXT.decode().split("is the output of\n\n")[1].splitlines()[0]
    assert run(key).split()[0] == KEY.id.removeprefix("sha256:")
    _lines(folder / "journal.jsonl", lambda lines: lines[:2] + lines[3:])
    assert "BROKEN" in run(chain)
    (tmp_path / "KEY.pub").write_bytes(STRANGER.public.pem)
    assert "Signature Verified Successfully" not in run(signature)


async def test_the_lines_are_plain_json(case: Case, folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [base64.b64decode(line["data"]) for line in lines] == [item.data for item in case.entries]
    assert canonical(json.loads(base64.b64decode(lines[0]["data"]))) == case.entries[0].data


async def test_a_large_exhibit_passes_through_in_pieces(case: Case, tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(5 << 20)  # noqa: S311  # only has to be hard to compress
    exhibit = await exhibits.kept(case.vault, INCIDENT, 2, "memory", {"core": noise + bytes(9 << 20)}, at=AT)
    entries = [*case.entries, entry(STREAM, 6, case.entries[-1].hash, STAMP, Event(SEALED, sealed(exhibit)))]
    manifest = case.manifest.model_copy(
        update={"exhibits": (*case.exhibits, exhibit), "journal": bundle.tips(entries, case.heads)}
    )
    out = await _export(
        case, tmp_path / "b.tar.gz", manifest=bundle.sign(manifest, KEY.dsse()), journal_entries=entries
    )
    assert _failed(out) == set()
