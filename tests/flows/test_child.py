"""A part of `up` that cannot be started, or hangs, is started again."""

import asyncio
import time
from pathlib import Path

import pytest

from flows import child
from flows.child import Part


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
