"""Whether journal, evidence and bundles are as they were written."""

import asyncio
import re
import sys
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypedDict

from flows.service.access import open_vault, responder_keys
from flows.service.settings import Configuration
from integrations.journal.client import Tampered
from integrations.journal.store import Journal
from integrations.signing import PublicKey
from integrations.vault import Damaged, Vault, disk
from playbooks.errors import SoarError
from playbooks.record.evidence import HEADS, SIGNED, Exhibit, journalled
from playbooks.record.journal import INCIDENT, SYSTEM, Entry, Head, Parsed
from playbooks.record.projection import fold
from playbooks.record.state import Incident
from playbooks.strict import iso

_SHOWN = 20
_HEAD = re.compile(r"([0-9]{1,15}):((?:[0-9a-f]{2}){8,32})")


def _bundles() -> ModuleType:
    """Return what reads bundles: it takes long to import, and only where there are bundles."""
    # What signs looks for every vendor's client; a bundle is verified with a public key and nothing else.
    hidden = "boto3" not in sys.modules
    sys.modules.setdefault("boto3", None)  # type: ignore[arg-type]  # None says that it is not to be had
    try:
        from integrations.vault import bundle  # noqa: PLC0415  # see above
    finally:
        if hidden:
            # A vault in a bucket needs it.
            del sys.modules["boto3"]
    return bundle


class CheckRow(TypedDict):
    """One thing that was verified."""

    check: str
    ok: bool
    message: str


def offline(path: Path, key: Path) -> tuple[str, list[CheckRow]]:
    """Verify a bundle with a public key and nothing else; return what it is, and what was found.

    Args:
        path: of the bundle.
        key: the public key's file.
    """
    report = _bundles().verify(path, PublicKey.load(key))
    about = f"bundle of {report.manifest.incident}" if report.manifest else str(path)
    return about, [{"check": one.name, "ok": one.ok, "message": one.sentence} for one in report.checks]


async def chain(
    journal: Journal,
    config: Configuration,
    incident: str | None,
    progress: Callable[[str, int, int], None],
    *,
    heads: Collection[Head] = (),
) -> list[CheckRow]:
    """Verify the journal: what one incident rests on, or all of it and the kill switch."""
    wanted = {INCIDENT + incident, "heads", "system"} if incident else None
    kept = await asyncio.to_thread(_kept, config, heads)
    entries = sum(row.seq for row in await journal.streams(limit=1_000_000))
    faults = await journal.verify(
        public_keys=list(responder_keys(config).values()),
        witnesses=kept.heads,
        progress=lambda done, signed: progress(f"{done} entries, {signed} heads", done, entries),
    )
    named = [fault for fault in faults if wanted is None or fault.stream in wanted]
    checks = [
        _check("journal", [f"{f.stream}, entry {f.seq}: {f.message}" for f in named], await _extent(journal, kept))
    ]
    return checks if incident else [*checks, await _kill_switch(journal), await _suppressions(journal)]


async def evidence(
    journal: Journal, config: Configuration, incident: str | None, progress: Callable[[str, int, int], None]
) -> list[CheckRow]:
    """Verify exhibits and bundles: of one incident, or of all."""
    checks: list[CheckRow] = []
    vault = open_vault(config)
    rows = await journal.streams(INCIDENT, limit=1_000_000)
    names = [incident] if incident else sorted(row.name.removeprefix(INCIDENT) for row in rows)
    try:
        if config.settings.vault.s3 is not None:
            checks.append(await _vault(vault, config.settings.vault.s3.place))
        for number, name in enumerate(names, 1):
            progress(f"evidence of {name}", number, len(names))
            checks += await _evidence(journal, vault, config, name)
    finally:
        await asyncio.to_thread(vault.close)
    return checks


async def _vault(vault: Vault, place: str) -> CheckRow:
    """Ask a bucket whether it still keeps what is put there."""
    try:
        faults = list(await vault.faults())
    except SoarError as exc:
        faults = [str(exc)]
    return _check("vault", faults, f"{place} has versioning and Object Lock")


async def _kill_switch(journal: Journal) -> CheckRow:
    """Compare the switches that are on with what people signed for: a deleted row is nobody's decision."""
    signed: dict[str, int] = {}
    try:
        for entry in (item.parsed() for item in await journal.read(SYSTEM)):
            if entry.kind == "stopped":
                signed[entry.body["scope"]] = entry.body["number"]
            elif entry.kind == "resumed":
                signed.pop(entry.body["scope"], None)
        on = {stop.scope: stop.seq for stop in await journal.stops()}
    except Tampered as exc:
        return _check("kill-switch", [str(exc)], "")
    faults = [
        f"{scope} is {'not stopped' if scope not in on else 'stopped'}, and the signed record says otherwise"
        for scope in sorted(signed.keys() | on.keys())
        if signed.get(scope) != on.get(scope)
    ]
    return _check("kill-switch", faults, f"{len(on)} stops are in force, as people signed for them")


