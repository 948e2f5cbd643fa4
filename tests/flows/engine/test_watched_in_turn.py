"""What all leases of a gateway can share is looked at each time; as a client each is asked about in its turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from flows.engine import memory
from integrations.gateways.driver import Asked
from integrations.journal.records import Watch
from playbooks.errors import Transient
from playbooks.gate.plan import Answer
from playbooks.record.incident import Status
from tests.lab import flags, scenes
from tests.lab.gateway import Gateway, Place, held, installation
from tests.lab.house import House

EVERY, TOOK, SHARE = 0.1, 0.02, 0.02
"""With these a lease is looked at ten times a second, and asked about once in one."""


class Counting(Gateway):
    """A gateway that counts who looks and who asks, takes its time, and may lie to its lists, or not answer them."""

    asks = lists = 0
    silent = False
    open_to_clients = False
    hangs: asyncio.Event | None = None

    @override
    async def listing(self, entry: str, since: float) -> tuple[Any, ...]:
        self.lists += 1
        if self.hangs:
            await self.hangs.wait()
        if self.silent:
            raise Transient("no answer")
        return await super().listing(entry, since)

    @override
    async def ask(self, *asked: object, **how: object) -> Asked:
        self.asks += 1
        await asyncio.sleep(TOOK)
        found = await super().ask(*asked, **how)
        if not self.open_to_clients:
            return found
        (finding,) = found.findings
        return Asked([finding.model_copy(update={"observed": "called", "answer": Answer.NOT_ESTABLISHED})])


@asynccontextmanager
async def contained(folder: Path) -> AsyncIterator[tuple[House, Counting, str]]:
    """Give an installation with a cut in force that was asked about once since it was written."""
    gateway = Counting(held("forecast"), held("add"))
    place = Place(gateway, approved=("forecast", "add"), imported=(), watch_every=EVERY)
    place.inventory = place.inventory.model_copy(update={"watch_share": SHARE})
    async with installation(folder, place) as home, home.responding():
        await flags.respond(home)
        incident = await home.reaches(Status.CONTAINED)

        async def asked() -> bool:
            return bool(await home.journal.watched())

        await home.until(asked, "the cut was asked about after it was written")
        yield home, gateway, incident.id


async def row(home: House) -> Watch:
    (found,) = await home.journal.watched()
    return found


async def checks(home: House, name: str) -> int:
    """Return how often the journal says that a lease was asked about."""
    return sum(entry.kind == "lease_checked" for entry in await scenes.entries(home, name))


async def looked(home: House, gateway: Counting, times: int) -> None:
    seen = gateway.lists

    async def so() -> bool:
        return gateway.lists >= seen + times

    await home.until(so, f"{times} more looks")


async def test_a_look_asks_nothing_as_a_client_and_proves_nothing(tmp_path: Path) -> None:
    async with contained(tmp_path) as (home, gateway, name):
        before, asks = await row(home), gateway.asks
        said = await checks(home, name)
        await looked(home, gateway, 3)
        after = await row(home)
        assert gateway.asks == asks
        assert (after.checked_at, after.verdict) == (before.checked_at, "established"), "as it was asked, when it was"
        assert after.seen_at is not None
        assert after.seen_at > before.checked_at
        assert await checks(home, name) == said, "no news, no entry"


async def test_what_somebody_undid_is_seen_by_the_list_and_put_back_at_once(tmp_path: Path) -> None:
    async with contained(tmp_path) as (home, gateway, name):
        asked = await row(home)
        gateway.change("forecast", enabled=True)

        async def back() -> bool:
            lease = (await home.incident(name)).leases[asked.lease.partition("/")[2]]
            return not gateway.usable("forecast") and lease.put_backs > 0

        await home.until(back, "it is put back")
        assert (await row(home)).age < TOOK / SHARE, "its turn would have come later"


async def test_what_slips_in_beside_a_cut_is_seen_by_the_list(tmp_path: Path) -> None:
    async with contained(tmp_path) as (home, gateway, name):
        gateway.change("new", enabled=True)

        async def leaks() -> bool:
            return bool((await home.incident(name)).widenings)

        await home.until(leaks, "it is found, and widened")


async def test_a_lie_that_only_clients_see_is_seen_in_its_turn(tmp_path: Path) -> None:
    async with contained(tmp_path) as (home, gateway, name):
        gateway.open_to_clients = True
        await looked(home, gateway, 2)
        assert (await row(home)).verdict == "established", "the lists show nothing of it"
        await home.reaches(Status.NOT_ESTABLISHED, name)


async def test_a_gateway_that_does_not_answer_is_left_alone_for_a_while_and_is_not_called_contained(
    tmp_path: Path,
) -> None:
    async with contained(tmp_path) as (home, gateway, name):
        gateway.silent = gateway.open_to_clients = True
        await home.reaches(Status.NOT_ESTABLISHED, name)
        gateway.silent = gateway.open_to_clients = False
        await home.reaches(Status.CONTAINED, name)


async def test_no_look_delays_a_cut(tmp_path: Path) -> None:
    async with contained(tmp_path) as (home, gateway, _):
        gateway.hangs = asyncio.Event()
        await looked(home, gateway, 1)
        await flags.respond(home, "add")

        async def cut() -> bool:
            return not gateway.usable("add")

        await home.until(cut, "the other one is cut while a look waits for its list")
        gateway.hangs.set()


@pytest.mark.parametrize("verdict", ["established", "unknown"])
async def test_a_row_of_an_earlier_release_is_asked_about_first(tmp_path: Path, verdict: str) -> None:
    async with contained(tmp_path) as (home, gateway, name):
        lease, asks = (await row(home)).lease, gateway.asks
        await home.journal.set_watch(lease=lease, incident=name, verdict=verdict)

        async def asked() -> bool:
            return gateway.asks > asks and (await row(home)).system == "gateway/main"

        await home.until(asked, "it is asked about, and from then on known where it is")


def test_checks_of_an_incident_are_asked_again_no_oftener_than_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr("flows.engine.memory.time.monotonic", lambda: moment)
    known = memory.Memory()
    assert [known.is_time("one", 60.0), known.is_time("one", 60.0), known.is_time("other", 60.0)] == [True, False, True]
    moment += 60.0
    assert known.is_time("one", 60.0)
