"""`incidents`, `incident`, `leases`: what there is, for a person who was just woken."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from flows.cli import schema
from flows.cli.output import Out, moment, safe, span
from flows.cli.work import questions, records, spelled
from flows.cli.work.spelled import Spelling
from flows.report.words import EXPLAINED
from flows.settings import Configuration
from integrations.journal.client import Tampered
from playbooks.alike import FLOOD
from playbooks.incident import Status
from playbooks.order import Place, place, unreadable
from playbooks.strict import now


def listing(out: Out, config: Configuration, *, everything: bool, limit: int) -> None:
    """Show the incidents, in the order of `playbooks.order`."""
    found = asyncio.run(_rows(config, everything=everything, limit=limit))
    out.document({"incidents": [row for row, _ in found]})
    rows = [spelling.whole(row) for row, spelling in found]
    out.table(
        ("incident!", "status!", "about"),
        [
            (
                f"{row['id']}\n{_short(row['opened_at'])}",
                records.stands(row["status"], row["part_of"])
                + (f"\n{row['asks']} to answer" if row["asks"] else "")
                + (f"\n{row['assigned_to']}" if row["assigned_to"] else ""),
                f"{_how_bad(row)}{row['class']}: {_on(row)}\n{safe(row['title'][:120])}",
            )
            for row in rows
        ],
        empty="no incidents" if everything else "no open incidents; --all lists the closed ones too",
    )


def _how_bad(row: schema.IncidentRow) -> str:
    """Return how bad an incident is; of one that goes on in another, that one says it."""
    return "" if row["status"] == Status.JOINED else f"{row['severity']} "


def _on(row: schema.IncidentRow) -> str:
    return ", ".join(row["where"]) or "nothing that the inventory knows"


async def _rows(config: Configuration, *, everything: bool, limit: int) -> list[tuple[schema.IncidentRow, Spelling]]:
    rows: list[tuple[Place, schema.IncidentRow, Spelling]] = []
    async with records.opened(config) as journal:
        for row in await journal.streams(records.PREFIX, open_only=not everything, limit=limit):
            name = row.name.removeprefix(records.PREFIX)
            try:
                state = await records.load(journal, name)
                rows.append((place(state), records.row_of(state), spelled.of(state, config.inventory)))
            except Tampered as exc:
                rows.append((unreadable(row.opened_at), damaged(name, str(exc), row.opened_at), Spelling()))
    return [(row, spelling) for _, row, spelling in sorted(rows, key=lambda one: one[0])]


def damaged(name: str, why: str, opened_at: float) -> schema.IncidentRow:
    """A stream that cannot be read is still listed: somebody has to look at it."""
    return {
        "id": name,
        "class": "unclassified",
        "severity": "critical",
        "status": "frozen",
        "part_of": None,
        "title": f"its journal is not as it was written: {why}",
        "servers": [],
        "where": [],
        "opened_at": moment(opened_at),
        "asks": 0,
        "leases": 0,
        "assigned_to": None,
    }


def show(out: Out, config: Configuration, given: str) -> None:
    """Show one incident."""
    (document, spelling), *parts = asyncio.run(_whole(config, given))
    out.document(document)
    if not out.as_json:
        _show(out, config, spelling.whole(document), [theirs.whole(part) for part, theirs in parts])


async def _whole(config: Configuration, given: str) -> list[tuple[schema.Incident, Spelling]]:
    """Return the document of an incident and those of its parts, each with what a terminal spells out of it."""
    async with records.opened(config) as journal:
        state = await records.load(journal, await records.find(journal, given))
        states = [state, *[await records.load(journal, name) for name in state.parts]]
        watches, stops = await journal.watched(), await records.stops(journal)
    return [(records.incident_of(config, one, watches, stops), spelled.of(one, config.inventory)) for one in states]


def _show(out: Out, config: Configuration, it: schema.Incident, parts: Sequence[schema.Incident] = ()) -> None:
    metrics = it["metrics"]
    status, joined, to = records.stands(it["status"], it["part_of"]).partition("joined to ")
    stands = f"{status.upper()}{joined.upper()}{to}"
    out.say(f"{it['id']}  {stands}  {it['class']} ({it['severity']})", "head")
    if it["part_of"] and not it["closed_at"]:
        out.say(f"It goes on in {it['part_of']}: what there is to decide and to give back is decided there:")
        out.raw("  " + records.command(config, "incident", it["part_of"]))
    out.fields(
        [
            ("title", it["title"]),
            ("our own check", "; ".join(it["checks"])),
            ("about", ", ".join(it["entities"]) or "nothing that the inventory knows"),
            ("not known", ", ".join(it["unresolved"])),
            ("refused", "; ".join(it["refused"])),
            ("needs triage", it["triage"]),
            ("frozen", it["frozen"]),
            ("started by", it["requested_by"]),
            ("reason given", "; ".join(f"{wish['by']}: {wish['text']}" for wish in it["wishes"])),
            ("chosen by hand", ", ".join(it["chosen"])),
            ("earlier", ", ".join(it["linked"])),
            ("later", it["continued_in"]),
            ("joined to", it["part_of"]),
            ("joined with it", ", ".join(it["parts"])),
            ("opened", _short(it["opened_at"])),
            ("closed", f"{_short(it['closed_at'])} as {_ended(it)}" if it["closed_at"] else None),
            ("looked after by", it["assigned_to"]),
            ("legal hold", it["legal_hold"]),
            ("duties done", ", ".join(f"{clock} {_short(at)}" for clock, at in it["fulfilled"].items())),
            ("first effect", _against(metrics["first_effect_seconds"], it["goals"], "first_effect")),
            ("verified", _against(metrics["verified_seconds"], it["goals"], "verified")),
            ("released", f"after {span(metrics['released_seconds'])}" if metrics["released_at"] else None),
            ("evidence", it["bundle"]),
        ]
    )
    _warnings(out, config, it)
    for ask in it["asks"]:
        _ask(out, config, it["id"], ask)
    _clocks(out, [clock for clock in it["clocks"] if not clock["fulfilled"]])
    if it["leases"]:
        out.heading("Leases")
        _leases(out, it["leases"], whose=False)
        if any(lease["in_force"] for lease in it["leases"]):
            out.say("Give it all back:")
            out.raw("  " + records.command(config, "release", it["id"], "--as", "NAME"))
        if it["status"] == Status.RELEASED:
            out.say("Everything is given back. What is left: find the cause, then close it:")
            out.raw("  " + records.command(config, "close", it["id"], "--outcome", "resolved", "--as", "NAME"))
    _parts(out, config, it, parts)
    if it["exhibits"] or it["unavailable"]:
        out.heading("Evidence")
        out.table(
            ("exhibit", "files", "bytes!", "collected!"),
            [(x["id"], ", ".join(x["files"]), x["bytes"], _short(x["collected_at"])) for x in it["exhibits"]],
        )
        for missing in it["unavailable"]:
            out.say(f"unavailable: {missing['kind']}: {missing['reason']}", "warn")
    if it["tasks"]:
        out.heading("Left to you")
        for task in it["tasks"]:
            out.say(f"- {task['task']}")
    out.heading("Timeline (UTC)")
    out.table(
        ("at!", "who", "what"),
        [
            (_short(line["at"]), line["actor"], line["what"] + (f"\n{line['detail'][:600]}" if line["detail"] else ""))
            for line in it["timeline"]
        ],
    )


def _parts(out: Out, config: Configuration, it: schema.Incident, parts: Sequence[schema.Incident]) -> None:
    """Show what goes on in an incident: what that holds is given back with it."""
    for part in parts:
        status = "" if part["status"] == Status.JOINED else f" ({part['status']})"
        out.heading(f"{part['id']}, which goes on here{status}")
        _leases(out, part["leases"], whose=False)
        for ask in part["asks"]:
            _ask(out, config, part["id"], ask)
    if any(lease["in_force"] for part in parts for lease in part["leases"]):
        out.say("Give all of it back, that of both:")
        out.raw("  " + records.command(config, "release", it["id"], "--as", "NAME"))


def _ended(it: schema.Incident) -> str:
    return f"{it['closed_as']}" + (f" of {it['duplicate_of']}" if it["duplicate_of"] else "")


def _warnings(out: Out, config: Configuration, it: schema.Incident) -> None:
    for stop in it["stops"]:
        out.say(records.stopped(stop), "bad")
    for text in it["not_proven"]:
        out.say(f"NOT proven: {text}", "warn")
    for one in it["differences"]:
        out.say(f"How {one['about']} differs from what was approved:")
        questions.difference(out, one["diff"], indent=2)
    for more in it["repeats"]:
        said = f"{more['source']} said the same {more['messages']} times more, {_short(more['since'])} to "
        out.say(said + _short(more["until"]), "warn" if more["messages"] >= FLOOD else "")
        if more["messages"] >= FLOOD and not it["closed_at"]:
            out.say("Keep its alerts out for a while, critical ones aside:")
            who, reason = f"source:{more['source']}", ("--for", "2h", "--reason", "REASON", "--as", "NAME")
            out.raw("  " + records.command(config, "suppress", who, *reason))
    for text in it["untold"]:
        out.say(f"NOT DELIVERED to anybody: {text}", "bad")


def _ask(out: Out, config: Configuration, incident: str, ask: schema.Ask) -> None:
    out.heading("Waits for a decision")
    out.say(ask["summary"])
    missing = ask["quorum"] - len(set(ask["approved_by"]) - {ask["requested_by"]})
    questions.show(
        out,
        ask,
        [
            ("approved by", ", ".join(ask["approved_by"])),
            ("still needed", f"{max(missing, 0)} of {ask['quorum']}"),
            ("until", f"{_short(ask['expires_at'])}, then the answer is no"),
        ],
    )
    out.raw("  " + ask["approve"])
    out.raw("  " + ask["deny"])
    out.say("From an approver's own machine, where their key is (HOST: this one, as ssh reaches it):")
    for line in records.elsewhere(config, incident, ask["digest"]):
        out.raw("  " + line)


def _clocks(out: Out, running: list[schema.ClockRow]) -> None:
    if not running:
        return
    out.heading("To report")
    rows = []
    for clock in running:
        until = _short(clock["until"]) if clock["until"] else "without delay"
        what = f"{clock['law']}, {clock['article']}: {clock['duty']}\nnot if {clock['unless']}"
        rows.append((until + ("\nOVERDUE" if clock["overdue"] else ""), what))
    out.table(("until!", "what"), rows)
    out.say("When it is done:")
    for clock in running:
        out.raw("  " + clock["fulfil"])


def leases(out: Out, config: Configuration, *, everything: bool) -> None:
    """Show every containment in force."""
    found = asyncio.run(_all_leases(config, everything=everything))
    out.document({"leases": found})
    if not out.as_json:
        _leases(out, found, whose=True)


async def _all_leases(config: Configuration, *, everything: bool) -> list[schema.Lease]:
    found: list[schema.Lease] = []
    async with records.opened(config) as journal:
        watches, at = {watch.lease: watch for watch in await journal.watched()}, now()
        for row in await journal.streams(records.PREFIX, open_only=not everything):
            try:
                state = await records.load(journal, row.name.removeprefix(records.PREFIX))
            except Tampered:
                continue
            some = [records.lease_of(config, state.id, lease, watches, at) for lease in state.leases.values()]
            found += [lease for lease in some if lease["in_force"] or lease["done_at"] or everything]
    return found


def _leases(out: Out, found: list[schema.Lease], *, whose: bool) -> None:
    rows: list[tuple[object, ...]] = []
    for lease in found:
        if lease["in_force"]:
            until = _short(lease["until"])
            seen = f"{lease['verdict'] or 'not verified yet'}"
            seen += f" ({span(lease['age'])} ago)" if lease["age"] is not None else ""
        elif lease["done_at"]:
            until, seen = "-", f"done for good {_short(lease['done_at'])}, it cannot be taken back"
        elif lease["released_at"] is None:
            until, seen = "-", "NOT in force: nothing of it was written"
        else:
            until, seen = "-", f"released {_short(lease['released_at'])} by {lease['released_by']}"
        seen += f", put back {lease['put_backs']}x" if lease["put_backs"] else ""
        seen += "\nBEING GIVEN BACK: it may no longer hold" if lease["releasing"] else ""
        # The incident under the lease: names of both are long, and are copied.
        rows.append((lease["lease"] + (f"\n{lease['incident']}" if whose else ""), until, seen))
    out.table(("lease", "until!", "last verified"), rows, empty="nothing is contained")
    if rows:
        out.say(EXPLAINED, "dim")


def _against(seconds: float | None, goals: dict[str, float] | None, name: str) -> str | None:
    if seconds is None:
        return "not yet"
    goal = goals.get(name) if goals else None
    if goal is None:
        return f"after {span(seconds)}"
    return f"after {span(seconds)} (goal {span(goal)}: {'met' if seconds <= goal else 'MISSED'})"


def _short(at: str | None) -> str:
    return (moment(datetime.fromisoformat(at)) or "-") if at else "-"
