"""purge, erase and archive as a person uses them, and what verify says afterwards."""

import asyncio
import base64
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from flows.cli.output import Out
from flows.cli.work import privacy
from flows.engine import deletion
from flows.engine.parts import Parts
from flows.service.assembly import assembled
from flows.service.retention import finish
from integrations.signing import PublicKey
from integrations.vault import bundle
from playbooks.record.evidence import Exhibit, Manifest, sealed
from playbooks.record.journal import Event
from playbooks.strict import now, sha256
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab import exhibits

PERSONAL = b"ann.lee@corp.example.com asked from 10.1.2.3"
BUNDLE = f"{ID}-000004.tar.gz"


@pytest.fixture
def closed(site: Installation) -> Installation:
    """An installation with one closed incident: two exhibits and their sealed bundle."""
    site.append(world.opened(), world.alert())
    asyncio.run(_evidence(site))
    with site.responder():
        site.json("close", "1", "--yes", "--as", "kim")
    return site


async def _evidence(site: Installation) -> None:
    async with assembled(site.config) as parts:
        exhibits = [await exhibit(parts, 0, "raw-alert"), await exhibit(parts, 100, "definitions")]
        stream = f"incident/{ID}"
        entries, heads = await parts.journal.read(stream), await parts.journal.heads_for([stream])
        manifest = Manifest(
            incident=ID,
            made_at=now(),
            made_by="test",
            exhibits=tuple(exhibits),
            journal=bundle.tips(entries, heads),
            keys=tuple(parts.keys),
        )
        out = await bundle.export(
            ID,
            vault=parts.vault,
            journal_entries=entries,
            heads=heads,
            public_keys=tuple(parts.keys.values()),
            manifest=bundle.sign(manifest, parts.signer.dsse()),
            out=parts.bundles / BUNDLE,
        )
        digest = sha256(out.read_bytes())  # nothing else runs
        body = {"digest": digest, "bundle": BUNDLE, "exhibits": 2, "unavailable": 0}
        await parts.journal.append(stream, [Event("sealed", body)])


async def exhibit(parts: Parts, number: int, kind: str) -> Exhibit:
    """Keep one."""
    made = await exhibits.kept(parts.vault, ID, number, kind, {"data.bin": PERSONAL})
    body = {"instance": f"c{number}", "phase": "capture", **sealed(made)}
    await parts.journal.append(f"incident/{ID}", [Event("exhibit", body)])
    return made


@contextmanager
def responder(site: Installation) -> Iterator[None]:
    """A responder that takes requests in and deletes what they ask for."""
    with site.responder(after=finish):
        yield


def expired(site: Installation) -> None:
    """Have retention run 401 days from now."""

    async def work() -> None:
        async with assembled(site.config) as parts:
            assert await deletion.intend(parts, now() + timedelta(days=401)) == [ID]
            await finish(parts)

    asyncio.run(work())


def checks(site: Installation, code: int = 0) -> dict[str, str]:
    found = site.json("verify", code=code)["checks"]
    return {check["check"]: ("" if check["ok"] else "FAIL ") + check["message"] for check in found}


def place(site: Installation, exhibit: str = "x-0000-raw-alert") -> Path:
    (found,) = site.folder.rglob(exhibit)
    return found


def test_verify_names_what_was_deleted_when_by_whom_and_why_and_is_well(closed: Installation) -> None:
    expired(closed)
    said = checks(closed)[f"deleted-{ID}"]
    assert "x-0000-raw-alert, x-0100-definitions" in said
    assert "by mcp-soar; retention: tool_poisoning is kept 400 days" in said
    assert f"deleted {now().year}" in said
    assert f"exhibits-{ID}" not in checks(closed)
    assert closed.run("verify").exit_code == 0


