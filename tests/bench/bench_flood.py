"""Measures (e): a flood of alerts, and what it does to the cuts of others.

    python -m tests.bench.bench_flood [RESULTS.json]

For 60 seconds one source sends 10,000 messages about one tool, another 2,000 about servers that nobody knows, and one
that proves nothing 2,000; meanwhile a fourth reports 100 poisoned tools, one every half second. The same 100 without
the flood are measured first. Then: what the messages cost the responder, ten times as many beside a tenth of them.
"""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.demo.contextforge import contextforge
from flows.demo.mcp_server import Behaviour, McpServer, mcp_server
from flows.demo.site import Site, build
from flows.engine.intake import intake
from integrations.siem.source import signed
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.strict import iso, now
from tests.bench.bench_journal import results
from tests.bench.bench_response import BURST, SOURCE, TOOLS, Running, Times, _restore, _tools, running, spread
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import alert, house
from tests.lab.postgres import find_postgres, postgres_server

SECONDS = 60.0
EVERY = 0.5
FLOODS = (("loud", 10_000), ("lost", 2_000), ("anyone", 2_000))
ANYONE = {**SOURCE, "authentication": "none", "confidence": "low"}
SOURCES = {"siem": SOURCE, "loud": SOURCE, "lost": SOURCE, "anyone": ANYONE}
LANES = 8
"""Connections of each sender."""


