"""What the demonstration starts has ended before it says so, however it was interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

SLOW = """
import os, pathlib, signal, sys, time
mother = os.getppid()
def end(*_):
    for _ in range(100):
        if os.getppid() != mother:
            sys.exit()  # whoever waits for it has ended first
        time.sleep(0.01)
    pathlib.Path("ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
pathlib.Path("serves").touch()
while True:
    signal.pause()
"""
STARTS = f"""
import pathlib, signal, sys, time
# Whoever runs these tests in the background may have it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from flows.demo.processes import child
command, log = [sys.executable, "-c", {SLOW!r}], pathlib.Path("log").absolute()
with child(command, log=log, ready=pathlib.Path("serves").exists, within=60):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_ctrl_c_in_a_terminal_ends_what_was_started_before_whoever_started_it(tmp_path: Path) -> None:
    starts = subprocess.Popen(  # noqa: S603  # of our own making
        [sys.executable, "-c", STARTS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert starts.stdout is not None
    with starts.stdout as said:
        assert said.readline() == b"ready\n"
        # A terminal sends it to everything in the foreground.
        os.killpg(starts.pid, signal.SIGINT)
        starts.wait(timeout=240)
    assert (tmp_path / "ended").exists()
