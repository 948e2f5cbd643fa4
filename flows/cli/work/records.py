"""Reading the journal: which incident is meant, and how it stands, as the documents of `flows.cli.schema`."""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from flows.access import open_journal
from flows.cli import schema
from flows.cli.options import place
from flows.cli.output import SPEAKING, NotFound, Usage, moment, precise
from flows.settings import Configuration
from integrations.journal.records import Stop, Watch
from integrations.journal.store import Journal
from playbooks import duties, naming
from playbooks.contacts import Language
from playbooks.errors import Misconfigured, SoarError, Transient
from playbooks.evidence import Exhibit
from playbooks.incident import Status
from playbooks.journal import ITSELF, TELLING, Entry
from playbooks.left import left
from playbooks.plan import Plan
from playbooks.playbook import Playbook
from playbooks.policy import Purpose
from playbooks.projection import fold, project
from playbooks.proof import checks, differences, proof
from playbooks.state import Incident, LeaseState, StepState
from playbooks.strict import iso, now
from playbooks.taxonomy import IncidentClass

PREFIX = "incident/"
_MANY = 100_000
_LATE = 60.0
"""Seconds after which a page that was not even tried counts as one that reached nobody."""
_NAMED = 3
CLASSES = tuple(known.value for known in IncidentClass if known.actionable)
"""What an incident can be given."""


def missing(config: Configuration) -> Path | None:
    """Return where the journal's file would be if it is not there; opening it would make an empty one."""
    scheme, _, path = config.journal_url.partition(":///")
    return Path(path) if scheme.startswith("sqlite") and not Path(path).exists() else None


def running(config: Configuration) -> dict[str, str]:
    """Return what an `up` on this machine says of itself: where it serves, and why its receiver is not confined."""
    try:
        status = json.loads((config.folder / "state" / "up.json").read_text(encoding="utf-8"))
        with contextlib.suppress(PermissionError):  # then it runs, as another user
            os.kill(int(status["pid"]), 0)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return {}
    told = ("receiver", "prefect", "receiver_unconfined")
    return {name: str(status[name]) for name in told if status.get(name)}


@asynccontextmanager
async def opened(config: Configuration) -> AsyncIterator[Journal]:
    """Yield the journal, to be read and put into; it is never made or migrated here.

    Raises:
        Transient: there is none yet.
    """
    if (path := missing(config)) is not None:
        raise Transient(f"there is no journal at {path} yet; `mcp-soar up` makes it when it first starts")
    journal = await open_journal(config, name="mcp-soar-cli", writing=False)
    try:
        await _announce(journal)
        yield journal
        await _enclose(journal)
    finally:
        await journal.aclose()


async def _announce(journal: Journal) -> None:
    """Say first, once in a command, what is stopped and which pages reached nobody."""
    out = SPEAKING.get()
    if out is None or out.as_json or out.standing is not None:
        return
    out.standing = {"stops": [], "undelivered": [], "suppressions": []}
    try:
        out.standing = await standing(journal)
    except SoarError as exc:
        # Unreadable counts as on, there too where things are done.
        out.alarm(f"STOPPED, as far as anybody knows: the kill switch cannot be read: {exc}")
        return
    for line in alarms(out.standing):
        out.alarm(line)


async def _enclose(journal: Journal) -> None:
    """Have a JSON answer say the same, as it is once what was asked for is done."""
    out = SPEAKING.get()
    if out is None or not out.as_json:
        return
    try:
        out.standing = await standing(journal)
    except SoarError as exc:
        reason = f"as far as anybody knows: the kill switch cannot be read: {exc}"
        unread: schema.StopRow = {"scope": "everything", "reason": reason, "by": "", "at": None, "resume_asked_by": []}
        out.standing = {"stops": [unread], "undelivered": [], "suppressions": []}


async def standing(journal: Journal) -> schema.Standing:
    """Return what every answer says: three questions to the database, and a fourth while something is stopped."""
    on, failed = await stops(journal), undelivered(await journal.telling(), now())
    return {"stops": on, "undelivered": failed, "suppressions": await suppressed(journal)}


async def suppressed(journal: Journal) -> list[schema.SuppressionRow]:
    """Return the suppressions in force."""
    try:
        found = await journal.suppressions()
    except Misconfigured:
        # A journal of the first release, which no responder has brought up to date yet: it has none.
        return []
    at = await journal.clock() if found else 0.0
    return [
        {
            "scope": one.scope,
            "source": one.source,
            "rule": one.rule,
            "until": precise(one.until),
            "by": one.by,
            "at": precise(one.at),
            "reason": one.reason,
            "set_aside": one.hidden,
        }
        for one in found
        if one.until > at
    ]


