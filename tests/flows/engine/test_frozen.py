"""An incident whose journal is not as it was written blinds nobody to what it was about."""

from pathlib import Path
from typing import Any

from flows.engine.case import PREFIX
from flows.engine.people.telling import freeze
from playbooks.people.request import Verb
from tests.flows.engine.test_joined import FIRST, SECOND, THIRD, asked, home, open_under, taken, two, whole
from tests.lab.house import House

FORECAST = {"kind": "tool", "name": "forecast", "server": "weather"}


async def frozen(made: House, name: str) -> None:
    await made.journal.submit(lambda tx: freeze(tx, f"{PREFIX}{name}", "tampered"))


async def test_a_later_alert_opens_another_that_leads_to_the_frozen_one(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await taken(made, "forecast")
        await frozen(made, FIRST)
        assert await open_under(made, "tool_poisoning|tool:weather/forecast") is None
        await taken(made, "forecast", severity="critical")
        await taken(made, "forecast", severity="critical")
        assert [i.id for i in await made.incidents()] == [FIRST, SECOND]
        later = await made.incident(SECOND)
        assert (later.linked, len(later.alerts)) == ((FIRST,), 2)
        # That one, too: both are found by whoever opens a third.
        await frozen(made, SECOND)
        await taken(made, "forecast")
        assert (await made.incident(THIRD)).linked == (SECOND, FIRST)
        await whole(made)


async def test_a_person_contains_what_a_frozen_incident_was_about(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await taken(made, "forecast")
        await frozen(made, FIRST)
        params: dict[str, Any] = {"class": "tool_poisoning", "title": "again", "entities": [FORECAST]}
        assert await asked(made, Verb.RESPOND, "new", **params) is None
        assert (await made.incident(SECOND)).linked == (FIRST,)


async def test_what_went_on_in_a_frozen_incident_is_open_to_another_too(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await two(made)
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        await frozen(made, FIRST)
        await taken(made, "add", tags=["misuse"])
        assert (await made.incident(THIRD)).linked == (FIRST,)
