"""ContextForge's administration over HTTP: one login, and what only this product means by a refusal."""

from collections.abc import Mapping
from typing import ClassVar

import httpx
from typing_extensions import override

from integrations import bounded
from integrations.gateways.administration import Administration
from integrations.http import Answer, Request, connecting
from playbooks.errors import Misconfigured, SoarError, Transient


class Forge(Administration):
    """The administrator's requests."""

    login: ClassVar[str] = "/v1/auth/login"

    @override
    def _presented(self) -> Mapping[str, str]:
        return {"email": self.gateway.user, "password": self._password}

    @override
    def _begun(self, answer: Answer) -> str:
        what = f"gateway {self.name}: POST {self.login}"
        found = bounded.parsed(answer.raw, what)
        if not isinstance(found, dict) or not isinstance(found.get("access_token"), str):
            raise Transient(f"{what} answered no token")
        return str(found["access_token"])

    @override
    def _meant(self, answer: Answer, said: str, message: str) -> SoarError | None:
        if answer.status == httpx.codes.FORBIDDEN and "password change" in said.lower():
            # A fresh administrator, or a password that is older than the gateway lets one be.
            return Misconfigured(
                f"gateway {self.name} wants the password of {self.account} changed before it lets it in: sign in at"
                f" {self.gateway.url.rstrip('/')}/admin and change it there, then write the new one to the secret"
                f" that systems.{self.name}.password names"
            )
        if answer.status == httpx.codes.BAD_REQUEST and "locked" in said.lower():
            # It wraps whatever goes wrong in a state change as 400, its own database's lock included.
            return Transient(message)
        return None

    @property
    @override
    def _barred(self) -> str:
        return f"our account there, {self.account}, lacks the right: give it the role platform_admin"

    def fresh(self) -> httpx.AsyncClient:
        """Return what makes a connection of its own for each request."""
        return connecting(self.gateway.url, base=self.gateway.url.rstrip("/"), keep=0)

    async def refused(self, token: str) -> None:
        """Ask with a token that was revoked: the gateway turns it away, and writes that down where it is told to."""
        headers = {"Authorization": f"Bearer {token}"}
        await self.send(Request("GET", "/v1/tools", {"limit": "1"}, headers=headers))
