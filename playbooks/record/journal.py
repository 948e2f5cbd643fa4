"""The journal's envelope: append-only streams of entries, each chained to the one before, their heads signed.

An entry is stored as the canonical bytes (RFC 8785) that were hashed, and is never rewritten; a reader upcasts.

    hash(entry n) = SHA-256(hash(entry n-1) || bytes(entry n))        the first is chained to 32 zero bytes
    hash(head n)  = SHA-256(hash(head n-1)  || bytes(head n))         one chain of heads over all streams
    signature     = Ed25519 over hash(head n), by a responder

A head names the tip of every stream that its commit touched and the first entry that it added there, so an entry that
was changed, dropped, reordered or added without a responder's key is found, whatever was added after it. A lost tail of
heads is found against a witness: a head kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from playbooks.strict import canonical
from playbooks.text import sentences

GENESIS = bytes(32)
VERSION = 1
SYSTEM = "system"
INCIDENT = "incident/"
"""Begins the name of an incident's stream."""

TELLING = "telling/"
"""Begins the name of the stream whose claim is the right to tell people of something."""

ITSELF = "system"
"""What is told of the installation, not of one incident."""

SWITCHES = "switches"
"""The stream whose last entry says which kill switches are on: short, so that it is read before every effect."""

BY_BODY = "body:"
"""Begins the nonce of a message whose sender gave it no id: it is known again for as long as its incident is open."""

APART = "unsigned/"
"""Begins the name of the place to which entries that nobody signed were set apart; it is no stream."""

UNSIGNED = "no head says that its commit added it: it was added without a responder's key"
"""What is said of an entry that is chained as it should be and that no responder wrote."""


CAMPAIGN = "campaign/"
"""Begins the name of a campaign's stream."""

CAM = "cam-"
"""Begins the name of a campaign."""


def stream_of(subject: str) -> str:
    """Return the stream that holds the pages of an incident, or of the installation, or the list of a campaign."""
    if subject.startswith(CAM):
        return f"{CAMPAIGN}{subject}"
    return f"{TELLING}{ITSELF}" if subject == ITSELF else f"{INCIDENT}{subject}"


class Event(NamedTuple):
    """Something that happened, before the journal has it.

    Args:
        kind: what happened, as `opened`, `intended`, `verified`.
        body: its JSON; the readers are in `playbooks.record.projection`.
        actor: who or what caused it: `mcp-soar`, a source, a person.
    """

    kind: str
    body: Mapping[str, Any]
    actor: str = "mcp-soar"


class Entry(NamedTuple):
    """One stored entry of a stream.

    Args:
        stream: as `incident/inc-2026-000001`.
        seq: 1 for the first.
        data: the canonical bytes, as stored.
        hash: of this entry, 32 bytes.
    """

    stream: str
    seq: int
    data: bytes
    hash: bytes

    def parsed(self) -> "Parsed":
        """Return the entry's content, upcast to the present version."""
        content = json.loads(self.data)
        body = sentences.read_back(upcast(content["kind"], content["v"], content["body"]))
        return Parsed(self.stream, self.seq, content["at"], content["kind"], content["actor"], body)


class Parsed(NamedTuple):
    """An entry's content.

    Args:
        stream: the stream's name.
        seq: its place there.
        at: when, ISO 8601 in UTC, by the writer's clock.
        kind: what happened.
        actor: who or what caused it.
        body: the rest.
    """

    stream: str
    seq: int
    at: str
    kind: str
    actor: str
    body: dict[str, Any]


class Head(NamedTuple):
    """One signed link of the chain over all streams.

    Args:
        n: 1 for the first.
        data: canonical bytes of {"at", "key", "n", "tips": [[stream, seq, hash hex, first], …]}.
        hash: of this head, 32 bytes.
        signature: Ed25519 over `hash`, 64 bytes.
    """

    n: int
    data: bytes
    hash: bytes
    signature: bytes


class Added(NamedTuple):
    """What one commit added to one stream.

    Args:
        stream: which.
        seq: of the last entry, the stream's tip.
        hash: of that entry.
        first: seq of the first entry; None in a head of the first release, which did not say.
    """

    stream: str
    seq: int
    hash: bytes
    first: int | None

    def follows(self, last: int) -> bool:
        """Whether it begins right after an entry, so that nothing unsigned lies between."""
        return self.first is None or self.first == last + 1


class Content(NamedTuple):
    """What a head says.

    Args:
        n: its number.
        key: id of the key that signs it.
        tips: what its commit added to every stream that it touched.
    """

    n: int
    key: str
    tips: list[Added]


class Fault(NamedTuple):
    """Something that is not as it was written.

    Args:
        stream: where; `heads` for the chain of heads.
        seq: the first entry that does not fit.
        message: what is wrong, for people.
    """

    stream: str
    seq: int
    message: str


