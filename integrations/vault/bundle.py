"""A bundle: an incident's evidence and journal in one folder or archive, which anybody can verify offline.

    manifest.dsse.json      the signed manifest; vouches for everything else
    README.txt              how to verify, in plain words
    exhibits/<id>/<name>    the evidence, raw
    journal.jsonl           one entry a line, by stream and seq
    heads.jsonl             one signed head a line, by n
    keys/<id>.pub           the public keys, for convenience: verification trusts only the key that it is given

A bundle is as hostile as its sender. An archive is read as a stream and never unpacked, and holds exactly what `export`
writes, down to the bytes of its headers: no link, device or foreign path gets past that.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pydantic import Field
from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # re-exports without __all__

from integrations.signing import PublicKey
from integrations.vault import Damaged, Vault, archive, disk, envelope
from playbooks.errors import Misconfigured, Refused
from playbooks.evidence import HEADS, Hex256, Manifest, Stream, Tip, deleted, journalled
from playbooks.journal import GENESIS, UNSIGNED, Entry, Head, head_content, link, verify_chain
from playbooks.strict import Digest, Prose, Slug, Strict, canonical, sha256

MANIFEST = "manifest.dsse.json"
README = "README.txt"
JOURNAL = "journal.jsonl"
HEADS_FILE = "heads.jsonl"

README_TEXT = f"""\
EVIDENCE OF ONE INCIDENT

What is here

  {MANIFEST}      what the evidence consists of, signed (DSSE envelope, in-toto statement)
  exhibits/               the evidence, byte for byte as it was collected
  {JOURNAL}           everything that was done about the incident until this was made, each entry chained to
                          the one before
  {HEADS_FILE}             signatures over the ends of that chain
  keys/                   the public keys

Get the signer's public key some other way than with this bundle: whoever can replace the evidence can replace the keys
in it. Its id, which must be the one that you were told, is the output of

  openssl pkey -pubin -in KEY.pub -outform DER | sha256sum

Verify with mcp-soar. It needs no network, no account and no installation but the program:

  mcp-soar verify BUNDLE --key KEY.pub

Verify by hand, in this folder, with openssl 3, sha256sum, jq and xxd

1. The manifest is signed by that key. This prints "Signature Verified Successfully":

  jq -j .payload {MANIFEST} | base64 -d > /tmp/statement
  jq -j '.signatures[0].sig' {MANIFEST} | base64 -d > /tmp/signature
  printf 'DSSEv1 {len(envelope.PAYLOAD_TYPE)} {envelope.PAYLOAD_TYPE} %s ' "$(wc -c < /tmp/statement)" > /tmp/signed
  cat /tmp/statement >> /tmp/signed
  openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in /tmp/signed -sigfile /tmp/signature

2. Every file that it names is here and unchanged. This prints OK for each:

  jq -r '.subject[] | .digest.sha256 + "  " + .name' /tmp/statement | sha256sum -c

3. The journal is whole. This prints the hash of the last entry of the incident's stream, and nothing else:

  previous=$(printf '%064d' 0)
  incident=$(jq -r .predicate.incident /tmp/statement)
  jq -r "select(.stream == \\"incident/$incident\\") | .hash + \\" \\" + .data" {JOURNAL} | {{
    while read -r hash data; do
      next=$({{ printf %s "$previous" | xxd -r -p; printf %s "$data" | base64 -d; }} | sha256sum | cut -c 1-64)
      [ "$next" = "$hash" ] || echo "BROKEN at the entry with the hash $hash"
      previous=$hash
    done; echo "$previous"; }}

4. It ends where the manifest says, or later. This prints the last entry that the manifest vouches for:

  jq -r '.predicate.journal[] | .stream + " " + (.seq | tostring) + " " + .hash' /tmp/statement

