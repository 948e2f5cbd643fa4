"""What is kept of a principal as evidence, read from a real gateway."""

import json
from pathlib import Path

import pytest

from integrations.gateways.captures import CapturePrincipal
from integrations.gateways.principals import RevokeToken
from integrations.systems.contextforge.driver import ContextForge
from playbooks.errors import Misconfigured, Refused
from playbooks.estate.gateway import GatewayAccount
from tests.lab import scenes
from tests.lab.clients import joined
from tests.lab.connected import connected
from tests.lab.exhibits import gathered
from tests.lab.fixtures import Lab


async def test_a_principals_account_roles_tokens_and_doings_are_kept_and_no_secret(lab: Lab, tmp_path: Path) -> None:
    clients = await joined(lab, tmp_path, {"agent": ("spare",), "colleague": ("own",)})
    world = connected(clients.inventory)
    world.reach(ContextForge, scenes.GATEWAY).patience = 20.0
    try:
        files = await gathered(CapturePrincipal(principal=lab.site.principal), world)
    finally:
        await world.aclose()
    names = {"account", "roles", "tokens", "audit-trails", "security-events"}
    assert set(files) == {*(f"{name}.json" for name in names), "missing.txt"}
    user = lab.site.inventory.principals[lab.site.principal].users[0]
    assert json.loads(files["account.json"])["email"] == user
    roles = {grant["role"]["name"]: grant["role"]["permissions"] for grant in json.loads(files["roles.json"])}
    assert "tools.execute" in roles["mcp-client"]
    tokens = json.loads(files["tokens.json"])
    assert {token["name"] for token in tokens} == {"agent", "spare"}
    assert {token["user_email"] for token in tokens} == {user}, "nobody else's"
    assert all("last_used" in token for token in tokens)
    assert b"tool calls: this gateway writes none of them down" in files["missing.txt"]
    everything = b"".join(files.values()).decode()
    assert not any(secret in everything for secret in clients.secrets.values())


async def test_what_the_gateway_does_not_tell_is_named_and_the_rest_is_kept(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_self: ContextForge, _email: str) -> list[dict[str, object]]:
        raise Misconfigured("our account there lacks the right")

    monkeypatch.setattr(ContextForge, "roles", refused)
    files = await gathered(CapturePrincipal(principal=lab.site.principal), lab.world)
    assert b"roles: our account there lacks the right" in files["missing.txt"]
    assert "tokens.json" in files
    assert "roles.json" not in files


async def test_without_the_account_there_is_no_exhibit(lab: Lab) -> None:
    inventory = lab.site.inventory
    places = {scenes.GATEWAY: GatewayAccount(user="nobody@example.com")}
    gone = inventory.principals[lab.site.principal].model_copy(update={"places": places})
    world = connected(inventory.model_copy(update={"principals": {lab.site.principal: gone}}))
    world.reach(ContextForge, scenes.GATEWAY).patience = 20.0
    try:
        with pytest.raises(Refused, match="has no user for"):
            await gathered(CapturePrincipal(principal=lab.site.principal), world)
    finally:
        await world.aclose()


async def test_a_token_that_is_given_by_its_id_is_shown_by_its_name(lab: Lab) -> None:
    id_ = lab.site.inventory.principals[lab.site.principal].tokens["agent"]
    by_id, by_name = [
        await RevokeToken(principal=lab.site.principal, token=token).plan(lab.world) for token in (id_, "agent")
    ]
    assert by_id.summary.startswith(f"Revoke token agent (id {id_}) of {lab.site.principal}")
    assert by_id.changes == by_name.changes
