"""The report of an incident, from its journal alone. Pure.

Whatever an outsider may have chosen passes `excerpt`; digests, times and our own names stand as they are.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from flows.report.course import HEADS, WORDS, course, table
from flows.report.document import (
    Block,
    Commands,
    Diff,
    Document,
    Facts,
    Form,
    Listing,
    Picture,
    Section,
    Table,
    Text,
    Warn,
    listed,
)
from flows.report.own import as_they_are, names
from flows.report.picture import timeline
from flows.report.words import EXPLAINED, clock, difference, excerpt, length, since
from playbooks import taxonomy
from playbooks.contacts import Language
from playbooks.difference import parted
from playbooks.duties import Clock
from playbooks.escaping import printable
from playbooks.incident import Phase, Status
from playbooks.journal import Parsed
from playbooks.plan import Answer, Plan, Verdict
from playbooks.playbook import Goals, Playbook
from playbooks.policy import Purpose
from playbooks.proof import proof
from playbooks.state import Incident, LeaseState, StepState
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


class Switch(NamedTuple):
    """A kill switch that was on during an incident.

    Args:
        scope: what it stopped.
        by: who.
        reason: why.
        since: from when.
        until: to when; None if it still is on.
        ended_by: who ended it.
    """

    scope: str
    by: str
    reason: str
    since: datetime
    until: datetime | None = None
    ended_by: str = ""


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
            Section("What happened", list(_happened(state, entries))),
            Section("Timeline", list(_timeline(state, at))),
            Section("What was done", list(_done(state))),
            Section("What was proven, and what was not", list(_proven(state, entries))),
            Section("How definitions differ from what was approved", list(_differences(state, entries))),
            Section("By whom, and on what authority", [_authority(entries)]),
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


def switches_of(system: Sequence[Parsed], state: Incident, scopes: frozenset[str]) -> list[Switch]:
    """Return the kill switches that were on at some time between an incident's opening and its close.

    Args:
        system: the entries of the stream `system`.
        state: the incident.
        scopes: those that it stands under.
    """
    found: dict[int, Switch] = {}
    for entry in system:
        if entry.kind == "stopped":
            number, since_ = int(entry.body.get("number", entry.seq)), datetime.fromisoformat(entry.at)
            by, reason = str(entry.body.get("by", entry.actor)), str(entry.body.get("reason", ""))
            found[number] = Switch(str(entry.body["scope"]), by, reason, since_)
        elif entry.kind == "resumed" and (number := int(entry.body.get("number", 0))) in found:
            people = ", ".join(map(str, entry.body.get("people", [entry.actor])))
            found[number] = found[number]._replace(until=datetime.fromisoformat(entry.at), ended_by=people)
    begin, end = state.opened_at, state.closed_at
    return [
        one
        for one in found.values()
        if one.scope in scopes
        and (end is None or one.since <= end)
        and (one.until is None or begin is None or one.until >= begin)
    ]


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


def holding(lease: LeaseState) -> str:
    """Return how far a containment holds, in words."""
    if lease.done_at:
        return f"done for good {clock(lease.done_at)}, it cannot be taken back"
    return answer_word(lease.verdict.answer if lease.verdict else None)


def _few(points: Sequence[str], empty: str) -> Block:
    each = list(dict.fromkeys(points))
    if not each:
        return Text(empty)
    more = [f"and {len(each) - FEW} more, below"] if len(each) > FEW else []
    return Listing([*each[:FEW], *more])


def about(state: Incident) -> str:
    """Return what an incident is about, in words."""
    return excerpt("; ".join(map(str, state.entities.values()))) or "nothing that the inventory knows"


def _happened(state: Incident, entries: Sequence[Parsed]) -> Iterator[Block]:
    yield Text(" ".join(_sentences(state)))
    heads = ("Source", "Rule", "What it said", "Trusted", "Detected", "Accepted", "Digest of the message")
    yield listed(
        "Alerts",
        heads,
        [
            (
                f"{excerpt(seen.source)} ({seen.state}, {seen.severity.label})",
                excerpt(seen.rule),
                excerpt(seen.title),
                f"{'authenticated' if seen.authenticated else 'NOT authenticated'}, {seen.confidence.name.lower()}",
                clock(seen.detected_at),
                clock(seen.accepted_at),
                seen.digest,
            )
            for seen in state.alerts
        ],
        "No alert: a person started it.",
    )
    if state.repeats:
        yield listed(
            "More messages that said the same; kept together as exhibits",
            ("Source", "Messages", "First", "Last"),
            [
                (excerpt(source), str(more.messages), clock(more.since), clock(more.until))
                for source, more in state.repeats.items()
            ],
        )
    checks = [
        (clock(entry.at), excerpt(entry.body["by"]), *_answer(entry.body["verdict"]))
        for entry in entries
        if entry.kind == "confirmed"
    ]
    if checks:
        yield listed("Confirmed by something of our own", ("When", "By", "Answer", "What was seen"), checks)


def _answer(body: Any) -> tuple[str, str]:  # noqa: ANN401  # JSON
    verdict = Verdict.model_validate(body)
    return answer_word(verdict.answer), "; ".join(
        excerpt(f"{f.subject}: {parted(f.observed).short}") for f in verdict.findings[:5]
    )


def answer_word(answer: Answer | None) -> str:
    """Return an answer so that no colour is needed to tell a bad one."""
    if answer is None:
        return "not asked yet"
    return {Answer.ESTABLISHED: "established", Answer.NOT_ESTABLISHED: "NOT established"}.get(answer, "unknown")


def _sentences(state: Incident) -> Iterator[str]:
    times = state.metrics
    start, wrote, proven = times["accepted_at"], times["first_effect_at"], times["verified_at"]
    if state.alerts:
        first = state.alerts[0]
        yield f"{excerpt(first.source)} reported “{excerpt(first.title, 200)}”, about {about(state)}."
    elif state.requested_by:
        yield f"{excerpt(state.requested_by)} started a response about {about(state)}."
    if start:
        yield f"mcp-soar accepted it at {clock(start)}."
    if wrote:
        yield f"The first change took effect {_later(start, wrote)}."
    else:
        yield "Nothing was changed."
    yield from _contained(state, start, proven)
    in_force = [lease for lease in state.leases.values() if lease.in_force]
    if in_force:
        until = min(lease.until for lease in in_force)
        yield f"{len(in_force)} of {len(state.leases)} containments are in force; the first runs out at {clock(until)}."
    for lease in state.leases.values():
        if lease.done_at:
            yield f"{excerpt(lease.plan.summary).rstrip('.')}: {holding(lease)}."
    if times["released_at"] and not in_force:
        yield f"Everything was given back at {clock(times['released_at'])}."
    if state.closed_at:
        yield f"It was closed as {excerpt(state.closed_as)} at {clock(state.closed_at)}."


def _contained(state: Incident, start: datetime | None, proven: datetime | None) -> Iterator[str]:
    if proven:
        yield f"Containment was proven {_later(start, proven)}."
        if state.status is Status.NOT_ESTABLISHED:
            yield "By the last look it does NOT hold."
    elif state.cuts:
        yield "Containment is NOT proven." if state.status is not Status.CLOSED else "Containment was NOT proven."


def _later(start: datetime | None, moment: datetime) -> str:
    return f"{length((moment - start).total_seconds())} later" if start else f"at {clock(moment)}"


def _timeline(state: Incident, at: datetime) -> Iterator[Block]:
    shown = course(state, at=at)
    if shown is None:
        yield Text("Nothing is on record yet.")
        return
    yield Picture(timeline(state, at=at), "Timeline of the incident; the table after it says the same.")
    rows = table(shown)
    yield listed("The same in words", HEADS, rows)


def _done(state: Incident) -> Iterator[Block]:
    order = {phase: number for number, phase in enumerate(Phase)}
    steps = sorted(state.steps.values(), key=lambda step: order[step.phase])
    rows = [
        (
            step.phase.value,
            excerpt(step.instance),
            excerpt(step.plan.summary) if step.plan else excerpt(step.message),
            # The plan of a release is the cut's, turned round: it ends what that one broke.
            excerpt(step.plan.breaks) if step.plan and step.purpose is not Purpose.RELEASE else "",
            WORDS[step.progress] + (f": {excerpt(step.message)}" if step.message and step.plan else ""),
            clock(step.wrote_at or step.settled_at),
        )
        for step in steps
    ]
    yield listed("Steps", ("Phase", "Step", "Plan", "What it breaks", "Outcome", "When"), rows)
    changes = [
        (excerpt(step.instance), excerpt(str(change))) for step in steps if step.plan for change in step.plan.pending
    ]
    yield listed("Changes of these plans, before → after", ("Step", "Change"), changes, "No plan changes anything.")


_DIFFS = 20
"""Differences of one report; the evidence has them all."""


def _differences(state: Incident, entries: Sequence[Parsed]) -> Iterator[Block]:
    """Yield each difference that was seen, once, as the diff that it is."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.kind in {"confirmed", *_VERDICTS} and entry.body.get("verdict"):
            for finding in Verdict.model_validate(entry.body["verdict"]).findings:
                if diff := parted(finding.observed).diff:
                    found.setdefault(diff, f"{finding.subject}, {clock(entry.at)}")
    for step in state.proposals:
        for one in step.diffs:
            found.setdefault(one.diff, one.about)
    for diff, subject in list(found.items())[:_DIFFS]:
        yield Diff(excerpt(subject, 160), difference(diff))
    if len(found) > _DIFFS:
        yield Text(f"{len(found) - _DIFFS} more are in the evidence.")
    if not found:
        yield Text("No difference was seen.")


