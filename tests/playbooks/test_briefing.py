"""What a message may say is what the journal says, computed from it alone."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from playbooks.estate.inventory import Inventory, Resolved
from playbooks.gate.plan import Answer, Change, Finding, Irreversible, Plan, Radius, Target, Verdict
from playbooks.people.briefing import MOST, Briefing, Topic, brief
from playbooks.people.contacts import Language
from playbooks.people.duties import clocks, load
from playbooks.people.rendering import render
from playbooks.record.incident import EntityKind, Status
from playbooks.record.journal import Event, Parsed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import iso

ID = "inc-2026-000001"
STEP = "cut-tool@weather/forecast"
AT = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
TOOL = Resolved(kind=EntityKind.TOOL, id="forecast", server="weather")
INVENTORY = Inventory.model_validate(
    {
        "version": 1,
        "servers": {
            "weather": {
                "title": "Weather",
                "owner": "weather-team",
                "environment": "prod",
                "data": ["personal"],
                "regimes": ["gdpr"],
            }
        },
    }
)


class Stop(NamedTuple):
    scope: str
    reason: str
    by: str
    at: float


def plan(**more: Any) -> Plan:  # noqa: ANN401  # fields of a plan
    target = Target(system="gateway/main", kind="tool", id="t-42", name="forecast", server="weather")
    fields: dict[str, Any] = {
        "action": "gateway.disable_tool",
        "params": {},
        "summary": "Disable tool forecast of weather at gateway main",
        "changes": (Change(target=target, field="enabled", before=True, after=False),),
        "radius": Radius.TOOL,
        "breaks": "Nobody can use tool forecast of weather through gateway main.",
    }
    return Plan(**{**fields, **more})


def opened(**more: Any) -> Event:  # noqa: ANN401  # fields of the body
    body = {
        "class": "tool_poisoning",
        "severity": 4,
        "title": "Tool description changed",
        "key": "k",
        "entities": [TOOL.model_dump(mode="json")],
        "unresolved": [],
        "playbook": None,
        "linked": [],
        "requested_by": None,
        "triage": None,
    }
    return Event("opened", {**body, **more})


def proposed(wanted: Plan, *, minutes: int = 15, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    body = {
        "instance": STEP,
        "phase": "cut",
        "epoch": 1,
        "plan": wanted.model_dump(mode="json"),
        "reasons": ["class tool_poisoning needs a person"],
        "quorum": 2,
        "expires_at": iso(AT + timedelta(minutes=minutes)),
        "purpose": "contain",
        "requested_by": "lee",
        "differs": "",
    }
    return Event("proposed", {**body, **more})


def intended(wanted: Plan) -> Event:
    body = {
        "instance": STEP,
        "phase": "cut",
        "action": wanted.action,
        "attempt": 1,
        "epoch": 1,
        "key": "k",
        "plan": wanted.model_dump(mode="json"),
        "decision": {"reasons": ["within the policy's automatic limits"]},
        "until": iso(AT + timedelta(hours=24)),
        "purpose": "contain",
        "originals": {},
    }
    return Event("intended", body)


def verified(*answers: Answer, observed: str = "Tool not found") -> Event:
    findings = tuple(
        Finding(check="call", subject="forecast", asked_as="canary", expected="refused", observed=observed, answer=one)
        for one in answers
    )
    verdict = Verdict.of(findings).model_dump(mode="json")
    return Event("verified", {"instance": STEP, "epoch": 1, "attempt": 1, "verdict": verdict, "at": iso(AT)})


def page(notice: str) -> Event:
    return Event("page", {"id": notice, "notice": notice, "text": f"{ID}: {notice}"})


def decided(actor: str, wanted: Plan) -> Event:
    return Event("decided", {"digest": wanted.digest, "verb": "approve", "actor": actor, "reason": ""})


def incident(*events: Event) -> Incident:
    entries = [
        Parsed(f"incident/{ID}", n, iso(AT - timedelta(minutes=5)), event.kind, event.actor, dict(event.body))
        for n, event in enumerate(events, 1)
    ]
    return project(ID, entries)


def told(state: Incident, notice: str | None = None, **more: Any) -> Briefing:  # noqa: ANN401  # of brief
    return brief(state, inventory=INVENTORY, at=AT, page=state.pages[notice] if notice else None, **more)


def test_an_ask_says_what_why_what_breaks_how_it_is_undone_and_how_to_answer() -> None:
    wanted = plan()
    notice = f"awaiting_approval:{STEP}:{wanted.digest[7:19]}"
    state = incident(opened(), proposed(wanted), page(notice), decided("kim", wanted), decided("lee", wanted))
    briefing = told(state, notice, line=lambda *words: " ".join(("mcp-soar", *words, "--config", "/here")))
    (ask,) = briefing.asks
    assert briefing.kind is Topic.AWAITING_APPROVAL
    assert ask.about
    assert ask.summary == "Disable tool forecast of weather at gateway main"
    assert ask.reasons == ("class tool_poisoning needs a person",)
    assert ask.breaks == "Nobody can use tool forecast of weather through gateway main"
    assert ask.undone == ("tool forecast of weather: enabled false → true",)
    # Whoever asked for it does not count among those who agree.
    assert (ask.quorum, ask.approved_by, ask.missing) == (2, ("kim", "lee"), 1)
    assert ask.short == wanted.digest[7:19]
    assert [ask.approve, ask.deny] == [
        f"mcp-soar {verb} {ID} --digest {ask.short} --as NAME --config /here" for verb in ("approve", "deny")
    ]


def test_what_cannot_be_undone_is_not_said_to_be_undone() -> None:
    wanted = plan(irreversible=Irreversible(because="a revoked token stays revoked"))
    (ask,) = told(incident(opened(), proposed(wanted))).asks
    assert ask.undone == ()
    assert ask.irreversible == "a revoked token stays revoked"
    assert "CANNOT be undone" in render(told(incident(opened(), proposed(wanted)))).text


def test_the_plan_that_a_message_is_about_comes_first() -> None:
    first, second = plan(), plan(summary="Disable something else")
    notice = f"awaiting_approval:other:{second.digest[7:19]}"
    state = incident(opened(), proposed(first), proposed(second, instance="other"), page(notice))
    assert [(ask.summary, ask.about) for ask in told(state, notice).asks] == [
        ("Disable something else", True),
        (first.summary, False),
    ]


def test_a_question_that_waits_no_more_says_so_whatever_else_is_asked() -> None:
    asked, other = plan(), plan(summary="Disable tool add of weather at gateway main")
    notice = f"awaiting_approval:{STEP}:{asked.digest[7:19]}"
    waits = (opened(), proposed(asked), proposed(other, instance="cut-tool@weather/add"), page(notice))
    assert not told(incident(*waits), notice).answered
    denied = Event("decided", {"digest": asked.digest, "verb": "deny", "actor": "kim", "reason": ""})
    briefing = told(incident(*waits, denied), notice)
    assert briefing.answered
    assert [ask.digest for ask in briefing.asks] == [other.digest]
    for language, head in ((Language.EN, "No decision is needed any more"), (Language.KO, "승인 대기 종료")):
        assert head in render(briefing, language).subject


def test_whoever_may_not_answer_is_told_that_somebody_else_decides() -> None:
    wanted = plan()
    notice = f"awaiting_approval:{STEP}:{wanted.digest[7:19]}"
    state = incident(opened(), proposed(wanted), page(notice))
    for language, mine, others in (
        (Language.EN, "Your decision is needed", "Somebody else's decision is needed"),
        (Language.KO, "승인 필요", "다른 승인자의 결정 필요"),
    ):
        assert mine in render(told(state, notice), language).subject
        assert others not in render(told(state, notice), language).text
        said = render(told(state, notice, decides=False), language)
        assert others in said.subject
        assert others in said.text


def test_a_request_to_give_back_says_that_it_is_in_force() -> None:
    wanted = plan()
    notice = f"awaiting_approval:release-{STEP}:{wanted.digest[7:19]}"
    asks = proposed(wanted, instance=f"release-{STEP}", purpose="release", phase="recover")
    state = incident(opened(), intended(wanted), verified(Answer.ESTABLISHED), asks, page(notice))
    for language, right, wrong in (
        (Language.EN, "It is in force, and stays so until people approve giving it back", "Nothing of it is done"),
        (Language.KO, "차단은 적용 중이며, 해제가 승인될 때까지 유지됩니다", "실행하지 않습니다"),
    ):
        text = render(told(state, notice), language).text
        assert right in text
        assert wrong not in text
    assert (
        "Nothing of it is done until" in render(told(incident(opened(), proposed(wanted), page(notice)), notice)).text
    )


def test_what_a_person_called_it_is_no_alert_that_says_so() -> None:
    for language, alert, called in ((Language.EN, "Alert says", "Called"), (Language.KO, "경보 내용", "제목")):
        by_hand = render(told(incident(opened(requested_by="ann"))), language).text
        assert called in by_hand
        assert alert not in by_hand
        assert alert in render(told(incident(opened())), language).text


def test_what_goes_on_with_an_earlier_one_names_it() -> None:
    for language, label in ((Language.EN, "Went before it"), (Language.KO, "이전 사고")):
        assert label not in render(told(incident(opened())), language).text
        text = render(told(incident(opened(linked=["inc-2025-000009"]))), language).text
        assert label in text
        assert "inc-2025-000009" in text


def test_what_changed_since_it_was_asked_is_said() -> None:
    state = incident(opened(), proposed(plan(), differs="no longer: a; now: b"))
    assert told(state).asks[0].differs == ("no longer: a", "now: b")


def test_what_differs_at_the_server_itself_is_not_proven() -> None:
    finding = {
        "check": "definition",
        "subject": "tool add at weather itself",
        "asked_as": "nobody",
        "expected": "the approved definition",
        "observed": "was never approved",
        "answer": "not_established",
    }
    verdict = {"answer": "not_established", "findings": [finding], "widen": []}
    asked = Event("checked", {"instance": "definitions-approved@weather", "phase": "eradicate", "verdict": verdict})
    briefing = told(incident(opened(), intended(plan()), verified(Answer.ESTABLISHED), asked))
    assert [fact.subject for fact in briefing.not_proven] == ["tool add at weather itself"]


def test_what_is_proven_and_what_is_not() -> None:
    state = incident(opened(), intended(plan()), verified(Answer.ESTABLISHED, Answer.UNKNOWN, Answer.NOT_ESTABLISHED))
    briefing = told(state)
    assert [fact.answer for fact in briefing.proven] == [Answer.ESTABLISHED]
    assert [fact.answer for fact in briefing.not_proven] == [Answer.UNKNOWN, Answer.NOT_ESTABLISHED]
    assert briefing.status is Status.NOT_ESTABLISHED
    (held,) = briefing.held
    assert (held.in_force, held.answer, held.until) == (True, Answer.NOT_ESTABLISHED, AT + timedelta(hours=24))
    assert "release" in {command.does for command in briefing.commands}


@pytest.mark.parametrize(
    ("notice", "kind", "subject"),
    [
        ("opened", Topic.OPENED, ""),
        ("contained:3", Topic.CONTAINED, "3"),
        (f"undone:{STEP}:2", Topic.UNDONE, STEP),
        (f"released:{STEP}", Topic.RELEASED, STEP),
        (f"extended:{STEP}:1", Topic.EXTENDED, STEP),
        (f"expiring:{STEP}:2026-02-01T03:00:00.000Z", Topic.EXPIRING, STEP),
        ("due:gdpr-33", Topic.DUE, "gdpr-33"),
        ("overdue:gdpr-33", Topic.OVERDUE, "gdpr-33"),
        ("guessed:kim:0123456789ab", Topic.GUESSED, "kim:0123456789ab"),
        ("some-day:new", Topic.STATUS, "new"),
    ],
)
def test_a_page_is_about_something(notice: str, kind: Topic, subject: str) -> None:
    state = incident(opened(), intended(plan()), page(notice))
    clock = clocks(state, INVENTORY, load(), AT)
    briefing = told(state, notice, clocks=clock)
    assert (briefing.kind, briefing.subject) == (kind, subject)
    if subject == STEP:
        assert briefing.because == "Disable tool forecast of weather at gateway main"
    if "gdpr" in subject:
        assert briefing.clocks[0].id == subject
        assert f"mcp-soar note {ID} TEXT --fulfils gdpr-33 --as NAME" in [one.line for one in briefing.commands]
    for language in Language:
        assert render(briefing, language).text


def test_what_a_widening_is_because_of() -> None:
    widen = {"action": "gateway.disable_tool", "params": {"server": "weather", "tool": "sky"}, "because": "sky leaks"}
    event = verified(Answer.NOT_ESTABLISHED)
    event.body["verdict"]["widen"] = [widen]
    (name,) = incident(opened(), intended(plan()), event).widenings
    briefing = told(incident(opened(), intended(plan()), event, page(name)), name)
    assert (briefing.kind, briefing.because) == (Topic.WIDENED, "sky leaks")


def test_a_stop_is_in_every_message_with_who_and_why() -> None:
    stop = Stop("everything", "maintenance", "lee", AT.timestamp())
    briefing = told(incident(opened(), page("opened")), "opened", stops=[stop])
    assert "STOPPED: everything, by lee since 2026-01-31 03:00 UTC: maintenance" in render(briefing).text


def test_a_page_that_reached_nobody_is_in_the_next_message() -> None:
    def attempt(notice: str, *, delivered: bool) -> Event:
        body = {"page": notice, "contact": "kim", "channel": "email", "purpose": "on_call:0:0", "round": 1}
        return Event("told", {**body, "delivered": delivered, "detail": "no answer", "reference": ""})

    lost = attempt("opened", delivered=False)
    state = incident(opened(), page("opened"), page("contained:1"), lost)
    assert [one.text for one in told(state, "contained:1").lost] == [f"{ID}: opened"]
    # Not the one that is being told now, nor one that arrived in the end.
    assert told(state, "opened").lost == ()
    state = incident(opened(), page("opened"), page("contained:1"), lost, attempt("opened", delivered=True))
    assert told(state, "contained:1").lost == ()


def test_the_installation_has_news_too() -> None:
    state = project("system", [])
    entry = Parsed("telling/system", 1, iso(AT), "page", "mcp-soar", dict(page("stopped:server:weather:1").body))
    state = project("system", [entry])
    briefing = brief(state, inventory=INVENTORY, at=AT, page=state.pages["stopped:server:weather:1"])
    assert (briefing.incident, briefing.kind) == (None, Topic.STOPPED)
    for language in Language:
        text = render(briefing, language).text
        assert "stopped:server:weather" in text
        assert "inc-2026" not in text.replace(briefing.said, "")


@pytest.mark.parametrize(("notice", "wakes"), [("fault:frozen:x", True), ("stopped:everything:1", False)])
def test_who_is_woken_about_the_installation_reads_how_to_take_it_up(notice: str, *, wakes: bool) -> None:
    state = project("system", [Parsed("telling/system", 1, iso(AT), "page", "mcp-soar", dict(page(notice).body))])
    briefing = brief(state, inventory=INVENTORY, at=AT, page=state.pages[notice])
    commands = [command.line for command in briefing.commands]
    assert ("mcp-soar ack system --as NAME" in commands, "mcp-soar doctor" in commands) == (wakes, True)
    for language in Language:
        assert ("mcp-soar ack system" in render(briefing, language).text) is wakes


def test_secrets_are_masked_wherever_they_stand() -> None:
    key = "AKIA" + "IOSFODNN7" + "EXAMPLE"
    wanted = plan(summary=f"Disable {key}", breaks=f"It breaks {key}")
    state = incident(
        opened(title=f"found {key}", triage=f"because {key}"),
        proposed(wanted, reasons=[key], differs=f"now: {key}"),
        intended(plan(summary=f"Disable {key}")),
        verified(Answer.NOT_ESTABLISHED, observed=f"leaks {key}"),
        Event("page", {"id": "opened", "notice": "opened", "text": f"text {key}"}),
    )
    briefing = told(state, "opened", stops=[Stop("everything", key, "lee", 0.0)])
    assert key not in briefing.model_dump_json()
    assert "[redacted" in briefing.model_dump_json()


def test_what_is_long_is_cut() -> None:
    long = "x" * 20_000
    state = incident(opened(title=long), proposed(plan(summary=long), reasons=[long] * 50))
    briefing = told(state)
    assert len(briefing.asks[0].reasons) <= MOST
    # The plan itself is what an answer is bound to; no message says it.
    assert len(briefing.model_dump_json(exclude={"asks": {"__all__": {"plan"}}})) < 20_000
    assert len(render(briefing).text) < 20_000
