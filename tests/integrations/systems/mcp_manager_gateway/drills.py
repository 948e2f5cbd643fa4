"""Each action's parameters, with which it is tried on a server behind an mcp-manager-gateway."""

from collections.abc import Callable
from typing import Any

from tests.lab.manager import Managed

DRILLS: dict[str, Callable[[Managed], dict[str, Any]]] = {
    "gateway.disable_tool": lambda lab: {"server": lab.server, "tool": "get_weather"},
    "gateway.stop_and_disable_tool": lambda lab: {"server": lab.server, "tool": "get_weather"},
    "gateway.disable_server": lambda lab: {"server": lab.server},
    "gateway.revoke_token": lambda lab: {"principal": lab.principal, "token": "agent"},
    "gateway.deactivate_user": lambda lab: {"principal": lab.principal},
}
