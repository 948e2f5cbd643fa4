"""Making exhibits: the alert as it came, what captures collect, and the sealed bundle of an incident."""

import asyncio
import base64
import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from flows.engine.calls import build, unknown, within
from flows.engine.case import PREFIX, Case, Stopped
from flows.engine.effects import failed
from flows.engine.schedule import Todo
from integrations.journal.records import InboxItem
from integrations.journal.store import Journal, LostClaim
from integrations.signing import PublicKey, SigningKey
from integrations.vault import Damaged, Vault, VaultFull, bundle, disk
from playbooks.action import Capture, Check, Collected
from playbooks.errors import Misconfigured, SoarError, Transient
from playbooks.evidence import Authority, Exhibit, Manifest, Method, Unavailable, exhibit_id, sealed, unavailable
from playbooks.incident import EntityKind
from playbooks.inventory import Resolved
from playbooks.journal import Event
from playbooks.projection import project
from playbooks.state import Incident, Progress
from playbooks.strict import Json, canonical, iso, now, sha256

TOOL = f"mcp-soar@{version('mcp-soar')}"
RAW = "raw-alert"
REPEATS = "raw-alerts"
ALERTS = 100
MANY = 5000
COUNTS = 8000
ANOTHER = 10_000
"""How far another number is from one that is taken by what an older release sealed."""
CAPTURE_ATTEMPTS = 3
"""How often a capture is tried before its exhibit is recorded as unavailable."""
COLLECT_AGAIN = (60.0, 120.0, 300.0, 900.0, 3600.0)
"""Seconds after which what could not be had is tried again; the last ones for as long as the incident is open."""
SEAL_AGAIN = 2.0
SEAL_AGAIN_MOST = 900.0
"""Seconds until a bundle that could not be made is tried again: at first, doubled each time, and at most."""


async def capture(case: Case, todo: Todo) -> None:
    """Collect one exhibit, or record that it cannot be had and why."""
    try:
        maker: Capture = build(case, todo.name, todo.params)
        params: dict[str, Json] = dict(todo.params)
        if (number := await _number(case, todo, maker.exhibit, params)) is None:
            return
        collected_at = now()
        collected = await within(maker.timeout, maker.collect(case.parts.world), f"collecting {todo.name}")
        await _seal(
            case, todo, number, maker.exhibit, collected, collected_at=collected_at, capture=todo.name, params=params
        )
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        step = case.state.steps.get(todo.instance)
        known = step is not None and step.progress is Progress.UNAVAILABLE
        if isinstance(exc, Transient) and not known and (step.attempt if step else 0) + 1 < CAPTURE_ATTEMPTS:
            await failed(case, todo, exc)
            return
        kind = case.parts.steps.get(todo.name)
        if step is not None and known:
            await _still_missing(case, todo, exc, attempt=step.attempt + 1)
        else:
            await _missing(case, todo, getattr(kind, "exhibit", "unknown"), exc, again=COLLECT_AGAIN[0])


async def raw(case: Case, todo: Todo) -> None:
    """Keep one alert as it came: exhibit 0 and those of its kind."""
    try:
        if (number := await _number(case, todo, RAW, {"receipt": todo.name})) is None:
            return
        item = await case.parts.journal.message(todo.name)
        if item is None:
            raise Misconfigured(f"the inbox has no entry {todo.name} any more")
        collected = (
            Collected(
                name="alert.bin", media_type="application/octet-stream", data=item.body, origin=f"inbox {item.id}"
            ),
            Collected(
                name="headers.txt",
                media_type="text/plain",
                data="".join(f"{name}: {value}\n" for name, value in sorted(item.headers.items())).encode(),
                origin=f"inbox {item.id}, without those that authenticate",
            ),
        )
        if sha256(item.body) != item.digest:
            raise Damaged(f"the inbox entry {item.id} is not what the receiver put there")
        params: dict[str, Json] = {"receipt": todo.name, "source": item.source}
        await _seal(case, todo, number, RAW, collected, collected_at=now(), capture="receiver", params=params)
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        if isinstance(exc, Transient):
            await failed(case, todo, exc)
            return
        await _missing(case, todo, RAW, exc)


