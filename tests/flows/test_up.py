"""`up` as a process: it says where everything is, mends what dies, and leaves nothing running however it ends."""

import asyncio
import base64
import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.cli.up import run as start
from flows.service.part_responder import respond
from flows.service.settings import read
from flows.service.up import up as run_all
from flows.service.workers import READING
from integrations import landlock
from integrations.siem.source import new_secret
from integrations.signing import SigningKey
from playbooks.errors import Misconfigured
from playbooks.people.request import People, Person, Verb, draft, sign
from playbooks.strict import now

ROOT = Path(__file__).resolve().parents[2]
WITHIN = 240.0

pytestmark = [pytest.mark.platform, pytest.mark.timeout(900)]


def configuration(folder: Path, **settings: Any) -> Path:  # noqa: ANN401  # of mcp-soar.yaml
    """Write a configuration with nothing to respond to."""
    (folder / "keys").mkdir(parents=True, mode=0o700)
    key = SigningKey.generate(folder / "keys" / "responder.key")
    (folder / "keys" / "responder.pub").write_bytes(key.public.pem)
    (folder / "keys" / "siem").touch(mode=0o600)
    (folder / "keys" / "siem").write_text(new_secret())
    source = {
        "format": "generic",
        "authentication": {"hmac": {"secrets": [{"file": "keys/siem"}]}},
        "confidence": "high",
    }
    ann = SigningKey.generate(folder / "keys" / "ann.key")
    public = "ed25519:" + base64.b64encode(ann.public.raw).decode()
    people = People(people={"ann": Person(key=public, roles=("responder",), enrolled_at=now())})
    documents: dict[str, Any] = {
        "mcp-soar.yaml": {"version": 1, "receiver": {"port": 0}, "prefect": {"port": 0}, **settings},
        "inventory.yaml": {"version": 1},
        "sources.yaml": {"version": 1, "sources": {"siem": source}},
        "people.yaml": people.model_dump(mode="json"),
    }
    for name, document in documents.items():
        (folder / name).write_text(yaml.safe_dump(document))
    return folder


