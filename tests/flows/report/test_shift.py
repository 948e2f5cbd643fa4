"""The handover and the week count and order what the journals say."""

from datetime import timedelta
from typing import Any

import pytest

from flows.report.document import Commands, Document, Picture, Table, Warn
from flows.report.handover import Shift, Suppressed, handover
from flows.report.switches import Switch
from flows.report.week import points, week
from flows.report.words import clock, length
from playbooks.gate.plan import Answer
from playbooks.playbook import shipped
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from tests.lab import stories
from tests.lab.stories import Timed

PLAYBOOKS = shipped()
NOW = stories.at(10_800)


def rows(document: Document, caption: str) -> list[dict[str, str]]:
    blocks = [block for section in document.sections for block in section.blocks]
    found = [block for block in blocks if isinstance(block, Table) and block.caption == caption]
    assert len(found) == 1, caption
    return [dict(zip(found[0].heads, row, strict=True)) for row in found[0].rows]


def told(story: list[Timed], number: int) -> Incident:
    return stories.told(story, f"inc-2026-{number:06}")


def shift(*states: Incident, **more: Any) -> Document:  # noqa: ANN401  # fields of a shift
    return handover(Shift(at=NOW, since=timedelta(hours=1), states=states, playbooks=PLAYBOOKS, **more))


ASKING = [
    *stories.contained(),
    (9000.0, stories.proposed("other", expires=11_700)),
    (9001.0, stories.decided("kim", name="other")),
]


def test_the_worst_comes_first_and_what_is_closed_is_not_open() -> None:
    document = shift(told(stories.contained(), 1), told(stories.leaking(), 2), told(stories.over(), 3), told(ASKING, 4))
    assert [row["Incident"] for row in rows(document, "Open incidents")] == [
        "inc-2026-000002",
        "inc-2026-000004",
        "inc-2026-000001",
    ]
    assert any("NOT CONTAINED: inc-2026-000002" in block.text for block in document.lead if isinstance(block, Warn))


def test_what_runs_out_first_stands_first_and_what_is_overdue_says_so() -> None:
    early = [
        (0.0, stories.opened()),
        (0.1, stories.intended(until=10_000)),
        (0.2, stories.wrote(0.2)),
        (0.3, stories.verified(0.3)),
    ]
    leases = rows(shift(told(stories.contained(), 1), told(early, 2)), "In force")
    assert [row["Incident"] for row in leases] == ["inc-2026-000002", "inc-2026-000001"]
    assert leases[0]["Left"] == f"OVERDUE by {length(800)}"
    assert leases[1]["Left"] == length(86_400 - 10_800)
    assert leases[1]["Holds"] == "established"


def test_a_question_says_who_is_missing_and_until_when() -> None:
    (ask,) = rows(shift(told(ASKING, 4), approvers=("lee", "kim", "ann")), "Questions")
    assert ask["Still needed"] == "1 of 2, approved by kim"
    assert ask["From"] == "ann, lee"
    assert ask["Until, then no"] == clock(stories.at(11_700))
    (ask,) = rows(shift(told(ASKING, 4), approvers=("kim",)), "Questions")
    assert ask["From"] == "NOBODY who may answer it"


def test_whoever_asked_and_whoever_was_spoken_for_is_not_waited_for() -> None:
    by_hand = (9000.0, stories.proposed("other", expires=11_700, by="ann"))
    lent = (9001.0, stories.decided("eve", name="other", behalf="lee"))
    asked = told([*stories.contained(), by_hand, lent], 4)
    (ask,) = rows(shift(asked, approvers=("ann", "lee", "kim")), "Questions")
    assert (ask["Still needed"], ask["From"]) == ("1 of 2, approved by eve", "kim")


def part_of(*others: int, name: str = "cam-2026-000001", value: str = "evil.example.com") -> tuple[float, Event]:
    """Say that an incident shares what it found with others."""
    body = {
        "campaign": name,
        "mark": {"kind": "indicator", "value": value},
        "with": [f"inc-2026-{number:06}" for number in others],
        "members": len(others) + 1,
    }
    return 100.0, Event("campaign", body)