async def stops(journal: Journal) -> list[schema.StopRow]:
    """Return the kill switches that are on, with who asked to end them."""
    on = await journal.stops()
    asked: dict[int, list[str]] = {}
    for entry in (item.parsed() for item in (await journal.resumes() if on else ())):
        people = asked.setdefault(entry.body["number"], [])
        people += [entry.body["by"]] if entry.body["by"] not in people else []
    return [stop_of(stop, asked.get(stop.seq, ())) for stop in on]


def undelivered(entries: Sequence[Entry], at: datetime) -> list[schema.Undelivered]:
    """Return the pages that did not reach who they are for.

    What is about mcp-soar itself is never closed, and who was missed about a closed incident misses nothing any more:
    of these it is what reached nobody, until somebody takes it up.

    Args:
        entries: what `Journal.telling` returns.
        at: now.
    """
    late = iso(at - timedelta(seconds=_LATE))
    states: dict[str, Incident] = {}
    old: dict[str, set[str]] = {}
    for entry in (item.parsed() for item in entries):
        name = entry.stream.removeprefix(PREFIX).removeprefix(TELLING)
        fold(states.setdefault(name, Incident(name)), entry)
        if entry.kind == "page" and entry.at < late:
            old.setdefault(name, set()).add(str(entry.body["id"]))
    found: list[schema.Undelivered] = []
    for name, state in states.items():
        # Somebody could not be told of it by any way that was tried; or nobody was, and that for a while.
        missed = {page for page, _ in state.undelivered}
        untold = state.untold.keys() & (missed | old.get(name, set()))
        lost = untold if name == ITSELF or state.closed_at else missed | untold
        if lost:
            texts = [page.text for page in state.pages.values() if page.id in lost]
            found.append({"incident": name, "pages": len(lost), "texts": texts})
    return found


def remedy(one: schema.Undelivered) -> str:
    """Return the command that goes on from pages that did not reach who they are for."""
    return f"mcp-soar {'ack' if one['incident'] == ITSELF else 'incident'} {one['incident']}"


