"""Measures the hot path: a webhook's POST to the first effect and to verified containment, beside a bare script.

    python -m tests.bench.bench_response [RESULTS.json]

Real parts, each its own process: a gateway with 110 tools of a real MCP server, receiver, responder and Prefect as
`mcp-soar up` runs them. The bare script makes the same gateway calls (GET the tool, POST its state; then, where it also
probes, one tools/call) over eight connections, with no engine, journal, gate or evidence. Before each of (a), for both
alike, the gateway takes over a poisoned definition, and with that forgets what it had looked up. In (a) the two take
turns, for a machine's speed changes within minutes: the script's are measured while ours is up and has nothing to do.

(a) 50 incidents one at a time, the bare script after each · (b) 100 alerts about 100 tools at once
"""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from flows.demo.contextforge import contextforge
from flows.demo.mcp_server import Behaviour, McpServer, mcp_server
from flows.demo.site import Site, build
from flows.service.access import responder_keys
from flows.service.settings import read
from flows.service.up import up
from integrations.journal.store import Journal
from integrations.siem.source import new_secret, read_keys, signed
from integrations.signing import SigningKey
from integrations.systems.contextforge.driver import ContextForge
from playbooks.estate.pins import PinKind
from playbooks.record.projection import project
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.strict import iso, now
from tests.bench.bench_journal import results
from tests.lab.connected import connected
from tests.lab.postgres import find_postgres, postgres_server

TOOLS = 110
SOURCE = {
    "format": "generic",
    "authentication": "hmac",
    "confidence": "high",
    "classify": [{"tag": "tool_poisoning", "class": "tool_poisoning"}],
}
SERIAL = 50
BURST = 100
CONNECTIONS = 8
WITHIN = 300.0
"""Seconds after which what was waited for is lost."""
POLICY = {
    "version": 1,
    "caps": {"tool": {"count": 500, "percent": 100}, "token": {"count": 500, "percent": 100}},
    "spacing": {"at_most": 1000, "within": "60s"},
}


@dataclass
class Times:
    """Seconds from each alert's POST."""

    first_effect: list[float] = field(default_factory=list)
    verified: list[float] = field(default_factory=list)

    def figures(self, prefix: str) -> dict[str, float]:
        out: dict[str, float] = {}
        for name, values in (("first_effect", self.first_effect), ("verified", self.verified)):
            if values:
                out |= {f"{prefix} {name} {label} ms": value * 1000 for label, value in spread(values).items()}
        return out


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the largest."""
    ordered = sorted(values)
    cuts = statistics.quantiles(ordered, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": ordered[-1]}


# The bare script


@dataclass
class Bare:
    """What disables tools at the gateway with nothing around it.

    Args:
        http: signed in at the gateway.
        canary: the token of who asks as a client.
        offered: what the gateway calls each tool, by its id there.
    """

    http: httpx.AsyncClient
    canary: str
    offered: Mapping[str, str]
    times: Times = field(default_factory=Times)

    async def cut(self, tool: str, *, probing: bool) -> None:
        """Disable a tool.

        Args:
            tool: its id.
            probing: whether it is also asked for as a client.
        """
        begun = time.perf_counter()
        (await self.http.get(f"/v1/tools/{tool}")).raise_for_status()
        (await self.http.post(f"/v1/tools/{tool}/state?activate=false")).raise_for_status()
        self.times.first_effect.append(time.perf_counter() - begun)
        if probing:
            ask = {
                "Authorization": f"Bearer {self.canary}",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2025-06-18",
            }
            call = {"name": self.offered[tool], "arguments": {"": 1}}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
            (await self.http.post("/mcp/", headers=ask, json=body)).raise_for_status()
            self.times.verified.append(time.perf_counter() - begun)


@asynccontextmanager
async def bare(site: Site) -> AsyncIterator[Bare]:
    """Sign the bare script in at a site's gateway."""
    canary = Path(site.inventory.gateways["main"].canary.token.file or "").read_text()  # noqa: ASYNC240  # before it is measured
    pins = site.inventory.pins.of(site.server_id, PinKind.TOOL)
    async with _signed_in(site) as http:
        yield Bare(http, canary, {pin.gateway_id or "": pin.gateway_name or "" for pin in pins})


async def bare_burst(site: Site, tools: list[str], *, probing: bool) -> Times:
    """Disable tools all at once with nothing around it."""
    async with bare(site) as script:
        await asyncio.gather(*(script.cut(tool, probing=probing) for tool in tools))
        return script.times


# mcp-soar


