"""Making exhibits: the alert as it came, those that said the same, and what captures collect."""

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import NamedTuple

from flows.engine.calls import build, listened, unknown, within
from flows.engine.case import Case, Stopped
from flows.engine.deciding import unneeded
from flows.engine.effects import failed
from flows.engine.schedule import Todo
from integrations.hostile import printable
from integrations.journal.records import InboxItem, Told
from integrations.journal.store import LostClaim
from integrations.vault import Damaged, Draft, Taken, TooLarge, VaultFull
from playbooks.action import Capture, Check
from playbooks.errors import Misconfigured, Refused, SoarError, Transient, Unneeded
from playbooks.estate.inventory import Resolved
from playbooks.record.evidence import Authority, Exhibit, Method, Unavailable, exhibit_id, sealed, unavailable
from playbooks.record.incident import EntityKind
from playbooks.record.journal import Event
from playbooks.record.step import RAW_ALERT, RAW_ALERTS, Progress
from playbooks.strict import Json, canonical, iso, now, sha256

LOG = logging.getLogger("mcp_soar.engine")

TOOL = f"mcp-soar@{version('mcp-soar')}"
ALERTS = 100
MANY = 5000
COUNTS = 8000
ANOTHER = 10_000
"""How far another number is from one that is taken by what an older release sealed."""
CAPTURE_ATTEMPTS = 3
"""How often a capture is tried before its exhibit is recorded as unavailable."""
_PORTION = 1 << 20
"""Bytes of messages that are read at once."""
_AT_ONCE = 200
"""Messages that are read at once."""
_MOST_TAKEN = 50
"""Places that are looked at for one exhibit."""
_MOST_REPEATS = 1_000_000
"""More than are counted together."""
_SEALING = 10.0
"""Seconds that a claim has to last when an exhibit is sealed under it."""
COLLECT_AGAIN = (60.0, 120.0, 300.0, 900.0, 3600.0)
"""Seconds after which what could not be had is tried again; the last ones for as long as the incident is open."""


async def capture(case: Case, todo: Todo) -> None:
    """Collect one exhibit, or record that it cannot be had and why."""
    try:
        maker: Capture = build(case, todo.name, todo.params)
        params: dict[str, Json] = todo.params.of(type(maker))
        if (place := await _place(case, todo, maker.exhibit, params)) is None:
            return
        broke: SoarError | None = None
        async with _draft(case, todo, place, maker.exhibit, capture=todo.name, params=params) as making:
            try:
                await listened(maker, case.parts.world, making.draft, f"collecting {todo.name}")
            except VaultFull:
                # Somebody else's evidence needs the room more than half of this does.
                raise
            except SoarError as exc:
                if place.broken or not making.draft.size:
                    raise
                broke = exc
            exhibit = await making.seal(interrupted=broke is not None)
        await _sealed(case, todo, exhibit, broke)
    except (LostClaim, Stopped):
        raise
    except Unneeded as exc:
        await unneeded(case, todo, exc)
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


@contextlib.asynccontextmanager
async def _had(case: Case, todo: Todo, kind: str) -> AsyncIterator[None]:
    """Have what could not be had tried again, or recorded as unavailable with its reason.

    Args:
        case: the incident.
        todo: the step that collects it.
        kind: of the exhibit.
    """
    try:
        yield
    except (LostClaim, Stopped):
        raise
    except Transient as exc:
        await failed(case, todo, exc)
    except SoarError as exc:
        await _missing(case, todo, kind, exc)


async def raw(case: Case, todo: Todo) -> None:
    """Keep one alert as it came: exhibit 0 and those of its kind."""
    async with _had(case, todo, RAW_ALERT):
        if (place := await _place(case, todo, RAW_ALERT, {"receipt": todo.name})) is None:
            return
        item = await case.parts.journal.message(todo.name)
        if item is None:
            raise Misconfigured(f"the inbox has no entry {todo.name} any more")
        if sha256(item.body) != item.digest:
            raise Damaged(f"the inbox entry {item.id} is not what the receiver put there")
        params: dict[str, Json] = {"receipt": todo.name, "source": item.source}
        headers = "".join(f"{name}: {value}\n" for name, value in sorted(item.headers.items())).encode()
        origin = f"inbox {item.id}"
        async with _draft(case, todo, place, RAW_ALERT, capture="receiver", params=params) as making:
            await making.draft.add("alert.bin", item.body, media_type="application/octet-stream", origin=origin)
            origin += ", without those that authenticate"
            await making.draft.add("headers.txt", headers, media_type="text/plain", origin=origin)
            exhibit = await making.seal()
        await _sealed(case, todo, exhibit)


async def repeats(case: Case, todo: Todo) -> None:
    """Keep the messages of one count as they came, together: those that said what the incident had already."""
    async with _had(case, todo, RAW_ALERTS):
        counted = next(one for one in case.state.counted if str(one.number) == todo.name)
        about: dict[str, Json] = {"after": counted.after, "until": counted.until}
        if (place := await _place(case, todo, RAW_ALERTS, about)) is None:
            return
        own = {alert.receipt for alert in case.state.alerts}
        told = await case.parts.journal.told(case.stream, counted.after, counted.until, limit=_MOST_REPEATS)
        wanted = [one for one in told if one.receipt not in own]
        params: dict[str, Json] = {**about, "messages": len(wanted)}
        origin = f"{len(wanted)} entries of the inbox, each with its body as base64 and without what authenticates"
        async with _draft(case, todo, place, RAW_ALERTS, capture="receiver", params=params) as making:
            kind = "application/x-ndjson"
            async with making.draft.file("alerts.ndjson", media_type=kind, origin=origin) as file:
                for some in _portions(wanted):
                    items = await case.parts.journal.messages([one.receipt for one in some])
                    await file.write(await asyncio.to_thread(_lines, items))
            exhibit = await making.seal()
        await _sealed(case, todo, exhibit)


