"""What the check `configuration` asks of a realm: its own settings, and those of the clients that the inventory names.

Only those: a realm has clients that have nothing to do with MCP. Source of the fields: Keycloak Admin REST API 26.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from integrations.identity import settings as any_provider
from integrations.identity.provider import Identity
from integrations.places import places
from integrations.settings import LONGEST_ACCESS, Ask, setting
from integrations.systems.keycloak.client import Realm
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.record.check import About, Found
from playbooks.taxonomy import EntityKind, Severity


class _Switch(NamedTuple):
    """A field that is to have one value."""

    field: str
    good: bool
    what: str
    severity: Severity
    remedy: str


_REALM: Final = (
    _Switch("revokeRefreshToken", good=True, what="refresh rotation", severity=Severity.MEDIUM,
            remedy="switch on *Revoke Refresh Token*: a stolen one is then found out by its second use"),
    _Switch("bruteForceProtected", good=True, what="brute force protection", severity=Severity.MEDIUM,
            remedy="switch it on under *Security defenses*"),
    _Switch("registrationAllowed", good=False, what="registration by anybody", severity=Severity.HIGH,
            remedy="switch off *User registration*"),
    _Switch("eventsEnabled", good=True, what="record of sign-ins", severity=Severity.MEDIUM,
            remedy="switch on *Save events*: without them nothing there says who signed in"),
    _Switch("adminEventsEnabled", good=True, what="record of administration", severity=Severity.MEDIUM,
            remedy="switch on *Save admin events*: without them nothing there says who changed what"),
)  # fmt: skip

_CLIENT: Final = (
    _Switch("implicitFlowEnabled", good=False, what="implicit flow", severity=Severity.HIGH,
            remedy="switch it off: tokens stand in addresses with it"),
    _Switch("directAccessGrantsEnabled", good=False, what="direct access grants", severity=Severity.MEDIUM,
            remedy="switch them off: the client sees people's passwords with them"),
    _Switch("fullScopeAllowed", good=False, what="full scope", severity=Severity.MEDIUM,
            remedy="switch *Full scope allowed* off, and name the roles that its tokens may carry"),
)  # fmt: skip


def asks(world: World, name: str) -> Mapping[str, Ask]:
    """Return what is asked of one.

    Args:
        world: the connections.
        name: the provider.
    """
    # What it describes of itself says what any client might be let do there, and not what one is.
    return {
        f"provider {name}: realm": partial(_realm, world, name),
        f"provider {name}: tokens": partial(any_provider.tokens, world, name),
        **{
            f"provider {name}: client {client}": partial(_client, world, name, client, who)
            for client, who in _clients(world, name).items()
        },
    }


def _clients(world: World, name: str) -> dict[str, tuple[str, ...]]:
    """Return the clients that the inventory names, with the principals that come by each."""
    found: dict[str, tuple[str, ...]] = {}
    for who, provider, at in places(world.inventory, Identity):
        if provider == name and at.client:
            found[at.client] = (*found.get(at.client, ()), who)
    return found


def _switched(
    subject: str, fields: Mapping[str, Any], switches: Sequence[_Switch], about: Sequence[About]
) -> Iterator[Found]:
    for one in switches:
        if bool(fields.get(one.field)) is not one.good:
            observed, expected = ("off", "on") if one.good else ("on", "off")
            yield setting(
                subject, one.what, observed, expected=expected, severity=one.severity, remedy=one.remedy, about=about
            )


async def _realm(world: World, name: str) -> Sequence[Found]:
    realm, subject = world.reach(Realm, name), f"realm of provider {name}"
    fields = await realm.admin("GET", "")
    if not isinstance(fields, dict) or "revokeRefreshToken" not in fields:
        raise Misconfigured(
            f"our client {realm.settings.client} may not read the realm's settings: give its service account the role"
            " view-realm of realm-management"
        )
    found = list(_switched(subject, fields, _REALM, ()))
    found += _lasts(subject, fields.get("accessTokenLifespan"), ())
    if fields.get("sslRequired") == "none" and urlsplit(realm.settings.issuer).hostname not in any_provider.LOOPBACK:
        found.append(
            setting(
                subject,
                "TLS",
                "not required",
                expected="required",
                severity=Severity.HIGH,
                remedy="set *Require SSL* to external requests, or all",
            )
        )
    return found


async def _client(world: World, name: str, client: str, principals: Sequence[str]) -> Sequence[Found]:
    realm, subject = world.reach(Realm, name), f"client {client} of provider {name}"
    about = tuple(About(EntityKind.PRINCIPAL, who) for who in principals)
    fields = await realm.settings_of(await realm.client(client))
    found = list(_switched(subject, fields, _CLIENT, about))
    some = fields.get("attributes")
    attributes: Mapping[str, Any] = some if isinstance(some, dict) else {}

    def differs(what: str, observed: str, *, expected: str, severity: Severity, remedy: str) -> None:
        found.append(setting(subject, what, observed, expected=expected, severity=severity, remedy=remedy, about=about))

    pkce = str(attributes.get("pkce.code.challenge.method") or "")
    if fields.get("standardFlowEnabled") and pkce != "S256":
        differs(
            "PKCE",
            pkce or "not required",
            expected="S256",
            severity=Severity.HIGH if fields.get("publicClient") else Severity.MEDIUM,
            remedy="set *Proof Key for Code Exchange Code Challenge Method* to S256",
        )
    for uri in _texts(fields.get("redirectUris")) if fields.get("standardFlowEnabled") else ():
        parts = urlsplit(uri)
        if "*" in uri:
            differs(
                f"redirect URI {uri}",
                "a pattern",
                expected="one whole address",
                severity=Severity.HIGH,
                remedy="write each address in full: whoever has a page that fits gets codes",
            )
        elif parts.scheme == "http" and parts.hostname not in any_provider.LOOPBACK:
            differs(
                f"redirect URI {uri}",
                "clear text",
                expected="https",
                severity=Severity.MEDIUM,
                remedy="write it with https",
            )
    if "*" in _texts(fields.get("webOrigins")):
        differs(
            "web origins",
            "any",
            expected="named ones",
            severity=Severity.MEDIUM,
            remedy="name the origins, or write + for those of its redirect URIs",
        )
    found += _lasts(subject, attributes.get("access.token.lifespan"), about)
    if not fields.get("publicClient") and fields.get("clientAuthenticatorType") == "client-secret":
        differs(
            "client authentication",
            "a shared secret",
            expected="a signed JWT or a certificate",
            severity=Severity.LOW,
            remedy="set *Client Authenticator* to Signed JWT or X509 certificate, where the client can",
        )
    mappers = fields.get("protocolMappers")
    kinds = {one.get("protocolMapper") for one in mappers if isinstance(one, dict)} if isinstance(mappers, list) else ()
    if "oidc-audience-mapper" not in kinds:
        differs(
            "audience",
            "not set by the client",
            expected="the resource that it uses",
            severity=Severity.LOW,
            remedy="add a mapper of type Audience that names it",
        )
    return found


def _lasts(subject: str, seconds: object, about: Sequence[About]) -> Iterator[Found]:
    if str(seconds).isdecimal() and int(str(seconds)) > LONGEST_ACCESS:
        yield setting(
            subject,
            "lifetime of access tokens",
            f"{seconds} seconds",
            expected=f"{LONGEST_ACCESS} seconds at most",
            severity=Severity.MEDIUM,
            remedy="set *Access Token Lifespan* lower: whoever reads them itself takes them until then",
            about=about,
        )


def _texts(listed: object) -> list[str]:
    return [str(one) for one in listed] if isinstance(listed, list) else []
