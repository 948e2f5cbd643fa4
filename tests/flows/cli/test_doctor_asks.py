"""`doctor` asks everybody at once, and says whom it waits for."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from flows.cli.work import doctor, doctor_journal, doctor_servers
from integrations import registry
from integrations.system import Looked
from tests.flows.cli.world import Installation


async def test_everybody_is_asked_at_once_and_whoever_has_not_answered_is_named(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = asyncio.Barrier(3)

    async def answers(*_: object) -> AsyncIterator[Looked]:
        await everybody.wait()
        yield Looked("it", "ok", "answers")

    for module, name in ((doctor_journal, "look"), (doctor_servers, "reviewed"), (doctor_servers, "look")):
        monkeypatch.setattr(module, name, answers)
    monkeypatch.setattr(registry.SYSTEMS, "doctor", lambda *_: ())
    said: list[str] = []
    async with asyncio.timeout(60):
        found = await doctor._ask(site.config, said.append)  # noqa: SLF001  # what is in it takes a gateway
    assert [line.message for line in found if line.check == "it"] == ["answers"] * 3
    assert said[0] == "waiting for journal, pins, server weather"
    assert len(said) == 4
    assert said[-1] == "reading the answers"
