"""What is wrong while Prefect is told: a fault of ours is an error with its place, Prefect's own a warning."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from prefect.exceptions import ObjectNotFound

from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.pages import publishing, runs
from flows.pages.publishing import Publisher
from flows.report.incident import report
from integrations.journal.records import StreamInfo
from playbooks.people.request import Verb
from playbooks.playbook import shipped
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, house

FIRST, SECOND = "inc-2026-000001", "inc-2026-000002"
THEIRS = [httpx.ConnectError("refused"), ObjectNotFound(Exception("no such run")), ConnectionResetError()]
"""What Prefect's client raises."""


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """Give an installation with two open incidents that nobody works on."""
    async with house(tmp_path / "house", connected(world.READ)) as made:
        for tool in ("forecast", "add"):
            entities = [{"kind": "tool", "name": tool, "server": "weather"}]
            params = {"class": "tool_poisoning", "title": "seen", "entities": entities}
            await made.ask("ann", Verb.RESPOND, "new", params=params)
            (opened,) = await intake(made.parts)
            await made.journal.release(opened.claim, runnable_at=None)
        yield made


class Told:
    """A Prefect that takes what it is told; `of` what it was told of, `fails` is raised about the second incident."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: list[str] = []
        self.fails: Exception | None = None
        monkeypatch.setattr(runs, "run_of", self._run_of)
        monkeypatch.setattr(runs, "tell", self._tell)

    async def api_healthcheck(self) -> None:
        """Answer."""

    async def read_latest_artifacts(self, **_asked: object) -> list[object]:
        """Have none."""
        return []

    async def create_artifact(self, _made: object) -> None:
        """Take it."""

    async def _run_of(self, _client: object, it: Any, _key: str) -> Any:  # noqa: ANN401  # as little of a run as is used
        if self.fails and it.id == SECOND:
            raise self.fails
        return SimpleNamespace(id=None)

    async def _tell(self, _client: object, _run: object, it: Any, _key: str, *, busy: bool) -> bool:  # noqa: ANN401
        del busy
        self.of.append(it.id)
        return True


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def publisher(home: House, told: Told) -> Publisher:
    return Publisher(cast("Any", told), home.journal, shipped())


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what stands in the log as an error with its place, and forget it."""
    found = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR and one.exc_info]
    caplog.clear()
    return found


async def row(home: House, name: str) -> StreamInfo:
    found = await home.journal.stream(PREFIX + name)
    assert found is not None
    return found


async def test_a_fault_of_ours_in_one_is_an_error_with_its_place_and_hides_no_other(
    home: House, told: Told, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(state: Incident, *given: Any, **more: Any) -> Any:  # noqa: ANN401  # as the original
        if state.id == SECOND:
            # Prefect's client raises such ones, too; this one did not.
            raise ConnectionResetError
        return report(state, *given, **more)

    monkeypatch.setattr(publishing, "report", broken)
    shows = publisher(home, told)
    await shows.look()
    assert told.of == [FIRST]
    assert faults(caplog) == [f"{PREFIX}{SECOND} is not published, by a fault of mcp-soar"]
    await shows.look()
    assert faults(caplog) == [], "once for what there is of it"
    monkeypatch.setattr(publishing, "report", report)
    await home.journal.append(PREFIX + SECOND, [Event("noted", {"by": "ann", "text": "look"})])
    await shows.look()
    assert told.of == [FIRST, SECOND]


async def test_a_fault_in_telling_is_ours_too(home: House, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    told.fails = KeyError("steps")
    shows = publisher(home, told)
    await shows.look()
    assert told.of == [FIRST]
    assert shows.knows(await row(home, SECOND), ())
    assert faults(caplog) == [f"{PREFIX}{SECOND} is not published, by a fault of mcp-soar"]


@pytest.mark.parametrize("theirs", THEIRS, ids=lambda one: type(one).__name__)
async def test_what_prefect_does_not_take_is_told_again_and_no_fault_of_ours(
    home: House, told: Told, caplog: pytest.LogCaptureFixture, theirs: Exception
) -> None:
    told.fails = theirs
    shows = publisher(home, told)
    for _ in range(2):
        with pytest.raises(type(theirs)):
            await shows.look()
    assert (told.of, faults(caplog)) == ([FIRST], [])
    told.fails = None
    await shows.look()
    assert told.of == [FIRST, SECOND]


@pytest.mark.parametrize(
    ("wrong", "levels"), [(httpx.ReadTimeout("slow"), [logging.WARNING]), (KeyError("it"), [logging.ERROR])]
)
async def test_the_log_says_once_whose_it_is_and_the_showing_goes_on(
    home: House,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Exception,
    levels: list[int],
) -> None:
    looks, over = 0, asyncio.Event()

    async def look(_self: Publisher) -> None:
        nonlocal looks
        looks += 1
        if looks <= 3:
            raise wrong
        over.set()

    @asynccontextmanager
    async def client() -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(Publisher, "look", look)
    monkeypatch.setattr(publishing, "get_client", client)
    monkeypatch.setattr(publishing, "PUBLISH_EVERY", 0.001)
    shows = asyncio.create_task(publishing.publish(home.journal, shipped()))
    async with asyncio.timeout(60):
        await over.wait()
    said = [one for one in caplog.records if one.name == publishing.LOG.name]
    assert [one.levelno for one in said][:1] == levels
    assert [one for one in said if one.levelno == levels[0] and "again" not in one.getMessage()] == said[:1]
    assert (said[0].exc_info is not None) is (levels == [logging.ERROR])
    shows.cancel()
