"""Pins decide what is cut and given back by itself, so it takes that people signed for them, on record."""

from pathlib import Path

from flows.engine.people.reviews import ReviewBook
from playbooks.estate.inventory import Inventory
from playbooks.estate.pins import Pins
from playbooks.gate.policy import Review
from playbooks.people.request import People, Person, Verb, draft, sign
from playbooks.people.review import params
from playbooks.record.incident import Status
from playbooks.strict import now
from tests.lab import scenes
from tests.lab.connected import connected
from tests.lab.fixtures import Lab
from tests.lab.house import ROOMY, House, alert


def with_book(home: House) -> House:
    """Return the same installation with a real book of reviews; ann may review."""
    people = home.parts.people()
    ann = people.people["ann"]
    able = Person(key=ann.key, roles=(*ann.roles, "reviewer"), enrolled_at=ann.enrolled_at)
    known = People(people={**people.people, "ann": able})
    return home.changed(reviews=ReviewBook(), people=lambda: known)


def signed_by_ann(home: House, inventory: Inventory) -> Inventory:
    """Return an inventory whose pins ann signed for."""
    reviews = tuple(
        sign(
            draft(
                actor="ann",
                verb=Verb.REVIEW,
                subject=server,
                at=now(),
                reason="all",
                params=params(server, "reviewer", mine),
            ),
            home.keys["ann"].sign,
        )
        for server, mine in inventory.pins.servers.items()
    )
    return inventory.model_copy(update={"pins": Pins(servers=inventory.pins.servers, reviews=reviews)})


async def take(home: House, inventory: Inventory) -> None:
    parts = home.parts
    await parts.reviews.take(parts.journal, inventory, parts.policy, parts.people)


async def test_nothing_is_automatic_on_pins_that_nobody_signed_for(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as made:
        home = with_book(made)
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            (step,) = incident.proposals
            assert step.reasons == (f"the approved tool get_weather of {lab.site.server_id} was reviewed by nobody",)
            assert lab.proxy.writes == []
            # Nothing is bricked: people decide as ever, about the cut and about giving it back.
            await scenes.approve(home, "bob", incident.id, step)
            await home.reaches(Status.CONTAINED, incident.id)
            lab.victim.behave()
            await scenes.turn(lab, None)
            await home.ask("ann", Verb.RELEASE, incident.id, reason="healed")
            step = await scenes.proposed(home, incident.id, f"release-{scenes.cut_of(lab, 'get_weather')}")
            assert any("was reviewed by nobody" in reason for reason in step.reasons)
            await scenes.approve(home, "bob", incident.id, step)
            await home.given_back(incident.id)


async def test_what_a_reviewer_signed_for_is_gone_by_and_an_edited_file_is_not(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    inventory = lab.world.inventory
    async with scenes.installation(lab, tmp_path) as made:
        home = with_book(made)
        await take(home, signed_by_ann(home, inventory))
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            await home.reaches(Status.CONTAINED)
        edited = tuple(
            pin.model_copy(update={"gateway_name": "another"}) if pin.name == "add" else pin
            for pin in inventory.pins.of(lab.site.server_id)
        )
        pins = Pins(servers={lab.site.server_id: edited})
        world = connected(inventory.model_copy(update={"pins": pins}))
        lab.victim.poison("get_weather", "add")
        other = home.changed(world=world)
        try:
            async with other.responding():
                await other.receive(alert(lab.site.server_id, "add"))
                incident = await other.reaches(Status.AWAITING_APPROVAL)
                assert any("pins.yaml was changed by other means" in one for one in incident.proposals[0].reasons)
        finally:
            await world.aclose()


async def test_what_another_process_journalled_counts_in_a_decision(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    async with scenes.installation(lab, tmp_path) as made:
        home, other = with_book(made), with_book(made)
        assert not (await home.parts.reviews.current(home.parts.journal)).nonces, "read before anybody signed"
        await take(other, signed_by_ann(other, lab.world.inventory))
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            await home.reaches(Status.CONTAINED)


async def test_two_people_where_the_policy_says_so(lab: Lab, tmp_path: Path) -> None:
    lab.victim.poison()
    policy = ROOMY.model_copy(update={"review": Review(people={"medium": 2})})
    async with scenes.installation(lab, tmp_path, policy=policy) as made:
        home = with_book(made)
        await take(home, signed_by_ann(home, lab.world.inventory))
        async with home.responding():
            await home.receive(alert(lab.site.server_id, "get_weather"))
            incident = await home.reaches(Status.AWAITING_APPROVAL)
            assert "was reviewed by ann; it takes 2 people" in incident.proposals[0].reasons[0]
