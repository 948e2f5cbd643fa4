"""Configuration: every gateway and identity provider is asked how it is set; each system says of itself what for."""

import os
from collections.abc import Mapping

from flows.checks.inspection import Ask, Inspection
from flows.service import workers
from flows.service.settings import Configuration
from integrations.connections import Connections
from integrations.secret import secret
from playbooks.action import World
from playbooks.errors import Misconfigured
from playbooks.estate.systems import Secret


def _pieces(config: Configuration, world: World) -> Mapping[str, Ask]:
    return config.systems.configuration(world)


def _left_out(config: Configuration) -> dict[str, str]:
    """Return, in a worker, what is asked of a system whose secret it was not given."""
    if workers.CONFIG not in os.environ:
        return {}
    secrets = (one for system in config.systems.all for one in system.secrets(config.inventory))
    lacking = {field.split(".")[1] for field, at in secrets if field.startswith("systems.") and not _there(at, field)}
    why = "this worker has no secret of it: `mcp-soar check configuration` asks, where the responder runs"
    pieces = _pieces(config, Connections(config.inventory, config.systems))
    return {piece: why for piece in pieces if piece.partition(":")[0].split(" ", 1)[-1] in lacking}


def _there(place: Secret, field: str) -> bool:
    try:
        secret(place, what=field)
    except Misconfigured:
        return False
    return True


CHECK = Inspection(
    name="configuration",
    key="configuration",
    title="Configuration",
    looks="look at how gateways and identity providers are set",
    about=(
        "Look at how gateways and identity clients are set: authentication, lifetimes of tokens, audit, PKCE, redirect "
        "URIs.\n\nA worker holds no credential of them, and leaves out what takes one: `mcp-soar check configuration` "
        "asks all of it, where the responder runs. Red means that something is not as it should be."
    ),
    good="as it should be, as far as it was asked",
    against="how it should be",
    to_do="mend it there, then look again with `mcp-soar check configuration`.",
    pieces=_pieces,
    left_out=_left_out,
)
