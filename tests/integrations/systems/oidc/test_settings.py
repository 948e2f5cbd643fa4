"""What the check `configuration` finds at any provider, by what it describes of itself and says of what we hold."""

import time
from typing import Any

import httpx
import pytest

from integrations.registry import SYSTEMS
from playbooks.errors import SoarError
from tests.integrations.systems.oidc.conftest import SignedIn

DESCRIPTION = ".well-known/openid-configuration"
GOOD: dict[str, Any] = {
    "code_challenge_methods_supported": ["S256"],
    "grant_types_supported": ["authorization_code", "refresh_token"],
}


def set_as(signed_in: SignedIn, description: dict[str, Any], **claims: object) -> None:
    """Have the provider describe itself, and the token that we hold, otherwise than it does."""
    said = httpx.get(f"{signed_in.provider.issuer}/{DESCRIPTION}", trust_env=False).json()
    begun = int(time.time())
    token = {"active": True, "sub": signed_in.user, "client_id": "agent", "aud": "https://mcp.example.com"}
    token |= {"iat": begun, "exp": begun + 600, **claims}
    signed_in.provider.lies(
        **{
            DESCRIPTION: {"status": 200, "body": {**said, **description}},
            "token__introspection": {"status": 200, "body": token},
        }
    )


async def asked(signed_in: SignedIn) -> set[tuple[str, str]]:
    """Return what is found, as property and value."""
    return {(one.what, one.observed) for ask in SYSTEMS.configuration(signed_in.world).values() for one in await ask()}


async def test_what_is_set_well_gives_nothing_and_nothing_but_questions_is_asked(signed_in: SignedIn) -> None:
    set_as(signed_in, GOOD)
    assert await asked(signed_in) == set()
    assert set(signed_in.provider.seen) == {f"GET /{DESCRIPTION}", "POST /token/introspection"}


@pytest.mark.parametrize(
    ("description", "claims", "named"),
    [
        ({"code_challenge_methods_supported": []}, {}, ("PKCE", "not taken")),
        ({"code_challenge_methods_supported": ["S256", "plain"]}, {}, ("PKCE", "S256 and plain")),
        ({"grant_types_supported": ["implicit"]}, {}, ("grant implicit", "taken")),
        ({"grant_types_supported": ["password"]}, {}, ("grant password", "taken")),
        ({}, {"iat": 0, "exp": 2**31}, ("lifetime", f"{2**31} seconds")),
        ({}, {"exp": None}, ("lifetime", "without an end")),
        ({}, {"aud": None}, ("audience", "anybody")),
    ],
)
async def test_every_fault_of_a_provider_is_found_and_named(
    signed_in: SignedIn, description: dict[str, Any], claims: dict[str, object], named: tuple[str, str]
) -> None:
    set_as(signed_in, {**GOOD, **description}, **claims)
    assert await asked(signed_in) == {named}


async def test_a_provider_that_is_away_is_unknown(signed_in: SignedIn) -> None:
    signed_in.provider.lies(**{DESCRIPTION: {"status": 503}, "token__introspection": {"status": 503}})
    for ask in SYSTEMS.configuration(signed_in.world).values():
        with pytest.raises(SoarError):
            await ask()
