"""What the check `configuration` asks of any provider: what it describes of itself, and of the tokens that we hold."""

from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit

from integrations import bounded
from integrations.identity.client import Api
from integrations.identity.provider import Identity
from integrations.identity.tokens import held
from integrations.places import places
from integrations.settings import LONGEST_ACCESS, Ask, setting
from playbooks.action import World
from playbooks.record.check import About, Found
from playbooks.taxonomy import EntityKind, Severity

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def asks(world: World, name: str) -> Mapping[str, Ask]:
    """Return what is asked of one.

    Args:
        world: the connections.
        name: the provider.
    """
    return {
        f"provider {name}: description": partial(described, world, name),
        f"provider {name}: tokens": partial(tokens, world, name),
    }


async def described(world: World, name: str) -> Sequence[Found]:
    """Read what a provider says that it takes."""
    subject, found = f"provider {name}", list[Found]()
    said = bounded.parsed((await world.reach(Api, name).described()).raw, f"provider {name}: its description")
    pkce = _names(said, "code_challenge_methods_supported")
    if "S256" not in pkce or "plain" in pkce:
        found.append(
            setting(
                subject,
                "PKCE",
                f"{' and '.join(sorted(pkce))}" if pkce else "not taken",
                expected="S256 alone",
                severity=Severity.MEDIUM if "S256" in pkce else Severity.HIGH,
                remedy="have it take S256 and nothing else, and require it of every client",
            )
        )
    for grant, why in (("implicit", "tokens stand in addresses"), ("password", "clients see people's passwords")):
        if grant in _names(said, "grant_types_supported"):
            found.append(
                setting(
                    subject,
                    f"grant {grant}",
                    "taken",
                    expected="refused",
                    severity=Severity.MEDIUM,
                    remedy=f"switch it off there: with it {why}",
                )
            )
    issuer = urlsplit(world.reach(Api, name).settings.issuer)
    if issuer.scheme != "https" and issuer.hostname not in LOOPBACK:
        found.append(
            setting(
                subject,
                "transport",
                "clear text",
                expected="TLS",
                severity=Severity.HIGH,
                remedy="serve it over https, and write that issuer into inventory.yaml",
            )
        )
    return found


async def tokens(world: World, name: str) -> Sequence[Found]:
    """Ask about the tokens that we hold: for how long they are good, and for whom."""
    api, found = world.reach(Api, name), list[Found]()
    for who, provider, _ in places(world.inventory, Identity):
        if provider != name:
            continue
        for one in held(world, who, name):
            claims = await api.introspect(one.value)
            if claims is None or "refresh" in one.words:
                continue
            subject, about = f"{one.words} {one.target.name} of {who}", (About(EntityKind.PRINCIPAL, who),)
            ends, made = claims.get("exp"), claims.get("iat")
            lasts = ends - made if isinstance(ends, int) and isinstance(made, int) else None
            if lasts is None or lasts > LONGEST_ACCESS:
                found.append(
                    setting(
                        subject,
                        "lifetime",
                        "without an end" if lasts is None else f"{lasts} seconds",
                        expected=f"{LONGEST_ACCESS} seconds at most",
                        severity=Severity.MEDIUM,
                        remedy="have the provider issue shorter ones, with a refresh",
                        about=about,
                    )
                )
            if not claims.get("aud"):
                found.append(
                    setting(
                        subject,
                        "audience",
                        "anybody",
                        expected="one resource",
                        severity=Severity.MEDIUM,
                        remedy="have the client ask for the resource that it uses (RFC 8707)",
                        about=about,
                    )
                )
    return found


def _names(said: Mapping[str, object], field: str) -> frozenset[str]:
    value = said.get(field)
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()
