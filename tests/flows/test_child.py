"""A part of `up` that cannot be started, or hangs, is started again."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from flows.service import child
from flows.service.child import Part
from flows.service.part import DIED


async def test_what_cannot_be_started_is_tried_again_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "flows.log").mkdir()
    part = Part("flows", ("flows",), tmp_path / "flows.log", {}, needed=False, lasting=True)
    said: list[str] = []
    again = asyncio.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) > 1:
            again.set()

    running = asyncio.create_task(part.run(say))
    waiting = asyncio.create_task(again.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert all("flows cannot be started" in line and "starting it again" in line for line in said)


async def test_what_gives_no_sign_of_life_any_more_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "BEAT", 0.01)
    monkeypatch.setattr(child, "SILENT", 0.05)
    process = await asyncio.create_subprocess_exec("sleep", "600")
    part = Part("flows", (), tmp_path / "flows.log", {})
    part._heard = time.monotonic()  # noqa: SLF001  # it said once that it is alive
    await part._watch(process)  # noqa: SLF001  # and then no more
    assert await process.wait() == -9


async def test_what_takes_the_place_of_one_that_died_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str | None] = []
    twice = asyncio.Event()

    async def once(part: Part) -> str:
        told.append(part.environment.get(DIED))
        if len(told) == 1:
            return "ended with status -9"
        twice.set()
        return await asyncio.Future[str]()

    monkeypatch.setattr(Part, "_once", once)
    part = Part("flows", (), tmp_path / "flows.log", {"PATH": "/bin"}, needed=False, lasting=True)
    running = asyncio.create_task(part.run(lambda _line: None))
    await twice.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told == [None, "1"], "whoever starts first may have a namesake elsewhere"


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this system does not weigh sessions")
@pytest.mark.parametrize(("kind", "nice"), [("flows", 5), ("prefect", 5), ("worker", 15), ("responder", 0)])
async def test_what_contains_nothing_stands_behind_though_each_part_is_a_session_of_its_own(
    kind: str, nice: int
) -> None:
    script = (
        "import os; from flows.service import part\n"
        f"os.nice(part.BEHIND.get({kind!r}, 0)); part.stand_behind()\n"
        "print(os.nice(0), open('/proc/self/autogroup').read())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    said, _ = await process.communicate()
    own, _, _, group = said.decode().split()
    before = os.nice(0)
    assert int(own) == min(19, before + nice)
    assert int(group) == int(own)
