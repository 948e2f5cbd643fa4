"""The way to one provider: what it says of itself, and the questions of OAuth; its errors are mapped here, once.

A provider may be in other hands: what it describes is believed only as far as our secret is safe with it, nothing is
followed elsewhere, and no answer is longer than it has to be. Sources: RFC 8414 and OpenID Connect Discovery 1.0
(description), RFC 7009 (revocation), RFC 7662 (introspection), RFC 6749 (clients, refresh), RFC 6750 (challenges).
"""

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote_plus, urlsplit

import httpx

from integrations import bounded
from integrations.hostile import printable
from integrations.http import AT_ONCE, TIMEOUT, Answer, Request, connecting, refusal, send
from integrations.identity.provider import Provider
from playbooks.errors import Misconfigured, Refused, SoarError

LARGEST: Final = 256 * 1024
"""Bytes of one answer: a description has a few thousand, everything else less."""

_GOOD_FOR: Final = 300.0
"""Seconds for which a description is believed; a provider moves its endpoints rarely, and never in one incident."""

_SAID: Final = 300
_MASK: Final = b"[redacted: token]"
_SHORTEST: Final = 8
"""Characters of a secret that is masked: a shorter one stands in words that say something else."""

Endpoint = Literal["revocation_endpoint", "introspection_endpoint", "token_endpoint", "userinfo_endpoint"]
ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    "revocation_endpoint",
    "introspection_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
)

Claims = Mapping[str, Any]


class Credentials(NamedTuple):
    """A client of a provider.

    Args:
        client: its id.
        secret: empty if it has none.
        field: of inventory.yaml, that says where its secret is.
    """

    client: str
    secret: str
    field: str


class Described(NamedTuple):
    """What a provider says of itself.

    Args:
        endpoints: where it is asked what; those that it has.
        basic: whether it takes a client's secret as HTTP has it, and not in the form.
        raw: all of it, as it came.
    """

    endpoints: Mapping[str, str]
    basic: bool
    raw: bytes


