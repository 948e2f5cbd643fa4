"""Measures (h): the definitions of 1,000 servers with 10 tools each, compared with their pins, beside a bare reader.

    python -m tests.bench.bench_checks [RESULTS.json]

Eight processes simulate the servers. The bare script and the check take turns, each in a process of its own, three
times each at a tenth of the servers and at all of them; the median counts.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from flows.demo.processes import child, environment
from tests.bench.bench_journal import results

PROCESSES = 8
SERVERS = 1000
TURNS = 3
ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def simulated(folder: Path) -> Iterator[list[str]]:
    """Run the processes that simulate servers; yield their ports."""
    env = environment(PYTHONPATH=str(ROOT))
    with contextlib.ExitStack() as stack:
        files = [folder / f"port-{number}" for number in range(PROCESSES)]
        for file in files:
            command = [sys.executable, "-m", "tests.bench.checks_phase", "serve", str(file)]
            stack.enter_context(child(command, log=file.with_suffix(".log"), ready=file.exists, within=60, env=env))
        yield [file.read_text() for file in files]


def measured(what: str, count: int, ports: list[str]) -> dict[str, float]:
    """Return what one reader takes for so many servers."""
    command = [sys.executable, "-m", "tests.bench.checks_phase", what, str(count), *ports]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603  # ours
    found: dict[str, float] = json.loads(done.stdout)
    return found


def figures(taken: dict[tuple[str, int], list[dict[str, float]]]) -> dict[str, float]:
    """Return the figures of what was measured.

    Args:
        taken: by the reader and how many servers it read, what each of its turns took.
    """
    found = {
        f"(h) {what} {count} servers, {figure}": median(turn[figure] for turn in turns)
        for (what, count), turns in taken.items()
        for figure in turns[0]
    }
    few, many = (found[f"(h) ours {count} servers, s"] for count in (SERVERS // 10, SERVERS))
    return {**found, "(h) 10 x the servers, times the time": many / few}


def main(path: str | None) -> None:
    """Measure both readers at both sizes."""
    taken: dict[tuple[str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as folder, simulated(Path(folder)) as ports:
        for count in (SERVERS // 10, SERVERS):
            for _ in range(TURNS):
                for what in ("bare", "ours"):
                    taken.setdefault((what, count), []).append(measured(what, count, ports))
    results(figures(taken), path)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS"))
