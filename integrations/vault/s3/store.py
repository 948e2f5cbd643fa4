"""The vault in a bucket: exhibits that nobody can delete before their time."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from pydantic import TypeAdapter

from integrations.vault import Draft, shelf
from integrations.vault.local import MOST
from integrations.vault.s3 import S3
from integrations.vault.s3.client import PATIENCE, Bucket, until_of
from integrations.vault.s3.draft import S3Draft, check_whole
from integrations.vault.s3.flaws import by_key, flaws
from integrations.vault.s3.looking import state
from integrations.vault.s3.objects import Objects, first
from playbooks.record.evidence import Exhibit, ExhibitId, Flaw, exhibit_id
from playbooks.strict import Slug, now

_THREADS = 8
_SLUG = TypeAdapter[str](Slug)
_EXHIBIT_ID = TypeAdapter[str](ExhibitId)
T = TypeVar("T")


class S3Vault:
    """Exhibits in a bucket with Object Lock in compliance mode.

    Args:
        settings: which, and how it is reached.
        most: bytes that one exhibit may have.
        patience: seconds of silence after which the bucket is not waited for any more.
    """

    def __init__(self, settings: S3, *, most: int = MOST, patience: float = PATIENCE) -> None:
        self._bucket = Bucket(settings, patience=patience)
        self._objects = Objects(self._bucket)
        self._most = most
        # Of its own: whoever waits for a bucket that does not answer takes no thread from anybody else.
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="vault-s3")

    @asynccontextmanager
    async def draft(self, incident: str, number: int, kind: str) -> AsyncIterator[Draft]:
        """Begin an exhibit; see `Vault.draft`."""
        shelf.checked(_SLUG, incident)
        name = shelf.checked(_EXHIBIT_ID, exhibit_id(number, kind))
        made = S3Draft(self._objects, self._pool, incident, kind, name=name, most=self._most)
        try:
            yield made
        finally:
            made.discard()

    async def find(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record; see `Vault.find`."""
        shelf.checked(_SLUG, incident)
        shelf.checked(_EXHIBIT_ID, exhibit)
        return await self._on_thread(lambda: self._objects.record(incident, exhibit))

    async def whole(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record once every byte that it names is hashed, and locked; see `Vault.whole`."""
        shelf.checked(_SLUG, incident)
        shelf.checked(_EXHIBIT_ID, exhibit)

        def work() -> Exhibit | None:
            own = self._objects.version(incident, exhibit)
            if own is None:
                return None
            found = self._objects.read(incident, exhibit, own)
            check_whole(self._objects, found, own, until_of(self._bucket.settings, now()))
            return found

        return await self._on_thread(work)

    async def list(self, incident: str) -> tuple[Exhibit, ...]:
        """Return the records of an incident's sealed exhibits, by number; see `Vault.list`."""
        shelf.checked(_SLUG, incident)

        def work() -> tuple[Exhibit, ...]:
            there = by_key(self._bucket.versions(self._objects.folder(incident)))
            found = [
                self._objects.read(incident, name, own)
                for name in self._objects.named(incident, there)
                if (own := first(there.get(self._objects.key(incident, name), ()))) is not None
            ]
            return tuple(sorted(found, key=lambda exhibit: (exhibit.number, exhibit.id)))

        return await self._on_thread(work)

    def read(self, incident: str, exhibit: str, name: str) -> Iterator[bytes]:
        """Yield one file of an exhibit, the version that was sealed, whatever lies over it; see `Vault.read`."""
        shelf.checked(_SLUG, incident)
        shelf.checked(_EXHIBIT_ID, exhibit)
        return self._objects.chunks(incident, exhibit, shelf.checked(_SLUG, name))

    async def verify(self, incident: str, expected: Collection[Exhibit] | None = None) -> tuple[Flaw, ...]:
        """Hash everything of an incident anew, look at every lock, and return what is not as it was sealed.

        Args:
            incident: whose exhibits.
            expected: those that the journal names; None if nobody asked it.

        Raises:
            SoarError: as for `Bucket.call`.
        """
        shelf.checked(_SLUG, incident)
        named = None if expected is None else {exhibit.id: exhibit for exhibit in expected}
        return await self._on_thread(lambda: tuple(flaws(self._objects, incident, named)))

    async def delete(self, incident: str, exhibit: str) -> bool:
        """Delete every version of an exhibit, and return whether there was anything of it; see `Vault.delete`.

        With it goes what a process that died had begun. The record goes last: whoever dies in between leaves a name
        under which the next attempt finds the rest.

        Raises:
            Locked: if one of them is locked still; then none was deleted.
        """
        shelf.checked(_SLUG, incident)
        shelf.checked(_EXHIBIT_ID, exhibit)

        def work() -> bool:
            folder, record = self._objects.folder(incident, exhibit), self._objects.key(incident, exhibit)
            there, begun = tuple(self._bucket.versions(folder)), tuple(self._bucket.uploads(folder))
            self._objects.check_unlocked(f"{exhibit} of {incident}", there)
            for key, upload in begun:
                self._bucket.call("abort_multipart_upload", Key=key, UploadId=upload)
            for one in sorted(there, key=lambda version: version.key == record):
                self._bucket.call("delete_object", Key=one.key, VersionId=one.id)
            return bool(there or begun)

        return await self._on_thread(work)

    async def faults(self) -> tuple[str, ...]:
        """Return what is wrong with the bucket: what keeps the next exhibit from being locked.

        Raises:
            SoarError: as for `Bucket.call`.
        """
        return await self._on_thread(lambda: state(self._bucket).faults)

    def close(self) -> None:
        """Close what is open to the bucket, once what was given up is given up."""
        self._pool.shutdown()
        self._bucket.close()

    async def _on_thread(self, work: Callable[[], T]) -> T:
        """Work on a thread of the pool, and have it stop at its next request once the caller is gone."""
        gone = threading.Event()

        def asked() -> T:
            with self._bucket.asked_by(gone):
                return work()

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, asked)
        finally:
            gone.set()
