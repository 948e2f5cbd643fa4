"""Stock Prefect workers, and what prefect.yaml deploys, for tests: as people start them."""

import asyncio
import http
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import prefect_server
from tests.lab.prefect import ROOT, PrefectServer

WITHIN = 90.0


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


async def deploy(prefect: PrefectServer, folder: Path) -> dict[str, dict[str, Any]]:
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
    return {item["name"]: item for item in prefect.ask("/deployments/filter")}


async def run_to_its_end(prefect: PrefectServer, deployment: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401
    """Start a run of a deployment and return it when it has ended, or the status with which it was refused."""
    made: Any = http.HTTPStatus.SERVICE_UNAVAILABLE
    async with asyncio.timeout(WITHIN):
        # A busy SQLite is no refusal.
        while isinstance(made, int) and made >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            made = prefect.ask(f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})
            await asyncio.sleep(0.2)
        if isinstance(made, int):
            return made
        while True:
            run = await asyncio.to_thread(prefect.ask, f"/flow_runs/{made['id']}", method="GET")
            if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}:
                return run
            await asyncio.sleep(0.2)