async def repeats(case: Case, todo: Todo) -> None:
    """Keep the messages of one count as they came, together: those that said what the incident had already."""
    try:
        counted = next(one for one in case.state.counted if str(one.number) == todo.name)
        about: dict[str, Json] = {"after": counted.after, "until": counted.until}
        if (number := await _number(case, todo, REPEATS, about)) is None:
            return
        own = {alert.receipt for alert in case.state.alerts}
        found = await case.parts.journal.messages(case.stream, counted.after, counted.until)
        items = [item for item in found if item.id not in own]
        data = await asyncio.to_thread(_lines, items)
        collected = Collected(
            name="alerts.ndjson",
            media_type="application/x-ndjson",
            data=data,
            origin=f"{len(items)} entries of the inbox, each with its body as base64 and without what authenticates",
        )
        params: dict[str, Json] = {**about, "messages": len(items)}
        await _seal(case, todo, number, REPEATS, (collected,), collected_at=now(), capture="receiver", params=params)
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        if isinstance(exc, Transient):
            await failed(case, todo, exc)
            return
        await _missing(case, todo, REPEATS, exc)


def _lines(items: Sequence[InboxItem]) -> bytes:
    """Return messages as lines of JSON, one each; one that is not what the receiver put there says so."""
    lines = []
    for item in items:
        line: dict[str, Json] = {
            "receipt": item.id,
            "source": item.source,
            "received_at": iso(datetime.fromtimestamp(item.received_at, UTC)),
            "digest": item.digest,
            "headers": dict(item.headers),
            "body": base64.b64encode(item.body).decode(),
            "intact": sha256(item.body) == item.digest,
        }
        lines.append(json.dumps(line, sort_keys=True).encode() + b"\n")
    return b"".join(lines)


def number_of(case: Case, todo: Todo) -> int:
    """Return the number of the exhibit that a step makes, the same for every process that tries it.

    Alerts come first, in their order; then, for each thing in the order in which it joined, its server before it, the
    playbook's captures.
    """
    if todo.kind == "repeats":
        return COUNTS + int(todo.name)
    if todo.kind == "raw":
        receipts = [alert.receipt for alert in case.state.alerts]
        place = receipts.index(todo.name)
        return place if place < ALERTS else MANY + place
    steps = [step.id for _, step in case.playbook.steps() if step.capture] if case.playbook else []
    places: list[str] = []
    for entity in case.state.entities.values():
        # By whole keys, and only ever added to: a server that joins moves nobody's number.
        server = [Resolved(kind=EntityKind.SERVER, id=entity.server, server=entity.server)] if entity.server else []
        places += [item.key for item in (*server, entity) if item.key not in places]
    return ALERTS + places.index(todo.entity) * len(steps) + steps.index(todo.instance.partition("@")[0])


async def _number(case: Case, todo: Todo, kind: str, about: Mapping[str, Json]) -> int | None:
    """Return the number that a step's exhibit is to have; record one that a process sealed and died before it said so.

    What is sealed there counts only if it is this step's, about this very thing: an older release numbered otherwise.

    Args:
        case: the incident.
        todo: the step.
        kind: of exhibit.
        about: those of the exhibit's parameters that tell what it is about.

    Returns:
        None if it is sealed, and on record now.
    """
    number = number_of(case, todo)
    while (found := await case.parts.vault.find(case.id, exhibit_id(number, kind))) is not None:
        if _made_by(found, todo, about):
            await case.record(Event("exhibit", {"instance": todo.instance, "phase": todo.phase.value, **sealed(found)}))
            return None
        number += ANOTHER
    return number


def _made_by(found: Exhibit, todo: Todo, about: Mapping[str, Json]) -> bool:
    params = found.how.params
    same = all(canonical(params.get(name)) == canonical(value) for name, value in about.items())
    return found.authority.step == todo.instance.partition("@")[0] and same


async def _seal(  # all by name
    case: Case,
    todo: Todo,
    number: int,
    kind: str,
    collected: tuple[Collected, ...],
    *,
    collected_at: datetime,
    capture: str,
    params: dict[str, Json],
) -> None:
    exhibit = await case.parts.vault.seal(
        case.id,
        number,
        kind,
        collected,
        collected_at=collected_at,
        collected_by=case.parts.name,
        authority=Authority(step=todo.instance.partition("@")[0], actor=case.state.requested_by or "mcp-soar"),
        how=Method(tool=TOOL, capture=capture, params=params),
    )
    body = {"instance": todo.instance, "phase": todo.phase.value, **sealed(exhibit)}
    await case.record(Event("exhibit", body))


async def _missing(case: Case, todo: Todo, kind: str, exc: SoarError, *, again: float | None = None) -> None:
    missing = Unavailable(kind=kind, reason=_reason(exc), recorded_by=todo.instance[:200], at=now())
    retry_at = iso(now() + timedelta(seconds=again)) if again is not None else None
    body = {"instance": todo.instance, "phase": todo.phase.value, "retry_at": retry_at, **unavailable(missing)}
    await case.record(Event("unavailable", body))


