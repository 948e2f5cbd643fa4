"""An exhibit while it is collected, in a folder: held in memory or under a name that nobody reads, sealed whole."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from typing_extensions import override

from integrations import whole
from integrations.vault import Damaged, disk, sealed, shelf
from integrations.vault.growing import HELD, File, Growing, Writer
from playbooks.errors import Refused
from playbooks.record.evidence import Exhibit

__all__ = ["HELD", "LocalDraft"]

_BLOCK = 4096  # bytes; what a file system rounds a file up to


class LocalDraft(Growing):
    """An exhibit that grows in the folder of its incident.

    Args:
        root: the vault's folder.
        incident: whose it is.
        kind: what sort it is.
        name: its id.
        reserve: bytes that stay free on the file system, asked for each piece that goes to disk.
        most: bytes that it may have.
    """

    def __init__(self, root: Path, incident: str, kind: str, *, name: str, reserve: int, most: int) -> None:
        super().__init__(incident, kind, name=name, most=most)
        self._root, self._reserve = root, reserve
        self._building: shelf.Building | None = None

    @override
    def _translated(self) -> AbstractContextManager[None]:
        return disk.translated()

    @override
    def _room(self, files: list[File]) -> None:
        disk.check_room(self._root, sum(len(file.held) + _BLOCK for file in files), self._reserve)

    @override
    def _writer(self, name: str) -> Writer:
        if self._building is None:  # begun before anything is put down; for the type checker
            raise Refused(f"{self._name} was not begun")
        return _ReadAgain(self._building.path / sealed.FILES / name)

    @override
    def _flush(self) -> None:
        if self._building is None:
            with shelf.locked(self._root, self._incident) as folder:
                self._begin(folder)
        self._put_down()

    def _begin(self, folder: Path) -> shelf.Building:
        self._building = building = shelf.Building(folder)
        (building.path / sealed.FILES).mkdir(mode=0o700)
        return building

    @override
    def _finish(self, build: Callable[[], Exhibit]) -> Exhibit:
        building = self._building
        if building is not None:
            self._put_down()
        with shelf.locked(self._root, self._incident) as folder:
            if os.path.lexists(folder / self._name):
                content = {file.name: file.content() for file in self._files.values()}
                return sealed.same(folder, self._incident, self._name, content)
            if building is None:
                building = self._begin(folder)
                self._put_down()
            record = build()
            disk.write(building.path / sealed.RECORD, sealed.spelled(record))
            whole.sync(building.path / sealed.FILES)
            whole.sync(building.path)
            building.become(folder / self._name)
            self._building = None
            whole.sync(folder)
            return record

    @override
    def _clear(self) -> None:
        super()._clear()
        if self._building is not None:
            self._building.remove()
            self._building = None


class _ReadAgain(disk.NewFile):
    """A file that is read again once it is written.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._path = path

    @override
    def close(self) -> disk.Stored:
        stored = super().close()
        if disk.hashes(self._path) != stored:
            raise Damaged(f"{self._path.name}, read again after it was stored, has another hash than its source")
        return stored
