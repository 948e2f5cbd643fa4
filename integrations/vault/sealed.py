"""What a folder of exhibits holds, read again without trust: records, bytes, and what is not as it was sealed."""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from pydantic import ValidationError

from integrations import whole
from integrations.vault import Absent, Damaged, Taken, disk
from integrations.vault.shelf import TEMPORARY
from playbooks.errors import Refused
from playbooks.record.evidence import Exhibit, ExhibitFile, Flaw
from playbooks.strict import canonical

RECORD = "exhibit.json"
FILES = "files"
LARGEST_RECORD = 16 << 20  # bytes


def _bytes(path: Path, most: int) -> bytes:
    """Return a file's bytes; of one with more than `most`, enough to tell."""
    parts, size = [], 0
    try:
        with closing(disk.chunks(path)) as chunks:
            for chunk in chunks:
                parts.append(chunk)
                size += len(chunk)
                if size > most:
                    break
    except FileNotFoundError as exc:
        raise Damaged(f"{path.name} is gone") from exc
    return b"".join(parts)


def matches(file: ExhibitFile, found: disk.Stored) -> bool:
    """Return whether that is what was sealed."""
    right = (found.size, f"sha256:{found.sha256}") == (file.size, file.sha256)
    return right and file.sha512 in {None, found.sha512}


def names(folder: Path) -> list[str]:
    """Return what lies in a folder, in order; nothing if there is no folder."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def present(folder: Path, incident: str, name: str) -> Exhibit | None:
    """Return an exhibit's record, None if there is none or it is deleted just now; see `record_of`."""
    try:
        return record_of(folder, incident, name) if os.path.lexists(folder / name) else None
    except Damaged:
        if os.path.lexists(folder / name):
            raise
        return None


def record_of(folder: Path, incident: str, name: str) -> Exhibit:
    """Return an exhibit's record.

    Raises:
        Damaged: if it is not the one that was sealed there.
    """
    return parsed(_bytes(folder / name / RECORD, LARGEST_RECORD), incident, name)


def parsed(data: bytes, incident: str, name: str) -> Exhibit:
    """Return what a record says.

    Raises:
        Damaged: if it is not the one that was sealed under that name.
    """
    try:
        record = Exhibit.model_validate_json(data)
    except ValidationError as exc:
        raise Damaged(f"the record of {name!a} in {incident} is not one that was sealed") from exc
    if record.id != name or record.incident != incident or canonical(record) != data:
        raise Damaged(f"the record of {name!a} in {incident} is not the one that was sealed there")
    return record


def same(folder: Path, incident: str, name: str, content: Mapping[str, tuple[int, str]]) -> Exhibit:
    """Return the sealed exhibit if it holds exactly that; a process that died may well ask twice.

    Args:
        folder: the incident's.
        incident: whose it is.
        name: the exhibit's id.
        content: what it has to hold: size and SHA-256 by file name.

    Raises:
        Taken: if it holds something else.
        Damaged: if it is not what was sealed.
    """
    record = record_of(folder, incident, name)
    check_same(record, content)
    check_whole(folder, record)
    # The first attempt may have died between the rename and this.
    whole.sync(folder)
    return record


def check_whole(folder: Path, record: Exhibit) -> None:
    """Hash every byte that a record names.

    Args:
        folder: the incident's.
        record: of the exhibit.

    Raises:
        Damaged: if it is not what was sealed.
    """
    for file in record.files:
        path = folder / record.id / FILES / file.name
        if not path.exists() or not matches(file, disk.hashes(path)):
            raise Damaged(f"{record.id}/{file.name} of {record.incident} is not what was sealed")


def spelled(record: Exhibit) -> bytes:
    """Return the bytes that stand for an exhibit's record.

    Raises:
        Refused: if there are none.
    """
    try:
        return canonical(record)
    except ValueError as exc:
        raise Refused(f"the exhibit's record is not one that can be kept: {exc}") from exc


def check_same(record: Exhibit, content: Mapping[str, tuple[int, str]]) -> None:
    """See that a sealed exhibit holds exactly that.

    Args:
        record: of the exhibit.
        content: what it has to hold: size and SHA-256 by file name.

    Raises:
        Taken: if it holds something else.
    """
    if record.content != content:
        what = f"exhibit {record.id} of {record.incident}"
        raise Taken(f"{what} is sealed, with other bytes; new evidence gets a new number")