async def _suppressions(journal: Journal) -> CheckRow:
    """Compare what is suppressed, or was and nobody ended it, with what people signed for."""
    signed: dict[str, tuple[int, str]] = {}
    try:
        for entry in (item.parsed() for item in await journal.read(SYSTEM)):
            if entry.kind == "suppressed":
                signed[entry.body["scope"]] = entry.body["number"], entry.body["until"]
            elif entry.kind == "unsuppressed":
                signed.pop(entry.body["scope"], None)
    except Tampered as exc:
        return _check("suppressions", [str(exc)], "")
    on = {one.scope: (one.seq, iso(datetime.fromtimestamp(one.until, UTC))) for one in await journal.suppressions()}
    faults = [
        f"{scope} is {'not suppressed' if scope not in on else 'suppressed otherwise'} than the signed record says"
        for scope in sorted(signed.keys() | on.keys())
        if signed.get(scope) != on.get(scope)
    ]
    return _check("suppressions", faults, f"{len(on)} suppressions are as people signed for them")


class Kept(NamedTuple):
    """What says, outside the journal, where it ended.

    Args:
        heads: that were kept, by their numbers and the beginnings of their hashes.
        bundles: how many bundles say so.
        others: files among the bundles that are none of ours.
    """

    heads: tuple[Head, ...]
    bundles: int
    others: tuple[str, ...]

    def __str__(self) -> str:
        """Say how much there is to compare with, for people."""
        said = f"{len(self.heads)} heads that were kept in {self.bundles} bundles and elsewhere are among them"
        if not self.heads:
            said = "nothing was kept elsewhere to compare with: give what a notification prints, as --head N:HASH"
        some = ", ".join(self.others[:_SHOWN]) + (", …" if len(self.others) > _SHOWN else "")
        return said + (f"; {len(self.others)} files among the bundles are none of ours: {some}" if some else "")


def head_of(text: str) -> Head:
    """Return a head as notifications print it.

    Args:
        text: N:HASH, of the hash the first 16 hex digits or more.

    Raises:
        ValueError: if it is not spelled like that.
    """
    found = _HEAD.fullmatch(text.strip())
    if found is None:
        message = f"{text!a} is not N:HASH, as in 12:0123456789abcdef"
        raise ValueError(message)
    return Head(int(found[1]), b"", bytes.fromhex(found[2]), b"")


def _kept(config: Configuration, given: Collection[Head]) -> Kept:
    """Return every head that is kept outside the journal: without one a lost tail is not found.

    Every bundle is asked, for anybody who can write the folder can put newer files beside it.
    """
    keys = tuple(responder_keys(config).values())
    heads, others, bundles = dict.fromkeys(given), [], 0
    folder = config.path(config.settings.vault.bundles)
    for path in sorted((*folder.glob("*.tar.gz"), *folder.glob(f"[!.]*{SIGNED}"))):
        try:
            tips = _bundles().signed(path, keys).journal
        except SoarError:
            # What a broken bundle says is worth nothing; that it is broken is found where its incident is verified.
            others.append(ascii(path.name))
            continue
        bundles += 1
        heads |= dict.fromkeys(Head(tip.seq, b"", bytes.fromhex(tip.hash), b"") for tip in tips if tip.stream == HEADS)
    return Kept(tuple(heads), bundles, tuple(others))


async def _extent(journal: Journal, kept: Kept) -> str:
    head = await journal.head_latest()
    rows = await journal.streams(limit=1_000_000)
    entries = sum(row.seq for row in rows)
    number = head.n if head else 0
    return f"{entries} entries in {len(rows)} streams are chained, {number} heads signed; the last is {number}; {kept}"


async def _evidence(journal: Journal, vault: Vault, config: Configuration, name: str) -> list[CheckRow]:
    try:
        entries = await journal.read(INCIDENT + name)
        parsed = [entry.parsed() for entry in entries]
        exhibits, _ = journalled(parsed)
        deletions = _deletions(name, parsed)
    except (Tampered, ValueError) as exc:
        return [_check(f"exhibits-{name}", [str(exc)], "")]
    kept = tuple(exhibit for exhibit in exhibits if exhibit.id not in deletions.deleted_exhibits)
    there = await _exhibits(vault, name, kept, deletions)
    # Where the journal names none, what lies there all the same was put there by somebody else.
    checks = [there] if kept or not there["ok"] else []
    if deletions.deletions:
        checks.append(await _deleted(vault, config, deletions))
    sealed = [entry.body for entry in parsed if entry.kind == "sealed"]
    if sealed and sealed[-1]["bundle"] not in deletions.deleted_bundles:
        file, digest = sealed[-1]["bundle"], sealed[-1]["digest"]
        path = config.path(config.settings.vault.bundles) / file
        if file.endswith(SIGNED):
            faults = await asyncio.to_thread(_manifest, config, name, path, digest, entries)
            checks.append(_check(f"sealed-{name}", faults, f"{file} is the manifest that the journal names, and holds"))
        else:
            checks.append(await _bundle(config, name, path, digest))
    return checks


