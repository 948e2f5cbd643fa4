"""An exhibit while it is collected, in a bucket: uploads that are no objects yet, and locked objects at the seal."""

import asyncio
import hashlib
import logging
import mmap
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, TypeVar

from typing_extensions import override

from integrations.vault import Damaged, disk, sealed
from integrations.vault.growing import File, Growing, Writer
from integrations.vault.s3.client import MODE, Bucket, Exists, Head, Missing, Version, base64_of, lock_words, until_of
from integrations.vault.s3.objects import Objects
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.record.evidence import Exhibit, Kept
from playbooks.strict import iso, now

PART = 5 << 20
"""Bytes of a part: the fewest that S3 takes of one that is not the last, for that many are held."""

LOG = logging.getLogger("mcp_soar.vault")
T = TypeVar("T")


class S3Draft(Growing):
    """An exhibit that grows in a bucket.

    Args:
        objects: the bucket's.
        pool: the threads on which it waits for the bucket.
        incident: whose it is.
        kind: what sort it is.
        name: its id.
        most: bytes that it may have.
    """

    SAID = "hashed at the source, and by the store as it took it: its own head says so"

    def __init__(
        self, objects: Objects, pool: ThreadPoolExecutor, incident: str, kind: str, *, name: str, most: int
    ) -> None:
        super().__init__(incident, kind, name=name, most=most)
        self._objects, self._bucket, self._pool = objects, objects.bucket, pool
        self._folder = objects.folder(incident, name)
        self._attempt = secrets.token_hex(8)
        self._until = until_of(self._bucket.settings, now())
        self._uploads: dict[str, Upload] = {}
        self._sealing = False

    @override
    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    @override
    def discard(self) -> None:
        """Give up what was uploaded, on a thread: nobody waits for that, and what is missed is no evidence."""
        self._gone = True
        if self._uploads:
            self._pool.submit(self._give_up)

    @override
    def _translated(self) -> AbstractContextManager[None]:
        return nullcontext()  # the bucket's own errors are ours already

    @override
    def _room(self, files: list[File]) -> None:
        """Take it for granted: a bucket has no end, and says so where it has."""

    @override
    def _writer(self, name: str) -> Writer:
        key = f"{self._folder}{self._attempt}/{name}"
        self._uploads[name] = upload = Upload(self._bucket, key, until=self._until, held=lambda: self._sealing)
        return upload

    @override
    def _finish(self, build: Callable[[], Exhibit]) -> Exhibit:
        self._sealing = True
        self._put_down()
        content = {file.name: file.content() for file in self._files.values()}
        if (there := self._objects.version(self._incident, self._name)) is not None:
            return self._same(there, content)
        # What no record can say is found out before anything is there that nobody can delete.
        sealed.spelled(build())
        for file in self._files.values():
            file.kept = self._uploads[file.name].finish()
        record = build()
        if not self._put(record):
            there = self._objects.version(self._incident, self._name)
            if there is None:
                raise Damaged(f"the record of {self._name} in {self._incident} is there, and cannot be found")
            return self._same(there, content)
        self._uploads = {}
        return record

    def _put(self, record: Exhibit) -> bool:
        """Put the record, and return whether there was none."""
        upload = Upload(
            self._bucket, self._objects.key(self._incident, self._name), until=self._until, held=lambda: True
        )
        upload.write(sealed.spelled(record))
        upload.close()
        try:
            upload.finish(IfNoneMatch="*")
        except Exists:
            return False
        return True

    def _same(self, own: Version, content: dict[str, tuple[int, str]]) -> Exhibit:
        """Return the sealed exhibit if it holds exactly that, under locks, and only then give up our own uploads.

        A record is only what somebody says who may write into the bucket: every byte that it names is hashed.

        Args:
            own: the version of its record that was sealed.
            content: what it has to hold: size and SHA-256 by file name.

        Raises:
            Taken: if it holds something else.
            Damaged: if it is not what was sealed, or not under a lock in compliance mode.
        """
        there = self._objects.read(self._incident, self._name, own)
        sealed.check_same(there, content)
        check_whole(self._objects, there, own, self._until)
        super()._clear()
        self._abandon()
        return there

    @override
    def _clear(self) -> None:
        super()._clear()
        self._abandon()

    def _abandon(self) -> None:
        for upload in self._uploads.values():
            upload.abandon()
        self._uploads = {}


