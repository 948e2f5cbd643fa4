"""How each action of this system is tried: its parameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

DRILLS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "keycloak.disable_user": lambda lab: {"principal": lab.name},
    "keycloak.sign_out": lambda lab: {"principal": lab.name},
    "keycloak.replace_secret": lambda lab: {"principal": lab.name},
    "oidc.revoke_token": lambda lab: {"principal": lab.name, "token": "laptop"},
    "oidc.revoke_tokens": lambda lab: {"principal": lab.name},
}
