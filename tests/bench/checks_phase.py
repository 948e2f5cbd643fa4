"""One side of the benchmark of the checks, in a process of its own: simulated servers, a bare reader, or the check.

    python -m tests.bench.checks_phase serve PORTFILE
    python -m tests.bench.checks_phase bare|ours COUNT PORT...

A reader prints what it took as JSON: seconds, seconds of the processor, and the most memory that it had.
"""

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx

from flows.checks import drift
from flows.checks.running import run
from flows.service.settings import Configuration
from integrations.protocol import pins
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from tests.lab import http_served

TOOLS = 10
AT_ONCE = 32
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "bench", "version": "1"},
}


def tool(number: int) -> dict[str, Any]:
    """Return a definition of the size that most have."""
    fields = {f"field_{n}": {"type": "string", "description": f"What the {n}th of them says."} for n in range(6)}
    return {
        "name": f"tool_{number}",
        "description": f"Look up the {number}th of the things that this server knows, by its fields. " * 4,
        "inputSchema": {"type": "object", "properties": fields, "required": ["field_0"], "additionalProperties": False},
    }


OFFERED = [tool(number) for number in range(TOOLS)]
ANSWERS: dict[str, object] = {"initialize": HELLO, "tools/list": {"tools": OFFERED}}


async def serve(portfile: Path) -> None:
    """Be any number of servers, each at a path of its own, until the parent goes."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await http_served.read(reader)).json()
                if "id" not in asked:
                    await http_served.write(writer, 202, b"")
                    continue
                found = ANSWERS.get(asked["method"])
                said = {"result": found} if found else {"error": {"code": -32601, "message": "no such method"}}
                body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}).encode()
                await http_served.write(writer, 200, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=1000)
    fresh = portfile.with_suffix(".new")
    fresh.write_text(str(server.sockets[0].getsockname()[1]))
    fresh.replace(portfile)
    while os.getppid() != 1:  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(1.0)


def addresses(count: int, ports: list[int]) -> dict[str, str]:
    """Return so many servers, spread over the processes that simulate them."""
    return {f"s{n}": f"http://127.0.0.1:{ports[n % len(ports)]}/s{n}/mcp" for n in range(count)}


async def bare(servers: dict[str, str]) -> int:
    """Read every server's tools, as a script does that compares nothing; return how many there were."""
    places, found = asyncio.Semaphore(AT_ONCE), 0
    headers = {"Accept": "application/json, text/event-stream"}

    async def one(url: str) -> None:
        nonlocal found
        # A connection of its own for each server, as one has that asks a thousand of them.
        async with places, httpx.AsyncClient(headers=headers, trust_env=False, verify=False) as http:  # noqa: S501  # there is no TLS
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
            await http.post(url, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
            await http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
            answer = await http.post(url, json={"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}})
            found += len(answer.json()["result"]["tools"])

    await asyncio.gather(*map(one, servers.values()))
    return found


def approved(servers: dict[str, str]) -> Inventory:
    """Return an inventory in which all that is offered is approved."""
    dossier = Dossier(reviewed="all of it")
    some = [pins.definition(PinKind.TOOL, one) for one in OFFERED]
    mine = tuple(
        Pin(kind=one.kind, name=one.name, digest=one.digest, definition=dict(one.fields), dossier=dossier)
        for one in some
    )
    one = {"title": "bench", "owner": "nobody", "environment": "test"}
    written = {"version": 1, "servers": {name: {**one, "url": url} for name, url in servers.items()}}
    return Inventory.model_validate(written).model_copy(update={"pins": Pins(servers=dict.fromkeys(servers, mine))})


async def ours(config: Configuration) -> int:
    """Run the check; return how many tools are as they were approved."""
    done = await run(drift.CHECK, config)
    if done.found or done.unknown:
        raise SystemExit(f"{len(done.found)} differ, {len(done.unknown)} are unknown: {done.unknown[:2]}")
    return done.asked * TOOLS


def main(what: str, count: int, ports: list[int]) -> None:
    """Measure one reader."""
    servers = addresses(count, ports)
    # A worker has read its configuration when it begins.
    config = cast("Configuration", SimpleNamespace(inventory=approved(servers), systems=SYSTEMS))
    began, used = time.perf_counter(), time.process_time()
    read = asyncio.run(bare(servers) if what == "bare" else ours(config))
    took, used = time.perf_counter() - began, time.process_time() - used
    assert read == count * TOOLS, read
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"s": took, "processor s": used, "peak MB": peak}))  # noqa: T201  # what it is for


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(Path(sys.argv[2])))
    else:
        main(sys.argv[1], int(sys.argv[2]), [int(port) for port in sys.argv[3:]])
