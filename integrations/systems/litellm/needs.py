"""What each step needs at a LiteLLM proxy: the key of a `proxy_admin`, or the proxy's master key."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from integrations.gateways.driver import Rights

ADMIN: Final = "proxy_admin"
"""The role without which nothing of this can be done."""

_SERVERS: Final = "GET /v1/mcp/server"
_SERVER: Final = "GET /v1/mcp/server/{id}"
_TOOLS: Final = "GET /mcp-rest/tools/list"
_KEYS: Final = "GET /key/list"
_KEY: Final = "GET /key/info"
_USERS: Final = "GET /user/list"
_LOGS: Final = ("GET /audit", "GET /spend/logs/v2")

RIGHTS: Final[Mapping[str, Rights]] = MappingProxyType(
    {
        "gateway.disable_tool": Rights((_SERVERS, _SERVER, _TOOLS, "PUT /v1/mcp/server"), (ADMIN,)),
        "gateway.disable_server": Rights(
            (
                _SERVERS,
                _SERVER,
                _TOOLS,
                "PUT /v1/mcp/server/{id}/reject",
                "PUT /v1/mcp/server/{id}/approve",
            ),
            (ADMIN,),
        ),
        "gateway.revoke_token": Rights((_KEY, "POST /key/block"), (ADMIN,)),
        "gateway.capture_state": Rights((_SERVERS, _SERVER, _TOOLS, _USERS, _KEYS), (ADMIN,)),
        "gateway.capture_logs": Rights(_LOGS, (ADMIN,)),
        "gateway.capture_principal": Rights((_USERS, _KEYS, *_LOGS), (ADMIN,)),
    }
)
"""By step. Source: LiteLLM 1.108.7, `{mcp,key}_management_endpoints.py`, `mcp_server/rest_endpoints.py`."""
