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
    Listing,
    Questions,
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
from flows.report.standing import holding, needed
from flows.report.switches import Switch, switches_table
from flows.report.words import EXPLAINED, against, clock, excerpt, length, since
from playbooks import taxonomy
from playbooks.people.duties import Clock
from playbooks.playbook import Playbook
from playbooks.record.incident import Status
from playbooks.record.journal import Parsed
from playbooks.record.state import Incident
from playbooks.record.view import View
from playbooks.record.viewing import view
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
        ours: names of ours, from `playbooks.text.own`, which stand as they are.
    """
    it = view(state, at=at, playbook=playbook, clocks=clocks)
    made = Document(
        title=f"Incident report {it.id}",
        made=_made(it, at, witness),
        lead=list(_lead(it, switches)),
        short=list(in_short(it)),
        sections=[
            Section("What happened", list(happened(it, entries))),
            Section("Timeline", list(when(it, at))),
            Section("What was done", list(done(it))),
            Section("What was proven, and what was not", list(proven(it, entries))),
            Section("How definitions differ from what was approved", list(differences(it, entries))),
            Section("By whom, and on what authority", [authority(entries)]),
            Section("Evidence", list(_evidence(it))),
            Section("How long it took", list(_took(it))),
            Section("What the standards call it", list(_standards(it))),
            Section("Who was told", list(_told(it))),
            Section("Kill switches", [switches_table(switches, "None was on meanwhile.")]),
            Section("Open ends", list(open_ends(it))),
            Section("Root cause", [_root_cause()]),
            Section("Controls to update", list(_controls(it))),
            Section("Every entry of the journal", [_entries(it)]),
        ],
    )
    return as_they_are(made, names([state], [playbook], ours))


def _made(it: View, at: datetime, witness: Witness | None) -> list[tuple[str, str]]:
    made = [("Made", clock(at)), ("From", f"entries 1 to {it.seq} of incident/{it.id}, and nothing else")]
    if witness is not None:
        made += [
            ("Last entry", f"number {witness.seq}, sha256:{witness.hash}"),
            ("Journal head", f"number {witness.n}, sha256:{witness.head}"),
        ]
    made.append(("To check it", f"mcp-soar verify {it.id}"))
    return made


def _lead(it: View, switches: Sequence[Switch]) -> Iterator[Block]:
    if it.frozen:
        yield Warn(f"FROZEN: this journal is not as it was written, and nothing is done any more: {excerpt(it.frozen)}")
    if it.status is Status.NOT_ESTABLISHED:
        yield Warn("NOT CONTAINED: what was done does not hold, or nobody could prove that it does.")
    for page in it.untold[:_SEEN]:
        yield Warn(f"NOT DELIVERED to anybody so far: {excerpt(page.text, 160)}")
    if len(it.untold) > _SEEN:
        yield Warn(f"NOT DELIVERED to anybody so far: {len(it.untold) - _SEEN} more, under “Who was told”")
    for one in switches:
        if one.until is None:
            yield Warn(f"STOPPED: {one.scope} by {excerpt(one.by)} since {clock(one.since)}: {excerpt(one.reason)}")
    entry = taxonomy.load().of(it.incident_class)
    rows = [
        ("Status", it.stands),
        ("Left to do", _left(it)),
        ("Class", f"{entry.title} ({it.incident_class.value})"),
        ("Our own check", "; ".join(excerpt(one, 160) for one in it.checked) or _UNCHECKED * it.claimed),
        ("Severity", it.severity.label),
        ("Title", excerpt(it.title)),
        ("About", excerpt(it.about)),
        ("Not known to the inventory", "; ".join(excerpt(one, 120) for one in it.unresolved)),
        ("Part of a campaign", "; ".join(excerpt(str(one)) for one in it.campaigns)),
        ("Published", " ".join(excerpt(str(one)) for one in it.advisories)),
        ("Needs a person", excerpt(it.triage or "")),
        ("Started by", excerpt(it.requested_by or "")),
        ("Because", "; ".join(map(excerpt, it.why))),
        ("Opened", clock(it.opened_at)),
        ("Closed", f"{clock(it.closed_at)} as {excerpt(it.closed_as)}" if it.closed_at else ""),
        ("Assigned to", excerpt(it.assigned_to or "")),
        ("Legal hold", excerpt(it.legal_hold or "")),
        ("Earlier incidents", ", ".join(it.linked)),
        ("Playbook", f"{it.playbook}, {it.playbook_digest}" if it.playbook else ""),
    ]
    yield Facts("The incident in short", [(name, value) for name, value in rows if value])


def _left(it: View) -> str:
    if it.part_of and not it.closed_at:
        return f"it goes on in {it.part_of}: what there is to decide is decided there"
    return "find the cause, then close it" if it.status is Status.RELEASED else ""


_UNCHECKED = "the class is what the alert says: nothing of our own has confirmed it"

_SEEN = 3
"""Undelivered messages that stand at the top."""

FEW = 4
"""Lines of each part of what is said in short; the parts after it have them all."""

_SHORT = 100
"""Characters of one of them: a line of a page."""


def in_short(it: View) -> Iterator[Section]:
    """Yield what has to be known of an incident on one page: what is in force, what is proven, what not, what is asked.

    Args:
        it: the incident.
    """
    held = [
        f"{_line(lease.summary)}: {holding(lease)}" + (f", until {clock(lease.until)}" if lease.in_force else "")
        for lease in it.leases
        if lease.holds
    ]
    asks = [
        f"{_line(ask.summary)}: {needed(ask)} still needed, until {clock(ask.expires_at)}, then no" for ask in it.asks
    ]
    nothing = "Everything was given back." if it.given_back else "Nothing is in force."
    yield Section("In force", [_few(held, nothing), *([Text(EXPLAINED)] if held else [])])
    yield Section("Proven", [_few([excerpt(fact, _SHORT) for fact in it.proven], "Nothing is proven.")])
    lacking = [excerpt(fact, _SHORT) for fact in it.not_proven]
    yield Section("NOT proven", [_few(lacking, "Nothing that was done is without proof.")])
    yield Section("Asked of people", [_few(asks, "No question is open.")])


def _line(summary: str) -> str:
    return excerpt(summary, _SHORT).rstrip(".")


def _few(points: Sequence[str], empty: str) -> Block:
    each = list(dict.fromkeys(points))
    if not each:
        return Text(empty)
    more = [f"and {len(each) - FEW} more, below"] if len(each) > FEW else []
    return Listing([*each[:FEW], *more])


def _evidence(it: View) -> Iterator[Block]:
    files = [
        (
            kept.id,
            file.name,
            str(file.size),
            file.sha256,
            f"{clock(kept.collected_at)} by {excerpt(kept.collected_by)}",
            f"{excerpt(file.origin)} with {kept.capture} of {kept.tool}",
        )
        for kept in it.exhibits
        for file in kept.contents
    ]
    custody = [
        (kept.id, clock(line.at), excerpt(line.actor), line.act, excerpt(line.note))
        for kept in it.exhibits
        for line in kept.custody
    ]
    yield listed("Exhibits", ("Exhibit", "File", "Bytes", "SHA-256", "Collected", "From"), files, "No exhibit.")
    yield listed("Custody", ("Exhibit", "When", "Who", "Act", "Note"), custody, "No custody record.")
    missing = [
        (excerpt(one.kind), excerpt(one.reason), excerpt(one.recorded_by), clock(one.at)) for one in it.unavailable
    ]
    yield listed("Not available", ("Kind", "Why not", "Recorded by", "When"), missing, "Nothing is missing.")
    yield Text(f"Sealed as {it.bundle}, {it.bundle_digest}." if it.bundle else "It is not sealed yet.")


def _took(it: View) -> Iterator[Block]:
    yield metrics(it)
    if it.playbook and it.goals is None:
        yield Text("The playbook that it began with is not in use any more, so its goals are not known here.")


def metrics(it: View) -> Table:
    """Return how long it took, beside what the playbook that it began with asks for."""
    wanted = {"first_effect_at": it.goals.first_effect, "verified_at": it.goals.verified} if it.goals else {}
    rows = []
    for key, name in _METRICS:
        moment, goal = getattr(it.metrics, key), wanted.get(key)
        took = (moment - it.metrics.accepted_at).total_seconds() if moment and it.metrics.accepted_at else None
        if goal is None:
            met = "-"
        elif took is None:
            met = "not yet" if it.closed_at is None else "MISSED: it did not happen"
        else:
            met = against(took, goal, getattr(it.metrics, key.replace("_at", "_waited")))
        later = since(it.metrics.accepted_at, moment) or "-"
        rows.append((name, clock(moment), later, length(goal) if goal is not None else "-", met))
    return Table("Times", ("What", "When", "After the acceptance", "Goal", "Goal met"), rows)


_METRICS = (
    ("detected_at", "Detected by the source"),
    ("accepted_at", "Accepted"),
    ("first_effect_at", "First effect"),
    ("verified_at", "Containment proven"),
    ("released_at", "Released"),
)


def _standards(it: View) -> Iterator[Block]:
    catalogue = taxonomy.load()
    entry = catalogue.of(it.incident_class)
    yield Text(entry.summary)
    rows = []
    for name, ids in entry.mappings:
        framework: Framework = getattr(catalogue.frameworks, name)
        rows += [(f"{framework.name} {framework.edition}", one, framework.ids[one]) for one in ids]
    yield Table("Mapping, each in the edition named", ("Framework and edition", "Id", "Title"), rows)


def _controls(it: View) -> Iterator[Block]:
    catalogue = taxonomy.load()
    framework = catalogue.frameworks.nist_800_53
    ids = catalogue.of(it.incident_class).mappings.nist_800_53
    yield Text(
        f"These controls ({framework.name} {framework.edition}) answer this class: say of each what is to change."
    )
    rows = [(one, framework.ids[one], "", "", "") for one in ids]
    yield Table("Controls", ("Control", "Title", "What changes", "Who", "Until"), rows)


def _told(it: View) -> Iterator[Block]:
    attempts = [
        (
            clock(told.at),
            excerpt(told.contact or "the log"),
            excerpt(told.channel),
            excerpt(told.text),
            "delivered" if told.delivered else "NOT delivered",
            excerpt(told.detail),
        )
        for told in it.told
    ]
    heads = ("When", "Whom", "By", "What", "Outcome", "Where or why")
    yield listed("Messages", heads, attempts, "Nobody was told.")
    taken = [(excerpt(page.text), excerpt(page.taken_up_by)) for page in it.pages if page.taken_up_by]
    yield listed("Taken up", ("What", "By"), taken, "Nobody has taken up a message.")
    if it.untold:
        yield Warn("These reached nobody:")
        yield Listing([excerpt(page.text) for page in it.untold])


def _root_cause() -> Questions:
    return Questions(
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


def _entries(it: View) -> Table:
    rows = [(clock(line.at), excerpt(line.actor), excerpt(line.what), excerpt(line.detail)) for line in it.timeline]
    return listed("Entries", ("When", "Who", "What", "Detail"), rows)
