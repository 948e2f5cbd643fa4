"""What a worker of `up` is given and what it can do: its pool's work, and nothing else, whoever commands it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.checks import drift
from flows.service import workers
from flows.service.access import open_journal
from flows.service.needed import needed_by_python
from flows.service.settings import read
from integrations import landlock
from integrations.siem.source import new_secret
from integrations.yara import matching
from playbooks.errors import Misconfigured
from playbooks.record.journal import Event
from tests.flows.test_up import ROOT, configuration

WRITES = {"the inbox, written", "the turn at writing it", "the queue for that"}
TRIED = """
import json, os, signal, socket, subprocess, sys
from pathlib import Path
from flows.service.part_worker import confine
from integrations.yara import matching

folder, parent, target, prefect = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
threads = len(os.listdir("/proc/self/task"))
fault = confine()
journal = folder / "state" / "journal.db"
tries = {
    "the responder's key": lambda: (folder / "keys" / "responder.key").read_bytes(),
    "a source's secret": lambda: (folder / "keys" / "siem").read_bytes(),
    "their folder": lambda: list((folder / "keys").iterdir()),
    "the receiver's stamp": lambda: (folder / "keys" / "receiver.stamp").read_bytes(),
    "Prefect's password": lambda: (folder / "state" / "prefect" / "auth").read_bytes(),
    "evidence": lambda: (folder / "state" / "evidence").read_bytes(),
    "the configuration": lambda: (folder / "inventory.yaml").write_bytes(b""),
    "the other pool's folder": lambda: (folder / "state" / "workers" / sys.argv[5] / "new").write_bytes(b""),
    "a new file": lambda: (folder / "state" / "new").write_bytes(b""),
    "another's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "another process": lambda: os.kill(parent, 0),
    "a target": lambda: socket.create_connection(("127.0.0.1", target), 5),
    "a program": lambda: subprocess.run(["/bin/true"], check=True),
    "the journal, written": lambda: journal.open("r+b").close(),
    "the journal, read": lambda: journal.open("rb").close(),
    "the turn at writing the journal": lambda: journal.with_name("journal.db-turn").open("rb").close(),
    "the inbox, written": lambda: journal.with_name("journal.db-inbox").open("r+b").close(),
    "the turn at writing it": lambda: journal.with_name("journal.db-inbox-turn").open("rb").close(),
    "the queue for that": lambda: journal.with_name("journal.db-inbox-queue").open("rb").close(),
    "its own folder": lambda: (Path(os.environ["HOME"]) / "new").write_bytes(b""),
    "Prefect": lambda: socket.create_connection(("127.0.0.1", prefect), 5).close(),
    "Python": lambda: subprocess.run([sys.executable, "-c", "import sqlite3"], check=True),
    "its configuration": lambda: os.environ.get("MCP_SOAR_CONFIG") and os.listdir(os.environ["MCP_SOAR_CONFIG"]),
    "rules": lambda: (place := os.environ.get("MCP_SOAR_CONFIG")) and matching(Path(place))(b"Ulm")[0],
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
    """Give a configuration with a journal, and with a secret of every kind."""
    made = configuration(tmp_path / "config")
    (made / "keys" / "drift").write_text(new_secret())
    sources = yaml.safe_load((made / "sources.yaml").read_text())
    source = sources["sources"]["siem"]
    sources["sources"]["drift"] = {**source, "authentication": {"hmac": {"secrets": [{"file": "keys/drift"}]}}}
    (made / "sources.yaml").write_text(yaml.safe_dump(sources))
    async with await open_journal(read(made), name="r1", writing=True) as journal:
        assert await journal.ready()
        await journal.append("a", [Event("x", {})])
        (made / "state" / "evidence").write_text("secret")
    (made / "state" / "prefect").mkdir()
    (made / "state" / "prefect" / "auth").write_text("mcp-soar:the password")
    return made


def given(folder: Path, pool: str, **more: str) -> workers.Worker:
    """Return what a worker is given."""
    reporting = {"PREFECT_API_URL": "http://127.0.0.1:9/api", **more}
    return workers.worker(read(folder), pool, folder / "state", receiver="http://127.0.0.1:9", reporting=reporting)


@pytest.mark.parametrize("pool", workers.POOLS)
def test_its_environment_and_its_files_hold_no_key(folder: Path, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the cloud's")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    worker = given(folder, pool)
    assert not {"AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK"} & worker.environment.keys()
    keys = {path.name: path.read_text() for path in (folder / "keys").iterdir() if path.suffix != ".pub"}
    held = json.dumps(dict(worker.environment))
    for root in (folder / "state" / "workers").rglob("*"):
        held += root.read_text() if root.is_file() else ""
    assert len(keys) == 5
    for name, key in keys.items():
        # In whose name differences are reported is the one thing that the schedules may say.
        assert (key.strip() in held) == (name == "drift" and pool == workers.READING), name
    assert "PRIVATE KEY" not in held


@pytest.mark.parametrize("pool", workers.POOLS)
def test_what_a_run_left_in_its_folder_does_not_run_before_the_next_one_is_confined(folder: Path, pool: str) -> None:
    worker = given(folder, pool)
    # A Python of no virtual environment, as after `pip install .` in a container: one that looks into the home.
    python = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    environment = {**worker.environment, "PYTHONPATH": str(ROOT)}
    asked = [python, "-c", "import site; print(site.getusersitepackages())"]
    place = Path(subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip())  # noqa: S603  # of our own making
    assert place.is_relative_to(worker.home)
    place.mkdir(parents=True)
    (place / "usercustomize.py").write_text("print('left there')\n")
    (place / "left.pth").write_text("import sys; print('left there too')\n")
    (worker.home / "flows.py").write_text("print('left here')\n")
    done = subprocess.run(  # noqa: S603  # of our own making
        [python, "-c", "import flows"], cwd=worker.home, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


def ruled(folder: Path) -> None:
    (folder / "screening").mkdir()
    (folder / "screening" / "ours.yar").write_text('rule Ulm { strings: $a = "Ulm" condition: $a }')


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize(
    ("pool", "can"),
    [
        (workers.REQUESTS, {*WRITES, "the journal, read", "its own folder", "Prefect", "Python"}),
        (workers.READING, {"the journal, read", "its own folder", "Prefect", "Python"}),
    ],
)
def test_whoever_commands_it_reaches_its_work_and_nothing_else(folder: Path, pool: str, can: set[str]) -> None:
    ruled(folder)
    with socket.create_server(("127.0.0.1", 0)) as target, socket.create_server(("127.0.0.1", 0)) as prefect:
        ports = target.getsockname()[1], prefect.getsockname()[1]
        worker = given(folder, pool, PREFECT_API_URL=f"http://127.0.0.1:{ports[1]}/api")
        (other,) = set(workers.POOLS) - {pool}
        (folder / "state" / "workers" / other).mkdir(exist_ok=True)
        done = subprocess.run(  # noqa: S603  # of our own making
            [sys.executable, "-c", TRIED, str(folder), str(os.getpid()), *map(str, ports), other],
            cwd=ROOT,
            env=dict(worker.environment),
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    expected = {**dict.fromkeys(can, "done"), "its configuration": "done", "rules": "done"}
    assert json.loads(done.stdout) == {"threads": 1, "fault": "", "got": expected}


def test_the_copy_follows_and_what_is_invalid_leaves_it_as_it_was(folder: Path) -> None:
    given(folder, workers.READING)
    copied, state = folder / "state" / "workers" / "configuration", folder / "state"
    inode = copied.stat().st_ino
    server: dict[str, Any] = {"title": "W", "url": "http://127.0.0.1:7777/mcp", "owner": "w", "environment": "dev"}
    (folder / "inventory.yaml").write_text(yaml.safe_dump({"version": 1, "servers": {"weather": server}}))
    assert workers.renew(folder, state), "its server is reached by a port of its own"
    assert list(read(copied).inventory.servers) == ["weather"]
    ruled(folder)
    (folder / "answers.yaml").write_text("version: 1\n")
    before = workers.stamps(folder)
    workers.renew(folder, state)
    assert matching(copied)(b"Ulm") == ("Ulm",)
    assert (copied / "answers.yaml").exists()
    (folder / "screening" / "ours.yar").unlink()
    assert workers.stamps(folder) != before, "whoever looks whether something changed sees that"
    (folder / "policy.yaml").write_text("version: 1\n")
    assert not workers.renew(folder, state)
    (folder / "inventory.yaml").write_text("version: 2\n")
    with pytest.raises(Misconfigured, match="version"):
        workers.renew(folder, state)
    assert list(read(copied).inventory.servers) == ["weather"]
    (folder / "policy.yaml").unlink()
    (folder / "inventory.yaml").write_text("version: 1\n")
    workers.renew(folder, state)
    assert not (copied / "policy.yaml").exists()
    assert copied.stat().st_ino == inode, "a confined worker was let into that folder"


def test_where_it_cannot_be_confined_it_does_not_run_unless_somebody_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 0)
    assert "no Landlock" in workers.lacking(read(folder), workers.REQUESTS)
    settings = yaml.safe_load((folder / "mcp-soar.yaml").read_text())
    settings["prefect"]["unconfined"] = True
    (folder / "mcp-soar.yaml").write_text(yaml.safe_dump(settings))
    assert not workers.lacking(read(folder), workers.REQUESTS)


@pytest.mark.parametrize(
    ("kept", "what"),
    [
        ({}, ""),
        ({"vault": {"path": "PREFIX/etc/vault"}}, "the evidence is in"),
        ({"vault": {"bundles": "PREFIX/etc/bundles"}}, "a bundle of evidence is in"),
        ({"key": "PREFIX/etc/responder.key"}, "the responder's key is in"),
        ({"receiver": {"port": 0, "stamp": "PREFIX/etc/stamp"}}, "the receiver's stamp is in"),
        ({"prefect": {"auth": {"file": "PREFIX/etc/auth"}}}, "a secret is in"),
    ],
)
def test_where_what_is_kept_from_it_lies_in_what_python_reads_it_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: dict[str, Any], what: str
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 9)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "prefix"))
    placed = json.loads(json.dumps(kept).replace("PREFIX", str(tmp_path / "prefix")))
    config = read(configuration(tmp_path / "config", **placed))
    for pool in workers.POOLS:
        why = workers.lacking(config, pool)
        assert (what in why) if what else not why, why
        assert not why or str(tmp_path / "prefix") in why


