"""`backup` and `restore`: one file with everything that is worth keeping, made while all goes on; and back from it."""

import asyncio
import base64
import glob
import json
import os
import re
import secrets
import shlex
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from flows.access import responder_keys
from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import backup_file, records, verify
from flows.cli.work.restored import RESTORED
from flows.settings import Configuration, read
from integrations.journal import dump
from integrations.journal.client import address, bare
from integrations.journal.dump import Part
from integrations.journal.store import Journal
from integrations.secret import secret
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, Refused, SoarError
from playbooks.inventory import Secret
from playbooks.strict import iso, now

_JOURNAL = "sqlite:///state/journal.db"
_VAULT, _BUNDLES = Path("state/vault"), Path("state/bundles")
_TEXTS = frozenset({".yaml", ".yml", ".txt", ".md", ".j2", ".json", ".pub"})
_NOT_CONFIGURATION = {"keys", "secrets", "state"}
_LARGEST_TEXT = 4 << 20  # bytes
_PRIVATE = b"PRIVATE KEY-----"
_PART = re.compile(r"journal/[0-9]{6}-([a-z]+)\.jsonl")

Progress = Callable[[str, int, int], None]


@dataclass
class _Found:
    """What the rows say on their way, besides being copied."""

    exhibits: list[tuple[str, str]] = field(default_factory=list)
    bundles: dict[str, str] = field(default_factory=dict)
    deleted: set[object] = field(default_factory=set)
    incidents: int = 0
    in_force: int = 0
    last: str | None = None
    head: int = 0

    def look(self, part: Part) -> None:
        """Take in a part."""
        if part.table not in {"entry", "stream", "hold", "chain"}:
            return
        for row in (json.loads(line) for line in part.data.splitlines()):
            if part.table == "entry" and row["kind"] in {"exhibit", "sealed", "deletion_intended"}:
                name = row["stream"].removeprefix(records.PREFIX)
                self._evidence(name, row["kind"], json.loads(base64.b64decode(row["data"]))["body"])
            elif part.table == "stream" and row["name"].startswith(records.PREFIX):
                self.incidents += 1
                self.last = max(self.last or "", row["name"].removeprefix(records.PREFIX))
            elif part.table == "hold":
                self.in_force += 1
            elif part.table == "chain":
                self.head = row["n"]

    def _evidence(self, incident: str, kind: str, body: dict[str, Any]) -> None:
        if kind == "sealed":
            # The last one of an incident holds all that those before it held, and they are removed.
            self.bundles[incident] = str(body["bundle"])
        elif kind == "exhibit":
            self.exhibits.append((incident, str(body["exhibit"]["id"])))
        else:
            # From here on it is meant to be gone, wherever it still lies.
            self.deleted |= {(incident, str(one["id"])) for one in body["exhibits"]}
            self.deleted |= {str(name) for name in body["bundles"]}


def backup(out: Out, config: Configuration, file: Path, *, with_keys: bool) -> Exit:
    """Write a backup."""
    _siblings(out, file)
    try:
        key = SigningKey.load(config.path(config.settings.key))
    except SoarError as exc:
        key = None
        out.alarm(f"the backup is not signed, its digests alone protect it: {exc}")
    with out.progress("copying the journal") as progress:
        manifest, size, left_out = asyncio.run(_backup(config, file, key, progress, with_keys=with_keys))
    out.document(
        {
            **_summary(file, manifest),
            "bytes": size,
            "signed_by": key.id if key else None,
            "left_out": left_out,
        }
    )
    _tell(out, file, manifest)
    out.say(f"{size:,} bytes, mode 0600, " + (f"signed by {key.id}" if key else "NOT signed"))
    for name in left_out:
        out.say(f"left out: {name}", "dim")
    for name in manifest.missing:
        out.say(f"the journal names {name}, and it is not there", "bad")
    return Exit.OK


