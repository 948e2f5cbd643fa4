"""The way into one bucket, by boto3.

Everything here waits for the network: it is called on threads. Source of operations and permissions: Amazon S3 API
reference (2006-03-01), and the service authorization reference for S3.
"""

import base64
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import create_loader

from integrations.secret import secret
from integrations.vault import disk
from integrations.vault.s3 import FIELD, MODE, S3
from integrations.vault.s3.errors import Exists, Missing, translated
from playbooks.errors import Misconfigured, Refused, Transient
from playbooks.record.evidence import Kept
from playbooks.strict import iso

__all__ = ["MODE", "PATIENCE", "PERMISSIONS", "Bucket", "Exists", "Head", "Missing", "Version"]

PATIENCE: Final = 30.0
"""Seconds of silence after which an answer is not waited for any more."""

_CONNECT: Final = 5.0
_ATTEMPTS: Final = 4
"""How often a request is made in all, when the store does not answer or says that it has too much to do."""

PAGES: Final = 1000
"""Pages of a list after which it is not read on: S3 makes them of a thousand entries each."""

LONGEST: Final = 300.0
"""Seconds after which a list is not read on."""

_LOADER: Final = create_loader()
"""Reads botocore's description of S3, once for all clients."""

PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # With a lock in it, a write needs the right to lock.
        "put_object": ("s3:PutObject", "s3:PutObjectRetention"),
        "create_multipart_upload": ("s3:PutObject", "s3:PutObjectRetention"),
        "upload_part": ("s3:PutObject",),
        "complete_multipart_upload": ("s3:PutObject",),
        "abort_multipart_upload": ("s3:AbortMultipartUpload",),
        "list_multipart_uploads": ("s3:ListBucketMultipartUploads",),
        "put_object_retention": ("s3:PutObjectRetention",),
        # Without the last, the head says nothing of the lock.
        "head_object": ("s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"),
        "get_object": ("s3:GetObjectVersion",),
        "list_object_versions": ("s3:ListBucketVersions",),
        "delete_object": ("s3:DeleteObjectVersion",),
        "get_bucket_location": ("s3:GetBucketLocation",),
        "get_bucket_versioning": ("s3:GetBucketVersioning",),
        "get_object_lock_configuration": ("s3:GetBucketObjectLockConfiguration",),
        "get_public_access_block": ("s3:GetBucketPublicAccessBlock",),
    }
)
"""What each operation that is ever called needs; nothing else can be called."""


class Version(NamedTuple):
    """One version of an object, or a delete marker that hides those before it.

    Args:
        key: the object's name.
        id: the version's.
        at: since when.
        marker: whether it is a delete marker.
    """

    key: str
    id: str
    at: datetime
    marker: bool


class Head(NamedTuple):
    """What a store says of one version of an object.

    Args:
        checksum: SHA-256 in base64, as `Kept.checksum`; empty if it says none.
        mode: of the lock; empty if there is none, or we may not know.
        until: the lock's end.
        held: whether somebody put the object under a legal hold.
    """

    checksum: str
    mode: str
    until: datetime | None
    held: bool

    def locked(self, until: datetime) -> bool:
        """Return whether it is locked in compliance mode until then at least."""
        return self.mode == MODE and self.until is not None and self.until >= until


