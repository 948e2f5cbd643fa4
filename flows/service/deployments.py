"""What prefect.yaml says, made at a Prefect server: `python -m flows.service.deployments POOL`, run by `up`'s workers.

It may be done again and again: what is as it should be is left alone, and a schedule that a person paused stays so.
"""

import asyncio
import importlib
import os
import sys
from typing import Any

import yaml
from prefect import Flow, get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema
from prefect.workers.process import ProcessWorker

from flows.service.workers import DEPLOYMENTS, OWN_SERVER
from playbooks.strict import sha256


async def make(pool: str) -> list[str]:
    """Make a pool and its deployments, take away those that there are no more, and return what was changed.

    Args:
        pool: `requests` or `reading`.
    """
    wanted = [one for one in yaml.safe_load(DEPLOYMENTS.read_text())["deployments"] if one["work_pool"]["name"] == pool]
    changed = []
    async with get_client() as client:
        if await _pool(client, pool):
            changed.append(pool)
        in_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
        found = {(one.name, one.entrypoint): one for one in await client.read_deployments(work_pool_filter=in_pool)}
        for one in wanted:
            there = found.pop((one["name"], one["entrypoint"]), None)
            if await _deployment(client, one, there):
                changed.append(one["name"])
        for (name, entrypoint), old in found.items():
            # Ours of another release; whatever else people have put into the pool is theirs.
            if (entrypoint or "").startswith("flows."):
                await client.delete_deployment(old.id)
                changed.append(f"{name}, which there is no more")
    return changed


async def _pool(client: PrefectClient, name: str) -> bool:
    template: dict[str, Any] = ProcessWorker.get_default_base_job_template()
    own = OWN_SERVER in os.environ
    if own:
        # Without the steps in between that look for other places to take code from, and in the worker's process group.
        # Workers of another server's pools may have Python elsewhere.
        template["variables"]["properties"]["command"]["default"] = f"{sys.executable} -m prefect.engine"
    try:
        there = await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
        return True
    if not own or there.base_job_template == template:
        return False
    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
    return True


async def _deployment(client: PrefectClient, one: dict[str, Any], there: DeploymentResponse | None) -> bool:
    module, _, name = one["entrypoint"].rpartition(".")
    flow: Flow[..., Any] = getattr(importlib.import_module(module), name)
    schema = parameter_schema(flow.fn).model_dump(mode="json", exclude_unset=True)
    paused = {
        old.schedule.cron
        for old in (there.schedules if there else ())
        if isinstance(old.schedule, CronSchedule) and not old.active
    }
    made: dict[str, Any] = {
        "name": one["name"],
        "description": flow.description,
        "tags": one["tags"],
        "work_pool_name": one["work_pool"]["name"],
        "entrypoint": one["entrypoint"],
        "pull_steps": one["pull"],
        "parameter_openapi_schema": schema,
        "enforce_parameter_schema": one["enforce_parameter_schema"],
        "concurrency_limit": one["concurrency_limit"],
    }
    schedules = [(when["cron"], when["timezone"]) for when in one.get("schedules", ())]
    version = sha256(repr((flow.name, made, schedules)).encode())[7:27]
    if there is not None and there.version == version:
        return False
    flow_id = await client.create_flow_from_name(flow.name)
    if there is not None and there.flow_id != flow_id:
        # Its flow had another name in another release.
        await client.delete_deployment(there.id)
    await client.create_deployment(
        flow_id=flow_id,
        version=version,
        schedules=[
            DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=zone), active=cron not in paused)
            for cron, zone in schedules
        ],
        **made,
    )
    return True


if __name__ == "__main__":
    changed = asyncio.run(make(sys.argv[1]))
    sys.stderr.write(f"deployments of {sys.argv[1]}: {', '.join(changed) or 'as they were'}\n")
