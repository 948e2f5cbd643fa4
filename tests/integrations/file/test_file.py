"""Messages into a folder: only ours to read, and no name of anybody else's making."""

import stat
from pathlib import Path

import pytest

from integrations.channels.file.channel import FileChannel
from playbooks.errors import Refused, Transient
from playbooks.people.contacts import Contact
from playbooks.people.message import Message


def message(text: str = "text\n") -> Message:
    return Message("../../inc", "../page", "opened", urgent=False, subject="Opened", text=text)


def written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_message_is_a_file_that_only_we_read(tmp_path: Path) -> None:
    folder = tmp_path / "outbox" / "kim"
    sent = await FileChannel().send(Contact(file=str(folder)), message(), thread="../x", update="../../../escaped.txt")
    (file,) = folder.iterdir()
    assert file.read_text(encoding="utf-8") == "Subject: Opened\n\ntext\n"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(folder.stat().st_mode)) == (0o600, 0o700)
    assert (sent.where, sent.reference) == (f"file {file}", file.name)
    assert written(tmp_path) == [file]


async def test_an_update_takes_the_place_of_what_it_replaces(tmp_path: Path) -> None:
    to, ours = Contact(file=str(tmp_path)), FileChannel()
    first = await ours.send(to, message("one"))
    second = await ours.send(to, message("two"), update=first.reference)
    assert second.reference == first.reference
    (file,) = written(tmp_path)
    assert file.read_text(encoding="utf-8").endswith("two")


async def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x", encoding="utf-8")
    with pytest.raises(Transient, match="cannot be written"):
        await FileChannel().send(Contact(file=str(tmp_path / "taken")), message())
    with pytest.raises(Refused):
        await FileChannel().send(Contact(), message())
