"""How exhibits lie in a bucket, read without trust: of each name the version that was sealed, whatever lies over it."""

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta

from integrations.vault import Absent, Damaged, Locked, sealed
from integrations.vault.s3.client import MODE, Bucket, Missing, Version
from playbooks.errors import Refused
from playbooks.record.evidence import Exhibit, ExhibitFile
from playbooks.strict import iso, now

_HELD_FOR = timedelta(days=1)
"""After that it is asked again whether somebody's legal hold is still on an object."""


class Objects:
    """The exhibits in a bucket.

    Args:
        bucket: which.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def folder(self, incident: str, exhibit: str = "") -> str:
        """Return what the names of an incident's objects begin with, or of one of its exhibits."""
        whole = f"{self.bucket.settings.prefix}{incident}/"
        return f"{whole}{exhibit}/" if exhibit else whole

    def key(self, incident: str, exhibit: str) -> str:
        """Return the name of an exhibit's record."""
        return f"{self.folder(incident, exhibit)}{sealed.RECORD}"

    def record(self, incident: str, exhibit: str) -> Exhibit | None:
        """Return a sealed exhibit's record, None if there is none.

        Raises:
            Damaged: if it is not one that was sealed.
            SoarError: as for `Bucket.call`.
        """
        there = self.version(incident, exhibit)
        return None if there is None else self.read(incident, exhibit, there)

    def version(self, incident: str, exhibit: str) -> Version | None:
        """Return which version of a record is the one that was sealed, None if there is none; see `Bucket.call`."""
        key = self.key(incident, exhibit)
        return first([one for one in self.bucket.versions(key) if one.key == key])

    def read(self, incident: str, exhibit: str, there: Version) -> Exhibit:
        """Return what one version of a record says; see `record`."""
        data = bytearray()
        for chunk in self.bucket.chunks(there.key, there.id):
            data += chunk
            if len(data) > sealed.LARGEST_RECORD:
                break
        return sealed.parsed(bytes(data), incident, exhibit)

    def named(self, incident: str, keys: Iterable[str]) -> tuple[str, ...]:
        """Return the exhibits of an incident of which something lies there.

        Args:
            incident: whose.
            keys: names of all of its objects.
        """
        start = len(self.folder(incident))
        names = dict.fromkeys(key[start:].partition("/")[0] for key in keys)
        return tuple(sorted(one for one in names if re.fullmatch(r"x-[0-9]{4,9}-[a-z0-9][a-z0-9_.-]{0,79}", one)))

    def of(self, incident: str, exhibit: str, file: ExhibitFile) -> tuple[str, str]:
        """Return name and version of the object that a file is.

        Raises:
            Damaged: if the record names one that is not its own.
        """
        key = self.bucket.key(file.kept) if file.kept else ""
        own = rf"{re.escape(self.folder(incident, exhibit))}[0-9a-f]{{16}}/{re.escape(file.name)}"
        if file.kept is None or not re.fullmatch(own, key):
            raise Damaged(f"the record of {exhibit} in {incident} was not made for this vault")
        return key, file.kept.version

    def chunks(self, incident: str, exhibit: str, name: str) -> Iterator[bytes]:
        """Yield one file of an exhibit; see `Vault.read`."""
        record = self.record(incident, exhibit)
        if record is None:
            raise Absent(f"{incident} has no exhibit {exhibit}")
        file = next((one for one in record.files if one.name == name), None)
        if file is None:
            raise Refused(f"exhibit {exhibit} of {incident} has no file {name}")
        try:
            found = self.bucket.chunks(*self.of(incident, exhibit, file))
            yield from sealed.matched(file, found, f"{exhibit}/{name} of {incident}")
        except Missing as exc:
            raise Damaged(f"{name}: the version that was sealed is gone") from exc

    def check_unlocked(self, what: str, there: Iterable[Version]) -> None:
        """See that nothing keeps any of these versions from being deleted.

        Args:
            what: they are, for people.
            there: the versions.

        Raises:
            Locked: by what, and until when.
        """
        longest: tuple[datetime, str] | None = None
        for one in there:
            if one.marker:
                continue
            head = self.bucket.head(one.key, one.id)
            if head.held:
                message = f"{what}: {one.key} is under a legal hold of the bucket's, until somebody takes it away there"
                raise Locked(message, until=now() + _HELD_FOR)
            if head.until is not None and head.until > now():
                longest = max(longest or (head.until, head.mode), (head.until, head.mode))
        if longest is not None:
            until, mode = longest
            how = "compliance mode: nobody can delete it before" if mode == MODE else f"{mode} mode"
            raise Locked(f"{what} is locked until {iso(until)} in {how}", until=until)


def first(versions: Collection[Version]) -> Version | None:
    """Return which version of a record is the one that was sealed: the first, for it is locked, and put only once.

    Args:
        versions: of one name, the newest first.
    """
    return next((one for one in reversed(tuple(versions)) if not one.marker), None)
