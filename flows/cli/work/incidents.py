"""`incidents`, `incident`, `leases`: what there is, for a person who was just woken."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from flows.cli.output import Out, moment, safe, span
from flows.cli.work import questions, records, spelled
from flows.cli.work.spelled import Spelling
from flows.engine.schedule import OURSELVES
from flows.reading import standing, streams
from flows.report.standing import holding
from flows.report.words import EXPLAINED, against
from flows.service.settings import Configuration
from integrations.journal.client import Tampered
from integrations.journal.records import Watch
from integrations.journal.store import Journal
from playbooks.errors import NoSuch
from playbooks.record.alike import FLOOD
from playbooks.record.incident import Severity, Status
from playbooks.record.journal import INCIDENT
from playbooks.record.order import Place, place, unreadable
from playbooks.record.view import Ask, Held, Owed, Row, View
from playbooks.record.viewing import held_of
from playbooks.record.viewing import row as row_of
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass


def listing(out: Out, config: Configuration, *, everything: bool, limit: int) -> None:
    """Show the incidents, in the order of `playbooks.record.order`."""
    found = asyncio.run(_rows(config, everything=everything, limit=limit))
    out.document({"incidents": [row for row, _ in found]})
    empty = "no incidents" if everything else "no open incidents; --all lists the closed ones too"
    listed(out, [spelling.whole(row) for row, spelling in found], empty=empty)


def listed(out: Out, rows: Sequence[Row], *, empty: str) -> None:
    """Show incidents as a table.

    Args:
        out: where to.
        rows: one for each.
        empty: what to say if there is none.
    """
    out.table(
        ("incident!", "status!", "about"),
        [
            (
                f"{row.id}\n{_short(row.opened_at)}",
                row.stands
                + (f"\n{row.asks} to answer" if row.asks else "")
                + (f"\n{row.assigned_to}" if row.assigned_to else ""),
                f"{_how_bad(row)}{row.incident_class}: {row.about[:120]}\n{safe(row.title[:120])}"
                + "".join(f"\npart of campaign {name}" for name in row.campaigns),
            )
            for row in rows
        ],
        empty=empty,
    )


def _how_bad(row: Row) -> str:
    """Return how bad an incident is; of one that goes on in another, that one says it."""
    return "" if row.status == Status.JOINED else f"{row.severity.label} "


async def _rows(config: Configuration, *, everything: bool, limit: int) -> list[tuple[Row, Spelling]]:
    rows: list[tuple[Place, Row, Spelling]] = []
    async with records.opened(config) as journal:
        for row in await journal.streams(INCIDENT, open_only=not everything, limit=limit):
            name = row.name.removeprefix(INCIDENT)
            try:
                state = await streams.load(journal, name)
                rows.append((place(state), row_of(state), spelled.of(state, config.inventory)))
            except Tampered as exc:
                rows.append((unreadable(row.opened_at), damaged(name, str(exc), row.opened_at), Spelling()))
    return [(row, spelling) for _, row, spelling in sorted(rows, key=lambda one: one[0])]


def damaged(name: str, why: str, opened_at: float) -> Row:
    """A stream that cannot be read is still listed: somebody has to look at it."""
    return Row(
        id=name,
        incident_class=IncidentClass.UNCLASSIFIED,
        severity=Severity.CRITICAL,
        status=Status.FROZEN,
        part_of=None,
        title=f"its journal is not as it was written: {why}",
        about="unknown",
        servers=(),
        where=(),
        opened_at=datetime.fromtimestamp(opened_at, UTC),
        assigned_to=None,
        asks=0,
        leases=0,
    )


def show(out: Out, config: Configuration, given: str) -> None:
    """Show one incident."""
    ((found, spelling), *parts), paced, earlier = asyncio.run(_whole(config, given))
    out.document(found.dump())
    if not out.as_json:
        whole = [theirs.whole(part) for part, theirs in parts]
        _show(out, config, spelling.whole(found), whole, spelling, paced=paced, earlier=earlier)


async def _whole(config: Configuration, given: str) -> tuple[list[tuple[View, Spelling]], list[str], list[str]]:
    """Return how an incident and its parts stand, each with what is spelled out of it; the pace; what was before."""
    async with records.opened(config) as journal:
        state = await streams.load(journal, await streams.find(journal, given))
        states = [state, *[await streams.load(journal, name) for name in state.parts]]
        earlier = [await _before(journal, name) for name in state.linked]
        watches, stops = await journal.watched(), await standing.stops(journal)
    shown = [(records.view_of(config, one, watches, stops), spelled.of(one, config.inventory)) for one in states]
    return shown, records.pace(config, watches, {one.id for one in states}), earlier


async def _before(journal: Journal, name: str) -> str:
    """Return in a few words what became of an earlier incident about the same."""
    try:
        state = await streams.load(journal, name)
    except (NoSuch, Tampered):
        return name
    back = [(lease.released_at, lease.released_by) for lease in state.leases.values() if lease.released_at]
    at, by = max(back, default=(None, None))
    return f"{name} ({state.stands}{f'; given back {_short(at)} by {by or OURSELVES}' if at else ''})"


def _show(
    out: Out,
    config: Configuration,
    it: View,
    parts: Sequence[View],
    spelling: Spelling,
    *,
    paced: Sequence[str],
    earlier: Sequence[str],
) -> None:
    metrics = it.metrics
    status, joined, to = it.stands.partition("joined to ")
    stands = f"{status.upper()}{joined.upper()}{to}"
    out.say(f"{it.id}  {stands}  {it.incident_class} ({it.severity.label})", "head")
    if it.part_of and not it.closed_at:
        out.say(f"It goes on in {it.part_of}: what there is to decide and to give back is decided there:")
        out.raw("  " + records.command(config, "incident", it.part_of))
    out.fields(
        [
            ("title", it.title),
            ("our own check", spelling("; ".join(it.checked))),
            ("about", it.about),
            ("not known", ", ".join(it.unresolved)),
            ("part of a campaign", "; ".join(map(str, it.campaigns))),
            ("published", "\n".join(map(str, it.advisories))),
            ("refused", "; ".join(it.refused)),
            ("needs triage", it.triage),
            ("frozen", it.frozen),
            ("started by", it.requested_by),
            ("reason given", "; ".join(it.why)),
            ("chosen by hand", ", ".join(it.chosen)),
            ("earlier", "; ".join(earlier)),
            ("later", it.continued_in),
            ("joined to", it.part_of),
            ("joined with it", ", ".join(it.parts)),
            ("opened", _short(it.opened_at)),
            ("closed", f"{_short(it.closed_at)} as {_ended(it)}" if it.closed_at else None),
            ("looked after by", it.assigned_to),
            ("legal hold", it.legal_hold),
            ("duties done", ", ".join(f"{clock} {_short(at)}" for clock, at in it.fulfilled.items())),
            (
                "first effect",
                _against(
                    metrics.first_effect_seconds,
                    it.goals.first_effect if it.goals else None,
                    metrics.first_effect_waited,
                ),
            ),
            (
                "verified",
                _against(metrics.verified_seconds, it.goals.verified if it.goals else None, metrics.verified_waited),
            ),
            ("released", f"after {span(metrics.released_seconds)}" if metrics.released_at else None),
            ("evidence", it.bundle),
        ]
    )
    _warnings(out, config, it, spelling)
    for ask in it.asks:
        _ask(out, config, it.id, ask)
    _clocks(out, [clock for clock in it.clocks if not clock.fulfilled])
    if it.leases:
        out.heading("Leases")
        _leases(out, it.leases, whose=False, paced=paced)
        if it.in_force:
            out.say("Give it all back:")
            out.raw("  " + records.command(config, "release", it.id, "--as", "NAME"))
        if it.status == Status.RELEASED:
            out.say("Everything is given back. What is left: find the cause, then close it:")
            out.raw("  " + records.command(config, "close", it.id, "--outcome", "resolved", "--as", "NAME"))
    _parts(out, config, it, parts)
    if it.exhibits or it.unavailable:
        out.heading("Evidence")
        out.table(
            ("exhibit", "files", "bytes!", "collected!"),
            [(x.id, ", ".join(x.files), x.bytes, _short(datetime.fromisoformat(x.collected_at))) for x in it.exhibits],
        )
        for missing in it.unavailable:
            out.say(f"unavailable: {missing.kind}: {missing.reason}", "warn")
    if it.tasks:
        out.heading("Left to you")
        for task in it.tasks:
            out.say(f"- {task.task}")
    out.heading("Timeline (UTC)")
    out.table(
        ("at!", "who", "what"),
        [
            (_short(line.at), line.actor, line.what + (f"\n{line.detail[:600]}" if line.detail else ""))
            for line in it.timeline
        ],
    )


def _parts(out: Out, config: Configuration, it: View, parts: Sequence[View]) -> None:
    """Show what goes on in an incident: what that holds is given back with it."""
    for part in parts:
        status = "" if part.status == Status.JOINED else f" ({part.status})"
        out.heading(f"{part.id}, which goes on here{status}")
        _leases(out, part.leases, whose=False)
        for ask in part.asks:
            _ask(out, config, part.id, ask)
    if any(part.in_force for part in parts):
        out.say("Give all of it back, that of both:")
        out.raw("  " + records.command(config, "release", it.id, "--as", "NAME"))


def _ended(it: View) -> str:
    return f"{it.closed_as}" + (f" of {it.duplicate_of}" if it.duplicate_of else "")


def _warnings(out: Out, config: Configuration, it: View, spelling: Spelling) -> None:
    for stop in it.stops:
        out.say(records.stopped(stop), "bad")
    for fact in it.not_proven:
        # As a whole sentence: it may be of the phrase that names somebody.
        said = spelling(str(fact))
        if fact.earlier or fact.remedy:
            out.say(said[:1].upper() + said[1:], "dim" if fact.earlier else "warn")
        else:
            out.say(f"NOT proven: {said}", "warn")
    for one in it.differences:
        out.say(f"How {one.about} differs from what was approved:")
        questions.difference(out, one.diff, indent=2)
    for more in it.repeats:
        said = f"{more.source} said the same {more.messages} times more, {_short(more.since)} to "
        out.say(said + _short(more.until), "warn" if more.messages >= FLOOD else "")
        if more.messages >= FLOOD and not it.closed_at:
            out.say("Keep its alerts out for a while, critical ones aside:")
            who, reason = f"source:{more.source}", ("--for", "2h", "--reason", "REASON", "--as", "NAME")
            out.raw("  " + records.command(config, "suppress", who, *reason))
    for page in it.untold:
        # Whoever looks a moment after it was written looks before anybody was tried.
        said, how = ("NOT DELIVERED to anybody", "bad") if page.tried else ("nobody was told yet", "warn")
        out.say(f"{said}: {page.text}", how)


def _ask(out: Out, config: Configuration, incident: str, ask: Ask) -> None:
    out.heading("Waits for a decision")
    out.say(ask.summary)
    questions.show(
        out,
        ask,
        [
            ("approved by", ", ".join(ask.approved_by)),
            ("still needed", ask.needed),
            ("until", f"{_short(ask.expires_at)}, then the answer is no"),
        ],
    )
    out.raw("  " + ask.approve)
    out.raw("  " + ask.deny)
    out.say("From an approver's own machine, where their key is (HOST: this one, as ssh reaches it):")
    for line in records.elsewhere(config, incident, ask.digest):
        out.raw("  " + line)


def _clocks(out: Out, running: Sequence[Owed]) -> None:
    if not running:
        return
    out.heading("To report")
    rows = []
    for clock in running:
        until = _short(clock.until) if clock.until else "without delay"
        what = f"{clock.law}, {clock.article}: {clock.duty}\nnot if {clock.unless}"
        rows.append((until + ("\nOVERDUE" if clock.overdue else ""), what))
    out.table(("until!", "what"), rows)
    out.say("When it is done:")
    for clock in running:
        out.raw("  " + clock.fulfil)


def leases(out: Out, config: Configuration, *, everything: bool) -> None:
    """Show every containment in force."""
    found, rows = asyncio.run(_all_leases(config, everything=everything))
    out.document({"leases": found})
    if not out.as_json:
        _leases(out, found, whose=True, paced=records.pace(config, rows))


async def _all_leases(config: Configuration, *, everything: bool) -> tuple[list[Held], list[Watch]]:
    found: list[Held] = []
    async with records.opened(config) as journal:
        rows, at = await journal.watched(), now()
        watches = records.watched(config, rows)
        for row in await journal.streams(INCIDENT, open_only=not everything):
            try:
                state = await streams.load(journal, row.name.removeprefix(INCIDENT))
            except Tampered:
                continue
            some = held_of(state, at, watches, partial(records.command, config))
            found += [lease for lease in some if lease.holds or everything]
    return found, rows


def _leases(out: Out, found: Sequence[Held], *, whose: bool, paced: Sequence[str] = ()) -> None:
    rows: list[tuple[object, ...]] = []
    for lease in found:
        age = f" ({span(lease.age)} ago)" if lease.in_force and lease.age is not None else ""
        age += f"; seen unchanged since, {_short(lease.seen_at)}" if lease.in_force and lease.seen_at else ""
        # The incident under the lease: names of both are long, and are copied.
        name = lease.instance + (f"\n{lease.incident}" if whose else "")
        rows.append(
            (
                name,
                _short(lease.until) if lease.in_force else "-",
                holding(lease, clock=_short, age=age).replace("; ", "\n"),
            )
        )
    out.table(("lease", "until!", "last verified"), rows, empty="nothing is contained")
    for line in [*paced, EXPLAINED] if rows else []:
        out.say(line, "dim")


def _against(seconds: float | None, goal: float | None, waited: float) -> str:
    if seconds is None:
        return "not yet"
    if goal is None:
        return f"after {span(seconds)}"
    return f"after {span(seconds)} (goal {span(goal)}: {against(seconds, goal, waited)})"


def _short(at: datetime | None) -> str:
    return moment(at) or "-"
