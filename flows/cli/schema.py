"""The documents that `--json` writes. An interface: keys are added, never renamed or taken away.

Times are ISO 8601 in UTC with milliseconds, as 2026-01-31T12:00:00.000Z, or null. Lengths of time are seconds.
A document of lists is an object with one key, so that it can grow. Every command that reads the journal adds the keys
of `Standing`, except for those that its document has for itself. Errors are {"error": {"code", "kind", "message",
"file", "line", "field"}} on stderr, `code` being the exit code; only a misconfiguration has the last three.

    incidents          {"incidents": [IncidentRow]}
    incident           Incident
    leases             {"leases": [Lease]}
    suppressions       {"suppressions": [SuppressionRow]}
    respond, approve, deny, answer, ack, delegate, release, close, stop, resume,
    purge, erase, note, assign, extend, suppress, unsuppress, hold, unhold
                       Act
    plan               {"plans": [Foresight]}
    verify             Verified
    alert send         {"source", "id", "http_status", "receipt", "incident"}
    enroll             {"name", "roles", "key", "public", "file", "replaced"}
    unenroll           {"name", "file", "left"}
    people             {"people": [PersonRow]}
    init               {"folder", "files"}
    playbooks list     {"playbooks": [{"id", "class", "title", "origin", "digest", "steps"}],
                       "classes": [{"class", "playbook", "cuts": [{"kind", "system", "automatic", "final", "when"}],
                       "by_hand", "drill": {"automatic", "asked", "agreed"}}]}
    playbooks show     the playbook
    playbooks steps    {"steps": [StepRow]}
    playbooks lint     {"files": [{"file", "ok", "faults": [{"line", "field", "message"}]}]}
    inventory check    {"ok", "findings": [{"level", "subject", "message"}]}
    inventory show     {"servers", "gateways", "systems", "principals"}
    pins diff          {"differences": [{"server", "kind", "name", "change", "diff"}]}
    pins approve       {"server", "approved": [{"kind", "name", "change", "diff"}],
                       "pointed": [{"kind", "name", "path", "excerpt", "means"}], "written",
                       "left": [{"kind", "name", "change"}]}
    backup             {"file", "made_at", "journal", "rows", "incidents", "last_incident", "in_force", "head", "keys",
                       "missing", "signed_by", "bytes", "left_out"}; --check: "ok" instead of the last two
    restore            the same up to "signed_by", and {"folder", "restored_into", "ok", "checks": [Check]}
    purge --dry-run    {"incidents": [KeptRow]}
    archive            {"incident", "file", "digest"}
    report, handover   Report
    watch              WatchLine, one on each line
    message test       {"contact", "attempts": [Attempt]}
    message show       {"incident", "notice", "language", "subject", "text", "html", "blocks", "markdown"}
    doctor --orphans   {"ok", "orphans": [Orphan], "unasked": [Unasked]}
    doctor             {"ok", "checks": [{"check", "level", "message", "remedy"}]}
"""

from typing import Any, TypedDict


class Metrics(TypedDict):
    """When what happened, and how long it took; the lengths count from `accepted_at`.

    `first_effect_at` and `verified_at` are those of the cuts. A null is a thing that has not happened.
    """

    detected_at: str | None
    accepted_at: str | None
    first_effect_at: str | None
    verified_at: str | None
    released_at: str | None
    first_effect_seconds: float | None
    verified_seconds: float | None
    released_seconds: float | None


class Difference(TypedDict):
    """A unified diff. `reason`: the same on one line, if it is one of the reasons of an approval; else empty."""

    reason: str
    about: str
    diff: str


class Ask(TypedDict):
    """An approval that is waited for. `approve` and `deny` are the exact commands that answer it.

    `undone` is what taking it back would set; it is empty if `irreversible` says why that cannot be done.
    `reason` is why whoever asked for it wants it, in their own words.
    `digest` is that of `plan`: an approver's own machine computes it anew (`mcp-soar approve --plan FILE --print`).
    """

    instance: str
    digest: str
    plan: dict[str, Any]
    summary: str
    changes: list[str]
    reasons: list[str]
    diffs: list[Difference]
    breaks: str
    undone: list[str]
    irreversible: str | None
    differs: str
    purpose: str
    quorum: int
    approved_by: list[str]
    requested_by: str | None
    reason: str
    expires_at: str | None
    approve: str
    deny: str


class Lease(TypedDict):
    """A containment in force, or one that was. `verdict` is that of the last verification, `age` seconds ago.

    Without `began_at` nothing of it was ever written; with `done_at` it cannot be taken back and needs no watch.
    `put_backs`: how often somebody undid it and mcp-soar did it again.

    While it is `releasing`, it may be given back already, and nobody verifies that it holds.
    """

    incident: str
    lease: str
    summary: str
    changes: list[str]
    in_force: bool
    began_at: str | None
    done_at: str | None
    opened_at: str | None
    until: str | None
    requested_by: str | None
    verdict: str | None
    checked_at: str | None
    age: float | None
    put_backs: int
    releasing: bool
    released_at: str | None
    released_by: str | None
    release: str


