"""What arrives: unknown, repeated, ended, several at once, malformed, or for a stream that somebody changed."""

import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest

from flows.engine import alerts, schedule
from flows.engine.opening import resolve, triage
from flows.engine.people import notices
from integrations.siem.source import Sources
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Dossier, Pin, PinKind, Pins
from playbooks.estate.places import Places
from playbooks.people.escalation import urgent
from playbooks.playbook import shipped
from playbooks.record.incident import Entity, EntityKind, Phase, Status
from playbooks.record.state import Incident
from playbooks.record.told import Page
from playbooks.strict import now
from playbooks.taxonomy import IncidentClass
from tests.flows.cli import world
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert, house, source

INVENTORY = world.READ


async def opened(home: House, number: int) -> None:
    async def so() -> bool:
        return len(await home.incidents()) == number

    await home.until(so, f"{number} incidents are open")


def finding(server: str, tool: str) -> dict[str, Any]:
    """Return an OCSF detection finding about a tool."""
    return {
        "class_uid": 2004,
        "activity_id": 1,
        "severity_id": 4,
        "time": int(now().timestamp() * 1000),
        "metadata": {"labels": ["tool_poisoning"]},
        "finding_info": {"uid": f"finding-{tool}", "title": "Tool definition changed"},
        "resources": [{"type": "MCP Server", "name": server}, {"type": "MCP Tool", "name": tool}],
    }


async def test_what_the_inventory_does_not_know_is_triage_and_nothing_is_done(lab: Lab, tmp_path: Path) -> None:
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert("nobody-knows-this", "a_tool"))
        incident = await home.reaches(Status.TRIAGE)
        assert incident.triage is not None
        assert incident.triage.startswith("unknown server: shadow?")
        assert "nobody-knows-this" in incident.triage

        async def kept() -> bool:
            return [exhibit["kind"] for exhibit in (await home.incident(incident.id)).exhibits] == ["raw-alert"]

        await home.until(kept, "the alert itself is kept, and nothing else is done")
        incident = await home.incident(incident.id)
        assert incident.cuts == []
        assert lab.proxy.seen == [], "not even asked"
        # A class that nobody gave, and one without a playbook, wait for a person as well.
        await home.receive(alert(lab.site.server_id, "get_weather", tags=[]))
        await opened(home, 2)
        other = (await home.incidents())[-1]
        assert other.incident_class is IncidentClass.UNCLASSIFIED
        assert other.status is Status.TRIAGE
        assert lab.proxy.writes == []


def test_a_token_is_its_whose_principal_is_named_beside_it_and_no_shadow_server() -> None:
    agent = INVENTORY.principals["agent"]
    places = {"main": agent.places["main"].model_copy(update={"user": "bot@example.com", "tokens": {"laptop": "t-9"}})}
    bot = agent.model_copy(update={"places": places})
    inventory = INVENTORY.model_copy(update={"principals": {**INVENTORY.principals, "bot": bot}})
    token, who = Entity(kind=EntityKind.TOKEN, name="laptop"), Entity(kind=EntityKind.PRINCIPAL, name="bot")
    known, unknown = resolve(inventory, (token, who))
    assert [(thing.id, thing.principal) for thing in known] == [("t-9", "bot"), ("bot", "bot")]
    assert unknown == []
    known, unknown = resolve(inventory, (token,))
    assert known == []
    book, where = shipped()[IncidentClass.UNAUTHORIZED_ACCESS], Places(inventory)
    why = triage(book, where, IncidentClass.UNAUTHORIZED_ACCESS, known, unknown)
    assert why == "the inventory does not know for certain who is meant: token laptop"


def todos(incident: Incident) -> list[str]:
    """Return what the engine would do first."""
    playbook = shipped()[incident.incident_class]
    ready = schedule.ready(
        incident,
        playbook,
        places=Places(Inventory(version=1)),
        until=Phase.REVIEW,
        now=now(),
        stopped=False,
        retries=(),
    )
    return [todo.kind for todo in ready]


def pages(incident: Incident) -> dict[str, Page]:
    """Return what people would have to hear of next."""
    due = notices.due(incident, shipped()[incident.incident_class].notify)
    return {page: Page(page, notice, text, now()) for page, notice, text in due}