To read an entry:  jq -r .data {JOURNAL} | head -n 1 | base64 -d
""".encode()

_NAME = re.compile(
    r"(?:manifest\.dsse\.json|README\.txt|journal\.jsonl|heads\.jsonl|keys/[0-9a-f]{64}\.pub"
    r"|exhibits/x-[0-9]{4,9}-[a-z0-9][a-z0-9_.-]{0,79}/[a-z0-9][a-z0-9_.-]{0,99})",
)
_FOLDER = re.compile(r"keys|exhibits(?:/x-[0-9]{4,9}-[a-z0-9][a-z0-9_.-]{0,79})?")
_SHOWN = 5
_LARGEST = {README: 64 << 10, MANIFEST: envelope.MOST_BYTES}
"""Bytes that these files have at most; the journal and the heads are bounded by the memory alone."""
_LARGEST_KEY = 16 << 10  # bytes
_LARGEST_LINE = 16 << 20
"""Bytes of a line of journal or heads; while it is read, a dozen times that is needed for a moment."""
_LINE_COSTS = 1 << 10
"""Bytes that what is read in a line takes beside the line's own: its objects and its place in two dictionaries."""


class Limits(Strict):
    """What a bundle may ask of the machine that verifies it.

    Args:
        files: how many it may hold.
        total: bytes in all of them together, unpacked.
        memory: bytes for all that is kept of it together: manifest, journal, heads and keys, and what is read in them.
    """

    files: int = 20_000
    total: int = 16 << 30
    memory: int = 512 << 20


class Check(Strict):
    """One thing that was verified.

    Args:
        name: which.
        ok: whether it holds.
        sentence: what was found, for people; may quote the bundle.
    """

    name: Slug
    ok: bool
    sentence: Prose


class Report(Strict):
    """What verifying a bundle found.

    Args:
        checks: each thing that was looked at.
        manifest: what the bundle says; only if its signature holds.
    """

    checks: tuple[Check, ...] = Field(min_length=1)
    manifest: Manifest | None = None

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return all(check.ok for check in self.checks)


class _EntryLine(Strict):
    stream: Stream
    seq: int
    data: str
    hash: Hex256


class _HeadLine(Strict):
    n: int
    data: str
    hash: Hex256
    signature: str


class _HeadContent(Strict):
    at: str
    key: Digest
    n: int
    # Heads of the first release do not say what their commit added first.
    tips: tuple[tuple[Stream, int, Hex256, int] | tuple[Stream, int, Hex256], ...]


# What goes in


def tips(entries: Sequence[Entry], heads: Sequence[Head]) -> tuple[Tip, ...]:
    """Return what a manifest has to say about the journal: each stream's last entry, the first head and the last.

    Args:
        entries: that will be exported; each stream from its beginning, in order.
        heads: that will be exported, in order without a gap.
    """
    last = {entry.stream: entry for entry in entries}
    ends = {head.n: head for head in (*heads[:1], *heads[-1:])}
    return (
        *(Tip(stream=stream, seq=entry.seq, hash=entry.hash.hex()) for stream, entry in sorted(last.items())),
        *(Tip(stream=HEADS, seq=n, hash=head.hash.hex()) for n, head in sorted(ends.items())),
    )


def sign(manifest: Manifest, signer: Signer) -> bytes:
    """Return the signed envelope of a bundle's manifest; it vouches for the README too.

    Args:
        manifest: with `journal` from `tips`, and `keys` for every key that signed a head.
        signer: as `SigningKey.dsse()` gives it.
    """
    return envelope.sign(manifest, signer, documents={README: README_TEXT})


