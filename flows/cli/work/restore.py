"""`restore`: an installation from a backup, verified before it counts."""

import asyncio
import json
import os
import re
import secrets
import shlex
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from flows.cli.exits import Exit
from flows.cli.output import Out
from flows.cli.work import backup_file
from flows.cli.work.backup import Progress, left_over, read_through, size_of, summary, tell, tell_whose
from flows.cli.work.restored import RESTORED
from flows.reading import verification
from flows.reading.verification import CheckRow
from flows.service.access import responder_keys
from flows.service.settings import read
from integrations.journal import dump
from integrations.journal.client import address, bare
from integrations.journal.dump import Rows
from integrations.journal.spool import END
from integrations.journal.store import Journal
from integrations.secret import secret
from integrations.signing import PublicKey
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.estate.systems import Secret
from playbooks.strict import iso, now

_JOURNAL = "sqlite:///state/journal.db"
_VAULT, _BUNDLES = Path("state/vault"), Path("state/bundles")
_PART = re.compile(r"journal/[0-9]{6}-([a-z]+)\.jsonl")


@dataclass(frozen=True)
class _Plan:
    """Where a backup goes.

    Args:
        file: the backup.
        staging: the folder while it grows.
        url: the journal's address, for the driver.
        written: the same as it is written into the settings: from the folder, without a password.
    """

    file: Path
    staging: Path
    url: str
    written: str

    def made(self) -> list[Path]:
        """Return the files outside the folder that are made on the way: those of a SQLite journal put elsewhere."""
        if not self.written.startswith("sqlite:////"):
            return []
        path = Path(self.written.removeprefix("sqlite:///"))
        ends = ("", "-wal", "-shm", "-turn", "-queue")
        return [path.with_name(path.name + file + end) for file in ("", END) for end in ends]


def restore(out: Out, file: Path, into: Path, *, journal: str | None, key: Path | None, unsigned: bool) -> Exit:
    """Restore a backup into a new folder and an empty journal."""
    if os.path.lexists(into) and (not into.is_dir() or into.is_symlink() or any(into.iterdir())):
        raise Refused(f"{into} is there and not empty; nothing in it was touched. Name another folder")
    left_over(out, into)
    seen, keys = read_through(out, file, key)
    signer = seen.signed_by(keys)
    if signer is None and not unsigned:
        raise Refused(f"{file} is not signed, so anybody may have made it; --unsigned takes it all the same")
    free = shutil.disk_usage(into.absolute().parent).free
    if free < 2 * size_of(file):
        raise Refused(f"it may take {2 * size_of(file) >> 20} MiB, and {free >> 20} MiB are free")
    staging = into.absolute().with_name(f".{into.name}.{secrets.token_hex(8)}.part")
    plan = _Plan(file, staging, *_urls(journal, staging))
    try:
        with out.progress("restoring") as progress:
            checks = asyncio.run(_restore(plan, seen.manifest, progress))
        # Over an empty folder, or to where there is none.
        staging.rename(into)
    except BaseException:
        # Whatever ends it, Ctrl-C too: half an installation is none.
        shutil.rmtree(staging, ignore_errors=True)
        for left in plan.made():
            left.unlink(missing_ok=True)
        raise
    good = all(one["ok"] for one in checks)
    out.document(
        {
            **summary(file, seen.manifest),
            "folder": str(into),
            "restored_into": plan.written,
            "ok": good,
            "signed_by": signer,
            "checks": checks,
        }
    )
    tell(out, file, seen.manifest)
    tell_whose(out, signer, key)
    out.table(("", "check", "found"), [("ok" if c["ok"] else "FAIL", c["check"], c["message"]) for c in checks])
    _next(out, into, plan, seen.manifest)
    return Exit.OK if good else Exit.NO


def _next(out: Out, into: Path, plan: _Plan, manifest: backup_file.Manifest) -> None:
    out.say(
        f"Restored into {into}, its journal {plan.written}. The last incident is {manifest.last or 'none'}.", "head"
    )
    warning = "All claims are void. The next `mcp-soar up` verifies every lease first: what is in force here may have"
    out.say(f"{warning} been released since, by a journal newer than this one, and would be put back.", "warn")
    out.say("What was erased since then is here again: `mcp-soar erase` or `purge` it again.", "warn")
    if not manifest.private:
        out.say("Put back keys/ and secrets/ before that; what is missing, doctor names.")
    out.raw(f"  mcp-soar doctor --config {shlex.quote(str(into))}")
    out.raw(f"  mcp-soar doctor --orphans --config {shlex.quote(str(into))}")


def _urls(journal: str | None, staging: Path) -> tuple[str, str]:
    """Return the journal's address for the driver, and as it is written into the settings."""
    if journal is None:
        return f"sqlite:///{staging}/state/journal.db", _JOURNAL
    url = address(journal)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "").absolute()
        if os.path.lexists(path):
            raise Refused(f"{path} is there already: the journal to restore into is a new one")
        return f"sqlite:///{path}", f"sqlite:///{path}"
    return journal, bare(url)


async def _restore(plan: _Plan, manifest: backup_file.Manifest, progress: Progress) -> list[CheckRow]:
    plan.staging.mkdir(mode=0o700)
    for folder in ("keys", "secrets", "state", _VAULT, _BUNDLES):
        (plan.staging / folder).mkdir(mode=0o700)
    async with await Journal.open(plan.url, signer=None, name="mcp-soar-restore") as journal:
        await journal.migrate()
        await _Filling(plan, manifest, journal, progress).run()
    _settle(plan, manifest)
    config = read(plan.staging)
    progress("verifying evidence", 0, 1)
    head = f"{manifest.rows} rows: every chain and {manifest.head} signed heads are as they were written"
    found: list[CheckRow] = [{"check": "journal", "ok": True, "message": head}]
    keys = list(responder_keys(config).values())
    async with await Journal.open(plan.url, signer=None, name="mcp-soar-restore", keys=keys) as journal:
        return found + await verification.evidence(journal, config, None, progress)