_VERDICTS = {"verified": "after the change", "checked": "check", "lease_checked": "watch", "released": "after release"}


def _proven(state: Incident, entries: Sequence[Parsed]) -> Iterator[Block]:
    lacking = proof(state).lacking
    if lacking:
        yield Warn("NOT proven as of the last entry:")
        yield Listing([excerpt(fact) for fact in lacking])
    else:
        yield Text("Nothing that was done is without proof as of the last entry.")
    heads = ("When", "Occasion", "Step", "Answer", "Asked", "Asked as", "Expected", "Observed", "Means")
    yield listed("Every question that was put, and its answer", heads, list(_findings(entries)))


def _findings(entries: Sequence[Parsed]) -> Iterator[tuple[str, ...]]:
    for entry in entries:
        if entry.kind not in _VERDICTS or not entry.body.get("verdict"):
            continue
        verdict = Verdict.model_validate(entry.body["verdict"])
        start = (clock(entry.body.get("at") or entry.at), _VERDICTS[entry.kind], excerpt(entry.body["instance"]))
        if not verdict.findings:
            yield (*start, answer_word(verdict.answer), "-", "-", "-", "nothing could be asked", "-")
        for finding in verdict.findings:
            yield (
                *start,
                answer_word(verdict.answer),
                f"{finding.check} of {excerpt(finding.subject)}",
                # Our own canary, by the inventory: an auditor must know which one.
                printable(finding.asked_as),
                excerpt(finding.expected),
                excerpt(parted(finding.observed).short),
                answer_word(finding.answer),
            )


