"""A bug of ours in one incident wakes a person once, and the others go on."""

from pathlib import Path

import pytest

from flows.engine import evidence, response
from flows.engine.case import PREFIX, Case
from flows.engine.opening import CUT
from flows.engine.schedule import Todo
from playbooks.people.escalation import urgent
from playbooks.record.journal import ITSELF, stream_of
from playbooks.record.projection import project
from playbooks.record.state import Incident
from tests.lab.connected import connected
from tests.lab.flags import INVENTORY
from tests.lab.house import House, alert, house


async def installation(home: House) -> Incident:
    """Return the pages about the installation."""
    return project(ITSELF, await home.journal.read(stream_of(ITSELF)))


async def test_a_fault_of_ours_wakes_people_once_and_nothing_else_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def faulty(case: Case, todo: Todo) -> None:
        if case.id.endswith("1"):
            raise KeyError("password=hunter2")
        await evidence.raw(case, todo)

    monkeypatch.setitem(response.STEPS, "raw", faulty)
    async with house(tmp_path, connected(INVENTORY)) as home, home.responding():

        async def faults(number: int) -> None:
            async def so() -> bool:
                free = all(row.owner is None for row in await home.journal.streams(PREFIX))
                return free and len(await home.system("fault")) == number

            await home.until(so, f"{number} faults are on record")

        await home.receive(alert("who-knows"))
        await faults(1)
        (first,) = await home.incidents()
        # Its next attempt, without waiting for it.
        await home.journal.submit(lambda tx: tx.make_runnable(PREFIX + first.id, lane=CUT))
        await faults(2)
        await home.receive(alert("nobody-knows"))

        async def kept() -> bool:
            return any(incident.exhibits for incident in await home.incidents())

        await home.until(kept, "the other incident's alert is kept")
        state = await installation(home)
    (page,) = state.pages.values()
    assert page.id == f"fault:{first.id}:KeyError"
    assert "is tried again" in page.text
    assert "hunter2" not in page.text
    assert urgent(state, page)
