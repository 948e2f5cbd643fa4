"""Why somebody wants a thing contained, or given back, stands wherever others decide on it."""

from datetime import timedelta
from typing import Any

import pytest

from flows.pages.pages import overview, plans
from flows.report.document import Document
from flows.report.handover import Shift, handover
from flows.report.incident import report
from playbooks.people.briefing import brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import question, render
from playbooks.playbook import shipped
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from tests.flows.cli import world
from tests.flows.cli.test_acts import NEW, engine
from tests.flows.cli.world import ID, INSTANCE, Installation
from tests.flows.report.test_one_truth import said
from tests.lab import stories

WHY = "the agent read a key file through it at noon"
INVENTORY = world.READ


def respond(reason: str, **params: Any) -> Event:  # noqa: ANN401  # of the request
    return stories.request("respond", "kim", reason, **params)


def chosen(reason: str, by: str = "kim", name: str = "forecast") -> Event:
    thing = stories.tool(name).model_dump(mode="json")
    return Event("chosen", {"by": by, "entities": [thing], "playbook": None, "reason": reason}, by)


def by_hand(reason: str = WHY) -> list[Event]:
    """Kim has the tool contained, in an incident of its own."""
    opened = world.opened(requested_by="kim", chosen=[world.TOOL.key], by_hand=True)
    return [opened, respond(reason, title="kim contains it", entities=[]), world.proposed(requested_by="kim")]


def added(reason: str = WHY) -> list[Event]:
    """Kim has the tool contained in an incident that is open already."""
    again = respond(reason, entities=[{"kind": "tool", "name": "forecast", "server": "weather"}])
    return [world.opened(), world.alert(), again, chosen(reason), world.proposed(requested_by="kim")]


def given_back(reason: str = WHY) -> list[Event]:
    """Kim wants it given back, and the gate asks somebody else."""
    wish = stories.request("release", "kim", reason)
    release: dict[str, Any] = {"instance": f"release-{INSTANCE}", "phase": "recover", "purpose": "release"}
    asked = world.proposed(world.plan().inverse(), requested_by="kim", **release)
    return [*(make() for make in world.CONTAINED), wish, asked]


def state_of(events: list[Event]) -> Incident:
    return stories.told([(float(n), event) for n, event in enumerate(events)])


def everywhere(events: list[Event]) -> dict[str, str]:
    state, at = state_of(events), stories.at(60)
    briefing = brief(state, inventory=INVENTORY, at=at)
    entries = [one.parsed() for one in stories.journal([(float(n), event) for n, event in enumerate(events)])]
    shift = Shift(at=at, since=timedelta(hours=1), states=[state], playbooks=shipped())
    written: Document = report(state, entries, at=at)
    pages = {language: render(briefing, language) for language in Language}
    return {
        **{f"mail, {language}": page.text for language, page in pages.items()},
        **{f"mail as HTML, {language}": page.html for language, page in pages.items()},
        **{f"Slack, {language}": str(page.blocks) for language, page in pages.items()},
        **{f"Slack's form, {language}": question(briefing, language) for language in Language},
        "report, open ends": said(written._replace(lead=[], sections=[_section(written, "Open ends")])),
        "handover, questions": said(_only(handover(shift), "Waits for somebody")),
        "Prefect": overview(view(state), ()),
        "the plan's file": plans(view(state)),
    }


def _section(document: Document, title: str) -> Any:  # noqa: ANN401  # a Section
    return next(section for section in document.sections if section.title == title)


def _only(document: Document, title: str) -> Document:
    return document._replace(lead=[], sections=[_section(document, title)])


@pytest.mark.parametrize("story", [by_hand, added, given_back])
def test_whoever_is_asked_reads_why(story: Any) -> None:  # noqa: ANN401  # one of the three above
    for where, text in everywhere(story()).items():
        assert WHY in text, where


@pytest.mark.parametrize("story", [by_hand, added, given_back])
def test_where_no_reason_was_given_none_is_shown(story: Any) -> None:  # noqa: ANN401  # likewise
    for where, text in everywhere(story("")).items():
        assert "Their reason" not in text, where
        assert "요청 사유" not in text, where


def test_the_head_of_the_report_has_it(site: Installation) -> None:
    lead = report(state_of(by_hand()), [], at=stories.at(60)).lead
    assert f"kim: {WHY}" in str(lead)
    site.append(*by_hand())
    assert f"kim: {WHY}" in site.run("report", "1").stdout.replace("\\", "")


def test_each_question_has_the_reason_of_who_asked_for_that(site: Installation) -> None:
    other = [respond("it calls home", entities=[{"kind": "tool", "name": "add"}]), chosen("it calls home", name="add")]
    state = state_of([*added(), *other])
    assert state.reason_of(state.proposals[0]) == WHY
    state.steps[INSTANCE].requested_by = "lee"
    assert state.reason_of(state.proposals[0]) == ""
    site.append(world.opened(), world.alert(), world.proposed())
    (ask,) = site.json("incident", "1")["asks"]
    assert (ask["requested_by"], ask["reason"]) == (None, "")


def test_an_approver_reads_it_before_they_are_asked(site: Installation) -> None:
    with site.responder(engine(world.proposed(requested_by="kim"), on="respond")):
        asked = site.run(*NEW, "--reason", WHY, "--as", "kim")
    assert asked.exit_code == 0, asked.output
    assert site.json("incident", ID)["asks"][0]["reason"] == WHY
    shown = " ".join(site.run("incident", ID).stdout.split())
    head, _, rest = shown.partition("Waits for a decision")
    assert f"kim: {WHY}" in head
    assert f"their reason {WHY}" in rest
    digest = world.plan().digest[7:19]
    before = " ".join(site.run("approve", ID, "--plan", digest, "--as", "lee", "--no-wait").stdout.split())
    assert f"their reason {WHY}" in before


def test_why_goes_along_when_incidents_are_joined() -> None:
    body = {"incident": "inc-2026-000008", "parts": [], "by": "ann", "class": "tool_poisoning", "severity": 4}
    body |= {"entities": [stories.tool("add").model_dump(mode="json")], "unresolved": [], "playbook": None}
    body |= {"chosen": {stories.tool("add").key: "kim"}, "reason": ""}
    wish = state_of(by_hand()).wishes[0].body()
    joined = state_of([world.opened(), Event("joined", {**body, "wishes": [wish]}, "ann"), world.proposed()])
    joined.steps[INSTANCE].requested_by = "kim"
    assert joined.reason_of(joined.proposals[0]) == WHY
    # What an earlier release wrote says nothing of it.
    assert state_of([world.opened(), Event("joined", body, "ann")]).wishes == []