def _authority(entries: Sequence[Parsed]) -> Table:
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


def switches_table(switches: Sequence[Switch], empty: str) -> Table:
    """Return kill switches with their reasons.

    Args:
        switches: which.
        empty: what is said if there is none.
    """
    rows = [
        (
            one.scope,
            excerpt(one.by),
            excerpt(one.reason),
            clock(one.since),
            f"{clock(one.until)} by {excerpt(one.ended_by)}" if one.until else "STILL ON",
        )
        for one in switches
    ]
    return Table("Kill switches", ("Scope", "By", "Reason", "Since", "Until"), rows, empty)


def duties_table(clocks: Sequence[tuple[str, Clock]]) -> Table:
    """Return duties with their deadlines, by incident."""
    rows = [
        (
            incident,
            excerpt(one.duty[Language.EN]),
            f"{excerpt(one.law[Language.EN])}, {excerpt(one.article[Language.EN])}",
            one.to,
            clock(one.due) if one.due else "without undue delay",
            f"fulfilled {clock(one.fulfilled)}" if one.fulfilled else "OVERDUE" if one.overdue else "not yet",
        )
        for incident, one in clocks
    ]
    heads = ("Incident", "Duty", "Law", "Who is told", "Due", "Stands")
    return Table("Duties with a deadline", heads, rows, "No duty with a deadline is known.")


def open_ends(state: Incident, playbook: Playbook | None, clocks: Sequence[Clock] = ()) -> Iterator[Block]:
    """Yield what somebody still has to do about an incident."""
    asks = [
        (excerpt(step.plan.summary), asker(state, step), needed(step), clock(step.expires_at), step.plan.digest)
        for step in state.proposals
        if step.plan
    ]
    heads = ("Plan", "Asked for by", "Still needed", "Until", "Digest")
    yield listed("Waits for a decision", heads, asks, "No question is open.")
    leases = [
        (
            excerpt(lease.instance),
            excerpt(lease.plan.summary),
            clock(lease.until) if lease.in_force else "-",
            holding(lease),
            clock(lease.checked_at),
        )
        for lease in state.leases.values()
        if lease.holds
    ]
    heads = ("Lease", "What", "Until", "Holds", "Asked last")
    yield listed("In force", heads, leases, "Nothing is contained.")
    yield Table("Left to people", ("Step", "Task", "Until"), tasks(state, playbook), "No task is open.")
    yield duties_table([(state.id, one) for one in clocks])
    if state.closed_at is None:
        yield Commands([f"mcp-soar incident {state.id}", f"mcp-soar report {state.id} --out {state.id}.html"])


def asker(state: Incident, step: StepState) -> str:
    """Return who asked for a step and why, in their own words; a dash if nobody did."""
    reason = state.reason_of(step)
    return excerpt(f"{step.requested_by or '-'}" + (f": {reason}" if reason else ""))


def needed(step: StepState) -> str:
    """Return how many people still have to say yes, and who has."""
    missing = max(0, step.quorum - len(set(step.approved_by) - {step.requested_by}))
    approved = f", approved by {excerpt(', '.join(step.approved_by))}" if step.approved_by else ""
    return f"{missing} of {step.quorum}{approved}"


def tasks(state: Incident, playbook: Playbook | None) -> list[tuple[str, str, str]]:
    """Return what the playbook leaves to people and nobody has ended: step, task, until."""
    if state.closed_at or state.part_of:
        return []
    if state.triage and not state.leases:
        return [("triage", excerpt(f"Nothing was done, because: {state.triage}"), "closed")]
    if playbook is None:
        return []
    released = state.given_back
    return [
        (step.id, step.task, step.until or "closed")
        for _, step in playbook.steps()
        if step.task and not (step.until == "released" and released)
    ]


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