@asynccontextmanager
async def running(
    site: Site, url: str | None, sources: Mapping[str, Mapping[str, Any]] | None = None
) -> AsyncIterator["Running"]:
    """Run all parts on a configuration of their own, with sources that sign, each with its own key, or do not."""
    sources = sources or {"siem": SOURCE}
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as name:
        folder = Path(name)
        (folder / "keys").mkdir()
        reviewer = SigningKey.generate(folder / "keys" / "bench.key")
        public = "ed25519:" + base64.b64encode(reviewer.public.raw).decode()
        person = {"key": public, "roles": ["reviewer"], "enrolled_at": iso(now())}
        (folder / "people.yaml").write_text(json.dumps({"version": 1, "people": {"bench": person}}))
        site.reviewed("bench", reviewer.sign).write(folder)
        key = SigningKey.generate(folder / "keys" / "responder.key")
        (folder / "keys" / "responder.pub").write_bytes(key.public.pem)
        configured = {}
        for sender, source in sources.items():
            configured[sender] = {**source}
            if source["authentication"] == "hmac":
                (folder / "keys" / sender).touch(mode=0o600)
                (folder / "keys" / sender).write_text(new_secret())
                configured[sender]["authentication"] = {"hmac": {"secrets": [{"file": f"keys/{sender}"}]}}
        settings: dict[str, Any] = {"version": 1, "receiver": {"port": 0}, "prefect": {"port": 0}}
        if url:
            settings["journal"] = {"url": url}
        for file, content in (
            ("sources.yaml", {"version": 1, "sources": configured}),
            ("mcp-soar.yaml", settings),
            ("policy.yaml", POLICY),
        ):
            (folder / file).write_text(json.dumps(content))
        config = read(folder)
        stop = asyncio.Event()
        task = asyncio.create_task(up(config, lambda _: None, stop=stop))
        status = folder / "state" / "up.json"
        try:
            async with asyncio.timeout(WITHIN):
                while not (status.exists() and json.loads(status.read_text()).get("prefect_ready")):
                    if task.done():
                        print((folder / "state" / "logs" / "responder.log").read_text()[-4000:])  # noqa: T201
                        task.result()
                    await asyncio.sleep(0.1)
            keys = list(responder_keys(config).values())
            journal = await Journal.open(url or config.journal_url, signer=None, name="bench", keys=keys)
            base = json.loads(status.read_text())["receiver"]
            async with httpx.AsyncClient(base_url=base, timeout=60, trust_env=False) as http:
                found = config.sources.sources
                signing = {name: next(iter(read_keys(name, found[name])), None) for name in sources}
                yield Running(http, journal, signing, site.server_id, folder)
            await journal.aclose()
        finally:
            stop.set()
            await task


@dataclass
class Running:
    """A running installation."""

    http: httpx.AsyncClient
    journal: Journal
    keys: Mapping[str, Any]
    server: str
    folder: Path

    async def alert(self, tool: str) -> float:
        """POST an alert about a tool and return when, as seconds since 1970."""
        body = json.dumps(
            {
                "version": 1,
                "id": uuid.uuid4().hex,
                "rule": "Tool description changed",
                "title": "A description asks for a key file",
                "severity": "high",
                "detected_at": iso(now()),
                "tags": ["tool_poisoning"],
                "entities": [{"kind": "tool", "name": tool, "server": self.server}],
            }
        ).encode()
        headers = {"Content-Type": "application/json", **signed(self.keys["siem"], secrets.token_hex(12), now(), body)}
        begun = time.time()
        answer = await self.http.post("/v1/alerts/siem", content=body, headers=headers)
        if answer.status_code != httpx.codes.ACCEPTED:
            raise RuntimeError(f"the receiver answered {answer.status_code}: {answer.text}")
        return begun

    async def until(self, tools: Iterable[str], *, sealed: bool) -> dict[str, Incident]:
        """Wait until there is a verified, and sealed, incident about each of some tools; return them by tool."""
        missing, found, deadline = set(tools), dict[str, Incident](), time.monotonic() + WITHIN
        read: set[str] = set()
        # Few and small reads: whoever measures must not be what is measured.
        while missing:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing of {', '.join(sorted(missing))} within {WITHIN:g} s")
            await asyncio.sleep(0.5 if len(missing) == 1 else 2.0)
            for row in await self.journal.streams("incident/", limit=1 if sealed else 1000):
                if row.name in read:
                    continue
                state = project(row.name, await self.journal.read(row.name))
                tool = next(entity.id for entity in state.entities.values() if entity.kind.value == "tool")
                if state.metrics["verified_at"] and (state.sealed or not sealed):
                    read.add(row.name)
                    if tool in missing:
                        found[tool] = state
                        missing.discard(tool)
                if any(step.progress is Progress.PROPOSED for step in state.steps.values()):
                    raise RuntimeError(f"the gate wants people: {state.proposals[0].reasons}")
        return found


def _times(found: dict[str, Incident], begun: dict[str, float]) -> Times:
    times = Times()
    for tool, start in begun.items():
        metrics = found[tool].metrics
        if metrics["first_effect_at"] is None or metrics["verified_at"] is None:
            raise RuntimeError(f"{tool} was lost")
        times.first_effect.append(metrics["first_effect_at"].timestamp() - start)
        times.verified.append(metrics["verified_at"].timestamp() - start)
    return times


