"""Incidents as journals, without a gateway: entries at chosen seconds after the acceptance, chained as usual.

The bodies are those of `playbooks.record.projection`; their words can be anything, hostile ones too.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from playbooks.estate.inventory import Resolved
from playbooks.gate.plan import Answer, Change, Finding, Plan, Radius, Target, Verdict
from playbooks.playbook import shipped
from playbooks.record.evidence import SIGNED, Act, Authority, Custody, Exhibit, ExhibitFile, Method, exhibit_id
from playbooks.record.incident import EntityKind, Phase
from playbooks.record.journal import GENESIS, Entry, Event, entry
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import iso
from playbooks.taxonomy import IncidentClass

ID = "inc-2026-000007"
PLAYBOOK = shipped()[IncidentClass.TOOL_POISONING]
ZERO = datetime(2026, 11, 20, 3, 2, 11, 204000, tzinfo=UTC)
"""When the alert was accepted."""

Timed = tuple[float, Event]


def at(seconds: float) -> datetime:
    """Return the moment so many seconds after the acceptance."""
    return ZERO + timedelta(seconds=seconds)


def journal(story: Sequence[Timed], incident: str = ID) -> list[Entry]:
    """Return the entries that a story becomes."""
    entries: list[Entry] = []
    previous = GENESIS
    for seq, (seconds, event) in enumerate(story, start=1):
        item = entry(f"incident/{incident}", seq, previous, iso(at(seconds)), event)
        entries.append(item)
        previous = item.hash
    return entries


def told(story: Sequence[Timed], incident: str = ID) -> Incident:
    """Return what the journal of a story says."""
    return project(incident, journal(story, incident))


class Words:
    """The words of a story that come from outside. Every one is the same text if one is given.

    Args:
        text: what stands in every field that an outsider can choose.
    """

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def __call__(self, usual: str) -> str:
        """Return the usual word, or the one that stands for all."""
        return usual if self.text is None else self.text


PLAIN = Words()


def tool(name: str = "forecast", server: str = "weather") -> Resolved:
    return Resolved(kind=EntityKind.TOOL, id=name, server=server)


def plan(name: str = "forecast", words: Words = PLAIN) -> Plan:
    target = Target(system="gateway/main", kind="tool", id=f"t-{name}", name=name, server="weather")
    return Plan(
        action="gateway.disable_tool",
        params={"server": "weather", "tool": name},
        summary=words(f"Take the tool {name} of weather away from all clients of gateway main."),
        changes=(Change(target=target, field="enabled", before=True, after=False),),
        radius=Radius.TOOL,
        breaks=words(f"Nobody can use {name}."),
    )


def verdict(answer: Answer = Answer.ESTABLISHED, name: str = "forecast", words: Words = PLAIN) -> dict[str, Any]:
    held = answer is Answer.ESTABLISHED
    control = Finding(
        check="control",
        subject="tool add",
        asked_as="canary@example.com",
        expected="an answer",
        observed=words("5"),
        answer=Answer.ESTABLISHED,
    )
    call = Finding(
        check="call",
        subject=f"tool {name}",
        asked_as="canary@example.com",
        expected="refused as unknown",
        observed=words(f"Tool not found: {name}" if held else "sunny, 21 degrees"),
        answer=answer,
    )
    return Verdict(answer=answer, findings=(control, call)).model_dump(mode="json")


def opened(words: Words = PLAIN, *, by: str | None = None, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    body: dict[str, Any] = {
        "id": ID,
        "class": "tool_poisoning",
        "severity": 4,
        "title": words("The description of forecast asks for private files"),
        "key": "tool_poisoning|tool:weather/forecast",
        "entities": [tool().model_dump(mode="json")],
        "unresolved": [],
        "playbook": {"id": "tool_poisoning", "digest": PLAYBOOK.digest},
        "linked": [],
        "requested_by": by,
        "triage": None,
    }
    return Event("opened", {**body, **more})


def alert(words: Words = PLAIN, *, detected: float = -2.4, authenticated: bool = True) -> Event:
    body = {
        "receipt": "r-1",
        "source": "elastic",
        "external_id": "scan-17",
        "state": "new",
        "severity": 4,
        "rule": words("MCP tool description changed"),
        "title": words("The description of forecast asks for private files"),
        "authenticated": authenticated,
        "confidence": 2,
        "detected_at": iso(at(detected)),
        "accepted_at": iso(at(0)),
        "digest": "sha256:" + "1" * 64,
        "entities": [tool().model_dump(mode="json")],
    }
    return Event("alert", body, "elastic")


def intended(  # one for each field of a story
    name: str = "forecast",
    *,
    phase: Phase = Phase.CUT,
    step: str = "cut-tool",
    until: float = 86400,
    words: Words = PLAIN,
) -> Event:
    wanted = plan(name, words)
    body = {
        "instance": f"{step}@weather/{name}",
        "phase": phase.value,
        "action": wanted.action,
        "attempt": 0,
        "epoch": 1,
        "key": "sha256:" + "2" * 64,
        "plan": wanted.model_dump(mode="json"),
        "decision": {"outcome": "allow", "reasons": [words("within the policy's automatic limits")]},
        "until": iso(at(until)),
        "purpose": "contain",
        "originals": {wanted.changes[0].grip: True},
    }
    return Event("intended", body)


def wrote(seconds: float, name: str = "forecast", step: str = "cut-tool") -> Event:
    writes = [{"change": str(plan(name).changes[0]), "at": iso(at(seconds))}]
    return Event("wrote", {"instance": f"{step}@weather/{name}", "epoch": 1, "writes": writes, "found": []})


def verified(
    seconds: float,
    answer: Answer = Answer.ESTABLISHED,
    name: str = "forecast",
    *,
    step: str = "cut-tool",
    words: Words = PLAIN,
) -> Event:
    body = {"instance": f"{step}@weather/{name}", "epoch": 1, "attempt": 1, "at": iso(at(seconds))}
    return Event("verified", {**body, "verdict": verdict(answer, name, words)})


def skipped(step: str = "isolate-server@weather", phase: Phase = Phase.ISOLATE) -> Event:
    return Event("skipped", {"instance": step, "phase": phase.value, "reason": "nothing leaks"})


def exhibit(number: int, step: str, phase: Phase, collected: float, *, kind: str, words: Words = PLAIN) -> Event:
    """An exhibit of one file, collected at `collected`."""
    it = Exhibit(
        id=exhibit_id(number, kind),
        kind=kind,
        incident=ID,
        files=(
            ExhibitFile(
                name="definitions.json",
                media_type="application/json",
                size=2048 + number,
                sha256="sha256:" + f"{number:064x}",
                origin="gateway/main tools",
            ),
        ),
        collected_at=at(collected),
        collected_by="responder-1",
        authority=Authority(step=step, actor="mcp-soar"),
        how=Method(tool="mcp-soar@0.1.0", capture=f"mcp.{kind}"),
        custody=(
            Custody(at=at(collected), actor="responder-1", act=Act.COLLECTED),
            Custody(at=at(collected), actor="responder-1", act=Act.SEALED),
        ),
    )
    shown = it.model_dump(mode="json")
    shown["files"][0]["origin"] = words(shown["files"][0]["origin"])
    body = {"instance": f"{step}@weather", "phase": phase.value, "exhibit": shown}
    return Event("exhibit", body)


def unavailable(seconds: float, words: Words = PLAIN) -> Event:
    missing = {
        "kind": "gateway-logs",
        "reason": words("the gateway answered 403 to its own log"),
        "recorded_by": "responder-1",
        "at": iso(at(seconds)),
    }
    return Event(
        "unavailable", {"instance": "preserve-gateway-logs@weather", "phase": "preserve", "unavailable": missing}
    )


def checked(answer: Answer, words: Words = PLAIN) -> Event:
    body = {"instance": "definitions-approved@weather", "phase": "eradicate", "verdict": verdict(answer, words=words)}
    return Event("checked", body)


def proposed(
    name: str = "forecast",
    *,
    expires: float = 900,
    step: str = "isolate-server",
    words: Words = PLAIN,
    by: str | None = None,
) -> Event:
    body = {
        "instance": f"{step}@weather/{name}",
        "phase": "isolate",
        "epoch": 1,
        "plan": plan(name, words).model_dump(mode="json"),
        "reasons": [words("a whole server goes, so a person decides")],
        "quorum": 2,
        "expires_at": iso(at(expires)),
        "purpose": "contain",
        "requested_by": by,
        "differs": "",
    }
    return Event("proposed", body)


def decided(actor: str, verb: str = "approve", name: str = "forecast", words: Words = PLAIN, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    digest = plan(name, words).digest
    return Event("decided", {"digest": digest, "verb": verb, "actor": actor, "reason": words("seen"), **more}, actor)


def lapsed(name: str = "forecast", step: str = "isolate-server", words: Words = PLAIN) -> Event:
    body = {"instance": f"{step}@weather/{name}", "digest": plan(name, words).digest, "why": "900 s are over"}
    return Event("lapsed", body)


def request(verb: str, actor: str, reason: str, **params: Any) -> Event:  # noqa: ANN401  # a request's own
    body = {
        "verb": verb,
        "actor": actor,
        "nonce": f"n-{verb}-{actor}",
        "accepted": True,
        "reason": reason,
        "params": params,
    }
    return Event("request", body, actor)


def release_intended(by: str, name: str = "forecast", step: str = "cut-tool") -> Event:
    body = {
        "instance": f"{step}@weather/{name}",
        "release": f"release-{step}@weather/{name}",
        "phase": "recover",
        "epoch": 1,
        "plan": plan(name).inverse().model_dump(mode="json"),
        "decision": {"outcome": "allow", "reasons": ["a responder's signed request"]},
        "key": "sha256:" + "3" * 64,
        "kept": [],
        "requested_by": by,
    }
    return Event("release_intended", body)


def released(seconds: float, name: str = "forecast", step: str = "cut-tool") -> Event:
    instance = f"{step}@weather/{name}"
    writes = [{"change": str(plan(name).inverse().changes[0]), "at": iso(at(seconds))}]
    body = {"instance": instance, "release": f"release-{instance}", "epoch": 1, "writes": writes, "kept": []}
    return Event("released", {**body, "verdict": verdict()})


def page(kind: str, text: str) -> Event:
    return Event("page", {"id": kind, "notice": kind, "text": text})


def told_of(kind: str, channel: str = "log", *, delivered: bool = True, **more: Any) -> Event:  # noqa: ANN401  # fields of the body
    return Event("told", {"page": kind, "channel": channel, "delivered": delivered, "detail": "", **more})


def sealed() -> Event:
    body = {"digest": "sha256:" + "4" * 64, "bundle": f"{ID}-000012{SIGNED}", "exhibits": 2, "unavailable": 1}
    return Event("sealed", body)


def closed(reason: str, how: str = "resolved", by: str = "kim") -> Event:
    return Event("closed", {"as": how, "by": by, "reason": reason}, by)


def contained(words: Words = PLAIN) -> list[Timed]:
    """Contained in a quarter of a second, evidence within three, in force for a day."""
    return [
        (0.009, opened(words)),
        (0.009, alert(words)),
        (0.011, page("opened", words("inc-2026-000007 tool_poisoning (high): tool forecast of weather. Opened."))),
        (0.021, intended(words=words)),
        (0.056, wrote(0.054)),
        (0.247, verified(0.246, words=words)),
        (
            0.250,
            page("contained:1", words("inc-2026-000007 tool_poisoning (high). Contained, and a probe confirmed it.")),
        ),
        (0.252, told_of("opened")),
        (0.253, told_of("contained:1")),
        (0.260, skipped()),
        (0.611, exhibit(1, "capture-definitions", Phase.CAPTURE, 0.3, kind="definitions", words=words)),
        (1.204, exhibit(2, "capture-answer", Phase.CAPTURE, 0.31, kind="answer", words=words)),
        (2.120, unavailable(2.1, words)),
        (2.700, sealed()),
    ]


def over(words: Words = PLAIN) -> list[Timed]:
    """The same, given back two hours later, and closed."""
    return [
        *contained(words),
        (6900, checked(Answer.ESTABLISHED, words)),
        (7200, request("release", "kim", words("the owner put the old description back"))),
        (7200.1, release_intended("kim")),
        (7200.4, released(7200.3)),
        (7260, closed(words("cause found: a stolen publishing token"))),
    ]


def leaking(words: Words = PLAIN) -> list[Timed]:
    """The cut does not hold; isolating the server waits for two people, and nobody was reached."""
    return [
        (0.009, opened(words)),
        (0.009, alert(words)),
        (0.021, intended(words=words)),
        (0.056, wrote(0.054)),
        (0.247, verified(0.246, Answer.NOT_ESTABLISHED, words=words)),
        (0.250, page("not_established:0", words("inc-2026-000007. NOT contained: a call still gets through."))),
        (0.300, told_of("not_established:0", "slack", delivered=False)),
        (0.400, proposed(words=words)),
        (30.0, decided("kim", words=words)),
        (901.0, lapsed(words=words)),
    ]