def test_a_campaign_is_named_with_what_its_open_incidents_ask_and_hold_and_how_it_is_read() -> None:
    asks, holds = [*ASKING, part_of(2, 3)], [*stories.contained(), part_of(1, 3)]
    alone = [*stories.leaking(), part_of(9, name="cam-2026-000002")]
    document = shift(told(asks, 1), told(holds, 2), told([*stories.over(), part_of(1, 2)], 3), told(alone, 4))
    first, second = rows(document, "Campaigns")
    assert first == {
        "Campaign": "cam-2026-000001",
        "The same": "indicator evil[.]example[.]com",
        "Open incidents": "inc-2026-000001, inc-2026-000002",
        "Questions": "1",
        "Things contained": "1 (by 2 leases)",
    }
    assert (second["Campaign"], second["Open incidents"]) == ("cam-2026-000002", "inc-2026-000004")
    (section,) = [one for one in document.sections if one.title == "Campaigns"]
    assert [list(one.lines) for one in section.blocks if isinstance(one, Commands)] == [
        ["mcp-soar campaign cam-2026-000001", "mcp-soar campaign cam-2026-000002"]
    ]
    assert rows(shift(told(ASKING, 4)), "Campaigns") == []


def test_only_what_changed_since_is_told_closed_incidents_too() -> None:
    document = shift(told(stories.over(), 3), told(ASKING, 4))
    changes = rows(document, "Changes")
    # 3600 s back from 10 800 s: the release at 7200 s and what came after.
    assert {row["Incident"] for row in changes} == {"inc-2026-000003", "inc-2026-000004"}
    assert changes == sorted(changes, key=lambda row: row["When (UTC)"])
    assert all(row["When (UTC)"] >= clock(stories.at(7200))[:19] for row in changes)
    assert any("closed as resolved" in row["What"] for row in changes)


def test_messages_that_reached_nobody_are_listed() -> None:
    lost = rows(shift(told(stories.leaking(), 2)), "Reached nobody")
    assert len(lost) == 1
    assert "still gets through" in lost[0]["Message"]
    assert rows(shift(told(stories.contained(), 1)), "Reached nobody") == []


def test_a_page_that_somebody_was_woken_for_and_nobody_took_up_is_listed() -> None:
    wakened = stories.told_of("not_established:0", "slack", purpose="on_call:0:0", contact="kim")
    story = [*stories.leaking(), (902.0, wakened)]
    (row,) = rows(shift(told(story, 3)), "Not taken up")
    assert "still gets through" in row["Message"]
    taken = Event("acknowledged", {"pages": ["not_established:0"], "by": "kim", "way": "key"}, "kim")
    assert rows(shift(told([*story, (903.0, taken)], 3)), "Not taken up") == []
    assert rows(shift(told(stories.contained(), 1)), "Not taken up") == []


def classified(to: str, *, triage: str | None) -> Event:
    body = {"class": to, "was": "unclassified", "by": "kim", "key": "k", "entities": [], "unresolved": []}
    return Event("classified", {**body, "playbook": None, "triage": triage, "reason": "seen"}, "kim")


CHOSEN = Event("chosen", {"by": "kim", "entities": [], "playbook": None, "reason": "it calls home"}, "kim")


@pytest.mark.parametrize(
    "looked",
    [
        classified("tool_misuse", triage=None),
        # Another class without a playbook: it still waits, and somebody has looked.
        classified("ide_layer", triage="there is no playbook for ide_layer: say what to contain"),
        CHOSEN,
    ],
)
@pytest.mark.parametrize("severity", [4, 5])
def test_who_says_what_it_is_has_taken_up_that_somebody_look(looked: Event, severity: int) -> None:
    why = "no rule of the source's configuration gives it a class: `mcp-soar classify ID --as-class` does"
    opened = stories.opened(stories.PLAIN, severity=severity, triage=why, playbook=None, **{"class": "unclassified"})
    story = [(0.0, opened), (0.1, stories.page("opened", f"Opened. {why}."))]
    story.append((0.2, stories.told_of("opened", "slack", purpose="on_call:0:0", contact="kim")))
    assert len(rows(shift(told(story, 3)), "Not taken up")) == 1
    after = shift(told([*story, (5.0, looked)], 3))
    assert rows(after, "Not taken up") == []
    # A page of later is another one.
    later = (6.0, stories.page("not_established:1", "NOT contained"))
    leaks = [(7.0, stories.intended()), (7.1, stories.wrote(7.1)), (7.2, stories.verified(7.2, Answer.NOT_ESTABLISHED))]
    assert len(rows(shift(told([*story, (5.0, looked), later, *leaks], 3)), "Not taken up")) == 1


