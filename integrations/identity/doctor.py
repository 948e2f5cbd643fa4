"""What `doctor` looks at of a provider: what it says of itself, whether we are let in, whose the held tokens are."""

import secrets
from collections.abc import AsyncIterator

from integrations.identity.actions import is_theirs
from integrations.identity.client import Api, Endpoint
from integrations.identity.provider import Identity
from integrations.identity.tokens import held
from integrations.places import places
from integrations.system import Looked
from playbooks.action import World
from playbooks.errors import SoarError

_NEEDED: tuple[Endpoint, ...] = ("revocation_endpoint", "introspection_endpoint")


async def looked(world: World, name: str) -> AsyncIterator[Looked]:
    """Yield what is looked at of one.

    Args:
        world: the connections.
        name: the provider.
    """
    check, api = f"provider {name}", world.reach(Api, name)
    described = await api.described()
    if lacks := [one for one in _NEEDED if one not in described.endpoints]:
        remedy = "revoke its tokens by hand; nothing here can"
        yield Looked(check, "fail", f"it describes no {' and no '.join(lacks)}", remedy)
        return
    # Of a token that never was: it changes nothing, and tells whether we may ask at all.
    nothing = secrets.token_urlsafe(32)
    await api.introspect(nothing)
    await api.revoke(nothing, "access_token", api.ourselves)
    yield Looked(check, "ok", f"it takes introspection and revocation from client {api.settings.client}")
    for who, provider, _ in places(world.inventory, Identity):
        if provider == name:
            async for found in _tokens(world, api, who):
                yield Looked(check, *found)


async def _tokens(world: World, api: Api, who: str) -> AsyncIterator[tuple[str, str, str]]:
    found = list(held(world, who, api.name))
    if not found:
        where = f"principals.{who}.places.{api.name}.refresh"
        yield "warn", f"no token of {who} is held, so that none can be revoked", f"name one in {where}"
    for one in found:
        try:
            claims = await api.introspect(one.value)
            if claims is not None:
                is_theirs(one, claims, api)
        except SoarError as exc:
            yield "fail", str(exc), f"mend principals.{who}.places.{api.name}"
            continue
        if claims is None:
            remedy = f"put the present one in its place, or let client {api.settings.client} introspect it"
            yield "warn", f"the {one.words} {one.target.name} is not in use, as far as we are told", remedy
        else:
            yield "ok", f"the {one.words} {one.target.name} is theirs and in use", ""