def test_a_deletion_that_no_entry_explains_is_a_fault(closed: Installation) -> None:
    exhibit = place(closed)
    for path in sorted(exhibit.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    exhibit.rmdir()
    assert checks(closed, code=1)[f"exhibits-{ID}"].startswith("FAIL x-0000-raw-alert : the exhibit is gone")


def test_another_exhibit_that_goes_beside_an_explained_one_is_a_fault(closed: Installation) -> None:
    with responder(closed):
        for who in ("sam", "kim"):
            closed.json("erase", "1", "--exhibit", "x-0000-raw-alert", "--reason", "PIPA 36", "--as", who)
    assert checks(closed)[f"exhibits-{ID}"].startswith("1 exhibits")
    (place(closed, "x-0100-definitions") / "files" / "data.bin").unlink()
    assert "the file is gone" in checks(closed, code=1)[f"exhibits-{ID}"]


def test_what_is_said_to_be_deleted_and_is_there_is_a_fault(closed: Installation) -> None:
    (file,) = closed.folder.rglob(BUNDLE)
    kept = file.read_bytes()
    expired(closed)
    file.write_bytes(kept)
    assert checks(closed, code=1)[f"deleted-{ID}"].startswith(f"FAIL {BUNDLE} is there")


def test_erasing_takes_two_and_says_so(closed: Installation) -> None:
    words = ("erase", "1", "--exhibit", "x-0000-raw-alert", "--reason", "request 14, PIPA 36")
    with responder(closed):
        first = closed.json(*words, "--as", "kim")
        assert first["state"] == "waiting"
        assert "other than kim" in first["message"]
        assert closed.json(*words, "--as", "kim")["state"] == "waiting"
        second = closed.json(*words, "--as", "lee")
        assert second["state"] == "done"
        assert "1 bundles" in second["message"]
    assert not list(closed.folder.rglob("x-0000-raw-alert"))
    assert "by lee (signed by kim and lee); request 14, PIPA 36" in checks(closed)[f"deleted-{ID}"]


def test_a_dry_run_says_what_is_kept_until_when_and_changes_nothing(closed: Installation) -> None:
    (row,) = closed.json("purge", "--dry-run")["incidents"]
    assert (row["incident"], row["exhibits"], row["due"], row["why"]) == (ID, 2, False, "400d")
    assert row["until"] > f"{now().year + 1}"
    assert place(closed).exists()
    with responder(closed):
        assert closed.json("purge", "--yes", "--as", "sam")["state"] == "done"
    assert place(closed).exists(), "it is too young"


def test_what_goes_is_shown_before_anybody_is_asked(closed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "now", lambda: now() + timedelta(days=401))
    monkeypatch.setattr(Out, "asks", property(lambda out: not out.as_json))
    result = closed.run("purge", "--as", "sam", "--no-wait", text="n\n")
    shown = " ".join(result.stdout.split())
    assert f"{ID} 2" in shown, result.output
    assert "2 exhibits of 1 incidents" in shown
    assert "Delete it as sam? [y/N]" in result.stderr
    assert (result.exit_code, place(closed).exists()) == (1, True)


def test_nobody_who_may_not_is_shown_what_goes(closed: Installation) -> None:
    assert closed.run("enroll", "max", "--role", "auditor").exit_code == 0
    result = closed.run("purge", "--yes", "--as", "max", "--no-wait")
    assert (result.exit_code, result.stdout) == (4, ""), result.output
    assert "purge needs the role" in result.stderr


def test_an_open_incident_is_shown_as_kept(site: Installation) -> None:
    site.append(world.opened(), world.alert())
    asyncio.run(_evidence(site))
    (row,) = site.json("purge", "--dry-run")["incidents"]
    assert (row["until"], row["due"], row["why"]) == (None, False, "it is open")
    out = str(site.folder / "a.tar.gz")
    archived = site.run("archive", "1", "--out", out)
    assert "is open: this is what there is so far" in archived.output
    assert site.run("verify", out, "--key", str(site.folder / "keys" / "responder.pub")).exit_code == 0


def test_an_archived_bundle_verifies_offline_after_its_evidence_was_deleted_here(
    closed: Installation, tmp_path: Path
) -> None:
    out = tmp_path / "kept.tar.gz"
    assert closed.json("archive", "1", "--out", str(out))["file"] == str(out)
    assert "is there already" in closed.error("archive", "1", "--out", str(out), code=4)["message"]
    expired(closed)
    key = closed.folder / "keys" / "responder.pub"
    assert closed.run("verify", str(out), "--key", str(key)).exit_code == 0
    refused = closed.error("archive", "1", "--out", str(tmp_path / "late.tar.gz"), code=4)["message"]
    assert "was deleted by mcp-soar: retention" in refused


def kinds(archive: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        lines = opened.extractfile("journal.jsonl")
        assert lines is not None
        return [json.loads(base64.b64decode(json.loads(line)["data"]))["kind"] for line in lines]


def test_an_archive_holds_all_that_was_done_up_to_the_closing(closed: Installation, tmp_path: Path) -> None:
    out = tmp_path / "kept.tar.gz"
    closed.json("archive", "1", "--out", str(out))

    async def entries() -> list[str]:
        async with assembled(closed.config) as parts:
            return [entry.parsed().kind for entry in await parts.journal.read(f"incident/{ID}")]

    assert kinds(out) == asyncio.run(entries())
    assert "closed" in kinds(out)


def test_what_is_left_after_an_erasure_can_be_archived(closed: Installation, tmp_path: Path) -> None:
    with responder(closed):
        for who in ("sam", "kim"):
            closed.json("erase", "1", "--exhibit", "x-0100-definitions", "--reason", "PIPA 36", "--as", who)
    out = tmp_path / "kept.tar.gz"
    closed.json("archive", "1", "--out", str(out))
    report = bundle.verify(out, PublicKey.load(closed.folder / "keys" / "responder.pub"))
    assert report.ok, report.checks
    assert report.manifest is not None
    assert [exhibit.id for exhibit in report.manifest.exhibits] == ["x-0000-raw-alert"]


def test_evidence_that_was_changed_is_not_archived(closed: Installation, tmp_path: Path) -> None:
    (file,) = closed.folder.rglob("x-0100-definitions/files/data.bin")
    file.chmod(0o600)
    file.write_bytes(PERSONAL[:-1] + b"?")
    out = tmp_path / "kept.tar.gz"
    assert "is not what was sealed" in closed.error("archive", "1", "--out", str(out), code=4)["message"]
    assert not out.exists()
