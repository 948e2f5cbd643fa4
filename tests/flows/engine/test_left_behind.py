"""What a process that died had in hand waits for no claim to run out, unless an effect of it may be under way."""

from pathlib import Path

from flows.engine import left_behind
from flows.engine.case import PREFIX
from integrations.journal import queries
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.journal import Event
from tests.lab import flags, gateway, scenes
from tests.lab.gateway import Gateway, Place, held
from tests.lab.house import House

LONG = 600.0


def place() -> Place:
    return Place(Gateway(held("forecast"), held("add")), approved=("forecast", "add"), imported=(), watch_every=600.0)


async def contained(home: House) -> str:
    async with home.responding():
        await flags.respond(home)
        name = (await home.reaches(Status.CONTAINED)).id
        await home.settled(name)
    return name


async def dies_with(home: House, name: str, owner: str) -> None:
    """Have somebody claim an incident for long, and never be heard of again."""

    async def unit(tx: object) -> None:
        await tx.make_runnable(f"{PREFIX}{name}", lane="flow")  # type: ignore[attr-defined]  # a Tx
        found = queries.claimable("flow", 1)
        assert await tx.claim(owner, found, seconds=LONG)  # type: ignore[attr-defined]  # a Tx

    await home.journal.submit(unit)


async def owner_of(home: House, name: str) -> str | None:
    row = await home.journal.stream(f"{PREFIX}{name}")
    assert row is not None
    return row.owner


async def test_a_release_goes_on_at_once_where_the_holder_is_known_to_be_dead(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home:
        name = await contained(home)
        await dies_with(home, name, "responder-1-flows")
        async with home.responding():
            await home.ask("ann", Verb.RELEASE, name, reason="needed")
            await scenes.taken_in(home)
            # Somebody of another name is not known to be dead.
            await left_behind.take_up(home.parts)
            assert await owner_of(home, name) == "responder-1-flows"
            await left_behind.take_up(home.changed(name="responder-1-flows").parts)
            await home.given_back(name)
        assert site.gateway.usable("forecast")


async def test_what_may_still_arrive_is_waited_out(tmp_path: Path) -> None:
    async with gateway.installation(tmp_path, place()) as home:
        name = await contained(home)
        intended = next(entry for entry in await scenes.entries(home, name) if entry.kind == "intended")
        # It is just being put back.
        await home.journal.append(f"{PREFIX}{name}", [Event("intended", {**intended.body, "epoch": 2})])
        await dies_with(home, name, "responder-1")
        await left_behind.take_up(home.parts)
        assert await owner_of(home, name) == "responder-1"
