"""Stock Prefect workers, and what prefect.yaml deploys, for tests: as people start them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.service import prefect_server
from tests.lab.prefect import ROOT, PrefectServer

WITHIN = 240.0


def _clean() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}


@contextmanager
def worker(prefect: PrefectServer, folder: Path, pool: str, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a stock worker; its log is `FOLDER/worker.log`.

    Args:
        prefect: the server.
        folder: for its files.
        pool: that it works for.
        environment: what its operator gives it.
    """
    client = prefect_server.client_environment(folder / "worker", auth=prefect.auth, url=prefect.api)
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603  # of our own making
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
            cwd=ROOT,
            env={**_clean(), **client, **environment, "PREFECT_WORKER_QUERY_SECONDS": "1", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


Deployments = dict[str, dict[str, Any]]

STRAIGHT = {"command": f"{sys.executable} -m prefect.engine"}
"""What `up` has a worker run, in place of Prefect's own two programs in a row: most of what a short run takes."""

_SAME = (
    *("name", "flow_id", "description", "tags", "version", "entrypoint", "path", "pull_steps", "parameters"),
    *("parameter_openapi_schema", "enforce_parameter_schema", "work_pool_name", "work_queue_name", "job_variables"),
)
"""What is given back of a deployment as the server had it, beside its limit and its schedules."""


async def deployed(prefect: PrefectServer, folder: Path) -> Deployments:
    """Have the server have what prefect.yaml says, and return it by name.

    The first time in a session it is deployed as people do, which takes a quarter of a minute of processor time; later
    what the server had then is put back.
    """
    if not prefect.deployed:
        return await deploy(prefect, folder)
    for one in prefect.deployed:
        limit = (one["global_concurrency_limit"] or {}).get("limit")
        schedules = [{"schedule": when["schedule"], "active": when["active"]} for when in one["schedules"]]
        given = {name: one[name] for name in _SAME} | {"concurrency_limit": limit, "schedules": schedules}
        made = await asyncio.to_thread(prefect.ask, "/deployments/", given)
        assert isinstance(made, dict), (one["name"], made)
    return _there(prefect)


def _there(prefect: PrefectServer) -> Deployments:
    return {item["name"]: item for item in prefect.ask("/deployments/filter")}


async def deploy(prefect: PrefectServer, folder: Path) -> Deployments:
    """Deploy what prefect.yaml says, as people do, and return what the server has then, by name."""
    client = prefect_server.client_environment(folder / "deployer", auth=prefect.auth, url=prefect.api)
    pools = [["work-pool", "create", pool, "--type", "process", "--overwrite"] for pool in ("requests", "reading")]
    for command in (*pools, ["--no-prompt", "deploy", "--all"]):
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "prefect", *command],
            cwd=ROOT,
            env={**_clean(), **client, "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    # It may fail with exit status 0: what counts is what the server has.
    found = _there(prefect)
    prefect.deployed = tuple(found.values())
    return found


async def run_to_its_end(
    prefect: PrefectServer, deployment: str, parameters: dict[str, Any], *, straight: bool = False
) -> Any:  # noqa: ANN401  # what the server says of it
    """Start a run of a deployment and return it when it has ended, or the status with which it was refused.

    Args:
        prefect: the server.
        deployment: its id.
        parameters: what the run is given.
        straight: run it as `up`'s own workers do, and not as a stock worker does that nobody has told.
    """
    given = {"parameters": parameters, **({"job_variables": STRAIGHT} if straight else {})}
    async with asyncio.timeout(WITHIN):
        made = await asyncio.to_thread(prefect.ask, f"/deployments/{deployment}/create_flow_run", given)
        if isinstance(made, int):
            return made
        while True:
            run = await asyncio.to_thread(prefect.ask, f"/flow_runs/{made['id']}", method="GET")
            if run["state_type"] in {"COMPLETED", "FAILED"}:
                return run
            # Prefect's own: the flow's process found no server that answered in time, and never began.
            assert run["state_type"] != "CRASHED", (run["state"]["message"], run["start_time"])
            await asyncio.sleep(0.2)
