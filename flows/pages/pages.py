"""An incident as artifacts: where it stands, its plans, its evidence. One key each; versions are its course. Pure.

Nothing in them depends on when they are made, so what did not change is not published again.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from flows.pages.text import at, escaped, facts, image, table
from flows.pages.waiting import PLAN, WAITING
from flows.report.document import Document
from flows.report.incident import metrics
from flows.report.picture import timeline
from flows.report.standing import holding
from flows.report.words import EXPLAINED
from flows.report.written import markdown
from integrations.journal.records import Stop
from playbooks.gate.policy import Purpose
from playbooks.record.state import Incident
from playbooks.record.view import Ask, View
from playbooks.strict import canonical

MOST = 500
"""Lines of the timeline; the journal has them all."""

LACKING = 20
"""Lines of what is not proven; `mcp-soar incident` has them all."""

EVIDENCE = "-evidence"
REPORT = "-report"


class Artifact(NamedTuple):
    """One artifact.

    Args:
        key: of the artifact: lower case, digits and dashes.
        description: one line.
        data: Markdown.
    """

    key: str
    description: str
    data: str


def pages(it: View, stops: Sequence[Stop], told: Document) -> list[Artifact]:
    """Return an incident's artifacts, the overview last: it says how far all of them go.

    Args:
        it: the incident.
        stops: the kill switches that are on for it.
        told: its report.
    """
    top = banner(stops)
    made = [Artifact(it.id + PLAN, _asks(it), top + plans(it))]
    if it.exhibits or it.unavailable:
        many = f"{len(it.exhibits)} exhibits" + (", sealed" if it.bundle else ", not sealed yet")
        made.append(Artifact(it.id + EVIDENCE, many, top + evidence(it)))
    made.append(Artifact(it.id + REPORT, f"up to journal entry {it.seq}", f"{top}{markdown(told)}\n\n{_WITHOUT}\n"))
    said = f"{it.stands}, {'kill switch on, ' if stops else ''}journal entry {it.seq}"
    return [*made, Artifact(it.id, said, overview(it, stops))]


_WITHOUT = "Duties to report, and their clocks, need the inventory: `mcp-soar report` has them, and other forms."


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


def overview(it: View, stops: Sequence[Stop]) -> str:
    """Return where an incident stands: what is asked, what is in force, what happened. As Markdown.

    Args:
        it: the incident.
        stops: the kill switches that are on for it.
    """
    picture = image(timeline(it), f"Timeline of {it.id}; the list below says the same")
    kind = escaped(it.incident_class.replace("_", " "))
    about = ", ".join(escaped(entity, 100) for entity in it.entities) or it.about
    parts = [
        f"{banner(stops)}# {escaped(it.id)}: {_status(it)}",
        f"**{kind.capitalize()}**, {escaped(it.severity.label)}, about {about}: {escaped(it.title)}",
    ]
    if it.triage:
        parts.append(f"**Needs a person:** {escaped(it.triage)}")
    parts += [f"**Part of a campaign:** {escaped(str(one))}" for one in it.campaigns]
    parts += [f"**Published:** {escaped(str(one))}" for one in it.advisories]
    if it.frozen:
        parts.append(f"**Frozen:** {escaped(it.frozen)}")
    lost = [(f"NOT DELIVERED to {escaped(one.who, 60)}", escaped(f"{one.text} ({one.why})")) for one in it.missed[:10]]
    asks = ["## It asks for a decision"] * bool(it.asks) + [_ask(it, ask) for ask in it.asks]
    parts += [facts(lost), *asks, "## In force", _leases(it)]
    if lacking := it.not_proven:
        more = f"\n- … \\+{len(lacking) - LACKING}" if len(lacking) > LACKING else ""
        parts += ["## NOT proven", "\n".join(f"- {escaped(fact)}" for fact in lacking[:LACKING]) + more]
    parts += ["## What happened", picture, _times(it)]
    left = len(it.timeline) - MOST
    lines = [
        f"- {at(line.at)} {escaped(line.actor, 40)}: **{escaped(line.what)}**"
        + (f" {escaped(line.detail)}" if line.detail else "")
        for line in it.timeline[-MOST:]
    ]
    parts += ["## Every step (UTC)", "\n".join(lines)]
    if left > 0:
        parts.append(f"{left} earlier lines are in the journal: `mcp-soar incident {it.id}`")
    return "\n\n".join(part for part in parts if part) + "\n"


def _status(it: View) -> str:
    return escaped(it.stands) + (f" \\({escaped(it.closed_as)}\\)" if it.closed_as else "")


def _asks(it: View) -> str:
    """Return one line that names the plans that wait; a worker reads it to say which one is current."""
    return f"{WAITING}{' '.join(ask.short for ask in it.asks) or 'none'}"


def _ask(it: View, ask: Ask) -> str:
    if ask.undo is None:
        undo = escaped(f"it cannot be: {ask.irreversible}")
    else:
        undo = f"{escaped(ask.undo)}: `mcp-soar {'respond' if ask.purpose is Purpose.RELEASE else 'release'} {it.id}`"
    by_key = f"`mcp-soar approve {it.id} --digest {ask.short}`, or `deny` likewise; from your own machine, see the plan"
    said = facts(
        [
            ("Changes", escaped("; ".join(ask.changes)) or "nothing: all of it is so already"),
            ("Why it waits", escaped("; ".join(ask.reasons))),
            ("Asked for by", escaped(ask.requested_by or "")),
            ("Their reason", escaped(ask.reason)),
            ("It would break", escaped(ask.breaks) or "nothing that is known"),
            ("It is undone by", undo),
            ("Once it is healed", escaped(ask.by_itself)),
            ("Asked anew, because", escaped("; ".join(ask.differs))),
            ("Still needed", f"{ask.needed}, until {at(ask.expires_at)} UTC; then it counts as denied"),
            ("Approved by", escaped(", ".join(ask.approved_by))),
            ("To answer", f"{by_key}; with a one\\-time code, the deployment **answer**, plan `{ask.short}`"),
        ]
    )
    return f"### {escaped(ask.summary)}\n\n{said}"


def _leases(it: View) -> str:
    held = [
        (
            escaped(lease.summary),
            f"**{escaped(holding(lease))}**"
            + (f"; until {at(lease.until)}, last verified {at(lease.checked_at)} UTC" if lease.in_force else ""),
        )
        for lease in it.leases
        if lease.holds
    ]
    return f"{facts(held)}\n\n*{escaped(EXPLAINED, 600)}*" if held else "Nothing is in force."


def _times(it: View) -> str:
    shown = metrics(it)
    return table(shown.heads, ([escaped(cell) for cell in row] for row in shown.rows))


def plans(it: View) -> str:
    """Return every plan of an incident: what it changes from what to what, and what the gate said. As Markdown."""
    parts = [f"# Plans of {escaped(it.id)}"]
    asked = {ask.instance: ask for ask in it.asks}
    steps = [(step, step.plan) for step in it.steps if step.plan]
    for step, plan in steps:
        rows = [
            tuple(map(escaped, (change.target, change.field, _said(change.before), _said(change.after))))
            for change in plan.pending
        ]
        seen = "; ".join(f"{found.check} as {found.asked_as}: {found.observed}" for found in step.findings)
        parts.append(f"## {escaped(step.phase)}: {escaped(step.summary)}")
        parts.append(table(("What", "Field", "Before", "After"), rows, empty="It changes nothing."))
        said = [
            ("Stands", f"**{escaped(step.progress.replace('_', ' '))}**"),
            ("The gate", escaped("; ".join(step.reasons)) or "was not asked"),
            ("The probe", escaped(seen, 600)),
            ("What went wrong", escaped(step.message)),
            ("Approved by", escaped(", ".join(step.approved_by))),
            ("Digest", f"`{plan.digest}`"),
        ]
        parts.append(facts(said))
        if step.instance in asked:
            parts += [_TO_SIGN, _file(it, asked[step.instance])]
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


def _file(it: View, asked: Ask) -> str:
    said = {"digest", "plan", "reasons", "requested_by", "reason", "purpose"}
    ask = asked.model_dump(mode="json", include=said)
    # In plain ASCII, and without what would end the block: names in it may be hostile.
    text = json.dumps({"id": it.id, "asks": [ask]}).replace("`", "\\u0060")
    if len(text) > LONGEST_FILE:
        return f"It is too long to be shown: `mcp-soar incident {it.id} --json` writes it."
    return f"```json\n{text}\n```"


def _said(value: object) -> str:
    return canonical(value).decode()


def evidence(it: View) -> str:
    """Return the manifest: every exhibit's files with their digests, and what could not be had. As Markdown."""
    files = [
        (escaped(kept.id), escaped(file.name), str(file.size), f"`{_hex(file.sha256)}`")
        for kept in it.exhibits
        for file in kept.contents
    ]
    custody = [
        (escaped(kept.id), f"{_moment(kept.collected_at)} UTC, {escaped(kept.collected_by)}") for kept in it.exhibits
    ]
    missing = [(escaped(item.kind), escaped(item.reason)) for item in it.unavailable]
    parts = [
        f"# Evidence of {escaped(it.id)}",
        f"Sealed as {escaped(it.bundle)}, `{it.bundle_digest}`" if it.bundle else "Not sealed yet.",
        table(("Exhibit", "File", "Bytes", "SHA\\-256"), files),
        "## Collected",
        facts(custody),
    ]
    if missing:
        parts += ["## Not available", facts(missing)]
    parts.append(
        f"To verify: `mcp-soar verify {it.id}`. `mcp-soar archive {it.id} --out FILE.tar.gz` writes all of it as "
        "one bundle, which verifies offline with the responder's public key alone."
    )
    return "\n\n".join(parts) + "\n"


def _hex(digest: str) -> str:
    text = digest.removeprefix("sha256:")
    return text if text.isalnum() and text.isascii() else "not a digest"


def _moment(text: str) -> str:
    return escaped(text.replace("T", " ").partition(".")[0].removesuffix("Z"))
