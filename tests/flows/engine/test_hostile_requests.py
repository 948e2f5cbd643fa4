"""What an attacker can put into the inbox or beside it: replays, floods, moments, and files under a manifest's name."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.engine import intake
from flows.engine.case import PREFIX
from integrations.vault import bundle
from playbooks.errors import Misconfigured
from playbooks.people.request import People, Verb, draft, sign
from playbooks.record import alike
from playbooks.record.evidence import SIGNED
from playbooks.record.incident import Status
from playbooks.strict import now
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


async def put(home: House, body: bytes, nonce: str) -> str:
    receipt = await home.journal.put(kind="request", source="person", nonce=nonce, body=body, headers={})
    await scenes.taken_in(home)
    return receipt.id


async def refusal(home: House, receipt: str) -> str:
    """Return why a request was set aside."""
    (entry,) = [entry for entry in await home.system("set_aside") if entry.body["receipt"] == receipt]
    return str(entry.body["reason"])


async def test_a_request_that_was_refused_stays_refused_when_the_world_would_allow_it(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        request = draft(actor="ann", verb=Verb.CLOSE, subject=name, at=now(), reason="a false alarm")
        body = sign(request, home.keys["ann"].sign).model_dump_json().encode()
        assert "still in force" in await refusal(home, await put(home, body, "first"))

        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="healed")
        await home.given_back(name)
        assert "used before" in await refusal(home, await put(home, body, "again"))
        assert (await home.incident(name)).closed_at is None
        # It is that request which is worthless, not the wish.
        await home.ask("ann", Verb.CLOSE, name, reason="a false alarm")
        await home.reaches(Status.CLOSED, name)


async def test_a_stop_waits_while_nobody_can_be_read_and_counts_once_they_can(lab: Lab, tmp_path: Path) -> None:
    broken = True

    async with scenes.installation(lab, tmp_path) as plain:
        enrolled = plain.parts.people()

        def people() -> People:
            if broken:
                raise Misconfigured("line 3: not a role", file="people.yaml", field="people.ann.roles")
            return enrolled

        home = plain.changed(people=people)
        await home.ask("ann", Verb.STOP, "everything", reason="something is wrong")
        for _ in range(3):
            assert await intake.intake(home.parts) == []
        assert [item.kind for item in await home.journal.waiting(10)] == ["request"]
        assert await home.system("set_aside") == []
        assert await home.journal.stops() == []
        broken = False
        await intake.intake(home.parts)
        assert await home.journal.waiting(10) == []
        assert [(stop.scope, stop.by) for stop in await home.journal.stops()] == [("everything", "ann")]


async def test_a_flood_of_what_anybody_can_send_stops_growing_and_lets_the_signed_pass(
    lab: Lab, tmp_path: Path
) -> None:
    flood, more = 3 * alike.EACH, 20
    async with scenes.installation(lab, tmp_path) as home:
        for number in range(flood):
            await home.receive(alert("nobody-knows-this", f"tool-{number}"), source="unsigned")
        signed = await home.receive(alert(lab.site.server_id, "get_weather"))
        first = await home.journal.waiting(1, last=["unsigned"])
        assert [item.id for item in first] == [signed]
        await intake.intake(home.parts, 1)
        (incident,) = await home.incidents()
        assert [seen.receipt for seen in incident.alerts] == [signed], "it overtook the whole flood"

        lot = 25
        while await home.journal.waiting(1):
            await intake.intake(home.parts, lot)
        row = next(row for row in await home.journal.streams(PREFIX) if row.name != f"{PREFIX}{incident.id}")
        assert row.seq == 1 + alike.EACH
        last = ""
        for number in range(more):
            last = await home.receive(alert("nobody-knows-this", f"more-{number}"), source="unsigned")
        await intake.intake(home.parts)
        (after,) = [found for found in await home.journal.streams(PREFIX) if found.name == row.name]
        assert after.seq == row.seq
        kept = await home.journal.message(last)
        assert kept is not None
        assert await home.system("set_aside") == []


async def test_an_incident_closed_while_its_cut_is_planned_cuts_nothing(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.victim.poison()
    planned, closed = asyncio.Event(), asyncio.Event()
    upstream = lab.proxy._upstream  # noqa: SLF001  # the gateway's answer, held up on its way back
    ask = upstream.ask

    async def held_up(method, url, **more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
        answer = await ask(method, url, **more)
        # What the plan rests on, whether it was asked for ahead or not.
        if method == "GET" and "/v1/tools/" in str(url):
            planned.set()
            await closed.wait()
        return answer

    async with scenes.installation(lab, tmp_path) as home:
        monkeypatch.setattr(upstream, "ask", held_up)
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            await asyncio.wait_for(planned.wait(), 20)
            # What a plan rests on is asked for ahead, before there is an incident.
            incident = await home.opened()
            await home.ask("ann", Verb.CLOSE, incident.id, reason="a test of ours")
            await scenes.taken_in(home)
            assert (await home.incident(incident.id)).closed_at is not None
            closed.set()
            await asyncio.sleep(2)
        assert lab.proxy.writes == []
        assert await home.journal.holds() == []
        assert await scenes.enabled(lab, "get_weather")
        assert [entry.kind for entry in await scenes.entries(home, incident.id) if entry.kind == "intended"] == []


async def test_a_file_planted_under_a_manifests_name_gives_way_to_the_manifest(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home:
        name = f"inc-{datetime.now(UTC).year}-000001"
        for seq in range(1, 200):
            (home.parts.bundles / f"{name}-{seq:06d}{SIGNED}").write_bytes(b"nothing happened here")
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.reaches(Status.CONTAINED)
            assert incident.id == name
            await home.settled(name)
        sealed = next(entry for entry in await scenes.entries(home, name) if entry.kind == "sealed")
        path = home.parts.bundles / str(sealed.body["bundle"])
        assert bundle.signed(path, [home.parts.signer.public]).incident == name
