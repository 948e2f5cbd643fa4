"""Measures evidence that is larger than memory: a gibibyte through capture, seal, archive, verify, backup, restore.

    python -m tests.bench.bench_evidence [RESULTS.json]

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
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import httpx
from typing_extensions import override

from flows.assembly import assembled
from flows.demo.processes import environment
from flows.engine import evidence, sealing
from flows.engine.case import PREFIX, Case
from flows.engine.opening import CUT
from flows.engine.schedule import Todo
from flows.settings import read
from integrations.vault.local import LocalVault
from playbooks.action import Capture, Sink, World
from playbooks.errors import Transient
from playbooks.incident import Phase
from playbooks.strict import Line
from tests.bench.bench_journal import results
from tests.bench.targets import PHASES, SMALL, peak
from tests.flows.cli import world
from tests.flows.cli.world import ID, Installation
from tests.lab import exhibits

SIZE = 1 << 30  # bytes
PIECE = 1 << 20  # bytes
NUMBER = 100
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


class Source(Capture):
    """Whatever an address sends.

    Args:
        url: the address.
    """

    name: ClassVar[str] = "bench.source"
    exhibit: ClassVar[str] = "image"
    permissions: ClassVar[tuple[str, ...]] = ("GET",)

    url: Line

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        try:
            async with (
                httpx.AsyncClient(trust_env=False) as client,
                client.stream("GET", self.url) as response,
                sink.file("disk.img", media_type="application/octet-stream", origin=self.url) as file,
            ):
                async for chunk in response.aiter_raw():
                    await file.write(chunk)
        except httpx.HTTPError as exc:
            raise Transient(f"the source broke off ({type(exc).__name__})") from exc


class Noise(http.server.BaseHTTPRequestHandler):
    """Sends a gibibyte that no archive makes smaller."""

    noise: ClassVar[bytes] = random.Random(1).randbytes(2 * PIECE)  # noqa: S311  # only has to be hard to compress

    def do_GET(self) -> None:
        """Send it."""
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        for start in range(SIZE // PIECE):
            self.wfile.write(memoryview(self.noise)[start : start + PIECE])

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def noise() -> Iterator[str]:
    """Yield the address of a gibibyte."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noise)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/disk.img"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _number(case: Case, todo: Todo) -> int:
    """Return an exhibit's number, for a capture that no playbook names."""
    del case, todo
    return NUMBER


async def _worked(folder: Path, phase: str, url: str) -> None:
    """Capture or seal, as a responder does that has claimed the incident."""
    async with assembled(read(folder)) as opened:
        parts = replace(opened, steps={**opened.steps, Source.name: Source})
        await parts.journal.submit(lambda tx: tx.make_runnable(f"{PREFIX}{ID}"))
        (claim,) = await parts.journal.claim(parts.name, lane=CUT, limit=1, seconds=600.0, early=True)
        case = await Case.take(parts, claim)
        if phase == "capture":
            await evidence.capture(
                case, Todo("image@weather", Phase.CAPTURE, "capture", "Keep it", Source.name, (("url", url),))
            )
        else:
            await sealing.seal(case, Todo("seal", Phase.PRESERVE, "seal", "Seal the evidence"))
        await parts.journal.release(case.claim, runnable_at=None)
        kept = sum(file["size"] for exhibit in case.state.exhibits for file in exhibit["files"])
        if kept != SIZE or case.state.missing or (phase == "seal" and not case.state.sealed):
            raise SystemExit(f"{phase}: {kept} bytes are kept; {case.state.missing}")


def _commands(folder: Path, url: str) -> dict[str, list[str]]:
    """Return what carries out each phase, in their order."""
    soar, config = str(Path(sys.executable).with_name("mcp-soar")), folder / "mcp-soar"
    bundle, backup = folder / "evidence.tar.gz", folder / "backup.tar"
    own = [sys.executable, "-m", "tests.bench.bench_evidence", "--phase"]
    done = (
        [*own, "capture", str(config), url],
        [*own, "seal", str(config), url],
        [soar, "archive", ID, "--out", str(bundle)],
        [soar, "verify", str(bundle), "--key", str(config / "keys" / "responder.pub")],
        [soar, "verify"],
        [soar, "backup", str(backup)],
        [soar, "restore", str(backup), "--into", str(folder / "restored")],
    )
    return dict(zip(PHASES, done, strict=True))


def _run(command: list[str], folder: Path) -> tuple[float, float]:
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


def measure(folder: Path) -> dict[str, float]:
    """Measure every phase.

    Args:
        folder: an empty one, on a disk with five gibibytes to spare.
    """
    site = Installation(folder / "mcp-soar", folder / "home")
    if site.run("init", str(site.folder)).exit_code:
        raise SystemExit("init failed")
    (site.folder / "inventory.yaml").write_text(world.INVENTORY, encoding="utf-8")
    for name in ("gateway", "canary"):
        (site.folder / "secrets" / name).write_text("secret", encoding="utf-8")
        (site.folder / "secrets" / name).chmod(0o600)
    site.append(world.opened(), world.alert())
    figures = {SMALL: asyncio.run(small(folder))}
    with noise() as url:
        for phase, command in _commands(folder, url).items():
            figures[peak(phase)], figures[f"evidence: {phase} of 1 GiB, s"] = _run(command, folder)
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--phase"]:
        evidence.number_of = _number
        asyncio.run(_worked(Path(sys.argv[3]), sys.argv[2], sys.argv[4]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            results(measure(Path(scratch)), sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS"))
