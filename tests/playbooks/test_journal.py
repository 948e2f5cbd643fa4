"""Whatever is done to a journal's entries and heads by somebody without a key is found."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typing_extensions import override

from integrations.signing import PublicKey
from integrations.vault.bundle.chains import read_heads, read_journal
from integrations.vault.bundle.contents import Room
from integrations.vault.bundle.layout import entry_line, head_line
from playbooks.record.journal import (
    GENESIS,
    VERSION,
    Added,
    Entry,
    Event,
    Head,
    entry,
    head_data,
    link,
    upcast,
    verify_chain,
)

AT = "2026-01-31T12:00:00.000Z"
KEY = f"sha256:{'a' * 64}"
NAMES = ("system", "incident/inc-2026-000001", "campaign/x")


def sign(digest: bytes) -> bytes:
    """Stand in for Ed25519, which only the responder can make and everybody can check."""
    return hmac.digest(b"secret", digest, "sha512")


class Known(PublicKey):
    """The responder's key, as everybody has it."""

    def __init__(self) -> None:
        pass

    @override
    def signed(self, digest: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(sign(digest), signature)


PLENTY = Room(1 << 40)


@dataclass(frozen=True)
class Written:
    """A journal as it lies in a database."""

    streams: dict[str, tuple[Entry, ...]]
    heads: tuple[Head, ...]

    def faults(self, witness: Head | None = None) -> list[str]:
        """Verify all of it, as a reader of an archive does."""
        entries = b"".join(
            entry_line(item._replace(stream=name)) for name in sorted(self.streams) for item in self.streams[name]
        )
        journal = read_journal(bytearray(entries), PLENTY)
        lines = b"".join(head_line(head, anchor=False) for head in self.heads)
        heads = read_heads(bytearray(lines), {KEY: Known()}, journal, PLENTY)
        faults = journal.faults + heads.faults
        if faults:
            return faults
        # A manifest says of each stream where it ends; here each is all that the heads name.
        for name in {*self.streams, *heads.witnessed}:
            last = self.streams[name][-1].seq if self.streams.get(name) else 0
            if last != (seen := heads.witnessed.get(name, 0)):
                faults.append(f"{name}, entry {max(last, seen)}: " + ("no head covers it" if last > seen else "gone"))
        if witness is not None and heads.hashes.get(witness.n) != witness.hash.hex():
            faults.append(f"head {witness.n}: it was witnessed, and it is gone")
        return faults

    def put(self, name: str, entries: Sequence[Entry]) -> "Written":
        """Return it with other entries in a stream."""
        return replace(self, streams={**self.streams, name: tuple(entries)})


def write(commits: Sequence[Sequence[tuple[str, Event]]]) -> Written:
    """Write commits, each under one head, as a responder does."""
    streams: dict[str, tuple[Entry, ...]] = {}
    heads: list[Head] = []
    for commit in commits:
        first: dict[str, int] = {}
        for name, event in commit:
            before = streams.get(name, ())
            first.setdefault(name, len(before) + 1)
            previous = before[-1].hash if before else GENESIS
            streams[name] = (*before, entry(name, len(before) + 1, previous, AT, event))
        tips = [streams[name][-1] for name in first]
        added = [Added(tip.stream, tip.seq, tip.hash, first[tip.stream]) for tip in tips]
        data = head_data(len(heads) + 1, AT, KEY, added)
        digest = link(heads[-1].hash if heads else GENESIS, data)
        heads.append(Head(len(heads) + 1, data, digest, sign(digest)))
    return Written(streams, tuple(heads))


bodies = st.dictionaries(st.text(max_size=5), st.text(max_size=8) | st.integers(-9, 9) | st.none(), max_size=3)
events = st.builds(Event, st.sampled_from(["opened", "intended", 'odd","seq":1']), bodies, st.sampled_from(["a", "b"]))
commits = st.lists(st.tuples(st.sampled_from(NAMES), events), min_size=1, max_size=4)
journals = st.lists(commits, min_size=1, max_size=6).map(write)


def flip(data: bytes, place: int) -> bytes:
    place %= len(data) * 8
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def is_about(fault: str, head: int) -> bool:
    """Whether a fault names a head, by its number or by its line, which for these is the same."""
    return fault.startswith((f"head {head} ", f"head {head}:", f"line {head} of heads.jsonl"))


def pick(data: st.DataObject, journal: Written) -> tuple[str, list[Entry], int]:
    name = data.draw(st.sampled_from(sorted(journal.streams)))
    entries = list(journal.streams[name])
    return name, entries, data.draw(st.integers(0, len(entries) - 1))


@given(journals)
def test_what_nobody_touched_has_no_fault(journal: Written) -> None:
    assert journal.faults(journal.heads[-1]) == []


@given(journals, st.data())
def test_a_flipped_bit_of_an_entry_is_found_where_it_is(journal: Written, data: st.DataObject) -> None:
    name, entries, at = pick(data, journal)
    item, place = entries[at], data.draw(st.integers(0, 10_000))
    in_hash = data.draw(st.booleans())
    entries[at] = item._replace(hash=flip(item.hash, place)) if in_hash else item._replace(data=flip(item.data, place))
    assert journal.put(name, entries).faults()[0].startswith(f"{name}, entry {item.seq}: ")


@given(journals, st.data())
def test_a_dropped_entry_is_found(journal: Written, data: st.DataObject) -> None:
    name, entries, at = pick(data, journal)
    dropped = entries.pop(at)
    faults = journal.put(name, entries).faults()
    assert faults
    assert faults[0].startswith(f"{name}, entry {dropped.seq}: ")


@given(journals, st.data())
def test_a_reordered_entry_is_found(journal: Written, data: st.DataObject) -> None:
    name, entries, at = pick(data, journal)
    other = data.draw(st.integers(0, len(entries) - 1))
    assume(at != other)
    entries[at], entries[other] = entries[other], entries[at]
    assert journal.put(name, entries).faults()
    # Renumbered to where they now stand, too.
    assert journal.put(name, [item._replace(seq=n) for n, item in enumerate(entries, 1)]).faults()


@given(journals, st.data())
def test_an_entry_is_found_in_another_stream(journal: Written, data: st.DataObject) -> None:
    _, entries, _ = pick(data, journal)
    faults = journal.put("campaign/copy", entries).faults()
    assert faults[0].startswith("campaign/copy, entry 1: ")


@given(journals, st.data(), events)
def test_a_stream_rewritten_from_any_place_is_found(journal: Written, data: st.DataObject, event: Event) -> None:
    name, entries, at = pick(data, journal)
    for place in range(at, len(entries)):
        previous = entries[place - 1].hash if place else GENESIS
        entries[place] = entry(name, place + 1, previous, "2026-01-31T12:00:00.001Z", event)
    assert list(verify_chain(name, entries)) == []
    assert {fault.partition(", ")[0] for fault in journal.put(name, entries).faults()} == {name}


@given(journals, st.data(), events)
def test_an_entry_added_without_a_key_is_found(journal: Written, data: st.DataObject, event: Event) -> None:
    name, entries, _ = pick(data, journal)
    entries.append(entry(name, len(entries) + 1, entries[-1].hash, AT, event))
    assert journal.put(name, entries).faults() == [f"{name}, entry {len(entries)}: no head covers it"]


@given(journals, st.data())
def test_a_flipped_bit_of_a_head_is_found(journal: Written, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(journal.heads) - 1))
    place, part = data.draw(st.integers(0, 10_000)), data.draw(st.sampled_from(["data", "hash", "signature"]))
    heads = list(journal.heads)
    content = heads[at]._asdict()
    heads[at] = Head(**{**content, part: flip(content[part], place)})
    assert is_about(replace(journal, heads=tuple(heads)).faults()[0], at + 1)


