"""The local vault keeps what it is given, once, and notices when it no longer has it."""

import asyncio
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.vault import Damaged, VaultFull, disk
from integrations.vault.draft import HELD
from integrations.vault.local import LocalVault
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.record.evidence import Authority, Method
from tests.lab.exhibits import AT, INCIDENT, LOGS, SEALING, SMALL, read
from tests.lab.exhibits import pod_logs as _seal


def _vault(root: Path, *, reserve: int = 0) -> LocalVault:
    return LocalVault(root / "vault", reserve=reserve)


def _anything(root: Path) -> list[Path]:
    return list((root / "vault" / INCIDENT).rglob("*"))


def _file(root: Path, name: str = "a.log") -> Path:
    return root / "vault" / INCIDENT / "x-0001-pod-logs" / "files" / name


def _tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


async def test_what_is_sealed_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    await _seal(_vault(tmp_path))
    for path in (tmp_path / "vault").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o400)
    assert stat.S_IMODE((tmp_path / "vault").stat().st_mode) == 0o700


async def test_what_the_first_release_kept_is_read_verified_and_known_again(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "fixtures" / "evidence" / "vault", tmp_path / "vault")
    for path in (tmp_path / "vault", *(tmp_path / "vault").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o400)
    vault = _vault(tmp_path)
    found = await vault.list(INCIDENT)
    assert [exhibit.id for exhibit in found] == ["x-0000-raw-alert", "x-0001-pod-logs"]
    assert await vault.verify(INCIDENT, found) == ()
    assert read(vault, INCIDENT, "x-0001-pod-logs", "a.log") == b"line\n" * 300
    assert await _seal(vault, {"a.log": b"line\n" * 300, "b.log": b""}) == found[1]


# A stream


def _held(root: Path) -> int:
    """Return how many bytes of unfinished exhibits lie on disk."""
    return sum(path.stat().st_size for path in (root / "vault").glob(f"{INCIDENT}/.tmp-*/files/*"))


async def test_a_small_exhibit_touches_no_disk_before_it_is_sealed(tmp_path: Path) -> None:
    async with _vault(tmp_path).draft(INCIDENT, 1, "pod-logs") as draft:
        await draft.add("a.log", b"x" * HELD, media_type="text/plain", origin="o")
        assert not (tmp_path / "vault").exists()


async def test_what_a_full_disk_took_is_not_sealed_in_part_by_a_capture_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = _vault(tmp_path)
    async with vault.draft(INCIDENT, 1, "pod-logs") as draft:
        async with draft.file("a.log", media_type="text/plain", origin="o") as file:
            with monkeypatch.context() as full:
                full.setattr(disk, "check_room", _full)
                with pytest.raises(VaultFull):
                    await file.write(b"x" * (2 << 20))
            with pytest.raises(Refused, match="was lost"):
                await file.write(b"y")
        with pytest.raises(Refused, match="nothing can be added"):
            await draft.add("b.log", b"y", media_type="text/plain", origin="o")
        with pytest.raises(Refused):
            await draft.seal(**SEALING)
    assert await vault.list(INCIDENT) == ()


def _full(*_asked: object) -> None:
    raise VaultFull("no room")


async def test_the_reserve_is_asked_for_while_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = [10, 10, 0]
    real = disk.check_room

    def check_room(folder: Path, size: int, _reserve: int) -> None:
        real(folder, size, 0 if rooms.pop(0) else 2**62)

    monkeypatch.setattr(disk, "check_room", check_room)
    async with _vault(tmp_path).draft(INCIDENT, 1, "pod-logs") as draft:
        with pytest.raises(VaultFull, match="reserved"):
            await draft.add("a.log", b"x" * (9 << 20), media_type="text/plain", origin="o")
        assert draft.size == 0, "the room is given back at once"
        assert _tree(tmp_path) == {}
        with pytest.raises(Refused):
            await draft.seal(
                collected_at=AT,
                collected_by="mcp-soar",
                authority=Authority(step="logs", actor="sam"),
                how=Method(tool="mcp-soar@0.1.0", capture="pod-logs"),
            )


