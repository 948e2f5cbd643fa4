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

UNASKED = "it was not proven that tool forecast at /sse was refused"
REMEDY = "have a client that uses /sse try it there"


def given_back() -> list[Timed]:
    """Contained, /sse left unasked; then given back, and all of that confirmed."""
    refused = Finding(
        check="call", subject="tool forecast", asked_as="canary", expected="refused",
        observed="Tool not found: forecast", answer=Answer.ESTABLISHED,
    )  # fmt: skip
    doubt = Finding(
        check="call", subject="tool forecast at /sse", asked_as="canary", expected="refused",
        observed="no stream came", answer=Answer.UNKNOWN, remedy=REMEDY,
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
    shown = everywhere(given_back())
    assert "while it was contained: " not in shown.pop("handover").lower(), "the next shift has nothing to do about it"
    for where, text in shown.items():
        assert "while it was contained: " in text.lower(), where
        assert "not proven that tool forecast at /sse was refused" in text, where
        assert REMEDY not in text, f"{where}: nobody has to do that any more"


def test_while_it_is_contained_it_is_said_as_it_is_with_what_to_do() -> None:
    for where, text in everywhere(given_back()[:-2]).items():
        assert "not proven that tool forecast at /sse is refused" in text, where
        # One line of a page has no room for all of it.
        assert REMEDY in text or where == "report", where


def test_what_was_found_of_the_server_then_is_not_said_to_be_so_now() -> None:
    """A definition that differed, and the server's own door that answered: asked while it was contained."""
    differs = Finding(
        check="definition", subject="tool forecast at weather itself", asked_as="canary", expected="as approved",
        answer=Answer.NOT_ESTABLISHED,
        observed="--- approved description\n+++ present description\n@@ -1 +1 @@\n-a\n+b",
    )  # fmt: skip
    body = {"instance": "definitions-approved@weather", "phase": "eradicate"}
    checked = Event("checked", {**body, "verdict": Verdict.of((differs,)).model_dump(mode="json")})
    story = given_back()
    during, after = ([*story[:-2], (40.0, checked), *rest] for rest in ([], story[-2:]))
    (now,) = [fact for fact in proof(stories.told(during)).lacking if fact.check == "definition"]
    (then,) = [fact for fact in proof(stories.told(after)).lacking if fact.check == "definition"]
    assert (now.earlier, then.earlier) == (False, True)
    assert str(then).startswith("while it was contained: definition of tool forecast at weather itself")
    assert [one.about for one in view(stories.told(during)).differences] == ["tool forecast at weather itself"]
    assert view(stories.told(after)).differences == (), "it may be healed by now"


def test_in_korean_too() -> None:
    text = render(brief(stories.told(given_back()), inventory=INVENTORY, at=stories.at(60)), Language.KO).text
    assert "- 차단 중 확인 결과: 도구 forecast" in text
    assert "차단 여부를 확인하지 못했음(no stream came)" in text
    assert REMEDY not in text


def test_what_is_in_force_has_no_earlier() -> None:
    assert not [fact for fact in proof(stories.told(stories.contained())).good if fact.earlier]