class Api:
    """A provider, as the client that mcp-soar comes as.

    Args:
        name: what the inventory calls it.
        settings: where it is.
        secret: our client's.
    """

    largest = LARGEST
    """Bytes of one answer."""
    ends_sessions = False
    """Whether a user is kept out there with all that it was issued, held or not."""

    def __init__(self, name: str, settings: Provider, secret: str) -> None:
        self.name = name
        self.settings = settings
        self.ourselves = Credentials(settings.client, secret, f"systems.{name}.secret")
        self.patience = TIMEOUT
        """Seconds for one request."""
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._described: tuple[float, Described] | None = None
        self._seen: set[bytes] = set()
        self._http = connecting(settings.issuer, {"Accept": "application/json"})

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def described(self) -> Described:
        """Return what the provider says of itself.

        Raises:
            Misconfigured: it calls itself otherwise than the inventory does, or has an endpoint where our secret is not
                to go.
            SoarError: it does not say.
        """
        if self._described and time.monotonic() < self._described[0]:
            return self._described[1]
        parts = urlsplit(self.settings.issuer)
        root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        # Where OpenID Connect puts it, and else RFC 8414, which only differ for an issuer with a path.
        places = (
            f"{root}{path}/.well-known/openid-configuration",
            f"{root}/.well-known/oauth-authorization-server{path}",
        )
        answer = await self._send(Request("GET", places[0]))
        if answer.status == httpx.codes.NOT_FOUND:
            answer = await self._send(Request("GET", places[1]))
        if not answer.success:
            raise self._error("its description", answer)
        found = self._read(self._fields(answer, "its description"), answer.raw)
        self._described = (time.monotonic() + _GOOD_FOR, found)
        return found

    def _read(self, fields: Claims, raw: bytes) -> Described:
        issuer = fields.get("issuer")
        if issuer != self.settings.issuer:
            said = printable(str(issuer))[:_SAID]
            raise Misconfigured(
                f"provider {self.name} calls itself {said}: write that if it is the one you mean, to the character",
                field=f"systems.{self.name}.issuer",
            )
        endpoints: dict[str, str] = {
            name: self._safe(name, fields[name]) for name in ENDPOINTS if fields.get(name) is not None
        }
        methods = fields.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        known = methods if isinstance(methods, list) else []
        if not {"client_secret_basic", "client_secret_post"}.intersection(map(str, known)):
            raise Misconfigured(
                f"provider {self.name} takes no client's secret, neither as HTTP Basic has it nor in the form",
                field=f"systems.{self.name}.secret",
            )
        return Described(endpoints, "client_secret_basic" in known, raw)

    def _safe(self, name: str, url: object) -> str:
        """Return an endpoint's address if our secret, and other people's tokens, may go there."""
        issuer = urlsplit(self.settings.issuer)
        try:
            parts = urlsplit(url if isinstance(url, str) else "")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            parts, host, port = urlsplit(""), "", None
        own = (host, port) == (issuer.hostname, issuer.port)
        good = parts.scheme == issuer.scheme and "@" not in parts.netloc and not parts.fragment
        if not good or not (own or host in self.settings.hosts):
            raise Misconfigured(
                f"the {name} of provider {self.name} is at {printable(str(url))[:_SAID]}, which is not the issuer's"
                f" own; if it is to be believed, name its host in systems.{self.name}.hosts",
                field=f"systems.{self.name}.hosts",
            )
        return str(url)

    async def has(self, name: Endpoint) -> str | None:
        """Return where the provider is asked something; None if it is not."""
        return (await self.described()).endpoints.get(name)

    async def _at(self, name: Endpoint) -> str:
        found = await self.has(name)
        if found is None:
            raise Refused(f"provider {self.name} has no {name}: it can be done by people there, and not from here")
        return found

    async def introspect(self, token: str) -> Claims | None:
        """Return what the provider says of a token that is in use; None if it says that it is not.

        The same answer is given to who may not know, and of a token that never was.

        Raises:
            SoarError: it does not say.
        """
        return (await self.introspection(token))[0]

    async def introspection(self, token: str) -> tuple[Claims | None, bytes]:
        """Return likewise, with the answer as it came but for the token."""
        answer = await self._post("introspection_endpoint", {"token": token}, self.ourselves)
        if not answer.success:
            raise self._error("introspection", answer, whose=self.ourselves)
        fields = self._fields(answer, "introspection")
        if not isinstance(fields.get("active"), bool):
            raise Refused(f"provider {self.name}: introspection says neither that it is active nor that it is not")
        if fields["active"]:
            self._seen.add(_digest(token))
        return (fields if fields["active"] else None), answer.raw

    def is_itself(self, claims: Claims) -> bool:
        """Return whether what is said of a token means that its client acts for itself, and for no user of it."""
        return bool(claims.get("sub") == claims.get("client_id", claims.get("azp")))

    def saw(self, token: str) -> bool:
        """Return whether the provider ever told this process that a token was in use."""
        return _digest(token) in self._seen

    async def revoke(self, token: str, hint: str, by: Credentials) -> None:
        """Ask the provider to revoke a token. That it says yes proves nothing: it does so of tokens that never were.

        Args:
            token: the token.
            hint: of which type it is.
            by: the client that asks.

        Raises:
            SoarError: it says no.
        """
        answer = await self._post("revocation_endpoint", {"token": token, "token_type_hint": hint}, by)
        if not answer.success:
            raise self._error("revocation", answer, whose=by)

    async def refresh(self, token: str, by: Credentials) -> tuple[Answer, str]:
        """Ask for an access token with a refresh token, and return what came back and, of a no, its error."""
        answer = await self._post("token_endpoint", {"grant_type": "refresh_token", "refresh_token": token}, by)
        return answer, error_of(answer)

    async def issued(self, to: Credentials) -> str:
        """Return an access token that the provider issues to a client for itself.

        Args:
            to: the client.

        Raises:
            SoarError: it issues none.
        """
        answer = await self._post("token_endpoint", {"grant_type": "client_credentials"}, to)
        if not answer.success:
            raise self._error("client credentials", answer, whose=to)
        token = self._fields(answer, "client credentials").get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Refused(f"provider {self.name}: client credentials brought no token")
        return token

    async def userinfo(self, token: str) -> Answer:
        """Ask who is signed in with an access token, as whoever has it would."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self._send(Request("GET", await self._at("userinfo_endpoint"), headers=headers))
        return _without(answer, token)

    async def _post(self, name: Endpoint, form: Mapping[str, str], by: Credentials) -> Answer:
        """Send a form as a client; whatever comes back is without what it was told."""
        described, url = await self.described(), await self._at(name)
        form, headers, pair = dict(form), dict[str, str](), ""
        told = [form.get("token", ""), form.get("refresh_token", ""), by.secret]
        if not by.secret:
            form["client_id"] = by.client
        elif not described.basic:
            form |= {"client_id": by.client, "client_secret": by.secret}
        else:
            pair = base64.b64encode(f"{quote_plus(by.client)}:{quote_plus(by.secret)}".encode()).decode()
            headers["Authorization"] = f"Basic {pair}"
        answer = await self._send(Request("POST", url, form=form, headers=headers))
        if name == "token_endpoint" and answer.success:
            # What is issued is meant for us, and some issue a refresh token again that they were sent.
            return answer
        return _without(answer, *told, pair)

    async def _send(self, request: Request) -> Answer:
        name = f"provider {self.name}"
        answer = await send(self._http, name, request, within=self.patience, turns=self._turns, largest=self.largest)
        if httpx.codes.is_redirect(answer.status):
            raise Refused(f"{name}: {request.method} {request.path} sends us elsewhere, which is not followed")
        return answer

    def _fields(self, answer: Answer, what: str) -> Claims:
        found = bounded.parsed(answer.raw, f"provider {self.name}: {what}")
        if not isinstance(found, dict):
            raise Refused(f"provider {self.name}: {what} is no object")
        return found

    def _error(self, what: str, answer: Answer, *, whose: Credentials | None = None) -> SoarError:
        said = printable(answer.raw[:_SAID].decode(errors="replace"))
        message = f"provider {self.name}: {what} answered {answer.status}: {said}"
        if whose and (answer.status in {401, 403} or error_of(answer) in {"invalid_client", "unauthorized_client"}):
            return refusal(message, answer, barred=f"client {whose.client} may not do this there", field=whose.field)
        return refusal(message, answer)


def error_of(answer: Answer) -> str:
    """Return the error that an answer names, as RFC 6749, 5.2 has it, or its challenge; empty if it names none."""
    fields = bounded.readable(answer.raw)
    error = fields.get("error") if isinstance(fields, dict) else None
    if isinstance(error, str):
        return printable(error)[:_SAID]
    found = [one for one in ("invalid_token", "insufficient_scope") if f'error="{one}"' in answer.challenge]
    return found[0] if found else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _without(answer: Answer, *told: str) -> Answer:
    """Return an answer without what was told to whoever gave it, who may repeat it, however it is spelled there."""
    raw = answer.raw
    for one in told:
        # What finds the thousand characters of a token takes a third of a second to make: only where its end is found.
        if len(one) >= _SHORTEST and _spelled(one[-_SHORTEST:]).search(raw):
            raw = _spelled(one).sub(_MASK, raw)
    return replace(answer, raw=raw)


def _spelled(text: str) -> re.Pattern[bytes]:
    """Return what finds a text as it stands, or as JSON, a URL, a form or HTML may have any of its characters."""
    return re.compile(b"".join(_spellings(char) for char in text.encode()))


@cache
def _spellings(char: int) -> bytes:
    # Bounded everywhere: who answers chooses what is searched.
    raw, hexa = re.escape(bytes((char,))), b"%02x" % char
    ways = [
        rb"\\{0,7}" + raw,
        rb"\\{1,7}(?i:u00" + hexa + rb")",
        rb"%%(?:25){0,3}(?i:%b)" % hexa,
        rb"&(?i:#x0{0,5}%b|#0{0,5}%d);" % (hexa, char),
    ]
    if char == ord(" "):
        ways += [rb"\+", rb"%(?:25){0,3}(?i:2b)"]
    return b"(?:" + b"|".join(ways) + b")"
