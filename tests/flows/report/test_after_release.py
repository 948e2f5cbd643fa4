"""A release rewrites nothing: what was proven while it was contained comes first, and what was not is still said."""

import re

from flows.report.document import Listing
from flows.report.incident import in_short
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.people.briefing import brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import render
from playbooks.record.journal import Event
from playbooks.record.proof import proof
from playbooks.record.viewing import view
from tests.flows.report.test_one_truth import everywhere
from tests.lab import stories
from tests.lab.stories import Timed
from tests.playbooks.test_claims import INVENTORY

UNASKED = "it is not proven that tool forecast at /sse is refused"


def given_back() -> list[Timed]:
    """Contained, /sse left unasked; then given back, and all of that confirmed."""
    refused = Finding(
        check="call", subject="tool forecast", asked_as="canary", expected="refused",
        observed="Tool not found: forecast", answer=Answer.ESTABLISHED,
    )  # fmt: skip
    doubt = Finding(
        check="call", subject="tool forecast at /sse", asked_as="canary", expected="refused",
        observed="no stream came", answer=Answer.UNKNOWN, remedy="have a client that uses /sse try it there",
    )  # fmt: skip
    listed = Finding(
        check="list", subject="tool forecast", asked_as="canary", expected="listed", observed="listed",
        answer=Answer.ESTABLISHED,
    )  # fmt: skip
    seen = Verdict(answer=Answer.ESTABLISHED, findings=(refused, doubt)).model_dump(mode="json")
    back = Verdict.of((listed,)).model_dump(mode="json")
    cut = [
        (when, Event(one.kind, {**one.body, "verdict": seen}, one.actor) if one.kind == "verified" else one)
        for when, one in stories.contained()
    ]
    last = stories.released(50)
    return [*cut, (49.0, stories.release_intended("kim")), (50.0, Event("released", {**last.body, "verdict": back}))]


def test_the_proof_of_containment_comes_first_and_the_doubt_stays() -> None:
    state = stories.told(given_back())
    sections = {one.title: one for one in in_short(view(state))}
    (good,) = sections["Proven"].blocks
    (lacking,) = sections["NOT proven"].blocks
    assert isinstance(good, Listing)
    assert isinstance(lacking, Listing)
    assert good.points[0].startswith("while it was contained: call of tool forecast, asked as canary")
    assert any(re.fullmatch("list of tool forecast, asked as .*: listed", one) for one in good.points)
    assert lacking.points[0].startswith(f"while it was contained: {UNASKED}")


def test_it_is_said_so_everywhere() -> None:
    for where, text in everywhere(given_back()).items():
        assert "while it was contained: " in text.lower(), where
        assert "not proven that tool forecast at /sse is refused" in text, where


def test_in_korean_too() -> None:
    text = render(brief(stories.told(given_back()), inventory=INVENTORY, at=stories.at(60)), Language.KO).text
    assert "- 차단 중 확인 결과: 도구 forecast" in text


def test_what_is_in_force_has_no_earlier() -> None:
    assert not [fact for fact in proof(stories.told(stories.contained())).good if fact.earlier]
