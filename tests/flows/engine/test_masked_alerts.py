"""Alerts whose words are masked meet, join and repeat as if they were not. Nothing of it touches a system."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from flows.engine.alerts import correlation
from flows.engine.case import PREFIX
from integrations.siem.source import parse
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import SOURCES, House, alert, house

INVENTORY = world.READ
PERSON = {"kind": "principal", "name": "kim.min@corp.example.com"}


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        yield home


async def send(home: House, body: bytes) -> None:
    await home.receive(body)
    await home.take_in()


def about(**changes: Any) -> bytes:  # noqa: ANN401  # whatever an alert can say
    return alert("weather", "forecast", **changes)


async def test_two_ids_that_are_masked_alike_are_two_alerts_and_the_same_message_is_one(home: House) -> None:
    first = about(id="case 4111 1111 1111 1111")
    await send(home, first)
    await send(home, about(id="case 5555 5555 5555 4444"))
    await send(home, first)
    (incident,) = await home.incidents()
    assert [seen.external_id for seen in incident.alerts] == ["case [redacted: card number]"] * 2


async def test_an_id_that_needs_no_mask_is_the_same_in_another_message(home: House) -> None:
    await send(home, about(id="case 7"))
    await send(home, about(id="case 7"))
    (incident,) = await home.incidents()
    assert len(incident.alerts) == 1


async def test_what_is_unknown_keeps_its_key_and_loses_its_name(home: House) -> None:
    body = about(entities=[PERSON])
    await send(home, body)
    (incident,) = await home.incidents()
    (read,) = parse(body, "siem", SOURCES.sources["siem"])
    assert read.entities[0].name == PERSON["name"]
    assert incident.key == correlation(read, IncidentClass.TOOL_POISONING, [], trusted=True)[0]
    assert incident.triage is not None
    assert "principal [redacted: e-mail]" in incident.triage
    written = b"".join(entry.data for entry in await home.journal.read(PREFIX + incident.id))
    assert b"kim.min" not in written


async def test_what_no_incident_takes_in_is_masked_on_the_system_stream_too(home: House) -> None:
    await send(
        home, json.dumps({"version": 1, "id": "x", "AKIA" + "IOSFODNN7EXAMPLE": "kim.min@corp.example.com"}).encode()
    )
    written = b"".join(entry.data for entry in await home.journal.read("system"))
    assert b"set_aside" in written
    assert b"IOSFODNN7" not in written
    assert b"kim.min" not in written
