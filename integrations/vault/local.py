"""The vault of the default installation: a folder.

    <root>/<incident>/<exhibit id>/exhibit.json      the record, canonical bytes
    <root>/<incident>/<exhibit id>/files/<name>      the evidence, raw

An exhibit is built under a temporary name and renamed into place whole: it is there with all its files, or not at all.
"""

import asyncio
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from integrations.vault import Damaged, disk
from playbooks.action import Collected
from playbooks.errors import Misconfigured, Refused
from playbooks.evidence import (
    MOST_FILES,
    Act,
    Authority,
    Custody,
    Exhibit,
    ExhibitFile,
    ExhibitId,
    Flaw,
    Method,
    exhibit_id,
)
from playbooks.strict import Slug, canonical, now

_BLOCK = 4096  # bytes; what a file system rounds a file up to
_LARGEST_RECORD = 16 << 20  # bytes
_TEMPORARY = ".tmp-"
_RECORD = "exhibit.json"
_FILES = "files"
_SLUG = TypeAdapter[str](Slug)
_EXHIBIT_ID = TypeAdapter[str](ExhibitId)
_Build = Callable[[tuple[ExhibitFile, ...]], Exhibit]


class LocalVault:
    """Exhibits in a folder that only this user can open.

    Args:
        root: the folder; made with mode 0700 when first needed.
        reserve: bytes that stay free on its file system, for the journal.
    """

    def __init__(self, root: Path, *, reserve: int) -> None:
        self._root = root
        self._reserve = reserve

    async def seal(
        self,
        incident: str,
        number: int,
        kind: str,
        collected: tuple[Collected, ...],
        *,
        collected_at: datetime,
        collected_by: str,
        authority: Authority,
        how: Method,
    ) -> Exhibit:
        """Store an exhibit for good and return its record; the same bytes again return the first record.

        Args:
            incident: whose it is.
            number: its number there, from 0.
            kind: what sort it is.
            collected: its files.
            collected_at: when the source was read.
            collected_by: the identity that read it.
            authority: by whose word.
            how: with what.

        Raises:
            VaultFull: if it does not fit beside the reserve.
            Damaged: if the stored bytes, read again, are not those of the source.
            Refused: if this id is sealed with other bytes, or a name is not a slug.
            Misconfigured: if the folder is not ours alone, or cannot be written.
            Transient: if the device fails otherwise.
        """
        if not 0 < len(collected) <= MOST_FILES:
            raise Refused(f"an exhibit has 1 to {MOST_FILES} files, not {len(collected)}")
        name = _checked(_EXHIBIT_ID, exhibit_id(number, kind))
        sources = {_checked(_SLUG, item.name): item for item in collected}
        if len(sources) != len(collected):
            raise Refused(f"two files of {name} have the same name")

        def build(files: tuple[ExhibitFile, ...]) -> Exhibit:
            return Exhibit(
                id=name,
                kind=kind,
                incident=incident,
                files=files,
                collected_at=collected_at,
                collected_by=collected_by,
                authority=authority,
                how=how,
                custody=(
                    Custody(at=collected_at, actor=collected_by, act=Act.COLLECTED),
                    Custody(at=now(), actor=how.tool, act=Act.SEALED, note="hashed at the source and once stored"),
                ),
            )

        def work() -> Exhibit:
            with disk.translated(), self._locked(incident) as folder:
                if os.path.lexists(folder / name):
                    return _same(folder, incident, name, collected)
                for dead in folder.glob(f"{_TEMPORARY}*"):
                    # We hold the lock that every builder holds: whoever made this died.
                    shutil.rmtree(dead)
                disk.check_room(self._root, sum(len(item.data) + _BLOCK for item in collected), self._reserve)
                temporary = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
                try:
                    record = _build(temporary, collected, build)
                    temporary.rename(folder / name)
                except BaseException:
                    shutil.rmtree(temporary, ignore_errors=True)
                    raise
                disk.sync(folder)
                return record

        _checked(_SLUG, incident)
        return await asyncio.to_thread(work)

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none of that id.

        Raises:
            Damaged: if the record is not one that `seal` wrote.
            SoarError: as for `seal`.
        """
        folder = self._folder(incident)
        _checked(_EXHIBIT_ID, exhibit)

        def work() -> Exhibit | None:
            with disk.translated():
                return _present(folder, incident, exhibit)

        return await asyncio.to_thread(work)

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits, by number.

        Raises:
            Damaged: if a record is not one that `seal` wrote.
            SoarError: as for `seal`.
        """
        folder = self._folder(incident)

        def work() -> tuple[Exhibit, ...]:
            with disk.translated():
                named = [_present(folder, incident, name) for name in _names(folder) if name.startswith("x-")]
            found = [exhibit for exhibit in named if exhibit is not None]
            return tuple(sorted(found, key=lambda exhibit: (exhibit.number, exhibit.id)))

        return await asyncio.to_thread(work)

    async def read(self, incident: str, exhibit: str, name: str) -> bytes:
        """Return one file of an exhibit.

        Raises:
            Damaged: if its bytes are not those that were sealed.
            Refused: if there is no such file.
            SoarError: as for `seal`.
        """
        folder = self._folder(incident)
        _checked(_EXHIBIT_ID, exhibit)
        _checked(_SLUG, name)

        def work() -> bytes:
            with disk.translated():
                if not os.path.lexists(folder / exhibit):
                    raise Refused(f"{incident} has no exhibit {exhibit}")
                record = _record(folder, incident, exhibit)
                file = next((file for file in record.files if file.name == name), None)
                if file is None:
                    raise Refused(f"exhibit {exhibit} of {incident} has no file {name}")
                data = _bytes(folder / exhibit / _FILES / name, file.size)
            if not _matches(file, len(data), hashlib.sha256(data).hexdigest(), hashlib.sha512(data).hexdigest()):
                raise Damaged(f"{exhibit}/{name} of {incident} is not what was sealed")
            return data

        return await asyncio.to_thread(work)

    async def verify(self, incident: str, expected: Collection[Exhibit] = ()) -> tuple[Flaw, ...]:
        """Hash everything of an incident anew and return what is not as it was sealed; nothing is a clean bill.

        Args:
            incident: whose exhibits.
            expected: those that the journal names: what is gone, or was replaced with its record, is found by these.

        Raises:
            Misconfigured: if the folder is not ours alone, or cannot be read.
            Transient: if the device fails otherwise.
        """
        folder = self._folder(incident)

        def work() -> tuple[Flaw, ...]:
            with disk.translated():
                self._check_root()
                return tuple(_flaws(folder, incident, {exhibit.id: exhibit for exhibit in expected}))

        return await asyncio.to_thread(work)

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Overwrite an exhibit's files, then remove it, and return whether there was anything of it.

        The record goes last: whoever dies in between leaves a name under which the next attempt finds the rest. What a
        device or a file system keeps of overwritten blocks is beyond us: encrypt it.

        Args:
            incident: whose.
            exhibit: its id. The caller has journalled that it is to be deleted, and why.

        Raises:
            SoarError: as for `seal`.
        """
        _checked(_EXHIBIT_ID, exhibit)
        _checked(_SLUG, incident)

        def work() -> bool:
            with disk.translated():
                if not os.path.lexists(self._root / incident):
                    return False
                with self._locked(incident) as folder:
                    place = folder / exhibit
                    if not os.path.lexists(place):
                        return False
                    if place.is_symlink() or not place.is_dir():
                        raise Damaged(f"{exhibit} of {incident} is no folder: nothing was deleted")
                    for path in sorted((place / _FILES).glob("*")):
                        disk.shred(path)
                    # In one move, so that nobody who reads meanwhile finds a folder without its record.
                    dead = folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
                    place.rename(dead)
                    disk.sync(folder)
                    shutil.rmtree(dead)
                    return True

        return await asyncio.to_thread(work)

    def _folder(self, incident: str) -> Path:
        return self._root / _checked(_SLUG, incident)

    def _check_root(self) -> None:
        if self._root.exists() and stat.S_IMODE(self._root.stat().st_mode) & 0o077:
            raise Misconfigured("others can read the evidence in this folder. Run chmod 700", file=str(self._root))

    @contextmanager
    def _locked(self, incident: str) -> Iterator[Path]:
        """Hold the incident's folder against other processes and threads; the lock goes when its holder dies."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_root()
        folder = self._folder(incident)
        folder.mkdir(mode=0o700, exist_ok=True)
        disk.sync(self._root)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(descriptor)