@pytest.mark.parametrize(("tools", "named"), [(["new_evil"], " (tool new_evil of weather)"), ([], "")])
async def test_nothing_approved_on_a_known_server_is_for_a_person_to_look_at(
    tmp_path: Path, tools: list[str], named: str
) -> None:
    async with house(tmp_path, connected(INVENTORY)) as home:
        await home.receive(alert("weather", *tools))
        await home.take_in()
        (incident,) = await home.incidents()
    assert incident.triage == f"it names server weather, but no tool that is approved{named}"
    assert incident.status is Status.TRIAGE
    assert todos(incident) == ["raw"]
    assert urgent(incident, pages(incident)["opened"])


def test_a_tool_belongs_to_no_server_if_the_alert_names_another_one_beside() -> None:
    tool = Entity(kind=EntityKind.TOOL, name="forecast")
    weather, shadow = (Entity(kind=EntityKind.SERVER, name=name) for name in ("weather", "shadow-x"))
    known, _ = resolve(INVENTORY, (weather, tool))
    assert list(map(str, known)) == ["server weather", "tool forecast of weather"]
    known, unknown = resolve(INVENTORY, (weather, shadow, tool))
    assert list(map(str, known)) == ["server weather"]
    assert unknown == [shadow, tool]


async def test_what_else_an_alert_names_is_on_record_and_asked_about(tmp_path: Path) -> None:
    async with house(tmp_path, connected(INVENTORY)) as home:

        async def after(*tools: str, source: str = "siem") -> Incident:
            await home.receive(alert("weather", "forecast", *tools), source=source)
            await home.take_in()
            (incident,) = await home.incidents()
            return incident

        incident = await after()
        assert "unknown:1" not in pages(incident)
        incident = await after("new_evil")
        assert list(map(str, incident.unresolved)) == ["tool new_evil of weather"]
        page = pages(incident)["unknown:1"]
        assert "nothing is done about tool new_evil of weather" in page.text
        assert urgent(incident, page)
        assert "action" in todos(incident), "what is known is cut all the same"
        incident = await after("new_evil")
        assert len(incident.unresolved) == 1
        incident = await after("other_evil", source="unsigned")
        assert len(incident.unresolved) == 1, "what anybody can send wakes nobody again"
        journal = [entry.body for entry in await scenes.entries(home, incident.id) if entry.kind == "alert"]
        assert [[one["name"] for one in body["unresolved"]] for body in journal] == [
            [],
            ["new_evil"],
            ["new_evil"],
            ["other_evil"],
        ]
        assert "unknown:2" in pages(await after("third_evil"))


async def test_repeats_join_and_the_end_of_an_alert_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    server = lab.site.server_id
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        for state in ("resolved", "updated"):
            await home.receive(alert(server, "get_weather", state=state))
        await scenes.taken_in(home)
        assert await home.incidents() == []
        aside = [entry.body["reason"] for entry in await home.system("set_aside")]
        assert len(aside) == 2
        assert all("no incident of that is open" in reason for reason in aside)

        body = alert(server, "get_weather", id="the-same")
        for _ in range(5):
            await home.receive(body)
        name = (await home.reaches(Status.CONTAINED)).id
        await home.receive(alert(server, "get_weather", id="another"))
        for state in ("updated", "resolved"):
            await home.receive(alert(server, "get_weather", "add", id="the-same", state=state))
        await scenes.taken_in(home)

        async def joined() -> bool:
            return any(seen.external_id == "another" for seen in (await home.incident(name)).alerts)

        await home.until(joined, "the other alert joined")
        assert len([path for _, path in lab.proxy.writes if path.endswith("/state")]) == 1
        last = (await home.incident(name)).alerts
        assert [seen.external_id for seen in last if seen.state == "new"] == ["the-same", "another"]
        assert not any("add" in instance for instance in (await home.incident(name)).steps)


