"""Floods: of the same, of what nobody knows, of one sender. Nothing is lost, nothing grows, nobody else waits."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flows.engine import flood, memory
from flows.engine.case import PREFIX, Case
from flows.engine.intake import FEW, intake
from flows.engine.response import respond
from integrations.journal import queries, store
from integrations.journal.store import Tx
from playbooks.gate.policy import Intake
from playbooks.people.request import Verb
from playbooks.record import alike
from playbooks.record.incident import Phase
from playbooks.record.journal import SYSTEM, Event
from playbooks.record.state import Incident
from tests.flows.cli import world
from tests.lab import exhibits
from tests.lab.connected import connected
from tests.lab.house import ROOMY, SOURCES, House, alert, house
from tests.lab.journals import streams_read

INVENTORY = world.READ


@pytest.fixture
async def home(journal_url: str | None, tmp_path: Path) -> AsyncIterator[House]:
    """An installation with the sources siem, second (both authenticated) and unsigned."""
    async with house(tmp_path / "house", connected(INVENTORY), url=journal_url) as made:
        yield made


async def only(home: House) -> Incident:
    (incident,) = await home.incidents()
    return incident


async def counted(home: House, monkeypatch: pytest.MonkeyPatch) -> Incident:
    """Have the incident count what it was told, as when no more has come for a while, and keep its evidence."""
    monkeypatch.setattr(flood, "QUIET", -9.0)
    monkeypatch.setattr(flood, "SETTLED", -1.0)
    row = (await home.journal.streams(PREFIX))[0]
    await home.journal.submit(lambda tx: tx.make_runnable(row.name, lane="cut"))
    (claim,) = await home.journal.claim("responder-1", lane="cut", limit=1, seconds=30)
    case = await Case.take(home.parts, claim)
    await flood.count(case)
    await respond(home.parts, claim, until=Phase.CAPTURE, case=case)
    await home.journal.release(case.claim, runnable_at=None)
    return await home.incident(case.id)


async def test_many_that_say_the_same_are_a_few_entries_and_all_of_them_evidence(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = {await home.receive(body): body for body in (alert("weather", "unheard-of") for _ in range(150))}
    await home.take_in()
    before = (await home.journal.streams(PREFIX))[0].seq
    assert before == 1 + alike.FEW
    incident = await counted(home, monkeypatch)
    assert incident.repeats["siem"].messages == 150 - alike.FEW
    (exhibit,) = [one for one in incident.exhibits if one["kind"] == "raw-alerts"]
    data = exhibits.read(home.parts.vault, incident.id, exhibit["id"], "alerts.ndjson")
    lines = [json.loads(line) for line in data.splitlines()]
    kept = {line["receipt"]: base64.b64decode(line["body"]) for line in lines}
    own = {seen.receipt for seen in incident.alerts}
    assert kept == {receipt: body for receipt, body in bodies.items() if receipt not in own}
    assert all(line["intact"] for line in lines)
    page = next(page for page in incident.pages.values() if page.kind == "flood")
    assert "siem sent 147 more messages" in page.text
    # And no more than these, whatever else of the same comes.
    for _ in range(20):
        await home.receive(alert("weather", "unheard-of"))
    again = (await home.journal.streams(PREFIX))[0].seq
    await home.take_in()
    assert (await home.journal.streams(PREFIX))[0].seq == again
    assert (await counted(home, monkeypatch)).repeats["siem"].messages == 170 - alike.FEW


async def test_a_lot_of_messages_is_counted_in_parts_and_none_is_left_out(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flood, "MOST", 10)
    for look in range(7):
        for _ in range(6):
            await home.receive(alert("weather", "unheard-of"))
        await home.take_in()
        assert len(await home.incidents()) == 1, look
    total = 0
    while (so_far := sum(one.messages for one in (await counted(home, monkeypatch)).repeats.values())) > total:
        total = so_far
    assert total == 42 - alike.FEW
    incident = await only(home)
    assert len(incident.counted) > 1
    assert sum(one["how"]["params"].get("messages", 0) for one in incident.exhibits) == total


async def test_what_nobody_knows_of_one_sender_meets_after_a_number(home: House) -> None:
    home = home.changed(policy=ROOMY.model_copy(update={"intake": Intake(unknown=4)}))
    for number in range(60):
        await home.receive(alert(f"server-{number}", "a_tool"))
    await home.take_in()
    incidents = await home.incidents()
    assert len(incidents) == 5
    assert sorted(len(one.alerts) for one in incidents) == [1, 1, 1, 1, alike.EACH]
    assert len(await home.journal.told(f"{PREFIX}{incidents[-1].id}", 0, 1e11, 999)) == 56, "all of them are its"
    # Another sender's are its own.
    await home.receive(alert("server-1", "a_tool"), source="second")
    await home.take_in()
    assert len(await home.incidents()) == 6


async def test_each_sender_has_its_turn_and_what_is_grave_goes_first(home: House) -> None:
    flood_of = [await home.receive(alert("weather", "unheard-of")) for _ in range(30)]
    unsigned = await home.receive(alert("nobody-knows-this"), source="unsigned")
    second = await home.receive(alert("weather", "forecast"), source="second")
    grave = await home.journal.put(
        kind="alert", source="siem", nonce="grave", body=alert("weather", "add"), headers={}, weight=5
    )
    found = await home.journal.turns("alert", sorted(SOURCES.sources), 4)
    assert [item.id for item in found] == [second, grave.id, unsigned, flood_of[0]]
    await intake(home.parts, 2)
    moved = {seen.receipt for incident in await home.incidents() for seen in incident.alerts}
    assert moved == {second, grave.id}, "and whoever proves nothing comes last"


async def test_who_says_little_does_not_wait_until_a_flood_is_taken_in(home: House) -> None:
    for _ in range(FEW + 1):
        await home.receive(alert("weather", "unheard-of"))
    second = await home.receive(alert("weather", "forecast"), source="second")
    found = await intake(home.parts, brief=True)
    (incident,) = await home.incidents()
    assert [seen.receipt for seen in incident.alerts] == [second]
    assert found.more, "the rest comes with the next look"
    assert len(await intake(home.parts)) == 1


async def test_a_look_reads_no_more_bytes_than_it_may(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [await home.receive(alert("weather", title="x" * 5000)) for _ in range(5)]
    monkeypatch.setattr(queries, "LARGEST", 12_000)
    assert [item.id for item in await home.journal.turns("alert", ["siem"], 9)] == sent[:2]
    monkeypatch.setattr(queries, "LARGEST", 10)
    assert [item.id for item in await home.journal.turns("alert", ["siem"], 9)] == sent[:1], "one at least"


async def test_resolved_about_nothing_is_one_entry_for_all_of_them(home: House) -> None:
    sent = [await home.receive(alert("weather", "forecast", state="resolved")) for _ in range(50)]
    await home.take_in()
    entries = await home.system("set_aside")
    assert len(entries) == 1
    assert sorted(entries[0].body["receipts"]) == sorted(sent)
    # Reasons that a sender makes up end as well.
    for number in range(90):
        await home.receive(alert(f"server-{number}", state="resolved"))
    await home.take_in()
    assert len(await home.system("set_aside")) < 30
    receipts = [
        one for entry in await home.system("set_aside") for one in entry.body.get("receipts", [entry.body["receipt"]])
    ]
    assert len(set(receipts)) == 140, "every one of them is named"


async def test_one_more_of_the_same_reads_nothing_of_the_incident(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    read = streams_read(monkeypatch)
    for _ in range(5):
        await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    assert read == []


async def test_what_another_responder_wrote_is_taken_in(home: House) -> None:
    await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    other = home.changed(memory=memory.Memory())
    for _ in range(9):
        await other.receive(alert("weather", "unheard-of"))
    await other.take_in()
    await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    assert len((await only(home)).alerts) == alike.FEW


async def test_a_transaction_ends_when_others_should_have_their_turn(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "LOCKED", 0.0)

    async def one(tx: Tx) -> int:
        await tx.append(SYSTEM, [Event("noted", {})])
        return 1

    assert await asyncio.gather(*(home.journal.submit(one) for _ in range(5))) == [1] * 5
    heads = await home.journal.heads_for([SYSTEM])
    assert len(heads) == 5, "each in a transaction of its own"


async def test_what_was_not_counted_yet_is_when_the_incident_is_closed(home: House) -> None:
    for _ in range(20):
        await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    name = (await only(home)).id
    await home.ask("ann", Verb.CLOSE, name, reason="nothing of it is so", params={"as": "false-positive"})
    async with home.responding():

        async def so() -> bool:
            return bool((await home.incident(name)).repeats)

        await home.until(so, "the rest is counted")
    incident = await home.incident(name)
    assert incident.closed_at is not None
    assert incident.repeats["siem"].messages == 20 - alike.FEW


async def test_whoever_has_the_incident_meanwhile_sees_to_it_that_the_rest_is_counted(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flood, "SETTLED", -1.0)
    for _ in range(alike.FEW):
        await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    row = (await home.journal.streams(PREFIX))[0]
    (claim,) = await home.journal.claim("responder-1", lane=row.lane, limit=1, seconds=30)
    case = await Case.take(home.parts, claim)
    assert await flood.due(case) is None, "each of them is an entry"
    await home.receive(alert("weather", "unheard-of"))
    await home.take_in()
    assert await flood.due(case) is not None
    monkeypatch.setattr(flood, "QUIET", -9.0)
    await flood.count(case)
    assert await flood.due(case) is None


async def test_the_responder_counts_and_goes_on_by_itself(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory, flood):
        monkeypatch.setattr(module, "COUNTED", 0.1)
    monkeypatch.setattr("flows.engine.alerts.COUNTED", 0.1)
    monkeypatch.setattr(flood, "QUIET", 0.2)
    monkeypatch.setattr(flood, "SETTLED", 0.0)
    for _ in range(alike.FLOOD + alike.FEW):
        await home.receive(alert("weather", "unheard-of"))
    async with home.responding():

        async def so() -> bool:
            found = await home.incidents()
            return bool(found) and any(page.kind == "flood" for page in found[0].pages.values())

        await home.until(so, "people are told of the flood")
    assert (await only(home)).repeats["siem"].messages == alike.FLOOD
