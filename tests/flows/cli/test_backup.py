"""`backup` and `restore`: one file with everything, made while all goes on, and back from it into either database."""

import asyncio
import base64
import hashlib
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.service.access import open_journal
from flows.service.codes import hand_in
from flows.service.settings import read
from integrations.journal import dump, queries
from integrations.journal.store import Journal
from integrations.signing import PublicKey, SigningKey
from integrations.vault.archive import header
from integrations.vault.local import LocalVault
from playbooks.people.code import CodeAnswer
from playbooks.record.journal import SYSTEM, Event
from playbooks.strict import canonical
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab import exhibits

SECRET = "hunter2-hunter2"  # noqa: S105  # to be looked for


def exhibit(site: Installation, number: int = 1) -> None:
    """Seal an exhibit and journal it."""
    config = site.config

    async def work() -> Event:
        vault = LocalVault(config.path(config.settings.vault.path), reserve=0)
        sealed = await exhibits.kept(vault, ID, number, "definition", {"tool.json": b"poison" * 1000})
        return Event("exhibit", {"instance": "x", "phase": "capture", "exhibit": sealed.model_dump(mode="json")})

    site.append(asyncio.run(work()))


def filled(site: Installation) -> None:
    (site.folder / "secrets" / "gateway").write_text(SECRET, encoding="utf-8")
    (site.folder / "playbooks").mkdir(exist_ok=True)
    site.append(*(make() for make in world.CONTAINED))
    site.append(world.opened(), incident="inc-2026-000002", correlation="two")

    async def work() -> None:
        journal = await open_journal(site.config, name="dead", writing=True)

        async def unit(tx: Any) -> None:  # noqa: ANN401  # a Tx
            await tx.hold(
                "gateway/main/tool/t-42#enabled", incident=ID, lease="x", server="weather", before=True, after=False
            )
            stop = await tx.stop("server:weather", "wrong", "kim")
            body = {"scope": stop.scope, "by": stop.by, "reason": stop.reason, "number": stop.seq}
            await tx.append(SYSTEM, [Event("stopped", body, "kim")])
            await tx.make_runnable(f"incident/{ID}", at=time.time() + 3600)
            await tx.make_runnable("incident/inc-2026-000002")
            await tx.claim("dead", queries.claimable("cut", 1), seconds=3600)

        await journal.submit(unit)
        await journal.aclose()

    asyncio.run(work())


def rows(path: Path, statement: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(statement).fetchall()


def everything(path: Path, table: str) -> list[tuple[Any, ...]]:
    return rows(path, f"SELECT * FROM {table} ORDER BY 1, 2")  # noqa: S608  # a name of this file


def test_there_and_back_again_nothing_is_lost_and_no_claim_lives_on(site: Installation, tmp_path: Path) -> None:
    filled(site)
    file, into = tmp_path / "b.tar", tmp_path / "restored"

    made = site.json("backup", str(file))
    assert (made["last_incident"], made["incidents"], made["in_force"]) == ("inc-2026-000002", 2, 1)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob(".b.tar*")] == []
    assert site.json("backup", str(file), "--check", "--key", str(site.folder / "keys/responder.pub"))["ok"]

    done = site.json("restore", str(file), "--into", str(into))
    assert done["ok"]
    assert done["last_incident"] == "inc-2026-000002"
    before, after = site.folder / "state/journal.db", into / "state/journal.db"
    for table in ("entry", "head", "chain", "hold", "stop", "used", "number", "inbox", "reservation"):
        assert everything(before, table) == everything(after, table)
    assert rows(before, "SELECT owner FROM stream WHERE owner IS NOT NULL")
    streams = {name: (owner, due) for name, owner, due in rows(after, "SELECT name, owner, runnable_at FROM stream")}
    assert {owner for owner, _ in streams.values()} == {None}
    # What was in hand, and what is in force, runs at once.
    assert streams[f"incident/{ID}"][1] <= time.time()
    assert streams["incident/inc-2026-000002"][1] <= time.time()
    again = Installation(into, site.home)
    assert again.json("verify")["ok"]
    assert again.json("incident", "1")["status"] == site.json("incident", "1")["status"] == "contained"
    (line,) = [x for x in again.json("doctor", code=1)["checks"] if x["check"] == "restored"]
    assert "inc-2026-000002" in line["message"]
    assert (into.stat().st_mode & 0o777, read(into).settings) == (0o700, site.config.settings)


