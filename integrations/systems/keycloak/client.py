"""A realm's administration, as the service account of our client.

Source of paths: Keycloak Admin REST API 26; what each does to tokens was measured on a running 26.5.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import httpx
from typing_extensions import override

from integrations import bounded
from integrations.hostile import printable
from integrations.http import Request
from integrations.identity.client import Api, Claims, Credentials
from playbooks.errors import Gone, Misconfigured, Refused

Fields = Mapping[str, Any]

_ROUNDS: Final = 5
"""How often sessions are listed and ended: of what signs in meanwhile, and of what an answer left out."""

_EARLIER: Final = 10.0
"""Seconds before its end that our own token is not used any more."""


class Listed(NamedTuple):
    """Sessions of a user, as the administration lists them.

    Args:
        path: below the realm's, where they are listed.
        offline: they go on while nobody is signed in.
        raw: the list as it came.
        entries: what it has; each has an id.
    """

    path: str
    offline: bool
    raw: bytes
    entries: list[dict[str, Any]]


class Realm(Api):
    """One realm."""

    _ours: tuple[float, str] = (0.0, "")
    # A user's sessions are listed whole, each with the clients that it is used by: thousands are megabytes.
    largest = bounded.LARGEST
    ends_sessions = True

    @property
    def root(self) -> str:
        """Where its administration is.

        Raises:
            Misconfigured: its issuer is no realm's.
        """
        parts = urlsplit(self.settings.issuer)
        before, found, realm = parts.path.rpartition("/realms/")
        if not found or not realm or "/" in realm:
            raise Misconfigured("no realm of a Keycloak is called so", field=f"systems.{self.name}.issuer")
        return f"{parts.scheme}://{parts.netloc}{before}/admin/realms/{realm}"

    @override
    def is_itself(self, claims: Claims) -> bool:
        # Here it has a user of its own, with an id like any other's.
        named = f"service-account-{claims.get('client_id')}"
        return super().is_itself(claims) or str(claims.get("username")).casefold() == named.casefold()

    async def _bearer(self) -> str:
        until, token = self._ours
        if time.monotonic() < until:
            return token
        answer = await self._post("token_endpoint", {"grant_type": "client_credentials"}, self.ourselves)
        if not answer.success:
            raise self._error("signing in", answer, whose=self.ourselves)
        fields = self._fields(answer, "signing in")
        issued, lasts = fields.get("access_token"), fields.get("expires_in")
        if not isinstance(issued, str) or not isinstance(lasts, int | float):
            raise Refused(f"provider {self.name}: signing in brought no token")
        self._ours = (time.monotonic() + max(min(lasts, 3600.0) - _EARLIER, 0.0), issued)
        return issued

    async def admin(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: object = None
    ) -> Any:  # noqa: ANN401  # each endpoint's own JSON
        """Ask the administration, and return the JSON of its answer; None where there is none.

        Args:
            method: of HTTP.
            path: below the realm's.
            params: of the query.
            body: as JSON.

        Raises:
            Gone: there is no such thing.
            Misconfigured: our client lacks a role.
            SoarError: it says no, or nothing.
        """
        raw = await self._raw(method, path, params=params, body=body)
        return self._parsed(raw, f"{method} {path}") if raw else None

    def _parsed(self, raw: bytes, what: str) -> Any:  # noqa: ANN401  # each endpoint's own JSON
        return bounded.parsed(raw, f"provider {self.name}: {what}")

    async def _raw(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: object = None
    ) -> bytes:
        if {".", ".."}.intersection(path.split("/")):
            # Written so it would name what is above: of a session, the realm itself.
            raise Refused(f"provider {self.name}: {printable(path)} is no path")
        root = self.root
        headers = {"Authorization": f"Bearer {await self._bearer()}"}
        answer = await self._send(Request(method, f"{root}{path}", params, body, headers))
        if answer.status == httpx.codes.UNAUTHORIZED:
            # Somebody ended our session: the next one is a new one.
            self._ours = (0.0, "")
            headers = {"Authorization": f"Bearer {await self._bearer()}"}
            answer = await self._send(Request(method, f"{root}{path}", params, body, headers))
        what = f"{method} {path}"
        if answer.status == httpx.codes.NOT_FOUND:
            raise Gone(f"provider {self.name}: {what}: there is no such thing")
        if not answer.success:
            raise self._error(what, answer, whose=self.ourselves)
        return answer.raw

    async def user(self, id_: str) -> Fields:
        """Return a user.

        Raises:
            Gone: there is none of that id.
        """
        found = await self.admin("GET", f"/users/{quote(id_, safe='')}")
        if not isinstance(found, dict) or found.get("id") != id_ or not isinstance(found.get("enabled"), bool):
            raise Refused(f"provider {self.name}: what it calls user {id_} is none")
        return found

    async def enable(self, id_: str, *, enabled: bool) -> None:
        """Enable or disable a user, and leave all else as it is."""
        # Whole: of what is left out, some versions take it that it is to be empty.
        body = {**await self.user(id_), "enabled": enabled}
        await self.admin("PUT", f"/users/{quote(id_, safe='')}", body=body)

    async def listed(self, id_: str) -> list[Listed]:
        """Return what tokens of a user live by: its sessions, and by client those that go on while nobody is signed in.

        The latter outlive a sign-out, and are listed by client only.
        """
        user = f"/users/{quote(id_, safe='')}"
        consents = await self.admin("GET", f"{user}/consents")
        grants = [grant for one in _objects(consents) for grant in _objects(one.get("additionalGrants"))]
        clients = dict.fromkeys(str(grant.get("client")) for grant in grants)
        offline = (f"{user}/offline-sessions/{quote(client, safe='')}" for client in clients)
        found = list[Listed]()
        for path, goes_on in ((f"{user}/sessions", False), *((path, True) for path in offline)):
            raw = await self._raw("GET", path)
            entries = _objects(self._parsed(raw, f"GET {path}"))
            found.append(Listed(path, goes_on, raw, [one for one in entries if one.get("id")]))
        return found

    async def sessions(self, id_: str) -> list[tuple[str, bool]]:
        """Return the sessions of a user, each once, with whether it goes on while nobody is signed in."""
        some = await self.listed(id_)
        return list(dict.fromkeys((str(one["id"]), listed.offline) for listed in some for one in listed.entries))

    async def signed_in(self, id_: str) -> bool:
        """Return whether a user has a session; whoever has more than anybody reads has."""
        try:
            return bool(await self.sessions(id_))
        except Refused:
            return True

    async def end(self, id_: str) -> None:
        """End every session of a user, in rounds until none is left.

        Signing it out would leave those that go on offline, and write on the user since when its tokens count.

        Raises:
            SoarError: one was not ended; the others were.
        """
        for _ in range(_ROUNDS):
            listed = await self.sessions(id_)
            if not listed:
                return
            ended = await asyncio.gather(*(self._end(*one) for one in listed), return_exceptions=True)
            for wrong in ended:
                if wrong is not None:
                    raise wrong

    async def _end(self, session: str, offline: bool) -> None:  # noqa: FBT001  # as it is listed
        with suppress(Gone):
            params = {"isOffline": str(offline).lower()}
            await self.admin("DELETE", f"/sessions/{quote(session, safe='')}", params=params)

    async def ourselves_there(self) -> str | None:
        """Return the id of the user that our client comes as; None if the provider does not say."""
        subject = (await self.introspect(await self._bearer()) or {}).get("sub")
        return subject if isinstance(subject, str) else None

    async def client(self, name: str) -> str:
        """Return the id of the client that is called so.

        Raises:
            Refused: there is none.
        """
        found = await self.admin("GET", "/clients", params={"clientId": name})
        ids = [str(one["id"]) for one in _objects(found) if one.get("clientId") == name and one.get("id")]
        if len(ids) != 1:
            raise Refused(f"provider {self.name} has no client {name}")
        return ids[0]

    async def settings_of(self, client: str) -> Fields:
        """Return how a client is set, by its id, without its secret."""
        return {key: value for key, value in (await self._client(client)).items() if key != "secret"}

    async def secret_of(self, client: str) -> str:
        """Return the present secret of a client, by its id."""
        found = await self.admin("GET", f"/clients/{quote(client, safe='')}/client-secret")
        value = found.get("value") if isinstance(found, dict) else None
        if not isinstance(value, str) or not value:
            raise Refused(f"provider {self.name}: the client {client} has no secret")
        return value

    async def replace_secret(self, client: str) -> None:
        """Give a client another secret, which stays at the provider."""
        await self.admin("POST", f"/clients/{quote(client, safe='')}/client-secret")

    async def outlives(self, client: str) -> bool:
        """Return whether what a client was issued before its present secret counts."""
        made, since = _times(await self._client(client))
        return made is None or since <= made

    async def end_issued(self, client: str) -> None:
        """Have nothing count that a client was issued before its present secret, and leave all else as it is.

        Raises:
            Refused: the provider does not say since when it has that.
        """
        found = await self._client(client)
        made, since = _times(found)
        if made is None:
            raise Refused(f"provider {self.name} does not say since when the client {client} has its secret")
        if since <= made:
            # Whole, but for the secret, which another may have replaced meanwhile. By the provider's clock: what it
            # dates of the same second may be of before.
            body = {**{key: value for key, value in found.items() if key != "secret"}, "notBefore": made + 1}
            await self.admin("PUT", f"/clients/{quote(client, safe='')}", body=body)

    async def _client(self, id_: str) -> Fields:
        found = await self.admin("GET", f"/clients/{quote(id_, safe='')}")
        if not isinstance(found, dict) or found.get("id") != id_:
            raise Refused(f"provider {self.name}: what it calls client {id_} is none")
        return found

    async def rights(self) -> frozenset[str]:
        """Return the roles of the realm's management that our client has."""
        claims = await self.introspect(await self._bearer()) or {}
        access = claims.get("resource_access")
        management = access.get("realm-management") if isinstance(access, dict) else None
        roles = management.get("roles") if isinstance(management, dict) else None
        return frozenset(map(str, roles if isinstance(roles, list) else ()))

    async def takes(self, by: Credentials) -> bool | None:
        """Return whether a client is let in with a secret; None if it does not say.

        Asked at the revocation, about nothing: that needs no right but to be that client.
        """
        answer = await self._post("revocation_endpoint", {"token": "mcp-soar-asks-about-nothing"}, by)
        if answer.status == httpx.codes.UNAUTHORIZED:
            return False
        return True if answer.success else None


def _times(client: Fields) -> tuple[int | None, int]:
    """Return since when a client has its secret, None if that is not said, and since when its tokens count."""
    some = client.get("attributes")
    made = str(some.get("client.secret.creation.time", "") if isinstance(some, dict) else "")
    since = client.get("notBefore")
    return int(made) if made.isdecimal() else None, since if isinstance(since, int) else 0


def _objects(listed: object) -> list[dict[str, Any]]:
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
