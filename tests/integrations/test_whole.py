"""A file is written whole or not at all, over nothing that it was not to replace, and through no link."""

import os
import stat
from pathlib import Path

import pytest

from integrations import whole


def test_it_has_its_rights_whatever_the_umask_and_nothing_else_stays(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        whole.put(tmp_path / "a", b"one", mode=0o644)
    finally:
        os.umask(before)
    assert (tmp_path / "a").read_bytes() == b"one"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
    whole.put(tmp_path / "b", b"two")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_there_stays_unless_it_is_to_be_replaced_and_no_link_is_followed(
    tmp_path: Path, *, linked: bool
) -> None:
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "a"
    elsewhere.write_bytes(b"theirs")
    if linked:
        path.symlink_to(elsewhere)
    else:
        path.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        whole.put(path, b"ours")
    assert path.read_bytes() == b"theirs"
    whole.put(path, b"ours", over=True)
    assert path.read_bytes() == b"ours"
    assert not path.is_symlink()
    assert elsewhere.read_bytes() == b"theirs"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "elsewhere"]


@pytest.mark.parametrize("over", [False, True])
def test_what_fails_on_its_way_to_the_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, over: bool
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a"
    if over:
        path.write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        whole.put(path, b"ours", over=over)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == ([("a", b"before")] if over else [])
