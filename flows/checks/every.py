"""Every check there is, by its name."""

from collections.abc import Mapping
from types import MappingProxyType

from flows.checks import behaviour, clients, configuration, drift, drills, hardening, hosts, probing
from flows.checks.inspection import Inspection

_ALL = (
    drift.CHECK,
    behaviour.CHECK,
    configuration.CHECK,
    hardening.CHECK,
    probing.CHECK,
    clients.CHECK,
    hosts.CHECK,
    drills.CHECK,
)
CHECKS: Mapping[str, Inspection] = MappingProxyType({one.name: one for one in _ALL})
