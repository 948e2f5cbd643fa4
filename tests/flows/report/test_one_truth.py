"""Whoever reads of an incident, wherever: the same is proven, and the same is not."""

from datetime import timedelta

import pytest

from flows.report.document import Document, Listing, Table, Text
from flows.report.handover import Shift, handover
from flows.report.incident import report
from flows.report.own import as_they_are
from flows.shown.pages import overview
from playbooks.briefing import brief
from playbooks.inventory import Inventory
from playbooks.journal import Event
from playbooks.plan import Answer, Finding, Verdict
from playbooks.playbook import shipped
from playbooks.proof import proof
from playbooks.rendering import render
from playbooks.state import Incident
from playbooks.strict import parse_yaml
from tests.flows.cli import world
from tests.lab import stories
from tests.lab.stories import Timed

INVENTORY = parse_yaml(Inventory, world.INVENTORY, file="inventory.yaml")


def bypass(answer: Answer = Answer.NOT_ESTABLISHED) -> Timed:
    """The server's own address goes around the cut, or nobody could find out whether it does."""
    finding = Finding(
        check="direct", subject="forecast at weather itself", asked_as="canary", expected="refused",
        observed="it answers anybody who asks", answer=answer,
    )  # fmt: skip
    body = {"instance": "refused-directly@weather/forecast", "phase": "capture"}
    return 3.0, Event("checked", {**body, "verdict": Verdict.of((finding,)).model_dump(mode="json")})


def everywhere(story: list[Timed]) -> dict[str, str]:
    state = stories.told(story)
    at = stories.at(60)
    page = render(brief(state, inventory=INVENTORY, at=at))
    return {
        "report": said(report(state, [one.parsed() for one in stories.journal(story)], at=at)),
        "handover": said(
            handover(Shift(at=at, since=timedelta(hours=1), states=[state], playbooks=shipped())),
        ),
        "page": page.text,
        "mail": page.html,
        "Prefect": overview(state, ()).replace("\\", ""),
        "incident": "\n".join(f"NOT proven: {fact}" for fact in proof(state).lacking),
    }


def said(document: Document) -> str:
    blocks = [*document.lead, *(block for section in document.sections for block in section.blocks)]
    lines = [point for block in blocks if isinstance(block, Listing) for point in block.points]
    lines += [" ".join(row) for block in blocks if isinstance(block, Table) for row in block.rows]
    lines += [block.empty for block in blocks if isinstance(block, Table) and not block.rows]
    return "\n".join([*lines, *(getattr(block, "text", "") for block in blocks)])


@pytest.mark.parametrize("answer", [Answer.NOT_ESTABLISHED, Answer.UNKNOWN])
def test_an_open_way_around_is_named_by_all_of_them(answer: Answer) -> None:
    for where, text in everywhere([*stories.contained(), bypass(answer)]).items():
        assert "it answers anybody who asks" in text, where
        assert "is without proof" not in text, where


def test_a_cut_that_failed_is_named_by_all_of_them() -> None:
    body = {"instance": "cut-tool@weather/forecast", "phase": "cut", "action": "gateway.disable_tool", "epoch": 1}
    failed = Event("failed", {**body, "attempt": 1, "error": "Refused", "message": "403: no right", "retry_at": None})
    for where, text in everywhere([*stories.contained()[:4], (0.05, failed)]).items():
        assert "it failed: 403: no right" in text.replace("&#39;", "'"), where
        assert "is without proof" not in text, where


def test_where_everything_is_proven_none_of_them_doubts_it() -> None:
    for where, text in everywhere(stories.contained()).items():
        assert "NOT proven" not in text, where
    state: Incident = stories.told(stories.contained())
    assert proof(state).lacking == ()


def test_what_is_ours_is_written_as_it_is_and_what_is_not_leads_nowhere() -> None:
    seen = "weather.json and definitions.json.evil.example and https://evil.example of evil.example.com"
    note = Event("noted", {"by": "kim", "text": f"policy.yaml: definitions.json {seen}"}, "kim")
    story = [*stories.contained(), (4.0, note)]
    for where in ("report", "handover"):
        text = everywhere(story)[where]
        assert "policy.yaml: definitions.json weather[.]json" in text, where
        assert "definitions[.]json[.]evil[.]example" in text, where
        assert "evil.example" not in text, where
    whole = as_they_are(Document("t", [], [Text("x gateway[.]disable_tool y")], []), {"gateway.disable_tool"})
    assert whole.lead == [Text("x gateway.disable_tool y")]
