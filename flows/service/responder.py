"""The responder: the only part that acts. It claims runnable incidents, cuts, and hands what is left to a flow.

It does all of it, or only a share: of two processes on a machine one cuts, watches and tells, and the other runs the
flows. What collects evidence, seals and reports is long work of the processor; no cut waits for it then.

Any number of responders on any machines share one journal. Each is one process with one event loop; nothing here
blocks it. Cuts of all incidents come before any flow, and never wait for a flow's slot.
"""

import asyncio
import contextlib
import heapq
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from flows.engine import flood, schedule
from flows.engine.alerts import look_ahead
from flows.engine.case import PREFIX, Case
from flows.engine.intake import MANY, intake
from flows.engine.opening import CUT, FLOW, RETRY, TELL, WATCH, Opened
from flows.engine.parts import Parts
from flows.engine.people.telling import freeze, page, tell
from flows.engine.response import check_steps, due, more, respond, stopped
from integrations.journal.store import Claim, LostClaim, Tampered, Tx, UnknownSigner
from playbooks.errors import Refused, SoarError, Transient
from playbooks.record.incident import Phase
from playbooks.record.journal import ITSELF, SYSTEM, Event
from playbooks.strict import iso, now
from playbooks.text.redaction import redacted

LOG = logging.getLogger("mcp_soar.responder")

FlowStarter = Callable[[Parts, Claim], Awaitable[Case]]
"""Runs the rest of an incident, and returns how it stands."""

SWEEP = 1.0
"""Seconds between two looks at the queue when nobody pokes."""

WATCHES = 8
"""Incidents whose leases are looked at side by side. How much they ask is paced by each system's own share, so that one
that is slow or silent keeps none of the others waiting."""

TELLS = 8
"""Incidents that people are told of side by side; it costs the gateway nothing, and a hanging channel holds up one."""

SILENCE = 10.0
"""Seconds for which cuts in hand keep people from being told: telling takes the same processor."""

DRAIN = 4.0
"""Seconds that incidents in hand get to end by themselves when the responder stops."""

UNATTENDED = 60.0
"""Seconds after which people are told that nobody does what comes after the cuts."""

_NAMED = 5

_EARLY = 0.01
"""Share of the time between two looks by which one may come early: two clocks tell when it is due."""

GIVES_WAY = 30.0
"""Seconds for which cuts in hand of another process keep a flow from being started: both ask the same gateways."""

HEAD_START = 0.1
"""Seconds that what was just begun gets before the next look, which takes the same processor and the same database: as
many as its first effect takes."""

REST = 0.03
"""Seconds at most that pass between a look which opened nothing and the next while something is being cut: as many as
it took. What is being cut shares its loop, its processor and its database."""

SOME = 20
"""Entries of each kind that a look takes in while something is being cut; the longer it is, the longer that waits."""

AT_ONCE = 200
"""Incidents that are cut side by side; what really limits is each gateway's connection pool."""


async def direct_flow(parts: Parts, claim: Claim) -> Case:
    """Run the rest of an incident."""
    return await respond(parts, claim, until=Phase.REVIEW)


