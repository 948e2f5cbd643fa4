"""Each action's parameters, with which it is tried on a server behind a LiteLLM proxy."""

from collections.abc import Callable
from typing import Any

from tests.lab.litellm import Proxied

DRILLS: dict[str, Callable[[Proxied], dict[str, Any]]] = {
    "gateway.disable_tool": lambda lab: {"server": lab.server, "tool": "get_weather"},
    "gateway.disable_server": lambda lab: {"server": lab.server},
    "gateway.revoke_token": lambda lab: {"principal": lab.principal, "token": "agent"},
}
