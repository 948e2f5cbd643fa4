"""Suppressions as rows beside the streams, on both databases."""

import pytest

from integrations.journal import Journal, Tx
from integrations.journal.records import Suppression
from playbooks.errors import Refused
from playbooks.record.journal import SYSTEM, Event

ONE = Suppression("source:siem", "siem", None, 2e9, "a planned change", "ann", 1.0, 1, 1, 0)


async def test_one_of_the_same_scope_gives_way_and_its_count_begins_anew(journal: Journal) -> None:
    other = ONE._replace(scope="rule:a/b", source="a", rule="b", seq=2)
    await journal.submit(lambda tx: tx.suppress(ONE))
    await journal.submit(lambda tx: tx.suppress(other))
    await journal.submit(lambda tx: tx.hide(ONE.scope))
    await journal.submit(lambda tx: tx.hide(ONE.scope))
    assert await journal.suppressions() == [ONE._replace(hidden=2), other]
    await journal.submit(lambda tx: tx.suppress(ONE._replace(seq=3, until=3e9)))
    assert await journal.suppressions() == [other, ONE._replace(seq=3, until=3e9)]
    assert await journal.submit(lambda tx: tx.unsuppress(ONE.scope))
    assert not await journal.submit(lambda tx: tx.unsuppress(ONE.scope))
    assert await journal.submit(lambda tx: tx.suppressions()) == [other]


async def test_what_a_refused_unit_suppressed_is_not(journal: Journal) -> None:
    async def unit(tx: Tx) -> None:
        await tx.suppress(ONE)
        raise Refused("no")

    with pytest.raises(Refused):
        await journal.submit(unit)
    assert await journal.suppressions() == []


async def test_an_entry_by_its_place_stored_or_made_just_now(journal: Journal) -> None:
    await journal.append(SYSTEM, [Event("first", {}), Event("second", {})])

    async def unit(tx: Tx) -> list[str | None]:
        await tx.append(SYSTEM, [Event("third", {})])
        found = [await tx.entry(SYSTEM, seq) for seq in (1, 3, 4)]
        return [entry.kind if entry else None for entry in found]

    assert await journal.submit(unit) == ["first", "third", None]


async def test_numbers_are_never_given_twice(journal: Journal) -> None:
    first = await journal.submit(lambda tx: tx.next("suppression"))
    assert await journal.submit(lambda tx: tx.next("suppression")) == first + 1