class Sender:
    """Sends messages over connections that stay open, with as little work of its own as can be."""

    def __init__(self, base: str) -> None:
        at = urlsplit(base)
        self._host, self._port = at.hostname or "", at.port or 0
        self.answers: Counter[int] = Counter()
        self.seconds: list[float] = []

    async def send(self, source: str, bodies: AsyncIterator[bytes], key: Any) -> None:  # noqa: ANN401  # a source's key
        """Send each message when it comes, over as many connections as that takes."""
        free: asyncio.Queue[Any] = asyncio.Queue()
        for _ in range(LANES):
            free.put_nowait(await asyncio.open_connection(self._host, self._port))
        running = set[asyncio.Task[None]]()
        async for body in bodies:
            connection = await free.get()
            task = asyncio.create_task(self._one(source, body, key, connection, free))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)
        for _ in range(LANES):
            (await free.get())[1].close()

    async def _one(self, source: str, body: bytes, key: Any, connection: Any, free: asyncio.Queue[Any]) -> None:  # noqa: ANN401  # likewise
        reader, writer = connection
        head = {"Host": self._host, "Content-Type": "application/json", "Content-Length": str(len(body))}
        if key is not None:
            head |= signed(key, secrets.token_hex(12), now(), body)
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        begun = time.perf_counter()
        writer.write(f"POST /v1/alerts/{source} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(answer.partition("content-length:")[2].split("\r\n")[0]))
        self.seconds.append(time.perf_counter() - begun)
        self.answers[int(answer.split()[1])] += 1
        free.put_nowait(connection)


async def paced(count: int, seconds: float, make: Callable[[int], bytes]) -> AsyncIterator[bytes]:
    """Yield messages evenly over a time; what is late comes as soon as it can."""
    begun = time.monotonic()
    for number in range(count):
        wait = begun + seconds * number / count - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        yield make(number)


def message(entities: list[dict[str, str]], severity: str) -> bytes:
    """Return an alert of our own format."""
    fields: dict[str, Any] = {
        "version": 1,
        "id": uuid.uuid4().hex,
        "rule": "Tool description changed",
        "title": "A description asks for a key file",
        "severity": severity,
        "detected_at": iso(now()),
        "tags": ["tool_poisoning"],
        "entities": entities,
    }
    return json.dumps(fields).encode()


async def _poisoned(house: Running, tools: list[str]) -> dict[str, float]:
    """Report poisoned tools, one every half second, and return when each was."""
    begun: dict[str, float] = {}
    waiting = []
    for number, tool in enumerate(tools):
        if number:
            await asyncio.sleep(EVERY)
        waiting.append(asyncio.create_task(house.alert(tool)))
    for tool, sent in zip(tools, waiting, strict=True):
        begun[tool] = await sent
    return begun


async def _contained(house: Running, tools: list[str]) -> dict[str, Incident]:
    """Wait until each of some tools is verified out of reach, and return the incidents."""
    missing, found = set(tools), dict[str, Incident]()
    async with asyncio.timeout(600):
        while missing:
            await asyncio.sleep(1)
            for row in await house.journal.streams("incident/", limit=1000):
                tool = (row.correlation or "").rpartition("/")[2]
                if tool in missing:
                    state = project(row.name, await house.journal.read(row.name))
                    if state.metrics["verified_at"]:
                        found[tool] = state
                        missing.discard(tool)
    return found


@dataclass
class Flood:
    """What a flood came to.

    Args:
        times: of the cuts beside it.
        answers: seconds that each answer took.
        lost: messages that no incident has.
        refused: answers that were no 202.
        drained: seconds after the last cut until the inbox was empty.
        incidents: how many there are.
        shown: seconds that the command line takes to show one.
        memory: the most that each part had, in MiB.
    """

    times: Times
    answers: list[float]
    lost: int
    refused: int
    drained: float
    incidents: int
    shown: float
    memory: dict[str, float]

    def figures(self, prefix: str) -> dict[str, float]:
        return {
            **self.times.figures(prefix),
            **{f"{prefix} answer {label} ms": value * 1000 for label, value in spread(self.answers).items()},
            f"{prefix} messages lost": self.lost,
            f"{prefix} answers that were no 202": self.refused,
            f"{prefix} inbox empty s after the cuts": self.drained,
            f"{prefix} incidents": self.incidents,
            f"{prefix} `mcp-soar incident` ms": self.shown * 1000,
            **{f"{prefix} memory of the {name} MiB": peak for name, peak in self.memory.items()},
        }


async def flooded(site: Site, server: McpServer, url: str | None, prefix: str) -> dict[str, float]:
    """Run the flood, and return its figures."""
    _, names = _tools(site)
    tools, loud = names[:BURST], names[BURST]
    server.behave(Behaviour(poisoned=tuple(tools)))
    async with running(site, url, SOURCES) as house:
        sender = Sender(str(house.http.base_url))
        makes: dict[str, Callable[[int], bytes]] = {
            "loud": lambda _: message([{"kind": "tool", "name": loud, "server": house.server}], "medium"),
            "lost": lambda n: message([{"kind": "server", "name": f"server-{n}"}], "medium"),
            "anyone": lambda n: message([{"kind": "server", "name": f"another-{n}"}], "critical"),
        }
        floods = [sender.send(name, paced(count, SECONDS, makes[name]), house.keys[name]) for name, count in FLOODS]
        flooding = asyncio.gather(*floods)
        begun = await _poisoned(house, tools)
        await flooding
        found = await _contained(house, tools)
        drained = time.monotonic()
        async with asyncio.timeout(600):
            # Other processes empty it.
            while any(count.kind == "alert" for count in await house.journal.inbox_counts()):  # noqa: ASYNC110  # see above
                await asyncio.sleep(0.2)
        drained = time.monotonic() - drained
        rows = await house.journal.streams("incident/", limit=1000)
        told = {row.name: len(await house.journal.told(row.name, 0, 1e11, 100_000)) for row in rows}
        shown = await asyncio.to_thread(_shown, house.folder, max(told, key=lambda name: told[name]))
        memory = {name: peak for name, peak in _memory().items() if peak}
    return Flood(
        times=_times(found, begun),
        answers=sender.seconds,
        lost=sum(count for _, count in FLOODS) + len(tools) - sum(told.values()),
        refused=sum(sender.answers.values()) - sender.answers[202],
        drained=drained,
        incidents=len(rows),
        shown=shown,
        memory=memory,
    ).figures(prefix)


def _shown(folder: Path, stream: str) -> float:
    """Return how long the command line takes to show an incident."""
    program = str(Path(sys.executable).with_name("mcp-soar"))
    command = [program, "incident", stream.partition("/")[2], "--config", str(folder)]
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # our own command
    return time.perf_counter() - begun


def _memory() -> dict[str, float]:
    """Return the most memory that each part of the installation had, in MiB."""
    found = {"receiver": 0.0, "responder": 0.0, "flows": 0.0}
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            line = (process / "cmdline").read_bytes().decode().replace("\0", " ")
            status = (process / "status").read_text()
            for part, before in found.items():
                if f"flows.service.part {part} " in line:
                    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
                    found[part] = max(before, peak)
    return found


async def calm(site: Site, server: McpServer, url: str | None, prefix: str) -> dict[str, float]:
    """Report the same tools at the same pace with nothing beside."""
    _, names = _tools(site)
    tools = names[:BURST]
    server.behave(Behaviour(poisoned=tuple(tools)))
    async with running(site, url, SOURCES) as house:
        begun = await _poisoned(house, tools)
        return _times(await _contained(house, tools), begun).figures(prefix)


def _times(found: dict[str, Incident], begun: dict[str, float]) -> Times:
    times = Times()
    for tool, start in begun.items():
        effect, proven = found[tool].metrics["first_effect_at"], found[tool].metrics["verified_at"]
        if effect is None or proven is None:
            raise RuntimeError(f"{tool} was lost")
        times.first_effect.append(effect.timestamp() - start)
        times.verified.append(proven.timestamp() - start)
    return times


async def cost(messages: int, url: str | None) -> float:
    """Return the seconds of processor time that taking in so many messages about one tool takes."""
    inventory = world.READ
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as folder:
        async with house(Path(folder), connected(inventory), url=url) as home:
            for _ in range(messages // 200):
                await asyncio.gather(*(home.receive(alert("weather", "forecast")) for _ in range(200)))
            begun = time.process_time()
            while (found := await intake(home.parts)).more:
                for opened in found:
                    await home.journal.release(opened.claim, runnable_at=None)
            return time.process_time() - begun


async def measure(path: str | None, stores: list[str]) -> None:
    """Measure everything on one machine in one run."""
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(mcp_server(folder / "server", tools=TOOLS))
        gateway = stack.enter_context(contextforge(folder / "gateway"))
        site = await build(gateway, server, folder / "site")
        programs = find_postgres() if "postgresql" in stores else None
        database = stack.enter_context(postgres_server(programs)) if programs else None
        for store in stores:
            for label, way in (("(e) calm", calm), ("(e) flood", flooded)):
                with contextlib.nullcontext(None) if store == "sqlite" else database.fresh_database() as url:  # type: ignore[union-attr]  # it is asked for
                    results(await way(site, server, url, f"{label} {store}"), path)
                server.behave()
                await _restore(site)
            few, many = [await _cost(store, database, messages) for messages in (1_000, 10_000)]
            results(growth(store, few, many), path)


def growth(store: str, few: float, many: float) -> dict[str, float]:
    """Return what a thousand messages and ten thousand cost the processor, in seconds, as figures."""
    beside = {"1000 messages s": few, "10000 messages s": many, "10 x the messages, times the processor": many / few}
    return {f"(e) {store} {label}": value for label, value in beside.items()}


async def _cost(store: str, database: Any, messages: int) -> float:  # noqa: ANN401  # a server
    with contextlib.nullcontext(None) if store == "sqlite" else database.fresh_database() as url:
        return await cost(messages, url)


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS")
    chosen = os.environ.get("BENCH_STORES", "sqlite,postgresql").split(",")
    asyncio.run(measure(target, chosen))
