"""Which entries a responder's signature stands behind, found out while the journal is used.

A tip's hash covers its whole stream, and a responder appends to no tip that nobody signed. So one signature proves all
of a stream: that of the head that names its tip. Reading everything, against a witness too, is `verify`.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import LargeBinary, Select, bindparam, select, tuple_

from integrations.journal import schema
from integrations.journal.client import Tampered, UnknownSigner
from integrations.journal.schema import holds
from integrations.signing import PublicKey
from playbooks.errors import SoarError
from playbooks.record.journal import GENESIS, UNSIGNED, Added, head_content, link
from playbooks.strict import canonical

Run = Callable[[Select[Any], Mapping[str, Any]], Awaitable[Sequence[Any]]]
"""Runs a statement and returns its rows."""

_MOST = 100_000
"""Tips that are remembered; what was forgotten is proven again."""

_head, _before, _entry = schema.head.c, schema.head.alias("before"), schema.entry.c
_CHAINED = schema.head.outerjoin(_before, _before.c.n == _head.n - 1)
# With the hash of the head before it: without that, a head's own does not bind its bytes.
_HEAD = (_head.n, _head.data, _head.hash, _head.signature, _before.c.hash)
_NAMING = (
    select(*_HEAD)
    .select_from(_CHAINED)
    .where(
        _head.n.in_(
            select(_entry.head).where(tuple_(_entry.stream, _entry.seq).in_(bindparam("places", expanding=True)))
        )
    )
)
# Somebody may have added heads that nobody signed, but has to be outdone only so often.
_LATEST = (
    select(*_HEAD)
    .select_from(_CHAINED)
    .where(holds(_head.data, bindparam("stream", type_=LargeBinary)))
    .order_by(_head.n.desc())
    .limit(20)
)


class Proof:
    """What this process knows to be signed.

    Args:
        keys: the public keys of all responders.
    """

    def __init__(self, keys: Collection[PublicKey]) -> None:
        self._keys = {key.id: key for key in keys}
        self._known: dict[bytes, None] = {}
        self._strange: dict[bytes, str] = {}
        self._caught_up: set[str] = set()
        self.reached: dict[str, int] = {}
        """The furthest tip of each stream that this process has read: it never goes back."""

    def know(self, tip: bytes) -> None:
        """Remember a tip that is signed, by its hash."""
        self._known[tip] = None
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def fault(self, stream: str, seq: int, tip: bytes) -> SoarError:
        """Return what is wrong with a tip that is not proven: forged, or by a responder whom nobody told us of."""
        key = self._strange.get(tip)
        return Tampered(stream, seq, UNSIGNED) if key is None else UnknownSigner(stream, key)

    def before_last(self, stream: str) -> int:
        """Return the place after which the last entry of a stream is to be read."""
        return max(self.reached.get(stream, 0) - 1, 0)

    async def unproven(self, tips: Collection[tuple[str, int, bytes]], run: Run) -> set[str]:
        """Return the streams whose tip no signed head names.

        Args:
            tips: stream, seq and hash of each.
            run: asks the database, which is needed for those that are not known yet.
        """
        unknown = {tip for tip in tips if tip[2] not in self._known}
        if unknown:
            places = [(stream, seq) for stream, seq, _ in unknown]
            for row in await run(_NAMING, {"places": places}):
                for added in self._signed(row):
                    self.know(added.hash)
                    unknown.discard(added[:3])
        return {stream for stream, _, _ in unknown}

    async def latest(self, stream: str, run: Run) -> Added | None:
        """Return what the last signed head that names a stream says of it; None if no head names it.

        Raises:
            Tampered: if heads name it, and no responder signed them.
        """
        rows = await run(_LATEST, {"stream": b"[" + canonical(stream) + b","})
        for row in rows:
            for added in self._signed(row):
                if added.stream == stream:
                    return added
        if rows:
            raise Tampered(stream, 1, "no responder signed the heads that name it")
        return None

    async def catch_up(self, stream: str, run: Run) -> None:
        """Learn, once, how far a stream has come: what ends before that has lost something, or all of it.

        Raises:
            Tampered: if nobody can tell.
        """
        if stream not in self._caught_up:
            latest = await self.latest(stream, run)
            self.reached[stream] = max(latest.seq if latest else 0, self.reached.get(stream, 0))
            self._caught_up.add(stream)

    def _signed(self, row: Any) -> Sequence[Added]:  # noqa: ANN401  # SQLite holds anything in any column
        """Return what a head says its commit added; nothing if no responder signed it."""
        n, data, digest, signature, previous = row
        previous = GENESIS if n == 1 else previous
        if not all(isinstance(part, bytes) for part in (data, digest, signature, previous)):
            return ()
        content = head_content(data)
        key = self._keys.get(content.key)
        # Of another length, what stands before the bytes could be a part of them.
        bound = len(previous) == len(GENESIS) and link(previous, data) == digest and content.n == n
        if not bound:
            return ()
        if key is None:
            if len(self._strange) > _MOST:
                self._strange.clear()
            self._strange |= {added.hash: content.key for added in content.tips}
            return ()
        return content.tips if key.signed(digest, signature) else ()