async def _still_missing(case: Case, todo: Todo, exc: SoarError, *, attempt: int) -> None:
    retry_at = iso(now() + timedelta(seconds=COLLECT_AGAIN[min(attempt, len(COLLECT_AGAIN) - 1)]))
    body = {"instance": todo.instance, "phase": todo.phase.value, "attempt": attempt, "retry_at": retry_at}
    await case.record(Event("uncollected", {**body, "reason": _reason(exc)}))


def _reason(exc: SoarError) -> str:
    return f"{'the vault is full' if isinstance(exc, VaultFull) else type(exc).__name__}: {exc}"[:2000]


async def ask(case: Case, todo: Todo) -> None:
    """Put a check's question and record the answer if it is news."""
    try:
        check: Check = build(case, todo.name, todo.params)
        verdict = await within(check.timeout, check.check(case.parts.world), f"asking {todo.name}")
    except SoarError as exc:
        verdict = unknown(todo.title, exc)
    step = case.state.steps.get(todo.instance)
    if step is None or step.verdict is None or step.verdict.answer is not verdict.answer:
        body = {"instance": todo.instance, "phase": todo.phase.value, "verdict": verdict.model_dump(mode="json")}
        await case.record(Event("checked", body))


def _clear(out: Path) -> None:
    """Make room for a bundle: nothing vouches for a file that no journal names, planted or a dead predecessor's."""
    if out.is_dir() and not out.is_symlink():
        raise Misconfigured("a folder stands where a bundle belongs: move it away", file=str(out))
    out.unlink(missing_ok=True)


async def bundled(
    incident: str,
    *,
    journal: Journal,
    vault: Vault,
    signer: SigningKey,
    keys: Mapping[str, PublicKey],
    name: str,
    out: Path,
    reserve: int,
) -> Incident:
    """Write a signed bundle of all that there is of an incident now, and return what its journal says.

    Args:
        incident: its id.
        journal: what is read.
        vault: where its exhibits are; those that were deleted are named by the journal alone.
        signer: of the manifest.
        keys: every responder's public key, by id.
        name: who makes it.
        out: a new file (.tar.gz) or folder.
        reserve: bytes that stay free on its file system, for the journal.

    Raises:
        SoarError: as for `bundle.export`.
    """
    # Others append meanwhile: first the heads, then the entries, so that no head witnesses an entry that is not there.
    # For entries after the last head, the manifest vouches itself.
    stream = f"{PREFIX}{incident}"
    heads = await journal.heads_for([stream])
    entries = await journal.read(stream)
    state = project(incident, entries)
    held = [item for item in state.exhibits if item["id"] not in state.deleted_exhibits]
    manifest = Manifest(
        incident=incident,
        playbook=state.playbook_digest,
        made_at=now(),
        made_by=name,
        exhibits=tuple(Exhibit.model_validate(item) for item in held),
        unavailable=tuple(Unavailable.model_validate(item) for item in state.unavailable),
        journal=bundle.tips(entries, heads),
        keys=tuple(sorted(keys)),
    )
    await bundle.export(
        incident,
        vault=vault,
        journal_entries=entries,
        heads=heads,
        public_keys=tuple(keys.values()),
        manifest=bundle.sign(manifest, signer.dsse()),
        out=out,
        reserve=reserve,
    )
    return state


async def seal(case: Case, todo: Todo) -> None:
    """Write the signed bundle of everything that is known so far, and record its digest; it replaces the one before.

    What goes wrong is tried again for as long as the incident is open: people are told, and may make room.
    """
    parts = case.parts
    try:
        out = parts.bundles / f"{case.id}-{case.state.seq:06d}.tar.gz"
        await asyncio.to_thread(_clear, out)
        state = await bundled(
            case.id,
            journal=parts.journal,
            vault=parts.vault,
            signer=parts.signer,
            keys=parts.keys,
            name=parts.name,
            out=out,
            reserve=parts.reserve,
        )
        digest = await asyncio.to_thread(_digest, out)
        counts: dict[str, Json] = {"exhibits": len(state.exhibits), "unavailable": len(state.unavailable)}
        await case.record(Event("sealed", {"digest": digest, "bundle": out.name, **counts}))
        for earlier in state.bundles:
            # The new one holds all that it held. Each as large as all of the evidence, they would fill the disk.
            await asyncio.to_thread(_outdated, parts.bundles, earlier, out.name)
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        step = case.state.steps.get(todo.instance)
        wait = min(SEAL_AGAIN * 2.0 ** (step.attempt if step else 0), SEAL_AGAIN_MOST)
        await failed(case, todo, exc, again=wait)


def _digest(path: Path) -> str:
    with disk.translated():
        return f"sha256:{disk.hashes(path)[1]}"


def _outdated(folder: Path, name: str, current: str) -> None:
    if Path(name).name == name != current:
        with contextlib.suppress(OSError):
            (folder / name).unlink(missing_ok=True)