async def export(
    incident: str,
    *,
    vault: Vault,
    journal_entries: Sequence[Entry],
    heads: Sequence[Head],
    public_keys: Collection[PublicKey],
    manifest: bytes,
    out: Path,
    reserve: int = 0,
) -> Path:
    """Write a bundle and return its path: an archive if `out` ends in .tar.gz, else a folder.

    The same input gives the same bytes (with the same zlib): no time, owner or order of this machine goes in.

    Args:
        incident: whose evidence.
        vault: where its exhibits are.
        journal_entries: the incident's stream from its beginning, and any other that belongs with it.
        heads: a gapless part of their chain that covers these entries.
        public_keys: those of the manifest.
        manifest: the envelope that `sign` returned.
        out: where to; must not be there yet.
        reserve: bytes that stay free on its file system.

    Raises:
        Refused: if the manifest is another incident's or names other keys, or `out` exists.
        Damaged: if an exhibit is not what was sealed.
        VaultFull: if there is no room beside the reserve.
        Misconfigured: if `out` cannot be written.
        Transient: if the device fails otherwise.
    """
    content = envelope.read(manifest).predicate
    keys = {key.id: key for key in public_keys}
    if content.incident != incident:
        raise Refused(f"the manifest is that of {content.incident}, not of {incident}")
    if keys.keys() != set(content.keys):
        raise Refused("the manifest names other keys than those to be exported")
    documents = {
        MANIFEST: manifest,
        README: README_TEXT,
        JOURNAL: b"".join(map(_entry_line, sorted(journal_entries, key=lambda entry: (entry.stream, entry.seq)))),
        HEADS_FILE: b"".join(_head_line(head, anchor=_is_anchor(i, head.n)) for i, head in enumerate(heads, 1)),
        **{_key_path(key.id): key.pem for key in keys.values()},
    }
    names = sorted(
        (exhibit.id, file.name, file.sha256, envelope.path_of(exhibit.id, file.name))
        for exhibit in content.exhibits
        for file in exhibit.files
    )
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(8)}")
    writer = await asyncio.to_thread(archive.begin, temporary, out)
    try:
        for path, data in documents.items():
            await asyncio.to_thread(_add, writer, path, data, out.parent, reserve)
        for exhibit, name, digest, path in names:
            data = await _evidence(vault, incident, exhibit, name, digest)
            await asyncio.to_thread(_add, writer, path, data, out.parent, reserve)
        await asyncio.to_thread(writer.finish, out)
    except BaseException:
        # Not to a thread: a cancelled task would be cancelled there again, and leave half a bundle.
        writer.discard()
        raise
    return out


def _add(writer: archive.Folder | archive.Archive, path: str, data: bytes, place: Path, reserve: int) -> None:
    # Before each file: others fill the same disk meanwhile.
    with disk.translated():
        disk.check_room(place, len(data), reserve)
    writer.add(path, data)


async def _evidence(vault: Vault, incident: str, exhibit: str, name: str, digest: str) -> bytes:
    data = await vault.read(incident, exhibit, name)
    if await asyncio.to_thread(sha256, data) != digest:
        raise Refused(f"{exhibit}/{name} in the vault is not what the manifest names")
    return data


def _entry_line(entry: Entry) -> bytes:
    data = base64.b64encode(entry.data).decode()
    line = _EntryLine(stream=entry.stream, seq=entry.seq, data=data, hash=entry.hash.hex())
    return canonical(line) + b"\n"


def _head_line(head: Head, *, anchor: bool) -> bytes:
    data = "" if anchor else base64.b64encode(head.data).decode()
    signature = "" if anchor else head.signature.hex()
    return canonical(_HeadLine(n=head.n, data=data, hash=head.hash.hex(), signature=signature)) + b"\n"


def _is_anchor(line: int, n: int) -> bool:
    """Return whether a head is there for its hash alone.

    Without its predecessor's hash, a head's own cannot be computed. The first of a part is what the second is chained
    to; what could not be verified of it is left out.

    Args:
        line: where it stands, from 1.
        n: its number.
    """
    return line == 1 and n > 1


def _key_path(key: str) -> str:
    return f"keys/{key.removeprefix('sha256:')}.pub"


# What comes back


