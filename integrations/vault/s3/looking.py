"""Whether a bucket keeps what is put there: versioning, Object Lock, who may look in."""

from collections.abc import Iterator
from typing import NamedTuple

from integrations.system import Looked
from integrations.vault.s3 import GUIDE, MODE, S3
from integrations.vault.s3.client import Bucket, Missing, until_of
from playbooks.errors import Refused, SoarError
from playbooks.strict import now

CHECK = "vault"
_PATIENCE = 4.0  # seconds
_WALLS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


class State(NamedTuple):
    """What a bucket says of itself.

    Args:
        versioning: `Enabled`, `Suspended`, or empty if it was never on.
        lock: whether it has Object Lock.
        default: mode of the retention that it gives what comes without one; empty if it gives none.
    """

    versioning: str
    lock: bool
    default: str

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps an exhibit from being locked, for people."""
        said = []
        if self.versioning != "Enabled":
            said.append(
                f"versioning of the bucket is {self.versioning.lower() or 'off'}: what is put there can be lost"
            )
        if not self.lock:
            said.append("the bucket has no Object Lock: what is put there can be deleted")
        return tuple(said)


def state(bucket: Bucket) -> State:
    """Return what a bucket says of itself.

    Raises:
        SoarError: as for `Bucket.call`.
    """
    versioning = str(bucket.call("get_bucket_versioning").get("Status") or "")
    try:
        said = bucket.call("get_object_lock_configuration").get("ObjectLockConfiguration") or {}
    except Missing:
        said = {}
    default = (said.get("Rule") or {}).get("DefaultRetention") or {}
    return State(versioning, said.get("ObjectLockEnabled") == "Enabled", str(default.get("Mode") or ""))


def looked(settings: S3) -> tuple[Looked, ...]:
    """Return what `doctor` says of a bucket; whoever asks waits no longer than for others.

    Raises:
        SoarError: as for `Bucket.call`.
    """
    bucket = Bucket(settings, patience=_PATIENCE)
    try:
        return tuple(look(bucket))
    finally:
        bucket.close()


def look(bucket: Bucket) -> Iterator[Looked]:
    """Yield what `doctor` says of a bucket.

    Raises:
        SoarError: as for `Bucket.call`.
    """
    settings = bucket.settings
    until_of(settings, now())
    yield from _region(bucket)
    found = state(bucket)
    for fault in found.faults:
        yield Looked(CHECK, "fail", fault, f"make a bucket with Object Lock, as in {GUIDE}")
    if found.lock and found.default != MODE:
        how = f"is locked in {found.default} mode only" if found.default else "is not locked"
        message = f"what comes into {settings.bucket} by others' hands {how}"
        yield Looked(CHECK, "warn", message, f"give it a default retention in compliance mode, as in {GUIDE}")
    yield from _walls(bucket)
    yield from _writing(bucket)
    if not found.faults:
        days = f"{settings.lock / 86400:g}"
        yield Looked(CHECK, "ok", f"{settings.place}: what is sealed cannot be deleted for {days} days, by anybody")


def _region(bucket: Bucket) -> Iterator[Looked]:
    # The oldest of its names: no region at all, and a continent (S3 API reference, GetBucketLocation).
    said = bucket.call("get_bucket_location").get("LocationConstraint") or "us-east-1"
    region = {"EU": "eu-west-1"}.get(said, said)
    if region != bucket.settings.region and bucket.settings.endpoint is None:
        message = f"{bucket.settings.bucket} is in {region}, and not in {bucket.settings.region}"
        yield Looked(CHECK, "fail", message, f"write vault.s3.region: {region}")


def _walls(bucket: Bucket) -> Iterator[Looked]:
    remedy = f"aws s3api put-public-access-block --bucket {bucket.settings.bucket}, all four, as in {GUIDE}"
    try:
        said = bucket.call("get_public_access_block").get("PublicAccessBlockConfiguration") or {}
    except Missing:
        said = {}
    except Refused as exc:
        yield Looked(CHECK, "warn", f"whether it can be made public, it does not say: {exc}", "look there yourself")
        return
    if lacking := [wall for wall in _WALLS if not said.get(wall)]:
        yield Looked(CHECK, "fail", f"the bucket can be made public: it lacks {', '.join(lacking)}", remedy)


def _writing(bucket: Bucket) -> Iterator[Looked]:
    """Try what can be tried without leaving something that nobody can delete: an upload that is given up."""
    key = f"{bucket.settings.prefix}doctor"
    lock = {"ObjectLockMode": MODE, "ObjectLockRetainUntilDate": until_of(bucket.settings, now())}
    try:
        begun = bucket.call("create_multipart_upload", Key=key, ChecksumAlgorithm="SHA256", **lock)
        bucket.call("abort_multipart_upload", Key=key, UploadId=begun["UploadId"])
    except SoarError as exc:
        yield Looked(CHECK, "fail", f"nothing can be put there: {exc}", f"{GUIDE} has the policy that is needed")
