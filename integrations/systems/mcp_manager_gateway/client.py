"""An mcp-manager-gateway's administration over HTTP: a session by cookie."""

from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import urlsplit

import httpx
from typing_extensions import override

from integrations.gateways.administration import Administration
from integrations.http import Answer
from playbooks.errors import SoarError, Transient
from playbooks.estate.gateway import Gateway

_ACTIVE: Final = "active calls"
"""What it says where a server is in use; a revision that is not the last one has the same status."""


class InUse(Transient):
    """Calls of a server are under way: nothing of it can be changed until they are over."""


class Manager(Administration):
    """The administrator's requests, of which those about a server that is in use raise `InUse`.

    Args:
        name: what the inventory calls the gateway.
        gateway: its address and user.
        password: that user's password.
    """

    root: ClassVar[str] = "/api/v1"
    login: ClassVar[str] = "/auth/login"
    page: ClassVar[int] = 200

    def __init__(self, name: str, gateway: Gateway, password: str) -> None:
        parts = urlsplit(gateway.url)
        # It takes changes only from the origin that its own pages have.
        super().__init__(name, gateway, password, {"Origin": f"{parts.scheme}://{parts.netloc}"})

    @override
    def _presented(self) -> Mapping[str, str]:
        return {"username": self.gateway.user, "password": self._password}

    @override
    def _begun(self, answer: Answer) -> str:
        return self._http.cookies.get("mcp_csrf") or "signed in"

    @override
    def _with(self, method: str) -> Mapping[str, str]:
        token = self._http.cookies.get("mcp_csrf")
        return {"X-CSRF-Token": token} if token and method != "GET" else {}

    @override
    def _meant(self, answer: Answer, said: str, message: str) -> SoarError | None:
        return InUse(message) if answer.status == httpx.codes.CONFLICT and _ACTIVE in said.lower() else None

    @property
    @override
    def _barred(self) -> str:
        return f"our account there, {self.account}, lacks the right: give it the role admin"