def verify(
    bundle: Path, public_key: PublicKey, *, witnesses: Collection[Tip] = (), limits: Limits | None = None
) -> Report:
    """Verify a bundle with nothing but itself and a public key; blocks while it reads.

    Args:
        bundle: the folder, or the .tar.gz.
        public_key: of whoever signed the manifest; had from elsewhere than the bundle.
        witnesses: ends of the journal that were seen elsewhere, as in a notification: a tail cut off since is found.
            Of heads, only those that named this incident: the bundle does not reach beyond the last of them.
        limits: what the bundle may ask of this machine.

    Raises:
        Misconfigured: if there is no bundle at that path, or it cannot be opened.
        Transient: if the device fails.
    """
    try:
        with disk.translated():
            contents = _load(bundle, limits or Limits())
    except archive.UnreadableError as exc:
        return Report(checks=(Check(name="bundle", ok=False, sentence=f"The bundle cannot be read: {exc}."),))
    whole = Check(name="bundle", ok=True, sentence=f"The bundle holds {len(contents.files)} files and nothing else.")
    try:
        signed = envelope.verify(bytes(contents.documents.get(MANIFEST, b"")), public_key)
    except Refused as exc:
        sentence = f"The manifest cannot be trusted, and without it nothing here can: {exc}."
        return Report(checks=(whole, Check(name="signature", ok=False, sentence=sentence)))
    manifest = signed.predicate
    keys = _keys(contents, manifest)
    try:
        journal = _read_journal(contents.documents.get(JOURNAL), contents.budget)
        heads = _read_heads(contents.documents.get(HEADS_FILE), keys, journal, contents.budget)
    except archive.UnreadableError as exc:
        return Report(checks=(Check(name="bundle", ok=False, sentence=f"The bundle cannot be read: {exc}."),))
    checks = (
        whole,
        Check(name="signature", ok=True, sentence=f"The manifest is signed by the key {public_key.id}."),
        _check(
            "files",
            _file_faults(contents, signed),
            f"{len(manifest.exhibits)} exhibits and the README are there and have the bytes that the manifest names.",
        ),
        _check(
            "keys",
            _key_faults(contents, manifest, keys, public_key),
            f"{len(keys)} public keys are there, each the one that the manifest names.",
        ),
        _check(
            "journal",
            journal.faults,
            f"{len(journal.hashes)} entries of the journal are each chained to the one before.",
        ),
        _check("heads", heads.faults, f"{len(heads.hashes)} heads are chained, signed, and agree with the journal."),
        _check(
            "tips",
            _tip_faults(manifest, witnesses, journal, heads),
            "The journal reaches as far as the manifest and every witness say, and no further than is signed.",
        ),
        _check(
            "custody",
            _custody_faults(manifest, journal),
            f"Journal and manifest name the same {len(manifest.exhibits)} exhibits and {len(manifest.unavailable)} "
            "that could not be had.",
        ),
    )
    return Report(checks=checks, manifest=manifest)


def witnessed(bundle: Path, keys: Collection[PublicKey]) -> tuple[Tip, ...]:
    """Return where the journal ended when a bundle was made; nothing of it but its manifest is read.

    Args:
        bundle: the .tar.gz.
        keys: of those who may have signed it.

    Raises:
        Refused: if it is no bundle, or none of these keys signed its manifest.
        Misconfigured: if it cannot be opened.
        Transient: if the device fails.
    """
    contents = _Contents(Limits())
    try:
        with disk.translated(), _opened(bundle) as file:
            # It is the first file of each that we made: behind others, gigabytes would have to be read.
            name, chunks = next(archive.members(archive.Inflated(file)), ("", iter(())))
            if name != MANIFEST:
                raise Refused(f"{bundle.name!a} does not begin with a manifest")
            contents.add(name, chunks)
    except archive.UnreadableError as exc:
        raise Refused(f"{bundle.name!a} is no bundle of ours: {exc}") from exc
    for key in keys:
        with contextlib.suppress(Refused):
            return envelope.verify(bytes(contents.documents[MANIFEST]), key).predicate.journal
    raise Refused(f"{bundle.name!a} has a manifest that no responder signed")


def _check(name: str, faults: Sequence[str], good: str) -> Check:
    if not faults:
        return Check(name=name, ok=True, sentence=good)
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return Check(name=name, ok=False, sentence="; ".join(faults[:_SHOWN]) + more + ".")


