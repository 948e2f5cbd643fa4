"""`backup`: one file with everything that is worth keeping, made while all goes on, and read through again."""

import asyncio
import base64
import glob
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows.cli.exits import Exit
from flows.cli.output import Out, Usage
from flows.cli.work import backup_file, records
from flows.service.settings import Configuration
from integrations.journal.dump import Rows
from integrations.signing import PublicKey, SigningKey
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.systems import Secret
from playbooks.record.journal import INCIDENT
from playbooks.strict import iso, now

_TEXTS = frozenset({".yaml", ".yml", ".txt", ".md", ".j2", ".json", ".pub"})
_NOT_CONFIGURATION = {"keys", "secrets", "state"}
_LARGEST_TEXT = 4 << 20  # bytes
_PRIVATE = b"PRIVATE KEY-----"

Progress = Callable[[str, int, int], None]


@dataclass
class _Found:
    """What the rows say on their way, besides being copied."""

    exhibits: list[tuple[str, str]] = field(default_factory=list)
    elsewhere: int = 0
    bundles: dict[str, str] = field(default_factory=dict)
    deleted: set[object] = field(default_factory=set)
    incidents: int = 0
    in_force: int = 0
    last: str | None = None
    head: int = 0

    def look(self, part: Rows) -> None:
        """Take in a part."""
        if part.table not in {"entry", "stream", "hold", "chain"}:
            return
        for row in (json.loads(line) for line in part.data.splitlines()):
            if part.table == "entry" and row["kind"] in {"exhibit", "sealed", "deletion_intended"}:
                name = row["stream"].removeprefix(INCIDENT)
                self._evidence(name, row["kind"], json.loads(base64.b64decode(row["data"]))["body"])
            elif part.table == "stream" and row["name"].startswith(INCIDENT):
                self.incidents += 1
                self.last = max(self.last or "", row["name"].removeprefix(INCIDENT))
            elif part.table == "hold":
                self.in_force += 1
            elif part.table == "chain":
                self.head = row["n"]

    def _evidence(self, incident: str, kind: str, body: dict[str, Any]) -> None:
        if kind == "sealed":
            # The last one of an incident holds all that those before it held, and they are removed.
            self.bundles[incident] = str(body["bundle"])
        elif kind == "exhibit":
            if any(file.get("kept") for file in body["exhibit"]["files"]):
                self.elsewhere += 1
            else:
                self.exhibits.append((incident, str(body["exhibit"]["id"])))
        else:
            # From here on it is meant to be gone, wherever it still lies.
            self.deleted |= {(incident, str(one["id"])) for one in body["exhibits"]}
            self.deleted |= {str(name) for name in body["bundles"]}


def backup(out: Out, config: Configuration, file: Path, *, with_keys: bool) -> Exit:
    """Write a backup."""
    left_over(out, file)
    try:
        key = SigningKey.load(config.path(config.settings.key))
    except SoarError as exc:
        key = None
        out.alarm(f"the backup is not signed, its digests alone protect it: {exc}")
    with out.progress("copying the journal") as progress:
        manifest, size, left_out = asyncio.run(_backup(config, file, key, progress, with_keys=with_keys))
    out.document(
        {
            **summary(file, manifest),
            "bytes": size,
            "signed_by": key.id if key else None,
            "left_out": left_out,
        }
    )
    tell(out, file, manifest)
    out.say(f"{size:,} bytes, mode 0600, " + (f"signed by {key.id}" if key else "NOT signed"))
    for name in left_out:
        out.say(f"left out: {name}", "dim")
    for name in manifest.missing:
        out.say(f"the journal names {name}, and it is not there", "bad")
    return Exit.OK


def left_over(out: Out, target: Path) -> None:
    """Refuse a place that is none, and name what an earlier attempt left there when it was killed."""
    folder = target.absolute().parent
    if not folder.is_dir():
        raise Usage(f"{folder} is no folder")
    for left in sorted(folder.glob(f".{glob.escape(target.name)}.*.part")):
        out.note(f"an attempt under way, or one that was killed, is at {left}: delete it if nobody works on it")


def summary(file: Path, manifest: backup_file.Manifest) -> dict[str, Any]:
    """Return what a document says of a backup."""
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


def tell(out: Out, file: Path, manifest: backup_file.Manifest) -> None:
    """Say likewise what is in it, and what is not."""
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
            if found.elsewhere:
                left_out.append(f"{found.elsewhere} exhibits in a bucket, which lie there under a lock")
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
    seen, keys = read_through(out, file, key)
    signer = seen.signed_by(keys)
    out.document({**summary(file, seen.manifest), "ok": True, "signed_by": signer})
    tell(out, file, seen.manifest)
    out.say(f"{len(seen.manifest.files)} parts have the digests that the manifest gives them", "good")
    tell_whose(out, signer, key)
    return Exit.OK


def read_through(out: Out, file: Path, key: Path | None) -> tuple[backup_file.Compared, list[PublicKey]]:
    """Read a backup through; return it and the keys that may have signed it."""
    size = size_of(file)
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


def size_of(file: Path) -> int:
    """Return how many bytes a backup has."""
    try:
        return file.stat().st_size
    except OSError as exc:
        raise Misconfigured(f"cannot be read ({exc.strerror})", file=str(file)) from exc


def tell_whose(out: Out, signer: str | None, key: Path | None) -> None:
    """Say who signed it, and what that is worth."""
    if signer is None:
        out.say("It is NOT signed: anybody may have made it.", "bad")
    elif key is None:
        out.say(f"Signed by {signer}, a key that the backup itself brought: --key PUBLIC.pem compares it with yours.")
    else:
        out.say(f"Signed by {signer}, which is {key}.", "good")
