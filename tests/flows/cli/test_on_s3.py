"""An installation whose evidence lies in a bucket, as a person sees it: verify, erase, archive, backup, doctor."""

import asyncio
import json
from pathlib import Path

import pytest

from flows import verify_journal
from flows.service import workers
from flows.service.assembly import assembled, secret_variables
from flows.service.settings import read
from integrations.signing import PublicKey
from integrations.vault import bundle
from integrations.vault.s3 import S3, VARIABLES
from tests.flows.cli import test_privacy as privacy
from tests.flows.cli import world
from tests.flows.cli.test_sealed import seal
from tests.flows.cli.world import ID, Installation
from tests.lab.s3 import Moto

EXHIBIT = "x-0000-raw-alert"


@pytest.fixture
def bucket(moto: Moto) -> S3:
    return moto.bucket()


@pytest.fixture
def closed(site: Installation, bucket: S3) -> Installation:
    """An installation with one closed incident: two exhibits in a bucket, and the manifest that seals them."""
    file = site.folder / "mcp-soar.yaml"
    text = file.read_text(encoding="utf-8")
    most = "  most: 4294967296\n"
    assert most in text
    text = text.replace(most, f"{most}  s3: {bucket.model_dump_json(exclude_none=True)}\n")
    file.write_text(text, encoding="utf-8")
    site.append(world.opened(), world.alert())
    asyncio.run(seal(site))
    with site.responder():
        site.json("close", "1", "--yes", "--as", "kim")
    return site


def test_what_is_in_the_bucket_is_verified_with_its_locks_and_what_others_did_is_named(
    closed: Installation, bucket: S3, moto: Moto, tmp_path: Path
) -> None:
    assert not (closed.folder / "state" / "vault").exists()
    said = privacy.checks(closed)
    assert said["vault"] == f"{bucket.place} has versioning and Object Lock"
    assert said[f"exhibits-{ID}"] == f"2 exhibits of {ID} have the bytes that they were sealed with"
    assert said[f"sealed-{ID}"].endswith("is the manifest that the journal names, and holds")

    out = tmp_path / "kept.tar.gz"
    closed.json("archive", "1", "--out", str(out))
    report = bundle.verify(out, PublicKey.load(closed.folder / "keys" / "responder.pub"))
    assert report.ok, report.checks
    assert report.manifest is not None
    kept = [file.kept for exhibit in report.manifest.exhibits for file in exhibit.files]
    assert [one.mode for one in kept if one] == ["COMPLIANCE"] * 2, "the lock stands in the signed manifest"

    assert kept[0] is not None
    key = kept[0].place.removeprefix(f"s3://{bucket.bucket}/")
    moto.owner.put_object(Bucket=bucket.bucket, Key=key, Body=b"forged")
    moto.owner.put_bucket_versioning(Bucket=bucket.bucket, VersioningConfiguration={"Status": "Suspended"})
    said = privacy.checks(closed, code=1)
    assert said["vault"].startswith("FAIL versioning of the bucket is suspended")
    assert said[f"exhibits-{ID}"].startswith(f"FAIL {EXHIBIT} data.bin: it was overwritten")


def test_deleting_is_honest_about_what_the_lock_forbids_and_until_when(closed: Installation) -> None:
    (row,) = closed.json("purge", "--dry-run")["incidents"]
    assert row["locked_until"] is not None
    with privacy.responder(closed):
        words = ("erase", "1", "--exhibit", EXHIBIT, "--reason", "PIPA 36", "--as")
        closed.json(*words, "sam")
        act = closed.json(*words, "kim")
        assert act["state"] == "waiting"
        assert "is deleted when its lock ends" in act["message"]

    async def until() -> str:
        async with assembled(closed.config) as parts:
            entries = [entry.parsed() for entry in await parts.journal.read(f"incident/{ID}")]
            (locked,) = [entry.body for entry in entries if entry.kind == "deletion_locked"]
            assert await parts.vault.find(ID, EXHIBIT) is not None
            return str(locked["until"])

    end = asyncio.run(until())
    deleted = privacy.checks(closed)[f"deleted-{ID}"]
    assert f"{EXHIBIT}: to be deleted since" in deleted
    assert f"and locked until {end} by kim" in deleted


def test_a_backup_says_what_lies_in_the_bucket_and_does_not_miss_it(closed: Installation, tmp_path: Path) -> None:
    made = closed.json("backup", str(tmp_path / "backup.tar"))
    assert "2 exhibits in a bucket, which lie there under a lock" in made["left_out"]
    assert "missing" not in made or not made["missing"]


def test_doctor_looks_at_the_bucket(closed: Installation, bucket: S3, moto: Moto) -> None:
    def vault() -> list[tuple[str, str]]:
        checks = json.loads(closed.run("doctor", "--json").stdout)["checks"]
        return [(one["level"], one["message"]) for one in checks if one["check"] == "vault"]

    (warned, good) = vault()
    assert warned[0] == "warn"
    assert good == ("ok", f"{bucket.place}: what is sealed cannot be deleted for 30 days, by anybody")
    moto.owner.delete_public_access_block(Bucket=bucket.bucket)
    lacking = "BlockPublicAcls, IgnorePublicAcls, BlockPublicPolicy, RestrictPublicBuckets"
    assert ("fail", f"the bucket can be made public: it lacks {lacking}") in vault()


def test_only_responders_are_given_the_credentials(site: Installation, bucket: S3, tmp_path: Path) -> None:
    file = site.folder / "mcp-soar.yaml"
    text = file.read_text(encoding="utf-8")

    def written(**more: object) -> S3:
        given = bucket.model_dump(mode="json", exclude={"access_key", "secret_key"}, exclude_none=True)
        said = json.dumps({**given, **more})
        file.write_text(text.replace("  most: 4294967296\n", f"  most: 4294967296\n  s3: {said}\n"), encoding="utf-8")
        workers.copy(site.config, tmp_path / "workers")
        copied = read(tmp_path / "workers").settings.vault.s3
        assert copied is not None
        assert verify_journal._readable(read(tmp_path / "workers")) is False  # noqa: SLF001  # one of its parts
        return copied

    assert written().bucket == bucket.bucket
    assert secret_variables(site.config)[0] >= VARIABLES, "where boto3 finds them"
    named = {"access_key": {"env": "LAB_KEY"}, "secret_key": {"env": "LAB_SECRET"}}
    assert written(**named).secrets == {}
    assert {"LAB_KEY", "LAB_SECRET"} <= secret_variables(site.config)[0]
    assert not secret_variables(site.config)[0] & VARIABLES
