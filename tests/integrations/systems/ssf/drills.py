"""How each action of this system is tried: its parameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

DRILLS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "ssf.tell_session_revoked": lambda lab: {"principal": lab.name},
}
