"""What was given back is contained again in the same incident when a person asks for it: a question of its own."""

from pathlib import Path

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.lab import gateway, scenes
from tests.lab.gateway import Gateway, Place, held
from tests.lab.house import House

FORECAST = "cut-tool@weather/forecast"
ADD = "cut-tool@weather/add"


def place() -> Place:
    return Place(Gateway(held("forecast"), held("add")), approved=("forecast", "add"), imported=())


def tool(name: str) -> dict[str, str]:
    return {"kind": "tool", "name": name, "server": "weather"}


async def chosen(home: House, *names: str, incident: str = "new") -> None:
    """Have ann name tools to be contained."""
    params = {"title": "by hand", "class": "tool_poisoning", "exact": True} if incident == "new" else {}
    params = {**params, "entities": [tool(name) for name in names]}
    await home.ask("ann", Verb.RESPOND, incident, reason="it acts oddly", params=params)


async def released(home: House, name: str, lease: str | None) -> None:
    """Have ann give something back, and wait for it."""
    params = {"lease": lease} if lease else {}
    await home.ask("ann", Verb.RELEASE, name, reason="needed", params=params)

    async def back() -> bool:
        leases = (await home.incident(name)).leases
        return all(leases[one].released_at for one in ([lease] if lease else leases))

    await home.until(back, "it is given back")


async def test_one_of_two_is_given_back_and_contained_again_when_another_person_agrees_anew(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await chosen(home, "forecast", "add")
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        for instance in (FORECAST, ADD):
            await scenes.approve(home, "bob", name, await scenes.proposed(home, name, instance))
        await home.reaches(Status.CONTAINED, name)
        await released(home, name, FORECAST)
        assert site.gateway.usable("forecast")
        first = (await home.incident(name)).leases[FORECAST]

        await chosen(home, "forecast", incident=name)
        step = await scenes.proposed(home, name, FORECAST)
        assert (step.requested_by, step.approved_by) == ("ann", ()), "bob agreed to the first containment"
        assert site.gateway.usable("forecast")
        await scenes.approve(home, "bob", name, step)
        incident = await home.reaches(Status.CONTAINED, name)
        again = incident.leases[FORECAST]
        assert not site.gateway.usable("forecast")
        assert again.open
        assert (first.number, again.number) == (1, 2)
        assert incident.steps[FORECAST].key != "", "an effect of its own"
        assert incident.steps[FORECAST].epoch == first.epoch + 1
        assert not any(one.startswith("undone:") for one in incident.noticed), "nobody undid it"

        await released(home, name, None)
        incident = await home.reaches(Status.RELEASED, name)
        assert site.gateway.usable("forecast")
        assert site.gateway.usable("add")
        assert await home.journal.holds() == []
        assert f"released:{FORECAST}" in incident.noticed
        assert f"released:{FORECAST}:2" in incident.noticed


async def test_what_was_all_given_back_waits_for_a_decision_again_and_a_no_leaves_it_given_back(tmp_path: Path) -> None:
    site = place()
    async with gateway.installation(tmp_path, site) as home, home.responding():
        await chosen(home, "forecast")
        name = (await home.reaches(Status.AWAITING_APPROVAL)).id
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, FORECAST))
        await home.reaches(Status.CONTAINED, name)
        await released(home, name, FORECAST)
        await home.reaches(Status.RELEASED, name)

        # Trying it all again is no wish for what was given back.
        await home.ask("ann", Verb.RESPOND, name, reason="again")
        await scenes.taken_in(home)
        assert (await home.incident(name)).steps[FORECAST].progress is Progress.RELEASED

        await chosen(home, "forecast", incident=name)
        await home.reaches(Status.AWAITING_APPROVAL, name)
        step = await scenes.proposed(home, name, FORECAST)
        assert step.plan is not None
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="it is well")
        await home.reaches(Status.RELEASED, name)
        assert site.gateway.usable("forecast")
