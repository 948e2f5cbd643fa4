"""The demonstration, as people run it: with every real part, from start to release."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.demo.contextforge import executable
from playbooks.errors import Misconfigured

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(autouse=True)
def _gateway() -> None:
    try:
        executable()
    except Misconfigured as exc:
        pytest.skip(str(exc))


def started(tmp_path: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  # of our own making
        [sys.executable, "-m", "flows.cli.demo", *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)},
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
        "released cut-tool@weather/get_weather",
        "the gateway's state is what it was before",
        "It all held",
    ):
        assert words in output
    assert "\x1b" not in output
    # What is to be copied is never wrapped.
    long = [line for line in output.splitlines() if len(line) > 80 and not line.startswith("  /")]
    assert not long
    assert gone(tmp_path), left(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_whatever_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path)
    assert process.stdout is not None
    # The gateway is about to start.
    for line in process.stdout:
        if "three tools" in line:
            break
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert gone(tmp_path), left(tmp_path)
    if number is not signal.SIGKILL:
        assert process.returncode == 130, output
