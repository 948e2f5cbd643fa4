"""What Prefect shows of incidents: the kill switch above everything, nothing written twice, a broken one alone."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.shown.shelf import Shelf
from integrations.connections import Connections
from playbooks.inventory import Inventory
from playbooks.journal import Event
from playbooks.playbook import shipped
from playbooks.request import Verb
from playbooks.strict import parse_yaml
from tests.flows.cli import world
from tests.flows.cli.world import ID
from tests.lab.house import House, house
from tests.lab.prefect import PrefectServer, publishing

pytestmark = pytest.mark.timeout(240)
INVENTORY = parse_yaml(Inventory, world.INVENTORY, file="inventory.yaml")
NEW = {
    "class": "tool_poisoning",
    "title": "seen",
    "entities": [{"kind": "tool", "name": "forecast", "server": "weather"}],
}
KEYS = {ID, f"{ID}-plan", f"{ID}-report"}


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with one open incident that nobody works on."""
    async with house(tmp_path / "house", Connections(INVENTORY)) as home:
        await home.ask("ann", Verb.RESPOND, "new", params=NEW)
        (opened,) = await intake(home.parts)
        await home.journal.append(PREFIX + ID, [world.intended(), world.wrote(), world.verified()], claim=opened.claim)
        await home.journal.release(opened.claim, runnable_at=None)
        yield home


async def until(prefect: PrefectServer, holds: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """Wait until the newest versions of the artifacts, by key, are as they ought to be, and return them."""
    found: dict[str, str] = {}
    async with asyncio.timeout(90):
        while True:
            answer: Any = await asyncio.to_thread(prefect.ask, "/artifacts/latest/filter")
            found = {item["key"]: item["data"] for item in answer}
            if holds(found):
                return found
            await asyncio.sleep(0.2)


def versions(prefect: PrefectServer, key: str) -> int:
    wanted = {"artifacts": {"key": {"any_": [key]}}}
    return len(prefect.ask("/artifacts/filter", wanted))


@pytest.mark.slow
async def test_the_kill_switch_stands_above_every_artifact_while_it_is_on(prefect: PrefectServer, home: House) -> None:
    everything = {*KEYS, "times-to-contain"}
    async with publishing(home.journal):
        found = await until(prefect, lambda now: everything <= now.keys())
        assert not any("KILL SWITCH" in data for data in found.values())
        reason = "틀린 서버 <img src=x>"
        await home.ask("ann", Verb.STOP, "everything", reason=reason)
        await intake(home.parts)
        found = await until(prefect, lambda now: all("KILL SWITCH ON" in now[key] for key in everything))
        for key in everything:
            assert found[key].startswith("> **KILL SWITCH ON: everything.** Since "), key
            assert "by ann: 틀린 서버 &lt;img src\\=x&gt;" in found[key]
        for who in ("ann", "bob"):
            await home.ask(who, Verb.RESUME, "everything")
            await intake(home.parts)
        await until(prefect, lambda now: not any("KILL SWITCH ON" in now[key] for key in everything))


@pytest.mark.slow
async def test_what_did_not_change_is_not_written_again(prefect: PrefectServer, home: House) -> None:
    async with publishing(home.journal):
        await until(prefect, lambda now: now.keys() >= KEYS)
    assert versions(prefect, f"{ID}-plan") == 1
    page = {"id": "p1", "notice": "opened", "text": "look here"}
    told = {"page": "p1", "channel": "email", "delivered": False, "detail": "no such mailbox", "contact": "bob"}
    await home.journal.append(PREFIX + ID, [Event("page", page), Event("told", told)])
    # Another responder, which has to ask the API what is there.
    async with publishing(home.journal):
        await until(prefect, lambda now: "look here" in now[ID])
    newest = next(item["data"] for item in prefect.ask("/artifacts/latest/filter") if item["key"] == ID)
    assert "**NOT DELIVERED to bob:** look here \\(no such mailbox\\)" in newest
    assert versions(prefect, ID) == 2
    assert versions(prefect, f"{ID}-plan") == 1


async def test_an_incident_that_was_tampered_with_hides_no_other(prefect: PrefectServer, home: House) -> None:
    other = {**NEW, "entities": [{"kind": "tool", "name": "add", "server": "weather"}]}
    await home.ask("ann", Verb.RESPOND, "new", params=other)
    (opened,) = await intake(home.parts)
    await home.journal.release(opened.claim, runnable_at=None)
    with sqlite3.connect(home.folder / "journal.db") as database:
        database.execute("UPDATE entry SET data = data || ' ' WHERE stream = ?", (opened.claim.stream,))
    database.close()
    # It is the younger one, so it comes first.
    async with publishing(home.journal):
        found = await until(prefect, lambda now: "times-to-contain" in now and now.keys() >= KEYS)
    assert opened.state.id not in found


async def test_a_fresh_process_knows_from_the_api_how_far_it_is(prefect: PrefectServer, home: House) -> None:
    async with publishing(home.journal) as here:
        await until(prefect, lambda now: now.keys() >= KEYS)
        row = await home.journal.stream(PREFIX + ID)
        assert row is not None
        assert await Shelf(here._client, shipped()).known(row) == row.seq  # noqa: SLF001  # another process's would be alike
