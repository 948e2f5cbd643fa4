"""Measures evidence that is larger than memory: a gibibyte through capture, seal, archive, verify, backup, restore.

    python -m tests.bench.bench_evidence [RESULTS.json | --bucket]

The same of a quarter of that in a bucket: moto, a process of its own, holds all of it and more.

Each phase is a process of its own, on what the one before left, and its figure is the most memory that it ever had
resident (`ru_maxrss`), interpreter and imports included. What is captured comes from another process over HTTP, hard to
compress, so that the archive is no smaller. What a small exhibit takes is measured beside it: the hot path.
"""

import asyncio
import contextlib
import http.server
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import yaml
from typing_extensions import override

from flows.demo.processes import environment
from integrations.vault.local import LocalVault
from tests.bench.bench_journal import results
from tests.bench.evidence_phase import size_of
from tests.bench.targets import IN_BUCKET, PHASES, SMALL, peak, phase_of
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab import exhibits, s3

SIZE, IN_A_BUCKET = 1 << 30, 1 << 28  # bytes
PIECE = 1 << 20  # bytes
ALERT = {"alert.bin": b"x" * 800, "headers.txt": b"y" * 200}
SMALL_RUNS = 200

# In a process that has next to nothing of its own: what starts another one counts as that one's, until it is replaced.
LAUNCHER = """
import json, os, sys
with open(sys.argv[1], "w") as said:
    pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
    _, status, used = os.wait4(pid, 0)
    json.dump([used.ru_maxrss, os.waitstatus_to_exitcode(status)], said)
"""


class Noise(http.server.BaseHTTPRequestHandler):
    """Sends as many bytes as its path says, which no archive makes smaller."""

    noise: ClassVar[bytes] = random.Random(1).randbytes(2 * PIECE)  # noqa: S311  # only has to be hard to compress

    def do_GET(self) -> None:
        """Send it."""
        size = size_of(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for start in range(size // PIECE):
            self.wfile.write(memoryview(self.noise)[start : start + PIECE])

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def noise(size: int) -> Iterator[str]:
    """Yield the address of that many bytes."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noise)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/{size}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _commands(folder: Path, url: str) -> dict[str, list[str]]:
    """Return what carries out each phase, in their order."""
    soar, config = str(Path(sys.executable).with_name("mcp-soar")), folder / "mcp-soar"
    bundle, backup = folder / "evidence.tar.gz", folder / "backup.tar"
    own = [sys.executable, "-m", "tests.bench.evidence_phase"]
    done = (
        [*own, "capture", str(config), ID, url],
        [*own, "seal", str(config), ID, url],
        [soar, "archive", ID, "--out", str(bundle)],
        [soar, "verify", str(bundle), "--key", str(config / "keys" / "responder.pub")],
        [soar, "verify"],
        [soar, "backup", str(backup)],
        [soar, "restore", str(backup), "--into", str(folder / "restored")],
    )
    return dict(zip(PHASES, done, strict=True))


def run_alone(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command and return the most memory that it had, in MB, and the seconds that it took."""
    said = folder / "launched.json"
    begun = time.perf_counter()
    done = subprocess.run(  # noqa: S603  # our own programs
        [sys.executable, "-S", "-c", LAUNCHER, str(said), *command],
        check=True,
        capture_output=True,
        text=True,
        env=environment(MCP_SOAR_CONFIG=str(folder / "mcp-soar")),
    )
    took = time.perf_counter() - begun
    resident, status = json.loads(said.read_text())
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {status}: {done.stderr or done.stdout}")
    return resident * 1024 / 1e6, took


async def small(folder: Path) -> float:
    """Return the milliseconds that sealing a small exhibit takes, such as an alert as it came."""
    vault, took = LocalVault(folder / "small", reserve=0), []
    for number in range(SMALL_RUNS):
        begun = time.perf_counter()
        await exhibits.kept(vault, ID, number, "raw-alert", ALERT)
        took.append((time.perf_counter() - begun) * 1000)
    return statistics.median(took)


def _site(folder: Path) -> Installation:
    site = Installation(folder / "mcp-soar", folder / "home")
    if site.run("init", str(site.folder)).exit_code:
        raise SystemExit("init failed")
    (site.folder / "inventory.yaml").write_text(world.INVENTORY, encoding="utf-8")
    for name in ("gateway", "canary"):
        (site.folder / "secrets" / name).write_text("secret", encoding="utf-8")
        (site.folder / "secrets" / name).chmod(0o600)
    site.append(world.opened(), world.alert())
    return site


def measure(folder: Path) -> dict[str, float]:
    """Measure every phase.

    Args:
        folder: an empty one, on a disk with five gibibytes to spare.
    """
    _site(folder)
    figures = {SMALL: asyncio.run(small(folder))}
    with noise(SIZE) as url:
        for phase, command in _commands(folder, url).items():
            figures[peak(phase)], figures[f"{phase_of(phase)}, s"] = run_alone(command, folder)
    return figures


def in_bucket(folder: Path) -> dict[str, float]:
    """Measure every phase of evidence that lies in a bucket.

    Args:
        folder: an empty one.
    """
    site, figures = _site(folder), {}
    with s3.moto(folder) as moto, noise(IN_A_BUCKET) as url:
        settings = yaml.safe_load((site.folder / "mcp-soar.yaml").read_text(encoding="utf-8"))
        settings["vault"]["s3"] = json.loads(moto.bucket().model_dump_json(exclude_none=True))
        (site.folder / "mcp-soar.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        commands = _commands(folder, url)
        for phase in IN_BUCKET:
            resident, took = run_alone(commands[phase], folder)
            figures[peak(phase, bucket=True)], figures[f"{phase_of(phase, bucket=True)}, s"] = resident, took
    return figures


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "folder").mkdir()
        (Path(scratch) / "bucket").mkdir()
        found = {} if "--bucket" in sys.argv else measure(Path(scratch) / "folder")
        found |= in_bucket(Path(scratch) / "bucket")
        file = sys.argv[1] if sys.argv[1:] and sys.argv[1] != "--bucket" else os.environ.get("BENCH_RESULTS")
        results(found, file)
