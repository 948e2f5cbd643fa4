"""What `doctor` says of a provider, and what an inventory takes and refuses of a principal's place there."""

import re
from pathlib import Path

import pytest

from integrations.identity.provider import Identity
from integrations.registry import SYSTEMS
from integrations.system import Holders, Looked
from integrations.systems.oidc import SYSTEM
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.estate import naming
from playbooks.estate.inventory import Inventory
from playbooks.record.incident import Entity, EntityKind
from playbooks.strict import parse_yaml
from tests.integrations.systems.oidc.conftest import SignedIn
from tests.lab.oidc import OTHER, US, kept

INVENTORY = """\
version: 1
systems:
  sso: {kind: oidc, issuer: https://id.example.com, client: responder, secret: {env: OURS}}
principals:
  agent:
    title: Agent
    places:
      sso: {user: 7c9e, client: agent, secret: {env: THEIRS}, held: {web: {env: A}}, refresh: {laptop: {env: B}}}
"""


async def nobody() -> list[object]:
    return []


async def looked(world: World) -> list[Looked]:
    ((_, lines),) = SYSTEMS.works["oidc"].doctor(world, Holders(nobody))  # type: ignore[arg-type]  # no hold at all
    return [line async for line in lines]


async def test_all_is_well_where_we_are_let_in_and_what_is_held_is_theirs(signed_in: SignedIn) -> None:
    found = await looked(signed_in.world)
    assert [one.level for one in found] == ["ok"] * 3, found
    assert found[0].message == "it takes introspection and revocation from client responder"
    assert found[1].message == f"the refresh token {signed_in.user}/laptop is theirs and in use"
    assert not [one for one in found if signed_in.token("laptop") in str(one)]
    assert await signed_in.state() == b"[true, true]", "it only looks"


async def test_a_secret_that_is_not_taken_is_said_with_its_field(signed_in: SignedIn) -> None:
    signed_in.provider.lies(token__introspection={"status": 401, "body": {"error": "invalid_client"}})
    with pytest.raises(Misconfigured, match=r"systems\.sso\.secret"):
        await looked(signed_in.world)


async def test_a_token_that_is_another_ones_or_over_is_said(signed_in: SignedIn) -> None:
    elsewhere = signed_in.provider.issue(signed_in.user, client=OTHER)
    kept(signed_in.folder, f"{signed_in.user}-laptop", elsewhere["refresh_token"])
    kept(signed_in.folder, f"{signed_in.user}-access", "a" * 40)
    _, laptop, access = await looked(signed_in.world)
    assert (laptop.level, access.level) == ("fail", "warn")
    assert "issued to client other" in laptop.message
    assert "is not in use, as far as we are told" in access.message
    (_, none) = await looked(signed_in.placed(held={}, refresh={}))
    assert none.level == "warn"


async def test_a_provider_that_revokes_nothing_at_all_is_said(signed_in: SignedIn) -> None:
    described = {"issuer": signed_in.provider.issuer}
    signed_in.provider.lies(**{".well-known/openid-configuration": {"status": 200, "body": described}})
    (found,) = await looked(signed_in.world)
    assert found.level == "fail"
    assert "it describes no revocation_endpoint and no introspection_endpoint" in found.message


def read(text: str) -> Inventory:
    return parse_yaml(Inventory, text, file="inventory.yaml", context=SYSTEMS.context)


def test_a_token_is_called_by_its_name_and_known_by_its_provider() -> None:
    inventory = read(INVENTORY)
    at = inventory.principals["agent"].places["sso"]
    assert isinstance(at, Identity)
    assert set(at.tokens) == {"web", "laptop"}
    assert read(INVENTORY) == inventory, "an id that was made up is made up so again"
    assert Inventory.model_validate(inventory.model_dump(), context=SYSTEMS.context) == inventory
    for name in ("agent/laptop", "laptop", at.tokens["laptop"]):
        thing = naming.one(inventory, Entity(kind=EntityKind.TOKEN, name=name))
        assert (thing.principal, thing.id, thing.gateway) == ("agent", at.tokens["laptop"], None)
    named = inventory.resolve(Entity(kind=EntityKind.PRINCIPAL, name="7c9e"))
    assert named is not None
    assert named.id == "agent"
    assert [field for field, _ in SYSTEM.secrets(inventory)] == [
        "systems.sso.secret",
        "principals.agent.places.sso.secret",
        "principals.agent.places.sso.held.web",
        "principals.agent.places.sso.refresh.laptop",
    ]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("refresh: {laptop:", "refresh: {web:", "web is an access token too"),
        ("client: agent, ", "", "say in `client` whose it is"),
        ("user: 7c9e, ", "", "is missing"),
        ("held: {web: {env: A}}", "held: {web: eyJhbGciOi}", "held"),
        ("https://id.example.com", "https://us:them@id.example.com", "issuer"),
    ],
)
def test_what_is_written_wrongly_is_refused_where_it_stands(old: str, new: str, says: str) -> None:
    assert old in INVENTORY
    with pytest.raises(Misconfigured, match=says):
        read(INVENTORY.replace(old, new))


def test_whoever_comes_as_our_own_client_is_never_a_target() -> None:
    ours = read(INVENTORY.replace("client: agent", f"client: {US}"))
    with pytest.raises(Exception, match="mcp-soar's own"):
        naming.chosen(ours, [Entity(kind=EntityKind.PRINCIPAL, name="agent")])
    with pytest.raises(Exception, match="mcp-soar's own"):
        naming.chosen(ours, [Entity(kind=EntityKind.TOKEN, name="agent/laptop")])


def test_the_guide_says_what_the_client_has_to_be_let_do() -> None:
    text = (Path(__file__).parents[4] / "docs" / "connect-an-identity-provider.md").read_text(encoding="utf-8")
    for works in (SYSTEMS.works["oidc"], SYSTEMS.works["keycloak"]):
        for step in works.steps:
            assert f"`{step.name}`" in text
            for permission in works.asks(step):
                assert f"`{permission.partition(':')[0].removeprefix('role ')}`" in text


def test_what_the_guide_writes_into_an_inventory_is_read() -> None:
    text = (Path(__file__).parents[4] / "docs" / "connect-an-identity-provider.md").read_text(encoding="utf-8")
    block, receiver = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (ids,) = re.findall(r"`tokens: (\{desk: [\w-]+\})`", text)
    place = "        held: {session"
    assert place in block
    named = block.replace(place, f"        tokens: {ids}\n{place}")
    inventory = read(f"version: 1\n{named}")
    at = inventory.principals["agent"].places["sso"]
    assert isinstance(at, Identity)
    assert at.tokens["desk"] == "support-desk-1"
    (desk,) = naming.chosen(inventory, [Entity(kind=EntityKind.TOKEN, name="agent/desk")])
    assert desk.principal == "agent"
    listens = read("version: 1\n" + receiver.replace("  agent:\n", "  agent:\n    title: The agent\n"))
    assert set(listens.principals["agent"].places) == set(listens.systems) == {"app"}
