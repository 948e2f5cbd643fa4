"""The vault of the default installation: a folder.

    <root>/<incident>/<exhibit id>/exhibit.json      the record, canonical bytes
    <root>/<incident>/<exhibit id>/files/<name>      the evidence, raw

An exhibit is built under a temporary name and renamed into place whole: it is there with all its files, or not at all.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import TypeAdapter

from integrations import whole
from integrations.vault import Damaged, Draft, disk, sealed, shelf
from integrations.vault.draft import LocalDraft
from playbooks.record.evidence import Exhibit, ExhibitId, Flaw, exhibit_id
from playbooks.strict import Slug

MOST = 4 << 30
"""Bytes that one exhibit has at most, unless told otherwise."""

_SLUG = TypeAdapter[str](Slug)
_EXHIBIT_ID = TypeAdapter[str](ExhibitId)


class LocalVault:
    """Exhibits in a folder that only this user can open.

    Args:
        root: the folder; made with mode 0700 when first needed.
        reserve: bytes that stay free on its file system, for the journal.
        most: bytes that one exhibit may have.
    """

    def __init__(self, root: Path, *, reserve: int, most: int = MOST) -> None:
        self._root = root
        self._reserve = reserve
        self._most = most

    @asynccontextmanager
    async def draft(self, incident: str, number: int, kind: str) -> AsyncIterator[Draft]:
        """Begin an exhibit; see `Vault.draft`."""
        shelf.checked(_SLUG, incident)
        name = shelf.checked(_EXHIBIT_ID, exhibit_id(number, kind))
        made = LocalDraft(self._root, incident, kind, name=name, reserve=self._reserve, most=self._most)
        try:
            yield made
        finally:
            # Not to a thread: a cancelled task would be cancelled there again, and leave half an exhibit.
            made.discard()

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none of that id.

        Raises:
            Damaged: if the record is not one that was sealed.
            SoarError: as for `draft`.
        """
        folder = self._folder(incident)
        shelf.checked(_EXHIBIT_ID, exhibit)

        def work() -> Exhibit | None:
            with disk.translated():
                return sealed.present(folder, incident, exhibit)

        return await asyncio.to_thread(work)

    async def whole(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record once every byte that it names is hashed; see `Vault.whole`."""
        folder = self._folder(incident)
        shelf.checked(_EXHIBIT_ID, exhibit)

        def work() -> Exhibit | None:
            with disk.translated():
                found = sealed.present(folder, incident, exhibit)
                if found is not None:
                    sealed.check_whole(folder, found)
                return found

        return await asyncio.to_thread(work)

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits, by number.

        Raises:
            Damaged: if a record is not one that was sealed.
            SoarError: as for `draft`.
        """
        folder = self._folder(incident)

        def work() -> tuple[Exhibit, ...]:
            with disk.translated():
                named = [
                    sealed.present(folder, incident, name) for name in sealed.names(folder) if name.startswith("x-")
                ]
            found = [exhibit for exhibit in named if exhibit is not None]
            return tuple(sorted(found, key=lambda exhibit: (exhibit.number, exhibit.id)))

        return await asyncio.to_thread(work)

    def read(self, incident: str, exhibit: str, name: str) -> Iterator[bytes]:
        """Yield one file of an exhibit; see `sealed.chunks`."""
        folder = self._folder(incident)
        return sealed.chunks(folder, incident, shelf.checked(_EXHIBIT_ID, exhibit), shelf.checked(_SLUG, name))

    async def verify(self, incident: str, expected: Collection[Exhibit] | None = None) -> tuple[Flaw, ...]:
        """Hash everything of an incident anew and return what is not as it was sealed; nothing is a clean bill.

        Args:
            incident: whose exhibits.
            expected: those that the journal names: what is gone, was replaced with its record, or was never collected
                is found by these. None if nobody asked it; where it names none, nothing may be there.

        Raises:
            Misconfigured: if the folder is not ours alone, or cannot be read.
            Transient: if the device fails otherwise.
        """
        folder = self._folder(incident)

        def work() -> tuple[Flaw, ...]:
            with disk.translated():
                shelf.check(self._root)
                named = None if expected is None else {exhibit.id: exhibit for exhibit in expected}
                return tuple(sealed.flaws(folder, incident, named))

        return await asyncio.to_thread(work)

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Overwrite an exhibit's files, then remove it, and return whether there was anything of it.

        With it goes what a process that died had begun: it may be a part of the same.

        The record goes last: whoever dies in between leaves a name under which the next attempt finds the rest. What a
        device or a file system keeps of overwritten blocks is beyond us: encrypt it.

        Args:
            incident: whose.
            exhibit: its id. The caller has journalled that it is to be deleted, and why.

        Raises:
            SoarError: as for `draft`.
        """
        shelf.checked(_EXHIBIT_ID, exhibit)
        shelf.checked(_SLUG, incident)

        def work() -> bool:
            with disk.translated():
                if not os.path.lexists(self._root / incident):
                    return False
                with shelf.locked(self._root, incident) as folder:
                    place = folder / exhibit
                    if not os.path.lexists(place):
                        return False
                    if place.is_symlink() or not place.is_dir():
                        raise Damaged(f"{exhibit} of {incident} is no folder: nothing was deleted")
                    begun = tuple(shelf.abandoned(folder))
                    for path in sorted(path for one in (place, *begun) for path in (one / sealed.FILES).glob("*")):
                        disk.shred(path)
                    for one in begun:
                        shutil.rmtree(one)
                    # In one move, so that nobody who reads meanwhile finds a folder without its record.
                    dead = shelf.unread(folder)
                    place.rename(dead)
                    whole.sync(folder)
                    shutil.rmtree(dead)
                    return True

        return await asyncio.to_thread(work)

    async def faults(self) -> tuple[str, ...]:
        """Return what is wrong with the folder as such: nothing that `verify` would not refuse to look into."""
        return ()

    def close(self) -> None:
        """Let go of nothing: no file stays open."""

    def _folder(self, incident: str) -> Path:
        return self._root / shelf.checked(_SLUG, incident)
