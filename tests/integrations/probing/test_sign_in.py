"""Where a server has its clients sign in, and what a real provider refuses: oidc-provider, which issues nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from integrations.probing.manners import ORIGIN
from integrations.probing.sign_in import sign_in
from integrations.probing.stranger import Stranger
from integrations.registry import SYSTEMS
from playbooks.errors import Refused, SoarError
from playbooks.estate.inventory import Inventory
from playbooks.estate.probing import Probed
from playbooks.taxonomy import IncidentClass
from tests.lab.oidc import RunningProvider
from tests.lab.served import Asked, serving

CALLBACK = "http://127.0.0.1/"
METADATA = "/.well-known/oauth-protected-resource/mcp"


@pytest.fixture
def inventory(identity_provider: RunningProvider, tmp_path: Path) -> Inventory:
    """Return one that lists the provider."""
    identity_provider.lies()
    systems = {"sso": identity_provider.settings(tmp_path).model_dump()}
    return Inventory.model_validate({"version": 1, "systems": systems}, context=SYSTEMS.context)


def agreed(client: str = "agent", redirect: str | None = CALLBACK) -> Probed:
    return Probed.model_validate({"agreed": "Kim", "sign_in": {"client": client, "redirect": redirect}})


async def found(
    inventory: Inventory,
    issuer: str,
    *,
    asks: Probed | None = None,
    resource: Callable[[str], object] = lambda url: url,
    challenge: str = "Bearer",
    metadata: bool = True,
) -> set[tuple[str, str]]:
    """Return what is found of a server that has people sign in at an issuer."""

    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        if asked.target == METADATA and metadata:
            return 200, {}, {"resource": resource(place.url), "authorization_servers": [issuer]}
        return (401, {"WWW-Authenticate": challenge}, "") if asked.method == "POST" else (404, {}, "")

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        return {(one.what, one.observed) for one in await sign_in("lab", asks or agreed(), asking, inventory)}


async def test_a_provider_that_requires_a_challenge_and_the_registered_address_gives_nothing(
    inventory: Inventory, identity_provider: RunningProvider
) -> None:
    assert await found(inventory, identity_provider.issuer, asks=agreed("careful")) == set()
    asked = {one.partition(" ")[0] for one in identity_provider.seen}
    assert asked == {"GET"}, "nothing is issued, or changed"


async def test_a_client_that_comes_without_a_challenge_is_found(
    inventory: Inventory, identity_provider: RunningProvider
) -> None:
    named = ("a sign-in without a PKCE challenge", "taken, of client agent")
    assert await found(inventory, identity_provider.issuer) == {named}


async def test_a_redirect_uri_that_is_taken_from_anybody_is_found(
    inventory: Inventory, identity_provider: RunningProvider
) -> None:
    to = {"status": 303, "headers": {"Location": f"{ORIGIN}/callback?error=login_required"}}
    identity_provider.lies(auth=to)
    named = ("a redirect URI that nobody registered", "taken, of client agent")
    assert await found(inventory, identity_provider.issuer, asks=agreed(redirect=None)) == {named}


async def test_a_client_that_the_provider_does_not_know_is_unknown_and_not_clean(
    inventory: Inventory, identity_provider: RunningProvider
) -> None:
    with pytest.raises(Refused, match="does not know client nobody"):
        await found(inventory, identity_provider.issuer, asks=agreed("nobody"))


async def test_a_provider_that_is_away_is_unknown(inventory: Inventory, identity_provider: RunningProvider) -> None:
    identity_provider.lies(**{".well-known/openid-configuration": {"status": 503}})
    with pytest.raises(SoarError):
        await found(inventory, identity_provider.issuer)


async def test_what_is_wrong_with_the_metadata_is_found(
    inventory: Inventory, identity_provider: RunningProvider
) -> None:
    here, plain = identity_provider.issuer, Probed(agreed="Kim")
    assert await found(inventory, here, asks=plain) == set()
    assert await found(inventory, here, asks=plain, resource=lambda url: url.removesuffix("/mcp")) == set()
    assert await found(inventory, here, asks=plain, metadata=False) == {("protected resource metadata", "missing")}
    other = ("protected resource metadata", "of https://other.example/mcp")
    assert await found(inventory, here, asks=plain, resource=lambda _: "https://other.example/mcp") == {other}


async def test_a_provider_that_nobody_listed_is_found_and_not_asked(inventory: Inventory) -> None:
    async with serving(lambda _: (200, {}, {})) as other:
        issuer = other.url.removesuffix("/mcp")
        assert await found(inventory, issuer) == {("where it has people sign in", issuer)}
        assert other.seen == []


async def test_metadata_at_another_host_is_not_asked_for(inventory: Inventory) -> None:
    async with serving(lambda _: (200, {}, {})) as other:
        with pytest.raises(Refused, match="another host"):
            await found(inventory, "x", challenge=f'Bearer resource_metadata="{other.url}"')
        assert other.seen == []


async def test_a_strange_provider_is_told_as_spoofing(inventory: Inventory) -> None:
    def served(asked: Asked) -> tuple[int, dict[str, str], object]:
        if asked.method == "POST":
            return 401, {"WWW-Authenticate": "Bearer"}, ""
        return 200, {}, {"resource": place.url, "authorization_servers": ["https://evil.example"]}

    async with serving(served) as place, Stranger("server lab", place.url) as asking:
        (one,) = await sign_in("lab", agreed(), asking, inventory)
    assert one.incident_class is IncidentClass.SERVER_SPOOFING
