"""What waits for a flow, or is in a long one, is watched all the same; and people hear that nobody runs flows."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from flows.engine import leases
from flows.engine.case import Case
from flows.service import responder
from playbooks.gate.plan import Change
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import ITSELF, Parsed, stream_of
from tests.lab import flags, scenes
from tests.lab.flags import FlagsHealthy, SetFlags
from tests.lab.house import House

OFTEN = 0.3
"""Seconds between two verifications of a lease."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flags.flags(tmp_path / "flags", "a")


def found_on_again(home: House, name: str) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        return any(entry.kind == "lease_checked" for entry in await scenes.entries(home, name))

    return so


async def pages(home: House) -> list[Parsed]:
    """Return what people are told of the installation itself."""
    entries = [entry.parsed() for entry in await home.journal.read(stream_of(ITSELF))]
    return [entry for entry in entries if entry.kind == "page"]


async def test_what_waits_for_a_flow_that_nobody_runs_is_watched_and_put_back_and_people_hear_of_it(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responder, "UNATTENDED", 0.5)
    playbook = flags.playbook(flags.step(folder), capture=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook, watch_every=OFTEN) as home:
        async with home.responding(flows=0):
            await flags.respond(home)
            incident = await home.reaches(Status.CONTAINED)
            (folder / "a.flag").write_text("on")
            await home.until(found_on_again(home, incident.id), "it is seen that somebody undid it")

            async def told() -> bool:
                return bool(await pages(home))

            await home.until(told, "people are told")

            async def looked() -> bool:
                return flags.states(folder) == "off"

            await home.until(looked, "it is put back")
        (page,) = await pages(home)
        assert incident.id in page.body["text"]
        assert "`flows`" in page.body["text"]
        assert await home.journal.unattended("flow", 0.0) == [f"incident/{incident.id}"], "the flow is still to be run"


async def test_what_is_in_force_is_verified_while_evidence_takes_its_time(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, asked = asyncio.Event(), FlagsHealthy.check

    async def slow(self: FlagsHealthy, world: object) -> object:
        await release.wait()
        return await asked(self, world)  # type: ignore[arg-type]

    monkeypatch.setattr(FlagsHealthy, "check", slow)
    monkeypatch.setattr(FlagsHealthy, "timeout", 600.0)
    playbook = flags.playbook(flags.step(folder), capture=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook, watch_every=OFTEN) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.CONTAINED)

        async def collecting() -> bool:
            return await home.journal.in_hand("flow")

        await home.until(collecting, "its flow is under way")
        (folder / "a.flag").write_text("on")
        await home.until(found_on_again(home, incident.id), "it is seen that somebody undid it")
        release.set()


async def test_a_look_waits_for_what_is_just_being_given_back(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, writing, goes_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asked, look, looked = FlagsHealthy.check, leases.watch, list[bool]()

    async def slow(self: FlagsHealthy, world: object) -> object:
        await healthy.wait()
        return await asked(self, world)  # type: ignore[arg-type]

    async def watch(case: Case) -> None:
        looked.append(writing.is_set())
        await look(case)

    async def happens(moment: str, change: Change) -> None:
        if moment == "writing" and change.after == "on":
            writing.set()
            await goes_on.wait()
            writing.clear()

    monkeypatch.setattr(FlagsHealthy, "check", slow)
    monkeypatch.setattr(FlagsHealthy, "timeout", 600.0)
    monkeypatch.setattr(SetFlags, "timeout", 600.0)
    monkeypatch.setattr(SetFlags, "happens", happens)
    monkeypatch.setattr(leases, "watch", watch)
    playbook = flags.playbook(flags.step(folder), capture=[flags.healthy(folder)])
    async with flags.installation(tmp_path, playbook, watch_every=OFTEN) as home:
        rounds, stops = 0, home.journal.stops

        async def counted() -> object:
            nonlocal rounds
            rounds += 1
            return await stops()

        home.journal.stops = counted  # type: ignore[assignment,method-assign]  # counted, and otherwise the same
        async with home.responding():
            await flags.respond(home)
            incident = await home.reaches(Status.CONTAINED)
            await home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
            await writing.wait()
            before = rounds

            async def often() -> bool:
                return rounds > before + 4

            await home.until(often, "the response looks around while something is being given back")
            goes_on.set()
            healthy.set()
            await home.given_back(incident.id)
    assert True not in looked
