"""The files of a bundle, read as a stream and bounded: what is kept of them has one budget, whatever they hold."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from integrations.vault import Damaged, archive, disk, envelope
from integrations.vault.bundle.layout import FOLDER, MANIFEST, NAME, README
from playbooks.strict import Strict

_LARGEST = {README: 64 << 10, MANIFEST: envelope.MOST_BYTES}
"""Bytes that these files have at most; the journal and the heads are bounded by the memory alone."""
_LARGEST_KEY = 16 << 10  # bytes
_LARGEST_LINE = 16 << 20
"""Bytes of a line of journal or heads; while it is read, a dozen times that is needed for a moment."""
_LINE_COSTS = 1 << 10
"""Bytes that what is read in a line takes beside the line's own: its objects and its place in two dictionaries."""


class Limits(Strict):
    """What a bundle may ask of the machine that verifies it.

    Args:
        files: how many it may hold.
        total: bytes in all of them together, unpacked.
        memory: bytes for all that is kept of it together: manifest, journal, heads and keys, and what is read in them.
    """

    files: int = 20_000
    total: int = 16 << 30
    memory: int = 512 << 20


class Room:
    """The memory that one bundle may have, whatever of it is kept.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def spend(self, size: int) -> None:
        """Take some bytes for good.

        Raises:
            UnreadableError: if there are not that many left.
        """
        self._left -= size
        if self._left < 0:
            raise archive.UnreadableError(f"what has to be kept of it takes more than {self._size} bytes of memory")


class Contents:
    """A bundle's files.

    Args:
        limits: what it may hold.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self.budget = Room(limits.memory)
        self.files: dict[str, envelope.Hashes] = {}
        self.documents: dict[str, bytearray] = {}

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """Take in a file: its digests, and its bytes if they are read later.

        Raises:
            UnreadableError: if it is none of a bundle, there already, or more than is allowed.
        """
        if not NAME.fullmatch(name):
            raise archive.UnreadableError(f"it holds {name[:200]!a}, which is not a name that a bundle has")
        if name in self.files:
            raise archive.UnreadableError(f"it holds {name} twice")
        if len(self.files) >= self._limits.files:
            raise archive.UnreadableError(f"it holds more than {self._limits.files} files")
        self.budget.spend(_LINE_COSTS)
        kept = None if name == README or name.startswith("exhibits/") else bytearray()
        most = _LARGEST_KEY if name.startswith("keys/") else _LARGEST.get(name)
        short, long, size = hashlib.sha256(), hashlib.sha512(), 0
        for chunk in chunks:
            size += len(chunk)
            self._total += len(chunk)
            if self._total > self._limits.total:
                raise archive.UnreadableError(f"it holds more than {self._limits.total} bytes, unpacked")
            if most is not None and size > most:
                raise archive.UnreadableError(f"{name} has more than {most} bytes")
            short.update(chunk)
            long.update(chunk)
            if kept is not None:
                self.budget.spend(len(chunk))
                kept += chunk
        self.files[name] = envelope.Hashes(sha256=short.hexdigest(), sha512=long.hexdigest())
        if kept is not None:
            self.documents[name] = kept


def load(bundle: Path, limits: Limits, trusted: Callable[[bytes], object]) -> Contents:
    """Read a bundle through.

    Every archive of ours begins with its manifest, and that is looked at before a byte is unpacked behind it: what a
    stranger compressed a thousandfold costs nothing.

    Args:
        bundle: the folder, or the archive.
        limits: what it may hold.
        trusted: told an archive's manifest; what it raises ends the reading.

    Raises:
        UnreadableError: if it holds what a bundle does not hold.
    """
    contents = Contents(limits)
    if bundle.is_dir():
        _load_folder(bundle, "", contents, limits)
        return contents
    with opened(bundle) as file:
        for name, chunks in archive.members(archive.Inflated(file)):
            first = not contents.files
            if first and name != MANIFEST:
                raise archive.UnreadableError("it does not begin with its manifest, as every one of ours does")
            contents.add(name, chunks)
            if first:
                trusted(bytes(contents.documents[MANIFEST]))
    return contents


@contextlib.contextmanager
def opened(bundle: Path) -> Iterator[BinaryIO]:
    """Open an archive; a pipe under its name would hold us up for ever."""
    if not stat.S_ISREG(bundle.stat().st_mode):
        raise archive.UnreadableError("it is neither a folder nor a file")
    with bundle.open("rb") as file:
        if file.read(len(archive.GZIP)) != archive.GZIP:
            raise archive.UnreadableError("it is neither a folder nor an archive that mcp-soar wrote")
        file.seek(0)
        yield file


def _load_folder(root: Path, prefix: str, contents: Contents, limits: Limits) -> None:
    with os.scandir(root / prefix) as listing:
        # One more than the limit is enough to find it exceeded, however many there are.
        found = sorted(islice((item.name for item in listing), limits.files + 1))
    for name in found:
        relative = f"{prefix}{name}"
        path = root / relative
        if not path.is_symlink() and path.is_dir():
            if not FOLDER.fullmatch(relative):
                raise archive.UnreadableError(f"it holds the folder {relative[:200]!a}, which a bundle does not have")
            _load_folder(root, f"{relative}/", contents, limits)
            continue
        try:
            with closing(disk.chunks(path)) as chunks:
                contents.add(relative, chunks)
        except Damaged as exc:
            raise archive.UnreadableError(str(exc)) from exc


def lines(data: bytearray | None, name: str, faults: list[str], budget: Room) -> Iterator[bytes]:
    """Yield the lines of a document, one at a time: a list of a hundred million empty ones is a gigabyte."""
    if data is None:
        faults.append(f"{name} is missing")
        return
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        if end - start > _LARGEST_LINE:
            raise archive.UnreadableError(f"a line of {name} has more than {_LARGEST_LINE} bytes")
        budget.spend(end - start + _LINE_COSTS)
        yield bytes(memoryview(data)[start:end])
        start = end + 1
    if start < len(data):
        faults.append(f"{name} does not end with its last line")