def link(previous: bytes, data: bytes) -> bytes:
    """Return the hash that chains `data` to the entry whose hash is `previous`."""
    return hashlib.sha256(previous + data).digest()


def entry(stream: str, seq: int, previous: bytes, at: str, event: Event) -> Entry:
    """Return the entry that an event becomes at this place of this stream.

    Args:
        stream: the stream's name.
        seq: the place: one more than the last entry's.
        previous: the last entry's hash; `GENESIS` for the first.
        at: ISO 8601 in UTC.
        event: what happened.
    """
    said = sentences.written(event.body)
    data = canonical(
        {
            "actor": event.actor,
            "at": at,
            "body": {**event.body, **({sentences.KEY: said} if said else {})},
            "kind": event.kind,
            "seq": seq,
            "stream": stream,
            "v": VERSION,
        }
    )
    return Entry(stream, seq, data, link(previous, data))


def head_data(n: int, at: str, key: str, added: Iterable[Added]) -> bytes:
    """Return a head's canonical bytes.

    Args:
        n: its number, from 1.
        at: ISO 8601 in UTC.
        key: id of the key that signs it.
        added: what the commit added to every stream that it touched.
    """
    tips = sorted([stream, seq, tip.hex(), first] for stream, seq, tip, first in added)
    return canonical({"at": at, "key": key, "n": n, "tips": tips})


def head_content(data: Any) -> Content:  # noqa: ANN401  # a database may hold anything
    """Return what a head's bytes say; of what is no head, number 0 and nothing."""
    try:
        head = json.loads(data)
        tips = [
            Added(str(stream), int(seq), bytes.fromhex(tip), int(first[0]) if first else None)
            for stream, seq, tip, *first in head["tips"]
        ]
        return Content(int(head["n"]), str(head["key"]), tips)
    except (ValueError, TypeError, LookupError, RecursionError):
        return Content(0, "", [])


def fits(previous: Any, data: Any, digest: Any) -> bool:  # noqa: ANN401  # a database may hold anything
    """Return whether stored bytes have the hash that the chain gives them."""
    return isinstance(previous, bytes) and isinstance(data, bytes) and link(previous, data) == digest


class Chain:
    """Entries of a stream, or heads, while they are read in order from the first; what does not follow is a fault.

    Args:
        stream: the name that every entry must carry; the heads' if None.
    """

    __slots__ = ("_suffix", "hash", "n", "stream")

    def __init__(self, stream: str | None = None) -> None:
        self.stream = "heads" if stream is None else stream
        self.n, self.hash = 0, GENESIS
        # The canonical form sorts its keys, so the bytes end in this: compared as bytes, without parsing a million.
        self._suffix = None if stream is None else b',"stream":' + canonical(str(stream)) + b',"v":'

    def take(self, n: int, data: Any, digest: Any, says: int = 0) -> Fault | None:  # noqa: ANN401  # likewise
        """Take the next one, and return why it does not follow the last one.

        Args:
            n: its place, as it is stored.
            data: its bytes.
            digest: its hash.
            says: the place that a head itself says; an entry's own bytes are looked at.
        """
        message = ""
        if n != self.n + 1:
            what = "head" if self._suffix is None else "entry"
            message = f"{what} {self.n + 1} is missing; the next one there is {n}"
        elif not fits(self.hash, data, digest):
            message = "its bytes do not have the hash that the chain gives it"
        elif says != n if self._suffix is None else not self._placed(n, data):
            message = "it was written for another place"
        fault = Fault(self.stream, self.n + 1, message) if message else None
        self.n, self.hash = n, digest
        return fault

    def _placed(self, n: int, data: bytes) -> bool:
        return data[: data.rfind(b'"v":') + 4].endswith(b'"seq":%d' % n + (self._suffix or b""))


def verify_chain(stream: str, entries: Iterable[Entry]) -> Iterator[Fault]:
    """Yield the first fault of a stream read from its beginning, if it has one.

    Args:
        stream: the name that every entry must carry.
        entries: in order of `seq`.
    """
    chain = Chain(stream)
    for item in entries:
        if (fault := chain.take(item.seq, item.data, item.hash)) is not None:
            yield fault
            return


def upcast(kind: str, version: int, body: dict[str, Any]) -> dict[str, Any]:
    """Return a body of any released version in the present form.

    Args:
        kind: the entry's kind.
        version: the version that it was written in.
        body: as stored.

    Raises:
        ValueError: if it was written by a newer release than this one.
    """
    if version > VERSION:
        message = f"a {kind} entry has version {version}; this release reads up to {VERSION}: upgrade to read it"
        raise ValueError(message)
    return body
