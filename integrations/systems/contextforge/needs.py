"""What each step needs at a ContextForge, and what it writes down: names of its permissions, addresses and settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from integrations.gateways.driver import Rights

ADMINISTRATOR: Final = "platform administrator"
"""What no permission makes up for."""

TRAIL: Final = "AUDIT_TRAIL_ENABLED"
"""The gateway's setting for who changed what."""

EVENTS: Final = "SECURITY_LOGGING_ENABLED"
"""The gateway's setting for whom it refused."""

NEVER: Final = (
    "Never in an audit trail: tool calls, users, tokens and roles; where the gateway's database is SQLite, nor that a"
    " server without resources was switched off or on"
)
"""What happens at a ContextForge without a trace, however it is set: 1.0.7, tried out one by one.

The last: `set_gateway_state` holds SQLite's one lock over an `UPDATE` of no row, the entry waits five seconds for it
and is lost (`gateway.log`: "Failed to log audit trail: … database is locked").
"""

_ASKS: Final = ("GET /v1/tools", "GET /v1/prompts", "GET /v1/resources")
_TOKENS: Final = "GET /v1/tokens/admin/all"
_USER: Final = "GET /v1/auth/email/admin/users/{id}"
_LOGS: Final = ("GET /api/logs/audit-trails", "GET /api/logs/security-events")

RIGHTS: Final[Mapping[str, Rights]] = MappingProxyType(
    {
        "gateway.disable_tool": Rights(
            ("GET /v1/tools/{id}", "POST /v1/tools/{id}/state", "GET /v1/servers", *_ASKS),
            ("tools.read", "tools.update"),
        ),
        "gateway.disable_prompt": Rights(("POST /v1/prompts/{id}/state", *_ASKS), ("prompts.read", "prompts.update")),
        "gateway.disable_resource": Rights(
            ("POST /v1/resources/{id}/state", *_ASKS), ("resources.read", "resources.update")
        ),
        "gateway.disable_server": Rights(
            (
                "GET /v1/gateways/{id}",
                "POST /v1/gateways/{id}/state",
                "GET /v1/tools/{id}",
                "POST /v1/tools/{id}/state",
                "POST /v1/prompts/{id}/state",
                "POST /v1/resources/{id}/state",
                "GET /v1/servers",
                *_ASKS,
            ),
            ("gateways.read", "gateways.update", "tools.update"),
        ),
        "gateway.revoke_token": Rights(
            (_TOKENS, "DELETE /v1/tokens/admin/{id}"), (ADMINISTRATOR,), "/v1/tokens/admin/all"
        ),
        "gateway.deactivate_user": Rights(
            (_USER, "PATCH /v1/auth/email/admin/users/{id}"), (ADMINISTRATOR,), "/v1/auth/email/admin/users"
        ),
        "gateway.capture_state": Rights(
            ("GET /v1/gateways", *_ASKS, "GET /v1/servers", _TOKENS, "GET /v1/auth/email/admin/users"),
            ("servers.read", ADMINISTRATOR),
        ),
        "gateway.capture_logs": Rights(_LOGS, (ADMINISTRATOR,), "/api/logs/audit-trails"),
        "gateway.capture_principal": Rights(
            (_USER, "GET /rbac/users/{id}/roles", "GET /rbac/roles", _TOKENS, *_LOGS),
            (ADMINISTRATOR,),
            "/v1/tokens/admin/all",
        ),
    }
)
"""By step. What is tried shows whether an administrator's session is not narrowed after all, to a team as an instance.

Source of the permissions' names: ContextForge 1.0.7, `db.py` (`Permissions`) and the routes' `require_permission`.
"""