@pytest.mark.parametrize("linked", ["config", "state", "keys"])
def test_a_link_into_what_python_reads_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str
) -> None:
    monkeypatch.setattr(landlock, "version", lambda: 9)
    folder = configuration(tmp_path / "config")
    (folder / "state").mkdir(exist_ok=True)
    place = folder if linked == "config" else folder / linked
    inside = tmp_path / "prefix" / linked
    inside.parent.mkdir()
    place.rename(inside)
    place.symlink_to(inside)
    assert not workers.lacking(read(folder), workers.REQUESTS)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    assert "keep it elsewhere" in workers.lacking(read(folder), workers.REQUESTS)


def test_the_systems_private_keys_are_not_among_what_python_reads() -> None:
    needed = [path.resolve() for path in needed_by_python()]
    for key in map(Path, ("/etc/ssl/private/soar.key", "/etc/pki/tls/private/soar.key")):
        assert not [path for path in needed if key.is_relative_to(path)]


@pytest.mark.parametrize(
    ("prefect", "pools"),
    [
        ({}, workers.POOLS),
        ({"pools": ["reading"]}, (workers.READING,)),
        ({"pools": []}, ()),
        ({"api": "http://127.0.0.1:4200/api"}, ()),
        ({"api": "http://127.0.0.1:4200/api", "pools": ["requests"]}, (workers.REQUESTS,)),
    ],
)
def test_whose_work_is_done_is_said_in_the_settings(tmp_path: Path, prefect: dict[str, Any], pools: object) -> None:
    assert workers.wanted(read(configuration(tmp_path / "config", prefect=prefect))) == pools


