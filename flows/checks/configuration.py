"""Configuration: every gateway and identity provider is asked how it is set; each system says of itself what for."""

from collections.abc import Mapping

from flows.checks.inspection import Ask, Inspection
from flows.service.settings import Configuration
from playbooks.action import World


def _pieces(config: Configuration, world: World) -> Mapping[str, Ask]:
    return config.systems.configuration(world)


CHECK = Inspection(
    name="configuration",
    key="configuration",
    title="Configuration",
    looks="look at how gateways and identity providers are set",
    about=(
        "Look at how gateways and identity clients are set: authentication, lifetimes of tokens, audit, PKCE, redirect "
        "URIs.\n\nA worker holds no credential of them: it asks for it in the name of the source `drift`, the process "
        "`flows` asks them, and here is what it found. Red means that something is not as it should be, or that it "
        "could not be asked."
    ),
    good="as it should be, as far as it was asked",
    against="how it should be",
    to_do="mend it there, then look again with `mcp-soar check configuration`.",
    pieces=_pieces,
    here=True,
)
