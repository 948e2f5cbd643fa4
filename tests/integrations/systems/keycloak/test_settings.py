"""What the check `configuration` finds at a real Keycloak: nothing where it is set well, and each fault by its name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from integrations.connections import Connections
from integrations.identity.provider import Identity
from integrations.registry import SYSTEMS
from playbooks.errors import SoarError
from playbooks.estate.inventory import Inventory, Principal
from playbooks.record.check import Found
from tests.lab.fixtures import unique_name
from tests.lab.keycloak import US, RunningKeycloak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

REALM = {
    "revokeRefreshToken": True,
    "bruteForceProtected": True,
    "registrationAllowed": False,
    "eventsEnabled": True,
    "adminEventsEnabled": True,
    "accessTokenLifespan": 300,
}
"""A realm that is set well."""

AUDIENCE = {
    "name": "resource",
    "protocol": "openid-connect",
    "protocolMapper": "oidc-audience-mapper",
    "config": {"included.custom.audience": "https://mcp.example.com", "access.token.claim": "true"},
}
CLIENT: dict[str, Any] = {
    "standardFlowEnabled": True,
    "redirectUris": ["https://app.example.com/callback", "http://127.0.0.1/callback"],
    "webOrigins": ["+"],
    "fullScopeAllowed": False,
    "clientAuthenticatorType": "client-jwt",
    "attributes": {"pkce.code.challenge.method": "S256"},
    "protocolMappers": [AUDIENCE],
}
"""A client that is set well."""

FAULTS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("implicit flow", {"implicitFlowEnabled": True}, "on"),
    ("direct access grants", {"directAccessGrantsEnabled": True}, "on"),
    ("full scope", {"fullScopeAllowed": True}, "on"),
    ("PKCE", {"attributes": {}}, "not required"),
    ("PKCE", {"attributes": {"pkce.code.challenge.method": "plain"}}, "plain"),
    ("redirect URI https://app.example.com/*", {"redirectUris": ["https://app.example.com/*"]}, "a pattern"),
    ("redirect URI http://app.example.com/cb", {"redirectUris": ["http://app.example.com/cb"]}, "clear text"),
    ("web origins", {"webOrigins": ["*"]}, "any"),
    (
        "lifetime of access tokens",
        {"attributes": {**CLIENT["attributes"], "access.token.lifespan": "86400"}},
        "86400 seconds",
    ),
    ("client authentication", {"clientAuthenticatorType": "client-secret"}, "a shared secret"),
    ("audience", {"protocolMappers": []}, "not set by the client"),
)


def at(keycloak: RunningKeycloak, folder: Path, client: str) -> Inventory:
    """Return an inventory with a principal that comes by a client."""
    principal = Principal(title="Agent", places={"sso": Identity(user="u-1", client=client)})
    written = {
        "version": 1,
        "systems": {"sso": keycloak.settings(folder).model_dump()},
        "principals": {"agent": principal.model_dump()},
    }
    return Inventory.model_validate(written, context=SYSTEMS.context)


async def found(inventory: Inventory) -> tuple[list[Found], dict[str, str]]:
    """Return what is found, and what could not be told."""
    world, differs, unknown = Connections(inventory, SYSTEMS), list[Found](), dict[str, str]()
    try:
        for what, ask in SYSTEMS.configuration(world).items():
            try:
                differs += await ask()
            except SoarError as exc:
                unknown[what] = str(exc)
    finally:
        await world.aclose()
    return differs, unknown


@contextmanager
def realm(keycloak: RunningKeycloak, **fields: object) -> Iterator[None]:
    """Have the realm be set so, and our client be let read how it is, for a while."""
    before = keycloak.admin("GET", "")
    (management,) = keycloak.admin("GET", "/clients?clientId=realm-management")
    (us,) = keycloak.admin("GET", f"/clients?clientId={US}")
    account = keycloak.admin("GET", f"/clients/{us['id']}/service-account-user")
    roles = [keycloak.admin("GET", f"/clients/{management['id']}/roles/view-realm")]
    place = f"/users/{account['id']}/role-mappings/clients/{management['id']}"
    keycloak.admin("POST", place, roles)
    keycloak.admin("PUT", "", {**before, **fields})
    try:
        yield
    finally:
        keycloak.admin("PUT", "", {**before, **{name: before.get(name) for name in fields}})
        keycloak.admin("DELETE", place, roles)


def client(keycloak: RunningKeycloak, **fields: object) -> str:
    """Make a client; return what it is called."""
    name = unique_name("client")
    keycloak.admin("POST", "/clients", {"clientId": name, "secret": keycloak.secret, **CLIENT, **fields})
    return name


async def test_what_is_set_well_gives_nothing_and_nothing_is_written(
    the_keycloak: RunningKeycloak, tmp_path: Path
) -> None:
    with realm(the_keycloak, **REALM):
        inventory = at(the_keycloak, tmp_path, client(the_keycloak))
        written = the_keycloak.admin("GET", "/admin-events?max=1000")
        assert written, "what is changed is written down there"
        assert await found(inventory) == ([], {})
        assert the_keycloak.admin("GET", "/admin-events?max=1000") == written


async def test_every_fault_of_a_client_is_found_and_named(the_keycloak: RunningKeycloak, tmp_path: Path) -> None:
    with realm(the_keycloak, **REALM):
        for what, fields, observed in FAULTS:
            name = client(the_keycloak, **fields)
            differs, _ = await found(at(the_keycloak, tmp_path, name))
            subject = f"client {name} of provider sso"
            assert [(one.subject, one.what, one.observed) for one in differs] == [(subject, what, observed)]
            assert differs[0].about[0].name == "agent"


async def test_every_fault_of_a_realm_is_found_and_named(the_keycloak: RunningKeycloak, tmp_path: Path) -> None:
    inventory = at(the_keycloak, tmp_path, client(the_keycloak))
    faults: Mapping[str, object] = {
        **{name: not good for name, good in REALM.items() if isinstance(good, bool)},
        "accessTokenLifespan": 7200,
    }
    with realm(the_keycloak, **faults):
        differs, unknown = await found(inventory)
    assert {one.what for one in differs} == {
        "refresh rotation",
        "brute force protection",
        "registration by anybody",
        "record of sign-ins",
        "record of administration",
        "lifetime of access tokens",
    }
    assert len(differs) == len(faults)
    assert not unknown


async def test_what_our_client_may_not_read_is_unknown_and_says_which_role(
    the_keycloak: RunningKeycloak, tmp_path: Path
) -> None:
    differs, unknown = await found(at(the_keycloak, tmp_path, client(the_keycloak)))
    assert not differs
    assert "view-realm" in unknown.pop("provider sso: realm")
    assert not unknown
    differs, unknown = await found(at(the_keycloak, tmp_path, "nobody"))
    assert "has no client nobody" in unknown["provider sso: client nobody"]