async def test_several_alerts_in_one_message_each_find_their_incident(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison("get_weather", "get_forecast")
    server = lab.site.server_id
    sources = Sources(version=1, sources={"several": source(format="ocsf")})
    async with scenes.installation(lab, tmp_path, sources=sources) as home, home.responding():
        findings = [finding(server, "get_weather"), finding(server, "get_forecast"), finding("unheard-of", "x")]
        receipt = await home.receive(json.dumps(findings).encode(), source="several")
        await opened(home, 3)

        async def done() -> bool:
            found = await home.incidents()
            return sorted(incident.status for incident in found) == [Status.CONTAINED, Status.CONTAINED, Status.TRIAGE]

        await home.until(done, "two are contained, one is for triage")
        assert {seen.receipt for incident in await home.incidents() for seen in incident.alerts} == {receipt}
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        assert not await scenes.usable(lab, "get_forecast", city="Seoul")


async def test_what_cannot_be_read_is_set_aside_and_the_rest_goes_on(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home:
        bad = [
            await home.receive(b"\x00\xff not json"),
            await home.receive(b'{"version": 1}'),
            await home.receive(alert(lab.site.server_id, "get_weather"), source="nobody-configured-this"),
        ]
        odd = await home.journal.put(kind="letter", source="x", nonce=uuid.uuid4().hex, body=b"{}", headers={})
        poison = await home.receive(alert(lab.site.server_id, "add", title="this one trips us"))
        read = alerts._read  # noqa: SLF001  # a fault that nobody foresaw has no public name

        def trips(parts, item, source, found, *, trusted):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            if found.title == "this one trips us":
                raise KeyError("a bug of ours")
            return read(parts, item, source, found, trusted=trusted)

        monkeypatch.setattr(alerts, "_read", trips)
        good = await home.receive(alert(lab.site.server_id, "get_weather"))

        async def all_seen() -> bool:
            return await home.journal.waiting(10) == []

        async with home.responding():
            incident = await home.reaches(Status.CONTAINED)
            # What is to be cut goes before what nobody can read.
            await home.until(all_seen, "everything is taken in or set aside")
        assert [seen.receipt for seen in incident.alerts] == [good]
        aside = {entry.body["receipt"]: entry.body["reason"] for entry in await home.system("set_aside")}
        assert set(aside) == {*bad, odd.id, poison}
        assert "a fault of ours" in aside[poison]
        for receipt in (*bad, poison):
            kept = await home.journal.message(receipt)
            assert kept is not None, "set aside is not thrown away"


async def test_an_incident_whose_journal_was_changed_is_frozen_and_everything_else_goes_on(
    lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison("get_weather", "get_forecast", "add")
    server = lab.site.server_id
    async with scenes.installation(lab, tmp_path) as home:
        async with home.responding():
            await home.receive(alert(server, "get_weather"))
            first = (await home.reaches(Status.CONTAINED)).id
            await home.settled(first)
            await home.receive(alert(server, "get_forecast"))
            await opened(home, 2)
            second = next(incident.id for incident in await home.incidents() if incident.id != first)
            await home.reaches(Status.CONTAINED, second)
            await home.settled(second)
        changed(home.folder / "journal.db", first)
        changed(home.folder / "journal.db", second)
        # One is noticed by the watch, the other by an alert that wants to join it, whichever comes first.
        await home.receive(alert(server, "get_forecast", id="joins the changed one"))
        await home.receive(alert(server, "add"))
        async with home.responding():

            async def others() -> bool:
                rows = await home.journal.streams("incident/")
                found = [row for row in rows if row.frozen is None]
                if len(rows) != 3 or len(found) != 1:
                    return False
                return (await home.incident(found[0].name.removeprefix("incident/"))).status is Status.CONTAINED

            await home.until(others, "two are frozen, the third is contained")
        said = {entry.body["incident"] for entry in await home.system("frozen")}
        assert said == {first, second}
        # And they stay with a person: what comes later about one of them is another incident, which names it.
        await home.receive(alert(server, "get_weather", id="later"))
        async with home.responding():
            await scenes.taken_in(home)
        rows = await home.journal.streams("incident/")
        assert {row.name.removeprefix("incident/") for row in rows if row.frozen} == {first, second}
        whole = [await home.incident(row.name.removeprefix("incident/")) for row in rows if not row.frozen]
        (later,) = [incident for incident in whole if first in incident.linked]
        assert [entity.id for entity in later.entities.values() if entity.kind == "tool"] == ["get_weather"]


def changed(database: Path, incident: str) -> None:
    """Change a word in the middle of an incident's stream, as somebody with the database in hand can."""
    with sqlite3.connect(database) as raw:
        row = raw.execute(
            "SELECT seq, data FROM entry WHERE stream = ? AND seq = 2", (f"incident/{incident}",)
        ).fetchone()
        data = bytes(row[1]).replace(b"high", b"calm") if b"high" in bytes(row[1]) else bytes(row[1])[:-2] + b" }"
        raw.execute("UPDATE entry SET data = ? WHERE stream = ? AND seq = ?", (data, f"incident/{incident}", row[0]))
    raw.close()


def test_a_name_that_one_gateway_offers_one_tool_under_says_its_server() -> None:
    def pin(name: str, offered: str | None) -> Pin:
        return Pin(
            kind=PinKind.TOOL,
            name=name,
            digest="sha256:" + "0" * 64,
            definition={"name": name},
            gateway_name=offered,
            dossier=Dossier(reviewed="read"),
        )

    pins: dict[str, tuple[Pin, ...]] = {
        "weather": (pin("get_weather", "weather-get-weather"), pin("search", "weather-search"), pin("both", "both")),
        "files": (pin("search", "files-search"), pin("weather-get", "both"), pin("read", None)),
    }
    server = INVENTORY.servers["weather"].model_copy(update={"places": {}})
    known_servers = {"weather": server, "files": server.model_copy(update={"aliases": ()})}
    inventory = INVENTORY.model_copy(update={"servers": known_servers, "pins": Pins(servers=pins)})

    def found(name: str, *beside: Entity, server: str | None = None) -> list[str]:
        return list(map(str, resolve(inventory, (*beside, Entity(kind=EntityKind.TOOL, name=name, server=server)))[0]))

    assert found("weather-get-weather") == ["tool get_weather of weather"]
    assert found("files-search") == ["tool search of files"]
    # A tool's own name says nothing of its server, and neither does one that two are offered under.
    for name in ("get_weather", "search", "read", "both", "weather-get", "Weather-Get-Weather"):
        assert found(name) == []
    # Whoever names a server that nobody knows means none of ours.
    shadow = Entity(kind=EntityKind.SERVER, name="shadow-x")
    assert found("weather-get-weather", shadow) == []
    assert found("weather-get-weather", server="shadow-x") == []


async def test_what_several_servers_stand_on_is_said_and_not_guessed(tmp_path: Path) -> None:
    one = INVENTORY.servers["weather"].model_copy(update={"found_by": {EntityKind.HOST: ("node-7",)}})
    servers = {"weather": one, "mail": one.model_copy(update={"aliases": (), "places": {}})}
    shared = INVENTORY.model_copy(update={"servers": servers})
    async with house(tmp_path, connected(shared)) as home:
        await home.receive(alert("x", entities=[{"kind": "host", "name": "node-7"}]))
        await home.take_in()
        (incident,) = await home.incidents()
    assert incident.status is Status.TRIAGE
    said = "several servers stand on what it names (host node-7): weather, mail."
    assert (incident.triage or "").startswith(said)
    assert "mcp-soar respond" in (incident.triage or "")


async def test_a_workload_is_the_server_that_stands_on_it(tmp_path: Path) -> None:
    one = INVENTORY.servers["weather"].model_copy(update={"found_by": {EntityKind.WORKLOAD: ("prod/weather",)}})
    inventory = INVENTORY.model_copy(update={"servers": {"weather": one}})
    entities = [{"kind": "workload", "name": "prod/weather"}, {"kind": "tool", "name": "forecast"}]
    async with house(tmp_path, connected(inventory)) as home:
        await home.receive(alert("x", entities=entities))
        await home.take_in()
        (incident,) = await home.incidents()
    assert incident.triage is None
    assert incident.servers == ("weather",)
    assert [thing.said for thing in incident.about] == ["tool forecast of weather (workload prod/weather)"]
