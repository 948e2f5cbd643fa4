"""`alert send`, to a real receiver on a real journal."""

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from flows.service.access import open_inbox, open_journal
from flows.service.entrance import server
from flows.service.receiver import create_app
from playbooks.strict import now
from tests.flows.cli.world import Installation

ALERTS = Path(__file__).parents[2] / "fixtures" / "alerts"


@contextlib.contextmanager
def receiving(site: Installation) -> Iterator[str]:
    """Run a receiver meanwhile, and give its address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    running: list[uvicorn.Server] = []
    ready = threading.Event()

    async def work() -> None:
        config = site.config
        async with await open_journal(config, name="made", writing=True):
            pass
        async with await open_inbox(config, name="receiver") as journal:
            app = create_app(config.sources.sources, journal, clock=now)
            served = server(app, host="127.0.0.1", port=port)
            running.append(served)
            task = asyncio.create_task(served._serve(sockets=[listener]))  # noqa: SLF001  # signals stay with the tests
            while not served.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
            ready.set()
            await task

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        assert ready.wait(20)
        yield f"http://127.0.0.1:{port}"
    finally:
        for one in running:
            one.should_exit = True
        thread.join(20)
        listener.close()


def test_an_alert_is_signed_accepted_once_and_becomes_an_incident(site: Installation) -> None:
    file = str(ALERTS / "generic-tool-poisoning.json")
    with receiving(site) as url:
        first = site.json("alert", "send", file, "--source", "generic", "--url", url, "--id", "one")
        again = site.json("alert", "send", file, "--source", "generic", "--url", url, "--id", "one")
        status = site.folder / "state" / "up.json"
        status.write_text(json.dumps({"pid": os.getpid(), "receiver": url}), encoding="utf-8")
        found = site.json("alert", "send", file, "--source", "generic", "--id", "one")
        levels = {line["check"]: line["level"] for line in site.json("doctor", code=1)["checks"]}
        (site.folder / "secrets" / "generic").write_text("whsec_" + "QUFB" * 11 + "\n", encoding="utf-8")
        forged = site.error("alert", "send", file, "--source", "generic", "--url", url, code=4)
    assert (first["http_status"], again["http_status"]) == (202, 200)
    assert first["receipt"] == again["receipt"] == found["receipt"]
    assert levels["receiver"] == "ok"
    assert "401" in forged["message"]


def test_what_cannot_be_sent(site: Installation, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps({"version": 1, "title": "x"}), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    good = str(ALERTS / "generic-tool-poisoning.json")
    assert (
        "detected_at" in site.error("alert", "send", str(bad), "--source", "generic", "--url", url, code=2)["message"]
    )
    assert site.error("alert", "send", str(tmp_path / "none"), "--source", "generic", "--url", url, code=6)
    assert "generic" in site.error("alert", "send", good, "--source", "nobody", "--url", url, code=6)["message"]
    assert "mcp-soar up" in site.error("alert", "send", good, "--source", "generic", "--url", url, code=5)["message"]
    assert site.error("alert", "send", good, "--source", "generic", "--url", "file:///etc/passwd", code=2)


@pytest.mark.parametrize("name", ["generic-resolved", "generic-updated"])
def test_only_what_is_new_would_start_a_response(site: Installation, name: str) -> None:
    found = site.json("plan", str(ALERTS / f"{name}.json"), "--source", "generic")
    assert found["plans"] == []
    assert any("nothing new" in note for note in found["notes"])
