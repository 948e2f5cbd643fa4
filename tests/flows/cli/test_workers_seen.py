"""What `doctor` says of the workers where Prefect answers as no Prefect does: it is not trusted, and stops nothing."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.work import workers
from flows.service import workers as pools
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


def test_of_a_worker_that_died_or_was_not_heard_of_since_it_began_nothing_is_said(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 7)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    heard = datetime.now(UTC).isoformat()
    answers: dict[str, Any] = {
        "/work_pools/filter": [{"name": "requests"}, {"name": "reading"}],
        "/deployments/filter": [],
    }
    for pool in pools.POOLS:
        one = {"name": pools.name_of(pool), "status": "ONLINE", "last_heartbeat_time": heard}
        answers[f"/work_pools/{pool}/workers/filter"] = [one]
        (site.folder / "state" / "workers" / pool).mkdir(parents=True)

    def begun(pid: int, since: str) -> list[str]:
        for pool in pools.POOLS:
            word = json.dumps({"pid": pid, "since": since})
            (site.folder / "state" / "workers" / pool / "begun.json").write_text(word)
        return [line.level for line in workers.seen(site.config, api)]

    with answering(lambda path: json.dumps(answers[path]).encode()) as api:
        assert [line.level for line in workers.seen(site.config, api)] == ["ok", "ok"], "one of an earlier release"
        assert begun(os.getpid(), "2026-01-01T00:00:00+00:00") == ["ok", "ok"]
        assert begun(ended.pid, "2026-01-01T00:00:00+00:00") == ["warn", "warn"]
        # What Prefect heard last was the one before it, which had its name.
        assert begun(os.getpid(), (datetime.now(UTC) + timedelta(minutes=1)).isoformat()) == ["warn", "warn"]
        # One on another machine is not ours to know.
        for pool in pools.POOLS:
            answers[f"/work_pools/{pool}/workers/filter"][0]["name"] = f"mcp-soar up at elsewhere, {pool}"
        assert begun(ended.pid, "2026-01-01T00:00:00+00:00") == ["ok", "ok"]


def test_whoever_begins_leaves_word_that_is_read_again(site: Installation) -> None:
    home = site.folder / "state" / "workers" / pools.READING
    home.mkdir(parents=True)
    assert pools.begun(site.folder, pools.READING) is None
    pools.begins(home)
    found = pools.begun(site.folder, pools.READING)
    assert found is not None
    assert found[0]
    assert found[1] <= datetime.now(UTC)


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