class Responder:
    """One responder.

    Args:
        parts: what the engine works with.
        flow: runs what comes after the cuts.
        flows: how many flows at a time; none leaves them to another process.
        cuts: whether it takes in what arrives, cuts, watches and tells; otherwise it runs flows and nothing else.
        reload: returns other parts when a configuration file changed, None while it has not.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        flow: FlowStarter = direct_flow,
        flows: int = 2,
        cuts: bool = True,
        reload: Callable[[], Parts | None] | None = None,
    ) -> None:
        check_steps(parts)
        self.parts = parts
        if cuts:
            parts.journal.tell_ahead(lambda items: look_ahead(self.parts, items))
        self._flow = flow
        self._flows = flows
        self._cuts = cuts
        self._reload = reload
        self._cutting: set[asyncio.Task[None]] = set()
        self._watching: set[asyncio.Task[None]] = set()
        self._flowing: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._idle_at = time.monotonic()
        self._due: list[float] = []
        self._looks: dict[str, float] = {}
        """When each incident's leases are looked at again, by the monotonic clock."""
        self._poked = asyncio.Event()
        self._gave_way = False
        self._rest = 0.0
        self._attended_until = 0.0
        self._left: dict[str, float] = {}
        """Incidents that wait for a flow of another process, since when."""
        self._stops: list[str] = []

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then finish the step in hand and give the claims back."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                try:
                    async with self.parts.journal.listen() as wait:
                        await self._serve(wait, stop, stopping)
                except Transient as exc:
                    LOG.warning("the journal does not answer, trying again: %s", exc)
                    await asyncio.wait({stopping}, timeout=SWEEP)
        finally:
            stopping.cancel()
            await self._finish()

    async def _serve(
        self, wait: Callable[[float], Awaitable[bool]], stop: asyncio.Event, stopping: "asyncio.Task[bool]"
    ) -> None:
        while not stop.is_set():
            await self.sweep()
            # Whoever cuts nothing leaves the processor to who does: what is new is cut first of all.
            if pause := HEAD_START if self._gave_way or not self._cuts else self._rest:
                await asyncio.wait({stopping}, timeout=pause)
            waiting = asyncio.ensure_future(wait(self._patience()))
            poked = asyncio.create_task(self._poked.wait())
            await asyncio.wait({waiting, stopping, poked}, return_when=asyncio.FIRST_COMPLETED)
            self._poked.clear()
            poked.cancel()
            if not waiting.done():
                waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting

    def _patience(self) -> float:
        moment = time.time()
        while self._due and self._due[0] <= moment:
            heapq.heappop(self._due)
            return 0.0
        return min(SWEEP, self._due[0] - moment) if self._due else SWEEP

    async def sweep(self) -> None:
        """Take in what waits in the inbox, then start everything that can run."""
        if self._reload is not None and (parts := self._reload()) is not None:
            self.parts = parts
            await parts.reviews.take(parts.journal, parts.world.inventory, parts.policy, parts.people)
        if self._cuts:
            await self._take_in()
        if self._gave_way:
            return
        await self._start_flowing()
        await self._look_at_switches()

    async def _take_in(self) -> None:
        """Take in what waits and begin with it; what is begun goes before all else, but not twice in a row."""
        began = time.monotonic()
        taken = await intake(
            self.parts,
            SOME if self._cutting else MANY,
            begin=lambda opened: self._start(self._cutting, self._cut(opened.claim, opened)),
            brief=not self._gave_way,
        )
        if taken.more:
            self._poked.set()
        self._rest = min(time.monotonic() - began, REST) if self._cutting and taken.more and not taken else 0.0
        self._gave_way = bool(taken) and not self._gave_way
        if self._gave_way:
            return
        due = await self.parts.journal.due((CUT, RETRY, WATCH, FLOW, TELL))
        await self._start_cutting(due)
        # The watch over what is in force gives way to what is not in force yet.
        watches = (1 if self._cutting else WATCHES) - len(self._watching)
        if WATCH in due and watches > 0:
            for claim in await self._claim(WATCH, watches):
                self._start(self._watching, self._cut(claim, None))
        await self._watch_for_others(due)
        await self._start_telling(due)

    async def _watch_for_others(self, due: Collection[str]) -> None:
        """Watch over what waits for a flow of another process, however long that takes."""
        if self._flows or (room := WATCHES - len(self._watching)) <= 0:
            return
        every, moment = self.parts.world.inventory.watch_every, time.monotonic()
        if moment >= self._attended_until:
            self._attended_until = moment + UNATTENDED / 4
            if waiting := await self.parts.journal.unattended(FLOW, UNATTENDED, but=self.parts.name):
                await self._tell_unattended([name.removeprefix(PREFIX) for name in waiting])
        recent = [name for name in self._left if moment < self._looks.get(name, 0.0)]
        overdue, but = every * schedule.LOOKS, [PREFIX + name for name in recent]
        claims = await self._claim(FLOW, room, overdue=overdue, but=but) if FLOW in due else []
        for claim in claims:
            self._start(self._watching, self._cut(claim, None, left=True))
        if len(claims) < room:
            # What is due and not there any more has found its flow.
            found = {claim.stream.removeprefix(PREFIX) for claim in claims}
            self._left = {name: at for name, at in self._left.items() if name in found or name in recent}

    async def _tell_unattended(self, waiting: Sequence[str]) -> None:
        left = len(waiting) - _NAMED
        named = ", ".join(waiting[:_NAMED]) + (f" and {left} more" if left > 0 else "")
        text = (
            f"Nothing collects evidence, seals or shows incidents: {named} waits for the process `flows` of "
            f"`mcp-soar up`, which does not work (its log: state/logs/flows.log). "
            f"What is contained is watched, and what is new is cut."
        )
        notice = f"flows:{iso(now())[:13]}"

        async def unit(tx: Tx) -> bool:
            try:
                await tx.use_once("page", notice)
            except Refused:
                return False  # once an hour
            await page(tx, ITSELF, Event("page", {"id": notice, "notice": notice, "text": text}))
            return True

        with contextlib.suppress(SoarError):
            if await self.parts.journal.submit(unit):
                LOG.error("%s", text)

    async def _start_cutting(self, due: Collection[str]) -> None:
        for lane in (CUT, RETRY):
            if lane in due and (room := AT_ONCE - len(self._cutting)) > 0:
                for claim in await self._claim(lane, room):
                    self._start(self._cutting, self._cut(claim, None))

    async def _start_flowing(self) -> None:
        # A flow never takes the place of a cut: its claims are asked for only when no cut is waiting.
        if self._flows <= len(self._flowing) or await self._others_cut():
            return
        for lane in (FLOW, RETRY):
            if not self._cutting and (slots := self._flows - len(self._flowing)) > 0:
                for claim in await self._claim(lane, slots, early=lane == RETRY):
                    self._start(self._flowing, self._go_on(claim))

    async def _others_cut(self) -> bool:
        """Whether flows give way to what another process cuts: not for ever, since a gateway may hang for long."""
        moment = time.monotonic()
        if self._cuts or not await self.parts.journal.in_hand(CUT):
            self._idle_at = moment
            return False
        return moment - self._idle_at < GIVES_WAY

    async def _look_at_switches(self) -> None:
        """See that the kill switches can be read; while they cannot, they count as on for everything."""
        try:
            on = [f"{stop.scope} by {stop.by}: {stop.reason}" for stop in await self.parts.journal.stops()]
        except Tampered as exc:
            await self._freeze(exc)
            return
        except UnknownSigner as exc:
            on = [f"everything, as far as anybody knows: {exc}"]
        if on != self._stops:
            # Said when it changes: it is asked every second.
            for line in on or ["nothing any more"]:
                LOG.warning("stopped: %s", line)
            self._stops = on

    async def _start_telling(self, due: Collection[str]) -> None:
        # Telling people gives way to what is not in force yet, but not for ever: a gateway may hang for long.
        moment = time.monotonic()
        if not self._cutting:
            self._idle_at = moment
        most = TELLS if not self._cutting else 1 if moment - self._idle_at > SILENCE else 0
        if TELL in due and (room := most - len(self._telling)) > 0:
            for claim in await self._claim(TELL, room):
                self._start(self._telling, self._tell(claim))

    async def _claim(
        self, lane: str, limit: int, *, early: bool = False, overdue: float = 0.0, but: Sequence[str] = ()
    ) -> list[Claim]:
        return await self.parts.journal.claim(
            self.parts.name,
            lane=lane,
            limit=limit,
            seconds=self.parts.timing.claim,
            early=early,
            overdue=overdue,
            but=but,
        )

    def _start(self, group: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)
        # What comes next may depend on what just ended: a flow's slot, the last cut.
        task.add_done_callback(lambda _: self._poked.set())

    async def _cut(self, claim: Claim, opened: Opened | None, *, left: bool = False) -> None:
        if not left:
            self._left.pop(claim.stream.removeprefix(PREFIX), None)

        async def work() -> Case:
            parts = self.parts
            case = Case(parts, claim, opened.state) if opened else await Case.take(parts, claim)
            if opened is None:
                await flood.count(case)
            halted = opened.halted if opened else None
            watching = self._watch_due(case)
            case = await respond(parts, claim, until=Phase.CUT, case=case, watching=watching, halted=halted)
            if case.asks_at is not None:
                self._looks[case.id] = min(self._looks.get(case.id, case.asks_at), case.asks_at)
            return case

        await self._held(claim, work)

    async def _go_on(self, claim: Claim) -> None:
        await self._held(claim, lambda: self._flow(self.parts, claim))

    async def _tell(self, claim: Claim) -> None:
        """Tell people of one incident, and give the claim back with the time at which somebody else has to be told."""
        journal = self.parts.journal
        try:
            at = await tell(self.parts, claim)
            await journal.release(claim, runnable_at=at, lane=TELL)
            if at is not None:
                heapq.heappush(self._due, at.timestamp())
        except LostClaim as exc:
            LOG.info("%s", exc)
        except Tampered as exc:
            await self._freeze(exc, claim, TELL)
        except Transient as exc:
            # The claim runs out by itself, and whoever takes it then goes on.
            LOG.warning("%s: %s", claim.stream, exc)
        except Exception:  # a bug of ours must not take the others along
            LOG.exception("%s could not go on", claim.stream)
            with contextlib.suppress(SoarError):
                await journal.release(claim, runnable_at=time.time() + 30.0, lane=TELL)

    def _watch_due(self, case: Case) -> bool:
        """Whether the incident's leases have to be verified now; a new responder does so at once, and at their end."""
        if not any(lease.open for lease in case.state.leases.values()):
            return False
        every, moment = self.parts.world.inventory.watch_every, time.monotonic()
        if moment + every * _EARLY < self._looks.get(case.id, 0.0) and not schedule.ended(case.state, now()):
            return False
        # Spread, so that what was contained in one burst is not looked at in bursts for ever.
        self._looks[case.id] = moment + every * schedule.LOOKS * random.uniform(0.9, 1.0)  # noqa: S311  # no secret
        return True

    async def _held(self, claim: Claim, work: Callable[[], Awaitable[Case]]) -> None:
        """Work on a claimed incident, and give the claim back with the time at which it runs next."""
        try:
            case = await work()
            halted = await stopped(case)
            at: datetime | None = (present := now())
            if more(case, Phase.CUT, halted=halted):
                lane = CUT
            elif more(case, Phase.REVIEW, halted=halted):
                # A cut that is tried again waits for no flow's slot, of which a burst leaves none for minutes.
                again = None if halted else schedule.cut_due(case.state, retries=case.parts.timing.verify_retries)
                lane, at = (RETRY, again) if again and again > present else (FLOW, at)
            else:
                lane, at = self._later(case, halted=halted)
                # Whoever watches over it counts at each look.
                if lane == CUT and (counted := await flood.due(case)) is not None:
                    at = min(at, counted) if at else counted
            await self._release(case.claim, lane, at)
        except LostClaim as exc:
            LOG.info("%s", exc)
        except Tampered as exc:
            await self._freeze(exc, claim, CUT)
        except Transient as exc:
            # The claim runs out by itself, and whoever takes it then finishes what is on record.
            LOG.warning("%s: %s", claim.stream, exc)
        except Exception as exc:  # an error for good, or a bug of ours: it must not take the other incidents along
            LOG.exception("%s could not go on", claim.stream)
            await self._set_back(claim, exc)

    async def _release(self, claim: Claim, lane: str, at: datetime | None) -> None:
        """Give a claim back, and see to it that whoever goes on with it need not wait for the next look."""
        journal = self.parts.journal
        elsewhere = not self._flows if lane == FLOW else not self._cuts
        if lane == FLOW and elsewhere:
            # Looked at meanwhile, it has waited no less.
            since = self._left.setdefault(claim.stream.removeprefix(PREFIX), time.time())
            at = datetime.fromtimestamp(since, UTC)
        await journal.release(claim, runnable_at=at, lane=lane)
        if elsewhere:
            await journal.poke()
        elif at is not None:
            heapq.heappush(self._due, at.timestamp())

    def _later(self, case: Case, *, halted: bool) -> tuple[str, datetime | None]:
        """Return when an incident runs next by itself: retries in the cutting lane, the watch in its own."""
        retry = due(case, halted=halted)
        every, moment = self.parts.world.inventory.watch_every * schedule.LOOKS, time.monotonic()
        again = max(0.0, self._looks.get(case.id, moment + every) - moment)
        watch = schedule.next_watch(case.state, now=now(), every=again)
        if watch is not None and (retry is None or watch <= retry):
            return WATCH, watch
        return CUT, retry

    async def _set_back(self, claim: Claim, exc: Exception) -> None:
        incident, error = claim.stream.removeprefix(PREFIX), type(exc).__name__
        body = {"incident": incident, "error": error, "message": redacted(str(exc), 2000)}
        notice = f"fault:{incident}:{error}"
        text = f"{incident} cannot go on, and is tried again: {error}: {body['message']}. What is contained stays so."

        async def unit(tx: Tx) -> None:
            await tx.append(SYSTEM, [Event("fault", body)])
            try:
                await tx.use_once("page", notice)
            except Refused:
                return  # it is tried again and again; people are woken once
            await page(tx, ITSELF, Event("page", {"id": notice, "notice": notice, "text": text[:4000]}))

        with contextlib.suppress(SoarError):
            await self.parts.journal.submit(unit)
            await self.parts.journal.release(claim, runnable_at=now().timestamp() + 30.0, lane=CUT)

    async def _freeze(self, exc: Tampered, claim: Claim | None = None, lane: str = CUT) -> None:
        """Leave a tampered incident to a person; everything else goes on, its own claim's incident too."""
        LOG.error("the journal is not as it was written: %s", exc)
        with contextlib.suppress(SoarError):
            await self.parts.journal.submit(lambda tx: freeze(tx, exc.stream, str(exc)))
        if claim is not None:
            with contextlib.suppress(SoarError):
                await self.parts.journal.release(claim, runnable_at=time.time() + SWEEP, lane=lane)

    async def _finish(self) -> None:
        tasks = [*self._cutting, *self._watching, *self._flowing, *self._telling]
        if tasks:
            # What ends by itself gives its claim back; what does not is cut off, and its claim runs out: releasing it
            # while a write may still be on its way would let a successor write too.
            _, late = await asyncio.wait(tasks, timeout=DRAIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
