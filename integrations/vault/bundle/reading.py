"""What comes back of a bundle: everything that it says, held against its signature and against itself."""

import contextlib
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pydantic import Field

from integrations.signing import PublicKey
from integrations.vault import Damaged, archive, disk, envelope
from integrations.vault.bundle.chains import Entries, Heads, read_heads, read_journal
from integrations.vault.bundle.contents import Contents, Limits, load, opened
from integrations.vault.bundle.layout import HEADS_FILE, JOURNAL, MANIFEST, README, key_path
from playbooks.errors import Misconfigured, Refused
from playbooks.record.evidence import HEADS, SIGNED, Manifest, Tip, deleted, journalled
from playbooks.record.journal import Parsed
from playbooks.strict import Prose, Slug, Strict

_SHOWN = 5


class BundleCheck(Strict):
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

    checks: tuple[BundleCheck, ...] = Field(min_length=1)
    manifest: Manifest | None = None

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return all(check.ok for check in self.checks)


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
            contents = load(bundle, limits or Limits(), lambda manifest: envelope.verify(manifest, public_key))
    except Refused as exc:
        return Report(checks=(_untrusted(exc),))
    except archive.UnreadableError as exc:
        return Report(checks=(BundleCheck(name="bundle", ok=False, sentence=f"The bundle cannot be read: {exc}."),))
    whole = BundleCheck(
        name="bundle", ok=True, sentence=f"The bundle holds {len(contents.files)} files and nothing else."
    )
    try:
        signed = envelope.verify(bytes(contents.documents.get(MANIFEST, b"")), public_key)
    except Refused as exc:
        return Report(checks=(whole, _untrusted(exc)))
    manifest = signed.predicate
    keys = _keys(contents, manifest)
    try:
        journal = read_journal(contents.documents.get(JOURNAL), contents.budget)
        heads = read_heads(contents.documents.get(HEADS_FILE), keys, journal, contents.budget)
    except archive.UnreadableError as exc:
        return Report(checks=(BundleCheck(name="bundle", ok=False, sentence=f"The bundle cannot be read: {exc}."),))
    checks = (
        whole,
        BundleCheck(name="signature", ok=True, sentence=f"The manifest is signed by the key {public_key.id}."),
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


def _untrusted(why: Refused) -> BundleCheck:
    sentence = f"The manifest cannot be trusted, and without it nothing here can: {why}."
    return BundleCheck(name="signature", ok=False, sentence=sentence)


def signed(path: Path, keys: Collection[PublicKey]) -> Manifest:
    """Return the manifest of a bundle, or the one that is kept without its evidence; nothing else is read.

    Args:
        path: of the .tar.gz, or of the manifest.
        keys: of those who may have signed it.

    Raises:
        Refused: if it is neither, or none of these keys signed it.
        Misconfigured: if it cannot be opened.
        Transient: if the device fails.
    """
    contents = Contents(Limits())
    try:
        with disk.translated():
            if path.name.endswith(SIGNED):
                with closing(disk.chunks(path)) as chunks:
                    contents.add(MANIFEST, chunks)
            else:
                with opened(path) as file:
                    # It is the first file of each that we made: behind others, gigabytes would have to be read.
                    name, chunks_ = next(archive.members(archive.Inflated(file)), ("", iter(())))
                    if name != MANIFEST:
                        raise Refused(f"{path.name!a} does not begin with a manifest")
                    contents.add(name, chunks_)
    except (archive.UnreadableError, Damaged) as exc:
        raise Refused(f"{path.name!a} is none of ours: {exc}") from exc
    for key in keys:
        with contextlib.suppress(Refused):
            return envelope.verify(bytes(contents.documents[MANIFEST]), key).predicate
    raise Refused(f"{path.name!a} has a manifest that no responder signed")


def _check(name: str, faults: Sequence[str], good: str) -> BundleCheck:
    if not faults:
        return BundleCheck(name=name, ok=True, sentence=good)
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return BundleCheck(name=name, ok=False, sentence="; ".join(faults[:_SHOWN]) + more + ".")


def _file_faults(contents: Contents, signed: envelope.Statement) -> list[str]:
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


def _key_files(contents: Contents) -> set[str]:
    return {name for name in contents.documents if name.startswith("keys/")}


def _keys(contents: Contents, manifest: Manifest) -> dict[str, PublicKey]:
    """Return the keys that the manifest vouches for and the bundle holds, by id."""
    keys = {}
    for wanted in manifest.keys:
        pem = bytes(contents.documents.get(key_path(wanted), b""))
        try:
            key = PublicKey.from_pem(pem)
        except Misconfigured:
            continue
        if key.id == wanted and key.pem == pem:
            keys[key.id] = key
    return keys


def _key_faults(contents: Contents, manifest: Manifest, keys: Mapping[str, PublicKey], given: PublicKey) -> list[str]:
    paths = {key_path(wanted): wanted for wanted in manifest.keys}
    faults = [
        f"{path} is missing" if path not in contents.documents else f"{path} is not the key that its name says"
        for path, wanted in paths.items()
        if wanted not in keys
    ]
    faults += [f"{path} is not a key that the manifest names" for path in sorted(_key_files(contents) - paths.keys())]
    if given.id not in manifest.keys:
        faults.append("the key that signed the manifest is not among those that it names")
    return faults


def _tip_faults(manifest: Manifest, witnesses: Collection[Tip], journal: Entries, heads: Heads) -> list[str]:
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


def _custody_faults(manifest: Manifest, journal: Entries) -> list[str]:
    entries = journal.streams.get(f"incident/{manifest.incident}", [])
    try:
        parsed = [entry.parsed() for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        return [f"the journal cannot be read ({type(exc).__name__})"]
    return custody_faults(manifest, parsed)


def custody_faults(manifest: Manifest, entries: Sequence[Parsed]) -> list[str]:
    """Return where a manifest says something else about evidence than the journal does.

    Args:
        manifest: of an incident.
        entries: of its stream, as many as the manifest is about.
    """
    try:
        exhibits, missing = journalled(entries)
        gone = deleted(entries)
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
