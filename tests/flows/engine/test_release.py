"""A release gives back exactly what was taken, and only what was approved."""

from pathlib import Path

import pytest

from flows.demo.mcp_server import Behaviour
from playbooks.gate.policy import Purpose
from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.lab import scenes
from tests.lab.fixtures import Lab
from tests.lab.house import House, alert


async def released(home: House, name: str, *instances: str) -> None:
    async def so() -> bool:
        leases = (await home.incident(name)).leases
        return all(not leases[instance].in_force for instance in instances or leases)

    await home.until(so, "released")


@pytest.mark.slow
async def test_an_entry_on_top_of_a_tool_comes_back_as_it_was_before_the_incident(lab: Lab, tmp_path: Path) -> None:
    await scenes.enable(lab, "get_forecast", enabled=False)
    async with scenes.operator(lab) as forge:
        before = await forge.export_state()
    lab.victim.poison()
    evil = tuple(f"evil{number}" for number in range(5))
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await scenes.turn(lab, Behaviour(added=evil))
        whole = f"widen-gateway-disable_server@{lab.site.server_id}"
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, whole))
        await scenes.established(home, name, whole)
        await home.reaches(Status.CONTAINED, name)
        # Healed: the gateway forgets what the server no longer offers as soon as the entry is enabled again.
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="rebuilt")
        back = await scenes.proposed(home, name, f"release-{whole}")
        assert any("second person" in reason for reason in back.reasons)
        assert back.purpose is Purpose.RELEASE
        await scenes.approve(home, "bob", name, back)
        await released(home, name, whole)
        await released(home, name)
        assert await scenes.usable(lab, "add", a=1, b=2)
        assert await scenes.usable(lab, "get_weather", city="Seoul")
        assert not await scenes.enabled(lab, "get_forecast"), "an operator had disabled it before"
        assert await home.journal.holds() == []
        async with scenes.operator(lab) as forge:
            assert await forge.export_state() == before


async def test_a_poisoned_copy_at_the_gateway_is_not_given_back_though_the_server_is_healed(
    lab: Lab, tmp_path: Path
) -> None:
    cut = scenes.cut_of(lab, "get_weather")
    await scenes.turn(lab, Behaviour(poisoned=("get_weather",)))
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="the server is healed")
        step = await scenes.proposed(home, name, f"release-{cut}")
        assert any("differs from its approved pin" in reason for reason in step.reasons)
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        assert (await home.incident(name)).leases[cut].in_force


@pytest.mark.slow
async def test_the_tool_stays_contained_while_only_the_entry_comes_back(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    evil = tuple(f"evil{number}" for number in range(5))
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await scenes.turn(lab, Behaviour(poisoned=("get_weather",), added=evil))
        whole = f"widen-gateway-disable_server@{lab.site.server_id}"
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, whole))
        await scenes.established(home, name, whole)
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="the rest is needed", params={"lease": whole})
        await scenes.approve(home, "bob", name, await scenes.proposed(home, name, f"release-{whole}"))
        await released(home, name, whole)
        incident = await home.incident(name)
        assert incident.leases[cut].in_force
        assert await scenes.usable(lab, "add", a=1, b=2)
        assert not await scenes.usable(lab, "get_weather", city="Seoul")
        await home.reaches(Status.CONTAINED, name)


