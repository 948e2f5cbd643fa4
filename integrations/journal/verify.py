"""Reads a whole journal and tells what is not as it was written."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import bindparam, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from integrations.journal import schema
from integrations.signing import PublicKey
from playbooks.record.journal import APART, GENESIS, UNSIGNED, Chain, Content, Fault, Head, head_content

# Small enough that a chunk's hashing holds the loop for milliseconds.
CHUNK = 4000
Progress = Callable[[int, int], None]
"""Called with the entries and the heads verified so far."""

_entry = schema.entry.c
_ENTRIES = (
    select(_entry.stream, _entry.seq, _entry.data, _entry.hash)
    .where(tuple_(_entry.stream, _entry.seq) > tuple_(bindparam("stream"), bindparam("seq")))
    .order_by(_entry.stream, _entry.seq)
    .limit(CHUNK)
)
_HEADS = (
    select(schema.head.c.n, schema.head.c.data, schema.head.c.hash, schema.head.c.signature)
    .where(schema.head.c.n > bindparam("n"))
    .order_by(schema.head.c.n)
    .limit(CHUNK)
)


class Verification:
    """One reading of all heads and entries, in one snapshot.

    Args:
        connection: in a transaction that sees one moment.
        keys: the responders' public keys.
        progress: told how far it is.
    """

    def __init__(self, connection: AsyncConnection, keys: Collection[PublicKey], progress: Progress | None) -> None:
        self._connection = connection
        self._keys = {key.id: key for key in keys}
        self._progress = progress
        # What heads witness, by the entry's hash, which no two entries share: the head's number, and the first entry
        # that its commit added (0: it does not say). 220 bytes a tip.
        self._witnessed: dict[bytes, tuple[int, int]] = {}
        self._last: dict[str, tuple[int, bytes]] = {}
        self._entries = 0
        self._heads = 0

    async def run(self, witnesses: Collection[Head]) -> list[Fault]:
        """Return every fault found.

        Args:
            witnesses: heads that were kept elsewhere, by their numbers and the beginnings of their hashes.
        """
        faults = [fault async for fault in self._chain(witnesses)]
        faults += [fault async for fault in self._streams()]
        faults += await self._gone()
        faults += await self._rows()
        return faults

    async def _chain(self, witnesses: Collection[Head]) -> AsyncIterator[Fault]:
        """Yield the faults of the chain of heads."""
        kept: dict[int, set[bytes]] = {}
        for witness in witnesses:
            kept.setdefault(witness.n, set()).add(witness.hash)
        chained = Chain()
        with ThreadPoolExecutor(thread_name_prefix="verify") as threads:
            while rows := (await self._connection.execute(_HEADS, {"n": chained.n})).all():
                contents = [head_content(data) for _, data, _, _ in rows]
                # The library lets go of the interpreter while it verifies: half a chunk for each thread.
                signed = asyncio.gather(
                    *(
                        asyncio.get_running_loop().run_in_executor(threads, self._signed, contents[part], rows[part])
                        for part in (slice(start, start + CHUNK // 4) for start in range(0, len(rows), CHUNK // 4))
                    )
                )
                goods = [good for part in await signed for good in part]
                for line, content, good in zip(rows, contents, goods, strict=True):
                    if (broken := chained.take(line.n, line.data, line.hash, content.n)) is not None:
                        yield broken
                        return
                    n = chained.n
                    if not good:
                        yield Fault("heads", n, f"no responder's key signed it (it names key {content.key})")
                    for added in content.tips:
                        self._witnessed[added.hash] = n, added.first or 0
                    if not all(line.hash.startswith(seen) for seen in kept.get(n, ())):
                        yield Fault("heads", n, "it is not the head that was witnessed")
                self._heads = chained.n
                self._tell()
        n = chained.n
        if kept and (last := max(kept)) > n:
            yield Fault("heads", n + 1, f"head {last} was witnessed, and the heads end with {n}")
        chain = (await self._connection.execute(select(schema.chain.c.n, schema.chain.c.hash))).first()
        if chain is None or (chain.n, chain.hash) != (n, chained.hash):
            there = "gone" if chain is None else chain.n
            yield Fault("heads", n + 1, f"the heads end with {n}, and the chain's tip is {there}")

    def _signed(self, contents: Sequence[Content], rows: Sequence[Any]) -> list[bool]:
        good = []
        for content, (_, _, digest, signature) in zip(contents, rows, strict=True):
            key = self._keys.get(content.key)
            good.append(key is not None and isinstance(signature, bytes) and key.signed(digest, signature))
        return good

    async def _streams(self) -> AsyncIterator[Fault]:
        """Yield the faults of all entries: the first of each stream."""
        stream: _Stream | None = None
        while rows := (await self._connection.execute(_ENTRIES, _place(stream))).all():
            for name, seq, data, digest in rows:
                if stream is None or name != stream.stream:
                    for fault in self._end(stream):
                        yield fault
                    stream = _Stream(name, self._witnessed)
                stream.read(seq, data, digest)
            self._entries += len(rows)
            self._tell()
        for fault in self._end(stream):
            yield fault

    def _end(self, stream: "_Stream | None") -> list[Fault]:
        if stream is None:
            return []
        if stream.stream.startswith(APART):
            return [Fault(stream.stream, stream.n, f"a responder set it apart: {UNSIGNED}")]
        self._last[stream.stream] = stream.n, stream.hash
        return stream.end()

    async def _gone(self) -> list[Fault]:
        """Return a fault for every stream with entries that a head witnesses and that are not there as witnessed."""
        heads = sorted({n for n, _ in self._witnessed.values()})
        first: dict[str, Fault] = {}
        for start in range(0, len(heads), CHUNK):
            some = select(schema.head.c.n, schema.head.c.data).where(schema.head.c.n.in_(heads[start : start + CHUNK]))
            for n, data in await self._connection.execute(some.order_by(schema.head.c.n)):
                for stream, seq, tip, _ in head_content(data).tips:
                    if tip in self._witnessed and stream not in first:
                        there = self._last.get(stream, (0, b""))[0] >= seq
                        message = (
                            "it is not the entry that head {} witnessed" if there else "head {} witnessed it: gone"
                        )
                        first[stream] = Fault(stream, seq, message.format(n))
        return list(first.values())

    async def _rows(self) -> list[Fault]:
        """Return a fault for every stream whose row does not name its last entry."""
        faults = []
        row = schema.stream.c
        last = dict(self._last)
        for name, seq, digest in await self._connection.execute(select(row.name, row.seq, row.hash)):
            if last.pop(name, (0, GENESIS)) != (seq, digest):
                faults.append(Fault(name, seq, "the stream's tip does not name its last entry"))
        faults += [Fault(name, seq, "the stream's row is gone") for name, (seq, _) in last.items()]
        return faults

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self._entries, self._heads)


class _Stream(Chain):
    """A stream while its entries are read in order: chained, and each under a head."""

    __slots__ = ("_covered", "_fault", "_witnessed")

    def __init__(self, name: str, witnessed: dict[bytes, tuple[int, int]]) -> None:
        super().__init__(name)
        self._covered = 0
        self._fault: Fault | None = None
        self._witnessed = witnessed

    def read(self, seq: int, data: bytes, digest: bytes) -> None:
        if self._fault is not None:
            self.n, self.hash = seq, digest
            return
        self._fault = self.take(seq, data, digest)
        if self._fault is None and (head := self._witnessed.pop(digest, None)) is not None:
            if head[1] not in {0, self._covered + 1}:
                self._fault = Fault(self.stream, self._covered + 1, UNSIGNED)
            self._covered = seq

    def end(self) -> list[Fault]:
        if self._fault is not None:
            return [self._fault]
        return [] if self._covered == self.n else [Fault(self.stream, self._covered + 1, UNSIGNED)]


def _place(stream: _Stream | None) -> dict[str, str | int]:
    return {"stream": "", "seq": 0} if stream is None else {"stream": stream.stream, "seq": stream.n}
