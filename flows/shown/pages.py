"""An incident as artifacts: where it stands, its plans, its evidence. One key each; versions are its course. Pure.

Nothing in them depends on when they are made, so what did not change is not published again.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flows.report.words import EXPLAINED, length
from flows.shown.text import at, escaped, facts, table
from integrations.journal.records import Stop
from playbooks.plan import Change, Plan
from playbooks.playbook import Goals
from playbooks.policy import Purpose
from playbooks.proof import proof
from playbooks.state import Incident, StepState

MOST = 500
"""Lines of the timeline; the journal has them all."""

LACKING = 20
"""Lines of what is not proven; `mcp-soar incident` has them all."""

LONG = 12
"""Hexadecimal digits by which people name a plan."""

WAITING = "plans that wait: "
"""Before their short digests in the description of the artifact."""

PLAN = "-plan"
EVIDENCE = "-evidence"
REPORT = "-report"


class Page(NamedTuple):
    """One artifact.

    Args:
        key: of the artifact: lower case, digits and dashes.
        description: one line.
        data: Markdown.
    """

    key: str
    description: str
    data: str


def pages(state: Incident, stops: Sequence[Stop]) -> tuple[Page, ...]:
    """Return an incident's artifacts, except for the first one, which is `overview`.

    Args:
        state: the incident.
        stops: the kill switches that are on for it.
    """
    top = banner(stops)
    made = [Page(state.id + PLAN, _asks(state), top + plans(state))]
    if state.exhibits or state.unavailable:
        many = f"{len(state.exhibits)} exhibits" + (", sealed" if state.sealed else ", not sealed yet")
        made.append(Page(state.id + EVIDENCE, many, top + evidence(state)))
    return tuple(made)


def concerned(state: Incident, stops: Sequence[Stop]) -> tuple[Stop, ...]:
    """Return the kill switches that hold an incident up; none holds up one that is closed."""
    if state.closed_at:
        return ()
    mine = state.scopes
    return tuple(stop for stop in stops if stop.scope in mine)


def banner(stops: Sequence[Stop]) -> str:
    """Return what stands above everything while a kill switch is on; nothing while none is."""
    lines = [
        f"> **KILL SWITCH ON: {escaped(stop.scope)}.** Since {at(datetime.fromtimestamp(stop.at, UTC))} UTC, "
        f"by {escaped(stop.by)}: {escaped(stop.reason or 'no reason given')}"
        for stop in stops
    ]
    if not lines:
        return ""
    lines.append(
        "> No new containment and no put-back begins; evidence, messages and a person's release go on. Two people end "
        "it: `mcp-soar resume SCOPE`, each with their own key."
    )
    return "\n>\n".join(lines) + "\n\n"


def overview(state: Incident, stops: Sequence[Stop], *, picture: str = "", goals: Goals | None = None) -> str:
    """Return where an incident stands: what is asked, what is in force, what happened. As Markdown.

    Args:
        state: the incident.
        stops: the kill switches that are on for it.
        picture: its timeline, as Markdown.
        goals: of its playbook.
    """
    about = ", ".join(escaped(entity, 100) for entity in state.entities.values())
    about = about or "nothing that the inventory knows"
    kind = escaped(state.incident_class.replace("_", " "))
    parts = [
        f"{banner(stops)}# {escaped(state.id)}: {_status(state)}",
        f"**{kind.capitalize()}**, {escaped(state.severity.label)}, about {about}: {escaped(state.title)}",
    ]
    if state.triage:
        parts.append(f"**Needs a person:** {escaped(state.triage)}")
    if state.frozen:
        parts.append(f"**Frozen:** {escaped(state.frozen)}")
    if state.undelivered:
        lost = [
            (f"NOT DELIVERED to {escaped(who, 60)}", escaped(f"{state.pages[page].text} ({why})"))
            for (page, who), why in state.undelivered.items()
            if page in state.pages
        ]
        parts.append(facts(lost[:10]))
    asks = [step for step in state.proposals if step.plan]
    if asks:
        parts += ["## It asks for a decision", *(_ask(state, step, step.plan) for step in asks if step.plan)]
    parts += ["## In force", _leases(state)]
    if lacking := proof(state).lacking:
        more = f"\n- … \\+{len(lacking) - LACKING}" if len(lacking) > LACKING else ""
        parts += ["## NOT proven", "\n".join(f"- {escaped(fact)}" for fact in lacking[:LACKING]) + more]
    parts += ["## What happened", picture, _times(state, goals)]
    left = len(state.timeline) - MOST
    lines = [
        f"- {at(line.at)} {escaped(line.actor, 40)}: **{escaped(line.what)}**"
        + (f" {escaped(line.detail)}" if line.detail else "")
        for line in state.timeline[-MOST:]
    ]
    parts += ["## Every step (UTC)", "\n".join(lines)]
    if left > 0:
        parts.append(f"{left} earlier lines are in the journal: `mcp-soar incident {state.id}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def _status(state: Incident) -> str:
    return escaped(state.stands) + (f" \\({escaped(state.closed_as)}\\)" if state.closed_as else "")


def _asks(state: Incident) -> str:
    """Return one line that names the plans that wait; a worker reads it to say which one is current."""
    waiting = [step.plan.digest[7 : 7 + LONG] for step in state.proposals if step.plan]
    return f"{WAITING}{' '.join(waiting) or 'none'}"


def _ask(state: Incident, step: StepState, plan: Plan) -> str:
    short = plan.digest[7 : 7 + LONG]
    missing = max(step.quorum - len(set(step.approved_by) - {step.requested_by}), 0)
    if plan.irreversible:
        undo = escaped(f"it cannot be: {plan.irreversible.because}")
    else:
        verb = "respond" if step.purpose is Purpose.RELEASE else "release"
        sets = f", which sets {escaped(_changes(plan.undone))}" if plan.undone else ""
        undo = f"`mcp-soar {verb} {state.id}`{sets}"
    people = f"{missing} approver{'s' if missing != 1 else ''}"
    by_key = f"`mcp-soar approve {state.id} --digest {short}`, or `deny` likewise; from your own machine, see the plan"
    said = facts(
        [
            ("Changes", escaped(_changes(plan.pending)) or "nothing: all of it is so already"),
            ("Why it waits", escaped("; ".join(step.reasons))),
            ("Asked for by", escaped(step.requested_by or "")),
            ("Their reason", escaped(state.reason_of(step))),
            ("It would break", escaped(plan.breaks) or "nothing that is known"),
            ("It is undone by", undo),
            ("Asked anew, because", escaped(step.differs)),
            ("Still needed", f"{people}, until {at(step.expires_at)} UTC; then it counts as denied"),
            ("Approved by", escaped(", ".join(step.approved_by))),
            ("To answer", f"{by_key}; with a one\\-time code, the deployment **answer**, plan `{short}`"),
        ]
    )
    return f"### {escaped(plan.summary)}\n\n{said}"


def _changes(changes: Sequence[Change]) -> str:
    return "; ".join(
        f"{change.target}: {change.field} {_value(change.before)} → {_value(change.after)}" for change in changes
    )


def _value(value: object) -> str:
    return "yes" if value is True else "no" if value is False else str(value)


def _leases(state: Incident) -> str:
    held = []
    for lease in state.leases.values():
        if lease.in_force:
            answer = f"**{escaped(lease.verdict.answer.replace('_', ' '))}**" if lease.verdict else "not verified yet"
            when = f", last verified {at(lease.checked_at)}" if lease.verdict else ""
            held.append((escaped(lease.plan.summary), f"{answer}{when}; until {at(lease.until)} UTC"))
        elif lease.done_at:
            held.append(
                (escaped(lease.plan.summary), f"**done for good** {at(lease.done_at)}; it cannot be taken back")
            )
    return f"{facts(held)}\n\n*{escaped(EXPLAINED, 600)}*" if held else "Nothing is in force."


def _times(state: Incident, goals: Goals | None) -> str:
    times = state.metrics
    start = times["accepted_at"]
    wanted = {"first_effect_at": goals.first_effect, "verified_at": goals.verified} if goals else {}
    names = {
        "detected_at": "Detected",
        "accepted_at": "Accepted",
        "first_effect_at": "First effect",
        "verified_at": "Containment verified",
        "released_at": "Released",
    }
    rows = []
    for key, name in names.items():
        moment = times[key]
        later = length((moment - start).total_seconds()) if moment and start and key != "accepted_at" else ""
        goal = f"within {length(wanted[key])}" if key in wanted else ""
        rows.append((name, at(moment) if moment else "not yet", escaped(later), goal))
    return table(("", "When (UTC)", "After acceptance", "Goal"), rows)


def plans(state: Incident) -> str:
    """Return every plan of an incident: what it changes from what to what, and what the gate said. As Markdown."""
    parts = [f"# Plans of {escaped(state.id)}"]
    steps = [step for step in state.steps.values() if step.plan]
    for step in steps:
        if step.plan is None:
            continue
        rows = [
            (
                escaped(change.target),
                escaped(change.field),
                escaped(_value(change.before)),
                escaped(_value(change.after)),
            )
            for change in step.plan.pending
        ]
        parts.append(f"## {escaped(step.phase)}: {escaped(step.plan.summary)}")
        parts.append(table(("What", "Field", "Before", "After"), rows, empty="It changes nothing."))
        said = [
            ("Stands", f"**{escaped(step.progress.replace('_', ' '))}**"),
            ("The gate", escaped("; ".join(step.reasons)) or "was not asked"),
            ("The probe", escaped(_probe(step), 600)),
            ("What went wrong", escaped(step.message)),
            ("Approved by", escaped(", ".join(step.approved_by))),
            ("Digest", f"`{step.plan.digest}`"),
        ]
        parts.append(facts(said))
        if step in state.proposals:
            parts += [_TO_SIGN, _file(state, step, step.plan)]
    if not steps:
        parts.append("There is none yet.")
    return "\n\n".join(parts) + "\n"


_TO_SIGN = (
    "To read and answer it on your own machine, where your key is: save this as a file, say plan\\.json, then "
    "`mcp-soar approve ID --plan plan.json --print --as NAME`, or `deny`. It shows what you sign for and computes the "
    "digest from it; paste what it prints into the form **approve** or **deny**."
)
LONGEST_FILE = 200_000
"""Characters of a plan that are shown to be saved; `mcp-soar incident ID --json` writes any."""


def _file(state: Incident, step: StepState, plan: Plan) -> str:
    ask = {
        "digest": plan.digest,
        "plan": plan.model_dump(mode="json"),
        "reasons": list(step.reasons),
        "requested_by": step.requested_by,
        "reason": state.reason_of(step),
    }
    # In plain ASCII, and without what would end the block: names in it may be hostile.
    text = json.dumps({"id": state.id, "asks": [ask]}).replace("`", "\\u0060")
    if len(text) > LONGEST_FILE:
        return f"It is too long to be shown: `mcp-soar incident {state.id} --json` writes it."
    return f"```json\n{text}\n```"


def _probe(step: StepState) -> str:
    findings = step.verdict.findings if step.verdict else ()
    return "; ".join(f"{found.check} as {found.asked_as}: {found.observed}" for found in findings)


def evidence(state: Incident) -> str:
    """Return the manifest: every exhibit's files with their digests, and what could not be had. As Markdown."""
    files = [
        (escaped(exhibit["id"]), escaped(file["name"]), str(file["size"]), f"`{_hex(file['sha256'])}`")
        for exhibit in state.exhibits
        for file in exhibit["files"]
    ]
    custody = [
        (
            escaped(item["id"]),
            f"{escaped(_moment(item.get('collected_at')))} UTC, {escaped(item.get('collected_by', ''))}",
        )
        for item in state.exhibits
    ]
    missing = [(escaped(item["kind"]), escaped(item["reason"])) for item in state.missing]
    parts = [
        f"# Evidence of {escaped(state.id)}",
        f"Sealed as {escaped(state.bundle)}, `{state.sealed}`" if state.bundle else "Not sealed yet.",
        table(("Exhibit", "File", "Bytes", "SHA\\-256"), files),
        "## Collected",
        facts(custody),
    ]
    if missing:
        parts += ["## Not available", facts(missing)]
    parts.append(
        f"To verify: `mcp-soar verify {state.id}`. `mcp-soar archive {state.id} --out FILE.tar.gz` writes all of it as "
        "one bundle, which verifies offline with the responder's public key alone."
    )
    return "\n\n".join(parts) + "\n"


def _hex(digest: Any) -> str:  # noqa: ANN401  # of the journal
    text = str(digest).removeprefix("sha256:")
    return text if text.isalnum() and text.isascii() else "not a digest"


def _moment(value: Any) -> str:  # noqa: ANN401  # of the journal
    return str(value or "").replace("T", " ").partition(".")[0].removesuffix("Z")
