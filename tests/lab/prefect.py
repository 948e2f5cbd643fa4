"""A real Prefect server for tests, the one that `up` runs: it can be killed and comes back at its address."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from flows.pages import publishing as publisher
from flows.service import prefect_server
from integrations.journal.store import Journal
from playbooks.playbook import shipped
from playbooks.record.state import Incident
from tests.lab.house import House

ROOT = Path(__file__).resolve().parents[2]
WITHIN = 300.0
"""Seconds that a server may take to start, and to be told what there is, on a machine that is busy with other tests."""


class PrefectServer:
    """A server that can be killed.

    Args:
        folder: where its database is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.auth = prefect_server.password(folder)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self._process: subprocess.Popen[bytes] | None = None
        self.deployed: tuple[dict[str, Any], ...] = ()
        """What was deployed here once, to be put back."""

    def start(self) -> None:
        """Start it, and wait until it serves."""
        if self._socket.fileno() < 0:
            self._socket = socket.create_server(("127.0.0.1", self.port))
        environment = {
            **prefect_server.clean(os.environ),
            **prefect_server.server_environment(self.folder, auth=self.auth, url=self.api),
            "PYTHONPATH": str(ROOT),
        }
        with (self.folder / "prefect.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # of our own making
                [sys.executable, "-m", "flows.service.part", "prefect", str(self._socket.fileno())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[self._socket.fileno()],
            )
        deadline = time.monotonic() + WITHIN
        while not self._healthy():
            assert time.monotonic() < deadline, (self.folder / "prefect.log").read_text()[-3000:]
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def forget(self) -> None:
        """Remove what would count as published: incidents of other tests have the same names.

        Not their runs: events that still come for one that is gone make Prefect's recorder fail over and over.
        """
        for kind in ("artifacts", "deployments"):
            # It tells of no more than two hundred at once.
            while items := self.ask(f"/{kind}/filter"):
                for item in items:
                    self.ask(f"/{kind}/{item['id']}", method="DELETE")

    def answers(self) -> bool:
        """Whether it answers now."""
        return self._healthy()

    def freeze(self) -> None:
        """Let it hang: connections are taken, nothing is answered."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, and refuse connections."""
        self._socket.close()
        if self._process and self._process.stdin:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process.stdin.close()
            self._process = None

    def ask(
        self, path: str, body: object = None, *, method: str = "POST", auth: str | None = "", within: float = WITHIN
    ) -> Any:  # noqa: ANN401  # of Prefect
        """Return what the API answers, with its password unless another is given; what it refuses as a status.

        A fault of its own is no refusal: its SQLite, busy, answers 503 now and then. It is asked again, as Prefect's
        client does, for as long as `within` says.
        """
        headers = {"Content-Type": "application/json"}
        known = self.auth if auth == "" else auth
        if known:
            headers["Authorization"] = "Basic " + base64.b64encode(known.encode()).decode()
        deadline = time.monotonic() + within
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
            try:
                connection.request(method, f"/api{path}", json.dumps(body or {}), headers)
                response = connection.getresponse()
                text = response.read()
            finally:
                connection.close()
            if response.status < http.HTTPStatus.BAD_REQUEST:
                return json.loads(text) if text else None
            if response.status < http.HTTPStatus.INTERNAL_SERVER_ERROR or time.monotonic() > deadline:
                return response.status
            time.sleep(0.05)

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("/health", method="GET", within=30.0) is True
        return False

    def close(self) -> None:
        """End it."""
        self._socket.close()
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait(timeout=20)


@contextmanager
def prefect_running(folder: Path) -> Iterator[PrefectServer]:
    """Run a server of our own, and have Prefect's client in this process use it."""
    server = PrefectServer(folder)
    try:
        server.start()
        with temporary_settings(
            {
                PREFECT_API_URL: server.api,
                PREFECT_API_AUTH_STRING: server.auth,
                # Of a machine that is busy with tests; of one that hangs nobody waits for an answer.
                PREFECT_API_REQUEST_TIMEOUT: 60,
                PREFECT_CLIENT_MAX_RETRIES: 2,
            }
        ):
            yield server
            # What it queued goes out while there is somebody to take it.
            EventsWorker.drain_all(timeout=5)
    finally:
        server.close()


@asynccontextmanager
async def publishing(journal: Journal) -> AsyncIterator[None]:
    """Show in Prefect what it does not have yet, as a responder does."""
    with pytest.MonkeyPatch.context() as patch:
        # More often than one that shares a machine with others; for how long it waits for each answer stays.
        patch.setattr(publisher, "PUBLISH_EVERY", 0.1)
        task = asyncio.create_task(publisher.publish(journal, shipped()))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})


@asynccontextmanager
async def reporting(home: House) -> AsyncIterator[None]:
    """Run a responder that is shown in Prefect."""
    async with publishing(home.journal), home.responding():
        yield


async def is_shown(prefect: PrefectServer, incident: Incident) -> None:
    """Wait until Prefect was told all that an incident's journal says."""

    def knows() -> bool:
        told = [page["description"] for page in prefect.ask("/artifacts/latest/filter") if page["key"] == incident.id]
        return any(int(text.rpartition("journal entry ")[2]) >= incident.seq for text in told)

    async with asyncio.timeout(WITHIN):
        while not await asyncio.to_thread(knows):  # noqa: ASYNC110  # another process is asked
            await asyncio.sleep(0.1)
