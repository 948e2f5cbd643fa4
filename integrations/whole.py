"""A file written whole or not at all: nobody ever sees half of it, and it is on disk before it has its name."""

import os
import secrets
from pathlib import Path


def put(path: Path, data: bytes, *, mode: int = 0o600, over: bool = False) -> None:
    """Write a file.

    Args:
        path: in a folder that is there.
        data: all of it.
        mode: its rights, whatever the umask takes away.
        over: in place of what is there; a link is replaced, never followed.

    Raises:
        FileExistsError: there is something, and it is not to be written over.
        OSError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # O_EXCL: whoever else may write there cannot have put a link in its place.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if over:
            temporary.replace(path)
        else:
            # Fails if somebody made it meanwhile, where `replace` would not.
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
