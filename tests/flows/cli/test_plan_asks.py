"""`plan` asks the systems while it reads the journal: neither waits for the other."""

import asyncio
from typing import Any

import pytest

from flows.cli.work import plan
from playbooks.errors import Transient
from playbooks.people.review import Reviews
from playbooks.taxonomy import IncidentClass
from tests.flows.cli.world import Installation


async def test_a_system_is_asked_while_the_journal_is_read(site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, read = asyncio.Event(), asyncio.Event()

    async def asking(*_: object) -> Any:  # noqa: ANN401  # it never returns
        asked.set()
        await read.wait()
        raise Transient("it does not answer")

    async def recorded(*_: object) -> tuple[list[str], list[Any], Reviews]:
        await asked.wait()
        read.set()
        return ["it was read"], [], Reviews()

    monkeypatch.setattr(plan, "_plan", asking)
    monkeypatch.setattr(plan, "_recorded", recorded)
    case = plan._by_hand(IncidentClass.TOOL_POISONING, "high", [("tool", "forecast", "weather")])  # noqa: SLF001  # it is what is typed
    async with asyncio.timeout(60):
        found, notes = await plan.all_of(site.config, [case])
    assert [one["reasons"] for one in found] == [["Transient: it does not answer"]] * len(found)
    assert found
    assert "it was read" in notes
