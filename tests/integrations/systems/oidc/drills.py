"""How each action of this system is tried: its parameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

DRILLS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "oidc.revoke_token": lambda lab: {"principal": lab.user, "token": "laptop"},
    "oidc.revoke_tokens": lambda lab: {"principal": lab.user},
}