def _checked(kind: TypeAdapter[str], value: str) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError as exc:
        raise Refused(f"{value[:120]!a} is not a name that the vault gives to a file or folder") from exc


def _build(folder: Path, collected: tuple[Collected, ...], build: _Build) -> Exhibit:
    folder.mkdir(mode=0o700)
    files = folder / _FILES
    files.mkdir(mode=0o700)
    stored = tuple(_store(files / item.name, item) for item in collected)
    try:
        record = build(stored)
        data = canonical(record)
    except ValueError as exc:
        raise Refused(f"the exhibit's record is not one that can be kept: {exc}") from exc
    disk.write(folder / _RECORD, data)
    disk.sync(files)
    disk.sync(folder)
    return record


def _store(path: Path, item: Collected) -> ExhibitFile:
    size, short, long = disk.write(path, item.data)
    if disk.hashes(path) != (size, short, long):
        raise Damaged(f"{item.name}, read again after it was stored, has another hash than its source")
    return ExhibitFile(
        name=item.name, media_type=item.media_type, size=size, sha256=f"sha256:{short}", sha512=long, origin=item.origin
    )


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


def _matches(file: ExhibitFile, size: int, short: str, long: str) -> bool:
    return size == file.size and f"sha256:{short}" == file.sha256 and file.sha512 in {None, long}


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _present(folder: Path, incident: str, name: str) -> Exhibit | None:
    """Return an exhibit's record, None if there is none or it is deleted just now."""
    try:
        return _record(folder, incident, name) if os.path.lexists(folder / name) else None
    except Damaged:
        if os.path.lexists(folder / name):
            raise
        return None