class Step(TypedDict):
    """One step for one entity, and where it stands."""

    instance: str
    phase: str
    action: str | None
    progress: str
    attempt: int
    verdict: str | None
    message: str


class Exhibit(TypedDict):
    """One piece of evidence in the vault."""

    id: str
    kind: str
    files: list[str]
    bytes: int
    collected_at: str
    incomplete: str


class Missing(TypedDict):
    """An exhibit that could not be had."""

    kind: str
    reason: str
    at: str


class TimelineLine(TypedDict):
    """One thing that happened."""

    at: str
    actor: str
    what: str
    detail: str


class Task(TypedDict):
    """What the playbook leaves to a person."""

    step: str
    task: str
    until: str


class StopRow(TypedDict):
    """A kill switch that is on. `resume_asked_by`: who asked already that it end; it takes two."""

    scope: str
    reason: str
    by: str
    at: str | None
    resume_asked_by: list[str]


class Undelivered(TypedDict):
    """Pages that somebody could not be told of: every way was tried and failed, or they wait for over a minute.

    They are of an open incident, or, where they reached nobody and nobody took them up, of one that was closed in the
    last days, or of mcp-soar itself: then `incident` is `system`.
    """

    incident: str
    pages: int
    texts: list[str]


class SuppressionRow(TypedDict):
    """Alerts that open nothing until a time. A null `source` is every source, a null `rule` every rule."""

    scope: str
    source: str | None
    rule: str | None
    until: str | None
    by: str
    at: str | None
    reason: str
    set_aside: int


class Standing(TypedDict):
    """What every answer says beside what was asked for."""

    stops: list[StopRow]
    undelivered: list[Undelivered]
    suppressions: list[SuppressionRow]


class RepeatsRow(TypedDict):
    """How many messages of a source said what the incident had already, and between which times they came."""

    source: str
    messages: int
    since: str
    until: str


class ClockRow(TypedDict):
    """A duty to report that a law brings with an incident. `until` is null where the law names no number.

    `fulfil` is the exact command that says that it is done.
    """

    id: str
    law: str
    article: str
    to: str
    duty: str
    unless: str
    since: str | None
    until: str | None
    fulfilled: str | None
    overdue: bool
    fulfil: str


class NoteRow(TypedDict):
    """What a person wrote into an incident."""

    at: str | None
    by: str
    text: str


# `class` is a keyword, hence the other form.
IncidentRow = TypedDict(
    "IncidentRow",
    {
        "id": str,
        "class": str,
        "severity": str,
        "status": str,
        "part_of": str | None,
        "title": str,
        "servers": list[str],
        "where": list[str],
        "opened_at": str | None,
        "asks": int,
        "leases": int,
        "assigned_to": str | None,
    },
)
Incident = TypedDict(
    "Incident",
    {
        "id": str,
        "class": str,
        "severity": str,
        "status": str,
        "title": str,
        "servers": list[str],
        "entities": list[str],
        "unresolved": list[str],
        "repeats": list[RepeatsRow],
        "opened_at": str | None,
        "closed_at": str | None,
        "closed_as": str | None,
        "duplicate_of": str | None,
        "assigned_to": str | None,
        "legal_hold": str | None,
        "notes": list[NoteRow],
        "fulfilled": dict[str, str | None],
        "clocks": list[ClockRow],
        "not_proven": list[str],
        "differences": list[Difference],
        "checks": list[str],
        "refused": list[str],
        "triage": str | None,
        "frozen": str | None,
        "requested_by": str | None,
        "wishes": list[NoteRow],
        "chosen": list[str],
        "linked": list[str],
        "continued_in": str | None,
        "parts": list[str],
        "part_of": str | None,
        "playbook": str | None,
        "goals": dict[str, float] | None,
        "metrics": Metrics,
        "asks": list[Ask],
        "leases": list[Lease],
        "steps": list[Step],
        "exhibits": list[Exhibit],
        "unavailable": list[Missing],
        "tasks": list[Task],
        "stops": list[StopRow],
        "untold": list[str],
        "timeline": list[TimelineLine],
        "bundle": str | None,
        "bundle_digest": str | None,
    },
)


class Voice(TypedDict):
    """Whose voice somebody was lent, and until when."""

    name: str
    until: str | None


class PersonRow(TypedDict):
    """Somebody enrolled. `fingerprint` is the key's as OpenSSH writes it."""

    name: str
    roles: list[str]
    enrolled_at: str | None
    key: str
    fingerprint: str
    speaks_for: list[Voice]


