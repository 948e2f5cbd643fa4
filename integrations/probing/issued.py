"""Tokens that a provider did issue, to a client that is there for nothing else: for somebody else, ended, or revoked.

Whoever is asked sees the token, so it is one of a client that may do nothing anywhere. It is revoked at the end.
"""

import contextlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from integrations.identity.client import Api, Credentials
from integrations.probing.faults import Fault
from integrations.probing.stranger import Stranger, answered, turned_away
from integrations.secret import secret
from playbooks.action import World
from playbooks.errors import SoarError
from playbooks.estate.probing import Probed, TrialClient
from playbooks.record.check import Found

_TYPE: Final = "access_token"


async def issued_tokens(server: str, agreed: Probed, asking: Stranger, world: World) -> list[Found]:
    """Come with a token of the canary's, before and after it is revoked, and with one that has ended.

    Args:
        server: as the inventory names it.
        agreed: what its owner agreed to.
        asking: asks it.
        world: the connections.

    Raises:
        SoarError: the provider issued none, or the server could not be asked.
    """
    canary = agreed.canary
    if canary is None or not turned_away(await asking.initialize()):
        return []  # whoever takes anybody looks at no token
    found = []
    if canary.expired is not None:
        token = secret(canary.expired, what=f"servers.{server}.probing.canary.expired")
        if await _taken(asking, token):
            found.append(Fault.EXPIRED.of(server, "taken"))
    api = world.reach(Api, canary.provider)
    client = _credentials(server, canary)
    token = await api.issued(client)
    try:
        claims = await api.introspect(token) or {}
        taken = await _taken(asking, token)
        meant = _is_for(claims, asking.url)
        if taken and not meant:
            found.append(Fault.FOREIGN.of(server, f"taken: one for {claims.get('aud') or 'nobody in particular'}"))
    finally:
        with contextlib.suppress(SoarError):
            await api.revoke(token, _TYPE, client)
    if taken and meant and await api.introspect(token) is None and await _taken(asking, token):
        found.append(Fault.REVOKED.of(server, "taken"))
    return found


def _credentials(server: str, canary: TrialClient) -> Credentials:
    field = f"servers.{server}.probing.canary.secret"
    return Credentials(canary.client, secret(canary.secret, what=field), field)


async def _taken(asking: Stranger, token: str) -> bool:
    return answered(await asking.initialize({"Authorization": f"Bearer {token}"}))


def _is_for(claims: Mapping[str, object], url: str) -> bool:
    """Return whether a token says that it is for an address, or for something that this is below."""
    said = claims.get("aud")
    for one in said if isinstance(said, list) else [said]:
        parts, mine = urlsplit(str(one)), urlsplit(url)
        if parts[:2] == mine[:2] and f"{mine.path.rstrip('/')}/".startswith(f"{parts.path.rstrip('/')}/"):
            return True
    return False
