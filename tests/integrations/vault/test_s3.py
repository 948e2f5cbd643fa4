"""Evidence in a bucket: locked, verified, and what others did to it found and named.

The counterpart is moto, see `tests/lab/s3.py` for what it cannot show: that S3 itself enforces compliance mode, and
compares checksums, is Amazon's word and not shown here.
"""

import asyncio
import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions
from typing_extensions import override

from integrations.vault import Damaged, Locked, Taken, VaultFull
from integrations.vault.s3 import S3, client, errors
from integrations.vault.s3.client import PERMISSIONS, Bucket
from integrations.vault.s3.draft import PART
from integrations.vault.s3.looking import look
from integrations.vault.s3.rights import policy
from integrations.vault.s3.store import S3Vault
from playbooks.errors import Misconfigured, Refused, SoarError, Transient
from playbooks.estate.systems import Secret
from playbooks.record.evidence import Exhibit, Manifest, locked_until
from playbooks.strict import canonical, iso, now, sha256
from tests.lab.exhibits import INCIDENT, SEALING, SMALL, pod_logs, read
from tests.lab.s3 import Moto
from tests.lab.vaults import InBucket

DAY = timedelta(days=1)
SETTINGS = S3(bucket="acme-evidence", region="eu-central-1", lock=90 * 86400.0)
LOCK = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": now() + 30 * DAY}
LARGE = {"a.log": b"line\n" * (PART // 5 + 100_000), "b.log": b"x" * 5, "c.log": b""}


@pytest.fixture
def kept(moto: Moto) -> Iterator[InBucket]:
    it = InBucket(moto)
    yield it
    it.close()


@pytest.fixture
def keyed(tmp_path: Path) -> S3:
    """Settings with a key of nobody's."""
    (tmp_path / "key").write_text("key", encoding="utf-8")
    place = Secret(file=str(tmp_path / "key"))
    return SETTINGS.model_copy(update={"access_key": place, "secret_key": place})


def keys(kept: InBucket) -> list[str]:
    return sorted({key.partition(" ")[0] for key in kept.lying()})


def key_of(kept: InBucket, exhibit: Exhibit, name: str = "a.log") -> tuple[str, str]:
    """Return name and version of the object that a file is, for whoever has a hand in the bucket."""
    if name == "exhibit.json":
        key = f"soar/{INCIDENT}/{exhibit.id}/exhibit.json"
        said = kept.moto.owner.list_object_versions(Bucket=kept.settings.bucket, Prefix=key)
        return key, said["Versions"][-1]["VersionId"]
    own = next(file.kept for file in exhibit.files if file.name == name)
    assert own is not None
    return own.place.removeprefix(f"s3://{kept.settings.bucket}/"), own.version


async def test_every_object_is_locked_in_compliance_mode_and_the_record_says_what_its_head_says(kept: InBucket) -> None:
    before = now()
    exhibit = await pod_logs(kept.vault(), LARGE)
    assert len(keys(kept)) == 4
    for name in (*LARGE, "exhibit.json"):
        key, version = key_of(kept, exhibit, name)
        head = kept.moto.owner.head_object(Bucket=kept.settings.bucket, Key=key, VersionId=version)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        until = head["ObjectLockRetainUntilDate"]
        assert before + 30 * DAY <= until <= now() + 30 * DAY + timedelta(seconds=2)
        if name != "exhibit.json":
            (file,) = (one for one in exhibit.files if one.name == name)
            assert file.kept is not None
            assert (file.kept.mode, file.kept.until) == ("COMPLIANCE", until)
            assert file.kept.checksum == kept.moto.owner.head_object(
                Bucket=kept.settings.bucket, Key=key, VersionId=version, ChecksumMode="ENABLED"
            ).get("ChecksumSHA256", "")
    own = exhibit.files[0].kept
    assert own is not None
    assert locked_until([exhibit.model_dump(mode="json")]) == own.until
    manifest = Manifest(incident=INCIDENT, made_at=now(), made_by="m", exhibits=(exhibit,), keys=(sha256(b""),))
    assert f'"until":"{iso(own.until)[:-5]}Z"' in canonical(manifest).decode()


async def test_no_file_is_an_object_before_the_seal_and_none_is_put_twice(kept: InBucket) -> None:
    async with kept.vault().draft(INCIDENT, 1, "pod-logs") as draft:
        for name, data in LARGE.items():
            await draft.add(name, data, media_type="text/plain", origin="o")
        assert set(kept.lying().values()) == {"upload"}
        await draft.seal(**SEALING)
    assert "upload" not in kept.lying().values()
    assert len(kept.lying()) == 4


HARMS: dict[str, tuple[Callable[[Any, str, str, str], object], str]] = {
    "overwritten": (lambda s3, bucket, key, _: s3.put_object(Bucket=bucket, Key=key, Body=b"forged"), "overwritten"),
    "hidden": (lambda s3, bucket, key, _: s3.delete_object(Bucket=bucket, Key=key), "a delete marker of"),
    # Amazon's S3 refuses it, whoever asks; another store may not.
    "shortened": (
        lambda s3, bucket, key, version: s3.put_object_retention(
            Bucket=bucket,
            Key=key,
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": now() + DAY},
        ),
        "its retention was shortened: COMPLIANCE until",
    ),
    # Likewise.
    "made soft": (
        lambda s3, bucket, key, version: s3.put_object_retention(
            Bucket=bucket,
            Key=key,
            VersionId=version,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": now() + 100 * DAY},
        ),
        "it is not locked in compliance mode any more: GOVERNANCE until",
    ),
}


@pytest.mark.parametrize("name", ["a.log", "exhibit.json"])
@pytest.mark.parametrize("harm", HARMS)
async def test_what_others_do_to_an_object_is_found_and_named_and_what_was_sealed_is_read(
    kept: InBucket, harm: str, name: str
) -> None:
    vault = kept.vault()
    exhibit = await pod_logs(vault, SMALL)
    act, says = HARMS[harm]
    act(kept.moto.owner, kept.settings.bucket, *key_of(kept, exhibit, name))
    (flaw,) = await vault.verify(INCIDENT, [exhibit])
    assert (flaw.exhibit, flaw.file) == (exhibit.id, name)
    assert flaw.message.startswith((says, f"it was {says}"))
    assert await vault.find(INCIDENT, exhibit.id) == exhibit
    assert await asyncio.to_thread(read, vault, INCIDENT, exhibit.id, "a.log") == SMALL["a.log"]
    if harm == "made soft":
        with pytest.raises(Damaged, match="not locked in compliance mode"):
            await pod_logs(vault, SMALL)
    else:
        assert await pod_logs(vault, SMALL) == exhibit
    if harm == "shortened":
        assert await vault.verify(INCIDENT, [exhibit]) == (), "it is locked again for as long as one that is new"
    with pytest.raises(Taken):
        await pod_logs(vault, {"a.log": b"other"})


FORGERIES: dict[str, tuple[dict[str, Any], dict[str, Any], bytes, str]] = {
    "the bytes": (LOCK, LOCK, b"nothing of the kind", "is not what was sealed"),
    "the file's lock": ({}, LOCK, SMALL["a.log"], "a.log .* not locked"),
    "the record's lock": (LOCK, {}, SMALL["a.log"], "exhibit.json .* not locked"),
}


@pytest.mark.parametrize("lacking", FORGERIES)
async def test_a_record_that_was_planted_is_not_taken_for_the_evidence(kept: InBucket, lacking: str) -> None:
    """By whoever may write into the bucket, and knows what is about to be sealed."""
    of_file, of_record, data, says = FORGERIES[lacking]
    files = {"a.log": SMALL["a.log"]}
    elsewhere = InBucket(kept.moto)
    record = await pod_logs(elsewhere.vault(), files)
    elsewhere.close()
    (file,) = record.files
    assert file.kept is not None
    bucket, key = kept.settings.bucket, f"soar/{INCIDENT}/{record.id}/{'ab' * 8}/a.log"
    version = kept.moto.owner.put_object(Bucket=bucket, Key=key, Body=data, **of_file)["VersionId"]
    at = file.kept.model_copy(update={"place": f"s3://{bucket}/{key}", "version": version})
    planted = record.model_copy(
        update={"files": (file.model_copy(update={"kept": at}),), "collected_by": "whoever the attacker likes"}
    )
    own = f"soar/{INCIDENT}/{record.id}/exhibit.json"
    kept.moto.owner.put_object(Bucket=bucket, Key=own, Body=canonical(planted), **of_record)
    with pytest.raises(Damaged, match=says):
        await pod_logs(kept.vault(), files)
    with pytest.raises(Damaged, match=says):
        await kept.vault().whole(INCIDENT, record.id)


def _let_go(kept: InBucket, key: str, version: str) -> None:
    """Delete a version under a lock: moto's owner may shorten it first, Amazon's may not."""
    over = {"Mode": "GOVERNANCE", "RetainUntilDate": now() + DAY}
    bucket = kept.settings.bucket
    kept.moto.owner.put_object_retention(Bucket=bucket, Key=key, VersionId=version, Retention=over)
    kept.moto.owner.delete_object(Bucket=bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)


async def test_a_version_that_is_gone_is_found_whatever_lies_in_its_place(kept: InBucket) -> None:
    vault = kept.vault()
    exhibit = await pod_logs(vault, SMALL)
    key, version = key_of(kept, exhibit)
    kept.moto.owner.put_object(Bucket=kept.settings.bucket, Key=key, Body=SMALL["a.log"])
    _let_go(kept, key, version)
    assert [(flaw.file, flaw.message.split(" 2")[0]) for flaw in await vault.verify(INCIDENT, [exhibit])] == [
        ("a.log", "it was overwritten"),
        ("a.log", "the version that was sealed is gone"),
    ]
    with pytest.raises(Damaged, match="gone"):
        await asyncio.to_thread(read, vault, INCIDENT, exhibit.id, "a.log")
    with pytest.raises(Damaged, match="gone"):
        await pod_logs(vault, SMALL)


async def test_a_record_that_is_gone_or_forged_is_found_by_the_journal(kept: InBucket) -> None:
    vault = kept.vault()
    exhibit = await pod_logs(vault, SMALL)
    key, version = key_of(kept, exhibit, "exhibit.json")
    forged = canonical(exhibit).replace(b'"actor":"sam"', b'"actor":"kim"')
    _let_go(kept, key, version)
    assert [flaw.message for flaw in await vault.verify(INCIDENT, [exhibit])] == ["the exhibit is gone"]
    kept.moto.owner.put_object(Bucket=kept.settings.bucket, Key=key, Body=forged)
    said = {flaw.message.partition(":")[0] for flaw in await vault.verify(INCIDENT, [exhibit])}
    assert said == {
        "its record is not the one that the journal has",
        "it is not locked in compliance mode any more",
    }
    kept.moto.owner.put_object(Bucket=kept.settings.bucket, Key=f"soar/{INCIDENT}/x-0002-a/exhibit.json", Body=b"{")
    assert "x-0002-a" in {flaw.exhibit for flaw in await vault.verify(INCIDENT, [exhibit])}


async def test_what_does_not_belong_is_found_and_what_a_dead_attempt_left_is_not_taken_for_it(kept: InBucket) -> None:
    vault, put = kept.vault(), kept.moto.owner.put_object
    exhibit = await pod_logs(vault, SMALL)
    folder = f"soar/{INCIDENT}/{exhibit.id}/"
    own = key_of(kept, exhibit)[0].removesuffix("a.log")
    for key in (f"{own}planted", f"soar/{INCIDENT}/planted", f"{folder}exhibit.json.bak"):
        put(Bucket=kept.settings.bucket, Key=key, Body=b"x")
    put(Bucket=kept.settings.bucket, Key=f"{folder}{'0' * 16}/a.log", Body=b"of an attempt that died")
    flaws = await vault.verify(INCIDENT, [exhibit])
    assert len(flaws) == 3
    assert all("not sealed with" in flaw.message for flaw in flaws)


async def test_a_record_leads_to_no_other_object(kept: InBucket) -> None:
    vault = kept.vault()
    exhibit = await pod_logs(vault, SMALL)
    file = exhibit.files[0]
    assert file.kept is not None
    for place in ("s3://other/x", f"s3://{kept.settings.bucket}/soar/inc-2/secret", f"{file.kept.place}/../a.log"):
        led = file.model_copy(update={"kept": file.kept.model_copy(update={"place": place})})
        forged = exhibit.model_copy(update={"id": "x-0002-pod-logs", "files": (led, *exhibit.files[1:])})
        key = f"soar/{INCIDENT}/x-0002-pod-logs/exhibit.json"
        kept.moto.owner.put_object(Bucket=kept.settings.bucket, Key=key, Body=canonical(forged))
        with pytest.raises(Damaged, match="not made for this vault"):
            await asyncio.to_thread(read, vault, INCIDENT, "x-0002-pod-logs", "a.log")
        _let_go_all(kept, key)


def _let_go_all(kept: InBucket, key: str) -> None:
    for one in kept.moto.owner.list_object_versions(Bucket=kept.settings.bucket, Prefix=key)["Versions"]:
        kept.moto.owner.delete_object(Bucket=kept.settings.bucket, Key=key, VersionId=one["VersionId"])


async def test_a_bucket_without_lock_takes_no_evidence_and_is_named(moto: Moto) -> None:
    kept = InBucket(moto, lock=False)
    for files in (SMALL, LARGE):
        with pytest.raises(Misconfigured, match=r"vault\.s3"):
            await pod_logs(kept.vault(), files)
        assert await kept.vault().list(INCIDENT) == ()
    faults = await kept.vault().faults()
    assert [fault.partition(":")[0] for fault in faults] == [
        "versioning of the bucket is off",
        "the bucket has no Object Lock",
    ]
    kept.close()


async def test_versioning_that_was_switched_off_is_named(kept: InBucket) -> None:
    # Amazon's S3 refuses it while there is a lock; another store may not.
    kept.moto.owner.put_bucket_versioning(Bucket=kept.settings.bucket, VersioningConfiguration={"Status": "Suspended"})
    assert await kept.vault().faults() == ("versioning of the bucket is suspended: what is put there can be lost",)


# Deletion


async def test_nothing_is_deleted_before_its_lock_ends_and_the_error_says_when(kept: InBucket) -> None:
    vault = kept.vault()
    exhibit = await pod_logs(vault)
    before = kept.lying()
    with pytest.raises(Locked, match="compliance mode: nobody can delete it before") as caught:
        await vault.delete(INCIDENT, exhibit.id)
    assert caught.value.until == max(file.kept.until for file in exhibit.files if file.kept)
    assert kept.lying() == before


async def test_under_a_legal_hold_of_the_buckets_nothing_is_deleted_and_it_is_asked_again(kept: InBucket) -> None:
    vault = kept.vault()
    exhibit = await pod_logs(vault, SMALL)
    key, version = key_of(kept, exhibit)
    kept.moto.owner.put_object_legal_hold(
        Bucket=kept.settings.bucket, Key=key, VersionId=version, LegalHold={"Status": "ON"}
    )
    with pytest.raises(Locked, match="legal hold") as caught:
        await vault.delete(INCIDENT, exhibit.id)
    assert caught.value.until > now()


async def test_when_its_lock_is_over_every_version_goes_with_what_a_dead_one_had_begun(
    kept: InBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = kept.vault()
    exhibit, other = await pod_logs(vault), await pod_logs(vault, SMALL, number=2)
    bucket, s3 = kept.settings.bucket, kept.moto.owner
    key, _ = key_of(kept, exhibit)
    s3.put_object(Bucket=bucket, Key=key, Body=b"over it")
    s3.delete_object(Bucket=bucket, Key=key)
    s3.create_multipart_upload(Bucket=bucket, Key=f"soar/{INCIDENT}/{exhibit.id}/{'0' * 16}/a.log")
    for one in s3.list_object_versions(Bucket=bucket, Prefix=f"soar/{INCIDENT}/{exhibit.id}/")["Versions"]:
        # The lock's end has come: what S3 does then by itself.
        over = {"Mode": "COMPLIANCE", "RetainUntilDate": now() - timedelta(seconds=5)}
        s3.put_object_retention(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"], Retention=over)
    deleted: list[str] = []
    call = Bucket.call

    def watched(self: Bucket, operation: str, **params: Any) -> Any:  # noqa: ANN401  # the library has no types
        deleted.extend([params["Key"]] if operation == "delete_object" else [])
        return call(self, operation, **params)

    monkeypatch.setattr(Bucket, "call", watched)
    assert await vault.delete(INCIDENT, exhibit.id)
    assert deleted[-1].endswith("exhibit.json"), "whoever dies before leaves the name"
    assert not await vault.delete(INCIDENT, exhibit.id), "twice is once"
    assert await vault.list(INCIDENT) == (other,)
    assert await vault.verify(INCIDENT, [other]) == ()
    assert all(other.id in name for name in keys(kept))


# Permissions


async def _everything(vault: S3Vault, settings: S3) -> None:
    """Do all that is ever done in a bucket."""
    exhibit = await pod_logs(vault, LARGE)
    async with vault.draft(INCIDENT, 2, "pod-logs") as draft:
        await draft.add("a.log", LARGE["a.log"], media_type="text/plain", origin="given up")
    assert await asyncio.to_thread(read, vault, INCIDENT, exhibit.id, "a.log") == LARGE["a.log"]
    assert await vault.verify(INCIDENT, [exhibit]) == ()
    with pytest.raises(Locked):
        await vault.delete(INCIDENT, exhibit.id)
    bucket = Bucket(settings)
    bucket.call("delete_object", Key=f"soar/{INCIDENT}/{exhibit.id}/exhibit.json", VersionId="0")
    assert [line.level for line in look(bucket)] == ["warn", "ok"], "no default retention, and all else is right"


async def test_the_least_policy_is_enough_and_everything_in_it_is_used(
    moto: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = moto.bucket()
    user = moto.settings(made.bucket, *moto.user(_as_moto_has_it(policy(made))))
    called: set[str] = set()
    call = Bucket.call

    def watched(self: Bucket, operation: str, **params: Any) -> Any:  # noqa: ANN401  # the library has no types
        called.add(operation)
        return call(self, operation, **params)

    monkeypatch.setattr(Bucket, "call", watched)
    vault = S3Vault(user)
    with moto.judging():
        await _everything(vault, user)
        vault.close()
    assert called == set(PERMISSIONS)


def _as_moto_has_it(document: dict[str, Any]) -> dict[str, Any]:
    """Return a policy as moto asks for it: a setting of a bucket counts there as listing it."""
    bucket, objects = document["Statement"]
    return {**document, "Statement": [{**bucket, "Action": [*bucket["Action"], "s3:ListBucket"]}, objects]}


@pytest.mark.parametrize(
    "lacking",
    [
        "s3:PutObject",
        "s3:GetObject",
        "s3:ListBucketVersions",
        "s3:AbortMultipartUpload",
        "s3:ListBucketMultipartUploads",
    ],
)
async def test_a_permission_that_is_missing_is_named(moto: Moto, lacking: str) -> None:
    made = moto.bucket()
    document = _as_moto_has_it(policy(made))
    for statement in document["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if one != lacking]
    user = moto.settings(made.bucket, *moto.user(document))
    bucket = Bucket(user)
    # What the vault does first that needs it; what is given up in the background only says so in the log.
    first: dict[str, Callable[[], object]] = {
        "s3:PutObject": lambda: bucket.call("put_object", Key="soar/x", Body=b""),
        "s3:GetObject": lambda: bucket.head("soar/x", "0"),
        "s3:ListBucketVersions": lambda: list(bucket.versions("soar/")),
        "s3:AbortMultipartUpload": lambda: bucket.call("abort_multipart_upload", Key="soar/x", UploadId="0"),
        "s3:ListBucketMultipartUploads": lambda: list(bucket.uploads("soar/")),
    }
    with moto.judging(), pytest.raises(Misconfigured, match=rf"vault\.s3: our account .* may not .*{lacking}"):
        first[lacking]()


async def test_a_stranger_is_told_so(moto: Moto) -> None:
    made = moto.bucket()
    with moto.judging(), pytest.raises(Misconfigured, match="does not know us"):
        Bucket(moto.settings(made.bucket, "AKIASTRANGER", "x")).call("get_bucket_versioning")


def test_credentials_are_found_as_boto3_finds_them(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    made = moto.bucket().model_copy(update={"access_key": None, "secret_key": None})
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Misconfigured, match="no credentials"):
        Bucket(made).call("get_bucket_versioning")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "owner")
    assert Bucket(made).call("get_bucket_versioning")["Status"] == "Enabled"


# Doctor


def test_doctor_says_what_keeps_evidence_from_being_safe(moto: Moto) -> None:
    bare = moto.bucket(lock=False, walls=False)
    said = {line.message.partition(":")[0]: line.level for line in look(Bucket(bare))}
    assert said.pop("the bucket can be made public") == "fail"
    assert said.pop("versioning of the bucket is off") == "fail"
    assert said.pop("the bucket has no Object Lock") == "fail"
    good = moto.bucket()
    rule = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 30}}
    moto.owner.put_object_lock_configuration(
        Bucket=good.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    (line,) = look(Bucket(good))
    assert line.level == "ok"
    assert line.message.endswith("what is sealed cannot be deleted for 30 days, by anybody")
    missing = good.model_copy(update={"bucket": "no-such-bucket"})
    with pytest.raises(Misconfigured, match="there is no bucket no-such-bucket"):
        tuple(look(Bucket(missing)))


def test_doctor_leaves_nothing_behind(moto: Moto) -> None:
    kept = InBucket(moto)
    tuple(look(Bucket(kept.settings)))
    assert kept.lying() == {}


# What the store answers


ERRORS = {
    ("AccessDenied", 403): (Misconfigured, "may not s3:PutObject or s3:PutObjectRetention"),
    ("SlowDown", 503): (Transient, "does not take it now"),
    ("InternalError", 500): (Transient, "does not take it now"),
    ("TooManyRequests", 429): (Transient, "does not take it now"),
    ("NoSuchBucket", 404): (Misconfigured, "there is no bucket"),
    ("PermanentRedirect", 301): (Misconfigured, r"vault\.s3\.region"),
    ("RequestTimeTooSkewed", 403): (Misconfigured, "clock"),
    ("ExpiredToken", 400): (Misconfigured, "does not know us"),
    ("BadDigest", 400): (Transient, "does not take it now"),
    ("XMinioStorageFull", 507): (VaultFull, "no room"),
    ("Whatever", 418): (Refused, "refuses put_object: Whatever"),
}


@contextlib.contextmanager
def answering(status: int, body: bytes, asked: list[str]) -> Iterator[str]:
    """Answer whatever is put with that, and yield the address."""

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which answers Expect: 100-continue

        def do_PUT(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: code[0])
def test_an_answer_is_an_error_of_ours_and_asked_for_no_more_than_four_times(
    keyed: S3, code: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    asked: list[str] = []
    said = f"<Error><Code>{code[0]}</Code><Message>no &#x202e;</Message></Error>".encode()
    kind, says = ERRORS[code]
    with answering(code[1], said, asked) as url:
        bucket = Bucket(keyed.model_copy(update={"endpoint": url}))
        with pytest.raises(kind, match=says) as caught:
            bucket.call("put_object", Key="k", Body=b"x")
        bucket.close()
    assert "\u202e" not in str(caught.value)
    assert len(asked) == (4 if kind is Transient and code[0] != "BadDigest" else 1)


async def test_a_permission_that_the_answer_names_is_the_one_that_is_named() -> None:
    message = "User: u is not authorized to perform: s3:PutObjectRetention because no identity-based policy allows it"
    exc = exceptions.ClientError({"Error": {"Code": "AccessDenied", "Message": message}}, "PutObject")
    with (
        pytest.raises(Misconfigured, match=r"may not s3:PutObjectRetention: grant"),
        errors.translated(SETTINGS, "put_object", ("s3:PutObject",)),
    ):
        raise exc


def _vendors() -> list[type[Exception]]:
    found = [
        one for one in vars(exceptions).values() if isinstance(one, type) and issubclass(one, exceptions.BotoCoreError)
    ]
    return [*found, OSError, TimeoutError]


@pytest.mark.parametrize("kind", _vendors())
def test_no_error_of_the_library_is_left_as_it_is(kind: type[Exception]) -> None:
    made = kind.__new__(kind)
    Exception.__init__(made, "x")
    made.__dict__["kwargs"] = {}
    with pytest.raises(SoarError), errors.translated(SETTINGS, "put_object", ("s3:PutObject",)):
        raise made


async def test_a_bucket_that_does_not_answer_is_waited_for_so_long_and_nobody_waits_with_it(
    keyed: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on, and threads of others are free, while eight wait for it."""
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        vault = S3Vault(keyed.model_copy(update={"endpoint": url}), patience=0.1)
        waiting = [asyncio.create_task(vault.find(INCIDENT, "x-0001-a")) for _ in range(8)]
        ticks = 0
        while not all(task.done() for task in waiting):
            await asyncio.to_thread(lambda: None)
            ticks += 1
        assert ticks > 5
        for task in waiting:
            with pytest.raises(Transient, match="does not answer"):
                await task
        await asyncio.to_thread(vault.close)


class Endless:
    """A store whose lists do not end.

    Args:
        moves: whether each page leads to another one.
    """

    def __init__(self, *, moves: bool) -> None:
        self.moves, self.pages, self.ends = moves, 0, False
        self.begun = threading.Event()

    def list_object_versions(self, **_asked: object) -> dict[str, Any]:
        """Return one more page."""
        return {**self._more(), "NextVersionIdMarker": self._at}

    def list_multipart_uploads(self, **_asked: object) -> dict[str, Any]:
        """Return one more page."""
        return {**self._more(), "NextUploadIdMarker": self._at}

    def _more(self) -> dict[str, Any]:
        self.pages += 1
        self.begun.set()
        return {"IsTruncated": not self.ends, "NextKeyMarker": "soar/"}

    @property
    def _at(self) -> str:
        return str(self.pages if self.moves else 0)

    def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("lists", [Bucket.versions, Bucket.uploads])
@pytest.mark.parametrize(("moves", "pages"), [(False, 2), (True, client.PAGES)])
def test_a_list_that_does_not_end_is_refused(
    monkeypatch: pytest.MonkeyPatch, lists: Callable[[Bucket, str], Iterator[object]], *, moves: bool, pages: int
) -> None:
    store = Endless(moves=moves)
    monkeypatch.setattr(Bucket, "_client", lambda _self: store)
    with pytest.raises(Refused, match="the store"):
        list(lists(Bucket(SETTINGS), "soar/"))
    assert store.pages == pages


def test_a_list_that_takes_too_long_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bucket, "_client", lambda _self: Endless(moves=True))
    monkeypatch.setattr(client, "LONGEST", -1.0)
    with pytest.raises(Transient, match="had not ended its list"):
        list(Bucket(SETTINGS).versions("soar/"))


async def test_nothing_is_asked_any_more_once_the_caller_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never ends its lists takes no thread from those who come later."""
    store = Endless(moves=True)
    monkeypatch.setattr(Bucket, "_client", lambda _self: store)
    monkeypatch.setattr(client, "PAGES", 1 << 60)
    vault = S3Vault(SETTINGS)
    waiting = [asyncio.create_task(vault.find(INCIDENT, "x-0001-a")) for _ in range(8)]
    await asyncio.to_thread(store.begun.wait, 5)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    try:
        await asyncio.wait_for(asyncio.to_thread(vault.close), 2)
    finally:
        store.ends = True


async def test_what_the_store_took_otherwise_is_noticed(kept: InBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Bucket.call

    def lossy(self: Bucket, operation: str, **params: Any) -> Any:  # noqa: ANN401  # the library has no types
        said = call(self, operation, **params)
        if operation == "head_object":
            said["ChecksumSHA256"] = "b3RoZXI="
        return said

    monkeypatch.setattr(Bucket, "call", lossy)
    with pytest.raises(Damaged, match="not what came from the source"):
        await pod_logs(kept.vault(), SMALL)
    monkeypatch.undo()
    assert await kept.vault().list(INCIDENT) == ()


@pytest.mark.parametrize("alters", [False, True])
async def test_a_store_that_says_no_checksum_is_read_again(
    kept: InBucket, monkeypatch: pytest.MonkeyPatch, *, alters: bool
) -> None:
    call = Bucket.call

    def silent(self: Bucket, operation: str, **params: Any) -> Any:  # noqa: ANN401  # the library has no types
        if alters and operation == "put_object" and "IfNoneMatch" not in params:
            params["Body"] = b"altered"
        said = call(self, operation, **params)
        if operation == "head_object":
            said.pop("ChecksumSHA256", None)
        return said

    monkeypatch.setattr(Bucket, "call", silent)
    if alters:
        with pytest.raises(Damaged):
            await pod_logs(kept.vault(), SMALL)
        return
    exhibit = await pod_logs(kept.vault(), LARGE)
    assert all(file.kept is not None and file.kept.checksum == "" for file in exhibit.files)


async def test_a_cancelled_capture_leaves_nothing_though_its_thread_is_at_work(
    kept: InBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, call = threading.Event(), threading.Event(), Bucket.call

    def slow(self: Bucket, operation: str, **params: Any) -> Any:  # noqa: ANN401  # the library has no types
        said = call(self, operation, **params)
        if operation == "upload_part":
            begun.set()
            go_on.wait(20)
        return said

    monkeypatch.setattr(Bucket, "call", slow)
    task = asyncio.create_task(pod_logs(kept.vault(), LARGE))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(kept.close)
    assert kept.lying() == {}


# The settings


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lock": "12h"}, "greater than or equal"),
        ({"lock": "36501d"}, "less than or equal"),
        ({"bucket": "Acme"}, "match"),
        ({"prefix": "soar"}, "match"),
        ({"prefix": "../"}, "match"),
        ({"endpoint": "http://store.example.com"}, "in the clear"),
        ({"access_key": {"env": "A"}}, "both|or neither"),
        ({"owner": "12"}, "match"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(wrong: dict[str, Any], says: str) -> None:
    given = {"bucket": "acme-evidence", "region": "eu-central-1", "lock": "90d"}
    assert S3.model_validate(given).lock == 90 * 86400
    with pytest.raises(ValueError, match=says):
        S3.model_validate({**given, **wrong})


def test_the_lock_has_to_be_written() -> None:
    with pytest.raises(ValueError, match="lock"):
        S3.model_validate({"bucket": "acme-evidence", "region": "eu-central-1"})


def test_a_lock_ends_no_earlier_than_was_written() -> None:
    at = datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)
    assert client.until_of(SETTINGS, at) >= at + 90 * DAY