def alarms(standing: schema.Standing) -> list[str]:
    """Return it as lines for people."""
    lines = [stopped(stop) for stop in standing["stops"]]
    lines += [quiet(one) for one in standing["suppressions"]]
    failed = standing["undelivered"]
    if failed:
        total = sum(one["pages"] for one in failed)
        named = "; ".join(f"`{remedy(one)}`" for one in failed[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more incidents" if len(failed) > _NAMED else ""
        lines.append(f"{total} {'page' if total == 1 else 'pages'} could not be delivered: {named}{more}")
        # No incident shows them.
        lines += [
            f"NOT DELIVERED to anybody: {text}" for one in failed if one["incident"] == ITSELF for text in one["texts"]
        ]
    return lines


def stopped(stop: schema.StopRow) -> str:
    """Return a kill switch that is on as a line for people, with who asked to end it."""
    since = moment(datetime.fromisoformat(stop["at"])) if stop["at"] else "-"
    line = f"STOPPED {stop['scope']} by {stop['by']} since {since}: {stop['reason']}"
    asked = stop["resume_asked_by"]
    return f"{line} ({', '.join(asked)} asked to resume it; one more approver is needed)" if asked else line


def quiet(one: schema.SuppressionRow) -> str:
    """Return a suppression as a line for people."""
    until = moment(datetime.fromisoformat(one["until"])) if one["until"] else "-"
    count = f"{one['set_aside']} {'alert' if one['set_aside'] == 1 else 'alerts'} set aside"
    return f"SUPPRESSED {one['scope']} by {one['by']} until {until}, {count}: {one['reason']}"


async def find(journal: Journal, given: str) -> str:
    """Return the incident that a whole id or a unique part of one means.

    Raises:
        NotFound: there is none.
        Usage: there are several; the message lists them.
    """
    given = given.strip().removeprefix(PREFIX)
    if given and await journal.stream(PREFIX + given) is not None:
        return given
    names = [row.name.removeprefix(PREFIX) for row in await journal.streams(PREFIX, limit=_MANY)]
    if given.isascii() and given.isdigit():
        found = [
            name for name in names if name.rsplit("-", 1)[-1].isdigit() and int(name.rsplit("-", 1)[-1]) == int(given)
        ]
    else:
        found = []
    found = found or [name for name in names if given and (name.endswith(given) or name.startswith(given))]
    if not found:
        raise NotFound(f"there is no incident {given}; `mcp-soar incidents --all` lists them")
    if len(found) > 1:
        raise Usage(f"{given} could be {', '.join(found[:10])}: write more of it")
    return found[0]


async def load(journal: Journal, incident: str) -> Incident:
    """Return an incident as its journal says.

    Raises:
        NotFound: there is none.
        Tampered: its journal is not as it was written.
    """
    row = await journal.stream(PREFIX + incident)
    if row is None:
        raise NotFound(f"there is no incident {incident}")
    state = project(incident, await journal.read(PREFIX + incident))
    # Frozen stands beside the stream, not in it: nothing can be appended to it any more.
    state.frozen = row.frozen
    return state


def suffix(config: Configuration) -> str:
    """Return what a command needs, copied at this terminal, to find this configuration; nothing if it is found here."""
    given = os.environ.get("MCP_SOAR_CONFIG")
    found, _ = place(Path(given) if given else None)
    if config.folder.resolve() == found.resolve():
        return ""
    return f" --config {shlex.quote(str(config.folder))}"


def command(config: Configuration, *words: str) -> str:
    """Return a command line that can be copied."""
    return shlex.join(["mcp-soar", *words]) + suffix(config)


def elsewhere(config: Configuration, incident: str, digest: str) -> tuple[str, str]:
    """Return what an approver types on their own machine: what fetches a plan, and what signs and hands in.

    Both paths are whole: what ssh runs starts in an account's home, and knows no virtual environment.

    Args:
        config: this installation.
        incident: that asks.
        digest: of the plan.
    """

    def afar(*words: str) -> str:
        program = Path(sys.executable).with_name("mcp-soar")
        return f"ssh HOST {shlex.quote(shlex.join([str(program), *words, '--config', str(config.folder.resolve())]))}"

    file = f"{incident}.json"
    signs = ["mcp-soar", "approve", incident, "--plan", file, "--digest", digest[7:19], "--print", "--as", "NAME"]
    return f"{afar('incident', incident, '--json')} > {file}", f"{shlex.join(signs)} | {afar('hand-in')}"


def ask_of(config: Configuration, state: Incident, step: StepState) -> schema.Ask:
    """Return what is asked, and how it is answered."""
    plan = step.plan
    if plan is None:
        raise ValueError(f"{step.instance} asks for nothing")
    short = plan.digest[7:19]
    asked = asked_by(plan)
    asked |= {
        "instance": step.instance,
        "reasons": list(step.reasons),
        "diffs": [{"reason": one.reason, "about": one.about, "diff": one.diff} for one in step.diffs],
        "differs": step.differs,
        "purpose": step.purpose.value,
        "quorum": step.quorum,
        "approved_by": list(step.approved_by),
        "requested_by": step.requested_by,
        "reason": state.reason_of(step),
        "expires_at": precise(step.expires_at),
        "approve": command(config, "approve", state.id, "--digest", short, "--as", "NAME"),
        "deny": command(config, "deny", state.id, "--digest", short, "--as", "NAME"),
    }
    return asked


def asked_by(plan: Plan) -> schema.Ask:
    """Return what a plan itself says of what is asked: all that its digest covers, and nothing beside it."""
    return {
        "instance": "",
        "digest": plan.digest,
        "plan": plan.model_dump(mode="json"),
        "summary": plan.summary,
        "changes": [str(change) for change in plan.pending],
        "reasons": [],
        "diffs": [],
        "breaks": plan.breaks,
        "undone": [str(change) for change in plan.undone],
        "irreversible": plan.irreversible.because if plan.irreversible else None,
        "differs": "",
        "purpose": Purpose.CONTAIN.value,
        "quorum": 0,
        "approved_by": [],
        "requested_by": None,
        "reason": "",
        "expires_at": None,
        "approve": "",
        "deny": "",
    }


def undone(ask: schema.Ask) -> str | None:
    """Return how what is asked is undone, in words; None if it cannot be."""
    if ask["irreversible"]:
        return None
    way = "responding again" if ask["purpose"] == Purpose.RELEASE else "a release"
    return f"{way}, which sets {'; '.join(ask['undone'])}" if ask["undone"] else f"{way}; there is nothing to set back"


def lease_of(
    config: Configuration, incident: str, lease: LeaseState, watches: dict[str, Watch], at: datetime
) -> schema.Lease:
    """Return a lease with its latest verification, which the journal keeps beside the stream while nothing changes."""
    watch = watches.get(f"{incident}/{lease.instance}")
    checked = lease.checked_at.timestamp() if lease.checked_at else None
    verdict = lease.verdict.answer.value if lease.verdict else None
    if watch is not None and lease.open and (checked is None or watch.checked_at >= checked):
        checked, verdict = watch.checked_at, watch.verdict
    return {
        "incident": incident,
        "lease": lease.instance,
        "summary": lease.plan.summary,
        "changes": [str(change) for change in lease.plan.pending],
        "in_force": lease.in_force,
        "began_at": precise(lease.began_at),
        "done_at": precise(lease.done_at),
        "opened_at": precise(lease.opened_at),
        "until": precise(lease.until),
        "requested_by": lease.requested_by,
        "verdict": verdict,
        "checked_at": precise(checked),
        "age": round(max(0.0, at.timestamp() - checked), 3) if checked is not None else None,
        "put_backs": lease.put_backs,
        "releasing": lease.open and lease.releasing is not None,
        "released_at": precise(lease.released_at),
        "released_by": lease.released_by,
        "release": command(config, "release", incident, "--lease", lease.instance, "--as", "NAME"),
    }


def metrics_of(state: Incident) -> schema.Metrics:
    """Return when what happened, and how long it took from when the alert was accepted."""
    times = state.metrics
    start = times["accepted_at"]

    def after(name: str) -> float | None:
        then = times[name]
        return round((then - start).total_seconds(), 3) if then and start else None

    return {
        "detected_at": precise(times["detected_at"]),
        "accepted_at": precise(start),
        "first_effect_at": precise(times["first_effect_at"]),
        "verified_at": precise(times["verified_at"]),
        "released_at": precise(times["released_at"]),
        "first_effect_seconds": after("first_effect_at"),
        "verified_seconds": after("verified_at"),
        "released_seconds": after("released_at"),
    }


def stop_of(stop: Stop, asked: Sequence[str] = ()) -> schema.StopRow:
    """Return a kill switch that is on.

    Args:
        stop: the switch.
        asked: who asked that it end.
    """
    at = precise(stop.at)
    return {"scope": stop.scope, "reason": stop.reason, "by": stop.by, "at": at, "resume_asked_by": list(asked)}


def clocks_of(config: Configuration, state: Incident, at: datetime) -> list[schema.ClockRow]:
    """Return the duties to report that an incident brings with it, the one that is due first first."""
    return [
        {
            "id": clock.id,
            "law": clock.law[Language.EN],
            "article": clock.article[Language.EN],
            "to": clock.to,
            "duty": clock.duty[Language.EN],
            "unless": clock.unless[Language.EN],
            "since": precise(clock.start),
            "until": precise(clock.due),
            "fulfilled": precise(clock.fulfilled),
            "overdue": clock.overdue,
            "fulfil": command(config, "note", state.id, "TEXT", "--fulfils", clock.id, "--as", "NAME"),
        }
        for clock in duties.clocks(state, config.inventory, duties.load(), at)
    ]


def incident_of(
    config: Configuration, state: Incident, watches: Sequence[Watch], stops: Sequence[schema.StopRow]
) -> schema.Incident:
    """Return everything about an incident."""
    playbook = state.goes_by(config.playbooks)
    goals = playbook.goals_of(state.playbook_digest) if playbook else None
    known, at = {watch.lease: watch for watch in watches}, now()
    bundle = config.path(config.settings.vault.bundles) / state.bundle if state.bundle else None
    lacking = proof(state).lacking
    return {
        "id": state.id,
        "class": state.incident_class.value,
        "severity": state.severity.label,
        "status": state.status.value,
        "title": state.title,
        "servers": list(state.servers),
        "entities": [str(entity) for entity in state.entities.values()],
        "unresolved": [f"{e.kind} {e.name}" + (f" of {e.server}" if e.server else "") for e in state.unresolved],
        "repeats": [
            {"source": name, "messages": more.messages, "since": iso(more.since), "until": iso(more.until)}
            for name, more in state.repeats.items()
        ],
        "opened_at": precise(state.opened_at),
        "closed_at": precise(state.closed_at),
        "closed_as": state.closed_as,
        "duplicate_of": state.duplicate_of,
        "assigned_to": state.assigned_to,
        "legal_hold": state.legal_hold,
        "notes": [{"at": precise(note.at), "by": note.by, "text": note.text} for note in state.notes],
        "fulfilled": {clock: precise(at) for clock, at in state.fulfilled.items()},
        "clocks": clocks_of(config, state, at),
        "not_proven": list(map(str, lacking)),
        "differences": [
            {"reason": "", "about": subject, "diff": diff} for diff, subject in differences(lacking).items()
        ],
        "checks": list(checks(state).said),
        "refused": list(state.refusals),
        "triage": state.triage,
        "frozen": state.frozen,
        "requested_by": state.requested_by,
        "wishes": [{"at": precise(wish.at), "by": wish.by, "text": wish.reason} for wish in state.wishes],
        "chosen": [f"{state.entities[key]} ({who})" for key, who in state.chosen.items() if key in state.entities],
        "linked": list(state.linked),
        "continued_in": state.continued_in,
        "parts": list(state.parts),
        "part_of": state.part_of,
        "playbook": state.playbook,
        "goals": goals.model_dump() if goals else None,
        "metrics": metrics_of(state),
        "asks": [ask_of(config, state, step) for step in state.proposals if step.plan],
        "leases": [lease_of(config, state.id, lease, known, at) for lease in state.leases.values()],
        "steps": [_step_of(step) for step in state.steps.values()],
        "exhibits": [
            {
                "id": item["id"],
                "kind": item["kind"],
                "files": [file["name"] for file in item["files"]],
                "bytes": sum(file["size"] for file in item["files"]),
                "collected_at": item["collected_at"],
                "incomplete": Exhibit.model_validate(item).incomplete,
            }
            for item in state.exhibits
        ],
        "unavailable": [{"kind": item["kind"], "reason": item["reason"], "at": item["at"]} for item in state.missing],
        "tasks": _tasks(config, playbook, state),
        "stops": [stop for stop in stops if stop["scope"] in state.scopes],
        "untold": list(state.untold.values()),
        "timeline": [
            {"at": precise(line.at) or "", "actor": line.actor, "what": line.what, "detail": line.detail}
            for line in state.timeline
        ],
        "bundle": str(bundle) if bundle else None,
        "bundle_digest": state.sealed,
    }


def _step_of(step: StepState) -> schema.Step:
    return {
        "instance": step.instance,
        "phase": step.phase.value,
        "action": step.action,
        "progress": step.progress.value,
        "attempt": step.attempt,
        "verdict": step.verdict.answer.value if step.verdict else None,
        "message": step.message,
    }


def _tasks(config: Configuration, playbook: Playbook | None, state: Incident) -> list[schema.Task]:
    """Return what is left to people."""
    if state.closed_at or state.part_of:
        return []
    if state.triage and not state.leases:
        # The playbook's tasks are about a containment, and there is none.
        guess = naming.guesses(config.inventory, state.unresolved)
        look = f"Nothing was done, because: {state.triage}" + (f"; {guess}" if guess else "")
        act = (
            f"Say what is to be contained, `mcp-soar respond {state.id} --about KIND:NAME` (tool:SERVER/NAME, "
            "server:NAME, token:NAME, principal:NAME …), approved before or not; a server or a principal that the "
            "inventory does not know has to be added first. "
        )
        # Somebody has said by now what it is.
        classes = f"`mcp-soar classify {state.id} --as-class CLASS` ({', '.join(CLASSES)})"
        sort = "" if state.former_classes else f"give it another class, {classes}, or "
        act += f"Or {sort}close it."
        return [{"step": "triage", "task": task, "until": "closed"} for task in (look, act)]
    return [{"step": one.step, "task": one.task, "until": one.until} for one in left(state, playbook)]


def stands(status: str, part_of: str | None) -> str:
    """Return where an incident stands, as people read it: one that goes on in another says in which.

    Args:
        status: as its document has it.
        part_of: likewise.
    """
    if part_of is None or status in {Status.CLOSED, Status.FROZEN}:
        return status
    return f"joined to {part_of}" if status == Status.JOINED else f"{status}, joined to {part_of}"


def row_of(state: Incident) -> schema.IncidentRow:
    """Return an incident as a line of a list."""
    return {
        "id": state.id,
        "class": state.incident_class.value,
        "severity": state.severity.label,
        "status": state.status.value,
        "part_of": state.part_of,
        "title": state.title,
        "servers": list(state.servers),
        "where": list(state.where),
        "opened_at": precise(state.opened_at),
        "asks": len(state.proposals),
        "leases": sum(lease.in_force for lease in state.leases.values()),
        "assigned_to": state.assigned_to,
    }
