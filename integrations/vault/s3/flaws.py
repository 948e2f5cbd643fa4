"""What in a bucket is not as it was sealed: bytes, versions, delete markers, locks."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from integrations.vault import Damaged, disk, sealed
from integrations.vault.s3.client import MODE, Version, lock_words
from integrations.vault.s3.objects import Objects, first
from playbooks.errors import Refused
from playbooks.record.evidence import Exhibit, ExhibitFile, Flaw
from playbooks.strict import iso, now

Versions = Mapping[str, tuple[Version, ...]]
"""By name, the newest first, after the delete markers."""


def by_key(versions: Iterable[Version]) -> Versions:
    """Return versions by name."""
    found: dict[str, list[Version]] = {}
    for one in versions:
        found.setdefault(one.key, []).append(one)
    return {key: tuple(sorted(some, key=lambda version: not version.marker)) for key, some in found.items()}


def flaws(objects: Objects, incident: str, expected: Mapping[str, Exhibit] | None) -> Iterator[Flaw]:
    """Hash everything of an incident anew, look at every lock, and yield what is not as it was sealed.

    Args:
        objects: the bucket's.
        incident: whose exhibits.
        expected: those that the journal names, by id; None if nobody asked it.
    """
    named, start = expected or {}, objects.folder(incident)
    there = by_key(objects.bucket.versions(start))
    begun = objects.named(incident, there)
    records = {name: own for name in begun if (own := first(there.get(objects.key(incident, name), ()))) is not None}
    for name in sorted(named.keys() - records.keys()):
        yield Flaw(exhibit=name, message="the exhibit is gone")
    for key in sorted(there):
        if not any(key.startswith(objects.folder(incident, name)) for name in begun):
            yield Flaw(exhibit=ascii(key.removeprefix(start)), message="it was not sealed with any exhibit")
    for name, own in records.items():
        yield from _over(name, sealed.RECORD, there[own.key], own)
        try:
            record = objects.read(incident, name, own)
        except Refused as exc:
            yield Flaw(exhibit=name, message=str(exc))
            continue
        wanted = named.get(name)
        if expected is not None and wanted is None:
            yield Flaw(exhibit=name, message="the journal knows nothing of this exhibit")
        elif wanted is not None and not wanted.continues(record):
            yield Flaw(exhibit=name, message="its record is not the one that the journal has")
        yield from _of(objects, record, own, there)


def _of(objects: Objects, record: Exhibit, own: Version, there: Versions) -> Iterator[Flaw]:
    folder, known, attempts = objects.folder(record.incident, record.id), {own.key}, set[str]()
    for file in record.files:
        try:
            key, version = objects.of(record.incident, record.id, file)
        except Damaged as exc:
            yield Flaw(exhibit=record.id, file=file.name, message=str(exc))
            continue
        known.add(key)
        attempts.add(key.removesuffix(file.name))
        yield from _in(objects, record.id, file, there.get(key, ()), version)
    # What another attempt left that died is none of it. What lies among its own files was put there.
    beside = (*attempts, own.key)
    for key in sorted(key for key in there.keys() - known if key.startswith(beside)):
        yield Flaw(
            exhibit=record.id, file=ascii(key.removeprefix(folder)), message="it was not sealed with this exhibit"
        )
    until = max((file.kept.until for file in record.files if file.kept), default=None)
    if until is not None:
        yield from _unlocked(objects, record.id, sealed.RECORD, own, until)


def _in(objects: Objects, exhibit: str, file: ExhibitFile, there: tuple[Version, ...], version: str) -> Iterator[Flaw]:
    own = next((one for one in there if one.id == version), None)
    yield from _over(exhibit, file.name, there, own)
    if own is None:
        yield Flaw(exhibit=exhibit, file=file.name, message="the version that was sealed is gone")
        return
    if file.kept is not None:
        yield from _unlocked(objects, exhibit, file.name, own, file.kept.until)
    try:
        found = disk.digested(objects.bucket.chunks(own.key, own.id))
    except Refused as exc:
        yield Flaw(exhibit=exhibit, file=file.name, message=f"the file cannot be read: {exc}")
        return
    if not sealed.matches(file, found):
        yield Flaw(exhibit=exhibit, file=file.name, message="its bytes are not those that were sealed")


def _over(exhibit: str, name: str, there: Iterable[Version], own: Version | None) -> Iterator[Flaw]:
    """Yield what lies over the version that was sealed."""
    for one in there:
        how = f"a delete marker of {iso(one.at)} hides it" if one.marker else f"it was overwritten {iso(one.at)}"
        if one != own:
            message = f"{how}; the version that was sealed is the one that is read"
            yield Flaw(exhibit=exhibit, file=name, message=message)


def _unlocked(objects: Objects, exhibit: str, name: str, own: Version, until: datetime) -> Iterator[Flaw]:
    """Yield what of a lock is not as it was at the seal; one that has ended is as it was to be."""
    if until <= now():
        return
    try:
        head = objects.bucket.head(own.key, own.id)
    except Refused as exc:
        yield Flaw(exhibit=exhibit, file=name, message=f"the file cannot be read: {exc}")
        return
    if not head.locked(until):
        shorter = head.mode == MODE and head.until is not None
        what = "its retention was shortened" if shorter else "it is not locked in compliance mode any more"
        yield Flaw(exhibit=exhibit, file=name, message=f"{what}: {lock_words(head)}; sealed until {iso(until)}")