class _Budget:
    """The memory that one bundle may have, whatever of it is kept.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def spend(self, size: int) -> None:
        """Take some bytes for good.

        Raises:
            UnreadableError: if there are not that many left.
        """
        self._left -= size
        if self._left < 0:
            raise archive.UnreadableError(f"what has to be kept of it takes more than {self._size} bytes of memory")


class _Contents:
    """A bundle's files.

    Args:
        limits: what it may hold.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total = 0
        self.budget = _Budget(limits.memory)
        self.files: dict[str, envelope.Hashes] = {}
        self.documents: dict[str, bytearray] = {}

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        if not _NAME.fullmatch(name):
            raise archive.UnreadableError(f"it holds {name[:200]!a}, which is not a name that a bundle has")
        if name in self.files:
            raise archive.UnreadableError(f"it holds {name} twice")
        if len(self.files) >= self._limits.files:
            raise archive.UnreadableError(f"it holds more than {self._limits.files} files")
        self.budget.spend(_LINE_COSTS)
        kept = None if name == README or name.startswith("exhibits/") else bytearray()
        most = _LARGEST_KEY if name.startswith("keys/") else _LARGEST.get(name)
        short, long, size = hashlib.sha256(), hashlib.sha512(), 0
        for chunk in chunks:
            size += len(chunk)
            self._total += len(chunk)
            if self._total > self._limits.total:
                raise archive.UnreadableError(f"it holds more than {self._limits.total} bytes, unpacked")
            if most is not None and size > most:
                raise archive.UnreadableError(f"{name} has more than {most} bytes")
            short.update(chunk)
            long.update(chunk)
            if kept is not None:
                self.budget.spend(len(chunk))
                kept += chunk
        self.files[name] = envelope.Hashes(sha256=short.hexdigest(), sha512=long.hexdigest())
        if kept is not None:
            self.documents[name] = kept


def _load(bundle: Path, limits: Limits) -> _Contents:
    contents = _Contents(limits)
    if bundle.is_dir():
        _load_folder(bundle, "", contents, limits)
        return contents
    with _opened(bundle) as file:
        for name, chunks in archive.members(archive.Inflated(file)):
            contents.add(name, chunks)
    return contents


@contextlib.contextmanager
def _opened(bundle: Path) -> Iterator[BinaryIO]:
    """Open an archive; a pipe under its name would hold us up for ever."""
    if not stat.S_ISREG(bundle.stat().st_mode):
        raise archive.UnreadableError("it is neither a folder nor a file")
    with bundle.open("rb") as file:
        if file.read(len(archive.GZIP)) != archive.GZIP:
            raise archive.UnreadableError("it is neither a folder nor an archive that mcp-soar wrote")
        file.seek(0)
        yield file


def _load_folder(root: Path, prefix: str, contents: _Contents, limits: Limits) -> None:
    with os.scandir(root / prefix) as listing:
        # One more than the limit is enough to find it exceeded, however many there are.
        found = sorted(islice((item.name for item in listing), limits.files + 1))
    for name in found:
        relative = f"{prefix}{name}"
        path = root / relative
        if not path.is_symlink() and path.is_dir():
            if not _FOLDER.fullmatch(relative):
                raise archive.UnreadableError(f"it holds the folder {relative[:200]!a}, which a bundle does not have")
            _load_folder(root, f"{relative}/", contents, limits)
            continue
        try:
            with closing(disk.chunks(path)) as chunks:
                contents.add(relative, chunks)
        except Damaged as exc:
            raise archive.UnreadableError(str(exc)) from exc


def _file_faults(contents: _Contents, signed: envelope.Statement) -> list[str]:
    faults = []
    subjects = {subject.name: subject.digest for subject in signed.subject}
    for name, digest in subjects.items():
        found = contents.files.get(name)
        if found is None:
            faults.append(f"{name[:200]!a} is missing")
        elif found.sha256 != digest.sha256 or digest.sha512 not in {None, found.sha512}:
            faults.append(f"{name} is not the file that the manifest names")
    if README not in subjects:
        faults.append(f"the manifest does not vouch for {README}")
    named = {MANIFEST, JOURNAL, HEADS_FILE, *subjects} | _key_files(contents)
    return faults + [f"{name} is not named by the manifest" for name in contents.files if name not in named]


def _key_files(contents: _Contents) -> set[str]:
    return {name for name in contents.documents if name.startswith("keys/")}


