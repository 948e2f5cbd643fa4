"""Evidence as data: what was collected, by whom, how, and who held it since (the vocabulary of ISO/IEC 27037:2012).

An exhibit is written once and never changed. What happens to it later (exported, verified) is journalled, and joins its
custody record in the manifest that is signed for a bundle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from playbooks.record.journal import Parsed
from playbooks.strict import Digest, Json, JsonField, Line, Moment, Prose, Redacted, Slug, Strict

SEALED = "exhibit"
"""The kind of the journal's entry for an exhibit in the vault: {"exhibit": an `Exhibit`}."""

UNAVAILABLE = "unavailable"
"""The kind of the journal's entry for an exhibit that cannot be had: {"unavailable": an `Unavailable`}."""

DELETION = "deletion_intended"
"""The kind of the journal's entry before evidence is deleted: {"exhibits": [{"id": …}], …}."""

HEADS = "heads"
"""The stream name by which a `Tip` means the chain of heads."""

SIGNED = ".dsse.json"
"""How the name of a manifest's file ends that is kept without its evidence; earlier releases sealed whole bundles."""

MOST_FILES = 1000
"""The most files that one exhibit may have."""

Kind = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,79}$")]
"""What sort of exhibit it is, as `raw-alert`: a slug that leaves room for the number in the exhibit's id."""

ExhibitId = Annotated[str, StringConstraints(pattern=r"^x-[0-9]{4,9}-[a-z0-9][a-z0-9_.-]{0,79}$")]
"""Number and kind, as `x-0001-raw-alert`: unique in its incident, safe in a path."""

Hex256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hex512 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Stream = Annotated[str, StringConstraints(pattern=r"^[a-z]+(/[a-z0-9][a-z0-9_.-]{0,99}){0,3}$", max_length=200)]


def exhibit_id(number: int, kind: str) -> str:
    """Return the id of an incident's exhibit.

    Args:
        number: its number in the incident, from 0.
        kind: what sort of exhibit it is.
    """
    return f"x-{number:04d}-{kind}"


class Act(StrEnum):
    """What somebody did with an exhibit."""

    COLLECTED = "collected"
    INTERRUPTED = "interrupted"
    SEALED = "sealed"
    EXPORTED = "exported"
    VERIFIED = "verified"


class Custody(Strict):
    """One line of the custody record (ISO/IEC 27037, 6.1: who had access, when, and what was done).

    Args:
        at: when.
        actor: who, a person or a component of ours.
        act: what was done.
        note: anything more that a reader must know.
    """

    at: Moment
    actor: Line
    act: Act
    note: Line = ""


class Authority(Strict):
    """By whose word something was collected.

    Args:
        step: the playbook's step, or `receiver` for the alert itself.
        actor: who caused that step to run.
    """

    step: Slug
    actor: Line


class Method(Strict):
    """How something was collected, so that another examiner can repeat it (ISO/IEC 27037, 5.3: repeatability).

    Args:
        tool: the collecting program and its version, as `mcp-soar@0.1.0`.
        capture: the capture's registered name.
        params: its parameters.
    """

    tool: Line
    capture: Slug
    params: dict[str, JsonField] = Field(default_factory=dict)


class Kept(Strict):
    """Where an object store keeps a file, and until when it lets nobody delete it, as its own head of the object says.

    Args:
        place: of the object, as `s3://bucket/key`.
        version: of it, which alone is the evidence: under its name others can put more.
        checksum: SHA-256 as the store worked it out when it took it, in base64; of one that it took in parts, that of
            the parts' checksums and their number. Empty if it says none.
        mode: of the lock; in compliance mode nobody can shorten it, whoever owns the account.
        until: the lock's end.
    """

    place: Line
    version: Line
    checksum: Line = ""
    mode: Literal["COMPLIANCE"]
    until: Moment


class ExhibitFile(Strict):
    """One file of an exhibit.

    Args:
        name: its name in the exhibit.
        media_type: what the bytes are.
        size: in bytes.
        sha256: of the bytes as they were read from the source.
        sha512: likewise; a second algorithm, should somebody dispute the first.
        origin: the API or the path that they were read from.
        kept: what an object store says of it; None in a folder of ours, and then it is not written.
    """

    name: Slug
    media_type: Line
    # RFC 8785 writes numbers as IEEE 754 doubles: larger ones would not be exact.
    size: int = Field(ge=0, lt=2**53)
    sha256: Digest
    sha512: Hex512 | None = None
    origin: Line
    kept: Kept | None = Field(default=None, exclude_if=lambda kept: kept is None)