def _siblings(out: Out, target: Path) -> None:
    """Refuse a place that is none, and name what an earlier attempt left there when it was killed."""
    folder = target.absolute().parent
    if not folder.is_dir():
        raise Usage(f"{folder} is no folder")
    for left in sorted(folder.glob(f".{glob.escape(target.name)}.*.part")):
        out.note(f"an attempt under way, or one that was killed, is at {left}: delete it if nobody works on it")


def _summary(file: Path, manifest: backup_file.Manifest) -> dict[str, Any]:
    return {
        "file": str(file),
        "made_at": manifest.made_at,
        "journal": manifest.journal,
        "rows": manifest.rows,
        "incidents": manifest.incidents,
        "last_incident": manifest.last,
        "in_force": manifest.in_force,
        "head": manifest.head,
        "keys": manifest.private,
        "missing": list(manifest.missing),
    }


def _tell(out: Out, file: Path, manifest: backup_file.Manifest) -> None:
    out.say(
        f"{file}: {manifest.incidents} incidents, the last is {manifest.last or 'none'}; {manifest.in_force} holds in "
        f"force; journal head {manifest.head} of {manifest.made_at}, from {manifest.journal}"
    )
    if manifest.private:
        out.say("It holds PRIVATE KEYS AND SECRETS: whoever has this file can act as this installation.", "bad")
    else:
        out.say("Private keys and secrets are not in it: keep those elsewhere, or nothing of it can act again.")


async def _backup(
    config: Configuration, file: Path, key: SigningKey | None, progress: Progress, *, with_keys: bool
) -> tuple[backup_file.Manifest, int, list[str]]:
    async with records.opened(config) as journal:
        writer = backup_file.Writer(file)
        try:
            texts, left_out = _texts(config)
            for path, data in texts.items():
                writer.add(f"config/{path}", data)
            responders = _public(config, writer)
            if with_keys:
                left_out += _private(config, writer)
            # The journal first: what it names was in the vault before.
            found, made_at = _Found(), iso(now())
            async with journal.copying() as (tables, rows, parts):
                count = 0
                index = 0
                async for part in parts:
                    index += 1
                    found.look(part)
                    writer.add(f"journal/{index:06}-{part.table}.jsonl", part.data)
                    count += part.rows
                    progress("copying the journal", count, rows)
            missing = _evidence(config, found, writer, progress)
            manifest = backup_file.Manifest(
                made_at=made_at,
                made_by=version("mcp-soar"),
                tables=tables,
                journal="postgresql" if journal.dialect == "postgresql" else "sqlite",
                rows=count,
                incidents=found.incidents,
                in_force=found.in_force,
                last=found.last,
                head=found.head,
                responders=tuple(responders),
                private=with_keys,
                missing=tuple(missing),
                files=writer.files,
            )
            return manifest, writer.finish(manifest, key), left_out
        except BaseException:
            writer.discard()
            raise


def _texts(config: Configuration) -> tuple[dict[str, bytes], list[str]]:
    """Return the configuration's files by path, and what else lies there and is left out."""
    found: dict[str, bytes] = {}
    left_out: list[str] = []
    places = {Path(place.file).expanduser().resolve() for place in _secrets(config) if place.file}
    places |= {config.path(path).resolve() for path in (config.settings.key, config.settings.receiver.key) if path}
    # What was written to people may hold one-time codes that are still good.
    boxes = [contact.file for contact in config.contacts.contacts.values() if contact.file]
    told = {place.resolve() for box in boxes for place in (Path(box), config.folder / box)}
    for top, folders, files in os.walk(config.folder):
        here = Path(top)
        at_top = here == config.folder
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not (at_top and name in _NOT_CONFIGURATION) and name != "__pycache__"
        )
        mail = [name for name in folders if (here / name).resolve() in told]
        left_out += [(here / name).relative_to(config.folder).as_posix() for name in mail]
        folders[:] = [name for name in folders if name not in mail]
        for name in sorted(files):
            file, path = here / name, (here / name).relative_to(config.folder).as_posix()
            kept = file.suffix in _TEXTS or path == ".gitignore"
            if not kept or file.is_symlink() or not file.is_file() or not backup_file.fits(f"config/{path}"):
                left_out.append(path)
                continue
            data = file.read_bytes() if file.stat().st_size <= _LARGEST_TEXT else _PRIVATE
            if _PRIVATE in data or file.resolve() in places:
                left_out.append(path)
            else:
                found[path] = data
    return found, left_out


