"""`plan` and `contain` ask the systems while they read the journal: neither waits for the other."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flows.cli.output import Out
from flows.cli.work import asking, contain, meaning, plan
from flows.cli.work.wish import Wish
from playbooks.errors import Refused, Transient
from playbooks.people.review import Reviews
from playbooks.record.incident import Entity, EntityKind
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
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


def test_what_is_to_be_contained_is_asked_for_while_others_are_imported_and_the_journal_is_opened(
    site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.append(world.opened())
    config = site.config
    asked, imported, allowed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def of(*_: object) -> Any:  # noqa: ANN401  # it never returns
        asked.set()
        await imported.wait()
        await allowed.wait()
        raise Refused("there is no such thing")

    async def importing(load: Callable[[], object]) -> object:
        await asked.wait()
        imported.set()
        return load()

    async def allow(*_: object) -> None:
        await asked.wait()
        allowed.set()

    monkeypatch.setattr(meaning, "of", of)
    monkeypatch.setattr(contain, "imported", importing)
    monkeypatch.setattr(asking, "allowed", allow)
    who = asking.Person(config=config, name="kim", key=None, wait=0)
    chosen = (Entity(kind=EntityKind.TOOL, name="forecast", server="weather"),)
    wish = Wish(incident=None, incident_class=None, title=None, severity="high", reason="", chosen=chosen)

    async def contained() -> None:
        async with asyncio.timeout(60):
            await contain._contain(Out(as_json=False), config, who, wish)  # noqa: SLF001  # a loop of our own times it

    with pytest.raises(Refused, match="no such thing"):
        asyncio.run(contained())
