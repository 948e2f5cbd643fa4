"""The journal, opened for a command; what every answer says of it, and the commands that it names."""

import os
import shlex
import sys
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from flows.cli.options import place
from flows.cli.output import SPEAKING, moment
from flows.engine import pacing
from flows.reading.standing import Standing, SuppressionRow, Undelivered
from flows.reading.standing import standing as whole
from flows.report.words import length
from flows.service.access import made, open_journal
from flows.service.settings import Configuration
from integrations.journal.records import Watch
from integrations.journal.store import Journal
from playbooks.errors import SoarError
from playbooks.people import duties
from playbooks.record import viewing
from playbooks.record.journal import ITSELF
from playbooks.record.state import Incident
from playbooks.record.view import Stopped, View
from playbooks.record.viewing import view
from playbooks.strict import now

_NAMED = 3


@asynccontextmanager
async def opened(config: Configuration) -> AsyncIterator[Journal]:
    """Yield the journal, to be read and put into; it is never made or migrated here.

    Raises:
        Transient: there is none yet.
    """
    made(config)
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
        out.standing = await whole(journal)
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
        out.standing = await whole(journal)
    except SoarError as exc:
        reason = f"as far as anybody knows: the kill switch cannot be read: {exc}"
        unread = Stopped(scope="everything", reason=reason, by="", since=None)
        out.standing = {"stops": [unread], "undelivered": [], "suppressions": []}


def remedy(one: Undelivered) -> str:
    """Return the command that goes on from pages that did not reach who they are for."""
    return f"mcp-soar {'ack' if one['incident'] == ITSELF else 'incident'} {one['incident']}"


def alarms(standing: Standing) -> list[str]:
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


def stopped(stop: Stopped) -> str:
    """Return a kill switch that is on as a line for people, with who asked to end it."""
    line = f"STOPPED {stop.scope} by {stop.by} since {moment(stop.since) or '-'}: {stop.reason}"
    asked = stop.resume_asked_by
    return f"{line} ({', '.join(asked)} asked to resume it; one more approver is needed)" if asked else line


def quiet(one: SuppressionRow) -> str:
    """Return a suppression as a line for people."""
    until = moment(datetime.fromisoformat(one["until"])) if one["until"] else "-"
    count = f"{one['set_aside']} {'alert' if one['set_aside'] == 1 else 'alerts'} set aside"
    return f"SUPPRESSED {one['scope']} by {one['by']} until {until}, {count}: {one['reason']}"


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


def watched(config: Configuration, rows: Sequence[Watch]) -> dict[str, viewing.Watch]:
    """Return what the watch last found of each lease, by incident and step."""
    every, share = config.inventory.watch_every, config.inventory.watch_share
    apart: dict[str, float] = {}
    for _, some in _by_system(rows):
        apart |= pacing.periods(some, every=every, share=share)
    return {row.lease: viewing.Watch(row.checked_at, row.verdict, row.seen_at, apart.get(row.lease)) for row in rows}


def pace(config: Configuration, rows: Sequence[Watch], incidents: Collection[str] | None = None) -> list[str]:
    """Return how often the watch asks about what is in force, a line for each system.

    Args:
        config: of this installation.
        rows: the latest checks of all leases.
        incidents: only systems where these hold something; without it all.
    """
    every, share = config.inventory.watch_every, config.inventory.watch_share
    return [
        f"{len(some)} lease{'s' if len(some) > 1 else ''} at {system.partition('/')[2]}: each asked about as a client"
        f" every {_apart(some, every=every, share=share)}, and looked at every {length(every)}"
        for system, some in _by_system(rows)
        if incidents is None or any(row.incident in incidents for row in some)
    ]


def _apart(rows: Sequence[Watch], *, every: float, share: float) -> str:
    """Return how often leases at one system are asked about, those that take long to answer less often than others."""
    known = pacing.periods(rows, every=every, share=share).values()
    return " to ".join(dict.fromkeys((length(min(known)), length(max(known)))))


def _by_system(rows: Sequence[Watch]) -> list[tuple[str, list[Watch]]]:
    # What an earlier release asked about says not where.
    return [(system, pacing.at(rows, system)) for system in sorted({row.system for row in rows}) if system]


def view_of(
    config: Configuration, state: Incident, watches: Sequence[Watch] = (), stops: Sequence[Stopped] = ()
) -> View:
    """Return how an incident stands, with the commands of this installation."""
    at = now()
    found = view(
        state,
        at=at,
        inventory=config.inventory,
        playbook=state.goes_by(config.playbooks),
        clocks=clocks_of(config, state, at),
        stops=stops,
        watches=watched(config, watches),
        line=partial(command, config),
    )
    bundle = str(config.path(config.settings.vault.bundles) / state.bundle) if state.bundle else None
    return found.model_copy(update={"bundle": bundle})


def clocks_of(config: Configuration, state: Incident, at: datetime) -> list[duties.Clock]:
    """Return the duties to report that an incident brings with it, the one that is due first first."""
    return duties.clocks(state, config.inventory, duties.load(), at)
