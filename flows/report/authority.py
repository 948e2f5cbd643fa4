"""Who or what decided each thing, and by what right."""

from collections.abc import Callable, Sequence
from typing import Any

from flows.report.document import (
    Table,
    listed,
)
from flows.report.words import clock, excerpt
from playbooks.gate.plan import Plan
from playbooks.record.journal import Parsed


def authority(entries: Sequence[Parsed]) -> Table:
    """Return who decided each thing, in the order in which it was decided."""
    rows = [
        (clock(entry.at), *said) for entry in entries if (maker := _MAKERS.get(entry.kind)) and (said := maker(entry))
    ]
    return listed("Decisions", ("When", "Who", "What", "On what authority"), rows)


Said = tuple[str, str, str] | None


def _by_alert(entry: Parsed) -> Said:
    body = entry.body
    trust = "authenticated" if body["authenticated"] else "NOT authenticated: it may only be looked at"
    return excerpt(body["source"]), f"{body['state']} alert", f"{trust}; receipt {excerpt(body['receipt'])}"


def _by_gate(entry: Parsed) -> Said:
    body = entry.body
    what = f"decided on plan {_plan_digest(body)}: {excerpt(body['plan']['summary'])}"
    decision = body["decision"]
    return excerpt(entry.actor), what, excerpt(f"policy: {decision['outcome']}; {'; '.join(decision['reasons'])}", 600)


def _by_question(entry: Parsed) -> Said:
    body = entry.body
    what = f"asked for approval of plan {_plan_digest(body)}: {excerpt(body['plan']['summary'])}"
    return excerpt(entry.actor), what, excerpt(f"{body['quorum']} people, because {'; '.join(body['reasons'])}", 600)


def _plan_digest(body: dict[str, Any]) -> str:
    return Plan.model_validate(body["plan"]).digest


def _by_person(entry: Parsed) -> Said:
    body = entry.body
    verb = {"approve": "approved", "deny": "denied"}.get(body["verb"], body["verb"])
    way = "a one-time code" if body.get("way") == "code" else "their own enrolled key"
    behalf = f", on behalf of {excerpt(body['behalf'])}" if body.get("behalf") else ""
    return (
        excerpt(body["actor"]),
        f"{verb} plan {body['digest']}",
        f"signed with {way}{behalf}; {excerpt(body['reason'])}",
    )


def _by_request(entry: Parsed) -> Said:
    body = entry.body
    said = "signed request" if body["accepted"] else "REFUSED"
    return (
        excerpt(body["actor"] or entry.actor),
        f"asked to {excerpt(body['verb'])}",
        f"{said}: {excerpt(body['reason'])}",
    )


def _by_release(entry: Parsed) -> Said:
    body = entry.body
    reasons = "; ".join(body["decision"].get("reasons", []))
    return (
        excerpt(body["requested_by"] or entry.actor),
        f"release of {excerpt(body['instance'])}",
        excerpt(reasons, 600),
    )


def _by_silence(entry: Parsed) -> Said:
    return "nobody", f"no decision on {excerpt(entry.body['instance'])}: not done", excerpt(entry.body["why"])


def _by_closer(entry: Parsed) -> Said:
    return excerpt(entry.body["by"]), f"closed as {excerpt(entry.body['as'])}", excerpt(entry.body["reason"])


def _by_wrong_code(entry: Parsed) -> Said:
    what = f"a wrong code for plan {entry.body['digest']}"
    return excerpt(entry.body["approver"]), what, f"refused, {entry.body['left']} tries left"


_MAKERS: dict[str, Callable[[Parsed], Said]] = {
    "alert": _by_alert,
    "intended": _by_gate,
    "proposed": _by_question,
    "decided": _by_person,
    "lapsed": _by_silence,
    "request": _by_request,
    "release_intended": _by_release,
    "code_refused": _by_wrong_code,
    "closed": _by_closer,
}