def _record(folder: Path, incident: str, name: str) -> Exhibit:
    data = _bytes(folder / name / _RECORD, _LARGEST_RECORD)
    try:
        record = Exhibit.model_validate_json(data)
    except ValidationError as exc:
        raise Damaged(f"the record of {name!a} in {incident} is not one that was sealed") from exc
    if record.id != name or record.incident != incident or canonical(record) != data:
        raise Damaged(f"the record of {name!a} in {incident} is not the one that was sealed there")
    return record


def _same(folder: Path, incident: str, name: str, collected: tuple[Collected, ...]) -> Exhibit:
    """Return the sealed exhibit if it holds exactly these bytes; a process that died may well ask twice."""
    record = _record(folder, incident, name)
    again = {item.name: (len(item.data), "sha256:" + hashlib.sha256(item.data).hexdigest()) for item in collected}
    if record.content != again:
        raise Refused(f"exhibit {name} of {incident} is sealed, with other bytes; new evidence gets a new number")
    for file in record.files:
        path = folder / name / _FILES / file.name
        if not path.exists() or not _matches(file, *disk.hashes(path)):
            raise Damaged(f"{name}/{file.name} of {incident} is not what was sealed")
    # The first attempt may have died between the rename and this.
    disk.sync(folder)
    return record


def _flaws(folder: Path, incident: str, expected: dict[str, Exhibit]) -> Iterator[Flaw]:
    names = [name for name in _names(folder) if not name.startswith(_TEMPORARY)]
    for name in sorted(expected.keys() - set(names)):
        yield Flaw(exhibit=name, message="the exhibit is gone")
    for name in names:
        if (folder / name).is_symlink():
            yield Flaw(exhibit=ascii(name), message="it is a link to somewhere else")
            continue
        try:
            record = _record(folder, incident, name)
        except (Damaged, OSError) as exc:
            yield Flaw(exhibit=ascii(name), message=str(exc))
            continue
        wanted = expected.get(name)
        if expected and wanted is None:
            yield Flaw(exhibit=name, message="the journal knows nothing of this exhibit")
        elif wanted is not None and not wanted.continues(record):
            yield Flaw(exhibit=name, message="its record is not the one that the journal has")
        yield from _flaws_of(folder / name, record)


def _flaws_of(folder: Path, record: Exhibit) -> Iterator[Flaw]:
    known = {file.name for file in record.files}
    stray = [name for name in _names(folder) if name not in {_RECORD, _FILES}]
    stray += [f"{_FILES}/{name}" for name in _names(folder / _FILES) if name not in known]
    for name in stray:
        yield Flaw(exhibit=record.id, file=ascii(name), message="it was not sealed with this exhibit")
    for path in (folder, folder / _FILES):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Flaw(exhibit=record.id, file=path.name, message="others than its owner can open the folder")
    for file in record.files:
        path = folder / _FILES / file.name
        try:
            found = disk.hashes(path)
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            yield Flaw(exhibit=record.id, file=file.name, message="the file is gone")
        except (Damaged, OSError) as exc:
            yield Flaw(exhibit=record.id, file=file.name, message=f"the file cannot be read: {exc}")
        else:
            if not _matches(file, *found):
                yield Flaw(exhibit=record.id, file=file.name, message="its bytes are not those that were sealed")
            if mode != 0o400:  # noqa: PLR2004  # read-only for its owner
                yield Flaw(exhibit=record.id, file=file.name, message=f"its mode is {mode:04o}, not 0400")
