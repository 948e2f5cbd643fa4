"""The report of an incident says what its journal says: of an open one, a closed one, one that leaks, a frozen one."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from flows.pages.pages import overview
from flows.report.course import course
from flows.report.document import Block, Document, Facts, Picture, Questions, Table, Text, Warn
from flows.report.handover import Shift, handover
from flows.report.incident import Witness, report
from flows.report.switches import Switch, switches_of
from flows.report.words import clock, length
from playbooks.gate.plan import Answer
from playbooks.playbook import shipped
from playbooks.record.incident import Phase
from playbooks.record.journal import Event, Parsed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from playbooks.taxonomy import load
from tests.lab import stories
from tests.lab.stories import Timed

STORIES = {"open": stories.contained(), "closed": stories.over(), "leaking": stories.leaking(), "new": []}


def made(story: list[Timed], *, frozen: str | None = None, switches: tuple[Switch, ...] = ()) -> Document:
    state = stories.told(story)
    state.frozen = frozen
    entries = [entry.parsed() for entry in stories.journal(story)]
    return report(state, entries, at=stories.at(10_800), playbook=stories.PLAYBOOK, switches=switches)


def blocks(document: Document) -> Iterator[Block]:
    yield from document.lead
    for section in document.sections:
        yield from section.blocks


def table(document: Document, caption: str) -> list[dict[str, str]]:
    found = [block for block in blocks(document) if isinstance(block, Table) and block.caption == caption]
    assert len(found) == 1, caption
    for row in found[0].rows:
        assert len(row) == len(found[0].heads)
    return [dict(zip(found[0].heads, row, strict=True)) for row in found[0].rows]


def facts(document: Document) -> dict[str, str]:
    return dict(next(block for block in document.lead if isinstance(block, Facts)).rows)


def warnings(document: Document) -> list[str]:
    return [block.text for block in document.lead if isinstance(block, Warn)]


@pytest.mark.parametrize("name", STORIES)
def test_every_figure_is_the_projection_s(name: str) -> None:
    state: Incident = stories.told(STORIES[name])
    document = made(STORIES[name])
    times = state.metrics
    rows = table(document, "Times")
    keys = ("detected_at", "accepted_at", "first_effect_at", "verified_at", "released_at")
    assert [row["When"] for row in rows] == [clock(times[key]) for key in keys]
    start = times["accepted_at"]
    for key, row in zip(keys, rows, strict=True):
        moment = times[key]
        if moment is None or start is None:
            assert row["After the acceptance"] == "-"
        else:
            said = row["After the acceptance"].removeprefix("+")
            assert said == length((moment - start).total_seconds())
    assert len(table(document, "Steps")) == len(state.steps)
    assert [row["Change"] for row in table(document, "Changes of these plans, before → after")] == [
        str(change)
        for step in sorted(state.steps.values(), key=lambda step: list(Phase).index(step.phase))
        if step.plan
        for change in step.plan.changes
    ]
    assert len(table(document, "In force")) == sum(lease.in_force for lease in state.leases.values())
    assert len(table(document, "Alerts")) == len(state.alerts)
    assert len(table(document, "Waits for a decision")) == len(state.proposals)
    assert len(table(document, "Entries")) == len(state.timeline)
    assert len(table(document, "Messages")) == len(state.told)
    assert len(table(document, "Not available")) == len(state.unavailable)
    shown = table(document, "Exhibits")
    assert [(row["Exhibit"], row["SHA-256"], row["Bytes"]) for row in shown] == [
        (item["id"], file["sha256"], str(file["size"])) for item in state.exhibits for file in item["files"]
    ]
    assert facts(document)["Status"] == state.stands


def test_goals_are_met_or_missed_by_the_playbook() -> None:
    quick = {row["What"]: row for row in table(made(stories.contained()), "Times")}
    assert quick["First effect"]["Goal met"] == "met"
    assert quick["Containment proven"]["Goal met"] == "met"
    assert quick["Containment proven"]["Goal"] == "1 min"
    slow = [
        (0.0, stories.opened()),
        (0.0, stories.alert()),
        (0.1, stories.intended()),
        (1.5, stories.wrote(1.5)),
        (61.0, stories.verified(60.5)),
    ]
    late = {row["What"]: row["Goal met"] for row in table(made(slow), "Times")}
    assert late["First effect"] == "MISSED"
    assert late["Containment proven"] == "MISSED"
    never = {row["What"]: row["Goal met"] for row in table(made(stories.leaking()), "Times")}
    assert never["Containment proven"] == "not yet"
    given_up = [*stories.leaking(), (2000.0, stories.closed("gave up"))]
    assert {row["What"]: row["Goal met"] for row in table(made(given_up), "Times")}["Containment proven"].startswith(
        "MISSED"
    )


def test_goals_of_another_playbook_than_it_began_with_are_no_measure() -> None:
    began = stories.opened(playbook={"id": "tool_poisoning", "digest": "sha256:" + "0" * 64})
    document = made([(0.0, began), *stories.contained()[1:]])
    assert {row["Goal met"] for row in table(document, "Times")} == {"-"}
    assert any(isinstance(block, Text) and "not in use any more" in block.text for block in blocks(document))
    same = made(stories.contained())
    assert not any(isinstance(block, Text) and "not in use any more" in block.text for block in blocks(same))


def test_each_verdict_stands_there_with_who_asked_and_what_was_seen() -> None:
    document = made(stories.leaking())
    rows = table(document, "Every question that was put, and its answer")
    assert [row["Asked"] for row in rows] == ["control of tool add", "call of tool forecast"]
    assert {row["Asked as"] for row in rows} == {"canary@example.com"}
    assert rows[1]["Observed"] == "sunny, 21 degrees"
    assert rows[1]["Means"] == "NOT established"
    assert {row["Answer"] for row in rows} == {"NOT established"}
    assert any("NOT CONTAINED" in text for text in warnings(document))


def test_an_earlier_verdict_is_not_forgotten_when_a_later_one_is_better() -> None:
    story = [*stories.leaking()[:5], (5.0, stories.intended()), (5.2, stories.wrote(5.1)), (5.4, stories.verified(5.3))]
    rows = table(made(story), "Every question that was put, and its answer")
    assert [row["Means"] for row in rows] == ["established", "NOT established", "established", "established"]


def test_whose_authority_each_change_rests_on() -> None:
    by = {
        (row["Who"], row["What"].split(" ")[0]): row["On what authority"]
        for row in table(made(stories.over()), "Decisions")
    }
    assert by["elastic", "new"].startswith("authenticated")
    assert by["mcp-soar", "decided"] == "policy: allow; within the policy's automatic limits"
    assert by["kim", "asked"] == "signed request: the owner put the old description back"
    assert by["kim", "release"] == "a responder's signed request"
    assert by["kim", "closed"].startswith("cause found")


def test_an_approval_names_person_plan_way_and_for_whom() -> None:
    digest = stories.plan().digest
    story = [
        (0.0, stories.opened()),
        (0.4, stories.proposed(by="sam")),
        (20.0, stories.decided("kim", behalf="lee", way="code")),
        (30.0, stories.decided("ann")),
    ]
    rows = [row for row in table(made(story), "Decisions") if row["What"].startswith("approved")]
    assert [row["Who"] for row in rows] == ["kim", "ann"]
    assert all(digest in row["What"] for row in rows)
    assert rows[0]["On what authority"] == "signed with a one-time code, on behalf of lee; seen"
    assert rows[1]["On what authority"] == "signed with their own enrolled key; seen"


def test_an_open_question_and_what_is_in_force_are_open_ends() -> None:
    story = [
        *stories.contained(),
        (100.0, stories.proposed("other", expires=900)),
        (110.0, stories.decided("kim", name="other")),
    ]
    document = made(story)
    asks = table(document, "Waits for a decision")
    assert asks[0]["Still needed"] == "1 of 2, approved by kim"
    assert asks[0]["Until"] == clock(stories.at(900))
    assert asks[0]["Digest"] == stories.plan("other").digest
    assert [row["Lease"] for row in table(document, "In force")] == ["cut-tool@weather/forecast"]
    assert {row["Step"] for row in table(document, "Left to people")} == {"release-tool", "find-cause"}


def test_a_closed_incident_leaves_nothing_open() -> None:
    document = made(stories.over())
    for caption in ("Waits for a decision", "In force", "Left to people"):
        assert table(document, caption) == []
    assert facts(document)["Closed"] == f"{clock(stories.at(7260))} as resolved"


def test_a_frozen_incident_says_so_first() -> None:
    document = made(stories.contained(), frozen="entry 3 does not have its hash")
    assert warnings(document)[0].startswith("FROZEN")
    assert "entry 3" in warnings(document)[0]
    assert facts(document)["Status"] == "FROZEN"


def test_a_page_that_reached_nobody_is_said_first_and_with_its_way() -> None:
    document = made(stories.leaking())
    assert any(text.startswith("NOT DELIVERED") for text in warnings(document))
    row = table(document, "Messages")[0]
    assert (row["By"], row["Outcome"]) == ("slack", "NOT delivered")
    assert not any(text.startswith("NOT DELIVERED") for text in warnings(made(stories.contained())))


def test_evidence_has_its_custody_and_what_is_missing_its_reason() -> None:
    document = made(stories.contained())
    assert [(row["Exhibit"], row["Act"]) for row in table(document, "Custody")] == [
        ("x-0001-definitions", "collected"),
        ("x-0001-definitions", "sealed"),
        ("x-0002-answer", "collected"),
        ("x-0002-answer", "sealed"),
    ]
    assert table(document, "Not available")[0]["Why not"] == "the gateway answered 403 to its own log"


def test_standards_are_named_with_their_editions() -> None:
    taxonomy = load()
    wanted = {
        (f"{getattr(taxonomy.frameworks, name).name} {getattr(taxonomy.frameworks, name).edition}", one)
        for name, ids in taxonomy.of("tool_poisoning").mappings
        for one in ids
    }
    rows = table(made(stories.contained()), "Mapping, each in the edition named")
    assert {(row["Framework and edition"], row["Id"]) for row in rows} == wanted
    controls = table(made(stories.contained()), "Controls")
    assert tuple(row["Control"] for row in controls) == taxonomy.of("tool_poisoning").mappings.nist_800_53


def test_it_says_from_which_entry_and_head_it_was_made() -> None:
    entries = stories.journal(stories.contained())
    parsed = [entry.parsed() for entry in entries]
    witness = Witness(entries[-1].seq, entries[-1].hash.hex(), 41, "ab" * 32)
    said = dict(report(project(stories.ID, parsed), parsed, at=stories.at(60), witness=witness).made)
    assert said["From"].startswith(f"entries 1 to {len(entries)} of incident/{stories.ID}")
    assert said["Last entry"] == f"number {len(entries)}, sha256:{entries[-1].hash.hex()}"
    assert said["Journal head"] == f"number 41, sha256:{'ab' * 32}"
    assert stories.ID in said["To check it"]


def system(kind: str, seconds: float, **body: object) -> Parsed:
    return Parsed(
        "system", 1, clock(stories.at(seconds)).replace(" ", "T"), kind, str(body.get("by", "ann")), dict(body)
    )


def test_the_kill_switches_of_its_time_are_told_and_no_others() -> None:
    entries = [
        system("stopped", -500, scope="everything", by="ann", reason="before", number=1),
        system("resumed", -400, scope="everything", by="bob", people=["ann", "bob"], number=1),
        system("stopped", 1, scope="server:weather", by="ann", reason="we look", number=2),
        system("resumed", 90, scope="server:weather", by="bob", people=["ann", "bob"], number=2),
        system("stopped", 2, scope="server:other", by="ann", reason="elsewhere", number=3),
        system("stopped", 9000, scope="everything", by="ann", reason="after", number=4),
    ]
    state = stories.told(stories.over())
    found = switches_of(entries, state, frozenset({"everything", "server:weather"}))
    assert [(one.scope, one.until, one.ended_by) for one in found] == [("server:weather", stories.at(90), "ann, bob")]
    rows = table(made(stories.over(), switches=tuple(found)), "Kill switches")
    assert rows[0]["Reason"] == "we look"
    running = switches_of(entries, stories.told(stories.contained()), frozenset({"everything"}))
    assert [one.reason for one in running] == ["after"]
    document = made(stories.contained(), switches=tuple(running))
    assert any(text.startswith("STOPPED: everything") for text in warnings(document))


def test_there_is_a_picture_a_form_and_every_section_once() -> None:
    document = made(stories.contained())
    assert sum(isinstance(block, Picture) for block in blocks(document)) == 1
    assert len(next(block for block in blocks(document) if isinstance(block, Questions)).questions) >= 5
    titles = [section.title for section in document.sections]
    assert len(set(titles)) == len(titles)


def test_an_unproven_check_is_named_as_not_proven() -> None:
    story = [*stories.contained(), (50.0, stories.checked(Answer.UNKNOWN))]
    document = made(story)
    said = next(section for section in document.sections if section.title.startswith("What was proven"))
    assert re.search(r"call of tool forecast, asked as .*: .* \(could not be found out\)", str(said.blocks))
    assert Phase.ERADICATE.value in {row["Phase"] for row in table(document, "Steps")}


def test_a_table_that_is_too_long_says_what_it_leaves_out() -> None:
    flood = [(float(n), stories.alert()) for n in range(1, 1300)]
    document = made([(0.0, stories.opened()), *flood])
    tables = [block for block in blocks(document) if isinstance(block, Table) and block.caption.startswith("Alerts")]
    assert tables[0].caption == "Alerts: the first and the last 500 of 1299; the journal has them all"
    assert len(tables[0].rows) == 1001
    assert tables[0].rows[500][0] == "299 rows are left out"
    assert {len(row) for row in tables[0].rows} == {len(tables[0].heads)}
    entries = next(b for b in blocks(document) if isinstance(b, Table) and b.caption.startswith("Entries"))
    assert entries.rows[-1][0] == clock(stories.at(1299))


def test_a_cut_that_was_refused_is_nowhere_shown_as_in_force() -> None:
    body = {"instance": "cut-tool@weather/forecast", "phase": "cut", "action": "gateway.disable_tool", "epoch": 1}
    failed = Event("failed", {**body, "attempt": 1, "error": "Refused", "message": "403 no right", "retry_at": None})
    story = [(0.009, stories.opened()), (0.009, stories.alert()), (0.021, stories.intended()), (0.056, failed)]
    state = stories.told(story)
    assert table(made(story), "In force") == []
    assert [row.lane for row in course(view(state), at=stories.at(60)).rows if row.lane == "in force"] == []  # type: ignore[union-attr]
    shown = overview(view(state), ())
    assert "Nothing is in force." in shown
    open_ = handover(Shift(at=stories.at(60), since=timedelta(hours=1), states=(state,), playbooks=shipped()))
    assert table(open_, "In force") == []
    assert any("Things contained: 0" in block.text for block in blocks(open_) if isinstance(block, Text))
    assert "403 no right" in str(table(open_, "Not proven")), "what failed is said instead"
