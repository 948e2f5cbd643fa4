"""Files that are written once and durably, and the file system's errors as ours."""

import errno
import hashlib
import os
import stat
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from integrations.vault import Damaged, VaultFull
from playbooks.errors import Misconfigured, Transient

CHUNK = 1 << 20
"""Bytes that are read or written at a time."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OURS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


@contextmanager
def translated() -> Iterator[None]:
    """Turn the file system's errors into ours.

    Raises:
        VaultFull: if there is no room.
        Misconfigured: if a path is not there, or not ours to use.
        Transient: if the device fails otherwise.
    """
    try:
        yield
    except OSError as exc:
        where = str(exc.filename or "the file system")
        if exc.errno in _FULL:
            raise VaultFull(f"there is no room: {exc.strerror}") from exc
        if exc.errno in _OURS:
            raise Misconfigured(f"cannot be used for evidence ({exc.strerror})", file=where) from exc
        raise Transient(f"{where} failed: {exc.strerror}") from exc


def check_room(folder: Path, size: int, reserve: int) -> None:
    """See that there is room for some bytes beside those that stay free for the journal.

    Args:
        folder: on the file system in question.
        size: bytes to be written.
        reserve: bytes that stay free.

    Raises:
        VaultFull: if there is not.
    """
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free - size < reserve:
        raise VaultFull(f"{size} bytes are to be written; {free} are free, and {reserve} of those are reserved")


class Stored(NamedTuple):
    """What was read from the source on its way to a file.

    Args:
        size: in bytes.
        sha256: in hex.
        sha512: in hex.
    """

    size: int
    sha256: str
    sha512: str


class NewFile:
    """A new file, mode 0400, written in pieces and hashed on the way; `close` makes it durable.

    Args:
        path: of the file; must not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o400)
        self._size, self._short, self._long = 0, hashlib.sha256(), hashlib.sha512()

    def write(self, data: bytes | bytearray) -> None:
        """Append some bytes."""
        for start in range(0, len(data), CHUNK):
            chunk = memoryview(data)[start : start + CHUNK]
            self._short.update(chunk)
            self._long.update(chunk)
            self._size += len(chunk)
            while chunk:
                chunk = chunk[os.write(self._descriptor, chunk) :]

    def close(self) -> Stored:
        """Make it durable and return what was written."""
        try:
            os.fsync(self._descriptor)
            if hasattr(os, "posix_fadvise"):
                # So that reading it again asks the device rather than the page cache that was just written.
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(self._descriptor)
        return Stored(self._size, self._short.hexdigest(), self._long.hexdigest())

    def abandon(self) -> None:
        """Close it as it is, durable or not."""
        with suppress(OSError):
            os.close(self._descriptor)


def write(path: Path, data: bytes) -> Stored:
    """Write a new file durably, mode 0400, and return what was read from `data` on its way there."""
    writer = NewFile(path)
    try:
        writer.write(data)
    except BaseException:
        writer.abandon()
        raise
    return writer.close()


def chunks(path: Path) -> Generator[bytes, None, None]:
    """Yield a file's bytes.

    Raises:
        Damaged: if it is a link, a pipe or anything else than an ordinary file.
    """
    if path.is_symlink():
        raise Damaged(f"{path.name!a} is a link")
    # O_NONBLOCK: a pipe in the file's place must not hang us. O_NOFOLLOW: nor a link put there since the line above.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Damaged(f"{path.name!a} is no ordinary file")
        while chunk := os.read(descriptor, CHUNK):
            yield chunk
    finally:
        os.close(descriptor)


def hashes(path: Path) -> Stored:
    """Return a file's size, SHA-256 and SHA-512.

    Raises:
        Damaged: if it is not an ordinary file.
    """
    return digested(chunks(path))


def digested(chunks: Iterable[bytes]) -> Stored:
    """Return size, SHA-256 and SHA-512 of bytes that flow by."""
    size, short, long = 0, hashlib.sha256(), hashlib.sha512()
    for chunk in chunks:
        size += len(chunk)
        short.update(chunk)
        long.update(chunk)
    return Stored(size, short.hexdigest(), long.hexdigest())


def shred(path: Path) -> None:
    """Overwrite a file of ours with zeros, durably, and remove it; a link is only removed, and nothing is no fault."""
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            path.chmod(0o600)
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                left = os.fstat(descriptor).st_size
                while left:
                    left -= os.write(descriptor, bytes(min(left, CHUNK)))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        path.unlink()
    except FileNotFoundError:
        return
