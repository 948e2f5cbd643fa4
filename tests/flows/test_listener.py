"""The listener: a change is compared within seconds, one that goes on rarely, and no server costs another anything."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from flows.checks.running import Run
from flows.engine.parts import Parts
from flows.service import listener
from flows.service.listener import Attended, Pace
from flows.service.settings import Configuration
from integrations.protocol.pins import read_pins
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, Pins
from tests.flows.cli.world import Installation
from tests.integrations.protocol.test_listening import CHANGED, HELLO
from tests.integrations.systems.mcp.test_real_servers import typescript, world_of
from tests.lab.rogue import answer, rogue

QUICK = Pace(settles=0.02, between=0.1, rarely=0.8, again=0.05, steady=60.0, mute=60.0)


@asynccontextmanager
async def attended(
    stream: Callable[[asyncio.StreamWriter, int], Awaitable[None]], pace: Pace = QUICK
) -> AsyncIterator[tuple[list[float], list[float]]]:
    """Listen to a server; yield when it was compared, and when conversations with it were begun."""
    compared: list[float] = []
    begun: list[float] = []

    async def respond(asked: str, writer: asyncio.StreamWriter) -> None:
        if asked.startswith("GET"):
            begun.append(time.monotonic())
            writer.write(b"HTTP/1.1 200 x\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            await stream(writer, len(begun))
            writer.close()
        elif asked.startswith("POST"):
            writer.write(answer(json.dumps({"jsonrpc": "2.0", "id": 1, "result": HELLO}).encode()))
        else:
            writer.write(answer(b"", status=405))

    async def compare(_: str) -> None:
        compared.append(time.monotonic())

    async with rogue(respond) as place:
        fields: dict[str, Any] = {"title": "h", "owner": "o", "environment": "test", "url": f"{place.url}/mcp"}
        inventory = Inventory.model_validate({"version": 1, "servers": {"h": fields}})
        one = Attended("h", compare, pace, asyncio.Semaphore(1))
        task = asyncio.create_task(one.attend(lambda: inventory))
        try:
            yield compared, begun
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # a server of ours in this loop brings it about
            await asyncio.sleep(0.005)


async def test_a_burst_is_one_comparison_and_the_next_change_is_another() -> None:
    more = asyncio.Event()

    async def stream(writer: asyncio.StreamWriter, _: int) -> None:
        writer.write(CHANGED * 20)
        await more.wait()
        writer.write(CHANGED)
        await asyncio.Event().wait()

    async with attended(stream) as (compared, _):
        await until(lambda: len(compared) == 1)
        more.set()
        await until(lambda: len(compared) == 2)


async def test_a_change_that_goes_on_is_compared_more_and_more_rarely() -> None:
    async def stream(writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            writer.write(CHANGED)
            await writer.drain()
            await asyncio.sleep(0.15)  # slow enough not to be more than anybody says

    async with attended(stream) as (compared, _):
        await until(lambda: len(compared) == 4)
    waits = [later - earlier for earlier, later in pairwise(compared)]
    assert waits[0] >= 0.19, waits
    assert waits[1] >= 0.39, waits
    assert waits[2] >= 0.79, waits


async def test_nothing_is_compared_until_it_says_so_and_everything_after_nobody_listened() -> None:
    cut = asyncio.Event()

    async def stream(_: asyncio.StreamWriter, number: int) -> None:
        if number == 1:
            await cut.wait()
        else:
            await asyncio.Event().wait()

    async with attended(stream) as (compared, begun):
        await until(lambda: len(begun) == 1)
        assert compared == []
        cut.set()
        await until(lambda: len(begun) == 2 and len(compared) == 1)


async def test_a_server_that_floods_is_listened_to_after_growing_waits_and_compared_rarely() -> None:
    async def stream(writer: asyncio.StreamWriter, _: int) -> None:
        while True:
            writer.write(CHANGED * 100)
            await writer.drain()

    async with attended(stream) as (compared, begun):
        await until(lambda: len(begun) == 5)
    waits = [later - earlier for earlier, later in pairwise(begun)]
    assert waits[-1] > 3 * waits[0], waits
    assert len(compared) <= 4


@pytest.mark.parametrize("transport", ["stateful", "sse"])
async def test_a_real_server_that_says_so_is_compared_and_told_within_seconds(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert site.run("init", str(site.folder)).exit_code == 0
    told: list[Run] = []

    def tell(_: Configuration, run: Run, __: None) -> str:
        told.append(run)
        return "told"

    monkeypatch.setattr(listener, "told_of", tell)
    with typescript(f"typescript-2025-11-25-{transport}", tmp_path) as place:
        world = world_of(place)
        pins = Pins(servers={"lab": await read_pins(world, "lab", Dossier(reviewed="all of it"))})
        world = world.with_inventory(world.inventory.model_copy(update={"pins": pins}))
        parts = cast("Parts", SimpleNamespace(world=world, sources=site.config.sources))
        stop, root = asyncio.Event(), place["url"].rpartition("/")[0]
        listening = asyncio.create_task(listener.listen(lambda: parts, site.config, stop, pace=QUICK))
        async with httpx.AsyncClient(trust_env=False) as http:

            async def sessions() -> int:
                return int((await http.get(f"{root}/state")).json()["sessions"])

            async with asyncio.timeout(60):
                while not await sessions():  # noqa: ASYNC110  # another process
                    await asyncio.sleep(0.02)
                while not told:
                    # It may have been asked before its stream was open.
                    await http.get(f"{root}/change")
                    await asyncio.sleep(0.3)
        stop.set()
        await listening
        await world.aclose()
    assert [(one.subject, one.observed) for one in told[0].found] == [("tool added of lab", "new")]
