"""The documents that `--json` writes. An interface: keys are added, never renamed or taken away.

Times are ISO 8601 in UTC with milliseconds, as 2026-01-31T12:00:00.000Z, or null. Lengths of time are seconds.
A document of lists is an object with one key, so that it can grow. Every command that reads the journal adds the keys
of `Standing`, except for those that its document has for itself. Errors are {"error": {"code", "kind", "message",
"file", "line", "field"}} on stderr, `code` being the exit code; only a misconfiguration has the last three.
`Row`, `View` and `Held` are dumps of those of `playbooks.record.view`; `Standing`, `CheckRow`, `SuppressionRow` and
`CampaignRow` are in `flows.reading`.

    incidents          {"incidents": [Row]}
    incident           View
    campaign           {"campaigns": [CampaignRow]}; of one CampaignRow and {"rows": [Row],
                       "asks": [Ask and "incident"], "leases": [{"incident", "lease"}], "notes": [text]}
    leases             {"leases": [Held]}
    suppressions       {"suppressions": [SuppressionRow]}
    respond, approve, deny, answer, ack, delegate, release, close, stop, resume,
    purge, erase, note, assign, extend, suppress, unsuppress, hold, unhold
                       Act
    plan               {"plans": [Foresight], "notes": [text]}
    verify             Verified
    alert send         {"source", "id", "http_status", "receipt", "incident"}
    enroll             {"name", "roles", "key", "public", "file", "replaced"}
    unenroll           {"name", "file", "left"}
    people             {"people": [PersonRow]}
    init               {"folder", "files"}
    playbooks list     {"playbooks": [{"id", "class", "title", "origin", "digest", "steps"}],
                       "classes": [{"class", "playbook", "cuts": [{"kind", "takes", "system", "automatic", "rules",
                       "final", "when"}], "by_hand", "drill": {"automatic", "asked", "agreed"}}]}
    playbooks show     the playbook
    playbooks steps    {"steps": [StepRow]}
    playbooks lint     {"files": [{"file", "ok", "faults": [{"line", "field", "message"}]}]}
    inventory check    {"ok", "findings": [{"level", "subject", "message"}]}
    inventory show     {"servers", "gateways", "systems", "principals"}
    inventory upgrade  {"written", "done", "lost", "diff"}
    pins diff          {"differences": [{"server", "kind", "name", "change", "diff"}]}
    pins approve       {"server", "approved": [{"kind", "name", "change", "diff"}],
                       "pointed": [{"kind", "name", "path", "excerpt", "means"}], "written",
                       "left": [{"kind", "name", "change"}]}
    backup             {"file", "made_at", "journal", "rows", "incidents", "last_incident", "in_force", "head", "keys",
                       "missing", "signed_by", "bytes", "left_out"}; --check: "ok" instead of the last two
    restore            the same up to "signed_by", and {"folder", "restored_into", "ok", "checks": [CheckRow]}
    purge --dry-run    {"incidents": [KeptRow]}
    archive            {"incident", "file", "digest"}
    report, handover   Report
    watch              WatchLine, one on each line
    message test       {"contact", "attempts": [Attempt]}
    message show       {"incident", "notice", "language", "subject", "text", "html", "blocks", "markdown"}
    doctor --orphans   {"ok", "orphans": [Orphan], "unasked": [Unasked]}
    doctor             {"ok", "checks": [{"check", "level", "message", "remedy"}]}
"""

from typing import NotRequired, TypedDict

from flows.reading.verification import CheckRow
from playbooks.record.view import Owed, Row, Stopped, When


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


class Approval(TypedDict):
    """What another person has to say yes to: how many more, who may, and the line that each types (NAME: any)."""

    summary: str
    missing: int
    by: list[str]
    line: str


class Act(TypedDict):
    """What became of a person's request.

    `state`: `handed_in` (--no-wait), `done` (and its effect is visible), `waiting` (for another person, see `message`),
    `pending` (accepted, its effect not visible in time; exit 1), `already` (handed in before; exit 7). `reasons`: why
    it waits, one by one. `approve`: of what waits for another person, what they have to say yes to.
    """

    verb: str
    subject: str
    incident: str | None
    receipt: str
    state: str
    status: str | None
    message: str
    reasons: list[str]
    approve: NotRequired[list[Approval]]
    answer: str | None


class KeptRow(TypedDict):
    """An incident with evidence. `until`: when retention lets it go, null while it is open; `due`: at the next look.

    `locked_until`: before then the vault's lock lets nobody delete it, null if it has none or that is over.
    """

    incident: str
    exhibits: int
    until: str | None
    due: bool
    why: str
    locked_until: str | None


class Watched(Row):
    """An open incident as `watch` shows it. `waits_for` is in words; `last` is what happened last.

    `clocks` are those that run, the one that is due first first.
    """

    waits_for: tuple[str, ...]
    clocks: tuple[Owed, ...]
    undelivered: int
    last: str
    last_at: When | None


class WatchLine(TypedDict):
    """One change. `change`: open, changed, closed, stops (they changed), unreachable (nothing new can be seen)."""

    at: str
    change: str
    id: str
    incident: Watched | None
    stops: list[Stopped]


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


class CheckLine(TypedDict):
    """A check, and its last run (`playbooks/record/check.py`), null if it never ran."""

    check: str
    looks: str
    ended: str | None
    said: str
    last: dict[str, object] | None


class CheckRun(TypedDict):
    """A check that ran now. What is `unknown` could not be asked, and is not clean.

    What is `held` is as an incident holds it, and no finding. `found` and the lists after it name the first 200;
    `differ` counts all. `trust` is there of a check that judges servers: how far each is trusted, why, since when and
    what it was before (`playbooks/record/trust.py`); `figures` of one that measures (`playbooks/record/figure.py`).
    `reported`: what became of the alerts; `unrecorded`: why the journal does not have the run, empty if it has, or if
    --no-report was given.
    """

    check: str
    by: str
    began: str
    ended: str
    pieces: int
    asked: int
    found: list[dict[str, object]]
    differ: int
    unknown: list[dict[str, str]]
    left_out: list[dict[str, str]]
    held: list[dict[str, str]]
    trust: NotRequired[list[dict[str, object]]]
    figures: NotRequired[list[dict[str, object]]]
    reported: str
    unrecorded: str


class Verified(TypedDict):
    """What a verification found; `ok` only if every check is."""

    subject: str
    ok: bool
    checks: list[CheckRow]


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
        "rules": list[str],
        "reasons": list[str],
        "breaks": str,
        "undone_by": str,
        "irreversible": str | None,
    },
)


class StepRow(TypedDict):
    """A step of a playbook at one system. `radius` and `irreversible` are an action's, `exhibit` is a capture's."""

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
