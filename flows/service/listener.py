"""The listener: it holds a conversation with each server, and what a server says has changed is compared with its pins.

It runs beside the flows and not beside the cuts, for whoever is listened to chooses how much there is to hear. What it
finds is reported as the schedule reports it, which is the net under it: nobody has to say that something changed.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from flows.checks import drift
from flows.checks.running import run
from flows.checks.telling import told_of
from flows.engine.parts import Parts
from flows.service.settings import Configuration
from integrations.protocol.client import McpEndpoint
from integrations.protocol.listening import Mute, changes
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import PinKind

LOG = logging.getLogger("mcp_soar.listener")

LOOK: Final = 5.0
"""Seconds between two looks at who there is to listen to."""

AT_ONCE: Final = 16
"""Conversations that are begun side by side."""

COMPARED: Final = 4
"""Servers that are compared side by side."""


@dataclass(frozen=True)
class Pace:
    """How long is waited for what.

    Args:
        settles: seconds after a server said that something changed, in which it may say more.
        between: seconds between two comparisons of one server; doubled while it goes on, up to `rarely`.
        rarely: seconds, likewise.
        again: seconds before a conversation that ended is begun again; doubled each time, up to `rarely`.
        steady: seconds after which a conversation counts as one that holds.
        mute: seconds before a server that says nothing unasked is tried again.
    """

    settles: float = 0.5
    between: float = 5.0
    rarely: float = 300.0
    again: float = 1.0
    steady: float = 60.0
    mute: float = 3600.0


Compare = Callable[[str], Awaitable[None]]
"""Compares the definitions of a server with their pins, and reports what differs."""


async def listen(
    parts: Callable[[], Parts], config: Configuration, stop: asyncio.Event, *, pace: Pace | None = None
) -> None:
    """Listen to every server of the inventory that has an address, until told to stop.

    Args:
        parts: returns what the engine works with now.
        config: the configuration.
        stop: ends it.
        pace: how long is waited for what.
    """
    turns, begins = asyncio.Semaphore(COMPARED), asyncio.Semaphore(AT_ONCE)

    async def compare(name: str) -> None:
        now = replace(config, inventory=parts().world.inventory, sources=parts().sources)
        async with turns:
            await compared(now, name)

    held: dict[tuple[str, str], asyncio.Task[None]] = {}
    try:
        while not stop.is_set():
            world = parts().world
            there = {(name, str(one.url)) for name, one in world.inventory.servers.items() if one.url}
            for gone in held.keys() - there:
                held.pop(gone).cancel()
            for name, url in there - held.keys():
                one = Attended(name, compare, pace or Pace(), begins)
                held[name, url] = asyncio.create_task(one.attend(lambda: parts().world.inventory))
            waiting = asyncio.create_task(stop.wait())
            await asyncio.wait({waiting}, timeout=LOOK)
            waiting.cancel()
    finally:
        for task in held.values():
            task.cancel()
        await asyncio.gather(*held.values(), return_exceptions=True)


async def compared(config: Configuration, name: str) -> None:
    """Compare one server's definitions with their pins now, and report what differs.

    Args:
        config: the configuration.
        name: the server.
    """
    one = replace(
        drift.CHECK, pieces=lambda _, world: {name: partial(drift.compared, world, name)}, left_out=lambda _: {}
    )
    done = await run(one, config)
    for _, why in done.unknown:
        LOG.warning("%s said that something of it changed, and could not be asked what: %s", name, why)
    if done.found and (said := await asyncio.to_thread(told_of, config, done, None)):
        LOG.warning("%s differs from what was approved. %s", name, said)


class Attended:
    """One server that is listened to.

    Args:
        name: by the inventory.
        compare: compares its definitions.
        pace: how long is waited for what.
        begins: how many conversations may be begun side by side.
    """

    def __init__(self, name: str, compare: Compare, pace: Pace, begins: asyncio.Semaphore) -> None:
        self.name = name
        self._compare = compare
        self._pace = pace
        self._begins = begins
        self._news = asyncio.Event()
        self.heard = False

    async def attend(self, inventory: Callable[[], Inventory]) -> None:
        """Listen for ever, and have compared what the server says has changed.

        Args:
            inventory: returns what is known now.
        """
        comparing = asyncio.create_task(self._comparing())
        try:
            wait = self._pace.again
            while True:
                began = time.monotonic()
                pause = wait
                try:
                    await self._listen(inventory())
                except Mute:
                    pause = self._pace.mute
                except SoarError as exc:
                    LOG.info("%s is not listened to for %.0f s: %s", self.name, wait, exc)
                except Exception as exc:  # noqa: BLE001  # who chooses what is said chooses what it breaks
                    LOG.info("%s is not listened to for %.0f s: %s", self.name, wait, type(exc).__name__)
                steady = time.monotonic() - began >= self._pace.steady
                wait = self._pace.again if steady else min(wait * 2, self._pace.rarely)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # so that not all come at once
        finally:
            comparing.cancel()
            await asyncio.gather(comparing, return_exceptions=True)

    async def _listen(self, inventory: Inventory) -> None:
        server = inventory.servers[self.name]
        uris = [pin.name for pin in inventory.pins.of(self.name, PinKind.RESOURCE)]
        endpoint = McpEndpoint(f"server {self.name}", str(server.url), principal="nobody in particular")
        try:
            async with self._begins:
                heard = changes(endpoint, uris)
                await anext(heard)
            async with contextlib.aclosing(heard):
                if self.heard:
                    # What it said meanwhile nobody heard.
                    self._news.set()
                self.heard = True
                async for _ in heard:
                    self._news.set()
        finally:
            await endpoint.aclose()

    async def _comparing(self) -> None:
        between, last = self._pace.between, -self._pace.rarely
        while True:
            await self._news.wait()
            # Whoever goes on saying so is compared more and more rarely; the schedule does not depend on it.
            quiet = time.monotonic() - last
            between = self._pace.between if quiet > 2 * between else min(2 * between, self._pace.rarely)
            await asyncio.sleep(max(self._pace.settles, between - quiet))
            self._news.clear()
            last = time.monotonic()
            try:
                await self._compare(self.name)
            except Exception:  # a bug of ours must not end the listener
                LOG.exception("%s said that something of it changed, and was not compared", self.name)
