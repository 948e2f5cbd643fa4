"""Deleting evidence: by the policy's retention, or because two people erase one exhibit. Said before, and said after.

    deletion_intended  ──▶  the bytes go  ──▶  deleted
             │   └── died here: whoever comes next finishes it
             └── the vault's lock lets nobody: deletion_locked, and again when it ends

Only bytes go. Digests, custody records and everything that was done stay in the chain, which nothing rewrites.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from flows.engine.case import PREFIX
from flows.engine.parts import Parts
from flows.engine.people.oncall import read
from flows.engine.subject import answer, subject
from integrations.journal.records import Stop
from integrations.journal.store import Tampered, Tx
from integrations.vault import Locked
from playbooks.errors import Refused
from playbooks.people.request import ROLES, Request, Verb
from playbooks.record.evidence import SIGNED, Deletion, ExhibitId
from playbooks.record.journal import SYSTEM, Entry, Event, Parsed
from playbooks.record.projection import project
from playbooks.record.retention import due, protected, remaining
from playbooks.record.state import Incident
from playbooks.strict import Json, Strict, iso, now

LOG = logging.getLogger("mcp_soar.deletion")

POLICY = "mcp-soar"
"""Who deletes what retention lets go."""

_AT_ONCE = 500
"""Raw messages that no incident needed, forgotten in one transaction."""


class Erasure(Strict):
    """What an `erase` says.

    Args:
        exhibit: its id.
    """

    exhibit: ExhibitId


async def erase(parts: Parts, tx: Tx, request: Request) -> str:
    """Have one exhibit of a closed incident deleted, once somebody asked and an approver who did not ask agrees."""
    exhibit = read(Erasure, request.params).exhibit
    stream, state = await subject(tx, request, closed=True)
    if (why := protected(state)) is not None:
        raise Refused(f"nothing of {request.subject} is erased: {why}")
    if not request.reason:
        raise Refused("erasing needs a reason: whose request it is, and by what right")
    if (gone := state.deleted_exhibits.get(exhibit)) is not None:
        raise Refused(f"{exhibit} is deleted already, by {gone.by}: {gone.why}")
    if exhibit not in remaining(state):
        raise Refused(f"{request.subject} has no exhibit {exhibit}; it has {', '.join(remaining(state)) or 'none'}")
    people = parts.people()
    asked = state.erasures_asked.get(exhibit, {})
    others = {name for name, at in asked.items() if people.stands_by(name, ROLES[Verb.ERASE], at)} - {request.actor}
    body: dict[str, Json] = {"exhibit": exhibit, "by": request.actor, "reason": request.reason}
    events = [
        answer(request, accepted=True, reason=request.reason),
        Event("erasure_asked", body, request.actor),
    ]
    roles = set(people.people[request.actor].roles)
    if others and roles & set(parts.policy.approval.roles):
        who = sorted(others | {request.actor})
        entries = await tx.read(stream)
        events.append(_intended(state, entries, [exhibit], why=request.reason, by=request.actor, people=who))
        await tx.append(SYSTEM, [Event("deletion_intended", {"incident": state.id}, request.actor)])
    await tx.append(stream, events)
    return stream


async def purge(_parts: Parts, tx: Tx, request: Request) -> str:
    """Have what retention lets go deleted now, and not at the next daily look."""
    await tx.append(
        SYSTEM, [answer(request, accepted=True, reason=request.reason), Event("purge_asked", {}, request.actor)]
    )
    return SYSTEM


def _intended(  # one entry's fields, most by name
    state: Incident, entries: Sequence[Entry], exhibits: Sequence[str], *, why: str, by: str, people: Sequence[str]
) -> Event:
    """Return the entry that has to be in the journal before anything goes.

    Every bundle goes with the first exhibit: it holds a copy, and without that would not verify. A manifest holds
    digests, as the journal does, and stays.
    """
    digests: dict[str, Json] = {
        str(item["id"]): [str(file["sha256"]) for file in item["files"]] for item in state.exhibits
    }
    parsed = (entry.parsed() for entry in entries)
    sealed = dict.fromkeys(str(entry.body["bundle"]) for entry in parsed if entry.kind == "sealed")
    named: list[Json] = [{"id": exhibit, "digests": digests[exhibit]} for exhibit in exhibits]
    body: dict[str, Json] = {
        "id": f"deletion-{state.seq + 1}",
        "exhibits": named,
        "bundles": [name for name in sealed if not name.endswith(SIGNED) and name not in state.deleted_bundles],
        "why": why,
        "by": by,
        "people": list(people),
        "whole": set(exhibits) == set(remaining(state)),
    }
    return Event("deletion_intended", body, by)


async def intend(parts: Parts, at: datetime) -> list[str]:
    """Journal the deletion of everything that retention lets go now, and return whose.

    Args:
        parts: what the engine works with.
        at: now.
    """
    retention = parts.policy.retention
    shortest = min([retention.keep, *retention.classes.values()])
    known = {str(entry.body["incident"]) for entry in await _system(parts, "purged")}
    found: list[str] = []
    for row in await parts.journal.streams(PREFIX, limit=1_000_000):
        name = row.name.removeprefix(PREFIX)
        if row.closed_at is None or row.frozen or name in known or row.closed_at > at.timestamp() - shortest:
            continue

        async def unit(tx: Tx, stream: str = row.name, name: str = name) -> bool:
            # Judged in the transaction that says it: a hold or a stop that came meanwhile counts.
            entries = await tx.read(stream)
            state = project(name, entries)
            if not due(state, retention, at) or stopped(state, await tx.stops()):
                return False
            days = retention.of(state.incident_class) / 86400
            why = f"retention: {state.incident_class} is kept {days:g} days after it was closed"
            await tx.append(stream, [_intended(state, entries, remaining(state), why=why, by=POLICY, people=())])
            pointer: dict[str, Json] = {"incident": name}
            await tx.append(SYSTEM, [Event("deletion_intended", pointer), Event("purged", pointer)])
            return True

        try:
            found += [name] if await parts.journal.submit(unit) else []
        except (Refused, Tampered) as exc:
            # Frozen meanwhile, or not as it was written: a person looks at it, and the others go on.
            LOG.warning("%s is kept: %s", name, exc)
    return found


def stopped(state: Incident, stops: Sequence[Stop]) -> bool:
    """Return whether a kill switch keeps us from deleting anything of an incident."""
    scopes = state.scopes
    return any(stop.scope in scopes for stop in stops)


async def unfinished(parts: Parts) -> list[str]:
    """Return the incidents with a deletion that was intended and is not done."""
    entries = await _system(parts, "deletion_intended", "deleted")
    count: dict[str, int] = {}
    for entry in entries:
        name = str(entry.body["incident"])
        count[name] = count.get(name, 0) + (1 if entry.kind == "deletion_intended" else -1)
    return [name for name, left in count.items() if left > 0]


async def finish(parts: Parts, incident: str) -> int:
    """Delete what an incident's journal says is to be deleted, and return how many deletions are done now.

    Twice is once, and two responders at it do no harm: each deletes what is left, and one of them says so.
    """
    stream = f"{PREFIX}{incident}"
    state = project(incident, await parts.journal.read(stream))
    if protected(state) is not None or stopped(state, await parts.journal.stops()):
        # A hold that came in time keeps what is left.
        return 0
    done = 0
    for deletion in [one for one in state.deletions.values() if one.done_at is None]:
        if deletion.locked_until is not None and deletion.locked_until > now():
            continue
        for bundle in deletion.bundles:
            await asyncio.to_thread(_unlink, parts.bundles, bundle)
        locked: dict[str, Locked] = {}
        for exhibit in deletion.exhibits:
            try:
                await parts.vault.delete(incident, exhibit)
            except Locked as exc:
                locked[exhibit] = exc
        if locked:
            await _say_locked(parts, stream, deletion, locked)
        else:
            done += await _say(parts, stream, deletion)
    return done


async def _say_locked(parts: Parts, stream: str, deletion: Deletion, locked: Mapping[str, Locked]) -> None:
    """Journal what cannot be deleted yet, by what lock, and until when, unless it is said already."""
    until = min(exc.until for exc in locked.values())
    why = "; ".join(str(exc) for exc in locked.values())[:2000]

    async def unit(tx: Tx) -> None:
        state = project(stream.removeprefix(PREFIX), await tx.read(stream))
        if state.deletions[deletion.id].locked_until != until:
            body: dict[str, Json] = {"id": deletion.id, "exhibits": [*locked], "until": iso(until), "why": why}
            await tx.append(stream, [Event("deletion_locked", body)])

    await parts.journal.submit(unit)


def _unlink(folder: Path, bundle: str) -> None:
    if Path(bundle).name != bundle:
        raise Refused(f"{bundle!a} is not a name that a bundle has")
    (folder / bundle).unlink(missing_ok=True)


async def _say(parts: Parts, stream: str, deletion: Deletion) -> bool:
    """Forget the raw messages of what was deleted, and journal in the same transaction that it is done."""

    async def unit(tx: Tx) -> bool:
        incident = stream.removeprefix(PREFIX)
        state = project(incident, await tx.read(stream))
        if state.deletions[deletion.id].done_at is not None:
            return False
        params = [item["how"]["params"] for item in state.exhibits if item["id"] in deletion.exhibits]
        receipts = {str(one.get("receipt")) for one in params}
        own = {alert.receipt for alert in state.alerts}
        for one in params:
            if "until" in one and "messages" in one:
                # Of an exhibit that holds those of a span of time, but for the ones that are exhibits of their own.
                receipts |= {*await tx.messages_of(stream, one["after"], one["until"])} - own
        held = await tx.messages_of(stream)
        wanted = [item for item in held if item in receipts or deletion.whole]
        await tx.blank(wanted)
        done: dict[str, Json] = {"id": deletion.id, "messages": len(wanted)}
        await tx.append(stream, [Event("deleted", done)])
        await tx.append(SYSTEM, [Event("deleted", {"incident": incident})])
        return True

    return await parts.journal.submit(unit)


async def forget(parts: Parts, at: datetime) -> int:
    """Forget the raw bytes of alerts that no incident needed and that are older than anything is kept."""
    if any(stop.scope == "everything" for stop in await parts.journal.stops()):
        return 0
    longest = max([parts.policy.retention.keep, *parts.policy.retention.classes.values()])
    before = at - timedelta(seconds=longest)

    async def unit(tx: Tx) -> int:
        items = await tx.unowned(before.timestamp(), _AT_ONCE)
        if items:
            await tx.blank(items)
            receipts: list[Json] = [*items]
            body: dict[str, Json] = {
                "receipts": receipts,
                "why": f"retention: no incident needed them, and they came before {iso(before)}",
                "by": POLICY,
            }
            await tx.append(SYSTEM, [Event("messages_deleted", body)])
        return len(items)

    total = 0
    while count := await parts.journal.submit(unit):
        total += count
    return total


async def asked(parts: Parts, after: int) -> int:
    """Return the number of the latest request to purge that came after an entry of the system stream, else that."""
    return max([after, *(entry.seq for entry in await _system(parts, "purge_asked"))])


async def _system(parts: Parts, *kinds: str) -> list[Parsed]:
    return await parts.journal.submit(lambda tx: tx.system(*kinds))
