"""The demonstration, as people run it: with every real part, from start to release."""

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.demo.contextforge import executable
from flows.demo.play import prove
from flows.demo.screen import Screen
from flows.demo.site import GATEWAY
from flows.demo.stage import PEOPLE, TOOL, Failed, Stage
from integrations.signing import SigningKey
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Misconfigured
from playbooks.estate.pins import PinKind
from tests.lab.fixtures import Lab

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.system("contextforge"), pytest.mark.timeout(400)]


@pytest.fixture(autouse=True)
def _gateway() -> None:
    try:
        executable()
    except Misconfigured as exc:
        pytest.skip(str(exc))


def started(tmp_path: Path, *options: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  # of our own making
        [sys.executable, "-m", "flows.cli.demo", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left(tmp_path: Path) -> list[str]:
    """Return the command lines of processes that still use the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes() + b"\0" + (entry / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(tmp_path) in words and int(entry.name) != os.getpid():
            found.append((entry / "cmdline").read_text().replace("\0", " "))
    return found


def gone(tmp_path: Path, within: float = 30.0) -> bool:
    deadline = time.monotonic() + within
    while left(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not left(tmp_path)


@pytest.mark.slow
def test_it_contains_proves_and_gives_back(tmp_path: Path) -> None:
    process = started(tmp_path, "--release")
    output, _ = process.communicate(timeout=380)
    assert process.returncode == 0, output
    for words in (
        "202 Accepted",
        "verified cut-tool@weather/get_weather: established",
        "refused (Tool 'weather-get-weather'",
        "the evidence bundle verifies offline",
        "verified time to contain",
        "in force",
        "released cut-tool@weather/get_weather",
        "the gateway's state is what it was before",
        "It all held",
    ):
        assert words in output
    assert "\x1b" not in output
    # Nothing is named that does not answer any more.
    assert "http://" not in output
    assert "in another terminal" not in output
    # What is to be copied is never wrapped.
    long = [line for line in output.splitlines() if len(line) > 80 and not line.startswith("  /")]
    assert not long
    assert gone(tmp_path), left(tmp_path)


@pytest.mark.slow
def test_kept_its_commands_work_as_they_are_printed(tmp_path: Path) -> None:
    process = started(tmp_path, "--keep")
    try:
        _tried(process, tmp_path)
    finally:
        # Its leashes end the rest.
        process.kill()


def _tried(process: subprocess.Popen[str], tmp_path: Path) -> None:
    assert process.stdout is not None
    printed = []
    for line in process.stdout:
        printed.append(line.rstrip("\n"))
        if "Everything goes on running" in line:
            break
    assert "Everything goes on running" in printed[-1], "\n".join(printed)
    assert len(left(tmp_path)) > 3, "server, gateway, receiver, responder, Prefect"
    assert any("watch it in Prefect" in line for line in printed)

    exports = [line.strip() for line in printed if line.startswith("  export ")]
    commands = [line.strip() for line in printed if line.startswith("  mcp-soar ")]
    assert [command.split()[1] for command in commands] == [
        *("incidents", "incident", "leases", "doctor"),
        *("demo", "release", "respond", "approve"),
    ]
    assert all(len(line) <= 90 for line in commands)
    # Whoever has keys of their own for people of these names is not in the way of the demonstration's.
    own = tmp_path / ".config" / "mcp-soar" / "people"
    own.mkdir(parents=True)
    for name in PEOPLE:
        SigningKey.generate(own / f"{name}.key")
    for command in commands:
        code, said = typed("; ".join([*exports, command]), tmp_path)
        assert code == 0, f"{command}: {said}"
        if command.endswith("doctor"):
            assert "0 fail" in said
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert gone(tmp_path), left(tmp_path)


def typed(line: str, home: Path) -> tuple[int, str]:
    """Have a shell run a line in a terminal whose person says yes, and return its status and what it showed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(  # noqa: S603  # of our own making
        ["/bin/bash", "--noprofile", "--norc", "-c", line],
        cwd=home,
        env={**os.environ, "HOME": str(home), "TERM": "dumb", "COLUMNS": "200"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    os.write(master, b"y\n")
    said = b""
    # A terminal that everybody has left is an error to read from.
    with contextlib.suppress(OSError):
        while more := os.read(master, 65536):
            said += more
    os.close(master)
    return process.wait(timeout=240), said.decode()


def test_what_does_not_come_up_is_no_success(tmp_path: Path) -> None:
    process = started(tmp_path, MCP_SOAR_GATEWAY_VENV=str(tmp_path / "nothing"))
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 1, output
    assert "It could not be tried: " in output
    assert gone(tmp_path), left(tmp_path)


async def test_it_is_no_success_while_the_tool_can_be_called_or_the_evidence_is_spoiled(
    lab: Lab, tmp_path: Path
) -> None:
    keys, spoiled = tmp_path / "keys", tmp_path / "spoiled.tar.gz"
    keys.mkdir()
    (keys / "responder.pub").write_bytes(SigningKey.generate(keys / "responder.key").public.pem)
    spoiled.write_bytes(b"nothing of the kind")
    stage = Stage(folder=tmp_path, config=tmp_path, server=lab.victim, gateway=lab.gateway, site=lab.site)

    async def says() -> str:
        with pytest.raises(Failed) as failed:
            await asyncio.to_thread(prove, stage, Screen(), spoiled)
        return str(failed.value)

    assert "can still call" in await says()
    pin = lab.site.inventory.pins.find(lab.site.server_id, PinKind.TOOL, TOOL)
    assert pin is not None
    await lab.world.reach(ContextForge, GATEWAY).set_enabled(PinKind.TOOL, pin.gateway_id or "", enabled=False)
    assert "the evidence does not verify" in await says()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_whatever_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path)
    assert process.stdout is not None
    # The gateway is about to start.
    for line in process.stdout:
        if "three tools" in line:
            break
    process.send_signal(number)
    output, _ = process.communicate(timeout=240)
    assert gone(tmp_path), left(tmp_path)
    if number is not signal.SIGKILL:
        assert process.returncode == 130, output
