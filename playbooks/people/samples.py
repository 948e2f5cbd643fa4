"""Made-up briefings that between them need every part of every template: what doctor and `message test` try out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from playbooks.estate.inventory import Criticality, Environment
from playbooks.gate.plan import Answer, Plan, Radius
from playbooks.gate.policy import Purpose
from playbooks.people.briefing import Briefing, Command, Topic, Where
from playbooks.people.duties import Clock, Duty, load
from playbooks.record.campaign import Shared
from playbooks.record.incident import Severity, Status
from playbooks.record.proof import Fact
from playbooks.record.view import Ask, Held, Lost, Shares, Stopped
from playbooks.taxonomy import IncidentClass

_AT = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
_INCIDENT = "inc-2026-000001"


def briefings() -> Iterator[Briefing]:
    """Yield one of everything, one of nothing, and one of each kind."""
    yield full()
    yield Briefing(at=_AT, incident=None, kind=Topic.STATUS)
    yield Briefing(at=_AT, incident=_INCIDENT, kind=Topic.OPENED, opened_at=_AT)
    for kind in Topic:
        yield full(kind)
        yield Briefing(at=_AT, incident=_INCIDENT, kind=kind, opened_at=_AT, because="Disable tool add at gateway main")
    yield Briefing(at=_AT, incident=_INCIDENT, kind=Topic.AWAITING_APPROVAL, opened_at=_AT, answered=True)
    for status in (Status.JOINED, Status.NOT_ESTABLISHED):
        yield full(Topic.JOINED).model_copy(update={"status": status, "part_of": "inc-2026-000007"})
    for status in Status:
        yield Briefing(at=_AT, incident=_INCIDENT, kind=Topic.STATUS, opened_at=_AT, status=status)
    for severity in Severity:
        yield Briefing(at=_AT, incident=_INCIDENT, kind=Topic.STATUS, opened_at=_AT, severity=severity)
    for incident_class in IncidentClass:
        yield Briefing(at=_AT, incident=_INCIDENT, kind=Topic.OPENED, opened_at=_AT, incident_class=incident_class)


def test() -> Briefing:
    """Return what `mcp-soar message test` sends."""
    return Briefing(at=datetime.now(UTC), incident=None, kind=Topic.TEST)


def full(kind: Topic = Topic.AWAITING_APPROVAL) -> Briefing:
    """Return a briefing that has something of everything.

    Args:
        kind: what it is about.
    """
    facts = tuple(
        Fact(check="call", subject="forecast", asked_as="canary", observed="not found", answer=answer)
        for answer in Answer
    )
    facts += tuple(fact.model_copy(update={"remedy": "close that address"}) for fact in facts[1:])
    verbs = ("show", "campaign", "go_on", "ack", "fulfil", "extend", "release", "suppress", "doctor")
    return Briefing(
        at=_AT,
        incident=_INCIDENT,
        kind=kind,
        subject="cut-tool@weather/forecast",
        said="A page, in the journal's words.",
        page="awaiting_approval:cut-tool@weather/forecast:0123456789ab",
        incident_class=IncidentClass.TOOL_POISONING,
        class_title="Tool Poisoning",
        severity=Severity.HIGH,
        status=Status.AWAITING_APPROVAL,
        title="Tool description changed",
        claimed=True,
        confirmed=Answer.NOT_ESTABLISHED,
        checks=facts[:3],
        entities=("tool forecast of weather", "server weather"),
        unresolved=("server shadow",),
        servers=tuple(_where(environment) for environment in Environment),
        campaigns=tuple(
            Shares(campaign="cam-2026-000001", kind=kind, value="ann", others=("inc-2026-000002",)) for kind in Shared
        ),
        refused=("carol said no to: Disable tool forecast of weather at gateway main",),
        triage="there is no playbook for ide_layer: say what to contain, with "
        "`mcp-soar respond inc-2026-000007 --about KIND:NAME --as NAME`",
        frozen="an entry is missing",
        requested_by="kim",
        wishes=("kim: seen in the agent's log",),
        assigned_to="lee",
        opened_at=_AT - timedelta(minutes=5),
        closed_at=_AT,
        closed_as="resolved",
        because="Disable tool forecast of weather at gateway main",
        asks=(_ask(Purpose.CONTAIN), _ask(Purpose.RELEASE), _ask(Purpose.CONTAIN, irreversible="it deletes")),
        held=(*map(_held, (None, *Answer)), _held(None, released=True), _held(Answer.ESTABLISHED, done=True)),
        proven=facts[:1],
        not_proven=facts[1:],
        more_not_proven=3,
        exhibits=4,
        unavailable=("gateway.capture_logs: refused",),
        clocks=tuple(_clocks()),
        stops=(Stopped(scope="everything", reason="maintenance", by="lee", since=_AT),),
        lost=(Lost(text="Opened.", since=_AT),),
        commands=tuple(Command(does=verb, line=f"mcp-soar {verb}") for verb in verbs),
        witness="12:0123456789abcdef",
    )


def _where(environment: Environment) -> Where:
    return Where(
        id="weather",
        title="Weather",
        owner="weather-team",
        criticality=Criticality.MEDIUM,
        environment=environment,
        protected=environment is Environment.PROD,
    )


def _ask(purpose: Purpose, irreversible: str | None = None) -> Ask:
    return Ask(
        instance="cut-tool@weather/forecast",
        digest="sha256:" + 64 * "0",
        short=12 * "0",
        plan=Plan(action="gateway.disable_tool", params={}, summary="Disable it.", changes=(), radius=Radius.TOOL),
        purpose=purpose,
        summary="Disable tool forecast of weather at gateway main",
        changes=("tool forecast of weather: enabled true → false",),
        reasons=("nothing of our own confirms it, and no second source does",),
        breaks="Nobody can use tool forecast of weather through gateway main",
        undone=() if irreversible else ("tool forecast of weather: enabled false → true",),
        irreversible=irreversible,
        differs=("now: tool forecast of weather: enabled true → false",),
        quorum=2,
        approved_by=("kim",),
        missing=1,
        requested_by="lee",
        reason="seen in the agent's log",
        expires_at=_AT + timedelta(minutes=15),
        approve=f"mcp-soar approve {_INCIDENT}",
        deny=f"mcp-soar deny {_INCIDENT}",
        about=purpose is Purpose.CONTAIN,
    )


def _held(answer: Answer | None, *, released: bool = False, done: bool = False) -> Held:
    return Held(
        instance="cut-tool@weather/forecast",
        summary="Disable tool forecast of weather at gateway main",
        in_force=not released and not done,
        until=_AT + timedelta(days=3),
        answer=answer,
        checked_at=_AT if answer else None,
        put_backs=1,
        done_at=_AT if done else None,
        released_at=_AT if released else None,
        released_by="kim" if released else None,
        about=True,
    )


def _clocks() -> Iterator[Clock]:
    laws = load().regimes
    duties = [(name, id_, duty) for name, regime in laws.items() for id_, duty in regime.clocks.items()]
    for number, (name, id_, duty) in enumerate(duties):
        yield _clock(name, id_, duty, number)


def _clock(regime: str, id_: str, duty: Duty, number: int) -> Clock:
    due = None if duty.within is None and duty.months is None else _AT + timedelta(hours=8 * number - 8)
    return Clock(
        id=id_,
        regime=regime,
        law=load().regimes[regime].title,
        article=duty.article,
        source=load().regimes[regime].source,
        to=duty.to,
        duty=duty.duty,
        unless=duty.unless,
        counsel=duty.counsel,
        servers=("weather",),
        start=_AT,
        aware=duty.after is None,
        due=due,
        fulfilled=_AT if number % 3 == 1 else None,
        overdue=due is not None and due < _AT,
    )
