"""An incident's steps as Prefect's task runs: one for each time that a step was begun, with the times at which it was.

Pure. What Prefect's own engine tells of a task run is an event; these are such events.
"""

import uuid
from datetime import datetime
from typing import NamedTuple

from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.events import Event, RelatedResource, Resource
from prefect.types import DateTime

from integrations.hostile import printable
from playbooks.record.step import Progress
from playbooks.record.view import Begun, View

_GOOD = {Progress.ESTABLISHED, Progress.SEALED, Progress.RELEASED, Progress.SKIPPED}

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


class Shown(NamedTuple):
    """A step as a task run.

    Args:
        id: of the task run: the same whoever tells of it, as often as they do.
        event: says how it ended; its id is that of the state.
    """

    id: uuid.UUID
    event: Event


def shown(flow_run: uuid.UUID, it: View) -> list[Shown]:
    """Return the steps whose outcome is clear, in the order in which they began.

    Args:
        flow_run: that they belong to.
        it: the incident.
    """
    ended = [(step.ran_from or at, at, step) for step in it.steps if (at := step.ended_at)]
    return [_shown(flow_run, it.id, step, *times) for *times, step in sorted(ended, key=lambda one: one[0])]


def _shown(flow_run: uuid.UUID, incident: str, step: Begun, began: datetime, ended: datetime) -> Shown:
    number = uuid.uuid5(flow_run, f"{incident}/{step.instance}/{began.isoformat()}")
    task_run = TaskRun.model_validate(
        {
            "id": number,
            "name": printable(f"{step.phase.value}: {step.summary}"),
            "flow_run_id": flow_run,
            "task_key": f"mcp-soar-{step.instance.partition('@')[0]}",
            "dynamic_key": str(number),
            "expected_start_time": began,
            "start_time": began,
            "end_time": ended,
            "total_run_time": ended - began,
            "run_count": 1,
        }
    )
    state = State[None](
        id=uuid.uuid5(number, ended.isoformat()),
        type=StateType.COMPLETED if step.progress in _GOOD else StateType.FAILED,
        name=step.progress.value.replace("_", " ").title().replace(" ", ""),
        message=printable(step.why, 500),
        timestamp=ended,
    )
    return Shown(number, _event(flow_run, task_run, state))


def _event(flow_run: uuid.UUID, task_run: TaskRun, state: State[None]) -> Event:
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
            "intended": {"from": None, "to": state.type.value},
            "initial_state": None,
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