class Upload:
    """One file on its way into a bucket.

    Args:
        bucket: which.
        key: the object's name.
        until: when its lock ends.
        held: whether what is small may be held, to be put in one piece: at the seal, and not for hours before it.
    """

    def __init__(self, bucket: Bucket, key: str, *, until: datetime, held: Callable[[], bool]) -> None:
        self._bucket, self._key, self._until, self._held = bucket, key, until, held
        # Memory of its own: given back whole, and only as much of it as is filled is taken at all.
        self._buffer: mmap.mmap | None = mmap.mmap(-1, PART)
        self._filled = 0
        self._size, self._short, self._long = 0, hashlib.sha256(), hashlib.sha512()
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._sums = hashlib.sha256()

    def write(self, data: bytes | bytearray) -> None:
        """Append some bytes."""
        self._short.update(data)
        self._long.update(data)
        self._size += len(data)
        view = memoryview(data)
        while view:
            fits = min(PART - self._filled, len(view))
            self._held_bytes(self._filled + fits)[self._filled :] = view[:fits]
            self._filled += fits
            view = view[fits:]
            if self._filled == PART:
                self._send()

    def close(self) -> disk.Stored:
        """Send what is left of it, unless it is small and may be held; return what came from the source."""
        if self._filled and (self._id is not None or not self._held()):
            self._send()
        return disk.Stored(self._size, self._short.hexdigest(), self._long.hexdigest())

    def finish(self, **more: str) -> Kept:
        """Make an object of it that is locked, and return what the store says of it.

        Args:
            more: conditions.

        Raises:
            Damaged: if the store took something else than what came from the source.
            Misconfigured: if it does not lock it.
            SoarError: as for `Bucket.call`.
        """
        if self._id is None:
            own = base64_of(self._short.hexdigest())
            body = _Body(self._held_bytes(self._filled))
            said = self._bucket.call("put_object", Key=self._key, Body=body, ChecksumSHA256=own, **self._lock, **more)
        else:
            own = base64_of(self._sums.hexdigest())
            parts = {"Parts": self._parts}
            said = self._bucket.call(
                "complete_multipart_upload", Key=self._key, UploadId=self._id, MultipartUpload=parts, **more
            )
            self._id = None
        self._buffer = None
        version = str(said.get("VersionId") or "")
        place = self._bucket.place(self._key)
        if version in {"", "null"}:
            message = f"{place} has no version: switch versioning on in the bucket, and Object Lock with it"
            raise Misconfigured(message, field="vault.s3.bucket")
        head = locked(self._bucket, self._key, version, self._until)
        if head.mode != MODE or head.until is None or head.until < self._until:
            message = f"{place} is to be locked until {iso(self._until)}, and its head has {lock_words(head)}"
            raise Misconfigured(message, field="vault.s3")
        # Of one that was taken in parts, the number of them stands behind it, but not at every store.
        if head.checksum.partition("-")[0] not in {"", own} or not (head.checksum or self._read_again(version)):
            raise Damaged(f"{place} is not what came from the source")
        return Kept(place=place, version=version, checksum=head.checksum, mode=MODE, until=head.until)

    def abandon(self) -> None:
        """Give up what is no object yet; where that fails it is no evidence either; a rule of the bucket ends it."""
        self._buffer = None
        if self._id is not None:
            upload, self._id = self._id, None
            try:
                self._bucket.call("abort_multipart_upload", Key=self._key, UploadId=upload)
            except SoarError as exc:
                LOG.warning("%s was begun and could not be given up: %s", self._key, exc)

    @property
    def _lock(self) -> dict[str, Any]:
        lock = {"ObjectLockMode": MODE, "ObjectLockRetainUntilDate": self._until}
        return {**lock, "ChecksumAlgorithm": "SHA256"}

    def _send(self) -> None:
        """Send what is held, as a part that the store compares with its checksum."""
        if self._id is None:
            self._id = str(self._bucket.call("create_multipart_upload", Key=self._key, **self._lock)["UploadId"])
        part = self._held_bytes(self._filled)
        digest = hashlib.sha256(part)
        self._sums.update(digest.digest())
        own, number = base64_of(digest.hexdigest()), len(self._parts) + 1
        said = self._bucket.call(
            "upload_part",
            Key=self._key,
            UploadId=self._id,
            PartNumber=number,
            Body=_Body(part),
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=own,
        )
        self._parts.append({"ETag": said["ETag"], "PartNumber": number, "ChecksumSHA256": own})
        self._filled = 0

    def _held_bytes(self, size: int) -> memoryview:
        """Return the first of what is held, or is going to be.

        Raises:
            Refused: if it was given up.
        """
        if self._buffer is None:
            raise Refused(f"{self._key} was given up")
        return memoryview(self._buffer)[:size]

    def _read_again(self, version: str) -> bool:
        found = disk.digested(self._bucket.chunks(self._key, version))
        return (found.sha256, found.size) == (self._short.hexdigest(), self._size)


def locked(bucket: Bucket, key: str, version: str, until: datetime) -> Head:
    """Return the head of a version, locked until then; not every store locks what it took in parts as it was told."""
    head = bucket.head(key, version)
    if head.locked(until):
        return head
    lock = {"Mode": MODE, "RetainUntilDate": until}
    bucket.call("put_object_retention", Key=key, VersionId=version, Retention=lock)
    return bucket.head(key, version)


def check_whole(objects: Objects, record: Exhibit, own: Version, until: datetime) -> None:
    """Hash every byte that a record names, and see that all of it is locked, and stays so.

    Args:
        objects: the bucket's.
        record: of the exhibit.
        own: the version of the record.
        until: when a lock ends that begins now: those that are there last as long.

    Raises:
        Damaged: if it is not what was sealed, or not under a lock in compliance mode.
    """
    _keep(objects.bucket, (own.key, own.id), f"{record.id}/{sealed.RECORD} of {record.incident}", until)
    for file in record.files:
        what = f"{record.id}/{file.name} of {record.incident}"
        key, version = objects.of(record.incident, record.id, file)
        _keep(objects.bucket, (key, version), what, until)
        for _ in sealed.matched(file, objects.bucket.chunks(key, version), what):
            pass


def _keep(bucket: Bucket, which: tuple[str, str], what: str, until: datetime) -> None:
    try:
        head = bucket.head(*which)
    except Missing as exc:
        raise Damaged(f"{what}: the version that was sealed is gone") from exc
    if not head.locked(now()):
        raise Damaged(f"{what} is not locked in compliance mode, and so not what was sealed: {lock_words(head)}")
    locked(bucket, *which, until)


class _Body:
    """Bytes as a file: of those that it is given as such, botocore makes copies.

    Args:
        data: the bytes.
    """

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes; all that are left, if it is not said how many."""
        end = len(self._data) if size is None or size < 0 else self._at + size
        taken = bytes(self._data[self._at : end])
        self._at += len(taken)
        return taken

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place: from the beginning, from here, or from the end."""
        self._at = max(0, (0, self._at, len(self._data))[whence] + offset)
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at
