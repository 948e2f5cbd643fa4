"""Journals for tests: migrated, empty ones, of which each process makes one and copies it; and what is read of one."""

import asyncio
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from integrations.journal.spool import END
from integrations.journal.store import Journal, Tx

_MAKING = threading.Lock()
_made: dict[str, bytes] = {}


def laid(path: Path) -> None:
    """Put a migrated, empty journal at a path unless something is there.

    Whoever opens it for writing migrates it all the same, which then finds nothing to do.
    """
    if path.exists():
        return
    for end, data in _template().items():
        file = os.open(f"{path}{end}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(file, "wb") as out:  # noqa: PTH123  # a descriptor
            out.write(data)


def streams_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows by each stream of which a unit reads entries."""
    read: list[str] = []
    of_kinds, whole = Tx.of_kinds, Tx.read

    async def spied(tx: Tx, stream: str, *kinds: str, after: int = 0) -> Any:  # noqa: ANN401  # as the original
        read.append(stream)
        return await of_kinds(tx, stream, *kinds, after=after)

    async def never(tx: Tx, stream: str, after: int = 0) -> Any:  # noqa: ANN401  # as the original
        read.append(f"all of {stream}")
        return await whole(tx, stream, after)

    monkeypatch.setattr(Tx, "of_kinds", spied)
    monkeypatch.setattr(Tx, "read", never)
    return read


def _template() -> dict[str, bytes]:
    """Return the files of a journal, by what their names have after the journal's."""
    with _MAKING:
        if not _made:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "journal.db"
                # Whoever asks may be inside an event loop.
                thread = threading.Thread(target=lambda: asyncio.run(_migrated(path)))
                thread.start()
                thread.join()
                for file in Path(folder).iterdir():
                    if data := file.read_bytes():
                        _made[file.name.removeprefix(path.name)] = data
                assert sorted(_made) == ["", END]
    return _made


async def _migrated(path: Path) -> None:
    async with await Journal.open(f"sqlite:///{path}", signer=None, name="template") as journal:
        await journal.migrate()
