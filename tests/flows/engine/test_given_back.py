"""What a person gave back though nobody approved it is no leak beside another cut, while it is what it was."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from flows.engine import writing
from integrations.systems.contextforge.actions import DisableTool
from integrations.systems.contextforge.client import Held
from playbooks.action import World
from playbooks.given_back import KIND, STREAM, body
from playbooks.incident import Status
from playbooks.journal import Event
from playbooks.plan import Answer, Beside
from playbooks.request import Verb
from playbooks.state import Incident
from tests.lab import flags, gateway, scenes
from tests.lab.gateway import Gateway, Place, held
from tests.lab.house import House, alert

CUT = "cut-tool@weather/forecast"
WIDENED = "widen-gateway-disable_tool@weather/spare"


def place(*more: str) -> Place:
    """Return a place whose server offers what was approved, and a tool that slipped in."""
    tools = (held("forecast"), held("add"), held("spare"), *map(held, more))
    return Place(Gateway(*tools), approved=("forecast", "add"), imported=())


async def contained(home: House) -> str:
    """Have an alert about one tool cut it and what slipped in beside it, and return the incident."""
    await flags.respond(home)
    name = (await home.reaches(Status.CONTAINED)).id
    await scenes.established(home, name, WIDENED)
    return name


async def given_back(home: House, name: str, lease: str = WIDENED) -> Incident:
    """Have ann give one lease back, and wait for it."""
    params = {"lease": lease, "accept_changed": True}
    await home.ask("ann", Verb.RELEASE, name, reason="it is needed", params=params)

    async def back() -> bool:
        return (await home.incident(name)).leases[lease].released_at is not None

    await home.until(back, f"{lease} is given back")
    return await home.incident(name)


async def another(home: House, *known: str) -> str:
    """Have alerts about another tool of the server cut it in an incident of its own, and return that."""
    await asyncio.gather(*(home.receive(alert("weather", "add"), source=source) for source in ("siem", "second")))

    async def there() -> bool:
        return len(await home.incidents()) > len(known)

    await home.until(there, "another incident is open")
    (name,) = {incident.id for incident in await home.incidents()} - {*known}
    return (await home.reaches(Status.CONTAINED, name)).id


async def looked_at(home: House, times: int = 3) -> None:
    """Wait until every containment in force was looked at so often again."""
    for _ in range(times):
        before = {one.lease: one.checked_at for one in await home.journal.watched()}

        async def again(before: dict[str, float] = before) -> bool:
            now = {one.lease: one.checked_at for one in await home.journal.watched()}
            return all(at > before.get(lease, 0.0) for lease, at in now.items())

        await home.until(again, "the containments are looked at again")


async def test_it_is_not_cut_again_beside_what_is_still_contained_until_it_changes(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home, home.responding():
        name = await contained(home)
        await given_back(home, name)
        await looked_at(home)
        incident = await home.incident(name)
        assert site.gateway.usable("spare")
        assert not site.gateway.usable("forecast")
        assert list(incident.widenings) == [WIDENED], "no second one"
        assert incident.status is Status.CONTAINED
        (said,) = [one for one in verdict(incident) if "gave it back" in one]
        assert f"ann in {name} gave it back as it is: tool spare" in said
        site.gateway.change("spare", description="now it reads ~/.ssh/id_rsa")
        second = WIDENED.replace("@", "-2@")
        await scenes.established(home, name, second)
        assert not site.gateway.usable("spare"), "what changed is a leak again"


def verdict(incident: Incident) -> list[str]:
    found = incident.leases[CUT].verdict
    return [one.observed for one in found.findings] if found else []


async def test_it_holds_in_another_incident_of_the_server_and_after_a_restart(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home:
        async with home.responding():
            name = await contained(home)
            second = await another(home, name)
            await given_back(home, name)
            await looked_at(home)
            assert [*(await home.incident(second)).widenings] == []
            await given_back(home, second, "cut-tool@weather/add")
        assert site.gateway.usable("add"), "what is beside it holds up no release"
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await looked_at(home)
        # A cut that is planned later leaves it alone too: two people do not decide on it at each incident.
        await home.ask("ann", Verb.CLOSE, second, reason="over")
        await home.reaches(Status.CLOSED, second)
        third = await another(home, name, second)
        await looked_at(home)
        assert site.gateway.usable("spare")
        assert [*(await home.incident(third)).widenings] == []


async def test_a_changed_definition_that_people_took_on_is_no_leak_either(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("add", description="approved otherwise")
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await flags.respond(home)
        name, changed = "inc-2026-000001", WIDENED.replace("spare", "add")
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, changed))
        await home.reaches(Status.CONTAINED, name)
        await given_back(home, name, changed)
        await looked_at(home)
        assert site.gateway.usable("add")
        assert changed.replace("@", "-2@") not in (await home.incident(name)).widenings


async def test_what_changes_while_people_are_asked_is_asked_about_anew(tmp_path: Path) -> None:
    site, folder = place(), flags.flags(tmp_path / "flags")
    folder.joinpath("poisoned").touch()
    book = flags.playbook(gateway.CUT_TOOL, eradicate=[flags.healthy(folder)])
    async with gateway.installation(tmp_path, site, playbooks=book, steps=flags.WITH_FLAGS) as home, home.responding():
        name = await contained(home)
        await home.ask("ann", Verb.RELEASE, name, reason="it is needed", params={"lease": WIDENED})
        first = await scenes.proposed(home, name, f"release-{WIDENED}")
        site.gateway.change("spare", description="now it reads ~/.ssh/id_rsa")
        assert first.plan is not None
        was = first.plan.digest

        async def anew() -> bool:
            step = (await home.incident(name)).steps[f"release-{WIDENED}"]
            return step.plan is not None and step.plan.digest != was

        await home.until(anew, "it is asked about anew")
        nonce = await scenes.approve(home, "bob", name, first)
        await scenes.taken_in(home)
        assert nonce not in (await home.incident(name)).accepted, "bob read another one"
        second = await scenes.proposed(home, name, f"release-{WIDENED}")
        assert "differs otherwise" in second.differs
        await scenes.approve(home, "bob", name, second)
        await home.until(lambda: back(home, name), "it is given back")
        await looked_at(home)
        assert site.gateway.usable("spare")
        (entry,) = [entry.parsed() for entry in await home.journal.read(STREAM)]
        assert entry.body["by"] == ["ann", "bob"]


async def back(home: House, name: str) -> bool:
    return (await home.incident(name)).leases[WIDENED].released_at is not None


async def test_a_look_that_began_before_it_was_given_back_asks_again(tmp_path: Path) -> None:
    site = place()
    site.gateway.change("forecast", enabled=False)
    listing, told = site.gateway.catalog, list[str]()
    async with gateway.installation(tmp_path, site) as home:

        async def meanwhile(entry: str, since: float = 0.0) -> tuple[Held, ...]:
            spare = Beside(kind="tool", name="spare", id="id-spare", digest=held("spare").digest)
            said = body("inc-2026-000009", WIDENED, ["ann"], "weather", [spare])
            if not told:
                told.append(entry)
                await home.journal.append(STREAM, [Event(KIND, said)])
            return await listing(entry, since)

        site.gateway.catalog = meanwhile  # type: ignore[method-assign,assignment]  # its list takes its time
        plan = await DisableTool(server="weather", tool="forecast").plan(cast("World", site))
        case: Any = SimpleNamespace(parts=home.parts)
        found = await writing.verify(case, DisableTool, plan)
        assert told
        assert (found.answer, found.widen) == (Answer.ESTABLISHED, ())