class Act(TypedDict):
    """What became of a person's request.

    `state`: `handed_in` (--no-wait), `done` (and its effect is visible), `waiting` (for another person, see `message`),
    `pending` (accepted, its effect not visible in time; exit 1). `reasons`: why it waits, one by one.
    """

    verb: str
    subject: str
    incident: str | None
    receipt: str
    state: str
    status: str | None
    message: str
    reasons: list[str]
    answer: str | None


class KeptRow(TypedDict):
    """An incident with evidence. `until`: when retention lets it go, null while it is open; `due`: at the next look."""

    incident: str
    exhibits: int
    until: str | None
    due: bool
    why: str


class Watched(IncidentRow):
    """An open incident as `watch` shows it. `waits_for` is in words; `last` is what happened last.

    `clocks` are those that run, the one that is due first first.
    """

    about: str
    waits_for: list[str]
    clocks: list[ClockRow]
    undelivered: int
    last: str
    last_at: str | None


class WatchLine(TypedDict):
    """One change. `change`: open, changed, closed, stops (they changed), unreachable (nothing new can be seen)."""

    at: str
    change: str
    id: str
    incident: Watched | None
    stops: list[StopRow]


class Orphan(TypedDict):
    """An object of a system that is not as inventory, pins and holds say together.

    `finding`: `orphan` (out of use, and no incident holds that), `undone` (in use, though one does), `gone`.
    `incidents`: those that hold it, or once did. `system` is as a plan's target names it, `gateway` its name alone.
    """

    system: str
    gateway: str
    kind: str
    id: str
    name: str
    server: str | None
    finding: str
    incidents: list[str]
    message: str
    remedy: str


class Unasked(TypedDict):
    """A system that could not be looked at."""

    system: str
    gateway: str
    message: str


class Check(TypedDict):
    """One thing that was verified."""

    check: str
    ok: bool
    message: str


class Verified(TypedDict):
    """What a verification found; `ok` only if every check is."""

    subject: str
    ok: bool
    checks: list[Check]


class ChangeRow(TypedDict):
    """One field of one object, before and after."""

    target: str
    field: str
    before: object
    after: object
    pending: bool


Foresight = TypedDict(
    "Foresight",
    {
        "class": str,
        "about": str,
        "step": str,
        "action": str,
        "summary": str,
        "digest": str | None,
        "changes": list[ChangeRow],
        "decision": str,
        "reasons": list[str],
        "breaks": str,
        "undone_by": str,
        "irreversible": str | None,
    },
)


class StepRow(TypedDict):
    """What a step of a playbook can name. `radius` and `irreversible` are an action's, `exhibit` is a capture's."""

    step: str
    kind: str
    system: str
    does: str
    parameters: list[str]
    radius: str | None
    irreversible: str | None
    exhibit: str | None
    permissions: list[str]


class ReportSection(TypedDict):
    """A part of a report.

    A block's `kind` is text, warn, list, table, facts, picture, commands or form; the rest are its fields.
    """

    title: str
    blocks: list[dict[str, object]]


class Report(TypedDict):
    """A report as it was written. `subject`: an incident, `handover` or `week`; `text` is null if it went to a file.

    `digest` is that of the bytes written, `head` and `head_hash` are the journal's last head when it was made.
    """

    subject: str
    title: str
    head: int | None
    head_hash: str | None
    form: str
    file: str | None
    bytes: int
    digest: str
    text: str | None
    made: list[list[str]]
    lead: list[dict[str, object]]
    sections: list[ReportSection]


class Attempt(TypedDict):
    """One way by which a test message was sent; `detail` says where it went, or why it did not."""

    way: str
    delivered: bool
    detail: str


class AuditRow(TypedDict):
    """Whether a gateway writes something down; `on` is null if there is no telling."""

    what: str
    setting: str
    said: str
    on: bool | None


class CanaryRow(TypedDict):
    """How the canary stands, whether it was made now, and the shell lines that make it where it was not."""

    state: str
    made: bool
    commands: list[str]


class Imported(TypedDict):
    """What an import of a gateway came to.

    `servers`, `principals` and `tokens` are new, by the names that they get; `offered` counts what known servers offer
    besides. `gone` is what inventory.yaml has and the gateway has no more, or under another id. `partial` says what
    could not be read to the end. `written` is false for a dry run, and where nothing was new.
    """

    gateway: str
    written: bool
    servers: list[str]
    offered: dict[str, int]
    principals: list[str]
    tokens: list[str]
    credential_ids: list[str]
    gone: list[str]
    notes: list[str]
    partial: list[str]
    audit: list[AuditRow]
    canary: CanaryRow
    diff: str