def _secrets(value: object) -> Iterator[Secret]:
    """Yield every place of a secret that the configuration names."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, Configuration):
        for one in fields(value):
            yield from _secrets(getattr(value, one.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _secrets(item)


def _public(config: Configuration, writer: backup_file.Writer) -> list[str]:
    """Add the responders' public keys and return where they are."""
    paths = []
    for number, place in enumerate(config.settings.responders, 1):
        inside = not place.is_absolute() and backup_file.fits(f"config/{place.as_posix()}")
        path = place.as_posix() if inside else f"keys/restored-{number}.pub"
        if f"config/{path}" not in writer.files:
            writer.add(f"config/{path}", PublicKey.load(config.path(place)).pem)
        paths.append(path)
    return paths


def _private(config: Configuration, writer: backup_file.Writer) -> list[str]:
    """Add keys and secrets and return those that are not in the folder or have no name that a backup can hold."""
    left_out = []
    root = config.folder.resolve()
    named = [Path(place.file).expanduser() for place in _secrets(config) if place.file]
    named += [config.path(path) for path in (config.settings.key, config.settings.receiver.key) if path]
    lying = [file for name in ("keys", "secrets") for file in (root / name).glob("*") if file.is_file()]
    for file in dict.fromkeys(file.resolve() for file in (*named, *lying)):
        path = file.relative_to(root).as_posix() if file.is_relative_to(root) else ""
        if not backup_file.fits(f"private/{path}") or not file.is_file():
            left_out.append(f"{file} (a key or a secret)")
        elif f"config/{path}" not in writer.files:
            writer.copy(f"private/{path}", file)
    return left_out


def _evidence(config: Configuration, found: _Found, writer: backup_file.Writer, progress: Progress) -> list[str]:
    """Add what the journal names of vault and bundles, and nothing that came later; return what is not there."""
    missing = []
    vault, bundles = (config.path(path) for path in (config.settings.vault.path, config.settings.vault.bundles))
    wanted = [one for one in dict.fromkeys(found.exhibits) if one not in found.deleted]
    sealed = [name for name in found.bundles.values() if name not in found.deleted]
    total = len(wanted) + len(sealed)
    for number, (incident, exhibit) in enumerate(wanted, 1):
        folder = vault / incident / exhibit
        files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
        try:
            for file in files:
                writer.copy(f"vault/{incident}/{exhibit}/{file.relative_to(folder).as_posix()}", file)
        except FileNotFoundError:
            files = []
        if not files:
            missing.append(f"exhibit {exhibit} of {incident}")
        progress("copying evidence", number, total)
    for number, name in enumerate(sealed, 1):
        try:
            writer.copy(f"bundles/{name}", bundles / name)
        except FileNotFoundError:
            missing.append(f"bundle {name}")
        progress("copying evidence", len(wanted) + number, total)
    return missing


def check(out: Out, file: Path, key: Path | None) -> Exit:
    """Verify a backup without restoring it."""
    seen, keys = _look(out, file, key)
    signer = seen.signed_by(keys)
    out.document({**_summary(file, seen.manifest), "ok": True, "signed_by": signer})
    _tell(out, file, seen.manifest)
    out.say(f"{len(seen.manifest.files)} parts have the digests that the manifest gives them", "good")
    _whose(out, signer, key)
    return Exit.OK


def _look(out: Out, file: Path, key: Path | None) -> tuple[backup_file.Seen, list[PublicKey]]:
    """Read a backup through; return it and the keys that may have signed it."""
    size = _size(file)
    pems: dict[str, bytes] = {}

    def take(path: str, chunks: Iterator[bytes]) -> None:
        if path.endswith(".pub"):
            pems[path] = next(chunks, b"")

    with out.progress(f"reading {file}") as progress:
        seen = backup_file.read(file, take, lambda done: progress("comparing digests", done, size))
    if key is not None:
        return seen, [PublicKey.load(key)]
    return seen, _keys(file, seen.manifest, pems)