class Up:
    """A running `mcp-soar up`.

    Args:
        folder: its configuration.
        only: the part that it runs alone.
    """

    def __init__(self, folder: Path, *, only: str = "") -> None:
        self.folder = folder
        self.log = folder / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603  # of our own making
                [
                    Path(sys.executable).with_name("mcp-soar"),
                    "up",
                    "--config",
                    folder,
                    *(["--only", only] if only else []),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def status(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.folder / "state" / "up.json").read_text())
            return found
        return {}

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WITHIN
        while not condition():
            assert time.monotonic() < deadline, f"{what}: {self.said}"
            time.sleep(0.05)

    def processes(self, part: str = "") -> list[int]:
        """Return the processes of this installation, which all name its folder or are its children."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                ours = os.fsencode(self.folder) in words or os.fsencode(self.folder) in (entry / "environ").read_bytes()
                if ours and b"-m" in words and part.encode() in b" ".join(words):
                    found.append(int(entry.name))
        return found


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    running = Up(configuration(tmp_path / "config"))
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.process.kill()
        running.process.wait()


@pytest.mark.slow
def test_it_mends_what_dies_and_ends_in_order(up: Up) -> None:
    up.until(lambda: up.status().get("prefect_ready"), "everything is up")
    status = up.status()
    for line in (
        "responder  ready",
        f"receiver   {status['receiver']}/v1/alerts/<source>, sources: siem",
        "Prefect    ",
        f"export PREFECT_API_URL={status['prefect']}",
        f'export PREFECT_API_AUTH_STRING="$(cat {up.folder}/state/prefect/auth)"',
    ):
        assert line in up.said
    auth = up.folder / "state" / "prefect" / "auth"
    assert auth.stat().st_mode & 0o777 == 0o600
    host = status["prefect"].removeprefix("http://").removesuffix("/api")
    connection = http.client.HTTPConnection(host, timeout=10)
    connection.request("GET", "/api/admin/version")
    assert connection.getresponse().status == http.HTTPStatus.UNAUTHORIZED
    connection.close()
    password = auth.read_text().strip()
    up.until(
        lambda: re.search(r"^all 6 parts are up, \d+ s after the start$", up.said, re.MULTILINE),
        "it says that that is all",
    )
    assert up.said.index("Prefect    starts") < up.said.index("Prefect    http")
    assert re.search(r"^requests   does what .*$", up.said, re.MULTILINE)
    assert re.search(r"^reading    does what .*$", up.said, re.MULTILINE)
    the_forms_and_the_schedules_are_worked_on(up, status["prefect"], password)
    if landlock.version():
        whoever_commands_a_worker_finds_no_key(up, status["prefect"], password)
    for log in (up.log, *(up.folder / "state" / "logs").iterdir()):
        assert password.partition(":")[2] not in log.read_text(), log

    for part in (
        "flows.service.part receiver",
        "flows.service.part responder",
        "flows.service.part flows",
        "flows.service.part worker requests",
    ):
        (victim,) = up.processes(part)
        os.kill(victim, signal.SIGKILL)
        up.until(
            lambda part=part, victim=victim: (now_ := up.processes(part)) and now_ != [victim],  # type: ignore[misc]
            f"{part} is back",
        )
    assert "receiver ended with status -9; starting it again" in up.said
    assert "responder ended with status -9; starting it again" in up.said
    assert "flows ended with status -9; starting it again" in up.said
    assert "requests ended with status -9; starting it again" in up.said
    host = status["receiver"].removeprefix("http://")
    up.until(lambda: answers(host, "/readyz"), "the receiver answers at the same address")

    began = time.monotonic()
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(timeout=30) == 0
    assert time.monotonic() - began < 20
    assert re.search(r"^stopping   .* within 18 s$", up.said, re.MULTILINE)
    assert "everything has stopped" in up.said
    assert not up.processes()
    assert not up.status()


def the_forms_and_the_schedules_are_worked_on(up: Up, api: str, password: str) -> None:
    """Start a run of each pool as the lines that `up` prints say, and see what it comes to."""
    key = SigningKey.load(up.folder / "keys" / "ann.key")
    signed = sign(draft(actor="ann", verb=Verb.STOP, subject="everything", reason="x", at=now()), key.sign)
    client = {**os.environ, "PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": password}
    client |= {"PREFECT_HOME": str(up.folder / "person"), "PREFECT_CLI_PROMPT": "false"}
    told = "stop/stop", "verify-journal/verify-journal"
    for name, parameters in zip(told, (("--param", f"request={signed.model_dump_json()}"), ()), strict=True):
        done = subprocess.run(  # noqa: S603  # of our own making
            [sys.executable, "-m", "prefect", "deployment", "run", name, "--watch", *parameters],
            env=client,
            capture_output=True,
            text=True,
            check=False,
            cwd=up.folder,
        )
        assert done.returncode == 0, (done.stdout, done.stderr, (up.folder / "state/logs/requests.log").read_text())
    with contextlib.closing(sqlite3.connect(up.folder / "state" / "journal.db")) as database:
        (found,) = database.execute("SELECT count(*) FROM entry WHERE stream = 'switches'").fetchone()
    assert found == 1, "ann's stop is in force"
    words = ["doctor", "--json", "--config", str(up.folder)]
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-m", "flows.cli.main", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    checks = {one["check"]: one for one in json.loads(done.stdout)["checks"]}
    for pool, name in (("requests", "hand-in"), ("reading", "pin-drift")):
        line = checks[f"prefect.workers {pool}"]
        assert (line["level"], name in line["message"]) == ("ok", True), line
    assert "its last run ended well" in checks["schedule verify-journal"]["message"]
    assert checks["schedule pin-drift"]["message"] == "it has not run yet"


STEAL = """
import json, os
from pathlib import Path
folder, got = Path(FOLDER), []
for name in ("keys/responder.key", "keys/ann.key", "keys/siem", "state/prefect/auth", "mcp-soar.yaml"):
    try:
        got.append((folder / name).read_text())
    except PermissionError:
        pass
try:
    got.append(Path("/proc/PARENT/environ").read_text())
except PermissionError:
    pass