def chunks(folder: Path, incident: str, name: str, file: str) -> Iterator[bytes]:
    """Yield one file of an exhibit; only at its end it is known to be what was sealed.

    Args:
        folder: the incident's.
        incident: whose it is.
        name: the exhibit's id.
        file: its name in the exhibit.

    Raises:
        Damaged: if its bytes are not those that were sealed; at their end at the latest.
        Absent: if there is no such exhibit.
        Refused: if it has no such file.
        SoarError: as for `disk.translated`.
    """
    with disk.translated():
        if not os.path.lexists(folder / name):
            raise Absent(f"{incident} has no exhibit {name}")
        sealed = next((one for one in record_of(folder, incident, name).files if one.name == file), None)
        if sealed is None:
            raise Refused(f"exhibit {name} of {incident} has no file {file}")
        try:
            with closing(disk.chunks(folder / name / FILES / file)) as found:
                yield from matched(sealed, found, f"{name}/{file} of {incident}")
        except FileNotFoundError as exc:
            raise Damaged(f"{file} is gone") from exc


def matched(file: ExhibitFile, chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Yield a file's bytes; only at their end they are known to be those that were sealed.

    Args:
        file: as it was sealed.
        chunks: its bytes.
        what: it is called.

    Raises:
        Damaged: if they are not; at their end at the latest.
    """
    wrong = Damaged(f"{what} is not what was sealed")
    size, short, long = 0, hashlib.sha256(), hashlib.sha512()
    for chunk in chunks:
        size += len(chunk)
        if size > file.size:
            raise wrong
        short.update(chunk)
        long.update(chunk)
        yield chunk
    if not matches(file, disk.Stored(size, short.hexdigest(), long.hexdigest())):
        raise wrong


def flaws(folder: Path, incident: str, expected: Mapping[str, Exhibit] | None) -> Iterator[Flaw]:
    """Hash everything of an incident anew and yield what is not as it was sealed.

    Args:
        folder: the incident's.
        incident: whose exhibits.
        expected: those that the journal names, by id; None if nobody asked it.
    """
    named = expected or {}
    there = [name for name in names(folder) if not name.startswith(TEMPORARY)]
    for name in sorted(named.keys() - set(there)):
        yield Flaw(exhibit=name, message="the exhibit is gone")
    for name in there:
        if (folder / name).is_symlink():
            yield Flaw(exhibit=ascii(name), message="it is a link to somewhere else")
            continue
        try:
            record = record_of(folder, incident, name)
        except (Damaged, OSError) as exc:
            yield Flaw(exhibit=ascii(name), message=str(exc))
            continue
        wanted = named.get(name)
        if expected is not None and wanted is None:
            yield Flaw(exhibit=name, message="the journal knows nothing of this exhibit")
        elif wanted is not None and not wanted.continues(record):
            yield Flaw(exhibit=name, message="its record is not the one that the journal has")
        yield from _flaws_of(folder / name, record)


def _flaws_of(folder: Path, record: Exhibit) -> Iterator[Flaw]:
    known = {file.name for file in record.files}
    stray = [name for name in names(folder) if name not in {RECORD, FILES}]
    stray += [f"{FILES}/{name}" for name in names(folder / FILES) if name not in known]
    for name in stray:
        yield Flaw(exhibit=record.id, file=ascii(name), message="it was not sealed with this exhibit")
    for path in (folder, folder / FILES):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Flaw(exhibit=record.id, file=path.name, message="others than its owner can open the folder")
    for file in record.files:
        path = folder / FILES / file.name
        try:
            found = disk.hashes(path)
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            yield Flaw(exhibit=record.id, file=file.name, message="the file is gone")
        except (Damaged, OSError) as exc:
            yield Flaw(exhibit=record.id, file=file.name, message=f"the file cannot be read: {exc}")
        else:
            if not matches(file, found):
                yield Flaw(exhibit=record.id, file=file.name, message="its bytes are not those that were sealed")
            if mode != 0o400:  # noqa: PLR2004  # read-only for its owner
                yield Flaw(exhibit=record.id, file=file.name, message=f"its mode is {mode:04o}, not 0400")