def test_switches_and_suppressions_and_damaged_journals_are_told() -> None:
    document = shift(
        switches=[Switch("server:weather", "ann", "we look", stories.at(10))],
        quiet=[Suppressed("source:falco", "bob", "too noisy", stories.at(20_000), 7)],
        damaged=[("inc-2026-000009", "entry 2 is missing")],
    )
    warned = [block.text for block in document.lead if isinstance(block, Warn)]
    assert any(text.startswith("STOPPED: server:weather by ann") for text in warned)
    assert any("inc-2026-000009" in text and "entry 2 is missing" in text for text in warned)
    assert rows(document, "Kill switches")[0]["Reason"] == "we look"
    quiet = rows(document, "Suppressed")[0]
    assert (quiet["What"], quiet["Set aside"], quiet["Until"]) == ("source:falco", "7", clock(stories.at(20_000)))


def test_tasks_are_told_until_they_are_over() -> None:
    given_back = stories.over()[:-1]
    assert [row["Task"] for row in rows(shift(told(given_back, 1)), "Tasks")] == [
        "Find out how the definition came to change, and approve it anew or replace the server."
    ]
    assert len(rows(shift(told(stories.contained(), 1)), "Tasks")) == 2


def of_week(*states: Incident, at: float = 10_800, **more: Any) -> Document:  # noqa: ANN401  # further arguments
    return week(states, at=stories.at(at), playbooks=PLAYBOOKS, **more)


def test_a_week_counts_by_class_and_severity() -> None:
    other = [(0.0, stories.opened(stories.PLAIN, severity=5, **{"class": "server_spoofing"}))]
    counts = rows(
        of_week(told(stories.contained(), 1), told(stories.over(), 2), told(other, 3)),
        "Incidents by class and severity",
    )
    assert [(row["Class"], row["critical"], row["high"], row["all"]) for row in counts] == [
        ("tool_poisoning", "0", "2", "2"),
        ("server_spoofing", "1", "0", "1"),
        ("all", "1", "2", "3"),
    ]


def test_an_incident_of_another_week_is_not_counted_but_stays_in_the_trend() -> None:
    document = of_week(told(stories.over(), 1), at=8 * 86_400)
    assert rows(document, "Incidents by class and severity") == []
    assert [row["Incident"] for row in rows(document, "The same in words")] == ["inc-2026-000001"]


def test_the_trend_has_the_projection_s_times_and_the_playbook_s_goal() -> None:
    states = [told(stories.contained(), 1), told(stories.leaking(), 2)]
    found = points([view(state, playbook=state.goes_by(PLAYBOOKS)) for state in states])
    assert [(point.incident, point.seconds, point.goal) for point in found] == [
        ("inc-2026-000001", 0.246, 60.0),
        ("inc-2026-000002", None, 60.0),
    ]
    document = of_week(*states)
    assert [row["Contained after"] for row in rows(document, "The same in words")] == ["246 ms", "-"]
    assert any(isinstance(block, Picture) for section in document.sections for block in section.blocks)


def test_what_did_not_go_well_is_listed() -> None:
    noise = [*stories.over()[:-1], (7260.0, stories.closed("a planned change", "false-positive"))]
    document = of_week(told(stories.leaking(), 1), told(noise, 2))
    assert [row["Incident"] for row in rows(document, "Never proven")] == ["inc-2026-000001"]
    assert [row["Incident"] for row in rows(document, "False positives")] == ["inc-2026-000002"]
    assert [row["Incident"] for row in rows(document, "Lapsed")] == ["inc-2026-000001"]


def test_a_containment_that_is_old_is_listed_by_its_age() -> None:
    state = told(stories.contained(), 1)
    assert rows(of_week(state, at=2 * 86_400, old=timedelta(days=3)), "Old containments") == []
    old = rows(of_week(state, at=4 * 86_400, old=timedelta(days=3)), "Old containments")
    assert [(row["Incident"], row["Age"]) for row in old] == [("inc-2026-000001", "4 d")]


def test_nothing_at_all_is_a_report_too() -> None:
    assert rows(shift(), "Open incidents") == []
    assert rows(of_week(), "Incidents by class and severity") == []