class Exhibit(Strict):
    """One piece of evidence in the vault, with its custody record.

    Args:
        id: number and kind.
        kind: what sort it is, as actions name it in `destroys`.
        incident: whose it is.
        files: what it consists of.
        collected_at: when the source was read.
        collected_by: the identity that read it.
        authority: by whose word.
        how: with what.
        custody: who had it since.
    """

    id: ExhibitId
    kind: Kind
    incident: Slug
    files: tuple[ExhibitFile, ...] = Field(min_length=1, max_length=MOST_FILES)
    collected_at: Moment
    collected_by: Line
    authority: Authority
    how: Method
    custody: tuple[Custody, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.id != exhibit_id(self.number, self.kind):
            message = f"the id {self.id} does not end in its kind {self.kind}"
            raise ValueError(message)
        if len({file.name for file in self.files}) != len(self.files):
            message = f"two files of {self.id} have the same name"
            raise ValueError(message)
        return self

    @property
    def number(self) -> int:
        """Its number in the incident."""
        return int(self.id.split("-", 2)[1])

    @property
    def content(self) -> dict[str, tuple[int, str]]:
        """What makes it this exhibit: by file name, size and SHA-256."""
        return {file.name: (file.size, file.sha256) for file in self.files}

    @property
    def incomplete(self) -> str:
        """Where it breaks off and why, if it does; empty if it is whole."""
        return next((line.note for line in self.custody if line.act is Act.INTERRUPTED), "")

    def continues(self, earlier: "Exhibit") -> bool:
        """Return whether this is that exhibit, with the same custody record or one that only grew."""
        known = len(earlier.custody)
        return (
            self.custody[:known] == earlier.custody and self.model_copy(update={"custody": earlier.custody}) == earlier
        )


class Unavailable(Strict):
    """An exhibit that cannot be had, and why: said out loud, so that its absence is no gap.

    Args:
        kind: of the exhibit.
        reason: why not; may carry an outside system's words.
        recorded_by: who or what said so.
        at: when.
    """

    kind: Kind
    reason: Redacted
    recorded_by: Line
    at: Moment


class Tip(Strict):
    """One entry of the journal that something outside it vouches for.

    Args:
        stream: its stream, or `heads` for the chain of heads.
        seq: its place there.
        hash: of the entry or head, in hex.
    """

    stream: Stream
    seq: int = Field(ge=1, lt=2**53)
    hash: Hex256


class Manifest(Strict):
    """What an incident's evidence consists of. Signed, it vouches for every byte of a bundle.

    Args:
        version: of this format.
        incident: whose evidence it is.
        playbook: digest of the playbook that the incident began with, if it has one by now.
        made_at: when.
        made_by: by whom.
        exhibits: what there is.
        unavailable: what there is not.
        journal: the last entry of each stream in the bundle, and the first and last of its heads.
        keys: ids of the keys that may have signed those heads; the manifest's own among them.
    """

    version: Literal[1] = 1
    incident: Slug
    playbook: Digest | None = None
    made_at: Moment
    made_by: Line
    exhibits: tuple[Exhibit, ...] = ()
    unavailable: tuple[Unavailable, ...] = ()
    journal: tuple[Tip, ...] = ()
    keys: tuple[Digest, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({exhibit.id for exhibit in self.exhibits}) != len(self.exhibits):
            message = "two exhibits have the same id"
            raise ValueError(message)
        for exhibit in self.exhibits:
            if exhibit.incident != self.incident:
                message = f"exhibit {exhibit.id} belongs to {exhibit.incident}, not to {self.incident}"
                raise ValueError(message)
        return self


class Flaw(Strict):
    """Something in a vault that is not as it was sealed.

    Args:
        exhibit: the exhibit, or the name of what should not be there.
        file: the file in it; empty if it is about the whole exhibit.
        message: what is wrong, for people.
    """

    exhibit: Prose
    file: Prose = ""
    message: Prose


def locked_until(exhibits: Iterable[Mapping[str, Any]]) -> datetime | None:
    """Return until when a vault's lock lets nobody delete all of some exhibits, None if none of them has one.

    Args:
        exhibits: as the journal has them.
    """
    kept = [file["kept"] for exhibit in exhibits for file in exhibit["files"] if file.get("kept")]
    return max((datetime.fromisoformat(one["until"]) for one in kept), default=None)


def sealed(exhibit: Exhibit) -> dict[str, Json]:
    """Return the body of the journal's `SEALED` entry."""
    return {"exhibit": exhibit.model_dump(mode="json")}


def unavailable(missing: Unavailable) -> dict[str, Json]:
    """Return the body of the journal's `UNAVAILABLE` entry."""
    return {"unavailable": missing.model_dump(mode="json")}


def journalled(entries: Iterable[Parsed]) -> tuple[tuple[Exhibit, ...], tuple[Unavailable, ...]]:
    """Return the exhibits that a stream says were sealed, and those that it says cannot be had, in its order.

    Args:
        entries: of one incident's stream.

    Raises:
        ValueError: if a body is not what its kind says, or an exhibit is sealed a second time as something else.
    """
    exhibits: dict[str, Exhibit] = {}
    missing: list[Unavailable] = []
    for entry in entries:
        if entry.kind == SEALED:
            exhibit = Exhibit.model_validate(entry.body.get("exhibit"))
            first = exhibits.setdefault(exhibit.id, exhibit)
            if first != exhibit:
                message = f"entry {entry.seq} seals {exhibit.id} a second time, as something else"
                raise ValueError(message)
        elif entry.kind == UNAVAILABLE:
            missing.append(Unavailable.model_validate(entry.body.get("unavailable")))
    return tuple(exhibits.values()), tuple(missing)


def deleted(entries: Iterable[Parsed]) -> set[str]:
    """Return the exhibits that a stream says are to be deleted, or were.

    Args:
        entries: of one incident's stream.

    Raises:
        KeyError: if a body is not what its kind says.
    """
    return {str(item["id"]) for entry in entries if entry.kind == DELETION for item in entry.body["exhibits"]}


@dataclass(slots=True)
class Deletion:
    """Evidence that is being deleted, or was.

    Args:
        id: unique in its incident.
        exhibits: their ids.
        bundles: the files that held copies of them.
        why: retention, or a person's reason.
        by: who, a person or mcp-soar by the policy.
        people: who signed for it.
        whole: everything that there was.
        intended_at: when it was decided.
        done_at: when nothing was left; None while it is not.
        locked_until: before then the vault's lock lets nobody delete what is left; None if it was met by none.
    """

    id: str
    exhibits: tuple[str, ...]
    bundles: tuple[str, ...]
    why: str
    by: str
    people: tuple[str, ...]
    whole: bool
    intended_at: datetime
    done_at: datetime | None = None
    locked_until: datetime | None = None
