"""An exhibit while it is collected, wherever it is stored: hashed as it comes, sealed whole.

What is small is held until it is sealed: an alert costs one turn on a thread. Of what is larger no more is held than
`HELD`, and what the store's own writer needs; the cap is asked for each chunk.
"""

import asyncio
import hashlib
import threading
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import datetime
from typing import Protocol, TypeVar

from pydantic import TypeAdapter
from typing_extensions import override

from integrations.vault import Draft, TooLarge, shelf
from integrations.vault.disk import Stored
from playbooks.action import Written
from playbooks.errors import Refused
from playbooks.record.evidence import MOST_FILES, Act, Authority, Custody, Exhibit, ExhibitFile, Kept, Method
from playbooks.strict import Line, Slug, now
from playbooks.text.escaping import printable
from playbooks.text.redaction import redacted

HELD = 1 << 20
"""Bytes that a draft holds before it hands them to its store."""

_NAMED = 5
_LACKING = 400
_NOTE = 2000
_SLUG = TypeAdapter[str](Slug)
_LINE = TypeAdapter[str](Line)
T = TypeVar("T")


class Writer(Protocol):
    """Takes one file to where it is stored."""

    def write(self, data: bytes | bytearray) -> None:
        """Append some bytes."""
        ...

    def close(self) -> Stored:
        """See that it is all there, and return what came from the source."""
        ...

    def abandon(self) -> None:
        """End it as it is."""
        ...


class Growing(Draft):
    """An exhibit that grows, and what every store does with it alike.

    Args:
        incident: whose it is.
        kind: what sort it is.
        name: its id.
        most: bytes that it may have.
    """

    SAID = "hashed at the source and once stored"
    """What custody says of the bytes at the seal."""

    def __init__(self, incident: str, kind: str, *, name: str, most: int) -> None:
        self._incident, self._kind, self._name = incident, kind, name
        self._most = most
        self._files: dict[str, File] = {}
        self._size = self._holding = 0
        self._open = False
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
        file = self._files[name] = File(self, name, shelf.checked(_LINE, media_type), shelf.checked(_LINE, origin))
        self._open = True
        try:
            yield file
            file.whole = not file.failed
        finally:
            file.ended = True
            self._open = False

    async def take(self, file: "File", chunk: bytes) -> None:
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
        lacking = "; ".join(printable(redacted(one), _LACKING) for one in self.lacking)[:_NOTE]
        custody = [Custody(at=collected_at, actor=collected_by, act=Act.COLLECTED, note=lacking)]
        custody += [Custody(at=now(), actor=how.tool, act=Act.INTERRUPTED, note=where)] if where else []

        def build() -> Exhibit:
            try:
                return Exhibit(
                    id=self._name,
                    kind=self._kind,
                    incident=self._incident,
                    files=tuple(file.record() for file in self._files.values()),
                    collected_at=collected_at,
                    collected_by=collected_by,
                    authority=authority,
                    how=how,
                    custody=(*custody, Custody(at=now(), actor=how.tool, act=Act.SEALED, note=self.SAID)),
                )
            except ValueError as exc:
                raise Refused(f"the exhibit's record is not one that can be kept: {exc}") from exc

        async with self._turn:
            return await self._away(lambda: self._finish(build))

    def discard(self) -> None:
        """Remove what there is of it; a thread that is at work on it does that when it ends."""
        self._gone = True
        self._give_up()

    def _give_up(self) -> None:
        if self._working.acquire(blocking=False):
            try:
                self._clear()
            finally:
                self._working.release()

    async def _away(self, work: Callable[[], T]) -> T:
        """Do on a thread what waits for the store; what fails there leaves nothing."""

        def guarded() -> T:
            with self._working, self._translated():
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
                    self._give_up()

        return await self._on_thread(alone)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)

    @abstractmethod
    def _translated(self) -> AbstractContextManager[None]:
        """Turn the store's errors into ours."""

    @abstractmethod
    def _room(self, files: "list[File]") -> None:
        """See that there is room for what is held of some files.

        Raises:
            VaultFull: if there is not.
        """

    @abstractmethod
    def _writer(self, name: str) -> Writer:
        """Begin to store a file."""

    @abstractmethod
    def _finish(self, build: Callable[[], Exhibit]) -> Exhibit:
        """Store all of it under its name; see `Draft.seal`."""

    def _flush(self) -> None:
        self._put_down()

    def _put_down(self) -> None:
        """Hand what is held to the store; what has ended is there then."""
        left = [file for file in self._files.values() if file.stored is None]
        self._room(left)
        for file in left:
            file.put_down(self._writer)
        self._holding = 0

    def _clear(self) -> None:
        for file in self._files.values():
            file.abandon()
        self._files, self._size, self._holding = {}, 0, 0

    def _broken(self, *, interrupted: bool) -> str:
        """Return where it breaks off, in words of our own; empty if it does not."""
        places = [f"in {file.name} after {file.size} bytes" for file in self._files.values() if not file.whole]
        if interrupted and not places:
            places = [f"after {list(self._files)[-1]}"]
        more = f" and in {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        return f"INCOMPLETE: it breaks off {', '.join(places[:_NAMED])}{more}" if places else ""


class File(Written):
    """A file of a draft.

    Args:
        draft: whose.
        name: in the exhibit.
        media_type: what the bytes are.
        origin: where they are read from.
    """

    def __init__(self, draft: Growing, name: str, media_type: str, origin: str) -> None:
        self._draft = draft
        self.name, self._media_type, self._origin = name, media_type, origin
        self.held = bytearray()
        self.size = 0
        self.whole = self.ended = self.failed = False
        self.stored: Stored | None = None
        self.kept: Kept | None = None
        self._writer: Writer | None = None

    @override
    async def write(self, chunk: bytes) -> None:
        try:
            await self._draft.take(self, chunk)
        except BaseException:
            # Whoever catches it: something is missing from here on.
            self.failed = True
            raise

    def put_down(self, begin: Callable[[str], Writer]) -> None:
        """Store what is held; if that was all of it, see that it is there.

        Args:
            begin: begins to store a file of that name.

        Raises:
            Damaged: if what is stored is not what came from the source.
        """
        if self._writer is None:
            self._writer = begin(self.name)
        self._writer.write(self.held)
        self.held = bytearray()
        if self.ended:
            self.stored, self._writer = self._writer.close(), None

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
            kept=self.kept,
        )

    def abandon(self) -> None:
        """Close what is open."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None
