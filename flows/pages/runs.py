"""An incident as a flow run, its steps as task runs: made once, and told how they stand. Nothing runs in them."""

import uuid
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import FlowRunCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterIdempotencyKey,
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType

from flows.pages.steps import Shown, shown
from integrations.hostile import printable
from playbooks.record.incident import Status
from playbooks.record.view import View
from playbooks.taxonomy import IncidentClass

_OURS = "mcp-soar"
"""Tags every run of an incident."""

_AT_ONCE = 100
"""Task runs that are told of, or asked about, in one request."""


def flow_name(incident_class: IncidentClass) -> str:
    """Return what the flow of a class is called."""
    return incident_class.value.replace("_", "-")


def standing(it: View, *, busy: bool) -> State[Any]:
    """Return the state of an incident's run: it has the incident's status, and is red only if the containment fails.

    Args:
        it: the incident.
        busy: somebody works on it. What is on the way to another status runs, even if nobody does just now.
    """
    bad = it.status in {Status.NOT_ESTABLISHED, Status.FROZEN}
    busy = busy or it.status in {Status.CONTAINING, Status.RECOVERING}
    kind = StateType.RUNNING if busy else StateType.FAILED if bad else StateType.COMPLETED
    name = it.status.value.replace("_", " ").title().replace(" ", "")
    return State(type=kind, name=name, message=f"{it.id}: {it.stands}")


async def run_of(client: PrefectClient, it: View, key: str) -> FlowRun:
    """Return an incident's flow run; whoever asks first makes it.

    Args:
        client: of the API.
        it: the incident.
        key: tells it from one of that id in another journal.
    """
    about = " ".join(it.servers) or ", ".join(it.where) or "unknown"
    wanted = FlowRunCreate(
        flow_id=await client.create_flow_from_name(flow_name(it.incident_class)),
        name=printable(f"{it.id} {about}"),
        parameters={"incident": it.id},
        tags=sorted({_OURS, flow_name(it.incident_class), it.severity.label, *it.servers}),
        idempotency_key=key,
    )
    answer = await client.request("POST", "/flow_runs/", json=wanted.model_dump(mode="json"))
    run = FlowRun.model_validate(answer.json())
    if (run.name, sorted(run.tags)) != (wanted.name, wanted.tags):
        await client.update_flow_run(run.id, name=wanted.name, tags=wanted.tags)
    return run


async def tell(client: PrefectClient, run: FlowRun, it: View, key: str, *, busy: bool) -> bool:
    """Tell how an incident and its steps stand, as far as that is not known; return whether all of it is.

    Args:
        client: of the API.
        run: the incident's.
        it: the incident.
        key: as in `run_of`.
        busy: somebody works on it.
    """
    await _stands(client, run, standing(it, busy=busy))
    same = FlowRunFilter(idempotency_key=FlowRunFilterIdempotencyKey(any_=[key]))
    for other in await client.read_flow_runs(flow_run_filter=same):
        if other.id != run.id:
            # It was given another class, whose flow has its run now.
            await _stands(client, other, State(type=StateType.COMPLETED, name="Reclassified", message=run.name))
    steps = shown(run.id, it)
    parts = [steps[start : start + _AT_ONCE] for start in range(0, len(steps), _AT_ONCE)]
    # A server that has just started loses events and says nothing: it is asked, and told again.
    missing = [one for part in parts for one in await _missing(client, part)]
    for start in range(0, len(missing), _AT_ONCE):
        body = [one.event.model_dump(mode="json") for one in missing[start : start + _AT_ONCE]]
        # Posted, not handed to Prefect's own queue, which loses what it cannot deliver.
        await client.request("POST", "/events", json=body)
    return not missing


async def _stands(client: PrefectClient, run: FlowRun, state: State[Any]) -> None:
    known = run.state
    if known is None or (known.type, known.name, known.message) != (state.type, state.name, state.message):
        # By force: whatever somebody made of the run meanwhile, this is how it stands.
        await client.set_flow_run_state(run.id, state, force=True)


async def _missing(client: PrefectClient, steps: list[Shown]) -> list[Shown]:
    """Return what the API does not have yet of some steps."""
    wanted = TaskRunFilter(id=TaskRunFilterId(any_=[one.id for one in steps]))
    found: dict[uuid.UUID, uuid.UUID | None] = {
        run.id: run.state_id for run in await client.read_task_runs(task_run_filter=wanted)
    }
    return [one for one in steps if found.get(one.id) != one.event.id]