def _keys(contents: _Contents, manifest: Manifest) -> dict[str, PublicKey]:
    """Return the keys that the manifest vouches for and the bundle holds, by id."""
    keys = {}
    for wanted in manifest.keys:
        pem = bytes(contents.documents.get(_key_path(wanted), b""))
        try:
            key = PublicKey.from_pem(pem)
        except Misconfigured:
            continue
        if key.id == wanted and key.pem == pem:
            keys[key.id] = key
    return keys


def _key_faults(contents: _Contents, manifest: Manifest, keys: Mapping[str, PublicKey], given: PublicKey) -> list[str]:
    paths = {_key_path(wanted): wanted for wanted in manifest.keys}
    faults = [
        f"{path} is missing" if path not in contents.documents else f"{path} is not the key that its name says"
        for path, wanted in paths.items()
        if wanted not in keys
    ]
    faults += [f"{path} is not a key that the manifest names" for path in sorted(_key_files(contents) - paths.keys())]
    if given.id not in manifest.keys:
        faults.append("the key that signed the manifest is not among those that it names")
    return faults


class _Journal:
    """The journal of a bundle, as far as it can be read."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.streams: dict[str, list[Entry]] = {}
        self.hashes: dict[tuple[str, int], str] = {}


def _lines(data: bytearray | None, name: str, faults: list[str], budget: _Budget) -> Iterator[bytes]:
    """Yield the lines of a document, one at a time: a list of a hundred million empty ones is a gigabyte."""
    if data is None:
        faults.append(f"{name} is missing")
        return
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        if end - start > _LARGEST_LINE:
            raise archive.UnreadableError(f"a line of {name} has more than {_LARGEST_LINE} bytes")
        budget.spend(end - start + _LINE_COSTS)
        yield bytes(memoryview(data)[start:end])
        start = end + 1
    if start < len(data):
        faults.append(f"{name} does not end with its last line")


def _read_journal(data: bytearray | None, budget: _Budget) -> _Journal:
    journal = _Journal()
    last = ("", 0)
    for number, line in enumerate(_lines(data, JOURNAL, journal.faults, budget), 1):
        try:
            parsed = _EntryLine.model_validate_json(line)
            content = base64.b64decode(parsed.data, validate=True)
            entry = Entry(parsed.stream, parsed.seq, content, bytes.fromhex(parsed.hash))
            exact = _entry_line(entry) == line + b"\n"
        except ValueError:
            journal.faults.append(f"line {number} of {JOURNAL} is not one that was exported")
            return journal
        if not exact:
            journal.faults.append(f"line {number} of {JOURNAL} is not spelled as it was exported")
            return journal
        if (entry.stream, entry.seq) <= last:
            journal.faults.append(f"line {number} of {JOURNAL} stands in the wrong place")
        last = (entry.stream, entry.seq)
        journal.streams.setdefault(entry.stream, []).append(entry)
        journal.hashes[last] = parsed.hash
    for stream, entries in journal.streams.items():
        journal.faults += [f"{stream}, entry {fault.seq}: {fault.message}" for fault in verify_chain(stream, entries)]
    return journal


class _Heads:
    """The heads of a bundle, as far as they hold."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.hashes: dict[int, str] = {}
        self.witnessed: dict[str, int] = {}


def _read_heads(data: bytearray | None, keys: Mapping[str, PublicKey], journal: _Journal, budget: _Budget) -> _Heads:
    heads = _Heads()
    n, previous = 0, GENESIS
    for number, line in enumerate(_lines(data, HEADS_FILE, heads.faults, budget), 1):
        try:
            parsed = _HeadLine.model_validate_json(line)
            content = base64.b64decode(parsed.data, validate=True)
            head = Head(parsed.n, content, bytes.fromhex(parsed.hash), bytes.fromhex(parsed.signature))
            anchor = _is_anchor(number, head.n)
            exact = _head_line(head, anchor=anchor) == line + b"\n"
            named = None if anchor else _HeadContent.model_validate_json(content)
        except ValueError:
            heads.faults.append(f"line {number} of {HEADS_FILE} is not one that was exported")
            return heads
        if not exact:
            heads.faults.append(f"line {number} of {HEADS_FILE} is not spelled as it was exported")
            return heads
        if named is not None:
            faults = _head_faults(head, named, (n, previous), keys, journal)
            if faults:
                heads.faults += faults
                return heads
            for added in head_content(content).tips:
                last = heads.witnessed.get(added.stream)
                # Of the first head that names a stream, the one before it may not be here.
                if last is not None and not added.follows(last):
                    heads.faults.append(f"{added.stream}, entry {last + 1}: {UNSIGNED}")
                heads.witnessed[added.stream] = max(added.seq, last or 0)
        n, previous = head.n, head.hash
        heads.hashes[n] = parsed.hash
    return heads