@given(journals, st.data())
def test_swapped_and_dropped_heads_are_found(journal: Written, data: st.DataObject) -> None:
    assume(len(journal.heads) > 1)
    one, two = sorted(data.draw(st.sets(st.integers(0, len(journal.heads) - 1), min_size=2, max_size=2)))
    heads = list(journal.heads)
    heads[one], heads[two] = heads[two], heads[one]
    assert is_about(replace(journal, heads=tuple(heads)).faults()[0], one + 1)
    renumbered = tuple(head._replace(n=n) for n, head in enumerate(heads, 1))
    assert is_about(replace(journal, heads=renumbered).faults()[0], one + 1)
    dropped = journal.heads[:one] + journal.heads[one + 1 :]
    assert is_about(replace(journal, heads=dropped).faults()[0], one + 1)


@given(journals, st.data())
def test_heads_chained_anew_without_a_key_are_found(journal: Written, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(journal.heads) - 1))
    heads = list(journal.heads[:at])
    for old in journal.heads[at:]:
        content = old.data.replace(b'"at":"2026', b'"at":"2027')
        heads.append(Head(old.n, content, link(heads[-1].hash if heads else GENESIS, content), old.signature))
    faults = replace(journal, heads=tuple(heads)).faults()
    assert faults == [f"head {at + 1} is not signed by a key that the manifest names"]


@given(st.lists(commits, min_size=1, max_size=6), st.data())
def test_any_lost_tail_is_found_against_a_witness_and_only_so(
    all_commits: list[list[tuple[str, Event]]], data: st.DataObject
) -> None:
    kept = data.draw(st.integers(0, len(all_commits) - 1))
    whole, cut = write(all_commits), write(all_commits[:kept])
    assert cut.faults() == []
    seen = data.draw(st.integers(kept, len(all_commits) - 1))
    assert cut.faults(whole.heads[seen]) == [f"head {seen + 1}: it was witnessed, and it is gone"]
    # Written over by a responder that went on from there.
    other = write([*all_commits[:kept], *([[("system", Event("later", {}))]] * (len(all_commits) - kept))])
    assume(other.heads[seen].hash != whole.heads[seen].hash)
    assert other.faults(whole.heads[seen])


@given(events)
def test_what_is_written_is_what_is_read(event: Event) -> None:
    stored = entry("system", 1, GENESIS, AT, event)
    parsed = stored.parsed()
    assert (parsed.kind, parsed.actor, parsed.body, parsed.at) == (event.kind, event.actor, event.body, AT)
    assert stored.hash == hashlib.sha256(GENESIS + stored.data).digest()


def test_an_entry_of_a_newer_release_is_refused_by_name() -> None:
    assert upcast("opened", VERSION, {"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="upgrade"):
        upcast("opened", VERSION + 1, {})
