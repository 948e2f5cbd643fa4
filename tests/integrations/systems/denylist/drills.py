"""How each action of this system is tried: its parameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

DRILLS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "denylist.deny_subject": lambda lab: {"principal": lab.name},
    "denylist.deny_token": lambda lab: {"principal": lab.name, "token": "session"},
}
