"""The receiver's process gives up what it does not need: its user is the responder's, and it reads no key of it."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.service.access import open_journal
from flows.service.settings import read
from integrations import landlock
from tests.flows.test_part_receiver import proof
from tests.flows.test_up import ROOT, configuration
from tests.lab.house import alert

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock"),
]

TRIED = """
import json, os, signal, socket, sqlite3, sys
from pathlib import Path
from flows.service.part_receiver import confine, prepare

folder, parent, port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
prepared = prepare(folder)
threads = len(os.listdir("/proc/self/task"))
fault = confine(prepared.config)

def written(path):
    try:
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM inbox")
    except sqlite3.OperationalError as exc:
        raise PermissionError(str(exc)) if "readonly" in str(exc) else exc

tries = {
    "the responder's key": lambda: (folder / "keys" / "responder.key").read_bytes(),
    "its folder": lambda: list((folder / "keys").iterdir()),
    "the configuration": lambda: (folder / "people.yaml").read_bytes(),
    "evidence": lambda: (folder / "state" / "evidence").read_bytes(),
    "a new file": lambda: (folder / "state" / "new").write_bytes(b""),
    "another's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "another process": lambda: os.kill(parent, 0),
    "a target": lambda: socket.create_connection(("127.0.0.1", port), 5),
    "the journal": lambda: written(folder / "state" / "journal.db"),
    "a program": lambda: os.execv("/bin/true", ["true"]),
}
got = {}
for name, attempt in tries.items():
    try:
        attempt()
    except PermissionError:
        continue
    except Exception as exc:
        got[name] = repr(exc)
    else:
        got[name] = "done"
print(json.dumps({"threads": threads, "fault": fault, "got": got}))
"""


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Give a configuration with a journal."""
    made = configuration(tmp_path / "config")
    async with await open_journal(read(made), name="r1", writing=True):
        (made / "state" / "evidence").write_text("secret")
    return made


def test_it_reads_no_key_no_evidence_no_other_process_and_reaches_no_target(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        arguments = [str(folder), str(os.getpid()), str(target.getsockname()[1])]
        done = subprocess.run(  # noqa: S603  # of our own making
            [sys.executable, "-c", TRIED, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"threads": 1, "fault": "", "got": {}}


@contextlib.contextmanager
def started(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run the receiver as `up` does, and give its port and what it told `up` first."""
    with socket.create_server(("127.0.0.1", 0)) as entrance:
        entrance.set_inheritable(True)
        process = subprocess.Popen(  # noqa: S603  # of our own making
            [sys.executable, "-m", "flows.service.part", "receiver", str(folder), str(entrance.fileno())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[entrance.fileno()],
        )
        try:
            assert process.stdout is not None
            yield entrance.getsockname()[1], json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate(timeout=30)


async def test_confined_it_takes_alerts_in_as_before(folder: Path) -> None:
    config, body = read(folder), alert("weather")
    with started(folder) as (port, said):
        assert said == {"unconfined": ""}
        statuses = []
        for nonce in ("one", "two", "one"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", "/v1/alerts/siem", body, proof(config, nonce, body))
            statuses.append(connection.getresponse().status)
            connection.close()
    assert statuses == [202, 202, 200]
    async with await open_journal(config, name="r1", writing=True) as journal:
        items = await journal.waiting(9)
        assert [item.nonce for item in items] == ["one", "two"]
        assert all(journal.genuine(item) for item in items)


def test_where_it_cannot_be_confined_it_says_so_and_works(folder: Path) -> None:
    code = "from integrations import landlock; landlock.version = lambda: 0\n"
    code += "import sys; from flows.service.part import main; sys.exit(main(sys.argv[1:]))"
    with socket.create_server(("127.0.0.1", 0)) as entrance:
        entrance.set_inheritable(True)
        process = subprocess.Popen(  # noqa: S603  # of our own making
            [sys.executable, "-c", code, "receiver", str(folder), str(entrance.fileno())],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[entrance.fileno()],
        )
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            connection = http.client.HTTPConnection("127.0.0.1", entrance.getsockname()[1], timeout=30)
            connection.request("GET", "/readyz")
            assert connection.getresponse().status == http.HTTPStatus.OK
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert "no Landlock" in said["unconfined"]