async def one_at_a_time(site: Site, server: McpServer, url: str | None) -> tuple[Times, Times]:
    """Poison a tool, let the gateway take it over, alert; when all of that incident is done, the bare script's turn.

    Returns:
        The bare script's times, and ours.
    """
    ids, names = _tools(site)
    begun: dict[str, float] = {}
    found: dict[str, Incident] = {}
    turned = 0
    async with running(site, url) as house, bare(site) as script:
        # Each has every second tool.
        for tool, other in zip(names[: SERIAL * 2 : 2], ids[1 : SERIAL * 2 : 2], strict=True):
            turned += 1
            await _turned(site, server, names[:turned])
            begun[tool] = await house.alert(tool)
            found |= await house.until([tool], sealed=True)
            turned += 1
            await _turned(site, server, names[:turned])
            await script.cut(other, probing=True)
    return script.times, _times(found, begun)


async def burst(site: Site, server: McpServer, url: str | None) -> Times:
    """Poison every tool at the server, before any gateway took it over, and alert about all of them at once."""
    tools = _tools(site)[1][:BURST]
    server.behave(Behaviour(poisoned=tuple(tools)))
    async with running(site, url) as house:
        begun = dict(zip(tools, await asyncio.gather(*(house.alert(tool) for tool in tools)), strict=True))
        return _times(await house.until(tools, sealed=False), begun)


# Both


async def measure(path: str | None, stores: list[str]) -> None:
    """Measure everything on one machine in one run."""
    print(f"policy: {json.dumps(POLICY)}", flush=True)  # noqa: T201  # what it is for
    with tempfile.TemporaryDirectory(prefix="mcp-soar-bench-") as name:
        folder = Path(name)
        with (
            mcp_server(folder / "server", tools=TOOLS) as server,
            contextforge(folder / "gateway") as gateway,
        ):
            site = await build(gateway, server, folder / "site")
            await _bare(site, path)
            for store in stores:
                if store == "postgresql":
                    programs = find_postgres()
                    if programs is None:
                        print("PostgreSQL is not installed, so it is not measured", flush=True)  # noqa: T201  # likewise
                        continue
                    with postgres_server(programs) as database:
                        await _ours(site, server, path, store, database)
                else:
                    await _ours(site, server, path, store, None)


async def _bare(site: Site, path: str | None) -> None:
    ids, _ = _tools(site)
    for label, probing in (("(b) bare", False), ("(b) bare probing", True)):
        results((await bare_burst(site, ids[:BURST], probing=probing)).figures(label), path)
        await _restore(site)


async def _ours(site: Site, server: McpServer, path: str | None, store: str, database: Any) -> None:  # noqa: ANN401
    fresh = contextlib.nullcontext if database is None else database.fresh_database
    with fresh() as url:
        script, ours = await one_at_a_time(site, server, url)
    results({**script.figures(f"(a) bare beside {store}"), **ours.figures(f"(a) {store}")}, path)
    await _put_back(site, server)
    with fresh() as url:
        results((await burst(site, server, url)).figures(f"(b) {store}"), path)
    await _put_back(site, server)


def _tools(site: Site) -> tuple[list[str], list[str]]:
    control = site.inventory.servers[site.server_id].control_tool
    pins = [pin for pin in site.inventory.pins.of(site.server_id, PinKind.TOOL) if pin.name != control]
    return [pin.gateway_id or "" for pin in pins], [pin.name for pin in pins]


async def _turned(site: Site, server: McpServer, tools: list[str]) -> None:
    """Poison tools, and have the gateway take that over."""
    server.behave(Behaviour(poisoned=tuple(tools)))
    await _refresh(site)


async def _put_back(site: Site, server: McpServer) -> None:
    server.behave()
    await _restore(site)


async def _refresh(site: Site) -> None:
    """Have the gateway take over what the server says now."""
    entry = site.inventory.servers[site.server_id].gateway
    async with _signed_in(site) as http:
        answer = await http.post(f"/v1/gateways/{entry.id if entry else ''}/tools/refresh")
        answer.raise_for_status()


@asynccontextmanager
async def _signed_in(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    gateway = site.inventory.gateways["main"]
    password = Path(gateway.password.file or "").read_text()  # noqa: ASYNC240  # before anything is measured
    limits = httpx.Limits(max_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=gateway.url, limits=limits, timeout=120, trust_env=False) as http:
        answer = await http.post("/v1/auth/login", json={"email": gateway.user, "password": password})
        http.headers["Authorization"] = "Bearer " + answer.json()["access_token"]
        yield http


async def _restore(site: Site) -> None:
    """Enable every tool again."""
    connections = connected(site.inventory)
    forge = connections.reach(ContextForge, "main")
    await _refresh(site)
    for pin in site.inventory.pins.of(site.server_id, PinKind.TOOL):
        await forge.set_enabled(PinKind.TOOL, pin.gateway_id or "", enabled=True)
    await connections.aclose()


if __name__ == "__main__":
    target = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("BENCH_RESULTS")
    chosen = os.environ.get("BENCH_STORES", "sqlite,postgresql").split(",")
    asyncio.run(measure(target, chosen))
