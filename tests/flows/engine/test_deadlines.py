"""The law's clocks and the stakeholders, as an installation has them wired: who hears what, when, and how often.

What is told is written into a real journal and told by the real lane, into a folder for each person.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from flows.engine.case import PREFIX
from flows.engine.people import deadlines
from integrations.channels.ways import Channels
from integrations.journal import batch as writing
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Inventory
from playbooks.people.contacts import Contact, Contacts, OnCall
from playbooks.people.request import Verb
from playbooks.record.journal import Event, Parsed
from playbooks.record.projection import fold, project
from playbooks.record.state import Incident
from playbooks.strict import iso, now, parse_yaml
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import House, house
from tests.lab.paging import NEW, paged, told

ID = world.ID
BOUND = "    control_tool: add\n    data: [personal]\n    regimes: [gdpr, nis2]\n    stakeholders: {owner: team}\n"
INVENTORY = parse_yaml(
    Inventory, world.INVENTORY.replace("    control_tool: add\n", BOUND), file="inventory.yaml", context=SYSTEMS.context
)
UNBOUND = world.READ
START = "2026-01-31T03:00:00.000Z"
WARNING = "nis2-early-warning"
HOUR = timedelta(hours=1)

Opened = Callable[[float], Awaitable[Incident]]


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """An installation that laws bind: ann and bob are on call, and a data protection officer and an owner are told."""
    names = ("soc", "ann", "bob", "dpo", "team")
    contacts = Contacts(
        contacts={name: Contact(file=str(tmp_path / name)) for name in names},
        on_call=(OnCall(contact="ann"), OnCall(contact="bob")),
        room="soc",
        stakeholders={"privacy": "dpo"},
    )
    async with house(tmp_path / "house", connected(INVENTORY)) as made:
        yield made.changed(contacts=contacts, channels=Channels(contacts))


@pytest.fixture
def opened(home: House, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Return what opens the incident, by hand, so many hours ago."""

    async def work(ago: float) -> Incident:
        with monkeypatch.context() as then:
            then.setattr(writing, "now", lambda: now() - ago * HOUR)
            await asked(home, Verb.RESPOND, "new", params=NEW)
        return await home.incident(ID)

    return work


async def asked(home: House, verb: Verb, subject: str = ID, **more: object) -> None:
    """Hand in a request of ann's, and have it judged."""
    await home.ask("ann", verb, subject, **more)
    await home.take_in()


