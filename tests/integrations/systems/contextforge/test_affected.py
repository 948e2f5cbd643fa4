"""Whether a token or a user is out is asked as the one who was cut off, wherever a token of theirs is held."""

from typing import Any

import pytest

from integrations.connections import Connections
from integrations.systems.contextforge.actions import DeactivateUser, RevokeToken
from integrations.systems.contextforge.client import ContextForge
from playbooks.action import Action
from playbooks.inventory import Inventory, Principal, Secret
from playbooks.plan import Answer, Plan
from tests.lab.fixtures import Lab

ACTIONS = [RevokeToken, DeactivateUser]


def params(lab: Lab, action: type[Action]) -> dict[str, str]:
    return {"principal": lab.site.principal} | ({"token": "agent"} if action is RevokeToken else {})


async def planned(lab: Lab, action: type[Action]) -> Plan:
    return await action.model_validate(params(lab, action)).plan(lab.world)


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_gateway_that_says_so_and_serves_on_has_contained_nothing(
    lab: Lab, action: type[Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await planned(lab, action)
    forge = lab.world.reach(ContextForge, "main")
    tokens, user = forge.tokens, forge.user

    async def revoked(*args: Any) -> tuple[Any, ...]:  # noqa: ANN401  # as the client takes them
        return tuple({**token, "is_revoked": True, "is_active": False} for token in await tokens(*args))

    async def inactive(email: str) -> Any:  # noqa: ANN401  # as the client gives it
        return {**(await user(email) or {}), "is_active": False}

    monkeypatch.setattr(forge, "tokens", revoked)
    monkeypatch.setattr(forge, "user", inactive)
    verdict = await action.verify(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED, verdict
    asked = [finding for finding in verdict.findings if finding.check == "principal"]
    assert [finding.asked_as for finding in asked] == [f"principal {lab.site.principal}"]


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_was_not_asked_as_the_principal_is_named(lab: Lab, action: type[Action]) -> None:
    inventory = lab.site.inventory
    principals = {name: one.model_copy(update={"held": {}}) for name, one in inventory.principals.items()}
    world = Connections(inventory.model_copy(update={"principals": principals}))
    world.reach(ContextForge, "main").patience = 20.0
    try:
        plan = await planned(lab, action)
        for change in plan.pending:
            await action.write(change, world, key="test")
        verdict = await action.verify(plan, world)
    finally:
        await world.aclose()
    assert verdict.answer is Answer.ESTABLISHED, verdict
    (unasked,) = [finding for finding in verdict.findings if finding.check == "principal"]
    assert unasked.answer is Answer.UNKNOWN
    assert f"principals.{lab.site.principal}.held" in unasked.observed


def test_only_a_principals_own_tokens_are_held_of_it() -> None:
    with pytest.raises(ValueError, match="none of its tokens"):
        Principal(title="x", gateway="main", user="x", held={"other": Secret(env="X")})
    assert Inventory(version=1).principals == {}