class Bucket:
    """One bucket, as one account.

    Args:
        settings: which, and how it is reached.
        patience: seconds of silence after which an answer is not waited for any more.
    """

    def __init__(self, settings: S3, *, patience: float = PATIENCE) -> None:
        self.settings = settings
        self._patience = patience
        self._opening = threading.Lock()
        self._opened: Any = None  # the library has no types
        self._asker = threading.local()

    @contextmanager
    def asked_by(self, gone: threading.Event) -> Iterator[None]:
        """Have nothing more asked on this thread, for as long as the block runs, once nobody waits for it."""
        self._asker.gone = gone
        try:
            yield
        finally:
            self._asker.gone = None

    def call(self, operation: str, **params: Any) -> Any:  # noqa: ANN401  # the library has no types
        """Carry out one operation on the bucket.

        Args:
            operation: one of `PERMISSIONS`.
            params: its own, without the bucket.

        Raises:
            Missing: if there is no such object or version.
            Exists: if there is one, and there should be none.
            VaultFull: if there is no room.
            Misconfigured: if a permission, the credentials or the settings are not right; names which.
            Transient: if the store does not answer, or not now.
            Refused: if it says no otherwise.
        """
        self._waited_for()
        wanted = PERMISSIONS[operation]
        with translated(self.settings, operation, wanted):
            if self.settings.owner is not None:
                params["ExpectedBucketOwner"] = self.settings.owner
            return getattr(self._client(), operation)(Bucket=self.settings.bucket, **params)

    def place(self, key: str) -> str:
        """Return how an object is called outside its bucket."""
        return f"s3://{self.settings.bucket}/{key}"

    def key(self, kept: Kept) -> str:
        """Return how an object is called in the bucket; nothing that is in it, if it is another bucket's."""
        return kept.place.removeprefix(self.place(""))

    def head(self, key: str, version: str) -> Head:
        """Return what the store says of one version; see `call`."""
        said = self.call("head_object", Key=key, VersionId=version, ChecksumMode="ENABLED")
        until = said.get("ObjectLockRetainUntilDate")
        return Head(
            checksum=str(said.get("ChecksumSHA256") or ""),
            mode=str(said.get("ObjectLockMode") or ""),
            until=until.astimezone(UTC) if isinstance(until, datetime) else None,
            held=said.get("ObjectLockLegalHoldStatus") == "ON",
        )

    def chunks(self, key: str, version: str) -> Iterator[bytes]:
        """Yield the bytes of one version; see `call`."""
        body = self.call("get_object", Key=key, VersionId=version)["Body"]
        with closing(body):
            pieces = body.iter_chunks(disk.CHUNK)
            while True:
                self._waited_for()
                with translated(self.settings, "get_object", PERMISSIONS["get_object"]):
                    piece = next(pieces, b"")
                if not piece:
                    return
                yield piece

    def versions(self, prefix: str) -> Iterator[Version]:
        """Yield all versions whose names begin so, and delete markers; of one name, each sort newest first.

        Raises:
            SoarError: as for `_pages`.
        """
        for page in self._pages("list_object_versions", prefix, "KeyMarker", "VersionIdMarker"):
            for kind, marker in (("Versions", False), ("DeleteMarkers", True)):
                for one in page.get(kind) or ():
                    yield Version(one["Key"], one["VersionId"], one["LastModified"].astimezone(UTC), marker)

    def uploads(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the name and id of each upload that was begun under names that begin so, and not ended.

        Raises:
            SoarError: as for `_pages`.
        """
        for page in self._pages("list_multipart_uploads", prefix, "KeyMarker", "UploadIdMarker"):
            for one in page.get("Uploads") or ():
                yield one["Key"], one["UploadId"]

    def _pages(self, operation: str, prefix: str, *markers: str) -> Iterator[Any]:
        """Yield the pages of a list, which a store has to end.

        Args:
            operation: that lists.
            prefix: what the names begin with.
            markers: the parameters that say where the next page begins.

        Raises:
            Refused: if a page leads to one that was there before, or there are more than `PAGES`.
            Transient: if it takes longer than `LONGEST`.
            SoarError: as for `call`.
        """
        what = f"{operation} of {self.place(prefix)}"
        more: dict[str, str] = {}
        seen: set[tuple[str, ...]] = set()
        began = time.monotonic()
        while True:
            page = self.call(operation, Prefix=prefix, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {name: str(value) for name in markers if (value := page.get(f"Next{name}"))}
            at = tuple(more.values())
            if not at or at in seen:
                raise Refused(f"{what}: the store says that there is more, and leads to where it was before")
            seen.add(at)
            if len(seen) >= PAGES:
                raise Refused(f"{what}: the store lists more than {PAGES} pages")
            if time.monotonic() - began > LONGEST:
                raise Transient(f"{what}: the store had not ended its list after {LONGEST:g} s")

    def _waited_for(self) -> None:
        """See that somebody waits for what is asked on this thread.

        Raises:
            Transient: if nobody does.
        """
        gone = getattr(self._asker, "gone", None)
        if gone is not None and gone.is_set():
            raise Transient("nobody waits for it any more")

    def close(self) -> None:
        """Close its connections."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _client(self) -> Any:  # noqa: ANN401  # the library has no types
        with self._opening:
            if self._opened is None:
                self._opened = _client(self.settings, self._patience)
            return self._opened


def _client(settings: S3, patience: float) -> Any:  # noqa: ANN401  # the library has no types
    keys = {}
    if settings.access_key is not None and settings.secret_key is not None:
        keys = {
            "aws_access_key_id": secret(settings.access_key, what=f"{FIELD}.access_key"),
            "aws_secret_access_key": secret(settings.secret_key, what=f"{FIELD}.secret_key"),
        }
    # A session of its own: clients of boto3's default one may not be made on several threads at once.
    session = botocore.session.get_session()
    session.register_component("data_loader", _LOADER)
    return boto3.session.Session(botocore_session=session).client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint,
        config=Config(
            connect_timeout=min(_CONNECT, patience),
            read_timeout=patience,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # Other stores have no names of hosts for their buckets.
            s3={"addressing_style": "path" if settings.endpoint else "auto"},
            # Checksums are our own, given with each request, and of an answer's bytes every one is hashed.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
        **keys,
    )


def base64_of(sha256: str) -> str:
    """Return a SHA-256 in hex as S3 spells it."""
    return base64.b64encode(bytes.fromhex(sha256)).decode()


def until_of(settings: S3, at: datetime) -> datetime:
    """Return until when what is sealed now is locked: whole seconds, for more S3 does not keep."""
    try:
        return datetime.fromtimestamp(int(at.timestamp() + settings.lock) + 1, UTC)
    except (OverflowError, ValueError) as exc:
        raise Misconfigured("it ends after the year 9999", field=f"{FIELD}.lock") from exc


def lock_words(head: Head) -> str:
    """Return what is to be said of a lock, for people."""
    if not head.mode or head.until is None:
        return "no lock, or none that we may see (s3:GetObjectRetention)"
    return f"{head.mode} until {iso(head.until)}"
