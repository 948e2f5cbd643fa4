"""An exhibit while it is collected: hashed as it comes, held in memory or in a folder that nobody reads, sealed whole.

What is small is held until it is sealed: an alert costs one turn on a thread. Of what is larger no more is held than
`HELD`; the cap is asked for each chunk, and the reserve for each piece that goes to disk.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter
from typing_extensions import override

from integrations.vault import Damaged, Draft, TooLarge, disk, sealed, shelf
from playbooks.action import Written
from playbooks.errors import Refused
from playbooks.evidence import MOST_FILES, Act, Authority, Custody, Exhibit, ExhibitFile, Method
from playbooks.strict import Line, Slug, canonical, now

HELD = 1 << 20
"""Bytes that a draft holds before it writes them to disk."""

_BLOCK = 4096  # bytes; what a file system rounds a file up to
_NAMED = 5
_SLUG = TypeAdapter[str](Slug)
_LINE = TypeAdapter[str](Line)
T = TypeVar("T")


class LocalDraft(Draft):
    """An exhibit that grows in the folder of its incident.

    Args:
        root: the vault's folder.
        incident: whose it is.
        kind: what sort it is.
        name: its id.
        reserve: bytes that stay free on the file system.
        most: bytes that it may have.
    """

    def __init__(self, root: Path, incident: str, kind: str, *, name: str, reserve: int, most: int) -> None:
        self._root, self._incident, self._kind, self._name = root, incident, kind, name
        self._reserve, self._most = reserve, most
        self._files: dict[str, _File] = {}
        self._size = self._holding = 0
        self._open = False
        self._building: shelf.Building | None = None
        self._turn = asyncio.Lock()
        self._working = threading.Lock()
        self._gone = self._lost = False

    @property
    @override
    def size(self) -> int:
        return self._size

    @override
    @asynccontextmanager
    async def file(self, name: str, *, media_type: str, origin: str) -> AsyncIterator[Written]:
        if self._lost:
            raise Refused(f"{self._name} lost what it had: nothing can be added")
        if self._open:
            raise Refused(f"{name[:120]!a} cannot begin before the file before it has ended")
        if len(self._files) >= MOST_FILES:
            raise Refused(f"an exhibit has 1 to {MOST_FILES} files, not more")
        if shelf.checked(_SLUG, name) in self._files:
            raise Refused(f"two files of {self._name} have the same name")
        file = self._files[name] = _File(self, name, shelf.checked(_LINE, media_type), shelf.checked(_LINE, origin))
        self._open = True
        try:
            yield file
            file.whole = not file.failed
        finally:
            file.ended = True
            self._open = False

    async def take(self, file: "_File", chunk: bytes) -> None:
        """Take the next bytes of a file; see `Written.write`."""
        async with self._turn:
            if file.ended or self._lost:
                why = "has ended" if file.ended else "was lost"
                raise Refused(f"{file.name} of {self._name} {why}: nothing can be added")
            fits = min(len(chunk), self._most - self._size)
            for start in range(0, fits, HELD):
                piece = memoryview(chunk)[start : min(start + HELD, fits)]
                if self._holding + len(piece) > HELD:
                    await self._away(self._flush)
                file.held += piece
                file.size += len(piece)
                self._holding += len(piece)
                self._size += len(piece)
            if fits < len(chunk):
                raise TooLarge(f"{self._name} has more than {self._most} bytes, the most that one exhibit may have")

    @override
    async def seal(
        self,
        *,
        collected_at: datetime,
        collected_by: str,
        authority: Authority,
        how: Method,
        interrupted: bool = False,
    ) -> Exhibit:
        if not self._files:
            raise Refused(f"an exhibit has 1 to {MOST_FILES} files, not 0")
        where = self._broken(interrupted=interrupted)
        custody = [Custody(at=collected_at, actor=collected_by, act=Act.COLLECTED)]
        custody += [Custody(at=now(), actor=how.tool, act=Act.INTERRUPTED, note=where)] if where else []

        def build() -> Exhibit:
            said = "hashed at the source and once stored"
            return Exhibit(
                id=self._name,
                kind=self._kind,
                incident=self._incident,
                files=tuple(file.record() for file in self._files.values()),
                collected_at=collected_at,
                collected_by=collected_by,
                authority=authority,
                how=how,
                custody=(*custody, Custody(at=now(), actor=how.tool, act=Act.SEALED, note=said)),
            )

        async with self._turn:
            return await self._away(lambda: self._finish(build))

    def discard(self) -> None:
        """Remove what there is of it; a thread that is at work on it does that when it ends."""
        self._gone = True
        if self._working.acquire(blocking=False):
            try:
                self._clear()
            finally:
                self._working.release()

    async def _away(self, work: Callable[[], T]) -> T:
        """Do on a thread what waits for the disk; what fails there leaves nothing."""

        def guarded() -> T:
            with self._working, disk.translated():
                if self._gone:
                    raise Refused(f"{self._name} was given up")
                try:
                    return work()
                except BaseException:
                    # What is added after that, by whoever takes no notice, would pass for the whole of it.
                    self._lost = True
                    self._clear()
                    raise

        def alone() -> T:
            try:
                return guarded()
            finally:
                if self._gone:
                    self.discard()

        return await asyncio.to_thread(alone)

    def _flush(self) -> None:
        if self._building is None:
            with shelf.locked(self._root, self._incident) as folder:
                building = self._begin(folder)
        else:
            building = self._building
        self._put_down(building)

    def _begin(self, folder: Path) -> shelf.Building:
        self._building = building = shelf.Building(folder)
        (building.path / sealed.FILES).mkdir(mode=0o700)
        return building

    def _put_down(self, building: shelf.Building) -> None:
        """Write what is held; what has ended is read again."""
        left = [file for file in self._files.values() if file.stored is None]
        disk.check_room(self._root, sum(len(file.held) + _BLOCK for file in left), self._reserve)
        for file in left:
            file.put_down(building.path / sealed.FILES)
        self._holding = 0

    def _finish(self, build: Callable[[], Exhibit]) -> Exhibit:
        building = self._building
        if building is not None:
            self._put_down(building)
        with shelf.locked(self._root, self._incident) as folder:
            if os.path.lexists(folder / self._name):
                content = {file.name: file.content() for file in self._files.values()}
                return sealed.same(folder, self._incident, self._name, content)
            if building is None:
                building = self._begin(folder)
                self._put_down(building)
            try:
                record = build()
                data = canonical(record)
            except ValueError as exc:
                raise Refused(f"the exhibit's record is not one that can be kept: {exc}") from exc
            disk.write(building.path / sealed.RECORD, data)
            disk.sync(building.path / sealed.FILES)
            disk.sync(building.path)
            building.become(folder / self._name)
            self._building = None
            disk.sync(folder)
            return record

    def _clear(self) -> None:
        for file in self._files.values():
            file.abandon()
        if self._building is not None:
            self._building.remove()
            self._building = None
        self._files, self._size, self._holding = {}, 0, 0

    def _broken(self, *, interrupted: bool) -> str:
        """Return where it breaks off, in words of our own; empty if it does not."""
        places = [f"in {file.name} after {file.size} bytes" for file in self._files.values() if not file.whole]
        if interrupted and not places:
            places = [f"after {list(self._files)[-1]}"]
        more = f" and in {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return f"INCOMPLETE: it breaks off {', '.join(places[:_NAMED])}{more}" if places else ""


class _File(Written):
    """A file of a draft.

    Args:
        draft: whose.
        name: in the exhibit.
        media_type: what the bytes are.
        origin: where they are read from.
    """

    def __init__(self, draft: LocalDraft, name: str, media_type: str, origin: str) -> None:
        self._draft = draft
        self.name, self._media_type, self._origin = name, media_type, origin
        self.held = bytearray()
        self.size = 0
        self.whole = self.ended = self.failed = False
        self.stored: disk.Stored | None = None
        self._writer: disk.Writer | None = None

    @override
    async def write(self, chunk: bytes) -> None:
        try:
            await self._draft.take(self, chunk)
        except BaseException:
            # Whoever catches it: something is missing from here on.
            self.failed = True
            raise

    def put_down(self, folder: Path) -> None:
        """Write what is held; if that was all of it, make it durable and read it again.

        Raises:
            Damaged: if what is read is not what came from the source.
        """
        if self._writer is None:
            self._writer = disk.Writer(folder / self.name)
        self._writer.write(self.held)
        self.held = bytearray()
        if self.ended:
            stored, self._writer = self._writer.close(), None
            if disk.hashes(folder / self.name) != stored:
                raise Damaged(f"{self.name}, read again after it was stored, has another hash than its source")
            self.stored = stored

    def content(self) -> tuple[int, str]:
        """Return size and SHA-256 of what came from the source."""
        if self.stored is not None:
            return self.stored.size, f"sha256:{self.stored.sha256}"
        return len(self.held), f"sha256:{hashlib.sha256(self.held).hexdigest()}"

    def record(self) -> ExhibitFile:
        """Return what is kept of it in the exhibit's record.

        Raises:
            Refused: if it has not ended.
        """
        if self.stored is None:
            raise Refused(f"{self.name} has not ended")
        return ExhibitFile(
            name=self.name,
            media_type=self._media_type,
            size=self.stored.size,
            sha256=f"sha256:{self.stored.sha256}",
            sha512=self.stored.sha512,
            origin=self._origin,
        )

    def abandon(self) -> None:
        """Close what is open."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