def test_exhibits_come_along_with_what_the_journal_names_and_nothing_newer(site: Installation, tmp_path: Path) -> None:
    filled(site)
    exhibit(site)
    vault = site.folder / "state/vault" / ID
    (vault / "x-0009-newer" / "files").mkdir(parents=True)
    (vault / "x-0009-newer" / "files" / "one").write_text("not journalled yet")
    site.json("backup", str(tmp_path / "b.tar"))

    done = site.json("restore", str(tmp_path / "b.tar"), "--into", str(tmp_path / "r"))

    assert {one["check"]: one["ok"] for one in done["checks"]} == {"journal": True, f"exhibits-{ID}": True}
    assert [path.name for path in (tmp_path / "r/state/vault" / ID).iterdir()] == ["x-0001-definition"]


def test_an_exhibit_that_is_gone_is_said_when_it_is_made_and_when_it_is_restored(
    site: Installation, tmp_path: Path
) -> None:
    filled(site)
    exhibit(site)
    for path in sorted((site.folder / "state/vault" / ID).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert site.json("backup", str(tmp_path / "b.tar"))["missing"] == [f"exhibit x-0001-definition of {ID}"]
    assert not site.json("restore", str(tmp_path / "b.tar"), "--into", str(tmp_path / "r"), code=1)["ok"]


def test_what_is_to_be_deleted_is_not_in_it_though_it_still_lies_there(site: Installation, tmp_path: Path) -> None:
    filled(site)
    exhibit(site)
    body = {"id": "d-1", "exhibits": [{"id": "x-0001-definition", "digests": []}], "bundles": ["b.tar.gz"]}
    site.append(Event("deletion_intended", {**body, "why": "asked", "by": "kim", "people": ["kim"], "whole": False}))
    assert site.json("backup", str(tmp_path / "b.tar"))["missing"] == []
    assert b"poison" * 3 not in (tmp_path / "b.tar").read_bytes()


def test_no_key_and_no_secret_is_in_it_unless_asked(site: Installation, tmp_path: Path) -> None:
    filled(site)
    (site.folder / "note.txt").write_text("-----BEGIN PRIVATE KEY-----", encoding="utf-8")
    plain, whole = tmp_path / "plain.tar", tmp_path / "whole.tar"
    made = site.json("backup", str(plain))
    key = (site.folder / "keys/responder.key").read_bytes().split(b"\n")[1]
    assert SECRET.encode() not in plain.read_bytes()
    assert key not in plain.read_bytes()
    assert "note.txt" in made["left_out"]

    shown = site.run("backup", str(whole), "--with-keys")
    assert "PRIVATE KEYS AND SECRETS" in shown.stdout
    assert SECRET.encode() in whole.read_bytes()
    assert key in whole.read_bytes()
    site.json("restore", str(whole), "--into", str(tmp_path / "r"))
    assert (tmp_path / "r/keys/responder.key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "r/secrets/gateway").read_text() == SECRET


def test_no_code_that_is_still_good_and_nothing_that_is_too_large_to_come_back_is_in_it(
    site: Installation, tmp_path: Path
) -> None:
    box = site.folder / "outbox" / "bob"
    box.mkdir(parents=True)
    (box / "20260101T000000000000Z-0a0b0c0d.txt").write_text("Subject: answer\n\n7K3M2-QX9AB\n", encoding="utf-8")
    (site.folder / "contacts.yaml").write_text(
        f"version: 1\ncontacts:\n  bob: {{file: {box.relative_to(site.folder)}}}\n", encoding="utf-8"
    )
    given = CodeAnswer(incident=ID, digest="a" * 12, actor="bob", code="9XYZ9-9XYZ9")

    async def work() -> None:
        async with await open_journal(site.config, name="test", writing=True) as journal:
            await hand_in(journal, given, source="slack")
            # Whoever may insert may insert anything: here, one row that would make a part that nobody takes in again.
            big = b"x" * (dump.LARGEST * 3 // 4 + 1)
            await journal.put(kind="alert", source="siem", nonce="n", body=big, headers={})

    asyncio.run(work())
    made = site.json("backup", str(tmp_path / "b.tar"))
    assert "outbox/bob" in made["left_out"]
    whole = (tmp_path / "b.tar").read_bytes()
    assert b"7K3M2-QX9AB" not in whole
    assert base64.b64encode(given.model_dump_json().encode()) not in whole
    site.json("restore", str(tmp_path / "b.tar"), "--into", str(tmp_path / "r"))
    found = rows(tmp_path / "r/state/journal.db", "SELECT kind, length(body) FROM inbox ORDER BY kind")
    assert found == [("alert", 0), ("code", 0)]


def test_from_one_database_into_the_other_and_back(site: Installation, tmp_path: Path, postgres_url: str) -> None:
    filled(site)
    exhibit(site)
    site.json("backup", str(tmp_path / "one.tar"))
    url = postgres_url.replace("postgresql+asyncpg", "postgresql")
    password = url.partition("//")[2].partition(":")[2].partition("@")[0]

    done = site.json("restore", str(tmp_path / "one.tar"), "--into", str(tmp_path / "pg"), "--journal", url)

    assert password not in (tmp_path / "pg/mcp-soar.yaml").read_text()
    assert done["restored_into"].startswith("postgresql://postgres@127.0.0.1")
    assert site.error("restore", str(tmp_path / "one.tar"), "--into", str(tmp_path / "x"), "--journal", url, code=4)
    assert not (tmp_path / "x").exists()
    environment: dict[str, str | None] = {"PGPASSWORD": password}
    over = Installation(tmp_path / "pg", site.home)
    again = over.run("backup", str(tmp_path / "two.tar"), "--json", env=environment)
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["journal"] == "postgresql"
    site.json("restore", str(tmp_path / "two.tar"), "--into", str(tmp_path / "back"), "--unsigned")
    for table in ("entry", "head", "chain", "hold", "stop", "used", "number"):
        assert everything(site.folder / "state/journal.db", table) == everything(
            tmp_path / "back/state/journal.db", table
        )


def test_a_copy_while_others_write_is_of_one_moment(site: Installation, tmp_path: Path) -> None:
    filled(site)

    async def work() -> int:
        journal = await open_journal(site.config, name="writer", writing=True)
        command = [
            sys.executable,
            "-m",
            "flows.cli.main",
            "backup",
            str(tmp_path / "b.tar"),
            "--config",
            str(site.folder),
        ]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        ended = asyncio.create_task(process.wait())
        count = 0
        while not ended.done():
            await journal.append(f"incident/{ID}", [world.verified()])
            count += 1
        await journal.aclose()
        return ended.result() or -count

    assert asyncio.run(work()) < 0
    # The chain, the heads and the tips of one moment fit each other.
    assert site.json("restore", str(tmp_path / "b.tar"), "--into", str(tmp_path / "r"))["ok"]


# What may be wrong with a file that somebody else had


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Copy a backup, each part's bytes changed or left out; headers as mcp-soar writes them."""
    with tarfile.open(source) as old, target.open("wb") as new:
        for info in old:
            member = old.extractfile(info)
            assert member is not None
            data = change(info.name, member.read())
            if data is not None:
                new.write(header(info.name, len(data)) + data + bytes(-len(data) % 512))
        new.write(bytes(1024))


@pytest.mark.parametrize("part", ["journal/", "config/policy.yaml", "manifest.json", "vault/"])
def test_a_changed_byte_is_found_before_anything_is_written(site: Installation, tmp_path: Path, part: str) -> None:
    filled(site)
    exhibit(site)
    site.json("backup", str(tmp_path / "b.tar"))

    def change(path: str, data: bytes) -> bytes:
        return data.replace(b"2026", b"2027", 1) + (b"" if b"2026" in data else b" ") if path.startswith(part) else data

    rewritten(tmp_path / "b.tar", tmp_path / "c.tar", change)

    for words in (
        ("backup", str(tmp_path / "c.tar"), "--check"),
        ("restore", str(tmp_path / "c.tar"), "--into", str(tmp_path / "r")),
    ):
        assert site.run(*words).exit_code in {1, 4}
    assert not (tmp_path / "r").exists()
    assert not list(tmp_path.glob(".r*"))


def test_a_backup_signed_by_a_stranger_or_by_nobody_is_refused(site: Installation, tmp_path: Path) -> None:
    filled(site)
    file = tmp_path / "b.tar"
    site.json("backup", str(file))
    stranger = tmp_path / "stranger.pub"
    stranger.write_bytes(SigningKey.generate(tmp_path / "stranger.key").public.pem)
    into = str(tmp_path / "r")
    assert (
        "not of a key that is known here"
        in site.error("restore", str(file), "--into", into, "--key", str(stranger), code=4)["message"]
    )

    rewritten(file, tmp_path / "u.tar", lambda path, data: None if path == "manifest.sig" else data)
    assert "--unsigned" in site.error("restore", str(tmp_path / "u.tar"), "--into", into, code=4)["message"]
    assert site.json("restore", str(tmp_path / "u.tar"), "--into", into, "--unsigned")["ok"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("config/../../evil", tarfile.REGTYPE),
        ("/tmp/evil", tarfile.REGTYPE),  # noqa: S108
        ("config/.ssh", tarfile.REGTYPE),
        ("evil.yaml", tarfile.REGTYPE),
        ("config/link", tarfile.SYMTYPE),
        ("config/hard", tarfile.LNKTYPE),
        ("config/pipe", tarfile.FIFOTYPE),
        ("config/null", tarfile.CHRTYPE),
        ("config/sub", tarfile.DIRTYPE),
    ],
)
def test_a_hostile_tar_writes_nothing_anywhere(site: Installation, tmp_path: Path, name: str, kind: bytes) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, "/etc/passwd", 0o400
        info.size = 4 if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(b"evil"))
    (tmp_path / "in").mkdir()
    before = sorted(path for path in tmp_path.rglob("*"))

    assert site.run("restore", str(file), "--into", str(tmp_path / "in" / "r")).exit_code == 1
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "data", [b"", b"x" * 5000, bytes(2048), b"\x1f\x8b" + b"x" * 600], ids=["nothing", "text", "zeros", "gzip"]
)
def test_what_is_no_backup_is_said_to_be_none(site: Installation, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(data)
    assert site.error("backup", str(tmp_path / "b.tar"), "--check", code=1)


def test_rows_of_a_hostile_journal_are_refused_and_nothing_of_them_stays(site: Installation, tmp_path: Path) -> None:
    filled(site)
    site.json("backup", str(tmp_path / "b.tar"))
    with tarfile.open(tmp_path / "b.tar") as archive:
        member = archive.extractfile("manifest.json")
        assert member is not None
        manifest = json.loads(member.read())
    (part,) = [path for path in manifest["files"] if path.endswith("-head.jsonl")]

    def resealed(new: bytes) -> Path:
        """Change the heads and make every digest right again, as somebody who has no key would."""
        manifest["files"][part] = {"size": len(new), "sha256": hashlib.sha256(new).hexdigest()}
        target = tmp_path / "evil.tar"
        changed = {part: new, "manifest.json": canonical(manifest), "manifest.sig": None}
        rewritten(tmp_path / "b.tar", target, changed.get)
        return target

    with tarfile.open(tmp_path / "b.tar") as archive:
        member = archive.extractfile(part)
        assert member is not None
        good = member.read()
    first = json.loads(good.splitlines()[0])
    for bad in (
        b"[" * 100_000 + b"\n",
        json.dumps({**first, "n": "1; DROP TABLE entry"}).encode() + b"\n",
        json.dumps({**first, "data": 7}).encode() + b"\n",
        json.dumps({**first, "more": 1}).encode() + b"\n",
        # Well formed, but no responder's head: its signature is another one's.
        good.replace(first["signature"].encode(), (first["signature"][:-6] + "AAAA==").encode()),
    ):
        result = site.run("restore", str(resealed(bad)), "--into", str(tmp_path / "r"), "--unsigned")
        assert result.exit_code in {1, 4}, result.output
        assert not (tmp_path / "r").exists()
        assert not list(tmp_path.glob(".r.*"))


def test_nothing_that_is_there_is_overwritten(site: Installation, tmp_path: Path) -> None:
    filled(site)
    file, into = tmp_path / "b.tar", tmp_path / "r"
    site.json("backup", str(file))
    kept = file.read_bytes()
    assert "already" in site.error("backup", str(file), code=4)["message"]
    assert file.read_bytes() == kept
    into.mkdir()
    (into / "mine").write_text("x")
    assert "not empty" in site.error("restore", str(file), "--into", str(into), code=4)["message"]
    assert [path.name for path in into.iterdir()] == ["mine"]
    (into / "mine").unlink()
    assert site.json("restore", str(file), "--into", str(into))["ok"]


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_killed_in_the_middle_leaves_no_half_thing_under_its_name(
    site: Installation, tmp_path: Path, what: str
) -> None:
    filled(site)
    exhibit(site)
    # Evidence large enough to be killed in: copying it takes seconds.
    place = site.folder / "state/vault" / ID / "x-0001-definition/files"
    with (place / "huge").open("wb") as huge:
        huge.truncate(600 << 20)
    file, into = tmp_path / "b.tar", tmp_path / "r"
    if what == "restore":
        site.json("backup", str(file))
    words = (
        ["backup", str(file), "--config", str(site.folder)]
        if what == "backup"
        else ["restore", str(file), "--into", str(into)]
    )
    target, growing = (file, ".b.tar.*") if what == "backup" else (into, ".r.*")
    process = subprocess.Popen([sys.executable, "-m", "flows.cli.main", *words], stdout=subprocess.DEVNULL)  # noqa: S603
    limit = time.monotonic() + 60
    while not list(tmp_path.glob(growing)) and time.monotonic() < limit:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert list(tmp_path.glob(growing))
    assert not target.exists()
    # And it can simply be done again; what is left lying is named.
    (place / "huge").unlink()
    if what == "backup":
        again = site.run("backup", str(file))
    else:
        file.unlink()
        site.json("backup", str(file))
        again = site.run("restore", str(file), "--into", str(into))
    assert again.exit_code == 0
    assert "delete it if nobody works on it" in " ".join(again.stderr.split())


def test_a_sqlite_journal_may_be_put_elsewhere_and_is_gone_again_if_it_fails(
    site: Installation, tmp_path: Path
) -> None:
    filled(site)
    site.json("backup", str(tmp_path / "b.tar"))
    (tmp_path / "db").mkdir()
    url = f"sqlite:///{tmp_path}/db/j.db"
    words = ("--into", str(tmp_path / "r"), "--journal", url)
    # Right digests, and rows that are no journal: found only when they are there.
    with tarfile.open(tmp_path / "b.tar") as archive:
        member = archive.extractfile("manifest.json")
        assert member is not None
        manifest = json.loads(member.read())
    (part,) = [path for path in manifest["files"] if path.endswith("-chain.jsonl")]
    empty = hashlib.sha256(b"").hexdigest()
    manifest["files"][part] = {"size": 0, "sha256": empty}
    changed = {part: b"", "manifest.json": canonical(manifest), "manifest.sig": None}
    rewritten(tmp_path / "b.tar", tmp_path / "c.tar", changed.get)
    site.error("restore", str(tmp_path / "c.tar"), *words, "--unsigned", code=1)
    assert list((tmp_path / "db").iterdir()) == []

    assert site.json("restore", str(tmp_path / "b.tar"), *words)["ok"]
    assert Installation(tmp_path / "r", site.home).json("verify")["ok"]
    assert (
        "already" in site.error("restore", str(tmp_path / "b.tar"), "--into", "x", "--journal", url, code=4)["message"]
    )


def test_absolute_places_are_not_written_to_again(site: Installation, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    key = elsewhere / "old.pub"
    key.write_bytes(PublicKey.load(site.folder / "keys/responder.pub").pem)
    (site.folder / "mcp-soar.yaml").write_text(
        f"version: 1\nresponders: [{key}]\njournal: {{url: 'sqlite:///{elsewhere}/j.db'}}\n"
        f"vault: {{path: {elsewhere}/vault, bundles: {elsewhere}/bundles, reserve: 7}}\n",
        encoding="utf-8",
    )
    filled(site)
    exhibit(site)
    site.json("backup", str(tmp_path / "b.tar"))
    stamp = (elsewhere / "j.db").stat().st_mtime_ns

    assert site.json("restore", str(tmp_path / "b.tar"), "--into", str(tmp_path / "r"))["ok"]

    config = read(tmp_path / "r")
    assert config.settings.journal.url == "sqlite:///state/journal.db"
    assert (str(config.settings.vault.path), config.settings.vault.reserve) == ("state/vault", 7)
    assert Installation(tmp_path / "r", site.home).json("verify")["ok"]
    assert (elsewhere / "j.db").stat().st_mtime_ns == stamp
    assert str(elsewhere) in (tmp_path / "r/mcp-soar.yaml.original").read_text()


async def test_a_backup_of_other_tables_is_refused(tmp_path: Path) -> None:
    journal = await Journal.open(f"sqlite:///{tmp_path}/j.db", signer=None, name="test")
    await journal.migrate()

    async def nothing() -> Any:  # noqa: ANN401  # an empty stream of parts
        for part in list[Any]():
            yield part

    with pytest.raises(Exception, match="of tables '0000'"):
        await journal.fill("0000", nothing(), [])
    await journal.aclose()
