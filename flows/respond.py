"""The response as Prefect flows: the same engine, each of its steps a task run that people can watch.

The engine decides whether a step ran, never Prefect: no retries, no caching, no persisted results, and cancelling a run
changes nothing. A run's one parameter is the incident's id. With Prefect's API away, slow, or gone in the middle, the
engine goes on without; what could not be shown is published when the API is back.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextvars import ContextVar
from datetime import timedelta
from functools import lru_cache
from typing import Any

from prefect import Flow, Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.events import Event, RelatedResource, Resource
from prefect.flow_engine import run_flow_async
from prefect.types import DateTime

from flows.engine.case import PREFIX, Case
from flows.engine.opening import FLOW
from flows.engine.parts import Parts, Runner, direct
from flows.engine.response import kept
from flows.engine.response import respond as run_engine
from flows.shown import trend
from flows.shown.shelf import Shelf
from flows.shown.steps import Shown, history
from integrations.hostile import printable
from integrations.journal.records import StreamInfo
from integrations.journal.store import Claim, Journal, Tampered
from playbooks.errors import Refused, SoarError
from playbooks.incident import Phase, Status
from playbooks.playbook import Playbook, shipped
from playbooks.projection import project
from playbooks.state import Incident
from playbooks.taxonomy import IncidentClass

LOG = logging.getLogger("mcp_soar.prefect")

PROBE_WITHIN = 1.0
"""Seconds in which the API says that it is well, or counts as away."""

ASK_AGAIN = 5.0
"""Seconds for which an answer to that question is good."""

BEGIN_WITHIN = 3.0
"""Seconds in which a flow run must have reached the engine; after that the engine goes on without it."""

END_WITHIN = 5.0
"""Seconds that a flow run may take to report its end."""

PUBLISH_WITHIN = 20.0
PUBLISH_EVERY = 5.0
RECENT = 200
"""So many of the youngest incidents are looked through for what was not published."""

_OURS = "mcp-soar"
"""Tags every run of a responder."""

_KEPT = {
    "name",
    "task_key",
    "dynamic_key",
    "expected_start_time",
    "start_time",
    "end_time",
    "total_run_time",
    "run_count",
}


class _Work:
    """The engine's run for one incident: it happens once, in a flow run or without one."""

    def __init__(self, work: Callable[[Runner, str | None], Awaitable[State[Any] | None]]) -> None:
        self._work = work
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.error: BaseException | None = None

    def renew(self) -> None:
        """Let it be done again."""
        self.began, self.ended, self.error = asyncio.Event(), asyncio.Event(), None

    async def run(self, run: Runner, flow_run: str | None) -> State[Any] | None:
        """Do it, unless somebody did."""
        if self.began.is_set():
            return None
        self.began.set()
        try:
            return await self._work(run, flow_run)
        except BaseException as exc:
            self.error = exc
            raise
        finally:
            self.ended.set()


_IN_HAND: ContextVar[_Work | None] = ContextVar("work in hand", default=None)
_RUN: ContextVar[str | None] = ContextVar("flow run in hand", default=None)


async def respond(incident: str) -> State[Any] | None:
    """Carry out and show one incident's response. A responder starts this; anybody else's run does nothing.

    Args:
        incident: its id, as inc-2026-000001. Everything else is in the journal.
    """
    work = _IN_HAND.get()
    if work is None:
        raise Refused(
            f"only a responder responds to {incident}: hand a signed request in, with `mcp-soar respond` or with the "
            "deployment `respond`"
        )
    return await work.run(as_task, _RUN.get())


def flow_name(incident_class: IncidentClass) -> str:
    """Return what the flow of a class is called."""
    return incident_class.value.replace("_", "-")


@lru_cache
def flow_of(incident_class: IncidentClass) -> Flow[[str], Coroutine[Any, Any, Any]]:
    """Return the flow of a class of incident: one name each, over the same code."""
    return Flow(
        fn=respond,
        name=flow_name(incident_class),
        description=f"Contain, capture, verify: {incident_class.value.replace('_', ' ')}.",
        retries=0,
        persist_result=False,
        log_prints=False,
        validate_parameters=False,
    )


class _Step:
    """A step that runs once, whatever becomes of the task run around it."""

    def __init__(self, step: Callable[[], Awaitable[None]]) -> None:
        self._step = step
        self.began = False
        self.error: BaseException | None = None

    async def __call__(self) -> None:
        """Run it."""
        self.began = True
        try:
            await self._step()
        except BaseException as exc:
            self.error = exc
            raise


