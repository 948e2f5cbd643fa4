"""A plan of several changes that breaks off in between: said so, finished later, and nothing written twice."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from playbooks.errors import Transient
from playbooks.gate.plan import Change
from playbooks.record.incident import Status
from playbooks.record.state import Incident
from playbooks.record.step import Progress
from tests.lab import flags, scenes
from tests.lab.flags import CUT, NAMES, SetFlags
from tests.lab.house import House

ONCE = [f"{name} off" for name in NAMES]

Then = Callable[[str, Change], Awaitable[None]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return flags.flags(tmp_path / "flags")


def happening(monkeypatch: pytest.MonkeyPatch, moment: str, flag: str, then: Then, *, times: int = 1) -> None:
    """Have something happen at a moment of one flag's change."""
    left = times

    async def happens(now_: str, change: Change) -> None:
        nonlocal left
        if left and (now_, change.target.name) == (moment, flag):
            left -= 1
            await then(now_, change)

    monkeypatch.setattr(SetFlags, "happens", happens)


async def kinds(home: House, name: str) -> list[str]:
    return [entry.kind for entry in await scenes.entries(home, name)]


async def the_one(home: House, progress: Progress) -> Incident:
    """Wait until the one incident's cut stands so, and return it."""

    async def so() -> bool:
        found = [incident.steps.get(CUT) for incident in await home.incidents()]
        return [step.progress for step in found if step] == [progress]

    await home.until(so, f"the cut is {progress}")
    return (await home.incidents())[0]


async def test_what_broke_off_is_on_record_and_finished_later(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def breaks(_moment: str, _change: Change) -> None:
        seen.append(flags.states(folder))
        raise Transient("the system does not answer")

    happening(monkeypatch, "writing", "c", breaks, times=2)
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.CONTAINED)
        entries = await scenes.entries(home, incident.id)
    assert seen == ["off off on"] * 2
    assert flags.writes(folder) == ONCE
    (broken,) = [entry for entry in entries if entry.kind == "interrupted"]
    assert [item["change"] for item in broken.body["writes"]] == [
        f'tool {name} of weather: state "on" → "off"' for name in ("a", "b")
    ]
    # The first time something was written before; the second time all of that was found.
    assert [e.body["error"] for e in entries if e.kind == "failed"] == ["PartiallyApplied", "Transient"]
    assert [e.kind for e in entries].count("intended") == 1
    assert incident.leases[CUT].originals == {f"gateway/main/tool/{folder}/{name}.flag#state": "on" for name in NAMES}


@pytest.mark.parametrize("moment", ["reading", "wrote"])
async def test_a_stop_in_between_keeps_the_next_change_from_being_written(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    async with flags.installation(tmp_path, flags.playbook(flags.step(folder))) as home:

        async def stops(_moment: str, _change: Change) -> None:
            await home.journal.submit(lambda tx: tx.stop("everything", "a change window", "ann"))

        # Read right before its write, the second one is stopped; once the first is written, so it is.
        happening(monkeypatch, moment, {"reading": "b", "wrote": "a"}[moment], stops)
        async with home.responding():
            await flags.respond(home)

            async def interrupted() -> bool:
                return "interrupted" in [kind for it in await home.incidents() for kind in await kinds(home, it.id)]

            await home.until(interrupted, "it is on record what was written before the stop")
            (incident,) = await home.incidents()
            assert flags.states(folder) == "off on on"
            assert incident.status is Status.CONTAINING
            await home.journal.submit(lambda tx: tx.unstop("everything"))
            await home.reaches(Status.CONTAINED)
    assert flags.writes(folder) == ONCE


async def test_what_somebody_changed_in_between_is_asked_anew_and_says_what_differs(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def meddles(_moment: str, _change: Change) -> None:
        (folder / "c.flag").write_text("odd")

    happening(monkeypatch, "wrote", "a", meddles)
    playbook = flags.playbook(flags.step(folder))
    async with flags.installation(tmp_path, playbook, policy=flags.ASKING) as home, home.responding():
        await flags.respond(home)
        incident = await the_one(home, Progress.PROPOSED)
        first = incident.steps[CUT]
        await scenes.approve(home, "bob", incident.id, first)

        async def anew() -> bool:
            step = (await home.incident(incident.id)).steps[CUT]
            return step.progress is Progress.PROPOSED and step.asked_at != first.asked_at

        await home.until(anew, "it is asked anew")
        step = (await home.incident(incident.id)).steps[CUT]
        assert step.approved_by == ()
        assert 'no longer: tool c of weather: state "on" → "off"' in step.differs
        assert 'now: tool c of weather: state "odd" → "off"' in step.differs
        assert flags.states(folder) == "off off odd"
        broke = [kind for kind in await kinds(home, incident.id) if kind in {"interrupted", "failed"}]
        assert broke == ["interrupted", "failed"]
        await scenes.approve(home, "bob", incident.id, step)
        await home.reaches(Status.CONTAINED)
    assert flags.writes(folder) == ONCE


async def test_a_responder_killed_between_two_changes_is_succeeded_by_one_that_finishes(tmp_path: Path) -> None:
    async def attempt(moment: str, number: int, written: int) -> None:
        there = tmp_path / f"{moment}-{number}"
        folder = flags.flags(there / "flags")
        playbook = flags.playbook(flags.step(folder))
        async with flags.installation(there, playbook) as home:
            await flags.respond(home)
            assert await flags.dies(there, playbook, moment, number) == -signal.SIGKILL
            assert len(flags.writes(folder)) == written
            async with home.responding():
                incident = await home.reaches(Status.CONTAINED)
            assert (await kinds(home, incident.id)).count("intended") == 1
        assert flags.writes(folder) == ONCE

    # Most of it is waiting until the dead one's claim runs out.
    await asyncio.gather(attempt("wrote", 1, 1), attempt("writing", 2, 1), attempt("wrote", 3, 3))
