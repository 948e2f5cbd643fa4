"""What retention keeps and lets go, erasing one exhibit, and keeping a bundle elsewhere."""

import asyncio
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from flows.cli import schema
from flows.cli.exits import Exit
from flows.cli.output import Out, moment
from flows.cli.work import asking, questions, records
from flows.engine.sealing import bundled
from flows.reading import streams
from flows.service.access import open_vault, responder_keys
from flows.service.settings import Configuration
from integrations.journal.store import Journal
from integrations.signing import SigningKey
from integrations.vault import bundle, disk
from playbooks.errors import Refused
from playbooks.people.request import Verb
from playbooks.record.journal import INCIDENT
from playbooks.record.retention import due, locked, protected, remaining, until
from playbooks.record.state import Incident
from playbooks.strict import iso, now

_BY_LOCK = "by the vault's lock"


def foresee(out: Out, config: Configuration) -> Exit:
    """Show until when each incident's evidence is kept, and what goes at the next look."""
    rows = asyncio.run(_foreseen(config))
    out.document({"incidents": rows})
    _show(out, rows, empty="no incident has evidence that could be deleted")
    count = sum(row["due"] for row in rows)
    out.say(f"the next purge deletes the evidence of {count} of {len(rows)} incidents; the responder looks once a day")
    return Exit.OK


async def _foreseen(config: Configuration) -> list[schema.KeptRow]:
    async with records.opened(config) as journal:
        return await _kept(journal, config)


async def _kept(journal: Journal, config: Configuration) -> list[schema.KeptRow]:
    """Return every incident that has evidence, with until when that is kept."""
    retention, at = config.policy.retention, now()
    rows: list[schema.KeptRow] = []
    for row in reversed(await journal.streams(INCIDENT, limit=1_000_000)):
        state = await streams.load(journal, row.name.removeprefix(INCIDENT))
        if state.purged or not state.exhibits:
            continue
        end, goes, lock = until(state, retention), due(state, retention, at), locked(state)
        kept = _BY_LOCK if end and end == lock else f"{retention.of(state.incident_class) / 86400:g}d"
        why = protected(state) or ("its time is over" if goes else kept)
        rows.append(
            {
                "incident": state.id,
                "exhibits": len(remaining(state)),
                "until": iso(end) if end else None,
                "due": goes,
                "why": why,
                "locked_until": iso(lock) if lock and lock > at else None,
            }
        )
    return rows


def _show(out: Out, rows: Sequence[schema.KeptRow], *, empty: str) -> None:
    """Show whose evidence is kept until when, and why."""
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
        empty=empty,
    )


@asking.acting
async def purge(out: Out, journal: Journal, who: asking.Person, *, reason: str) -> schema.Act | None:
    """Show what retention lets go, and have it deleted now once the person says yes."""
    await asking.allowed(journal, who, Verb.PURGE)
    rows = await _kept(journal, who.config)
    going = [row for row in rows if row["due"]]
    _show(out, going, empty="no incident's evidence is due")
    count = sum(row["exhibits"] for row in going)
    out.say(
        f"Deleted for good, with their bundles: {count} exhibits of {len(going)} incidents; and alerts that no"
        " incident needed, once they are older than anything is kept. Their digests stay in the journal."
    )
    if locked_in := [row for row in rows if row["why"] == _BY_LOCK]:
        last = moment(datetime.fromisoformat(max(row["until"] or "" for row in locked_in)))
        out.note(
            f"of {len(locked_in)} incidents it is kept longer than the policy says: by the vault's lock in"
            f" compliance mode, which nobody can end earlier; the last until {last}"
        )
    if not questions.agreed(out, f"Delete it as {who.name}?", does="deletes", yes=who.yes):
        return None
    act = await asking.carry(out, journal, who, verb=Verb.PURGE, subject="retention", reason=reason)
    act["incident"] = None
    if act["state"] == "done":
        act["message"] = "a responder deletes what is due within seconds; `mcp-soar verify` says what it was"
    return act


@asking.acting
async def erase(
    out: Out, journal: Journal, who: asking.Person, *, incident: str, exhibit: str, reason: str
) -> schema.Act:
    """Ask that one exhibit be deleted, or agree to it."""

    def look(state: Incident) -> asking.Effect:
        deletion = state.deleted_exhibits.get(exhibit)
        if deletion is None:
            return asking.Effect("waiting", f"an approver other than {who.name} has to ask for the same")
        if deletion.done_at is None:
            if deletion.locked_until is not None:
                end = moment(deletion.locked_until)
                return asking.Effect(
                    "waiting", f"{exhibit} is deleted when its lock ends, {end}: nobody can before that"
                )
            return asking.Effect("pending", f"{exhibit} is being deleted")
        copies = f", and {len(deletion.bundles)} bundles that held a copy of it" if deletion.bundles else ""
        return asking.Effect("done", f"{exhibit} is deleted{copies}")

    name = await streams.find(journal, incident)
    params = {"exhibit": exhibit}
    return await asking.carry(
        out, journal, who, verb=Verb.ERASE, subject=name, reason=reason, params=dict(params), look=look
    )


def archive(out: Out, config: Configuration, *, incident: str, to: Path) -> Exit:
    """Write a bundle of all that there is of an incident so far, verified."""
    signer, keys = SigningKey.load(config.path(config.settings.key)), responder_keys(config)
    vault = open_vault(config)

    async def work() -> Incident:
        async with records.opened(config) as journal:
            state = await streams.load(journal, await streams.find(journal, incident))
            if state.exhibits and not remaining(state):
                gone = next(reversed(state.deletions.values()))
                raise Refused(f"the evidence of {state.id} was deleted by {gone.by}: {gone.why}")
            return await bundled(
                state.id,
                journal=journal,
                vault=vault,
                signer=signer,
                keys=keys,
                name="mcp-soar archive",
                out=to,
                # Whoever has it written elsewhere says by that how much room there is.
                reserve=0,
            )

    with out.waiting(f"archiving {incident}"):
        try:
            state = asyncio.run(work())
        finally:
            vault.close()
        report = bundle.verify(to, signer.public)
    if not report.ok:
        faults = "; ".join(check.sentence for check in report.checks if not check.ok)
        shutil.rmtree(to) if to.is_dir() else to.unlink()
        raise Refused(f"what is there of {state.id} does not verify, so it is not archived: {faults}")
    digest = f"sha256:{disk.hashes(to)[1]}" if to.is_file() else None
    out.document({"incident": state.id, "file": str(to), "digest": digest})
    out.say(f"{state.id}: archived and verified, {state.seq} entries and {len(remaining(state))} exhibits", "good")
    if state.closed_at is None:
        out.note(f"{state.id} is open: this is what there is so far, and not all of it")
    out.raw(f"  {to}" + (f"  {digest}" if digest else ""))
    return Exit.OK
