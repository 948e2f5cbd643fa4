"""An incident that was joined to another: it says so wherever it is shown, and whoever acts on it is told where to."""

from datetime import timedelta

import pytest

from flows.engine.people import notices
from flows.pages.pages import overview
from flows.pages.runs import standing
from flows.report.document import Document, Table, Text
from flows.report.handover import Shift, handover
from flows.report.incident import report
from flows.report.week import week
from playbooks.gate.plan import Answer
from playbooks.people.briefing import Topic, brief
from playbooks.people.contacts import Language
from playbooks.people.escalation import over, urgent
from playbooks.people.rendering import render
from playbooks.playbook import shipped
from playbooks.record.incident import Severity, Status
from playbooks.record.journal import Event
from playbooks.record.proof import proof
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.record.told import Page
from playbooks.record.viewing import view
from tests.flows.cli import world
from tests.flows.cli.test_reasons import _only
from tests.flows.cli.world import ID, Installation
from tests.flows.report.test_one_truth import said
from tests.lab import stories
from tests.lab.stories import Timed

OTHER = "inc-2026-000002"
TO = f"joined to {ID}"
INVENTORY = world.READ
PART = Event("goes_on_in", {"incident": ID, "by": "ann", "reason": "the same server"}, "ann")
CRITICAL = (0.0, stories.opened(severity=int(Severity.CRITICAL)))


def story(*events: Event, held: bool = False) -> list[Timed]:
    """A critical incident that was joined, with what came before and after that."""
    before = stories.contained()[1:] if held else [(0.1, stories.page("opened", "look"))]
    return [CRITICAL, *before, (10.0, PART), *((11.0 + n, event) for n, event in enumerate(events))]


def told(*events: Event, held: bool = False) -> Incident:
    return stories.told(story(*events, held=held), OTHER)


def shift(*states: Incident) -> Document:
    return handover(Shift(at=stories.at(60), since=timedelta(hours=1), states=states, playbooks=shipped()))


@pytest.mark.parametrize("held", [False, True])
def test_it_says_so_wherever_it_is_shown(held: bool) -> None:  # noqa: FBT001  # drawn
    state, at = told(held=held), stories.at(60)
    entries = [one.parsed() for one in stories.journal(story(held=held), OTHER)]
    en, ko = (render(brief(state, inventory=INVENTORY, at=at), language) for language in (Language.EN, Language.KO))
    shown = {
        "report": str(report(state, entries, at=at).lead),
        "handover": said(_only(shift(state), "Open incidents")),
        "message": en.text,
        "Slack": str(en.blocks),
        "Prefect": overview(view(state), ()).replace("\\", "").partition("##")[0],
        "Prefect's run": str(standing(view(state), busy=False).message),
    }
    for where, text in shown.items():
        assert TO in text, where
    assert f"{ID}에 병합됨" in ko.text
    assert state.status is Status.JOINED


def test_it_is_no_open_work_but_for_what_it_holds() -> None:
    document = shift(told(held=True), stories.told(stories.contained(), ID))
    (lead,) = [block.text for block in document.lead if isinstance(block, Text)]
    assert (
        lead == "Open incidents: 1 (1 more joined to them). Questions that wait: 0. Things contained: 1 (by 2 leases)."
    )
    rows = {row[0]: row for row in _table(document, "Open incidents")}
    assert list(rows) == [ID, OTHER], "last"
    assert "critical" not in rows[OTHER]
    assert {row[0] for row in _table(document, "Tasks")} == {ID}
    assert {row[0] for row in _table(document, "In force")} == {ID, OTHER}
    assert _table(document, "Not proven") == []


def _table(document: Document, caption: str) -> list[tuple[str, ...]]:
    blocks = [block for section in document.sections for block in section.blocks]
    (found,) = [block for block in blocks if isinstance(block, Table) and block.caption == caption]
    return [tuple(row) for row in found.rows]


def test_what_it_waited_for_a_person_for_is_not_asked_any_more() -> None:
    waits = stories.opened(severity=int(Severity.CRITICAL), triage="which class?", playbook=None)
    before: list[Timed] = [(0.0, waits), (0.1, stories.page("opened", "look"))]
    alone, joined = stories.told(before, OTHER), stories.told([*before, (10.0, PART)], OTHER)
    page = Page("opened", "opened", "look", stories.at(0.1))
    assert urgent(alone, page)
    assert not over(alone, page)
    assert over(joined, page), "whoever joined it has looked"
    assert _table(shift(joined), "Not taken up") == []
    assert _table(shift(joined), "Tasks") == []
    assert _table(shift(joined), "Not proven") == []


