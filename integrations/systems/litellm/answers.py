"""What a LiteLLM proxy's administration tells of servers and keys, and what it means."""

from datetime import UTC, datetime
from typing import Any, Final

from integrations.gateways.administration import Fields
from integrations.gateways.named import moment_of, strings

ALL_SERVERS: Final = "all-proxy-mcpservers"
"""What a key's permissions name that may use every server (`SpecialMCPServerName`)."""

_NONE: Final = "no-mcp-servers"
_ACTIVE: Final = (None, "active", "approved")
"""Ways in which a server is offered to clients; the first and the last are from before there was an approval."""

_WRITTEN, _LIVES, _COUNTS = "when and by whom it was last written", "whether it answered just now", "a counter"

VOLATILE: Final = {
    **dict.fromkeys(("updated_at", "updated_by", "settings_updated_at"), _WRITTEN),
    **dict.fromkeys(("reviewed_at", "review_notes"), "likewise, of its approval"),
    "approval_status": "three words for the same; `enabled` says what it means",
    **dict.fromkeys(("status", "last_health_check", "health_check_error"), _LIVES),
    **dict.fromkeys(("spend", "last_active", "last_used_at", "key_count"), _COUNTS),
}
"""Fields that change without anybody deciding it, each with its reason."""

_SECRET: Final = ("credentials", "static_headers", "env", "env_vars", "token_url", "command", "args")
"""Fields of a server in which secrets may stand: that there are some is evidence, which is not."""


def offered(server: Fields) -> bool:
    """Return whether it offers a server to clients, as its administration says."""
    return server.get("approval_status") in _ACTIVE


def named(server: Fields) -> str:
    """Return what it calls a server."""
    return prefix(server)


def prefix(server: Fields) -> str:
    """Return what the names of a server's tools begin with for clients (`get_server_prefix`)."""
    found = (server.get(key) for key in ("alias", "server_name", "server_id"))
    return next((name for name in found if isinstance(name, str) and name), "")


def lets(listed: tuple[str, ...], tool: str) -> bool:
    """Return whether a list lets clients use a tool: an empty one lets them use each."""
    return not listed or tool in listed


def opens(key: Fields) -> bool:
    """Return whether a key opens anything now."""
    ends = moment_of(key.get("expires"))
    return key.get("blocked") is not True and (ends is None or ends > datetime.now(UTC))


def permits(key: Fields, server: Fields) -> bool:
    """Return whether a key's own permissions let it use a server.

    Args:
        key: as `/key/info` tells of it.
        server: as the administration tells of it.
    """
    found = key.get("object_permission")
    may = found if isinstance(found, dict) else {}
    servers, called = {*strings(may.get("mcp_servers"))}, {str(server.get(k)) for k in _CALLED}
    tools = may.get("mcp_tool_permissions")
    by_tool = isinstance(tools, dict) and any(tools.get(name) is not None for name in called)
    groups = {*strings(may.get("mcp_access_groups"))} & {*strings(server.get("mcp_access_groups"))}
    allowed = server.get("allow_all_keys") is True or bool(groups) or by_tool
    allowed = allowed or ALL_SERVERS in servers or bool(servers & called)
    return allowed and _NONE not in servers


_CALLED: Final = ("server_id", "server_name", "alias")


def told(server: Fields) -> dict[str, Any]:
    """Return what may be told of a server: where a secret may stand, that there is something."""
    told = {key: bool(value) if key in _SECRET else value for key, value in server.items()}
    # A list has no order: what was taken off comes back at its end.
    return {**told, "allowed_tools": sorted(strings(server.get("allowed_tools")))}
