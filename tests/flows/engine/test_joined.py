"""Two incidents that are one, and an incident that is given its class: whole in the journal, or not at all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.engine import classifying, joining, schedule
from flows.engine.case import PREFIX
from flows.engine.intake import intake
from flows.engine.parts import Parts, Timing
from integrations.journal.store import Tx
from integrations.registry import SYSTEMS
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.estate.places import Places
from playbooks.people.escalation import over, urgent
from playbooks.people.request import Request, Verb, draft
from playbooks.playbook import shipped
from playbooks.record.incident import Phase, Status
from playbooks.record.journal import Event
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab.connected import connected
from tests.lab.house import SOURCES, House, alert, house, source
from tests.playbooks.test_state import incident

FIRST, SECOND, THIRD = "inc-2026-000001", "inc-2026-000002", "inc-2026-000003"


def known(*tools: str) -> Inventory:
    """Return the inventory of the command line's tests, with its tools approved."""
    inventory = world.READ
    digest = "sha256:" + "1" * 64
    pins = tuple(
        Pin(kind=PinKind.TOOL, name=name, digest=digest, definition={}, dossier=Dossier(reviewed="all of it"))
        for name in tools
    )
    return inventory.model_copy(update={"pins": Pins(servers={"weather": pins})})


@asynccontextmanager
async def home(folder: Path, *tools: str) -> AsyncIterator[House]:
    """Give an installation whose gateway nobody asks: what is told and asked is taken in, and nothing is done."""
    reached = connected(known(*(tools or ("forecast", "add"))))
    classify = [{"tag": "tool_poisoning", "class": "tool_poisoning"}, {"tag": "misuse", "class": "data_exfiltration"}]
    sources = SOURCES.model_copy(update={"sources": {**SOURCES.sources, "siem": source(classify=classify)}})
    async with house(folder, reached) as made:
        try:
            yield made.changed(sources=sources)
        finally:
            await reached.aclose()


async def taken(made: House, *tools: str, **more: Any) -> None:  # noqa: ANN401  # fields of the alert
    await made.receive(alert("weather", *tools, **more))
    await intake(made.parts)


async def asked(made: House, verb: Verb, subject: str, who: str = "ann", **params: Any) -> str | None:  # noqa: ANN401  # of the verb
    """Ask for something and return why it was refused, None if it was not."""
    before = len(await made.system("set_aside"))
    await made.ask(who, verb, subject, reason="as told", params=params)
    await intake(made.parts)
    refused = (await made.system("set_aside"))[before:]
    return str(refused[0].body["reason"]) if refused else None


async def open_under(made: House, key: str) -> str | None:
    found = await made.journal.find_open(key)
    return found.removeprefix(PREFIX) if found else None


async def whole(made: House) -> None:
    found = await made.journal.verify(public_keys=list(made.parts.keys.values()))
    assert not found, found


