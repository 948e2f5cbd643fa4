"""Steps that do not depend on each other run at the same time."""

import asyncio
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from playbooks.action import Capture, Sink, World
from tests.lab import flags


class Meeting(Capture):
    """Collects nothing until another one of its kind does so too."""

    name: ClassVar[str] = "test.meeting"
    exhibit: ClassVar[str] = "meeting"
    permissions: ClassVar[tuple[str, ...]] = ()
    silence: ClassVar[float] = 2.0
    both: ClassVar[asyncio.Barrier]

    @override
    async def collect(self, world: World, sink: Sink) -> None:
        await self.both.wait()
        await sink.add("here.txt", b"here", media_type="text/plain", origin="test")


async def test_two_captures_are_under_way_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Meeting, "both", asyncio.Barrier(2), raising=False)
    captures = [{"id": name, "capture": Meeting.name, "for": "server", "why": "test"} for name in ("one", "other")]
    playbook = flags.playbook(flags.step(flags.flags(tmp_path / "flags")), capture=captures)
    steps = {**flags.WITH_FLAGS, Meeting.name: Meeting}
    async with flags.installation(tmp_path, playbook, steps=steps) as home, home.responding():
        await flags.respond(home)
        incident = await home.settled((await home.opened()).id)
    kinds = [exhibit["kind"] for exhibit in incident.exhibits]
    assert [kind for kind in kinds if kind != "raw-alert"] == ["meeting", "meeting"]
    assert incident.unavailable == []
