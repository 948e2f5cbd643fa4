"""How each action at a gateway is tried: tests/contract holds it to the laws with these parameters, for a lab."""

from typing import Any, Final

from tests.lab import scenes
from tests.lab.fixtures import Lab


def _resource(lab: Lab) -> dict[str, Any]:
    return {"server": lab.site.server_id, "resource": scenes.the_resource(lab)}


DRILLS: Final = {
    "gateway.disable_tool": lambda lab: {"server": lab.site.server_id, "tool": "get_weather"},
    "gateway.disable_prompt": lambda lab: {"server": lab.site.server_id, "prompt": "greet"},
    "gateway.disable_resource": _resource,
    "gateway.disable_server": lambda lab: {"server": lab.site.server_id},
    "gateway.revoke_token": lambda lab: {"principal": lab.site.principal, "token": "agent"},
    "gateway.deactivate_user": lambda lab: {"principal": lab.site.principal},
}
