"""An alert is a claim: what our own check found of it stands beside it, wherever people read of it or decide on it."""

import re

import pytest

from flows.report.document import Facts
from flows.report.incident import report
from integrations.registry import SYSTEMS
from playbooks.gate.plan import Answer, Finding, Verdict
from playbooks.people.briefing import asking, brief
from playbooks.people.contacts import Language
from playbooks.people.rendering import question, render
from playbooks.record.journal import Event
from playbooks.record.viewing import view
from playbooks.strict import iso
from tests.flows.cli import world
from tests.lab import stories
from tests.lab.stories import Timed

INVENTORY = world.READ
SAME = "tool forecast at gateway main: the approved definition"
SAME_KO = "게이트웨이 main의 도구 forecast: 승인된 정의와 같음"


def checked(answer: Answer, observed: str) -> Timed:
    finding = Finding(
        check="definition", subject="tool forecast at gateway main", asked_as="administrator",
        expected="another definition than the approved one", observed=observed, answer=answer,
    )  # fmt: skip
    verdict = Verdict(answer=answer, findings=(finding,)).model_dump(mode="json")
    return 0.5, Event("confirmed", {"by": "definition-differs@weather/forecast", "verdict": verdict})


UNTRUE = checked(Answer.NOT_ESTABLISHED, "the approved definition")
OPENED: list[Timed] = [(0.0, stories.opened()), (0.0, stories.alert())]
PAGE: Timed = (0.6, Event("page", {"id": "p", "notice": "opened:1", "text": "Opened."}))
ASKED: Timed = (
    1.0,
    Event(
        "proposed",
        {
            "instance": "cut-tool@weather/forecast", "phase": "cut", "epoch": 1,
            "plan": stories.plan().model_dump(mode="json"), "reasons": ["nothing confirms it"], "quorum": 1,
            "expires_at": iso(stories.at(900)), "purpose": "contain", "requested_by": None, "differs": "",
        },
    ),
)  # fmt: skip


def page(*more: Timed, language: Language = Language.EN) -> str:
    state = stories.told([*OPENED, *more])
    about = next(iter(state.pages.values()), None)
    found = brief(state, inventory=INVENTORY, at=stories.at(60), page=about)
    return render(found, language, words=SYSTEMS.words).text


@pytest.mark.parametrize(("language", "what"), [(Language.EN, SAME), (Language.KO, SAME_KO)])
def test_what_the_check_found_stands_beside_the_claim(language: Language, what: str) -> None:
    opened, asked = page(UNTRUE, PAGE, language=language), page(UNTRUE, ASKED, language=language)
    assert what in opened
    assert what in asked
    claim = "The alert says: " if language is Language.EN else "경보를 접수했습니다"
    assert claim in opened
    denied = "does NOT confirm it" if language is Language.EN else "자체 점검에서는 확인되지 않았습니다"
    assert denied in opened
    # The class of the request is no fact either.
    (line,) = [line for line in asked.splitlines() if re.match(r"- (Class|유형):", line)]
    assert ("so the alert says" if language is Language.EN else "경보의 주장") in line


def test_what_two_questions_found_alike_is_said_once() -> None:
    _, one = checked(Answer.ESTABLISHED, "carrying: an order")
    (finding,) = one.body["verdict"]["findings"]
    both = [{**finding, "check": check} for check in ("introduces", "screening")]
    event = Event(one.kind, {**one.body, "verdict": {**one.body["verdict"], "findings": both}})
    assert page((0.5, event), PAGE).count("carrying") == page((0.5, one), PAGE).count("carrying") > 0
    assert len(view(stories.told([*OPENED, (0.5, event)])).checked) == 1


def test_what_nothing_of_ours_has_answered_is_said_so() -> None:
    opened = page(PAGE)
    assert "The alert says: " in opened
    assert "Nothing of our own has confirmed it." in opened


def test_what_our_own_check_confirms_is_said_so() -> None:
    text = page(checked(Answer.ESTABLISHED, "a tool that nobody approved"), PAGE)
    assert "Our own check confirms it: tool forecast at gateway main: a tool that nobody approved" in text


def test_what_could_not_be_asked_is_neither() -> None:
    text = page(checked(Answer.UNKNOWN, "the gateway does not answer"), PAGE)
    assert "Our own check could not find out: " in text
    # What it had found before stands.
    assert SAME in page(UNTRUE, checked(Answer.UNKNOWN, "the gateway does not answer"), PAGE)


def test_what_a_person_says_it_is_is_no_claim_of_an_alert() -> None:
    state = stories.told([(0.0, stories.opened(by="ann"))])
    text = render(brief(state, inventory=INVENTORY, at=stories.at(60))).text
    assert "alert says" not in text


def test_the_form_in_which_a_plan_is_answered_has_it() -> None:
    state = stories.told([*OPENED, UNTRUE, ASKED])
    (step,) = state.proposals
    for language, what in ((Language.EN, SAME), (Language.KO, SAME_KO)):
        shown = question(asking(state, step, at=stories.at(60), inventory=INVENTORY), language, words=SYSTEMS.words)
        assert what in shown


def test_the_report_has_it_first() -> None:
    story = [*OPENED, UNTRUE]
    found = report(stories.told(story), [one.parsed() for one in stories.journal(story)], at=stories.at(60))
    (facts,) = [block for block in found.lead if isinstance(block, Facts)]
    assert dict(facts.rows)["Our own check"].startswith(SAME)
