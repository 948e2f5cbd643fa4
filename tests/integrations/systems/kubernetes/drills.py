"""How each action of this system is tried: its parameters."""

from collections.abc import Callable, Mapping
from typing import Any, Final

DRILLS: Final[Mapping[str, Callable[[Any], dict[str, Any]]]] = {
    "kubernetes.block_address": lambda _: {"server": "weather", "address": "203.0.113.7"},
    "kubernetes.only_gateway": lambda _: {"server": "weather"},
    "kubernetes.deny_image": lambda _: {"server": "weather"},
    "kubernetes.cordon": lambda _: {"server": "weather"},
    "kubernetes.detach_routes": lambda _: {"server": "weather"},
    "kubernetes.delete_pods": lambda _: {"server": "weather"},
    "kubernetes.evict": lambda _: {"server": "weather"},
    "kubernetes.freeze_pods": lambda _: {"server": "weather"},
    "kubernetes.limit_pods": lambda _: {"server": "weather", "millicores": 1000},
    "kubernetes.remove_bindings": lambda _: {"server": "weather"},
    "kubernetes.revoke_account_tokens": lambda _: {"server": "weather"},
    "kubernetes.scale_to_zero": lambda _: {"server": "weather"},
    "kubernetes.quarantine": lambda _: {"server": "weather"},
}
