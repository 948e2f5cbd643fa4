"""The folder of an incident's exhibits: its lock, and what is built or removed in it under a name that nobody reads."""

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from integrations import whole
from playbooks.errors import Misconfigured, Refused

TEMPORARY = ".tmp-"
"""What names begin with that nobody reads: exhibits that are being built or removed."""


def checked(kind: TypeAdapter[str], value: str) -> str:
    """Return a name if it is one of that kind.

    Raises:
        Refused: if it is not.
    """
    try:
        return kind.validate_python(value)
    except ValidationError as exc:
        raise Refused(f"{value[:120]!a} is not a name that the vault gives to a file or folder") from exc


def check(root: Path) -> None:
    """See that the vault is its owner's alone.

    Raises:
        Misconfigured: if it is not.
    """
    if root.exists() and stat.S_IMODE(root.stat().st_mode) & 0o077:
        raise Misconfigured("others can read the evidence in this folder. Run chmod 700", file=str(root))


@contextmanager
def locked(root: Path, incident: str) -> Iterator[Path]:
    """Hold an incident's folder against other processes and threads; the lock goes when its holder dies."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    check(root)
    folder = root / incident
    folder.mkdir(mode=0o700, exist_ok=True)
    whole.sync(root)
    descriptor = _opened(folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


class Building:
    """A folder in which an exhibit is built; whoever works in it holds its lock, and a dead one's is removed.

    Args:
        folder: the incident's, locked by the caller.
    """

    def __init__(self, folder: Path) -> None:
        for left in abandoned(folder):
            shutil.rmtree(left)
        self.path = unread(folder)
        self.path.mkdir(mode=0o700)
        self._descriptor = _opened(self.path)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove what there is of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)

    def become(self, path: Path) -> None:
        """Give it its name, whole; the caller makes the name durable."""
        self.path.rename(path)
        os.close(self._descriptor)


def abandoned(folder: Path) -> Iterator[Path]:
    """Yield what those who died had begun to build in an incident's folder, locked by the caller."""
    for building in folder.glob(f"{TEMPORARY}*"):
        if _abandoned(building):
            yield building


def unread(folder: Path) -> Path:
    """Return a new name in a folder that nobody reads."""
    return folder / f"{TEMPORARY}{secrets.token_hex(8)}"


def _abandoned(building: Path) -> bool:
    """Return whether whoever built there died; asked under the incident's lock, under which every building begins."""
    try:
        descriptor = _opened(building)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _opened(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
