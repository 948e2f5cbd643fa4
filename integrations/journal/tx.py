"""One transaction over the streams: what a unit may do inside it."""

import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import (
    Select,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from integrations.journal import also, queries, schema
from integrations.journal.batch import MOST_NAMES, MOVE_TIP, Batch, first_row
from integrations.journal.client import LostClaim, Tampered, UnknownSigner
from integrations.journal.insertions import Insertion, Insertions
from integrations.journal.records import Claim, Hold, Reservation, Stop, StreamInfo, Suppression
from integrations.journal.schema import clock, holds
from playbooks.errors import Refused
from playbooks.record.journal import (
    APART,
    BY_BODY,
    SWITCHES,
    SYSTEM,
    UNSIGNED,
    Entry,
    Event,
    Parsed,
)
from playbooks.strict import Json, canonical

_stream = schema.stream.c
_LONGEST_ID = 64
_inbox = schema.inbox.c
# Messages that are known by their bodies alone, once they may be told as news again; what the receiver's account could
# have put there is bounded here, and differs from what they are then known by.
_BY_BODY = _inbox.nonce.like(f"{BY_BODY}%") & (func.length(_inbox.id) <= _LONGEST_ID)
_FREED = bindparam("free", type_=Text) + _inbox.id
_MOVED = {
    "moved_at": clock(),
    "incident": bindparam("to", type_=Text),
    "nonce": case((_BY_BODY & bindparam("to", type_=Text).is_(None), _FREED), else_=_inbox.nonce),
}
_MOVE = update(schema.inbox).where(_inbox.id == bindparam("item"), _inbox.moved_at.is_(None)).values(**_MOVED)
_FREE = update(schema.inbox).where(_inbox.incident == bindparam("from"), _BY_BODY).values(nonce=_FREED)
_MOVE_ALL = (
    update(schema.inbox)
    .where(_inbox.id.in_(bindparam("items", expanding=True)), _inbox.moved_at.is_(None))
    .values(**_MOVED)
)
_BLANKABLE = (_inbox.kind.in_(["alert", "code"]), _inbox.moved_at.is_not(None), _inbox.body != b"")


def _free() -> str:
    return f"was:{secrets.token_hex(8)}:"


class Tx:
    """What a unit may do. It holds the journal's one lock: read, decide, write, and wait for nothing else.

    Args:
        batch: the transaction.
        insertions: of its database.
        alone: nobody else's unit is in it, so that all of it can be rolled back: that takes no savepoint.
    """

    def __init__(self, batch: Batch, insertions: Insertions, *, alone: bool = False) -> None:
        self._batch = batch
        self._insertions = insertions
        self._alone = alone
        self._savepoint = False
        self.spoilt = False
        """It wrote something that only the end of the whole transaction takes back."""

    async def _run(self, statement: Any, values: Any = None) -> Any:  # noqa: ANN401  # SQLAlchemy's own types say no more
        if not self._savepoint and not isinstance(statement, Select):
            await self._begin()
        return await self._batch.connection.execute(statement, values)

    async def _insert(self, insertion: Insertion, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  # likewise
        await self._begin()
        return await self._batch.connection.execute(insertion.compiled(values), values)

    async def _begin(self) -> None:
        # Only now: most units that raise have written nothing, and most that write nothing need none.
        self.spoilt = self._alone
        if not self._savepoint and not self._alone:
            await self._batch.connection.exec_driver_sql("SAVEPOINT unit")
            self._savepoint = True

    async def end(self) -> None:
        """Keep what the unit wrote."""
        if self._savepoint:
            await self._batch.connection.exec_driver_sql("RELEASE SAVEPOINT unit")

    async def undo(self) -> bool:
        """Take back what the unit wrote, and return whether the transaction is as it was before."""
        if self._savepoint:
            await self._batch.connection.exec_driver_sql("ROLLBACK TO SAVEPOINT unit")
            await self._batch.connection.exec_driver_sql("RELEASE SAVEPOINT unit")
        return self._savepoint

    async def clock(self) -> float:
        """Return the database's time."""
        return float((await self._run(select(clock()))).scalar_one())

    # Streams

    async def append(self, stream: str, events: Sequence[Event], claim: Claim | None = None) -> tuple[Entry, ...]:
        """Append to a stream; one that does not exist begins.

        Raises:
            LostClaim: if `claim` is no longer the stream's.
            Refused: if the stream is frozen.
        """
        await self._batch.load([stream])
        return self._batch.append(stream, events, claim)

    async def read(self, stream: str, after: int = 0) -> list[Entry]:
        """Return a stream's entries, with those of this transaction.

        Raises:
            Tampered: if they do not fit each other or the stream's tip, or no responder signed them.
        """
        stored = await queries.read(stream, after, self._batch.proof, self._batch.run)
        return stored + [e for e in self._batch.made(stream) if e.seq > after]

    async def tip(self, stream: str) -> int:
        """Return the number of a stream's last entry, those of this transaction included; 0 if it has none."""
        await self._batch.load([stream])
        return self._batch.tip(stream)

    async def entry(self, stream: str, seq: int) -> Parsed | None:
        """Return one entry by its place; the chain that it stands in is not verified here."""
        entry = schema.entry.c
        found = select(entry.stream, entry.seq, entry.data, entry.hash).where(entry.stream == stream, entry.seq == seq)
        row = (await self._run(found)).one_or_none()
        made = (item for item in self._batch.made(stream) if item.seq == seq)
        kept = Entry(*row) if row is not None else next(made, None)
        return kept.parsed() if kept is not None else None

    async def system(self, *kinds: str) -> list[Parsed]:
        """Return the system stream's entries of some kinds: an index over it, whose chain is not verified here."""
        return await self.of_kinds(SYSTEM, *kinds)

    async def of_kinds(self, stream: str, *kinds: str, after: int = 0) -> list[Parsed]:
        """Return a stream's entries of some kinds: an index over it, whose chain is not verified here.

        Args:
            stream: which.
            kinds: which.
            after: leave out those up to this one.
        """
        entry = schema.entry.c
        found = select(entry.stream, entry.seq, entry.data, entry.hash)
        found = found.where(entry.stream == stream, entry.kind.in_(kinds), entry.seq > after).order_by(entry.seq)
        stored = [Entry(*row).parsed() for row in await self._run(found)]
        made = (e.parsed() for e in self._batch.made(stream) if e.seq > after)
        return stored + [item for item in made if item.kind in kinds]

    async def resumes(self, number: int) -> list[Parsed]:
        """Return who asked that a stop ends, looked up by an index however long the stream is.

        Args:
            number: of the stop.

        Raises:
            Tampered: if one of them is not as a responder wrote it, or none signed it.
        """
        found = []
        for row in await self._batch.run(queries.RESUMES, {}):
            if isinstance(row.data, bytes) and (said := Entry(*row).parsed()).body.get("number") == number:
                # Two people's word ends a stop.
                await queries.prove(SYSTEM, row.seq, self._batch.proof, self._batch.run)
                found.append(said)
        made = (item.parsed() for item in self._batch.made(SYSTEM))
        found += [item for item in made if item.body.get("number") == number]
        return [item for item in found if item.kind == "resume_asked"]

    async def frozen(self, stream: str) -> str | None:
        """Return why a stream is frozen, None if it is not."""
        await self._batch.load([stream])
        return self._batch.frozen(stream)

    async def said(self, kind: str, text: str, *streams: str) -> bool:
        """Return whether an entry of a kind holds a text; an index over the streams too.

        Args:
            kind: of the entry.
            text: as its body has it.
            streams: where to look.
        """
        entry = schema.entry.c
        found = select(entry.seq).where(entry.stream.in_(streams), entry.kind == kind)
        return (await self._run(found.where(holds(entry.data, text.encode())).limit(1))).first() is not None

    async def open_stream(
        self, prefix: str, *, correlation: str | None, lane: str, owner: str, claim_seconds: float
    ) -> tuple[str, Claim]:
        """Open a stream under the year's next number, claimed at once by its opener.

        Args:
            prefix: as `incident/inc`, which gives `incident/inc-2026-000001`.
            correlation: a key that no other open stream may have.
            lane: which of a responder's lanes runs it.
            owner: who opens it.
            claim_seconds: how long the claim lasts.

        Raises:
            Refused: if an open stream has the correlation key.
        """
        time = self._batch.time
        numbers = f"{prefix}-{datetime.fromtimestamp(time, UTC).year}"
        name = f"{numbers}-{await self._next(numbers):06d}"
        until = time + claim_seconds
        row = {"name": name, "lane": lane, "owner": owner, "until": until, "correlation": correlation, "time": time}
        if (await self._insert(self._insertions.open_stream, row)).first() is None:
            raise Refused(f"another open stream has the correlation key {correlation}")
        self._batch.opened(name)
        return name, Claim(name, owner, 1, until)

    async def _next(self, name: str) -> int:
        return int((await self._insert(self._insertions.next, {"name": name})).scalar_one())

    async def find_open(self, correlation: str) -> str | None:
        """Return the open stream that has a correlation key; one that is frozen has none."""
        return (await self.find_all_open([correlation])).get(correlation)

    async def find_all_open(self, correlations: Collection[str]) -> dict[str, str]:
        """Return the open streams that have some correlation keys: key → stream; those that are frozen have none."""
        found: dict[str, str] = {}
        keys = sorted(correlations)
        for start in range(0, len(keys), MOST_NAMES):
            rows = await self._run(queries.FIND_ALL_OPEN, {"correlations": keys[start : start + MOST_NAMES]})
            found |= {key: also.whose(name) for key, name in rows.all()}
        await self._batch.load(found.values())
        for stream in sorted({name for name in found.values() if self._batch.frozen(name) is not None}):
            # An earlier release froze it with its keys.
            await self._give_up(stream)
        return {key: name for key, name in found.items() if self._batch.frozen(name) is None}

    async def _give_up(self, stream: str) -> None:
        """Let go of a stream's keys, so that another can open under them and finds what had them."""
        for key, name in (await self.keys_of(stream)).items():
            await self._change(name, correlation=also.given_up(also.kept(key), stream))

    async def keys_of(self, stream: str) -> dict[str, str]:
        """Return the correlation keys that an open stream is found under: key → the row that has it."""
        return {key: name for name, key in await self._run(also.KEYS_OF, also.bounds(stream))}

    async def rekey(self, stream: str, correlation: str) -> None:
        """Give a stream another key; it goes on being found under those that it had.

        Raises:
            Refused: if another open stream has that key.
        """
        before = await self.keys_of(stream)
        if correlation in before:
            return
        await self._unused(correlation)
        await self._change(stream, correlation=correlation)
        for key in (key for key, name in before.items() if name == stream):
            await self._answer_to(stream, key)

    async def hand_over(self, stream: str, to: str) -> None:
        """Have everything that meets under a stream's keys go to another stream from now on."""
        for key, name in (await self.keys_of(stream)).items():
            # A row keeps no key that is another's, or both would be the history of what opens under it later.
            await self._change(name, correlation=null(), **({} if name == stream else {"closed_at": clock()}))
            await self._answer_to(to, key)

    async def begin(self, prefix: str, correlation: str) -> str:
        """Begin a stream under the year's next number that is found by a key, and that no responder ever claims.

        Args:
            prefix: as `campaign/cam`, which gives `campaign/cam-2026-000001`.
            correlation: a key that no other open stream may have.

        Raises:
            Refused: if an open stream has the correlation key.
        """
        numbers = f"{prefix}-{datetime.fromtimestamp(self._batch.time, UTC).year}"
        name = f"{numbers}-{await self._next(numbers):06d}"
        await self._row(name, correlation)
        return name

    async def _row(self, name: str, key: str) -> None:
        await self._unused(key)
        await self._begin()
        row = {**first_row(name), "correlation": key}
        await self._run(insert(schema.stream).values(opened_at=clock(), **row))

    async def _answer_to(self, stream: str, key: str) -> None:
        name = f"{also.family(stream)}{await self._next(also.family(stream))}"
        await self._row(name, key)
        await self.append(name, [Event("answers_to", {"stream": stream, "key": key})])

    async def _unused(self, key: str) -> None:
        if other := await self.find_open(key):
            raise Refused(f"{other} is open under the correlation key {key}")

    async def open_below(self, prefix: str, limit: int) -> int:
        """Return how many open streams have a correlation key that begins so; `limit` stands for more too."""
        values = {"prefix": prefix, "end": prefix[:-1] + chr(ord(prefix[-1]) + 1), "most": limit}
        return int((await self._run(queries.OPEN_BELOW, values)).scalar_one())

    async def earlier(self, correlation: str) -> tuple[list[str], list[str]]:
        """Return the streams that gave up a correlation key, the last first: those that are frozen, those closed."""
        found = (await self._run(queries.EARLIER, {"correlation": correlation, **also.gave_up(correlation)})).all()
        rows = sorted(found, key=lambda row: (row.at, row.name), reverse=True)
        frozen, closed = ([also.whose(row.name) for row in rows if row.closed == which] for which in (0, 1))
        return list(dict.fromkeys(frozen)), list(dict.fromkeys(closed))

    async def closed(self, stream: str) -> bool:
        """Return whether a stream was closed; one that does not exist was not."""
        await self._batch.load([stream])
        return self._batch.closed(stream)

    async def stream(self, name: str) -> StreamInfo | None:
        """Return a stream's row."""
        found = (await self._run(queries.STREAM, {"stream": name})).one_or_none()
        return queries.info(found) if found is not None else None

    async def close_stream(self, name: str) -> None:
        """Free a stream's correlation keys, and its messages that had no id. It can still be read and appended to."""
        for further in (await self.keys_of(name)).values():
            if further != name:
                await self._change(further, closed_at=clock())
        await self._change(name, closed_at=clock(), runnable_at=null())
        await self._run(_FREE, {"from": name, "free": _free()})

    async def freeze(self, stream: str, reason: str) -> None:
        """Let nobody append to or claim a stream any more; what met under its keys meets elsewhere."""
        await self._change(stream, frozen=reason)
        await self._give_up(stream)

    async def set_apart(self, stream: str) -> int:
        """Move what nobody signed off the end of a stream, so that it can go on, and return how many entries.

        They are kept under another name, where `verify` finds them for ever.

        Raises:
            Tampered: if the last entry that is signed is not there either.
        """
        if await self._batch.signed(stream):
            return 0
        if isinstance(fault := self._batch.fault(stream), UnknownSigner):
            # It may be a responder's, and no more than unknown: nothing of it is moved.
            raise fault
        last = await self._batch.proof.latest(stream, self._batch.run)
        if last is None:
            raise Tampered(stream, 1, UNSIGNED)
        entry = schema.entry.c
        kept = select(entry.hash).where(entry.stream == stream, entry.seq == last.seq)
        if (await self._run(kept)).scalar_one_or_none() != last.hash:
            raise Tampered(stream, last.seq, "the last entry that a responder signed is gone")
        apart = f"{APART}{await self._next(APART)}/{stream}"
        moved = await self._run(
            update(schema.entry).where(entry.stream == stream, entry.seq > last.seq).values(stream=apart)
        )
        await self._run(MOVE_TIP, {"stream": stream, "tip": last.seq, "tip_hash": last.hash})
        self._batch.dropped(stream)
        return int(moved.rowcount)

    async def make_runnable(self, stream: str, at: float | None = None, lane: str | None = None) -> None:
        """Ask that a stream be claimed, now or at a time; the earlier of two asked for stays.

        Asked for while it is claimed, it runs again after the release.

        Args:
            stream: which.
            at: when, None for now.
            lane: where; None for where it is. It does not move a stream that is to run earlier than `at`.
        """
        time = literal(at) if at is not None else clock()
        sooner = or_(_stream.runnable_at.is_(None), _stream.runnable_at > time)
        changes: dict[str, Any] = {"runnable_at": case((sooner, time), else_=_stream.runnable_at)}
        if lane is not None:
            changes["lane"] = lane if at is None else case((sooner, literal(lane)), else_=_stream.lane)
        await self._change(stream, **changes)

    async def _change(self, name: str, **values: Any) -> None:  # noqa: ANN401  # columns and SQL
        await self._begin()
        await self._batch.ensure(name)
        changed = await self._run(update(schema.stream).where(_stream.name == name).values(**values))
        if changed.rowcount != 1:
            raise Refused(f"there is no stream {name}")
        self._batch.forget(name)

    # Claims

    async def claim(self, owner: str, found: Select[Any], *, seconds: float) -> list[Claim]:
        """Claim the streams that a statement of `queries.claimable` finds, as `Journal.claim` does."""
        names = (await self._run(found.with_for_update(skip_locked=True))).scalars().all()
        claims = []
        for name in names:
            taken = (
                update(schema.stream)
                .where(_stream.name == name)
                .values(owner=owner, fence=_stream.fence + 1, claimed_until=clock() + seconds, runnable_at=null())
                .returning(_stream.fence, _stream.claimed_until)
            )
            fence, until = (await self._run(taken)).one()
            claims.append(Claim(name, owner, fence, until))
            self._batch.forget(name)
        return claims

    async def renew(self, claim: Claim, seconds: float) -> Claim:
        """Let a claim last `seconds` from now.

        Raises:
            LostClaim: if it ran out, or another has it.
        """
        longer = (
            update(schema.stream)
            .where(*_held(claim), _stream.claimed_until > clock())
            .values(claimed_until=clock() + seconds)
            .returning(_stream.claimed_until)
        )
        until = (await self._run(longer)).scalar_one_or_none()
        if until is None:
            raise LostClaim(f"{claim.owner} no longer has the claim on {claim.stream}")
        self._batch.forget(claim.stream)
        return claim._replace(until=until)

    async def release(self, claim: Claim, *, runnable_at: datetime | float | None, lane: str | None = None) -> bool:
        """Give a claim back, and say when the stream is to run next.

        What others asked for meanwhile counts too: of the two times the earlier one, with its lane.

        Args:
            claim: which; one that is lost changes nothing.
            runnable_at: when it runs next, None for when somebody asks.
            lane: where; None for where it was.

        Returns:
            Whether it was still ours.
        """
        at = runnable_at.timestamp() if isinstance(runnable_at, datetime) else runnable_at
        changes: dict[str, Any] = {"owner": null(), "claimed_until": null()}
        if at is not None:
            sooner = or_(_stream.runnable_at.is_(None), _stream.runnable_at > at)
            changes["runnable_at"] = case((sooner, literal(at)), else_=_stream.runnable_at)
            if lane is not None:
                changes["lane"] = case((sooner, literal(lane)), else_=_stream.lane)
        elif lane is not None:
            changes["lane"] = case((_stream.runnable_at.is_(None), literal(lane)), else_=_stream.lane)
        released = await self._run(update(schema.stream).where(*_held(claim)).values(**changes))
        self._batch.forget(claim.stream)
        return bool(released.rowcount)

    async def give_up(self, owner: str, streams: Collection[str]) -> int:
        """Give back the claims of one who is known to be dead, so that what they had in hand runs at once.

        Args:
            owner: who is dead.
            streams: those whose claims nothing of theirs can outlive.

        Returns:
            How many were still theirs.
        """
        given = 0
        for name in streams:
            theirs = update(schema.stream).where(_stream.name == name, _stream.owner == owner)
            sooner = or_(_stream.runnable_at.is_(None), _stream.runnable_at > clock())
            at = case((sooner, clock()), else_=_stream.runnable_at)
            given += (await self._run(theirs.values(owner=null(), claimed_until=null(), runnable_at=at))).rowcount
            self._batch.forget(name)
        return given

    # Inbox

    async def move(self, item: str, incident: str | None) -> None:
        """Mark an inbox entry as moved.

        Args:
            item: its id.
            incident: the stream that has it now, None if none needs it: then the same body may come again.

        Raises:
            Refused: if it was moved before, or does not exist.
        """
        if (await self._run(_MOVE, {"item": item, "to": incident, "free": _free()})).rowcount != 1:
            raise Refused(f"the inbox entry {item} was moved before")

    async def move_all(self, items: Collection[str], incident: str | None) -> None:
        """Mark inbox entries as moved to one place; see `move`.

        Raises:
            Refused: if one of them was moved before, or does not exist.
        """
        names = sorted(items)
        for start in range(0, len(names), MOST_NAMES):
            some = names[start : start + MOST_NAMES]
            if (await self._run(_MOVE_ALL, {"items": some, "to": incident, "free": _free()})).rowcount != len(some):
                raise Refused("some of these inbox entries were moved before")

    async def messages_of(self, incident: str, after: float | None = None, until: float | None = None) -> list[str]:
        """Return the ids of the alerts that a stream was given, whose raw bytes are still there.

        Args:
            incident: the stream.
            after: only those given after this moment, in seconds since 1970.
            until: only those given up to this moment.
        """
        found = select(_inbox.id).where(_inbox.incident == incident, *_BLANKABLE).order_by(_inbox.id)
        if after is not None:
            found = found.where(_inbox.moved_at > after)
        if until is not None:
            found = found.where(_inbox.moved_at <= until)
        return list((await self._run(found)).scalars().all())

    async def unowned(self, before: float, limit: int) -> list[str]:
        """Return the ids of the oldest alerts that no incident needed and whose raw bytes are still there.

        Args:
            before: seconds since 1970; those that came later are left out.
            limit: how many.
        """
        owned = _inbox.incident.like("incident/%")
        found = select(_inbox.id).where(
            or_(_inbox.incident.is_(None), ~owned), _inbox.received_at < before, *_BLANKABLE
        )
        return list((await self._run(found.order_by(_inbox.received_at, _inbox.id).limit(limit))).scalars().all())

    async def blank(self, items: Sequence[str]) -> int:
        """Forget the raw bytes and headers of inbox entries, and return of how many; digest and nonce stay.

        Only of alerts that were moved: a person's signed request is their word, and stays.
        """
        count = 0
        for start in range(0, len(items), MOST_NAMES):
            await self._begin()
            some = _inbox.id.in_(items[start : start + MOST_NAMES])
            emptied = update(schema.inbox).where(some, *_BLANKABLE).values(body=b"", headers=b"{}")
            count += (await self._run(emptied)).rowcount
        return count

    # Holds and reservations

    async def hold(self, grip: str, *, incident: str, lease: str, server: str, before: Json, after: Json) -> Json:
        """Take a hold, and return what the first hold on this grip found there.

        Taken again by the same lease, it keeps what it found the first time.
        """
        row = {
            "grip": grip,
            "incident": incident,
            "lease": lease,
            "server": server,
            "before": canonical(before),
            "after": canonical(after),
            "there": grip,
            "found": canonical(before),
        }
        original = (await self._insert(self._insertions.hold, row)).scalar_one()
        return json.loads(original)  # type: ignore[no-any-return]

    async def holds(self, grip: str | None = None, incident: str | None = None, lease: str | None = None) -> list[Hold]:
        """Return the holds in force, the first taken first."""
        return [queries.a_hold(row) for row in await self._run(queries.holds(grip, incident, lease))]

    async def drop_hold(self, grip: str, incident: str, lease: str) -> int:
        """Let a hold go, and return how many are left on its grip."""
        hold = schema.hold.c
        await self._run(delete(schema.hold).where(hold.grip == grip, hold.incident == incident, hold.lease == lease))
        left = select(func.count()).select_from(schema.hold).where(hold.grip == grip)
        return int((await self._run(left)).scalar_one())

    async def reserve(self, incident: str, step: str, target: str, *, server: str, radius: int) -> None:
        """Reserve blast radius; the same again changes nothing."""
        row = {"incident": incident, "step": step, "target": target, "server": server, "radius": radius}
        await self._insert(self._insertions.reserve, row)

    async def unreserve(self, incident: str, step: str | None = None) -> None:
        """Give back what an incident, or one of its steps, had reserved."""
        mine = delete(schema.reservation).where(schema.reservation.c.incident == incident)
        await self._run(mine if step is None else mine.where(schema.reservation.c.step == step))

    async def reserved(self) -> list[Reservation]:
        """Return all that is reserved."""
        return [Reservation(*row) for row in await self._run(queries.RESERVED)]

    async def use_once(self, kind: str, nonce: str) -> None:
        """Use something up.

        Raises:
            Refused: if it was used before.
        """
        # A row comes back only from an insert that happened.
        if (await self._insert(self._insertions.use, {"kind": kind, "nonce": nonce})).first() is None:
            raise Refused(f"the {kind} {nonce} was used before")

    # Stops, suppressions and watches

    async def next(self, name: str) -> int:
        """Return a number that nothing else of this name ever has."""
        return await self._next(name)

    async def stop(self, scope: str, reason: str, by: str) -> Stop:
        """Turn a kill switch on; one that is on gets the new reason and a new number."""
        stop = Stop(scope, reason, by, await self.clock(), await self._next("stop"))
        await self._switch([*(one for one in await self.stops() if one.scope != scope), stop])
        return stop

    async def unstop(self, scope: str) -> bool:
        """Turn a kill switch off, and return whether it was on."""
        on = await self.stops()
        left = [one for one in on if one.scope != scope]
        if len(left) < len(on):
            await self._switch(left)
        return len(left) < len(on)

    async def _switch(self, on: Sequence[Stop]) -> None:
        await self.append(SWITCHES, [Event("switched", {"on": [one._asdict() for one in on]})])

    async def stops(self) -> list[Stop]:
        """Return the kill switches that are on.

        Raises:
            Tampered: if they are not as responders wrote them.
        """
        if self._batch.made(SWITCHES):
            return queries.switched(await self.read(SWITCHES))
        return await queries.stops(self._batch.proof, self._batch.run, partial(self.read, SWITCHES))

    async def suppress(self, suppression: Suppression) -> None:
        """Keep alerts from opening incidents; one of the same scope gives way."""
        await self.unsuppress(suppression.scope)
        await self._run(insert(schema.suppression), suppression._asdict())

    async def unsuppress(self, scope: str) -> bool:
        """End a suppression, and return whether there was one."""
        gone = await self._run(delete(schema.suppression).where(schema.suppression.c.scope == scope))
        return bool(gone.rowcount)

    async def suppressions(self) -> list[Suppression]:
        """Return all suppressions; those whose time is over count for nothing."""
        return [Suppression(*row) for row in await self._run(queries.SUPPRESSIONS)]

    async def hide(self, scope: str, count: int = 1) -> None:
        """Count alerts that a suppression set aside."""
        row = schema.suppression.c
        await self._run(update(schema.suppression).where(row.scope == scope).values(hidden=row.hidden + count))

    async def set_watch(
        self,
        lease: str,
        incident: str,
        verdict: str,
        *,
        system: str = "",
        severity: int = 0,
        took: float | None = None,
    ) -> None:
        """Keep the latest check of a lease; see `Watch`."""
        asked = {"lease": lease, "incident": incident, "verdict": verdict}
        await self._insert(self._insertions.watch, {**asked, "system": system, "severity": severity, "took": took})

    async def seen(self, lease: str) -> None:
        """Keep that a lease was just seen as it was; nothing was asked as a client."""
        row = schema.watch
        await self._run(update(row).where(row.c.lease == lease).values(seen_at=clock()))

    async def drop_watch(self, lease: str) -> None:
        """Forget the checks of a lease that ended."""
        await self._run(delete(schema.watch).where(schema.watch.c.lease == lease))

    # Responders

    async def present(self, name: str, address: str) -> None:
        """Say where a responder can be poked."""
        await self._insert(self._insertions.present, {"name": name, "address": address})

    async def absent(self, name: str, older: float | None = None) -> None:
        """Forget a responder, and those not seen for `older` seconds."""
        gone = schema.responder.c.name == name
        if older is not None:
            gone = or_(gone, schema.responder.c.seen_at < clock() - older)
        await self._run(delete(schema.responder).where(gone))


def _held(claim: Claim) -> tuple[Any, ...]:
    return _stream.name == claim.stream, _stream.fence == claim.fence, _stream.owner == claim.owner
