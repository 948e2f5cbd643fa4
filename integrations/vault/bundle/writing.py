"""What goes into a bundle: evidence that flows from the vault, and the journal beside it, under a signed manifest."""

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from securesystemslib.signer import Signer  # type: ignore[attr-defined]  # re-exports without __all__

from integrations.signing import PublicKey
from integrations.vault import Vault, archive, disk, envelope
from integrations.vault.bundle.layout import (
    HEADS_FILE,
    JOURNAL,
    MANIFEST,
    README,
    README_TEXT,
    entry_line,
    head_line,
    is_anchor,
    key_path,
)
from playbooks.errors import Refused
from playbooks.record.evidence import HEADS, ExhibitFile, Manifest, Tip
from playbooks.record.journal import Entry, Head


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
        JOURNAL: b"".join(map(entry_line, sorted(journal_entries, key=lambda entry: (entry.stream, entry.seq)))),
        HEADS_FILE: b"".join(head_line(head, anchor=is_anchor(i, head.n)) for i, head in enumerate(heads, 1)),
        **{key_path(key.id): key.pem for key in keys.values()},
    }
    parts = [_Part(path, len(data), partial(iter, (data,))) for path, data in documents.items()]
    for exhibit in sorted(content.exhibits, key=lambda exhibit: exhibit.id):
        for file in sorted(exhibit.files, key=lambda file: file.name):
            flows = partial(_flowing, vault, incident, exhibit.id, file)
            parts.append(_Part(envelope.path_of(exhibit.id, file.name), file.size, flows))
    given_up = threading.Event()
    try:
        await asyncio.to_thread(_write, parts, out, reserve, given_up)
    finally:
        # Whoever is cancelled does not wait: the thread gives up at its next chunk, and leaves nothing.
        given_up.set()
    return out


class _Part(NamedTuple):
    """A file of a bundle.

    Args:
        path: in the bundle.
        size: in bytes.
        chunks: begins to read it.
    """

    path: str
    size: int
    chunks: Callable[[], Iterator[bytes]]


def _write(parts: Sequence[_Part], out: Path, reserve: int, given_up: threading.Event) -> None:
    writer = archive.begin(out.with_name(f".{out.name}.{secrets.token_hex(8)}"), out)
    try:
        for part in parts:
            writer.add(part.path, part.size, _watched(part, out.parent, reserve, given_up))
        writer.finish(out)
    except BaseException:
        writer.discard()
        raise


def _watched(part: _Part, place: Path, reserve: int, given_up: threading.Event) -> Iterator[bytes]:
    """Yield a file's bytes while somebody wants them and there is room: others fill the same disk meanwhile."""
    for chunk in part.chunks():
        if given_up.is_set():
            raise Refused("the bundle was given up")
        with disk.translated():
            disk.check_room(place, len(chunk), reserve)
        yield chunk


def _flowing(vault: Vault, incident: str, exhibit: str, file: ExhibitFile) -> Iterator[bytes]:
    """Yield evidence as it lies in the vault, held against what the manifest names."""
    digest = hashlib.sha256()
    for chunk in vault.read(incident, exhibit, file.name):
        digest.update(chunk)
        yield chunk
    if f"sha256:{digest.hexdigest()}" != file.sha256:
        raise Refused(f"{exhibit}/{file.name} in the vault is not what the manifest names")
