"""While everything is stopped, a responder asks every second of every open incident, and says so once."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from flows.engine.parts import Timing
from flows.service.responder import Responder
from playbooks.people.request import Verb
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import alert, house

INVENTORY = world.READ


async def test_what_is_stopped_is_said_once_however_often_it_is_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        caplog.set_level(logging.INFO, logger="mcp_soar")
        await home.ask("ann", Verb.STOP, "everything", reason="a change window")
        await home.receive(alert("weather", "forecast"))
        await home.receive(alert("weather", "add"))
        responder = Responder(replace(home.parts, timing=Timing(stopped=0.05)))
        stop = asyncio.Event()
        running = asyncio.create_task(responder.run(stop))
        asked = 0
        stops = home.journal.stops

        async def counted() -> object:
            nonlocal asked
            asked += 1
            return await stops()

        home.journal.stops = counted  # type: ignore[assignment,method-assign]  # counted, and otherwise the same

        async def often() -> bool:
            return asked > 20 and len(await home.incidents()) == 2

        await home.until(often, "it was asked many times of two incidents")
        stop.set()
        await running
        said = [
            record.message
            for record in caplog.records
            if "a change window" in record.message and record.name != "mcp_soar.pages"
        ]
        assert said == ["stopped: everything by ann: a change window"]
