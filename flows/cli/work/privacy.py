"""What retention keeps and lets go, erasing one exhibit, and keeping a bundle elsewhere."""

import asyncio
import os
from datetime import datetime
from pathlib import Path

from flows.assembly import responder_keys
from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, moment
from flows.cli.work import acts, records
from flows.settings import Configuration
from integrations.vault import bundle, disk
from playbooks.errors import Refused
from playbooks.request import Verb
from playbooks.retention import due, protected, remaining, until
from playbooks.state import Incident
from playbooks.strict import iso, now, sha256


def foresee(out: Out, config: Configuration) -> Exit:
    """Show until when each incident's evidence is kept, and what goes at the next look."""
    rows = asyncio.run(_kept(config))
    out.document({"incidents": rows})
    out.table(
        ("incident!", "exhibits", "kept until", "then"),
        [
            (
                row["incident"],
                row["exhibits"],
                moment(datetime.fromisoformat(row["until"])) if row["until"] else "",
                row["why"],
            )
            for row in rows
        ],
        empty="no incident has evidence that could be deleted",
    )
    count = sum(row["due"] for row in rows)
    out.say(f"the next purge deletes the evidence of {count} of {len(rows)} incidents; the responder looks once a day")
    return Exit.OK


async def _kept(config: Configuration) -> list[schema.KeptRow]:
    retention, at = config.policy.retention, now()
    rows: list[schema.KeptRow] = []
    async with records.opened(config) as journal:
        for row in reversed(await journal.streams(records.PREFIX, limit=1_000_000)):
            state = await records.load(journal, row.name.removeprefix(records.PREFIX))
            if state.purged or not state.exhibits:
                continue
            end, goes = until(state, retention), due(state, retention, at)
            why = protected(state) or (
                "its time is over" if goes else f"{retention.of(state.incident_class) / 86400:g}d"
            )
            rows.append(
                {
                    "incident": state.id,
                    "exhibits": len(remaining(state)),
                    "until": iso(end) if end else None,
                    "due": goes,
                    "why": why,
                }
            )
    return rows


def purge(out: Out, config: Configuration, who: acts.Person, *, reason: str) -> Exit:
    """Have what retention lets go deleted now."""

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            act = await acts.carry(out, journal, who, verb=Verb.PURGE, subject="retention", reason=reason)
            act["incident"] = None
            if act["state"] == "done":
                act["message"] = "a responder deletes what is due within seconds; `mcp-soar verify` says what it was"
            return act

    return acts.finish(out, config, asyncio.run(work()))


def erase(out: Out, config: Configuration, who: acts.Person, *, incident: str, exhibit: str, reason: str) -> Exit:
    """Ask that one exhibit be deleted, or agree to it."""

    def look(state: Incident) -> acts.Seen:
        deletion = state.deleted_exhibits.get(exhibit)
        if deletion is None:
            return acts.Seen("waiting", f"an approver other than {who.name} has to ask for the same")
        if deletion.done_at is None:
            return acts.Seen("pending", f"{exhibit} is being deleted")
        return acts.Seen("done", f"{exhibit} is deleted, and {len(deletion.bundles)} bundles that held a copy of it")

    async def work() -> schema.Act:
        async with records.opened(config) as journal:
            name = await records.find(journal, incident)
            params = {"exhibit": exhibit}
            return await acts.carry(
                out, journal, who, verb=Verb.ERASE, subject=name, reason=reason, params=dict(params), look=look
            )

    return acts.finish(out, config, asyncio.run(work()))


def archive(out: Out, config: Configuration, *, incident: str, to: Path) -> Exit:
    """Copy an incident's bundle of record, verified."""

    async def work() -> Incident:
        async with records.opened(config) as journal:
            return await records.load(journal, await records.find(journal, incident))

    state = asyncio.run(work())
    if state.closed_at is None:
        raise Refused(f"{state.id} is open: what is archived of it now would not be all of it")
    if state.bundle is None or state.sealed is None:
        raise Refused(f"{state.id} has no sealed bundle")
    if (gone := state.deleted_bundles.get(state.bundle)) is not None:
        raise Refused(f"{state.bundle} was deleted by {gone.by}: {gone.why}")
    _copy(config.path(config.settings.vault.bundles) / state.bundle, to, state.sealed)
    keys = responder_keys(config)
    if not any(bundle.verify(to, key).ok for key in keys.values()):
        to.unlink()
        raise Refused(f"{state.bundle} does not verify, so it is not archived; `mcp-soar verify {state.id}` says why")
    out.document({"incident": state.id, "file": str(to), "digest": state.sealed})
    out.say(f"{state.id}: archived and verified", "good")
    out.raw(f"  {to}  {state.sealed}")
    return Exit.OK


def _copy(source: Path, to: Path, digest: str) -> None:
    with disk.translated():
        data = source.read_bytes()
    if sha256(data) != digest:
        raise Refused(f"{source} is not the file that the journal names; it is not archived")
    if os.path.lexists(to):
        raise Refused(f"{to} is there already")
    with disk.translated():
        disk.write(to, data)
        disk.sync(to.parent)