def letters(home: House, name: str) -> list[str]:
    """Return what somebody was told, in order."""
    folder = Path(home.parts.contacts.contacts[name].file or "")
    return [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt"))]


def heard(state: Incident, notice: str) -> set[str | None]:
    return {item.contact for item in state.told if item.page == notice and item.delivered}


# Worked out


def notices(events: list[Event]) -> list[str]:
    return [str(event.body["notice"]) for event in events if WARNING in str(event.body["notice"])]


async def test_a_clock_is_paged_when_it_grows_short_and_when_it_is_over_each_once(opened: Opened) -> None:
    state = await opened(0.0)
    start = state.opened_at
    assert start is not None
    none, at = deadlines.pages(state, INVENTORY, start + 17 * HOUR)
    assert none == []
    assert at == start + 18 * HOUR, "a quarter of 24 hours is left"
    short, at = deadlines.pages(state, INVENTORY, start + 19 * HOUR)
    assert notices(short) == [f"due:{WARNING}"]
    assert at == start + 24 * HOUR
    late, _ = deadlines.pages(state, INVENTORY, start + 25 * HOUR)
    assert notices(late) == [f"overdue:{WARNING}"], "what is over is not about to be"


async def test_what_the_log_shows_of_a_clock_is_made_of_whole_sentences(opened: Opened) -> None:
    state = await opened(0.0)
    assert state.opened_at is not None
    ((event,), _) = deadlines.pages(state, INVENTORY, state.opened_at + 19 * HOUR)
    said = str(event.body["text"])
    assert f"{ID}: the time to report under NIS" in said
    assert ". Unless: " in said
    assert f". When it is done: `mcp-soar note {ID} TEXT --fulfils {WARNING}`." in said


def held(length: timedelta) -> Incident:
    intent = world.intended()
    until = iso(datetime.fromisoformat(START) + length)
    events = (world.opened(), Event("intended", {**intent.body, "until": until}), world.wrote(), world.verified())
    return incident(*events)


def incident(*events: Event) -> Incident:
    parsed = [Parsed(PREFIX + ID, n, START, one.kind, one.actor, dict(one.body)) for n, one in enumerate(events, 1)]
    return project(ID, parsed)


def test_people_hear_that_a_lease_ends_soon_once_for_each_end() -> None:
    state, start = held(24 * HOUR), datetime.fromisoformat(START)
    assert deadlines.pages(state, UNBOUND, start + 22 * HOUR) == ([], start + 23 * HOUR)
    ((page,), at) = deadlines.pages(state, UNBOUND, start + 23 * HOUR)
    end = iso(start + 24 * HOUR)
    assert page.body["notice"] == f"expiring:{world.INSTANCE}:{end}"
    assert f"the lease of {world.INSTANCE} ends {end}" in str(page.body["text"])
    assert at is None
    fold(state, Parsed(PREFIX + ID, 9, START, "page", "", dict(page.body)))
    assert deadlines.pages(state, UNBOUND, start + 23.5 * HOUR) == ([], None)
    later = {"instance": world.INSTANCE, "until": iso(start + 36 * HOUR), "why": "", "by": "kim"}
    fold(state, Parsed(PREFIX + ID, 10, START, "lease_extended", "kim", later))
    assert deadlines.pages(state, UNBOUND, start + 23.5 * HOUR) == ([], start + 35 * HOUR)


@pytest.mark.parametrize("why", ["over", "short", "asked to be released", "released"])
def test_nobody_hears_of_the_end_of_a_lease_that(why: str) -> None:
    start = datetime.fromisoformat(START)
    state = held(0.9 * HOUR if why == "short" else 24 * HOUR)
    wish = {"verb": "release", "actor": "kim", "nonce": "n", "accepted": True, "reason": "", "params": {}}
    events = {"asked to be released": [Event("request", wish, "kim")]}
    events["released"] = [world.release_intended("kim"), world.released()]
    for number, event in enumerate(events.get(why, ()), 5):
        fold(state, Parsed(PREFIX + ID, number, START, event.kind, event.actor, dict(event.body)))
    moment = start + (25 if why == "over" else 23.5 if why != "short" else 0.5) * HOUR
    assert deadlines.pages(state, UNBOUND, moment) == ([], None)


# As wired


async def test_a_stakeholder_hears_of_an_incident_with_its_clocks_and_whoever_need_not_does_not(
    home: House, opened: Opened
) -> None:
    state = await opened(0.0)
    await paged(home)
    at = await told(home)
    assert state.opened_at is not None
    assert at is not None
    assert at <= state.opened_at + 18 * HOUR
    assert heard(await home.incident(ID), "opened") == {"soc", "dpo", "team"}
    (letter,) = letters(home, "dpo")
    assert "Art. 33(1)" in letter
    assert "report the personal data breach to the supervisory authority; until" in letter


async def test_a_clock_that_is_over_wakes_whoever_is_on_call_until_it_is_fulfilled(home: House, opened: Opened) -> None:
    await opened(25.0)
    await paged(home)
    await told(home)
    state = await home.incident(ID)
    assert heard(state, f"overdue:{WARNING}") == {"soc", "ann", "dpo", "team"}
    assert f"due:{WARNING}" not in state.pages
    assert any("A duty to report is OVERDUE" in letter for letter in letters(home, "ann"))
    await asked(home, Verb.NOTE, params={"text": "reported by telephone", "fulfils": WARNING})
    at = await told(home)
    assert at is not None
    assert at > now() + HOUR, "bob need not be woken"


# After closing


async def test_a_clock_runs_on_when_the_incident_is_closed(home: House, opened: Opened) -> None:
    await opened(25.0)
    await asked(home, Verb.CLOSE)
    await paged(home)
    await told(home)
    state = await home.incident(ID)
    assert state.closed_at is not None
    notice = f"overdue:{WARNING}"
    assert heard(state, notice) == {"soc", "ann", "dpo", "team"}
    letter = next(letter for letter in letters(home, "ann") if "OVERDUE" in letter)
    for command in (f"mcp-soar note {ID} TEXT --fulfils {WARNING} --as NAME", f"mcp-soar ack {ID} --as NAME"):
        assert command in letter
    await asked(home, Verb.ACK)
    assert (await home.incident(ID)).acknowledged[notice] == "ann"
    at = await told(home)
    assert at is not None
    assert at > now() + HOUR, "bob need not be woken"


@pytest.mark.parametrize("how", ["false-positive", "duplicate"])
async def test_what_was_no_incident_of_its_own_leaves_no_clock_behind(home: House, opened: Opened, how: str) -> None:
    await opened(25.0)
    await asked(home, Verb.CLOSE, params={"as": how})
    await paged(home)
    assert await told(home) is None
    assert set((await home.incident(ID)).pages) == {"opened", "closed"}
    assert deadlines.pages(await home.incident(ID), INVENTORY, now() + 1000 * HOUR) == ([], None)
