"""Campaigns as laws, over any order of alerts: bounded, said once in each incident, and no incident ends by them."""

from collections import Counter
from collections.abc import Collection, Sequence
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.engine import campaigns
from flows.engine.case import PREFIX
from flows.engine.opening import CUT
from playbooks.record.campaign import MEMBERS, NAMED, Mark, Member, Shared, spread
from playbooks.record.journal import CAMPAIGN, Event

MARKS = [Mark(Shared.TEXT, f"t{n}") for n in range(3)]


class Journal:
    """What the journal keeps of streams, in memory: as much of a transaction as campaigns use.

    Args:
        incidents: the streams that are open.
    """

    def __init__(self, incidents: Collection[str]) -> None:
        self.streams: dict[str, list[Event]] = {name: [] for name in incidents}
        self.keys: dict[str, str] = {}
        self.closed: set[str] = set()
        self.calls = 0

    async def find_all_open(self, keys: Collection[str]) -> dict[str, str]:
        self.calls += 1
        return {key: self.keys[key] for key in keys if key in self.keys}

    async def begin(self, prefix: str, key: str) -> str:
        self.calls += 1
        assert key not in self.keys
        self.keys[key] = name = f"{prefix}-{len(self.streams)}"
        self.streams[name] = []
        return name

    async def append(self, name: str, events: Sequence[Event]) -> None:
        self.calls += 1
        assert name not in self.closed
        self.streams[name] += events

    async def read(self, name: str) -> list[Any]:
        self.calls += 1
        return [SimpleNamespace(parsed=lambda event=event: event) for event in self.streams[name]]

    async def stream(self, name: str) -> Any:  # noqa: ANN401  # as much of a row as is asked for
        self.calls += 1
        return SimpleNamespace(frozen=None, closed_at=0.0 if name in self.closed else None)

    async def make_runnable(self, name: str, lane: str) -> None:
        self.calls += 1
        assert name in self.streams
        assert lane == CUT

    async def close_stream(self, name: str) -> None:
        assert name.startswith(CAMPAIGN), "no incident is ever closed by its campaign"
        self.closed.add(name)
        self.keys = {key: whose for key, whose in self.keys.items() if whose != name}


def said(journal: Journal, name: str) -> list[dict[str, Any]]:
    return [dict(event.body) for event in journal.streams[name]]


ALERTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.lists(st.sampled_from(MARKS), min_size=1, max_size=3, unique=True),
        st.sampled_from(["a", "b", ""]),
    ),
    max_size=25,
)


@given(ALERTS)
@settings(deadline=None)
async def test_whatever_comes_each_incident_says_each_campaign_once_and_only_one_that_is_spread(
    alerts: list[tuple[int, list[Mark], str]],
) -> None:
    journal = Journal([f"{PREFIX}{n}" for n in range(10)])
    has: dict[int, set[Mark]] = {}
    places: dict[int, str] = {}
    for incident, marks, server in alerts:
        where = places.setdefault(incident, server)
        new = [mark for mark in marks if mark not in has.setdefault(incident, set())]
        has[incident] |= set(marks)
        await campaigns.take(journal, f"{PREFIX}{incident}", new, [where])  # type: ignore[arg-type]  # as much as is used
    for mark in MARKS:
        name = journal.keys.get(mark.key)
        members = [Member.read(body) for body in said(journal, name)] if name else []
        assert {one.incident for one in members} == {str(n) for n, marks in has.items() if mark in marks}
        assert len({one.incident for one in members}) == len(members)
        campaign = (name or "").removeprefix(CAMPAIGN)
        told = Counter(
            incident
            for incident in has
            for body in said(journal, f"{PREFIX}{incident}")
            if body["campaign"] == campaign
        )
        if spread(members):
            assert told == {int(one.incident): 1 for one in members}
        else:
            assert not told


@given(st.integers(MEMBERS - 3, MEMBERS + 30))
@settings(deadline=None, max_examples=5)
async def test_a_flood_ends_at_the_limit_and_no_alert_costs_more_than_the_second_did(number: int) -> None:
    journal = Journal([f"{PREFIX}{n}" for n in range(number)])
    costs = []
    for n in range(number):
        before = journal.calls
        await campaigns.take(journal, f"{PREFIX}{n}", MARKS[:1], [f"server-{n}"])  # type: ignore[arg-type]  # likewise
        costs.append(journal.calls - before)
    (name,) = (name for name in journal.streams if name.startswith(CAMPAIGN))
    assert len(journal.streams[name]) == min(number, MEMBERS)
    assert max(costs) == costs[1]
    longest = max(len(event.body["with"]) for n in range(2) for event in journal.streams[f"{PREFIX}{n}"])
    assert longest <= NAMED


@given(st.permutations(range(5)))
@settings(deadline=None)
async def test_a_campaign_ends_with_its_last_incident_whichever_that_is(order: list[int]) -> None:
    journal = Journal([f"{PREFIX}{n}" for n in range(5)])
    for n in range(5):
        await campaigns.take(journal, f"{PREFIX}{n}", MARKS, [f"server-{n}"])  # type: ignore[arg-type]  # likewise
    for place, n in enumerate(order):
        journal.closed.add(f"{PREFIX}{n}")
        await campaigns.leave(journal, MARKS)  # type: ignore[arg-type]  # likewise
        ended = place == len(order) - 1
        assert (not journal.keys) is ended
        assert {name for name in journal.closed if name.startswith(PREFIX)} == {
            f"{PREFIX}{one}" for one in order[: place + 1]
        }