async def test_a_cancelled_capture_leaves_nothing_though_its_thread_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    write = os.write

    def slow(descriptor: int, data: bytes) -> int:
        begun.set()
        go_on.wait(60)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", slow)
        task = asyncio.create_task(_seal(_vault(tmp_path)))
        await asyncio.to_thread(begun.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        # Threads end in their order: this one waits for nobody else's.
        await asyncio.get_running_loop().shutdown_default_executor()
    assert _anything(tmp_path) == []


# What a death leaves

# Imports once, then dies in a fork at each of its calls in turn.
PARENT = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from integrations.vault import disk
from integrations.vault.local import LocalVault
from playbooks.record.evidence import Authority, Method

def dying(function):
    def wrapper(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapper

async def work(vault):
    async with vault.draft("inc-2026-000001", 1, "pod-logs") as draft:
        for name in ("a.log", "b.log"):
            await draft.add(name, b"earlier" * int(sys.argv[2]), media_type="text/plain", origin="o")
        await draft.seal(collected_at=datetime(2026, 11, 20, tzinfo=UTC), collected_by="mcp-soar",
            authority=Authority(step="logs", actor="sam"), how=Method(tool="t", capture="pod-logs"))

for left in range(1, 200):
    if (child := os.fork()) == 0:
        for name in ("open", "write", "fsync", "mkdir", "close", "rename"):
            setattr(os, name, dying(getattr(os, name)))
        asyncio.run(work(LocalVault(Path(sys.argv[1], f"{left}", "vault"), reserve=0)))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    print(status, flush=True)
    if status != signal.SIGKILL:
        break
"""


@pytest.mark.parametrize("times", [1, 200_000])
async def test_a_process_killed_anywhere_leaves_all_or_nothing(tmp_path: Path, times: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", PARENT, str(tmp_path), str(times)]
    done = await asyncio.to_thread(subprocess.run, command, env=environment, check=True, capture_output=True, text=True)
    statuses = [int(line) for line in done.stdout.split()]
    assert set(statuses[:-1]) == {signal.SIGKILL}
    assert statuses[-1] == 0, done.stderr
    later = dict.fromkeys(LOGS, b"later")
    sealed = []
    for step in range(1, len(statuses) + 1):
        root = tmp_path / f"{step}"
        vault = _vault(root)
        found = await vault.find(INCIDENT, "x-0001-pod-logs")
        sealed.append(found is not None)
        assert await vault.verify(INCIDENT) == ()
        if found is None:
            # What was not sealed is no evidence yet: what is there now is collected, whatever the dead one left.
            found = await _seal(vault, later)
        assert sorted(path.name for path in (root / "vault" / INCIDENT).iterdir()) == [found.id]
        assert await vault.verify(INCIDENT, [found]) == ()
    assert sealed == sorted(sealed)
    # It also died after the rename, before it could say so.
    assert sealed.count(True) > 1


# No room


def _failing(number: int, *, after: int = 0) -> Callable[..., int]:
    write, calls = os.write, iter(range(1000))

    def fail(descriptor: int, data: bytes) -> int:
        if next(calls) >= after:
            raise OSError(number, os.strerror(number))
        return write(descriptor, data)

    return fail


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, VaultFull),
        (errno.EDQUOT, VaultFull),
        (errno.EFBIG, VaultFull),
        (errno.EIO, Transient),
        (errno.EROFS, Misconfigured),
    ],
)
@pytest.mark.parametrize("after", [0, 2])
async def test_a_failing_device_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception], after: int
) -> None:
    vault = _vault(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", _failing(number, after=after))
        with pytest.raises(kind):
            await _seal(vault)
    assert list((tmp_path / "vault" / INCIDENT).iterdir()) == []
    assert (await _seal(vault)).number == 1


async def test_the_reserve_stays_free(tmp_path: Path) -> None:
    status = os.statvfs(tmp_path)
    free = status.f_bavail * status.f_frsize
    with pytest.raises(VaultFull, match="reserved"):
        await _seal(_vault(tmp_path, reserve=free))
    assert _tree(tmp_path) == {}
    assert issubclass(VaultFull, Refused)


async def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:70_000]))
    vault = _vault(tmp_path)
    exhibit = await _seal(vault)
    assert read(vault, INCIDENT, exhibit.id, "a.log") == LOGS["a.log"]


async def test_a_device_that_stores_something_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(len(data))))
    with pytest.raises(Damaged, match=r"a\.log"):
        await _seal(_vault(tmp_path))
    assert _tree(tmp_path) == {}


# What others did


async def test_a_vault_that_others_can_open_is_not_used(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    await _seal(vault)
    (tmp_path / "vault").chmod(0o750)
    with pytest.raises(Misconfigured, match="chmod 700"):
        await _seal(vault)
    with pytest.raises(Misconfigured, match="chmod 700"):
        await vault.verify(INCIDENT)


async def test_a_vault_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text("")
    with pytest.raises((Misconfigured, Transient)):
        await _seal(_vault(tmp_path))


def _rewrite(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(0o400)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    _rewrite(path, bytes(data))


def _linked(path: Path) -> None:
    outside = path.parents[4] / "outside"
    path.rename(outside)
    path.symlink_to(outside)


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o400)


HARMS: dict[str, Callable[[Path], object]] = {
    "changed": lambda root: _flip(_file(root)),
    "longer": lambda root: _rewrite(_file(root, "b.log"), b"x"),
    "shorter": lambda root: _rewrite(_file(root), b""),
    "gone": lambda root: _file(root).unlink(),
    "linked": lambda root: _linked(_file(root)),
    "piped": lambda root: _piped(_file(root)),
    "record says another hash": lambda root: _rewrite(
        _file(root).parents[1] / "exhibit.json",
        (_file(root).parents[1] / "exhibit.json").read_bytes().replace(b'"sha512":"', b'"sha512":"0', 1),
    ),
    "record spelled otherwise": lambda root: _rewrite(
        _file(root).parents[1] / "exhibit.json", (_file(root).parents[1] / "exhibit.json").read_bytes() + b" "
    ),
    "record gone": lambda root: (_file(root).parents[1] / "exhibit.json").unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_harm_to_an_exhibit_is_found_and_never_read(tmp_path: Path, harm: str) -> None:
    vault = _vault(tmp_path)
    exhibit = await _seal(vault)
    HARMS[harm](tmp_path)
    flaws = await vault.verify(INCIDENT)
    assert flaws
    assert all("x-0001-pod-logs" in flaw.exhibit for flaw in flaws)
    with pytest.raises(Damaged):
        read(vault, INCIDENT, exhibit.id, "b.log" if harm == "longer" else "a.log")
    with pytest.raises((Damaged, Refused)):
        await _seal(vault)


async def test_what_does_not_belong_is_found(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    exhibit = await _seal(vault)
    folder = _file(tmp_path).parent
    (folder / "planted\n").write_text("x")
    (folder.parent / "planted").write_text("x")
    (folder.parents[1] / "planted").write_text("x")
    folder.chmod(0o755)
    _file(tmp_path).chmod(0o600)
    messages = [f"{flaw.exhibit} {flaw.file}: {flaw.message}" for flaw in await vault.verify(INCIDENT)]
    assert len(messages) == 5
    assert all("\n" not in message for message in messages)
    assert exhibit.id in {item.id for item in await vault.list(INCIDENT)}


async def test_a_record_that_was_rewritten_is_found_by_the_journal(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    exhibit = await _seal(vault)
    record = _file(tmp_path).parents[1] / "exhibit.json"
    _rewrite(record, record.read_bytes().replace(b'"actor":"sam"', b'"actor":"kim"'))
    assert [flaw.message for flaw in await vault.verify(INCIDENT, [exhibit])] == [
        "its record is not the one that the journal has"
    ]


async def test_a_linked_exhibit_is_found(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    exhibit = await _seal(vault)
    folder = tmp_path / "vault" / INCIDENT / exhibit.id
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert [flaw.message for flaw in await vault.verify(INCIDENT)] == ["it is a link to somewhere else"]


@given(data=st.binary(max_size=3000), step=st.integers(1, 1000))
def test_chunks_of_any_size_have_the_same_hash(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, step: int
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "file"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "CHUNK", step)
        assert disk.write(path, data) == disk.hashes(path)
        assert b"".join(disk.chunks(path)) == data


async def test_a_deleted_exhibit_is_overwritten_and_gone_and_its_neighbour_stays(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    await _seal(vault)
    other = await _seal(vault, number=2)
    second_name = tmp_path / "a link to the same blocks"
    second_name.hardlink_to(_file(tmp_path))
    assert await vault.delete(INCIDENT, "x-0001-pod-logs")
    assert await vault.list(INCIDENT) == (other,)
    assert second_name.read_bytes() == bytes(len(LOGS["a.log"])), "what held the bytes holds none of them"
    assert not await vault.delete(INCIDENT, "x-0001-pod-logs"), "twice is once"
    assert await vault.verify(INCIDENT, [other]) == ()


async def test_whoever_reads_while_an_exhibit_is_deleted_finds_it_or_nothing(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    record = await _seal(vault, SMALL)

    async def looks() -> None:
        while await vault.find(INCIDENT, record.id) is not None:
            assert await vault.list(INCIDENT) in [(record,), ()]

    looking = asyncio.create_task(looks())
    await vault.delete(INCIDENT, record.id)
    await looking


async def test_a_deletion_takes_along_what_a_dead_one_had_begun_and_nothing_of_the_living(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    await _seal(vault)
    left = tmp_path / "vault" / INCIDENT / ".tmp-0123456789abcdef" / "files"
    left.mkdir(parents=True)
    (left / "a.log").write_bytes(b"personal")
    second_name = tmp_path / "a link to the same blocks"
    second_name.hardlink_to(left / "a.log")
    async with vault.draft(INCIDENT, 2, "pod-logs") as draft:
        (tmp_path / "kept").mkdir()
        left.parent.rename(tmp_path / "kept" / "left")
        await draft.add("a.log", LOGS["a.log"], media_type="text/plain", origin="o")
        (tmp_path / "kept" / "left").rename(left.parent)
        assert await vault.delete(INCIDENT, "x-0001-pod-logs")
        assert not left.exists()
        assert second_name.read_bytes() == bytes(len(b"personal"))
        assert _held(tmp_path) > 1 << 20


async def test_a_deletion_that_broke_off_is_finished(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    await _seal(vault)
    _file(tmp_path).unlink()
    assert await vault.delete(INCIDENT, "x-0001-pod-logs")
    assert _anything(tmp_path) == []


@pytest.mark.parametrize("name", ["../x-0001-pod-logs", "x-1", "", "files"])
async def test_nothing_else_can_be_deleted(tmp_path: Path, name: str) -> None:
    vault = _vault(tmp_path)
    await _seal(vault)
    with pytest.raises(Refused):
        await vault.delete(INCIDENT, name)
    assert await vault.verify(INCIDENT) == ()


async def test_a_link_in_an_exhibits_place_leads_to_no_deletion(tmp_path: Path) -> None:
    vault = _vault(tmp_path)
    await _seal(vault)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "exhibit.json").write_text("mine")
    (tmp_path / "vault" / INCIDENT / "x-0002-pod-logs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Damaged):
        await vault.delete(INCIDENT, "x-0002-pod-logs")
    assert (tmp_path / "elsewhere" / "exhibit.json").read_text() == "mine"
