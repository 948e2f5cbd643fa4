"""What each step needs at an mcp-manager-gateway. Accounts are `admin` or `user`; only `admin` changes anything."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from integrations.gateways.driver import Rights

ADMIN: Final = "admin"
"""The role without which nothing of this can be done."""

_LIST: Final = "GET /api/v1/mcps"
_HELD: Final = (
    "GET /api/v1/mcps/{id}",
    "GET /api/v1/mcps/{id}/capabilities",
    "GET /api/v1/mcps/{id}/capabilities/tools/{name}",
    "GET /api/v1/mcps/{id}/capabilities/prompts/{name}",
    "GET /api/v1/mcps/{id}/capabilities/resources/{name}",
)
_USERS: Final = "GET /api/v1/users"
_TOKENS: Final = "GET /api/v1/tokens"
_LOGS: Final = ("GET /api/v1/audit-logs", "GET /api/v1/logs")
_CHANGES: Final = "PATCH /api/v1/mcps/{id}"
_STOPS: Final = "POST /api/v1/mcps/{id}/stop"

RIGHTS: Final[Mapping[str, Rights]] = MappingProxyType(
    {
        "gateway.disable_tool": Rights((*_HELD, _CHANGES), (ADMIN,)),
        "gateway.stop_and_disable_tool": Rights((*_HELD, _CHANGES, _STOPS), (ADMIN,)),
        "gateway.disable_server": Rights((_LIST, *_HELD, _CHANGES, _STOPS), (ADMIN,)),
        "gateway.revoke_token": Rights((_TOKENS, "PATCH /api/v1/tokens/{id}"), (ADMIN,)),
        "gateway.deactivate_user": Rights((_USERS, "PATCH /api/v1/users/{id}"), (ADMIN,)),
        "gateway.capture_state": Rights((_LIST, *_HELD, _USERS, _TOKENS), (ADMIN,)),
        "gateway.capture_logs": Rights(_LOGS, (ADMIN,)),
        "gateway.capture_principal": Rights((_USERS, _TOKENS, *_LOGS), (ADMIN,)),
    }
)
"""By step. Source: mcp-manager-gateway 1.5.5, `catalog_api.py`, `identity.py`, `audit_api.py`, `operations_api.py`."""