class _Filling:
    """A backup on its way into a folder and a journal: a thread reads, the loop writes the rows.

    Args:
        plan: from where to where.
        manifest: what it holds, from the first reading.
        journal: migrated and empty.
        progress: told how far it is.
    """

    def __init__(self, plan: _Plan, manifest: backup_file.Manifest, journal: Journal, progress: Progress) -> None:
        self._plan = plan
        self._manifest = manifest
        self._progress = progress
        self._queue: asyncio.Queue[Rows | None] = asyncio.Queue(maxsize=4)
        self._keys: list[PublicKey] = []
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._filling = asyncio.create_task(journal.fill(manifest.tables, self._parts(), self._keys))

    async def run(self) -> None:
        """Do all of it.

        Raises:
            Spoiled: if the file is not what it was a moment ago.
            Tampered: if the journal in it is not as it was written.
            Refused: if it cannot be restored here.
        """
        try:
            await asyncio.to_thread(self._read)
            rows = await self._filling
        except BaseException:
            self._filling.cancel()
            # Its own error is the cause, if it has one: the reader only found it gone.
            failed = (await asyncio.gather(self._filling, return_exceptions=True))[0]
            if isinstance(failed, SoarError):
                raise failed from None
            raise
        if rows != self._manifest.rows:
            raise backup_file.Spoiled(f"{self._plan.file} has {rows} rows, and its manifest says {self._manifest.rows}")

    async def _parts(self) -> AsyncIterator[Rows]:
        while (part := await self._queue.get()) is not None:
            yield part

    def _read(self) -> None:
        size = size_of(self._plan.file)
        seen = backup_file.read(self._plan.file, self._take, lambda at: self._progress("restoring", at, size))
        self._end()
        if seen.manifest != self._manifest:
            raise backup_file.Spoiled(f"{self._plan.file} was changed while it was restored")

    def _take(self, path: str, chunks: Iterator[bytes]) -> None:
        if found := _PART.fullmatch(path):
            data = _limited(path, chunks)
            self._put(Rows(found[1], data.count(b"\n"), data))
            return
        if path.startswith(("vault/", "bundles/")):
            # Now, because a database ends a transaction that waits while gigabytes of evidence are written.
            self._end()
        _place(self._plan.staging, path, chunks)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._keys.extend(PublicKey.load(self._plan.staging / path) for path in self._manifest.responders)
            self._put(None)

    def _put(self, part: Rows | None) -> None:
        asyncio.run_coroutine_threadsafe(self._offer(part), self._loop).result()

    async def _offer(self, part: Rows | None) -> None:
        putting = asyncio.ensure_future(self._queue.put(part))
        await asyncio.wait({putting, self._filling}, return_when=asyncio.FIRST_COMPLETED)
        if not putting.done():
            # The transaction broke off: it takes nothing more.
            putting.cancel()
            raise Refused("the journal takes no more")


def _limited(path: str, chunks: Iterator[bytes]) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > dump.LARGEST:
            raise backup_file.Spoiled(f"{path} is larger than any part that is written")
    return bytes(data)


def _place(staging: Path, path: str, chunks: Iterator[bytes]) -> None:
    """Write one file under the new folder; its path is checked already, and everything above it is ours and new."""
    where, _, rest = path.partition("/")
    base = {"config": staging, "private": staging, "vault": staging / _VAULT, "bundles": staging / _BUNDLES}.get(where)
    if base is None:
        raise backup_file.Spoiled(f"{path[:200]!a} is no part of a backup")
    target = base / rest
    if where == "config" and rest.split("/")[0] == "state":
        raise backup_file.Spoiled(f"{path[:200]!a} is no configuration")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = {"config": 0o644, "private": 0o600}.get(where, 0o400)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    except FileExistsError as exc:
        raise backup_file.Spoiled(f"{path[:200]!a} is in it twice") from exc
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _settle(plan: _Plan, manifest: backup_file.Manifest) -> None:
    """Point the settings at what was restored, and leave word for `doctor`."""
    file = plan.staging / "mcp-soar.yaml"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    config = read(plan.staging)
    settings: dict[str, Any] = yaml.safe_load(text) or {}
    changed = dict(settings)
    if config.settings.journal.url != plan.written:
        changed["journal"] = {"url": plan.written}
        place = config.settings.journal.password
        if place is not None and plan.written.startswith("postgresql") and _had(place):
            changed["journal"]["password"] = settings["journal"]["password"]
    if (config.settings.vault.path, config.settings.vault.bundles) != (_VAULT, _BUNDLES):
        changed["vault"] = {**settings.get("vault", {}), "path": str(_VAULT), "bundles": str(_BUNDLES)}
    if tuple(path.as_posix() for path in config.settings.responders) != manifest.responders:
        changed["responders"] = list(manifest.responders)
    if changed != settings:
        (plan.staging / "mcp-soar.yaml.original").write_text(text, encoding="utf-8")
        head = "# Written by `mcp-soar restore`; what it was before stands in mcp-soar.yaml.original.\n"
        file.write_text(head + yaml.safe_dump(changed, sort_keys=False, allow_unicode=True), encoding="utf-8")
    word = {"made_at": manifest.made_at, "restored_at": iso(now()), "head": manifest.head, "last": manifest.last}
    (plan.staging / RESTORED).write_text(json.dumps(word), encoding="utf-8")


def _had(place: Secret) -> bool:
    try:
        secret(place, what="journal.password")
    except Misconfigured:
        return False
    return True
