"""Every check there is, by its name."""

from collections.abc import Mapping
from types import MappingProxyType

from flows.checks import clients, configuration, drift, hosts, probing
from flows.checks.inspection import Inspection

CHECKS: Mapping[str, Inspection] = MappingProxyType(
    {one.name: one for one in (drift.CHECK, configuration.CHECK, probing.CHECK, clients.CHECK, hosts.CHECK)}
)
