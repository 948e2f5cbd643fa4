"""What `doctor` says of the workers where Prefect answers as no Prefect does: it is not trusted, and stops nothing."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import workers as pools
from flows.cli.work import workers
from integrations import landlock
from tests.flows.cli.world import Installation

HEARD = "2026-01-01T00:00:00+00:00"


@contextmanager
def answering(answer: Callable[[str], bytes]) -> Iterator[str]:
    """Serve what somebody who has taken Prefect over answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = answer(self.path.removeprefix("/api"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "body",
    [b"[1]", b"{}", b"not JSON", b"\xff", b'[{"name": 1}]', b"[" * 20_000],
    ids=["a number", "an object", "words", "bytes", "nobody", "deep"],
)
def test_whatever_it_says_is_one_line_at_most(site: Installation, body: bytes) -> None:
    with answering(lambda _: body) as api:
        lines = list(workers.seen(site.config, api))
    assert lines
    assert {line.level for line in lines} == {"warn"}


def test_who_is_not_alive_and_what_went_wrong_is_said_and_nothing_of_it_moves_the_cursor(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 7)
    deployment: dict[str, Any] = {"id": "d", "name": "pin-drift", "work_pool_name": "reading"}
    said = {"type": "FAILED", "message": "1 definitions differ\x1b[2J"}
    answers: dict[str, Any] = {
        "/work_pools/filter": [{"name": "requests"}, {"name": "reading"}],
        "/work_pools/requests/workers/filter": [{"name": "w", "status": "OFFLINE", "last_heartbeat_time": HEARD}],
        "/work_pools/reading/workers/filter": [{"name": "w\x1b]", "status": "ONLINE", "last_heartbeat_time": HEARD}],
        "/deployments/filter": [{**deployment, "schedules": [{"active": True}]}],
        "/flow_runs/filter": [{"state_type": "FAILED", "state": said, "end_time": HEARD}],
    }
    with answering(lambda path: json.dumps(answers[path]).encode()) as api:
        requests, reading, drift = workers.seen(site.config, api)
        answers["/deployments/filter"][0]["schedules"] = [{"active": False}]
        *_, paused = workers.seen(site.config, api)
    assert (requests.check, requests.level) == ("prefect.workers requests", "warn")
    assert "no forms are carried out" in requests.message
    assert reading.level == "ok"
    assert (drift.check, drift.level) == ("schedule pin-drift", "warn")
    assert "1 definitions differ" in drift.message
    assert "\x1b" not in "".join(str(line) for line in (requests, reading, drift))
    assert "paused" in paused.message


def test_where_a_pool_can_have_no_worker_it_says_why(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with answering(lambda _: b"[]") as api:
        lines = list(workers.seen(site.config, api))
        assert [line.level for line in lines] == ["warn", "warn"]
        assert all("no Landlock" in line.message for line in lines)
        put(site.folder, {"pools": []})
        assert [line.level for line in workers.seen(site.config, api)] == ["ok", "ok"]
    assert pools.wanted(site.config) == ()


def put(folder: Path, prefect: dict[str, Any]) -> None:
    """Write Prefect's settings."""
    settings = yaml.safe_load((folder / "mcp-soar.yaml").read_text())
    (folder / "mcp-soar.yaml").write_text(yaml.safe_dump({**settings, "prefect": prefect}))
