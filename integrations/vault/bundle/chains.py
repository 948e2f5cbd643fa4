"""The journal and the heads of a bundle: each chained to the one before, and the heads signed over the journal."""

import base64
from collections.abc import Mapping

from integrations.signing import PublicKey
from integrations.vault.bundle.contents import Room, lines
from integrations.vault.bundle.layout import (
    HEADS_FILE,
    JOURNAL,
    EntryLine,
    HeadContent,
    HeadLine,
    entry_line,
    head_line,
    is_anchor,
)
from playbooks.record.journal import UNSIGNED, Chain, Entry, Head, head_content, verify_chain


class Entries:
    """The journal of a bundle, as far as it can be read."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.streams: dict[str, list[Entry]] = {}
        self.hashes: dict[tuple[str, int], str] = {}


def read_journal(data: bytearray | None, budget: Room) -> Entries:
    """Return the journal, as far as it can be read.

    Raises:
        UnreadableError: if it takes more than its budget.
    """
    journal = Entries()
    last = ("", 0)
    for number, line in enumerate(lines(data, JOURNAL, journal.faults, budget), 1):
        try:
            parsed = EntryLine.model_validate_json(line)
            content = base64.b64decode(parsed.data, validate=True)
            entry = Entry(parsed.stream, parsed.seq, content, bytes.fromhex(parsed.hash))
            exact = entry_line(entry) == line + b"\n"
        except ValueError:
            journal.faults.append(f"line {number} of {JOURNAL} is not one that was exported")
            return journal
        if not exact:
            journal.faults.append(f"line {number} of {JOURNAL} is not spelled as it was exported")
            return journal
        if (entry.stream, entry.seq) <= last:
            journal.faults.append(f"line {number} of {JOURNAL} stands in the wrong place")
        last = (entry.stream, entry.seq)
        journal.streams.setdefault(entry.stream, []).append(entry)
        journal.hashes[last] = parsed.hash
    for stream, entries in journal.streams.items():
        journal.faults += [f"{stream}, entry {fault.seq}: {fault.message}" for fault in verify_chain(stream, entries)]
    return journal


class Heads:
    """The heads of a bundle, as far as they hold."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.hashes: dict[int, str] = {}
        self.witnessed: dict[str, int] = {}


def read_heads(data: bytearray | None, keys: Mapping[str, PublicKey], journal: Entries, budget: Room) -> Heads:
    """Return the heads, as far as they hold.

    Raises:
        UnreadableError: if they take more than their budget.
    """
    heads = Heads()
    chain = Chain()
    for number, line in enumerate(lines(data, HEADS_FILE, heads.faults, budget), 1):
        try:
            parsed = HeadLine.model_validate_json(line)
            content = base64.b64decode(parsed.data, validate=True)
            head = Head(parsed.n, content, bytes.fromhex(parsed.hash), bytes.fromhex(parsed.signature))
            anchor = is_anchor(number, head.n)
            exact = head_line(head, anchor=anchor) == line + b"\n"
            named = None if anchor else HeadContent.model_validate_json(content)
        except ValueError:
            heads.faults.append(f"line {number} of {HEADS_FILE} is not one that was exported")
            return heads
        if not exact:
            heads.faults.append(f"line {number} of {HEADS_FILE} is not spelled as it was exported")
            return heads
        if named is not None:
            faults = _head_faults(head, named, chain, keys, journal)
            if faults:
                heads.faults += faults
                return heads
            for added in head_content(content).tips:
                last = heads.witnessed.get(added.stream)
                # Of the first head that names a stream, the one before it may not be here.
                if last is not None and not added.follows(last):
                    heads.faults.append(f"{added.stream}, entry {last + 1}: {UNSIGNED}")
                heads.witnessed[added.stream] = max(added.seq, last or 0)
        else:
            chain.n, chain.hash = head.n, head.hash
        heads.hashes[head.n] = parsed.hash
    return heads


def _head_faults(
    head: Head, named: HeadContent, chain: Chain, keys: Mapping[str, PublicKey], journal: Entries
) -> list[str]:
    if (fault := chain.take(head.n, head.data, head.hash, named.n)) is not None:
        return [f"head {fault.seq}: {fault.message}"]
    key = keys.get(named.key)
    if key is None or not key.signed(head.hash, head.signature):
        return [f"head {head.n} is not signed by a key that the manifest names"]
    return [
        f"{stream}, entry {seq}: it is not the one that head {head.n} witnessed, or it is gone"
        for stream, seq, value, *_ in named.tips
        # Of other incidents' streams, nothing is here to compare.
        if stream in journal.streams and journal.hashes.get((stream, seq)) != value
    ]
