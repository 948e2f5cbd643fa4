"""A real Alertmanager sends to the receiver: a group fires, more of it fires, it ends. Touches no system."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.engine.intake import intake
from flows.service.entrance import server
from flows.service.receiver import create_app
from integrations.siem.source import Sources
from playbooks.strict import iso, now
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, house, source

INVENTORY = world.READ
TOKEN = "t" * 32
# Debian's package calls it so; built from Go's modules (`go install …/cmd/alertmanager`) it has its own name.
PROGRAMS = ("prometheus-alertmanager", "alertmanager")
CONFIG = """
route: {{receiver: soar, group_by: [alertname], group_wait: 10ms, group_interval: 200ms, repeat_interval: 1h}}
receivers:
- name: soar
  webhook_configs:
  - url: http://127.0.0.1:{port}/v1/alerts/alertmanager
    max_alerts: 100
    http_config: {{authorization: {{type: Bearer, credentials: {token}}}}}
"""


def free() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@asynccontextmanager
async def alertmanager(folder: Path, receiver: int) -> AsyncIterator[httpx.AsyncClient]:
    """Run an Alertmanager that sends to a receiver's port, and give a client of its API."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("Alertmanager is not installed (make programs; Debian: prometheus-alertmanager)")
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG.format(port=receiver, token=TOKEN))
    with free() as listener:
        port = listener.getsockname()[1]
    command = [
        program,
        f"--config.file={config}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                async with asyncio.timeout(60):
                    while not await ready(client):
                        assert process.returncode is None, (folder / "log").read_text()
                        await asyncio.sleep(0.05)
                yield client
        finally:
            process.terminate()
            await process.wait()


async def ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).is_success
    except httpx.TransportError:
        return False


@asynccontextmanager
async def receiving(home: House) -> AsyncIterator[int]:
    """Run the receiver over a house's inbox, and give its port."""
    app = create_app(dict(home.parts.sources.sources), home.journal, clock=now)
    with free() as listener:
        running = server(app, host="127.0.0.1", port=0)
        task = asyncio.create_task(running._serve(sockets=[listener]))  # noqa: SLF001  # signals stay with the tests
        try:
            yield listener.getsockname()[1]
        finally:
            running.should_exit = True
            await task


def firing(tool: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # fields of an alert
    labels = {
        "alertname": "McpToolDefinitionChanged",
        "severity": "critical",
        "mcp_server": "weather",
        "mcp_tool": tool,
    }
    annotations = {"summary": f"The definition of {tool} changed", "description": "{{ not a template }}"}
    return {"labels": labels, "annotations": annotations, "startsAt": "2026-01-31T12:00:00Z", **more}


async def test_a_real_alertmanager_opens_an_incident_and_says_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    classify = [{"tag": "alertname=McpToolDefinitionChanged", "class": "tool_poisoning"}]
    sources = Sources(version=1, sources={"alertmanager": source(format="alertmanager", classify=classify)})
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        home.parts = replace(home.parts, sources=sources)

        async def taken(number: int) -> bool:
            for opened in await intake(home.parts):
                await home.journal.release(opened.claim, runnable_at=None)
            return sum([len(incident.alerts) for incident in await home.incidents()]) >= number

        async with receiving(home) as port, alertmanager(tmp_path, port) as theirs:
            (await theirs.post("/api/v2/alerts", json=[firing("forecast")])).raise_for_status()
            await home.until(lambda: taken(1), "the alert is taken in")
            # The whole group is sent anew with what joined it; what is known of it adds nothing.
            (await theirs.post("/api/v2/alerts", json=[firing("fore\u200bcast")])).raise_for_status()
            await home.until(lambda: taken(2), "the second one is taken in")
            over = iso(now() - timedelta(seconds=1))
            (await theirs.post("/api/v2/alerts", json=[firing("forecast", endsAt=over)])).raise_for_status()
            await home.until(lambda: taken(3), "the end is taken in")
        incidents = await home.incidents()
    assert sorted(incident.key.partition("|")[2] for incident in incidents) == [
        "server:weather/weather",
        "tool:weather/forecast",
    ]
    about = next(incident for incident in incidents if "forecast" in incident.key)
    assert [(seen.rule, seen.state) for seen in about.alerts] == [
        ("McpToolDefinitionChanged", "new"),
        ("McpToolDefinitionChanged", "resolved"),
    ]
    assert about.alerts[0].title == "The definition of forecast changed"
