"""Whoever reads of an incident, wherever: the same is proven, and the same is not."""

from datetime import timedelta

import pytest

from flows.pages.pages import overview
from flows.report.document import Document, Listing, Table, Text
from flows.report.handover import Shift, handover
from flows.report.incident import in_short, report
from flows.report.own import as_they_are
from playbooks.estate.inventory import Resolved
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.people.briefing import brief
from playbooks.people.rendering import render
from playbooks.playbook import shipped
from playbooks.record.incident import EntityKind
from playbooks.record.journal import Event
from playbooks.record.proof import proof
from playbooks.record.state import Incident
from playbooks.record.viewing import view
from playbooks.strict import iso
from tests.flows.cli import world
from tests.lab import stories
from tests.lab.stories import Timed

INVENTORY = world.READ


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
        "Prefect": overview(view(state), ()).replace("\\", ""),
        "incident": "\n".join(f"NOT proven: {fact}" for fact in proof(state).lacking),
    }


def said(document: Document) -> str:
    sections = [*document.short, *document.sections]
    blocks = [*document.lead, *(block for section in sections for block in section.blocks)]
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


def revoked() -> list[Timed]:
    """A token was revoked, which cannot be taken back, and a probe confirmed it."""
    target = Target(system="gateway/main", kind="token", id="t-1", name="laptop")
    plan = Plan(
        action="gateway.revoke_token",
        params={"principal": "agent", "token": "t-1"},
        summary="Revoke token laptop (id t-1) of agent at gateway main.",
        changes=(Change(target=target, field="revoked", before=False, after=True),),
        radius=Radius.TOKEN,
        irreversible=Irreversible(because="a revoked token cannot be made valid again"),
    )
    body = {**stories.intended().body, "instance": "revoke@token:agent/t-1", "action": plan.action}
    intended = Event("intended", {**body, "plan": plan.model_dump(mode="json"), "originals": {}})
    wrote = Event("wrote", {"instance": body["instance"], "epoch": 1, "writes": [], "found": ["revoked"]})
    refused = Finding(
        check="token", subject="token laptop", asked_as="admin", expected="revoked", observed="it is revoked",
        answer=Answer.ESTABLISHED,
    )  # fmt: skip
    verdict = Verdict.of((refused,)).model_dump(mode="json")
    seen = {"instance": body["instance"], "epoch": 1, "attempt": 1, "at": iso(stories.at(0.3)), "verdict": verdict}
    token = Resolved(kind=EntityKind.TOKEN, id="t-1", principal="agent")
    opened = stories.opened(entities=[token.model_dump(mode="json")])
    return [(0.0, opened), (0.1, intended), (0.2, wrote), (0.3, Event("verified", seen))]


NOTHING = ("Nothing is contained", "Nothing is in force", "Nothing is proven", "nothing is contained")


def test_what_is_done_for_good_is_contained_and_proven_for_all_of_them() -> None:
    shown = everywhere(revoked())
    del shown["incident"]
    for where, text in shown.items():
        assert not [words for words in NOTHING if words in text], where
        # The handover names it by its step.
        assert "Revoke token laptop" in text or "revoke@token:agent/t-1" in text, where
        assert "cannot be taken back" in text, where
        assert "NOT proven" not in text, where
    state = stories.told(revoked())
    assert [str(fact) for fact in proof(state).good] == ["token of token laptop, asked as admin: it is revoked"]
    (good,) = (one.blocks for one in in_short(view(state)) if one.title == "Proven")
    assert "it is revoked" in str(good)


@pytest.mark.parametrize("closed", [False, True])
def test_that_it_is_back_is_proven_for_all_of_them(closed: bool) -> None:  # noqa: FBT001  # drawn
    # Nothing was asked beside it that would be proven anyhow.
    asked = [one for one in stories.over() if one[1].kind != "checked"]
    story = asked if closed else asked[:-1]
    state = stories.told(story)
    assert [fact.check for fact in proof(state).good][:2] == ["control", "call"]
    shown = everywhere(story)
    for where in ("report", "page", "mail"):
        assert "Nothing is proven" not in shown[where], where
    assert "call of tool forecast" in shown["report"]
    assert "call of tool forecast" in shown["page"]


def test_that_it_is_not_back_is_told_by_all_of_them() -> None:
    body = {**stories.released(7200.3).body, "verdict": stories.verdict(Answer.NOT_ESTABLISHED)}
    story = [one for one in stories.over()[:-1] if one[1].kind != "released"]
    for where, text in everywhere([*story, (7200.4, Event("released", body))]).items():
        assert "call of tool forecast" in text, where
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