def _head_faults(
    head: Head, named: _HeadContent, before: tuple[int, bytes], keys: Mapping[str, PublicKey], journal: _Journal
) -> list[str]:
    n, previous = before
    if head.n != n + 1 or named.n != head.n:
        return [f"head {n + 1} is missing; the next one there is {head.n}"]
    if link(previous, head.data) != head.hash:
        return [f"head {head.n} does not have the hash that the chain gives it"]
    key = keys.get(named.key)
    if key is None or not key.signed(head.hash, head.signature):
        return [f"head {head.n} is not signed by a key that the manifest names"]
    return [
        f"{stream}, entry {seq}: it is not the one that head {head.n} witnessed, or it is gone"
        for stream, seq, value, *_ in named.tips
        # Of other incidents' streams, nothing is here to compare.
        if stream in journal.streams and journal.hashes.get((stream, seq)) != value
    ]


def _tip_faults(manifest: Manifest, witnesses: Collection[Tip], journal: _Journal, heads: _Heads) -> list[str]:
    faults = []
    for tip in (*manifest.journal, *witnesses):
        found = heads.hashes.get(tip.seq) if tip.stream == HEADS else journal.hashes.get((tip.stream, tip.seq))
        if found is None:
            faults.append(f"{tip.stream}, entry {tip.seq}: it was witnessed, and it is gone")
        elif found != tip.hash:
            faults.append(f"{tip.stream}, entry {tip.seq}: it is not the one that was witnessed")
    own = f"incident/{manifest.incident}"
    vouched = dict(heads.witnessed)
    for tip in manifest.journal:
        vouched[tip.stream] = max(tip.seq, vouched.get(tip.stream, 0))
    if own not in {tip.stream for tip in manifest.journal}:
        faults.append(f"the manifest does not say where {own} ends")
    for stream, entries in journal.streams.items():
        if entries[-1].seq > vouched.get(stream, 0):
            faults.append(f"{stream}: nothing signed vouches for the entries after {vouched.get(stream, 0)}")
    named = [tip.seq for tip in manifest.journal if tip.stream == HEADS]
    if heads.hashes and (not named or min(named) != min(heads.hashes)):
        faults.append("the heads do not begin where the manifest says")
    return faults


def _custody_faults(manifest: Manifest, journal: _Journal) -> list[str]:
    entries = journal.streams.get(f"incident/{manifest.incident}", [])
    try:
        parsed = [entry.parsed() for entry in entries]
        exhibits, missing = journalled(parsed)
        gone = deleted(parsed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        return [f"the journal cannot be read ({type(exc).__name__})"]
    said = {exhibit.id: exhibit for exhibit in exhibits}
    held = {exhibit.id: exhibit for exhibit in manifest.exhibits}
    # What the journal says was deleted may be missing; a bundle from before has it still.
    missed = sorted(said.keys() - held.keys() - gone)
    faults = [f"{name} is in the journal and not in the manifest" for name in missed]
    faults += [f"{name} is in the manifest and not in the journal" for name in sorted(held.keys() - said.keys())]
    both = sorted(said.keys() & held.keys())
    faults += [f"{name} is something else in the journal" for name in both if not held[name].continues(said[name])]
    if {(item.kind, item.reason) for item in missing} != {(item.kind, item.reason) for item in manifest.unavailable}:
        faults.append("journal and manifest differ about what could not be had")
    return faults