loot = Path(os.environ["HOME"]) / "loot"
loot.with_suffix(".new").write_text(json.dumps([got, dict(os.environ)]))
loot.with_suffix(".new").replace(loot)
"""


def whoever_commands_a_worker_finds_no_key(up: Up, api: str, password: str) -> None:
    """Have each worker run a command of an attacker's, as whoever reaches Prefect's API can."""

    def ask(path: str, body: object) -> Any:  # noqa: ANN401  # of Prefect
        headers = {"Authorization": "Basic " + base64.b64encode(password.encode()).decode()}
        headers["Content-Type"] = "application/json"
        deadline = time.monotonic() + WITHIN
        while True:
            connection = http.client.HTTPConnection(api.removeprefix("http://").removesuffix("/api"), timeout=30)
            connection.request("POST", f"/api{path}", json.dumps(body), headers)
            response = connection.getresponse()
            answer = response.read()
            connection.close()
            # A busy SQLite is no refusal.
            if response.status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                assert response.status < http.HTTPStatus.BAD_REQUEST, answer
                return json.loads(answer)
            assert time.monotonic() < deadline, answer
            time.sleep(0.5)

    (responder,) = up.processes("flows.service.part responder")
    code = STEAL.replace("FOLDER", repr(str(up.folder))).replace("PARENT", str(responder))
    command = shlex.join([sys.executable, "-c", code])
    flow = ask("/flows/", {"name": "steal"})["id"]
    keys = [path.read_text().strip() for path in (up.folder / "keys").iterdir() if path.suffix != ".pub"]
    assert len(keys) == 4
    for pool in ("requests", "reading"):
        evil = {"name": pool, "flow_id": flow, "work_pool_name": pool, "entrypoint": "steal.py:steal"}
        made = ask("/deployments/", {**evil, "job_variables": {"command": command}})
        ask(f"/deployments/{made['id']}/create_flow_run", {})
        loot = up.folder / "state" / "workers" / pool / "loot"
        up.until(loot.exists, f"the worker of {pool} has run it; its log is {up.folder}/state/logs/{pool}.log")
        read, environment = json.loads(loot.read_text())
        assert read == []
        assert "PREFECT_API_AUTH_STRING" in environment, "it is the worker's own"
        assert not any(key in json.dumps(environment) for key in keys)


@pytest.mark.slow
async def test_it_says_when_all_is_up_however_late_and_that_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = configuration(tmp_path / "config")
    said: list[str] = []
    complete, stop = asyncio.Event(), asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("receiver "):
            # From here on there is only what nothing waits for, and all of it is late.
            monkeypatch.setattr("flows.service.up.READY_WITHIN", 0.0)
        if "parts are up" in line:
            complete.set()

    running = asyncio.create_task(run_all(read(folder), say, pools=(READING,), stop=stop))
    async with asyncio.timeout(WITHIN):
        await complete.wait()
        assert re.fullmatch(r"all 5 parts are up, \d+ s after the start", said[-1])
        assert [line for line in said if "parts are up" in line] == said[-1:]
        for late, there in (("prefect", "Prefect    http"), (READING, f"{READING}    does")):
            (refused,) = [at for at, line in enumerate(said) if line.startswith(f"{late} is not ready after 0 s; ")]
            (served,) = [at for at, line in enumerate(said) if line.startswith(there)]
            assert refused < served, said
        stop.set()
        await running
    assert said[-2].startswith("stopping   what is in hand is finished first")
    assert said[-1] == "everything has stopped"


@pytest.mark.slow
def test_nothing_outlives_it_when_it_is_killed(up: Up) -> None:
    up.until(up.status, "it is up")
    up.until(lambda: up.processes("flows.service.part worker requests"), "the workers have begun")
    assert len(up.processes()) >= 6
    up.process.kill()
    up.process.wait()
    up.until(lambda: not up.processes(), "nothing is left")


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("mcp-soar.yaml", "version: 1\nreceiver:\n  prot: 1\n", "3: receiver.prot: is not a field here"),
        ("policy.yaml", "version: 1\nautomatic_up_to: fleet\n", "2: automatic_up_to: a whole fleet"),
        ("policy.yaml", "version: 1\nlease:\n  at_expiry: forget\n", "3: lease.at_expiry: Input should be"),
        ("playbooks/mine.yaml", "version: 1\nid: mine\ntitel: Mine\n", "3: titel: is not a field here"),
    ],
)
def test_a_mistake_in_the_configuration_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, says: str
) -> None:
    folder = configuration(tmp_path / "config")
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(text)
    assert start(folder) == 3
    assert f"{folder / file}:{says}" in capsys.readouterr().err
    assert not (folder / "state").exists()


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("action: gateway.disable_tool", "action: gateway.disable", "cut-tool.action: there is no step"),
        ("action: gateway.disable_tool", "capture: gateway.disable_tool", "cut-tool.capture: gateway.disable_tool is "),
        ("lease: 24h", "with: {servr: x}", "cut-tool.with.servr: gateway."),
    ],
)
def test_a_playbook_that_could_not_be_carried_out_is_named_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], right: str, wrong: str, says: str
) -> None:
    folder = configuration(tmp_path / "config")
    text = (ROOT / "playbooks" / "catalog" / "tool_poisoning.yaml").read_text()
    place = text.index(right, text.index("id: cut-tool"))
    file = folder / "playbooks" / "tool_poisoning.yaml"
    file.parent.mkdir()
    file.write_text(text[:place] + text[place:].replace(right, wrong, 1))
    assert start(folder) == 3
    assert f"{file}:{text[:place].count(chr(10)) + 1}: {says}" in capsys.readouterr().err
    assert not (folder / "state").exists()


def test_a_mistake_is_told_by_the_process_itself(tmp_path: Path) -> None:
    folder = configuration(tmp_path / "config")
    (folder / "inventory.yaml").write_text("version: 2\n")
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-m", "flows.cli.up", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert f"{folder / 'inventory.yaml'}:1: version: " in done.stderr
    assert done.stdout == ""


def is_up(running: Up) -> bool:
    return "parts are up" in running.said


def test_a_responder_and_a_receiver_run_each_alone(tmp_path: Path) -> None:
    folder = configuration(tmp_path / "config", prefect={"api": "http://127.0.0.1:9/api"})
    for only, runs in (("responder", {"responder", "flows"}), ("receiver", {"receiver"})):
        running = Up(folder, only=only)
        try:
            running.until(partial(is_up, running), "it is up")
            parts = {one for one in ("responder", "flows", "receiver", "prefect") if running.processes(f"part {one}")}
            assert parts == runs
            assert bool(running.status()["receiver"]) is (only == "receiver")
        finally:
            running.process.terminate()
            assert running.process.wait(WITHIN) == 0
        assert not running.processes()


def test_a_responder_alone_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"prefect\.api"):
        asyncio.run(run_all(read(configuration(tmp_path / "config")), print, only="responder"))


def test_a_mistake_that_a_part_finds_ends_it_with_its_words(tmp_path: Path) -> None:
    folder = configuration(tmp_path / "config")
    (folder / "keys" / "responder.key").chmod(0o644)
    done = subprocess.run(  # noqa: S603  # of our own making
        [sys.executable, "-m", "flows.cli.up", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "others can read this key" in done.stderr


async def test_a_slack_token_that_is_not_there_keeps_nobody_from_responding(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = configuration(tmp_path / "config")
    slack = {"bot_token": {"env": "NO_SUCH_BOT"}, "app_token": {"env": "NO_SUCH_APP"}}
    (folder / "contacts.yaml").write_text(yaml.safe_dump({"version": 1, "channels": {"slack": slack}}))
    stop, ready = asyncio.Event(), asyncio.Event()
    responding = asyncio.create_task(respond(folder, "", stop, ready=ready.set))
    try:
        async with asyncio.timeout(WITHIN):
            while not (responding.done() or (ready.is_set() and "nobody can press" in caplog.text)):  # noqa: ASYNC110  # the log has no event
                await asyncio.sleep(0.02)
        assert not responding.done()
    finally:
        stop.set()
        await responding
    assert "channels.slack.app_token: the environment variable NO_SUCH_APP is not set" in caplog.text


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    async def listen() -> tuple[asyncio.Server, int]:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        return server, server.sockets[0].getsockname()[1]

    with asyncio.Runner() as runner:
        server, port = runner.run(listen())
        folder = configuration(tmp_path / "config", receiver={"port": port})
        done = subprocess.run(  # noqa: S603  # of our own making
            [sys.executable, "-m", "flows.cli.up", str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        server.close()
    assert done.returncode == 3
    assert "receiver.port" in done.stderr


def answers(host: str, path: str) -> bool:
    """Whether an HTTP server answers 200."""
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
