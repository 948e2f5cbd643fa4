"""How a server has its clients sign in (RFC 9728), and what its authorization server refuses.

Each request there is one of nobody who is signed in, with `prompt=none`: it issues nothing, whatever is answered. Only
a provider that the inventory lists is asked; where a server sends us otherwise is said, and not followed.
"""

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx

from integrations import bounded
from integrations.identity.provider import Provider
from integrations.probing.faults import Fault
from integrations.probing.manners import ORIGIN
from integrations.probing.stranger import Stranger
from integrations.protocol.wire import Carried
from playbooks.errors import Refused
from playbooks.estate.inventory import Inventory
from playbooks.estate.probing import Probed
from playbooks.record.check import Found

_METADATA: Final = re.compile(r'\bresource_metadata="([^"\s]{1,2000})"')
_MOST: Final = 10
"""Authorization servers that are looked at."""

_CHALLENGE: Final = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""That of the example in RFC 7636, appendix B: a valid one, and nobody's."""

_ASKS_FIRST: Final = frozenset(
    {"login_required", "interaction_required", "consent_required", "account_selection_required"}
)
"""Errors that are only reached by a request that is good otherwise."""


async def sign_in(server: str, agreed: Probed, asking: Stranger, inventory: Inventory) -> list[Found]:
    """Read where a server has people sign in, and ask there for what a good provider refuses.

    Args:
        server: as the inventory names it.
        agreed: what its owner agreed to.
        asking: asks it.
        inventory: what else is known: its providers.

    Raises:
        SoarError: it could not be asked.
    """
    refusal = await asking.initialize()
    if refusal.status != httpx.codes.UNAUTHORIZED:
        return []  # whoever asks for no credentials has nobody sign in
    metadata = await _metadata(asking, refusal)
    if metadata is None:
        return [Fault.NO_METADATA.of(server, "missing")]
    found = []
    if not _of(metadata.get("resource"), asking.url):
        found.append(Fault.OTHER_RESOURCE.of(server, f"of {metadata.get('resource')}"))
    known = {one.issuer.rstrip("/"): one for one in inventory.systems.values() if isinstance(one, Provider)}
    named = metadata.get("authorization_servers")
    named = [str(one) for one in named[:_MOST]] if isinstance(named, list) else []
    if strange := [one for one in named if one.rstrip("/") not in known]:
        found.append(Fault.STRANGE_PROVIDER.of(server, strange[0]))
    if agreed.sign_in is not None:
        for provider in [known[one.rstrip("/")] for one in named if one.rstrip("/") in known]:
            found += await _authorization(server, agreed, provider)
    return found


async def _metadata(asking: Stranger, refusal: Carried) -> Mapping[str, Any] | None:
    parts = urlsplit(asking.url)
    said = _METADATA.search(refusal.headers.get("WWW-Authenticate", ""))
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    at = urljoin(asking.url, said[1]) if said else f"{root}/.well-known/oauth-protected-resource{path}"
    if urlsplit(at)[:2] != parts[:2]:
        raise Refused("its metadata is at another host, which is not asked")
    carried = await asking.send("GET", headers={"Accept": "application/json"}, url=at)
    value = bounded.readable(carried.raw) if carried.status == httpx.codes.OK else None
    return value if isinstance(value, dict) else None


def _of(resource: object, url: str) -> bool:
    """Return whether metadata is of an address: it itself, or what it is below."""
    if not isinstance(resource, str):
        return False
    mine, its = urlsplit(url), urlsplit(resource)
    below = f"{its.path.rstrip('/')}/"
    return mine[:2] == its[:2] and f"{mine.path.rstrip('/')}/".startswith(below)


async def _authorization(server: str, agreed: Probed, provider: Provider) -> list[Found]:
    client, found = agreed.sign_in, list[Found]()
    if client is None:
        return found
    issuer = provider.issuer.rstrip("/")
    async with Stranger(f"provider {issuer}", issuer) as asking:
        carried = await asking.send("GET", url=f"{issuer}/.well-known/openid-configuration", headers=_JSON)
        if carried.status == httpx.codes.NOT_FOUND:
            parts = urlsplit(issuer)
            at = f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"
            carried = await asking.send("GET", url=at, headers=_JSON)
        described = bounded.readable(carried.raw)
        endpoint = described.get("authorization_endpoint") if isinstance(described, dict) else None
        host = urlsplit(str(endpoint)).hostname
        if not isinstance(endpoint, str) or host not in {urlsplit(issuer).hostname, *provider.hosts}:
            raise Refused(f"{asking.name} names no authorization endpoint of its own")
        asks = {"response_type": "code", "client_id": client.client, "scope": "openid", "prompt": "none", "state": "x"}
        challenge = {"code_challenge": _CHALLENGE, "code_challenge_method": "S256"}
        answer = await _asked(asking, endpoint, {**asks, **challenge, "redirect_uri": f"{ORIGIN}/callback"})
        if urlsplit(_target(endpoint, answer)).netloc == urlsplit(ORIGIN).netloc:
            found.append(Fault.REDIRECT.of(server, f"taken, of client {client.client}"))
        if client.redirect is not None:
            # What is well asked is asked first: a provider that refuses that too says nothing of a challenge.
            well, without = [
                _error(endpoint, await _asked(asking, endpoint, {**asks, **more, "redirect_uri": client.redirect}))
                for more in (challenge, {})
            ]
            if well not in _ASKS_FIRST:
                raise Refused(f"{asking.name} does not know client {client.client} with that redirect URI ({well})")
            if without in _ASKS_FIRST:
                found.append(Fault.NO_PKCE.of(server, f"taken, of client {client.client}"))
    return found


_JSON: Final = {"Accept": "application/json"}


async def _asked(asking: Stranger, endpoint: str, query: Mapping[str, str]) -> Carried:
    joined = f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"
    return await asking.send("GET", url=joined, headers={"Accept": "text/html"})


def _target(endpoint: str, answer: Carried) -> str:
    return urljoin(endpoint, answer.headers.get("Location", "")) if httpx.codes.is_redirect(answer.status) else ""


def _error(endpoint: str, answer: Carried) -> str:
    """Return the error that a browser would bring to the client; a status where it brings none."""
    errors = parse_qs(urlsplit(_target(endpoint, answer)).query).get("error", [])
    return errors[0][:100] if errors else str(answer.status)
