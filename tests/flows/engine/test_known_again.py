"""What is sent again without an id is known while its incident is open, and news afterwards. Touches no system."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from flows.engine.case import PREFIX
from flows.service.receiver import create_app
from playbooks.people.request import Verb
from playbooks.strict import now
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import SOURCES, House, alert, house

INVENTORY = world.READ
TOKEN = "t" * 32


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        yield home


@pytest.fixture
async def client(home: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("LAB_TOKEN", TOKEN)
    app = create_app({"siem": SOURCES.sources["siem"]}, home.journal, clock=now)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://soar.test") as client:
        yield client


async def send(home: House, client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    response = await client.post("/v1/alerts/siem", content=body, headers=headers)
    await home.take_in()
    return response


async def test_the_same_body_is_known_while_its_incident_is_open_and_opens_another_one_after_it_was_closed(
    home: House, client: httpx.AsyncClient
) -> None:
    body = alert("weather", "forecast", id="drift-weather-forecast", detected_at="2026-01-31T12:00:00Z")
    assert (await send(home, client, body)).status_code == 202
    (first,) = await home.incidents()
    again = await send(home, client, body)
    assert (again.status_code, again.json()["incident"]) == (200, PREFIX + first.id)
    assert len((await home.incident(first.id)).alerts) == 1

    await home.ask("ann", Verb.CLOSE, first.id, reason="mended")
    await home.take_in()
    assert (await home.incident(first.id)).closed_at is not None
    assert (await send(home, client, body)).status_code == 202
    _, second = await home.incidents()
    assert [seen.external_id for seen in second.alerts] == ["drift-weather-forecast"]
    assert second.linked == (first.id,)
    assert (await send(home, client, body)).json()["incident"] == PREFIX + second.id


async def test_an_end_that_came_before_its_beginning_is_not_known_for_ever(
    home: House, client: httpx.AsyncClient
) -> None:
    end = alert("weather", "forecast", id="flap", state="resolved")
    assert [(await send(home, client, end)).status_code for _ in range(2)] == [202, 202]
    assert len(await home.system("set_aside")) == 2
    await send(home, client, alert("weather", "forecast", id="flap"))
    await send(home, client, end)
    (incident,) = await home.incidents()
    assert [seen.state for seen in incident.alerts] == ["new", "resolved"]


async def test_firing_resolved_and_firing_again_are_three_messages(home: House, client: httpx.AsyncClient) -> None:
    for state in ("new", "new", "resolved", "resolved", "new", "new"):
        await send(home, client, alert("weather", "forecast", id="flap-1", state=state))
    (incident,) = await home.incidents()
    assert [seen.state for seen in incident.alerts] == ["new", "resolved", "new"]


async def test_people_hear_once_a_day_of_a_source_whose_messages_cannot_be_read(
    home: House, client: httpx.AsyncClient
) -> None:
    for body in (b'{"version": 1}', b'{"version": 2}'):
        assert (await send(home, client, body)).status_code == 422

    async def handed_in() -> bool:
        await home.take_in()
        return bool(await home.system("refused"))

    await home.until(handed_in, "what was refused is on record")
    (entry,) = await home.system("refused")
    assert (entry.body["source"], entry.body["count"]) == ("siem", 1)
    # Whoever may only insert repeats it as often as they like: it is one entry, and one page.
    for number in range(20):
        said = {"count": 1, "since": "2026-01-31T12:00:00Z", "said": "x"}
        for body in (json.dumps(said).encode(), b"{", b"x" * 100_000):
            nonce = f"refused-{number}-{len(body)}"
            await home.journal.put(kind="refused", source="siem", nonce=nonce, body=body, headers={})
    await home.take_in()
    # Or two, if these few seconds lie at the end of a slot.
    assert len(await home.system("refused")) in {1, 2}
    pages = [entry.parsed() for entry in await home.journal.read("telling/system")]
    (page,) = [entry for entry in pages if entry.kind == "page"]
    assert page.body["id"].startswith("fault:refused:siem:")
    assert "1 of its messages could not be read" in page.body["text"]
    assert "id: is missing" in page.body["text"]
