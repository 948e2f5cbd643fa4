"""`doctor` asks everybody at once, and says whom it waits for."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest
from pydantic import JsonValue
from typing_extensions import override

from flows.cli.work import (
    doctor,
    doctor_beside,
    doctor_files,
    doctor_journal,
    doctor_running,
    doctor_servers,
    orphans,
    orphans_compared,
)
from integrations import registry
from integrations.system import Expected, Looked, Present
from tests.flows.cli import world
from tests.flows.cli.world import Installation


async def test_everybody_is_asked_at_once_and_whoever_has_not_answered_is_named(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = asyncio.Barrier(4)

    async def answers(*_: object) -> AsyncIterator[Looked]:
        await everybody.wait()
        yield Looked("it", "ok", "answers")

    for module, name in ((doctor_journal, "look"), (doctor_servers, "reviewed"), (doctor_servers, "look")):
        monkeypatch.setattr(module, name, answers)
    for quiet in (doctor_files, doctor_running):
        monkeypatch.setattr(quiet, "look", lambda *_: ())
    monkeypatch.setattr(registry.SYSTEMS, "doctor", lambda *_: [("gateway main", answers())])
    said: list[str] = []
    async with asyncio.timeout(60):
        found = await doctor._look(site.folder, said.append)  # noqa: SLF001  # what is in it takes a gateway
    assert [line.message for line in found if line.check == "it"] == ["answers"] * 4
    assert said[:2] == ["waiting for gateway main", "waiting for gateway main, journal, pins"]
    assert said[2] == "waiting for gateway main, journal, pins, server weather"
    assert len(said) == 7
    assert said[-1] == "reading the answers"


async def test_a_system_is_asked_before_what_looks_at_the_rest_is_imported(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    async def answers() -> AsyncIterator[Looked]:
        begun.set()
        yield Looked("it", "ok", "answers")

    def beside() -> object:
        assert begun.wait(60), "it is asked while others are imported"
        return doctor_beside.look

    monkeypatch.setattr(registry.SYSTEMS, "doctor", lambda *_: [("gateway main", answers())])
    monkeypatch.setattr(doctor, "_beside", beside)
    found = await doctor._look(site.folder, lambda _: None)  # noqa: SLF001  # likewise
    assert [line.message for line in found if line.check == "it"] == ["answers"]


class _There(Present):
    """A place whose two objects are in use."""

    def __init__(self, begun: threading.Event) -> None:
        self._begun = begun
        self._both = asyncio.Barrier(2)

    @override
    async def ready(self) -> None:
        self._begun.set()

    @override
    async def look(self) -> list[Expected]:
        said = {"file": "inventory.yaml", "gone": "", "otherwise": "disabled", "again": ""}
        return [Expected("entry", id_, "enabled", value=True, name=id_, **said) for id_ in ("a", "b")]

    @override
    async def value(self, kind: str, id_: str, field: str) -> JsonValue:
        async with asyncio.timeout(60):
            await self._both.wait()
        return True


def test_orphans_are_asked_for_at_once_and_we_are_let_in_while_what_compares_is_imported(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.append(world.opened())
    begun = threading.Event()

    def comparing() -> object:
        assert begun.wait(60), "we are let in while others are imported"
        return orphans_compared.compare

    monkeypatch.setattr(registry.SYSTEMS, "present", lambda *_: {"gateway/main": lambda _: _There(begun)})
    monkeypatch.setattr(orphans, "_comparing", comparing)
    assert asyncio.run(orphans._compare(site.config)) == ([], [])  # noqa: SLF001  # what it asks takes a gateway
