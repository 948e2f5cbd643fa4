"""A backup's file: a plain tar of named parts, then the manifest of their digests, then the signature over it.

    config/… private/… journal/NNNNNN-TABLE.jsonl vault/INCIDENT/EXHIBIT/… bundles/NAME manifest.json manifest.sig

It is there whole under its name, or not at all; and it is read as something that anybody may have written.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from integrations import whole
from integrations.signing import PublicKey, SigningKey
from integrations.vault import disk
from integrations.vault.archive import BLOCK, LARGEST_MEMBER, Plain, UnreadableError, header, members
from playbooks.errors import Refused, SoarError
from playbooks.strict import Line, Strict, canonical

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
_PLACES = {"config", "private", "journal", "vault", "bundles"}
# No link, no `..`, no absolute path, nothing hidden and nothing that a shell or a terminal would take for something.
_SEGMENT = re.compile(r"[A-Za-z0-9_@+=][A-Za-z0-9_@+=., -]{0,120}|\.gitignore")
_DEPTH = 8
_LARGEST_MANIFEST = 256 << 20  # bytes
_LARGEST_SIGNATURE = 1024  # bytes
_MOST_MEMBERS = 5_000_000
_SIGNED = b"mcp-soar backup manifest 1\n"

Hex = r"^[0-9a-f]{64}$"


class Spoiled(SoarError):
    """A backup is not as it was written, or was never one."""


class Member(Strict):
    """One part of the file.

    Args:
        size: in bytes.
        sha256: in hex.
    """

    size: int = Field(ge=0)
    sha256: str = Field(pattern=Hex)


class Manifest(Strict):
    """What a backup holds.

    Args:
        version: of this format.
        made_at: the moment that the journal is of, ISO 8601 in UTC.
        made_by: the release of mcp-soar.
        tables: the release of the journal's tables.
        journal: the kind of database that it was.
        rows: of all tables.
        incidents: how many.
        in_force: how many holds.
        last: the youngest incident's id.
        head: the number of the last signed head.
        responders: the public keys of all responders, as paths under config/.
        private: whether keys and secrets are in it.
        missing: exhibits and bundles that the journal names and that were not there.
        files: the parts by path.
    """

    version: Literal[1] = 1
    made_at: Line
    made_by: Line
    tables: Line
    journal: Literal["sqlite", "postgresql"]
    rows: int = Field(ge=0)
    incidents: int = Field(ge=0)
    in_force: int = Field(ge=0)
    last: Line | None
    head: int = Field(ge=0)
    responders: tuple[str, ...]
    private: bool
    missing: tuple[str, ...]
    files: dict[str, Member]


class Signature(Strict):
    """Who signed the manifest.

    Args:
        key: the key's id.
        signature: Ed25519, in hex.
    """

    key: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")


class Compared(NamedTuple):
    """What a file turned out to be, every digest compared.

    Args:
        manifest: what it holds.
        raw: the manifest's bytes, which are signed.
        signature: None if it is not signed.
    """

    manifest: Manifest
    raw: bytes
    signature: Signature | None

    def signed_by(self, keys: list[PublicKey]) -> str | None:
        """Return the id of the key that signed it; None if nobody did.

        Raises:
            Refused: if it is signed, and not by one of these.
        """
        if self.signature is None:
            return None
        for key in keys:
            if key.id == self.signature.key and key.signed(_SIGNED + self.raw, bytes.fromhex(self.signature.signature)):
                return key.id
        raise Refused(f"its signature is not of a key that is known here (it names {self.signature.key})")


class Writer:
    """A backup while it is written.

    Args:
        out: its name in the end; it must be free.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}.part")
        self.files: dict[str, Member] = {}
        with disk.translated():
            if os.path.lexists(out):
                raise Refused(f"{out} is there already: name another file")
            descriptor = os.open(
                self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        self._file = os.fdopen(descriptor, "wb")

    def add(self, path: str, data: bytes) -> None:
        """Add a part."""
        self._add(path, len(data), iter((data,)))

    def copy(self, path: str, file: Path) -> None:
        """Add a file as it is.

        Raises:
            Spoiled: if it is no ordinary file, or another writes to it meanwhile.
            OSError: if it cannot be read.
        """
        self._add(path, file.lstat().st_size, disk.chunks(file))

    def _add(self, path: str, size: int, chunks: Iterator[bytes]) -> None:
        _check(path)
        if size > LARGEST_MEMBER:
            raise Refused(f"{path} has {size} bytes, more than a tar archive holds")
        try:
            block = header(path, size)
        except ValueError as exc:
            raise Refused(f"{path} cannot be the name of a tar archive's file: {exc}") from exc
        # Read before the header is written: a file that is gone leaves nothing behind.
        first = next(chunks, b"")
        digest, count = hashlib.sha256(), 0
        with disk.translated():
            self._file.write(block)
            chunk: bytes | None = first
            while chunk:
                digest.update(chunk)
                count += len(chunk)
                self._file.write(chunk)
                chunk = next(chunks, None)
            self._file.write(bytes(-count % BLOCK))
        if count != size:
            raise Spoiled(f"{path} was changed while it was copied")
        self.files[path] = Member(size=size, sha256=digest.hexdigest())

    def finish(self, manifest: Manifest, key: SigningKey | None) -> int:
        """Write manifest and signature, make all of it durable, give it its name, and return its size in bytes.

        Raises:
            Refused: if the name was taken meanwhile.
        """
        raw = canonical(manifest.model_dump(mode="json"))
        with disk.translated():
            self._end(MANIFEST, raw)
            if key is not None:
                signed = Signature(key=key.id, signature=key.sign(_SIGNED + raw).hex())
                self._end(SIGNATURE, canonical(signed.model_dump(mode="json")))
            self._file.write(bytes(2 * BLOCK))
            self._file.flush()
            os.fsync(self._file.fileno())
            size = self._file.tell()
            self._file.close()
            try:
                # link, not rename: it fails if the name is taken.
                os.link(self._temporary, self._out)
            except FileExistsError as exc:
                raise Refused(f"{self._out} is there already") from exc
            self._temporary.unlink()
            whole.sync(self._out.absolute().parent)
        return size

    def _end(self, path: str, data: bytes) -> None:
        self._file.write(header(path, len(data)) + data + bytes(-len(data) % BLOCK))

    def discard(self) -> None:
        """Remove what there is so far."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def read(
    file: Path, take: Callable[[str, Iterator[bytes]], None], progress: Callable[[int], None] = lambda _: None
) -> Compared:
    """Read a backup through, compare every digest, and return what it is.

    Args:
        file: the backup.
        take: gets each part's path and bytes, before anything is known about them; it may leave bytes unread.
        progress: told how many bytes are read.

    Raises:
        Spoiled: if it is not as it was written, or not a backup.
        Misconfigured: if it cannot be read.
    """
    found: dict[str, Member] = {}
    ends: dict[str, bytes] = {}
    with disk.translated(), file.open("rb") as stream:
        try:
            for path, chunks in members(Plain(stream)):
                if path in (MANIFEST, SIGNATURE):
                    _closing(path, chunks, ends)
                    continue
                if ends or path in found or len(found) >= _MOST_MEMBERS:
                    raise Spoiled(f"{file} has a part where none can be: {path[:200]!a}")
                _check(path)
                counted = _Counted(chunks)
                take(path, counted)
                for _ in counted:
                    pass
                found[path] = Member(size=counted.size, sha256=counted.digest.hexdigest())
                progress(stream.tell())
        except UnreadableError as exc:
            raise Spoiled(f"{file} is no backup, or not a whole one: {exc}") from exc
    seen = _seen(file, ends)
    faults = sorted(
        path for path in found.keys() | seen.manifest.files.keys() if found.get(path) != seen.manifest.files.get(path)
    )
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""  # noqa: PLR2004  # as many as are named
        raise Spoiled(f"{file} is not as it was written: {', '.join(faults[:3])}{more}")
    return seen


def _closing(path: str, chunks: Iterator[bytes], ends: dict[str, bytes]) -> None:
    limit = _LARGEST_MANIFEST if path == MANIFEST else _LARGEST_SIGNATURE
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise UnreadableError(f"{path} is too large")
    if path in ends or (path == SIGNATURE and MANIFEST not in ends):
        raise UnreadableError(f"{path} is not where it belongs")
    ends[path] = data


def _seen(file: Path, ends: dict[str, bytes]) -> Compared:
    try:
        raw = ends[MANIFEST]
        signature = Signature.model_validate_json(ends[SIGNATURE]) if SIGNATURE in ends else None
        manifest = Manifest.model_validate_json(raw)
        datetime.fromisoformat(manifest.made_at)
    except KeyError as exc:
        raise Spoiled(f"{file} is no backup, or not a whole one: its manifest is missing") from exc
    except (ValidationError, ValueError) as exc:
        raise Spoiled(f"{file} has a manifest that this release cannot read") from exc
    return Compared(manifest, raw, signature)


class _Counted:
    """Bytes that are counted and digested on their way."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.size = 0
        self.digest = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.size += len(chunk)
        self.digest.update(chunk)
        return chunk


def fits(path: str) -> bool:
    """Return whether a path may stand in a backup."""
    first, *rest = path.split("/")
    return first in _PLACES and 0 < len(rest) <= _DEPTH and all(_SEGMENT.fullmatch(part) for part in rest)


def _check(path: str) -> None:
    if not fits(path):
        raise Spoiled(f"{path[:200]!a} is no path of a backup")
