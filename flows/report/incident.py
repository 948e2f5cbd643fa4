"""The report of an incident, from its journal alone. Pure.

Whatever an outsider may have chosen passes `excerpt`; digests, times and our own names stand as they are.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from flows.report.authority import authority
from flows.report.document import (
    Block,
    Document,
    Facts,
    Form,
    Listing,
    Section,
    Table,
    Text,
    Warn,
    listed,
)
from flows.report.happened import happened, when
from flows.report.open_ends import open_ends
from flows.report.own import as_they_are, names
from flows.report.proven import differences, done, proven
from flows.report.standing import about, holding, needed
from flows.report.switches import Switch, switches_table
from flows.report.words import EXPLAINED, clock, excerpt, length, since
from playbooks import taxonomy
from playbooks.duties import Clock
from playbooks.incident import Status
from playbooks.journal import Parsed
from playbooks.playbook import Goals, Playbook
from playbooks.proof import checks, proof
from playbooks.state import Incident
from playbooks.taxonomy import Framework


class Witness(NamedTuple):
    """Up to where the journal was read.

    Args:
        seq: the stream's last entry.
        hash: of that entry, in hex.
        n: the head that names it.
        head: that head's hash, in hex.
    """

    seq: int
    hash: str
    n: int
    head: str


def report(
    state: Incident,
    entries: Sequence[Parsed],
    *,
    at: datetime,
    witness: Witness | None = None,
    playbook: Playbook | None = None,
    switches: Sequence[Switch] = (),
    clocks: Sequence[Clock] = (),
    ours: Collection[str] = (),
) -> Document:
    """Return the report of an incident.

    Args:
        state: the incident.
        entries: its stream, from which `state` was computed.
        at: now, for an open one.
        witness: up to where the journal was read.
        playbook: the one that it goes by.
        switches: the kill switches that the journal says were on meanwhile.
        clocks: the duties with deadlines that it started.
        ours: names of ours, from `playbooks.own`, which stand as they are.
    """
    made = Document(
        title=f"Incident report {state.id}",
        made=_made(state, at, witness),
        lead=list(_lead(state, switches)),
        short=list(in_short(state)),
        sections=[
            Section("What happened", list(happened(state, entries))),
            Section("Timeline", list(when(state, at))),
            Section("What was done", list(done(state))),
            Section("What was proven, and what was not", list(proven(state, entries))),
            Section("How definitions differ from what was approved", list(differences(state, entries))),
            Section("By whom, and on what authority", [authority(entries)]),
            Section("Evidence", list(_evidence(state))),
            Section("How long it took", list(_took(state, playbook))),
            Section("What the standards call it", list(_standards(state))),
            Section("Who was told", list(_told(state))),
            Section("Kill switches", [switches_table(switches, "None was on meanwhile.")]),
            Section("Open ends", list(open_ends(state, playbook, clocks))),
            Section("Root cause", [_root_cause()]),
            Section("Controls to update", list(_controls(state))),
            Section("Every entry of the journal", [_entries(state)]),
        ],
    )
    return as_they_are(made, names([state], {state.incident_class: playbook} if playbook else {}, ours))


def _made(state: Incident, at: datetime, witness: Witness | None) -> list[tuple[str, str]]:
    made = [("Made", clock(at)), ("From", f"entries 1 to {state.seq} of incident/{state.id}, and nothing else")]
    if witness is not None:
        made += [
            ("Last entry", f"number {witness.seq}, sha256:{witness.hash}"),
            ("Journal head", f"number {witness.n}, sha256:{witness.head}"),
        ]
    made.append(("To check it", f"mcp-soar verify {state.id}"))
    return made


def _lead(state: Incident, switches: Sequence[Switch]) -> Iterator[Block]:
    if state.frozen:
        yield Warn(
            f"FROZEN: this journal is not as it was written, and nothing is done any more: {excerpt(state.frozen)}"
        )
    if state.status is Status.NOT_ESTABLISHED:
        yield Warn("NOT CONTAINED: what was done does not hold, or nobody could prove that it does.")
    untold = list(state.untold.values())
    for text in untold[:_SEEN]:
        yield Warn(f"NOT DELIVERED to anybody so far: {excerpt(text, 160)}")
    if len(untold) > _SEEN:
        yield Warn(f"NOT DELIVERED to anybody so far: {len(untold) - _SEEN} more, under “Who was told”")
    for one in switches:
        if one.until is None:
            yield Warn(f"STOPPED: {one.scope} by {excerpt(one.by)} since {clock(one.since)}: {excerpt(one.reason)}")
    entry = taxonomy.load().of(state.incident_class)
    rows = [
        ("Status", state.stands),
        ("Left to do", _left(state)),
        ("Class", f"{entry.title} ({state.incident_class.value})"),
        ("Our own check", "; ".join(excerpt(one, 160) for one in checks(state).said) or _UNCHECKED * state.claimed),
        ("Severity", state.severity.label),
        ("Title", excerpt(state.title)),
        ("About", about(state)),
        ("Not known to the inventory", "; ".join(excerpt(f"{e.kind} {e.name}", 120) for e in state.unresolved)),
        ("Needs a person", excerpt(state.triage or "")),
        ("Started by", excerpt(state.requested_by or "")),
        ("Because", "; ".join(excerpt(f"{wish.by}: {wish.reason}") for wish in state.wishes)),
        ("Opened", clock(state.opened_at)),
        ("Closed", f"{clock(state.closed_at)} as {excerpt(state.closed_as)}" if state.closed_at else ""),
        ("Assigned to", excerpt(state.assigned_to or "")),
        ("Legal hold", excerpt(state.legal_hold or "")),
        ("Earlier incidents", ", ".join(state.linked)),
        ("Playbook", f"{state.playbook}, {state.playbook_digest}" if state.playbook else ""),
    ]
    yield Facts("The incident in short", [(name, value) for name, value in rows if value])


def _left(state: Incident) -> str:
    if state.part_of and not state.closed_at:
        return f"it goes on in {state.part_of}: what there is to decide is decided there"
    return "find the cause, then close it" if state.status is Status.RELEASED else ""


_UNCHECKED = "the class is what the alert says: nothing of our own has confirmed it"

_SEEN = 3
"""Undelivered messages that stand at the top."""

FEW = 4
"""Lines of each part of what is said in short; the parts after it have them all."""

_SHORT = 100
"""Characters of one of them: a line of a page."""


def in_short(state: Incident) -> Iterator[Section]:
    """Yield what has to be known of an incident on one page: what is in force, what is proven, what not, what is asked.

    Args:
        state: the incident.
    """
    held = [
        f"{excerpt(lease.plan.summary, _SHORT)}: {holding(lease)}"
        + (f", until {clock(lease.until)}" if lease.in_force else "")
        for lease in state.leases.values()
        if lease.holds
    ]
    known = proof(state)
    asks = [
        f"{excerpt(step.plan.summary, _SHORT)}: {needed(step)} still needed, until {clock(step.expires_at)}, then no"
        for step in state.proposals
        if step.plan
    ]
    nothing = "Everything was given back." if state.given_back else "Nothing is in force."
    yield Section("In force", [_few(held, nothing), *([Text(EXPLAINED)] if held else [])])
    yield Section("Proven", [_few([excerpt(fact, _SHORT) for fact in known.good], "Nothing is proven.")])
    lacking = [excerpt(fact, _SHORT) for fact in known.lacking]
    yield Section("NOT proven", [_few(lacking, "Nothing that was done is without proof.")])
    yield Section("Asked of people", [_few(asks, "No question is open.")])


def _few(points: Sequence[str], empty: str) -> Block:
    each = list(dict.fromkeys(points))
    if not each:
        return Text(empty)
    more = [f"and {len(each) - FEW} more, below"] if len(each) > FEW else []
    return Listing([*each[:FEW], *more])


def _evidence(state: Incident) -> Iterator[Block]:
    files, custody = [], []
    for item in state.exhibits:
        for file in item["files"]:
            collected = f"{clock(item['collected_at'])} by {excerpt(item['collected_by'])}"
            origin = f"{excerpt(file['origin'])} with {item['how']['capture']} of {item['how']['tool']}"
            files.append((item["id"], file["name"], str(file["size"]), file["sha256"], collected, origin))
        custody += [
            (item["id"], clock(line["at"]), excerpt(line["actor"]), line["act"], excerpt(line.get("note", "")))
            for line in item["custody"]
        ]
    yield listed("Exhibits", ("Exhibit", "File", "Bytes", "SHA-256", "Collected", "From"), files, "No exhibit.")
    yield listed("Custody", ("Exhibit", "When", "Who", "Act", "Note"), custody, "No custody record.")
    missing = [
        (excerpt(item["kind"]), excerpt(item["reason"]), excerpt(item["recorded_by"]), clock(item["at"]))
        for item in state.missing
    ]
    yield listed("Not available", ("Kind", "Why not", "Recorded by", "When"), missing, "Nothing is missing.")
    if state.bundle:
        yield Text(f"Sealed as {state.bundle}, {state.sealed}.")
    else:
        yield Text("It is not sealed yet.")


def _took(state: Incident, playbook: Playbook | None) -> Iterator[Block]:
    goals = playbook.goals_of(state.playbook_digest) if playbook else None
    yield metrics(state, goals)
    if state.playbook and goals is None:
        yield Text("The playbook that it began with is not in use any more, so its goals are not known here.")


def metrics(state: Incident, goals: Goals | None) -> Table:
    """Return how long it took, beside what the playbook that it began with asks for."""
    times = state.metrics
    start = times["accepted_at"]
    wanted = {"first_effect_at": goals.first_effect, "verified_at": goals.verified} if goals else {}
    rows = []
    for key, name in _METRICS:
        moment, goal = times[key], wanted.get(key)
        if goal is None:
            met = "-"
        elif moment is None or start is None:
            met = "not yet" if state.closed_at is None else "MISSED: it did not happen"
        else:
            met = "met" if (moment - start).total_seconds() <= goal else "MISSED"
        rows.append((name, clock(moment), since(start, moment) or "-", length(goal) if goal is not None else "-", met))
    return Table("Times", ("What", "When", "After the acceptance", "Goal", "Goal met"), rows)


_METRICS = (
    ("detected_at", "Detected by the source"),
    ("accepted_at", "Accepted"),
    ("first_effect_at", "First effect"),
    ("verified_at", "Containment proven"),
    ("released_at", "Released"),
)


def _standards(state: Incident) -> Iterator[Block]:
    catalogue = taxonomy.load()
    entry = catalogue.of(state.incident_class)
    yield Text(entry.summary)
    rows = []
    for name, ids in entry.mappings:
        framework: Framework = getattr(catalogue.frameworks, name)
        rows += [(f"{framework.name} {framework.edition}", one, framework.ids[one]) for one in ids]
    yield Table("Mapping, each in the edition named", ("Framework and edition", "Id", "Title"), rows)


def _controls(state: Incident) -> Iterator[Block]:
    catalogue = taxonomy.load()
    framework = catalogue.frameworks.nist_800_53
    ids = catalogue.of(state.incident_class).mappings.nist_800_53
    yield Text(
        f"These controls ({framework.name} {framework.edition}) answer this class: say of each what is to change."
    )
    rows = [(one, framework.ids[one], "", "", "") for one in ids]
    yield Table("Controls", ("Control", "Title", "What changes", "Who", "Until"), rows)


def _told(state: Incident) -> Iterator[Block]:
    attempts = [
        (
            clock(told.at),
            excerpt(told.contact or "the log"),
            excerpt(told.channel),
            excerpt(state.pages[told.page].text if told.page in state.pages else told.page),
            "delivered" if told.delivered else "NOT delivered",
            excerpt(told.detail),
        )
        for told in state.told
    ]
    heads = ("When", "Whom", "By", "What", "Outcome", "Where or why")
    yield listed("Messages", heads, attempts, "Nobody was told.")
    acknowledged = [
        (excerpt(state.pages[page].text if page in state.pages else page), excerpt(by))
        for page, by in state.acknowledged.items()
    ]
    yield listed("Acknowledged", ("What", "By"), acknowledged, "Nobody has acknowledged a message.")
    lost = list(state.untold.values())
    if lost:
        yield Warn("These reached nobody:")
        yield Listing([excerpt(text) for text in lost])


def _root_cause() -> Form:
    return Form(
        "Root cause, to be filled in",
        (
            "What made it possible? (the condition, not the person)",
            "How did it come about, step by step? (five whys)",
            "Since when, and who or what was exposed meanwhile?",
            "Why was it not found earlier, and what would have found it?",
            "What went well, and what was luck?",
            "What changes, by whom, until when, and how is it checked?",
            "Filled in by, and when; reviewed by, and when",
        ),
    )


def _entries(state: Incident) -> Table:
    rows = [(clock(line.at), excerpt(line.actor), excerpt(line.what), excerpt(line.detail)) for line in state.timeline]
    return listed("Entries", ("When", "Who", "What", "Detail"), rows)
