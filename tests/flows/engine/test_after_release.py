"""An alert about what was given back is looked at as for the first time, in an incident linked to that one."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.engine import memory
from flows.engine.case import PREFIX
from playbooks.people.request import Verb
from playbooks.record import alike
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from playbooks.strict import iso, now
from tests.flows.engine.test_joined import asked
from tests.lab import flags, gateway, stories
from tests.lab.connected import connected
from tests.lab.gateway import Gateway, Place, held
from tests.lab.house import House, alert, house
from tests.lab.journals import streams_read

FIRST, SECOND, THIRD = "inc-2026-000001", "inc-2026-000002", "inc-2026-000003"


@pytest.fixture
async def home(journal_url: str | None, tmp_path: Path) -> AsyncIterator[House]:
    """An installation whose gateway nobody asks: what is told is taken in, and the tests write what was done."""
    async with house(tmp_path / "house", connected(flags.INVENTORY), url=journal_url) as made:
        yield made


async def told(home: House, *tools: str, source: str = "siem", **more: Any) -> None:  # noqa: ANN401  # fields of the alert
    """Have an alert about tools, `forecast` if none is named, taken in, and give back the claim of what it opens."""
    await home.receive(alert("weather", *(tools or ("forecast",)), **more), source)
    await home.take_in()


async def written(home: House, *events: Event, name: str = FIRST) -> None:
    """Write down that something was done in an incident."""
    await home.journal.submit(lambda tx: tx.append(f"{PREFIX}{name}", events))


async def given_back(home: House, name: str = FIRST, *, tools: tuple[str, ...] = ("forecast",)) -> None:
    """Write down that tools were cut, and given back."""
    for tool in tools:
        await written(home, stories.intended(tool), stories.wrote(1, tool), stories.verified(2, name=tool), name=name)
        await written(home, stories.release_intended("ann", tool), stories.released(9, tool), name=name)


async def where(home: House) -> list[tuple[str, tuple[str, ...], int]]:
    """Return of each incident its id, what it goes on after, and how many alerts it wrote down."""
    return [(one.id, one.linked, len(one.alerts)) for one in await home.incidents()]


async def test_a_new_alert_goes_the_whole_way_again_and_the_earlier_incident_is_left_to_be_closed(
    tmp_path: Path,
) -> None:
    site = Place(Gateway(held("forecast"), held("add")), approved=("forecast", "add"), imported=())
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await flags.respond(home)
        await home.reaches(Status.CONTAINED, FIRST)
        await home.ask("ann", Verb.RELEASE, FIRST, reason="it is healed")
        said = len((await home.reaches(Status.RELEASED, FIRST)).alerts)
        assert site.gateway.usable("forecast")
        await flags.respond(home)
        second = await home.reaches(Status.CONTAINED, SECOND)
        assert not site.gateway.usable("forecast")
        assert second.linked == (FIRST,)
        first = await home.incident(FIRST)
        assert (first.status, first.continued_in, len(first.alerts)) == (Status.RELEASED, SECOND, said)
        await home.ask("ann", Verb.CLOSE, FIRST, reason="it is over")
        await home.reaches(Status.CLOSED, FIRST)
        assert not site.gateway.usable("forecast")


async def test_a_flood_after_a_release_opens_one_and_reads_nothing_of_either(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await told(home)
    await given_back(home)
    for _ in range(2 * alike.FEW):
        await home.receive(alert("weather", "forecast"))
    await home.take_in()
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), alike.FEW)]
    read = streams_read(monkeypatch)
    for _ in range(9):
        await home.receive(alert("weather", "forecast"))
    await home.take_in()
    assert read == []
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), alike.FEW)]
    assert len(await home.journal.told(f"{PREFIX}{SECOND}", 0, 1e11, 99)) == 2 * alike.FEW + 9


async def test_a_responder_that_begins_now_or_did_not_release_it_knows_it_too(home: House) -> None:
    await told(home)
    # This one knows the incident from before the release, the other one nothing of it.
    other = home.changed(memory=memory.Memory())
    await given_back(other)
    await told(home)
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 1)]
    await told(home.changed(memory=memory.Memory()))
    await told(other)
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 3)]
    await given_back(home, SECOND)
    await told(other.changed(memory=memory.Memory()))
    await told(home)
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 3), (THIRD, (SECOND,), 2)]


async def test_of_two_that_it_held_one_given_back_is_acted_on_and_the_other_joins(home: House) -> None:
    await told(home, "add", "forecast")
    await written(home, stories.intended("add"), stories.intended("forecast"))
    await written(home, stories.release_intended("ann", "forecast"), stories.released(9, "forecast"))
    await told(home, "add")
    assert await where(home) == [(FIRST, (), 2)]
    await told(home, "add", "forecast")
    await told(home, "add")
    assert await where(home) == [(FIRST, (), 3), (SECOND, (FIRST,), 1)]
    # Contained again there: it joins as ever.
    await written(home, stories.intended("forecast"))
    await told(home, "add", "forecast")
    assert [len(one.alerts) for one in await home.incidents()] == [4, 1]


async def test_from_the_moment_that_a_release_is_decided_an_alert_finds_nothing_contained(home: House) -> None:
    await told(home)
    await written(home, stories.intended(), stories.wrote(1), stories.verified(2))
    await told(home)
    assert await where(home) == [(FIRST, (), 2)]
    await written(home, stories.release_intended("ann"))
    await told(home)
    assert await where(home) == [(FIRST, (), 2), (SECOND, (FIRST,), 1)]


async def test_what_it_was_told_and_comes_again_joins_it_and_any_other_word_does_not(home: House) -> None:
    seen = iso(now() - timedelta(hours=1))
    await told(home, id="one", detected_at=seen)
    await given_back(home)
    await told(home, id="one", detected_at=seen, title="the same in other words")
    await told(home, id="one", detected_at=seen, state="resolved")
    assert await where(home) == [(FIRST, (), 2)]
    # By its own time it lies before the release. Nobody had read it, and clocks are wrong.
    await told(home, id="two", detected_at=seen)
    assert await where(home) == [(FIRST, (), 2), (SECOND, (FIRST,), 1)]
    # The end of that is not the earlier one's.
    await told(home, id="two", detected_at=seen, state="resolved")
    assert await where(home) == [(FIRST, (), 2), (SECOND, (FIRST,), 2)]


@pytest.mark.parametrize(
    "changes", [{"severity": "critical"}, {"detected_at": "2026-01-31T12:00:00Z"}, {"id": "other"}], ids=str
)
async def test_under_an_id_that_it_knows_another_time_or_a_graver_word_is_another_event(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    said = {"id": "one", "detected_at": iso(now())}
    async with house(tmp_path / "house", connected(flags.INVENTORY)) as home:
        await told(home, **said)
        await given_back(home)
        await told(home, **said)
        await told(home, **{**said, **changes})
        assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 1)]


async def test_when_the_earlier_one_is_closed_the_later_one_answers_for_it(home: House) -> None:
    await told(home)
    await given_back(home)
    await told(home)
    assert await asked(home, Verb.CLOSE, FIRST) is None
    await told(home)
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 2)]
    assert await asked(home, Verb.CLOSE, SECOND) is None
    await told(home)
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 2), (THIRD, (SECOND,), 1)]
    assert not await home.journal.verify(public_keys=list(home.parts.keys.values()))


async def test_a_later_one_that_is_closed_first_is_history_of_the_next(home: House) -> None:
    await told(home)
    await given_back(home)
    await told(home)
    assert await asked(home, Verb.CLOSE, SECOND) is None
    await told(home)
    assert await where(home) == [(FIRST, (), 1), (SECOND, (FIRST,), 1), (THIRD, (FIRST, SECOND), 1)]
    assert [(await home.incident(name)).continued_in for name in (FIRST, SECOND)] == [THIRD, THIRD]


async def test_our_own_comparison_begins_anew_unless_that_very_difference_was_given_back(tmp_path: Path) -> None:
    for number, found in enumerate(({}, {"accepts": "sha256:0"})):
        async with house(tmp_path / f"house-{number}", connected(flags.INVENTORY)) as home:
            await told(home, source="drift", id="weather/tool/forecast aaaa")
            await written(home, stories.intended())
            release = stories.release_intended("ann").body
            release["plan"]["params"] |= found
            await written(home, Event("release_intended", release), stories.released(9))
            await told(home, source="drift", id="weather/tool/forecast aaaa")
            assert len(await home.incidents()) == (1 if found else 2)
            await told(home, source="drift", id="weather/tool/forecast bbbb")
            assert len(await home.incidents()) == 2


async def test_a_person_is_told_of_the_later_one_and_how_to_contain_again_what_was_given_back(home: House) -> None:
    await told(home)
    await given_back(home)
    again = "mcp-soar respond {} --about tool:weather/forecast"
    refused = str(await asked(home, Verb.RESPOND, FIRST))
    assert "was given back" in refused
    assert again.format(FIRST) in refused
    tool = {"kind": "tool", "name": "forecast", "server": "weather"}
    new: dict[str, Any] = {"title": "again", "class": "tool_poisoning", "entities": [tool]}
    assert again.format(FIRST) in str(await asked(home, Verb.RESPOND, "new", **new))
    await told(home)
    assert f"{SECOND} was opened about the same since" in str(await asked(home, Verb.RESPOND, FIRST))
    assert again.format(SECOND) in str(await asked(home, Verb.RESPOND, "new", **new))
