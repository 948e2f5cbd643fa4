"""Making exhibits: the alert as it came, what captures collect, and the sealed bundle of an incident."""

import asyncio
import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from flows.engine.case import Case, Stopped
from flows.engine.effects import build, failed, unknown, within
from flows.engine.schedule import Todo
from integrations.journal.records import InboxItem
from integrations.journal.store import LostClaim
from integrations.vault import Damaged, VaultFull, bundle
from playbooks.action import Capture, Check, Collected
from playbooks.errors import Misconfigured, SoarError, Transient
from playbooks.evidence import Authority, Exhibit, Manifest, Method, Unavailable, exhibit_id, sealed, unavailable
from playbooks.journal import Event
from playbooks.state import instance_of
from playbooks.strict import Json, iso, now, sha256

TOOL = f"mcp-soar@{version('mcp-soar')}"
RAW = "raw-alert"
REPEATS = "raw-alerts"
ALERTS = 100
MANY = 5000
COUNTS = 8000
CAPTURE_ATTEMPTS = 3
"""How often a capture is tried before its exhibit is recorded as unavailable."""


async def capture(case: Case, todo: Todo) -> None:
    """Collect one exhibit, or record that it cannot be had and why."""
    try:
        maker: Capture = build(case, todo.name, todo.params)
        if await _sealed_before(case, todo, maker.exhibit):
            return
        collected_at = now()
        collected = await within(maker.timeout, maker.collect(case.parts.world), f"collecting {todo.name}")
        params: dict[str, Json] = dict(todo.params)
        await _seal(case, todo, maker.exhibit, collected, collected_at=collected_at, capture=todo.name, params=params)
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        step = case.state.steps.get(todo.instance)
        if isinstance(exc, Transient) and (step.attempt if step else 0) + 1 < CAPTURE_ATTEMPTS:
            await failed(case, todo, exc)
            return
        kind = case.parts.steps.get(todo.name)
        await _missing(case, todo, getattr(kind, "exhibit", "unknown"), exc)


async def raw(case: Case, todo: Todo) -> None:
    """Keep one alert as it came: exhibit 0 and those of its kind."""
    try:
        if await _sealed_before(case, todo, RAW):
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
        await _seal(case, todo, RAW, collected, collected_at=now(), capture="receiver", params=params)
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
        if await _sealed_before(case, todo, REPEATS):
            return
        counted = next(one for one in case.state.counted if str(one.number) == todo.name)
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
        params: dict[str, Json] = {"after": counted.after, "until": counted.until, "messages": len(items)}
        await _seal(case, todo, REPEATS, (collected,), collected_at=now(), capture="receiver", params=params)
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

    Alerts come first, in their order; then, for each server in the order in which it joined, the playbook's captures.
    """
    if todo.kind == "repeats":
        return COUNTS + int(todo.name)
    if todo.kind == "raw":
        receipts = [alert.receipt for alert in case.state.alerts]
        place = receipts.index(todo.name)
        return place if place < ALERTS else MANY + place
    steps = [step.id for _, step in case.playbook.steps() if step.capture] if case.playbook else []
    step, _, where = todo.instance.partition("@")
    homes = [instance_of("", entity).removeprefix("@") for entity in case.state.entities.values()]
    places = [*case.state.servers, *(home for home in homes if home not in case.state.servers)]
    return ALERTS + places.index(where) * len(steps) + steps.index(step)


async def _sealed_before(case: Case, todo: Todo, kind: str) -> bool:
    """Record an exhibit that a process sealed and died before it could say so."""
    found = await case.parts.vault.find(case.id, exhibit_id(number_of(case, todo), kind))
    if found is None:
        return False
    await case.record(Event("exhibit", {"instance": todo.instance, "phase": todo.phase.value, **sealed(found)}))
    return True


async def _seal(  # all by name
    case: Case,
    todo: Todo,
    kind: str,
    collected: tuple[Collected, ...],
    *,
    collected_at: datetime,
    capture: str,
    params: dict[str, Json],
) -> None:
    number = number_of(case, todo)
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


async def _missing(case: Case, todo: Todo, kind: str, exc: SoarError) -> None:
    reason = f"{'the vault is full' if isinstance(exc, VaultFull) else type(exc).__name__}: {exc}"
    missing = Unavailable(kind=kind, reason=reason[:2000], recorded_by=todo.instance[:200], at=now())
    body = {"instance": todo.instance, "phase": todo.phase.value, **unavailable(missing)}
    await case.record(Event("unavailable", body))


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


async def seal(case: Case, todo: Todo) -> None:
    """Write the signed bundle of everything that is known so far, and record its digest."""
    parts, state = case.parts, case.state
    try:
        # Others append meanwhile. What is bundled is what is known now; then the heads, then the entries, so that no
        # head witnesses an entry that is not there: for entries after the last head, the manifest vouches itself.
        exhibits, missing = tuple(state.exhibits), tuple(state.unavailable)
        out = parts.bundles / f"{case.id}-{state.seq:06d}.tar.gz"
        heads = await parts.journal.heads_for([case.stream])
        entries = await parts.journal.read(case.stream)
        manifest = Manifest(
            incident=case.id,
            playbook=state.playbook_digest,
            made_at=now(),
            made_by=parts.name,
            exhibits=tuple(Exhibit.model_validate(item) for item in exhibits),
            unavailable=tuple(Unavailable.model_validate(item) for item in missing),
            journal=bundle.tips(entries, heads),
            keys=tuple(sorted(parts.keys)),
        )
        envelope = bundle.sign(manifest, parts.signer.dsse())
        await asyncio.to_thread(_clear, out)
        await bundle.export(
            case.id,
            vault=parts.vault,
            journal_entries=entries,
            heads=heads,
            public_keys=tuple(parts.keys.values()),
            manifest=envelope,
            out=out,
        )
        digest = sha256(await asyncio.to_thread(Path(out).read_bytes))
        await case.record(
            Event(
                "sealed",
                {
                    "digest": digest,
                    "bundle": out.name,
                    "exhibits": len(exhibits),
                    "unavailable": len(missing),
                },
            )
        )
    except (LostClaim, Stopped):
        raise
    except SoarError as exc:
        await failed(case, todo, exc)