async def as_task(title: str, step: Callable[[], Awaitable[None]]) -> None:
    """Run a step of the engine as a task run; what it raises is raised, what Prefect raises is not."""
    once = _Step(step)

    async def work() -> None:
        await once()

    name = printable(title)
    task: Task[[], Coroutine[Any, Any, None]] = Task(
        fn=work,
        name=printable(title.partition(":")[0], 60),
        # A function: a string would be a format, and titles hold names from outside.
        task_run_name=lambda: name,
        retries=0,
        persist_result=False,
        cache_policy=NO_CACHE,
        log_prints=False,
    )
    try:
        await task()
    except Exception as exc:  # noqa: BLE001  # what the step raised is raised below
        if once.error is None:
            LOG.warning("no task run for %s: %s", name, type(exc).__name__)
    if once.error is not None:
        raise once.error
    if not once.began:
        await once()


class Prefect:
    """The Prefect API as a responder uses it; never in the way.

    Args:
        client: of the API.
        playbooks: for their goals.
    """

    def __init__(self, client: PrefectClient, playbooks: Mapping[IncidentClass, Playbook]) -> None:
        self._client = client
        self._shelf = Shelf(client, playbooks)
        self._well = False
        self._asked = -ASK_AGAIN
        self._asking = asyncio.Lock()
        self._flowing: set[str] = set()

    async def well(self) -> bool:
        """Whether the API answers; asked at most every few seconds, for at most one."""
        async with self._asking:
            if time.monotonic() - self._asked < ASK_AGAIN:
                return self._well
            was, self._well = self._well, False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_WITHIN):
                    self._well = await self._client.api_healthcheck() is None
            self._asked = time.monotonic()
            if was != self._well:
                LOG.warning("Prefect's API %s", "answers" if self._well else "does not answer; going on without it")
            return self._well

    def _away(self) -> None:
        self._well, self._asked = False, time.monotonic()

    async def start(self, parts: Parts, claim: Claim) -> Case:
        """Run the rest of an incident as a flow if that can be, without one if not: a `FlowStarter`."""
        case = await Case.take(parts, claim)
        early = history(case.state)
        self._flowing.add(claim.stream)

        async def work(run: Runner, flow_run: str | None) -> State[Any] | None:
            showing = asyncio.create_task(self._shown(flow_run, case.id, early)) if flow_run else None
            await run_engine(parts, claim, until=Phase.REVIEW, run=run, case=case)
            if showing:
                await showing
            return final(case.state) if flow_run else None

        try:
            # Reporting may take longer than a claim lasts; until it ends, nobody else begins another run.
            async with kept(case):
                await self._as_flow(case.state, _Work(work), parts.journal)
        finally:
            self._flowing.discard(claim.stream)
        return case

    async def _as_flow(self, state: Incident, work: _Work, journal: Journal) -> None:
        """Do a piece of work inside a flow run, or without one.

        Raises:
            Exception: what the work raised, and nothing of Prefect's.
        """
        if await self.well():
            running = asyncio.create_task(self._flow_run(state, work, journal))
            try:
                began = asyncio.create_task(work.began.wait())
                await asyncio.wait({running, began}, timeout=BEGIN_WITHIN, return_when=asyncio.FIRST_COMPLETED)
                began.cancel()
                if work.began.is_set():
                    await work.ended.wait()
                    # What is left is reporting; the engine's result does not wait for it long.
                    await asyncio.wait({running}, timeout=END_WITHIN)
                else:
                    LOG.warning("%s: no flow run within %g s", state.id, BEGIN_WITHIN)
                    self._away()
            finally:
                await _end(running)
        # Nothing awaits between this question and the answer to it, so it begins once. A cancellation that is not ours
        # came through Prefect, where it means nothing: the engine takes up what it left.
        if not work.began.is_set() or isinstance(work.error, asyncio.CancelledError):
            work.renew()
            await work.run(direct, None)
        if work.error is not None:
            raise work.error

    async def _flow_run(self, state: Incident, work: _Work, journal: Journal) -> None:
        try:
            run = await self._create(state)
            _IN_HAND.set(work)
            _RUN.set(str(run.id))
            body = flow_of(state.incident_class)
            await run_flow_async(body, flow_run=run, parameters={"incident": state.id}, return_type="state")
            if self._well:
                # Whatever has an artifact counts as published.
                await self._shelf.put(journal, PREFIX + state.id, run.id)
        except Exception as exc:  # noqa: BLE001  # whatever Prefect's client raises, it is only a report
            if work.error is not exc:
                # Its text may quote what it was sent.
                LOG.warning("%s: Prefect: %s", state.id, type(exc).__name__)
                self._away()

    async def _create(self, state: Incident) -> FlowRun:
        about = " ".join(state.servers) or ", ".join(state.where) or "unknown"
        return await self._client.create_flow_run(
            flow_of(state.incident_class),
            name=printable(f"{state.id} {about}"),
            parameters={"incident": state.id},
            # With the run, not around it: its tasks would inherit tags and ask the API for a slot, each of them.
            tags=sorted({_OURS, flow_name(state.incident_class), state.severity.label, *state.servers}),
        )

    async def _shown(self, flow_run: str, incident: str, steps: list[Shown]) -> None:
        """Show what was run before; if that cannot be, the whole incident is published later."""
        try:
            async with asyncio.timeout(END_WITHIN):
                await self._show(flow_run, incident, steps)
        except Exception as exc:  # noqa: BLE001  # whatever Prefect's client raises, it is only a report
            LOG.warning("%s: Prefect: %s", incident, type(exc).__name__)
            self._away()

    async def _show(self, flow_run: str, incident: str, steps: list[Shown]) -> None:
        """Add steps that were run before as task runs, with their true times."""
        if not steps:
            return
        events = [event for number, step in enumerate(steps) for event in _events(flow_run, incident, number, step)]
        body = [event.model_dump(mode="json") for event in events]
        wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[uuid.UUID(flow_run)]))
        names = {step.title for step in steps}
        while True:
            # Posted, not handed to Prefect's own queue, which loses what it cannot deliver and says nothing. A server
            # that has just started loses it too, so it is asked, and told again: the same task runs, by their ids.
            await self._client._client.post("/events", json=body)  # noqa: SLF001  # it offers no method for this
            for _ in range(8):
                await asyncio.sleep(0.25)
                found = await self._client.read_task_runs(task_run_filter=wanted)
                if names <= {run.name for run in found if run.state and run.state.is_final()}:
                    return

    # What could not be shown when it happened

    async def publish(self, journal: Journal, stop: asyncio.Event) -> None:
        """Publish again and again what the API does not have yet, until told to stop."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), PUBLISH_EVERY)
            if stop.is_set() or not await self.well():
                continue
            try:
                await self._publish_all(journal)
                await self._end_abandoned(journal)
            except SoarError as exc:
                LOG.info("publishing: %s", exc)
            except Exception as exc:  # noqa: BLE001  # whatever it is, it is tried again
                LOG.warning("publishing: %s", type(exc).__name__)
                self._away()

    async def _publish_all(self, journal: Journal) -> None:
        rows, stops = await journal.streams(PREFIX, limit=RECENT), await journal.stops()
        for row in rows:
            waits = row.runnable_at is not None and row.lane == FLOW
            if self._busy(row) or waits or self._shelf.has(row, stops):
                continue
            try:
                async with asyncio.timeout(PUBLISH_WITHIN):
                    await self._publish_one(journal, row.name, await self._shelf.known(row))
            except Tampered as exc:
                # It waits for a person; the others go on being shown.
                LOG.warning("%s is not published: %s", row.name, exc)
        async with asyncio.timeout(PUBLISH_WITHIN):
            await self._shelf.put_trend(journal, rows[: trend.LAST], stops)

    async def _end_abandoned(self, journal: Journal) -> None:
        """End the runs whose responder died: Prefect would show them as running for ever."""
        began = [StateType.PENDING, StateType.RUNNING]
        wanted = FlowRunFilter(
            tags=FlowRunFilterTags(all_=[_OURS]), state=FlowRunFilterState(type=FlowRunFilterStateType(any_=began))
        )
        async with asyncio.timeout(PUBLISH_WITHIN):
            left = await self._client.read_flow_runs(flow_run_filter=wanted)
            held = (
                {row.name for row in await journal.streams(PREFIX, limit=RECENT) if self._busy(row)} if left else set()
            )
            for run in left:
                stream = f"{PREFIX}{run.parameters.get('incident')}"
                if stream in held or stream in self._flowing:
                    continue
                # A claim outlasts its run's report: what has no claim and still runs has nobody.
                again = await self._client.read_flow_run(run.id)
                if again.state and again.state.type in began:
                    ended = State[Any](type=StateType.CRASHED, message="its responder is gone; another one went on")
                    await self._client.set_flow_run_state(run.id, ended, force=True)

    def _busy(self, row: StreamInfo) -> bool:
        return row.name in self._flowing or (row.owner is not None and (row.claimed_until or 0) > time.time())

    async def _publish_one(self, journal: Journal, stream: str, known: int) -> None:
        entries = await journal.read(stream)
        state = project(stream.removeprefix(PREFIX), entries)
        before = project(state.id, (entry for entry in entries if entry.seq <= known))
        shown = set(history(before))
        fresh = [step for step in history(state) if step not in shown]
        if not fresh:
            await self._shelf.put(journal, stream, None)
            return

        async def work(_: Runner, flow_run: str | None) -> State[Any] | None:
            if flow_run:
                await self._show(flow_run, state.id, fresh)
            return final(state)

        await self._flow_run(state, _Work(work), journal)


def final(state: Incident) -> State[Any]:
    """Return the state in which a flow run ends: red only if the containment does not hold."""
    bad = state.status in {Status.NOT_ESTABLISHED, Status.FROZEN}
    name = state.status.value.replace("_", " ").title().replace(" ", "")
    kind = StateType.FAILED if bad else StateType.COMPLETED
    return State(type=kind, name=name, message=f"{state.id}: {state.stands}")


def _events(flow_run: str, incident: str, number: int, step: Shown) -> list[Event]:
    """Return what Prefect's own engine would have told of a task run, with the times at which it was."""
    task_run = TaskRun.model_validate(
        {
            "id": uuid.uuid5(uuid.UUID(flow_run), f"{incident}/{step.instance}/{step.ended.isoformat()}"),
            "name": step.title,
            "flow_run_id": uuid.UUID(flow_run),
            "task_key": f"mcp-soar-{step.instance.partition('@')[0]}",
            "dynamic_key": f"early-{number}",
            "expected_start_time": step.began,
            "start_time": step.began,
            "run_count": 1,
        }
    )
    outcome = State[Any](
        type=StateType.COMPLETED if step.good else StateType.FAILED,
        name=step.outcome.replace("_", " ").title().replace(" ", ""),
        message=step.message,
        timestamp=step.ended,
    )
    # Of two states of one moment, Prefect keeps whichever it happens to record first.
    earlier = min(step.began, step.ended - timedelta(milliseconds=1))
    running = State[Any](type=StateType.RUNNING, name="Running", timestamp=earlier)
    seconds = step.ended - step.began
    ended = task_run.model_copy(update={"end_time": step.ended, "total_run_time": seconds})
    return [_event(flow_run, task_run, None, running), _event(flow_run, ended, running, outcome)]