def _keys(file: Path, manifest: backup_file.Manifest, pems: dict[str, bytes]) -> list[PublicKey]:
    try:
        return [PublicKey.from_pem(pems[f"config/{path}"], file=path) for path in manifest.responders]
    except KeyError as exc:
        raise backup_file.Spoiled(f"{file} lacks the responder's public key {exc}") from exc


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as exc:
        raise Misconfigured(f"cannot be read ({exc.strerror})", file=str(file)) from exc


def _whose(out: Out, signer: str | None, key: Path | None) -> None:
    if signer is None:
        out.say("It is NOT signed: anybody may have made it.", "bad")
    elif key is None:
        out.say(f"Signed by {signer}, a key that the backup itself brought: --key PUBLIC.pem compares it with yours.")
    else:
        out.say(f"Signed by {signer}, which is {key}.", "good")


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
        return [path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-turn", "-queue")]


def restore(out: Out, file: Path, into: Path, *, journal: str | None, key: Path | None, unsigned: bool) -> Exit:
    """Restore a backup into a new folder and an empty journal."""
    if os.path.lexists(into) and (not into.is_dir() or into.is_symlink() or any(into.iterdir())):
        raise Refused(f"{into} is there and not empty; nothing in it was touched. Name another folder")
    _siblings(out, into)
    seen, keys = _look(out, file, key)
    signer = seen.signed_by(keys)
    if signer is None and not unsigned:
        raise Refused(f"{file} is not signed, so anybody may have made it; --unsigned takes it all the same")
    free = shutil.disk_usage(into.absolute().parent).free
    if free < 2 * _size(file):
        raise Refused(f"it may take {2 * _size(file) >> 20} MiB, and {free >> 20} MiB are free")
    staging = into.absolute().with_name(f".{into.name}.{secrets.token_hex(8)}.part")
    plan = _Plan(file, staging, *_urls(journal, staging))
    try:
        with out.progress("restoring") as progress:
            checks = asyncio.run(_restore(plan, seen.manifest, progress))
        # Over an empty folder, or to where there is none.
        staging.rename(into)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        for left in plan.made():
            left.unlink(missing_ok=True)
        raise
    good = all(one["ok"] for one in checks)
    out.document(
        {
            **_summary(file, seen.manifest),
            "folder": str(into),
            "restored_into": plan.written,
            "ok": good,
            "signed_by": signer,
            "checks": checks,
        }
    )
    _tell(out, file, seen.manifest)
    _whose(out, signer, key)
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


async def _restore(plan: _Plan, manifest: backup_file.Manifest, progress: Progress) -> list[schema.Check]:
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
    found: list[schema.Check] = [{"check": "journal", "ok": True, "message": head}]
    keys = list(responder_keys(config).values())
    async with await Journal.open(plan.url, signer=None, name="mcp-soar-restore", keys=keys) as journal:
        return found + await verify.evidence(journal, config, None, progress)


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
        self._queue: asyncio.Queue[Part | None] = asyncio.Queue(maxsize=4)
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

    async def _parts(self) -> AsyncIterator[Part]:
        while (part := await self._queue.get()) is not None:
            yield part

    def _read(self) -> None:
        size = _size(self._plan.file)
        seen = backup_file.read(self._plan.file, self._take, lambda at: self._progress("restoring", at, size))
        self._end()
        if seen.manifest != self._manifest:
            raise backup_file.Spoiled(f"{self._plan.file} was changed while it was restored")

    def _take(self, path: str, chunks: Iterator[bytes]) -> None:
        if found := _PART.fullmatch(path):
            data = _limited(path, chunks)
            self._put(Part(found[1], data.count(b"\n"), data))
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

    def _put(self, part: Part | None) -> None:
        asyncio.run_coroutine_threadsafe(self._offer(part), self._loop).result()

    async def _offer(self, part: Part | None) -> None:
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
