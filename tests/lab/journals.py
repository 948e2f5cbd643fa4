"""Migrated, empty journals: one is made by each process of tests, and copied."""

import asyncio
import os
import tempfile
import threading
from pathlib import Path

from integrations.journal.store import Journal

_MAKING = threading.Lock()
_made: list[bytes] = []


def laid(path: Path) -> None:
    """Put a migrated, empty journal at a path unless something is there.

    Whoever opens it for writing migrates it all the same, which then finds nothing to do.
    """
    if path.exists():
        return
    file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(file, "wb") as out:  # noqa: PTH123  # a descriptor
        out.write(_template())


def _template() -> bytes:
    with _MAKING:
        if not _made:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "journal.db"
                # Whoever asks may be inside an event loop.
                thread = threading.Thread(target=lambda: asyncio.run(_migrated(path)))
                thread.start()
                thread.join()
                assert [file.name for file in Path(folder).iterdir() if file.stat().st_size] == [path.name]
                _made.append(path.read_bytes())
    return _made[0]


async def _migrated(path: Path) -> None:
    async with await Journal.open(f"sqlite:///{path}", signer=None, name="template") as journal:
        await journal.migrate()