async def test_an_incident_without_a_class_takes_up_the_playbook_of_the_one_it_is_given(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await taken(made, "forecast", tags=["odd"])
        before = await made.incident(FIRST)
        assert (before.status, before.playbook) == (Status.TRIAGE, None)
        assert await asked(made, Verb.CLASSIFY, FIRST, **{"class": "tool_poisoning"}) is None
        state = await made.incident(FIRST)
        assert (state.incident_class, state.triage) == (IncidentClass.TOOL_POISONING, None)
        assert state.playbook_digest == shipped()[IncidentClass.TOOL_POISONING].digest
        assert not state.chosen, "to say what it is is not to choose what is done"
        assert any("ann says that it is tool_poisoning, no longer unclassified" in line.what for line in state.timeline)
        # It is found under both: the source goes on giving it the old one.
        await taken(made, "forecast", tags=["odd"])
        await taken(made, "forecast")
        assert [i.id for i in await made.incidents()] == [FIRST]
        assert len((await made.incident(FIRST)).alerts) == 3
        assert "is tool_poisoning already" in str(
            await asked(made, Verb.CLASSIFY, FIRST, **{"class": "tool_poisoning"})
        )
        # And back again: its keys stay its own.
        assert await asked(made, Verb.CLASSIFY, FIRST, **{"class": "prompt_injection"}) is None
        assert (await made.incident(FIRST)).playbook == "tool_poisoning", "what was begun ends as it began"
        for key in ("unclassified", "tool_poisoning", "prompt_injection"):
            assert await open_under(made, f"{key}|tool:weather/forecast") == FIRST
        assert await asked(made, Verb.CLOSE, FIRST) is None
        for key in ("unclassified", "tool_poisoning", "prompt_injection"):
            assert await open_under(made, f"{key}|tool:weather/forecast") is None


async def test_a_class_is_given_by_whoever_may_and_only_where_nothing_else_has_it(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await taken(made, "forecast", tags=["odd"])
        await taken(made, "forecast")
        said = str(await asked(made, Verb.CLASSIFY, FIRST, **{"class": "tool_poisoning"}))
        assert f"{SECOND} is open about that as tool_poisoning already" in said
        assert f"mcp-soar join {SECOND} {FIRST}" in said
        assert "classify needs the role" in str(
            await asked(made, Verb.CLASSIFY, FIRST, who="eve", **{"class": "supply_chain"})
        )
        assert "write one of" in str(await asked(made, Verb.CLASSIFY, FIRST, **{"class": "unclassified"}))
        assert "class" in str(await asked(made, Verb.CLASSIFY, FIRST, **{"class": "odd"}))
        assert (await made.incident(FIRST)).incident_class is IncidentClass.UNCLASSIFIED


async def test_what_the_inventory_has_come_to_know_is_looked_up_again(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        unknown = [{"kind": "server", "name": "mail"}, {"kind": "tool", "name": "send", "server": "mail"}]
        await made.receive(alert("mail", entities=unknown))
        await intake(made.parts)
        assert "shadow" in str((await made.incident(FIRST)).triage)
        again = known()
        mail = again.servers["weather"].model_copy(update={"aliases": (), "tools": again.servers["weather"].tools})
        pin = known("send").pins.servers["weather"]
        wider = again.model_copy(
            update={"servers": {**again.servers, "mail": mail}, "pins": Pins(servers={"mail": pin})}
        )
        # Made anew: what was computed from the old one must not stay.
        wider = Inventory.model_validate(wider.model_dump(), context=SYSTEMS.context)
        reached = connected(wider)
        try:
            later = made.changed(world=reached)
            assert await asked(later, Verb.CLASSIFY, FIRST, **{"class": "tool_poisoning"}) is None
            state = await later.incident(FIRST)
            assert (state.triage, list(state.entities)) == (None, ["server:mail/mail", "tool:mail/send"])
            assert await open_under(later, "tool_poisoning|tool:mail/send") == FIRST
        finally:
            await reached.aclose()


async def two(made: House) -> None:
    """Open two incidents about different tools of a server."""
    await taken(made, "forecast")
    await taken(made, "add", tags=["misuse"])
    assert [i.id for i in await made.incidents()] == [FIRST, SECOND]


async def test_the_second_goes_on_in_the_first_with_all_that_was_said_of_it(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await two(made)
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        first, second = await made.incident(FIRST), await made.incident(SECOND)
        assert (first.parts, second.part_of) == ((SECOND,), FIRST)
        assert set(first.entities) == {"server:weather/weather", "tool:weather/forecast", "tool:weather/add"}
        assert len(first.alerts) == 2
        assert first.standing("tool:weather/add").authenticated, "whoever spoke for it there speaks for it here"
        assert any(f"{SECOND} (data_exfiltration) goes on here, says ann" in line.what for line in first.timeline)
        # Later alerts about either come to the first.
        await taken(made, "add", tags=["misuse"])
        await taken(made, "forecast")
        assert [i.id for i in await made.incidents()] == [FIRST, SECOND]
        assert (len((await made.incident(FIRST)).alerts), len((await made.incident(SECOND)).alerts)) == (4, 1)
        said = str(await asked(made, Verb.RESPOND, SECOND))
        assert f"{SECOND} was joined to {FIRST}" in said
        # The end of the first is the end of both, and what comes then is a new one that both lead to.
        assert await asked(made, Verb.CLOSE, FIRST) is None
        second = await made.incident(SECOND)
        assert (second.closed_as, second.duplicate_of) == ("duplicate", FIRST)
        await taken(made, "add", tags=["misuse"])
        third = await made.incident(THIRD)
        assert third.linked == (FIRST,)
        assert (await made.incident(FIRST)).continued_in == THIRD
        await whole(made)


async def test_what_must_be_kept_of_one_must_be_kept_of_both(tmp_path: Path) -> None:
    async with home(tmp_path, "forecast", "add", "third") as made:
        for tool in ("forecast", "add", "third"):
            await taken(made, tool)
        assert await asked(made, Verb.HOLD, THIRD) is None
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        assert await asked(made, Verb.JOIN, FIRST, incident=THIRD) is None
        assert (await made.incident(FIRST)).legal_hold == "as told"
        assert (await made.incident(SECOND)).legal_hold is None, "nobody held that before it was joined"
        assert await asked(made, Verb.HOLD, FIRST) is None
        assert "as told" in str((await made.incident(SECOND)).legal_hold)


async def test_a_chain_of_joins_leads_to_its_end(tmp_path: Path) -> None:
    async with home(tmp_path, "forecast", "add", "third") as made:
        for tool in ("forecast", "add", "third"):
            await taken(made, tool)
        assert await asked(made, Verb.JOIN, SECOND, incident=THIRD) is None
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        assert (await made.incident(FIRST)).parts == (SECOND, THIRD)
        assert [(await made.incident(name)).part_of for name in (SECOND, THIRD)] == [FIRST, FIRST]
        for tool in ("forecast", "add", "third"):
            assert await open_under(made, f"tool_poisoning|tool:weather/{tool}") == FIRST


async def test_what_cannot_be_joined_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    async with home(tmp_path, "forecast", "add", "third") as made:
        for tool in ("forecast", "add"):
            await taken(made, tool)
        await taken(made, "third", tags=["odd"])
        assert "with itself" in str(await asked(made, Verb.JOIN, FIRST, incident=FIRST))
        assert "there is no incident inc-9" in str(await asked(made, Verb.JOIN, FIRST, incident="inc-9"))
        assert "incident" in str(await asked(made, Verb.JOIN, FIRST))
        assert f"join {FIRST} {THIRD}" in str(await asked(made, Verb.JOIN, THIRD, incident=FIRST))
        assert "join needs the role" in str(await asked(made, Verb.JOIN, FIRST, who="eve", incident=SECOND))
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        assert f"{SECOND} was joined to {FIRST} already" in str(await asked(made, Verb.JOIN, THIRD, incident=SECOND))
        assert f"join {FIRST} and {THIRD}" in str(await asked(made, Verb.JOIN, SECOND, incident=THIRD))
        assert await asked(made, Verb.JOIN, FIRST, incident=THIRD) is None
        assert (await made.incident(FIRST)).triage is None
        assert "is closed" in str(
            await asked(made, Verb.CLOSE, FIRST) or await asked(made, Verb.JOIN, FIRST, incident=SECOND)
        )


async def test_a_no_that_was_said_in_a_part_holds_in_the_whole(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await two(made)
        no = {"digest": world.plan().digest, "verb": "deny", "actor": "bob", "reason": "production needs it"}
        await made.journal.append(f"{PREFIX}{SECOND}", [world.proposed(), Event("decided", no, "bob")])
        said = (await made.incident(SECOND)).refused(world.plan())
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        assert (await made.incident(FIRST)).refused(world.plan()) == said
        # Whoever asks for it all the same is who asks for it: they do not agree to it alone.
        assert await asked(made, Verb.RESPOND, FIRST) is None
        state = await made.incident(FIRST)
        assert state.refused(world.plan()) is None
        assert state.asked_again[world.plan().digest].by == "ann"


async def test_who_asked_after_a_no_in_a_part_asks_in_the_whole(tmp_path: Path) -> None:
    async with home(tmp_path) as made:
        await two(made)
        no = {"digest": world.plan().digest, "verb": "deny", "actor": "bob", "reason": "production needs it"}
        await made.journal.append(f"{PREFIX}{SECOND}", [world.proposed(), Event("decided", no, "bob")])
        assert await asked(made, Verb.RESPOND, SECOND) is None
        assert await asked(made, Verb.JOIN, FIRST, incident=SECOND) is None
        again = (await made.incident(FIRST)).asked_again[world.plan().digest]
        assert (again.by, again.no.by) == ("ann", "bob")


class Died(Exception):
    """The process ended here."""


METHODS = ("append", "rekey", "hand_over", "make_runnable", "move", "keys_of", "_answer_to")


@pytest.mark.parametrize("verb", [Verb.CLASSIFY, Verb.JOIN])
async def test_interrupted_anywhere_it_is_whole_or_nothing(
    tmp_path: Path, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with home(tmp_path) as made:
        await taken(made, "forecast", tags=["odd"])
        await taken(made, "add", tags=["odd"])
        nothing = await _all(made)
        params = {"class": "tool_poisoning"} if verb is Verb.CLASSIFY else {"incident": SECOND}
        calls, reached = 0, 0
        for method in METHODS:
            kept = getattr(Tx, method)

            async def dying(self: Tx, *args: Any, kept: Any = kept, **more: Any) -> Any:  # noqa: ANN401  # as it is
                nonlocal calls
                calls += 1
                if calls == reached:
                    raise Died
                return await kept(self, *args, **more)

            monkeypatch.setattr(Tx, method, dying)
        work = classifying.classify if verb is Verb.CLASSIFY else joining.join
        for reached in range(1, 100):
            calls = 0
            request = _request(verb, params)
            try:
                await _carried(made, work, request)
            except Died:
                assert await _all(made) == nothing, f"after {reached} calls"
                continue
            break
        assert reached > 3, "it died in several places"
        assert await _all(made) != nothing
        monkeypatch.undo()
        await whole(made)


async def _carried(made: House, work: Callable[[Parts, Tx, Request], Awaitable[str]], request: Request) -> str:
    return await made.journal.submit(lambda tx: work(made.parts, tx, request))


def _request(verb: Verb, params: dict[str, Any]) -> Request:
    return draft(actor="ann", verb=verb, subject=FIRST, at=now(), reason="as told", params=params)


async def _all(made: House) -> list[tuple[Any, ...]]:
    """Return every stream as it stands: what a request that was not carried out leaves as it was."""
    rows = await made.journal.streams()
    return sorted((row.name, row.seq, row.correlation, row.closed_at is None) for row in rows)


def test_nothing_new_begins_in_a_part_and_what_waits_there_is_asked_in_the_other() -> None:
    fresh = [world.opened(), world.alert()]
    assert _runs(incident(*fresh)) == [world.INSTANCE]
    assert _runs(_part(*fresh)) == []
    begun = _part(*fresh, world.intended())
    assert _runs(begun) == [world.INSTANCE], "what was decided here is carried through here"
    state = _part(*fresh, world.proposed())
    assert state.proposals == []
    assert state.steps[world.INSTANCE].progress is Progress.SKIPPED
    held = _part(*(make() for make in world.CONTAINED))
    assert held.leases[world.INSTANCE].in_force, "and what is in force there stays so"
    assert held.steps[world.INSTANCE].progress is Progress.ESTABLISHED


def _runs(state: Incident) -> list[str]:
    playbook, waits = shipped()[state.incident_class], Timing().verify_retries
    todos = schedule.ready(
        state, playbook, places=Places(Inventory(version=1)), until=Phase.CUT, now=now(), stopped=False, retries=waits
    )
    return [todo.instance for todo in todos]


def _part(*events: Event) -> Incident:
    return incident(*events, Event("goes_on_in", {"incident": FIRST, "by": "ann", "reason": ""}, "ann"))


async def test_whoever_joins_or_classifies_ends_no_stop(tmp_path: Path) -> None:
    async with home(tmp_path, "forecast", "add", "third") as made:
        for tool in ("forecast", "add", "third"):
            await taken(made, tool)
        assert await asked(made, Verb.CLASSIFY, FIRST, **{"class": "data_exfiltration"}) is None
        classes = {"class:tool_poisoning", "class:data_exfiltration"}
        assert classes < (await made.incident(FIRST)).scopes, "it is still what was stopped"
        assert await asked(made, Verb.JOIN, SECOND, incident=FIRST) is None
        assert await asked(made, Verb.JOIN, THIRD, incident=SECOND) is None
        states = [await made.incident(name) for name in (FIRST, SECOND, THIRD)]
        incidents = {f"incident:{name}" for name in (FIRST, SECOND, THIRD)}
        whole = states[2].scopes
        assert {"everything", "server:weather"} | classes | incidents == whole, "with all that its parts stood under"
        assert incidents <= states[0].scopes, "and a part with the whole, and with what was the whole before"
        assert {f"incident:{SECOND}", f"incident:{THIRD}"} <= states[1].scopes


def test_a_join_of_the_first_releases_says_only_the_class_that_the_part_had_last() -> None:
    body = {"incident": SECOND, "parts": [], "by": "ann", "class": "data_exfiltration", "severity": 3, "entities": []}
    joined = Event("joined", {**body, "unresolved": [], "chosen": {}, "playbook": None, "reason": "the same"}, "ann")
    state = incident(world.opened(), joined)
    assert {"class:data_exfiltration", f"incident:{SECOND}"} <= state.scopes


async def test_people_are_told_of_a_join_on_both_sides_and_the_part_wakes_nobody(tmp_path: Path) -> None:
    async with home(tmp_path) as made, made.responding():

        async def noticed(name: str, notice: str) -> bool:
            return notice in (await made.incident(name)).noticed

        for number, (tool, tags) in enumerate({"forecast": ["odd"], "add": ["odd", "misuse"]}.items(), start=1):
            await made.receive(alert("weather", tool, tags=tags))
            name = f"inc-2026-{number:06}"
            await made.until(lambda name=name: noticed(name, "opened"), "the page that it was opened")  # type: ignore[misc]
        before = await made.incident(FIRST)
        assert urgent(before, before.pages["opened"]), "it waits for a person, so somebody has to take it up"
        await made.ask("ann", Verb.JOIN, SECOND, reason="as told", params={"incident": FIRST})
        await made.until(lambda: noticed(FIRST, f"joined:{SECOND}"), "the page that it goes on elsewhere")
        await made.until(lambda: noticed(SECOND, f"joined:{FIRST}"), "the page that it goes on here")
        part = await made.incident(FIRST)
        assert over(part, part.pages["opened"])
        assert (part.status, part.stands) == (Status.JOINED, f"joined to {SECOND}")
        assert "it goes on there, and is decided on there" in part.pages[f"joined:{SECOND}"].text
