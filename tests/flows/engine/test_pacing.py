"""The watch's turns: a share of each system's time and no more, nobody starves, and a slow system costs its own."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.engine import pacing
from integrations.journal.records import Watch
from playbooks.gate.plan import Answer

EVERY, SHARE, OTHER = 60.0, 0.1, "gateway/other"


@dataclass
class Lease:
    """A lease whose incident comes when it was told to and at each look, or is in hand elsewhere."""

    name: str
    took: float
    severity: int = 3
    answer: Answer = Answer.ESTABLISHED
    comes: bool = True
    asked_at: float = 0.0
    seen_at: float = 0.0
    wakes_at: float = 0.0
    asked: list[float] = field(default_factory=list)

    def row(self, now: float) -> Watch:
        """Return what its latest check says."""
        age = now - self.asked_at
        where, asked, seen = "gateway/main", 1e9 + self.asked_at, 1e9 + self.seen_at
        return Watch(self.name, self.name, asked, self.answer.value, where, self.severity, self.took, seen, age)


def played(leases: list[Lease], seconds: float) -> float:
    """Let the watch go on for so long, and return how long the system was asked altogether."""
    now = spent = 0.0
    while now < seconds:
        now = max(now, min(lease.wakes_at for lease in leases))
        lease = min(leases, key=lambda one: one.wakes_at)
        rows = [one.row(now) for one in leases]
        wait = pacing.wait(rows, lease.name, every=EVERY, share=SHARE)
        lease.seen_at = now if lease.comes else 0.0
        if wait > 0 or not lease.comes:
            lease.wakes_at = now + (min(max(wait, 0.001), EVERY * 0.75) if lease.comes else EVERY * 0.75)
            continue
        now += lease.took
        spent += lease.took
        lease.asked.append(now)
        lease.asked_at, lease.wakes_at = now, now + EVERY * 0.75
    return spent


def periods(leases: list[Lease]) -> dict[str, float]:
    """Return how many seconds lie between two questions about each."""
    rows = [lease.row(0.0) for lease in leases]
    return pacing.periods(rows, every=EVERY, share=SHARE)


LEASES = st.lists(
    st.builds(
        lambda took, severity, answer: (took, severity, answer),
        st.floats(0.01, 4.0),
        st.integers(1, 5),
        st.sampled_from(Answer),
    ),
    min_size=1,
    max_size=12,
)


@given(LEASES)
@settings(max_examples=25, deadline=None)
def test_the_share_is_kept_and_no_lease_starves(said: list[tuple[float, int, Answer]]) -> None:
    leases = [Lease(str(n), took, severity, answer) for n, (took, severity, answer) in enumerate(said)]
    apart = periods(leases)
    long = max(apart.values())
    spent = played(leases, 5 * long)
    longest = max(lease.took for lease in leases)
    assert spent <= SHARE * 5 * long + longest
    for lease in leases:
        waits = [after - before for before, after in zip([0.0, *lease.asked], lease.asked, strict=False)]
        assert waits, f"{lease} was never asked in {5 * long} s"
        # Two of its periods, and the questions that came before it in the meantime; a look's rest on top.
        most = 2 * apart[lease.name] + sum(other.took for other in leases) + 2 * EVERY
        assert max(waits) <= most, (lease, apart[lease.name])


@pytest.mark.parametrize(
    ("slow", "took", "answer", "most"),
    [(5, 12.0, Answer.ESTABLISHED, 5.0), (3, 20.0, Answer.ESTABLISHED, 5.0), (5, 12.0, Answer.UNKNOWN, 7.0)],
)
def test_those_that_are_slow_to_answer_keep_nobody_waiting(slow: int, took: float, answer: Answer, most: float) -> None:
    """A server that takes its time on purpose, so that nobody sees what is undone elsewhere."""
    late = [Lease(f"slow{n}", took, 5, answer) for n in range(slow)]
    honest = [Lease(str(n), 0.3) for n in range(20 - slow)]
    spent = played([*late, *honest], 3600.0)
    assert spent <= SHARE * 3600 + took
    for lease in honest:
        waits = [after - before for before, after in zip([0.0, *lease.asked], lease.asked, strict=False)]
        assert max([*waits, 3600.0 - lease.asked[-1]]) <= most * EVERY
    assert all(len(lease.asked) >= 2 for lease in late), "and each of them is asked all the same"


def test_few_are_asked_at_each_look_and_many_in_turn() -> None:
    few = [Lease(str(n), 0.36) for n in range(10)]
    assert set(periods(few).values()) == {EVERY}
    many = [Lease(str(n), 0.375) for n in range(40)]
    assert {round(apart) for apart in periods(many).values()} == {150}
    played(many, 1500.0)
    assert {len(one.asked) for one in many} <= {8, 9}, "each in its turn, nearly as often as it is said"


def test_the_severe_and_what_does_not_hold_come_first_and_of_the_rest_the_longest_unasked() -> None:
    missed, just = Lease("missed", 0.5, 1, asked_at=-200.0), Lease("just", 0.5, asked_at=56.0)
    calm, old, grave = Lease("calm", 0.5), Lease("old", 0.5, asked_at=-5.0), Lease("grave", 0.5, 5)
    leases = [calm, old, grave, Lease("doubt", 0.5, answer=Answer.UNKNOWN), missed, just]
    rows = [lease.row(61.0)._replace(seen_at=1e9 + 61.0) for lease in leases]
    waits = {row.lease: pacing.wait(rows, row.lease, every=EVERY, share=SHARE) for row in rows}
    assert sorted(waits, key=lambda name: waits[name]) == ["missed", "doubt", "grave", "old", "calm", "just"]
    assert [name for name, wait in waits.items() if wait <= 0] == ["missed"]


def test_whoever_is_in_hand_elsewhere_holds_up_nobody() -> None:
    leases = [Lease(str(n), 0.5, severity=5 if n < 8 else 1, comes=n >= 8) for n in range(40)]
    long = max(periods(leases).values())
    played(leases, 4 * long)
    assert min(len(lease.asked) for lease in leases if lease.comes) >= 2


def test_a_slow_system_costs_its_own_share() -> None:
    slow = [Watch(f"s{n}", "i", 0.0, "established", OTHER, 3, 15.0, None, 1.0) for n in range(50)]
    mine = Lease("mine", 0.3, asked_at=-61.0)
    rows = [*slow, mine.row(0.0)]
    assert pacing.wait(pacing.at(rows, "gateway/main"), "mine", every=EVERY, share=SHARE) <= 0
    assert pacing.wait(pacing.at(rows, OTHER), "s0", every=EVERY, share=SHARE) > 7000