def test_a_cut_that_failed_before_is_tried_where_it_goes_on() -> None:
    body = {"instance": "cut-tool@weather/forecast", "phase": "cut", "action": "gateway.disable_tool", "epoch": 1}
    failed = Event("failed", {**body, "attempt": 1, "error": "Refused", "message": "403", "retry_at": None})
    state = stories.told([CRITICAL, (0.1, failed), (1.0, PART)], OTHER)
    assert state.steps["cut-tool@weather/forecast"].progress is Progress.SKIPPED
    assert proof(state).lacking == ()
    assert state.status is Status.JOINED


def test_what_it_holds_and_leaks_is_not_hidden() -> None:
    leaks = {"instance": "cut-tool@weather/forecast", "verdict": stories.verdict(Answer.NOT_ESTABLISHED)}
    state = told(Event("lease_checked", leaks), held=True)
    assert (state.status, state.stands) == (Status.NOT_ESTABLISHED, f"NOT contained, {TO}")
    assert _table(shift(state), "Open incidents")[0][1:3] == (f"NOT contained, {TO}", "critical")
    asks = told(stories.proposed("forecast", by="kim"), held=True)
    assert asks.stands == f"cut awaits approval, {TO}"


def test_people_are_told_from_both_sides_once() -> None:
    body = {"incident": OTHER, "parts": [], "by": "ann", "class": "tool_poisoning", "severity": 4, "entities": []}
    joined = Event("joined", {**body, "unresolved": [], "chosen": {}, "playbook": None, "reason": ""}, "ann")
    first = stories.told([*stories.contained(), (10.0, joined)], ID)
    for state, words in ((told(held=True), f"Joined to {ID}"), (first, f"{OTHER} was joined to it")):
        ((notice, _, text),) = [page for page in notices.due(state, notices.EVERY) if page[0].startswith("joined")]
        assert words in text
        state.pages[notice] = Page(notice, notice, text, stories.at(11))
        state.noticed.append(notice)
        assert not [page for page in notices.due(state, notices.EVERY) if page[0].startswith("joined")]
        assert not urgent(state, state.pages[notice])
        for language in Language:
            message = render(brief(state, inventory=INVENTORY, at=stories.at(12), page=state.pages[notice]), language)
            other = ID if state.id == OTHER else OTHER
            assert other in message.text.partition("\n\n")[2], language
    commands = brief(told(), inventory=INVENTORY, at=stories.at(12), kind=Topic.JOINED).commands
    assert [command.line for command in commands if command.does == "go_on"] == [f"mcp-soar incident {ID}"]


def test_the_week_does_not_call_it_never_proven() -> None:
    document = week([told()], at=stories.at(60), playbooks=shipped())
    assert _table(document, "Never proven") == []


def test_after_a_release_it_is_not_to_be_closed_by_itself() -> None:
    back = [stories.request("release", "kim", "healed"), stories.release_intended("kim"), stories.released(12)]
    assert told(*back, held=True).stands == TO


def test_the_command_line_says_where_to_act(site: Installation) -> None:
    site.append(world.opened(key="a"), correlation="a")
    site.append(*(make() for make in world.CONTAINED), incident=OTHER, correlation="b")
    site.append(PART, incident=OTHER)
    rows = {row["id"]: row for row in site.json("incidents")["incidents"]}
    assert (rows[OTHER]["status"], rows[OTHER]["part_of"]) == ("joined", ID)
    listed = " ".join(site.run("incidents").stdout.split())
    assert TO in listed
    assert listed.count("high tool_poisoning") == 1, "how bad it is, the other one says"
    assert f"{OTHER} JOINED TO {ID}" in " ".join(site.run("incident", "2").stdout.split())
    watched = site.run("watch", "--once").stdout
    assert "1 open incidents, 1 joined to them" in watched
    assert TO in watched
    asked = site.error("approve", "2", "--as", "lee", "--yes", code=6)
    assert f"mcp-soar incident {ID}" in asked["message"]
    released = site.run("release", "2", "--as", "kim", "--yes", "--no-wait")
    assert f"mcp-soar release {ID}" in released.stdout, "it says first that this gives back only its own"


def test_what_holds_nothing_is_given_back_where_it_goes_on(site: Installation) -> None:
    site.append(world.opened(key="a"), correlation="a")
    site.append(world.opened(key="b"), PART, incident=OTHER, correlation="b")
    assert f"mcp-soar release {ID}" in site.error("release", "2", "--as", "kim", "--yes", code=6)["message"]
    with site.responder():
        refused = site.error("respond", "2", "--as", "kim", code=4)["message"]
    assert f"joined to {ID}" in refused