def _deletions(name: str, entries: Sequence[Parsed]) -> Incident:
    """Return what a stream says of deletions; nothing else of it is read here."""
    state = Incident(name)
    for entry in entries:
        if entry.kind in {"deletion_intended", "deletion_locked", "deleted"}:
            fold(state, entry)
    return state


async def _deleted(vault: Vault, config: Configuration, state: Incident) -> CheckRow:
    """Say what was deleted, when, by whom and why; what is said to be gone and is there is a fault."""
    faults: list[str] = []
    said: list[str] = []
    for one in state.deletions.values():
        if one.done_at is not None:
            for exhibit in one.exhibits:
                try:
                    there = await vault.find(state.id, exhibit) is not None
                except SoarError:
                    there = True
                faults += [f"{exhibit} is there, and the journal says that it was deleted"] if there else []
            folder = config.path(config.settings.vault.bundles)
            left = [bundle for bundle in one.bundles if await asyncio.to_thread((folder / bundle).exists)]
            faults += [f"{bundle} is there, and the journal says that it was deleted" for bundle in left]
        what = ", ".join((*one.exhibits, *one.bundles)) or "nothing but raw messages"
        when = f"deleted {iso(one.done_at)}" if one.done_at else f"to be deleted since {iso(one.intended_at)}"
        if one.done_at is None and one.locked_until is not None:
            when += f", and locked until {iso(one.locked_until)}"
        signed = f" (signed by {' and '.join(one.people)})" if one.people else ""
        said.append(f"{what}: {when} by {one.by}{signed}; {one.why}")
    return _check(f"deleted-{state.id}", faults, "; ".join(said))


async def _exhibits(vault: Vault, name: str, exhibits: tuple[Exhibit, ...], deletions: Incident) -> CheckRow:
    try:
        flaws = [
            f"{flaw.exhibit} {flaw.file}: {flaw.message}"
            for flaw in await vault.verify(name, exhibits)
            # What is being deleted may be half there.
            if flaw.exhibit.strip("'") not in deletions.deleted_exhibits
        ]
    except SoarError as exc:
        flaws = [str(exc)]
    return _check(
        f"exhibits-{name}", flaws, f"{len(exhibits)} exhibits of {name} have the bytes that they were sealed with"
    )


def _manifest(config: Configuration, name: str, path: Path, digest: str, entries: Sequence[Entry]) -> list[str]:
    """Return where a signed manifest is not what was sealed, or says something else than the journal up to its end."""
    try:
        found = disk.hashes(path)
        manifest = _bundles().signed(path, tuple(responder_keys(config).values()))
    except OSError as exc:
        return [f"{path}: {exc.strerror}"]
    except SoarError as exc:
        return [str(exc)]
    stream = INCIDENT + name
    ends = {tip.stream: tip for tip in manifest.journal}
    if manifest.incident != name or stream not in ends:
        return [f"{path} is the manifest of {manifest.incident}"]
    faults = [] if f"sha256:{found.sha256}" == digest else [f"{path} is not the file that the journal names"]
    end = ends[stream]
    if not any((entry.seq, entry.hash.hex()) == (end.seq, end.hash) for entry in entries):
        faults.append(f"{stream}, entry {end.seq}: it is not the one that was witnessed, or it is gone")
    known = [entry.parsed() for entry in entries if entry.seq <= end.seq]
    return faults + list(_bundles().custody_faults(manifest, known))


async def _bundle(config: Configuration, name: str, path: Path, digest: str) -> CheckRow:
    faults: list[str] = []
    try:
        found = await asyncio.to_thread(disk.hashes, path)
    except (OSError, Damaged) as exc:
        return _check(f"bundle-{name}", [f"{path}: {getattr(exc, 'strerror', None) or exc}"], "")

    if f"sha256:{found.sha256}" != digest:
        faults.append(f"{path} is not the file that the journal names")
    # The responder that sealed it may be any of those that there are.
    reports = []
    for key in responder_keys(config).values():
        reports.append(await asyncio.to_thread(_bundles().verify, path, key))
        if reports[-1].ok:
            break
    else:
        best = max(reports, key=lambda report: sum(check.ok for check in report.checks))
        faults += [check.sentence for check in best.checks if not check.ok]
    return _check(f"bundle-{name}", faults, f"{path.name} is the one that the journal names, and verifies")


def _check(name: str, faults: list[str], good: str) -> CheckRow:
    more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
    return {"check": name, "ok": not faults, "message": "; ".join(faults[:_SHOWN]) + more if faults else good}
