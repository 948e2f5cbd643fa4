"""A LiteLLM proxy's administration over HTTP: by a proxy administrator's key."""

import hashlib
from typing import ClassVar, Final

from typing_extensions import override

from integrations.gateways.administration import Administration
from integrations.http import Answer
from playbooks.errors import Misconfigured, SoarError
from playbooks.estate.gateway import Gateway

_NO_DATABASE: Final = ("no connected db", "database not connected", "no db connected", "prisma client is not")


def key_id(secret: str) -> str:
    """Return the id of a key: its SHA-256, which LiteLLM stores in its place (`hash_token`)."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Proxy(Administration):
    """The administrator's requests.

    Args:
        name: what the inventory calls the gateway.
        gateway: its address and user.
        key: the master key, or one of a proxy administrator.
    """

    # `key_management_endpoints.py`, `internal_user_endpoints.py`
    page: ClassVar[int] = 100
    missing: ClassVar[tuple[str, ...]] = ("not found", "no user")

    def __init__(self, name: str, gateway: Gateway, key: str) -> None:
        # Its audit log names who acted, beside whose key it was.
        super().__init__(name, gateway, key, {"litellm-changed-by": "mcp-soar"})

    @override
    def _meant(self, answer: Answer, said: str, message: str) -> SoarError | None:
        if any(words in said.lower() for words in _NO_DATABASE):
            return Misconfigured(
                f"{message}; without a database this proxy's servers and keys stand in its configuration, and nobody"
                " can change them while it runs"
            )
        return None

    @property
    @override
    def _barred(self) -> str:
        return f"the key that systems.{self.name}.password names is none of a proxy_admin's"
