"""A check that takes credentials: a worker asks for it, the process `flows` runs it, and nothing of it gets lost."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.checks import asked, telling
from flows.checks.every import CHECKS
from flows.checks.inspection import Ask
from flows.engine.checked import LANE
from flows.engine.intake import intake
from flows.pages import checked
from flows.reading import checks
from flows.service.settings import Configuration
from playbooks.action import World
from playbooks.errors import Misconfigured, Transient
from playbooks.record.check import AGAIN, ASKED, KIND, Found, Ran
from playbooks.record.journal import SYSTEM
from playbooks.strict import canonical
from tests.flows.checks.test_room import AUDIT, ran
from tests.flows.cli.world import Installation
from tests.flows.engine.test_campaigns import estate
from tests.lab.house import House


@asynccontextmanager
async def installed(tmp_path: Path) -> AsyncIterator[House]:
    """Yield what a responder works with, where `tried` may be asked for."""
    async with estate(tmp_path / "house") as made:
        yield made.changed(asked=frozenset({"tried"}))


async def ask(made: House, check: str = "tried", source: str = "drift") -> None:
    """Ask for a check, and let a responder take it in."""
    nonce = f"ask-{len(await made.journal.waiting(100))}-{asyncio.get_running_loop().time()}"
    body = canonical({"asked": check})
    await made.journal.put(kind=KIND, source=source, nonce=nonce, body=body, headers={})
    assert not await intake(made.parts), "it opens no incident"


class Runs:
    """What is run in the place of the one check there is, and by how many."""

    def __init__(self, made: House, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.began, self.go, self.most, self.at_work = 0, asyncio.Event(), 0, 0
        self.fault: Exception | None = None
        self.check = replace(CHECKS["configuration"], name="tried", pieces=self._pieces)

    def _pieces(self, _config: Configuration, _world: World) -> Mapping[str, Ask]:
        return {"one": self._one, "two": self._two}

    async def _one(self) -> list[Found]:
        self.began, self.at_work = self.began + 1, self.at_work + 1
        self.most = max(self.most, self.at_work)
        try:
            await self.go.wait()
        finally:
            self.at_work -= 1
        if self.fault:
            raise self.fault
        return [AUDIT]

    async def _two(self) -> list[Found]:
        return []

    @asynccontextmanager
    async def attended(self, name: str = "flows-1") -> AsyncIterator[None]:
        """Run what is asked for beside."""
        stop, parts = asyncio.Event(), replace(self.made.parts, name=name)
        task = asyncio.create_task(asked.attend(self.folder, lambda: parts, stop, look=0.01))
        try:
            yield
        finally:
            stop.set()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, what: Any) -> None:  # noqa: ANN401  # a condition
        """Wait until something is so."""
        async with asyncio.timeout(30):
            while not what():  # noqa: ASYNC110  # it is said nowhere
                await asyncio.sleep(0.01)


@pytest.fixture
async def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Runs]:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert (await asyncio.to_thread(site.run, "init", str(site.folder))).exit_code == 0
    async with installed(tmp_path) as made:
        found = Runs(made, site.folder)
        monkeypatch.setitem(asked.__dict__, "CHECKS", {"tried": found.check})

        def told(_config: Configuration, run: Any, by: Any, before: Ran | None, beside: Any) -> telling.Told:  # noqa: ANN401  # as `tell`
            body = canonical(run.ran(by, before, beside).model_dump(mode="json"))
            put = made.journal.put(kind=KIND, source="drift", nonce=f"{run.began}", body=body, headers={})
            asyncio.run_coroutine_threadsafe(put, loop).result(30)
            return telling.Told("", "")

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(asked, "tell", told)
        monkeypatch.setattr(checked, "_EVERY", 0.02)
        yield found


async def answered(runs: Runs, before: Ran | None = None) -> Ran:
    """Return what a worker gets that asked, while a responder takes in what comes."""
    waiting = asyncio.create_task(checked.answer(runs.made.journal, runs.check, before, {}, patience=30))
    while not waiting.done():
        await intake(runs.made.parts)
        await asyncio.wait({waiting}, timeout=0.02)
    return waiting.result()


async def claimed_until(made: House) -> float:
    """Return until when the check that was asked for is somebody's."""
    row = await made.journal.stream(f"{ASKED}tried")
    return (row and row.claimed_until) or 0.0


async def test_a_worker_that_asks_gets_the_record_of_the_run(runs: Runs) -> None:
    await ask(runs.made)
    runs.go.set()
    async with runs.attended():
        found = await answered(runs)
    assert (found.differ, found.asked, found.by) == (1, 2, "schedule")
    shown = checked.page(runs.check, found, telling.Told("", ""))
    assert shown.startswith("# Configuration: 1 differs from how it should be")
    assert "audit trail" in shown
    assert not await runs.made.journal.verify(public_keys=tuple(runs.made.parts.keys.values()))


