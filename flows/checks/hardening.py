"""Hardening: what every server may do where it runs, beside what it needs; each system says of itself what it asks."""

from collections.abc import Mapping

from flows.checks.inspection import Ask, Inspection
from flows.service.settings import Configuration
from playbooks.action import World


def _pieces(config: Configuration, world: World) -> Mapping[str, Ask]:
    return config.systems.hardening(world)


CHECK = Inspection(
    name="hardening",
    key="hardening",
    title="Hardening",
    looks="look at what servers may do where they run",
    about=(
        "Look at what every server's workload may do on its cluster: file system, capabilities, privileges, seccomp, "
        "AppArmor, Pod Security, bounds, network, image, secrets in the environment, mTLS; and who wrote it, when.\n\n"
        "Red means that something is not as it should be, or that it could not be asked."
    ),
    good="as narrow as it should be, as far as it was asked",
    against="how narrow it should be",
    to_do="mend it where it is written, then look again with `mcp-soar check hardening`.",
    pieces=_pieces,
    here=True,
)
