"""What lies on the machine that a check runs on, read within bounds: whoever writes there chooses what is read."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from integrations import bounded
from playbooks.errors import Misconfigured, Refused

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a file of settings."""

MOST_FILES: Final = 20_000
"""Files of a folder that is hashed."""

MOST_BYTES: Final = 256 * 1024 * 1024
"""Bytes of all of them."""

MOST_NAMES: Final = 2_000
"""Entries of a folder that is listed."""

_CHUNK: Final = 1024 * 1024
_PIECE: Final = 16 * 1024
_NEAR: Final = re.compile(r"near (\d{1,9})")


def content(path: Path, inside: Path, *, largest: int = LARGEST) -> bytes | None:
    """Return what a file holds; None if there is none.

    Args:
        path: the file; links are followed as long as they stay inside.
        inside: the folder that it may lie in.
        largest: bytes that it may have.

    Raises:
        Refused: it leads elsewhere, is no ordinary file, may not be read or is too large.
    """
    try:
        real, root = path.resolve(strict=True), inside.resolve(strict=True)
        if not real.is_relative_to(root):
            raise Refused(f"{path.name!a} is a link that leads out of {inside}")
        # O_NONBLOCK: a pipe in its place must not hang us. O_NOFOLLOW: nor a link put there since the line above.
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    # A loop of links is a RuntimeError up to Python 3.12.
    except (OSError, RuntimeError, ValueError) as exc:
        raise Refused(
            f"{path.name!a} cannot be read: {getattr(exc, 'strerror', None) or 'its links lead nowhere'}"
        ) from exc
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{path.name!a} is no ordinary file")
        found = bytearray()
        try:
            # In pieces: the kernel gives nothing of its own files to who asks for much at once.
            while len(found) <= largest and (chunk := file.read1(_PIECE)):
                found += chunk
        except OSError as exc:
            raise Refused(f"{path.name!a} cannot be read: {exc.strerror}") from exc
    if len(found) > largest:
        raise Refused(f"{path.name!a} is longer than {largest} bytes")
    return bytes(found)


def settings(path: Path, inside: Path) -> Any:  # noqa: ANN401  # whatever JSON it is
    """Return the JSON, with comments, that a file holds; None if there is no file, or nothing in it.

    Raises:
        Refused: as `content`; or it holds more than anybody reads.
        Misconfigured: it is no JSON, with the line.
    """
    # When it is asked for: nothing else needs it.
    import pyjson5  # noqa: PLC0415

    raw = content(path, inside)
    if raw is None:
        return None
    if sum(raw.count(mark) for mark in (b",", b"[", b"{", b":")) > bounded.MOST_VALUES:
        raise Refused(f"{path.name!a} holds more values than anybody reads")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise Misconfigured("it is not UTF-8", file=path.name) from exc
    try:
        return pyjson5.decode(text, bounded.DEEPEST) if text.strip() else None
    except pyjson5.Json5Exception as exc:
        # Its place alone: the error holds what was read until there.
        at = _NEAR.search(str(exc.args[0]))
        line = text.count("\n", 0, int(at[1]) - 1) + 1 if at else None
        fault = "it nests too deep" if isinstance(exc, pyjson5.Json5NestingTooDeep) else "it is no JSON there"
        raise Misconfigured(fault, file=path.name, line=line) from None


def names(folder: Path, inside: Path) -> list[str]:
    """Return the folders in a folder, without links; none if it is not there.

    Raises:
        Refused: it leads elsewhere, may not be read or holds too many.
    """
    try:
        if not folder.resolve(strict=True).is_relative_to(inside.resolve(strict=True)):
            raise Refused(f"{folder.name!a} is a link that leads out of {inside}")
        found: list[str] = []
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MOST_NAMES:
                    raise Refused(f"{folder.name!a} holds more than {MOST_NAMES} entries")
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, RuntimeError) as exc:
        raise Refused(f"{folder.name!a} cannot be listed") from exc
    return sorted(found)


def digest(folder: Path) -> str:
    """Return the SHA-256 of all that a folder holds: names, links as they are, and what is in the files.

    Raises:
        Refused: it is too large, or not all of it can be read.
    """
    whole, left = hashlib.sha256(), MOST_BYTES
    try:
        for number, entry in enumerate(_walk(folder)):
            if number >= MOST_FILES:
                raise Refused(f"{folder.name!a} holds more than {MOST_FILES} files")
            one = hashlib.sha256()
            mode = entry.lstat().st_mode
            if stat.S_ISLNK(mode):
                one.update(os.fsencode(entry.readlink()))
            elif stat.S_ISREG(mode):
                descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                with os.fdopen(descriptor, "rb") as file:
                    while chunk := file.read(_CHUNK):
                        if (left := left - len(chunk)) < 0:
                            raise Refused(f"{folder.name!a} holds more than {MOST_BYTES} bytes")
                        one.update(chunk)
            name = os.fsencode(entry.relative_to(folder))
            whole.update(b"%d:%s %d %s\n" % (len(name), name, stat.S_IFMT(mode), one.digest().hex().encode()))
    except OSError as exc:
        raise Refused(f"not all of {folder.name!a} can be read") from exc
    return whole.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what a folder holds, in an order that depends on nothing else, folders by what is in them."""
    with os.scandir(folder) as entries:
        found = []
        for entry in entries:
            found.append(entry)
            if len(found) > MOST_FILES:
                raise Refused(f"{folder.name!a} holds more than {MOST_FILES} files")
    for entry in sorted(found, key=lambda one: os.fsencode(one.name)):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)
