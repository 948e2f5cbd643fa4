"""A person has a principal contained at a real Keycloak: disabled first, its tokens tried, given back without one."""

from datetime import datetime
from pathlib import Path

import pytest

from playbooks.people.request import Verb
from playbooks.record.incident import Status
from playbooks.record.step import Progress
from tests.integrations.systems.keycloak.test_actions import SignedIn, connected, signed_in
from tests.lab import scenes
from tests.lab.house import House, house, watched_every

__all__ = ["signed_in"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


async def chosen(home: House, who: str, cuts: int) -> str:
    """Have ann choose a principal, and bob approve what is asked; return the incident."""
    named = {"kind": "principal", "name": who}
    params = {"title": "by hand", "exact": True, "entities": [named]}
    await home.ask("ann", Verb.RESPOND, "new", reason="a stolen laptop", params=params)
    name = (await home.reaches(Status.AWAITING_APPROVAL)).id

    async def asked() -> bool:
        return len((await home.incident(name)).proposals) == cuts

    await home.until(asked, f"{cuts} cuts of {name} wait for people")
    for step in (await home.incident(name)).proposals:
        await scenes.approve(home, "bob", name, step)
    await home.reaches(Status.CONTAINED, name)
    return name


async def test_a_principal_that_a_person_names_is_disabled_and_given_back_without_a_token(
    signed_in: SignedIn,
    tmp_path: Path,
) -> None:
    before = await signed_in.state()
    world = signed_in.world.with_inventory(watched_every(signed_in.world.inventory, 1.0))
    async with house(tmp_path / "house", world) as made:
        home = made.changed(timing=scenes.FAST)
        async with home.responding():
            name = await chosen(home, signed_in.name, 2)
            incident = await home.incident(name)
            user, tokens = incident.cuts
            assert (user.action, tokens.action) == ("keycloak.disable_user", "oidc.revoke_tokens")
            assert user.established_at is not None
            sessions = next(one for one in incident.exhibits if one["kind"] == "user_sessions")
            assert user.intended_at is not None
            assert datetime.fromisoformat(sessions["collected_at"]) < user.intended_at, "sealed before they end"
            assert tokens.established_at is not None
            assert user.established_at < tokens.established_at, "what is issued anew is cut first"
            assert tokens.verdict is not None
            assert "refresh" in {one.check for one in tokens.verdict.findings if one.tried}
            assert await signed_in.works() == [False] * 3
            assert signed_in.keycloak.admin("GET", f"/users/{signed_in.user}")["enabled"] is False

            await home.ask("ann", Verb.RELEASE, name, reason="they have a new laptop")
            for step in (await home.reaches(Status.AWAITING_APPROVAL, name)).proposals:
                await scenes.approve(home, "bob", name, step)
            await home.given_back(name)
            assert await signed_in.state() == before
            assert await signed_in.works() == [False] * 3, "one that is stolen stays worthless"


async def test_who_has_no_token_held_is_contained_all_the_same(
    signed_in: SignedIn,
    tmp_path: Path,
) -> None:
    at = signed_in.at.model_copy(update={"held": {}, "refresh": {}, "tokens": {}})
    async with (
        connected(signed_in.keycloak, signed_in.folder, signed_in.name, at) as world,
        house(tmp_path / "house", world) as made,
    ):
        home = made.changed(timing=scenes.FAST)
        async with home.responding():
            name = await chosen(home, signed_in.name, 1)
            steps = (await home.incident(name)).steps.values()
            (passed,) = [step for step in steps if step.action is None and step.instance.startswith("chosen-issued")]
            assert (passed.progress, passed.nowhere) == (Progress.SKIPPED, False)
            assert passed.message.startswith(f"no token of {signed_in.name} is held; whatever it was issued ends")
            assert await signed_in.works() == [False] * 3