def test_on_postgresql_each_needs_an_account_of_its_own(tmp_path: Path) -> None:
    journal = {"url": "postgresql://soar@127.0.0.1/soar"}
    bare = read(configuration(tmp_path / "bare", journal=journal))
    assert "prefect.workers" in workers.lacking(bare, workers.REQUESTS)
    assert "prefect.readers" in workers.lacking(bare, workers.READING)
    accounts = {"workers": "soar_worker", "readers": {"user": "soar_reader", "password": {"env": "READER"}}}
    config = read(configuration(tmp_path / "config", journal=journal, prefect=accounts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("READER", "p w")
        environments = {
            pool: workers.worker(config, pool, tmp_path, receiver="http://127.0.0.1:9", reporting={}).environment
            for pool in workers.POOLS
        }
    assert environments["requests"][workers.INBOX] == "postgresql://soar_worker@127.0.0.1/soar"
    assert environments["reading"][workers.JOURNAL] == "postgresql://soar_reader:p%20w@127.0.0.1/soar"


def test_a_server_over_stdio_is_left_out_where_no_program_can_be_started_and_nowhere_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = {"title": "L", "command": ["server"], "owner": "l", "environment": "dev"}
    remote = {"title": "R", "url": "http://127.0.0.1:9/mcp", "owner": "r", "environment": "dev"}
    inventory = {"version": 1, "servers": {"local": local, "remote": remote}}
    (folder / "inventory.yaml").write_text(yaml.safe_dump(inventory))
    assert drift.left_out(read(folder)) == {}
    monkeypatch.setenv(workers.CONFINED, "1")
    assert list(drift.left_out(read(folder))) == ["local"]
