"""What Prefect shows of incidents: the kill switch above everything, nothing written twice, a broken one alone."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import get_client

from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.engine.opening import FLOW
from flows.pages.publishing import Publisher
from playbooks.people.request import Verb
from playbooks.playbook import shipped
from playbooks.record.journal import Event
from tests.flows.cli import world
from tests.flows.cli.world import ID
from tests.lab.connected import connected
from tests.lab.house import House, house
from tests.lab.paging import NEW
from tests.lab.prefect import PrefectServer, publishing

pytestmark = pytest.mark.timeout(900)
INVENTORY = world.READ
KEYS = {ID, f"{ID}-plan", f"{ID}-report"}


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation with one open incident that nobody works on."""
    async with house(tmp_path / "house", connected(INVENTORY)) as home:
        await home.ask("ann", Verb.RESPOND, "new", params=NEW)
        (opened,) = await intake(home.parts)
        await home.journal.append(PREFIX + ID, [world.intended(), world.wrote(), world.verified()], claim=opened.claim)
        # Evidence that could not be had is tried again by and by: nothing waits for that to be shown.
        await home.journal.release(opened.claim, runnable_at=time.time() + 3600, lane=FLOW)
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


async def test_any_process_started_at_any_time_goes_on_with_the_same_run(prefect: PrefectServer, home: House) -> None:
    def mine() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = prefect.ask("/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}})
        return found

    name = f"{ID} weather"
    before = {run["id"] for run in mine()}
    async with publishing(home.journal), publishing(home.journal):
        await until(prefect, lambda now: now.keys() >= KEYS)
    row = await home.journal.stream(PREFIX + ID)
    assert row is not None
    async with get_client() as client:
        fresh = Publisher(client, home.journal, shipped())
        async with asyncio.timeout(120):
            while not fresh.knows(row, ()):
                await fresh.look()
    (run,) = [run for run in mine() if run["id"] not in before]
    tasks = prefect.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    assert len(tasks) == 1, "each step once, whoever tells of it"
    assert versions(prefect, f"{ID}-plan") <= 2, "of two that begin at once"


async def test_another_class_is_another_flow_and_the_former_run_says_so(prefect: PrefectServer, home: House) -> None:
    async with publishing(home.journal):
        await until(prefect, lambda now: now.keys() >= KEYS)
        await home.ask("ann", Verb.CLASSIFY, ID, params={"class": "tool_misuse"}, reason="an agent of ours")
        await intake(home.parts)

        def both() -> dict[str, str]:
            wanted = {"flow_runs": {"name": {"any_": [f"{ID} weather"]}}, "sort": "START_TIME_DESC", "limit": 2}
            found: list[dict[str, Any]] = prefect.ask("/flow_runs/filter", wanted)
            flows = {one["id"]: one["name"] for one in prefect.ask("/flows/filter")}
            return {flows[one["flow_id"]]: one["state_name"] for one in found}

        async with asyncio.timeout(90):
            # Another process is asked.
            while (found := await asyncio.to_thread(both)).get("tool-poisoning") != "Reclassified":  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert found["tool-misuse"] != "Reclassified"
