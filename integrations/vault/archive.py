"""Folders and archives of files: written so that every byte follows from the content, and read without trust."""

import os
import shutil
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from integrations import whole
from integrations.vault import disk
from playbooks.errors import Refused

GZIP = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""The header that our archives begin with (RFC 1952): deflate, no name, no time, operating system unknown."""

BLOCK = 512  # bytes; POSIX.1-1988 (ustar)
_STEP = 1 << 16  # bytes
LARGEST_MEMBER = 8**11 - 1  # bytes; eleven octal digits


class UnreadableError(Exception):
    """What was read is not what is written here; the message says why, and never leaves the vault package."""


class Folder:
    """A folder of files that appears under its name only when it is whole.

    Args:
        temporary: where it grows, in the same folder as its final name.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        temporary.mkdir(mode=0o700)

    def add(self, path: str, size: int, chunks: Iterable[bytes]) -> None:
        """Add one file.

        Args:
            path: in the folder.
            size: in bytes.
            chunks: its bytes; what they raise ends it.

        Raises:
            SoarError: Refused if it has another size, and as for `disk.translated`.
        """
        with disk.translated():
            target = self._temporary
            for part in path.split("/")[:-1]:
                target /= part
                target.mkdir(mode=0o700, exist_ok=True)
            writer = disk.NewFile(self._temporary / path)
            try:
                for chunk in sized(path, size, chunks):
                    writer.write(chunk)
            except BaseException:
                writer.abandon()
                raise
            writer.close()

    def finish(self, out: Path) -> None:
        """Make everything durable and give it its name.

        Raises:
            SoarError: Refused if the name is taken, and as for `disk.translated`.
        """
        with disk.translated():
            for folder, _, _ in os.walk(self._temporary, topdown=False):
                whole.sync(Path(folder))
            if os.path.lexists(out):
                raise Refused(f"{out} is there already")
            self._temporary.rename(out)
            whole.sync(out.parent)

    def discard(self) -> None:
        """Remove what there is so far."""
        shutil.rmtree(self._temporary, ignore_errors=True)


class Archive:
    """A .tar.gz whose every byte follows from its content: POSIX.1-1988 headers, one gzip member.

    Args:
        temporary: where it grows, in the same folder as its final name.
    """

    def __init__(self, temporary: Path) -> None:
        self._temporary = temporary
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        self._file = os.fdopen(descriptor, "wb")
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._crc, self._size = 0, 0
        self._file.write(GZIP)

    def add(self, path: str, size: int, chunks: Iterable[bytes]) -> None:
        """Add one file.

        Args:
            path: in the archive.
            size: in bytes.
            chunks: its bytes; what they raise ends it.

        Raises:
            SoarError: Refused if it has another size or is too large, and as for `disk.translated`.
        """
        if size > LARGEST_MEMBER:
            raise Refused(f"{path} has {size} bytes, more than a tar archive holds: export to a folder")
        with disk.translated():
            self._put(header(path, size))
            for chunk in sized(path, size, chunks):
                self._put(chunk)
            self._put(bytes(-size % BLOCK))

    def finish(self, out: Path) -> None:
        """Make everything durable and give it its name.

        Raises:
            SoarError: Refused if the name is taken, and as for `disk.translated`.
        """
        with disk.translated():
            self._put(bytes(2 * BLOCK))
            self._file.write(self._deflate.flush())
            self._file.write(struct.pack("<II", self._crc, self._size & 0xFFFFFFFF))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            try:
                # link, not rename: it fails if the name is taken.
                os.link(self._temporary, out)
            except FileExistsError as exc:
                raise Refused(f"{out} is there already") from exc
            self._temporary.unlink()
            whole.sync(out.parent)

    def discard(self) -> None:
        """Remove what there is so far."""
        with suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        self._file.write(self._deflate.compress(data))


def sized(path: str, size: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks that have that size together.

    Raises:
        Refused: if they have another.
    """
    left = size
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise Refused(f"{path} was changed while it was copied: it has not {size} bytes")


def begin(temporary: Path, out: Path) -> Folder | Archive:
    """Return the writer of what `out` will be: an archive if it ends in .tar.gz, else a folder.

    Args:
        temporary: where it grows.
        out: its final name.

    Raises:
        SoarError: Refused if the name is taken, and as for `disk.translated`.
    """
    with disk.translated():
        if os.path.lexists(out):
            raise Refused(f"{out} is there already")
        return Archive(temporary) if out.name.endswith(".tar.gz") else Folder(temporary)


def header(path: str, size: int) -> bytes:
    """Return the block that stands before a file (POSIX.1-1988).

    Raises:
        ValueError: if the path is too long, or not ASCII.
    """
    info = tarfile.TarInfo(path)
    info.size, info.mode = size, 0o400
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


class Inflated:
    """A gzip file that is read as a stream, holding little more than is asked for, whatever it unpacks to (RFC 1952).

    Args:
        file: at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._buffer = b""

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            UnreadableError: if there are not that many, or the compression is damaged.
        """
        while len(self._buffer) < size:
            if not (more := self._more()):
                raise UnreadableError("the archive ends too early")
            self._buffer += more
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def ended(self) -> bool:
        """Return whether the file ends here, in its archive and on disk."""
        return not self._buffer and not self._more() and not self._inflate.unused_data and not self._file.read(1)

    def _more(self) -> bytes:
        try:
            while not self._inflate.eof:
                fed = self._inflate.unconsumed_tail or self._file.read(_STEP)
                out = self._inflate.decompress(fed, _STEP)
                if out:
                    return out
                if not fed:
                    raise UnreadableError("the archive is cut off")
        except zlib.error as exc:
            raise UnreadableError(f"the archive is damaged ({exc})") from exc
        return b""


class Plain:
    """A file that is read as it is.

    Args:
        file: at its beginning.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            UnreadableError: if there are not that many.
        """
        if len(taken := self._file.read(size)) < size:
            raise UnreadableError("the archive ends too early")
        return taken

    def ended(self) -> bool:
        """Return whether the file ends here."""
        return not self._file.read(1)


def members(archive: Inflated | Plain) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the files of an archive: their names, not yet checked, and their bytes, to be read before the next.

    Raises:
        UnreadableError: at anything that `Archive` does not write: a link, a device, a folder, an owner, a second end.
    """
    while any(block := archive.take(BLOCK)):
        try:
            info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
            exact = header(info.name, info.size) == block
        except (tarfile.HeaderError, ValueError) as exc:
            raise UnreadableError("the archive has a damaged header") from exc
        if not exact:
            raise UnreadableError(f"the archive's entry {info.name[:200]!a} is not one that mcp-soar writes")
        yield info.name, _data(archive, info.size)
        if any(archive.take(-info.size % BLOCK)):
            raise UnreadableError(f"the archive's entry {info.name[:200]!a} is followed by something hidden")
    if any(archive.take(BLOCK)) or not archive.ended():
        raise UnreadableError("something follows the archive's end")


def _data(archive: Inflated | Plain, size: int) -> Iterator[bytes]:
    while size:
        yield (chunk := archive.take(min(size, disk.CHUNK)))
        size -= len(chunk)