def _event(flow_run: str, task_run: TaskRun, before: State[Any] | None, state: State[Any]) -> Event:
    return Event(
        id=state.id,
        occurred=DateTime.instance(state.timestamp),
        event=f"prefect.task-run.{state.type.value.title()}",
        resource=Resource(
            {
                "prefect.resource.id": f"prefect.task-run.{task_run.id}",
                "prefect.resource.name": task_run.name,
                "prefect.run-count": "1",
                "prefect.state-message": state.message or "",
                "prefect.state-name": state.name or "",
                "prefect.state-timestamp": state.timestamp.isoformat(),
                "prefect.state-type": state.type.value,
                "prefect.orchestration": "client",
            }
        ),
        related=[
            RelatedResource(
                {"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}
            )
        ],
        payload={
            "intended": {"from": before.type.value if before else None, "to": state.type.value},
            "initial_state": {"type": before.type.value, "name": before.name} if before else None,
            "validated_state": {
                "type": state.type.value,
                "name": state.name,
                "message": state.message,
                "state_details": {},
                "data": None,
            },
            "task_run": task_run.model_dump(mode="json", include=_KEPT, exclude_none=True),
        },
    )


async def _end(task: "asyncio.Task[None]") -> None:
    """End what still reports; it keeps nobody waiting."""
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=PROBE_WITHIN)


@contextlib.asynccontextmanager
async def connected(playbooks: Mapping[IncidentClass, Playbook] | None = None) -> AsyncIterator[Prefect]:
    """Yield the API that the environment names. It need not answer.

    Args:
        playbooks: by class; the shipped ones by default.
    """
    async with get_client() as client:
        yield Prefect(client, shipped() if playbooks is None else playbooks)
