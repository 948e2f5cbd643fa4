"""Whether a token or a user is out is asked as the one who was cut off, wherever a token of theirs is held."""

from typing import Any

import pytest

from integrations.gateways.actions import DisableTool
from integrations.gateways.canary import Canary
from integrations.gateways.driver import Asked
from integrations.gateways.principals import DeactivateUser, RevokeToken
from integrations.systems.contextforge.driver import ContextForge
from playbooks.action import Action
from playbooks.estate.gateway import GatewayAccount
from playbooks.estate.inventory import Inventory
from playbooks.estate.systems import Secret
from playbooks.gate.plan import Answer, Finding, Plan
from tests.lab.connected import connected
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
    places = {name: dict(one.places) for name, one in inventory.principals.items()}
    places = {
        who: {at: one.model_copy(update={"held": {}}) for at, one in some.items()} for who, some in places.items()
    }
    principals = {who: one.model_copy(update={"places": places[who]}) for who, one in inventory.principals.items()}
    world = connected(inventory.model_copy(update={"principals": principals}))
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
    assert f"principals.{lab.site.principal}.places.main.held" in unasked.observed


async def test_a_gateway_that_refuses_the_canary_alone_is_found_out_by_a_client(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await DisableTool(server=lab.site.server_id, tool="get_weather").plan(lab.world)
    forge, canary = lab.world.reach(ContextForge, "main"), lab.world.reach(Canary, "main")
    refused = Finding(
        check="call",
        subject="get_weather",
        asked_as="canary",
        expected="it is refused",
        observed="Tool 'get_weather' exists but is inactive",
        answer=Answer.ESTABLISHED,
    )

    async def asked(*_: object, **__: object) -> Asked:
        return Asked([refused])

    async def nothing(*_: object) -> frozenset[str]:
        return frozenset()

    monkeypatch.setattr(forge, "ask", asked)
    monkeypatch.setattr(canary, "names", nothing)
    assert (await DisableTool.verify(plan, lab.world)).answer is Answer.ESTABLISHED, "the first look asks nobody else"
    monkeypatch.setattr(forge, "settled", lambda _: True)
    verdict = await DisableTool.verify(plan, lab.world)
    assert verdict.answer is Answer.NOT_ESTABLISHED
    (told,) = [finding for finding in verdict.findings if finding.answer is Answer.NOT_ESTABLISHED]
    assert told.asked_as == f"principal {lab.site.principal}"
    assert told.observed.startswith("listed: ")
    client = lab.world.reach(Canary, f"{lab.site.principal}/agent")
    monkeypatch.setattr(client, "names", nothing)
    verdict = await DisableTool.verify(plan, lab.world)
    assert [finding.check for finding in verdict.findings if finding.answer is Answer.NOT_ESTABLISHED] == ["call"]


def test_only_a_principals_own_tokens_are_held_of_it() -> None:
    with pytest.raises(ValueError, match="none of its tokens"):
        GatewayAccount(user="x", held={"other": Secret(env="X")})
    assert Inventory(version=1).principals == {}