def _portions(wanted: Sequence[Told]) -> Iterator[list[Told]]:
    """Yield messages in portions of a few MiB: of a flood there is more than anybody holds."""
    some: list[Told] = []
    size = 0
    for one in wanted:
        if some and (size + one.size > _PORTION or len(some) >= _AT_ONCE):
            yield some
            some, size = [], 0
        some.append(one)
        size += one.size
    if some:
        yield some


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
    # Of several places of one thing each has a number of its own.
    systems = sorted(case.parts.world.inventory.systems) if todo.system else []
    beside = ANOTHER * systems.index(todo.system) if todo.system in systems else 0
    return beside + ALERTS + places.index(todo.entity) * len(steps) + steps.index(todo.instance.partition("@")[0])


class _Place(NamedTuple):
    """Where a step's exhibit goes.

    Args:
        number: the exhibit's.
        broken: whether one that breaks off is kept already, so that no second one is.
    """

    number: int
    broken: bool


async def _place(case: Case, todo: Todo, kind: str, about: Mapping[str, Json]) -> _Place | None:
    """Return where a step's exhibit goes; record one that a process sealed and died before it said so.

    What is sealed there counts only if it is this step's, about this very thing: an older release numbered otherwise.
    And only if it is whole: a record is what somebody says who may write there. What is not is passed over and said.

    Args:
        case: the incident.
        todo: the step.
        kind: of exhibit.
        about: those of the exhibit's parameters that tell what it is about.

    Returns:
        None if it is sealed, and on record now.
    """
    number, broken = number_of(case, todo), False
    known = {item["id"] for item in case.state.exhibits}
    for _ in range(_MOST_TAKEN):
        name = exhibit_id(number, kind)
        try:
            found = await case.parts.vault.find(case.id, name)
            if found is None:
                return _Place(number, broken)
            own = _made_by(found, todo, about)
            if own and not (found.incomplete and found.id in known):
                found = await case.parts.vault.whole(case.id, name) or found
                await _sealed(case, todo, found)
                return None
            broken = broken or own
        except Damaged as exc:
            LOG.warning(
                "%s of %s is not taken for evidence, which goes elsewhere: %s", name, case.id, printable(str(exc))
            )
        number += ANOTHER
    raise Refused(
        f"{_MOST_TAKEN} places for {kind} in {case.id} are taken by what is none of ours: look into the vault"
    )


def _made_by(found: Exhibit, todo: Todo, about: Mapping[str, Json]) -> bool:
    params = found.how.params
    same = all(canonical(params.get(name)) == canonical(value) for name, value in about.items())
    return found.authority.step == todo.instance.partition("@")[0] and same


class _Making(NamedTuple):
    """An exhibit that is being made.

    Args:
        draft: what is written into.
        seal: what stores it for good, under this step's authority.
    """

    draft: Draft
    seal: Callable[..., Awaitable[Exhibit]]


@contextlib.asynccontextmanager
async def _draft(
    case: Case, todo: Todo, place: _Place, kind: str, *, capture: str, params: dict[str, Json]
) -> AsyncIterator[_Making]:
    begun, name = now(), exhibit_id(place.number, kind)
    async with case.parts.vault.draft(case.id, place.number, kind) as draft:

        async def seal(*, interrupted: bool = False) -> Exhibit:
            # Whoever lost the claim seals nothing: his successor is at work on the same exhibit.
            await case.outlast(_SEALING)
            try:
                return await draft.seal(
                    collected_at=begun,
                    collected_by=case.parts.name,
                    authority=Authority(
                        step=todo.instance.partition("@")[0], actor=case.state.requested_by or "mcp-soar"
                    ),
                    how=Method(tool=TOOL, capture=capture, params=params),
                    interrupted=interrupted,
                )
            except Taken:
                # By one that lost it while he sealed: it is evidence of the same, from the same moment, and stays.
                try:
                    found = await case.parts.vault.whole(case.id, name)
                except Damaged as exc:
                    # The next attempt goes elsewhere.
                    raise Transient(f"what is sealed as {name} of {case.id} is no evidence: {exc}") from exc
                if found is None or not _made_by(found, todo, params):
                    raise
                return found

        yield _Making(draft, seal)


async def _sealed(case: Case, todo: Todo, exhibit: Exhibit, broke: SoarError | None = None) -> None:
    """Record an exhibit; one that breaks off is kept and still to be had."""
    events = [Event("exhibit", {"instance": todo.instance, "phase": todo.phase.value, **sealed(exhibit)})]
    if exhibit.incomplete:
        reason = f"{exhibit.id}: {exhibit.incomplete}" + (f": {_reason(broke)}" if broke else "")
        # What is too large will not be smaller the next time.
        again = None if isinstance(broke, TooLarge) else COLLECT_AGAIN[0]
        events.append(_unavailable(todo, exhibit.kind, reason[:2000], again=again))
    await case.record(*events)


async def _missing(case: Case, todo: Todo, kind: str, exc: SoarError, *, again: float | None = None) -> None:
    await case.record(_unavailable(todo, kind, _reason(exc), again=again))


def _unavailable(todo: Todo, kind: str, reason: str, *, again: float | None) -> Event:
    missing = Unavailable(kind=kind, reason=reason, recorded_by=todo.instance[:200], at=now())
    retry_at = iso(now() + timedelta(seconds=again)) if again is not None else None
    body = {"instance": todo.instance, "phase": todo.phase.value, "retry_at": retry_at, **unavailable(missing)}
    return Event("unavailable", body)


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
