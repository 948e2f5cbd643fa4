"""Measures how long the command line takes to answer, each command as a whole process on a small installation.

    python -m tests.bench.bench_cli [RESULTS.json]

The installation has one server behind a real gateway, one incident that is contained and one that waits for an answer.
Nothing else runs: what waits for a responder is not measured here.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.demo.contextforge import contextforge
from flows.demo.mcp_server import mcp_server
from flows.demo.processes import environment
from flows.demo.site import build
from flows.demo.stage import PERSON, configure
from flows.service.access import open_journal
from flows.service.settings import read
from playbooks.errors import Misconfigured
from tests.bench.bench_journal import results
from tests.bench.targets import COMMANDS
from tests.flows.cli import world

RUNS = 7

SAYING = "--help"


def figure(words: str) -> str:
    """Return what a command's time is called."""
    return f"mcp-soar {words} p50 ms"


@contextmanager
def installation(folder: Path) -> Iterator[Path]:
    """Yield the configuration folder of a small installation.

    Args:
        folder: an empty one.

    Raises:
        Misconfigured: the gateway is not installed.
    """
    with mcp_server(folder / "server") as server, contextforge(folder / "gateway") as gateway:
        config = folder / "config"
        configure(asyncio.run(build(gateway, server, folder / "secrets")), config)
        asyncio.run(_happened(config))
        yield config


async def _happened(config: Path) -> None:
    journal = await open_journal(read(config), name="bench", writing=True)
    try:
        await world.append_to(journal, "first", [make() for make in world.CONTAINED], "first")
        waiting = [world.opened(requested_by="bob"), world.alert(), world.proposed()]
        await world.append_to(journal, "second", waiting, "second")
    finally:
        await journal.aclose()


def milliseconds(words: str, config: Path | None = None, runs: int = RUNS) -> list[float]:
    """Run a command a few times, after a first one that fills the disk's cache.

    Args:
        words: after the program's name.
        config: of the installation.
        runs: how often.
    """
    command = [str(Path(sys.executable).with_name("mcp-soar")), *words.split()]
    env = environment(**({"MCP_SOAR_CONFIG": str(config), "MCP_SOAR_PERSON": PERSON} if config else {}))
    took = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        done = subprocess.run(  # noqa: S603  # our own program
            command, check=False, capture_output=True, text=True, env=env, cwd=config.parent if config else None
        )
        took.append((time.perf_counter() - begun) * 1000)
        if done.returncode not in {0, 1}:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return took[1:]


def measure() -> dict[str, float]:
    """Measure every command."""
    took = milliseconds(SAYING, runs=11)
    figures = {figure(SAYING): statistics.median(took), f"mcp-soar {SAYING} max ms": max(took)}
    with tempfile.TemporaryDirectory() as folder:
        try:
            with installation(Path(folder)) as config:
                figures |= {figure(words): statistics.median(milliseconds(words, config)) for words in COMMANDS}
        except Misconfigured as exc:
            print(f"only {SAYING} was measured: {exc}", file=sys.stderr)  # noqa: T201  # what it is for
    return figures


if __name__ == "__main__":
    results(measure(), sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS"))
