"""What the journal hands out and takes in, beside entries and heads. Times are seconds since 1970, by the database."""

from typing import NamedTuple, Protocol

from integrations.signing import PublicKey
from playbooks.strict import Json


class Signer(Protocol):
    """A responder's signing key."""

    @property
    def id(self) -> str:
        """The id under which its public half is enrolled."""

    @property
    def public(self) -> PublicKey:
        """Its public half."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the signature over `data`."""


class Claim(NamedTuple):
    """The right to be the only one that works on a stream.

    Args:
        stream: which.
        owner: who claimed it.
        fence: grows with every claim of this stream; an append with an old one is refused.
        until: when it runs out.
    """

    stream: str
    owner: str
    fence: int
    until: float


class Receipt(NamedTuple):
    """What became of a message from outside.

    Args:
        id: of the inbox entry that holds its nonce.
        fresh: whether this call put it there.
        conflict: whether the nonce was already used with another body.
        incident: where the entry was moved, if it was.
    """

    id: str
    fresh: bool
    conflict: bool
    incident: str | None


class InboxItem(NamedTuple):
    """A message from outside that no stream has yet.

    Args:
        id: its name; later ones sort later.
        kind: as `alert`, `request`, `timer`.
        source: who sent it.
        nonce: used once by its source.
        digest: of its body.
        body: the raw bytes.
        headers: those kept, never one that authenticates.
        received_at: when.
        stamp: what a receiver says that it is its own by, None for none.
    """

    id: str
    kind: str
    source: str
    nonce: str
    digest: str
    body: bytes
    headers: dict[str, str]
    received_at: float
    stamp: bytes | None = None


class Told(NamedTuple):
    """A message that a stream was given, without its bytes.

    Args:
        receipt: its id in the inbox.
        source: who sent it.
        received_at: when it came.
        moved_at: when the stream was given it.
        size: bytes of its body.
    """

    receipt: str
    source: str
    received_at: float
    moved_at: float
    size: int


class InboxCount(NamedTuple):
    """How much of a kind waits in the inbox.

    Args:
        kind: as `alert`.
        waiting: how many.
        oldest: seconds since the oldest of them came.
    """

    kind: str
    waiting: int
    oldest: float


class StreamInfo(NamedTuple):
    """A stream's row: an index over what its entries say, proof of nothing.

    Args:
        name: as `incident/inc-2026-000001`.
        seq: of its last entry, 0 for none.
        lane: which of a responder's lanes runs it.
        runnable_at: when it may be claimed, None while nothing asks for it.
        owner: who has claimed it.
        claimed_until: until when.
        correlation: its key among open streams.
        frozen: why nothing may be appended, None if it may.
        opened_at: when.
        closed_at: when, None while it is open.
    """

    name: str
    seq: int
    lane: str
    runnable_at: float | None
    owner: str | None
    claimed_until: float | None
    correlation: str | None
    frozen: str | None
    opened_at: float
    closed_at: float | None


class Hold(NamedTuple):
    """Our grip on one field of one object, for one lease of one incident.

    Args:
        grip: the object and the field.
        incident: for which.
        lease: for which of its leases.
        server: the MCP server concerned.
        before: what this lease found.
        after: what this lease wants.
        original: what the first of all holds on this grip found: what is restored when the last one goes.
        taken_at: when.
    """

    grip: str
    incident: str
    lease: str
    server: str
    before: Json
    after: Json
    original: Json
    taken_at: float


class Reservation(NamedTuple):
    """Blast radius that a step has reserved.

    Args:
        incident: whose.
        step: which of its steps.
        target: what it touches.
        server: the MCP server concerned.
        radius: how many things that affects.
        at: when.
        age: seconds since then.
    """

    incident: str
    step: str
    target: str
    server: str
    radius: int
    at: float
    age: float


class Stop(NamedTuple):
    """A kill switch that is on.

    Args:
        scope: what it stops.
        reason: why.
        by: who.
        at: since when.
        seq: no other stop ever has it, so that a resumption names the one it was made for.
    """

    scope: str
    reason: str
    by: str
    at: float
    seq: int


class Suppression(NamedTuple):
    """Alerts that are kept from opening incidents, until a time.

    Args:
        scope: what it names, as the person wrote it.
        source: alerts of that source only; None for every source.
        rule: alerts of that rule only; None for every rule.
        until: from then on it counts for nothing.
        reason: why.
        by: who.
        at: since when.
        seq: no other suppression ever has it.
        entry: the system stream's entry that it rests on.
        hidden: how many alerts it has set aside.
    """

    scope: str
    source: str | None
    rule: str | None
    until: float
    reason: str
    by: str
    at: float
    seq: int
    entry: int
    hidden: int


class Watch(NamedTuple):
    """The latest check of a lease.

    Args:
        lease: which.
        incident: whose.
        checked_at: when whether it holds was last asked.
        verdict: `established`, `not established` or `unknown`.
        system: where it is in force, as a plan's targets name it.
        severity: how grave what it contains is.
        took: seconds that asking took; None if that is not known.
        seen_at: when a look, which asks no client's question, last found it as it was; None if none was since.
        age: seconds since it was asked, by the database's clock.
    """

    lease: str
    incident: str
    checked_at: float
    verdict: str
    system: str = ""
    severity: int = 0
    took: float | None = None
    seen_at: float | None = None
    age: float = 0.0
