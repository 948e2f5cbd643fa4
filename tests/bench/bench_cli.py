"""Measures how long the command line takes to say what it can do: `mcp-soar --help`, as a whole process.

python -m tests.bench.bench_cli [RESULTS.json]
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.bench_journal import results

RUNS = 11


def measure() -> dict[str, float]:
    """Run it a few times after a first one that fills the disk's cache."""
    command = [str(Path(sys.executable).with_name("mcp-soar")), "--help"]
    seconds = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own program
        seconds.append(time.perf_counter() - begun)
    return {
        "mcp-soar --help p50 ms": statistics.median(seconds[1:]) * 1000,
        "mcp-soar --help max ms": max(seconds[1:]) * 1000,
    }


if __name__ == "__main__":
    results(measure(), sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS"))