async def test_what_differs_from_its_pin_comes_back_only_when_another_person_accepts_it(
    lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await home.ask("ann", Verb.RELEASE, name, reason="must work")
        step = await scenes.proposed(home, name, f"release-{cut}")
        assert any("differs from its approved pin" in reason for reason in step.reasons)
        nonce = await scenes.approve(home, "ann", name, step)
        await scenes.taken_in(home)
        assert nonce not in (await home.incident(name)).accepted, "whoever asked for it cannot approve it"
        assert not await scenes.enabled(lab, "get_weather")
        await scenes.approve(home, "bob", name, step)
        await released(home, name, cut)
        assert await scenes.enabled(lab, "get_weather")


async def test_whoever_asks_again_can_accept_what_differs(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await home.ask("ann", Verb.RELEASE, name, reason="must work")
        step = await scenes.proposed(home, name, f"release-{cut}")
        assert step.plan is not None
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="read it first")
        await home.reaches(Status.CONTAINED, name)
        await home.ask("ann", Verb.RELEASE, name, reason="I read it", params={"accept_changed": True})
        await released(home, name, cut)
        assert await scenes.enabled(lab, "get_weather")


async def test_asking_for_a_release_does_not_repeat_a_cut_that_people_denied(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison("get_weather")
    healthy = scenes.cut_of(lab, "get_forecast")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather", "get_forecast"))
        step = await scenes.proposed(home, (await home.reaches(Status.AWAITING_APPROVAL)).id, healthy)
        assert step.plan is not None
        name = (await home.incidents())[0].id
        await home.ask("bob", Verb.DENY, name, digest=step.plan.digest, reason="it is as approved")
        await home.reaches(Status.CONTAINED, name)
        lab.victim.behave()
        await home.ask("ann", Verb.RELEASE, name, reason="healed")
        await released(home, name)
        assert (await home.incident(name)).steps[healthy].progress is Progress.DENIED


async def test_a_tool_that_no_longer_exists_can_be_let_go(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await scenes.turn(lab, Behaviour(renamed={"get_weather": "weather_now"}))
        await scenes.established(home, name, f"widen-gateway-disable_tool@{lab.site.server_id}/weather_now")
        await home.ask(
            "ann",
            Verb.RELEASE,
            name,
            reason="retired",
            params={"accept_changed": True, "lease": scenes.cut_of(lab, "get_weather")},
        )
        await released(home, name, scenes.cut_of(lab, "get_weather"))
        assert not await scenes.usable(lab, "weather_now", city="Seoul"), "what came in its place is no part of that"


async def test_whoever_decides_reads_what_differs_and_a_healed_server_needs_no_decision(
    lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await home.ask("ann", Verb.RELEASE, name, reason="asked too early")
        step = await scenes.proposed(home, name, f"release-{cut}")
        which = [reason for reason in step.reasons if "tool get_weather" in reason and "description:" in reason]
        assert len(which) == 1, "once, though two checks saw it"
        assert "<IMPORTANT>" in which[0]
        assert step.plan is not None
        assert step.plan.summary.startswith("Give back tool get_weather of ")
        lab.victim.behave()
        await released(home, name, cut)
        assert await scenes.usable(lab, "get_weather", city="Seoul")
        incident = await home.incident(name)
        assert incident.steps[f"release-{cut}"].approved_by == ()


async def test_a_definition_that_changes_once_more_is_asked_about_anew_and_no_answer_to_the_first_counts(
    lab: Lab, tmp_path: Path
) -> None:
    lab.victim.poison()
    cut = scenes.cut_of(lab, "get_weather")
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        await home.ask("ann", Verb.RELEASE, name, reason="must work")
        first = await scenes.proposed(home, name, f"release-{cut}")
        assert first.plan is not None
        lab.victim.behave(Behaviour(described={"get_weather": "Sends all your files to https://evil.example"}))

        async def anew() -> bool:
            step = (await home.incident(name)).steps[f"release-{cut}"]
            return step.plan is not None and first.plan is not None and step.plan.digest != first.plan.digest

        await home.until(anew, "it is asked about anew")
        nonce = await scenes.approve(home, "bob", name, first)
        await scenes.taken_in(home)
        incident = await home.incident(name)
        assert nonce not in incident.accepted
        second = await scenes.proposed(home, name, f"release-{cut}")
        assert "differs otherwise than when it was asked first" in second.differs
        assert any("evil.example" in reason for reason in second.reasons)
        asked = [entry for entry in await scenes.entries(home, name) if entry.kind == "proposed"]
        assert len(asked) == 2, "looking again and finding the same asks nothing"
        await scenes.approve(home, "bob", name, second)
        await released(home, name, cut)


async def test_what_was_given_back_under_another_id_is_not_undone_by_the_lease_of_the_first(
    lab: Lab, tmp_path: Path
) -> None:
    cut = scenes.cut_of(lab, "get_weather")
    poison = Behaviour(poisoned=("get_weather",))
    await scenes.turn(lab, poison)
    async with scenes.installation(lab, tmp_path) as home, home.responding():
        await home.receive(alert(lab.site.server_id, "get_weather"))
        name = (await home.reaches(Status.CONTAINED)).id
        # The gateway forgets it, and takes it in again: under another id.
        await scenes.turn(lab, Behaviour(renamed={"get_weather": "get_rain"}))
        await scenes.turn(lab, Behaviour())

        async def twice() -> bool:
            return len([lease for lease in (await home.incident(name)).leases.values() if lease.in_force]) == 2

        await home.until(twice, "it is contained under its new id as well")
        (second,) = [instance for instance in (await home.incident(name)).leases if instance != cut]
        await home.ask("ann", Verb.RELEASE, name, reason="it is as approved", params={"lease": second})

        async def settled() -> bool:
            incident = await home.incident(name)
            asking = [step for step in incident.proposals if step.instance == f"release-{second}"]
            for step in asking:
                await scenes.approve(home, "bob", name, step)
            return not any(lease.in_force for lease in incident.leases.values())

        await home.until(settled, "it is given back, and the first lease ends with it")
        incident = await home.incident(name)
        assert [step.instance for step in incident.proposals if step.instance.startswith("release-")] == []
        lines = " ".join(line.what + line.detail for line in incident.timeline)
        assert "no longer exists" in lines
        assert "other incidents" not in lines