async def test_whoever_asks_meanwhile_gets_the_same_answer_and_nothing_runs_twice(runs: Runs) -> None:
    made = runs.made
    runs.made = made.changed(timing=replace(made.parts.timing, claim=1.5))
    await ask(made)
    async with runs.attended("flows-1"), runs.attended("flows-2"):
        await runs.until(lambda: runs.began)
        first_until = await claimed_until(made)
        while await claimed_until(made) < first_until + 1.5:  # noqa: ASYNC110  # however long it takes, nobody else begins
            await asyncio.sleep(0.05)
        for _ in range(5):
            await ask(runs.made)
        waiting = [asyncio.create_task(answered(runs)) for _ in range(2)]
        runs.go.set()
        first, second = await asyncio.gather(*waiting)
        assert first == second
        await ask(runs.made)
        assert LANE not in await runs.made.journal.due([LANE])
    assert (runs.began, runs.most) == (1, 1)
    row = await runs.made.journal.stream(f"{ASKED}tried")
    entries = [one.parsed().kind for one in await runs.made.journal.read(f"{ASKED}tried")]
    assert entries.count("asked") == 1, "a worker that asks all the time fills nothing"
    assert row
    assert row.runnable_at is None
    assert AGAIN >= 60


async def test_a_process_that_dies_in_the_middle_loses_nothing(runs: Runs) -> None:
    made = runs.made
    runs.made = made.changed(timing=replace(made.parts.timing, claim=0.5))
    await ask(made)
    async with runs.attended("flows-1"):
        await runs.until(lambda: runs.began)
    # Its claim was not given back; it runs out.
    runs.go.set()
    async with runs.attended("flows-2"):
        found = await answered(runs)
    assert found.differ == 1
    assert runs.began == 2


async def test_a_run_that_ends_the_process_each_time_is_given_up(runs: Runs) -> None:
    made = runs.made
    runs.made = made.changed(timing=replace(made.parts.timing, claim=0.2))
    await ask(made)
    first = await checks.asked(made.journal, "tried")
    for number in range(1, asked.BEGUN + 1):
        async with runs.attended(f"flows-{number}"):
            await runs.until(lambda: runs.began == number)  # noqa: B023  # awaited at once
    async with runs.attended("flows-last"):
        while not (far := await checks.asked(made.journal, "tried")).ended:  # noqa: ASYNC110  # it is said nowhere
            await asyncio.sleep(0.02)
    assert runs.began == asked.BEGUN
    assert f"begun {asked.BEGUN} times" in far.why
    assert far.seq > first.seq


async def test_a_worker_hears_why_nothing_came_of_it(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "read", lambda _: (_ for _ in ()).throw(Misconfigured("no such field", field="x")))
    waiting = asyncio.create_task(answered(runs))
    await asyncio.sleep(0)
    await ask(runs.made)
    async with runs.attended():
        with pytest.raises(Transient, match="no such field"):
            await waiting


async def test_a_worker_whose_answer_nobody_gives_says_what_to_look_at(runs: Runs) -> None:
    await ask(runs.made)
    with pytest.raises(Transient, match="mcp-soar doctor"):
        await checked.answer(runs.made.journal, runs.check, None, {}, patience=0.0)


@pytest.mark.parametrize(("check", "who"), [("drift", "drift"), ("../x", "drift"), ("tried", "siem"), ("tried", "lab")])
async def test_only_what_a_worker_cannot_do_itself_is_asked_for_and_only_by_a_worker(
    tmp_path: Path, check: str, who: str
) -> None:
    async with installed(tmp_path) as made:
        await ask(made, check, who)
        assert await made.journal.stream(f"{ASKED}{check}") is None
        assert LANE not in await made.journal.due([LANE])
        assert not await made.journal.waiting(10), "it is set aside"
        kinds = [one.parsed().kind for one in await made.journal.read(SYSTEM)]
        assert "set_aside" in kinds


def test_each_check_that_takes_credentials_is_asked_for_and_no_other() -> None:
    assert {name for name, one in CHECKS.items() if one.here} == {
        "clients",
        "configuration",
        "drills",
        "hardening",
        "hosts",
        "probing",
    }


async def test_how_far_it_is_shows_while_it_runs(runs: Runs) -> None:
    made = runs.made
    runs.made = made.changed(timing=replace(made.parts.timing, claim=0.3))
    await ask(made)
    far: dict[str, int] = {}
    async with runs.attended():
        waiting = asyncio.create_task(checked.answer(made.journal, runs.check, None, far, patience=30))
        await runs.until(lambda: far.get("done"))
        assert far == {"done": 1, "all": 2}
        runs.go.set()
        while not waiting.done():
            await intake(made.parts)
            await asyncio.wait({waiting}, timeout=0.02)
    assert far == {"done": 2, "all": 2}


async def test_without_a_source_nobody_is_asked_and_it_is_said(tmp_path: Path) -> None:
    site = Installation(tmp_path / "mcp-soar", tmp_path / "home")
    assert (await asyncio.to_thread(site.run, "init", str(site.folder))).exit_code == 0
    assert telling.ask(site.config, "configuration").startswith("sources.yaml has no source drift with a secret")
    assert ran(AUDIT).ran("schedule", None).found[0].said == "gateway main: audit trail is off"
